"""Rule-based economies: each rule by hand, and the published-size economy as a known answer."""

import dataclasses

import pytest
import torch

from rbc_marl import ConfigError, VectorEconomy, decode, preset
from rbc_marl.economy import initial_state
from rbc_marl.policies.scripted import RULES, Rules, ScriptedPolicies, UniformPolicies, resolve_rules

SMALL = preset("open", num_consumers=4, num_firms=3, labour_disutility_pareto_shape=None)


def state_of(config, **values):
    """The state at the start of an episode, with some tensors replaced by lists."""
    state = initial_state(config, num_envs=1, device="cpu", dtype=torch.float32)
    return dataclasses.replace(state, **{name: torch.tensor([value]) for name, value in values.items()})


def actions_of(config, rules, state, greedy=True, seed=0):
    policies = ScriptedPolicies(config, rules)
    indices = policies.act({}, torch.Generator().manual_seed(seed), greedy, state=state)
    return decode(config, **indices)


def episode(config, rules, num_envs=1, greedy=True, seed=0):
    """Welfare of consumers and total welfare [B] of episodes, and mean hours."""
    policies = ScriptedPolicies(config, rules)
    batch = VectorEconomy(config, num_envs, autoreset=False)
    observation, generator = batch.reset(), torch.Generator().manual_seed(seed)
    consumers, firms, hours = 0.0, 0.0, 0.0
    for _ in range(config.horizon):
        indices = policies.act(observation, generator, greedy, state=batch.state)
        observation, rewards, _, flows = batch.step(indices)
        consumers = consumers + rewards["consumer"].sum(1)
        firms = firms + rewards["firm"].sum(1)
        hours += float(flows.hours.mean()) / config.horizon
    return consumers, consumers + config.firm_welfare_weight * firms, hours


def test_firms_and_government_post_the_choices_nearest_to_the_rules():
    rules = Rules(price=1900.0, wage=30.0, income_tax=0.45, corporate_tax=1.0)
    actions = actions_of(SMALL, rules, state_of(SMALL))
    assert actions.price.tolist() == [[2000.0] * 3]
    assert actions.wage.tolist() == [[33.0] * 3]
    assert actions.income_tax.item() == pytest.approx(0.4)
    assert actions.corporate_tax.item() == 1.0


def test_a_markup_is_added_to_the_wage_cost_of_a_unit_at_full_employment():
    config = SMALL.replace(
        price_choices=tuple(float(price) for price in range(0, 4000, 10)),
        initial_capital=(5000.0, 5000.0, 10000.0),
        labour_exponent=(0.2, 0.8, 0.8),
    )
    actions = actions_of(config, Rules(markup=0.2, wage=11.0), state_of(config))
    labour = 4 * 1040 / 3
    for firm, (capital, exponent) in enumerate(zip(config.capitals, config.labour_exponents, strict=True)):
        cost = 11.0 * labour / (0.01 * capital ** (1 - exponent) * labour**exponent)
        assert abs(actions.price[0, firm].item() - 1.2 * cost) <= 5.0


def test_a_monopolist_posts_the_highest_choice_whatever_it_is():
    config = SMALL.replace(price_choices=(0.0, 5000.0, 2500.0))
    assert actions_of(config, "monopoly", state_of(config)).price.tolist() == [[5000.0] * 3]
    assert actions_of(config, Rules(price=0.0), state_of(config)).price.tolist() == [[0.0] * 3]


@pytest.mark.parametrize("wage", [0.0, 11.0])
def test_a_cost_plus_price_is_the_highest_where_labour_makes_nothing(wage):
    config = SMALL.replace(labour_floor=1e9)  # more than all hours together
    assert actions_of(config, Rules(markup=0.2, wage=wage), state_of(config)).price.tolist() == [[2500.0] * 3]


@pytest.mark.parametrize(("net_wage", "hours"), [(5.01, 1040.0), (4.99, 0.0)])
def test_workers_work_where_the_real_net_wage_exceeds_half_their_disutility(net_wage, hours):
    # theta / 2 = 0.005 utility an hour, and the cheapest good costs 1000: five of money.
    state = state_of(SMALL, wage=[0.0, 2 * net_wage, 1.0], price=[1000.0, 2000.0, 2000.0], income_tax=0.5)
    assert actions_of(SMALL, Rules(), state).hours.tolist() == [[hours] * 4]


def test_nobody_works_unpaid_even_where_goods_are_free():
    state = state_of(SMALL, wage=[0.0] * 3, price=[0.0] * 3)
    assert actions_of(SMALL, Rules(), state).hours.tolist() == [[0.0] * 4]


@pytest.mark.parametrize(("work", "hours"), [("always", 1040.0), ("never", 0.0)])
def test_workers_can_be_told_to_work_always_or_never(work, hours):
    state = state_of(SMALL, wage=[0.0] * 3 if work == "always" else [44.0] * 3)
    assert actions_of(SMALL, Rules(work=work), state).hours.tolist() == [[hours] * 4]


def test_workers_join_only_the_best_payers_and_are_dealt_out_among_them():
    state = state_of(SMALL, wage=[22.0, 11.0, 22.0])
    assert actions_of(SMALL, Rules(), state).employer.tolist() == [[0, 2, 0, 2]]


def test_drawn_employers_are_best_payers_and_all_of_them():
    config = SMALL.replace(num_consumers=200)
    drawn = actions_of(config, Rules(), state_of(config, wage=[22.0, 11.0, 22.0]), greedy=False).employer
    counts = torch.bincount(drawn.flatten(), minlength=3)
    assert counts[1] == 0
    assert counts[0] > 60 and counts[2] > 60


def test_buyers_spend_their_budget_on_the_cheapest_goods_first():
    state = state_of(SMALL, price=[900.0, 100.0, 500.0], consumer_budget=[2700.0, 1000.0, 99.0, 20000.0])
    # 10 x 100 leaves 1700: 3 x 500, and 200 are too few for the dearest good.
    assert actions_of(SMALL, Rules(), state).demand.tolist() == [[[0, 10, 3], [0, 10, 0], [0, 0, 0], [10, 10, 10]]]


def test_free_goods_are_asked_for_without_a_budget():
    state = state_of(SMALL, price=[0.0, 100.0, 0.0], consumer_budget=[0.0, 0.0, 0.0, 100.0])
    assert actions_of(SMALL, Rules(), state).demand.tolist() == [[[10, 0, 10]] * 3 + [[10, 1, 10]]]


def test_goods_that_cost_alike_are_bought_from_the_consumers_own_number_on():
    state = state_of(SMALL, price=[500.0] * 3, consumer_budget=[1000.0] * 4)
    assert actions_of(SMALL, Rules(), state).demand.tolist() == [[[2, 0, 0], [0, 2, 0], [0, 0, 2], [2, 0, 0]]]


def test_drawn_goods_still_come_cheapest_first():
    config = SMALL.replace(num_consumers=200)
    state = state_of(config, price=[500.0, 100.0, 500.0], consumer_budget=[2000.0] * 200)
    demand = actions_of(config, Rules(), state, greedy=False).demand[0]
    assert bool((demand[:, 1] == 10).all())
    assert {tuple(row) for row in demand[:, [0, 2]].tolist()} == {(2.0, 0.0), (0.0, 2.0)}


def test_choices_out_of_order_are_understood():
    config = SMALL.replace(consumption_choices=(3.0, 0.0, 1.0), hours_choices=(1040.0, 0.0), wage_choices=(22.0, 11.0))
    state = state_of(config, price=[1000.0] * 3, consumer_budget=[2900.0] * 4, wage=[22.0] * 3)
    actions = actions_of(config, Rules(wage=11.0), state)
    assert actions.demand[0, 0].tolist() == [1.0, 0.0, 0.0]  # two would do, but one can choose 0, 1 or 3
    assert actions.hours[0, 0].item() == 1040.0
    assert actions.wage[0, 0].item() == 11.0


def test_the_rule_based_economy_of_published_size_is_a_known_answer():
    consumers, total, hours = episode(preset("open", export_quota=100.0), "monopoly")
    assert total.item() == pytest.approx(33138.0, abs=0.5)
    assert consumers.item() == pytest.approx(5.0, abs=0.05)
    # 59 of 100 have a disutility low enough, in nine periods of ten: the first pays no wage.
    assert hours == pytest.approx(0.9 * 0.59 * 1040)


def test_with_employers_and_shops_drawn_total_welfare_is_that_of_an_independent_prototype():
    _, total, _ = episode(preset("open", export_quota=100.0), "monopoly", num_envs=256, greedy=False)
    assert total.mean().item() == pytest.approx(31852, rel=0.01)


def test_the_same_seed_draws_the_same_actions_and_another_does_not():
    state = state_of(SMALL, wage=[11.0] * 3)
    first, again, other = (actions_of(SMALL, Rules(), state, greedy=False, seed=seed).employer for seed in (0, 0, 3))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_named_economy_plays_valid_choices(name):
    consumers, total, _ = episode(SMALL, name, num_envs=2, greedy=False)
    assert bool(torch.isfinite(consumers).all() and torch.isfinite(total).all())


def test_rules_come_as_a_name_a_mapping_or_themselves():
    assert resolve_rules("idle") is RULES["idle"]
    assert resolve_rules({"wage": 22.0}) == Rules(wage=22.0)
    assert resolve_rules(Rules(price=1.0)) == Rules(price=1.0)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("monopol", 'unknown rules "monopol".*did you mean "monopoly"'),
        ({"wages": 11.0}, 'wages is not a rule.*did you mean "wage"'),
        ({"work": "alway"}, "work is 'alway'; it must be 'worthwhile', 'always' or 'never'; did you mean \"always\""),
        ({"markup": -0.1}, "markup is -0.1; it must be at least 0"),
        ({"price": float("nan")}, "price is nan; it must be a finite number"),
        ({"price": "high"}, "price is 'high'; it must be a number"),
        ({"income_tax": 40}, "income_tax is 40; it must be a share, at most 1: for 40% give 0.4"),
    ],
)
def test_rules_that_cannot_be_are_refused_by_name(rules, message):
    with pytest.raises(ConfigError, match=message):
        ScriptedPolicies(SMALL, rules)


def test_rules_without_a_state_are_refused():
    with pytest.raises(ConfigError, match="state"):
        ScriptedPolicies(SMALL).act({})


def test_uniform_policies_draw_every_choice_and_greedy_ones_the_first():
    policies = UniformPolicies(SMALL)
    observation = VectorEconomy(SMALL, 500).reset()
    drawn = policies.act(observation, torch.Generator().manual_seed(0))
    assert drawn["firm"].unique().tolist() == list(range(30))
    assert drawn["government"].unique().tolist() == list(range(36))
    assert not any(index.any() for index in policies.act(observation, greedy=True).values())
