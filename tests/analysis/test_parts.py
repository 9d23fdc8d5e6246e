"""What reads the economy's formulas elsewhere goes by its parts: rules, yardsticks, learners' values, verdicts."""

from __future__ import annotations

import dataclasses
from itertools import product

import pytest
import torch

from rbc_marl import ConfigError, EconomyConfig
from rbc_marl.analysis.equivalents import consumption_equivalent
from rbc_marl.analysis.indicators import indicators
from rbc_marl.analysis.outcomes import outcome, reason, reference_welfare
from rbc_marl.analysis.planner import plan
from rbc_marl.analysis.rollouts import Evaluation, play
from rbc_marl.analysis.searches import best_alternatives
from rbc_marl.analysis.shopping import baskets, shopping
from rbc_marl.economy import initial_state, period
from rbc_marl.economy.baskets import _greedy_steps, best_utility, unit_steps
from rbc_marl.economy.own_choices import market_of, require_own_values
from rbc_marl.policies.logit_response import LogitResponse, OwnValues, logit_response_loss
from rbc_marl.policies.rational import plan as rational_plan
from rbc_marl.policies.scripted import ScriptedPolicies, UniformPolicies
from rbc_marl.report.verdict import _welfare
from rbc_marl.starts import save_starts
from tests.economy.test_mechanics import SMALL, played

CONFIG = EconomyConfig(**SMALL)
PRICES = torch.tensor([[500.0, 700.0, 2000.0], [1.0, 2500.0, 40.0]], dtype=torch.float64)


def of(**fields):
    return CONFIG.replace(**fields)


# Baskets


@pytest.mark.parametrize("supply", [None, torch.tensor([[3.0, 20.0, 0.0], [0.0, 4.0, 9.0]], dtype=torch.float64)])
def test_the_greedy_steps_of_a_sum_over_goods_are_the_sorted_ones(supply):
    config = EconomyConfig(num_firms=3, crra=0.7, consumption_choices=(0.0, 1.0, 3.0, 4.0))
    units = torch.tensor(config.consumption_choices, dtype=torch.float64)
    greedy, by_value = _greedy_steps(config, PRICES, units, supply), unit_steps(config, PRICES, supply)
    assert torch.equal(greedy.rank, by_value.rank)
    torch.testing.assert_close(greedy.cost, by_value.cost)
    torch.testing.assert_close(greedy.utility, by_value.utility)


@pytest.mark.parametrize("utility", ["basket", {"kind": "basket", "substitution": 5.0}, "ghh"])
def test_the_best_utility_of_a_basket_is_no_less_than_that_of_any_basket(utility):
    config = EconomyConfig(num_firms=3, crra=0.5, utility=utility, consumption_choices=tuple(map(float, range(5))))
    money = torch.tensor([[1500.0, 6000.0]] * 2, dtype=torch.float64)
    found = best_utility(config, PRICES, money)
    fine = torch.tensor(list(product([0.25 * i for i in range(17)], repeat=3)), dtype=torch.float64)
    value = config.utility.of_goods(fine.T.unsqueeze(0), config)[0]
    for row, price in enumerate(PRICES):
        for column, budget in enumerate(money[row]):
            best = value[fine @ price <= budget].max()
            assert 0.999 * best <= found[row, column] <= 1.02 * best + 0.02


@pytest.mark.parametrize(
    "fields", [{}, {"utility": "ghh", "crra": 0.5, "labour_disutility": 0.01}, {"wage_tax": "brackets"}]
)
def test_rational_consumers_plan_the_hours_that_are_worth_most(fields):
    config = EconomyConfig(num_consumers=2, num_firms=2, horizon=2, **{"labour_disutility": 2.0, **fields})
    state = dataclasses.replace(
        initial_state(config, 1, dtype=torch.float64),
        wage=torch.tensor([[11.0, 22.0]], dtype=torch.float64),
        income_tax=torch.tensor([0.4], dtype=torch.float64),
        consumer_budget=torch.tensor([[0.0, 500.0]], dtype=torch.float64),
    )
    hours = torch.tensor(sorted(config.hours_choices), dtype=torch.float64)
    steps = unit_steps(config, state.price)
    found = rational_plan(config, state, steps, hours).hours

    def value(consumer, worked):  # money now buys now, or an even part of all money where there is less to come
        pay = 22.0 * torch.tensor([[worked]], dtype=torch.float64)
        income = float(pay - config.wage_tax.paid(pay, state.income_tax.view(1, 1)))
        money = float(state.consumer_budget[0, consumer])
        now, later = (money, income) if income > money else ((money + income) / 2,) * 2
        theta = state.labour_disutility[0, consumer]
        effort = config.disutility.effort(torch.tensor(worked, dtype=torch.float64), theta)
        goods = [steps.utility_of(torch.tensor([[x]], dtype=torch.float64)) for x in (now, later)]
        return sum(float(config.utility.with_effort(g, e, config)) for g, e in zip(goods, (effort, 0 * effort)))  # noqa: B905

    for consumer in range(2):
        best = max(hours.tolist(), key=lambda worked: value(consumer, worked))
        assert float(found[0, consumer]) == best


@pytest.mark.parametrize(("rules", "asked"), [("monopoly", 2), ("rational", 3)])
def test_rules_buy_no_more_than_the_tax_on_goods_leaves(rules, asked):
    config = of(consumption_tax=0.5, initial_price=500.0, horizon=1)
    state = initial_state(config, 1, dtype=torch.float64)
    indices = ScriptedPolicies(config, rules).act({}, greedy=True, state=state)
    units = indices["consumer"][0, :, : config.num_firms].sum(-1)
    # 2000 of money pay for two at 750; without the tax for four. The rational ask for one more, and are scaled down.
    assert (units == asked).all()


@pytest.mark.parametrize(("wage", "hours"), [(8.0, 0.0), (12.0, 1040.0)])
def test_the_hours_that_a_rule_finds_worthwhile_are_all_those_that_it_would_work(wage, hours):
    power = {"kind": "power", "usual": 260.0}  # of 1040 hours each costs 0.01 on average, of the first hardly anything
    fields = {"labour_disutility": 0.01, "labour_disutility_pareto_shape": None, "initial_price": 1000.0}
    config = of(disutility=power, initial_wage=wage, **fields)
    state = initial_state(config, 1, dtype=torch.float64)
    indices = ScriptedPolicies(config, "monopoly").act({}, greedy=True, state=state)
    assert (torch.tensor(config.hours_choices)[indices["consumer"][..., -2]] == hours).all()


# Learners' values


def test_brackets_of_one_rate_teach_what_a_flat_tax_does():
    flat = of(initial_wage=20.0)
    brackets = flat.replace(wage_tax={"kind": "brackets", "thresholds": [3000.0], "factors": [1.0, 1.0]})
    losses = []
    for config in (flat, brackets):
        state, actions, _, _ = played(config)
        wage = torch.tensor([[10.0, 30.0], [20.0, 5.0]], dtype=torch.float64)
        state = dataclasses.replace(state, wage=wage, income_tax=torch.full_like(state.income_tax, 0.3))
        _, flows = period(config, state, actions)
        market = market_of(config, state, flows)
        draw = torch.Generator().manual_seed(2)
        shape = (2, config.num_consumers, config.num_firms, len(config.consumption_choices))
        consumption = torch.rand(shape, generator=draw, dtype=torch.float64)
        values = OwnValues(consumption, torch.full(shape[:2], 1e-3).double(), market.net_wage, market.labour_disutility)
        size = shape[2] * shape[3] + len(config.hours_choices) + config.num_firms
        logits = torch.rand(2, shape[1], size, generator=draw, dtype=torch.float64)
        losses.append(logit_response_loss(config, logits, values, LogitResponse(), 1.0)[0])
    assert values.net_wage.dim() == 3
    torch.testing.assert_close(losses[0], losses[1])


@pytest.mark.parametrize("utility", ["basket", "ghh"])
def test_choices_have_no_values_of_their_own_where_goods_depend_on_each_other(utility):
    with pytest.raises(ConfigError, match=f"^logit_response needs a utility that is a sum over goods, .*{utility}"):
        require_own_values(of(utility=utility), "logit_response")
    require_own_values(of(utility="cara"), "logit_response")
    policies, deviator = UniformPolicies(of(utility=utility)), type("Deviator", (), {"agent_type": "consumer"})()
    assert best_alternatives(policies, deviator, torch.zeros(1), 0) == []


# Yardsticks


def test_the_planner_of_another_sum_over_goods_is_no_worse_than_any_allocation():
    config = EconomyConfig(num_consumers=20, num_firms=2, open_economy=False, utility={"kind": "cara", "aversion": 0.3})
    best = plan(config).welfare
    exponents, capitals = (torch.tensor(x, dtype=torch.float64) for x in (config.labour_exponents, config.capitals))
    cost = 0.005 * (1 - torch.arange(20, dtype=torch.float64) / 20) ** 0.25
    found = []
    for total, share in product(torch.linspace(0, 20 * 1040, 80).tolist(), torch.linspace(0, 1, 41).tolist()):
        hours = total * torch.tensor([share, 1 - share], dtype=torch.float64)
        units = 0.01 * capitals ** (1 - exponents) * hours**exponents / 20
        taken = (total - 1040.0 * torch.arange(19, -1, -1)).clamp(0, 1040)
        utility = 20 * float(config.utility.of_good(units.clamp(max=10.0), config).sum())
        found.append(9 * (utility - float((taken * cost).sum())))
    assert max(found) <= best * (1 + 1e-9) and max(found) > 0.98 * best


MOVING = {"shocks": {"technology": {"kind": "path", "values": [0.02]}}}


@pytest.mark.parametrize("fields", [{"production": "ces"}, {"utility": "ghh"}, {"depreciation": 0.1}, MOVING])
def test_a_closed_economy_without_a_planner_is_judged_without_one(fields):
    config = of(open_economy=False, **fields)
    with pytest.raises(ConfigError, match=r"^there is no planner with "):
        plan(config)
    episodes = play(ScriptedPolicies(config, "monopoly"), 2, record=True)
    assert indicators(episodes)["planner_share"] is None
    means = Evaluation.of(episodes).means
    assert outcome(config, {**means, "middle_sales": 1.0, "welfare_total": 1.0}) == "living"


def test_a_closed_economy_with_a_warm_start_is_told_of_without_what_its_endowments_say(tmp_path):
    closed = of(open_economy=False)
    save_starts(tmp_path / "starts.safetensors", initial_state(closed, 2))
    warm = closed.replace(start=str(tmp_path / "starts.safetensors"))
    found = indicators(play(ScriptedPolicies(warm, "monopoly"), 2, record=True))
    assert found["planner_share"] is None and found["firms_money_share"] is None
    assert reason(warm, "living", {"trade_periods": 3.0}).endswith(f"trade in 3 of {warm.horizon} periods")


def test_an_economy_is_judged_by_the_welfare_that_its_government_maximises():
    config = of(welfare="rawls")
    means = play(ScriptedPolicies(config, "cost_plus"), 256).quantities["government_return"].mean()
    assert reference_welfare(config, "cost_plus") == pytest.approx(float(means), rel=1e-6)
    enough = reference_welfare(config)
    good = {"hours": 500.0, "middle_sales": 1.0, "welfare_consumers": 0.0, "welfare_total": 0.0}
    assert outcome(config, {**good, "government_return": enough}) == "living"
    assert outcome(config, {**good, "government_return": 0.5 * enough if enough > 0 else 2.0 * enough}) == "impaired"
    line = _welfare(config, {"government_return": 2.0 * enough}, "best")
    assert line.startswith("its welfare rawls is 200% of that of the best rule-based economy")


def test_a_welfare_below_zero_is_no_verdict_where_a_part_defines_it():
    bare = of(welfare={"kind": "nash", "least": 0.0})
    reference = reference_welfare(bare, "cost_plus")
    good = {"hours": 500.0, "middle_sales": 1.0, "welfare_consumers": 1.0, "welfare_total": 1.0}
    assert reference < 0.0
    assert outcome(bare, {**good, "government_return": reference}, "cost_plus") == "living"
    assert outcome(bare, {**good, "government_return": 2.0 * reference}, "cost_plus") == "impaired"
    closed = of(welfare="rawls", open_economy=False, production="ces")  # for which there is no planner
    assert outcome(closed, {**good, "government_return": -1.0}) == "living"
    assert outcome(closed, {**good, "government_return": -1.0, "welfare_consumers": -1.0}) == "impaired"


@pytest.mark.parametrize("fields", [{"utility": "basket"}, {"utility": "ghh"}, {"consumption_tax": 0.5}])
def test_shopping_is_measured_with_any_part(fields):
    config = EconomyConfig(num_consumers=4, num_firms=3, **fields)
    blind, rational = (shopping(UniformPolicies(config), 8), shopping(ScriptedPolicies(config, "monopoly"), 8))
    assert blind.share < 0.5 < rational.share <= 1.01


def test_baskets_at_given_prices_are_paid_with_the_tax_on_goods():
    config = EconomyConfig(num_consumers=4, num_firms=3, consumption_tax=0.5)
    price = torch.full((2, 3), 1000.0, dtype=torch.float64)
    units = baskets(UniformPolicies(config), price, 3000.0, 11.0)
    assert float(units.sum(-1).max()) == pytest.approx(3000.0 / 1500.0)


def test_shares_of_consumption_are_those_of_one_utility_in_which_goods_stand_alone():
    home, other = (play(UniformPolicies(of(utility=u)), 2, baskets=True) for u in ("crra", "cara"))
    with pytest.raises(ConfigError, match=r"^utility is crra in one economy and \{kind: cara, aversion: 0.1\} in the "):
        consumption_equivalent(home, other)
    same = play(UniformPolicies(of(utility="cara")), 2, baskets=True)
    assert consumption_equivalent(other, same)["gain"] == pytest.approx(0.0, abs=1e-6)
    ghh = play(UniformPolicies(of(utility="ghh")), 2, baskets=True)
    assert consumption_equivalent(ghh, ghh) is None
    moving = of(shocks={"crra": {"kind": "path", "values": [0.5]}})
    curved = play(UniformPolicies(moving), 2, baskets=True)
    assert consumption_equivalent(curved, curved) is None
