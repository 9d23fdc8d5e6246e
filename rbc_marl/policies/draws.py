"""Draws for a batch of economies, from one generator or from several that each serve their own share of the batch.

Whoever compiles what uses them draws beforehand: `Recorder` notes what is asked for, and `Given` hands it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["uniform", "exponential", "integers"]


@dataclass(frozen=True)
class Draw:
    """What is drawn for each row."""

    kind: Kind
    shape: tuple[int, ...]
    """Of a row."""
    device: torch.device
    dtype: torch.dtype = torch.float32
    """Of uniform and exponential draws; integers are int64."""
    high: int = 0
    """What integers are below."""

    def of(self, rows: int, generator: torch.Generator | None) -> Tensor:
        """Draws [rows, ...] from a generator; None: from torch's own."""
        size = (rows, *self.shape)
        if self.kind == "integers":
            return torch.randint(self.high, size, generator=generator, device=self.device)
        if self.kind == "uniform":
            return torch.rand(size, generator=generator, device=self.device, dtype=self.dtype)
        return torch.empty(size, device=self.device, dtype=self.dtype).exponential_(1.0, generator=generator)


class Recorder:
    """Notes what is drawn, and draws it from a generator of its own.

    Attributes:
        asked: Rows and draws, in order.
    """

    def __init__(self, device: torch.device) -> None:
        """Note nothing yet."""
        self.asked: list[tuple[int, Draw]] = []
        self._generator = torch.Generator(device=device).manual_seed(0)

    def next(self, rows: int, draw: Draw) -> Tensor:
        """What is asked for."""
        self.asked.append((rows, draw))
        return draw.of(rows, self._generator)


class Given:
    """Hands out draws that were made beforehand, in the order in which a `Recorder` noted them."""

    def __init__(self, draws: Sequence[Tensor]) -> None:
        """Hand out the first one first."""
        self._draws, self._next = draws, 0

    def next(self, rows: int, draw: Draw) -> Tensor:
        """What is asked for, which is what was noted."""
        self._next += 1
        return self._draws[self._next - 1].clone()  # whoever asks may write to it


Generators = torch.Generator | Sequence[torch.Generator] | None
"""One generator for all rows; or several, each for an equal share of them, in order; None for torch's own."""
Source = Generators | Recorder | Given
"""Where draws come from."""


def drawn(rows: int, draw: Draw, source: Source) -> Tensor:
    """Draw something for each row.

    Every share draws what it would draw alone: economies of several runs can be played side by side, and each run
    keeps its numbers.

    Args:
        rows: How many there are, a multiple of the number of generators.
        draw: What.
        source: Behind every draw.
    """
    if isinstance(source, (Recorder, Given)):
        return source.next(rows, draw)
    if source is None or isinstance(source, torch.Generator):
        return draw.of(rows, source)
    share = rows // len(source)
    return torch.cat([draw.of(share, one) for one in source])
