"""What training imposes: it is in force in every episode, and agents go on drawing what they would draw."""

from __future__ import annotations

import torch

from rbc_marl.analysis.rollouts import play
from rbc_marl.observations import observation_layout, scales
from rbc_marl.policies.imposed import as_trained
from rbc_marl.policies.saved import load_policies
from rbc_marl.rllib.env_runner import EconomyEnvRunner
from rbc_marl.rllib.population import Population
from tests.rllib.small import built, small_config


def test_choices_and_numbers_are_imposed_on_all_episodes_of_training():
    plain = EconomyEnvRunner(small_config()).sample()[0]
    imposed = {"choices": {"minimum_wage": 33, "income_tax": 0.4}, "period": 3, "factors": {"consumer_grant": [1, 9]}}
    runner = EconomyEnvRunner(small_config(imposed=imposed))
    rollout, economy = runner.sample()[0], runner.economy
    layout = observation_layout(economy).global_slices
    wages, taxes = (rollout.observations["global"][..., layout[name]] for name in ("wage", "income_tax"))
    assert (wages[2:] * scales(economy)["wage"]).min() >= 33.0 > (wages[1] * scales(economy)["wage"]).min()
    assert torch.allclose(taxes[2:], torch.tensor(0.4)) and not torch.allclose(taxes[1], torch.tensor(0.4))
    for agent_type, actions in rollout.actions.items():  # what agents chose, not what became of it
        assert torch.equal(actions[:1], plain.actions[agent_type][:1]), agent_type
        assert torch.equal(rollout.logp[agent_type][:1], plain.logp[agent_type][:1])
    assert runner.env.imposed == {"consumer_grant": (1.0, 9.0)}


def test_checkpoints_say_what_was_imposed_and_play_in_the_world_of_training(ray_running, tmp_path):
    with built(small_config()) as algorithm:
        algorithm.save_policies(tmp_path / "free")
    assert set(load_policies(tmp_path / "free").info) == {"training_iteration", "env_steps", "seed", "rules"}
    imposed = {"choices": {"minimum_wage": 33.0}, "period": 3, "factors": {"consumer_grant": [1.0, 9.0]}}
    with built(small_config(imposed=imposed)) as algorithm:
        algorithm.save_policies(tmp_path / "bound")
    saved = load_policies(tmp_path / "bound")
    assert saved.info["imposed"] == imposed
    wages = [play(policies, 8, record=True).firms["wage"] for policies in (saved, as_trained(saved))]
    assert (wages[1][:, 2:] >= 33.0).all() and not (wages[0][:, 2:] >= 33.0).all()
    assert torch.equal(wages[0][:, :2], wages[1][:, :2])
    population = Population(small_config(imposed=imposed), seeds=(0,))
    population.save(0, tmp_path / "population")
    assert load_policies(tmp_path / "population").info["imposed"] == imposed
