"""The evaluation of an economy as a table for a terminal: by subject, in all periods and in the middle of the episode.

It shows what a reader needs to judge an economy; whatever else was measured stands in the evaluation's JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.table import Table

# By subject, each quantity with its unit. Goods are per consumer and period, of all firms.
SUBJECTS: dict[str, dict[str, str]] = {
    "work": {"hours": "per consumer", "employment": "of consumers", "wage": "money per hour"},
    "goods": {
        "output": "units per consumer",
        "consumption": "units, likewise",
        "exports": "units, likewise",
        "unsold": "units left, likewise",
        "unsold_share": "of all made for sale",
        "trade_periods": "with any sales",
        "trade_share": "of those with goods",
    },
    "prices": {
        "price": "money per unit",
        "price_std": "over firms",
        "price_sales": "correlation",
        "markup": "over wages per unit",
        "concentration": "Herfindahl of sales",
    },
    "money": {
        "income_tax": "rate",
        "corporate_tax": "rate",
        "tax_revenue": "money per consumer",
        "labour_share": "of output's value",
        "firms_money_share": "of consumers' money",
    },
    "welfare": {
        "consumer_return": "utility per consumer",
        "firm_return": "money per firm",
        "welfare_consumers": "sum over consumers",
        "welfare_total": "and firms, weighted",
        "planner_share": "of a planner's",
    },
}
# Measured in the middle of the episode only.
OF_THE_MIDDLE = ("price_sales", "markup", "labour_share", "concentration")


def evaluation_rows(
    values: Mapping[str, float | None], errors: Mapping[str, float | None]
) -> Iterator[tuple[str, str, float | None, float | None, float | None, str]]:
    """What an economy does, quantity by quantity: subject, name, mean, its standard error, in the middle, unit.

    Args:
        values: Reported quantities and, where episodes were recorded, indicators. What is None has no line.
        errors: Standard errors of the means over all periods; None where there was one episode.
    """
    for subject, units in SUBJECTS.items():
        for name, unit in units.items():
            mean, error = (None if name in OF_THE_MIDDLE else found.get(name) for found in (values, errors))
            inside = values.get(name if name in OF_THE_MIDDLE else f"middle_{name}")
            if mean is not None or inside is not None:
                yield subject, name, mean, error, inside, unit


def middle_words(horizon: int) -> str:
    """Which periods the middle of an episode is."""
    return f"periods 2-{horizon - 1}" if horizon > 2 else "all periods"


def evaluation_table(
    title: str, horizon: int, values: Mapping[str, float | None], errors: Mapping[str, float | None]
) -> Table:
    """What an economy does.

    Args:
        title: Above the table.
        horizon: Periods of an episode.
        values: Reported quantities and, where episodes were recorded, indicators. What is None has no line.
        errors: Standard errors of the means over all periods; None where there was one episode.
    """
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    middle, above = middle_words(horizon), ""
    for name in ("", "quantity", "mean", "±", middle, "unit"):
        table.add_column(name, justify="right" if name in ("mean", "±", middle) else "left", no_wrap=True)
    for subject, name, mean, error, inside, unit in evaluation_rows(values, errors):
        cells = (shown(mean), shown(error, digits=2), shown(inside))
        table.add_row("" if subject == above else subject, name.replace("_", " "), *cells, unit)
        above = subject
    return table


def shown(value: float | None, digits: int = 4) -> str:
    """A number with as many digits as a reader wants: 31,852 and 11.2 and 0.0123."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 10 ** min(digits, 3) else f"{value:.{digits}g}"
