"""Errors that a user can mend: each is one line that names the place and the mend."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


class UserError(Exception):
    """Something the user can mend. The message is one line: what is wrong, where, and what to do about it."""


class ConfigError(UserError, ValueError):
    """A configuration, an option or an action that cannot be used as given."""


class StorageError(UserError, OSError):
    """A file or a folder that cannot be written: the disk is full, gone, or read-only."""


class NonFiniteError(UserError):
    """Numbers became infinite or undefined where they must not: in returns, losses or weights."""


class LostProcessError(UserError):
    """A process or a machine that a run needs is gone; the run can be gone on with from its last checkpoint."""


class MissingExtraError(UserError, ImportError):
    """A part of the package needs a library that is not installed."""


def require(module: str, extra: str) -> ModuleType:
    """Import a module that belongs to an optional extra.

    Args:
        module: Dotted name of the module, such as ``"matplotlib"``.
        extra: The extra of this package that installs it.

    Returns:
        The imported module.

    Raises:
        MissingExtraError: The module is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtraError(
            f"{module.split('.')[0]} is not installed; install it with: pip install 'rbc_marl[{extra}]'"
        ) from None


def first_line(error: BaseException) -> str:
    """The first line of an error's message, for errors of libraries that write paragraphs."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggest the known name closest to a misspelt one.

    Returns:
        ``'; did you mean "known"?'``, or the empty string where nothing is close.
    """
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f'; did you mean "{matches[0]}"?' if matches else ""


def one_of(value: object, known: Iterable[T], path: str) -> T:
    """Return a known value.

    Args:
        value: To be looked up.
        known: Names, or other values, that are allowed.
        path: What the value is called in the message.

    Raises:
        ConfigError: ``path is value; it must be a, b or c``, and the nearest of them where one is near.
    """
    allowed = list(known)
    for candidate in allowed:
        if value is candidate or (isinstance(value, type(candidate)) and value == candidate):
            return candidate
    names = list(map(str, allowed))
    words = " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    raise ConfigError(f"{path} is {value!r}; it must be {words}{nearest(str(value), names)}")
