"""Collapsed, impaired or living."""

from __future__ import annotations

import pytest

from rbc_marl import preset
from rbc_marl.analysis.outcomes import outcome, reference_welfare
from rbc_marl.analysis.rollouts import evaluate
from rbc_marl.policies.scripted import ScriptedPolicies

TOTAL = preset("open", num_consumers=10, num_firms=2)
CONSUMERS = TOTAL.replace(welfare="consumers")


def means(hours, total=0.0, consumers=0.0):
    return {"hours": hours, "welfare_total": total, "welfare_consumers": consumers}


def test_hardly_any_work_is_a_collapse_whatever_the_welfare():
    assert outcome(TOTAL, means(103.9, total=1e9)) == "collapsed"
    assert outcome(TOTAL, means(104.1, total=1e9)) == "living"


def test_less_than_four_fifths_of_the_rule_based_welfare_is_impaired():
    reference = reference_welfare(TOTAL)
    assert outcome(TOTAL, means(500, total=0.79 * reference)) == "impaired"
    assert outcome(TOTAL, means(500, total=0.81 * reference)) == "living"


def test_the_welfare_that_counts_is_that_of_the_government():
    reference = reference_welfare(CONSUMERS, "cost_plus")
    assert reference == evaluate(ScriptedPolicies(CONSUMERS, "cost_plus"), 256, 0).means["welfare_consumers"]
    assert outcome(CONSUMERS, means(500, total=1e9, consumers=0.5 * reference), "cost_plus") == "impaired"


@pytest.mark.parametrize("rules", ["monopoly", "full_employment"])
def test_the_rule_based_economies_live_by_their_own_measure(rules):
    assert outcome(TOTAL, evaluate(ScriptedPolicies(TOTAL, rules), 64, 5).means, rules) == "living"
