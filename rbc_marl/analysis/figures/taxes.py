"""Figures of tax experiments: learned taxes against fixed ones, all pairs as a map, revenue by rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rbc_marl.analysis.charts import Bars, Cells, Chart, Layer, Line, Points
from rbc_marl.analysis.figures.numbers import Row, ended, has, runs
from rbc_marl.analysis.outcomes import NOT_ALIVE
from rbc_marl.analysis.taxes import Pair, pair_of

_FIXED = "fixed "
"""What names of bars of fixed pairs begin with."""


def tax_bars(panels: Mapping[str, Mapping[str, Sequence[float]]]) -> list[Chart]:
    """Mean welfare of learned and of fixed taxes, each run as a dot.

    Args:
        panels: By definition of welfare, the welfare of each run by bar, in the order in which bars are drawn
            (`rbc_marl.analysis.taxes.tax_panels`). Bars called "fixed ..." are pairs of rates.

    Returns:
        A chart per definition of welfare.
    """
    return [_bars_of(welfare, bars) for welfare, bars in panels.items() if bars]


def _bars_of(welfare: str, bars: Mapping[str, Sequence[float]]) -> Chart:
    names = {name: name.removeprefix(_FIXED) for name in bars}
    fixed = [name for name in bars if name.startswith(_FIXED)]
    layers: list[Layer] = []
    for colour, label, own in ((1, "learned", [n for n in bars if n not in fixed]), (0, "fixed", fixed)):
        sizes = [float(np.mean(bars[name])) if name in own else None for name in bars]
        if own:
            layers.append(Bars(list(names.values()), sizes, label, colour=colour, is_overlaid=True))
    dots = [(names[name], value) for name, values in bars.items() for value in values]
    layers.append(Points([x for x, _ in dots], [y for _, y in dots], "a run", colour=3))
    caption = (
        f"Mean welfare ({welfare}) of an episode by income and corporate tax, learned and fixed: {runs(len(dots))}, a "
        "dot each."
    )
    title, places = f"welfare ({welfare})", {"x": tuple(names.values())}
    x, y = "income / corporate tax", "welfare of an episode"
    return Chart(f"taxes-{welfare}", title, x, y, tuple(layers), caption, places=places, size=(1.6, 1.35))


def tax_map(rows: Sequence[Row]) -> list[Chart]:
    """Mean welfare of every fixed pair of rates as a map.

    Stars are the learned taxes, crosses pairs with collapsed runs.

    Args:
        rows: Of a sweep of taxes.

    Returns:
        A chart per definition of welfare that was learned; both where none was.
    """
    drawn = ended(rows)
    fixed: dict[Pair, list[Row]] = {}
    for row in drawn:
        if (pair := _pair(row)) is not None:
            fixed.setdefault(pair, []).append(row)
    if not fixed:
        return []
    learned = {str(row["welfare"]): row for row in drawn if _pair(row) is None}
    return [_map_of(welfare, fixed, [r for r in drawn if _pair(r) is None and r["welfare"] == welfare])
            for welfare in learned or ("total", "consumers")]  # fmt: skip


def _map_of(welfare: str, fixed: Mapping[Pair, Sequence[Row]], learned: Sequence[Row]) -> Chart:
    incomes, corporates = (sorted({pair[i] for pair in fixed}) for i in (0, 1))
    name = f"welfare_{welfare}"
    values = [
        [float(np.mean([row[name] for row in fixed[i, c]])) if (i, c) in fixed else None for c in corporates]
        for i in incomes
    ]
    layers: list[Layer] = [
        Cells(values, [f"{rate:.0%}" for rate in incomes], [f"{rate:.0%}" for rate in corporates], "welfare")
    ]
    dead = [(incomes.index(i), corporates.index(c)) for (i, c), own in fixed.items()
            if any(row["outcome"] in NOT_ALIVE for row in own)]  # fmt: skip
    if dead:  # beside the number
        at = [c + 0.34 for _, c in dead], [i - 0.32 for i, _ in dead]
        layers.append(Points(*at, "runs collapsed", "cross", colour=3))
    stars = [row for row in learned if has(row, "income_tax") and has(row, "corporate_tax")]
    if stars:
        x = [_place(row["corporate_tax"], corporates) for row in stars]
        y = [_place(row["income_tax"], incomes) for row in stars]
        mean = float(np.mean([row[name] for row in learned]))
        layers.append(Points(x, y, f"learned (mean {mean:,.0f})", "star", colour=1))
    count = sum(map(len, fixed.values()))
    caption = (
        f"Mean welfare ({welfare}) of an episode for {len(fixed)} fixed pairs of income and corporate tax, "
        f"{runs(count)}; stars: mean rates of {runs(len(stars))} that learned taxes. Pairs with collapsed runs: "
        f"{len(dead)}."
    )
    title = f"welfare ({welfare}) by fixed taxes"
    return Chart(f"tax-map-{welfare}", title, "corporate tax", "income tax", tuple(layers), caption, size=(1.2, 1.3))


def _pair(row: Row) -> Pair | None:
    """As `pair_of`; a table that was read back may have lost the column of a sweep that is none of taxes."""
    return pair_of(row) if has(row, "policy") and (row["policy"] == "learned" or has(row, "income")) else None


def _place(rate: float, rates: Sequence[float]) -> float:
    """Where a rate stands among those of the map, between two of them where it is between them."""
    return float(np.interp(rate, rates, range(len(rates))))


def laffer(rows: Sequence[Row]) -> list[Chart]:
    """Tax revenue against the rate, by the other tax: means over runs, with the least and the most.

    Args:
        rows: Of a sweep of taxes: runs with fixed rates, and their ``tax_revenue``.

    Returns:
        A chart for each tax that was varied.
    """
    fixed = [(pair, row) for row in ended(rows) if (pair := _pair(row)) is not None and has(row, "tax_revenue")]
    return revenue_charts([(pair, float(row["tax_revenue"])) for pair, row in fixed], f"means of {runs(len(fixed))}")


def revenue_charts(drawn: Sequence[tuple[Pair, float]], said: str) -> list[Chart]:
    """Tax revenue by each of both taxes, with a line for each rate of the other; bands from the least to the most.

    Args:
        drawn: Income and corporate tax, with the revenue per consumer and period of a run or an episode.
        said: What the means are of, in words.
    """
    return [chart for place in (0, 1) for chart in _revenue(place, drawn, said)]


def _revenue(place: int, drawn: Sequence[tuple[Pair, float]], said: str) -> list[Chart]:
    names, lines = ("income", "corporate"), []
    for other in sorted({pair[1 - place] for pair, _ in drawn}):
        own = [(pair[place], revenue) for pair, revenue in drawn if pair[1 - place] == other]
        rates = sorted({rate for rate, _ in own})
        if len(rates) < 2:
            continue
        values = [[revenue for rate, revenue in own if rate == at] for at in rates]
        means, low, high = ([float(of(each)) for each in values] for of in (np.mean, min, max))
        label = f"{names[1 - place]} tax {other:.0%}"
        lines.append(Line([100.0 * rate for rate in rates], means, label, low, high, has_dots=True))
    if not lines:
        return []
    caption = (
        f"Tax revenue per consumer and period against the {names[place]} tax, by the {names[1 - place]} tax, {said}, "
        "and the least and the most of them as bands."
    )
    x, y = f"{names[place]} tax (%)", "tax revenue (money)"
    title = f"revenue by {names[place]} tax (per consumer and period)"
    width = 1.1 if len(lines) <= 4 else 1.5
    return [Chart(f"laffer-{names[place]}", title, x, y, tuple(lines), caption, starts_at_zero=True, size=(width, 1.1))]
