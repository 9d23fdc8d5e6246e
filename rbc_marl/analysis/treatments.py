"""Episodes played twice with the same random numbers, once as they are and once under a treatment: what it changes.

A treatment is a shock to a number of the economy (`impulse`), or a policy that changes for good in some period
(`transition`). Both plays of an episode have the same shocks of the economy's own, and every agent the same draws, so
that they are the same to the last bit until the treatment begins. Policies stay what they are. Others may be given that
learned on under the treatment (`rbc_marl.experiments.learning_on`): they play it as well.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator
from rich.table import Table
from torch import Tensor

from rbc_marl.analysis.best_responses import paired
from rbc_marl.analysis.comparison import groups_by_utility, half_width, shown
from rbc_marl.analysis.frames import CONSUMER_UNITS, UNITS
from rbc_marl.analysis.rollouts import Episodes, play
from rbc_marl.analysis.tables import csv_text, tex_table, tex_text
from rbc_marl.config import EXPORTING, EconomyConfig
from rbc_marl.economy.parameters import check_number, own_number
from rbc_marl.economy.shocks import is_switched_off, nothing_imposed
from rbc_marl.errors import ConfigError, one_of
from rbc_marl.policies import Policies
from rbc_marl.policies.imposed import Imposed, Treatment
from rbc_marl.processes import BY_AGENT, Ar1, Drawn, Shocks
from rbc_marl.provenance import versions
from rbc_marl.settings import Section

INVESTMENT = {"investment": "money, per consumer"}
RESPONDING = {
    name: UNITS.get(name) or INVESTMENT[name]
    for name in (
        *("output", "consumption", "hours", "employment", "wage", "price", "investment", "exports", "inventory"),
        *("income_tax", "corporate_tax", "tax_revenue", "consumer_reward", "firm_reward", "welfare_total"),
    )
}
"""Quantities whose paths are held against each other, with their units."""
KEPT, LEARNED = "kept", "learned"
"""Who plays under a treatment: the policies that play without it, or those that learned on under it."""
BY_GROUP = ("consumption", "hours", "utility")
"""What is told of each group of consumers."""
# Periods after the first treated one that a table shows: in a terminal, and for LaTeX.
_SOON, _LATER = (0, 2), (0, 1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Response:
    """A quantity in one period: as it is, and how the treatment changes it, with a 95% interval over episodes."""

    quantity: str
    unit: str
    group: int | None
    """Of consumers, from 1, those with the least utility without the treatment; None: of the whole economy."""
    period: int
    """From 1."""
    without: float
    treated: float
    difference: float
    low: float
    high: float
    policies: str = KEPT
    """`KEPT` or `LEARNED`."""


@dataclass(frozen=True)
class Responses:
    """How a treatment changes the paths of an economy."""

    treatment: str
    """In words."""
    first: int
    """The first treated period, from 1."""
    horizon: int
    paths: tuple[Response, ...]
    """Of every quantity in every period, then of every group of consumers."""
    means: tuple[Response, ...]
    """Of every group: means over periods from the first treated one to the last; ``period`` is the first."""
    whole: tuple[Response, ...]
    """Of every quantity of the whole economy: means over the same periods."""
    episodes: int
    seed: int

    def of(self, quantity: str, group: int | None = None, policies: str = KEPT) -> list[Response]:
        """The path of a quantity, period by period."""
        wanted = (quantity, group, policies)
        return [one for one in self.paths if (one.quantity, one.group, one.policies) == wanted]

    @property
    def policies(self) -> list[str]:
        """Who plays under the treatment, of `KEPT` and `LEARNED`."""
        return list(dict.fromkeys(one.policies for one in self.paths))

    def to_json(self) -> str:
        """All of it, with versions."""
        return json.dumps({**asdict(self), "versions": versions()}, indent=1) + "\n"

    def to_csv(self) -> str:
        """A row for each quantity and period, then for each group of consumers, then for means, without a period."""
        rows = [asdict(one) for one in self.paths]
        rows += [{**asdict(one), "period": None} for one in (*self.whole, *self.means)]
        return csv_text(rows, list(rows[0]))

    def to_tex(self) -> str:
        """The table of responses for LaTeX, with the package booktabs."""
        periods, rows = self._cells(_LATER)
        head = ["", *self._who, *self._head(periods)]
        return tex_table(head, [row[: 1 + len(self._who)] + row[2:] for row in rows], tex_text(self._title()))

    def tables(self) -> list[Table]:
        """Responses in some periods, and those of groups of consumers, as tables for a terminal."""
        periods, rows = self._cells(_SOON)
        paths = Table(title=self._title(), title_justify="left", box=None, pad_edge=False)
        paths.add_column("quantity", no_wrap=True)
        for head in self._head(periods):
            paths.add_column(head, justify="right", no_wrap=True)
        for name, who, *cells in rows:
            paths.add_row(name if who == KEPT else "  learned on", *cells)
        groups = Table(
            title=f"consumers by their utility without it, periods {self.first} to {self.horizon}",
            title_justify="left", box=None, pad_edge=False,
        )  # fmt: skip
        for column in ("group", *self._who):
            groups.add_column(column)
        for quantity in BY_GROUP:
            groups.add_column(quantity, justify="right", no_wrap=True)
        for group, who in dict.fromkeys((one.group, one.policies) for one in self.means):
            of_group = [one for one in self.means if (one.group, one.policies) == (group, who)]
            cells = [half_width(one.difference, one.low) for one in of_group]
            groups.add_row(str(group), *[who][: len(self._who)], *cells)
        return [paths, groups]

    @property
    def _who(self) -> list[str]:
        """Head of the column that says who plays; there is none where nobody learned."""
        return ["policies"] if len(self.policies) > 1 else []

    def _title(self) -> str:
        return f"{self.treatment}: {self.episodes} pairs of episodes, seed {self.seed}"

    def _head(self, periods: Sequence[int]) -> list[str]:
        return ["without", *(f"period {period}" for period in periods), f"mean {self.first}-{self.horizon}"]

    def _cells(self, later: Sequence[int]) -> tuple[list[int], list[list[str]]]:
        """Periods that tables show, and by quantity its name, who plays, its mean without, and its differences."""
        periods = sorted({min(self.first + each, self.horizon) for each in later})
        rows = []
        for mean in self.whole:
            path = self.of(mean.quantity, policies=mean.policies)
            cells = [half_width(one.difference, one.low) for one in (*(path[p - 1] for p in periods), mean)]
            rows.append([mean.quantity.replace("_", " "), mean.policies, shown(mean.without), *cells])
        return periods, sorted(rows, key=lambda row: list(RESPONDING).index(row[0].replace(" ", "_")))


class Impulse(Section):
    """A shock to a number of the economy: in one period, after which it fades by a share per period."""

    noun: ClassVar[str] = "a part of a shock"

    number: str = Field(description="which number, or the productivity of all workers or firms")
    change: Annotated[float, Field(gt=-1.0, le=1e6)] | None = Field(None, description="share of it, such as -0.05")
    level: Annotated[float, Field(ge=0.0)] | None = Field(None, description="or what it becomes")
    period: Annotated[int, Field(ge=1)] = Field(description="when, from 1")
    persistence: Annotated[float, Field(ge=0.0, le=1.0)] | None = Field(
        None, description="share of its logarithm that is left after a period; None: of its process, or 0 without AR(1)"
    )

    @model_validator(mode="after")
    def _check_change(self) -> Self:
        one_of(self.number, Shocks.by_period(), "number")
        if (self.change is None) == (self.level is None):
            raise ValueError("give a change such as -0.05, or a level; and not both")
        if self.level == 0.0 and self.persistence != 1.0:
            raise ValueError("a level of 0 has no logarithm that could fade; give persistence=1, or another level")
        return self

    def left(self, config: EconomyConfig) -> float:
        """Its persistence in an economy."""
        process = config.shocks.on.get(self.number) if config.shocks is not None else None
        known = process.persistence if isinstance(process, Ar1) else 0.0
        return known if self.persistence is None else self.persistence

    def factors(self, config: EconomyConfig) -> tuple[float, ...]:
        """Factors on the number in every period of an episode, and after it; what it becomes where it is switched off.

        Raises:
            ConfigError: The period is after the last one, or the number cannot become that.
        """
        if self.number in EXPORTING and not config.open_economy:
            raise ConfigError(f"{self.number} moves exports, and a closed economy has none; give another number")
        if self.period > config.horizon:
            raise ConfigError(f"period is {self.period}; episodes have {config.horizon}: give an earlier one")
        process = config.shocks.on.get(self.number) if config.shocks is not None else None
        is_one = isinstance(process, Drawn) and process.at is not None
        if self.level is not None and process is not None and not isinstance(process, Ar1) and not is_one:
            is_drawn = isinstance(process, Drawn)
            says = "drawn for each episode" if is_drawn else f"what its {process.kind} says"
            stop = f"fix it: --set {self.number}=..." if is_drawn else f"--set shocks.{self.number}=null"
            raise ConfigError(f"{self.number} is {says}; give a change such as -5%, or {stop}")
        own = 1.0 if self.number in BY_AGENT else own_number(config, self.number)
        values = (own,) if process is None or isinstance(process, Ar1) else process.possible
        own = values[0] if is_one else own
        left, later = self.left(config), range(config.horizon + 2 - self.period)
        if is_switched_off(config, self.number):
            if self.level is None:
                raise ConfigError(f"{self.number} is 0, which no change in per cent moves; give a level")
            check_number(self.number, self.level, self.number)
            return (*[0.0] * (self.period - 1), *(self.level * left**i for i in later))
        if not any(values):
            raise ConfigError(f"{self.number} is 0, which no shock moves; begin with another: --set {self.number}=...")
        factor = 1.0 + self.change if self.change is not None else (self.level or 0.0) / own
        for value in () if self.number in BY_AGENT else values:
            check_number(self.number, value * factor, self.number)
        return (*[1.0] * (self.period - 1), *(factor ** (left**i) for i in later))

    def words(self, config: EconomyConfig) -> str:
        """What it is, in words."""
        how = f"at {self.level:g}" if self.change is None else f"{100 * self.change:+g}%"
        return f"{self.number} {how} in period {self.period}, persistence {self.left(config):g}"


class Reform(Section):
    """Policies and numbers of the economy that change for good in a period."""

    noun: ClassVar[str] = "a part of a reform"

    values: dict[str, float] = Field(min_length=1, description="what is imposed, or numbers of the economy, by name")
    period: Annotated[int, Field(ge=1)] = Field(description="from which on they are in force, from 1")

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        for name in self.values:
            one_of(name, (*Imposed.names(), *Shocks.by_period()), "reform")
        return self

    def words(self) -> str:
        """What it is, in words."""
        values = ", ".join(f"{name} {value:g}" for name, value in self.values.items())
        return f"{values} from period {self.period} on"


def shocked(config: EconomyConfig, shocks: Impulse | Sequence[Impulse]) -> Treatment:
    """What shocks impose on an economy.

    Raises:
        ConfigError: A shock cannot be in that economy, or one number gets two.
    """
    several = [shocks] if isinstance(shocks, Impulse) else list(shocks)
    factors = {one.number: one.factors(config) for one in several}
    if len(factors) < len(several):
        raise ConfigError("a number gets two shocks; give each number one")
    return Treatment(factors=factors)


def reformed(config: EconomyConfig, reform: Reform) -> Treatment:
    """What a reform imposes on an economy.

    Raises:
        ConfigError: The reform cannot be in that economy.
    """
    imposed = {name: value for name, value in reform.values.items() if name in Imposed.names()}
    factors = {
        name: Impulse(number=name, change=None, level=value, period=reform.period, persistence=1.0).factors(config)
        for name, value in reform.values.items()
        if name not in imposed
    }
    choices = Imposed.parse(imposed, "reform")
    choices.strategies(config, reform.period)
    return Treatment(choices=choices, period=reform.period, factors=factors)


def impulse(
    policies: Policies,
    shocks: Impulse | Sequence[Impulse],
    episodes: int = 256,
    seed: int = 0,
    learned: Policies | None = None,
) -> Responses:
    """How an economy responds to a shock.

    Args:
        policies: Whoever decides. They see the shock as far as their economy's configuration lets them.
        shocks: One, or several at once.
        episodes: Pairs of them, at least two.
        seed: Of all draws.
        learned: Policies that learned on under the shock, of the same economy; None: nobody did.

    Raises:
        ConfigError: A shock cannot be in that economy, or one number gets two; or there are fewer than two episodes.
    """
    several, config = [shocks] if isinstance(shocks, Impulse) else list(shocks), policies.config
    treatment = shocked(config, several)
    words, first = " and ".join(one.words(config) for one in several), min(one.period for one in several)
    return responses_of(policies, policies, learned, treatment, words, first, episodes, seed)


def transition(
    policies: Policies, reform: Reform, episodes: int = 256, seed: int = 0, learned: Policies | None = None
) -> Responses:
    """The path of an economy after a reform that nobody expected, with the policies that everybody has.

    What a government or a firm sets holds from the next period on: it is set in the period before.

    Args:
        policies: Whoever decides.
        reform: What changes: choices that are imposed (`Imposed`), or numbers of the economy.
        episodes: Pairs of them, at least two.
        seed: Of all draws.
        learned: Policies that learned on under the reform, of the same economy; None: nobody did.

    Raises:
        ConfigError: The reform cannot be in that economy, or there are fewer than two episodes.
    """
    treatment = reformed(policies.config, reform)
    return responses_of(policies, policies, learned, treatment, reform.words(), reform.period, episodes, seed)


def responses_of(
    policies: Policies,
    changed: Policies,
    learned: Policies | None,
    treatment: Treatment,
    words: str,
    first: int,
    episodes: int,
    seed: int,
) -> Responses:
    """How a treatment, or another economy, changes paths.

    Args:
        policies: Whoever decides.
        changed: The same, perhaps in another economy with as many agents, where the treatment is played.
        learned: Policies that learned on under it, in that economy; None: nobody did.
        treatment: What is imposed.
        words: What it is.
        first: The first period in which something differs, from 1.
        episodes: Pairs of them, at least two.
        seed: Of all draws.

    Raises:
        ConfigError: Policies are made for another economy, or there are fewer than two episodes.
    """
    if episodes < 2:
        raise ConfigError(f"episodes is {episodes}; an interval takes at least 2")
    if learned is not None and learned.config != changed.config:
        raise ConfigError("the policies that learned are made for another economy; give those of the same one")
    # The same numbers by the same way: without a shock the two are equal to the last bit.
    nothing = Treatment(factors=nothing_imposed(policies.config, treatment.factors))
    before = play(nothing.on(policies), episodes, seed, agents=True)
    groups = groups_by_utility(before.returns["consumer"].double().mean(dim=0))
    paths: list[Response] = []
    means: list[Response] = []
    whole: list[Response] = []
    later = slice(first - 1, None)
    for who, treated in ((KEPT, changed), (LEARNED, learned)):
        if treated is None:
            continue
        after = play(treatment.on(treated), episodes, seed, agents=True)
        for name, unit in RESPONDING.items():
            one, two = periods_of(before, name), periods_of(after, name)
            paths += _path(who, name, unit, None, one, two)
            whole.append(_response(who, name, unit, None, first, one[:, later].mean(1), two[:, later].mean(1)))
        for number, members in enumerate(groups, start=1):
            for name in BY_GROUP:
                one, two = (e.consumer_periods[name][..., members].double().mean(dim=-1) for e in (before, after))
                unit = f"{CONSUMER_UNITS[name]}, per consumer"
                paths += _path(who, name, unit, number, one, two)
                means.append(_response(who, name, unit, number, first, one[:, later].mean(1), two[:, later].mean(1)))
    return Responses(words, first, policies.config.horizon, tuple(paths), tuple(means), tuple(whole), episodes, seed)


def periods_of(episodes: Episodes, name: str) -> Tensor:
    """A quantity of each period, [N, T], of those in `RESPONDING`."""
    if name in INVESTMENT:
        return episodes.firms[name].double().sum(dim=2) / episodes.config.num_consumers
    return episodes.periods[name].double()


def _path(who: str, name: str, unit: str, group: int | None, without: Tensor, treated: Tensor) -> list[Response]:
    periods = range(without.shape[1])
    return [_response(who, name, unit, group, t + 1, without[:, t], treated[:, t]) for t in periods]


def _response(
    who: str, name: str, unit: str, group: int | None, period: int, without: Tensor, treated: Tensor
) -> Response:
    found = paired(treated - without)
    ends = (found["gain"], found["low"], found["high"])
    return Response(name, unit, group, period, float(without.mean()), float(treated.mean()), *ends, who)
