"""Settings of every kind of file: one-line messages, overrides, names of classes, and lines."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import pytest
import torch
from pydantic import Field, model_validator

from rbc_marl.errors import ConfigError
from rbc_marl.settings import (
    Many,
    Section,
    dump_yaml,
    line_numbers,
    load_named,
    load_yaml,
    load_yaml_file,
    merged,
    parse_set,
    plain,
    with_value,
)


class Wheel(Section):
    noun: ClassVar[str] = "a setting of a wheel"

    size: Annotated[int, Field(ge=1)]
    kind: Literal["wood", "steel"] = "wood"


class Cart(Section):
    noun: ClassVar[str] = "a setting of a cart"

    wheels: Many[Wheel] = ()
    spare: Wheel | Literal["none"] = "none"
    load: Annotated[float, Field(ge=0, le=10)] | None = None
    spokes: Many[int] = ()
    by_name: dict[str, Wheel] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _not_overloaded(self) -> Self:
        if self.load and not self.wheels:
            raise ValueError("wheels is empty; give one at least")
        return self


def refusal(data):
    with pytest.raises(ConfigError) as caught:
        Cart.parse(data, "cart")
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"whels": []}, 'cart.whels is not a setting of a cart; did you mean "wheels"?'),
        ({"wheels": [{"size": 0}]}, "cart.wheels.0.size is 0; it must be at least 1"),
        ({"wheels": [{"size": 1}, {}]}, "cart.wheels.1.size is missing; give it"),
        ({"wheels": [{"size": 1, "knd": 2}]}, 'cart.wheels.0.knd is not a setting of a wheel; did you mean "kind"?'),
        ({"wheels": [{"size": 1, "kind": "stel"}]}, "cart.wheels.0.kind is 'stel'; it must be 'wood' or 'steel'; did "),
        ({"wheels": 3}, "cart.wheels is 3; it must be a list"),
        ({"wheels": [3]}, "cart.wheels.0 is 3; it must be a mapping with size, kind"),
        ({"spare": {"size": True}}, "cart.spare.size is True; it must be a whole number"),
        ({"by_name": {"left": {"size": 1.5}}}, "cart.by_name.left.size is 1.5; it must be a whole number"),
        ({"load": "1"}, "cart.load is '1'; it must be a number"),
        ({"load": 11}, "cart.load is 11; it must be at most 10"),
        ({"load": float("nan")}, "cart.load is nan; it must be a finite number"),
        ({"load": 1}, "cart.wheels is empty; give one at least"),
        ({1: 2}, "cart.1 is not a setting of a cart"),
        (3, "cart is 3; it must be a mapping with wheels, spare, load, spokes, by_name"),
    ],
)
def test_a_message_has_the_path_the_value_and_what_is_allowed(data, message):
    assert refusal(data).startswith(message)


def test_in_python_the_path_begins_with_the_field():
    with pytest.raises(ConfigError, match=r"^wheels.0.size is 0; it must be at least 1$"):
        Cart(wheels=[{"size": 0}])


def test_a_section_is_taken_as_it_is_and_none_is_an_empty_one():
    cart = Cart(spokes=[1, 2])
    assert Cart.parse(cart, "cart") is cart
    assert Cart.parse(None, "cart") == Cart()
    assert cart.spokes == (1, 2)


@pytest.mark.parametrize(
    "value", [np.array([1, 2]), [np.int64(1), np.int64(2)], range(1, 3), torch.tensor([1, 2]), np.arange(1, 3)]
)
def test_numbers_of_other_libraries_are_taken_where_plain_ones_are(value):
    assert Cart(spokes=value).spokes == (1, 2)
    assert all(type(spoke) is int for spoke in Cart(spokes=value).spokes)


def test_classes_and_texts_are_plain_as_they_are():
    assert plain({np.str_("a"): (np.float64(0.5), "b", np.ndarray)}) == {"a": (0.5, "b", np.ndarray)}


def test_data_is_merged_key_by_key_and_a_word_takes_a_key_out():
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 3}
    assert merged(base, {"a": {"c": [3], "e": None}}) == {"a": {"b": 1, "c": [3], "e": None}, "d": 3}
    assert merged(base, {"a": {"b": "unset"}, "d": "unset", "x": "unset"}) == {"a": {"c": [1, 2]}}
    assert merged(base, {"a": 5}) == {"a": 5, "d": 3}
    assert merged({"a": 5}, {"a": {"b": {"c": 1, "d": "unset"}}}) == {"a": {"b": {"c": 1}}}
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 3}


def test_one_value_is_put_into_a_copy():
    tree = {"a": {"b": 1}, "c": None}
    assert with_value(tree, ("a", "x"), 2) == {"a": {"b": 1, "x": 2}, "c": None}
    assert with_value(tree, ("c", "d"), 2)["c"] == {"d": 2}
    assert with_value(tree, ("a", "b"), "unset") == {"a": {}, "c": None}
    assert tree == {"a": {"b": 1}, "c": None}
    with pytest.raises(ConfigError, match="b is 1 in the file, not a mapping"):
        with_value(tree, ("a", "b", "c"), 2)


def test_a_word_of_the_command_line_is_a_key_and_a_value():
    assert parse_set("a.b=1e-3") == (["a", "b"], 0.001)
    assert parse_set("a={b: [1, x]}") == (["a"], {"b": [1, "x"]})
    for text in ("a", "a..b=1", "=1"):
        with pytest.raises(ConfigError, match="write it as key=value"):
            parse_set(text)


def is_section(named):
    return issubclass(named, Section)


@pytest.mark.parametrize("dotted", ["rbc_marl.config.EconomyConfig", "rbc_marl.config:EconomyConfig"])
def test_a_class_is_found_by_its_dotted_name(dotted):
    assert load_named(dotted, "x", is_section, "a section").__name__ == "EconomyConfig"


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("os.abort", 'x is "os.abort", which is not a section; name one as package.module.Class'),
        ("builtins.dict", 'x is "builtins.dict", which is not a section'),
        ("a." * 30 + "A", f'x is "{"a." * 30}A", which is not a section'),  # imports within imports
        ("no.such.Thing", 'x is "no.such.Thing", which cannot be imported (No module named'),
        ("numpy.no_such", 'x is "numpy.no_such", which cannot be imported'),
        ("word", 'x is "word", which cannot be imported'),
    ],
)
def test_another_thing_than_is_meant_is_refused_uncalled(named, message):
    with pytest.raises(ConfigError) as caught:
        load_named(named, "x", is_section, "a section")
    assert str(caught.value).startswith(message)


def test_a_message_gets_the_line_of_the_setting_that_it_begins_with(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("a:\n  b: 1\n", encoding="utf-8")
    second.write_text("a:\n  c:\n    d.e: 2\n", encoding="utf-8")

    def located(message):
        with pytest.raises(ConfigError) as caught, line_numbers(first, second):
            raise ConfigError(message)
        return str(caught.value)

    assert located("a.b is 1; no") == "a.b is 1; no (line 2 of first.yaml)"
    assert located("a.c.d.e is 2; no") == "a.c.d.e is 2; no (line 3 of second.yaml)"
    assert located("a.c.x is missing") == "a.c.x is missing (line 2 of second.yaml)"
    assert located("a is wrong") == "a is wrong"  # the name alone says nothing
    assert located("nothing of it") == "nothing of it"


def test_yaml_follows_1_2_and_comes_back_as_it_was(tmp_path):
    data = {"a": 0.001, "b": ["yes", "1:30", None], "c": {"d": 10}}
    assert load_yaml("{a: 1e-3, b: ['yes', '1:30', null], c: {d: 010}}", "x") == data
    assert load_yaml("x: 1:30", "x") == {"x": "1:30"}
    assert load_yaml(dump_yaml(data), "x") == data
    with pytest.raises(ConfigError, match="x is not valid YAML at line 2, column 1: a is given twice"):
        load_yaml("a: 1\na: 2\n", "x")
    with pytest.raises(ConfigError, match="does not exist; give the path of a YAML file"):
        load_yaml_file(tmp_path / "none.yaml")
