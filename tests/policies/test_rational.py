"""Rational consumers: plans by hand, shelves that are empty, and more utility than buying the cheapest goods first."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from rbc_marl import EconomyConfig, decode
from rbc_marl.analysis.rollouts import evaluate, play
from rbc_marl.economy import initial_state
from rbc_marl.policies.combined import CombinedPolicies
from rbc_marl.policies.scripted import Rules, ScriptedPolicies, UniformPolicies

RATIONAL = Rules(shopping="best_basket")
# One good's utility is linear: a unit of money is worth 1 / price until ten units are bought.
LINEAR = EconomyConfig(num_consumers=1, num_firms=1, crra=0.0, labour_disutility_pareto_shape=None)
CURVED = EconomyConfig(num_consumers=1, num_firms=1, crra=1.0)


def state_of(config, **values):
    """A state with goods in stock, and some tensors replaced by lists."""
    state = initial_state(config, num_envs=1, device="cpu", dtype=torch.float32)
    values = {"inventory": [1e6] * config.num_firms} | values
    return dataclasses.replace(state, **{name: torch.tensor([value]) for name, value in values.items()})


def actions_of(config, rules=RATIONAL, greedy=True, seed=0, **values):
    state = state_of(config, **values)
    policies = ScriptedPolicies(config, rules)
    return decode(config, **policies.act({}, torch.Generator().manual_seed(seed), greedy, state=state))


@pytest.mark.parametrize(("time", "units"), [(0.0, 2.0), (5.0, 4.0), (8.0, 10.0), (9.0, 10.0)])
def test_money_is_spread_over_the_periods_that_are_left(time, units):
    values = {"price": [100.0], "wage": [0.0], "consumer_budget": [2000.0], "time": time}
    assert actions_of(CURVED, **values).demand.item() == units


def test_who_earns_more_than_there_is_spends_all():
    actions = actions_of(LINEAR, price=[100.0], wage=[0.6], consumer_budget=[250.0])
    assert actions.hours.item() == 1040.0
    assert actions.demand.item() == 3.0  # two and a half, which the budget's scaling makes of three


def test_nobody_saves_or_works_in_the_last_period():
    values = {"price": [300.0], "wage": [44.0], "consumer_budget": [1000.0]}
    before, last = (actions_of(LINEAR, time=time, **values) for time in (8.0, 9.0))
    assert before.hours.item() > 0 and last.hours.item() == 0
    assert last.demand.item() == 4.0


@pytest.mark.parametrize(
    ("wage", "hours"),
    [(0.4, 0.0), (0.6, 1040.0), (1.0, 1040.0), (2.0, 520.0), (4.0, 260.0)],
)
def test_hours_rise_until_what_they_buy_is_not_worth_them(wage, hours):
    # An hour costs theta / 2 = 0.005 and buys wage / 100 units, of which a period takes ten.
    assert actions_of(LINEAR, price=[100.0], wage=[wage], consumer_budget=[0.0]).hours.item() == hours


def test_income_tax_counts_and_the_rich_work_less():
    values = {"price": [100.0], "wage": [0.8]}
    assert actions_of(LINEAR, consumer_budget=[0.0], income_tax=0.5, **values).hours.item() == 0
    poor, rich = (actions_of(LINEAR, consumer_budget=[money], **values).hours.item() for money in (0.0, 8000.0))
    assert poor == 1040.0
    assert rich == 260.0  # of the ten units a period eight are paid for


@pytest.mark.parametrize(("work", "hours"), [("always", 1040.0), ("never", 0.0)])
def test_rational_shoppers_can_be_told_to_work_always_or_never(work, hours):
    rules = Rules(shopping="best_basket", work=work)
    assert actions_of(LINEAR, rules, price=[100.0], wage=[0.6], time=9.0).hours.item() == hours


def test_goods_of_equal_price_are_dealt_out_and_a_second_unit_waits_for_all_first_ones():
    config = EconomyConfig(num_consumers=3, num_firms=3)
    values = {"price": [500.0] * 3, "consumer_budget": [500.0, 1000.0, 2000.0], "time": 9.0}
    # Each asks for one unit too many, from its own number on.
    assert actions_of(config, **values).demand.tolist() == [[[1, 1, 0], [1, 1, 1], [2, 1, 2]]]
    drawn = {tuple(actions_of(config, greedy=False, seed=seed, **values).demand[0, 0].tolist()) for seed in range(20)}
    assert drawn == {(1.0, 1.0, 0.0), (1.0, 0.0, 1.0), (0.0, 1.0, 1.0)}


def test_nothing_is_asked_of_an_empty_shelf_and_a_share_of_one_that_ran_out():
    config = EconomyConfig(num_consumers=4, num_firms=4)
    values = {"price": [500.0] * 4, "consumer_budget": [1e6] * 4, "inventory": [0.0, 6.0, 6.0, 100.0]}
    demand = actions_of(config, overdemanded=[0.0, 1.0, 0.0, 1.0], **values).demand
    assert demand.tolist() == [[[0, 2, 10, 10]] * 4]


def test_before_anything_is_made_people_work_for_what_there_will_be():
    actions = actions_of(LINEAR, price=[100.0], wage=[0.6], inventory=[0.0], overdemanded=[1.0])
    assert actions.demand.item() == 0
    assert actions.hours.item() == 1040.0


def test_choices_out_of_order_are_understood():
    config = LINEAR.replace(consumption_choices=(3.0, 0.0, 1.0), hours_choices=(520.0, 1040.0, 0.0))
    actions = actions_of(config, price=[100.0], wage=[0.6], consumer_budget=[100.0], time=9.0)
    assert (actions.demand.item(), actions.hours.item()) == (3.0, 0.0)
    assert actions_of(config, price=[100.0], wage=[0.2], consumer_budget=[0.0]).hours.item() == 0
    assert actions_of(config, price=[100.0], wage=[0.6], consumer_budget=[0.0]).hours.item() == 520.0


@pytest.mark.parametrize(
    "fields",
    [
        {"num_consumers": 1, "num_firms": 1},
        {"initial_consumer_budget": 0.0, "consumer_grant": 0.0},
        {"price_choices": (0.0,), "initial_price": 0.0},
        {"wage_choices": (0.0,)},
        {"horizon": 1},
        {"consumption_choices": (0.0,)},
        {"consumption_choices": (2.0,), "hours_choices": (260.0,)},
        {"crra": 1.0},
        {"crra": 5.0},
        {"labour_disutility": 0.0},
    ],
)
def test_odd_economies_are_played(fields):
    config = EconomyConfig(**{"num_consumers": 3, "num_firms": 2} | fields)
    for firms in (UniformPolicies(config), ScriptedPolicies(config, "idle")):
        means = evaluate(CombinedPolicies(ScriptedPolicies(config, "rational"), firm=firms), 4).means
        assert all(value == value and abs(value) < 1e9 for value in means.values())


def test_an_economy_does_not_depend_on_its_batch():
    config = EconomyConfig(num_consumers=5, num_firms=4)
    state = initial_state(config, num_envs=6, device="cpu", dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    state = dataclasses.replace(
        state,
        price=500.0 * torch.randint(0, 6, state.price.shape, generator=generator),
        wage=11.0 * torch.randint(0, 5, state.wage.shape, generator=generator),
        inventory=40.0 * torch.rand(state.price.shape, generator=generator) * torch.tensor([1.0, 0.0, 1.0, 1.0]),
        overdemanded=torch.randint(0, 2, state.price.shape, generator=generator).float(),
        consumer_budget=9000.0 * torch.rand(state.consumer_budget.shape, generator=generator),
    )
    policies = ScriptedPolicies(config, RATIONAL)
    together = policies.act({}, greedy=True, state=state)["consumer"]
    alone = [policies.act({}, greedy=True, state=state[row : row + 1])["consumer"] for row in range(6)]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("fields", [{}, {"open_economy": False}, {"crra": 0.5}, {"initial_consumer_budget": 20000.0}])
@pytest.mark.parametrize("firms", ["random", "varied"])
def test_side_by_side_rational_consumers_do_better_than_those_who_buy_the_cheapest_first(fields, firms):
    config = EconomyConfig(num_consumers=50, num_firms=6, labour_disutility_pareto_shape=None, **fields)
    base = UniformPolicies(config) if firms == "random" else _VariedFirms(config)
    returns = play(CombinedPolicies(_SideBySide(config), firm=base), 32).returns["consumer"].mean(0)
    assert returns[::2].mean() > returns[1::2].mean() + 5.0


class _SideBySide(ScriptedPolicies):
    """Consumers of even numbers are rational, the others buy the cheapest first."""

    def act(self, observation, generator=None, greedy=False, *, state=None):
        indices = super().act(observation, generator, greedy, state=state)
        rational = ScriptedPolicies(self.config, "rational").act(observation, generator, greedy, state=state)
        indices["consumer"][:, ::2] = rational["consumer"][:, ::2]
        return indices


class _VariedFirms(UniformPolicies):
    """Each firm of each economy posts one price and one wage above 0 for good."""

    def act(self, observation, generator=None, greedy=False, *, state=None):
        num_envs, own = observation["global"].shape[0], torch.Generator().manual_seed(0)
        wages = len(self.config.wage_choices)
        price = torch.randint(1, len(self.config.price_choices), (num_envs, self.config.num_firms), generator=own)
        wage = torch.randint(1, wages, price.shape, generator=own)
        return {**super().act(observation, generator, greedy), "firm": price * wages + wage}


def test_the_economy_of_rational_consumers_is_a_known_answer():
    means = evaluate(ScriptedPolicies(EconomyConfig(), "rational"), 64).means
    monopoly = evaluate(ScriptedPolicies(EconomyConfig(), "monopoly"), 64).means
    assert means["welfare_total"] == pytest.approx(33_840, rel=0.01)
    assert means["welfare_consumers"] > monopoly["welfare_consumers"] + 300
