"""Best responses as rows, tables and sentences."""

from __future__ import annotations

import io

import pytest
import torch
from rich.console import Console

from rbc_marl.analysis.best_responses import (
    better_deviation,
    gain_in_training,
    gain_summary,
    judge,
    paired,
    single_agents,
    terminal_table,
    verify,
)
from rbc_marl.analysis.verdicts import short_name
from tests.analysis.test_verdicts import LEVELS, deviation, near, row


def ends(gain, low, high):
    return {"gain": gain, "low": low, "high": high}


def test_an_interval_is_that_of_the_mean_of_paired_differences():
    interval = paired(torch.tensor([1.0, 2.0, 3.0, 6.0], dtype=torch.float64))
    error = 1.959964 * (14 / 3) ** 0.5 / 2
    assert interval == pytest.approx({"gain": 3.0, "low": 3.0 - error, "high": 3.0 + error})


@pytest.mark.parametrize(
    ("learned", "constant", "expected"),
    [
        ((3.0, 1.0, 5.0), (2.0, 1.5, 2.5), ("learned", 3.0, 1.5, 5.0)),
        ((1.0, -2.0, 4.0), (2.0, 1.5, 2.5), ("constant", 2.0, 1.5, 4.0)),
        ((2.0, 1.0, 3.0), (2.0, 1.0, 3.0), ("learned", 2.0, 1.0, 3.0)),
    ],
)
def test_the_better_of_both_deviations_counts_where_they_are_measured(learned, constant, expected):
    found = better_deviation({"learned": ends(*learned), "constant": ends(*constant)})
    assert tuple(found[name] for name in ("found_by", "gain", "low", "high")) == expected


def test_the_papers_measure_is_given_where_it_has_a_meaning():
    firm = {"start": 3.0, "gain": 4.0, "low": 3.5, "high": 4.5}
    fell, same = {**firm, "gain": -2.0, "low": -3.0, "high": -1.0}, {**firm, "gain": 0.2, "low": -1.0, "high": 1.4}
    assert gain_in_training(firm, 7.0) == (firm, "")
    gain, note = gain_in_training(fell, 1.0)
    assert gain == {} and note == "the reward fell in training (3 to 1): there is no gain in training"
    gain, note = gain_in_training(same, 3.2)
    assert gain == {} and note.startswith("the reward (3 to 3.2) is not surely more than before training")
    gain, note = gain_in_training(None, 7.0)
    assert gain == {} and "rules are not trained" in note


@pytest.mark.parametrize(("recovered", "verified"), [(0.5, True), (1.2, True), (0.49, False), (None, False)])
def test_a_control_verifies_from_half_of_the_loss_on(recovered, verified):
    found, reason = verify({"recovered": recovered})
    assert found is verified and reason.startswith("" if verified else "not verified: ")
    assert bool(reason) is not verified


def test_single_agents_come_to_their_largest_and_mean_gain():
    rows = [*near(), row("firm", 0.1, 0), row("firm", 0.3, 4), row("consumer", 0.01, 99)]
    consumer, firm = single_agents(rows, [{"checkpoint": "checkpoint_000100"}])
    assert (consumer["agent_type"], consumer["checked"], consumer["largest_agent"]) == ("consumer", 1, 99)
    assert (firm["checked"], firm["largest_agent"], firm["largest_over_level"]) == (2, 4, 0.3)
    assert firm["mean_gain"] == pytest.approx(0.2 * LEVELS["firm"])
    assert firm["largest_gain"] == pytest.approx(0.3 * LEVELS["firm"])


def test_the_table_fits_a_terminal_and_shows_every_row_whole():
    rows = [*near(), row("consumer", 0.01, 99, gain=0.5, gain_high=0.6), row("firm", 0.3, 4, verified=False)]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(terminal_table([*(dict(one, checkpoint="checkpoint_000050") for one in rows), *rows]))
    text = console.export_text()
    assert "…" not in text
    lines = [line.split() for line in text.splitlines()]
    assert ["50:", "living"] in lines and ["100:", "living"] in lines
    assert lines.count(["consumer", "99", "4.35", "0.5", "±", "0.1", "1.00%", "-", "90%", "learned"]) == 2
    assert sum("failed" in line for line in lines) == 2


def test_a_checkpoint_has_a_short_name():
    names = ("checkpoint_000100", "checkpoint_000000", "checkpoint_000100-2", "monopoly", "rules-2")
    assert [short_name(name) for name in names] == ["100", "0", "100-2", "monopoly", "rules-2"]


def test_gains_of_many_runs_come_to_their_mean_and_worst():
    runs = [{"arm": "a", "seed": seed, "outcome": "living", "key": f"a-{seed}"} for seed in (1, 2, 3)]
    small, large = deviation("consumer", -0.02), deviation("consumer", 0.05, constant=4.0)
    alone = deviation("firm", 0.2, "agent", verified=False)
    rows = judge(runs, {"a-1": [small, alone], "a-2": [large], "a-3": None})
    assert [(row["seed"], row["agent_type"], row["agent"]) for row in rows] == [
        (1, "consumer", None),
        (1, "firm", 3),
        (2, "consumer", None),
    ]
    assert gain_summary(rows).splitlines()[2:] == [
        "| a | consumer | 2 | 100 | 2.5 | 5 | 2.50% | 5.00% | 4.00% | 3% | 1/2 | 2/2 |",
        "| a | firm 3 alone | 1 | 100 | 20 | 20 | 20.00% | 20.00% | 0.00% | 10% | 1/1 | 0/1 |",
    ]
    further = [deviation("firm", share, "constant", verified=None) for share in (0.2, -0.1, 0.3)]
    assert gain_summary(judge(runs, {"a-1": further[:2], "a-2": further[2:]})).splitlines()[2:] == [
        "| a | each further firm, constants only | 2 | 100 | 16.7 | 30 | 16.67% | 30.00% | 0.00% | 10% | 2/2 |  |",
    ]
