"""Networks that see firms alike: what that means, and that their number does not matter."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from rbc_marl import VectorEconomy, preset
from rbc_marl.analysis.rollouts import evaluate
from rbc_marl.config import AGENT_TYPES
from rbc_marl.economy import EconomyState
from rbc_marl.observations import ENCODINGS, observe, symlog
from rbc_marl.policies.build import build_network
from rbc_marl.policies.distributions import MASKED_LOGIT
from rbc_marl.policies.equivariant import PriceRanks
from rbc_marl.policies.saved import load_policies, save_policies

ECONOMY = preset("open", num_consumers=5, num_firms=4, labour_exponent=0.5, initial_capital=5000.0)
FIRM_FIELDS = ("price", "wage", "inventory", "overdemanded", "firm_budget", "capital", "labour_exponent")
ORDER = torch.tensor([2, 0, 3, 1])


def played(config, periods=4):
    """A state in which firms differ."""
    batch = VectorEconomy(config, num_envs=3, seed=1)
    batch.reset()
    for _ in range(periods):
        batch.step(batch.sample_actions())
    return batch.require_state()


def reordered(state: EconomyState) -> EconomyState:
    return dataclasses.replace(state, **{name: getattr(state, name)[:, ORDER] for name in FIRM_FIELDS})


def network(agent_type, config=ECONOMY, encoding="symlog", seed=0):
    torch.manual_seed(seed)
    return build_network(config, agent_type, encoding, {"kind": "equivariant", "hidden": [16, 16]})


@pytest.mark.parametrize("encoding", ENCODINGS)
class TestReorderedFirms:
    def pair(self, agent_type, encoding):
        state, net = played(ECONOMY), network(agent_type, encoding=encoding)
        for each in (state, reordered(state)):
            observation = observe(ECONOMY, each, encoding)
            yield net(observation["global"], observation[agent_type])

    def test_consumers_move_their_choices_with_the_firms(self, encoding):
        (logits, values), (moved, same_values) = self.pair("consumer", encoding)
        goods, hours, employers = logits[..., :44].unflatten(-1, (4, 11)), logits[..., 44:49], logits[..., 49:]
        assert torch.allclose(moved[..., :44].unflatten(-1, (4, 11)), goods[:, :, ORDER], atol=1e-5)
        assert torch.allclose(moved[..., 44:49], hours, atol=1e-5)
        assert torch.allclose(moved[..., 49:], employers[..., ORDER], atol=1e-5)
        assert torch.allclose(same_values, values, atol=1e-5)
        assert not torch.allclose(goods[:, :, 0], goods[:, :, 1])  # firms that differ are seen to differ

    def test_firms_move_with_their_places(self, encoding):
        (logits, values), (moved, moved_values) = self.pair("firm", encoding)
        assert torch.allclose(moved, logits[:, ORDER], atol=1e-5)
        assert torch.allclose(moved_values, values[:, ORDER], atol=1e-5)
        assert not torch.allclose(logits[:, 0], logits[:, 1])

    def test_the_government_does_not_see_the_order(self, encoding):
        (logits, values), (same, same_values) = self.pair("government", encoding)
        assert torch.allclose(same, logits, atol=1e-5)
        assert torch.allclose(same_values, values, atol=1e-5)


@pytest.mark.parametrize("agent_type", AGENT_TYPES)
def test_one_pass_gives_what_the_parts_give(agent_type):
    net, observation = network(agent_type), observe(ECONOMY, played(ECONOMY))
    features = net.features(observation["global"], observation[agent_type])
    logits, values = net(observation["global"], observation[agent_type])
    assert torch.equal(logits, net.logits(features)) and torch.equal(values, net.values(features))


def test_a_consumer_pools_over_firms_once_for_hours_and_value():
    net, observation, calls = network("consumer"), observe(ECONOMY, played(ECONOMY)), []
    net.pooled.register_forward_hook(lambda *_: calls.append(1))
    net(observation["global"], observation["consumer"])
    assert len(calls) == 1


@pytest.mark.parametrize("agent_type", AGENT_TYPES)
@pytest.mark.parametrize("firms", [1, 4, 25])
def test_weights_made_for_ten_firms_serve_any_number(agent_type, firms):
    made_for_ten = network(agent_type, preset("open"))
    config = preset("open", num_firms=firms, num_consumers=6)
    other = network(agent_type, config, seed=1)
    other.load_state_dict(made_for_ten.state_dict())
    observation = observe(config, played(config))
    logits, values = other(observation["global"], observation[agent_type])
    assert logits.shape == (3, config.agents(agent_type), sum(other.head_sizes))
    assert values.shape == (3, config.agents(agent_type))
    assert logits.isfinite().all()


@pytest.mark.parametrize("agent_type", ["firm", "government"])
def test_masks_hold(agent_type):
    net = network(agent_type)
    allowed = torch.zeros(sum(net.head_sizes), dtype=torch.bool)
    allowed[3] = True
    net.set_mask(allowed)
    observation = observe(ECONOMY, played(ECONOMY))
    logits, _ = net(observation["global"], observation[agent_type])
    assert ((logits > MASKED_LOGIT / 2) == allowed).all()
    assert (net.distribution(logits).sample() == 3).all()


def test_some_firms_alone_get_what_they_get_among_all():
    net = network("firm")
    observation = observe(ECONOMY, played(ECONOMY))
    together, _ = net(observation["global"], observation["firm"])
    alone, _ = net(observation["global"], observation["firm"][:, [2]])
    assert torch.allclose(alone[:, 0], together[:, 2], atol=1e-6)


@pytest.mark.parametrize("firms", [1, 4, 25])
def test_saved_policies_play_in_an_economy_with_another_number_of_firms(tmp_path, firms):
    specs = {t: {"kind": "equivariant", "hidden": [16, 16]} for t in AGENT_TYPES}
    save_policies(tmp_path, ECONOMY, "symlog", {t: network(t) for t in AGENT_TYPES}, specs, {})
    policies = load_policies(tmp_path, economy={"num_firms": firms, "export_quota": 7.0})
    assert (policies.config.num_firms, policies.config.export_quota) == (firms, 7.0)
    assert policies.config.num_consumers == ECONOMY.num_consumers
    means = evaluate(policies, 4).means
    assert all(math.isfinite(value) for value in means.values())
    assert means != evaluate(load_policies(tmp_path), 4).means


def test_saved_and_loaded_they_decide_the_same(tmp_path):
    networks = {t: network(t) for t in AGENT_TYPES}
    specs = {t: {"kind": "equivariant", "hidden": [16, 16]} for t in AGENT_TYPES}
    save_policies(tmp_path, ECONOMY, "symlog", networks, specs, {})
    policies = load_policies(tmp_path)
    observation = observe(ECONOMY, played(ECONOMY))
    for agent_type, net in networks.items():
        expected, _ = net(observation["global"], observation[agent_type])
        found, _ = policies.networks[agent_type](observation["global"], observation[agent_type])
        assert torch.equal(found, expected)


def test_consumers_see_wages_after_income_tax():
    state = played(ECONOMY)
    halved = dataclasses.replace(state, wage=0.5 * state.wage, income_tax=torch.zeros_like(state.income_tax))
    taxed = dataclasses.replace(state, income_tax=torch.full_like(state.income_tax, 0.5))
    net = network("consumer")
    (own, common), (taxed_own, taxed_common) = (
        net.split(observe(ECONOMY, each)["global"]) for each in (halved, taxed)
    )
    assert torch.allclose(own, taxed_own)
    differs = (~torch.isclose(common, taxed_common)).any(0)
    assert differs.tolist() == [True] + [False] * (len(differs) - 1)  # the rate itself is seen beside it


def test_prices_are_ranked_beside_the_cheaper_ones():
    price = torch.tensor([[0.2, 1.0, 0.4, 0.4]])
    share, ratio, cost = PriceRanks(ECONOMY)(price).unbind(-1)
    assert share[0].tolist() == pytest.approx([0.0, 0.75, 0.25, 0.25])
    assert ratio[0].tolist() == pytest.approx([0.0, *(math.log((p + 0.04) / 0.24) for p in (1.0, 0.4, 0.4))], abs=1e-6)
    money = 10 * 2500
    expected = symlog(torch.tensor([0.0, (0.2 + 0.4 + 0.4) * money, 0.2 * money, 0.2 * money]))
    torch.testing.assert_close(cost[0], expected)


def test_a_consumer_who_ranks_prices_treats_firms_alike():
    network = build_network(ECONOMY, "consumer", spec={"kind": "equivariant", "ranks_prices": True})
    state = played(ECONOMY)
    moved = dataclasses.replace(state, **{name: getattr(state, name)[:, ORDER] for name in FIRM_FIELDS})
    goods = []
    for each in (state, moved):
        seen = observe(ECONOMY, each)
        goods.append(network(seen["global"], seen["consumer"])[0][..., :44].unflatten(-1, (4, 11)))
    torch.testing.assert_close(goods[0][:, :, ORDER], goods[1])
