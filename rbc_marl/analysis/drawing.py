"""Charts drawn by matplotlib: onto an Axes, or several side by side into a file."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rbc_marl.analysis.charts import (
    COLOURS,
    DASHES,
    Arrows,
    Bars,
    Boxes,
    Cells,
    Chart,
    Line,
    Marker,
    Number,
    Place,
    Points,
    Rule,
    Span,
)
from rbc_marl.analysis.placing import (
    MOST_NUMBERS,
    WIDEST_ARROW,
    bar_positions,
    cell_digits,
    cell_text,
    colours_of,
    places_of,
    positions,
    stages,
    word,
)
from rbc_marl.errors import UserError, require
from rbc_marl.files import replacing

# Size of a panel in inches, at which the text of a figure is read in a page.
PANEL = (3.8, 2.9)
DOTS_PER_INCH = 120
# Margin around a chart that is alone, in inches.
_PAD = 0.06
_MARKERS: dict[Marker, str] = {"circle": "o", "triangle": "^", "square": "s", "cross": "x", "star": "*"}
_GROUNDS = {"blue": "Blues", "orange": "Oranges", "grey": "Greys"}
# More entries than this have no room inside a chart, and their legend stands beside it.
_MOST_INSIDE = 4
# Letters that fit below a chart, side by side.
_LETTERS_BELOW = 54
# Shade of the largest number's ground, of 1 for the darkest, and the shade from which on numbers are white.
_DARKEST, _TURNS_WHITE = 0.75, 0.55
# Words of stages: the share of a chart's height that a line of them takes, and letters of their key across it.
_LINE_ABOVE, _LETTERS_OF_KEY = 0.075, 60
_Place = Literal["inside", "above", "beside", "below", "lowest"]


def draw(chart: Chart, axes: Any) -> None:  # noqa: ANN401 - matplotlib is optional
    """Draw a chart onto an Axes of matplotlib.

    Args:
        chart: What is drawn.
        axes: Where.
    """
    places = {axis: places_of(chart, axis) for axis in ("x", "y")}
    colours = colours_of(chart.layers)
    for layer, colour in zip(chart.layers, colours, strict=True):
        match layer:
            case Line():
                _line(axes, layer, colour)
            case Points():
                _points(axes, layer, colour, places)
            case Bars():
                _bars(axes, layer, colour, *bar_positions(chart, layer, places["y" if layer.is_horizontal else "x"]))
            case Cells():
                _cells(axes, layer, is_shared=any(isinstance(other, Points) for other in chart.layers))
            case Rule():
                rule = axes.axhline if layer.axis == "y" else axes.axvline
                rule(layer.at, color="0.4", linestyle="dotted", linewidth=1.0, label=layer.label or None)
            case Boxes():
                _boxes(axes, layer)
            case Arrows():
                _arrows(axes, layer, colour)
            case Span():
                pass  # words need room above what is drawn
    _name_axes(chart, axes, places)


def save(charts: Sequence[Chart], path: str | Path, columns: int = 3, title: str = "") -> Path:
    """Draw charts side by side into a file.

    Args:
        charts: In reading order.
        path: Of the file; its ending says the format: png, pdf or svg.
        columns: Most charts side by side.
        title: Of the whole.

    Returns:
        The path.

    Raises:
        MissingExtraError: matplotlib is not installed.
        UserError: There is nothing to draw.
    """
    if not charts:
        raise UserError(f"there is nothing to draw in {path}")
    columns = min(columns, len(charts))
    rows = [charts[start : start + columns] for start in range(0, len(charts), columns)]
    heights = [max(chart.size[1] for chart in row) for row in rows]
    widths = [max(row[place].size[0] for row in rows if place < len(row)) for place in range(columns)]
    figure = new_figure(PANEL[0] * sum(widths), PANEL[1] * sum(heights))
    if title:
        figure.suptitle(title, fontsize="medium")
    grid = figure.add_gridspec(len(rows), columns, height_ratios=heights, width_ratios=widths)
    for number, chart in enumerate(charts):
        draw(chart, figure.add_subplot(grid[divmod(number, columns)]))
    return save_figure(figure, path)


def new_figure(width: float, height: float) -> Any:  # noqa: ANN401 - matplotlib is optional
    """A figure that no window shows."""
    figure = require("matplotlib.figure", "analysis").Figure(
        figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained"
    )
    require("matplotlib.backends.backend_agg", "analysis").FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: str | Path) -> Path:  # noqa: ANN401 - matplotlib is optional
    """Write a figure, in the format of the path's suffix, and return the path."""
    path = Path(path)
    if len(figure.axes) == 1 and not figure.get_suptitle():
        figure.set_layout_engine(None)
        _fit(figure, figure.axes[0])
    else:
        figure.get_layout_engine().execute(figure)
        figure.set_layout_engine(None)  # with one, matplotlib would draw everything twice
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:] or None, dpi=DOTS_PER_INCH)
    return path


def _fit(figure: Any, axes: Any) -> None:  # noqa: ANN401
    """Let a chart that is alone fill its figure.

    matplotlib's own layout measures all words twice. Once is enough, unless a legend outside moves with the axes.
    """
    pad, (width, height) = _PAD * figure.dpi, figure.bbox.size
    legend = axes.get_legend()
    for _ in range(1 if legend is None or legend.get_bbox_to_anchor() is axes.bbox else 2):
        inner, outer = axes.get_window_extent(), axes.get_tightbbox(for_layout_only=True)
        left, bottom = inner.x0 - outer.x0 + pad, inner.y0 - outer.y0 + pad
        right, top = outer.x1 - inner.x1 + pad, outer.y1 - inner.y1 + pad
        size = max(width - left - right, 1.0), max(height - bottom - top, 1.0)
        axes.set_position((left / width, bottom / height, size[0] / width, size[1] / height))


def _line(axes: Any, line: Line, colour: int) -> None:  # noqa: ANN401
    look = {"color": COLOURS[colour], "linewidth": 0.7 if line.is_faint else 1.5}
    if line.is_faint:
        look["alpha"] = 0.5
    elif not line.is_solid:
        look["linestyle"] = DASHES[colour % len(DASHES)]
    if line.low is not None and line.high is not None:
        low, high = positions(line.low), positions(line.high)
        axes.fill_between(line.x, low, high, color=COLOURS[colour], alpha=0.2, linewidth=0)
    axes.plot(line.x, positions(line.y), marker="." if line.has_dots else None, label=line.label or None, **look)


def _points(axes: Any, points: Points, colour: int, places: dict[str, list[Place]]) -> None:  # noqa: ANN401
    x, y = positions(points.x, places["x"]), positions(points.y, places["y"])
    error = None if points.low is None else _errors(x if points.along == "x" else y, points.low, points.high)
    size = 11 if points.marker == "star" else 4
    look = {"fmt": _MARKERS[points.marker], "markersize": size, "color": COLOURS[colour], "linewidth": 1.0}
    is_hollow = np.array(points.hollow or [False] * len(x), dtype=bool)
    for chosen, face in ((~is_hollow, COLOURS[colour]), (is_hollow, "white")):
        if chosen.any():
            ends = None if error is None else error[:, chosen]
            # In the legend once, full points first.
            label = points.label if face != "white" or is_hollow.all() else ""
            more = {"label": label or None, f"{points.along}err": ends, "markerfacecolor": face}
            axes.errorbar(x[chosen], y[chosen], **look, **more)


def _bars(axes: Any, bars: Bars, colour: int, at: Any, width: float) -> None:  # noqa: ANN401
    sizes = positions(bars.sizes)
    error = None if bars.low is None else _errors(sizes, bars.low, bars.high)
    look: dict[str, Any] = {"color": COLOURS[colour], "ecolor": "black", "capsize": 2}
    if bars.label:  # without the hatching of single bars
        axes.plot([], [], "s", color=COLOURS[colour], markersize=7, label=bars.label)
    if bars.is_horizontal:
        drawn = axes.barh(at, sizes, height=width, xerr=error, **look)
    else:
        drawn = axes.bar(at, sizes, width=width, yerr=error, **look)
    for patch, is_hatched in zip(drawn, bars.hatched, strict=False):
        if is_hatched:
            patch.set(hatch="//", edgecolor="white")


def _errors(middle: Any, low: Sequence[Number], high: Sequence[Number] | None) -> Any:  # noqa: ANN401
    """Distances of both ends from the middle, [2, N]; none are negative, also by a rounding."""
    ends = positions(low), positions(low if high is None else high)
    return np.clip(np.stack([middle - ends[0], ends[1] - middle]), 0.0, None)


def _cells(axes: Any, cells: Cells, is_shared: bool) -> None:  # noqa: ANN401
    """A table; its numbers stand lower in their cells where these are shared with points."""
    values = np.array([positions(row) for row in cells.values])
    if not np.isfinite(values).any():
        values = np.zeros_like(values)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    low = min(low, 0.0) if cells.starts_at_zero else low
    darkest = low + ((high - low) or 1.0) / _DARKEST  # numbers are read on the darkest ground, too
    look: dict[str, Any] = {"vmin": low, "vmax": darkest, "aspect": "auto", "interpolation": "nearest"}
    image = axes.imshow(values, cmap=_GROUNDS[cells.colour], **look)
    if values.size > MOST_NUMBERS:
        axes.figure.colorbar(image, ax=axes, label=cells.unit)
    else:
        digits = cell_digits(values[np.isfinite(values)])
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                is_dark = value - low > _TURNS_WHITE * (darkest - low)
                words = {"ha": "center", "va": "center", "fontsize": 6.5, "color": "white" if is_dark else "black"}
                words |= {"clip_on": True, "in_layout": False}  # which takes the layout long to measure
                axes.text(column, row + 0.28 * is_shared, cell_text(value, digits), **words)
    for row, column, marker in cells.marks:
        axes.plot(column, row, _MARKERS[marker], markersize=14, color="#E69F00", markerfacecolor="none")
    _name_cells(axes.set_xticks, cells.columns)
    _name_cells(axes.set_yticks, cells.rows)


def _spans(chart: Chart, axes: Any) -> None:  # noqa: ANN401
    """Shaded stretches, every other one lighter, with their words above all that is drawn, or below the chart."""
    spans, (words, key) = [layer for layer in chart.layers if isinstance(layer, Span)], stages(chart)
    if not spans:
        return
    if key:
        axes.set_xlabel("\n".join([chart.x, *textwrap.wrap(key, _LETTERS_OF_KEY)]), fontsize="small")
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top + _LINE_ABOVE * max(map(len, words)) * (top - bottom))
    for number, (span, lines) in enumerate(zip(spans, words, strict=True)):
        axes.axvspan(span.low, span.high, color="0.5", alpha=(0.08, 0.2)[number % 2], linewidth=0)
        look = {"fontsize": 6.5, "va": "top", "ha": "center", "color": "0.25"}
        middle = (span.low + span.high) / 2
        axes.text(middle, 0.99, "\n".join(lines), transform=axes.get_xaxis_transform(), **look)


def _boxes(axes: Any, boxes: Boxes) -> None:  # noqa: ANN401
    patches = require("matplotlib.patches", "analysis")
    for x, y, words in zip(boxes.x, boxes.y, boxes.words, strict=True):
        corner = (x - boxes.width / 2, y - boxes.height / 2)
        look = {"facecolor": "0.94", "edgecolor": "0.3", "boxstyle": "round,pad=0,rounding_size=0.02"}
        axes.add_patch(patches.FancyBboxPatch(corner, boxes.width, boxes.height, **look))
        axes.text(x, y, words, ha="center", va="center", fontsize="small")


def _arrows(axes: Any, arrows: Arrows, colour: int) -> None:  # noqa: ANN401
    largest = max(arrows.sizes, default=0.0) or 1.0
    for start, end, size, words in zip(arrows.starts, arrows.ends, arrows.sizes, arrows.words, strict=True):
        width = 0.8 + WIDEST_ARROW * size / largest
        head = f"simple,tail_width={width:.2f},head_width={width + 6:.2f},head_length={0.5 * width + 6:.2f}"
        look = {"arrowstyle": head, "mutation_scale": 1.0, "color": COLOURS[colour], "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", xy=end, xytext=start, arrowprops=look)
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        ground = {"facecolor": "white", "edgecolor": "none", "alpha": 0.9, "pad": 1.2}
        axes.text(*middle, words, ha="center", va="center", fontsize="small", bbox=ground, zorder=5)


def _name_cells(set_ticks: Any, names: Sequence[Place]) -> None:  # noqa: ANN401
    """Name every row or column, or every tenth where there is no room."""
    step = 1 if len(names) <= 12 else max(len(names) // 10, 1)
    set_ticks(range(0, len(names), step), [word(name) for name in names[::step]])


def _name_axes(chart: Chart, axes: Any, places: dict[str, list[Place]]) -> None:  # noqa: ANN401
    # Fixed in place: matplotlib would measure all ticks again to see whether any stand above the chart.
    axes.set_title(chart.title, fontsize="medium", y=1.0)
    if any(isinstance(layer, Boxes) for layer in chart.layers):
        axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0))
        axes.set_axis_off()
        return
    axes.set(xlabel=chart.x, ylabel=chart.y)
    for axis in chart.logarithmic:
        (axes.set_xscale if axis == "x" else axes.set_yscale)("log")
        _log_ticks(axes.xaxis if axis == "x" else axes.yaxis)
    has_cells = any(isinstance(layer, Cells) for layer in chart.layers)
    if places["x"] and not has_cells:
        longest = max(len(str(place)) for place in places["x"])
        turn = {"rotation": 45, "ha": "right"} if longest * len(places["x"]) > 45 else {}
        axes.set_xticks(range(len(places["x"])), [word(place) for place in places["x"]], **turn)
    if places["y"] and not has_cells:
        axes.set_yticks(range(len(places["y"])), [word(place) for place in places["y"]])
        axes.set_ylim(len(places["y"]) - 0.5, -0.5)
    if has_cells:
        _legend(axes, "below")
        return
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(linewidth=0.3, alpha=0.6)
    axes.set_axisbelow(True)
    for included, numbers in chart.includes.items():
        ends = [(number, number) for number in numbers]
        axes.update_datalim(ends, updatex=included == "x", updatey=included == "y")
        axes.autoscale_view()
    for axis in ("x", "y"):
        if not places[axis] and axis not in chart.logarithmic:
            _plain_ticks(chart, axes, axis)
    if chart.starts_at_zero and not places["y"]:
        _from_zero(axes)
    _spans(chart, axes)
    kinds = {type(layer) for layer in chart.layers}
    place: _Place = "lowest" if Span in kinds else "above" if Bars in kinds and not places["y"] else "inside"
    _legend(axes, "beside" if Points in kinds and places["y"] else place)


def _legend(axes: Any, place: _Place) -> None:  # noqa: ANN401
    """Name the series.

    They stand below cells, above bars, beside rows of points and where there are many, at the foot of stages, whose
    words are at the top, else wherever there is room.
    """
    labels = axes.get_legend_handles_labels()[1]
    if not labels:
        return
    if place == "below":
        columns = max(1, min(len(labels), int(_LETTERS_BELOW / (max(map(len, labels)) + 6))))
        axes.legend(fontsize="small", ncols=columns, loc="upper center", bbox_to_anchor=(0.5, -0.18), frameon=False)
    elif place == "beside" or len(labels) > _MOST_INSIDE:
        axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.02), frameon=False)
    elif place == "above":
        bottom, top = axes.get_ylim()
        axes.set_ylim(bottom, top + 0.1 * len(labels) * (top - bottom))
        axes.legend(fontsize="small", loc="upper right", framealpha=0.8)
    elif place == "lowest":
        bottom, top = axes.get_ylim()
        axes.set_ylim(bottom - 0.13 * (top - bottom), top)
        axes.legend(fontsize="small", ncols=len(labels), loc="lower center", frameon=False, columnspacing=1.0)
    else:
        axes.legend(fontsize="small", framealpha=0.8)


def _plain_ticks(chart: Chart, axes: Any, axis: Literal["x", "y"]) -> None:  # noqa: ANN401
    """Few numbers, with separators; no halves between periods or iterations, which are counted."""
    ticker = require("matplotlib.ticker", "analysis")
    counted = [layer.x for layer in chart.layers if isinstance(layer, Line)] if axis == "x" else []
    is_whole = any(all(float(x).is_integer() for x in values) for values in counted)
    one = axes.xaxis if axis == "x" else axes.yaxis
    low, high = one.get_view_interval()
    is_long = axis == "x" and (high >= 1e4 or low <= -1e3)
    one.set_major_locator(ticker.MaxNLocator(4 if is_long else 6, integer=is_whole, steps=[1, 2, 2.5, 5, 10]))
    one.set_major_formatter(ticker.FuncFormatter(lambda value, _: _tick(value)))


def _log_ticks(axis: Any) -> None:  # noqa: ANN401
    """Whole numbers instead of powers of ten."""
    ticker = require("matplotlib.ticker", "analysis")
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: _tick(value)))
    axis.set_minor_formatter(ticker.NullFormatter())


def _tick(value: float) -> str:
    """A number on an axis, as people write it."""
    words = f"{value / 1e6:,.10g}M" if abs(value) >= 1e6 else f"{value:,.10g}"
    return words.replace("-", "\N{MINUS SIGN}")


def _from_zero(axes: Any) -> None:  # noqa: ANN401
    """Include 0, with room above what hardly varies, and for a line along 0 where there is nothing else."""
    bottom, top = axes.get_ylim()
    top = max(top, 1.05 * axes.dataLim.y1)
    if axes.dataLim.y0 == axes.dataLim.y1 == 0.0:
        top = 1.0
    axes.set_ylim(min(0.0, bottom) if axes.dataLim.y0 < 0.0 else -0.02 * top, top)
