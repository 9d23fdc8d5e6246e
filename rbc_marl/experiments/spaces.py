"""Search spaces, kept as plain data, and the variants of an experiment that they make: grids, and draws."""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from ray import tune

from rbc_marl.analysis.composition import COMPOSITION
from rbc_marl.analysis.indicators import INDICATORS
from rbc_marl.analysis.metrics import QUANTITIES
from rbc_marl.errors import ConfigError, nearest
from rbc_marl.settings import plain

GRID = "grid_search"
# How many arguments each of Ray Tune's spaces takes; None: a list of any length, the choices themselves.
SPACES: dict[str, int | None] = {
    **{GRID: None, "choice": None, "uniform": 2, "loguniform": 2, "quniform": 3, "qloguniform": 3},
    **{"randint": 2, "lograndint": 2, "qrandint": 3, "randn": 2},
}
LONGEST_NAME = 100
# Every choice of a list, and every variant, is checked before anything starts: in seconds.
MOST_CHOICES = 250
MOST_VARIANTS = 1_000
MOST_SEEDS = 10_000
MOST_RUNS = 50_000
SEED = ("config", "seed")
# Columns of a sweep's table that no setting can be called by.
COLUMNS = {*QUANTITIES, *INDICATORS, *COMPOSITION, "arm", "outcome", "group", "equilibrium", "iterations", "seconds"}
COLUMNS |= {"changes", "error"}


@dataclass(frozen=True)
class Space:
    """One search space: what Tune calls it, and its arguments (the values to choose from, or the numbers it takes)."""

    kind: str
    arguments: tuple[Any, ...]

    @property
    def is_grid(self) -> bool:
        """Whether every value is tried; the others are drawn from."""
        return self.kind == GRID

    def examples(self) -> tuple[Any, ...]:
        """Values that a trial may get, to validate before anything starts: every choice, or both ends of a range."""
        if SPACES[self.kind] is None:
            return self.arguments
        if self.kind == "randn":
            return (float(self.arguments[0]),)
        low, high = self.arguments[:2]
        return (low, high - 1) if "randint" in self.kind else (float(low), float(high))

    def plain(self) -> dict[str, list[Any]]:
        """The space as a file has it."""
        return {self.kind: list(self.arguments)}

    def domain(self) -> Any:  # noqa: ANN401 - of Tune
        """The space as Tune has it."""
        arguments = [list(self.arguments)] if SPACES[self.kind] is None else self.arguments
        return getattr(tune, self.kind)(*arguments)

    def draws(self, key: str, count: int, seed: int) -> list[Any]:
        """Values drawn for a setting, as plain data. Each setting has draws of its own, whatever else is drawn."""
        generator, domain = np.random.default_rng([seed, zlib.crc32(key.encode())]), self.domain()
        return [plain(domain.sample(random_state=generator)) for _ in range(count)]


def find_spaces(
    tree: object, where: str, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Space]]:
    """Every search space in nested mappings, with its path.

    Args:
        tree: The mappings; anything else has none.
        where: What holds them, for messages.
        path: Of the tree.

    Raises:
        ConfigError: A space has the wrong arguments.
    """
    for key, value in tree.items() if isinstance(tree, Mapping) else ():
        if not isinstance(value, Mapping):
            continue
        kind = next(iter(value)) if len(value) == 1 else None
        if kind in SPACES:
            yield (*path, key), _space(str(kind), value[kind], ".".join((where, *path, key, str(kind))))
        else:
            yield from find_spaces(value, where, (*path, str(key)))


def parse_variants(variants: Mapping[str, Any], where: str) -> dict[str, Space]:
    """The ``variants`` of a sweep file.

    Args:
        variants: By setting: a list of values, all of which are tried, or a distribution, such as
            ``{loguniform: [1e-4, 1e-2]}``.
        where: Their place in the file.

    Raises:
        ConfigError: A setting has something else.
    """
    spaces = {}
    for key, values in variants.items():
        if isinstance(values, list) and values:
            spaces[key] = _space(GRID, values, f"{where}.{key}")
            continue
        if not isinstance(values, Mapping):
            mend = "give a list of values or a distribution, {loguniform: [1e-4, 1e-2]}; one value belongs in set"
            raise ConfigError(f"{where}.{key} is {values!r}; {mend}")
        kinds = [kind for kind in SPACES if kind != GRID]
        kind = str(next(iter(values), None))
        if len(values) != 1 or kind not in kinds:
            mend = "a list tries every value" if kind == GRID else f"there are {', '.join(kinds)}"
            raise ConfigError(f"{where}.{key}.{kind} is not a distribution{nearest(kind, kinds)}; {mend}")
        spaces[key] = _space(kind, values[kind], f"{where}.{key}.{kind}")
    return spaces


@dataclass(frozen=True)
class Variant:
    """One variant of an experiment: the settings it changes, and the columns that say so in tables."""

    values: tuple[tuple[str, Any], ...] = ()
    columns: tuple[tuple[str, Any], ...] = ()
    draw: int | None = None
    """Number of its draw; None where nothing is drawn."""
    listed: tuple[str, ...] = ()
    """Columns of listed values: they and the draw name it."""

    @property
    def name(self) -> str:
        """What it is in words, fit for the name of a folder; empty where nothing varies."""
        words = [f"{column}={_text(value)}" for column, value in self.columns if column in self.listed]
        text = ",".join(words + ([] if self.draw is None else [f"draw={self.draw}"]))
        if len(text) <= LONGEST_NAME:
            return text
        return f"{text[: LONGEST_NAME - 9]}-{zlib.crc32(text.encode()):08x}"


def expand(
    spaces: Mapping[str, Space],
    samples: int,
    draw_seed: int,
    where: str,
    drawn: Mapping[str, list[Any]] | None = None,
    first: int = 0,
) -> list[Variant]:
    """Every combination of listed values, each with the same draws from the distributions.

    Args:
        spaces: By setting.
        samples: How often distributions are drawn from.
        draw_seed: Of the draws.
        where: Place in the file.
        drawn: Values that a searcher has drawn, by setting, one for each sample; None: independent draws.
        first: Number of the first draw.

    Raises:
        ConfigError: There is nothing to draw several samples from, or far too many variants.
    """
    lists = {key: space.arguments for key, space in spaces.items() if space.is_grid}
    if samples > 1 and len(lists) == len(spaces):
        raise ConfigError(f"{where} has no distribution to draw {samples} samples from; leave out samples")
    check_count(samples * math.prod(map(len, lists.values())), where)
    draws = drawn or {k: space.draws(k, samples, draw_seed) for k, space in spaces.items() if not space.is_grid}
    columns = _columns(list(spaces))
    listed = tuple(columns[key] for key in lists)
    variants = []
    for draw, combination in product(range(samples), product(*lists.values())):
        values = dict(zip(lists, combination, strict=True)) | {key: each[draw] for key, each in draws.items()}
        ordered = tuple((key, values[key]) for key in spaces)
        # A table has lists and mappings as text.
        texts = [json.dumps(x, default=str) if isinstance(x, list | Mapping) else x for _, x in ordered]
        cells = tuple(zip((columns[key] for key in spaces), texts, strict=True))
        variants.append(Variant(ordered, cells, first + draw if draws else None, listed))
    return variants


def check_count(variants: int, where: str, seeds: int = 1) -> None:
    """Refuse more variants of an experiment than can be checked, or more runs of them than can be told apart.

    Raises:
        ConfigError: There are too many.
    """
    if variants > MOST_VARIANTS:
        raise ConfigError(f"{where} makes {variants:,} variants; at most {MOST_VARIANTS:,} can run")
    if variants * seeds > MOST_RUNS:
        raise ConfigError(f"{where} makes {variants * seeds:,} runs; a sweep has at most {MOST_RUNS:,}")


def check_spaces(spaces: Mapping[tuple[str, ...], Space], samples: int, where: str) -> None:
    """Refuse search spaces of an experiment that make too many runs; a list of seeds makes runs, no variants.

    Raises:
        ConfigError: There are too many.
    """
    lists = {path: len(space.arguments) for path, space in spaces.items() if space.is_grid}
    seeds = lists.pop(SEED, 1)
    check_count(samples * math.prod(lists.values()), where, seeds)


def _space(kind: str, arguments: Any, where: str) -> Space:  # noqa: ANN401 - from a file
    """A search space, whose arguments are checked."""
    given, count = arguments if isinstance(arguments, list) else [], SPACES[kind]
    most = MOST_SEEDS if where.endswith(f"config.seed.{kind}") else MOST_CHOICES
    if len(given) > most:
        raise ConfigError(f"{where} has {len(given):,} values; a list to search has at most {most:,}")
    numbers = [a for a in given if isinstance(a, int | float) and not isinstance(a, bool) and math.isfinite(a)]
    problem = ""
    if not given:
        problem = "it must be a list"
    elif count is not None and not len(numbers) == len(given) == count:
        problem = f"it must be a list of {count} numbers"
    elif count is not None and kind != "randn" and given[0] >= given[1]:
        problem = "the first number must be below the second"
    elif "log" in kind and given[0] <= 0:
        problem = "a logarithmic space begins above 0"
    elif "randint" in kind and not all(isinstance(a, int) for a in given):
        problem = "they must be whole numbers"
    if problem:
        raise ConfigError(f"{where} is {arguments!r}; {problem}")
    return Space(kind, tuple(given))


def _columns(keys: list[str]) -> dict[str, str]:
    """Names of columns: the last words of a setting, as few as tell it from the others and from results."""

    def is_free(name: str, key: str) -> bool:
        return name not in COLUMNS and not any(f".{other}".endswith(f".{name}") for other in keys if other != key)

    columns = {}
    for key in keys:
        words = key.split(".")
        endings = (".".join(words[-count:]) for count in range(1, len(words)))
        columns[key] = next((name for name in endings if is_free(name, key)), key)
    return columns


def _text(value: Any) -> str:  # noqa: ANN401 - from a file
    if isinstance(value, float):
        text = f"{value:g}"
    else:
        text = value if isinstance(value, str) else json.dumps(value, default=str)  # what is no plain data fails later
    return re.sub(r"[^\w.+-]+", "_", text).strip("_")
