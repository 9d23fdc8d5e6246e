"""Charts as figures of plotly's."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from rbc_marl.analysis.charts import (
    COLOURS,
    Arrows,
    Bars,
    Boxes,
    Cells,
    Chart,
    Layer,
    Line,
    Points,
    Rule,
    Span,
)
from rbc_marl.report.plotly import dark_colours, figure, height_of

EXAMPLES = (
    Line([1, 2, 3], [1.0, None, 3.0], "line", [0.5, None, 2.0], [1.5, None, 4.0], has_dots=True),
    Points(["a", "b"], [1.0, 2.0], "", "star", [0.5, 1.0], [2.0, 3.0], words=["<b>one", "two"], hollow=[True, False]),
    Bars(["a", "b"], [1.0, None], "bars", [0.5, None], [1.5, None], hatched=[True, False]),
    Cells([[1.0, None], [float("nan"), 4.0]], [0, 1], ["a", "b"], "units", [(0, 1, "circle")]),
    Span(1.0, 3.0, "no taxes"),
    Rule(2.0, "bound", "x"),
    Boxes([0.2, 0.8], [0.5, 0.5], ["firms\nall", "consumers"]),
    Arrows([(0.3, 0.5)], [(0.7, 0.5)], [3.0], ["wages"]),
)


def chart(*layers, **more):
    return Chart("name", "title", "x (unit)", "y (unit)", layers, "caption", **more)


def test_every_kind_of_layer_has_an_example_and_is_drawn_as_plain_json():
    assert {type(layer) for layer in EXAMPLES} == set(get_args(Layer))
    for layer in EXAMPLES:
        drawn = figure(chart(layer))
        assert drawn["data"] or drawn["layout"]["shapes"] or drawn["layout"]["annotations"], layer
        json.dumps(drawn, allow_nan=False)


def test_what_is_no_layer_is_refused():
    with pytest.raises(TypeError, match="str is no layer"):
        figure(chart("words"))


def test_a_band_has_gaps_where_the_line_has_none():
    band, line = figure(chart(EXAMPLES[0]))["data"]
    assert band["x"] == [1.0, 1.0, None, 3.0, 3.0, None] and band["y"] == [0.5, 1.5, None, 2.0, 4.0, None]
    assert line["y"] == [1.0, None, 3.0] and line["mode"] == "lines+markers"


def test_a_long_line_keeps_its_ends():
    (line,) = figure(chart(Line(range(100_000), [float(x) for x in range(100_000)])))["data"]
    assert len(line["x"]) <= 601 and (line["x"][0], line["x"][-1]) == (0.0, 99999.0)


def test_bars_of_two_layers_stand_beside_each_other_with_their_errors():
    bars = (Bars(["a", "b"], [1.0, 2.0], low=[0.5, 1.0], high=[2.0, 2.0]), Bars(["a", "b"], [3.0, 4.0]))
    one, two = figure(chart(*bars))["data"]
    assert one["x"] == [-0.2, 0.8] and two["x"] == [0.2, 1.2] and one["width"] == pytest.approx(0.36)
    assert one["error_y"]["array"] == [1.0, 0.0] and one["error_y"]["arrayminus"] == [0.5, 1.0]
    axis = figure(chart(Bars(["a", "b"], [1.0, 2.0], is_horizontal=True)))["layout"]["yaxis"]
    assert axis["ticktext"] == ["a", "b"] and axis["range"] == [1.5, -0.5]  # the first on top, as in files


def test_numbers_stand_in_cells_with_room_for_them_and_a_scale_beside_others():
    small = figure(chart(EXAMPLES[3]))["data"][0]
    assert small["text"] == [["1", ""], ["", "4"]] and not small["showscale"]
    large = figure(chart(Cells([[1.0] * 20] * 20, range(20), range(20), "units")))
    assert "text" not in large["data"][0] and large["data"][0]["showscale"]
    assert large["layout"]["xaxis"]["tickvals"] == list(range(0, 20, 2))


def test_texts_that_plotly_would_read_as_tags_are_escaped():
    named = figure(chart(Points(["<i>a"], [1.0], "<script>", words=["<a href='x'>"]), places={"x": ("<i>a",)}))
    text = json.dumps(named)
    assert "<script>" not in text and "<a " not in text and "<i>" not in text and "&lt;script&gt;" in text


def test_stages_stand_above_in_as_many_lines_as_they_need():
    spans = (Span(0, 25, "consumers learn, no taxes"), Span(25, 100, "all learn"))
    layout = figure(chart(*spans))["layout"]
    assert [note["text"].count("<br>") for note in layout["annotations"]] == [2, 0] and layout["margin"]["t"] == 64


def test_a_logarithmic_axis_and_one_from_zero():
    layout = figure(chart(EXAMPLES[0], logarithmic=("y",), starts_at_zero=True))["layout"]
    assert layout["yaxis"]["type"] == "log" and layout["xaxis"].get("type") is None
    assert figure(chart(EXAMPLES[0], starts_at_zero=True))["layout"]["yaxis"]["rangemode"] == "tozero"


def test_a_figure_is_higher_by_its_legend():
    plain, named = (chart(Line([1, 2], [1.0, 2.0], label)) for label in ("", "hours"))
    assert height_of(named, figure(named)) == height_of(plain, figure(plain)) + 18
    assert not figure(plain)["layout"]["showlegend"] and figure(named)["layout"]["showlegend"]


def test_dark_pages_have_other_inks_also_where_they_are_faded():
    colours = dark_colours()
    assert colours["#222222"] != "#222222" and colours["rgba(34,34,34,"].startswith("rgba(2")
    assert COLOURS[3] in colours  # hardly seen on a dark ground


def test_stages_too_short_for_their_words_have_numbers_as_in_the_caption():
    layout = figure(chart(Span(0, 5, "consumers learn"), Span(5, 100, "all learn")))["layout"]
    assert [note["text"] for note in layout["annotations"]] == ["1", "2"]


def test_an_axis_reaches_what_it_must_by_points_that_nobody_sees():
    *_, ends = figure(chart(Line([1.0, 2.0], [0.0, 0.3]), includes={"y": (0.0, 20.0)}))["data"]
    assert (ends["x"], ends["y"], ends["opacity"], ends["showlegend"]) == ([1.0, 1.0], [0.0, 20.0], 0, False)


def test_hatched_bars_keep_their_colour_and_so_does_the_legend():
    bars, entry = figure(chart(Bars(["a", "b"], [1.0, 2.0], "bars", hatched=[True, False])))["data"]
    assert bars["marker"]["pattern"]["fillmode"] == "overlay" and not bars["showlegend"]
    assert entry["marker"] == {"color": bars["marker"]["color"]} and entry["name"] == "bars" and entry["showlegend"]
