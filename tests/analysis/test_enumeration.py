"""Economies so small that every deviation can be tried: searches stay below the best, and upper bounds above."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from rbc_marl import EconomyConfig
from rbc_marl.analysis.constants import scan
from rbc_marl.analysis.deviators import Deviator
from rbc_marl.analysis.gains import measure
from rbc_marl.analysis.rollouts import play
from rbc_marl.analysis.searches import SEARCHES, find
from rbc_marl.analysis.upper_bounds import PathRecorder, upper_bounds
from rbc_marl.choices import head_sizes
from rbc_marl.policies.deviating import DeviatingPolicies
from rbc_marl.policies.scripted import ScriptedPolicies, UniformPolicies
from rbc_marl.policies.trembles import Trembles

# The other consumer can pay whatever it asks for and nobody looks at anything: the path is the same whatever consumer 0
# does, but for what it pays into the pool itself.
TINY = EconomyConfig(
    num_consumers=2,
    num_firms=1,
    horizon=3,
    open_economy=False,
    crra=0.5,
    labour_disutility=0.1,
    initial_price=10.0,
    initial_wage=1.0,
    initial_inventory=1000.0,
    initial_consumer_budget=(25.0, 1e5),
    initial_capital=100.0,
    labour_exponent=0.5,
    consumption_choices=(0.0, 1.0, 2.0, 4.0),
    hours_choices=(0.0, 10.0),
    price_choices=(5.0, 10.0),
    wage_choices=(0.5, 1.0, 3.0),
    investment_choices=(0.0,),
    income_tax_choices=(0.0, 0.5),
    corporate_tax_choices=(0.0, 0.5),
)
ECONOMIES = {
    "plain": TINY,
    "interest": TINY.replace(interest_rate=0.2),
    "dividends": TINY.replace(dividend_share=0.7),
    "rationed": TINY.replace(initial_inventory=2.0, technology=0.1, corporate_tax_choices=(0.0,)),
    "two-periods-and-log": TINY.replace(horizon=2, crra=1.0),
    "debt-penalty": TINY.replace(consumer_debt_penalty=1.0, initial_consumer_budget=(0.0, 1e5)),
}
EPISODES = 8


def every_schedule(config, agent_type):
    """All schedules [K, T, H] that an agent of a type can follow."""
    joint = list(product(*(range(size) for size in head_sizes(config, agent_type))))
    return torch.tensor(list(product(joint, repeat=config.horizon)))


class SameDraws:
    """Policies that look at nothing, of which many copies of a few episodes make the same draws."""

    def __init__(self, base, episodes):
        self.base, self.episodes = base, episodes
        self.config, self.encoding, self.device = base.config, base.encoding, base.device

    def act(self, observation, generator=None, greedy=False, *, state=None):
        copies = len(observation["global"]) // self.episodes
        few = self.base.act({"global": observation["global"][: self.episodes]}, generator)
        return {name: x.repeat(copies, *[1] * (x.dim() - 1)) for name, x in few.items()}


def every_return(policies, deviator, episodes=EPISODES, seed=1):
    """Returns [K, N] of all schedules on the same episodes."""
    schedules = every_schedule(policies.config, deviator.agent_type)
    copies = DeviatingPolicies(
        SameDraws(policies, episodes), deviator.deviation(choice=schedules.repeat_interleave(episodes, dim=0))
    )
    rows = len(schedules) * episodes
    return deviator.returns(play(copies, rows, seed, slab=rows)).view(len(schedules), episodes)


def bounds(policies, consumer=0, episodes=EPISODES, seed=1, steps=400):
    recorder = PathRecorder(policies.config, (consumer,))
    play(policies, episodes, seed, watch=recorder)
    return upper_bounds(policies.config, recorder.path(), steps)[0][:, 0]


@pytest.mark.parametrize("name", ECONOMIES)
def test_what_is_found_is_no_more_than_the_best_and_the_bound_no_less(name):
    policies, deviator = UniformPolicies(ECONOMIES[name]), Deviator("consumer", 0)
    baseline = deviator.returns(play(policies, EPISODES, 1))
    exact = every_return(policies, deviator).amax(0)  # of a consumer who knows each episode
    assert torch.equal(deviator.returns(play(SameDraws(policies, EPISODES), EPISODES, 1)), baseline)
    upper = bounds(policies)
    assert (exact >= baseline).all() and (exact > baseline + 0.1).any()
    assert (upper >= exact).all()
    assert (bounds(policies, steps=3) >= upper).all()  # a poor search for multipliers gives a bound as well
    constant = scan(policies, deviator, 64, seed=5)[0]
    candidates = find(policies, deviator, tuple(SEARCHES), constant, 64, seed=5)
    best = deviator.plays(candidates[0].plan, policies)
    gains = measure(policies, deviator, {"searched": best}, EPISODES, 1, Trembles())
    assert gains["baseline"] == pytest.approx(float(baseline.mean()))
    assert 0.0 < gains["searched"]["gain"] <= float((exact - baseline).mean()) <= gains["upper"]["gain"]
    assert gains["upper"]["gain"] == pytest.approx(float((upper - baseline).mean()))
    assert gains["own_effect"]["gain"] == pytest.approx(0.0, abs=0.4)


@pytest.mark.parametrize("name", ["plain", "interest"])
def test_a_bound_is_close_where_units_and_hours_are_many(name):
    config = ECONOMIES[name].replace(
        horizon=2, consumption_choices=tuple(0.25 * i for i in range(17)), hours_choices=(0.0, 2.5, 5.0, 7.5, 10.0)
    )
    policies, deviator = UniformPolicies(config), Deviator("consumer", 0)
    upper, exact = bounds(policies, episodes=4), every_return(policies, deviator, episodes=4).amax(0)
    assert ((upper - exact) / exact).max() < 0.02 and (upper >= exact).all()


def test_the_best_schedule_of_a_firm_is_found():
    # Labour makes goods that can be sold in the next period: the best firm pays at first, and nothing at the end.
    config = TINY.replace(
        initial_wage=0.0, initial_inventory=4.0, technology=0.5, wage_choices=(0.0, 1.0), income_tax_choices=(0.0,)
    )
    policies, deviator = ScriptedPolicies(config, {"price": 5.0, "wage": 1.0}), Deviator("firm", 0)
    schedules = every_schedule(config, "firm").unsqueeze(1)
    exact = max(
        float(deviator.returns(play(DeviatingPolicies(policies, deviator.deviation(choice=x)), 2, 1)).mean())
        for x in schedules
    )
    constant = scan(policies, deviator, 8)[0]
    found = {}
    for name in ("schedules", "rules"):
        best = find(policies, deviator, [name], constant, 8, seed=3)[0]
        found[name] = measure(policies, deviator, {"searched": deviator.plays(best.plan, policies)}, 2, 1, Trembles())
    always = measure(policies, deviator, {"constant": deviator.deviation(choice=constant)}, 2, 1, Trembles())
    gain = exact - always["baseline"]
    assert found["schedules"]["searched"]["gain"] == pytest.approx(gain)
    assert always["constant"]["gain"] < gain and found["rules"]["searched"]["gain"] <= gain + 1e-6
    assert always["upper"] is always["own_effect"] is None
