"""Policies put together from parts, and governments that replay choices."""

from __future__ import annotations

import pytest
import torch

from rbc_marl import ConfigError, preset
from rbc_marl.analysis.rollouts import evaluate, play
from rbc_marl.choices import choice_tables
from rbc_marl.config import AGENT_TYPES
from rbc_marl.policies.build import build_network
from rbc_marl.policies.combined import CombinedPolicies, Recording, ReplayedGovernment, shuffled
from rbc_marl.policies.saved import PolicySet
from rbc_marl.policies.scripted import GOVERNMENTS, Rules, ScriptedPolicies, UniformPolicies
from rbc_marl.vector_env import VectorEconomy

SMALL = preset("open", num_consumers=6, num_firms=2, horizon=5)


def networks():
    torch.manual_seed(0)
    kinds = {agent_type: {"kind": "flat", "hidden": [8]} for agent_type in AGENT_TYPES}
    return PolicySet(SMALL, "symlog", {t: build_network(SMALL, t, "symlog", kinds[t]) for t in AGENT_TYPES})


@pytest.mark.parametrize("agent_type", AGENT_TYPES)
def test_each_type_does_what_its_own_part_says_and_the_others_what_the_rest_says(agent_type):
    base, part = ScriptedPolicies(SMALL, "idle"), ScriptedPolicies(SMALL, Rules(income_tax=0.4, work="always"))
    combined = CombinedPolicies(base, **{agent_type: part})
    batch = VectorEconomy(SMALL, 3)
    observation = batch.reset()
    found = combined.act(observation, greedy=True, state=batch.state)
    sources = {t: part if t == agent_type else base for t in AGENT_TYPES}
    for each, source in sources.items():
        assert torch.equal(found[each], source.act(observation, greedy=True, state=batch.state)[each])
    assert not torch.equal(found[agent_type], base.act(observation, greedy=True, state=batch.state)[agent_type])


@pytest.mark.parametrize("name", sorted(GOVERNMENTS))
def test_trained_agents_live_under_a_government_by_rules(name):
    government = ScriptedPolicies(SMALL, GOVERNMENTS[name])
    means = evaluate(CombinedPolicies(networks(), government=government), 4).means
    in_force = (SMALL.horizon - 1) / SMALL.horizon  # an episode starts without taxes
    for tax, rate in GOVERNMENTS[name].items():
        assert means[tax] == pytest.approx(rate * in_force)


def test_rule_based_agents_live_under_a_trained_government():
    means = evaluate(CombinedPolicies(ScriptedPolicies(SMALL, "monopoly"), government=networks()), 4).means
    assert means["price"] == pytest.approx((1000.0 + 4 * 2500.0) / 5)
    assert 0.2 < means["income_tax"] < 0.8  # an untrained one taxes at random


def test_a_part_that_does_not_fit_is_refused():
    rules = ScriptedPolicies(SMALL)
    with pytest.raises(ConfigError, match='firms is not an agent type; did you mean "firm"'):
        CombinedPolicies(rules, firms=rules)
    with pytest.raises(ConfigError, match="policies of the firm are made for another economy"):
        CombinedPolicies(rules, firm=ScriptedPolicies(SMALL.replace(horizon=6)))
    other = ScriptedPolicies(SMALL)
    rules.device, other.device = torch.device("cuda:0"), torch.device("cuda")  # two names of one
    CombinedPolicies(rules, firm=other)
    other.device = torch.device("cuda:1")
    with pytest.raises(ConfigError, match="another device"):
        CombinedPolicies(rules, firm=other)
    with pytest.raises(ConfigError, match="another encoding"):
        CombinedPolicies(networks(), firm=ScriptedPolicies(SMALL, encoding="digits"))


def test_a_replayed_government_sets_the_recorded_rates_period_by_period():
    recording = Recording(UniformPolicies(SMALL))
    played = play(recording, 7, seed=1, record=True)
    choices = torch.stack(recording.choices)
    assert choices.shape == (5, 7)
    rates = choice_tables(SMALL).government[choices]
    assert torch.equal(played.periods["income_tax"][:, 1:], rates[:-1, :, 0].T)
    replayed = play(ReplayedGovernment(UniformPolicies(SMALL), choices), 7, seed=9, record=True)
    for tax in ("income_tax", "corporate_tax"):
        assert torch.equal(replayed.periods[tax], played.periods[tax])


def test_shuffled_choices_are_the_same_ones_elsewhere_and_the_last_period_stays():
    choices = torch.arange(5 * 7).view(5, 7)
    dealt = shuffled(choices, seed=0)
    assert torch.equal(dealt[-1], choices[-1])  # they never come into force
    assert torch.equal(dealt[:-1].flatten().sort().values, choices[:-1].flatten())
    assert (dealt[:-1] != choices[:-1]).float().mean() > 0.8
    assert torch.equal(shuffled(choices, seed=0), dealt)
    assert not torch.equal(shuffled(choices, seed=1), dealt)


def test_choices_that_cannot_be_replayed_are_refused():
    rules = ScriptedPolicies(SMALL)
    for wrong in (torch.tensor([[36]]), torch.tensor([[-1]]), torch.empty(0, 0, dtype=torch.int64)):
        with pytest.raises(ConfigError, match="from 0 to 35"):
            ReplayedGovernment(rules, wrong)
    with pytest.raises(ConfigError, match="4 economies are played; choices of 2 episodes need 2 side by side"):
        play(ReplayedGovernment(rules, torch.zeros(5, 2, dtype=torch.int64)), 4)
