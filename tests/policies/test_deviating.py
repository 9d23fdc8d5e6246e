"""Deviations change what the deviators do, and nobody else's draws."""

from __future__ import annotations

import pytest
import torch

from rbc_marl import ConfigError, EconomyConfig
from rbc_marl.analysis.rollouts import play
from rbc_marl.config import AGENT_TYPES
from rbc_marl.policies.build import build_network
from rbc_marl.policies.deviating import DeviatingPolicies, Deviation, certain
from rbc_marl.policies.saved import PolicySet
from rbc_marl.policies.scripted import ScriptedPolicies, UniformPolicies
from rbc_marl.vector_env import VectorEconomy

ECONOMY = EconomyConfig(num_consumers=5, num_firms=3, horizon=3)
CHOICES = {"consumer": [1, 2, 3, 4, 2], "firm": [7], "government": [11]}
WHO = [("consumer", None), ("consumer", 3), ("firm", None), ("firm", 1), ("government", None)]


def network(agent_type, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_network(ECONOMY, agent_type, spec={"kind": "flat", "hidden": [8]}).requires_grad_(False)


@pytest.fixture(scope="module")
def trained():
    return PolicySet(ECONOMY, "symlog", {t: network(t, i) for i, t in enumerate(AGENT_TYPES)})


BASES = {
    "trained": lambda trained: trained,
    "rules": lambda _: ScriptedPolicies(ECONOMY),
    "dice": lambda _: UniformPolicies(ECONOMY),
}


def both(base, deviation, periods=3, seed=5):
    """Indices of every period, without and with a deviation, from the states of the play without it."""
    env = VectorEconomy(ECONOMY, 6, autoreset=False)
    observation, found = env.reset(), []
    generators = [torch.Generator().manual_seed(seed) for _ in range(2)]
    for _ in range(periods):
        plain = base.act(observation, generators[0], state=env.state)
        found.append((plain, DeviatingPolicies(base, deviation).act(observation, generators[1], state=env.state)))
        assert torch.equal(generators[0].get_state(), generators[1].get_state())
        observation, *_ = env.step(plain)
    return found


def others(indices, agent_type, agent):
    """Everything but the deviators' choices."""
    kept = dict(indices)
    if agent is None:
        del kept[agent_type]
    else:
        rest = [a for a in range(ECONOMY.agents(agent_type)) if a != agent]
        kept[agent_type] = indices[agent_type][:, rest]
    return kept


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("agent_type", "agent"), WHO)
@pytest.mark.parametrize("how", ["network", "choice"])
def test_nobody_else_draws_anything_else(trained, base, agent_type, agent, how):
    what = {"network": network(agent_type, 9)} if how == "network" else {"choice": torch.tensor(CHOICES[agent_type])}
    periods = both(BASES[base](trained), Deviation(agent_type, agent, **what))
    for plain, deviating in periods:
        expected, found = others(plain, agent_type, agent), others(deviating, agent_type, agent)
        assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert any(not torch.equal(plain[agent_type], deviating[agent_type]) for plain, deviating in periods)


@pytest.mark.parametrize(("agent_type", "agent"), WHO)
def test_the_deviators_make_their_constant_choice(trained, agent_type, agent):
    choice = torch.tensor(CHOICES[agent_type])
    for _, deviating in both(trained, Deviation(agent_type, agent, choice=choice)):
        own = deviating[agent_type].reshape(6, ECONOMY.agents(agent_type), -1)
        own = own if agent is None else own[:, agent : agent + 1]
        assert torch.equal(own, choice.expand_as(own))


def test_constants_may_differ_between_economies(trained):
    choice = torch.tensor([[0], [1], [2], [3], [4], [5]])
    for _, deviating in both(trained, Deviation("firm", 2, choice=choice)):
        assert deviating["firm"][:, 2].tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(("agent_type", "agent"), WHO)
def test_a_deviation_to_the_own_network_changes_no_episode(trained, agent_type, agent):
    own = Deviation(agent_type, agent, network=trained.networks[agent_type])
    plain, deviating = play(trained, 20, seed=3), play(DeviatingPolicies(trained, own), 20, seed=3)
    assert all(torch.equal(plain.returns[t], deviating.returns[t]) for t in AGENT_TYPES)
    other = play(DeviatingPolicies(trained, Deviation(agent_type, agent, network=network(agent_type, 9))), 20, seed=3)
    assert any(not torch.equal(plain.returns[t], other.returns[t]) for t in AGENT_TYPES)


def test_greedy_deviators_take_their_likeliest_choice_among_others_who_draw(trained):
    own = network("consumer", 9)
    env = VectorEconomy(ECONOMY, 6, autoreset=False)
    observation = env.reset()
    likeliest = own.distribution(own(observation["global"], observation["consumer"])[0]).mode()
    for seed in range(3):
        policies = DeviatingPolicies(trained, Deviation("consumer", 3, network=own, is_greedy=True))
        found = policies.act(observation, torch.Generator().manual_seed(seed))["consumer"]
        assert torch.equal(found[:, 3], likeliest[:, 3])
    assert not torch.equal(found[:, 0], likeliest[:, 0])


def test_where_all_consumers_deviate_greedily_they_still_draw_their_employers(trained):
    own = network("consumer", 9)
    observation = VectorEconomy(ECONOMY, 50, autoreset=False).reset()
    likeliest = own.distribution(own(observation["global"], observation["consumer"])[0]).mode()
    policies = DeviatingPolicies(trained, Deviation("consumer", network=own, is_greedy=True))
    found = policies.act(observation, torch.Generator().manual_seed(0))["consumer"]
    assert torch.equal(found[..., :-1], likeliest[..., :-1])
    assert len(found[..., -1].unique()) == ECONOMY.num_firms


def test_certainty_never_falls_on_a_forbidden_choice():
    own = network("government", 1)
    own.set_mask(torch.arange(36) == 4)
    logits = own(torch.zeros(2, own.shared_size), torch.zeros(2, 1, 0))[0]
    assert certain(logits, own.head_sizes).argmax(-1).flatten().tolist() == [4, 4]


def test_returns_of_an_episode_are_each_agents_rewards_added_up(trained):
    played = play(trained, 10, seed=1)
    for agent_type in AGENT_TYPES:
        name = f"{agent_type}_return"
        assert played.returns[agent_type].shape == (10, ECONOMY.agents(agent_type))
        torch.testing.assert_close(played.returns[agent_type].mean(1), played.quantities[name])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"agent_type": "firm", "agent": 3, "choice": torch.tensor([0])}, "agent 3 of type firm is not in this"),
        ({"agent_type": "firm", "choice": torch.tensor([0, 1])}, "does not fit the 1 choices of a firm"),
        ({"agent_type": "firm", "network": network("consumer", 0)}, "does not fit the 1 choices of a firm"),
        ({"agent_type": "bank", "choice": torch.tensor([0])}, "agent_type is 'bank'; it must be consumer, firm or"),
        ({"agent_type": "firm"}, "needs a network or a choice, and not both"),
    ],
)
def test_what_does_not_fit_is_refused(trained, arguments, message):
    with pytest.raises(ConfigError, match=message):
        DeviatingPolicies(trained, Deviation(**arguments))
