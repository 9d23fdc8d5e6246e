"""Groups of outcomes that are qualitatively the same: whatever the order, collapsed ones apart."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbc_marl import ConfigError
from rbc_marl.analysis.groups import MEASURES, Thresholds, equilibria, group

THRESHOLDS = Thresholds.parse(None, "sweep.groups")
USUAL = {
    "hours": 400.0,
    "price": 2300.0,
    "wage": 10.0,
    "income_tax": 0.0,
    "corporate_tax": 0.0,
    "welfare_total": 30000.0,
    "welfare_consumers": 400.0,
}


def row(seed=100, outcome="living", arm="plain", **measures):
    return {"arm": arm, "seed": seed, "outcome": outcome, **USUAL, **measures}


@pytest.mark.parametrize(
    ("measure", "near", "far"),
    [
        ("hours", 495.0, 505.0),
        ("price", 2060.0, 2040.0),
        ("wage", 15.0, 16.0),
        ("income_tax", 0.09, 0.11),
        ("corporate_tax", 0.09, 0.11),
        ("welfare_total", 27100.0, 26900.0),
        ("welfare_consumers", 440.0, 460.0),
    ],
)
def test_each_measure_alone_can_tell_two_outcomes_apart(measure, near, far):
    assert group([row(), row(101, **{measure: near})], THRESHOLDS) == ["living-1", "living-1"]
    assert len(set(group([row(), row(101, **{measure: far})], THRESHOLDS))) == 2


def test_a_group_is_all_that_neighbours_reach():
    rows = [row(seed, hours=400.0 + 90.0 * seed) for seed in range(4)] + [row(9, hours=900.0)]
    assert len(set(group(rows, THRESHOLDS)[:4])) == 1
    assert group(rows, THRESHOLDS)[4] != group(rows, THRESHOLDS)[0]


def test_groups_are_numbered_from_the_highest_total_welfare_down():
    rows = [row(1, welfare_total=10000.0), row(2, welfare_total=30000.0), row(3, welfare_total=20000.0)]
    assert group(rows, THRESHOLDS) == ["living-3", "living-1", "living-2"]


@pytest.mark.parametrize("dead", ["collapsed", "dead"])
def test_collapsed_runs_are_one_group_impaired_ones_their_own_and_stopped_ones_none(dead):
    rows = [row(1), row(2, dead), row(3, "impaired"), row(4, dead, price=0.0), row(5, "stopped")]
    names = group(rows, THRESHOLDS)
    assert names == ["living-1", dead, "impaired-1", dead, None]
    named = [{**each, "group": name} for each, name in zip(rows, names, strict=True)]
    assert [each["group"] for each in equilibria(named)] == ["living-1", "impaired-1", dead]


outcomes = st.lists(
    st.builds(
        row,
        outcome=st.sampled_from(["living", "impaired", "collapsed", "stopped"]),
        hours=st.sampled_from([100.0, 190.0, 280.0, 400.0, 900.0]),
        welfare_total=st.floats(-1e4, 1e5),
    ),
    max_size=12,
)


@given(outcomes, st.integers(0, 1000))
def test_groups_do_not_depend_on_the_order_of_rows(rows, seed):
    rows = [{**each, "seed": number} for number, each in enumerate(rows)]
    names = dict(zip((each["seed"] for each in rows), group(rows, THRESHOLDS), strict=True))
    shuffled = random.Random(seed).sample(rows, len(rows))
    again = dict(zip((each["seed"] for each in shuffled), group(shuffled, THRESHOLDS), strict=True))
    assert again == names

    def table(some):
        return equilibria([{**each, "group": names[each["seed"]]} for each in some])

    assert table(shuffled) == table(rows)


def test_there_is_one_row_per_group_with_what_its_runs_have_in_common_and_how_far_they_reach():
    gains = {"epsilon_firm": 0.02, "epsilon_consumer": 0.01}
    rows = [
        {**row(100, hours=400.0), "group": "living-1", "quota": 50, **gains, "equilibrium": "yes"},
        {**row(101, hours=420.0), "group": "living-1", "quota": 1000, "epsilon_firm": 0.07, "equilibrium": "no: firm"},
        {**row(102, "collapsed", hours=0.0), "group": "collapsed", "quota": 10},
        {**row(103, "stopped"), "group": None, "quota": 10},
    ]
    living, collapsed = equilibria(rows, varied=["quota"])
    assert (living["group"], collapsed["group"]) == ("living-1", "collapsed")
    assert (living["runs"], living["seeds"], living["quota"]) == (2, "100 101", "50 1000")
    assert (living["hours"], living["hours_least"], living["hours_most"]) == (410.0, 400.0, 420.0)
    assert living["epsilon_firm"] == 0.07  # the worst, not the mean
    assert "epsilon_consumer" not in living  # nobody knows it of the other run
    assert (living["equilibria"], collapsed["equilibria"]) == (1, 0)


def test_welfares_of_different_units_have_no_mean():
    rows = [{**row(100), "group": "living-1", "arm": arm, "government_return": 1.0} for arm in ("a", "b")]
    alike = equilibria(rows, units={"a": ("total", 0.0025), "b": ("total", 0.0025)})[0]
    assert {"government_return", "welfare_total", "welfare_consumers"} <= alike.keys() and alike == equilibria(rows)[0]
    objectives = equilibria(rows, units={"a": ("total", 0.0025), "b": ("consumers", 0.0025)})[0]
    assert alike.keys() - objectives.keys() == {"government_return"}
    weights = equilibria(rows, units={"a": ("total 1", 0.0025), "b": ("total 2", 0.01)})[0]
    lost = {"government_return", "welfare_total", "welfare_total_least", "welfare_total_most"}
    assert alike.keys() - weights.keys() == lost


def test_groups_are_numbered_by_consumers_welfare_where_total_welfare_tells_nothing_apart():
    rows = [row(1, welfare_total=9e4, welfare_consumers=1.0), row(2, welfare_total=1e4, welfare_consumers=900.0)]
    assert group(rows, THRESHOLDS) == ["living-1", "living-2"]
    assert group(rows, Thresholds.parse({"welfare_total": None}, "g")) == ["living-2", "living-1"]


def test_a_measure_can_be_left_out_and_a_share_can_stand_for_a_number():
    without = Thresholds.parse(dict.fromkeys(MEASURES), "g")
    assert group([row(1), row(2, hours=0.0, price=0.0, welfare_total=-1.0)], without) == ["living-1"] * 2
    share = Thresholds.parse({"hours": "50%"}, "g")
    assert group([row(1), row(2, hours=205.0)], share) == ["living-1"] * 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hour": 1}, 'x.groups.hour is not a measure that tells outcomes apart; did you mean "hours"?'),
        ({"hours": "many"}, "x.groups.hours is 'many'; it must be a number of at least 0"),
        ({"hours": -1}, "x.groups.hours is -1"),
        ({"hours": True}, "x.groups.hours is True"),
        ({"price": "x%"}, "x.groups.price is 'x%'"),
        (3, "x.groups is 3; it must be a mapping"),
    ],
)
def test_thresholds_that_are_none_are_refused(given, message):
    with pytest.raises(ConfigError) as caught:
        Thresholds.parse(given, "x.groups")
    assert message in str(caught.value)
