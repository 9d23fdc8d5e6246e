"""Figures of sweeps, of taxes, of deviations and of reforms: what charts hold, not how they are drawn."""

from __future__ import annotations

import json
import math

import pytest

from rbc_marl.analysis.charts import Bars, Cells, Line, Points, Rule
from rbc_marl.analysis.comparison import compare
from rbc_marl.analysis.figures.deviations import best_responses, certificate_rows
from rbc_marl.analysis.figures.reforms import reform
from rbc_marl.analysis.figures.sweeps import (
    comparison,
    explained_by_a_line,
    laffer,
    market,
    spectrum,
    tax_bars,
    tax_map,
)
from rbc_marl.analysis.taxes import tax_panels
from rbc_marl.config import preset
from rbc_marl.policies.imposed import Imposed
from rbc_marl.policies.scripted import UniformPolicies
from rbc_marl.presets import zoo
from tests.analysis.test_verdicts import near, row

RUN = {
    "arm": "plain",
    "seed": 100,
    "outcome": "living",
    "group": "living-1",
    "hours": 400.0,
    "wage": 11.0,
    "price": 1500.0,
    "consumption": 3.0,
    "consumer_return": 4.0,
    "firm_return": 5e6,
    "welfare_total": 30000.0,
}
STOPPED = {"arm": "plain", "seed": 9, "outcome": "stopped", "hours": None}


def points(chart):
    return [layer for layer in chart.layers if isinstance(layer, Points)]


def test_arms_are_compared_in_what_their_runs_have_with_the_mean_of_each():
    other = {**RUN, "arm": "other", "planner_share": 0.9}
    charts = comparison([RUN, {**RUN, "hours": 600.0}, other, {**other, "outcome": "dead", "hours": math.nan}, STOPPED])
    assert [chart.name.removeprefix("comparison-") for chart in charts] == [
        *("hours", "consumer_return", "welfare_total", "planner_share"),
    ]
    hours, planner = charts[0], charts[-1]
    assert hours.places["y"] == ("plain", "other")
    means = [layer.x for layer in hours.layers if isinstance(layer, Line)]
    assert means == [[500.0, 500.0], [400.0, 400.0]]
    (living,) = points(hours)  # the dead one has no hours
    assert living.x == [400.0, 600.0, 400.0] and living.y[0] < 0 < living.y[1] and living.y[2] == 1.0
    assert [(one.marker, one.x) for one in points(planner)] == [("circle", [90.0]), ("cross", [90.0])]
    assert comparison([STOPPED]) == []


def test_a_spectrum_is_coloured_by_what_was_varied_else_by_the_arms_else_by_the_groups():
    rows = [
        {**RUN, "quota": 10.0},
        {**RUN, "quota": 50.0, "hours": 500.0, "wage": 12.0},
        {**RUN, "quota": 50.0, "group": "living-2", "outcome": "impaired", "hours": 900.0, "wage": 30.0},
        {**RUN, "quota": 50.0, "group": "collapsed", "outcome": "collapsed", "hours": 0.0},
        {**STOPPED, "group": None},
    ]
    _, hours, rewards = spectrum(rows, varied=("quota",))
    assert [layer.label for layer in points(rewards)] == ["10 (1)", "50 (3)", "impaired", "collapsed"]
    assert [layer.marker for layer in points(hours)] == ["circle", "circle", "triangle", "cross"]
    assert len({layer.colour for layer in points(hours)}) == 2 and not any(layer.label for layer in points(hours))
    assert points(hours)[1].x == [12.0] and points(hours)[1].y == [500.0]
    assert hours.title.startswith("hours by wage: r² = ") and hours.title.endswith(" over 3 runs alive")
    assert "4 runs, a point each, coloured by quota" in hours.caption
    by_group = points(spectrum(rows)[-1])
    assert [layer.label for layer in by_group] == ["living-1 (2)", "living-2, impaired (1)", "collapsed (1)"]
    by_arm = points(spectrum([*rows, {**RUN, "arm": "other"}])[-1])
    assert by_arm[0].label == "other (1)"
    assert spectrum([STOPPED]) == [] and spectrum([rows[3]]) == []


def test_a_legend_tells_more_groups_apart_than_there_are_colours():
    groups = [f"living-{i}" for i in (10, 2, 1, 3, 4, 5, 6, 7)]
    layers = points(spectrum([{**RUN, "group": name} for name in groups])[-1])
    assert [layer.label.partition(" ")[0] for layer in layers[:2]] == ["living-1", "living-2"]
    assert layers[-1].label == "living-10 (1)"
    assert len({(layer.colour, layer.marker) for layer in layers}) == len(groups)


def test_a_line_explains_the_squared_correlation():
    assert explained_by_a_line([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]) == pytest.approx(1.0)
    assert explained_by_a_line([1.0, 2.0, 3.0], [1.0, -2.0, 1.0]) == pytest.approx(0.0)
    assert explained_by_a_line([1.0, 2.0], [1.0, 2.0]) is None
    assert explained_by_a_line([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None


def test_a_market_shows_each_runs_demand_and_marks_prices_that_are_hardly_posted():
    bought = {"demand_at_500": 900.0, "demand_at_2500": 0.0}
    posted = {"share_at_500": 0.004, "sales_at_500": 700.0, "exports_at_500": None}
    posted |= {"share_at_2500": 0.9, "sales_at_2500": 12.0, "exports_at_2500": 80.0}
    rows = [{**RUN, **bought, **posted}, {**RUN, **bought, **posted, "sales_at_2500": 14.0}, STOPPED]
    demand, strategies = market(rows)
    assert [line.y for line in demand.layers] == [[900.0, 1.0]] * 2 and demand.logarithmic == ("y",)
    share, sales, exports = strategies.layers
    assert share.sizes == pytest.approx([0.4, 90.0]) and sales.sizes == [700.0, 13.0] and exports.sizes == [0.0, 80.0]
    assert sales.hatched == [True, False] and (sales.low, sales.high) == ([None, 12.0], [None, 14.0])
    assert market([RUN, STOPPED]) == []


def learned(seed, total, welfare="total", **others):
    values = {"policy": "learned", "welfare": welfare, "income": None, "corporate": None, "seed": seed}
    return {**RUN, **values, "welfare_total": total, "welfare_consumers": 1.0, **others}


def fixed(seed, pair, total, outcome="living", **others):
    values = {"policy": "fixed", "welfare": None, "income": pair[0], "corporate": pair[1], "seed": seed}
    return {**RUN, **values, "welfare_total": total, "welfare_consumers": 1.0, "outcome": outcome, **others}


def test_bars_of_taxes_are_means_of_learned_shuffled_and_fixed_ones_with_a_dot_for_each_run():
    shuffled = {"shuffled_welfare_total": 1.0, "shuffled_welfare_consumers": 1.0}
    rows = [learned(1, 5.0, **shuffled), learned(2, 7.0, **shuffled), fixed(1, (0.0, 0.8), 1.0)]
    (chart,) = tax_bars(tax_panels(rows))
    own, others, dots = chart.layers
    assert own.places == ["learned", "states shuffled", "0% / 80%"] and own.sizes == [6.0, 1.0, None]
    assert others.sizes == [None, None, 1.0] and own.is_overlaid and isinstance(others, Bars)
    assert dots.y == [5.0, 7.0, 1.0, 1.0, 1.0]
    assert tax_bars(tax_panels(rows[2:])) == []


def test_a_map_of_taxes_has_a_cell_for_each_pair_a_star_where_it_was_learned_and_marks_collapse():
    rates = {"income_tax": 0.1, "corporate_tax": 0.8}
    rows = [
        fixed(1, (0.0, 0.0), 10.0), fixed(2, (0.0, 0.0), 20.0), fixed(1, (0.2, 0.8), -30.0, "collapsed"),
        learned(1, 25.0, **rates), learned(2, 35.0, "total", **rates), STOPPED,
    ]  # fmt: skip
    (chart,) = tax_map(rows)
    cells, dead, stars = chart.layers
    assert isinstance(cells, Cells) and cells.values == [[15.0, None], [None, -30.0]]
    assert cells.rows == ["0%", "20%"] and cells.columns == ["0%", "80%"]
    assert (round(dead.x[0]), round(dead.y[0])) == (1, 1) and dead.marker == "cross"
    assert stars.x == [1.0, 1.0] and stars.y == [0.5, 0.5] and stars.label == "learned (mean 30)"
    assert "2 fixed pairs" in chart.caption and "2 runs that learned" in chart.caption
    assert [one.name for one in tax_map(rows[:3])] == ["tax-map-total", "tax-map-consumers"]
    beyond = tax_map([*rows[:3], learned(1, 25.0, income_tax=0.5, corporate_tax=0.8)])[0]
    assert [layer.label for layer in points(beyond)] == ["runs collapsed"]  # a star would stand at another rate
    assert tax_map([RUN, STOPPED]) == [] == tax_map(rows[:2])


def test_a_laffer_curve_is_revenue_by_the_rate_for_each_rate_of_the_other_tax():
    rows = [fixed(seed, (rate, 0.0), 0.0, tax_revenue=100 * rate + seed) for seed in (1, 3) for rate in (0.0, 0.4, 0.2)]
    income, corporate = laffer([*rows, learned(1, 0.0, tax_revenue=1.0), fixed(1, (0.2, 0.4), 0.0, tax_revenue=9.0)])
    (line,) = income.layers  # of the other rate there is one point
    assert line.label == "corporate tax 0%" and line.x == pytest.approx([0.0, 20.0, 40.0])
    assert line.y == pytest.approx([2.0, 22.0, 42.0]) and line.low == pytest.approx([1.0, 21.0, 41.0])
    assert corporate.layers[0].label == "income tax 20%" and corporate.layers[0].y == pytest.approx([22.0, 9.0])
    assert laffer([RUN]) == []


def test_best_responses_are_shares_of_the_level_by_who_found_them():
    rows = [*near(), row("firm", 0.2, 3, verified=False, found_by="schedule", learned_gain=0.0), row("firm", 0.1, 4)]
    consumer, firm, government = best_responses([*rows, row("firm", 0.9, 5, kind="constant")])
    assert [chart.title for chart in (consumer, firm, government)] == [
        f"gains of {who} by deviating" for who in ("consumers", "firms", "the government")
    ]
    assert firm.places["y"] == ("all", "firm 3", "firm 4")
    learned_points, schedule, alone = points(firm)
    assert learned_points.x == pytest.approx([-0.1, 10.0]) and learned_points.y == [0.0, 2.0]
    assert schedule.x == pytest.approx([20.0]) and schedule.low == pytest.approx([19.9]) and schedule.hollow == [True]
    assert schedule.label == "found by a schedule (control failed)"
    assert alone.label == "learning alone" and alone.x == [0.0] and alone.y == [1.0]
    assert [layer.at for layer in firm.layers if isinstance(layer, Rule)] == [0.0, pytest.approx(10.0)]
    assert best_responses([]) == [] == best_responses([row("firm", 0.1, level=0.0)])


def test_deviations_of_many_runs_share_a_line_for_each_arm():
    rows = [{**row("firm", share), "arm": arm, "seed": s} for arm in "ab" for s, share in ((1, 0.1), (2, 0.3))]
    for one in rows:
        del one["checkpoint"]
    (chart,) = best_responses(rows)
    assert chart.places["y"] == ("all (a)", "all (b)")
    (gains,) = points(chart)
    assert gains.y == pytest.approx([-0.15, 0.15, 0.85, 1.15]) and "of 4 economies" in chart.caption


def test_the_certificate_of_the_zoo_is_drawn_with_its_bounds_from_above():
    certificate = json.loads((zoo()["open_rbc"] / "best_response" / "certificate.json").read_text(encoding="utf-8"))
    consumer, firm, _ = best_responses(certificate_rows(certificate))
    above = points(consumer)[-1]
    assert above.label == "bound from above" and len(above.x) == 5 and min(above.x) > 10.0
    assert len(firm.places["y"]) == 11 and "on 1,024 episodes" in firm.caption


def test_a_reform_is_drawn_as_shares_of_the_first_economy_with_its_intervals():
    uniform = UniformPolicies(preset("open", num_consumers=6, num_firms=2, horizon=3))
    found = compare({"as_is": uniform, "busy": Imposed(hours=1040.0).on(uniform)}, episodes=8, seed=2)
    changes, gains = reform(found)
    (bars,) = changes.layers
    (after,) = [one for one in found.changes if one.economy == "busy" and one.quantity == "output"]
    (before,) = [one for one in found.changes if one.economy == "as_is" and one.quantity == "output"]
    place = bars.places.index("output")
    assert after.difference > 0.0 and bars.sizes[place] == pytest.approx(100 * after.difference / before.mean)
    assert bars.low[place] <= bars.sizes[place] <= bars.high[place] and bars.label == "busy"
    assert len(points(gains)[0].x) == 6 and "8 pairs of episodes" in gains.caption
