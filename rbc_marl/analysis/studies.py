"""What a study of many runs comes to: its tables as files, and the parts of its summary. Functions of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rbc_marl.analysis.best_responses import gain_summary
from rbc_marl.analysis.groups import Thresholds, equilibria, group, group_summary
from rbc_marl.analysis.tables import (
    columns_of,
    composition_summary,
    csv_text,
    economy_summary,
    parquet_bytes,
    summary,
)

Row = Mapping[str, Any]
Files = dict[str, str | bytes]
"""Contents of files by their names."""

# Columns that come first in a table; the others follow as they are.
FIRST = (
    *("arm", "seed", "outcome", "group", "hours", "welfare_total", "welfare_consumers", "consumer_return"),
    *("employment", "unsold_share", "middle_price_std", "price_sales", "shopping_share", "demand_elasticity"),
)
# Columns that are no results: the hash of a run's settings, its name, and what may have stopped it.
HIDDEN = ("fingerprint", "key", "scheduler")


def table_files(rows: Sequence[Row], name: str, first: Sequence[str] = FIRST) -> Files:
    """Rows as ``<name>.csv`` and ``<name>.parquet``, the columns that matter most first."""
    names = columns_of(rows, first, HIDDEN)
    return {f"{name}.csv": csv_text(rows, names), f"{name}.parquet": parquet_bytes(rows, names)}


def outcome_report(
    rows: Sequence[dict[str, Any]],
    deviations: Sequence[Row],
    thresholds: Thresholds,
    varied: Sequence[str],
    units: Mapping[str, tuple[str, float]],
) -> tuple[list[str], Files]:
    """What runs that were evaluated come to.

    Args:
        rows: Of the runs, those of the first arm first; they get the column ``group``.
        deviations: A row for each deviation checked (`rbc_marl.analysis.best_responses.judge`); empty for none.
        thresholds: Which outcomes are alike.
        varied: Columns that say what was varied.
        units: By arm, what its government maximises, in words, and the weight of profit in total welfare.

    Returns:
        Parts of the summary, as Markdown; and the tables of runs, of groups and, where there are any, of deviations.
    """
    for row, name in zip(rows, group(rows, thresholds), strict=True):
        row["group"] = name
    groups = equilibria(rows, varied, units)
    files = table_files(rows, "table") | table_files(groups, "equilibria", first=("group",))
    parts = [summary(rows, {arm: words for arm, (words, _) in units.items()})]
    parts += ["What their economies do, means over all runs that ended:", economy_summary(rows)]
    parts += ["What total welfare is made of, over the runs that are alive:", composition_summary(rows)]
    if deviations:
        files |= table_files(deviations, "deviations", first=())
        parts += ["What deviators gain, by best responses to each living run:", gain_summary(deviations)]
    return [*parts, "Outcomes that are qualitatively the same:", group_summary(groups)], files
