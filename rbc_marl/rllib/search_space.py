"""Search spaces in a config file: `grid_search` and `{loguniform: [1e-4, 1e-2]}`-style entries, kept as plain data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rbc_marl.errors import ConfigError

# How many arguments each of Ray Tune's spaces takes; None: a list of any length, the choices themselves.
SPACES: dict[str, int | None] = {
    "grid_search": None,
    "choice": None,
    "uniform": 2,
    "loguniform": 2,
    "quniform": 3,
    "qloguniform": 3,
    "randint": 2,
    "lograndint": 2,
    "qrandint": 3,
    "randn": 2,
}


@dataclass(frozen=True)
class Space:
    """One search space: what Tune calls it, and its arguments (the values to choose from, or the numbers it takes)."""

    kind: str
    arguments: tuple[Any, ...]

    def examples(self) -> tuple[Any, ...]:
        """Values that a trial may get, to validate before anything starts: every choice, or both ends of a range."""
        if SPACES[self.kind] is None:
            return self.arguments
        if self.kind == "randn":
            return (float(self.arguments[0]),)
        low, high = self.arguments[:2]
        return (low, high - 1) if "randint" in self.kind else (float(low), float(high))

    def to_tune(self) -> Any:  # noqa: ANN401 - Tune's domains share no public type
        """The same space as Ray Tune's object (for a grid, its dictionary)."""
        from ray import tune

        function: Callable[..., Any] = getattr(tune, self.kind)
        return function(list(self.arguments)) if SPACES[self.kind] is None else function(*self.arguments)


def find_spaces(
    tree: Mapping[str, Any], where: str, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Space]]:
    """Every search space in nested mappings, with its path.

    Raises:
        ConfigError: A space has the wrong arguments.
    """
    for key, value in tree.items():
        if not isinstance(value, Mapping):
            continue
        kind = next(iter(value)) if len(value) == 1 else None
        if kind in SPACES:
            yield (*path, key), _space(str(kind), value[kind], ".".join((where, *path, key, str(kind))))
        else:
            yield from find_spaces(value, where, (*path, str(key)))


def with_value(tree: Mapping[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:  # noqa: ANN401 - any value
    """A copy of nested mappings with one value put in at its path."""
    head, *rest = path
    inner = tree.get(head)
    branch = inner if isinstance(inner, Mapping) else {}
    return {**tree, head: with_value(branch, tuple(rest), value) if rest else value}


def _space(kind: str, arguments: Any, where: str) -> Space:  # noqa: ANN401 - from a file
    count = SPACES[kind]
    if not isinstance(arguments, list) or not arguments:
        raise ConfigError(f"{where} is {arguments!r}; it must be a list")
    if count is None:
        return Space(kind, tuple(arguments))
    numbers = [a for a in arguments if isinstance(a, int | float) and not isinstance(a, bool) and math.isfinite(a)]
    if len(numbers) != len(arguments) or len(arguments) != count:
        raise ConfigError(f"{where} is {arguments!r}; it must be a list of {count} numbers")
    if kind != "randn" and arguments[0] >= arguments[1]:
        raise ConfigError(f"{where} is {arguments!r}; the first number must be below the second")
    if "log" in kind and arguments[0] <= 0:
        raise ConfigError(f"{where} is {arguments!r}; a logarithmic space begins above 0")
    if "randint" in kind and not all(isinstance(a, int) for a in arguments):
        raise ConfigError(f"{where} is {arguments!r}; they must be whole numbers")
    return Space(kind, tuple(arguments))
