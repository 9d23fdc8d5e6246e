"""Best responses as rows, tables and sentences: what deviations gain, of one report or over the runs of a sweep.

A row is the plain data of one deviation that was checked; what its columns mean, `rbc_marl.analysis.verdicts` says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from statistics import NormalDist, fmean
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from torch import Tensor

from rbc_marl.analysis.composition import composition_words
from rbc_marl.analysis.tables import markdown_table
from rbc_marl.analysis.verdicts import (
    PAPER_BOUNDS,
    deviator,
    epsilon,
    number,
    short_name,
    verdict,
    verdict_columns,
    who,
)
from rbc_marl.config import AGENT_TYPES

Row = Mapping[str, Any]

# How often an interval holds what is measured.
CONFIDENCE = 0.95
# Who finds deviations beside learning and constants, in the column found_by.
SEARCHED_BY = ("schedule", "rule", "one-step")
# A positive control has won back enough from this share of the loss on.
RECOVERED_SHARE = 0.5


# The columns of a row


def paired(differences: Tensor, confidence: float = CONFIDENCE) -> dict[str, float]:
    """Mean of paired differences, and its normal interval.

    Args:
        differences: [N] of independent episodes, N at least 2.
        confidence: How often the interval holds the true mean, such as 0.95.

    Returns:
        ``gain``, the mean, and ``low`` and ``high``, the ends of its interval, in the unit of the differences.
    """
    mean = float(differences.mean())
    errors = NormalDist().inv_cdf((1.0 + confidence) / 2)
    half = errors * float(differences.std()) / math.sqrt(len(differences))
    return {"gain": mean, "low": mean - half, "high": mean + half}


def gain_columns(
    agent_type: str,
    gains: Mapping[str, Any],
    learned: Mapping[str, Any] | None,
    constant: Mapping[str, Any],
    control: Mapping[str, Any] | None,
    training: Mapping[str, float] | None,
) -> dict[str, Any]:
    """The columns of a row that say what a deviation gains, and how sure that is.

    Args:
        agent_type: Of the deviator.
        gains: Its baseline return, and what its deviations gain, on fresh episodes (see `better_deviation`).
        learned: The result of learning that did best where it was picked; None where nothing was learnt.
        constant: The result of the best constant.
        control: The result of the positive control; None where nothing was learnt.
        training: The return before training and what training brought, with its interval; None for rules.
    """
    level, better, on_fresh = gains["baseline"], better_deviation(gains), gains.get("learned", {})
    brought, training_note = gain_in_training(training, level)
    verified, control_note = (None, "") if control is None else verify(control)
    # Of all results of learning, a control's alone says what it recovered.
    if better["found_by"] == "learned" and learned is not None and "recovered" in learned:
        better["found_by"] = "control"
        done = learned["iteration"]
        after = f"after {done} iterations" if done else "before it had learnt anything"
        control_note = "; ".join(filter(None, (control_note, f"the control's network did best, {after}")))
    searched, off_path = gains.get("search") or {}, gains.get("trembles")
    if better["found_by"] == "searched":
        better["found_by"] = searched["found_by"]
    notes = [training_note, "" if level else "the baseline return is 0: there is no gain over it", control_note]
    return {
        "level": level,
        "gain": better["gain"],
        "gain_low": better["low"],
        "gain_high": better["high"],
        "gain_over_level": better["gain"] / abs(level) if level else None,
        "training_gain": brought.get("gain"),
        "training_gain_low": brought.get("low"),
        "training_gain_high": brought.get("high"),
        "gain_over_training": better["gain"] / brought["gain"] if brought else None,
        "paper_bound": PAPER_BOUNDS[agent_type],
        "found_by": better["found_by"],
        "learned_gain": on_fresh.get("gain"),
        "learned_gain_low": on_fresh.get("low"),
        "iteration": learned["iteration"] if learned else None,
        "constant_gain": gains["constant"]["gain"],
        "constant_gain_low": gains["constant"]["low"],
        "constant": constant["words"],
        "verified": verified,
        "recovered": control["recovered"] if control else None,
        "damaged_level": control["perturbed"] if control else None,
        "note": "; ".join(note for note in notes if note),
        "searched": searched.get("words"),
        **_ends("searched_gain", gains.get("searched")),
        **_ends("tremble_gain", better_deviation(off_path) if off_path else None),
        **_ends("upper_gain", gains.get("upper")),
        **_ends("own_effect", gains.get("own_effect")),
    }


def _ends(name: str, interval: Mapping[str, float] | None) -> dict[str, float | None]:
    """Columns of an interval; None where there is none."""
    interval = interval or {}
    return {name: interval.get("gain"), f"{name}_low": interval.get("low"), f"{name}_high": interval.get("high")}


def better_deviation(gains: Mapping[str, Any]) -> dict[str, Any]:
    """What counts of several deviations: the best, as all were measured on the same fresh episodes.

    On the episodes on which they were picked each looks better than it is, and more so the one picked from more. The
    largest of several fresh measurements errs upwards, if at all: the safe side for calling something an equilibrium.

    Args:
        gains: ``learned``, ``constant`` and ``searched``, as many as there are, of `paired`. All intervals hold at
            once, at 95%.

    Returns:
        ``gain``, ``low`` and ``high``, each the largest of all, so that the interval holds the gain of the best
        deviation at 95%, whichever that is; ``found_by``: whose ``gain`` it is.
    """
    measured = {name: gains[name] for name in ("learned", "constant", "searched") if name in gains}
    largest = {end: max(one[end] for one in measured.values()) for end in ("gain", "low", "high")}
    return {**largest, "found_by": max(measured, key=lambda name: measured[name]["gain"])}


def gain_in_training(training: Mapping[str, float] | None, level: float) -> tuple[Mapping[str, float], str]:
    """What training had brought, of which the paper's measure is a share; empty, with a note, if that means nothing."""
    if training is None:
        return {}, "rules are not trained: there is no gain in training"
    words = f"({training['start']:.4g} to {level:.4g})"
    if training["high"] < 0.0:
        return {}, f"the reward fell in training {words}: there is no gain in training"
    if training["low"] <= 0.0:
        return {}, f"the reward {words} is not surely more than before training: no share of that gain is given"
    return training, ""


def verify(control: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether the positive control shows that these settings find a deviation where there is one, or why not."""
    if control["recovered"] is None:
        return False, "not verified: a perturbed network loses nothing that could be won back"
    if control["recovered"] < RECOVERED_SHARE:
        share = f"{control['recovered']:.0%}"
        return False, f"not verified: the control won back {share} of a perturbed network's loss; raise the iterations"
    return True, ""


# A report of one search


def verdicts(rows: Sequence[Row], checkpoints: Sequence[Row]) -> dict[str, str]:
    """In words, by checkpoint, whether it can be called an equilibrium; ``checkpoints`` say what became of each."""
    return {
        described["checkpoint"]: verdict(described["outcome"], _of_checkpoint(rows, described))[1]
        for described in checkpoints
    }


def single_agents(rows: Sequence[Row], checkpoints: Sequence[Row]) -> list[dict[str, Any]]:
    """Of the single agents checked, by checkpoint and type: how many, and the largest and the mean gain.

    Gains below 0 count as 0: an agent that stays gains nothing.
    """
    summaries = []
    for described, agent_type in product(checkpoints, AGENT_TYPES):
        single = [row for row in _of_checkpoint(rows, described, "agent") if row["agent_type"] == agent_type]
        if not single:
            continue
        gains = [max(row["gain"], 0.0) for row in single]
        largest = max(single, key=lambda row: row["gain"])
        share = largest["gain_over_level"]
        summaries.append(
            {
                "checkpoint": described["checkpoint"],
                "agent_type": agent_type,
                "checked": len(single),
                "largest_gain": max(gains),
                "largest_agent": largest["agent"],
                "largest_over_level": None if share is None else max(share, 0.0),
                "mean_gain": sum(gains) / len(gains),
            }
        )
    return summaries


def terminal_table(rows: Sequence[Row]) -> Table:
    """The rows for a terminal, narrow enough for 80 columns."""
    title = f"gain by deviating, of {rows[0]['episodes']} episodes, with 95% intervals"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("who", no_wrap=True)
    for name in ("baseline", "gain", "/base", "/training", "control"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("by", no_wrap=True)
    previous = ""
    for row in rows:
        if row["kind"] == "constant":
            continue  # a line below has them
        if row["checkpoint"] != previous:
            previous = row["checkpoint"]
            table.add_section()
            table.add_row(f"{short_name(previous)}: {row['outcome']}", style="bold")
        # An interval for the better of two deviations never reaches less far up than down.
        table.add_row(
            deviator(row) if row["agent"] is None else f"  {deviator(row)}",
            number(row["level"]),
            f"{number(row['gain'])} ± {number(row['gain_high'] - row['gain'], 2)}",
            _percent(row["gain_over_level"]),
            _percent(row["gain_over_training"]),
            f"{row['recovered']:.0%}" if row["verified"] else "failed",
            row["found_by"],
        )
    return table


def report_lines(rows: Sequence[Row], checkpoints: Sequence[Row]) -> list[str]:
    """Verdicts, what the single agents come to, and notes, as plain lines below the table."""
    lines = [f"{name}: {words}" for name, words in verdicts(rows, checkpoints).items()]
    lines += [f"{described['checkpoint']}: {composition_words(described)}" for described in checkpoints]
    for agents in single_agents(rows, checkpoints):
        agent_type = agents["agent_type"]
        lines.append(
            f"{agents['checkpoint']}: of {agents['checked']} single {agent_type}s, {agent_type} "
            f"{agents['largest_agent']} gains most: {number(agents['largest_gain'])} "
            f"({_percent(agents['largest_over_level'])} of its baseline return); mean {number(agents['mean_gain'])}"
        )
    for described in checkpoints:
        if further := _of_checkpoint(rows, described, "constant"):
            lines.append(f"{described['checkpoint']}: {_further_firms(further)}")
    lines += [f"{described['checkpoint']}: {note}" for described in checkpoints for note in described["notes"]]
    for row in rows:
        if row["kind"] != "constant":
            words = [f"always {row['constant']}"] if row["found_by"] == "constant" else []
            words += [f"{row['found_by']}: {row['searched']}"] if row["found_by"] in SEARCHED_BY else []
            words += [_bound_words(row)] if row.get("upper_gain") is not None else []
            words += [row["note"]] if row["note"] else []
            lines += [f"{row['checkpoint']}: {deviator(row)}: {text}" for text in words]
    return lines


def _bound_words(row: Row) -> str:
    """The bound from above of a single consumer."""
    words = f"who takes prices, wages and taxes as they came could gain at most {number(row['upper_gain_high'])}"
    effect = row["own_effect"]
    return words if effect is None else f"{words}; its best deviation moves that bound by {number(effect)}"


def _further_firms(rows: Sequence[Row]) -> str:
    """What the firms come to for which constants alone were tried."""
    largest = max(rows, key=lambda row: row["gain"])
    words = f"firm {largest['agent']} gains most: {number(largest['gain'])} "
    words += f"({_percent(largest['gain_over_level'])}), always {largest['constant']}"
    firms = "firm" if len(rows) == 1 else "firms"
    return f"of {len(rows)} further {firms}, by constants alone, {words if largest['gain'] > 0.0 else 'none gains'}"


def _of_checkpoint(rows: Sequence[Row], described: Row, kind: str = "") -> list[Row]:
    mine = (row for row in rows if row["checkpoint"] == described["checkpoint"])
    return [row for row in mine if kind in ("", row["kind"])]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"


# The runs of a sweep


def judge(
    runs: Sequence[dict[str, Any]], responses: Mapping[str, Sequence[Row] | None]
) -> list[dict[str, Any]]:
    """Add to the rows of a sweep's runs how far each is from an equilibrium (`verdict_columns`).

    Args:
        runs: Rows of the sweep, with their ``key``; they are changed.
        responses: By key, the rows of best responses; None for runs without.

    Returns:
        A row for each deviation checked, with the arm and the seed of its run.
    """
    for run in runs:
        run |= verdict_columns(responses.get(run["key"]), run["outcome"])
    return [
        {
            **{name: run[name] for name in ("arm", "seed", "outcome")},
            **{name: value for name, value in row.items() if name not in ("checkpoint", "outcome")},
        }
        for run in runs
        for row in responses.get(run["key"]) or ()
    ]


def gain_summary(rows: Sequence[Row]) -> str:
    """A Markdown table with a line for each arm and deviator, over runs.

    Gains below zero count as 0, for an agent that stays gains nothing. "above it beyond doubt" counts runs in which the
    lower end of the gain's interval is above the paper's bound.
    """
    head = ["arm", "who", "runs", "baseline return", "gain: mean", "worst", "over baseline: mean", "worst"]
    head += ["by a constant: worst", "paper's bound", "above it beyond doubt", "verified"]
    of_line: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        name = "each further firm, constants only" if row["kind"] == "constant" else who(row)
        of_line.setdefault((row["arm"], name), []).append(row)
    lines = [[arm, name, *_gain_cells(members)] for (arm, name), members in of_line.items()]
    return markdown_table(head, lines)


def _gain_cells(rows: Sequence[Row]) -> list[str]:
    """What one deviator gains over the runs of an arm, from the number of runs to how many are verified."""
    gains = [max(row["gain"], 0.0) for row in rows]
    shares = [share for row in rows if (share := epsilon(row)) is not None]
    constants = [max(row["constant_gain"], 0.0) / abs(row["level"]) for row in rows if row["level"]]
    bound = rows[0]["paper_bound"]
    above = {row["seed"] for row in rows if row["gain_low"] > bound * abs(row["level"])}
    controlled = [row for row in rows if row["verified"] is not None]
    runs = len({row["seed"] for row in rows})
    return [
        str(runs),
        f"{fmean(row['level'] for row in rows):,.4g}",
        f"{fmean(gains):,.3g}",
        f"{max(gains):,.3g}",
        f"{fmean(shares):.2%}" if shares else "",
        f"{max(shares):.2%}" if shares else "",
        f"{max(constants):.2%}" if constants else "",
        f"{bound:.0%}",
        f"{len(above)}/{runs}",
        f"{sum(row['verified'] for row in controlled)}/{len(controlled)}" if controlled else "",
    ]
