"""Strategies of deviators: rules by name, and the best of a consumer's own alternatives."""

from __future__ import annotations

import pytest
import torch

from rbc_marl import ConfigError, EconomyConfig, VectorEconomy
from rbc_marl.choices import choice_tables
from rbc_marl.policies.deviating import DeviatingPolicies, Deviation
from rbc_marl.policies.scripted import RULES, ScriptedPolicies, UniformPolicies
from rbc_marl.policies.strategies import PAY_NOTHING, UNDERCUT, BestAlternatives, rule_by_name, rule_names
from rbc_marl.policies.trembles import Trembles, TremblingPolicies

CONFIG = EconomyConfig(
    num_consumers=4,
    num_firms=3,
    horizon=3,
    investment_choices=(0.0, 0.1),
    initial_inventory=500.0,
    initial_price=2500.0,
)
ECONOMIES = 6


def played(policies, config=CONFIG, seed=3):
    """What policies choose in every period, and the states they saw."""
    batch = VectorEconomy(config, ECONOMIES, autoreset=False)
    observation, generator = batch.reset(), torch.Generator().manual_seed(seed)
    chosen, states = [], []
    for _ in range(config.horizon):
        states.append(batch.state)
        chosen.append(policies.act(observation, generator, state=batch.state))
        observation, *_ = batch.step(chosen[-1])
    return chosen, states


def deviating(strategy, agent_type, agent, base=None):
    return DeviatingPolicies(base or UniformPolicies(CONFIG), Deviation(agent_type, agent, strategy=strategy))


def rows_of(indices):
    return choice_tables(CONFIG).firm[indices]


def test_every_rule_of_the_table_and_those_of_firms_have_a_name():
    assert rule_names(CONFIG, "consumer") == list(RULES)
    firms = rule_names(CONFIG, "firm")
    assert firms[: len(RULES)] == list(RULES)
    assert firms[len(RULES) :] == [UNDERCUT, *(PAY_NOTHING.format(k) for k in range(3))]
    assert rule_names(CONFIG, "government") == []
    with pytest.raises(ConfigError, match='"idel" is not a rule of a firm; did you mean "idle"'):
        rule_by_name("idel", UniformPolicies(CONFIG), "firm", 0)


@pytest.mark.parametrize(("agent_type", "agent"), [("consumer", 2), ("firm", 1), ("consumer", None), ("firm", None)])
def test_a_rule_of_the_table_is_followed_by_the_deviators_alone(agent_type, agent):
    base = ScriptedPolicies(CONFIG, "monopoly")
    followed, _ = played(deviating(rule_by_name("idle", base, agent_type, agent), agent_type, agent, base))
    idle, _ = played(ScriptedPolicies(CONFIG, "idle"))
    monopoly, _ = played(base)
    rows = slice(None) if agent is None else slice(agent, agent + 1)
    first = followed[0]
    if agent_type == "firm":
        assert torch.equal(first["firm"][:, rows], idle[0]["firm"][:, rows])
    else:
        assert torch.equal(first["consumer"][:, rows, -2], idle[0]["consumer"][:, rows, -2])
        assert (first["consumer"][:, rows, -2] == 0).all()
    others = torch.ones(CONFIG.agents(agent_type), dtype=torch.bool)
    others[rows] = False
    assert torch.equal(first[agent_type][:, others], monopoly[0][agent_type][:, others])
    assert torch.equal(first["government"], monopoly[0]["government"])


@pytest.mark.parametrize("agent", [None, 1])
def test_undercutting_posts_one_step_below_the_lowest_rival_and_keeps_wages(agent):
    base = UniformPolicies(CONFIG)
    chosen, states = played(deviating(rule_by_name(UNDERCUT, base, "firm", agent), "firm", agent))
    alone, _ = played(base)
    agents = range(3) if agent is None else [agent]
    for period, state in enumerate(states):
        for firm in agents:
            rivals = state.price[:, [i for i in range(3) if i != firm]].amin(1)
            below = (rivals - 500.0).clamp(min=500.0)  # the lowest price above 0
            posted = rows_of(chosen[period]["firm"][:, firm])
            assert torch.equal(posted[:, 0], below)
            if period == 0:
                assert torch.equal(posted[:, 1:], rows_of(alone[0]["firm"][:, firm])[:, 1:])
    assert len({float(x) for state in states for x in state.price.flatten()}) >= 3


def test_paying_nothing_begins_in_its_period_and_keeps_the_rest():
    base = UniformPolicies(CONFIG)
    chosen, _ = played(deviating(rule_by_name(PAY_NOTHING.format(1), base, "firm", 2), "firm", 2))
    alone, _ = played(base)
    wages = torch.stack([rows_of(now["firm"][:, 2])[:, 1] for now in chosen])
    assert wages[0].max() > 0 and (wages[1:] == 0).all()
    for now, then in zip(chosen, alone, strict=True):
        assert torch.equal(rows_of(now["firm"][:, 2])[:, [0, 2]], rows_of(then["firm"][:, 2])[:, [0, 2]])
        assert torch.equal(now["firm"][:, :2], then["firm"][:, :2])  # the others draw as they would have


@pytest.mark.parametrize("agent", [None, 3])
def test_a_consumer_takes_the_units_that_are_worth_their_money_and_works_where_it_pays(agent):
    values = torch.tensor([[2e-3], [0.5e-3], [0.0]]).expand(3, 4 if agent is None else 1)
    base = UniformPolicies(CONFIG.replace(initial_consumer_budget=1e6))
    strategy = BestAlternatives(base, values, agent)
    chosen, states = played(deviating(strategy, "consumer", agent, base), base.config)
    rows = slice(None) if agent is None else slice(agent, agent + 1)
    units = torch.arange(11.0)
    for period, state in enumerate(states):
        # Nothing binds: units are worth their utility less the value of the money they cost.
        worth = ((units + 1) ** 0.9 - 1) / 0.9 - float(values[period, 0]) * state.price.unsqueeze(-1) * units
        basket = chosen[period]["consumer"][:, rows, :3]
        if period < 2:  # by then so much has been bought that the last goods are rationed
            assert torch.equal(basket, worth.argmax(-1).unsqueeze(1).expand_as(basket))
        pay, firm = (state.wage * (1.0 - state.income_tax.unsqueeze(-1))).max(1)
        works = float(values[period, 0]) * pay.unsqueeze(-1) > 0.5 * state.labour_disutility[:, rows]
        assert torch.equal(chosen[period]["consumer"][:, rows, -2], torch.where(works, 4, 0))
        assert torch.equal(chosen[period]["consumer"][:, rows, -1], firm.unsqueeze(1).expand_as(works))


def test_a_tax_on_goods_is_to_a_consumer_what_higher_prices_are():
    plain = CONFIG.replace(initial_price=1500.0, initial_inventory=12.0, initial_consumer_budget=9000.0)
    taxed = plain.replace(initial_price=1000.0, consumption_tax=0.5)
    baskets = []
    for config in (plain, taxed):
        base = UniformPolicies(config)
        strategy = BestAlternatives(base, torch.full((3, 1), 1e-4), 0)
        baskets.append(played(deviating(strategy, "consumer", 0, base), config)[0][0]["consumer"][:, 0, :3])
    assert torch.equal(*baskets)


def test_a_schedule_is_followed_period_by_period_and_must_have_all_of_them():
    schedule = torch.tensor([[3], [17], [59]])
    chosen, _ = played(DeviatingPolicies(UniformPolicies(CONFIG), Deviation("firm", 1, choice=schedule.unsqueeze(0))))
    assert [now["firm"][:, 1].unique().tolist() for now in chosen] == [[3], [17], [59]]
    many = torch.randint(60, (ECONOMIES, 3, 1))
    chosen, _ = played(DeviatingPolicies(UniformPolicies(CONFIG), Deviation("firm", 1, choice=many)))
    assert torch.equal(torch.stack([now["firm"][:, 1] for now in chosen], dim=1), many[..., 0])
    with pytest.raises(ConfigError, match="the schedule has 2 periods; episodes have 3"):
        DeviatingPolicies(UniformPolicies(CONFIG), Deviation("firm", 1, choice=schedule[None, :2]))
    with pytest.raises(ConfigError, match="read the true state"):
        DeviatingPolicies(UniformPolicies(CONFIG), Deviation("firm", choice=schedule[None])).act(
            {"global": torch.zeros(1, 5)}
        )


@pytest.mark.parametrize(("agent_type", "agent"), [("firm", 1), ("firm", None), ("", None)])
def test_everybody_trembles_but_the_deviator_and_the_policies_draw_as_without(agent_type, agent):
    base = UniformPolicies(CONFIG)
    trembling = TremblingPolicies(base, Trembles(firm=1.0, consumer=0.5), agent_type, agent)
    batch = VectorEconomy(CONFIG, 500, autoreset=False)
    observation = batch.reset()
    steady = base.act(observation, torch.Generator().manual_seed(1), state=batch.state)
    shaken = trembling.act(observation, torch.Generator().manual_seed(1), state=batch.state)
    assert {t: x.shape for t, x in shaken.items()} == {t: x.shape for t, x in steady.items()}
    same = (steady["firm"] == shaken["firm"]).float().mean(0)
    is_steady = torch.tensor([agent_type == "firm" and agent in (None, i) for i in range(3)])
    assert (same[is_steady] == 1.0).all() and (same[~is_steady] < 0.1).all()
    moved = (steady["consumer"] != shaken["consumer"]).any(-1).float().mean()
    assert float(moved) == pytest.approx(0.5, abs=0.05)
    assert torch.equal(steady["government"], shaken["government"])
