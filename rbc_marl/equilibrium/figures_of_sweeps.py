"""Figures of sweeps: fixed against learned taxes, and the spectrum of outcomes. Plain matplotlib, written to files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rbc_marl.equilibrium.taxes import SHUFFLED, by_rates
from rbc_marl.errors import UserError, require

Row = Mapping[str, Any]

# Most fixed pairs that are drawn: those with the highest means.
MOST_PAIRS = 12
# What the paper's figures of the spectrum plot against each other: column and words.
PLANES = (
    (("price", "mean price"), ("consumption", "consumption per consumer and period")),
    (("wage", "mean wage"), ("hours", "hours per consumer and period")),
    (("firm_return", "firm reward"), ("consumer_return", "consumer reward")),
)


def tax_bars(rows: Sequence[Row], path: str | Path) -> Path:
    """Draw mean welfare of learned and of fixed taxes, a panel per definition of welfare, each run as a dot.

    Args:
        rows: Of a sweep of taxes.
        path: Where the picture goes; its suffix says its format.

    Returns:
        The path.

    Raises:
        UserError: There is no run to draw.
    """
    welfares = list(dict.fromkeys(row["welfare"] for row in rows if row["policy"] == "learned"))
    if not welfares:
        raise UserError("no run has learned taxes; there is nothing to compare fixed ones with")
    figure = _figure(6.5 * len(welfares), 4.5)
    for place, welfare in enumerate(welfares, start=1):
        axes = figure.add_subplot(1, len(welfares), place)
        bars = _tax_values(rows, welfare)
        for i, (name, values) in enumerate(bars.items()):
            colour = "tab:blue" if name.startswith("fixed") else "tab:orange" if name == "learned" else "tab:grey"
            axes.bar(i, np.mean(values), color=colour, alpha=0.6)
            axes.plot([i] * len(values), values, "k.", markersize=4)
        axes.set_xticks(range(len(bars)), [name.removeprefix("fixed ") for name in bars], rotation=60, ha="right")
        axes.axhline(0.0, color="black", linewidth=0.5)
        axes.set_ylabel("welfare of an episode")
        axes.set_title(f"welfare ({welfare}): income / corporate tax")
    return _save(figure, path)


def spectrum(rows: Sequence[Row], path: str | Path) -> Path:
    """Draw every run of a sweep in the planes of the paper's figures: circles that live, coloured by their group.

    Impaired runs are triangles, collapsed ones crosses. Each panel says how much of the variance among runs that are
    alive a straight line explains.

    Args:
        rows: Of a sweep, with their ``group``.
        path: Where the picture goes; its suffix says its format.

    Returns:
        The path.

    Raises:
        UserError: There is no run to draw.
    """
    drawn = [row for row in rows if row["outcome"] != "stopped"]
    if not drawn:
        raise UserError("no run has ended; there is no spectrum to draw")
    alive = [row for row in drawn if row["outcome"] != "collapsed"]
    figure = _figure(5.0 * len(PLANES), 4.5)
    for place, ((x, x_words), (y, y_words)) in enumerate(PLANES, start=1):
        axes = figure.add_subplot(1, len(PLANES), place)
        for name, (marker, colour, members) in _marked(drawn).items():
            xs, ys = ([row[column] for row in members] for column in (x, y))
            axes.scatter(xs, ys, marker=marker, color=colour, label=name, alpha=0.8)
        axes.set_xlabel(x_words)
        axes.set_ylabel(y_words)
        explained = explained_by_a_line([row[x] for row in alive], [row[y] for row in alive])
        if explained is not None:
            axes.set_title(f"r² = {explained:.2f} over {len(alive)} runs alive")
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", fontsize="small", title="group (runs)")
    return _save(figure, path)


def explained_by_a_line(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Squared correlation; None with fewer than three points or where one of the two does not vary."""
    if len(x) < 3 or min(np.std(x), np.std(y)) < 1e-12:
        return None
    return float(np.corrcoef(x, y)[0, 1] ** 2)


def _marked(rows: Sequence[Row]) -> dict[str, tuple[str, Any, list[Row]]]:
    """What the legend says, with a marker, a colour and the runs: each living group, then all that do not live."""
    colours = require("matplotlib", "analysis").colormaps["tab20"].colors
    members: dict[str, list[Row]] = {}
    for row in rows:
        members.setdefault(str(row.get("group")) if row["outcome"] == "living" else row["outcome"], []).append(row)
    living = sorted(members.keys() - {"impaired", "collapsed"}, key=lambda name: (len(name), name))
    found = {name: ("o", colours[i % len(colours)]) for i, name in enumerate(living)}
    found |= {"impaired": ("^", "grey"), "collapsed": ("x", "black")}
    return {
        f"{name} ({len(members[name])})": (*style, members[name]) for name, style in found.items() if name in members
    }


def _tax_values(rows: Sequence[Row], welfare: str) -> dict[str, list[float]]:
    """Welfare of each run, by bar: the learned policy, the same shuffled, then the best fixed pairs by their rates."""
    name = f"welfare_{welfare}"
    own = [row for row in rows if row["policy"] == "learned" and row["welfare"] == welfare]
    found = {"learned": [row[name] for row in own]}
    if all(f"{SHUFFLED}_{name}" in row for row in own):
        found["states shuffled"] = [row[f"{SHUFFLED}_{name}"] for row in own]
    fixed = {pair: list(values.values()) for pair, values in by_rates(rows, name).items()}
    best = sorted(fixed, key=lambda pair: (-float(np.mean(fixed[pair])), pair))[:MOST_PAIRS]
    return found | {f"fixed {pair[0]:.0%} / {pair[1]:.0%}": fixed[pair] for pair in sorted(best)}


def _figure(width: float, height: float) -> Any:  # noqa: ANN401 - matplotlib is optional
    """A figure that no window shows."""
    figure = require("matplotlib.figure", "analysis").Figure(figsize=(width, height), layout="constrained")
    require("matplotlib.backends.backend_agg", "analysis").FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: str | Path) -> Path:  # noqa: ANN401 - matplotlib is optional
    path = Path(path)
    figure.savefig(path, dpi=120)
    return path
