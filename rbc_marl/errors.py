"""Errors that a user can mend: each is one line that names the place and the mend."""

from __future__ import annotations

import difflib
import importlib
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


# Characters.
LONGEST_MESSAGE = 1_500
LONGEST_SHOWN = 200


class UserError(Exception):
    """Something the user can mend. The message is one line: what is wrong, where, and what to do about it.

    Whatever it quotes, from a file or from another library's error, it stays one line that a terminal can show.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(str(message)))


def one_line(text: str) -> str:
    """A text without line breaks and control characters; of a very long one the beginning and the end."""
    line = " ".join(text.split())
    line = line if line.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    if len(line) <= LONGEST_MESSAGE:
        return line
    return f"{line[: LONGEST_MESSAGE - 500]} ... {line[-400:]}"


def shown(given: object) -> str:
    """A value as a file shows it, in one line: of a long one the beginning, of an object without a text its kind."""
    if type(given).__repr__ is object.__repr__ or callable(given):
        return f"a {type(given).__name__}" if not isinstance(given, type) else repr(given)
    text = one_line(repr(list(given) if isinstance(given, tuple) else given))
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


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


def check_writable(folder: Path, mend: str) -> None:
    """Refuse a folder in which nothing can be made, before there is work whose results would be lost.

    Args:
        folder: It need not exist yet; nothing is left in it.
        mend: What to do instead.

    Raises:
        UserError: It cannot be written.
    """
    existing = next((place for place in (folder, *folder.absolute().parents) if place.exists()), folder)
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}: {existing}); {mend}") from None


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
    raise ConfigError(f"{path} is {shown(value)}; it must be {words}{nearest(str(value), names)}")
