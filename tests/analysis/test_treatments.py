"""Shocks and reforms: pairs of episodes that differ by the treatment alone, told by period and by group."""

from __future__ import annotations

import csv
import io
import json

import pytest
import torch

from rbc_marl import ConfigError, EconomyConfig, VectorEconomy, preset
from rbc_marl.analysis.drawing import save
from rbc_marl.analysis.figures.responses import responses
from rbc_marl.analysis.rollouts import play
from rbc_marl.analysis.treatments import BY_GROUP, RESPONDING, Impulse, Reform, impulse, transition
from rbc_marl.policies.imposed import Imposed
from rbc_marl.policies.scripted import UniformPolicies

AR1 = {"kind": "ar1", "persistence": 0.8, "deviation": 0.1}
SIZES = {"num_consumers": 12, "num_firms": 3, "horizon": 5, "initial_wage": 22.0, "initial_inventory": 30.0}
CONFIG = preset("open", **SIZES)
MOVING = EconomyConfig(**SIZES, shocks={"technology": AR1, "workers": AR1})


def shock(**changes):
    return Impulse(**{"number": "technology", "change": -0.1, "period": 3, **changes})


@pytest.mark.parametrize("config", [CONFIG, MOVING], ids=["still", "moving"])
@pytest.mark.parametrize("number", ["technology", "export_quota", "workers", "firms"])
def test_without_a_shock_the_difference_is_exactly_zero(config, number):
    found = impulse(UniformPolicies(config), shock(number=number, change=0.0), episodes=4)
    assert {(one.difference, one.low, one.high) for one in (*found.paths, *found.means)} == {(0.0, 0.0, 0.0)}
    moved = impulse(UniformPolicies(config), shock(number=number, change=-0.99), episodes=4)
    assert any(one.difference for one in moved.paths)


@pytest.mark.parametrize("config", [CONFIG, MOVING], ids=["still", "moving"])
def test_output_answers_a_technology_shock_at_once_and_by_its_size(config):
    config = config.replace(investment_choices=(0.0,))  # capital stays, and output is linear in technology
    found = impulse(UniformPolicies(config), shock(persistence=0.5), episodes=16)
    path = found.of("output")
    assert [one.period for one in path] == [1, 2, 3, 4, 5]
    assert all(one.difference == 0.0 for one in path[:2])
    assert path[2].difference == pytest.approx(-0.1 * path[2].without, rel=1e-5)
    assert all(one.difference == 0.0 for one in found.of("hours"))  # who acts at random does not respond
    for period, left in ((4, 0.9**0.5), (5, 0.9**0.25)):
        assert path[period - 1].treated / path[period - 1].without == pytest.approx(left, rel=1e-5)


def test_a_shock_fades_as_its_process_does_or_as_it_is_told():
    assert shock().factors(CONFIG) == (1.0, 1.0, 0.9, 1.0, 1.0, 1.0)
    assert shock().factors(MOVING) == pytest.approx((1.0, 1.0, 0.9, 0.9**0.8, 0.9**0.64, 0.9**0.512))
    assert shock(persistence=1.0).factors(MOVING) == (1.0, 1.0, *[0.9] * 4)
    level = Impulse(number="export_quota", level=50.0, period=5, persistence=1.0)
    assert level.factors(CONFIG) == (1.0, 1.0, 1.0, 1.0, 0.5, 0.5)
    assert "technology -10% in period 3, persistence 0.8" in shock().words(MOVING)


def test_agents_see_an_imposed_shock_where_they_see_shocks():
    for config, is_seen in ((MOVING, True), (CONFIG, False)):
        env, seen = VectorEconomy(config, 1), []
        for factors in ({}, {"technology": (0.9,)}):
            env.impose(factors)
            seen.append(env.reset([3])["global"])
        assert torch.equal(*seen) is not is_seen


def test_means_of_groups_are_those_of_the_economy():
    found = impulse(UniformPolicies(CONFIG), shock(number="workers", change=1.0, persistence=1.0), episodes=8)
    groups = {one.group for one in found.means}
    assert len(groups) == 10 and [one.quantity for one in found.means[:3]] == list(BY_GROUP)
    sizes = [round((i + 1) * 1.2) - round(i * 1.2) for i in range(10)]
    later = found.of("consumption")[2:]
    mean = sum(size * one.difference for size, one in zip(sizes, found.means[::3], strict=True)) / 12
    assert mean == pytest.approx(sum(one.difference for one in later) / len(later), rel=1e-4, abs=1e-6)
    assert len(found.of("hours", group=10)) == 5
    (consumption,) = (one for one in found.whole if one.quantity == "consumption")
    assert consumption.difference == pytest.approx(mean, rel=1e-4, abs=1e-6) and consumption.period == 3


def test_a_reform_is_in_force_from_its_period_on():
    found = transition(UniformPolicies(CONFIG), Reform(values={"income_tax": 0.8, "hours": 0.0}, period=3), episodes=8)
    assert all(one.treated == pytest.approx(0.8) for one in found.of("income_tax")[2:])
    assert all(one.treated == 0.0 for one in found.of("hours")[2:])
    for quantity in RESPONDING:
        assert all(one.difference == 0.0 for one in found.of(quantity)[:2]), quantity
    quota = transition(UniformPolicies(CONFIG), Reform(values={"export_quota": 0.0}, period=4), episodes=8)
    exports = quota.of("exports")
    assert exports[2].difference == 0.0 and exports[3].treated == exports[4].treated == 0.0 < exports[3].without


@pytest.mark.parametrize("config", [CONFIG, MOVING], ids=["still", "moving"])
def test_a_reform_switches_on_what_is_off(config):
    policies = UniformPolicies(config)
    found = transition(policies, Reform(values={"consumption_tax": 0.25, "dividend_share": 0.5}, period=3), episodes=8)
    revenue = found.of("tax_revenue")
    assert all(one.difference == 0.0 for one in revenue[:2]) and revenue[2].difference > 0.0
    nothing = transition(policies, Reform(values={"consumption_tax": 0.0}, period=3), episodes=2)
    assert {one.difference for one in nothing.paths} == {0.0}
    fading = Impulse(number="interest_rate", change=None, level=0.2, period=2, persistence=0.5)
    assert fading.factors(config) == pytest.approx((0.0, 0.2, 0.1, 0.05, 0.025, 0.0125))


def test_a_reform_from_the_start_is_what_is_imposed():
    late, early = Imposed(price=500.0), play(Imposed(price=500.0).on(UniformPolicies(CONFIG)), 4)
    same = play(late.on(UniformPolicies(CONFIG), in_force=2), 4)
    assert all(torch.equal(early.quantities[name], same.quantities[name]) for name in early.quantities)


def test_everything_is_written_and_drawn(tmp_path):
    found = impulse(UniformPolicies(CONFIG), shock(), episodes=4, seed=2)
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    of_a_period = len(RESPONDING) + 10 * len(BY_GROUP)
    assert len(found.paths) == 5 * of_a_period and len(rows) == 6 * of_a_period  # those of means come last
    assert [row["period"] for row in rows].count("") == of_a_period and rows[-1]["period"] == ""
    assert float(rows[2]["difference"]) == found.paths[2].difference and rows[2]["group"] == ""
    assert json.loads(found.to_json())["first"] == 3
    tex = found.to_tex()
    assert r"technology -10\%" in tex and r"$\pm$" in tex and tex.count(r"\\") == len(RESPONDING) + 1
    paths, groups = found.tables()
    assert paths.row_count == len(RESPONDING) and groups.row_count == 10
    charts = responses(found)
    assert {f"response-{name}" for name in ("output", "hours")} <= {chart.name for chart in charts}
    assert all("95% intervals" in chart.caption for chart in charts)
    pytest.importorskip("matplotlib")
    assert save(charts[:1], tmp_path / "impulse.svg").stat().st_size > 1000


def test_one_consumer_one_firm_one_period():
    config = EconomyConfig(num_consumers=1, num_firms=1, horizon=1)
    found = impulse(UniformPolicies(config), shock(period=1), episodes=2)
    assert len(found.paths) == len(RESPONDING) + len(BY_GROUP) and responses(found)
    found.tables()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"number": "technolgy"}, 'number is \'technolgy\'; it must be technology, .*; did you mean "technology"'),
        ({"change": None}, "give a change such as -0.05, or a level"),
        ({"level": 0.5}, "give a change such as -0.05, or a level; and not both"),
        ({"change": -1.0}, "change is -1.0; it must be more than -1"),
        ({"change": None, "level": 0.0}, "a level of 0 has no logarithm that could fade; give persistence=1"),
        ({"period": 0}, "period is 0; it must be at least 1"),
        ({"period": 6}, "period is 6; episodes have 5"),
        ({"persistence": 1.5}, "persistence is 1.5; it must be at most 1"),
        ({"number": "interest_rate"}, "interest_rate is 0, which no change in per cent moves; give a level"),
        ({"number": "crra", "change": 5000.0}, "crra is 500.1; it must be at most 100"),
    ],
)  # fmt: skip
def test_shocks_that_cannot_be_are_refused_in_one_line(changes, message):
    with pytest.raises(ConfigError, match=message):
        impulse(UniformPolicies(CONFIG), shock(**changes), episodes=2)


def test_a_number_that_follows_a_chain_or_a_path_has_no_level_of_its_own_but_changes():
    path = {"kind": "path", "values": [0.5, 0.8]}
    config = EconomyConfig(**SIZES, shocks={"dividend_share": path})
    with pytest.raises(ConfigError, match=r"^dividend_share is what its path says; give a change such as -5%, or --"):
        transition(UniformPolicies(config), Reform(values={"dividend_share": 0.4}, period=3), episodes=2)
    with pytest.raises(ConfigError, match=r"^dividend_share is 1.6; it must be at most 1"):
        shock(number="dividend_share", change=1.0).factors(config)
    assert shock(number="dividend_share", change=-0.5).factors(config)[2] == 0.5  # though it is 0 where nothing moves


@pytest.mark.parametrize(
    ("values", "period", "message"),
    [
        ({"income_tax": 0.2}, 1, "income_tax is to be in force in period 1; give 2 to 5"),
        ({"hours": 0.0}, 6, "hours is to be in force in period 6; give 1 to 5"),
        ({"income_tax": 0.3}, 3, "income_tax is 0.3; it must be"),
        ({"tax": 0.3}, 3, "reform is 'tax'; it must be hours"),
        ({"dividend_share": 1.3}, 3, "dividend_share is 1.3; it must be at most 1"),
        ({}, 3, "values"),
    ],
)
def test_reforms_that_cannot_be_are_refused_in_one_line(values, period, message):
    with pytest.raises(ConfigError, match=message):
        transition(UniformPolicies(CONFIG), Reform(values=values, period=period), episodes=2)


def test_pairs_and_numbers_are_needed():
    with pytest.raises(ConfigError, match="episodes is 1; an interval takes at least 2"):
        impulse(UniformPolicies(CONFIG), shock(), episodes=1)
    with pytest.raises(ConfigError, match="a number gets two shocks"):
        impulse(UniformPolicies(CONFIG), [shock(), shock(period=4)], episodes=2)
    for factors in ({"technology": ()}, {"technology": (-1.0,)}, {"technolgy": (1.0,)}):
        with pytest.raises(ConfigError, match="technol"):
            VectorEconomy(CONFIG).impose(factors)
