"""Indicators, with numbers that can be worked out by hand."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch

from rbc_marl import ConfigError, preset
from rbc_marl.analysis.indicators import (
    INDICATORS,
    concentration,
    gini,
    indicator_words,
    indicators,
    markup,
    money_of_consumers,
    price_sales_correlation,
    ratio,
    strategies,
    trade_share,
    unsold_share,
)
from rbc_marl.analysis.planner import plan
from rbc_marl.analysis.rollouts import Evaluation, play
from rbc_marl.policies.scripted import Rules, ScriptedPolicies, UniformPolicies

OPEN = preset("open", num_consumers=6, num_firms=3, horizon=5)
CLOSED = preset("closed", num_consumers=6, num_firms=3, horizon=5)


def periods(*rows):
    """One episode [1, T, F]."""
    return torch.tensor([rows], dtype=torch.float64)


def test_a_ratio_is_one_of_sums_and_without_a_denominator_there_is_none():
    assert ratio(torch.tensor([1.0, 5.0]), torch.tensor([1.0, 2.0])) == 2.0  # not the mean of 1 and 2.5
    assert ratio(torch.tensor([1.0]), torch.tensor([0.0])) is None
    assert math.isnan(ratio(torch.tensor([math.nan]), torch.tensor([1.0])))


def test_the_unsold_share_counts_what_could_have_been_sold():
    # 10 in stock; 30 and 40 are made for the next two periods, and 99 in the last, which nobody could ever buy.
    inventory, output = periods([10.0], [40.0], [60.0]), periods([30.0], [40.0], [99.0])
    sold = periods([0.0], [20.0], [44.0])
    assert unsold_share(inventory, sold, output) == pytest.approx((60 - 44) / (10 + 30 + 40))
    assert unsold_share(0 * inventory, 0 * sold, periods([0.0], [0.0], [9.0])) is None


def test_trade_counts_in_periods_with_goods_alone():
    inventory = periods([0.0, 0.0], [3.0, 0.0], [0.5, 0.4], [2.0, 2.0])
    assert trade_share(inventory, periods([0.0, 0.0], [1.0, 0.0], [0.5, 0.0], [0.0, 0.0])) == 1 / 2
    assert trade_share(0 * inventory, 0 * inventory) is None


def test_price_and_sales_are_compared_over_firms_within_a_period():
    # Prices rise and so do sales, but in each period the dearer firm sells less.
    price, sales = periods([1.0, 2.0], [11.0, 12.0]), periods([5.0, 4.0], [105.0, 104.0])
    assert price_sales_correlation(price, sales) == pytest.approx(-1.0)
    assert price_sales_correlation(price, 2 * price) == pytest.approx(1.0)
    # Deviations -1 0 1 and 1 -2 1, by hand: 0.
    assert price_sales_correlation(periods([1.0, 2.0, 3.0]), periods([4.0, 1.0, 4.0])) == pytest.approx(0.0, abs=1e-12)
    # -1 0 1 and 2 -1 -1: -3 / sqrt(2 * 6).
    assert price_sales_correlation(periods([1.0, 2.0, 3.0]), periods([5.0, 2.0, 2.0])) == pytest.approx(-3 / 12**0.5)


@pytest.mark.parametrize("alike", [2500.0, 0.0, 0.1])
def test_prices_that_are_all_alike_have_no_correlation_with_sales(alike):
    price, sales = periods([alike] * 3, [7 * alike] * 3), periods([1.0, 2.0, 3.0], [0.0, 5.0, 1.0])
    assert price_sales_correlation(price, sales) is None
    assert price_sales_correlation(sales, price) is None


def test_a_markup_is_the_price_of_a_unit_sold_over_the_wages_of_a_unit_made():
    # 4 units at 10 and 1 at 20: 12 a unit. Wages of 30 for 5 units: 6 a unit.
    price, sold = periods([10.0, 20.0]), periods([4.0, 1.0])
    assert markup(price, sold, periods([3.0, 2.0]), periods([30.0, 0.0])) == pytest.approx(1.0)
    assert markup(price, 0 * sold, periods([3.0, 2.0]), periods([30.0, 0.0])) is None
    assert markup(price, sold, periods([3.0, 2.0]), periods([0.0, 0.0])) is None
    assert markup(price, sold, periods([0.0, 0.0]), periods([0.0, 0.0])) is None


def test_a_concentration_is_weighted_by_what_is_sold():
    assert concentration(periods([5.0, 5.0])) == 0.5 and concentration(periods([0.0, 3.0])) == 1.0
    assert concentration(periods([5.0, 5.0], [0.0, 30.0], [0.0, 0.0])) == pytest.approx((10 * 0.5 + 30) / 40)
    assert concentration(periods([0.0, 0.0])) is None


def test_gini_coefficients_have_their_known_values():
    assert gini(torch.tensor([[7.0, 7.0, 7.0]])) == pytest.approx(0.0)
    assert gini(torch.tensor([[0.0, 0.0, 9.0]])) == pytest.approx(2 / 3)
    # Mean absolute difference of 1 2 3, over twice the mean: (8 / 9) / 4.
    assert gini(torch.tensor([[3.0, 1.0, 2.0]])) == pytest.approx(2 / 9)
    assert gini(torch.tensor([[0.0, 0.0, 9.0], [9.0, 9.0, 9.0]])) == pytest.approx(2 / 3 / 4)  # weighted by totals
    assert gini(torch.zeros(2, 3)) is None


def test_strategies_say_what_is_sold_at_each_price():
    config = OPEN.replace(price_choices=(500.0, 1000.0, 2500.0))
    price = torch.tensor([[[500.0, 500.0], [2500.0, 500.0]]])
    found = strategies(price, periods([10.0, 20.0], [3.0, 0.0]), periods([0.0, 0.0], [80.0, 0.0]), config)
    assert found == {
        "share_at_500": 0.75, "sales_at_500": 10.0, "exports_at_500": 0.0,
        "share_at_1000": 0.0, "sales_at_1000": None, "exports_at_1000": None,
        "share_at_2500": 0.25, "sales_at_2500": 3.0, "exports_at_2500": 80.0,
    }  # fmt: skip
    text = indicator_words({**found, "gini_income": 0.25, "gini_consumption": None}, config)
    assert text == [
        "firms post: 500 75% of the time (10 units sold at home, 0 abroad); "
        "2,500 25% of the time (3 units sold at home, 80 abroad)",
        "Gini: income 0.25",
    ]


def test_the_money_of_consumers_is_what_they_begin_with_and_are_given():
    assert money_of_consumers(preset("closed")) == pytest.approx(200_010.0)
    assert money_of_consumers(CLOSED.replace(initial_consumer_budget=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0))) == 21.0 + 0.3


def test_indicators_are_measured_in_the_middle_of_recorded_episodes():
    episodes = play(UniformPolicies(OPEN), 6, record=True)
    found = indicators(episodes)
    assert list(found)[: len(INDICATORS)] == list(INDICATORS)
    firms = {name: values.double()[:, 1:-1] for name, values in episodes.firms.items()}
    wages, made = float(firms["wage_bill"].sum()), float((firms["price"] * firms["output"]).sum())
    assert found["labour_share"] == pytest.approx(wages / made)
    assert found["price_sales"] == pytest.approx(price_sales_correlation(firms["price"], firms["sales"]))
    assert sum(found[f"share_at_{price:g}"] for price in OPEN.price_choices) == pytest.approx(1.0)
    assert found["firms_money_share"] is None and found["planner_share"] is None


def test_income_is_what_consumers_receive_also_where_goods_are_taxed():
    path = {"kind": "path", "values": [0.1, 0.4]}
    for fields in ({"consumption_tax": 0.5}, {"shocks": {"consumption_tax": path}}):
        config = OPEN.replace(transfers="poorest", initial_inventory=50.0, **fields)
        episodes = play(UniformPolicies(config), 3, record=True, agents=True)
        of = episodes.consumer_periods
        received = sum(of[name] for name in ("wage_income", "transfer", "dividend", "interest")) - of["income_tax_paid"]
        assert float(of["spending"].sum()) > 0.0
        assert torch.allclose(episodes.consumers["income"], received.sum(dim=1) + 5 * 0.01, rtol=1e-4, atol=0.1)


def test_what_consumers_receive_and_keep_is_recorded():
    untaxed = OPEN.replace(income_tax_choices=(0.0,), corporate_tax_choices=(0.0,))
    episodes = play(UniformPolicies(untaxed), 3, record=True)
    received = episodes.consumers["income"].sum(dim=1)
    wages = episodes.firms["wage_bill"].sum(dim=(1, 2))
    assert torch.allclose(received, wages + 6 * 5 * 0.01, rtol=1e-4)
    spent = (episodes.firms["price"] * episodes.firms["sales"]).sum(dim=(1, 2))
    assert torch.allclose(episodes.consumers["money"].sum(dim=1), 6 * 2000.0 + received - spent, rtol=1e-3)
    eaten = 6 * 5 * episodes.quantities["consumption"]
    assert torch.allclose(episodes.consumers["consumption"].sum(dim=1), eaten, rtol=1e-4)


def test_firms_of_a_closed_economy_keep_what_consumers_spend_and_are_not_paid():
    found, episodes = closed(wage=0.0, price=500.0)
    # Wages are 0: all that consumers spend is profit, but for what is invested.
    spent = float((episodes.firms["price"] * episodes.firms["sales"]).sum(dim=(1, 2)).mean())
    assert spent > 0
    assert found["firms_money_share"] == pytest.approx(0.9 * spent / money_of_consumers(CLOSED), rel=1e-5)
    welfare = float(episodes.quantities["welfare_consumers"].double().mean())
    assert found["planner_share"] == pytest.approx(welfare / plan(CLOSED).welfare)


def test_what_firms_pay_out_they_do_not_keep():
    found, _ = closed(wage=0.0, price=500.0)
    shared, episodes = closed(CLOSED.replace(dividend_share=1.0), wage=0.0, price=500.0)
    assert float(episodes.firms["dividends"].sum()) > 0 and found["firms_money_share"] > 0
    assert shared["firms_money_share"] == pytest.approx(0.0, abs=1e-6)


def closed(config=CLOSED, **rules):
    episodes = play(ScriptedPolicies(config, Rules(work="always", **rules)), 2, record=True)
    return indicators(episodes), episodes


@pytest.mark.parametrize("config", [OPEN, CLOSED, OPEN.replace(horizon=1), CLOSED.replace(horizon=2)])
def test_an_idle_economy_has_no_ratios_and_no_nan(config):
    evaluation = Evaluation.of(play(ScriptedPolicies(config, "idle"), 2, record=True))
    found = evaluation.indicators
    of_trade = ("unsold_share", "trade_share", "price_sales", "concentration")
    for name in (*of_trade, "markup", "labour_share", "gini_consumption"):
        assert found[name] is None, name
    json.dumps(evaluation.to_dict(), allow_nan=False)
    assert found["gini_money"] == pytest.approx(0.0)


def test_numbers_that_are_not_finite_stay_so():
    episodes = play(UniformPolicies(OPEN), 2, record=True)
    spoilt = {**episodes.firms, "wage_bill": episodes.firms["wage_bill"] * math.nan}
    found = indicators(dataclasses.replace(episodes, firms=spoilt))
    assert math.isnan(found["labour_share"]) and math.isnan(found["markup"])


def test_episodes_that_were_not_recorded_have_no_indicators():
    episodes = play(UniformPolicies(OPEN), 1)
    assert Evaluation.of(episodes).indicators == {}
    with pytest.raises(ConfigError, match="record=True"):
        indicators(episodes)
