"""The two sentences that a report begins with."""

from __future__ import annotations

import pytest

from rbc_marl import preset
from rbc_marl.analysis.outcomes import reference_welfare
from rbc_marl.report import verdict
from tests.report.folders import CONFIG, deviation, row


def test_an_open_economy_is_held_against_rules():
    welfare = reference_welfare(CONFIG, "monopoly")
    values = {"welfare_total": 0.5 * welfare}
    first, second = verdict.of_economy(CONFIG, "impaired", values, 0.69, "monopoly")
    assert first == "The economy is impaired: its total welfare is 50% of that of the rule-based economy monopoly."
    assert second == "Of what consumers can gain by choosing goods by price, they gain 69%."
    assert "nothing to gain" in verdict.of_economy(CONFIG, "living", values, None, "monopoly")[1]


def test_a_closed_economy_is_held_against_a_planner():
    config = preset("closed", num_consumers=3, num_firms=2, horizon=4)
    first, _ = verdict.of_economy(config, "dead", {"planner_share": 0.012}, 0.1, "best")
    assert first == "The economy is dead, for nothing is sold: consumers' welfare is 1.2% of a planner's."


def test_a_sweep_counts_outcomes_of_all_its_runs():
    rows = [row("a", 1), row("a", 2, "collapsed"), row("b", 1, welfare_total=300.0), row("b", 2, "failed", error="nan")]
    first, second = verdict.of_sweep(rows, 6)
    assert first == "2 of 6 runs are living, 1 collapsed, 1 failed."
    assert second.startswith("Those alive have a median total welfare of 200;") and second.endswith("they gain 25%.")
    assert verdict.of_sweep([], 6)[0] == "None of 6 runs has ended yet."
    assert verdict.of_sweep([row("a", 1, "collapsed")], 1)[1] == "No economy is alive."
    trained = [{"arm": "a", "seed": 1, "outcome": "trained"}]
    assert verdict.of_sweep(trained, 2)[0] == "1 of 2 runs are trained."


def test_a_sweep_with_best_responses_counts_equilibria():
    checked = [row("a", i, epsilon_consumer=0.01, equilibrium="yes" if i else "no") for i in range(3)]
    assert verdict.of_sweep(checked, 3)[1] == "2 of 3 that were checked can be called an equilibrium."


UNSURE = "Nobody surely gains more than the paper's bounds, but intervals reach beyond for: consumers."


@pytest.mark.parametrize(
    ("gain", "half", "words", "in_a_sentence"),
    [
        (2.0, 0.5, "All gains, with their intervals, are within the paper's bounds.", "within the paper's bounds."),
        (2.8, 0.5, UNSURE, "nobody surely more than the paper's bounds, but intervals reach beyond for consumers."),
        (3.2, 0.5, UNSURE, "nobody surely more than the paper's bounds, but intervals reach beyond for consumers."),
        (9.0, 0.5, "This is beyond the paper's bounds for: consumers.", ": beyond the paper's bounds for consumers."),
    ],
)
def test_gains_are_held_against_the_papers_bounds(gain, half, words, in_a_sentence):
    rows = [deviation("consumer", gain, half=half), deviation("firm", -3.0)]
    first, second = verdict.of_deviations(rows, {"checkpoint_000004": "living"})
    assert first.endswith(f"consumers {gain / 100:.2%}, firms 0.00%.") and second == words
    said = verdict.deviations_in_a_sentence(rows, {})
    assert said.startswith(f"The best deviations found gain consumers {gain / 100:.2%} and firms 0.00% over the base")
    assert said.endswith(in_a_sentence)


def test_gains_in_an_economy_that_is_not_living_say_nothing():
    assert verdict.of_deviations([deviation("firm", 0.0)], {"checkpoint_000004": "collapsed"})[0] == (
        "The economy is collapsed."
    )
    assert verdict.of_deviations([], {})[0] == "Nobody was checked."
    elsewhere = verdict.deviations_in_a_sentence([deviation("firm", 0.0)], {"checkpoint_000004": "collapsed"})
    assert elsewhere == "What agents gain by deviating says little in such an economy."
    assert "nobody was checked" in verdict.deviations_in_a_sentence([], {})
