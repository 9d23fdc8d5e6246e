"""Rows of a sweep made anew from saved policies."""

from __future__ import annotations

import csv
import json
import sys

import pytest

from rbc_marl.cli import main
from rbc_marl.equilibrium.study import load_study, remeasure_study
from rbc_marl.errors import UserError
from rbc_marl.experiments.rows import HASH, RowStore
from rbc_marl.experiments.sweep import remeasure, run_one
from tests.equilibrium.economies import plant
from tests.experiments.test_sweep import BASE, SWEEP


@pytest.fixture
def files(tmp_path):
    (tmp_path / "base.yaml").write_text(BASE, encoding="utf-8")
    (tmp_path / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
    return tmp_path


def test_rows_are_made_anew_without_training(files, monkeypatch, capsys):
    def training(*_, **__):
        raise AssertionError("nothing is to be trained")

    monkeypatch.setattr("rbc_marl.experiments.run.train", training)
    plant(files / "checkpoint_000001")
    asked = []
    monkeypatch.setattr(
        "rbc_marl.experiments.sweep.checkpoint_of",
        lambda run, _: asked.append(run.key) or files / "checkpoint_000001",
    )
    study, store = load_study(files / "sweep.yaml"), RowStore(files / "out")
    first, second, third = study.runs
    old = {"arm": first.arm, "seed": first.seed, "outcome": "living", "hours": -1.0, "price_demand": -0.5}
    store.write(first.key, {**old, "iterations": 7, "seconds": 1.5, HASH: first.fingerprint})
    failed = {"arm": second.arm, "seed": second.seed, "outcome": "failed", "error": "nan", HASH: second.fingerprint}
    store.write(second.key, failed)

    monkeypatch.chdir(files)
    words = ["rbc-marl", "sweep", "sweep.yaml", "--out", "out", "--remeasure"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit, match=r"^0$"):
        main(words[1:])
    said = capsys.readouterr().out
    assert "What their economies do" in said and "results: out" in said
    row = store.read(first.key, first.fingerprint)
    assert (row["iterations"], row["seconds"]) == (7, 1.5)
    assert row["hours"] == 0.0 and "employment" in row and "price_demand" not in row  # nobody works there
    assert store.read(second.key) == failed and store.read(third.key) is None and asked == [first.key]
    with (files / "out" / "table.csv").open(encoding="utf-8") as file:
        assert [line["hours"] for line in csv.DictReader(file)] == ["0.0", ""]
    record = json.loads((files / "out" / "sweep.json").read_text(encoding="utf-8"))
    assert record["invocations"][-1]["command"] == words


def test_a_sweep_without_rows_has_nothing_to_measure(files):
    with pytest.raises(UserError, match="holds no runs of twins; leave out --remeasure to train them"):
        remeasure_study(load_study(files / "sweep.yaml"), files / "out")


def test_a_checkpoint_that_is_gone_is_named(files):
    study = load_study(files / "sweep.yaml")
    run = study.runs[0]
    row = {"arm": run.arm, "seed": run.seed, "outcome": "living", "iterations": 1, "seconds": 1.0}
    RowStore(files / "out").write(run.key, {**row, HASH: run.fingerprint})
    with pytest.raises(UserError, match="holds no checkpoint"):
        remeasure(study, files / "out")


@pytest.mark.slow
@pytest.mark.usefixtures("ray_running")
def test_what_was_just_measured_is_measured_again(files):
    study, said = load_study(files / "sweep.yaml"), []
    row = run_one(study.runs[0], files / "out")
    remeasure(study, files / "out", said.append)
    assert RowStore(files / "out").read(study.runs[0].key) == row
    assert len(said) == 1 and "trade in" in said[0]
