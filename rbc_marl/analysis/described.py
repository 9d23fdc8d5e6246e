"""What every quantity is, in words and with its unit: for the files beside results, and for reports."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from rbc_marl.analysis.frames import UNITS

# Of quantities that have a unit elsewhere (`UNITS`), the words alone.
_WORDS = {
    "hours": "hours worked",
    "employment": "consumers who work at all",
    "wage": "wage, mean over firms",
    "output": "goods made, of all firms",
    "consumption": "goods that consumers obtain",
    "sales": "goods sold to consumers, counted at the firms",
    "exports": "goods sold abroad",
    "inventory": "goods that could be sold",
    "unsold": "goods left over",
    "price": "price, mean over firms",
    "price_std": "standard deviation of the price",
    "income_tax": "income tax",
    "corporate_tax": "corporate tax",
    "tax_revenue": "taxes that the government collects",
    "transfer": "what the government pays back",
    "welfare_consumers": "utility of all consumers in an episode",
    "welfare_total": "the same with profit added, as far as it counts",
}
# Quantities that have no unit elsewhere: words and unit.
_OTHERS = {
    "unsold_share": ("goods that nobody had bought at the end of the episode", "share of all made for sale"),
    "trade_share": ("periods with goods in which any are sold", "share of periods with goods"),
    "price_sales": ("of price and units sold at home over firms; below 0 where cheaper ones sell more", "correlation"),
    "markup": ("mean price of a unit sold over the wages for a unit made, less 1", "ratio"),
    "labour_share": ("wages in the value of output", "share of the value of output"),
    "concentration": ("Herfindahl index of sales: 1 where one firm sells all", "0 to 1"),
    "firms_money_share": ("profit that firms keep; closed economies only", "share of consumers' money"),
    "planner_share": ("consumers' welfare over that of a planner; closed economies only", "share"),
    "trade_periods": ("periods in which anything is sold", "periods"),
    "consumer_return": ("utility of an episode", "utility, per consumer"),
    "firm_return": ("profit of an episode, after tax", "money, per firm"),
    "government_return": ("welfare that the government maximises, of an episode", "welfare"),
    "gini_income": ("Gini coefficient of consumers' income", "0 to 1"),
    "gini_consumption": ("Gini coefficient of consumers' goods", "0 to 1"),
    "gini_money": ("Gini coefficient of consumers' money at the end", "0 to 1"),
    "shopping_share": ("of what consumers can gain by choosing goods by price, the share that they do gain", "share"),
    "demand_elasticity": ("change of demand over that of the price, where demand ends", "elasticity"),
    "profit": ("profit of all firms in an episode", "money"),
    "profit_share": ("profit in total welfare", "share"),
    "export_share": ("exports in units sold", "share"),
    "price_lowest": ("firms and periods at the lowest price", "share"),
    "price_highest": ("firms and periods at the highest price", "share"),
    "wage_lowest": ("firms and periods at the lowest wage", "share"),
    "wage_highest": ("firms and periods at the highest wage", "share"),
    "arm": ("what was varied, by name", ""),
    "seed": ("seed of the run", ""),
    "outcome": ("what became of the economy: living, impaired, collapsed or dead; failed, stopped or trained", ""),
    "group": ("runs of one group came out alike", ""),
    "changes": ("what the run changes in its base", ""),
    "error": ("why the run failed", ""),
    "iterations": ("iterations of training", "number"),
    "training_iteration": ("iterations of training so far", "number"),
    "distance": ("mean squared distance from the targets, each in its scale", ""),
    "seconds": ("time of training", "seconds"),
    "compile_time_s": ("time spent on compiling rollouts in an iteration", "seconds"),
    "time_total_s": ("time of training so far", "seconds"),
    "equilibrium": ("whether it can be called one (yes or no)", ""),
    "verdict": ("why", ""),
    "curriculum/highest_tax": ("highest tax that the government may choose", "rate"),
    "curriculum/labour_disutility": ("share of the disutility of labour that consumers feel", "share"),
    "curriculum/learning_rate": ("learning rate, as a share of the configured one", "factor"),
}
# Families of columns: a pattern, and words and unit, in which \1 and \2 stand for its groups.
_FAMILIES = (
    (r"share_at_(.+)", r"firms and periods at a price of \1", "share"),
    (r"sales_at_(.+)", r"units that a firm at a price of \1 sells at home in a period", "units"),
    (r"exports_at_(.+)", r"units that a firm at a price of \1 exports in a period", "units"),
    (r"demand_at_(.+)", r"units of one good that all buy at a price of \1, all others at the highest", "units"),
    (r"(\w+)\.deviation", r"standard deviation of \1 over periods, in per cent of its mean", "%"),
    (r"(\w+)\.relative", r"the same of \1, in that of output", "ratio"),
    (r"(\w+)\.autocorrelation", r"autocorrelation of \1, of one period", "correlation"),
    (r"(\w+)\.with_output", r"correlation of \1 with output", "correlation"),
    (r"epsilon_one_(.+)", r"most that a single \1 gains by deviating, over its baseline return", "share"),
    (r"epsilon_(.+)", r"gain of the type \1 by deviating, over its baseline return", "share"),
    (r"curriculum/entropy_(.+)", r"entropy bonus of the type \1, as a share of the configured one", "factor"),
    (r"curriculum/(.+)", r"number of the curriculum: \1", ""),
)
_PREFIXES = {"env_runners/": "", "evaluation/env_runners/": "in an evaluation: "}


@dataclass(frozen=True)
class Described:
    """What a column is."""

    words: str
    unit: str
    """Empty where it is no quantity."""


def describe(column: str) -> Described | None:
    """What a column of results is; None where this package does not define it.

    Args:
        column: Its name in ``progress.csv``, in a sweep's table or in an evaluation, such as ``env_runners/hours``.
    """
    for prefix, words in _PREFIXES.items():
        if column.startswith(prefix) and (inner := _of_name(column.removeprefix(prefix))) is not None:
            return Described(words + inner.words, inner.unit)
    return _of_name(column)


def describe_all(columns: Iterable[str]) -> dict[str, dict[str, str]]:
    """Words and unit of each column that this package defines, as plain data."""
    described = {column: describe(column) for column in columns}
    return {column: {"words": one.words, "unit": one.unit} for column, one in described.items() if one is not None}


def _of_name(name: str) -> Described | None:
    if name.startswith("middle_") and (whole := _of_name(name.removeprefix("middle_"))) is not None:
        return Described(f"{whole.words}; without the first and the last period", whole.unit)
    if name in _OTHERS:
        return Described(*_OTHERS[name])
    if name in _WORDS:
        return Described(_WORDS[name], UNITS[name])
    for pattern, words, unit in _FAMILIES:
        if match := re.fullmatch(pattern, name):
            return Described(match.expand(words), unit)
    return None
