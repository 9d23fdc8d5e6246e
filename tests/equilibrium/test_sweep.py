"""Sweeps: files, runs, and what happens to a sweep that is interrupted."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rbc_marl import ConfigError
from rbc_marl.equilibrium.sweep_file import load_sweep

ROOT = Path(__file__).resolve().parents[2]
BASE = """
tiny:
  run: EconomyPPO
  env: rbc_open
  stop: {training_iteration: 2}
  config:
    env_config: {num_consumers: 4, num_firms: 2, horizon: 3}
    num_envs_per_env_runner: 2
    model: {consumer: {kind: flat, hidden: [8]}, firm: {kind: flat, hidden: [8]}, government: {kind: flat, hidden: [8]}}
"""
SWEEP = """
twins:
  base: base.yaml
  seeds: [1, 2]
  episodes: 8
  arms:
    plain: {}
    eager: {set: {lr: 1e-2, curriculum.start: {firm: 1}}, seeds: {from: 2, count: 1}}
"""


@pytest.fixture
def files(tmp_path):
    (tmp_path / "base.yaml").write_text(BASE, encoding="utf-8")
    (tmp_path / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
    return tmp_path


def command(folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "rbc_marl", "sweep", "sweep.yaml", "--workers", "2", *arguments]
    return subprocess.Popen(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def rows(folder):
    with (folder / "results" / "twins" / "table.csv").open(encoding="utf-8") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def test_a_file_gives_every_arm_its_seeds_and_the_first_seeds_come_first(files):
    sweep = load_sweep(files / "sweep.yaml")
    assert [run.key for run in sweep.runs] == ["plain-1", "eager-2", "plain-2"]
    experiment = sweep.runs[1].load(files)
    assert (experiment.seed, experiment.config.lr) == (2, 1e-2)
    assert experiment.config.curriculum == {"start": {"firm": 1}}


def test_arms_can_be_picked(files):
    assert load_sweep(files / "sweep.yaml", arms=("eager",)).arms == ("eager",)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("base: base.yaml", "base: other.yaml", "other.yaml does not exist"),
        ("base: base.yaml", "bases: base.yaml", 'twins.bases is not a setting of a sweep; did you mean "base"'),
        ("seeds: [1, 2]", "seeds: [1, -2]", "twins.arms.plain.seeds is [1, -2]"),
        ("seeds: [1, 2]", "seeds: []", "twins.arms.plain.seeds is []"),
        ("lr: 1e-2", "lrr: 1e-2", 'lrr is not a setting of EconomyPPO; did you mean "lr"'),
        ("{firm: 1}", "{bank: 1}", "curriculum.start.bank is not a part of a curriculum"),
        ("  arms:", "  armes:", "twins.armes is not a setting"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_trains(files, old, new, message):
    assert old in SWEEP
    (files / "sweep.yaml").write_text(SWEEP.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_sweep(files / "sweep.yaml")
    assert message in str(caught.value)


@pytest.mark.parametrize("path", sorted((ROOT / "rllib_configs" / "sweeps").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_sweep_can_run(path):
    sweep = load_sweep(path)
    assert all(run.seed >= 100 for run in sweep.runs)  # seeds below are for tuning


@pytest.mark.slow
def test_a_sweep_that_is_killed_goes_on_and_ends_as_an_uninterrupted_one(files):
    (files / "base.yaml").write_text(BASE.replace("training_iteration: 2", "training_iteration: 60"), encoding="utf-8")
    killed = command(files)
    done = files / "results" / "twins" / "rows"
    deadline = time.monotonic() + 200
    while not list(done.glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    first = {path: path.stat().st_mtime_ns for path in done.glob("*.json")}
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert first
    again = command(files)
    output = again.communicate(timeout=280)[0]
    assert again.returncode == 0, output
    assert "of 3 runs are done" in output and not output.startswith("0 of 3")
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in first.items())  # nothing ran again
    resumed = rows(files)
    (files / "results").rename(files / "first")
    whole = command(files)
    assert whole.wait(timeout=280) == 0
    assert rows(files) == resumed
    summary = (files / "results" / "twins" / "summary.md").read_text(encoding="utf-8")
    assert "| plain |" in summary and "| eager |" in summary
    row = json.loads((files / "results" / "twins" / "rows" / "eager-2.json").read_text(encoding="utf-8"))
    assert row["outcome"] in ("collapsed", "impaired", "living") and row["iterations"] == 60


@pytest.mark.slow
def test_a_run_that_fails_is_said_and_the_others_keep_their_rows(files):
    text = SWEEP.replace("curriculum.start: {firm: 1}", "curriculum: tests.equilibrium.test_sweep.Failing")
    (files / "sweep.yaml").write_text(text, encoding="utf-8")
    process = command(files)
    output = process.communicate(timeout=280)[0]
    assert process.returncode == 2, output
    assert "1 runs failed" in output
    assert len(list((files / "results" / "twins" / "rows").glob("plain-*.json"))) == 2


class Failing:
    """A curriculum that fails in training, not before."""

    def phase(self, iteration):
        from rbc_marl.curriculum import Phase

        if iteration:
            raise RuntimeError("planned")
        return Phase()
