"""Summaries of sweeps."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from rbc_marl.analysis.tables import (
    csv_text,
    economy_summary,
    fisher,
    markdown_table,
    parquet_bytes,
    summary,
    training_summary,
    wilson,
)


def row(arm, seed, welfare, outcome="living"):
    return {
        "arm": arm, "seed": seed, "outcome": outcome, "hours": 400.0, "government_return": welfare,
        "welfare_total": welfare + 0.2, "welfare_consumers": 1.0,
    }  # fmt: skip


def test_intervals_and_tests_have_their_known_values():
    assert wilson(5, 5) == pytest.approx((0.5655, 1.0), abs=1e-4)
    assert wilson(20, 20)[0] == pytest.approx(0.8389, abs=1e-4)
    assert fisher(3, 3, 0, 3) == pytest.approx(0.1)


def test_a_table_has_a_cell_per_column_whatever_stands_in_it():
    assert markdown_table(["a", "b"], []) == "| a | b |\n|---|---|"
    assert markdown_table(["a", "b"], [["x|y", ""]]).splitlines()[2] == "| x\\|y |  |"


def test_a_summary_shows_every_seed_and_compares_with_the_first_arm():
    rows = [row("a", 1, 100.0), row("b", 1, 90.0), row("a", 2, 110.0), row("b", 2, 0.0, "collapsed")]
    lines = summary(rows).splitlines()
    first, second = lines[2], lines[3]
    assert first.startswith("| a | 2/2 |") and first.endswith("|  |  |")
    assert second.startswith("| b | 1/2 |")
    assert "| -60 ± 50 |" in second  # differences of -10 and -110 on the same seeds
    assert "- b: 1: 90 (1), 2: 0 (1) collapsed" in lines


def test_dead_closed_economies_are_as_little_alive_as_collapsed_open_ones():
    lines = summary([row("a", 1, 100.0), row("a", 2, 0.0, "dead"), row("b", 1, 0.0, "collapsed")]).splitlines()
    assert lines[2].startswith("| a | 1/2 |") and lines[3].startswith("| b | 0/1 |")
    assert "- a: 1: 100 (1), 2: 0 (1) dead" in lines


def test_headlines_are_means_over_all_runs_that_ended():
    measured = {
        "shopping_share": 0.5, "demand_elasticity": -3.25, "employment": 0.9, "unsold_share": 0.46,
        "consumer_return": 14.84, "middle_price_std": 420.4, "price_sales": -0.5, "trade_share": 1.0,
    }  # fmt: skip
    # A run in which nothing is sold has no unsold share and no correlation: the means are those of the others.
    dead = {**row("a", 2, 0.0, "collapsed"), "hours": 0.0, "unsold_share": None, "price_sales": None}
    rows = [{**row("a", 1, 100.0), **measured}, {**measured, **dead, "trade_share": 0.0}, row("b", 1, 1.0, "stopped")]
    head, _, first, second = economy_summary(rows).splitlines()
    assert "price-demand" not in head and "planner" not in head
    assert head.startswith("| arm | outcomes | shopping share | demand elasticity | hours |")
    assert first == (
        "| a | 1 living, 1 collapsed | 0.50 | -3.2 | 200 | 90% | 46% | 14.8 | 50 | 1 | 420 | -0.50 | 50.0% |"
    )
    assert second == "| b |  |" + "  |" * 11
    closed = [{**rows[0], "planner_share": 0.043, "firms_money_share": 0.78, "labour_share": 0.46}]
    lines = economy_summary(closed).splitlines()
    assert lines[0].endswith("| of a planner's welfare | firms' share of the money | labour share |")
    assert lines[2].endswith("| 100.0% | 4.3% | 78% | 46% |")


def test_only_seeds_that_both_have_are_compared():
    rows = [row("a", 1, 100.0), row("a", 2, 100.0), row("a", 3, 100.0), row("b", 2, 50.0), row("b", 3, 60.0)]
    assert "| -45 ± 5 |" in summary(rows)


TOTAL, OTHER, CONSUMERS = "total welfare, weighted by 0.0025", "total welfare, weighted by 0", "consumers' welfare"


def test_welfares_of_governments_that_maximise_different_things_have_no_difference():
    rows = [row(arm, seed, 100.0) for arm in ("a", "b", "c", "d") for seed in (1, 2)]
    objectives = {"a": TOTAL, "b": CONSUMERS, "c": TOTAL, "d": OTHER}
    lines = summary(rows, objectives).splitlines()
    assert [line.split(" | ")[-2:] for line in lines[2:6]] == [
        ["", " |"],
        ["", "1.000 |"],
        ["+0 ± 0", "1.000 |"],
        ["", "1.000 |"],
    ]
    assert f"No difference of welfare where a government maximises something else than that of a ({TOTAL})." in lines
    assert any(line.endswith("in brackets), after what the arm's government maximises:") for line in lines)
    assert f"- d [{OTHER}]: 1: 100 (1), 2: 100 (1)" in lines and f"- b [{CONSUMERS}]: 1: 100 (1), 2: 100 (1)" in lines
    alike = summary(rows, dict.fromkeys(objectives, TOTAL))
    assert "No difference" not in alike and TOTAL not in alike and alike == summary(rows)


def test_others_are_compared_with_the_first_arm_also_where_a_scheduler_stopped_its_first_runs():
    rows = [row("base", 1, 1.0, "stopped"), row("other", 1, 5.0), row("base", 2, 9.0), row("other", 2, 6.0)]
    rows += [row("base", 3, 9.0), row("other", 3, 8.0)]
    lines = summary(rows).splitlines()
    assert lines[2].startswith("| base | 2/2 |") and lines[2].endswith("|  |  |")
    assert lines[3].startswith("| other | 3/3 |") and "| -2 ± 1 |" in lines[3]


def test_without_a_run_of_the_first_arm_nothing_is_compared():
    rows = [row(arm, seed, 5.0) for arm in ("b", "c") for seed in (1, 2)]
    text = summary([row("base", 1, 1.0, "stopped"), *rows])
    lines = text.splitlines()
    assert all(line.endswith("|  |  |") for line in lines[2:4]) and "| base |" not in text
    assert "Nothing is compared: every run of the first arm, base, was stopped before its time." in lines
    assert summary([]).splitlines()[1] == "|" + "---|" * 9


def test_runs_that_were_not_evaluated_show_what_was_varied_and_their_last_returns():
    rows = [{"arm": "lr=0.1", "seed": 3, "outcome": "trained", "lr": 0.1, "iterations": 7}]
    rows[0] |= {"episode_return_mean": 12345.678, "agent_episode_returns_mean/consumer_0": 1.0}
    rows.append({"arm": "lr=9", "seed": 3, "outcome": "failed", "lr": 9, "error": "the loss of firm is nan"})
    assert training_summary(rows, ["lr"]).splitlines() == [
        "| arm | lr | seed | iterations | episode return mean |",
        "|---|---|---|---|---|",
        "| lr=0.1 | 0.1 | 3 | 7 | 12,346 |",
        "",
        "Runs that failed, which no line counts: 1",
        "",
        "- lr=9 seed 3: the loss of firm is nan",
    ]


def test_a_number_that_no_row_has_is_read_alike_from_both_kinds_of_tables():
    rows, names = [{"seed": 1, "planner_share": None}, {"seed": 2, "planner_share": None}], ["seed", "planner_share"]
    from_csv = pd.read_csv(io.StringIO(csv_text(rows, names)))
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(parquet_bytes(rows, names))), from_csv)
