"""Agents who are decided for a slab at a time decide as all at once."""

from __future__ import annotations

import pytest
import torch

from rbc_marl import VectorEconomy, preset
from rbc_marl.config import AGENT_TYPES
from rbc_marl.policies import slabs
from rbc_marl.policies.acting import act, choices_of_network
from rbc_marl.policies.build import NETWORKS, build_network
from rbc_marl.policies.saved import PolicySet
from rbc_marl.policies.stacked import stacked

CONFIG = preset("open", num_consumers=300, num_firms=140, consumption_choices=[0.0, 1.0])


def seen(rows=4):
    """Observations of economies in which agents differ."""
    batch = VectorEconomy(CONFIG, num_envs=rows, seed=1)
    batch.reset()
    return batch.step(batch.sample_actions())[0]


def decisions(network, observation, agent_type, is_random, seeds):
    """Choices, their log-probabilities, and the shapes of logits on the way."""
    shapes = []
    choices_of = choices_of_network(network, observation["global"], observation[agent_type])

    def noted(agents):
        choices = choices_of(agents)
        shapes.append(choices.logits.shape[1])
        return choices

    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    with torch.no_grad():
        taken, logp = act(noted, network, observation[agent_type], is_random, generators)
    return taken, logp, shapes


@pytest.mark.parametrize("is_random", [True, False])
@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("agent_type", ["consumer", "firm"])
def test_slabs_change_nothing(agent_type, kind, is_random, monkeypatch):
    torch.manual_seed(0)
    spec = {"kind": kind, "hidden": [8, 8]}
    network = stacked([build_network(CONFIG, agent_type, "symlog", spec) for _ in range(2)])
    observation, agents = seen(), CONFIG.agents(agent_type)
    monkeypatch.setattr(slabs, "CPU_SLAB_VALUES", 10**9)
    *at_once, shapes = decisions(network, observation, agent_type, is_random, (5, 6))
    assert shapes == [agents]
    monkeypatch.setattr(slabs, "CPU_SLAB_VALUES", 1)
    *in_slabs, shapes = decisions(network, observation, agent_type, is_random, (5, 6))
    assert sum(shapes) == agents and max(shapes) == slabs.LEAST_ACTING // 4
    assert torch.equal(in_slabs[0], at_once[0])  # also who works for whom, which is dealt out by agents' numbers
    torch.testing.assert_close(in_slabs[1], at_once[1])
    assert len(at_once[0].flatten(0, 1).unique(dim=0)) > 1


def test_policies_act_in_slabs_as_they_choose_from_all_logits(monkeypatch):
    policies = PolicySet(CONFIG, "symlog", {t: build_network(CONFIG, t) for t in AGENT_TYPES})
    observation = seen()
    expected = policies.choose(policies.logits(observation), torch.Generator().manual_seed(3))
    monkeypatch.setattr(slabs, "CPU_SLAB_VALUES", 1)
    taken = policies.act(observation, torch.Generator().manual_seed(3))
    assert all(torch.equal(taken[t], expected[t]) for t in AGENT_TYPES)


def test_an_accelerator_decides_for_all_at_once():
    assert list(slabs.acting_slabs(3, 10**6, 125, torch.device("cuda"))) == [slice(0, 10**6)]
