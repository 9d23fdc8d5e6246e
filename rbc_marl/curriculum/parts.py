"""The parts of a curriculum as they stand in a file, each a function of the iteration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal, Self, TypeVar

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from rbc_marl.curriculum.phase import Range
from rbc_marl.economy.parameters import FIXED, check_number
from rbc_marl.settings import Many, Section

AgentType = Literal["consumer", "firm", "government"]
Iterations = Annotated[int, Field(ge=0)]
Decay = TypeVar("Decay", bound="EntropyDecay | TypeDecay")
_ALL_TYPES: tuple[AgentType, ...] = ("consumer", "firm", "government")


class Part(Section):
    """Base of all parts."""

    noun: ClassVar[str] = "a part of a curriculum"


class Widening(Part):
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


class FixedTaxes(Part):
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


class Annealing(Part):
    """A factor that rises from 0 to 1 as ``1 - exp(-iteration / decay)``."""

    decay: Annotated[float, Field(gt=0)]


class EntropyDecay(Part):
    """A factor ``max(exp(-i / decay), floor)``, i counted from the iteration in which a type starts to learn."""

    decay: Annotated[float, Field(gt=0)] = Field(description="iterations")
    floor: Annotated[float, Field(ge=0, le=1)] = 0.1
    at_least: Iterations = Field(0, description="the decay is never shorter than so many iterations")
    types: Many[AgentType] = Field(_ALL_TYPES, description="agent types whose weight decays; the others' stays")

    def after(self, before: float, iteration: int, started: int) -> float:
        """The factor in an iteration of a type that started to learn in another, where decays so far leave it."""
        iterations = max(iteration - started, 0)
        return min(before, max(math.exp(-iterations / max(self.decay, self.at_least)), self.floor))


class LinearDecay(Part):
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


class Course(Widening):
    """A number of the economy that moves linearly between two iterations."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    from_: float = Field(alias="from", description="until `begin`")
    to: float | None = Field(None, description="from `end` on; null: the economy's own number")

    def number(self, iteration: int, own: float) -> float:
        """The number in an iteration, in an economy whose own is given."""
        share, last = self.share(iteration), own if self.to is None else self.to
        return last if share >= 1.0 else self.from_ + (last - self.from_) * share


class Courses(Part):
    """Numbers of the economy that change while it is trained; policies are evaluated and saved in its own."""

    noun: ClassVar[str] = "a number of an economy that can vary"

    export_price: Course | None = None
    export_quota: Course | None = None
    crra: Course | None = None
    interest_rate: Course | None = None
    labour_floor: Course | None = None
    technology: Course | None = None
    consumer_grant: Course | None = None
    dividend_share: Course | None = None
    depreciation: Course | None = None
    consumption_tax: Course | None = None
    firm_welfare_weight: Course | None = None
    revenue_bonus: Course | None = None
    consumer_debt_penalty: Course | None = None
    firm_debt_penalty: Course | None = None
    consumer_debt_scale: Course | None = None
    firm_debt_scale: Course | None = None
    labour_disutility_scale: Course | None = None

    @model_validator(mode="before")
    @classmethod
    def _say_why(cls, given: object) -> object:
        fixed = [name for name in given if name in FIXED] if isinstance(given, Mapping) else []
        if fixed:
            raise ValueError(f"{fixed[0]} cannot vary: {FIXED[fixed[0]]}")
        return given

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        for name, course in self.given().items():
            for end, number in (("from", course.from_), ("to", course.to)):
                if number is not None:
                    check_number(name, number, f"{name}.{end}")
        return self

    def given(self) -> dict[str, Course]:
        """The courses that there are, by name."""
        return {name: course for name, course in self if course is not None}


class Starts(Part):
    """Iteration in which each agent type starts to learn."""

    consumer: Iterations = 0
    firm: Iterations = 0
    government: Iterations = 0


class Before(Part):
    """What a type does until it learns: act from its untrained network ("policy"), or at random, within its mask."""

    consumer: Literal["policy", "random"] = "policy"
    firm: Literal["policy", "random"] = "policy"
    government: Literal["policy", "random"] = "policy"


def each(decays: Decay | tuple[Decay, ...] | None) -> tuple[Decay, ...]:
    """One decay or several as several."""
    return () if decays is None else decays if isinstance(decays, tuple) else (decays,)


def decayed(decays: Sequence[EntropyDecay | TypeDecay], agent_type: str, iteration: int, started: int) -> float:
    """A type's factor after several decays, each of which lowers what the one before it leaves."""
    factor = 1.0
    for decay in decays:
        if agent_type in decay.types:
            factor = decay.after(factor, iteration, started)
    return factor
