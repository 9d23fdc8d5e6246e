"""Where the layers of a chart stand, in which colour and words: the same for every library that draws it."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any, Literal

import numpy as np

from rbc_marl.analysis.charts import COLOURS, Bars, Chart, Layer, Line, Place, Points, Span

MOST_NUMBERS = 150
"""Cells of more numbers than this have no room for them, and get a scale beside them."""
WIDEST_ARROW = 12.0
"""Width of the widest arrow, in points or pixels."""
# Letters of the words of stages that fit across a chart, and lines of them above it.
_LETTERS_ACROSS, _MOST_LINES = 48, 4
# Share of a place that the bars of all series together take, and of that, the bar of each.
_ALL_BARS, _ONE_BAR = 0.8, 0.9


def colours_of(layers: Sequence[Layer]) -> list[int]:
    """Place in the list of colours of each layer: its own, or the next one of those that are series."""
    found, following = [], 0
    for layer in layers:
        own = getattr(layer, "colour", None)
        if isinstance(own, int):
            found.append(own % len(COLOURS))
            continue
        found.append(following % len(COLOURS))
        following += isinstance(layer, Line | Points | Bars)
    return found


def places_of(chart: Chart, axis: Literal["x", "y"]) -> list[Place]:
    """Categories of an axis in their order; none where it has numbers."""
    if axis in chart.places:
        return list(chart.places[axis])
    found: dict[Place, None] = {}
    for layer in chart.layers:
        if isinstance(layer, Bars) and layer.is_horizontal == (axis == "y"):
            found |= dict.fromkeys(layer.places)
        elif isinstance(layer, Points):
            values = layer.x if axis == "x" else layer.y
            found |= dict.fromkeys(value for value in values if isinstance(value, str))
    return list(found) if any(isinstance(place, str) for place in found) else []


def positions(values: Sequence[Place | None], places: Sequence[Place] = ()) -> Any:  # noqa: ANN401 - an array
    """Where values stand on an axis: their own numbers, or those of their categories; NaN where there is none."""
    order = {place: float(number) for number, place in enumerate(places)}
    return np.array([np.nan if value is None else order.get(value, value) for value in values], dtype=float)


def bar_positions(chart: Chart, bars: Bars, places: Sequence[Place]) -> tuple[Any, float]:
    """Where the bars of a layer stand, beside those of the others, and how wide each is.

    Args:
        chart: With all its bars.
        bars: One of its layers.
        places: Categories of the axis they stand on.

    Returns:
        Positions [N], and the width.
    """
    beside = [layer for layer in chart.layers if isinstance(layer, Bars) and not layer.is_overlaid]
    number, count = (0, 1) if bars.is_overlaid else (beside.index(bars), len(beside))
    middle = positions(bars.places, places)
    step = float(np.diff(np.sort(middle)).min()) if len(middle) > 1 and not places else 1.0
    width = _ALL_BARS * step / count
    return middle + width * (number - (count - 1) / 2), _ONE_BAR * width


def stages(chart: Chart) -> tuple[list[list[str]], str]:
    """What stands above each stage of a chart, in lines; and below the chart, what its numbers mean.

    Words stand above the stages where all of them fit. Otherwise numbers do.
    """
    spans = [layer for layer in chart.layers if isinstance(layer, Span)]
    if not spans:
        return [], ""
    length = max(span.high for span in spans) - min(span.low for span in spans)
    lines = []
    for span in spans:
        letters = max(int(_LETTERS_ACROSS * (span.high - span.low) / length), 1)
        lines.append(wrap(span.label, letters, break_long_words=False))
        if len(lines[-1]) > _MOST_LINES or max(map(len, lines[-1]), default=0) > letters:
            break
    else:
        return lines, ""
    named = [span for span in spans if span.label]
    numbers = [[str(named.index(span) + 1)] if span.label else [] for span in spans]
    return numbers, numbered([span.label for span in named])


def numbered(labels: Sequence[str]) -> str:
    """Names with the numbers that stand for them."""
    return "; ".join(f"({number}) {label}" for number, label in enumerate(labels, start=1))


def word(place: Place) -> str:
    """The name of a place."""
    return place if isinstance(place, str) else f"{place:g}"


def cell_digits(values: Any) -> int:  # noqa: ANN401 - an array
    """Digits after the point of the finite numbers of a table that is drawn."""
    values = np.asarray(values)
    largest = float(np.abs(values).max(initial=0.0))
    return 0 if largest >= 100 or bool((values == values.round()).all()) else 1 if largest >= 10 else 2


def cell_text(value: float, digits: int) -> str:
    """A number of a table that is drawn, without digits that say nothing."""
    if abs(value) >= 1e4:
        return f"{value / 1e3:.0f}k" if abs(value) >= 1e5 else f"{value / 1e3:.1f}k"
    return f"{value:.{digits}f}" if value else "0"
