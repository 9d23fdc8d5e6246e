"""Moments of episodes and of data, against numbers computed another way."""

from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pytest

from rbc_marl import ConfigError, UserError, preset
from rbc_marl.analysis.moments import SERIES, hp_trend, moments, moments_of, read_data
from rbc_marl.analysis.rollouts import play
from rbc_marl.policies.imposed import Imposed
from rbc_marl.policies.scripted import UniformPolicies

CONFIG = preset("open", num_consumers=6, num_firms=2, horizon=8)
POLICIES = Imposed(hours=520.0).on(UniformPolicies(CONFIG))


@pytest.fixture(scope="module")
def found():
    return moments(POLICIES, episodes=6, seed=1)


def test_moments_are_those_of_each_episode_without_its_first_and_last_period(found):
    values = play(POLICIES, 6, 1, record=True).periods["price"].double().numpy()[:, 1:-1]
    output = play(POLICIES, 6, 1, record=True).periods["output"].double().numpy()[:, 1:-1]
    expected = {
        "deviation": [100 * x.std(ddof=1) / x.mean() for x in values],
        "autocorrelation": [np.corrcoef(x[1:], x[:-1])[0, 1] for x in values],
        "with_output": [np.corrcoef(x, y)[0, 1] for x, y in zip(values, output, strict=True)],
    }
    rows = {one.moment: one for one in found.moments if one.quantity == "price"}
    for name, each in expected.items():
        assert rows[name].mean == pytest.approx(np.mean(each)), name
        half = 1.959964 * np.std(each, ddof=1) / math.sqrt(6)
        assert rows[name].high - rows[name].mean == pytest.approx(half), name
    assert found.periods == 6


def test_what_does_not_move_has_no_correlation(found):
    rows = {one.moment: one for one in found.moments if one.quantity == "hours"}
    assert rows["deviation"].mean == pytest.approx(0.0, abs=1e-9)
    assert rows["autocorrelation"].mean is rows["with_output"].mean is None and rows["with_output"].episodes == 0
    assert "| -" not in found.to_csv() and found.table().row_count == len(SERIES)


def test_an_ar1_series_has_its_moments():
    random, x = np.random.default_rng(0), [0.0]
    for shock in random.normal(size=20_000):
        x.append(0.8 * x[-1] + 0.01 * shock)
    output = 10.0 + np.array(x)
    found = moments_of({"output": output, "hours": 5.0 - 2.0 * np.array(x)}, None)
    assert found["output"]["deviation"] == pytest.approx(0.1 / math.sqrt(1 - 0.64), rel=0.05)
    assert found["output"]["autocorrelation"] == pytest.approx(0.8, abs=0.02)
    assert found["hours"]["with_output"] == pytest.approx(-1.0)
    assert found["hours"]["relative"] == pytest.approx(4.0, rel=1e-2)


def test_the_filter_of_hodrick_and_prescott_takes_out_a_trend():
    line = np.arange(40.0)
    assert hp_trend(line, 1600.0) == pytest.approx(line, abs=1e-9)
    wave = np.sin(line)
    trend = hp_trend(line + wave, 1600.0)
    assert np.abs(trend - line).max() < 0.5 and np.corrcoef(line + wave - trend, wave)[0, 1] > 0.95
    # The first-order condition of the filter's least squares, at an inner point.
    second = np.diff(trend, 2)
    fourth = second[18] - 2 * second[17] + second[16]
    assert (line + wave - trend)[18] == pytest.approx(1600.0 * fourth)


def test_data_stand_beside_the_model_measured_alike(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("date,output,hours\n2001,1,4\n2002,2,5\n2003,4,5\n2004,3,6\n", encoding="utf-8")
    data = read_data(path)
    found = moments(POLICIES, 2, data=data, smoothing=1600.0)
    beside = {(one.quantity, one.moment): one.data for one in found.moments}
    assert beside["output", "with_output"] == pytest.approx(1.0) and beside["price", "deviation"] is None
    cycle = data["hours"] - hp_trend(data["hours"], 1600.0)
    assert beside["hours", "deviation"] == pytest.approx(100 * cycle.std(ddof=1) / 5)
    assert found.table().row_count == len(SERIES) + 2
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert len(rows) == 4 * len(SERIES) and json.loads(found.to_json())["smoothing"] == 1600.0
    assert r"\midrule" in found.to_tex() and r"std (\%)" in found.to_tex()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column of output"),
        ("outputt\n1\n2\n3\n", 'has no column of .*; did you mean "output"'),
        ("output\n1\nx\n3\n", "row 3: output is 'x'; give a number"),
        ("output,hours\n1,1\n2\n3,3\n", "row 3: hours is None; give a number"),
        ("output\n1\n2\n", "output must be at least 3 finite numbers"),
        ("output\n1\n2\ninf\n", "output must be at least 3 finite numbers"),
        ("output\n" + "1" * 200_000, "data.csv cannot be read as text .*; give a CSV file"),
    ],
)
def test_data_that_cannot_be_read_are_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "data.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_data(path)


def test_too_few_episodes_or_periods_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="episodes is 1"):
        moments(POLICIES, 1)
    with pytest.raises(ConfigError, match="episodes of 4 periods are too short"):
        moments(UniformPolicies(CONFIG.replace(horizon=4)), 2)
    with pytest.raises(UserError, match="cannot be read as text"):
        read_data(tmp_path / "none.csv")
