"""The configuration of an economy: what it refuses, how it says so, and how it is kept."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
from hypothesis import given

from rbc_marl.config import (
    PRESETS,
    EconomyConfig,
    parse_config,
    preset,
    resolve_config,
)
from rbc_marl.errors import ConfigError
from rbc_marl.settings import load_yaml, load_yaml_file, parse_set
from tests.strategies import economies

TEN = [1.0] * 9
# (field, what is given, what the message must say after the field's name)
WRONG = [
    ("num_consumers", 0, "is 0;"),
    ("num_consumers", 2.0, "is 2.0;"),
    ("num_consumers", True, "is True;"),
    ("num_consumers", None, "is None;"),
    ("num_firms", "3", "is '3';"),
    ("num_firms", -1, "is -1;"),
    ("horizon", 0, "is 0;"),
    ("open_economy", 1, "is 1;"),
    ("open_economy", "yes", "is 'yes';"),
    ("export_quota", -1.0, "is -1.0;"),
    ("export_price", -0.01, "is -0.01;"),
    ("crra", math.nan, "is nan;"),
    ("crra", -0.1, "is -0.1;"),
    ("interest_rate", "0.1", "is '0.1';"),
    ("interest_rate", -0.2, "is -0.2;"),
    ("technology", math.inf, "is inf;"),
    ("technology", True, "is True;"),
    ("labour_disutility_pareto_shape", 0.0, "is 0.0;"),
    ("initial_price", None, "is None;"),
    ("initial_firm_budget", -5.0, "is -5.0;"),
    ("initial_firm_budget", [1.0, 2.0], "has 2 values; there are 10 firms"),
    ("initial_consumer_budget", [1.0] * 99, "has 99 values; there are 100 consumers"),
    ("initial_consumer_budget", "2000", "is '2000';"),
    ("initial_capital", 0.0, "is 0.0;"),
    ("initial_capital", "three_level", "is 'three_level';"),
    ("initial_capital", [*TEN, 1.0, 1.0], "has 11 values; there are 10 firms"),
    ("labour_exponent", 1.5, "is 1.5;"),
    ("labour_exponent", [0.5], "has 1 value"),
    ("consumption_choices", [], "is [];"),
    ("hours_choices", [0.0, math.inf], ".1 is inf;"),
    ("price_choices", [1.0, "2"], ".1 is '2';"),
    ("price_choices", 5.0, "is 5.0;"),
    ("price_choices", "12", "is '12';"),
    ("wage_choices", [-1.0], ".0 is -1.0;"),
    ("investment_choices", [0.1, 1.1], ".1 is 1.1;"),
    ("income_tax_choices", [1.2], ".0 is 1.2;"),
    ("corporate_tax_choices", [], "is [];"),
    ("welfare", "everybody", "is 'everybody';"),
    ("firm_welfare_weight", -1.0, "is -1.0;"),
    ("revenue_bonus", -1.0, "is -1.0;"),
    ("consumer_debt_scale", 0.0, "is 0.0;"),
    ("firm_debt_scale", -1.0, "is -1.0;"),
]


@pytest.mark.parametrize(("field", "value", "says"), WRONG)
def test_a_wrong_value_is_refused_in_one_line_that_names_the_field(field: str, value: object, says: str):
    with pytest.raises(ConfigError) as error:
        EconomyConfig(**{field: value})
    message = str(error.value)
    assert message.startswith(field + (says if says.startswith(".") else " " + says)), message
    assert "\n" not in message


@pytest.mark.parametrize(("field", "value", "says"), WRONG)
def test_a_wrong_value_in_a_file_is_named_with_its_full_path(field: str, value: object, says: str):
    with pytest.raises(ConfigError) as error:
        parse_config({field: value}, where="economies.first")
    assert str(error.value).startswith(f"economies.first.{field}")


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, value, says in WRONG if says.endswith(";")])
def test_the_message_says_what_is_allowed(field: str, value: object):
    with pytest.raises(ConfigError, match=r"; it must be [a-z0-9'\"]"):
        EconomyConfig(**{field: value})


def test_the_message_of_a_low_number_says_the_lowest():
    with pytest.raises(
        ConfigError, match=r"^interest_rate is -0\.2; it must be (at least|greater than or equal to) 0\b"
    ):
        EconomyConfig(interest_rate=-0.2)


def test_a_misspelt_field_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r'intrest_rate is not a field.*did you mean "interest_rate"'):
        EconomyConfig(intrest_rate=0.1)
    with pytest.raises(ConfigError, match=r'^env_config.num_firm is not a field.*did you mean "num_firms"'):
        parse_config({"num_firm": 3})
    with pytest.raises(ConfigError, match=r"^qqqqqq is not a field of an economy$"):
        EconomyConfig(qqqqqq=1)


def test_whole_numbers_are_accepted_where_numbers_are():
    config = EconomyConfig(crra=1, price_choices=[0, 500], initial_capital=100, initial_consumer_budget=0)
    assert config.crra == 1.0
    assert isinstance(config.crra, float)
    assert config.price_choices == (0.0, 500.0)
    assert config.capitals == (100.0,) * 10


def test_sequences_become_tuples_and_the_configuration_can_be_a_key():
    config = EconomyConfig(num_firms=2, labour_exponent=[0.5, 0.6], wage_choices=[1.0])
    same = EconomyConfig(num_firms=2, labour_exponent=(0.5, 0.6), wage_choices=(1.0,))
    assert config.labour_exponent == (0.5, 0.6)
    assert config.wage_choices == (1.0,)
    assert hash(config) == hash(same)
    assert {config: "here"}[same] == "here"
    assert config != EconomyConfig(num_firms=2)


def test_a_configuration_cannot_be_changed():
    config = EconomyConfig()
    for name, value in (("num_firms", 3), ("unknown", 3)):
        with pytest.raises(Exception, match="frozen"):
            setattr(config, name, value)
    with pytest.raises(Exception, match="frozen"):
        del config.num_firms
    assert config == EconomyConfig()


def test_replace_gives_a_new_validated_configuration():
    config = EconomyConfig()
    other = config.replace(num_firms=3, initial_capital=[1.0, 2.0, 3.0])
    assert other.capitals == (1.0, 2.0, 3.0)
    assert config.num_firms == 10
    with pytest.raises(ConfigError, match="there are 4 firms"):
        other.replace(num_firms=4)
    with pytest.raises(ConfigError, match="nmu_firms"):
        config.replace(nmu_firms=4)


def test_presets_are_the_open_and_the_closed_economy():
    assert set(PRESETS) == {"open", "closed"}
    assert preset("open") == EconomyConfig()
    assert preset("closed") == EconomyConfig(open_economy=False)
    assert preset("closed", num_consumers=20).num_consumers == 20
    with pytest.raises(ConfigError, match=r'unknown preset "clsoed".*did you mean "closed"'):
        preset("clsoed")


def test_whatever_names_an_economy_becomes_its_configuration():
    config = EconomyConfig(num_firms=3)
    assert resolve_config() == EconomyConfig()
    assert resolve_config("closed", num_firms=3) == EconomyConfig(open_economy=False, num_firms=3)
    assert resolve_config(config) is config
    assert resolve_config(config, horizon=3) == EconomyConfig(num_firms=3, horizon=3)
    assert resolve_config({"num_firms": 3}) == config
    assert resolve_config({"num_firms": 2}, num_firms=3) == config
    with pytest.raises(ConfigError, match="config is a int"):
        resolve_config(3)
    with pytest.raises(ConfigError, match="num_firms is 0"):
        resolve_config({"num_firms": 0})


def test_counts_by_agent_type():
    config = EconomyConfig(num_consumers=7, num_firms=3)
    assert [config.agents(agent_type) for agent_type in ("consumer", "firm", "government")] == [7, 3, 1]
    with pytest.raises(ConfigError, match='"bank" is not an agent type'):
        config.agents("bank")


def test_derived_values_follow_their_source():
    config = EconomyConfig(num_consumers=3, num_firms=3)
    assert config.firm_budgets == (66000.0,) * 3
    assert config.replace(num_consumers=5).firm_budgets == (110000.0,) * 3
    assert config.replace(initial_firm_budget=[1.0, 2.0, 3.0]).firm_budgets == (1.0, 2.0, 3.0)
    assert config.consumer_budgets == (2000.0,) * 3
    assert config.capitals == (5000.0, 10000.0, 10000.0)
    assert config.labour_exponents == (0.2, 0.3, 0.4)


@given(economies())
def test_yaml_brings_every_configuration_back(tmp_path_factory, config: EconomyConfig):
    path = tmp_path_factory.mktemp("yaml") / "economy.yaml"
    config.to_yaml(path)
    assert EconomyConfig.from_yaml(path) == config


@given(economies())
def test_a_configuration_can_be_copied_and_pickled(config: EconomyConfig):
    assert pickle.loads(pickle.dumps(config)) == config
    assert copy.deepcopy(config) == config


def read(tmp_path, text: str) -> EconomyConfig:
    path = tmp_path / "economy.yaml"
    path.write_text(text)
    return EconomyConfig.from_yaml(path)


@pytest.mark.parametrize("number", ["1e-3", "1E-3", "+1e-3", "0.001", ".001", "1.0e-3", "1e-03"])
def test_numbers_in_yaml_are_numbers(tmp_path, number: str):
    assert read(tmp_path, f"interest_rate: {number}").interest_rate == 0.001


def test_whole_numbers_in_yaml_are_those_of_yaml_1_2():
    text = "[010, 0o10, 0x1F, -3, +4, 0, 1:30, 1_000, 0b11, 1:30.5]"
    assert load_yaml(text, "x") == [10, 8, 31, -3, 4, 0, "1:30", "1_000", "0b11", "1:30.5"]
    assert parse_set("seed=010") == (["seed"], 10)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('interest_rate: "0.1"', r"^economy.yaml.interest_rate is '0.1'; it must be"),
        ("interest_rate: 1e", r"interest_rate is '1e'; it must be"),
        ("crra: .nan", r"crra is nan; it must be"),
        ("num_consumers: 1e2", r"num_consumers is 100.0; it must be"),
        ("num_consumers: [1]", r"num_consumers is \[1\]; it must be"),
        ("price_choices: []", r"price_choices is \[\]"),
        ("price_choice: [1]", r'did you mean "price_choices"'),
        ("- a", r"holds a list; it must be a mapping"),
        ("", r"holds nothing; it must be a mapping"),
        ("3", r"must be a mapping"),
        ("just text", r"must be a mapping"),
        ("a: [", r"is not valid YAML at line"),
        ("!!python/object/apply:os.getcwd []", r"is not valid YAML"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path, text: str, message: str):
    with pytest.raises(ConfigError, match=message) as error:
        read(tmp_path, text)
    assert "\n" not in str(error.value)
    assert "economy.yaml" in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml does not exist"):
        EconomyConfig.from_yaml(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml_file(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml_file(tmp_path / "binary.yaml")


def test_a_key_given_twice_is_refused_but_not_one_that_is_merged_and_changed(tmp_path):
    with pytest.raises(ConfigError, match="crra is given twice"):
        read(tmp_path, "crra: 0.1\ncrra: 0.2\n")
    (tmp_path / "merged.yaml").write_text("a: &a {x: 1}\nb: {c: &c {<<: *a, x: 2}}\nd: {<<: *c}\n", encoding="utf-8")
    assert load_yaml_file(tmp_path / "merged.yaml") == {"a": {"x": 1}, "b": {"c": {"x": 2}}, "d": {"x": 2}}


def test_yaml_can_say_nothing_for_an_optional_field(tmp_path):
    config = read(tmp_path, "labour_disutility_pareto_shape: null\ninitial_firm_budget: ~\n")
    assert config.labour_disutility_pareto_shape is None
    assert config.initial_firm_budget is None


def test_a_hash_is_kept_but_neither_sent_nor_compared():
    config, same = preset("open", num_consumers=3), preset("open", num_consumers=3)
    before = pickle.dumps(config)
    kept = hash(config)
    object.__setattr__(config, "_hash", kept + 1)
    assert hash(config) == kept + 1  # computed once
    assert config == same and hash(same) == kept == hash(config.replace(num_firms=10))
    assert pickle.dumps(config) == before and hash(pickle.loads(before)) == kept
    assert hash(config.model_copy(update={"num_firms": 3})) == hash(preset("open", num_consumers=3, num_firms=3))
