"""What agents see off the path: employers, hours, prices and taxes of rules, as known answers."""

from __future__ import annotations

import json

import pytest
import torch

from rbc_marl import EconomyConfig, VectorEconomy
from rbc_marl.analysis.off_path import off_path
from rbc_marl.analysis.pricing import ConstantPrice, pricing
from rbc_marl.analysis.rollouts import play
from rbc_marl.analysis.situations import decide, situations
from rbc_marl.analysis.taxing import taxing
from rbc_marl.analysis.working import working
from rbc_marl.config import AGENT_TYPES
from rbc_marl.policies.build import build_network
from rbc_marl.policies.saved import PolicySet
from rbc_marl.policies.scripted import Rules, ScriptedPolicies, UniformPolicies

CONFIG = EconomyConfig(num_consumers=20, num_firms=5)
# Consumers work without pay and have no money: all that is sold is exported.
EXPORTERS = EconomyConfig(num_consumers=4, num_firms=3, initial_consumer_budget=0.0, consumer_grant=0.0)


def exporters(**rules):
    return ScriptedPolicies(EXPORTERS, Rules(wage=0.0, work="always", **rules))


def test_a_situation_is_the_middle_of_an_episode_and_follows_from_the_seed():
    policies = UniformPolicies(CONFIG)
    state, _ = situations(policies, 4, seed=3)
    assert state.time.tolist() == [5.0] * 4
    again, other = (situations(policies, 4, seed=seed)[0] for seed in (3, 4))
    assert torch.equal(state.price, again.price)
    assert not torch.equal(state.price, other.price)


def test_decisions_are_those_of_the_policies_in_the_state():
    policies = ScriptedPolicies(CONFIG, "cost_plus")
    state, _ = situations(policies, 2)
    assert (decide(policies, state, dtype=torch.float64).wage == 11.0).all()


def test_of_trained_policies_only_the_type_that_is_read_is_asked():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        spec = {"kind": "flat", "hidden": [4]}
        networks = {name: build_network(CONFIG, name, "symlog", spec) for name in AGENT_TYPES}
    policies = PolicySet(CONFIG, "symlog", networks)
    state, _ = situations(policies, 3)

    def drawn(policies, **only):
        return decide(policies, state, torch.Generator().manual_seed(1), **only)

    alone = {name: drawn(PolicySet(CONFIG, "symlog", {name: networks[name]}), only=name) for name in AGENT_TYPES}
    assert torch.equal(alone["consumer"].demand, drawn(policies).demand)  # consumers draw first
    assert alone["firm"].price.unique().numel() > 1 and alone["government"].income_tax.unique().numel() > 1
    assert torch.equal(drawn(UniformPolicies(CONFIG), only="firm").price, drawn(UniformPolicies(CONFIG)).price)


@pytest.mark.parametrize("rules", ["rational", "monopoly", "full_employment"])
def test_workers_who_join_the_best_payer_have_all_of_the_possible_gain(rules):
    assert working(ScriptedPolicies(CONFIG, rules)).share == pytest.approx(1.0)


def test_workers_who_draw_their_employer_have_nothing_of_it_and_see_no_wage_and_no_tax():
    measured = working(UniformPolicies(CONFIG), 256)
    assert measured.share == pytest.approx(0.0, abs=0.03)
    assert list(measured.hours_by_wage) == list(CONFIG.wage_choices)
    for hours in measured.hours_by_wage.values():
        assert hours == pytest.approx(520 * 20 / 5, rel=0.08)
    for hours in measured.hours_by_income_tax.values():
        assert hours == pytest.approx(520, rel=0.05)


def test_a_firm_that_pays_more_than_the_others_gets_all_workers_and_taxes_keep_them_at_home():
    # All others pay 11. An hour costs at most 0.005, and 11 buys 0.0044 units, 22 twice as much.
    measured = working(ScriptedPolicies(CONFIG, "monopoly"), 10)
    assert measured.hours_by_wage[0] == 0
    assert 0 < measured.hours_by_wage[11] < 5000
    assert [measured.hours_by_wage[wage] for wage in (22, 33, 44)] == [20800.0] * 3
    hours = list(measured.hours_by_income_tax.values())
    assert hours == sorted(hours, reverse=True)
    assert hours[0] == pytest.approx(measured.hours_by_wage[11] * 5 / 20, rel=0.2)
    assert hours[-1] == 0


@pytest.mark.parametrize(
    ("policies", "share"),
    [
        (ScriptedPolicies(CONFIG, "idle"), None),
        (ScriptedPolicies(CONFIG.replace(wage_choices=(11.0,)), "full_employment"), None),
        (ScriptedPolicies(EconomyConfig(num_consumers=1, num_firms=1, horizon=1), "full_employment"), None),
    ],
)
def test_where_there_is_no_employer_to_gain_by_there_is_no_share(policies, share):
    assert working(policies, 3).share is share


def test_exporters_gain_by_the_highest_price_in_proportion():
    measured = pricing(exporters(price=1000.0), episodes=2)
    assert [each.firm for each in measured.firms] == [0, 1, 2]
    for each in measured.firms:
        assert each.own > 0
        # What the firm invests adds to its stock, and a price below that of exports sells nothing.
        assert each.gains[1000.0] == 0
        assert each.gains[0.0] == pytest.approx(-each.own)
        assert each.gains[2000.0] >= 0.99 * each.own
        assert each.best_price == 2500.0
        assert each.gains_surely
    assert "3 of 3 firms gain by a constant price (2,500: 0, 1, 2)" in measured.describe()


def test_who_posts_the_best_price_gains_by_none():
    measured = pricing(exporters(price=2500.0), episodes=2, firms=2)
    assert [each.firm for each in measured.firms] == [0, 1]
    assert all(each.gains[2500.0] == 0 and not each.gains_surely for each in measured.firms)
    assert measured.describe() == "none of 2 firms gains by a constant price"


def test_a_constant_price_leaves_everything_else_as_it_is():
    config = CONFIG.replace(investment_choices=(0.0, 0.1, 0.2))
    policies, observation = UniformPolicies(config), VectorEconomy(config, 6).reset()
    constant = ConstantPrice(policies, 2, 4)
    plain, changed = (p.act(observation, torch.Generator().manual_seed(0)) for p in (policies, constant))
    assert torch.equal(changed["firm"][:, 2], 4 * 15 + plain["firm"][:, 2] % 15)
    others = torch.arange(5) != 2
    assert torch.equal(changed["firm"][:, others], plain["firm"][:, others])
    assert torch.equal(changed["consumer"], plain["consumer"])


def test_a_corporate_tax_costs_what_it_takes_and_the_own_taxes_gain_nothing():
    # Consumers have nothing to spend money on: what is taken from firms is lost to welfare.
    config = EXPORTERS.replace(consumption_choices=(0.0,), investment_choices=(0.0,))
    policies = ScriptedPolicies(config, Rules(wage=0.0, work="always", corporate_tax=0.2))
    measured = taxing(policies, episodes=2)
    assert measured.own == pytest.approx((0.0, 0.2), abs=1e-6)
    assert sorted(measured.gains) == [(i, c) for i in (0.0, 0.2) for c in (0.0, 0.2, 0.4)]
    assert measured.gains[0.0, 0.2] == 0
    kept = float(play(policies, 2, slab=2).returns["firm"].sum(1).mean())
    taken = 0.2 * config.firm_welfare_weight * kept / (1 - 0.2)
    for income in (0.0, 0.2):  # nobody is paid
        assert measured.gains[income, 0.4] == pytest.approx(-taken, rel=1e-3)
        assert measured.gains[income, 0.0] == pytest.approx(taken, rel=1e-3)
    assert measured.best[1] == 0.0


@pytest.mark.parametrize(
    "fields",
    [
        {"num_consumers": 1, "num_firms": 1},
        {"horizon": 1},
        {"price_choices": (1000.0,), "wage_choices": (11.0,), "income_tax_choices": (0.5,)},
        {"income_tax_choices": (0.4, 0.0), "corporate_tax_choices": (1.0, 0.0, 0.5)},
    ],
)
def test_odd_economies_are_measured_as_plain_data_and_in_three_lines(fields):
    config = EconomyConfig(**{"num_consumers": 3, "num_firms": 2} | fields)
    for policies in (UniformPolicies(config), ScriptedPolicies(config, "rational")):
        measured = off_path(policies)
        assert set(json.loads(json.dumps(measured.to_dict(), allow_nan=False))) == {"working", "pricing", "taxing"}
        assert [line.partition(":")[0] for line in measured.lines()] == ["working", "pricing", "taxing"]
