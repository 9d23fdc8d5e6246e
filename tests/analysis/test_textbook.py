"""The textbook case: the closed form, an independent solver and the economy agree; errors are measured."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rbc_marl import ConfigError, EconomyConfig
from rbc_marl.analysis.euler import euler_errors, resource_residuals
from rbc_marl.analysis.figures.textbook import paths
from rbc_marl.analysis.indicators import indicator_words, indicators
from rbc_marl.analysis.outcomes import outcome
from rbc_marl.analysis.planner import lacks_plan
from rbc_marl.analysis.rollouts import play
from rbc_marl.analysis.shopping import shopping
from rbc_marl.analysis.textbook import closed_form, learned, measured
from rbc_marl.analysis.upper_bounds import lacks_bounds
from rbc_marl.choices import head_sizes
from rbc_marl.economy import Actions, initial_state, period, residuals
from rbc_marl.economy.own_choices import require_own_values
from rbc_marl.policies.imposed import Imposed, Treatment
from rbc_marl.policies.scripted import ScriptedPolicies
from rbc_marl.policies.strategies import rule_names
from rbc_marl.presets import find_file
from rbc_marl.settings import load_yaml_file
from tests.neoclassical import Model, solve

TEXTBOOK = EconomyConfig(
    num_consumers=1, num_firms=1, horizon=20, open_economy=False, market="clearing", firm_objective="owners",
    discount=0.96, depreciation=1.0, dividend_share=1.0, consumer_grant=0.0, crra=1.0, labour_disutility=0.004,
    labour_exponent=0.64, technology=5.0, initial_capital=500.0, welfare="consumers", consumption_choices=(0.0,),
    price_choices=(1.0,), wage_choices=(10.0,), income_tax_choices=(0.0,), corporate_tax_choices=(0.0,),
    hours_choices=tuple(20.0 * n for n in range(1, 51)), investment_choices=tuple(0.02 * n for n in range(50)),
)  # fmt: skip
PARTIAL = Model(capital_share=0.36, discount=0.96, depreciation=0.1, theta=0.004, technology=5.0)


def walk(config, saving, hours, technology=None):
    """States, flows and identities of one economy in which saving rates and hours [T] are imposed."""
    shocks = {} if technology is None else {"shocks": {"technology": {"kind": "path", "values": list(technology)}}}
    config = config.replace(**shocks)
    state, zero = initial_state(config, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for rate, worked in zip(saving, hours, strict=True):
        one = zero.unsqueeze(0)
        actions = Actions(
            demand=one.unsqueeze(0), hours=worked.view(1, 1), employer=one.long(), price=one + 1.0, wage=one,
            investment_fraction=rate.view(1, 1), income_tax=zero, corporate_tax=zero,
        )  # fmt: skip
        after, flows = period(config, state, actions)
        yield state, flows, residuals(config, state, actions, after, flows)
        state = after


class Plan:
    """Follows a schedule of indices [T] of hours and of investment."""

    def __init__(self, config, hours, investment):
        self.config, self.encoding, self.device = config, "symlog", torch.device("cpu")
        self.hours, self.investment = hours, investment

    def act(self, observation, generator=None, greedy=False, *, state=None):
        time = state.time.long()
        consumer = torch.zeros(len(time), 1, 3, dtype=torch.int64)
        consumer[:, 0, 1] = self.hours[time]
        return {"consumer": consumer, "firm": self.investment[time].unsqueeze(1), "government": torch.zeros_like(time)}


def nearest_plan(config=TEXTBOOK):
    best = closed_form(config)

    def nearest(choices, values):
        return (torch.tensor(choices, dtype=torch.float64) - values.unsqueeze(-1)).abs().argmin(-1)

    return Plan(config, nearest(config.hours_choices, best.hours), nearest(config.investment_choices, best.saving))


def test_far_from_the_end_the_saving_rate_is_that_of_the_textbook():
    best = closed_form(TEXTBOOK)
    assert best.far_saving == pytest.approx(0.36 * 0.96)
    assert float(best.saving[0]) == pytest.approx(best.far_saving, rel=1e-8) and float(best.saving[-1]) == 0.0
    assert float(best.saving[-2]) == pytest.approx(0.36 * 0.96 / (1 + 0.36 * 0.96))
    assert float(best.hours[0]) == pytest.approx(2 * 0.64 / (0.004 * (1 - best.far_saving)))


@pytest.mark.parametrize("disutility", ["linear", {"kind": "power", "exponent": 3.0, "usual": 500.0}])
def test_no_small_change_of_any_choice_raises_the_economys_own_reward_at_the_closed_form(disutility):
    """The slope of the discounted sum of rewards, by every saving rate and by all hours, but for the one unit."""
    config = TEXTBOOK.replace(disutility=disutility, horizon=6)
    best = closed_form(config)
    saving, hours = best.saving.clone().requires_grad_(), best.hours.clone().requires_grad_()
    total = torch.stack([flows.consumer_reward for _, flows, _ in walk(config, saving, hours)]).sum()
    by_saving, by_hours = torch.autograd.grad(total, (saving, hours))
    assert by_saving[:-1].abs().max() < 1e-3 and float(by_saving[-1]) < -0.5  # in the last period all is consumed
    assert (by_hours * best.hours).abs().max() < 1e-3
    beside = [*walk(config, saving.detach() * 1.05, hours.detach())]
    assert sum(float(flows.consumer_reward) for _, flows, _ in beside) < total.item() - 1e-4


def test_the_closed_form_is_that_of_an_independent_solver_but_for_the_one_unit():
    best, model = closed_form(TEXTBOOK), Model(0.36, 0.96, 1.0, 0.004, 5.0)
    path = solve(model, 500.0, np.full(20, 5.0))
    np.testing.assert_allclose(path.saving[:-1], best.saving[:-1], rtol=2e-4)
    np.testing.assert_allclose(path.hours, best.hours, rtol=8e-4)


@pytest.mark.parametrize("shocked", [False, True])
def test_with_partial_depreciation_the_economy_walks_the_path_of_the_independent_solver(shocked):
    """Its best saving rates and hours, imposed, lead to its capital, output and consumption, and books balance."""
    capital, hours = PARTIAL.steady_state()
    technology = 5.0 * (1.0 + (0.01 * 0.9 ** np.arange(60) if shocked else np.zeros(60)))
    best = solve(PARTIAL, 0.9 * capital, technology)
    config = TEXTBOOK.replace(depreciation=0.1, horizon=60, initial_capital=0.9 * capital)
    saving, worked = torch.from_numpy(best.saving), torch.from_numpy(best.hours)
    before = None
    for t, (state, flows, found) in enumerate(walk(config, saving, worked, technology)):
        assert float(state.capital) == pytest.approx(best.capital[t], rel=1e-9)
        assert float(flows.output) == pytest.approx(best.output[t], rel=1e-9)
        assert float(flows.consumption) == pytest.approx(best.consumption[t], rel=1e-9)
        assert max(float(x.abs().max()) for x in found.values()) < 1e-6 * best.output[t]
        # The wage is what an hour costs: theta / 2 in utility, at log utility of units plus one.
        wage = float(flows.wage_income / flows.hours)
        assert wage == pytest.approx(0.5 * 0.004 * (best.consumption[t] + 1.0), rel=1e-8)
        if before is not None:  # what a unit not consumed in the period before brings in this one is worth as much
            returns = float((flows.revenue + flows.investment - flows.wage_bill) / state.capital) + 0.9
            assert 0.96 * returns * (before + 1.0) == pytest.approx(best.consumption[t] + 1.0, rel=1e-8)
        before = best.consumption[t]
    if not shocked:
        assert best.capital[20:30] == pytest.approx(capital, rel=0.05)
        assert best.hours[25] == pytest.approx(hours, rel=0.01)


def test_a_plan_on_the_grid_is_as_near_as_the_grid_and_gains_next_to_nothing_by_another_choice():
    plan = nearest_plan()
    distances = learned(play(plan, 1, greedy=True, record=True)).distances()
    assert abs(distances["saving"]) < 0.02 and abs(distances["hours"]) < 0.02
    for agent_type in ("consumer", "firm"):
        found = euler_errors(plan, agent_type, greedy=True)
        assert found.share.shape == (20,) and (found.share >= 0.0).all() and float(found.share.max()) < 2e-3
    assert max(resource_residuals(plan, greedy=True).values()) < 1e-12


def test_measurements_have_a_row_for_each_period_and_are_drawn_beside_the_closed_form():
    rows = measured(nearest_plan())
    best = closed_form(TEXTBOOK)
    assert [row["period"] for row in rows] == list(range(1, 21))
    assert [row["best_hours"] for row in rows] == best.hours.tolist()
    assert rows[7]["saving"] == pytest.approx(0.34, rel=1e-6) and rows[7]["hours"] == 480.0  # the nearest on the grid
    assert all(0.0 <= row["firm_gain"] < 2e-3 and row["residual"] < 1e-12 for row in rows)
    saving, hours, errors = paths([{"seed": seed, **row} for seed in (0, 1) for row in rows])
    assert [len(chart.layers) for chart in (saving, hours, errors)] == [3, 3, 3]  # two runs, and the line to be near
    assert saving.layers[-1].y[7] == pytest.approx(100 * float(best.saving[7]))
    assert max(errors.layers[0].y) < 0.2


def test_one_wrong_choice_costs_what_the_formula_says():
    """Half of the best hours in a period of the middle: what they should be is found, and what that brings."""
    plan = nearest_plan()
    right, t = int(plan.hours[8]), 8
    plan.hours[t] = 11  # 240 hours
    found = euler_errors(plan, "consumer", greedy=True)
    assert int(found.choice[t]) == right and int(found.head[t]) == 1
    elasticity = 0.64 * sum((0.36 * 0.96) ** n for n in range(20 - t))  # of consumption, now and later
    expected = elasticity * math.log(480 / 240) - 0.002 * (480 - 240)
    assert float(found.gain[t]) == pytest.approx(expected, rel=2e-3)
    assert float(found.share[t]) == pytest.approx(expected, rel=2e-3)  # a share g of consumption is worth log(1 + g)


def test_no_alternative_gains_where_choices_are_imposed_and_numbers_that_are_imposed_count():
    plan = nearest_plan()
    bound = Imposed(hours=240.0).on(plan)
    assert float(euler_errors(bound, "consumer", greedy=True).share.max()) < 1e-12
    assert float(euler_errors(plan, "firm", greedy=True).share.max()) < 2e-3
    lasting = Treatment.parse({"factors": {"depreciation": [1, 0.1]}}, "law").on(plan)  # capital lasts: invest less
    assert float(euler_errors(lasting, "firm", greedy=True).share.max()) > 0.01


def test_gains_of_drawn_play_are_means_over_the_same_draws():
    class Drawn(Plan):
        """Tosses a coin between two hours."""

        def act(self, observation, generator=None, greedy=False, *, state=None):
            indices = super().act(observation, generator, greedy, state=state)
            coin = torch.randint(2, (len(state.time),), generator=generator)
            indices["consumer"][:, 0, 1] += 4 * coin
            return indices

    config = TEXTBOOK.replace(horizon=4, hours_choices=tuple(100.0 * n for n in range(1, 11)))
    plan = nearest_plan(config)
    drawn = Drawn(config, plan.hours, plan.investment)
    found = euler_errors(drawn, "consumer", episodes=512)
    # On half of the draws 500 hours in place of 900 (now), on the others as played.
    elasticity = 0.64 * sum((0.36 * 0.96) ** n for n in range(4))
    expected = 0.5 * (elasticity * math.log(500 / 900) + 0.002 * 400)
    assert int(found.choice[0]) == 4 and float(found.gain[0]) == pytest.approx(expected, rel=0.15)


def test_gains_are_of_agents_who_maximise_utility():
    plan = nearest_plan()
    with pytest.raises(ConfigError, match="firm_objective is profit; what firms gain is no share of consumption then"):
        euler_errors(Plan(TEXTBOOK.replace(firm_objective="profit"), plan.hours, plan.investment), "firm")
    with pytest.raises(ConfigError, match="agent is 1; consumers are numbered from 0 to 0"):
        euler_errors(plan, "consumer", 1)


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ({"depreciation": 0.1}, "depreciation 0.1"), ({"crra": 2.0}, "crra 2.0"), ({"utility": "cara"}, "utility cara"),
        ({"firm_objective": "profit"}, "firm_objective profit"), ({"num_consumers": 2}, "num_consumers 2"),
        ({"shocks": {"crra": {"kind": "path", "values": [1.0]}}}, "shocks.crra"),
    ],
)  # fmt: skip
def test_other_economies_have_no_closed_form(fields, missing):
    with pytest.raises(ConfigError, match=f"there is no closed form with {missing};"):
        closed_form(TEXTBOOK.replace(**fields))


def test_the_preset_is_the_textbook_case_and_its_grid_holds_the_closed_form_within_three_per_cent():
    economy = load_yaml_file(find_file("textbook"))["textbook"]["config"]["env_config"]
    config = EconomyConfig(open_economy=False, **economy)
    best = closed_form(config)
    for choices, value in ((config.hours_choices, best.hours[5]), (config.investment_choices, best.far_saving)):
        assert min(abs(choice / float(value) - 1.0) for choice in choices) < 0.03
    assert head_sizes(config, "government") == (1,)


def test_tools_that_need_posted_prices_leave_out_what_they_cannot_say_or_refuse_in_a_line():
    with pytest.raises(ConfigError, match="rules post prices and wages, and the market is clearing"):
        ScriptedPolicies(TEXTBOOK)
    with pytest.raises(ConfigError, match="logit_response needs a market of posted prices, and has market clearing;"):
        require_own_values(TEXTBOOK, "logit_response")
    assert lacks_bounds(TEXTBOOK) == "market clearing"
    assert lacks_plan(TEXTBOOK.replace(depreciation=0.0)) == "clearing market"
    assert lacks_bounds(EconomyConfig(discount=0.9)) == "discount 0.9"
    assert rule_names(TEXTBOOK, "firm") == []
    plan = nearest_plan()
    found = shopping(plan)
    assert found.share is None and found.numbers()["demand_elasticity"] == 0
    assert found.describe().startswith("markets clear")
    episodes = play(plan, 1, record=True, agents=True)
    said = indicators(episodes)
    assert said["unsold_share"] is None and said["markup"] is None and said["labour_share"] == pytest.approx(0.64)
    assert indicator_words(said, TEXTBOOK) == ["Gini: income 0.00, consumption 0.00, money 0.00"]
    wage = 0.64 * episodes.firms["output"][0, :, 0] / episodes.periods["hours"][0]
    torch.testing.assert_close(episodes.periods["wage"][0], wage)  # paid in the period, and not the one before
    torch.testing.assert_close(episodes.consumer_periods["wage"][0, :, 0], wage)
    assert not episodes.periods["unsold"].any() and float(episodes.quantities["price"][0]) == 1.0
    assert outcome(TEXTBOOK, {k: float(v.mean()) for k, v in episodes.quantities.items()}) == "living"
