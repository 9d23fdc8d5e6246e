"""Comparative statics: what an economy does at each of several values of one of its numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from rich.table import Table

from rbc_marl.analysis.best_responses import paired
from rbc_marl.analysis.charts import Chart, Line
from rbc_marl.analysis.comparison import COMPARED, shown, unit_of
from rbc_marl.analysis.outcomes import BEST, outcome
from rbc_marl.analysis.rollouts import Evaluation, play
from rbc_marl.analysis.tables import csv_text, tex_table, tex_text
from rbc_marl.errors import ConfigError
from rbc_marl.policies import Policies
from rbc_marl.provenance import versions

# Values of which a terminal has room for intervals as well.
_MOST_WITH_INTERVALS = 3


@dataclass(frozen=True)
class Static:
    """A quantity at one value, with a 95% interval over episodes."""

    value: float
    quantity: str
    unit: str
    mean: float
    low: float
    high: float
    outcome: str
    """Of the economy: "living", "impaired", "collapsed" or "dead"."""


@dataclass(frozen=True)
class Statics:
    """What an economy does at several values of a number."""

    name: str
    """Of the number."""
    statics: tuple[Static, ...]
    episodes: int
    seed: int

    @property
    def values(self) -> list[float]:
        """Of the number, in their order."""
        return list(dict.fromkeys(one.value for one in self.statics))

    def of(self, quantity: str) -> list[Static]:
        """A quantity, value by value."""
        return [one for one in self.statics if one.quantity == quantity]

    def to_json(self) -> str:
        """All of it, with versions."""
        return json.dumps({**asdict(self), "versions": versions()}, indent=1) + "\n"

    def to_csv(self) -> str:
        """A row for each value and quantity."""
        rows = [{"name": self.name, **asdict(one)} for one in self.statics]
        return csv_text(rows, list(rows[0]))

    def to_tex(self) -> str:
        """The table for LaTeX, with the package booktabs."""
        head, rows = self._cells()
        return tex_table(head, rows, tex_text(self._title()))

    def tables(self) -> list[Table]:
        """The table for a terminal."""
        with_intervals = len(self.values) <= _MOST_WITH_INTERVALS
        head, rows = self._cells(with_intervals)
        title = self._title() + ("" if with_intervals else "; --out statics.csv has intervals")
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for place, name in enumerate(head):
            table.add_column(name, justify="right" if place else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        return [table]

    def charts(self) -> list[Chart]:
        """A chart of each quantity over the values."""
        charts = []
        for quantity in COMPARED:
            found, words = self.of(quantity), quantity.replace("_", " ")
            low, high = [one.low for one in found], [one.high for one in found]
            line = Line([one.value for one in found], [one.mean for one in found], low=low, high=high, has_dots=True)
            what = f"{words.capitalize()} ({found[0].unit}) by {self.name}"
            caption = f"{what}: means of {self.episodes} episodes with 95% intervals."
            charts.append(Chart(f"statics-{quantity}", words, self.name, found[0].unit, (line,), caption))
        return charts

    def _title(self) -> str:
        return f"by {self.name}: {self.episodes} episodes at each value, seed {self.seed}"

    def _cells(self, with_intervals: bool = True) -> tuple[list[str], list[list[str]]]:
        rows = [["outcome", *(one.outcome for one in self.of(COMPARED[0]))]]
        for quantity in COMPARED:
            found = self.of(quantity)
            halves = (f" ± {shown(one.mean - one.low)}" if with_intervals else "" for one in found)
            cells = (f"{shown(one.mean)}{half}" for one, half in zip(found, halves, strict=True))
            rows.append([quantity.replace("_", " "), *cells])
        return ["", *(f"{value:g}" for value in self.values)], rows


def statics(
    name: str, policies: Mapping[float, Policies], episodes: int = 256, seed: int = 0, rules: str = BEST
) -> Statics:
    """Play an economy at each of several values of a number.

    Args:
        name: Of the number.
        policies: By value, whoever decides in the economy that has it.
        episodes: At each value, at least two.
        seed: Of all draws, the same at each value.
        rules: The rule-based economy that outcomes are held against.

    Raises:
        ConfigError: There is no value, or there are fewer than two episodes.
    """
    if episodes < 2:
        raise ConfigError(f"episodes is {episodes}; an interval takes at least 2")
    if not policies:
        raise ConfigError(f"{name} has no values; give some, such as {name}=1,2")
    found = []
    for value, one in policies.items():
        played = play(one, episodes, seed)
        became = outcome(one.config, Evaluation.of(played).means, rules)
        for quantity in COMPARED:
            mean = paired(played.quantities[quantity].double())
            ends = mean["gain"], mean["low"], mean["high"]
            found.append(Static(value, quantity, unit_of(quantity), *ends, became))
    return Statics(name, tuple(found), episodes, seed)
