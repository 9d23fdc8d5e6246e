"""Memory used well: large batches a few rows at a time, so that hidden layers stay in a CPU's cache; no page faults."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch

# Options of glibc's mallopt, from malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# From which size on blocks are mapped one by one; older glibc takes at most 32 MiB.
_MMAP_THRESHOLDS = (1 << 30, 1 << 25)
_TRIM_THRESHOLD = 1 << 30

# Values of a hidden layer that are worked on at once on a CPU: 2.5 MB in float32, or 5,120 agents of a layer 128 wide.
CPU_SLAB_VALUES = 5120 * 128
# Who acts works on so many agents at least: the weights of a wide layer are read anew for each slab.
LEAST_ACTING = 128


def slabs(rows: int, values: int, device: torch.device) -> Iterator[slice]:
    """Cut rows into slabs that suit a device; an accelerator takes all rows at once.

    Args:
        rows: How many there are.
        values: Hidden values of a row: its agents times the network's `hidden_values`.
        device: Where they are worked on.
    """
    return _cut(rows, max(CPU_SLAB_VALUES // values, 1) if device.type == "cpu" else rows)


def acting_slabs(economies: int, agents: int, values: int, device: torch.device) -> Iterator[slice]:
    """Cut the agents of a type into slabs in which to decide for them.

    Args:
        economies: Side by side, each with the same agents in a slab.
        agents: How many there are in an economy.
        values: Of an agent: its network's `acting_values`.
        device: Where they are worked on.
    """
    rows = max(CPU_SLAB_VALUES // values, LEAST_ACTING)
    return _cut(agents, max(rows // economies, 1) if device.type == "cpu" else agents)


def _cut(rows: int, step: int) -> Iterator[slice]:
    return (slice(first, min(first + step, rows)) for first in range(0, rows, step))


def take_rows(value: Any, rows: Any) -> Any:  # noqa: ANN401 - tensors in mappings, rows as a slice or an index tensor
    """Some rows of a tensor, or of every tensor in a nested mapping."""
    if isinstance(value, torch.Tensor):
        return value[rows]
    return {key: take_rows(part, rows) for key, part in value.items()}


def take_rows_of_each(value: Any, rows: slice, runs: int) -> Any:  # noqa: ANN401 - as `take_rows`
    """Some rows of each run, where those of one run stand after those of another."""
    if isinstance(value, torch.Tensor):
        return value[rows] if runs == 1 else value.unflatten(0, (runs, -1))[:, rows].flatten(0, 1)
    return {key: take_rows_of_each(part, rows, runs) for key, part in value.items()}


@cache
def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, for processes that train or sample.

    glibc hands large blocks back to the system and takes them anew at the next call, with a page fault for every 4 KiB:
    thousands in an iteration. The process then stays as large as it was at its largest, by up to 1 GiB. The setting is
    the whole process's, so importing the package does not make it.

    Returns:
        Whether it took effect; other systems and C libraries are left alone.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    # One threshold alone would be worse than none: either ends glibc's own adjustment of both.
    if not any(libc.mallopt(_M_MMAP_THRESHOLD, size) for size in _MMAP_THRESHOLDS):
        return False
    return bool(libc.mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD))
