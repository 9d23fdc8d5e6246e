"""Charts drawn by matplotlib: every kind of layer, in every format, and what stands where."""

from __future__ import annotations

from pathlib import Path

import matplotlib.figure
import numpy as np
import pytest

from rbc_marl.analysis.charts import Arrows, Bars, Boxes, Cells, Chart, Line, Points, Rule, Span
from rbc_marl.analysis.drawing import MOST_NUMBERS, PANEL, draw, new_figure, save, save_figure
from rbc_marl.errors import UserError


def drawn(*layers, **how):
    axes = matplotlib.figure.Figure().subplots()
    draw(Chart("name", "title", "x words", "y words", layers, **how), axes)
    return axes


def words(axes):
    return [text.get_text() for text in axes.texts]


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_a_file_holds_all_charts_and_its_size_follows_theirs(tmp_path):
    line = Chart("a", "a", "x", "y", (Line([1.0, 2.0], [1.0, None], "l", [0.0, None], [2.0, None]),))
    wide = Chart("b", "b", "x", "y", (Line([1.0], [1.0]),), size=(2.0, 1.5))
    for suffix in (".png", ".pdf", ".svg"):
        assert save([line, wide, line], tmp_path / f"all{suffix}", columns=2, title="whole").stat().st_size > 3000
    import matplotlib.image

    height, width, _ = matplotlib.image.imread(tmp_path / "all.png").shape
    assert (width, height) == pytest.approx((120 * 3.0 * PANEL[0], 120 * 2.5 * PANEL[1]), abs=1)
    assert "whole" in (tmp_path / "all.svg").read_text(encoding="utf-8")
    with pytest.raises(UserError, match="nothing to draw in none"):
        save([], "none.png")


def test_a_line_has_its_band_its_gap_and_its_words():
    axes = drawn(Line([1.0, 2.0, 3.0], [5.0, None, 7.0], "one", [4.0, 4.0, 6.0], [6.0, 6.0, 8.0]), Rule(6.0, "bound"))
    line, rule = axes.lines
    assert np.isnan(line.get_ydata()[1]) and list(rule.get_ydata()) == [6.0, 6.0]
    assert len(axes.collections) == 1 and legend(axes) == ["one", "bound"]
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("title", "x words", "y words")


def test_places_between_categories_are_numbers_on_their_axis():
    axes = drawn(Points([1.0, 2.0], ["b", "a"]), Points([3.0], [0.2]), places={"y": ("a", "b")})
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]
    assert axes.lines[0].get_ydata().tolist() == [1.0, 0.0] and axes.lines[1].get_ydata().tolist() == [0.2]
    assert axes.get_ylim() == (1.5, -0.5)


def test_hollow_points_are_white_and_named_once():
    axes = drawn(Points([1.0, 2.0], [1.0, 2.0], "runs", low=[0.0, 1.0], high=[2.0, 3.0], hollow=[True, False]))
    faces = {tuple(line.get_xdata()): line.get_markerfacecolor() for line in axes.lines}
    assert faces[1.0,] == "white" and faces[2.0,] != "white" and legend(axes) == ["runs"]


def test_bars_of_series_stand_side_by_side_and_overlaid_ones_in_the_middle():
    side = drawn(Bars(["a", "b"], [1.0, 2.0], "one", hatched=[True, False]), Bars(["a", "b"], [3.0, 4.0], "two"))
    left, _, right, _ = (patch.get_x() + patch.get_width() / 2 for patch in side.patches)
    assert (left, right) == pytest.approx((-0.2, 0.2)) and side.patches[0].get_hatch() == "//"
    assert legend(side) == ["one", "two"] and side.get_ylim()[1] > 4.5  # room for the legend
    over = drawn(Bars(["a", "b"], [1.0, None], is_overlaid=True), Bars(["a", "b"], [None, 2.0], is_overlaid=True))
    middles = {round(patch.get_x() + patch.get_width() / 2, 6) for patch in over.patches}
    assert middles == {0.0, 1.0}


def test_cells_hold_their_numbers_on_a_ground_that_tells_them_apart():
    axes = drawn(Cells([[0.0, 2500.0], [12345.0, None]], ["a", "b"], [1, 2], "money"))
    assert words(axes) == ["0", "2500", "12.3k"]
    (image,) = axes.images
    assert image.get_clim()[0] == 0.0 and image.get_clim()[1] > 12345.0
    alike = drawn(Cells([[9.6, 10.4]], ["a"], [1, 2], "%", starts_at_zero=True))
    assert alike.images[0].get_clim()[0] == 0.0 and words(alike) == ["9.6", "10.4"]
    many = drawn(Cells([[1.0] * 20] * 20, list(range(20)), list(range(20)), "units"))
    assert len(many.figure.axes) == 2 and not words(many) and MOST_NUMBERS < 400


def test_cells_without_any_number_are_drawn_empty():
    assert words(drawn(Cells([[None, None]], ["a"], [1, 2], "money"))) == ["0", "0"]


def test_a_map_names_the_points_on_it_below():
    axes = drawn(Cells([[1.0, 2.0]], ["a"], ["b", "c"], "welfare"), Points([0.5], [0.0], "learned", "star"))
    assert legend(axes) == ["learned"] and axes.texts[0].get_position()[1] == pytest.approx(0.28)


def test_words_of_stages_stand_above_what_is_drawn():
    axes = drawn(Span(0.0, 20.0, "consumers learn"), Span(20.0, 100.0, ""), Line([0.0, 100.0], [0.0, 1.0]))
    assert words(axes) == ["consumers\nlearn", ""] and axes.get_ylim()[1] > 1.15
    named = drawn(Span(0.0, 100.0, "all learn"), Line([0.0, 100.0], [0.0, 1.0], "one"))
    assert named.get_ylim()[0] < -0.15 and legend(named) == ["one"]  # below what is drawn


def test_stages_too_short_for_their_words_have_numbers_and_a_key_below():
    short = Span(0.0, 8.0, "consumers learn"), Span(8.0, 10.0, ""), Span(10.0, 100.0, "all learn")
    axes = drawn(*short, Line([0.0, 100.0], [0.0, 1.0]))
    assert words(axes) == ["1", "", "2"]
    assert axes.get_xlabel() == "x words\n(1) consumers learn; (2) all learn"


def test_an_axis_reaches_what_it_must_and_what_is_drawn():
    line = Line([1.0, 2.0], [0.0, 0.3])
    assert drawn(line, starts_at_zero=True).get_ylim()[1] < 0.4
    assert drawn(line, starts_at_zero=True, includes={"y": (0.0, 20.0)}).get_ylim()[1] > 20.0
    both = drawn(Points([3.0], [5.0]), includes={"x": (2.0, 4.0), "y": (4.0, 6.0)})
    assert (both.get_xlim()[0] < 2.0, both.get_xlim()[1] > 4.0, both.get_ylim()[0] < 4.0) == (True, True, True)
    assert drawn(Line([1.0, 2.0], [50.0, 60.0]), includes={"y": (0.0, 20.0)}).get_ylim()[1] > 60.0


def test_logarithmic_axes_have_whole_numbers():
    axes = drawn(Line([1.0, 2.0], [1.0, 1000.0]), logarithmic=("y",))
    assert axes.yaxis.get_major_formatter()(1000.0) == "1,000"


def test_boxes_and_arrows_have_no_axes_and_wider_arrows_for_more():
    boxes = Boxes([0.2, 0.8], [0.5, 0.5], ["here", "there"])
    axes = drawn(boxes, Arrows([(0.3, 0.5), (0.7, 0.4)], [(0.7, 0.5), (0.3, 0.4)], [10.0, 1.0], ["ten", "one"]))
    assert not axes.axison and [text for text in words(axes) if text] == ["here", "there", "ten", "one"]
    arrows = [text.arrow_patch for text in axes.texts if getattr(text, "arrow_patch", None) is not None]
    wide, narrow = (arrow.get_arrowstyle().tail_width for arrow in arrows)
    assert wide > 5 * narrow


@pytest.mark.parametrize(("value", "text"), [(2500.0, "2,500"), (-1.5e6, "\N{MINUS SIGN}1.5M"), (0.25, "0.25")])
def test_numbers_on_axes_are_written_as_people_do(value, text):
    axes = drawn(Line([1.0, 2.0], [value, 2 * value]))
    assert axes.yaxis.get_major_formatter()(value) == text


def test_what_is_nothing_throughout_lies_along_zero_and_what_hardly_varies_is_not_cut():
    assert drawn(Line([1.0, 2.0], [0.0, 0.0]), starts_at_zero=True).get_ylim() == pytest.approx((-0.02, 1.0))
    low, high = drawn(Line([1.0, 2.0], [1020.0, 1021.0]), starts_at_zero=True).get_ylim()
    assert low < 0.0 and high > 1050.0


@pytest.mark.parametrize(
    "layers",
    [
        (Line([1.0, 2.0], [1e5, 2e5], "one"),),
        tuple(Line([1.0, 2.0], [number, 2.0], f"a long name {number}") for number in range(6)),  # a legend beside
        (Cells([[1.0, 2.0]], ["a", "b"], ["c"], "units"), Points([0.0], [0.0], "below")),
    ],
    ids=["inside", "beside", "below"],
)
def test_a_chart_that_is_alone_fills_its_figure_and_nothing_of_it_is_cut(tmp_path, layers):
    figure = new_figure(*PANEL)
    axes = figure.add_subplot()
    draw(Chart("name", "title", "x words", "y words", layers), axes)
    save_figure(figure, tmp_path / "a.png")
    box, whole = axes.get_tightbbox(), figure.bbox
    assert 0.0 < box.x0 < 12.0 and 0.0 < box.y0 < 12.0
    assert 0.0 < whole.x1 - box.x1 < 12.0 and 0.0 < whole.y1 - box.y1 < 12.0


def test_a_picture_that_cannot_be_finished_leaves_the_one_before(tmp_path, monkeypatch):
    def break_off(figure, path, **_):
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    chart = Chart("name", "title", "x words", "y words", (Line([0, 1], [0, 1]),))
    (tmp_path / "a.png").write_bytes(b"before")
    with monkeypatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", break_off)
        with pytest.raises(KeyboardInterrupt):
            save([chart], tmp_path / "a.png")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]
    for name in ("a.png", "a.pdf", "a.svg"):
        assert save([chart], tmp_path / name).stat().st_size > 100
