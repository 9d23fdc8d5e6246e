"""Errors that a user can mend."""

from __future__ import annotations

import json

import pytest

from rbc_marl.errors import ConfigError, MissingExtraError, UserError, nearest, one_of, require


def test_a_library_that_is_there_is_returned():
    assert require("json", "analysis") is json


def test_a_missing_library_is_named_with_the_extra_that_installs_it():
    with pytest.raises(
        MissingExtraError, match=r"no_such_library is not installed.*pip install 'rbc_marl\[analysis\]'"
    ) as error:
        require("no_such_library.part", "analysis")
    assert "\n" not in str(error.value)


def test_a_library_that_fails_inside_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "broken_library.py").write_text("import something_it_needs\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="something_it_needs") as error:
        require("broken_library", "analysis")
    assert not isinstance(error.value, MissingExtraError)


def test_errors_can_be_caught_as_what_they_are():
    assert issubclass(ConfigError, (UserError, ValueError))
    assert issubclass(ConfigError, ValueError)
    assert issubclass(MissingExtraError, UserError)
    assert issubclass(MissingExtraError, ImportError)


def test_the_nearest_name_is_suggested_only_if_one_is_near():
    assert nearest("intrest_rate", ["horizon", "interest_rate"]) == '; did you mean "interest_rate"?'
    assert nearest("zzz", ["horizon", "interest_rate"]) == ""
    assert nearest("a", []) == ""


@pytest.mark.parametrize(
    ("value", "known", "message"),
    [
        ("frim", ("consumer", "firm"), "kind is 'frim'; it must be consumer or firm; did you mean \"firm\"?"),
        (3, (1, 2, None), "kind is 3; it must be 1, 2 or None"),
        (["firm"], ("firm",), "kind is ['firm']; it must be firm; did you mean \"firm\"?"),
    ],
)
def test_a_value_that_is_not_known_is_refused_with_what_is_allowed(value, known, message):
    with pytest.raises(ConfigError) as caught:
        one_of(value, known, "kind")
    assert str(caught.value) == message


def test_a_known_value_comes_back():
    assert one_of("firm", ("consumer", "firm"), "kind") == "firm"
    assert one_of(None, ("firm", None), "kind") is None
