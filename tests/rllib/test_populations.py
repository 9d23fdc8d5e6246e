"""Populations: every run ends where it would alone, whatever the others do."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from ray.rllib.core.rl_module.torch import torch_rl_module

from rbc_marl.config import AGENT_TYPES
from rbc_marl.curriculum import parse_curriculum
from rbc_marl.errors import ConfigError
from rbc_marl.experiments.run import flat_results
from rbc_marl.policies.saved import load_policies
from rbc_marl.rllib import rollout as rollout_module
from rbc_marl.rllib.population import Population
from rbc_marl.rllib.rollout import Rollout
from rbc_marl.vector_env import VectorEconomy
from tests.rllib.small import built, small_config

SEEDS = (3, 8)
STEPS = 16
# Measurements of time and memory, and what RLlib reports of its processes; no result of a run.
MEASURED = ("timers/", "perf/", "fault_tolerance/", "env_runner_group/", "time_", "date", "num_training_step_calls")
QUICKSTART = {
    "networks": {
        "consumer": {"kind": "equivariant", "ranks_prices": True, "hidden": [8, 8]},
        "firm": {"kind": "flat", "hidden": [8, 8]},
        "government": {"kind": "flat", "hidden": [8, 8], "first_choice": 8},
    },
    "trembles": {"price": 0.2},
    "logit_response": {"basket": 0.3, "work": 2.5},
    "agents_per_update": {"consumer": 3},
    "curriculum": {
        "start": {"firm": 4, "government": 8},
        "prices": {"around": 1000, "end": 5},
        "taxes": {"begin": 6, "end": 12},
        "labour_disutility": {"decay": 5},
        "entropy": {"decay": 3, "types": ["consumer", "firm"]},
        "learning_rate": {"begin": 6, "end": 18},
    },
    "entropy_coeff": [[0, 0.1], [15 * STEPS, 0.01]],
    "lr": [[0, 2e-3], [10 * STEPS, 1e-3]],
}
CLIPPED = {
    "trembles": {"consumer": 0.2, "firm": 0.1, "government": 0.3},
    "agents_per_update": {"consumer": 4},
    "curriculum": {"start": {"government": 3}, "before": {"government": "random"}},
    "deviator": {"type": "firm", "agent": 1},
    "minibatch_size": 6,
    "shuffle_batch_per_epoch": True,
    "num_epochs": 1,
    "grad_clip": 0.5,
    "lambda_": 0.9,
}


@pytest.fixture
def double(monkeypatch):
    """Economies and networks in float64, also on RLlib's way from learners to env runners."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    monkeypatch.setattr(rollout_module, "VectorEconomy", partial(VectorEconomy, dtype=torch.float64))
    exact = partial(torch_rl_module.convert_to_numpy, reduce_type=False)
    monkeypatch.setattr(torch_rl_module, "convert_to_numpy", exact)
    yield
    torch.set_default_dtype(default)


def learnt(algorithm):
    """Copies of the weights of an algorithm's learner, by module and name."""
    module = algorithm.learner_group._learner.module
    networks = {m: module[m].unwrapped().network for m in module.keys()}  # noqa: SIM118 - a MultiRLModule is no mapping
    return {m: {name: x.clone() for name, x in network.state_dict().items()} for m, network in networks.items()}


def alone(seed, iterations, **settings):
    """Weights before and after some iterations of a single run, and its flat results."""
    with built(small_config(seed=seed, **settings)) as algorithm:
        before = learnt(algorithm)
        results = [flat_results(algorithm.train()) for _ in range(iterations)]
        return before, learnt(algorithm), results


def furthest(networks, weights):
    """Largest difference between any weight of networks and those given."""
    pairs = [(network.state_dict(), weights[m]) for m, network in networks.items()]
    assert all(own.keys() == other.keys() for own, other in pairs)
    return max((own[name] - other[name]).abs().max().item() for own, other in pairs for name in own)


def difference(single, flat):
    """Names of results that differ between a single run and one of a population."""
    compared = {
        name: x
        for name, x in single.items()
        if not name.startswith(MEASURED)
        and "throughput" not in name
        and not name.endswith(("trainable_parameters", "env_runners/sample"))
    }
    wrong = [name for name, x in compared.items() if name not in flat or not same(x, flat[name])]
    return wrong + [name for name in flat if name not in single]


def same(one, other):
    return one == other if isinstance(one, str) else abs(one - other) <= 1e-6 * max(1.0, abs(one))


@pytest.mark.slow
@pytest.mark.parametrize("settings", [QUICKSTART, CLIPPED], ids=["quickstart", "clipped"])
def test_each_run_ends_where_it_would_alone(settings, double, ray_running):
    singles = [alone(seed, 20, **settings) for seed in SEEDS]
    population = Population(small_config(seed=99, **settings), SEEDS)
    for run, (before, _, _) in enumerate(singles):
        assert furthest(population.networks(run), before) == 0.0
    results = [population.train() for _ in range(20)]
    for run, (before, after, reported) in enumerate(singles):
        assert furthest(population.networks(run), after) < 1e-9
        assert furthest(population.networks(run), before) > 1e-3  # or equality would say nothing
        assert [difference(one, flat[run]) for one, flat in zip(reported, results, strict=True)] == [[]] * 20
    assert singles[0][2][-1] != singles[1][2][-1]


TAXED = [
    {**QUICKSTART["curriculum"], "taxes": {"begin": 1, "end": 3, "fixed": {"income": income, "corporate": 0.4}}}
    for income in (0.0, 0.8)
]


@pytest.mark.slow
def test_runs_of_different_fixed_taxes_end_where_they_would_alone(tmp_path, double, ray_running):
    settings = {**QUICKSTART, "trembles": {"price": 0.2, "government": 0.3}}
    singles = [alone(3, 6, **{**settings, "curriculum": curriculum}) for curriculum in TAXED]
    schedules = [parse_curriculum(curriculum) for curriculum in TAXED]
    config = small_config(**{**settings, "curriculum": TAXED[0]})
    population = Population(config, (3, 3), schedules)
    for _ in range(4):
        population.train()
    for run in range(2):
        population.save(run, tmp_path / str(run))
    again = Population(config, (3, 3), schedules)
    again.restore([tmp_path / "0", tmp_path / "1"])
    results = [again.train() for _ in range(2)][-1]
    for run, (_, after, reported) in enumerate(singles):
        assert furthest(again.networks(run), after) < 1e-7  # Adam makes steps of rounding where a gradient is all but 0
        assert difference(reported[-1], results[run]) == []
    assert results[0]["env_runners/income_tax"] < 0.5 < results[1]["env_runners/income_tax"]


def test_curricula_that_differ_in_more_than_taxes_are_refused():
    other = {**TAXED[1], "labour_disutility": {"decay": 6}}
    population = Population(small_config(), (3, 3), [parse_curriculum(each) for each in (TAXED[0], other)])
    with pytest.raises(ConfigError, match="differ in more than taxes"):
        for _ in range(2):
            population.train()
    with pytest.raises(ConfigError, match="1 curricula are of 2 runs"):
        Population(small_config(), (3, 3), [parse_curriculum(other)])


@pytest.mark.slow
@pytest.mark.parametrize("slab", [500_000, 3000], ids=["at once", "in slabs"])
def test_one_update_from_the_same_rollouts_agrees_in_float32(slab, monkeypatch, ray_running):
    monkeypatch.setattr("rbc_marl.policies.slabs.CPU_SLAB_VALUES", slab)
    settings = {**QUICKSTART, "curriculum": None}
    played, after = [], []
    for seed in SEEDS:
        config = small_config(seed=seed, **settings)
        config.callbacks(on_sample_end=lambda samples, **kwargs: played.extend(samples))
        with built(config) as algorithm:
            algorithm.train()
            after.append(learnt(algorithm))
    population = Population(small_config(**settings), SEEDS)
    population.learner.update(Rollout.join(played), population._phases_at(0)[0], STEPS)
    for run, weights in enumerate(after):
        networks = population.networks(run)
        # The last entry shifts all employers alike: it has no gradient, and Adam makes steps of its rounding.
        weights["consumer"]["firm_head.bias"][-1] = networks["consumer"].firm_head.bias[-1]
        assert furthest(networks, weights) < 1e-5


def small_population(seeds=SEEDS, **settings):
    return Population(small_config(**{**QUICKSTART, **settings}), seeds)


@pytest.mark.slow
def test_a_run_does_not_depend_on_those_beside_it():
    pair, three = small_population((3, 8)), small_population((5, 8, 1))
    for _ in range(2):
        of_pair, of_three = pair.train()[1], three.train()[1]
    names = [name for name in of_pair if not name.startswith(MEASURED)]
    assert [name for name in names if not same(of_pair[name], of_three[name])] == []
    assert furthest(pair.networks(1), {m: x.state_dict() for m, x in three.networks(1).items()}) < 1e-5


@pytest.mark.slow
def test_a_run_that_breaks_leaves_the_others_alone():
    whole, broken = small_population(), small_population()
    with torch.no_grad():
        broken.learner.network("consumer").firm_head.weight[0] = float("nan")
    for _ in range(2):
        of_whole, of_broken = whole.train(), broken.train()
    assert list(broken.failed) == [0] and "iteration 1" in str(broken.failed[0])
    assert not whole.failed
    names = [name for name in of_whole[1] if not name.startswith(MEASURED)]
    assert {name: of_whole[1][name] for name in names} == {name: of_broken[1][name] for name in names}


@pytest.mark.slow
def test_a_saved_run_holds_its_policies_and_says_which_it_is(tmp_path):
    population = small_population()
    population.train()
    population.save(1, tmp_path)
    policies = load_policies(tmp_path)
    assert policies.info == {"training_iteration": 1, "env_steps": STEPS, "seed": SEEDS[1], "rules": "best"}
    networks = population.networks(1)
    saved = {t: network.state_dict() for t, network in policies.networks.items()}
    assert furthest({t: networks[t] for t in AGENT_TYPES}, saved) == 0
    assert furthest(networks, {t: x.state_dict() for t, x in population.networks(0).items()}) > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config.env_runners(num_env_runners=2), "num_env_runners is 2"),
        (lambda config: config.evaluation(evaluation_interval=1), "evaluation_interval is 1"),
        (lambda config: config.training(scripted={"firm": "monopoly"}), "scripted is"),
        (lambda config: config.training(grad_clip_by="value"), "global norm"),
        (lambda config: config.training(train_batch_size_per_learner=32), "train_batch_size_per_learner is 32"),
        (lambda config: config.callbacks(on_sample_end=print), "callbacks of one's own"),
        (lambda config: config.env_runners(num_envs_per_env_runner=500), "num_envs_per_env_runner is 500"),
    ],
)
def test_what_a_population_does_not_do_is_refused(change, message):
    config = small_config()
    change(config)
    with pytest.raises(ConfigError, match=message):
        Population(config, SEEDS)


@pytest.mark.parametrize("seeds", [(), (1, 1)])
def test_runs_of_a_population_have_seeds_of_their_own(seeds):
    with pytest.raises(ConfigError, match="seeds are"):
        Population(small_config(), seeds)


@pytest.mark.slow
def test_runs_go_on_from_their_checkpoints_in_whatever_population(tmp_path):
    curriculum = {"start": {"firm": 1, "government": 3}}
    whole, first = (small_population((3, 8, 5), curriculum=curriculum) for _ in range(2))
    for _ in range(2):
        whole.train()
        first.train()
    for run in (0, 2):
        first.save(run, tmp_path / str(run))
    rest = small_population((5, 3), curriculum=curriculum)
    rest.restore([tmp_path / "2", tmp_path / "0"])
    for _ in range(2):
        of_whole, of_rest = whole.train(), rest.train()
    names = [name for name in of_whole[2] if not name.startswith(MEASURED)]
    assert [name for name in names if not same(of_whole[2][name], of_rest[0][name])] == []
    for run, other in ((2, 0), (0, 1)):
        assert furthest(whole.networks(run), {m: x.state_dict() for m, x in rest.networks(other).items()}) < 1e-5
    with pytest.raises(ConfigError, match="seeds"):
        rest.restore([tmp_path / "0", tmp_path / "2"])


@pytest.mark.slow
def test_checkpoints_of_different_iterations_are_no_population(tmp_path):
    population = small_population()
    population.train()
    population.save(0, tmp_path / "0")
    population.train()
    population.save(1, tmp_path / "1")
    with pytest.raises(ConfigError, match="different iterations"):
        population.restore([tmp_path / "0", tmp_path / "1"])
