"""Numbers for charts: plain lists of what tensors and rows hold, with bands and intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rbc_marl.analysis.charts import Line, Number
from rbc_marl.analysis.outcomes import LIVING
from rbc_marl.analysis.tables import NOT_EVALUATED

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

Row = Mapping[str, Any]

BAND = (10, 90)
"""Ends of the bands, in per cent of the episodes."""
SMALLEST_TAXES = (0.0, 20.0)
"""What an axis of tax rates shows at least, in per cent: rates that are next to nothing look like it."""
# Half a 95% interval, in standard errors.
_HALF = 1.96


def plain(values: Tensor | NDArray[Any] | Sequence[float]) -> list[Number]:
    """Numbers as a list, None in place of what is not finite."""
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    return [float(value) if math.isfinite(value) else None for value in array]


def banded(x: Sequence[float], values: Tensor, label: str = "", *, has_dots: bool = True) -> Line:
    """Means over episodes, and the middle 80% of them as a band; ``values`` are [N, len(x)]."""
    array = values.double().cpu().numpy()
    low, high = np.percentile(array, BAND, axis=0)
    mean = array.mean(axis=0)
    return Line(list(x), plain(mean), label, plain(low), plain(high), has_dots=has_dots)


def estimated(x: Sequence[float], samples: Sequence[Tensor], label: str = "") -> Line:
    """Means of what is never negative, and their 95% intervals as a band.

    Args:
        x: Where they stand.
        samples: One tensor of independent samples [N] for each x.
        label: What the line is called.
    """
    means = [float(sample.double().mean()) for sample in samples]
    halves = [_HALF * float(sample.double().std()) / math.sqrt(len(sample)) for sample in samples]
    low = [max(mean - half, 0.0) for mean, half in zip(means, halves, strict=True)]  # of few samples it reaches below
    high = [mean + half for mean, half in zip(means, halves, strict=True)]
    return Line(list(x), plain(means), label, plain(low), plain(high), has_dots=True)


def ended(rows: Sequence[Row]) -> list[Row]:
    """Rows of the runs that were evaluated."""
    return [row for row in rows if row["outcome"] not in NOT_EVALUATED]


def is_living(row: Row) -> bool:
    """Whether a run's economy is living."""
    return bool(row["outcome"] == LIVING)


def runs(count: int) -> str:
    """A number of runs in words."""
    return f"{count} run{'s' if count != 1 else ''}"


def has(row: Row, column: str) -> bool:
    """Whether a row holds a number there; tables that were read back have NaN in place of None."""
    value = row.get(column)
    return value is not None and not (isinstance(value, float) and math.isnan(value))
