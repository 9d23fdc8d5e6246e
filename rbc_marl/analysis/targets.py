"""Calibration: how far the moments of trained economies are from targets, such as those of data.

The distance is the mean over targets of ``((moment - target) / scale)^2``. What is in per cent, or a ratio, is scaled
by its own target, and correlations by 1, unless a target has a scale of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field

from rbc_marl.analysis.comparison import shown
from rbc_marl.analysis.moments import MOMENTS, SERIES, moments, moments_of, read_data
from rbc_marl.analysis.tables import Row, markdown_table
from rbc_marl.errors import ConfigError, nearest, one_of
from rbc_marl.policies import Policies
from rbc_marl.settings import Section

DISTANCE = "distance"
"""Column of a run's row that says how far it is from the targets."""
# Moments that are correlations; the others are scaled by their targets.
_CORRELATIONS = ("autocorrelation", "with_output")
# What an economy or its data have whatever they do.
_TRIVIAL = (("output", "relative"), ("output", "with_output"))
# Arms that a summary shows.
_SHOWN = 10


class Target(Section):
    """A moment that runs are to come near to."""

    noun: ClassVar[str] = "a part of a target"

    value: float
    scale: Annotated[float, Field(gt=0.0)] | None = Field(default=None, description="what counts as far")


@dataclass(frozen=True)
class Targets:
    """Moments that runs are to come near to."""

    targets: Mapping[str, Target]
    """By quantity and moment, such as "hours.with_output"."""
    smoothing: float | None = None
    """Of the filter that takes the trend out first (`rbc_marl.analysis.moments.moments`)."""

    def __post_init__(self) -> None:
        """Check names and scales.

        Raises:
            ConfigError: A name is unknown, or a target of 0 has no scale.
        """
        if not self.targets:
            raise ConfigError("targets are empty; give some, such as hours.with_output: 0.8")
        for name, target in self.targets.items():
            quantity, _, moment = name.partition(".")
            one_of(quantity, SERIES, f"targets.{name}: the quantity")
            if moment not in MOMENTS:
                known = ", ".join(MOMENTS)
                raise ConfigError(f"targets.{name}: the moment must be one of {known}{nearest(moment, MOMENTS)}")
            if target.value == 0.0 and target.scale is None and moment not in _CORRELATIONS:
                raise ConfigError(f"targets.{name} is 0, which is no scale; give {{value: 0, scale: 1}}")

    @classmethod
    def of(cls, given: Mapping[str, Target | float] | str, folder: Path, smoothing: float | None = None) -> Self:
        """Targets of a file.

        Args:
            given: By name, or the name of a CSV file of data, of which all moments are targets.
            folder: Where the name of a file begins.
            smoothing: Of the filter.

        Raises:
            UserError: A target cannot be, or the file cannot be read.
        """
        if isinstance(given, str):
            measured = moments_of(read_data(folder / given), smoothing)
            found = {(q, m): x for q, each in measured.items() for m, x in each.items() if x is not None}
            kept = {f"{q}.{m}": Target(value=x) for (q, m), x in found.items() if (q, m) not in _TRIVIAL}
            return cls(kept, smoothing)
        return cls({n: x if isinstance(x, Target) else Target(value=x) for n, x in given.items()}, smoothing)

    @property
    def decides(self) -> dict[str, Any]:
        """Plain data of all that decides what is measured."""
        return {"smoothing": self.smoothing, **{name: target.model_dump() for name, target in self.targets.items()}}

    def scale(self, name: str) -> float:
        """What counts as far from a target."""
        target = self.targets[name]
        return target.scale or (1.0 if name.partition(".")[2] in _CORRELATIONS else abs(target.value))

    def __call__(self, policies: Policies, episodes: int, seed: int) -> dict[str, float | None]:
        """The distance of policies' economy, and its moments, as columns; None where a moment does not exist."""
        measured = moments(policies, max(episodes, 2), seed, smoothing=self.smoothing)
        found = {f"{one.quantity}.{one.moment}": one.mean for one in measured.moments}
        terms = []
        for name, target in self.targets.items():
            mean = found[name]
            terms.append(math.nan if mean is None else ((mean - target.value) / self.scale(name)) ** 2)
        distance = math.fsum(terms) / len(terms)
        return {DISTANCE: None if math.isnan(distance) else distance, **{name: found[name] for name in self.targets}}

    def summary(self, rows: Sequence[Row]) -> str:
        """Arms in the order of their mean distance over seeds, with their moments beside the targets, as Markdown."""
        arms: dict[str, list[Row]] = {}
        for row in rows:
            arms.setdefault(str(row["arm"]), []).append(row)
        means = {}
        for arm, members in arms.items():
            columns = {name: [row[name] for row in members if row.get(name) is not None] for name in self.columns}
            if len(columns[DISTANCE]) == len(members):
                means[arm] = {name: math.fsum(x) / len(x) if x else None for name, x in columns.items()}
        if not means:
            return "No arm has all moments that the targets name."
        nearest_first = sorted(means, key=lambda arm: means[arm][DISTANCE])[:_SHOWN]  # type: ignore[arg-type,return-value]
        lines = [["targets", "", *(shown(target.value) for target in self.targets.values())]]
        for arm in nearest_first:
            lines.append([arm, *("-" if x is None else shown(x) for x in means[arm].values())])
        return markdown_table(["arm, the nearest first", DISTANCE, *self.targets], lines)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a row: the distance, and the moments."""
        return (DISTANCE, *self.targets)
