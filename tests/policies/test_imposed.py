"""Imposed choices: they hold for everybody from the first choice on, and leave all other choices as they were."""

from __future__ import annotations

import pytest
import torch

from rbc_marl import ConfigError, preset
from rbc_marl.analysis.frames import to_frame
from rbc_marl.analysis.pricing import ConstantPrice
from rbc_marl.analysis.rollouts import play
from rbc_marl.analysis.situations import situations
from rbc_marl.choices import choice_tables
from rbc_marl.policies.combined import CombinedPolicies, Recording, ReplayedGovernment
from rbc_marl.policies.deviating import DeviatingPolicies, Deviation
from rbc_marl.policies.imposed import Imposed, Treatment, as_trained, chooser_of, law_of
from rbc_marl.policies.scripted import ScriptedPolicies, UniformPolicies
from rbc_marl.policies.trembles import Trembles, TremblingPolicies

CONFIG = preset("open", num_consumers=6, num_firms=3, horizon=4, investment_choices=(0.0, 0.1))
UNIFORM = UniformPolicies(CONFIG)


@pytest.mark.parametrize(
    ("imposed", "by", "first"),
    [
        ({"price": 1500.0}, "firm", 1),
        ({"wage": 22.0}, "firm", 1),
        ({"income_tax": 0.4}, "period", 1),
        ({"corporate_tax": 0.8, "income_tax": 0.2}, "period", 1),
        ({"hours": 520.0}, "consumer", 0),
    ],
)
def test_what_is_imposed_is_in_force_in_every_period_that_is_chosen_for(imposed, by, first):
    pytest.importorskip("pandas")
    frame = to_frame(play(Imposed(**imposed).on(UNIFORM), 6, agents=True), by)
    for name, value in imposed.items():
        found = frame[frame["period"] >= first][name].unique()
        assert found == pytest.approx([value])


@pytest.mark.parametrize(("bound", "held"), [("minimum_wage", 22.0), ("maximum_wage", 22.0), ("maximum_price", 500.0)])
def test_a_bound_replaces_only_what_is_beyond_it(bound, held):
    part, column = bound.partition("_")[2], {"price": 0, "wage": 1}[bound.partition("_")[2]]
    table = choice_tables(CONFIG, dtype=torch.float64).firm[:, column]
    ((agent_type, strategy),) = Imposed(**{bound: held}).strategies(CONFIG)
    assert agent_type == "firm" and held in getattr(CONFIG, f"{part}_choices")
    state = type("State", (), {"time": torch.zeros(1)})()
    everything = torch.arange(len(table)).view(1, -1, 1)
    became = table[strategy.decide(everything, {}, None, state).flatten()]
    assert torch.equal(became, table.clamp(min=held) if bound.startswith("min") else table.clamp(max=held))
    with pytest.raises(ConfigError, match="wage is imposed, and so is a bound on it; give one of them"):
        Imposed(wage=22.0, minimum_wage=11.0)
    with pytest.raises(ConfigError, match="minimum_price is 1000, above maximum_price 500; give a lower one"):
        Imposed(minimum_price=1000.0, maximum_price=500.0)


def test_other_choices_are_those_that_would_have_been_made_without():
    observation, draws = {"global": torch.zeros(5, 1)}, torch.Generator().manual_seed(0)
    state = type("State", (), {"time": torch.zeros(5)})()
    before = UNIFORM.act(observation, torch.Generator().manual_seed(0), state=state)
    after = Imposed(wage=11.0, corporate_tax=1.0).on(UNIFORM).act(observation, draws, state=state)
    assert torch.equal(before["consumer"], after["consumer"])
    wages, investments, taxes = len(CONFIG.wage_choices), 2, len(CONFIG.corporate_tax_choices)
    for index, kept in ((before["firm"], after["firm"]),):
        assert torch.equal(index // (wages * investments), kept // (wages * investments))
        assert torch.equal(index % investments, kept % investments)
        assert (kept // investments % wages == 1).all()
    assert torch.equal(before["government"] // taxes, after["government"] // taxes)
    assert (after["government"] % taxes == taxes - 1).all()


def test_nothing_imposed_changes_nothing_and_names_and_values_are_checked():
    rules = ScriptedPolicies(CONFIG)
    assert Imposed().on(rules) is rules and Imposed().chosen == {}
    with pytest.raises(ConfigError, match=r"--fix.wages is not what can be imposed; did you mean \"wage\"\?"):
        Imposed.parse({"wages": 11}, "--fix")
    with pytest.raises(ConfigError, match=r"income_tax is 0.3; it must be 0.0, 0.2, 0.4, 0.6, 0.8 or 1.0"):
        Imposed(income_tax=0.3).on(rules)


LAW = Treatment.parse({"choices": {"wage": 22.0, "income_tax": 0.4}, "factors": {"consumer_grant": [1, 3]}}, "law")
OTHER = {"firm": torch.tensor([0]), "government": torch.tensor([0])}


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda p: DeviatingPolicies(p, Deviation("firm", choice=OTHER["firm"])),
        lambda p: DeviatingPolicies(p, Deviation("firm", 1, choice=OTHER["firm"])),
        lambda p: DeviatingPolicies(p, Deviation("government", choice=OTHER["government"])),
        lambda p: TremblingPolicies(p, Trembles(wage=1.0, government=1.0)),
        lambda p: TremblingPolicies(DeviatingPolicies(p, Deviation("firm", choice=OTHER["firm"])), Trembles(wage=0.5)),
        lambda p: CombinedPolicies(p, firm=ScriptedPolicies(CONFIG), government=ScriptedPolicies(CONFIG)),
        lambda p: ReplayedGovernment(p, torch.zeros(4, 6, dtype=torch.int64)),
        lambda p: ConstantPrice(p, 1, 2),
        Recording,
    ],
)
def test_whoever_deviates_or_trembles_does_so_beneath_what_is_imposed(wrapped):
    played = play(wrapped(LAW.on(UNIFORM)), 6, record=True)
    assert played.periods["income_tax"][:, 1:] == pytest.approx(0.4)
    assert torch.equal(played.firms["wage"][:, 1:], torch.full_like(played.firms["wage"][:, 1:], 22.0))
    without = play(wrapped(UNIFORM), 6, record=True)
    assert not (without.firms["wage"][:, 1:] == 22.0).all() and not (without.periods["income_tax"][:, 1:] == 0.4).all()
    assert law_of(wrapped(LAW.on(UNIFORM))).factors == {"consumer_grant": (1.0, 3.0)}


def test_a_deviation_plays_what_is_left_to_it_and_nobody_else_draws_anything_else():
    bound, deviation = LAW.on(UNIFORM), Deviation("firm", 1, choice=torch.tensor([len(CONFIG.wage_choices) * 2 * 3]))
    both = (bound, DeviatingPolicies(bound, deviation))
    before, after = (play(policies, 6, agents=True, seed=4) for policies in both)
    assert (after.firms["price"][:, 1:, 1] == CONFIG.price_choices[3]).all()
    assert torch.equal(before.firms["price"][:, :, [0, 2]], after.firms["price"][:, :, [0, 2]])
    assert torch.equal(before.consumer_periods["hours"], after.consumer_periods["hours"])
    assert DeviatingPolicies(bound, deviation).base is UNIFORM is chooser_of(bound)


def test_factors_are_in_the_economy_that_policies_are_played_in():
    rich = Treatment.parse({"factors": {"consumer_grant": [1, 1e8]}}, "law").on(UNIFORM)
    money = [play(policies, 6, agents=True).consumer_periods["budget"] for policies in (UNIFORM, rich)]
    assert torch.equal(money[0][:, :2], money[1][:, :2]) and (money[1][:, 2:] > money[0][:, 2:] + 1e5).all()
    states = [situations(policies, 6, periods=3)[0] for policies in (UNIFORM, rich)]
    assert (states[1].consumer_budget > states[0].consumer_budget + 1e5).all()


def test_of_two_laws_the_later_counts_and_factors_multiply():
    both = Treatment.parse({"choices": {"wage": 11.0}, "factors": {"consumer_grant": [2]}}, "law").on(LAW.on(UNIFORM))
    assert law_of(both).factors == {"consumer_grant": (2.0, 6.0)}
    played = play(both, 6, record=True)
    assert (played.firms["wage"][:, 1:] == 11.0).all() and (played.periods["income_tax"][:, 1:] == 0.4).all()


def test_one_treatment_can_follow_another_and_is_saved_with_it():
    later = Treatment.parse({"choices": {"wage": 11.0}, "period": 3, "factors": {"consumer_grant": [2]}}, "law")
    both = LAW.then(later)
    assert Treatment().then(later) is later and both.chosen == {**later.chosen, "first": LAW.chosen}
    words = "wage 22, income_tax 0.4, factors on consumer_grant"
    assert both.words() == f"{words}, wage 11 from period 3, factors on consumer_grant"
    assert Treatment.parse(both.chosen, "law") == both
    assert len(both.then(LAW).parts) == 3
    one, other = (play(policies, 6, record=True) for policies in (both.on(UNIFORM), later.on(LAW.on(UNIFORM))))
    assert torch.equal(one.firms["wage"], other.firms["wage"])
    assert law_of(both.on(UNIFORM)).factors == {"consumer_grant": (2.0, 6.0)}
    assert (one.firms["wage"][:, 1] == 22.0).all() and (one.firms["wage"][:, 2:] == 11.0).all()


def test_what_is_imposed_is_read_from_what_was_saved_and_said_in_words():
    saved = UniformPolicies(CONFIG)
    assert as_trained(saved) is saved
    saved.info = {"imposed": {**LAW.chosen, "period": 3}}
    assert law_of(as_trained(saved)).factors == LAW.factors
    words = Treatment.parse(saved.info["imposed"], "law").words()
    assert words == "wage 22, income_tax 0.4 from period 3, factors on consumer_grant"
    played = play(as_trained(saved), 6, record=True)
    assert (played.periods["income_tax"][:, 2:] == 0.4).all() and not (played.periods["income_tax"][:, 1] == 0.4).all()
    saved.info = {"imposed": {"choices": {"tax": 1}}}
    with pytest.raises(ConfigError, match=r"policies\.json: info\.imposed\.choices\.tax is not what can be imposed"):
        as_trained(saved)
