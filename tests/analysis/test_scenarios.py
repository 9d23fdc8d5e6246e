"""Scenarios: every file that comes with the package is one, and what it changes is what is played."""

from __future__ import annotations

import pytest

from rbc_marl import ConfigError, preset
from rbc_marl.analysis.scenarios import Scenario
from rbc_marl.policies.imposed import Imposed
from rbc_marl.policies.saved import load_policies
from rbc_marl.policies.scripted import UniformPolicies
from rbc_marl.presets import preset_files, zoo

CONFIG = preset("open", num_consumers=4, num_firms=2, horizon=5)
POLICIES = UniformPolicies(CONFIG)
NAMES = sorted(preset_files("scenario"))


def scenario(**settings):
    return Scenario.parse({"question": "?", "policies": "small", **settings}, "mine.yaml")


@pytest.mark.parametrize("name", NAMES)
def test_a_scenario_of_the_package_can_be_in_its_economy(name):
    one = Scenario.load(name)
    assert one.policies in zoo() and one.question.endswith("?") and one.learn
    config = load_policies(one.policies, economy=one.economy).config
    assert load_policies(one.policies, economy={**one.economy, **one.change}).config.horizon == config.horizon
    assert one.treatment(config) and one.words(config) and 1 <= one.first <= config.horizon


def test_there_are_eight():
    assert len(NAMES) == 8


def test_a_change_of_the_economy_is_played_from_the_first_period_on():
    granted = scenario(change={"consumer_grant": 100.0})
    found = granted.respond(POLICIES, UniformPolicies(CONFIG.replace(consumer_grant=100.0)), episodes=8)
    assert found.treatment == "consumer_grant 100.0" and found.first == 1
    assert all(one.difference == 0.0 for one in found.of("hours"))
    poor = scenario(change={"production": "ces"}).respond(POLICIES, POLICIES, episodes=8)
    assert all(one.difference == 0.0 for one in poor.paths)


def test_a_reform_and_a_shock_go_together():
    both = scenario(
        reform={"values": {"income_tax": 0.8}, "period": 3},
        shocks=[{"number": "technology", "change": -0.5, "period": 2}],
    )
    treatment = both.treatment(CONFIG)
    assert treatment.choices == Imposed(income_tax=0.8) and treatment.period == 3
    assert treatment.factors["technology"][:3] == (1.0, 0.5, 1.0)
    assert both.first == 2 and both.words(CONFIG) == (
        "technology -50% in period 2, persistence 0 and income_tax 0.8 from period 3 on"
    )
    found = both.respond(POLICIES, episodes=8)
    assert found.of("output")[0].difference == 0.0 > found.of("output")[1].difference
    assert found.of("income_tax")[2].treated == pytest.approx(0.8)


def test_words_of_a_part_are_short():
    tax = {"wage_tax": {"kind": "brackets", "thresholds": [8000], "factors": [0, 3.6]}, "transfers": "poorest"}
    words = "wage_tax brackets (thresholds 8000, factors 0 3.6) and transfers poorest"
    assert scenario(change=tax).words(CONFIG) == words


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "mine.yaml: nothing changes; give a shock, a reform or a change"),
        ({"change": {"crra": 2}, "economy": {"crra": 1}}, "crra stands in economy and in change; give it once"),
        ({"reform": {"values": {"incom_tax": 0.2}, "period": 2}}, 'did you mean "income_tax"'),
        ({"chnge": {"crra": 2}}, 'did you mean "change"'),
        ({"change": {"horizon": 3}}, "change has horizon, but agents and periods are paired; give it in economy"),
        ({"change": {"economy.crra": 2}}, "change.economy.crra: leave out economy; fields of the economy"),
        ({"change": {"economy": {"crra": 2}}}, "change.economy: leave out economy; fields of the economy have"),
        ({"economy": {"env_config.crra": 2}, "change": {"crra": 1}}, "economy.env_config.crra: leave out env_config;"),
        ({"change": {"crra": 2}, "learn": -1}, "mine.yaml.learn is -1; it must be at least 0"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(settings, message):
    with pytest.raises(ConfigError) as caught:
        scenario(**settings)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_an_experiment_is_no_scenario(tmp_path):
    (tmp_path / "mine.yaml").write_text("mine: {base: small}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine\.yaml is an experiment or a sweep; a scenario begins with question"):
        Scenario.load(tmp_path / "mine.yaml")


def test_a_number_is_moved_once():
    twice = scenario(
        reform={"values": {"technology": 0.02}, "period": 3},
        shocks=[{"number": "technology", "change": -0.5, "period": 2}],
    )
    with pytest.raises(ConfigError, match="technology is in a shock and in the reform; give it once"):
        twice.treatment(CONFIG)
