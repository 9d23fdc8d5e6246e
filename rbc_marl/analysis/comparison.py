"""Economies compared episode by episode: what a reform changes, and which consumers gain by it."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise

from rich.table import Table
from torch import Tensor

from rbc_marl.analysis.best_responses import paired
from rbc_marl.analysis.equivalents import consumption_equivalent
from rbc_marl.analysis.frames import UNITS
from rbc_marl.analysis.rollouts import Episodes, play
from rbc_marl.analysis.tables import tex_text
from rbc_marl.errors import ConfigError
from rbc_marl.policies import Policies
from rbc_marl.provenance import versions

COMPARED = (
    *("hours", "employment", "wage", "output", "consumption", "exports", "price"),
    *("income_tax", "corporate_tax", "tax_revenue"),
    *("consumer_return", "firm_return", "welfare_consumers", "welfare_total"),
)
"""Reported quantities that are compared (`rbc_marl.analysis.metrics`)."""
GROUPS = 10
"""Consumers are put into so many groups by their utility in the first economy: deciles."""
_OF_AN_EPISODE = {"consumer_return": "utility, per consumer", "firm_return": "money, per firm"}


@dataclass(frozen=True)
class Change:
    """A quantity in an economy, and how it differs from the first one, with a 95% interval over pairs of episodes."""

    economy: str
    quantity: str
    unit: str
    mean: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class GroupGain:
    """What a group of consumers gains by living in an economy instead of the first one, with 95% intervals."""

    economy: str
    group: int
    """From 1, those with the least utility in the first economy."""
    utility: float
    """In the first economy, per consumer and episode."""
    gain: float
    """Of utility, per consumer and episode."""
    low: float
    high: float
    equivalent: float | None
    """The gain as a share of consumption (`consumption_equivalent`); None where no share makes up for it."""
    equivalent_low: float | None
    equivalent_high: float | None


@dataclass(frozen=True)
class Comparison:
    """Economies held against the first of them."""

    economies: tuple[str, ...]
    changes: tuple[Change, ...]
    gains: tuple[GroupGain, ...]
    """Empty where the economies have different numbers of consumers."""
    episodes: int
    seed: int

    def to_json(self) -> str:
        """All of it, with versions."""
        return json.dumps({**asdict(self), "versions": versions()}, indent=1) + "\n"

    def to_csv(self) -> str:
        """All changes, then all gains of groups: a row each, with the quantity ``gain of group 1`` and so on."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["economy", "quantity", "unit", "mean", "difference", "low", "high"])
        writer.writerows([*asdict(change).values()] for change in self.changes)
        for one in self.gains:
            named = [one.economy, f"gain of group {one.group}"]
            writer.writerow([*named, "utility, per consumer", one.utility + one.gain, one.gain, one.low, one.high])
            share = [one.equivalent, one.equivalent_low, one.equivalent_high]
            writer.writerow([*named, "share of consumption", "", *("" if x is None else x for x in share)])
        return text.getvalue()

    def to_tex(self) -> str:
        """The table of changes for LaTeX, with the package booktabs: means, and differences with intervals below."""
        first, *others = self.economies
        drawn = f"{self.episodes} pairs of episodes, seed {self.seed}"
        lines = [
            rf"% {drawn}; differences to {tex_text(first)} with 95% intervals",
            rf"\begin{{tabular}}{{l{'r' * len(self.economies)}}}",
            r"\toprule",
            " & ".join(["", *map(tex_text, self.economies)]) + r" \\",
            r"\midrule",
        ]
        for quantity in COMPARED:
            found = {change.economy: change for change in self.changes if change.quantity == quantity}
            lines.append(" & ".join([tex_text(quantity), *(shown(found[e].mean) for e in self.economies)]) + r" \\")
            cells = [_interval(found[e]).replace("±", r"$\pm$") for e in others]
            lines.append(" & ".join(["", "", *cells]) + r" \\")
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])

    def tables(self) -> list[Table]:
        """The changes, and who gains, as tables for a terminal."""
        first, *others = self.economies
        changes = Table(
            title=f"{first}, and differences to it, of {self.episodes} pairs of episodes, seed {self.seed}",
            title_justify="left", box=None, pad_edge=False,
        )  # fmt: skip
        changes.add_column("quantity")
        changes.add_column(_head(first), justify="right", no_wrap=True)
        for economy in others:
            changes.add_column(_head(economy), justify="right", no_wrap=True)
        for quantity in COMPARED:
            found = {change.economy: change for change in self.changes if change.quantity == quantity}
            cells = [shown(found[first].mean), *(_interval(found[economy]) for economy in others)]
            changes.add_row(quantity.replace("_", " "), *cells)
        if not self.gains:
            return [changes]
        gains = Table(
            title=f"who gains: consumers by their utility in {first}", title_justify="left", box=None, pad_edge=False
        )
        gains.add_column("group")
        gains.add_column("utility", justify="right")
        for economy in others:
            gains.add_column(_head(economy), justify="right", no_wrap=True)
            gains.add_column("of consumption", justify="right", no_wrap=True)
        for group in dict.fromkeys(one.group for one in self.gains):
            row = {one.economy: one for one in self.gains if one.group == group}
            cells = [text for e in others for text in (half_width(row[e].gain, row[e].low), _share(row[e]))]
            gains.add_row(str(group), shown(row[others[0]].utility), *cells)
        return [changes, gains]


def compare(policies: Mapping[str, Policies], episodes: int = 256, seed: int = 0) -> Comparison:
    """Play economies with the same random numbers and compare each with the first.

    Args:
        policies: By name; the first is what the others are held against.
        episodes: How many of each, at least two.
        seed: Of all draws.

    Raises:
        ConfigError: There are fewer than two economies or episodes, or utility differs in them.
    """
    if len(policies) < 2:
        raise ConfigError("one economy cannot be compared; give another policy, or the same with something imposed")
    if episodes < 2:
        raise ConfigError(f"episodes is {episodes}; an interval takes at least 2")
    played = {name: play(one, episodes, seed, baskets=True) for name, one in policies.items()}
    first, *others = played
    changes = []
    for name, one in played.items():
        for quantity in COMPARED:
            values, before = (e.quantities[quantity].double() for e in (one, played[first]))
            found = paired(values - before)
            ends = (found["gain"], found["low"], found["high"])
            changes.append(Change(name, quantity, unit_of(quantity), float(values.mean()), *ends))
    gains = [gain for name in others for gain in _gains(name, played[first], played[name])]
    return Comparison(tuple(played), tuple(changes), tuple(gains), episodes, seed)


def unit_of(quantity: str) -> str:
    """The unit of one of `COMPARED`."""
    return _OF_AN_EPISODE.get(quantity) or UNITS[quantity]


def _gains(name: str, home: Episodes, other: Episodes) -> list[GroupGain]:
    """What each group of consumers gains; nothing where the economies have different numbers of them."""
    if home.config.num_consumers != other.config.num_consumers:
        return []
    before, after = (e.returns["consumer"].double() for e in (home, other))
    gains = []
    for number, members in enumerate(groups_by_utility(before.mean(dim=0)), start=1):
        found = paired((after - before)[:, members].mean(dim=1))
        share = consumption_equivalent(home, other, members) or dict.fromkeys(("gain", "low", "high"))
        utility = float(before[:, members].mean())
        gains.append(GroupGain(name, number, utility, *found.values(), *(share[x] for x in ("gain", "low", "high"))))
    return gains


def groups_by_utility(utility: Tensor) -> list[list[int]]:
    """Numbers of consumers in `GROUPS` groups of nearly one size, the least utility first; fewer where they are few."""
    order, count = utility.argsort().tolist(), min(GROUPS, len(utility))
    ends = [round(i * len(order) / count) for i in range(count + 1)]
    return [order[start:end] for start, end in pairwise(ends)]


def _head(economy: str) -> str:
    """The head of an economy's column, in lines that are hardly wider than its numbers."""
    return textwrap.fill(economy, 20)


def _digits(value: float) -> int:
    """Digits after the point that people read."""
    return 0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 3


def shown(value: float) -> str:
    """A number with the digits that people read."""
    return f"{value:z,.{_digits(value)}f}"


def half_width(value: float, low: float) -> str:
    """A difference and half of its interval, from the interval's lower end."""
    return f"{value:+z,.{_digits(value)}f} ± {value - low:,.{_digits(value)}f}"


def _interval(change: Change) -> str:
    return half_width(change.difference, change.low)


def _share(gain: GroupGain) -> str:
    if gain.equivalent is None or gain.equivalent_low is None:
        return "no share"
    return f"{gain.equivalent:+.1%} ± {gain.equivalent - gain.equivalent_low:.1%}"
