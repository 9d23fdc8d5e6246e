"""Checks that every section of a sweep file needs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from rbc_marl.errors import ConfigError, nearest


def check_keys(given: Any, known: Iterable[str], where: str, what: str = "a setting of a sweep") -> None:  # noqa: ANN401
    """Refuse what is no mapping, and keys that do not exist.

    Raises:
        ConfigError: The message names the place and the nearest key.
    """
    known = tuple(known)
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where} is {given!r}; it must be a mapping with {', '.join(known)}")
    for key in given:
        if key not in known:
            raise ConfigError(f"{where}.{key} is not {what}{nearest(str(key), known)}")


def whole(given: Any, where: str, least: int = 1) -> int:  # noqa: ANN401 - from a file
    """A whole number that is not too small.

    Raises:
        ConfigError: It is something else.
    """
    if type(given) is not int or given < least:
        raise ConfigError(f"{where} is {given!r}; it must be a whole number of at least {least}")
    return given


def number(given: Any, where: str, least: float = -math.inf, most: float = math.inf) -> float:  # noqa: ANN401
    """A finite number within bounds.

    Raises:
        ConfigError: It is something else.
    """
    if type(given) not in (int, float) or not (math.isfinite(given) and least <= given <= most):
        bounds = [f"at least {least:g}"] * math.isfinite(least) + [f"at most {most:g}"] * math.isfinite(most)
        raise ConfigError(f"{where} is {given!r}; it must be a number {' and '.join(bounds)}".rstrip())
    return float(given)


def seeds(given: Any, where: str) -> list[int]:  # noqa: ANN401 - from a file
    """A list of seeds, or {from: 100, count: 20}.

    Raises:
        ConfigError: It is something else.
    """
    if isinstance(given, Mapping) and set(given) == {"from", "count"}:
        first, count = whole(given["from"], f"{where}.from", 0), whole(given["count"], f"{where}.count")
        given = list(range(first, first + count))
    if not isinstance(given, list) or not given or not all(type(seed) is int and seed >= 0 for seed in given):
        raise ConfigError(f"{where} is {given!r}; give a list of whole numbers, or {{from: 100, count: 20}}")
    if len(set(given)) < len(given):
        raise ConfigError(f"{where} is {given!r}, where a seed stands twice; give each once")
    return given


def text(given: Any, where: str) -> str:  # noqa: ANN401 - from a file
    """A text.

    Raises:
        ConfigError: It is something else.
    """
    if not isinstance(given, str):
        raise ConfigError(f"{where} is {given!r}; it must be a text")
    return given


def folder_name(given: object, where: str, what: str) -> str:
    """The name of something that gets a folder of that name.

    Args:
        given: The name.
        where: Place in the file.
        what: What is named: "an arm".

    Raises:
        ConfigError: The folder would be another one, or a hidden one.
    """
    name = str(given)
    if not name or "/" in name or name.startswith("."):
        raise ConfigError(f"{where}: {name!r} cannot name {what}; its results get a folder of that name")
    return name
