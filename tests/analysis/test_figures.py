"""Figures of episodes, of trained agents off the path and of training: what charts hold, not how they are drawn."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import torch

from rbc_marl import ConfigError, UserError, preset
from rbc_marl.analysis.charts import Arrows, Bars, Boxes, Cells, Line, Span
from rbc_marl.analysis.figures import episodes as figures
from rbc_marl.analysis.figures import off_path, training
from rbc_marl.analysis.figures.numbers import estimated
from rbc_marl.analysis.indicators import gini
from rbc_marl.analysis.rollouts import play
from rbc_marl.analysis.shopping import shopping
from rbc_marl.analysis.working import working
from rbc_marl.economy import initial_state
from rbc_marl.policies.scripted import Rules, ScriptedPolicies, UniformPolicies

CONFIG = preset("open", num_consumers=6, num_firms=3, horizon=4, dividend_share=0.5)
UNIFORM = UniformPolicies(CONFIG)


@pytest.fixture(scope="module")
def played():
    return play(UNIFORM, 5, seed=1, agents=True)


def named(charts):
    return {chart.name: chart for chart in charts}


def test_paths_are_means_over_episodes_with_bands_that_hold_them(played):
    charts = named(figures.paths(played))
    assert list(charts) == [
        *("prices", "wages", "hours", "employment", "goods", "stock", "taxes", "utility", "inequality"),
    ]
    (hours,) = charts["hours"].layers
    assert hours.x == [1, 2, 3, 4] and hours.y == pytest.approx(played.periods["hours"].mean(0).tolist())
    assert all(low <= y <= high for low, y, high in zip(hours.low, hours.y, hours.high, strict=True))
    income, corporate = charts["taxes"].layers
    assert (income.label, corporate.label) == ("income", "corporate")
    assert income.y == pytest.approx((100 * played.periods["income_tax"].mean(0)).tolist(), rel=1e-5)
    assert "mean of 5 episodes, and the middle 80% of them" in charts["goods"].caption


def test_inequality_by_period_is_the_gini_of_each_episode_and_needs_single_consumers(played):
    money = named(figures.paths(played))["inequality"].layers[1]
    own = [gini(played.consumer_periods["budget"][i : i + 1, 2]) for i in range(5)]
    assert money.label == "money" and money.y[2] == pytest.approx(sum(own) / 5)
    assert "inequality" not in named(figures.paths(play(UNIFORM, 2, record=True)))
    with pytest.raises(ConfigError, match="record=True"):
        figures.paths(play(UNIFORM, 1))


def test_a_roll_out_has_a_row_for_each_firm_and_a_column_for_each_period(played):
    price, sales, _ = figures.roll_out(played)
    (cells,) = price.layers
    assert cells.rows == [0, 1, 2] and cells.columns == [1, 2, 3, 4]
    assert cells.values[2][1] == float(played.firms["price"][0, 1, 2])
    assert sales.layers[0].values == played.firms["sales"][0].T.double().tolist()
    assert len(figures.firms(played)) == 8 and len(figures.portrait(played)) == 12


def test_a_closed_economy_shows_no_exports():
    policies = UniformPolicies(preset("closed", num_consumers=3, num_firms=2, horizon=3))
    charts = named(figures.firms(played := play(policies, 1, record=True)))
    assert "roll-out-sales" in charts and "roll-out-exports" not in charts
    goods = named(figures.paths(played))["goods"]
    assert [line.label for line in goods.layers] == ["made", "bought"]


def test_what_is_next_to_nothing_looks_like_it(played):
    charts = named(figures.paths(played))
    assert charts["taxes"].includes == {"y": (0.0, 20.0)} and charts["inequality"].includes == {"y": (0.0, 0.2)}


def test_flows_of_money_are_what_was_paid_and_balance(played):
    (chart,) = figures.money(played)
    boxes, arrows = chart.layers
    assert isinstance(boxes, Boxes) and isinstance(arrows, Arrows)
    flows = {words.rpartition(" ")[0]: size for words, size in zip(arrows.words, arrows.sizes, strict=True)}
    firms, scale = played.firms, 6 * 4 * 5
    assert flows["wages"] == pytest.approx(float(firms["wage_bill"].sum()) / scale)
    assert flows["exports"] == pytest.approx(float((firms["price"] * firms["exports"]).sum()) / scale)
    assert flows["investment"] > 0 and flows["dividends"] > 0
    # All that is collected is paid out.
    assert flows["income tax"] + flows["corporate tax"] == pytest.approx(flows["transfers"], rel=1e-4)
    spent = float(played.consumer_periods["spending"].double().sum()) / scale
    assert flows["spending"] == pytest.approx(spent, rel=1e-5)
    ends = played.consumers["money"].double().mean() - 2000.0
    kept = flows["wages"] + flows["dividends"] + flows["transfers"] - flows["spending"] - flows["income tax"]
    assert kept == pytest.approx(float(ends) / 4 - CONFIG.consumer_grant, rel=1e-3)
    assert any(words.startswith("consumers") and f"{kept:+,.0f}".strip("+-") in words for words in boxes.words)


def test_a_tax_on_goods_is_not_called_a_tax_on_income():
    config = CONFIG.replace(consumption_tax=0.5, income_tax_choices=(0.0,), initial_inventory=50.0)
    _, arrows = figures.money(play(UniformPolicies(config), 2, record=True))[0].layers
    assert any(words.startswith("income and consumption tax ") for words in arrows.words)


def test_a_closed_economy_has_no_abroad():
    closed = play(UniformPolicies(preset("closed", num_consumers=4, num_firms=2, horizon=3)), 2, record=True)
    boxes, arrows = figures.money(closed)[0].layers
    assert "abroad" not in boxes.words and not any(words.startswith("exports") for words in arrows.words)


def test_employers_get_shares_of_hours_that_add_up(played):
    who, when, much = figures.employers(played)
    (cells,) = who.layers
    assert [sum(row) for row in cells.values] == pytest.approx([100.0] * 6)
    hours, employer = played.consumer_periods["hours"].double(), played.consumer_periods["employer"]
    own = hours[..., 4]
    assert cells.values[4][2] == pytest.approx(100 * float(own[employer[..., 4] == 2].sum() / own.sum()))
    assert when.layers[0].values[2][3] == pytest.approx(float(played.firms["labour"][:, 3, 2].double().mean()))
    assert much.layers[0].y == pytest.approx(hours.mean(dim=(0, 1)).tolist())
    assert figures.employers(play(UNIFORM, 1, record=True)) == []


def test_captions_say_whose_numbers_mind_work_least(played):
    start = initial_state(CONFIG, 1).labour_disutility[0].tolist()
    assert start == sorted(start, reverse=True) and "of large numbers mind work least" in captions(played)
    alike = CONFIG.replace(labour_disutility_pareto_shape=None)
    assert "mind work" not in captions(play(UniformPolicies(alike), 1, agents=True))


def captions(played):
    return " ".join(chart.caption for chart in figures.employers(played))


def test_many_consumers_are_shown_in_ten_groups():
    many = play(UniformPolicies(CONFIG.replace(num_consumers=37)), 2, agents=True)
    (cells,) = figures.employers(many)[0].layers
    assert cells.rows[0] == "0-3" and cells.rows[-1] == "33-36" and len(cells.rows) == 10


def test_lorenz_curves_say_the_gini_and_histograms_hold_everybody(played):
    charts = named(figures.distributions(played))
    _, income, *_ = charts["lorenz"].layers
    assert income.label == f"income {gini(played.consumers['income']):.2f}"
    assert (income.y[0], income.y[-1]) == (0.0, pytest.approx(100.0)) and income.y == sorted(income.y)
    # Twice the area between the curve and the diagonal, times C / (C - 1) or not: the coefficient itself.
    area = sum((a + b) / 2 / 6 for a, b in zip(income.y, income.y[1:], strict=False)) / 100
    assert 1 - 2 * area == pytest.approx(gini(played.consumers["income"]), abs=1e-6)
    for name in ("income", "consumption", "money", "utility"):
        (bars,) = charts[f"histogram-{name}"].layers
        assert isinstance(bars, Bars) and sum(bars.sizes) == pytest.approx(100.0)


def test_demand_and_labour_supply_are_what_evaluate_says():
    (demand,) = off_path.demand(UNIFORM, seed=3)
    assert demand.layers[0].x == [500, 1000, 1500, 2000, 2500]
    by_wage, by_tax = off_path.labour_supply(UNIFORM, seed=3)
    known = working(UNIFORM, seed=3)
    assert by_wage.layers[0].y == pytest.approx(list(known.hours_by_wage.values()))
    assert by_tax.layers[0].y == pytest.approx(list(known.hours_by_income_tax.values()))
    assert by_tax.layers[0].x == pytest.approx([0, 20, 40, 60, 80, 100])
    (line,) = demand.layers
    assert all(low < y < high for low, y, high in zip(line.low, line.y, line.high, strict=True))
    assert line.y == pytest.approx(list(shopping(UNIFORM, seed=3).demand.values()), rel=0.2)  # of other draws


def test_policy_functions_follow_what_an_agent_looks_at_and_nothing_else():
    rules = ScriptedPolicies(CONFIG, Rules(price=1500, wage=22, income_tax=0.4))
    charts = named(off_path.policy_functions(rules, seed=1))
    assert charts["price-by-stock"].layers[0].y == [1500.0] * 13
    assert charts["taxes-by-period"].layers[0].y == pytest.approx([40.0] * 4)
    uniform = named(off_path.policy_functions(UNIFORM, seed=1, agent_types=("consumer",)))
    assert list(uniform) == ["hours-by-wage", "hours-by-money", "units-by-money"]
    units = uniform["units-by-money"].layers[0].y
    assert units == sorted(units) and units[0] < 0.1 < 1.0 < units[-1]  # without money they get what is free


class Keeping:
    """Firms keep their own price; all else is drawn."""

    config, encoding, device = CONFIG, UNIFORM.encoding, UNIFORM.device

    def act(self, observation, generator=None, greedy=False, *, state=None):
        indices = UNIFORM.act(observation, generator, greedy, state=state)
        prices = torch.tensor(CONFIG.price_choices)
        number = (state.price.unsqueeze(-1) - prices).abs().argmin(dim=-1)
        return {**indices, "firm": number * len(CONFIG.wage_choices) * len(CONFIG.investment_choices)}


def test_the_prices_of_all_others_leave_a_firms_own_price_alone():
    charts = named(off_path.policy_functions(Keeping(), seed=1, agent_types=("firm",)))
    posted = charts["price-by-prices"].layers[0].y
    assert len(set(posted)) == 1 and posted == charts["price-by-stock"].layers[0].y[:6]


def test_intervals_of_few_samples_do_not_reach_below_nothing():
    line = estimated([0.0, 1.0], [torch.tensor([0.0, 0.0, 0.0, 1.0]), torch.tensor([4.0, 5.0, 6.0])])
    assert line.y == [0.25, 5.0] and line.low[0] == 0.0
    assert line.high[0] == pytest.approx(0.25 + 1.96 * 0.5 / 2)
    assert line.low[1] == pytest.approx(5 - 1.96 / 3**0.5)


def test_revenue_under_imposed_taxes_is_nothing_without_and_grows_with_the_corporate_tax():
    income, corporate = off_path.laffer(UNIFORM, seed=0, episodes=2)
    assert [line.label for line in income.layers][:2] == ["corporate tax 0%", "corporate tax 20%"]
    untaxed = corporate.layers[0]
    assert untaxed.label == "income tax 0%" and untaxed.y[0] == 0.0 and untaxed.y == sorted(untaxed.y)
    assert income.layers[0].y[0] == 0.0 < income.layers[0].y[-1] and "means of 2 episodes" in income.caption


def progress(phases, **columns):
    count = len(phases)
    frame = {"training_iteration": list(range(1, count + 1)), "env_runners/hours": [float(i) for i in range(count)]}
    return pd.DataFrame({**frame, **columns})


def test_learning_curves_are_shaded_by_the_stages_of_the_curriculum(tmp_path):
    phases = ["consumer learning, no taxes"] * 30 + [f"all learn, taxes up to {i}%" for i in range(30)]
    phases += ["all learn"] * 20
    progress(phases).to_csv(tmp_path / "progress.csv", index=False)
    lines = [json.dumps({"training_iteration": i + 1, "curriculum/phase": p}) for i, p in enumerate(phases)]
    (tmp_path / "result.json").write_text("\n".join([*lines, '{"torn']), encoding="utf-8")
    (chart,) = training.learning_curves(training.read_progress(tmp_path))
    spans = [layer for layer in chart.layers if isinstance(layer, Span)]
    assert [(span.low, span.high, span.label) for span in spans] == [
        (1.0, 31.0, "consumers learn, no taxes"), (31.0, 61.0, "all learn, taxes open"), (61.0, 80.0, "all learn"),
    ]  # fmt: skip
    line = chart.layers[-1]
    assert isinstance(line, Line) and line.y[40] == pytest.approx(40.0, abs=1.0) and line.low[40] < line.high[40]
    assert "one run of 80 iterations" in chart.caption and "Shaded: (1) consumers learn, no taxes; (2)" in chart.caption


def test_learning_curves_know_the_stages_of_taxes_without_words_and_leave_out_what_is_not_there():
    rates = [0.0] * 5 + [0.3] * 5 + [1.0] * 5
    (chart,) = training.learning_curves(progress(rates, **{"curriculum/highest_tax": rates}))
    assert [layer.label for layer in chart.layers if isinstance(layer, Span)] == ["no taxes", "taxes open", "any tax"]
    (plain,) = training.learning_curves(progress(rates))
    assert [type(layer) for layer in plain.layers] == [Line] and plain.name == "learning-hours"
    assert training.learning_curves(progress([0.0])) == []


@pytest.mark.parametrize("content", [None, "", "training_iteration"])
def test_a_run_without_an_iteration_is_refused_or_has_no_curves(tmp_path, content):
    if content is not None:
        (tmp_path / "progress.csv").write_text(content, encoding="utf-8")
    if content:
        assert training.learning_curves(training.read_progress(tmp_path)) == []
        return
    with pytest.raises(UserError, match=r"no progress\.csv with a finished iteration"):
        training.read_progress(tmp_path)


def test_cells_hold_no_numbers_that_are_not_finite():
    config = CONFIG.replace(hours_choices=(0.0,))
    (cells,) = figures.employers(play(UniformPolicies(config), 2, agents=True))[0].layers
    assert isinstance(cells, Cells) and set(cells.values[0]) == {None}
