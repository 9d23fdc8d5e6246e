"""Targets: what is measured, how far it is, and which arm is nearest."""

from __future__ import annotations

import numpy as np
import pytest

from rbc_marl import ConfigError, UserError, preset
from rbc_marl.analysis.moments import moments, moments_of
from rbc_marl.analysis.targets import DISTANCE, Target, Targets
from rbc_marl.policies.scripted import UniformPolicies

UNIFORM = UniformPolicies(preset("open", num_consumers=4, num_firms=2, horizon=6))


def test_the_distance_is_the_mean_square_in_scales():
    found = {f"{one.quantity}.{one.moment}": one.mean for one in moments(UNIFORM, 6, 3).moments}
    output, hours = found["output.deviation"], found["hours.with_output"]
    given = {"output.deviation": output / 1.5, "hours.with_output": hours - 0.3}
    row = Targets.of(given, None)(UNIFORM, 6, 3)
    assert row.pop(DISTANCE) == pytest.approx((0.5**2 + 0.3**2) / 2)
    assert row == {"output.deviation": output, "hours.with_output": hours}
    scaled = {"output.deviation": {"value": output + 4.0, "scale": 2.0}}
    row = Targets.of({name: Target.parse(x, "") for name, x in scaled.items()}, None)(UNIFORM, 6, 3)
    assert row[DISTANCE] == pytest.approx(4.0)


def test_data_give_all_of_their_moments_as_targets(tmp_path):
    rows = "\n".join(f"{1 + 0.1 * i % 3},{5 - i % 2}" for i in range(9))
    (tmp_path / "data.csv").write_text(f"output,hours\n{rows}\n", encoding="utf-8")
    targets = Targets.of("data.csv", tmp_path)
    output, hours = ([1 + 0.1 * i % 3 for i in range(9)], [5.0 - i % 2 for i in range(9)])
    series = {"output": np.array(output), "hours": np.array(hours)}
    assert targets.targets["hours.relative"].value == pytest.approx(moments_of(series, None)["hours"]["relative"])
    assert not {"output.relative", "output.with_output"} & set(targets.targets) and len(targets.targets) == 6
    with pytest.raises(UserError, match=r"none\.csv cannot be read"):
        Targets.of("none.csv", tmp_path)


def test_what_does_not_exist_has_no_distance_and_comes_last():
    sizes = {"num_consumers": 4, "num_firms": 2, "horizon": 6}
    idle = UniformPolicies(preset("open", **sizes, wage_choices=[11.0], initial_wage=11.0))
    targets = Targets.of({"wage.deviation": 2.0, "wage.autocorrelation": 0.5}, None)
    row = targets(idle, 4, 0)
    assert row[DISTANCE] is None and row["wage.autocorrelation"] is None and row["wage.deviation"] == 0.0
    rows = [{"arm": "idle", **row}]
    assert targets.summary(rows) == "No arm has all moments that the targets name."
    rows += [{"arm": arm, DISTANCE: d, "wage.deviation": 3.0, "wage.autocorrelation": 0.1} for arm, d in
             (("far", 4.0), ("near", 1.0), ("near", 2.0), ("middle", 3.0))]  # fmt: skip
    lines = targets.summary(rows).splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == ["targets", "near", "middle", "far"]
    assert "| near | 1.500 | 3.000 | 0.100 |" in lines


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "targets are empty; give some, such as"),
        ({"outptu.deviation": 1.0}, 'the quantity is \'outptu\'; it must be output, .*; did you mean "output"'),
        ({"output.std": 1.0}, "targets.output.std: the moment must be one of deviation, relative"),
        ({"output.deviation": 0.0}, "targets.output.deviation is 0, which is no scale; give {value: 0, scale: 1}"),
    ],
)
def test_targets_that_cannot_be_are_refused_in_one_line(given, message):
    with pytest.raises(ConfigError, match=message):
        Targets.of(given, None)
