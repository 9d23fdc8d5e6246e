"""Trembles: how often, what is drawn, and what is left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rbc_marl import ConfigError, EconomyConfig
from rbc_marl.choices import choice_tables, firm_mask, head_sizes
from rbc_marl.config import AGENT_TYPES
from rbc_marl.economy import initial_state
from rbc_marl.policies.distributions import MASKED_LOGIT
from rbc_marl.policies.scripted import ScriptedPolicies
from rbc_marl.policies.trembles import Trembles, TremblingPolicies, tremble

CONFIG = EconomyConfig(num_consumers=20, num_firms=5, investment_choices=(0.0, 0.1))
ECONOMIES = 1000
FREE = {t: torch.zeros(sum(head_sizes(CONFIG, t))) for t in AGENT_TYPES}
FIRM = 3 * 5 * 2 + 2 * 2 + 1  # price 1500, wage 22, investment .1


def zeros(config=CONFIG, economies=ECONOMIES):
    shapes = {t: (economies, config.agents(t), len(head_sizes(config, t))) for t in AGENT_TYPES}
    return {t: torch.zeros(shape, dtype=torch.uint8) for t, shape in shapes.items()}


def trembled(log_masks=FREE, actions=None, seed=0, **rates):
    generator = torch.Generator().manual_seed(seed)
    return tremble(CONFIG, Trembles(**rates).chosen, zeros() if actions is None else actions, log_masks, generator)


@pytest.mark.parametrize("agent_type", AGENT_TYPES)
def test_a_whole_action_is_replaced_by_a_uniform_one_at_the_rate(agent_type):
    played, replaced = trembled(**{agent_type: 0.3})
    assert set(replaced) == {agent_type}
    is_replaced = replaced[agent_type]
    assert is_replaced.float().mean() == pytest.approx(0.3, abs=0.07)
    assert (played[agent_type][~is_replaced] == 0).all()
    for head, size in enumerate(head_sizes(CONFIG, agent_type)):
        drawn = played[agent_type][is_replaced][:, head].long().bincount(minlength=size)
        assert len(drawn) == size
        assert (drawn > 0).all()
    for other in set(AGENT_TYPES) - {agent_type}:
        assert (played[other] == 0).all()


@pytest.mark.parametrize(("part", "column"), [("price", 0), ("wage", 1)])
def test_a_part_of_a_firms_action_is_replaced_alone(part, column):
    actions = zeros()
    actions["firm"][:] = FIRM
    played, replaced = trembled(actions=actions, **{part: 0.5})
    table = choice_tables(CONFIG).firm
    before, after = table[FIRM], table[played["firm"].squeeze(-1).long()]
    others = [c for c in range(3) if c != column]
    assert (after[..., others] == before[others]).all()
    drawn = set(after[replaced["firm"]][:, column].tolist())
    choices = CONFIG.price_choices if part == "price" else CONFIG.wage_choices
    assert drawn == {choice for choice in choices if part == "wage" or choice > 0}
    assert (played["firm"][~replaced["firm"]] == FIRM).all()


def test_what_a_mask_forbids_is_never_drawn():
    allowed = firm_mask(CONFIG, (1000.0, 2000.0), (11.0, 22.0))
    masks = {**FREE, "firm": torch.where(allowed, 0.0, MASKED_LOGIT)}
    actions = zeros()
    actions["firm"][:] = FIRM
    for rates in ({"firm": 1.0}, {"price": 1.0}, {"wage": 1.0}):
        played, _ = trembled(masks, actions, **rates)
        assert allowed[played["firm"].long()].all()
        assert played["firm"].unique().numel() > 1


def test_an_action_stays_where_the_mask_leaves_nothing_else():
    actions = zeros()
    actions["firm"][:] = FIRM
    masks = {**FREE, "firm": torch.full_like(FREE["firm"], MASKED_LOGIT)}
    for rates in ({"firm": 1.0}, {"price": 1.0}):
        assert (trembled(masks, actions, **rates)[0]["firm"] == FIRM).all()


def test_two_kinds_of_trembles_of_firms_are_both_marked():
    actions = zeros()
    actions["firm"][:] = FIRM
    _, replaced = trembled(actions=actions, firm=0.2, price=0.2)
    assert replaced["firm"].float().mean() == pytest.approx(1 - 0.8**2, abs=0.05)


def test_draws_depend_on_the_generator_alone_and_nothing_is_drawn_without_trembles():
    first, again, other = (trembled(firm=0.5, seed=seed)[0]["firm"] for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    tremble(CONFIG, {}, zeros(), FREE, generator)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize(("given", "message"), [
    ({"firm": 1.5}, "firm is 1.5; it must be at most 1"),
    ({"prices": 0.1}, "prices is not an agent type or a part of a firm's action; did you mean .price"),
    ({"wage": "often"}, "wage is 'often'"),
])  # fmt: skip
def test_wrong_trembles_are_refused_in_a_line(given, message):
    with pytest.raises(ConfigError, match=message):
        Trembles.parse(given, "trembles")


@pytest.mark.parametrize("greedy", [False, True])
def test_trembling_policies_replace_actions_at_the_rate_and_keep_all_others(greedy):
    state, base = initial_state(CONFIG, ECONOMIES), ScriptedPolicies(CONFIG, "monopoly")
    trembling = TremblingPolicies(base, Trembles(price=0.25, government=0.5))
    generators = [torch.Generator().manual_seed(1) for _ in range(2)]
    plain, played = (p.act({}, g, greedy, state=state) for p, g in zip((base, trembling), generators, strict=True))
    assert {t: index.shape for t, index in played.items()} == {t: index.shape for t, index in plain.items()}
    assert torch.equal(played["consumer"], plain["consumer"])
    price = choice_tables(CONFIG).firm[played["firm"], 0]
    assert (price != 2500).float().mean() == pytest.approx(0.25 * 4 / 5, abs=0.03)
    assert (price > 0).all()
    assert (choice_tables(CONFIG).firm[played["firm"], 1] == 11).all()
    assert (played["government"] != 0).float().mean() == pytest.approx(0.5 * 35 / 36, abs=0.07)


def test_whoever_draws_nothing_trembles_anew_in_every_period():
    trembling = TremblingPolicies(ScriptedPolicies(CONFIG, "monopoly"), Trembles(price=1.0))
    generator, state = torch.Generator().manual_seed(1), initial_state(CONFIG, ECONOMIES)
    first = trembling.act({}, generator, greedy=True, state=state)["firm"]
    later = trembling.act({}, generator, greedy=True, state=replace(state, time=state.time + 1))["firm"]
    assert (first != later).float().mean() > 0.5


def test_without_trembles_nothing_changes():
    state, base = initial_state(CONFIG, 10), ScriptedPolicies(CONFIG, "monopoly")
    plain, played = (
        policies.act({}, torch.Generator().manual_seed(1), state=state)
        for policies in (base, TremblingPolicies(base, Trembles()))
    )
    assert all(torch.equal(plain[t], played[t]) for t in AGENT_TYPES)
