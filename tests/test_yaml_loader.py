"""A document is measured while it is read: one that is larger than it looks is refused, soon and with its place."""

from __future__ import annotations

import pytest

from rbc_marl.errors import ConfigError
from rbc_marl.settings import load_yaml
from rbc_marl.yaml_loader import MOST_CHARACTERS, MOST_DIGITS, MOST_KEYS, MOST_LEVELS, MOST_VALUES


def laughs(levels):
    """Aliases of aliases: nine times as many values with each level."""
    lines = ["x0: &x0 [a, a, a, a, a, a, a, a, a]"]
    lines += [f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (laughs(8), r"at line 5, column 5: there are more than 10,000 values, each counted as often as aliases name"),
        ("[" + "1," * MOST_VALUES + "]", r"there are more than 10,000 values"),
        ("\n".join(f"k{i}: 1" for i in range(10 * MOST_KEYS)), r"at line 2001, column 1: a mapping has more than"),
        ("[" * 500, rf"there are more than {MOST_LEVELS} levels"),
        ("{a: " * 500, rf"there are more than {MOST_LEVELS} levels"),
        ("&a [*a]", r"at line 1, column 5: a value stands inside itself"),
        ("a: " + "9" * (MOST_DIGITS + 1), r"a whole number has more than 308 digits"),
        ("a: 2020-13-45", r"'2020-13-45' is not a timestamp \(month must be in 1..12\)"),
        ("a: !!bool maybe", r"'maybe' is not a bool"),
        ("a: !!int b", r"'b' is not a whole number"),
        ("[a]: 1", r"a list or mapping cannot be a key"),
        ("a\x00", r"is not valid YAML.*special characters are not allowed"),
        ("a: 1\na: 2", r"a is given twice"),
        ("a: !!python/object:os.abort x", r"could not determine a constructor"),
    ],
)
def test_what_is_larger_than_it_looks_or_no_data_is_refused(text, message):
    with pytest.raises(ConfigError, match=message) as error:
        load_yaml(text, "file.yaml")
    assert str(error.value).startswith("file.yaml is not valid YAML")


def test_a_long_text_is_refused_before_it_is_read():
    with pytest.raises(ConfigError, match=r"^file\.yaml has 2,000,001 characters"):
        load_yaml("#" * (MOST_CHARACTERS + 1), "file.yaml")


def test_aliases_and_merges_of_usual_files_are_read():
    text = "a: &a {x: 1, y: [1, 2]}\nb: {<<: *a, x: 2}\nc: [*a, *a]"
    data = load_yaml(text, "file.yaml")
    assert data["b"] == {"x": 2, "y": [1, 2]} and data["c"] == [{"x": 1, "y": [1, 2]}] * 2
    nested = "[" * (MOST_LEVELS - 1) + "]" * (MOST_LEVELS - 1)
    assert load_yaml(nested, "file.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{b: {c: &c {<<: *a, x: 2}}, d: {<<: *c}}", {"b": {"c": {"x": 2, "y": 1}}, "d": {"x": 2, "y": 1}}),
        ("{b: &b {x: 3, z: 3}, c: {<<: [*a, *b]}, d: {<<: [*b, *a], y: 4}}",
         {"b": {"x": 3, "z": 3}, "c": {"x": 1, "y": 1, "z": 3}, "d": {"x": 3, "y": 4, "z": 3}}),
        ("{b: {<<: *a, <: 1}}", {"b": {"x": 1, "y": 1, "<": 1}}),
    ],
    ids=["merged again", "several", "no merge"],
)  # fmt: skip
def test_own_keys_count_first_and_then_the_mapping_named_first(text, value):
    assert load_yaml(f"[&a {{x: 1, y: 1}}, {text}]", "file.yaml")[1] == value


@pytest.mark.parametrize("text", ["a: &a [1]\nb: {<<: *a}", "b: {<<: 1}", "b: {<<: [{x: 1}, 2]}"])
def test_what_is_no_mapping_cannot_be_merged(text):
    with pytest.raises(ConfigError, match="only mappings can be merged into another"):
        load_yaml(text, "file.yaml")
