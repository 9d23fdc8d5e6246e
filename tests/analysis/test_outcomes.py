"""Collapsed, impaired or living."""

from __future__ import annotations

import math

import pytest

from rbc_marl import ConfigError, preset
from rbc_marl.analysis.outcomes import BEST, CANDIDATES, FAILED, check_reference, outcome, reference_welfare
from rbc_marl.analysis.rollouts import evaluate
from rbc_marl.policies.scripted import ScriptedPolicies

TOTAL = preset("open", num_consumers=10, num_firms=2)
CONSUMERS = TOTAL.replace(welfare="consumers")


def means(hours, total=0.0, consumers=0.0):
    return {"hours": hours, "welfare_total": total, "welfare_consumers": consumers}


def test_hardly_any_work_is_a_collapse_whatever_the_welfare():
    assert outcome(TOTAL, means(103.9, total=1e9)) == "collapsed"
    assert outcome(TOTAL, means(104.1, total=1e9)) == "living"


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
    closed = preset("closed", num_consumers=10, num_firms=2)
    assert reference_welfare(closed, "monopoly") < 0
    assert outcome(closed, means(500, total=-1.0), "monopoly") == "impaired"
    assert outcome(closed, means(500, total=1.0), "monopoly") == "living"


def test_rules_that_are_not_there_are_refused():
    assert check_reference("cost_plus") == "cost_plus" and check_reference("best") == "best"
    with pytest.raises(ConfigError, match=r"^it must be one of best, .*did you mean \"monopoly\""):
        check_reference("monopol")
