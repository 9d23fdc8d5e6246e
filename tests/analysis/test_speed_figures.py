"""Charts of the project's speed show what records hold, and leave out what they do not."""

import pytest

from rbc_marl.analysis.charts import Line
from rbc_marl.analysis.figures import speed

RECORD = {
    "economy": {
        "steps_per_second": {"1": 10.0, "128": 800.0, "scalar": 5.0},
        "ratio_to_scalar": {"1": 2.0, "128": 160.0},
        "floor": {"ratio": 8.0},
    },
    "sizes": {
        "1,000 x 10": {"step": 0.1, "sample": 0.2, "iteration": 0.4, "memory": 9.0},
        "10,000 x 10": {"step": 1.0, "memory": 9.0},
    },
    "populations": {"alone": {"seconds": 1.0, "ratio": 1.0}, "8": {"seconds": 0.5, "ratio": 0.5}},
    "training": {"16": {"ratio": 1.2}},
}


def lines_of(charts):
    return {chart.name: {layer.label: layer for layer in chart.layers} for chart in charts}


def test_a_record_is_drawn_by_number_and_by_size():
    drawn = lines_of(speed.measured(RECORD))
    assert list(drawn) == ["speed-economy", "speed-sizes", "speed-populations"]
    assert drawn["speed-economy"][""] == Line([1.0, 128.0], [10.0, 800.0], has_dots=True)  # not plain Python
    assert drawn["speed-sizes"]["step"].y == [0.1, 1.0]
    assert drawn["speed-sizes"]["iteration"].x == [1000.0]
    assert drawn["speed-populations"][""].x == [1.0, 8.0] and drawn["speed-populations"][""].y == [1.0, 0.5]


def test_an_accelerator_stands_beside_its_cpu():
    drawn = lines_of(speed.measured({**RECORD, "cpu": {"economy": {"steps_per_second": {"1": 3.0}}}}))
    assert set(drawn["speed-economy"]) == {"", "its CPU"} and drawn["speed-economy"]["its CPU"].y == [3.0]


def test_a_record_of_nothing_has_no_charts():
    assert speed.measured({}) == [] and speed.history({"1.0": {}}) == []


def test_versions_stand_side_by_side_with_gaps_where_nothing_was_measured():
    other = {"economy": {"ratio_to_scalar": {"128": 200.0, "1024": 300.0}}}
    charts = speed.history({"0.1.0": RECORD, "0.2.0": other})
    drawn = lines_of(charts)
    assert list(drawn) == ["history-economy", "history-floor", "history-training", "history-populations"]
    assert drawn["history-economy"]["128 economies"].y == [160.0, 200.0]
    assert drawn["history-economy"]["1,024 economies"].y == [None, 300.0]
    assert drawn["history-floor"][""].y == [8.0, None]
    assert drawn["history-training"]["16 economies"].y == [1.2, None]
    for chart in charts:
        assert chart.places["x"] == ("0.1.0", "0.2.0") and chart.starts_at_zero
    assert "128 economies: 160, 200; 1,024 economies: -, 300" in charts[0].caption


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_charts_can_be_drawn(tmp_path, ending):
    drawing = pytest.importorskip("rbc_marl.analysis.drawing")
    pytest.importorskip("matplotlib")
    charts = [*speed.measured(RECORD), *speed.history({"0.1.0": RECORD})]
    assert drawing.save(charts, tmp_path / f"speed.{ending}").stat().st_size > 0
