"""Rows: whole or not at all, made again if torn, refused if other settings made them."""

from __future__ import annotations

import math

import pytest

from rbc_marl import UserError
from rbc_marl.experiments.rows import RowStore, read_json


@pytest.fixture
def said():
    return []


@pytest.fixture
def store(tmp_path, said):
    return RowStore(tmp_path, said.append)


def test_a_row_comes_back_as_it_was_written_and_nothing_is_left_beside_it(store, tmp_path):
    store.write("plain,lr=0.1-1", {"outcome": "living", "hours": 1.5, "fingerprint": "a"})
    assert store.read("plain,lr=0.1-1", "a") == {"outcome": "living", "hours": 1.5, "fingerprint": "a"}
    assert store.read("plain,lr=0.1-2", "a") is None
    assert [path.name for path in (tmp_path / "rows").iterdir()] == ["plain,lr=0.1-1.json"]


@pytest.mark.parametrize("text", ["", '{"outcome": "liv', "[1, 2]", "\x00\x00"])
def test_a_torn_row_is_named_set_aside_and_counts_as_missing(store, said, text):
    store.write("a", {})
    store.path("a").write_text(text, encoding="utf-8")
    assert store.read("a", "x") is None
    (line,) = said
    assert line.startswith(f"{store.path('a')} is torn (") and line.endswith("set aside as a.json.torn and made again")
    assert store.path("a").with_name("a.json.torn").read_text(encoding="utf-8") == text
    assert store.read("a") is None and len(said) == 1
    store.write("a", {"made": "again"})
    assert store.read("a") == {"made": "again"}


def test_a_row_that_other_settings_made_is_refused(store, tmp_path):
    store.write("a", {"fingerprint": "old"})
    assert store.read("a") == {"fingerprint": "old"}
    with pytest.raises(UserError, match=r"rows/a\.json was made with other settings than a has now; .* with --out"):
        store.read("a", "new")


def test_numbers_that_are_not_finite_are_no_row(store):
    with pytest.raises(ValueError, match="JSON"):
        store.write("a", {"hours": math.nan})
    assert store.read("a") is None


def test_other_files_that_are_torn_are_named_as_well(tmp_path, said):
    (tmp_path / "sweep.json").write_text('{"invocations": [', encoding="utf-8")
    assert read_json(tmp_path / "sweep.json", said.append) is None
    assert said[0].startswith(f"{tmp_path / 'sweep.json'} is torn")
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.json.torn"]
