"""Figures of best responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbc_marl.config import AGENT_TYPES
from rbc_marl.errors import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]

_LEARNED, _CONSTANT = "tab:blue", "tab:orange"


def best_response_bars(rows: Sequence[Row], path: str | Path) -> None:
    """Draw the gain over level of every deviation checked, a panel for each agent type, and save it as a picture.

    Blue: found by learning; orange: by a constant choice; hatched: the control failed. The whiskers are 95% intervals
    (of the better of both), the dotted line is the paper's bound.

    Args:
        rows: Of a report, about one or several checkpoints.
        path: Of the picture; its ending decides the format.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figures = require("matplotlib.figure", "analysis")
    types = [t for t in AGENT_TYPES if any(row["agent_type"] == t for row in rows)]
    checkpoints = len({row["checkpoint"] for row in rows})
    figure = figures.Figure(figsize=(3.6 * len(types), 3.4), layout="constrained")
    for axes, agent_type in zip(figure.subplots(1, len(types), squeeze=False)[0], types, strict=True):
        _panel(axes, agent_type, [row for row in rows if row["agent_type"] == agent_type], checkpoints)
    figure.savefig(Path(path), dpi=150)


def place(checkpoint: str) -> str:
    """A short name of a checkpoint: its iteration where it has one, and its number among those of one name."""
    iteration, *number = checkpoint.removeprefix("checkpoint_").split("-")
    return "-".join([iteration.lstrip("0") or "0", *number]) if iteration.isdigit() else checkpoint


def _panel(axes: Axes, agent_type: str, rows: Sequence[Row], checkpoints: int) -> None:
    for position, row in enumerate(rows):
        scale = 100.0 / abs(row["level"]) if row["level"] else 0.0
        gain = row["gain"]
        whiskers = [[(gain - row["gain_low"]) * scale], [(row["gain_high"] - gain) * scale]]
        colour = _CONSTANT if row["found_by"] == "constant" else _LEARNED
        hatch = None if row["verified"] else "//"
        axes.bar(position, gain * scale, yerr=whiskers, color=colour, hatch=hatch, edgecolor="white", capsize=3)
    axes.set_xticks(range(len(rows)), [_label(row, checkpoints) for row in rows], rotation=45, ha="right")
    axes.axhline(0.0, color="black", linewidth=0.8)
    axes.axhline(100.0 * rows[0]["paper_bound"], color="grey", linestyle=":", linewidth=1.0)
    axes.set_title(agent_type)
    axes.set_ylabel("gain over level (%)")
    axes.spines[["top", "right"]].set_visible(False)


def _label(row: Row, checkpoints: int) -> str:
    who = "all" if row["agent"] is None else f"alone: {row['agent']}"
    mark = "" if row["outcome"] == "living" else f", {row['outcome']}"
    where = f" ({place(row['checkpoint'])}{mark})" if checkpoints > 1 or mark else ""
    return who + where
