"""Figures of sweeps: arms compared, learned taxes, the spectrum of outcomes, the market of goods, best responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rbc_marl.analysis.charts import COLOURS
from rbc_marl.analysis.drawing import new_figure, save_figure
from rbc_marl.analysis.outcomes import IMPAIRED, LIVING, NOT_ALIVE
from rbc_marl.analysis.tables import NOT_EVALUATED
from rbc_marl.config import AGENT_TYPES
from rbc_marl.errors import UserError, require

if TYPE_CHECKING:
    from rbc_marl.analysis.comparison import Comparison, GroupGain

Row = Mapping[str, Any]

# What the paper's figures of the spectrum plot against each other: column and words.
PLANES = (
    (("price", "mean price"), ("consumption", "consumption per consumer and period")),
    (("wage", "mean wage"), ("hours", "hours per consumer and period")),
    (("firm_return", "firm reward"), ("consumer_return", "consumer reward")),
)

# What `comparison` draws of every arm, where rows have it.
COMPARED = {
    "hours": "hours per consumer and period",
    "consumer_return": "utility of a consumer",
    "welfare_total": "total welfare",
    "planner_share": "consumers' welfare over a planner's",
    "firms_money_share": "profit kept over consumers' money",
    "labour_share": "wages over the value of output",
}
# What `reform` draws, in this order.
_OF_A_REFORM = {
    "hours": "hours",
    "output": "output",
    "consumption": "consumption",
    "exports": "exports",
    "price": "price",
    "wage": "wage",
    "consumer_return": "utility of a consumer",
    "firm_return": "profit of a firm",
    "welfare_total": "total welfare",
}
# What `market` draws for each price, by the beginning of its column.
_STRATEGY_COLUMNS = {
    "share": "share of firms and periods (%)",
    "sales": "units sold at home, a firm and period",
    "exports": "units exported, likewise",
}


def tax_bars(panels: Mapping[str, Mapping[str, Sequence[float]]], path: str | Path) -> Path:
    """Draw mean welfare of learned and of fixed taxes, a panel per definition of welfare, each run as a dot.

    Args:
        panels: By definition of welfare, the welfare of each run by bar, in the order in which bars are drawn. Bars
            called "fixed ..." are pairs of rates.
        path: Where the picture goes; its suffix says its format.

    Returns:
        The path.

    Raises:
        UserError: There is no run to draw.
    """
    if not panels:
        raise UserError("no run has learned taxes; there is nothing to compare fixed ones with")
    figure = new_figure(6.5 * len(panels), 4.5)
    for number, (welfare, bars) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), number)
        for i, (name, values) in enumerate(bars.items()):
            colour = "tab:blue" if name.startswith("fixed") else "tab:orange" if name == "learned" else "tab:grey"
            axes.bar(i, np.mean(values), color=colour, alpha=0.6)
            axes.plot([i] * len(values), values, "k.", markersize=4)
        axes.set_xticks(range(len(bars)), [name.removeprefix("fixed ") for name in bars], rotation=60, ha="right")
        axes.axhline(0.0, color="black", linewidth=0.5)
        axes.set_ylabel("welfare of an episode")
        axes.set_title(f"welfare ({welfare}): income / corporate tax")
    return save_figure(figure, path)


def spectrum(rows: Sequence[Row], path: str | Path) -> Path:
    """Draw every run of a sweep in the planes of the paper's figures: circles that live, coloured by their group.

    Impaired runs are triangles, collapsed and dead ones crosses. Each panel says how much of the variance among runs
    that are alive a straight line explains.

    Args:
        rows: Of a sweep, with their ``group``.
        path: Where the picture goes; its suffix says its format.

    Returns:
        The path.

    Raises:
        UserError: There is no run to draw.
    """
    drawn = [row for row in rows if row["outcome"] not in NOT_EVALUATED]
    if not drawn:
        raise UserError("no run has ended; there is no spectrum to draw")
    alive = [row for row in drawn if row["outcome"] not in NOT_ALIVE]
    figure = new_figure(5.0 * len(PLANES), 4.5)
    for number, ((x, x_words), (y, y_words)) in enumerate(PLANES, start=1):
        axes = figure.add_subplot(1, len(PLANES), number)
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
    return save_figure(figure, path)


def comparison(rows: Sequence[Row], path: str | Path) -> Path:
    """Draw what the runs of each arm come to, a panel per quantity: a dot is a run, a bar the mean of those that ended.

    Runs that are not living are crosses. What is measured in no run has no panel.

    Args:
        rows: Of a sweep.
        path: Where the picture goes; its suffix says its format.

    Returns:
        The path.

    Raises:
        UserError: There is no run to draw.
    """
    drawn = [row for row in rows if row["outcome"] not in NOT_EVALUATED]
    panels = {name: words for name, words in COMPARED.items() if any(row.get(name) is not None for row in drawn)}
    if not panels:
        raise UserError("no run has ended; there are no arms to compare")
    arms = list(dict.fromkeys(row["arm"] for row in drawn))
    columns = min(len(panels), 3)
    lines = -(-len(panels) // columns)
    figure = new_figure(4.2 * columns, (0.9 + 0.32 * len(arms)) * lines)
    for number, (name, words) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(lines, columns, number)
        for place, arm in enumerate(arms):
            found = [row for row in drawn if row["arm"] == arm and row.get(name) is not None]
            if not found:
                continue
            mean = np.mean([row[name] for row in found])
            axes.plot([mean, mean], [place - 0.35, place + 0.35], color="black", linewidth=1.5)
            for i, row in enumerate(found):  # one below the other, in the order of the rows
                height = place + 0.5 * ((i + 0.5) / len(found) - 0.5)
                style, colour = ("o", "C0") if row["outcome"] == LIVING else ("x", "black")
                axes.plot(row[name], height, style, color=colour, markersize=4)
        axes.set_ylim(len(arms) - 0.5, -0.5)
        axes.set_yticks(range(len(arms)), arms if number % columns == 1 or columns == 1 else [""] * len(arms))
        axes.set_xlabel(words)
        axes.grid(axis="x", linewidth=0.3)
        axes.margins(x=0.1)
    return save_figure(figure, path)


def market(rows: Sequence[Row], path: str | Path) -> Path:
    """Draw what consumers buy at each price, a line per run, and what firms do with each, the mean over runs.

    Left: units of one good that all consumers buy by its own price, all others at the highest, on a logarithmic scale
    from 1. Right: the share of firms and periods at each price, and units that such a firm sells at home and exports.

    Args:
        rows: Of a sweep, with what `rbc_marl.analysis.shopping` and `rbc_marl.analysis.indicators` found.
        path: Where the picture goes; its suffix says its format.

    Returns:
        The path.

    Raises:
        UserError: No row says what consumers buy.
    """
    drawn = [row for row in rows if row["outcome"] not in NOT_EVALUATED and _prices(row)]
    if not drawn:
        raise UserError("no run says what consumers buy; there is no market to draw")
    figure = new_figure(10.0, 4.0)
    left, right = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
    arms = list(dict.fromkeys(str(row.get("arm", "")) for row in drawn))
    for row in drawn:
        units = [max(row[f"demand_at_{price}"], 1.0) for price in _prices(row)]
        number = arms.index(str(row.get("arm", "")))
        left.plot([float(price) for price in _prices(row)], units, color=f"C{number}", linewidth=0.8, alpha=0.7)
    left.set(yscale="log", xlabel="own price (money per unit)", ylabel="units that all consumers buy")
    left.set_title(f"demand for one good, a line per run (n = {len(drawn)})")
    if len(arms) > 1:
        for number, arm in enumerate(arms):
            left.plot([], [], color=f"C{number}", label=arm)
        left.legend(fontsize="small")
    prices = _prices(drawn[0])
    for shift, (column, words) in enumerate(_STRATEGY_COLUMNS.items()):
        scale = 100.0 if column == "share" else 1.0
        found = [[row.get(f"{column}_at_{price}") for row in drawn] for price in prices]
        means = [scale * np.mean([value for value in values if value is not None] or [0.0]) for values in found]
        at = [position + 0.27 * (shift - 1) for position in range(len(prices))]
        right.bar(at, means, width=0.25, color=("0.75", "C0", "C1")[shift], label=words)
    right.set_xticks(range(len(prices)), prices)
    right.margins(y=0.35)  # room for the legend
    right.set(xlabel="price (money per unit)", title="what firms post and sell, mean over runs")
    right.legend(fontsize="small")
    return save_figure(figure, path)


def reform(comparison: Comparison, path: str | Path) -> Path:
    """Draw how economies differ from the first, in per cent of it, and what groups of consumers gain.

    Bars and dots are means over pairs of episodes, lines 95% intervals.

    Args:
        comparison: What is drawn.
        path: Where the picture goes; its suffix says its format.

    Returns:
        The path.
    """
    first, *others = comparison.economies
    figure = new_figure(11.0, 4.2)
    left = figure.add_subplot(1, 2, 1)
    means = {one.quantity: one.mean for one in comparison.changes if one.economy == first}
    drawn = [name for name in _OF_A_REFORM if means[name] != 0.0]
    for number, economy in enumerate(others):
        found = {one.quantity: one for one in comparison.changes if one.economy == economy}
        shares = [100 * found[name].difference / abs(means[name]) for name in drawn]
        halves = [100 * (found[name].high - found[name].difference) / abs(means[name]) for name in drawn]
        at = [place + 0.8 * ((number + 0.5) / len(others) - 0.5) for place in range(len(drawn))]
        colour = COLOURS[number % len(COLOURS)]
        left.barh(at, shares, height=0.7 / len(others), xerr=halves, color=colour, label=economy)
    left.set_yticks(range(len(drawn)), [_OF_A_REFORM[name] for name in drawn])
    left.invert_yaxis()
    left.axvline(0.0, color="black", linewidth=0.5)
    left.set(xlabel=f"difference to {first} (%)", title=f"means of {comparison.episodes} pairs of episodes")
    left.legend(fontsize="small")
    if comparison.gains:
        right = figure.add_subplot(1, 2, 2)
        is_share = all(one.equivalent is not None for one in comparison.gains)
        for number, economy in enumerate(others):
            groups = [one for one in comparison.gains if one.economy == economy]
            values = [_gain_ends(one, is_share) for one in groups]
            at = [one.group + 0.12 * (number - (len(others) - 1) / 2) for one in groups]
            halves = [high - value for value, high in values]
            colour = COLOURS[number % len(COLOURS)]
            right.errorbar(at, [value for value, _ in values], yerr=halves, fmt="o", markersize=4, color=colour)
        right.axhline(0.0, color="black", linewidth=0.5)
        right.set_xticks(sorted({one.group for one in comparison.gains}))
        unit = "share of consumption (%)" if is_share else "utility of an episode"
        right.set(xlabel=f"consumers by utility in {first}, the least first", ylabel=f"gain, {unit}", title="who gains")
    return save_figure(figure, path)


def _gain_ends(gain: GroupGain, is_share: bool) -> tuple[float, float]:
    """A gain and the upper end of its interval, as drawn."""
    if not is_share or gain.equivalent is None or gain.equivalent_high is None:
        return gain.gain, gain.high
    return 100 * gain.equivalent, 100 * gain.equivalent_high


def _prices(row: Row) -> list[str]:
    """Prices at which a row says what consumers buy, the lowest first."""
    columns = [name for name in row if name.startswith("demand_at_") and row[name] is not None]
    return sorted((name.removeprefix("demand_at_") for name in columns), key=float)


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
        members.setdefault(str(row.get("group")) if row["outcome"] == LIVING else row["outcome"], []).append(row)
    living = sorted(members.keys() - {IMPAIRED, *NOT_ALIVE}, key=lambda name: (len(name), name))
    found = {name: ("o", colours[i % len(colours)]) for i, name in enumerate(living)}
    found |= {IMPAIRED: ("^", "grey"), **dict.fromkeys(NOT_ALIVE, ("x", "black"))}
    return {
        f"{name} ({len(members[name])})": (*style, members[name]) for name, style in found.items() if name in members
    }


def best_response_bars(rows: Sequence[Row], path: str | Path) -> Path:
    """Draw the gain over the baseline return of every deviation checked, a panel for each agent type.

    Blue: found by learning; orange: by a constant choice; hatched: the control failed. The whiskers are 95% intervals
    (of the better of both), the dotted line is the paper's bound.

    Args:
        rows: Of a report of best responses, about one or several checkpoints.
        path: Where the picture goes; its suffix says its format.

    Returns:
        The path.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    types = [t for t in AGENT_TYPES if any(row["agent_type"] == t for row in rows)]
    is_named = len({row["checkpoint"] for row in rows}) > 1
    figure = new_figure(3.6 * len(types), 3.4)
    for axes, agent_type in zip(figure.subplots(1, len(types), squeeze=False)[0], types, strict=True):
        of_type = [row for row in rows if row["agent_type"] == agent_type]
        for position, row in enumerate(of_type):
            scale = 100.0 / abs(row["level"]) if row["level"] else 0.0
            whiskers = [[(row["gain"] - row["gain_low"]) * scale], [(row["gain_high"] - row["gain"]) * scale]]
            colour = "tab:orange" if row["found_by"] == "constant" else "tab:blue"
            style = {"color": colour, "hatch": None if row["verified"] else "//", "edgecolor": "white"}
            axes.bar(position, row["gain"] * scale, yerr=whiskers, capsize=3, **style)
        labels = [_deviator_label(row, is_named) for row in of_type]
        axes.set_xticks(range(len(of_type)), labels, rotation=45, ha="right")
        axes.axhline(0.0, color="black", linewidth=0.8)
        axes.axhline(100.0 * of_type[0]["paper_bound"], color="grey", linestyle=":", linewidth=1.0)
        axes.set_title(agent_type)
        axes.set_ylabel("gain over the baseline return (%)")
        axes.spines[["top", "right"]].set_visible(False)
    return save_figure(figure, path)


def short_name(checkpoint: str) -> str:
    """A short name of a checkpoint: its iteration where it has one, and its number among those of one name."""
    iteration, *number = checkpoint.removeprefix("checkpoint_").split("-")
    return "-".join([iteration.lstrip("0") or "0", *number]) if iteration.isdigit() else checkpoint


def _deviator_label(row: Row, is_named: bool) -> str:
    """Who deviates, with the checkpoint where it is named, and the outcome where it is not living."""
    who = "all" if row["agent"] is None else f"alone: {row['agent']}"
    outcome = "" if row["outcome"] == LIVING else f", {row['outcome']}"
    return f"{who} ({short_name(row['checkpoint'])}{outcome})" if is_named or outcome else who
