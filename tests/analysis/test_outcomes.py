"""Collapsed, dead, impaired or living."""

from __future__ import annotations

import math

import pytest

from rbc_marl import ConfigError, preset
from rbc_marl.analysis.outcomes import BEST, CANDIDATES, FAILED, check_reference, outcome, reason, reference_welfare
from rbc_marl.analysis.planner import plan
from rbc_marl.analysis.rollouts import Evaluation, evaluate, play
from rbc_marl.policies.scripted import ScriptedPolicies

TOTAL = preset("open", num_consumers=10, num_firms=2)
CONSUMERS = TOTAL.replace(welfare="consumers")
CLOSED = preset("closed", num_consumers=10, num_firms=2)


def means(hours, total=0.0, consumers=0.0, sales=1.0):
    return {"hours": hours, "middle_sales": sales, "welfare_total": total, "welfare_consumers": consumers}


def test_hardly_any_work_is_a_collapse_whatever_the_welfare():
    assert outcome(TOTAL, means(103.9, total=1e9)) == "collapsed"
    assert outcome(TOTAL, means(104.1, total=1e9)) == "living"


def test_a_closed_economy_is_dead_only_if_nothing_is_sold_in_the_middle_of_the_episode():
    much = plan(CLOSED).welfare
    assert outcome(CLOSED, means(5.0, total=1.0, consumers=much, sales=0.002)) == "living"
    assert outcome(CLOSED, means(500.0, total=1e9, consumers=much, sales=0.0005)) == "dead"
    assert outcome(CLOSED, means(0.0, sales=0.0)) == "dead"
    # Sales in the last period alone are no life: of ten periods it is the one that nobody has to think of.
    assert outcome(CLOSED, {**means(5.0, sales=0.0), "sales": 0.5}) == "dead"


@pytest.mark.parametrize(("share", "expected"), [(0.099, "impaired"), (0.101, "living")])
@pytest.mark.parametrize("welfare", ["total", "consumers"])
def test_a_closed_economy_is_held_against_a_planner_and_no_rules(share, expected, welfare):
    config = CLOSED.replace(welfare=welfare)
    found = means(5.0, total=1.0, consumers=share * plan(CLOSED).welfare)
    assert outcome(config, found) == outcome(config, found, "monopoly") == outcome(config, found, "idle") == expected


def test_outcomes_are_explained_in_words():
    def words(config, rules="best"):
        evaluation = Evaluation.of(play(ScriptedPolicies(config, "cost_plus"), 8, record=True))
        return reason(config, outcome(config, evaluation.means, rules), evaluation.to_dict(), rules), evaluation

    text, _ = words(TOTAL)
    assert text == f"welfare of the best rule-based economy: {reference_welfare(TOTAL):,.0f}; trade in 9 of 9 periods"
    assert words(TOTAL, "idle")[0] == "welfare of the rule-based economy idle: 0; trade in 9 of 9 periods"
    assert words(TOTAL.replace(initial_inventory=5.0))[0].endswith("; trade in 10 of 10 periods")
    text, evaluation = words(CLOSED)
    found = evaluation.indicators
    assert text == (
        f"{found['planner_share']:.1%} of a planner's welfare, firms keep {found['firms_money_share']:.0%} of "
        f"consumers' money, labour share {found['labour_share']:.0%}, trade in 9 of 9 periods"
    )
    assert reason(CLOSED, FAILED, {}) == "a mean is infinite or NaN"


@pytest.mark.parametrize("name", ["hours", "welfare_total", "price"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_have_no_outcome(name, value):
    assert outcome(TOTAL, {**means(0.0), name: value}) == FAILED == "failed"


def test_less_than_four_fifths_of_the_rule_based_welfare_is_impaired():
    reference = reference_welfare(TOTAL)
    assert outcome(TOTAL, means(500, total=0.79 * reference)) == "impaired"
    assert outcome(TOTAL, means(500, total=0.81 * reference)) == "living"


def test_the_welfare_that_counts_is_that_of_the_government():
    reference = reference_welfare(CONSUMERS, "cost_plus")
    assert reference == evaluate(ScriptedPolicies(CONSUMERS, "cost_plus"), 256, 0).means["welfare_consumers"]
    assert outcome(CONSUMERS, means(500, total=1e9, consumers=0.5 * reference), "cost_plus") == "impaired"


def test_where_no_government_maximises_anything_one_welfare_is_enough_to_live_by():
    found = means(500, total=0.1 * reference_welfare(TOTAL), consumers=0.9 * reference_welfare(CONSUMERS))
    assert outcome(TOTAL, found) == outcome(TOTAL, found, welfares=("total",)) == "impaired"
    assert outcome(TOTAL, found, welfares=("total", "consumers")) == "living"
    assert outcome(TOTAL, means(500), welfares=("total", "consumers")) == "impaired"
    assert outcome(TOTAL, {**found, "hours": 0.0}, welfares=("total", "consumers")) == "collapsed"


@pytest.mark.parametrize("rules", ["monopoly", "full_employment"])
def test_the_rule_based_economies_live_by_their_own_measure(rules):
    assert outcome(TOTAL, evaluate(ScriptedPolicies(TOTAL, rules), 64, 5).means, rules) == "living"


@pytest.mark.parametrize("welfare", ["total", "consumers"])
@pytest.mark.parametrize("is_open", ["open", "closed"])
def test_the_best_rules_are_those_that_bring_most_of_the_welfare_that_counts(is_open, welfare):
    config = preset(is_open, num_consumers=10, num_firms=2, welfare=welfare)
    found = {name: reference_welfare(config, name) for name in CANDIDATES}
    assert reference_welfare(config) == reference_welfare(config, BEST) == max(found.values())
    assert len(set(found.values())) == len(CANDIDATES)


def test_where_rules_lose_an_economy_must_still_do_better_than_nobody_doing_anything():
    poor = TOTAL.replace(export_quota=0.0)
    assert reference_welfare(poor, "monopoly") < 0
    assert outcome(poor, means(500, total=-1.0), "monopoly") == "impaired"
    assert outcome(poor, means(500, total=1.0), "monopoly") == "living"
    much = plan(CLOSED).welfare
    assert outcome(CLOSED, means(500, total=-1.0, consumers=much)) == "impaired"
    assert outcome(CLOSED, means(500, total=-1.0, consumers=much), welfares=("total", "consumers")) == "living"


def test_rules_that_are_not_there_are_refused():
    assert check_reference("cost_plus") == "cost_plus" and check_reference("best") == "best"
    with pytest.raises(ConfigError, match=r"^it must be one of best, .*did you mean \"monopoly\""):
        check_reference("monopol")
