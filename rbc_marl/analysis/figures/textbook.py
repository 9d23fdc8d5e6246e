"""Figures of the textbook case: learned saving, hours and Euler errors by period, beside the closed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rbc_marl.analysis.charts import Chart, Line, Rule
from rbc_marl.analysis.textbook import ENDS

# A percent of consumption, which errors should stay below.
_BOUND = 1.0


def paths(rows: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Saving rates and hours of every run beside the closed form, and the larger Euler error of the two agents.

    Args:
        rows: As `rbc_marl.analysis.textbook.measured` returns them, with a ``seed``.
    """
    seeds = sorted({row["seed"] for row in rows})
    by_seed = [[row for row in rows if row["seed"] == seed] for seed in seeds]
    periods = [float(row["period"]) for row in by_seed[0]]
    counted = f"periods {ENDS + 1} to {len(periods) - ENDS} are those of the table"
    charts = []
    quantities = (("saving", "saving rate", "% of output", 100.0), ("hours", "hours", "worked in a period", 1.0))
    for name, title, unit, scale in quantities:
        runs = [
            Line(periods, [scale * row[name] for row in of_seed], "" if number else "learned", colour=0, is_faint=True)
            for number, of_seed in enumerate(by_seed)
        ]
        best = Line(periods, [scale * row[f"best_{name}"] for row in by_seed[0]], "closed form", colour=3)
        caption = f"{title[0].upper()}{title[1:]} by period, a line for each of {len(seeds)} seeds; {counted}."
        charts.append(Chart(name, title, "period", f"{title} ({unit})", (*runs, best), caption, starts_at_zero=True))
    errors = [
        Line(periods, [100.0 * max(row["consumer_gain"], row["firm_gain"]) for row in of_seed], colour=0, is_faint=True)
        for of_seed in by_seed
    ]
    caption = (
        "What the better deviation of the two agents gains in one period, in percent of the period's consumption, "
        f"a line for each of {len(seeds)} seeds."
    )
    bound = Rule(_BOUND, "1%")
    y = "gain (% of consumption)"
    charts.append(Chart("euler", "Euler errors", "period", y, (*errors, bound), caption, starts_at_zero=True))
    return charts
