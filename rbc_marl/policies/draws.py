"""Draws for a batch of economies, from one generator or from several that each serve their own share of the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Generators = torch.Generator | Sequence[torch.Generator] | None
"""One generator for all rows; or several, each for an equal share of them, in order; None for torch's own."""


def drawn(rows: int, draw: Callable[[slice, torch.Generator | None], Tensor], generators: Generators) -> Tensor:
    """Draw something for each row.

    Every share draws what it would draw alone: economies of several runs can be played side by side, and each run
    keeps its numbers.

    Args:
        rows: How many there are, a multiple of the number of generators.
        draw: Makes the draws [n, ...] of some rows from a generator.
        generators: Behind every draw.
    """
    if generators is None or isinstance(generators, torch.Generator):
        return draw(slice(0, rows), generators)
    share = rows // len(generators)
    return torch.cat([draw(slice(i * share, (i + 1) * share), one) for i, one in enumerate(generators)])
