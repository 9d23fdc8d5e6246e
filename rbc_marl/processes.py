"""Processes that move numbers of an economy from period to period: their settings. Off by default."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from rbc_marl.settings import Many, Section

# How far a row of probabilities may be from 1 in all.
_ROUNDING = 1e-6
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Levels = Annotated[Many[Annotated[float, Field(ge=0.0, le=1e15)]], Field(min_length=1)]


class Process(Section):
    """What all processes have."""

    noun: ClassVar[str] = "a setting of a shock"

    sees: bool = Field(True, description="whether agents see where it stands")
    news: Annotated[int, Field(ge=0, le=1000)] = Field(0, description="periods ahead that agents see as well")

    @property
    def seen(self) -> int:
        """Numbers that an agent sees of it."""
        return 1 + self.news if self.sees else 0


class Ar1(Process):
    """A factor on the number, whose logarithm follows ``z' = persistence z + deviation e`` with e standard normal."""

    kind: Literal["ar1"]
    persistence: Annotated[float, Field(ge=0.0, le=1.0)] = Field(examples=[0.9])
    deviation: Annotated[float, Field(ge=0.0, le=10.0)] = Field(
        description="standard deviation of the innovations", examples=[0.02]
    )
    start: Literal["stationary", "mean"] = Field(
        "stationary", description="where an episode begins: drawn from the long run, or one innovation from the mean"
    )

    @model_validator(mode="after")
    def _check_start(self) -> Self:
        if self.persistence == 1.0 and self.start == "stationary":
            raise ValueError("persistence is 1.0, with which there is no long run to start from; give start: mean")
        return self

    @property
    def spread(self) -> float:
        """Standard deviation of the logarithm in the long run; of an innovation where there is no long run."""
        return self.deviation * (1.0 - self.persistence**2) ** -0.5 if self.persistence < 1.0 else self.deviation


class Markov(Process):
    """One of several values, the next drawn by the row of probabilities that belongs to the present one."""

    kind: Literal["markov"]
    values: Levels = Field(examples=["[10, 100]"])
    transition: Annotated[Many[Many[Probability]], Field(min_length=1)] = Field(examples=["[[.9, .1], [.1, .9]]"])
    start: Annotated[int, Field(ge=0)] | None = Field(
        None, description="number of the value in the first period, from 0; None: drawn from the long run"
    )

    @model_validator(mode="after")
    def _check_rows(self) -> Self:
        count = len(self.values)
        if len(self.transition) != count or any(len(row) != count for row in self.transition):
            raise ValueError(f"transition must have {count} rows of {count} probabilities, one for each of values")
        for number, row in enumerate(self.transition):
            if abs(sum(row) - 1.0) > _ROUNDING:
                raise ValueError(f"transition has a row {number} that sums to {sum(row):g}; give one that sums to 1")
        if self.start is not None and self.start >= count:
            raise ValueError(f"start is {self.start}; there are {count} values, numbered from 0")
        return self

    @property
    def possible(self) -> tuple[float, ...]:
        """Numbers that it can be."""
        return self.values

    @property
    def long_run(self) -> tuple[float, ...]:
        """Share of periods that the chain spends at each value in the long run."""
        return _long_run(self.transition)


@lru_cache(maxsize=64)
def _long_run(rows: tuple[tuple[float, ...], ...]) -> tuple[float, ...]:
    count = len(rows)
    # A chain that rests half of the time has the same long run, and no cycles. Squared so often, it has forgotten all.
    power = [[(rows[i][j] + (i == j)) / 2 for j in range(count)] for i in range(count)]
    for _ in range(60):
        power = [[sum(a * b for a, b in zip(row, column, strict=True)) for column in zip(*power, strict=True)]
                 for row in power]  # fmt: skip
        power = [[x / sum(row) for x in row] for row in power]  # or roundings would be squared as well
    return tuple(sum(column) / count for column in zip(*power, strict=True))


class Path(Process):
    """Values given by hand, from the first period on; the last one stays."""

    kind: Literal["path"]
    values: Levels = Field(examples=["[500, 500, 1000]"])

    @property
    def possible(self) -> tuple[float, ...]:
        """Numbers that it can be."""
        return self.values


class Drawn(Process):
    """A number drawn for each episode, in which it stays what it is: a family of economies, for one policy of all."""

    kind: Literal["drawn"]
    values: Levels | None = Field(None, description="of which one is drawn, all alike likely", examples=["[10, 100]"])
    low: Annotated[float, Field(ge=0.0, le=1e15)] | None = Field(None, description="or the range that it is drawn from")
    high: Annotated[float, Field(ge=0.0, le=1e15)] | None = Field(None, description="the end of the range")
    scale: Literal["linear", "log"] = Field(
        "linear", description="whether it, or its logarithm, is uniform in its range, and seen as a share of it"
    )
    at: Annotated[float, Field(ge=0.0, le=1e15)] | None = Field(
        None, description="what it is in all episodes, in place of a draw: one economy of the family"
    )

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if (self.values is None) is (self.low is None or self.high is None):
            raise ValueError("give values, or low and high; and not both")
        if self.news:
            raise ValueError("news is set, but the number stays what it is in an episode; leave it out")
        low, high = self.range
        if low > high:
            raise ValueError(f"low is {low:g}, above high {high:g}; give low <= high")
        if self.scale == "log" and not (low > 0.0 and self.at != 0.0):
            raise ValueError("scale is log, and 0 has no logarithm; begin above 0, or give scale: linear")
        return self

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest number that is drawn."""
        if self.values is not None:
            return min(self.values), max(self.values)
        return self.low or 0.0, self.high or 0.0

    @property
    def possible(self) -> tuple[float, ...]:
        """Numbers between which all are that it can be."""
        return self.range if self.at is None else (self.at,)


AnyProcess = Ar1 | Markov | Path | Drawn
Shock = Annotated[AnyProcess, Field(discriminator="kind")]


class Shocks(Section):
    """Which numbers of an economy move, and how. Each process draws numbers of its own."""

    noun: ClassVar[str] = "a number that shocks can move"

    technology: Shock | None = None
    export_price: Shock | None = None
    export_quota: Shock | None = None
    consumer_grant: Shock | None = None
    interest_rate: Shock | None = None
    labour_floor: Shock | None = None
    dividend_share: Shock | None = None
    depreciation: Shock | None = None
    consumption_tax: Shock | None = None
    crra: Shock | None = None
    firm_welfare_weight: Shock | None = None
    revenue_bonus: Shock | None = None
    consumer_debt_penalty: Shock | None = None
    firm_debt_penalty: Shock | None = None
    consumer_debt_scale: Shock | None = None
    firm_debt_scale: Shock | None = None
    labour_disutility_scale: Drawn | None = Field(None, description="factor on the disutility of labour, of an episode")
    workers: Shock | None = Field(None, description="productivity of each worker, around 1: each draws their own")
    firms: Shock | None = Field(None, description="productivity of each firm, around 1: each draws its own")

    @property
    def on(self) -> dict[str, AnyProcess]:
        """What moves, by name."""
        return {name: shock for name in type(self).model_fields if (shock := getattr(self, name)) is not None}

    @property
    def seen(self) -> dict[str, AnyProcess]:
        """What moves and is seen, by name."""
        return {name: shock for name, shock in self.on.items() if shock.sees}

    @property
    def families(self) -> dict[str, Drawn]:
        """What is drawn once for each episode, by name."""
        return {name: shock for name, shock in self.on.items() if isinstance(shock, Drawn)}

    @classmethod
    def by_period(cls) -> list[str]:
        """Numbers that can move in the midst of an episode."""
        return [name for name in cls.names() if name != "labour_disutility_scale"]

    @model_serializer(mode="wrap")
    def _only_those_that_move(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        return {name: shock for name, shock in handler(self).items() if shock is not None}


BY_AGENT = {"workers": "consumer", "firms": "firm"}
"""Shocks of which every agent draws their own, and the type of these agents."""
