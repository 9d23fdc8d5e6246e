"""What training imposes: it is in force in every episode, and agents go on drawing what they would draw."""

from __future__ import annotations

import torch

from rbc_marl.observations import observation_layout, scales
from rbc_marl.rllib.env_runner import EconomyEnvRunner
from tests.rllib.small import small_config


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
