"""Curricula: what agents may do, and who learns how fast, as pure functions of the iteration (section 4 of the paper).

An iteration is a number of env steps, fixed when training starts. Nothing here remembers anything: asked twice for
the same iteration, a schedule gives the same phase, also after a restore or in a worker that has just been replaced.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self, TypeVar

from pydantic import Discriminator, Field, PrivateAttr, Tag, model_validator
from torch import Tensor

from rbc_marl.choices import firm_mask, fixed_government_mask, government_mask
from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.errors import ConfigError, nearest
from rbc_marl.settings import Many, Section, load_named

Range = tuple[float, float]
AgentType = Literal["consumer", "firm", "government"]
Iterations = Annotated[int, Field(ge=0)]
Decay = TypeVar("Decay", bound="EntropyDecay | TypeDecay")
_ALL_TYPES: tuple[AgentType, ...] = ("consumer", "firm", "government")
_EVERYTHING: Range = (-math.inf, math.inf)


@dataclass(frozen=True)
class Phase:
    """What holds in one iteration. Masks are the same when acting and when learning."""

    learning: frozenset[str] = frozenset(AGENT_TYPES)
    """Agent types that learn; the others keep their weights bit for bit."""
    random: frozenset[str] = frozenset()
    """Agent types that act uniformly at random within their mask."""
    price: Range = _EVERYTHING
    """Prices that firms may post."""
    wage: Range = _EVERYTHING
    """Wages that firms may post."""
    highest_tax: float = 1.0
    """Highest rate of either tax."""
    fixed_taxes: tuple[float, float] | None = None
    """Income and corporate tax that the government sets, as far as they are open; None: its choice."""
    labour_disutility: float = 1.0
    """Factor on the disutility of labour."""
    entropy: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(AGENT_TYPES, 1.0))
    """Factor on the entropy weight of each agent type."""
    learning_rate: float | Mapping[str, float] = 1.0
    """Factor on the learning rates of all agent types, or on each type's."""
    trembles: float = 1.0
    """Factor on the rates of trembles."""

    def rate(self, agent_type: str) -> float:
        """Factor on the learning rate of an agent type, or of a module that is none (which only a common one moves)."""
        factors = self.learning_rate
        return factors.get(agent_type, 1.0) if isinstance(factors, Mapping) else factors

    def describe(self) -> str:
        """The phase in a few words, for a progress display."""
        learning = [t for t in AGENT_TYPES if t in self.learning]
        words = "all learn" if len(learning) == len(AGENT_TYPES) else f"{' and '.join(learning) or 'nobody'} learning"
        opened = f"taxes up to {self.highest_tax:.0%}" if self.highest_tax > 0 else "no taxes"
        if self.fixed_taxes is not None:
            rates = " and ".join(f"{rate:.0%}" for rate in self.fixed_taxes)
            is_reached = self.highest_tax >= max(self.fixed_taxes)
            return f"{words}, taxes fixed at {rates}" if is_reached else f"{words}, {opened} on the way to {rates}"
        return words if self.highest_tax >= 1.0 else f"{words}, {opened}"

    def report(self) -> dict[str, str | float]:
        """The phase in words and its numbers, for results and logs."""
        rates = self.learning_rate if isinstance(self.learning_rate, Mapping) else {}
        return {
            "phase": self.describe(),
            "highest_tax": self.highest_tax,
            "labour_disutility": self.labour_disutility,
            **({f"learning_rate_{t}": rate for t, rate in rates.items()} or {"learning_rate": self.rate("")}),
            **{f"entropy_{t}": factor for t, factor in self.entropy.items()},
        }

    def masks(self, config: EconomyConfig) -> dict[str, Tensor]:
        """Allowed joint choices [n] (bool) of firms and of the government; consumers may always do everything."""
        fixed = self.fixed_taxes
        return {
            "firm": firm_mask(config, self.price, self.wage),
            "government": (
                government_mask(config, self.highest_tax)
                if fixed is None
                else fixed_government_mask(config, fixed, self.highest_tax)
            ),
        }


class Schedule(Protocol):
    """Any curriculum: an object with this one method can stand in a configuration."""

    def phase(self, iteration: int) -> Phase:
        """What holds in an iteration, counted from 0."""
        ...


class _Part(Section):
    noun: ClassVar[str] = "a part of a curriculum"


class Widening(_Part):
    """A mask that opens linearly between two iterations."""

    begin: Iterations = Field(0, description="last iteration with only the start allowed")
    end: Iterations = Field(description="first iteration with everything allowed")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.end < self.begin:
            raise ValueError(f"end is {self.end}, before begin {self.begin}; give begin <= end")
        return self

    def share(self, iteration: int) -> float:
        """How far it is open, from 0 to 1."""
        if iteration >= self.end:
            return 1.0
        if iteration <= self.begin:
            return 0.0
        return (iteration - self.begin) / (self.end - self.begin)


class ValueWidening(Widening):
    """A mask around a starting value."""

    around: Annotated[float, Field(ge=0)] = Field(description="the only value allowed at first")

    def allowed(self, iteration: int, choices: tuple[float, ...]) -> Range:
        """Lowest and highest value allowed."""
        share = self.share(iteration)
        low, high = min(choices), max(choices)
        if share >= 1.0:  # exactly: the sums below may miss the last choice by a rounding
            return low, high
        return self.around - (self.around - low) * share, self.around + (high - self.around) * share


class FixedTaxes(_Part):
    """Rates that the government sets instead of learning them; both among its choices."""

    income: Annotated[float, Field(ge=0, le=1)]
    corporate: Annotated[float, Field(ge=0, le=1)]


class TaxWidening(Widening):
    """A mask over tax rates that opens from 0 to 100%; fixed rates rise with it until they are reached."""

    fixed: FixedTaxes | None = Field(None, description="rates to set; the government then never learns. None: its own")

    @model_validator(mode="before")
    @classmethod
    def _open_from_the_start(cls, given: object) -> object:
        """Fixed rates need no widening: without one they hold from the first iteration."""
        if isinstance(given, Mapping) and given.get("fixed") is not None and not {"begin", "end"} & set(given):
            return {**given, "end": 0}
        return given


class Annealing(_Part):
    """A factor that rises from 0 to 1 as ``1 - exp(-iteration / decay)``."""

    decay: Annotated[float, Field(gt=0)]


class EntropyDecay(_Part):
    """A factor ``max(exp(-i / decay), floor)``, i counted from the iteration in which a type starts to learn."""

    decay: Annotated[float, Field(gt=0)] = Field(description="iterations")
    floor: Annotated[float, Field(ge=0, le=1)] = 0.1
    at_least: Iterations = Field(0, description="the decay is never shorter than so many iterations")
    types: Many[AgentType] = Field(_ALL_TYPES, description="agent types whose weight decays; the others' stays")

    def after(self, before: float, iteration: int, started: int) -> float:
        """The factor in an iteration of a type that started to learn in another, where decays so far leave it."""
        iterations = max(iteration - started, 0)
        return min(before, max(math.exp(-iterations / max(self.decay, self.at_least)), self.floor))


class LinearDecay(_Part):
    """A factor that falls linearly to a floor between two iterations."""

    begin: Iterations
    end: Iterations
    floor: Annotated[float, Field(ge=0, le=1)] = 0.1

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.end <= self.begin:
            raise ValueError(f"end is {self.end}, not after begin {self.begin}; give begin < end")
        return self

    def factor(self, iteration: int, before: float = 1.0) -> float:
        """The factor in an iteration, where it would be ``before`` without this decay."""
        done = min(max((iteration - self.begin) / (self.end - self.begin), 0.0), 1.0)
        return before - max(before - self.floor, 0.0) * done


class TypeDecay(LinearDecay):
    """A factor of some agent types that falls linearly to a floor between two iterations."""

    from_start: bool = Field(False, description="whether iterations count from the start of each type's learning")
    types: Many[AgentType] = Field(_ALL_TYPES, description="agent types whose factor falls; the others' stays")

    def after(self, before: float, iteration: int, started: int) -> float:
        """The factor in an iteration of a type that started to learn in another, where decays so far leave it."""
        return self.factor(iteration - started if self.from_start else iteration, before)


def _kind_of_decay(given: object) -> str:
    """Name of the class of a segment of the entropy's decay, by what it says."""
    if isinstance(given, Mapping):
        return TypeDecay.__name__ if {"begin", "end"} & set(given) else EntropyDecay.__name__
    return type(given).__name__ if isinstance(given, TypeDecay) else EntropyDecay.__name__


EntropySegment = Annotated[
    Annotated[EntropyDecay, Tag(EntropyDecay.__name__)] | Annotated[TypeDecay, Tag(TypeDecay.__name__)],
    Discriminator(_kind_of_decay),
]


class Starts(_Part):
    """Iteration in which each agent type starts to learn."""

    consumer: Iterations = 0
    firm: Iterations = 0
    government: Iterations = 0


class Before(_Part):
    """What a type does until it learns: act from its untrained network ("policy"), or at random, within its mask."""

    consumer: Literal["policy", "random"] = "policy"
    firm: Literal["policy", "random"] = "policy"
    government: Literal["policy", "random"] = "policy"


class Curriculum(_Part):
    """The paper's kind of curriculum: stages, widening masks, annealed disutility, decaying exploration.

    Every part can be left out; without any, all types learn everything from the first iteration.
    """

    start: Starts = Starts()
    before: Before = Before()
    prices: ValueWidening | None = None
    wages: ValueWidening | None = None
    taxes: TaxWidening | None = None
    labour_disutility: Annealing | None = None
    entropy: EntropySegment | Annotated[Many[EntropySegment], Field(min_length=1)] | None = None
    learning_rate: TypeDecay | Annotated[Many[TypeDecay], Field(min_length=1)] | None = None
    trembles: LinearDecay | None = None
    # The economy's, from which ranges widen: see `of`.
    _price_choices: tuple[float, ...] = PrivateAttr(())
    _wage_choices: tuple[float, ...] = PrivateAttr(())

    def of(self, config: EconomyConfig) -> Self:
        """The same curriculum in an economy, over whose choices its ranges widen."""
        copy = self.model_copy()
        copy._price_choices, copy._wage_choices = config.price_choices, config.wage_choices
        return copy

    def phase(self, iteration: int) -> Phase:
        """What holds in an iteration, counted from 0."""
        started = {t: getattr(self.start, t) for t in AGENT_TYPES}
        fixed = self.taxes.fixed if self.taxes else None
        learns = [t for t in AGENT_TYPES if t != "government" or fixed is None]
        learning = frozenset(t for t in learns if iteration >= started[t])
        return Phase(
            learning=learning,
            random=frozenset(t for t in AGENT_TYPES if t not in learning and getattr(self.before, t) == "random"),
            price=self.prices.allowed(iteration, self._price_choices) if self.prices else _EVERYTHING,
            wage=self.wages.allowed(iteration, self._wage_choices) if self.wages else _EVERYTHING,
            highest_tax=self.taxes.share(iteration) if self.taxes else 1.0,
            fixed_taxes=(fixed.income, fixed.corporate) if fixed else None,
            labour_disutility=(
                -math.expm1(-iteration / self.labour_disutility.decay) if self.labour_disutility else 1.0
            ),
            entropy={t: _decayed(_each(self.entropy), t, iteration, started[t]) for t in AGENT_TYPES},
            learning_rate=self._learning_rate(iteration, started),
            trembles=self.trembles.factor(iteration) if self.trembles else 1.0,
        )

    def _learning_rate(self, iteration: int, started: Mapping[str, int]) -> float | dict[str, float]:
        """One factor where all types have the same, whatever the iteration; else each type's."""
        decays = _each(self.learning_rate)
        factors = {t: _decayed(decays, t, iteration, started[t]) for t in AGENT_TYPES}
        is_common = not any(decay.from_start or set(decay.types) < set(AGENT_TYPES) for decay in decays)
        return factors["consumer"] if is_common else factors


def _each(decays: Decay | tuple[Decay, ...] | None) -> tuple[Decay, ...]:
    """One decay or several as several."""
    return () if decays is None else decays if isinstance(decays, tuple) else (decays,)


def _decayed(decays: Sequence[EntropyDecay | TypeDecay], agent_type: str, iteration: int, started: int) -> float:
    """A type's factor after several decays, each of which lowers what the one before it leaves."""
    factor = 1.0
    for decay in decays:
        if agent_type in decay.types:
            factor = decay.after(factor, iteration, started)
    return factor


def paper_curriculum(ramp: int, decay: int) -> dict[str, Any]:
    """The paper's curriculum as it would stand in a file.

    Args:
        ramp: Iterations until firms learn, and as many again until the government does (N).
        decay: Of disutility and entropy.
    """
    return {
        "start": {"consumer": 0, "firm": ramp, "government": 2 * ramp},
        "prices": {"around": 1000.0, "end": ramp},
        "wages": {"around": 22.0, "end": ramp},
        "taxes": {"begin": ramp, "end": 2 * ramp},
        "labour_disutility": {"decay": float(decay)},
        "entropy": {"decay": float(decay), "floor": 0.1},
    }


# Schedules that can be named in a file: "curriculum: paper_short". The first two are the published ones.
NAMED_CURRICULA: dict[str, dict[str, Any]] = {
    "paper_short": paper_curriculum(30000, 10000),
    "paper_long": paper_curriculum(100000, 30000),
}


def parse_curriculum(
    given: Mapping[str, Any] | str | Schedule | None, where: str = "curriculum"
) -> Schedule | None:
    """What a file or a program gives for a curriculum, typed.

    Args:
        given: The parts of a `Curriculum`; the name of a published one; the dotted path of a class of your own
            ("my_module.MyCurriculum", made without arguments), which must have a method ``phase``; a schedule; or None
            for none.
        where: Place in the file, for messages.

    Raises:
        ConfigError: It is unknown or malformed.
    """
    if isinstance(given, str) and given not in NAMED_CURRICULA:
        if "." not in given.strip("."):
            names = ", ".join(NAMED_CURRICULA)
            mend = f"it must be one of {names}, or name a class with phase(iteration)"
            raise ConfigError(f"{where} is {given!r}; {mend}{nearest(given, NAMED_CURRICULA)}")
        made: Schedule = load_named(given, where, _has_phase, "a curriculum: a class with phase(iteration)")()
        return made
    named = NAMED_CURRICULA[given] if isinstance(given, str) else given
    if isinstance(named, Mapping):
        return Curriculum.parse(named, where)
    if named is not None and not (_has_phase(named) and not isinstance(named, type)):
        raise ConfigError(f"{where} is {given!r}; it must be a mapping, a name, or have a method phase(iteration)")
    return named


def build_curriculum(
    given: Mapping[str, Any] | str | Schedule | None, config: EconomyConfig, where: str = "curriculum"
) -> Schedule | None:
    """The schedule that a configuration asks for, in an economy.

    Args:
        given: As `parse_curriculum` takes it; what is typed already is not parsed again.
        config: The economy that it is for.
        where: Place in the file, for messages.

    Raises:
        ConfigError: It is unknown, malformed, or leaves an agent without a choice.
    """
    schedule = parse_curriculum(given, where)
    if schedule is None:
        return None
    if not isinstance(schedule, Curriculum):
        return _checked(schedule, config, where)
    curriculum = schedule.of(config)
    _check_fixed_taxes(curriculum, config, where)
    for name, mask in curriculum.phase(0).masks(config).items():
        if not mask.any():
            parts = f"{where}.prices.around or {where}.wages.around is" if name == "firm" else f"{where}.taxes is"
            raise ConfigError(f"{parts} not among the choices: the {name} would be left without any; start at a choice")
    return curriculum


def _check_fixed_taxes(curriculum: Curriculum, config: EconomyConfig, where: str) -> None:
    fixed = curriculum.taxes.fixed if curriculum.taxes else None
    for name, choices in (("income", config.income_tax_choices), ("corporate", config.corporate_tax_choices)):
        rate = getattr(fixed, name, None)
        if rate is not None and rate not in choices:
            closest = min(choices, key=lambda choice: abs(choice - rate))
            raise ConfigError(
                f"{where}.taxes.fixed.{name} is {rate:g}, which is not one of {name}_tax_choices; "
                f"the nearest choice is {closest:g}"
            )


def _has_phase(named: Any) -> bool:  # noqa: ANN401 - anything a user may name
    return callable(getattr(named, "phase", None))


# Iterations at which the phases of somebody's own schedule are looked at before anything trains.
_LOOKED_AT = (*range(1000), *(10**k for k in range(3, 7)))


def _checked(schedule: Schedule, config: EconomyConfig, where: str) -> Schedule:
    seen: Phase | None = None
    for iteration in _LOOKED_AT:
        try:
            phase = schedule.phase(iteration)
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise ConfigError(f"{where}: phase({iteration}) raised {what}; give a phase for every iteration") from error
        if phase != seen:
            _check_phase(phase, config, f"{where}: phase({iteration})")
            seen = phase
    return schedule


def _check_phase(phase: object, config: EconomyConfig, where: str) -> None:
    if not isinstance(phase, Phase):
        raise ConfigError(f"{where} is {phase!r}; it must be a rbc_marl.curriculum.Phase")
    rates = phase.learning_rate if isinstance(phase.learning_rate, Mapping) else {}
    named = {"learning": phase.learning, "random": phase.random, "entropy": phase.entropy, "learning_rate": rates}
    for name, agent_types in named.items():
        for agent_type in agent_types:
            if agent_type not in AGENT_TYPES:
                raise ConfigError(
                    f'{where}.{name} names "{agent_type}"; there are {", ".join(AGENT_TYPES)}'
                    f"{nearest(str(agent_type), AGENT_TYPES)}"
                )
    missing = [t for t in AGENT_TYPES if t not in phase.entropy]
    if missing:
        raise ConfigError(f"{where}.entropy has no factor for {' and '.join(missing)}; give one (1.0: as set)")
    for agent_type, mask in phase.masks(config).items():
        if not mask.any():
            raise ConfigError(
                f"{where} leaves the {agent_type} without any choice; open its ranges as far as one of the choices"
            )
