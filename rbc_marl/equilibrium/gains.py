"""What deviators gain over the runs of a sweep: a row for each, and a summary of each arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from rbc_marl.analysis.tables import markdown_table
from rbc_marl.equilibrium.best_response_report import epsilon

Row = Mapping[str, Any]


def deviation_rows(runs: Sequence[Row], found: Mapping[str, Sequence[Row] | None]) -> list[dict[str, Any]]:
    """A row for each deviation checked, with the arm and the seed of its run.

    Args:
        runs: Rows of the sweep, with their ``key``.
        found: By key, the rows of best responses; None for runs without.
    """
    return [
        {"arm": run["arm"], "seed": run["seed"], "outcome": run["outcome"], **_without(row, "checkpoint", "outcome")}
        for run in runs
        for row in found.get(run["key"]) or ()
    ]


def gain_summary(rows: Sequence[Row]) -> str:
    """A Markdown table with a line for each arm and deviator, over runs.

    Gains below zero count as 0, for who stays gains nothing. "above it beyond doubt" counts runs in which the lower end
    of the gain's interval is above the paper's bound.
    """
    head = ["arm", "who", "runs", "level", "gain: mean", "worst", "over level: mean", "worst", "by a constant: worst"]
    head += ["paper's bound", "above it beyond doubt", "verified"]
    lines = []
    cells: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        who = row["agent_type"] if row["agent"] is None else f"{row['agent_type']} {row['agent']} alone"
        who = "each further firm, constants only" if row["kind"] == "constant" else who
        cells.setdefault((row["arm"], who), []).append(row)
    for (arm, who), of_one in cells.items():
        gains = [max(row["gain"], 0.0) for row in of_one]
        shares = [share for row in of_one if (share := epsilon(row)) is not None]
        constants = [max(row["constant_gain"], 0.0) / abs(row["level"]) for row in of_one if row["level"]]
        bound = of_one[0]["paper_bound"]
        above = {row["seed"] for row in of_one if row["gain_low"] > bound * abs(row["level"])}
        tried = [row for row in of_one if row["verified"] is not None]
        runs = len({row["seed"] for row in of_one})
        texts = [arm, who, str(runs), f"{fmean(row['level'] for row in of_one):,.4g}"]
        texts += [f"{fmean(gains):,.3g}", f"{max(gains):,.3g}", *_mean_and_worst(shares)]
        texts += [f"{max(constants):.2%}" if constants else "", f"{bound:.0%}", f"{len(above)}/{runs}"]
        texts.append(f"{sum(row['verified'] for row in tried)}/{len(tried)}" if tried else "")
        lines.append(texts)
    return markdown_table(head, lines)


def _mean_and_worst(shares: Sequence[float]) -> tuple[str, str]:
    return (f"{fmean(shares):.2%}", f"{max(shares):.2%}") if shares else ("", "")


def _without(row: Row, *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}
