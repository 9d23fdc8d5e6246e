"""What welfare is made of, with numbers that can be worked out by hand."""

from __future__ import annotations

import pytest
import torch

from rbc_marl import ConfigError, preset
from rbc_marl.analysis.composition import COMPOSITION, composition, composition_words
from rbc_marl.analysis.rollouts import play
from rbc_marl.policies.scripted import Rules, ScriptedPolicies

SMALL = preset("open", num_consumers=6, num_firms=2, horizon=5)


def of(config=SMALL, **rules):
    episodes = play(ScriptedPolicies(config, Rules(**rules)), 8, record=True)
    return composition(episodes), episodes


def test_profit_and_utility_add_up_to_total_welfare():
    found, episodes = of(work="always")
    welfare, utility = (
        float(episodes.quantities[name].double().mean()) for name in ("welfare_total", "welfare_consumers")
    )
    assert tuple(found) == COMPOSITION
    assert found["profit"] * SMALL.firm_welfare_weight + utility == pytest.approx(welfare, rel=1e-6)
    assert utility < 0 and found["profit_share"] is None  # there are no shares of a sum with a negative part
    found, episodes = of(SMALL.replace(labour_disutility=0.0), work="always")
    welfare = float(episodes.quantities["welfare_total"].double().mean())
    assert found["profit_share"] == pytest.approx(found["profit"] * SMALL.firm_welfare_weight / welfare, rel=1e-6)


def test_profit_is_money_also_where_firms_are_rewarded_with_their_owners_utility():
    theirs, _ = of(SMALL.replace(labour_disutility=0.0), work="always")
    owners, _ = of(SMALL.replace(labour_disutility=0.0, firm_objective="owners"), work="always")
    assert owners["profit"] == pytest.approx(theirs["profit"], rel=1e-6) and owners["profit_share"] is None


def test_without_a_weight_profit_has_no_part_in_welfare():
    config = SMALL.replace(labour_disutility=0.0, firm_welfare_weight=0.0)
    found, _ = of(config, price=500.0, work="always")
    assert found["profit_share"] == 0.0


def test_the_export_share_counts_units_that_leave():
    found, episodes = of(work="always")
    exports, sales = (float(episodes.quantities[name].double().mean()) for name in ("exports", "sales"))
    assert exports > 0 and found["export_share"] == pytest.approx(exports / (exports + sales))
    assert of(preset("closed", num_consumers=6, num_firms=2, horizon=5), work="always")[0]["export_share"] == 0.0
    assert of(work="never")[0]["export_share"] == 0.0  # nothing is sold at all


@pytest.mark.parametrize(
    ("rules", "corners"),
    [
        ({"price": 2500.0, "wage": 11.0}, {"price_highest": 1.0}),
        ({"price": 0.0, "wage": 0.0}, {"price_lowest": 1.0, "wage_lowest": 1.0}),
        ({"price": 1000.0, "wage": 44.0}, {"wage_highest": 1.0}),
    ],
)
def test_corners_are_shares_of_what_firms_posted(rules, corners):
    found, _ = of(**rules)
    ends = ("price_lowest", "price_highest", "wage_lowest", "wage_highest")
    assert {end: found[end] for end in ends} == {end: corners.get(end, 0.0) for end in ends}


def test_corners_count_firms_and_periods_one_by_one():
    episodes = play(ScriptedPolicies(SMALL), 1, record=True)
    price = torch.tensor([[[1000.0, 1000.0], [2500.0, 500.0], [2500.0, 0.0], [500.0, 500.0], [500.0, 2500.0]]])
    found = composition(type(episodes)(**{**vars(episodes), "firms": {**episodes.firms, "price": price}}))
    assert (found["price_highest"], found["price_lowest"]) == (3 / 8, 1 / 8)


@pytest.mark.parametrize(
    ("profit_share", "words"),
    [
        (0.987, "consumers' welfare 432, profit 12,900,000 of money (99% of total welfare); 75% of what"),
        (None, "consumers' welfare 432, profit 12,900,000 of money; 75% of what"),
    ],
)
def test_a_composition_reads_in_a_line(profit_share, words):
    values = {"welfare_consumers": 432.1, "profit": 12.9e6, "profit_share": profit_share, "export_share": 0.75}
    corners = {"price_lowest": 0.0, "price_highest": 0.97, "wage_lowest": 0.5, "wage_highest": 0.04}
    ends = "prices 0% at the lowest, 97% at the highest choice; wages 50% at the lowest, 4% at the highest choice"
    assert composition_words({**values, **corners}) == f"{words} is sold is exported; {ends}"


def test_episodes_that_were_not_recorded_are_refused():
    with pytest.raises(ConfigError, match="record=True"):
        composition(play(ScriptedPolicies(SMALL), 1))


def test_where_there_is_one_choice_nothing_is_said_of_its_ends():
    found, _ = of(SMALL.replace(price_choices=[1000.0]), price=1000.0, work="always")
    words = composition_words({**found, "welfare_consumers": 1.0})
    assert "prices" not in words and "wages" in words
