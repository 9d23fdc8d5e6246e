"""Charts as plain data: what is drawn, with its words and units, before a library draws it.

A chart is made once and drawn where it is needed: by matplotlib into files (`rbc_marl.analysis.drawing`), and by plotly
into the pages of reports (`rbc_marl.report`). What a chart shows is therefore tested without looking at pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Number = float | None
"""A number, or None where there is none: a gap."""
Place = float | str
"""A number on an axis, or the name of a category. On an axis of categories a number is a position: the first stands at
0, the second at 1, and 0.2 is a little after the first."""
Marker = Literal["circle", "triangle", "square", "cross", "star"]

COLOURS = ("#0072B2", "#E69F00", "#56B4E9", "#222222", "#CC79A7", "#009E73")
"""Told apart by those who see no red or green; the first four also in grey. Series take them in this order."""
DASHES = ("solid", "dashed", "dotted", "dashdot")
"""Of lines, in the same order: what colours tell apart, these do without them."""


@dataclass(frozen=True)
class Line:
    """A line through points, and a band around it where it has one."""

    x: Sequence[float]
    y: Sequence[Number]
    label: str = ""
    """In the legend; none without one."""
    low: Sequence[Number] | None = None
    """Lower edge of the band."""
    high: Sequence[Number] | None = None
    colour: int | None = None
    """Place in `COLOURS`; None: the next one."""
    has_dots: bool = False
    is_faint: bool = False
    """One of many lines that are alike, such as runs."""
    is_solid: bool = False
    """Without dashes, whatever its colour, such as a mark."""


@dataclass(frozen=True)
class Points:
    """Single points, with bars of error where they have them."""

    x: Sequence[Place]
    y: Sequence[Place]
    label: str = ""
    marker: Marker = "circle"
    low: Sequence[Number] | None = None
    """Lower ends of the bars."""
    high: Sequence[Number] | None = None
    along: Literal["x", "y"] = "y"
    """The axis of the bars."""
    words: Sequence[str] = ()
    """What each point is, shown on a page under the pointer."""
    hollow: Sequence[bool] = ()
    """Which of them count less, such as those whose control failed."""
    colour: int | None = None


@dataclass(frozen=True)
class Bars:
    """Bars from zero, with bars of error where they have them."""

    places: Sequence[Place]
    """Where they stand."""
    sizes: Sequence[Number]
    label: str = ""
    low: Sequence[Number] | None = None
    high: Sequence[Number] | None = None
    is_horizontal: bool = False
    hatched: Sequence[bool] = ()
    """Which of them count less, such as those whose control failed."""
    is_overlaid: bool = False
    """Whether they stand in the middle of their places, instead of beside the bars of other layers."""
    colour: int | None = None


@dataclass(frozen=True)
class Cells:
    """A table of numbers, each on a ground that is the darker, the larger it is."""

    values: Sequence[Sequence[Number]]
    """[rows][columns]."""
    rows: Sequence[Place]
    columns: Sequence[Place]
    unit: str
    """What the numbers are, with their unit."""
    marks: Sequence[tuple[float, float, Marker]] = ()
    """Row, column and marker of what stands out, counted from 0; between two cells where they are no whole numbers."""
    colour: Literal["blue", "orange", "grey"] = "blue"
    starts_at_zero: bool = False
    """Whether the lightest ground is that of 0, so that numbers which hardly differ look alike."""


@dataclass(frozen=True)
class Span:
    """A shaded stretch of the horizontal axis, such as a stage of a curriculum."""

    low: float
    high: float
    label: str


@dataclass(frozen=True)
class Rule:
    """A thin line across the chart, such as a bound."""

    at: float
    label: str = ""
    axis: Literal["x", "y"] = "y"
    """The axis on which it stands at a number."""


@dataclass(frozen=True)
class Boxes:
    """Boxes with words in them. A chart that has boxes has no axes: both go from 0 to 1 and are not drawn."""

    x: Sequence[float]
    """Their middles."""
    y: Sequence[float]
    words: Sequence[str]
    width: float = 0.26
    height: float = 0.16


@dataclass(frozen=True)
class Arrows:
    """Straight arrows between boxes, the wider, the more they stand for."""

    starts: Sequence[tuple[float, float]]
    """x and y."""
    ends: Sequence[tuple[float, float]]
    sizes: Sequence[float]
    """What they stand for, at least 0; the largest is the widest."""
    words: Sequence[str]
    """What each says, at its middle."""
    colour: int | None = None


Layer = Line | Points | Bars | Cells | Span | Rule | Boxes | Arrows


@dataclass(frozen=True)
class Chart:
    """A chart: layers over one pair of axes."""

    name: str
    """Of its files: plain, such as "learning-hours"."""
    title: str
    x: str
    """What the horizontal axis shows, with its unit."""
    y: str
    layers: tuple[Layer, ...]
    caption: str = ""
    """What is to be seen, for those who read it aloud or below the picture; says spread and number of runs."""
    logarithmic: tuple[Literal["x", "y"], ...] = ()
    starts_at_zero: bool = False
    """Whether the vertical axis includes 0."""
    includes: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """By axis, "x" or "y": numbers that it reaches in any case, so that what hardly varies does not fill the chart."""
    places: Mapping[str, Sequence[Place]] = field(default_factory=dict)
    """By axis, "x" or "y": the categories in their order, where the layers would not say it."""
    size: tuple[float, float] = (1.0, 1.0)
    """Width and height, in those of a usual chart."""
