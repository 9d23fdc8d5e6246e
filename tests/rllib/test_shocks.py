"""Shocks on the batched path: drawn by the env runner, seen by its agents, resumed with the run."""

from __future__ import annotations

import pytest
import torch

from rbc_marl.errors import ConfigError
from rbc_marl.observations import observation_layout
from rbc_marl.rllib.env_runner import EconomyEnvRunner
from rbc_marl.rllib.population import Population
from tests.rllib.small import built, changed, small_config, weights_of

SHOCKS = {
    "technology": {"kind": "ar1", "persistence": 0.9, "deviation": 0.2},
    "export_quota": {"kind": "markov", "values": [10.0, 100.0], "transition": [[0.5, 0.5], [0.5, 0.5]]},
    "firms": {"kind": "ar1", "persistence": 0.5, "deviation": 0.1, "news": 1},
}


def config(**settings):
    return small_config(economy={"shocks": SHOCKS}, **settings)


def seen(rollouts):
    """What all see of technology, [T, E]."""
    economy = EconomyEnvRunner(config()).economy
    place = observation_layout(economy).global_slices["technology"].start
    return torch.cat([rollout.observations["global"][..., place] for rollout in rollouts], dim=1)


def test_draws_depend_on_seed_worker_and_env_steps_alone():
    runner, same = (EconomyEnvRunner(config()) for _ in range(2))
    first, again = seen(runner.sample()), seen(same.sample())
    assert torch.equal(first, again) and len(first.unique()) == first.numel()
    later = seen(runner.sample())
    assert not torch.isin(later, first).any()
    assert not torch.isin(seen(EconomyEnvRunner(config(seed=4)).sample()), first).any()


@pytest.mark.parametrize("explore", [True, False])
def test_slabs_draw_shocks_of_their_own(monkeypatch, explore):
    monkeypatch.setattr("rbc_marl.rllib.env_runner.CPU_SLAB", 2)
    values = seen(EconomyEnvRunner(config()).sample(explore=explore))
    assert values.shape == (4, 4) and len(values.unique()) == values.numel()


def test_agents_draw_the_same_actions_whatever_the_shocks():
    hidden = {name: {**shock, "sees": False} for name, shock in SHOCKS.items()}
    first = [EconomyEnvRunner(small_config(economy=e)).sample()[0].actions for e in ({"shocks": hidden}, {})]
    assert torch.equal(first[0]["consumer"][0], first[1]["consumer"][0])


def test_a_run_of_a_population_meets_the_shocks_that_it_would_meet_alone():
    both, alone = Population(config(), (3, 8)), Population(config(), (8,))
    rollouts = [population.sample(population._phases_at(0))[0] for population in (both, alone)]
    mine, theirs = (seen([rollout]) for rollout in rollouts)
    assert torch.equal(mine[:, 4:], theirs) and not torch.equal(mine[:, :4], theirs)


@pytest.mark.slow
def test_a_run_that_is_resumed_ends_where_an_uninterrupted_one_ends(tmp_path):
    with built(config()) as algorithm:
        algorithm.train()
        path = algorithm.save_to_path(str(tmp_path / "checkpoint"))
        algorithm.train()
        expected = weights_of(algorithm)
    with built(config()) as algorithm:
        algorithm.restore_from_path(path)
        algorithm.train()
        assert changed(expected, weights_of(algorithm)) == set()


def test_own_choices_are_valued_at_the_numbers_in_force():
    runner = EconomyEnvRunner(config(logit_response={"basket": 0.3, "work": 2.5}))
    (rollout,) = runner.sample()
    numbers, paths = rollout.parameters, runner.env.require_state().shocks
    assert set(numbers) >= {"technology", "export_quota"} and "firms" not in numbers
    for name in ("technology", "export_quota"):
        horizon = len(numbers[name])
        assert torch.equal(numbers[name], paths[name][:, :horizon].T)


def test_own_choices_are_not_valued_where_workers_differ():
    economy = {"shocks": {"workers": {"kind": "ar1", "persistence": 0.5, "deviation": 0.1}}}
    small_config(economy=economy).validate()
    with pytest.raises(ConfigError, match=r"logit_response needs workers who are alike, and has shocks\.workers"):
        small_config(economy=economy, logit_response=True).validate()


FAMILY = {
    "crra": {"kind": "drawn", "low": 0.05, "high": 0.5},
    "consumer_grant": {"kind": "drawn", "low": 0.0, "high": 5.0},
    "depreciation": {"kind": "drawn", "low": 0.0, "high": 0.2},
    "labour_disutility_scale": {"kind": "drawn", "low": 0.5, "high": 2.0},
}


@pytest.mark.parametrize("logit_response", [None, True])
def test_a_family_of_many_numbers_is_learned_in(logit_response):
    settings = {"economy": {"shocks": FAMILY}, "logit_response": logit_response}
    runner = EconomyEnvRunner(small_config(**settings))
    (rollout,) = runner.sample()
    for name, process in FAMILY.items():
        place = observation_layout(runner.economy).global_slices[name]
        shares = rollout.observations["global"][..., place]
        assert (shares == shares[:1]).all() and len(shares[0].unique()) > 1, name  # by economy, and in no period
        if logit_response:
            low, high = process["low"], process["high"]
            numbers = rollout.parameters[name]
            assert torch.allclose((numbers - low) / (high - low), shares.squeeze(-1), atol=1e-5), name
    with built(small_config(**settings)) as algorithm:
        before = weights_of(algorithm)
        algorithm.train()
        assert changed(before, weights_of(algorithm)) == {"consumer", "firm", "government"}


def test_a_run_of_a_population_meets_the_economies_of_a_family_that_it_would_meet_alone():
    family = small_config(economy={"shocks": FAMILY})
    both, alone = Population(family, (3, 8)), Population(family, (8,))
    rollouts = [population.sample(population._phases_at(0))[0].observations["global"] for population in (both, alone)]
    assert torch.equal(rollouts[0][0, 4:], rollouts[1][0])
