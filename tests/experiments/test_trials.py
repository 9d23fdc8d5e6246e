"""Pieces of work: each is done once, one that fails is said, and the others keep their results."""

from __future__ import annotations

import builtins
import json
from dataclasses import dataclass

import pytest

from rbc_marl import UserError
from rbc_marl.experiments.trials import run_jobs


@dataclass(frozen=True)
class Piece:
    """Work that writes down that it was done."""

    key: str
    fails: bool = False

    def run(self, folder):
        with (folder / "log").open("a", encoding="utf-8") as file:
            file.write(f"{self.key}\n")
        if self.fails:
            raise ValueError("planned")
        return {"line": f"{self.key} is done", "value": len(self.key)}


@pytest.fixture(autouse=True)
def other_print(monkeypatch):
    """Ray's progress bars put a function of theirs in the place of print, and the old one cannot travel any more."""
    monkeypatch.setattr(builtins, "print", lambda *args, **kwargs: None)


WORKERS = [0, pytest.param(2, marks=pytest.mark.long)]


@pytest.mark.parametrize("workers", WORKERS)
def test_every_job_is_done_once_and_its_result_kept(ray_running, tmp_path, workers):
    said = []
    first = run_jobs([Piece("a"), Piece("bb")], tmp_path, workers, said.append)
    again = run_jobs([Piece("a"), Piece("bb"), Piece("ccc")], tmp_path, workers, said.append)
    assert {key: row["value"] for key, row in again.items()} == {"a": 1, "bb": 2, "ccc": 3}
    assert all(again[key] == row for key, row in first.items())
    assert sorted((tmp_path / "log").read_text(encoding="utf-8").split()) == ["a", "bb", "ccc"]
    assert said[2:] == ["2 of 3 pieces of work were done before", "3/3  ccc is done  0 s"]


@pytest.mark.parametrize("workers", WORKERS)
def test_a_job_that_fails_is_said_and_the_others_keep_their_results(ray_running, tmp_path, workers):
    with pytest.raises(UserError, match="bad failed: ValueError: planned"):
        run_jobs([Piece("good"), Piece("bad", fails=True)], tmp_path, workers, lambda text: None)
    assert json.loads((tmp_path / "rows" / "good.json").read_text(encoding="utf-8"))["value"] == 4
    assert not (tmp_path / "rows" / "bad.json").exists()
