"""Errors that a user can mend."""

from __future__ import annotations

import json

import pytest

from rbc_marl.errors import (
    LONGEST_MESSAGE,
    ConfigError,
    MissingExtraError,
    UserError,
    check_writable,
    nearest,
    one_of,
    require,
    shown,
)


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


def test_a_message_is_one_line_whatever_it_quotes():
    message = str(ConfigError("lr: Validation failed\n  because:\n\x1b[2Ja\u2028b\x00"))
    assert message == "lr: Validation failed because: \\x1b[2Ja b\\x00"
    assert message.isprintable()


def test_a_message_of_many_causes_keeps_its_beginning_and_its_end():
    message = str(UserError("file.yaml: " + "a cause, " * 1000 + "mend it"))
    assert len(message) <= LONGEST_MESSAGE and message.startswith("file.yaml: a cause") and message.endswith("mend it")


@pytest.mark.parametrize(
    ("value", "text"),
    [((1, 2), "[1, 2]"), ("a\nb", r"'a\nb'"), (object(), "a object"), (print, "a builtin_function_or_method")],
)
def test_values_in_messages_are_short_and_have_no_addresses(value, text):
    assert shown(value) == text
    assert len(shown("x" * 10_000)) < 300


def test_a_folder_that_cannot_be_written_is_refused_and_nothing_is_left(tmp_path):
    check_writable(tmp_path / "a" / "b", "give --out")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/a cannot be written \(Not a directory: .*file\); give --out FOLDER"):
        check_writable(tmp_path / "file" / "a", "give --out FOLDER")
