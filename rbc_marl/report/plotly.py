"""Charts as figures of plotly's, in plain dicts, for a page that draws them.

The other drawing of the same charts, into files, is `rbc_marl.analysis.drawing`; positions of categories and orders of
colours are its own. Titles stand in the page, where they can wrap.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any

from rbc_marl.analysis import charts, placing

Figure = dict[str, Any]

HEIGHT = 300
"""Of a usual chart, in pixels."""
INK, PAPER, GRID, MUTED, BOX = "#222222", "#ffffff", "#dddddd", "#666666", "#f0f0f0"
_DARK = {
    INK: "#e8e8e8",
    PAPER: "#16181d",
    GRID: "#3a3f47",
    MUTED: "#a5abb5",
    BOX: "#2b2f37",
    charts.COLOURS[0]: "#3d9bdc",
}
_SYMBOLS: dict[charts.Marker, str] = {
    "circle": "circle", "triangle": "triangle-up", "square": "square", "cross": "x-thin", "star": "star",
}  # fmt: skip
_DASHES = ("solid", "dash", "dot", "dashdot")
_GROUNDS = {
    "blue": ("#f7fbff", "#6baed6", "#08306b"),
    "orange": ("#fff5eb", "#fd8d3c", "#7f2704"),
    "grey": ("#fafafa", "#969696", "#252525"),
}
# More points of a line than this are thinned out.
_MOST_POINTS = 600


def dark_colours() -> dict[str, str]:
    """What a dark page puts in place of colours, as they stand in figures."""
    faded = {_rgba(light, None): _rgba(dark, None) for light, dark in _DARK.items()}
    return {**_DARK, **faded}


def figure(chart: charts.Chart) -> Figure:
    """A chart as a figure: ``data`` and ``layout``, without a title.

    Texts are escaped: plotly reads tags in them.
    """
    places = {axis: placing.places_of(chart, axis) for axis in ("x", "y")}
    drawing = _Drawing(chart, places)
    for number, (layer, colour) in enumerate(zip(chart.layers, placing.colours_of(chart.layers), strict=True)):
        drawing.add(layer, charts.COLOURS[colour], colour, number)
    drawing.reach()
    layout = _layout(chart, places) | {"shapes": drawing.shapes, "annotations": drawing.annotations}
    layout["showlegend"] = _entries(drawing.data, drawing.shapes) > 0
    lines = max(map(len, drawing.stages), default=0)
    layout["margin"] = {"l": 8, "r": 8, "t": 28 + 12 * lines, "b": 8}  # above is room for buttons, and for stages
    return {"data": drawing.data, "layout": layout}


def height_of(chart: charts.Chart, drawn: Figure) -> int:
    """Pixels that a figure needs, with its legend below: plotly itself keeps to the height of its place in the page."""
    entries = _entries(drawn["data"], drawn["layout"]["shapes"])
    return round(HEIGHT * chart.size[1] + 18 * math.ceil(entries / 2))


def _entries(traces: Sequence[Figure], shapes: Sequence[Figure]) -> int:
    """Entries of a legend."""
    return sum(bool(one.get("showlegend")) for one in (*traces, *shapes))


class _Drawing:
    """The traces, shapes and annotations of a chart."""

    def __init__(self, chart: charts.Chart, places: dict[str, list[charts.Place]]) -> None:
        self.chart, self.places = chart, places
        self.data: list[Figure] = []
        self.shapes: list[Figure] = []
        self.annotations: list[Figure] = []
        self.stages, _ = placing.stages(chart)  # what their numbers mean stands in the caption

    def add(self, layer: object, colour: str, number: int, place: int) -> None:
        """Add a layer; ``number`` is that of its colour, ``place`` its own among the layers."""
        match layer:
            case charts.Line():
                self._line(layer, colour, number)
            case charts.Points():
                self._points(layer, colour)
            case charts.Bars():
                self._bars(layer, colour)
            case charts.Cells():
                self._cells(layer)
            case charts.Span():
                self._span(layer, place)
            case charts.Rule():
                self._rule(layer)
            case charts.Boxes():
                self._boxes(layer)
            case charts.Arrows():
                self._arrows(layer, colour)
            case _:
                raise TypeError(f"{type(layer).__name__} is no layer of a chart")

    def reach(self) -> None:
        """Points that nobody sees, where axes must reach."""
        if not self.chart.includes:
            return
        seen = [layer for layer in self.chart.layers if isinstance(layer, charts.Line | charts.Points)]
        inside = {"x": seen[0].x[0], "y": next((y for y in seen[0].y if y is not None), 0.0)}
        count = max(map(len, self.chart.includes.values()))
        ends = {axis: list(self.chart.includes.get(axis, [at] * count)) for axis, at in inside.items()}
        look = {"mode": "markers", "opacity": 0, "hoverinfo": "skip", "showlegend": False}
        self.data.append({"type": "scatter", **ends, **look})

    def _line(self, line: charts.Line, colour: str, number: int) -> None:
        kept = _kept(len(line.x))
        x, y = (_numbers(values[i] for i in kept) for values in (line.x, line.y))
        if line.low is not None and line.high is not None:
            edges = _band(x, *(_numbers(ends[i] for i in kept) for ends in (line.low, line.high)))
            look = {"fill": "toself", "fillcolor": _rgba(colour, 0.2), "line": {"width": 0}, "hoverinfo": "skip"}
            band = {"type": "scatter", "mode": "lines", "x": edges[0], "y": edges[1], "showlegend": False}
            self.data.append({**band, **look})
        stroke = {"color": colour, "width": 1 if line.is_faint else 2}
        stroke |= {} if line.is_faint or line.is_solid else {"dash": _DASHES[number % len(_DASHES)]}
        mode = "lines+markers" if line.has_dots else "lines"
        self.data.append(
            {"type": "scatter", "mode": mode, "x": x, "y": y, "line": stroke, "opacity": 0.5 if line.is_faint else 1,
             "marker": {"size": 5, "color": colour}, **_named(line.label)}
        )  # fmt: skip

    def _points(self, points: charts.Points, colour: str) -> None:
        x = _numbers(placing.positions(points.x, self.places["x"]))
        y = _numbers(placing.positions(points.y, self.places["y"]))
        symbol = _SYMBOLS[points.marker]
        thick = {"line": {"width": 2, "color": colour}} if points.marker == "cross" else {}
        hollow = list(points.hollow) or [False] * len(x)
        symbols = [f"{symbol}-open" if is_hollow else symbol for is_hollow in hollow]
        trace: Figure = {
            "type": "scatter", "mode": "markers", "x": x, "y": y, **_named(points.label),
            "marker": {"symbol": symbols, "size": 13 if points.marker == "star" else 8, "color": colour, **thick},
        }  # fmt: skip
        if points.words:
            trace |= {"text": [_text(words) for words in points.words]}
            trace["hovertemplate"] = "%{text}<br>%{x}, %{y}<extra></extra>"
        if points.low is not None:
            middle = x if points.along == "x" else y
            trace[f"error_{points.along}"] = _errors(middle, points.low, points.high, colour)
        self.data.append(trace)

    def _bars(self, bars: charts.Bars, colour: str) -> None:
        along = "y" if bars.is_horizontal else "x"
        places, width = placing.bar_positions(self.chart, bars, self.places[along])
        where, sizes = _numbers(places), _numbers(bars.sizes)
        patterns = ["/" if is_hatched else "" for is_hatched in bars.hatched]
        value = "x" if bars.is_horizontal else "y"
        trace = {
            "type": "bar", along: where, value: sizes, "width": width, "showlegend": False,
            "orientation": "h" if bars.is_horizontal else "v",
            "marker": {"color": colour, "pattern": {"shape": patterns, "fgcolor": PAPER, "fillmode": "overlay"}},
            "text": [_text(placing.word(place)) for place in bars.places], "textposition": "none",
            "hovertemplate": f"%{{text}}: %{{{value}}}<extra>{_text(bars.label)}</extra>",
        }  # fmt: skip
        if bars.low is not None:
            trace[f"error_{value}"] = _errors(sizes, bars.low, bars.high, INK)
        self.data.append(trace)
        if bars.label:  # without the hatching of single bars
            entry = {"type": "bar", "x": [None], "y": [None], "marker": {"color": colour}}
            self.data.append({**entry, **_named(bars.label)})

    def _cells(self, cells: charts.Cells) -> None:
        values = [_numbers(row) for row in cells.values]
        is_small = sum(map(len, values)) <= placing.MOST_NUMBERS
        columns, rows = ([_text(placing.word(place)) for place in names] for names in (cells.columns, cells.rows))
        names = [[f"{row}, {column}" for column in columns] for row in rows]
        scale = [[i / 2, colour] for i, colour in enumerate(_GROUNDS[cells.colour])]
        trace: Figure = {
            "type": "heatmap", "z": values, "x": list(range(len(columns))), "y": list(range(len(rows))),
            "colorscale": scale, "showscale": not is_small, "xgap": 1, "ygap": 1, "showlegend": False,
            "customdata": names,
            "colorbar": {"title": {"text": _text(cells.unit), "side": "right"}, "thickness": 12},
            "hovertemplate": f"%{{customdata}}: %{{z}}<extra>{_text(cells.unit)}</extra>",
        }  # fmt: skip
        known = [value for row in values for value in row if value is not None] or [0.0]
        if cells.starts_at_zero:
            trace |= {"zmin": min(*known, 0.0), "zmax": max(known)}
        if is_small:
            digits = placing.cell_digits(known)
            texts = [["" if value is None else placing.cell_text(value, digits) for value in row] for row in values]
            trace |= {"text": texts, "texttemplate": "%{text}"}
        self.data.append(trace)
        for row, column, marker in cells.marks:
            look = {"symbol": f"{_SYMBOLS[marker]}-open", "size": 18, "color": charts.COLOURS[1], "line": {"width": 2}}
            mark = {"type": "scatter", "mode": "markers", "x": [column], "y": [row], "marker": look}
            self.data.append({**mark, "showlegend": False, "hoverinfo": "skip"})

    def _span(self, span: charts.Span, place: int) -> None:
        ends = {"x0": span.low, "x1": span.high, "y0": 0, "y1": 1, "xref": "x", "yref": "paper"}
        fill = _rgba(MUTED, (0.08, 0.2)[place % 2])
        self.shapes.append({"type": "rect", **ends, "fillcolor": fill, "line": {"width": 0}, "layer": "below"})
        spans = [layer for layer in self.chart.layers if isinstance(layer, charts.Span)]
        lines = self.stages[spans.index(span)]
        middle = self._annotated((span.low + span.high) / 2, "x")
        where = {"xref": "x", "yref": "paper", "yanchor": "bottom"}
        self._say("\n".join(lines), middle, 1, size=9, colour=MUTED, **where)

    def _rule(self, rule: charts.Rule) -> None:
        other = "x" if rule.axis == "y" else "y"
        ends = {f"{rule.axis}0": rule.at, f"{rule.axis}1": rule.at, f"{other}0": 0, f"{other}1": 1}
        refs = {f"{rule.axis}ref": rule.axis, f"{other}ref": "paper"}
        line = {"color": MUTED, "width": 1, "dash": "dot"}
        self.shapes.append({"type": "line", **ends, **refs, "line": line, **_named(rule.label)})

    def _boxes(self, boxes: charts.Boxes) -> None:
        for x, y, words in zip(boxes.x, boxes.y, boxes.words, strict=True):
            ends = {"x0": x - boxes.width / 2, "x1": x + boxes.width / 2}
            ends |= {"y0": y - boxes.height / 2, "y1": y + boxes.height / 2}
            look = {"fillcolor": BOX, "line": {"color": MUTED, "width": 1}}
            self.shapes.append({"type": "rect", **ends, **look})
            self._say(words, x, y, size=11)

    def _arrows(self, arrows: charts.Arrows, colour: str) -> None:
        largest = max(arrows.sizes, default=0.0) or 1.0
        for (x0, y0), (x1, y1), size in zip(arrows.starts, arrows.ends, arrows.sizes, strict=True):
            width = 1.0 + placing.WIDEST_ARROW * size / largest
            ends = {"x": x1, "y": y1, "ax": x0, "ay": y0, "xref": "x", "yref": "y", "axref": "x", "ayref": "y"}
            look = {"arrowhead": 2, "arrowwidth": width, "arrowsize": 0.3 + 1.2 / width}
            arrow = {"text": "", "showarrow": True, "arrowcolor": _rgba(colour, 0.7)}
            self.annotations.append({**arrow, **ends, **look})
        for (x0, y0), (x1, y1), words in zip(arrows.starts, arrows.ends, arrows.words, strict=True):
            self._say(words, (x0 + x1) / 2, (y0 + y1) / 2, size=11, bgcolor=PAPER)

    def _say(self, words: str, x: float, y: float, *, size: int, colour: str = INK, **look: Any) -> None:  # noqa: ANN401
        text = _text(words).replace("\n", "<br>")
        note = {"text": text, "x": x, "y": y, "showarrow": False, "font": {"size": size, "color": colour}}
        self.annotations.append({**note, **look})

    def _annotated(self, value: float, axis: str) -> float:
        """Where words stand at a number: plotly counts those of logarithmic axes in powers of ten."""
        return math.log10(value) if axis in self.chart.logarithmic and value > 0 else value


def _layout(chart: charts.Chart, places: dict[str, list[charts.Place]]) -> Figure:
    """Axes and looks."""
    layout: Figure = {
        "font": {"size": 11, "color": INK, "family": "system-ui, sans-serif"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "autosize": True,
        "barmode": "overlay",
        "hovermode": "closest",
        "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": MUTED, "activecolor": INK},
        "hoverlabel": {"bgcolor": PAPER, "font": {"color": INK}},
        "xaxis": _axis(chart, "x", places["x"]),
        "yaxis": _axis(chart, "y", places["y"]),
    }
    if any(isinstance(layer, charts.Boxes) for layer in chart.layers):
        for axis in ("xaxis", "yaxis"):
            layout[axis] = {"visible": False, "range": [0, 1], "fixedrange": True}
    return layout


def _axis(chart: charts.Chart, axis: str, places: Sequence[charts.Place]) -> Figure:
    found: Figure = {
        "title": {"text": _text(chart.x if axis == "x" else chart.y), "font": {"size": 11}},
        "automargin": True, "gridcolor": GRID, "zerolinecolor": GRID, "linecolor": MUTED, "ticks": "outside",
        "tickcolor": MUTED,
    }  # fmt: skip
    if axis in chart.logarithmic:
        found |= {"type": "log", "dtick": 1}
    cells = [layer for layer in chart.layers if isinstance(layer, charts.Cells)]
    names = list((cells[0].columns if axis == "x" else cells[0].rows) if cells else places)
    if names:
        step = 1 if len(names) <= 12 or not cells else max(len(names) // 10, 1)
        ticks = range(0, len(names), step)
        words = [_text(placing.word(names[i])) for i in ticks]
        found |= {"tickvals": list(ticks), "ticktext": words, "zeroline": False}
        ends = [len(names) - 0.5, -0.5] if axis == "y" else [-0.5, len(names) - 0.5]
        found |= {"range": ends, "showgrid": not cells}
    elif axis == "y" and chart.starts_at_zero:
        found["rangemode"] = "tozero"
    return found


def _named(label: str) -> Figure:
    """The entry of the legend; none without a label."""
    return {"name": _text(label), "showlegend": bool(label)}


def _text(words: str) -> str:
    return html.escape(words, quote=False)


def _numbers(values: Iterable[Any]) -> list[float | None]:
    """Plain numbers of as many digits as anybody sees; None for what is none."""
    found = [None if value is None else float(value) for value in values]
    return [None if value is None or not math.isfinite(value) else float(f"{value:.5g}") for value in found]


def _kept(count: int) -> Sequence[int]:
    """Places of the points of a line that are drawn: all, or so few as can be told apart, with the last."""
    step = -(-count // _MOST_POINTS)
    return range(count) if step <= 1 else [*range(0, count - 1, step), count - 1]


def _band(
    x: Sequence[float | None], low: Sequence[charts.Number], high: Sequence[charts.Number]
) -> tuple[list[float | None], list[float | None]]:
    """The outline of a band: one polygon for each stretch without a gap."""
    outline: tuple[list[float | None], list[float | None]] = ([], [])
    stretch: list[tuple[float | None, charts.Number, charts.Number]] = []
    for point in [*zip(x, low, high, strict=True), (None, None, None)]:
        if None not in point:
            stretch.append(point)
        elif stretch:
            xs, lows, highs = zip(*stretch, strict=True)
            outline[0].extend([*xs, *reversed(xs), None])
            outline[1].extend([*lows, *reversed(highs), None])
            stretch = []
    return outline


def _errors(
    middle: Sequence[charts.Number],
    low: Sequence[charts.Number],
    high: Sequence[charts.Number] | None,
    colour: str,
) -> Figure:
    """Bars of error: distances of both ends from the middle."""

    def distances(ends: Sequence[charts.Number], sign: float) -> list[float | None]:
        return [
            None if end is None or value is None else max(sign * (end - value), 0.0)
            for end, value in zip(_numbers(ends), middle, strict=True)
        ]

    up, down = distances(low if high is None else high, 1.0), distances(low, -1.0)
    look = {"color": colour, "thickness": 1, "width": 3}
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, **look}


def _rgba(colour: str, alpha: float | None) -> str:
    """A colour that lets through what is behind it; without a number, the beginning of all such."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue}," + ("" if alpha is None else f"{alpha:g})")
