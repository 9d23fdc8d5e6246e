"""Markets that clear: a period by hand, what is refused, whom firms serve, and what a later period weighs."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from rbc_marl import ConfigError, EconomyConfig
from rbc_marl.economy import Actions, initial_state, period
from rbc_marl.mechanics.production import Ces, CobbDouglas
from rbc_marl.observations import bounds, join, observe
from tests.strategies import CLEARING

CLOSED = {"open_economy": False, "dividend_share": 1.0, "market": "clearing"}
ECONOMY = EconomyConfig(
    **CLOSED, num_consumers=2, num_firms=1, horizon=3, technology=1.0, labour_exponent=0.5, initial_capital=100.0,
    depreciation=0.1, crra=1.0, labour_disutility=0.02, labour_disutility_pareto_shape=None, consumer_grant=0.0,
)  # fmt: skip


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def decide(hours, investment, firms=1):
    """One economy's decisions: prices, wages and demand play no part."""
    consumers, of_firms = len(hours), tensor([7.0] * firms)
    return Actions(
        demand=torch.full((1, consumers, firms), 3.0, dtype=torch.float64), hours=tensor(hours),
        employer=torch.arange(consumers).remainder(firms).unsqueeze(0), price=of_firms, wage=of_firms,
        investment_fraction=tensor(investment), income_tax=tensor(0.0), corporate_tax=tensor(0.0),
    )  # fmt: skip


def play(config, hours, investment, **changes):
    state = dataclasses.replace(initial_state(config, 1, dtype=torch.float64), **changes)
    return period(config, state, decide(hours, investment, config.num_firms))


def test_output_is_consumed_and_invested_in_the_period_in_which_it_is_made():
    """Capital of 100 and 100 hours make 100 units: 20 are invested, labour gets 50, and owners the other 30."""
    after, flows = play(ECONOMY, [60.0, 40.0], [0.2])
    assert float(flows.output) == 100.0 and float(flows.investment) == 20.0 and float(flows.sales) == 80.0
    assert flows.wage_income.tolist() == [[30.0, 20.0]] and float(flows.dividends) == 30.0
    assert flows.consumption.squeeze(-1).tolist() == [[45.0, 35.0]] == flows.spending.tolist()
    assert float(after.capital) == pytest.approx(0.9 * 100.0 + 20.0) and float(after.inventory) == 0.0
    assert float(after.price) == 1.0 and float(after.wage) == 0.5
    assert after.consumer_budget.tolist() == [[2000.0, 2000.0]]  # nobody saves but in capital
    assert flows.utility[0].tolist() == pytest.approx([math.log(46.0) - 0.6, math.log(36.0) - 0.4])


def test_owners_make_good_a_loss_and_who_earns_nothing_goes_without():
    """With 90 units invested 10 are left of wages of 50, to the worker alone: the other consumer owes its share."""
    _, flows = play(ECONOMY, [100.0, 0.0], [0.9])
    assert float(flows.dividends) == pytest.approx(-40.0)
    assert flows.consumption.squeeze(-1)[0].tolist() == pytest.approx([10.0, 0.0])


def test_taxes_are_shared_out_and_all_goods_are_sold():
    config = ECONOMY.replace(consumption_tax=0.25)
    _, flows = play(config, [60.0, 40.0], [0.2], income_tax=tensor(0.4), corporate_tax=tensor(0.5))
    assert float(flows.tax_pool) == pytest.approx(0.4 * 50 + 0.5 * 30 + 0.25 * 80)
    # Each: 60% of the wage, half of the 15 of profit that tax leaves, half of the pool of 55; a unit costs 1.25.
    assert flows.spending[0].tolist() == pytest.approx([(18 + 7.5 + 27.5) / 1.25, (12 + 7.5 + 27.5) / 1.25])
    assert float(flows.consumption.sum()) == pytest.approx(80.0)


def test_goods_of_several_firms_are_one_good():
    config = EconomyConfig(
        **CLEARING, num_consumers=2, num_firms=2, technology=1.0, labour_exponent=0.5, initial_capital=100.0
    )
    after, flows = play(config, [100.0, 25.0], [0.0, 0.5])
    assert flows.output.tolist() == [[100.0, 50.0]] and flows.sales.tolist() == [[100.0, 25.0]]
    assert after.wage.tolist() == [[0.5, 1.0]]  # each firm pays what labour makes in it
    income = tensor(50.0 + 25.0, 25.0 + 25.0)  # 50 of profit in all
    torch.testing.assert_close(flows.consumption[0].sum(1), income)


def test_firms_that_serve_their_owners_are_rewarded_with_their_mean_utility():
    _, flows = play(ECONOMY.replace(firm_objective="owners"), [60.0, 40.0], [0.2])
    assert float(flows.firm_reward) == pytest.approx(float(flows.consumer_reward.mean()))
    assert float(play(ECONOMY, [60.0, 40.0], [0.2])[1].firm_reward) == 30.0


def test_rewards_are_discounted_to_the_first_period_and_utility_is_not():
    config = ECONOMY.replace(discount=0.9, welfare="consumers")
    early, late = (play(config, [60.0, 40.0], [0.2], time=tensor(time))[1] for time in (0.0, 2.0))
    for name in ("consumer_reward", "firm_reward", "government_reward"):
        torch.testing.assert_close(getattr(late, name), 0.81 * getattr(early, name))
    assert torch.equal(early.utility, late.utility)


@pytest.mark.parametrize("part", [CobbDouglas(), Ces(substitution=0.5), Ces(substitution=3.0), Ces(substitution=1.0)])
def test_the_share_of_labour_is_its_marginal_product_times_hours(part):
    capital, labour, exponent = tensor(80.0), tensor(120.0).requires_grad_(), tensor(0.3)
    output = part.output(capital, labour, exponent, 2.0)
    (marginal,) = torch.autograd.grad(output.sum(), labour)
    share = part.labour_share(capital, labour, exponent).detach()
    torch.testing.assert_close(share, (marginal * labour / output).detach())


@pytest.mark.parametrize("exponent", [0.3, 1.0])
@pytest.mark.parametrize("substitution", [0.1, 100.0])
def test_the_share_of_labour_is_a_share_where_there_is_none_of_either(substitution, exponent):
    nothing, some = torch.zeros(3), torch.full((3,), 1e5)
    for capital, labour in ((nothing, nothing), (nothing, some), (some, nothing)):
        share = Ces(substitution=substitution).labour_share(capital, labour, torch.full((3,), exponent))
        assert ((share >= 0.0) & (share <= 1.0)).all()


def test_observations_lie_within_their_bounds_at_wages_that_nobody_can_choose():
    config = ECONOMY.replace(wage_choices=[0.0], technology=1e4)
    after, _ = play(config, [1e-3, 0.0], [0.0])
    assert float(after.wage) > 1e6
    for agent_type in ("consumer", "firm"):
        low, high = bounds(config, agent_type)
        seen = join(observe(config, after.to(dtype=torch.float32)), agent_type)[0, 0].numpy()
        assert (seen >= low).all() and (seen <= high).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"open_economy": True}, "market is clearing, and nothing is left to export; give open_economy: false"),
        ({"dividend_share": 0.5}, "dividend_share is 0.5, and where the market is clearing consumers get all profit"),
        ({"num_firms": 2}, "num_firms is 2, and a clearing market has one good; give one firm, or a utility"),
        ({"production": {"class": "tests.economy.own_parts.Roots"}}, "a clearing market pays labour_share, which"),
        ({"discount": 0.01, "horizon": 40}, "discount is 0.01, and of 40 periods the last count nothing"),
        ({"discount": 0.0}, "discount is 0.0; it must be more than 0"),
    ],
)
def test_what_a_clearing_market_cannot_be_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        ECONOMY.replace(**fields)
