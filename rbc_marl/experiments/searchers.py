"""Searchers of a sweep: Optuna, whose draws learn from the rows of earlier ones, in a way that survives interruptions.

Draws are made in batches. Those of a batch go by the rows of all earlier batches and by nothing else: the order in
which runs end makes no difference, and neither does an interruption.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema
from ray import tune

from rbc_marl.analysis.composition import COMPOSITION
from rbc_marl.analysis.indicators import INDICATORS
from rbc_marl.analysis.metrics import QUANTITIES
from rbc_marl.analysis.tables import markdown_table
from rbc_marl.analysis.targets import DISTANCE, Targets
from rbc_marl.errors import ConfigError, UserError, nearest, require
from rbc_marl.experiments.schedulers import by_name, schema_by_name
from rbc_marl.experiments.spaces import Space
from rbc_marl.experiments.sweep import RunSpec
from rbc_marl.settings import Section

# Distributions that Optuna has none of.
_FOREIGN = ("randn", "qloguniform")
# Draws that a summary shows.
_SHOWN = 10


class Optuna(Section):
    """Optuna's search by a tree-structured Parzen estimator: later draws are made where earlier ones did well."""

    model_config = ConfigDict(use_attribute_docstrings=True)
    noun: ClassVar[str] = "a setting of optuna"

    metric: str | None = None
    """A column of the rows, of which each draw has its mean over seeds; null: the distance from the targets."""
    mode: Literal["max", "min"] | None = None
    """Whether more is better, or less; null: less of the distance, more of everything else."""
    first: int = Field(10, ge=1)
    """Draws that are made before there is anything to learn from."""
    batch: int = Field(5, ge=1)
    """Draws that are made at once, from the rows of all draws before them."""


class Searcher(Section):
    """What makes draws: at present Optuna alone."""

    noun: ClassVar[str] = "a searcher"

    optuna: Annotated[Optuna, WithJsonSchema({"anyOf": [Optuna.model_json_schema(), {"type": "null"}]})]


# A searcher from a file: ``optuna``, or ``{optuna: {metric: welfare_total, batch: 8}}``.
AnySearcher = Annotated[
    Searcher, BeforeValidator(by_name("optuna")), WithJsonSchema(schema_by_name("optuna", Searcher))
]

Point = Mapping[str, Any]  # what Optuna suggests, by setting: a value, or of choices the number of one
Make = Callable[[Mapping[str, list[Any]], int], tuple[RunSpec, ...]]


@dataclass(frozen=True)
class Search:
    """A search and the draws that it has made so far."""

    settings: Optuna
    metric: str
    mode: str
    spaces: Mapping[str, Space]
    """By setting."""
    samples: int
    """Draws in all."""
    seed: int
    make: Make
    """Makes the checked runs of values by setting, given the number of the first draw."""
    points: tuple[Point, ...] = ()
    """The draws so far."""

    @classmethod
    def of(
        cls,
        settings: Optuna,
        spaces: Mapping[str, Space],
        samples: int,
        seed: int,
        targets: Targets | None,
        where: str,
        make: Make,
    ) -> Self:
        """A search that has made no draw.

        Args:
            settings: Of the file.
            spaces: Distributions by setting.
            samples: Draws in all.
            seed: Of the draws.
            targets: Of the sweep.
            where: Place of the sweep in the file.
            make: Makes runs.

        Raises:
            ConfigError: The metric is no column, or Optuna cannot search a space.
            MissingExtraError: Optuna is not installed.
        """
        place = f"{where}.searcher.optuna"
        known = [*(() if targets is None else targets.columns), *QUANTITIES, *INDICATORS, *COMPOSITION]
        if settings.metric is None and targets is None:
            raise ConfigError(f"{place}.metric is missing; give a column of the rows, or give the sweep targets")
        if (metric := settings.metric or DISTANCE) not in known:
            mend = "the distance needs targets" if metric == DISTANCE else f"it must be one of {', '.join(known)}"
            raise ConfigError(f"{place}.metric is {metric!r}; {mend}{nearest(metric, known)}")
        for key, space in spaces.items():
            if space.is_grid:
                mend = "give a distribution, or leave the list to a sweep of its own"
                raise ConfigError(f"{where}.variants.{key} is a list, but {place} draws everything; {mend}")
            if space.kind in _FOREIGN:
                raise ConfigError(f"{where}.variants.{key} is {space.kind}, which Optuna does not have; give another")
        if samples <= settings.first:
            given = f"{place}.first is {settings.first}, but {where}.samples is {samples}"
            raise ConfigError(f"{given}: no draw would learn from another; make samples more, or first fewer")
        require("optuna", "optuna")
        mode = settings.mode or ("min" if metric == DISTANCE else "max")
        return cls(settings, metric, mode, spaces, samples, seed, make)

    @property
    def is_over(self) -> bool:
        """Whether all draws have been made."""
        return len(self.points) == self.samples

    def describe(self) -> str:
        """The search in a line."""
        how = f"metric {self.metric}, mode {self.mode}, first {self.settings.first}, batch {self.settings.batch}"
        return f"optuna: {how}; {self.samples} draws, of which later ones go by the rows of earlier ones"

    def more(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Self, tuple[RunSpec, ...]]:
        """The next draws.

        Args:
            rows: Of all runs of the draws so far.

        Returns:
            The search with them, and their runs.

        Raises:
            UserError: No draw has the metric, so that there is nothing to go by.
        """
        done, scores = len(self.points), self._scores(rows)
        if done and all(score is None for score in scores):
            raise UserError(f"optuna has nothing to go by: no draw has {self.metric} with all of its seeds")
        count = min(self.settings.batch if done else self.settings.first, self.samples - done)
        points = self._suggest(scores, count)
        values = {key: [self._value(key, point[key]) for point in points] for key in self.spaces}
        return replace(self, points=(*self.points, *points)), self.make(values, done)

    def examples(self) -> dict[str, list[Any]]:
        """Values that draws may have, by setting, to check before anything starts: every choice, the ends of ranges."""
        first = {key: space.examples()[0] for key, space in self.spaces.items()}
        points = [first | {key: x} for key, space in self.spaces.items() for x in space.examples()]
        return {key: [point[key] for point in points] for key in self.spaces}

    def summary(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """The best draws by the mean of the metric over seeds, with what was drawn, as Markdown."""
        scores = {draw: score for draw, score in enumerate(self._scores(rows)) if score is not None}
        best = sorted(scores, key=lambda draw: scores[draw] * (1 if self.mode == "min" else -1))[:_SHOWN]
        lines = []
        for draw in best:
            values = (self._value(key, self.points[draw][key]) for key in self.spaces)
            cells = [f"{x:.6g}" if isinstance(x, float) else str(x) for x in values]
            lines.append([f"draw={draw}", f"{scores[draw]:.6g}", *cells])
        return markdown_table(["draw, the best first", self.metric, *self.spaces], lines)

    def _scores(self, rows: Sequence[Mapping[str, Any]]) -> list[float | None]:
        """The mean of each draw over its seeds; None where one of them has no number, as a run that failed."""
        scores = []
        for draw in range(len(self.points)):
            values = [row.get(self.metric) for row in rows if row["arm"] == f"draw={draw}"]
            numbers = [x for x in values if x is not None]
            scores.append(math.fsum(numbers) / len(values) if values and len(numbers) == len(values) else None)
        return scores

    def _suggest(self, scores: Sequence[float | None], count: int) -> list[Point]:
        """The next points: they follow from the seed, the points so far and their scores."""
        from optuna.samplers import TPESampler  # here, for it takes a second
        from ray.tune.search.optuna import OptunaSearch

        # Every batch has a stream of its own, so that it does not matter which process makes it.
        seed = int(np.random.SeedSequence([self.seed, len(self.points)]).generate_state(1)[0])
        with _quiet():
            search = OptunaSearch(
                OptunaSearch.convert_search_space({key: _domain(space) for key, space in self.spaces.items()}),
                metric=self.metric,
                mode=self.mode,
                # A point whose result is not known yet keeps others of its batch away from it.
                sampler=TPESampler(n_startup_trials=self.settings.first, constant_liar=True, seed=seed),
            )
            for point, score in zip(self.points, scores, strict=True):
                search.add_evaluated_point(dict(point), score, error=score is None)
            return [dict(search.suggest(str(number)) or {}) for number in range(count)]

    def _value(self, key: str, suggested: Any) -> Any:  # noqa: ANN401 - what a setting can have
        space = self.spaces[key]
        return space.arguments[suggested] if space.kind == "choice" else suggested


def _domain(space: Space) -> Any:  # noqa: ANN401 - of Tune
    """The space as Tune has it. Choices are searched by number: Optuna has no lists and mappings."""
    return tune.choice(list(range(len(space.arguments)))) if space.kind == "choice" else space.domain()


@contextmanager
def _quiet() -> Iterator[None]:
    """Let Optuna say nothing of studies that it begins and of what it calls experimental."""
    from optuna import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)
