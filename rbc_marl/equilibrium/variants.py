"""Variants of an experiment: every combination of listed values, and draws from distributions."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from rbc_marl.analysis.composition import COMPOSITION
from rbc_marl.analysis.metrics import QUANTITIES
from rbc_marl.equilibrium.changes import check_apart, check_not_taken
from rbc_marl.errors import ConfigError, nearest

if TYPE_CHECKING:
    from rbc_marl.rllib.search_space import Space

LONGEST_NAME = 100


@dataclass(frozen=True)
class Variant:
    """One variant: the settings it changes, and the columns that say so in tables."""

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


def expand(given: Any, samples: int, draw_seed: int, where: str) -> list[Variant]:  # noqa: ANN401 - from a file
    """The variants that a file asks for.

    Args:
        given: By setting: a list of values, all of which are tried, or a distribution, ``{loguniform: [1e-4, 1e-2]}``.
        samples: How often distributions are drawn from; every combination of listed values gets the same draws.
        draw_seed: Of the draws. A setting's draws do not depend on which others are drawn.
        where: Place in the file.

    Raises:
        ConfigError: A setting is none that can vary, or its values are wrong.
    """
    if given is None:
        return [Variant()]
    if not isinstance(given, Mapping) or not given:
        example = "{env_config.export_price: [500, 1000]}"
        raise ConfigError(f"{where} is {given!r}; it must be a mapping such as {example}")
    given = {str(key): values for key, values in given.items()}
    check_apart(given, where)
    columns = _columns(list(given))
    lists: dict[str, list[Any]] = {}
    draws: dict[str, list[Any]] = {}
    for key, values in given.items():
        check_not_taken(key, f"{where}.{key} cannot vary here")
        if isinstance(values, Mapping):
            draw = sampler(key, parse_space(key, values, f"{where}.{key}"), draw_seed)
            draws[key] = [draw() for _ in range(samples)]
        elif isinstance(values, list) and values:
            lists[key] = values
        else:
            mend = "give a list of values or a distribution, {loguniform: [1e-4, 1e-2]}; one value belongs in set"
            raise ConfigError(f"{where}.{key} is {values!r}; {mend}")
    if samples > 1 and not draws:
        raise ConfigError(f"{where} has no distribution to draw {samples} samples from; leave out samples")
    found = []
    for i in range(samples):
        drawn = {key: values[i] for key, values in draws.items()}
        for combination in product(*lists.values()):
            values = {**dict(zip(lists, combination, strict=True)), **drawn}
            ordered = tuple((key, values[key]) for key in given)
            named = tuple((columns[key], _cell(value)) for key, value in ordered)
            listed = tuple(columns[key] for key in lists)
            found.append(Variant(ordered, named, i if draws else None, listed))
    return found


def parse_space(key: str, given: Any, where: str) -> Space:  # noqa: ANN401 - from a file
    """A distribution of a setting.

    Args:
        key: The setting.
        given: Such as ``{loguniform: [1e-4, 1e-2]}``.
        where: Place in the file.

    Raises:
        ConfigError: There is no such distribution, or its arguments are wrong.
    """
    from rbc_marl.rllib.search_space import SPACES, find_spaces

    kinds = [kind for kind in SPACES if kind != "grid_search"]
    kind = next(iter(given), None)
    if len(given) != 1 or kind not in kinds:
        mend = "a list tries every value" if kind == "grid_search" else f"there are {', '.join(kinds)}"
        raise ConfigError(f"{where}.{kind} is not a distribution{nearest(str(kind), kinds)}; {mend}")
    ((_, space),) = find_spaces({key: given}, where.removesuffix(f".{key}"))
    return space


def sampler(key: str, space: Space, seed: int) -> Callable[[], Any]:
    """Draws values of a distribution one after another, as plain data, the same ones from the same seed."""
    import numpy as np

    generator = np.random.default_rng([seed, zlib.crc32(key.encode())])
    domain = space.to_tune()

    def draw() -> Any:  # noqa: ANN401 - any value
        value = domain.sample(random_state=generator)
        return value.item() if isinstance(value, np.generic) else value

    return draw


def _columns(keys: list[str]) -> dict[str, str]:
    """Names of columns: the last words of a setting, as few as tell it from the others and from results."""
    taken = {*QUANTITIES, *COMPOSITION, "arm", "outcome", "group", "equilibrium", "iterations", "seconds", "changes"}
    taken.add("lineage")

    def ending(key: str, words: int) -> str:
        return ".".join(key.split(".")[-words:])

    found = {}
    for key in keys:
        words = 1
        while words < key.count(".") + 1 and (
            ending(key, words) in taken
            or any(ending(other, words) == ending(key, words) for other in keys if other != key)
        ):
            words += 1
        found[key] = ending(key, words)
    return found


def _text(value: Any) -> str:  # noqa: ANN401 - from a file
    if isinstance(value, float):
        text = f"{value:g}"
    else:
        text = value if isinstance(value, str) else json.dumps(value, default=str)  # what is no plain data fails later
    return re.sub(r"[^\w.+-]+", "_", text).strip("_")


def _cell(value: Any) -> Any:  # noqa: ANN401 - from a file
    """A value as a cell of a table."""
    return json.dumps(value, default=str) if isinstance(value, list | Mapping) else value
