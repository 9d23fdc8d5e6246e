"""Figures of sweeps: arms compared, the spectrum of outcomes, the market of goods."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rbc_marl.analysis.charts import COLOURS, Bars, Chart, Layer, Line, Marker, Points
from rbc_marl.analysis.figures.numbers import Row, ended, has, is_living, plain, runs
from rbc_marl.analysis.figures.taxes import laffer, tax_bars, tax_map
from rbc_marl.analysis.outcomes import IMPAIRED, LIVING, NOT_ALIVE

__all__ = ["comparison", "explained_by_a_line", "laffer", "market", "spectrum", "tax_bars", "tax_map"]

# What the paper's figures of the spectrum plot against each other: title, and column and words of both axes.
_PLANES = (
    ("goods by price", ("price", "mean price (money per unit)"), ("consumption", "units per consumer and period")),
    ("hours by wage", ("wage", "mean wage (money per hour)"), ("hours", "hours per consumer and period")),
    ("rewards", ("firm_return", "reward of a firm (money)"), ("consumer_return", "reward of a consumer (utility)")),
)
# What `comparison` draws of every arm, where rows have it: title, unit and the scale of the numbers.
_COMPARED = {
    "hours": ("hours", "hours per consumer and period", 1.0),
    "consumer_return": ("utility of consumers", "utility of an episode", 1.0),
    "welfare_total": ("total welfare", "welfare of an episode", 1.0),
    "planner_share": ("consumers' welfare", "% of a planner's", 100.0),
    "firms_money_share": ("profit that firms keep", "% of consumers' money", 100.0),
    "labour_share": ("labour's share", "% of the value of output", 100.0),
}
# Shares below and above the middle that an axis of the spectrum shows at least.
_AROUND = 0.05
# More entries of a legend than this stand beside a chart and take room.
_MOST_INSIDE = 4
# Prices that firms post less often say little of what such firms sell.
_RARE = 0.01
# What `market` draws for each price, by the beginning of its column.
_STRATEGIES = {
    "share": "share of firms and periods (%)",
    "sales": "units sold at home, a firm and period",
    "exports": "units exported, a firm and period",
}


def comparison(rows: Sequence[Row]) -> list[Chart]:
    """What the runs of each arm come to: a dot is a run, a cross one that is not living, a line the mean of the arm.

    Args:
        rows: Of a sweep.

    Returns:
        A chart per quantity that was measured in any run.
    """
    drawn = ended(rows)
    charts = []
    arms = list(dict.fromkeys(str(row["arm"]) for row in drawn))
    for name, (title, unit, scale) in _COMPARED.items():
        measured = [row for row in drawn if has(row, name)]
        if not measured:
            continue
        layers = _runs_by_arm(measured, arms, name, scale)
        caption = (
            f"{title[0].upper()}{title[1:]}, {unit}: {runs(len(measured))}, by arm. Lines are means. A circle is a "
            "living run, a cross one that is not."
        )
        height = 0.35 + 0.12 * max(len(arms), 3)
        places = {"y": tuple(arms)}
        size = (1.1, height)
        charts.append(Chart(f"comparison-{name}", title, unit, "", layers, caption, places=places, size=size))
    return charts


def _runs_by_arm(rows: Sequence[Row], arms: Sequence[str], name: str, scale: float) -> tuple[Layer, ...]:
    lines: list[Layer] = []
    found: dict[bool, list[tuple[float, float, str]]] = {True: [], False: []}
    for place, arm in enumerate(arms):
        own = [row for row in rows if str(row["arm"]) == arm]
        if not own:
            continue
        mean = scale * float(np.mean([row[name] for row in own]))
        lines.append(Line([mean, mean], [place - 0.35, place + 0.35], colour=3, is_solid=True))
        for i, row in enumerate(own):  # one below the other, in the order of the rows
            at = place + 0.5 * ((i + 0.5) / len(own) - 0.5)
            found[is_living(row)].append((scale * row[name], at, f"{arm}, seed {row['seed']}: {row['outcome']}"))
    looks: tuple[tuple[bool, Marker, int], ...] = ((True, "circle", 0), (False, "cross", 1))
    for is_alive, marker, colour in looks:
        if own_runs := found[is_alive]:
            x, y, words = (list(each) for each in zip(*own_runs, strict=True))
            lines.append(Points(x, y, "", marker, words=words, colour=colour))
    return tuple(lines)


def spectrum(rows: Sequence[Row], varied: Sequence[str] = ()) -> list[Chart]:
    """Every run of a sweep in the planes of the paper's figures, coloured by what was varied.

    Living runs are circles, impaired ones triangles, collapsed and dead ones crosses. A title says how much of the
    variance among runs that are alive a straight line explains.

    Args:
        rows: Of a sweep; where nothing was varied, their ``group`` gives the colours.
        varied: Columns that say what was varied; empty: the arms.

    Returns:
        Charts of consumption by price, hours by wage, and rewards of consumers by those of firms.
    """
    drawn = ended(rows)
    alive = [row for row in drawn if row["outcome"] not in NOT_ALIVE]
    if not alive:
        return []
    said, names = _told_apart(drawn, varied)
    charts = []
    for number, (plane, (x, x_words), (y, y_words)) in enumerate(_PLANES):
        layers = _members(drawn, names, x, y, is_labelled=number == len(_PLANES) - 1)
        explained = explained_by_a_line([row[x] for row in alive], [row[y] for row in alive])
        title = plane if explained is None else f"{plane}: r² = {explained:.2f} over {len(alive)} runs alive"
        caption = (
            f"{y_words[0].upper()}{y_words[1:]} against {x_words}: {runs(len(drawn))}, a point each, coloured by "
            f"{said}.{f' A straight line explains {explained:.0%} of the variance.' if explained is not None else ''}"
        )
        width = 1.6 if number == len(_PLANES) - 1 and len(layers) > _MOST_INSIDE else 1.1
        reach = {axis: _around([row[name] for row in drawn]) for axis, name in (("x", x), ("y", y))}
        charts.append(
            Chart(f"spectrum-{y}", title, x_words, y_words, layers, caption, includes=reach, size=(width, 1.1))
        )
    return charts


def _around(values: Sequence[float]) -> tuple[float, float]:
    """What an axis shows at least of numbers: runs that hardly differ stand together."""
    middle = (min(values) + max(values)) / 2
    return middle - _AROUND * abs(middle), middle + _AROUND * abs(middle)


def _told_apart(rows: Sequence[Row], varied: Sequence[str]) -> tuple[str, list[str]]:
    """By what runs are coloured, in words, and the name of each run's colour."""
    columns = [name for name in varied if len({str(row.get(name)) for row in rows}) > 1]
    columns = columns or ([name for name in ("arm",) if len({row[name] for row in rows}) > 1])
    if columns:
        return " and ".join(columns), [", ".join(_short(row.get(name)) for name in columns) for row in rows]
    return "group", [str(row.get("group") or row["outcome"]) for row in rows]


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _members(rows: Sequence[Row], names: Sequence[str], x: str, y: str, *, is_labelled: bool) -> tuple[Layer, ...]:
    """Points of each name and outcome; the legend has each name once, and each outcome that is not living."""
    layers, seen = [], set()
    order = sorted(set(names), key=lambda name: (len(name), name))
    for outcome, marker in _MARKERS.items():
        for name in order:
            own = [row for row, of in zip(rows, names, strict=True) if of == name and row["outcome"] == outcome]
            if not own:
                continue
            number = order.index(name)
            label = name if name not in seen else ""
            label = ", ".join(filter(None, (label, "" if outcome in (LIVING, name) else outcome)))
            label += f" ({names.count(name)})" if name not in seen else ""
            seen.add(name)
            words = [f"{name}, seed {row['seed']}: {row['outcome']}" for row in own]
            shape: Marker = "square" if marker == "circle" and number >= len(COLOURS) else marker
            values = [[float(row[column]) for row in own] for column in (x, y)]
            label, colour = label if is_labelled else "", number % len(COLOURS)
            layers.append(Points(values[0], values[1], label, shape, words=words, colour=colour))
    return tuple(layers)


_MARKERS: dict[str, Marker] = {LIVING: "circle", IMPAIRED: "triangle", **dict.fromkeys(NOT_ALIVE, "cross")}


def market(rows: Sequence[Row]) -> list[Chart]:
    """What consumers buy at each price, and what firms do with each.

    Args:
        rows: Of a sweep, with what `rbc_marl.analysis.shopping` and `rbc_marl.analysis.indicators` found.

    Returns:
        Charts: units of one good that all consumers buy by its own price, all others at the highest, a line per run on
        a logarithmic scale from 1; and the share of firms and periods at each price, with what such a firm sells at
        home and exports, means over runs.
    """
    drawn = [row for row in ended(rows) if _prices(row)]
    if not drawn:
        return []
    arms = list(dict.fromkeys(str(row.get("arm", "")) for row in drawn))
    lines, seen = [], set()
    for row in drawn:
        arm = str(row.get("arm", ""))
        units = [max(row[f"demand_at_{price}"], 1.0) for price in _prices(row)]
        label = arm if len(arms) > 1 and arm not in seen else ""
        seen.add(arm)
        colour = arms.index(arm) % len(COLOURS)
        lines.append(Line([float(p) for p in _prices(row)], units, label, colour=colour, is_faint=len(drawn) > 1))
    demand = Chart(
        "demand", f"demand for one good, a line per run (n = {len(drawn)})", "own price (money per unit)",
        "units that all consumers buy (at least 1)", tuple(lines),
        f"Units of one good that all consumers buy by its own price, all others at the highest: {runs(len(drawn))}, a "
        "line each, on a logarithmic scale.",
        logarithmic=("y",), size=(1.15, 1.2),
    )  # fmt: skip
    return [demand, _strategies(drawn)]


def _strategies(rows: Sequence[Row]) -> Chart:
    """What firms do with each price."""
    prices = _prices(rows[0])
    shares = [[row[f"share_at_{price}"] for row in rows if has(row, f"share_at_{price}")] for price in prices]
    is_rare = [not values or float(np.mean(values)) < _RARE for values in shares]
    layers = []
    for name, words in _STRATEGIES.items():
        scale = 100.0 if name == "share" else 1.0
        found = [[row[f"{name}_at_{price}"] for row in rows if has(row, f"{name}_at_{price}")] for price in prices]
        means = [scale * float(np.mean(values or [0.0])) for values in found]
        low = [None if rare else scale * min(values) for values, rare in zip(found, is_rare, strict=True)]
        high = [None if rare else scale * max(values) for values, rare in zip(found, is_rare, strict=True)]
        layers.append(Bars(prices, plain(means), words, low, high, hatched=is_rare))
    caption = (
        "Share of firms and periods at each price, units that such a firm sells at home and units that it exports: "
        f"means of {runs(len(rows))}, and the least and the most of them. Hatched: prices posted less than {_RARE:.0%} "
        "of the time."
    )
    title = f"what firms post and sell, mean of {runs(len(rows))} (least to most)"
    return Chart("strategies", title, "price (money per unit)", "units, or %", tuple(layers), caption, size=(1.6, 1.2))


def _prices(row: Row) -> list[str]:
    """Prices at which a row says what consumers buy, the lowest first."""
    columns = [name for name in row if name.startswith("demand_at_") and has(row, name)]
    return sorted((name.removeprefix("demand_at_") for name in columns), key=float)


def explained_by_a_line(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Squared correlation; None with fewer than three points or where one of the two does not vary."""
    if len(x) < 3 or min(np.std(x), np.std(y)) < 1e-12:
        return None
    return float(np.corrcoef(x, y)[0, 1] ** 2)
