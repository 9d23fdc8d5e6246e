"""Memory: how much a machine has, in words, and a refusal of what none holds."""

from __future__ import annotations

import os

from rbc_marl.errors import ConfigError

LARGEST_MACHINE = 2**42
"""Bytes (4 TiB) that one process is taken to have at most; whatever needs more is a slip of the keyboard."""


def in_words(size: float) -> str:
    """Bytes as people say them: "3.4 GB"."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} PB"


def of_this_machine() -> int | None:
    """Bytes of memory that this machine has; None where it does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def check(size: float, what: str, mend: str, most: float | None = None) -> None:
    """Refuse what no machine holds.

    Args:
        size: Bytes that it would need.
        what: It, with which the message begins.
        mend: What would make it smaller.
        most: Bytes that there are; None: as many as the largest machine has.

    Raises:
        ConfigError: It is too large.
    """
    if size > (most or LARGEST_MACHINE):
        there = f"and this machine has {in_words(most)}" if most else "which no machine has"
        raise ConfigError(f"{what} would need about {in_words(size)} of memory, {there}; {mend}")
