"""Summaries of sweeps."""

from __future__ import annotations

import pytest

from rbc_marl.analysis.tables import fisher, summary, wilson


def row(arm, seed, welfare, outcome="living"):
    return {
        "arm": arm, "seed": seed, "outcome": outcome, "hours": 400.0, "government_return": welfare,
        "welfare_total": welfare + 0.2, "welfare_consumers": 1.0, "price_demand": -0.5, "wage_labour": 0.25,
    }  # fmt: skip


def test_intervals_and_tests_have_their_known_values():
    assert wilson(5, 5) == pytest.approx((0.5655, 1.0), abs=1e-4)
    assert wilson(20, 20)[0] == pytest.approx(0.8389, abs=1e-4)
    assert fisher(3, 3, 0, 3) == pytest.approx(0.1)


def test_a_summary_shows_every_seed_and_compares_with_the_first_arm():
    rows = [row("a", 1, 100.0), row("b", 1, 90.0), row("a", 2, 110.0), row("b", 2, 0.0, "collapsed")]
    lines = summary(rows).splitlines()
    first, second = lines[2], lines[3]
    assert first.startswith("| a | 2/2 |") and first.endswith("|  |  |")
    assert second.startswith("| b | 1/2 |")
    assert "| -60 ± 50 |" in second  # differences of -10 and -110 on the same seeds
    assert "- b: 1: 90 (1), 2: 0 (1) collapsed" in lines


def test_only_seeds_that_both_have_are_compared():
    rows = [row("a", 1, 100.0), row("a", 2, 100.0), row("a", 3, 100.0), row("b", 2, 50.0), row("b", 3, 60.0)]
    assert "| -45 ± 5 |" in summary(rows)
