"""Periods small enough to work out by hand, one rule at a time (float64)."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from rbc_marl.config import EconomyConfig
from rbc_marl.economy import Actions, EconomyState, Flows, initial_state, period


def economy(**fields: object) -> tuple[EconomyConfig, EconomyState]:
    """Two consumers and two firms with round numbers: utility of a unit is 1, output is sqrt(capital * hours)."""
    plain = {
        "num_consumers": 2, "num_firms": 2, "horizon": 3, "crra": 0.0, "labour_disutility": 0.02,
        "labour_disutility_pareto_shape": None, "technology": 1.0, "labour_exponent": 0.5, "initial_capital": 100.0,
        "consumer_grant": 0.0, "initial_price": 10.0, "initial_wage": 2.0, "initial_inventory": 20.0,
        "initial_consumer_budget": 1000.0, "initial_firm_budget": 500.0, "open_economy": False,
    }  # fmt: skip
    config = EconomyConfig(**(plain | fields))
    return config, initial_state(config, 1, dtype=torch.float64)


def decide(config: EconomyConfig, **quantities: object) -> Actions:
    """Everybody does nothing but what is given; rows without a batch axis."""
    consumers, firms = config.num_consumers, config.num_firms
    nothing = {
        "demand": [[0.0] * firms] * consumers, "hours": [0.0] * consumers, "employer": [0] * consumers,
        "price": [10.0] * firms, "wage": [2.0] * firms, "investment_fraction": [0.0] * firms,
        "income_tax": 0.0, "corporate_tax": 0.0,
    }  # fmt: skip
    tensors = {name: torch.tensor([value], dtype=torch.float64) for name, value in (nothing | quantities).items()}
    tensors["employer"] = tensors["employer"].long()
    return Actions(**tensors)


def put(state: EconomyState, **quantities: object) -> EconomyState:
    """The same state with some quantities in place of others; rows without a batch axis."""
    return dataclasses.replace(state, **{k: torch.tensor([v], dtype=torch.float64) for k, v in quantities.items()})


def taxed(state: EconomyState, income: float, corporate: float) -> EconomyState:
    return put(state, income_tax=income, corporate_tax=corporate)


def play(config: EconomyConfig, state: EconomyState, **quantities: object) -> tuple[EconomyState, Flows]:
    return period(config, state, decide(config, **quantities))


def values(tensor: torch.Tensor) -> object:
    """The one economy's numbers, rounded to twelve digits."""
    return pytest.approx(tensor[0].tolist(), rel=1e-12, abs=1e-12)


def test_a_whole_period_worked_by_hand():
    config = EconomyConfig(
        num_consumers=1, num_firms=1, crra=0.0, labour_disutility=0.01, interest_rate=0.1, technology=1.0,
        labour_exponent=0.5, initial_capital=16.0, initial_price=2.0, initial_wage=3.0, initial_inventory=10.0,
        initial_consumer_budget=8.0, initial_firm_budget=100.0, export_price=2.0, export_quota=5.0,
    )  # fmt: skip
    state = taxed(initial_state(config, 1, dtype=torch.float64), 0.2, 0.5)
    after, flows = play(
        config, state, demand=[[6.0]], hours=[9.0], price=[5.0], wage=[4.0], investment_fraction=[0.25],
        income_tax=0.4, corporate_tax=0.6,
    )  # fmt: skip
    assert values(flows.consumption[0]) == [4.0]  # 6 would cost 12; there is 8
    assert values(flows.spending) == [8.0]
    assert values(flows.consumer_reward) == [4.0 - 0.005 * 9]
    assert values(flows.wage_income) == [27.0]
    assert values(flows.income_tax_paid) == [5.4]
    assert values(flows.exports) == [5.0]  # 6 are left, the quota is 5
    assert values(flows.revenue) == [18.0]  # 9 units
    assert values(flows.investment) == [0.0]  # wages are 27: a loss of 9
    assert values(flows.firm_reward) == [-9.0]
    assert values(flows.corporate_tax_paid) == [0.0]
    assert values(flows.output) == [12.0]  # 4 * 3
    assert values(after.inventory) == [13.0]  # 10 - 4 - 5 + 12
    assert values(after.consumer_budget) == [1.1 * (8 - 8 + 0.01 + 27 - 5.4 + 5.4)]
    assert values(after.firm_budget) == [1.1 * 91]
    assert values(after.capital) == [16.0]
    assert [after.price.item(), after.wage.item()] == [5.0, 4.0]
    assert [x.item() for x in (after.income_tax, after.corporate_tax, after.time, after.overdemanded)] == [
        0.4,
        0.6,
        1.0,
        0.0,
    ]
    assert pytest.approx(flows.government_reward.item(), rel=1e-12) == 3.955 + 0.0025 * -9


def test_a_profitable_period_of_two_firms_worked_by_hand():
    config, state = economy(interest_rate=0.5)
    after, flows = play(
        config, taxed(state, 0.25, 0.5), demand=[[4.0, 30.0], [6.0, 10.0]], hours=[4.0, 16.0], employer=[1, 1],
        investment_fraction=[0.1, 1.0],
    )  # fmt: skip
    # Firm 0 sells 10 of its 20; firm 1 is asked for 40 and shares its 20 out, 15 and 5.
    assert [pytest.approx(row) for row in flows.consumption[0].tolist()] == [[4.0, 15.0], [6.0, 5.0]]
    assert values(after.overdemanded) == [0.0, 1.0]
    assert values(flows.spending) == [190.0, 110.0]
    assert values(flows.labour) == [0.0, 20.0]
    assert values(flows.revenue) == [100.0, 200.0]
    assert values(flows.wage_bill) == [0.0, 40.0]
    # Investment comes before tax: 10% of 100, all of 160.
    assert values(flows.investment) == [10.0, 160.0]
    assert values(flows.profit) == [90.0, 0.0]
    assert values(flows.corporate_tax_paid) == [45.0, 0.0]
    assert values(flows.firm_reward) == [45.0, 0.0]
    assert values(after.capital) == [110.0, 260.0]
    assert [0.0, math.sqrt(100 * 20)] == values(flows.output)
    assert [10.0, math.sqrt(2000)] == values(after.inventory)
    # Wages 8 and 32, a quarter of it taxed; pool 10 + 45, shared equally.
    assert values(flows.income_tax_paid) == [2.0, 8.0]
    assert pytest.approx(flows.transfer.item()) == 27.5
    assert values(after.consumer_budget) == [1.5 * (1000 - 190 + 6 + 27.5), 1.5 * (1000 - 110 + 24 + 27.5)]
    assert values(after.firm_budget) == [1.5 * 545, 1.5 * 500]
    assert values(flows.consumer_reward) == [19 - 0.04, 11 - 0.16]
    assert pytest.approx(flows.government_reward.item(), rel=1e-12) == 30 - 0.2 + 0.0025 * 45


def test_who_cannot_pay_gets_the_same_basket_smaller():
    config, state = economy(initial_consumer_budget=(45.0, 90.0))
    _, flows = play(config, state, demand=[[6.0, 3.0], [6.0, 3.0]])
    assert [pytest.approx(row) for row in flows.demand[0].tolist()] == [[3.0, 1.5], [6.0, 3.0]]


def test_who_has_nothing_gets_only_what_is_free():
    config, state = economy(initial_consumer_budget=0.0, initial_price=0.0)
    _, free = play(config, state, demand=[[6.0, 3.0], [1.0, 0.0]])
    assert values(free.sales) == [7.0, 3.0]
    config, state = economy(initial_consumer_budget=0.0)
    after, dear = play(config, state, demand=[[6.0, 3.0], [1.0, 0.0]])
    assert values(dear.sales) == [0.0, 0.0]
    assert values(after.overdemanded) == [0.0, 0.0]


def test_a_free_good_is_scaled_down_with_the_rest_of_an_unpayable_basket():
    config, state = economy(initial_consumer_budget=15.0)
    state = put(state, price=[10.0, 0.0])
    _, flows = play(config, state, demand=[[3.0, 4.0], [0.0, 0.0]])
    assert values(flows.sales) == [1.5, 2.0]


def test_asking_for_exactly_what_there_is_rations_nobody():
    config, state = economy()
    after, flows = play(config, state, demand=[[10.0, 10.0], [10.0, 11.0]])
    assert values(flows.sales) == [20.0, 20.0]
    assert values(after.overdemanded) == [0.0, 1.0]
    assert values(after.inventory) == [0.0, 0.0]


def test_asking_for_nothing_of_an_empty_good_is_not_scarcity():
    config, state = economy(initial_inventory=0.0)
    after, flows = play(config, state, demand=[[0.0, 1.0], [0.0, 0.0]])
    assert values(after.overdemanded) == [0.0, 1.0]
    assert values(flows.sales) == [0.0, 0.0]


def test_goods_made_now_sell_from_the_next_period_on():
    config, state = economy(initial_inventory=0.0)
    first, flows = play(config, state, demand=[[5.0, 0.0], [0.0, 0.0]], hours=[25.0, 0.0])
    assert values(flows.sales) == [0.0, 0.0]
    assert values(first.inventory) == [50.0, 0.0]
    _, later = play(config, first, demand=[[5.0, 0.0], [0.0, 0.0]])
    assert values(later.sales) == [5.0, 0.0]


def test_unsold_goods_stay_in_the_inventory():
    config, state = economy()
    after, _ = play(config, state, demand=[[3.0, 0.0], [1.0, 0.0]])
    assert values(after.inventory) == [16.0, 20.0]


def test_prices_wages_and_taxes_chosen_now_count_from_the_next_period():
    config, state = economy()
    busy = {"demand": [[1.0, 0.0], [0.0, 0.0]], "hours": [1.0, 0.0]}
    first, now = play(config, state, **busy, price=[50.0, 1.0], wage=[7.0, 1.0], income_tax=1.0, corporate_tax=0.5)
    assert values(now.spending) == [10.0, 0.0]
    assert values(now.wage_income) == [2.0, 0.0]
    assert now.tax_pool.item() == 0.0
    _, then = play(config, first, **busy)
    assert values(then.spending) == [50.0, 0.0]
    assert values(then.wage_income) == [7.0, 0.0]
    assert pytest.approx(then.tax_pool.item()) == 7.0 + 0.5 * 43.0


def test_the_wage_is_that_of_the_employer():
    config, state = economy()
    state = put(state, wage=[2.0, 5.0])
    _, flows = play(config, state, hours=[10.0, 20.0], employer=[1, 0])
    assert values(flows.wage_income) == [50.0, 40.0]
    assert values(flows.wage_bill) == [40.0, 50.0]
    assert values(flows.labour) == [20.0, 10.0]


def test_abroad_buys_what_consumers_leave_up_to_the_quota_from_the_lowest_price_on():
    config, state = economy(open_economy=True, export_price=10.0, export_quota=15.0)
    state = put(state, price=[10.0, 9.999])
    after, flows = play(config, state, demand=[[2.0, 0.0], [0.0, 0.0]])
    assert values(flows.exports) == [15.0, 0.0]
    assert values(flows.revenue) == [170.0, 0.0]
    assert values(after.inventory) == [3.0, 20.0]
    _, flows = play(config, state, demand=[[12.0, 0.0], [0.0, 0.0]])
    assert values(flows.exports) == [8.0, 0.0]
    _, flows = play(config, state, demand=[[12.0, 0.0], [12.0, 0.0]])
    assert values(flows.exports) == [0.0, 0.0]


def test_a_closed_economy_exports_nothing():
    config, state = economy(open_economy=False, export_price=0.0)
    _, flows = play(config, state)
    assert values(flows.exports) == [0.0, 0.0]


def test_losses_are_neither_taxed_nor_invested():
    config, state = economy()
    after, flows = play(config, taxed(state, 0.0, 1.0), hours=[10.0, 0.0], investment_fraction=[1.0, 1.0])
    assert values(flows.firm_reward) == [-20.0, 0.0]
    assert values(after.firm_budget) == [480.0, 500.0]
    assert values(after.capital) == [100.0, 100.0]


def test_full_taxes_come_back_to_consumers_in_the_same_period():
    config, state = economy()
    after, flows = play(
        config, taxed(state, 1.0, 1.0), demand=[[2.0, 0.0], [0.0, 0.0]], hours=[5.0, 0.0], employer=[1, 0]
    )
    assert pytest.approx(flows.tax_pool.item()) == 30.0  # wages 10, profit 20
    assert values(after.consumer_budget) == [1000 - 20 + 15.0, 1000 + 15.0]
    assert values(after.firm_budget) == [500.0, 490.0]


def test_production_uses_the_capital_from_before_the_investment():
    config, state = economy()
    after, flows = play(
        config, state, demand=[[10.0, 0.0], [10.0, 0.0]], hours=[25.0, 0.0], investment_fraction=[1.0, 0.0]
    )
    assert values(flows.output) == [50.0, 0.0]
    assert values(after.capital) == [250.0, 100.0]


def test_output_is_cobb_douglas_in_capital_and_hours():
    config, state = economy(technology=0.01, labour_exponent=(0.3, 1.0), initial_capital=(5000.0, 7.0))
    _, flows = play(config, state, hours=[520.0, 260.0], employer=[0, 1])
    assert values(flows.output) == [0.01 * 5000**0.7 * 520**0.3, 2.6]


def test_below_the_labour_floor_hours_are_paid_but_make_nothing():
    config, state = economy(labour_floor=25.0)
    _, flows = play(config, state, hours=[25.0, 24.0], employer=[0, 1])
    assert values(flows.output) == [50.0, 0.0]
    assert values(flows.wage_bill) == [50.0, 48.0]
    assert values(flows.labour) == [25.0, 24.0]


def test_interest_is_paid_on_closing_budgets_that_are_positive():
    config, state = economy(interest_rate=0.1, initial_firm_budget=(10.0, 100.0), consumer_grant=3.0)
    after, _ = play(config, state, hours=[15.0, 0.0], demand=[[5.0, 0.0], [0.0, 0.0]], employer=[1, 0])
    # Firm 0 earns 50, firm 1 pays 30; the consumer gets 30 and 3, and spends 50.
    assert values(after.firm_budget) == [66.0, 77.0]
    assert values(after.consumer_budget) == [1.1 * 983, 1.1 * 1003]
    after, _ = play(config, state, hours=[60.0, 0.0], employer=[1, 0])
    assert values(after.firm_budget) == [11.0, -20.0]


def test_every_consumer_is_given_the_grant():
    config, state = economy(consumer_grant=0.25)
    after, _ = play(config, state)
    assert values(after.consumer_budget) == [1000.25, 1000.25]


@pytest.mark.parametrize(
    ("crra", "utility"), [(0.0, 3.0), (0.5, 2.0), (1.0, math.log(4.0)), (2.0, 0.75), (0.1, (4**0.9 - 1) / 0.9)]
)
def test_utility_is_crra_in_units_plus_one(crra: float, utility: float):
    config, state = economy(crra=crra)
    _, flows = play(config, state, demand=[[3.0, 3.0], [3.0, 0.0]])
    assert [2 * utility, utility] == values(flows.utility)


@pytest.mark.parametrize("crra", [0.6, 0.8, 0.9999, 0.99999, 1.000001, 1.001, 1.4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_utility_loses_no_digits_where_it_becomes_logarithmic(crra: float, dtype: torch.dtype):
    config, state = economy(crra=crra)
    _, flows = period(config, state.to(dtype=dtype), decide(config, demand=[[3.0, 3.0], [3.0, 0.0]]).to(dtype=dtype))
    utility = math.expm1((1.0 - crra) * math.log(4)) / (1.0 - crra)
    assert flows.utility[0].tolist() == pytest.approx([2 * utility, utility], rel=1e-6)


def test_work_costs_half_of_theta_an_hour():
    config, state = economy(labour_disutility_pareto_shape=4.0)
    _, flows = play(config, state, hours=[100.0, 100.0])
    assert values(flows.consumer_reward) == [-1.0, -(0.5**0.25)]


def test_dividends_worked_by_hand():
    config, state = economy(dividend_share=0.4, interest_rate=0.5)
    after, flows = play(
        config, taxed(state, 0.0, 0.5), demand=[[6.0, 0.0], [4.0, 0.0]], hours=[0.0, 10.0], employer=[0, 1],
        investment_fraction=[0.1, 0.1],
    )  # fmt: skip
    # Firm 0 earns 100, invests 10 and pays 45 of tax. Firm 1 loses 20, and pays nothing out.
    assert values(flows.profit) == [90.0, -20.0]
    assert values(flows.dividends) == [18.0, 0.0]
    assert values(flows.firm_reward) == [45.0, -20.0]  # what its owners get is their gain too
    assert values(after.firm_budget) == [1.5 * (500 + 27), 1.5 * 480]
    assert flows.transfer.item() == pytest.approx(22.5)  # taxes alone
    # In the same period, to both alike; like all money it earns interest.
    assert values(after.consumer_budget) == [1.5 * (1000 - 60 + 22.5 + 9), 1.5 * (1000 - 40 + 20 + 22.5 + 9)]
    assert flows.government_reward.item() == pytest.approx(10.0 - 0.1 + 0.0025 * 25)


def test_firms_that_pay_everything_out_keep_their_budgets():
    config, state = economy(dividend_share=1.0)
    after, flows = play(config, state, demand=[[6.0, 0.0], [0.0, 3.0]])
    assert values(flows.dividends) == [60.0, 30.0]
    assert values(after.firm_budget) == [500.0, 500.0]
    assert values(after.consumer_budget) == [1000 - 60 + 45.0, 1000 - 30 + 45.0]


def test_without_a_share_nothing_is_paid_out():
    config, state = economy()
    _, flows = play(config, state, demand=[[6.0, 0.0], [0.0, 3.0]])
    assert values(flows.dividends) == [0.0, 0.0]


def test_a_firm_that_dividends_leave_without_money_gets_no_revenue_bonus():
    config, state = economy(revenue_bonus=0.25, dividend_share=0.5)
    _, flows = play(config, put(state, firm_budget=[-20.0, -19.0]), demand=[[4.0, 4.0], [0.0, 0.0]])
    assert values(flows.firm_reward) == [40.0, 50.0]


def test_welfare_counts_firms_only_where_it_is_total():
    quantities = {"demand": [[4.0, 0.0], [0.0, 0.0]]}
    config, state = economy(firm_welfare_weight=0.5)
    assert pytest.approx(play(config, state, **quantities)[1].government_reward.item()) == 4.0 + 0.5 * 40.0
    config, state = economy(firm_welfare_weight=0.5, welfare="consumers")
    assert pytest.approx(play(config, state, **quantities)[1].government_reward.item()) == 4.0


def test_the_revenue_bonus_goes_to_solvent_firms_and_is_no_money():
    config, state = economy(revenue_bonus=0.25, firm_welfare_weight=1.0)
    state = put(state, firm_budget=[-39.0, -40.0])
    after, flows = play(config, state, demand=[[4.0, 4.0], [0.0, 0.0]])
    assert values(flows.firm_reward) == [50.0, 40.0]  # a budget of exactly 0 is not solvent
    assert values(after.firm_budget) == [1.0, 0.0]
    assert pytest.approx(flows.government_reward.item()) == 8.0 + 90.0


def test_final_debts_cost_reward_in_the_last_period_only_and_count_in_welfare():
    config, state = economy(
        horizon=2, firm_debt_penalty=0.5, firm_debt_scale=10.0, consumer_debt_penalty=3.0, consumer_debt_scale=2.0,
        firm_welfare_weight=1.0,
    )  # fmt: skip
    state = put(state, consumer_budget=[-8.0, 8.0], firm_budget=[-100.0, 0.0])
    middle, flows = play(config, state)
    assert values(flows.firm_reward) == [0.0, 0.0]
    assert values(flows.consumer_reward) == [0.0, 0.0]
    after, flows = play(config, middle)
    assert values(flows.firm_reward) == [-5.0, 0.0]
    assert values(flows.consumer_reward) == [-12.0, 0.0]
    assert pytest.approx(flows.government_reward.item()) == -17.0
    assert values(after.firm_budget) == [-100.0, 0.0]  # a penalty is not money


def test_the_debt_that_counts_is_that_at_the_end_of_the_last_period():
    config, state = economy(horizon=1, firm_debt_penalty=1.0, firm_debt_scale=1.0)
    state = put(state, firm_budget=[-15.0, 15.0])
    _, flows = play(config, state, demand=[[1.0, 0.0], [0.0, 0.0]], hours=[10.0, 0.0], employer=[1, 0])
    assert values(flows.firm_reward) == [10.0 - 5.0, -20.0 - 5.0]


def test_time_counts_periods_and_preferences_stay():
    config, state = economy(labour_disutility_pareto_shape=2.0, labour_exponent=(0.2, 0.7))
    after, _ = play(config, state)
    assert after.time.item() == 1.0
    assert torch.equal(after.labour_disutility, state.labour_disutility)
    assert torch.equal(after.labour_exponent, state.labour_exponent)


def test_a_budget_that_rounding_left_below_zero_buys_nothing():
    config, state = economy(initial_price=1e-4, initial_inventory=100.0, crra=0.1)
    state = dataclasses.replace(state, consumer_budget=torch.full_like(state.consumer_budget, -0.01))
    after, flows = period(config, state, decide(config, demand=[[10.0, 0.0], [0.0, 0.0]]))
    assert not flows.consumption.any() and not flows.spending.any()
    assert not flows.consumer_reward.any()
    assert after.consumer_budget.tolist() == [[pytest.approx(-0.01 + config.consumer_grant)] * 2]


@pytest.mark.parametrize(("dtype", "units"), [(torch.float32, 3e7), (torch.bfloat16, 300.0)])
def test_rounding_never_sells_more_than_there_is(dtype, units):
    config = EconomyConfig(num_consumers=50, num_firms=4, initial_price=0.0, initial_inventory=units)
    state = initial_state(config, num_envs=64, dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    nothing = torch.zeros(64, 4, dtype=dtype)
    for last in (False, True):
        demand = (torch.rand(64, 50, 4, generator=generator) * units).to(dtype)
        demand[:, 1:] *= not last  # the last units are asked for by one consumer
        actions = Actions(
            demand, torch.zeros(64, 50, dtype=dtype), torch.zeros(64, 50, dtype=torch.int64),
            nothing, nothing, nothing, nothing[:, 0], nothing[:, 0],
        )
        state, flows = period(config, state, actions)
        assert (state.inventory >= 0).all() and (flows.consumption >= 0).all()
        assert flows.consumer_reward.isfinite().all()
