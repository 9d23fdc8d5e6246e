"""Knots: single numbers that all agents see have weights of their own at evenly spaced values."""

from __future__ import annotations

import json

import pytest
import torch

from rbc_marl import ConfigError, VectorEconomy, preset
from rbc_marl.config import AGENT_TYPES
from rbc_marl.observations import common_ranges
from rbc_marl.policies.build import NetworkSpec, build_network
from rbc_marl.policies.knots import Knots
from rbc_marl.policies.networks import FlatNetwork
from rbc_marl.policies.saved import load_policies, save_policies
from rbc_marl.policies.stacked import stacked

HORIZON = 6
SHOCKS = {
    "export_quota": {"kind": "drawn", "values": [10, 20, 40], "scale": "log"},
    "technology": {"kind": "ar1", "persistence": 0.5, "deviation": 0.1, "news": 1},
    "consumer_grant": {"kind": "markov", "values": [1.0, 2.0], "transition": [[0.5, 0.5], [0.5, 0.5]]},
}
CONFIG = preset("open", num_consumers=4, num_firms=3, horizon=HORIZON, shocks=SHOCKS)
COUNTS = {"time": HORIZON, "export_quota": 3, "technology": 7, "income_tax": 2}
EVERY = [(agent_type, kind) for agent_type in AGENT_TYPES for kind in ("flat", "equivariant")]


def played(config=CONFIG, encoding="symlog"):
    """Observations of all periods of a batch, one after another, with drawn actions."""
    env = VectorEconomy(config, num_envs=16, encoding=encoding, seed=1)
    seen = [env.reset()]
    for _ in range(config.horizon - 1):
        seen.append(env.step(env.sample_actions())[0])
    return seen


def made(agent_type, kind="flat", counts=COUNTS, config=CONFIG):
    """A network with knots that have learnt something."""
    torch.manual_seed(0)
    network = build_network(config, agent_type, "symlog", {"kind": kind, "hidden": [8, 8], "knots": counts})
    torch.nn.init.normal_(network.knots.layer.weight)
    return network


@pytest.mark.parametrize("encoding", ["symlog", "digits"])
def test_as_many_knots_as_periods_or_values_tell_each_of_them_apart(encoding):
    times = Knots(CONFIG, encoding, {"time": HORIZON}, 1)
    quotas = Knots(CONFIG, encoding, {"export_quota": 3}, 1)  # of which each is twice the one before
    seen = played(encoding=encoding)
    for period, observation in enumerate(seen):
        expected = torch.eye(HORIZON)[period].expand(16, -1)
        torch.testing.assert_close(times.hats(observation["global"]), expected, atol=1e-5, rtol=0)
    hats = quotas.hats(seen[0]["global"])
    torch.testing.assert_close(hats.sort(-1).values, torch.tensor([0.0, 0.0, 1.0]).expand(16, -1), atol=1e-5, rtol=0)
    assert (hats > 0.5).any(0).all()


def test_what_enters_the_layer_has_a_mean_square_of_one_over_the_periods():
    knots = Knots(CONFIG, "symlog", {"time": HORIZON}, HORIZON)
    with torch.no_grad():
        knots.layer.weight.copy_(torch.eye(HORIZON))
    entered = torch.cat([knots(observation["global"]) for observation in played()])
    torch.testing.assert_close(entered.square().mean(0), torch.ones(HORIZON), atol=1e-4, rtol=0)


def test_between_knots_both_neighbours_count_and_beyond_the_last_one_nothing_more_is_added():
    knots = Knots(CONFIG, "symlog", {"technology": 4}, 1)  # at -3, -1, 1 and 3 standard deviations; a period of news
    (now, ahead), low, high = common_ranges(CONFIG)["technology"]
    assert (low, high) == (-3.0, 3.0)
    shared = torch.rand(5, FlatNetwork(CONFIG, "government", "symlog", (1,)).shared_size)
    shared[:, now] = torch.tensor([-1.0, 0.0, 0.5, 3.0, 9.0])
    shared[:, ahead] = -20.0
    expected = [[0, 1, 0, 0], [0, 0.5, 0.5, 0], [0, 0.25, 0.75, 0], [0, 0, 0, 1], [0, 0, 0, 1]]
    hats = knots.hats(shared)
    torch.testing.assert_close(hats[:, :4], torch.tensor(expected))
    torch.testing.assert_close(hats[:, 4:], torch.tensor([1.0, 0, 0, 0]).expand(5, -1))


def test_ranges_are_those_of_what_is_seen():
    ranges = common_ranges(CONFIG)
    seen = torch.cat([observation["global"] for observation in played()])
    for name, (columns, low, high) in ranges.items():
        values = seen[:, list(columns)]
        assert name == "technology" or (values.min() >= low - 1e-6 and values.max() <= high + 1e-6)
        if name in ("time", "export_quota", "consumer_grant"):
            assert (float(values.min()), float(values.max())) == pytest.approx((low, high), abs=1e-6)


@pytest.mark.parametrize(("agent_type", "kind"), EVERY)
def test_a_network_begins_as_without_knots_and_so_do_those_made_after_it(agent_type, kind):
    observation = played()[2]
    outputs = []
    for counts in ({}, COUNTS):
        torch.manual_seed(3)
        network = build_network(CONFIG, agent_type, "symlog", {"kind": kind, "knots": counts})
        outputs.append((*network(observation["global"], observation[agent_type]), torch.rand(3)))
    assert all(torch.equal(one, other) for one, other in zip(*outputs, strict=True))


@pytest.mark.parametrize(("agent_type", "kind"), EVERY)
def test_the_weights_of_a_period_change_what_agents_do_in_it_and_in_no_other(agent_type, kind):
    network = made(agent_type, kind, {"time": HORIZON})
    seen = played()
    before = [network(x["global"], x[agent_type]) for x in seen]
    with torch.no_grad():
        network.knots.layer.weight[:, 4] += 3.0
    for period, (x, was) in enumerate(zip(seen, before, strict=True)):
        now = network(x["global"], x[agent_type])
        is_same = all(torch.allclose(a, b, atol=1e-3) for a, b in zip(now, was, strict=True))
        assert is_same is (period != 4)


@pytest.mark.parametrize(("agent_type", "kind"), EVERY)
def test_stacked_over_runs_each_computes_and_learns_what_it_would_alone(agent_type, kind):
    networks = [made(agent_type, kind).double() for _ in range(2)]
    torch.nn.init.normal_(networks[1].knots.layer.weight)
    whole = stacked(networks)
    observation = {name: part.double() for name, part in played()[3].items()}
    shared, private = observation["global"], observation[agent_type]
    logits, _ = whole(shared, private)
    logits.sin().sum().backward()
    for run, network in enumerate(networks):
        rows = slice(8 * run, 8 * run + 8)
        own, _ = network(shared[rows], private[rows])
        own.sin().sum().backward()
        torch.testing.assert_close(logits[rows], own)
        torch.testing.assert_close(whole.knots.layer.weight.grad[run], network.knots.layer.weight.grad)
    assert whole.knots.layer.weight.grad.abs().sum() > 0


def test_saved_policies_describe_their_knots_and_are_read_back_for_one_economy_of_a_family(tmp_path):
    counts = {"consumer": COUNTS, "firm": {"export_quota": 3}, "government": {}}
    specs = {t: {"kind": "flat", "hidden": [8, 8], "knots": counts[t]} for t in AGENT_TYPES}
    networks = {t: made(t, counts=counts[t]) if counts[t] else build_network(CONFIG, t) for t in AGENT_TYPES}
    specs["government"] = "flat"
    save_policies(tmp_path, CONFIG, "symlog", networks, specs)
    described = json.loads((tmp_path / "policies.json").read_text())["networks"]
    assert described["firm"]["knots"] == {"export_quota": 3}
    assert described["government"] == {"kind": "flat", "hidden": [128, 128]}  # as it was before there were knots
    policies = load_policies(tmp_path, economy={"export_quota": 20})
    assert policies.specs["consumer"].knots == COUNTS
    x = played(policies.config)[0]
    for agent_type, network in networks.items():
        logits, _ = network(x["global"], x[agent_type])
        assert torch.equal(policies.logits(x)[agent_type], logits)


def test_equivariant_networks_take_their_knots_along_to_another_number_of_firms():
    counts = {"time": HORIZON, "export_quota": 3}
    larger = CONFIG.replace(num_firms=5, num_consumers=10)
    for agent_type in ("consumer", "government"):
        network = made(agent_type, "equivariant", counts)
        with torch.no_grad():  # what is left of the first layer are knots: of the time and the quota alone
            network.own_layer.weight.zero_(), network.common_layer.weight.zero_()
        values = []
        for config in (CONFIG, larger):
            x = played(config)[2]
            private = x[agent_type][:, :1].zero_()
            values.append(network(x["global"], private)[1])
        torch.testing.assert_close(*values)


class OwnNetwork(FlatNetwork):
    """Passes its settings on."""


@pytest.mark.parametrize(
    ("knots", "message"),
    [
        ({"time": 0}, "networks.firm.knots.time is 0; it must be at least 2"),
        ({"time": 1}, "networks.firm.knots.time is 1; it must be at least 2"),
        ({"time": 2.5}, "networks.firm.knots.time is 2.5; it must be a whole number"),
        ({"time": 100_000}, "networks.firm.knots.time is 100000; it must be at most 1024"),
        ({"tme": 6}, 'knots.tme is no single number that all agents see; there are .* did you mean "time"'),
        ({"price": 6}, "knots.price is no single number that all agents see; there are time, income_tax, corporate_"),
        ({"crra": 6}, "knots.crra is no single number that all agents see; there are .*, technology, export_quota"),
        (6, "networks.firm.knots is 6; it must be a mapping, such as {time: 10}"),
    ],
)
def test_knots_that_cannot_be_are_refused_in_a_line(knots, message):
    with pytest.raises(ConfigError, match=message) as error:
        build_network(CONFIG, "firm", "symlog", {"kind": "flat", "knots": knots})
    assert "\n" not in str(error.value)


def test_a_class_of_ones_own_passes_knots_on_and_is_refused_alike():
    assert NetworkSpec.of({"kind": OwnNetwork, "knots": {"time": 6}}).build(CONFIG, "firm", "symlog").knots is not None
    with pytest.raises(ConfigError, match=r"OwnNetwork cannot be made and run: .*knots.time is 1; it must be at least"):
        build_network(CONFIG, "firm", "symlog", {"kind": OwnNetwork, "knots": {"time": 1}})
