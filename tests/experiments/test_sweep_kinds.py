"""Sweeps of taxes, over grids and with a scheduler, from the command to their tables."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from rbc_marl.equilibrium.study import load_study
from rbc_marl.settings import dump_yaml, load_yaml_file

ROOT = Path(__file__).resolve().parents[2]
BASE = """
tiny:
  run: EconomyPPO
  env: rbc_open
  stop: {training_iteration: 4}
  config:
    env_config: {num_consumers: 4, num_firms: 2, horizon: 3}
    num_envs_per_env_runner: 2
    curriculum: {taxes: {begin: 1, end: 2}}
    networks: {consumer: &flat {kind: flat, hidden: [8]}, firm: *flat, government: *flat}
"""
TAXES = """
taxes:
  base: base.yaml
  seeds: [1, 2]
  episodes: 8
  taxes:
    income: [0]
    corporate: [0, 0.8]
    pairs: [[0.4, 0.4]]
    coarse: {seeds: 1, keep: 1}
"""
SPECTRUM = """
spectrum:
  base: base.yaml
  seeds: [1]
  episodes: 8
  variants:
    env_config.export_quota: [10, 100]
    env_config.firm_welfare_weight: [0, 0.0025]
"""
SCHEDULED = """
scheduled:
  base: base.yaml
  seeds: [1, 2]
  episodes: 8
  set: {stop.training_iteration: 90, checkpoint_config.checkpoint_frequency: 10}
  variants:
    lr: {loguniform: [1e-4, 1e-1]}
  samples: 3
  scheduler: {asha: {metric: consumer_return, every: 10, grace: 30, reduction: 2}}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "base.yaml").write_text(BASE, encoding="utf-8")
    return tmp_path


def start(folder, text, *arguments):
    (folder / "sweep.yaml").write_text(text, encoding="utf-8")
    return in_folder(folder, "sweep.yaml", *arguments)


def in_folder(folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MPLCONFIGDIR": str(folder / "mpl")}
    words = [sys.executable, "-m", "rbc_marl", "sweep", *arguments, "--workers", "2"]
    return subprocess.Popen(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def swept(folder, text, *arguments):
    process = start(folder, text, *arguments)
    output = process.communicate(timeout=1200)[0]
    assert process.returncode == 0, output
    return output


def files_at_a_kill(process, folder, pattern, count):
    """Kill a sweep as soon as it has so many files: these, with their times, once its workers have ended too."""

    def files():
        return {path: path.stat().st_mtime_ns for path in folder.glob(pattern)}

    deadline = time.monotonic() + 200
    while len(files()) < count:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    ended, stands_since = files(), time.monotonic()
    while time.monotonic() < stands_since + 3:
        if files() != ended:
            ended, stands_since = files(), time.monotonic()
        time.sleep(0.1)
    return ended


@pytest.mark.long
def test_a_sweep_of_taxes_ends_in_a_comparison(folder):
    output = swept(folder, TAXES)
    assert "coarse grid: every pair of rates with 1 of the seeds" in output
    results = folder / "results" / "taxes"
    table = pd.read_csv(results / "table.csv")
    seeds = {arm: sorted(rows["seed"]) for arm, rows in table.groupby("arm")}
    kept = [arm for arm in ("fixed-0-0", "fixed-0-0.8") if seeds[arm] == [1, 2]]
    assert seeds["learned-total"] == seeds["learned-consumers"] == [1, 2]
    assert seeds["fixed-0.4-0.4"] == [1, 2]  # of the paper's grid
    assert 0 < len(kept) <= 2  # the best of each welfare
    fixed = table[table.policy == "fixed"]
    assert fixed.corporate_tax.tolist() == pytest.approx((fixed.corporate * 2 / 3).tolist(), abs=1e-4)
    assert table[table.policy == "learned"].shuffled_welfare_total.notna().all()
    pd.testing.assert_frame_equal(pd.read_parquet(results / "table.parquet"), table, check_dtype=False)
    comparisons = json.loads((results / "taxes.json").read_text(encoding="utf-8"))["comparisons"]
    assert [(one["welfare"], one["against"]) for one in comparisons] == [
        ("total", "every pair"),
        ("total", "equal rates of 20-80%"),
        ("consumers", "every pair"),
        ("consumers", "equal rates of 20-80%"),
    ]
    # The coarse grid's seed judges nothing where it left a pair behind.
    assert all(one["seeds"] == ([2] if one["pairs"] < one["tried"] else [1, 2]) for one in comparisons)
    assert (results / "taxes.png").stat().st_size > 5000
    assert "| learned for consumers, states shuffled |" in (results / "summary.md").read_text(encoding="utf-8")


@pytest.mark.long
def test_a_spectrum_has_a_row_per_run_and_per_group_and_says_what_welfare_is_made_of(folder):
    swept(folder, SPECTRUM, "--set", "stop.training_iteration=2")
    results = folder / "results" / "spectrum"
    table, groups = pd.read_csv(results / "table.csv"), pd.read_csv(results / "equilibria.csv")
    assert len(table) == 4 and set(table.export_quota) == {10, 100} and set(table.firm_welfare_weight) == {0, 0.0025}
    assert {"profit", "profit_share", "export_share", "price_highest", "wage_lowest"} <= set(table)
    assert set(table.group) == set(groups.group) and groups.runs.sum() == 4
    assert len(pd.read_parquet(results / "equilibria.parquet")) == len(groups)
    record = json.loads((results / "sweep.json").read_text(encoding="utf-8"))
    assert record["invocations"][0]["command"][:2] == ["rbc-marl", "sweep"]
    assert record["invocations"][0]["versions"]["torch"] and len(record["runs"]) == 4
    text = (results / "summary.md").read_text(encoding="utf-8")
    assert "What total welfare is made of" in text and "| profit in total welfare |" in text
    before = (results / "sweep.json").read_bytes()
    again = start(folder, SPECTRUM, "--set", "stop.training_iteration=3")
    output = again.communicate(timeout=1200)[0]
    assert again.returncode == 2 and "was made with other settings" in output
    assert (results / "sweep.json").read_bytes() == before
    # An arm alone changes nothing in what is known of the others.
    swept(folder, SPECTRUM, "--set", "stop.training_iteration=2", "--arm", table.arm[0])
    pd.testing.assert_frame_equal(pd.read_csv(results / "table.csv"), table)
    assert len(json.loads((results / "sweep.json").read_text(encoding="utf-8"))["runs"]) == 4


@pytest.mark.long
def test_a_scheduler_stops_runs_and_nothing_that_ended_runs_again_after_a_kill(folder):
    killed = start(folder, SCHEDULED)
    results = folder / "results" / "scheduled"
    ended = files_at_a_kill(killed, results / "rows", "*.json", 2)
    output = swept(folder, SCHEDULED)
    assert f"{len(ended)} of 6 runs are done" in output
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in ended.items())
    table = pd.read_csv(results / "table.csv")
    stopped, whole = table[table.outcome == "stopped"], table[table.outcome != "stopped"]
    assert len(stopped) >= 1 and len(whole) >= 1
    assert set(whole.iterations) == {90} and set(stopped.iterations) <= {30, 40, 50, 60, 70, 80}
    assert stopped.group.isna().all() and whole.group.notna().all()
    # Reports of a run go on where they stopped: none is missing and none is there twice.
    for path in (results / "reports").glob("*.jsonl"):
        told = [json.loads(line)["iterations"] for line in path.read_text(encoding="utf-8").splitlines()]
        assert told == list(range(10, max(told) + 1, 10))
    # What one scheduler stopped another has not: without any all runs go to their end, from where they are.
    swept(folder, SCHEDULED.partition("  scheduler:")[0])
    table = pd.read_csv(results / "table.csv")
    assert set(table.iterations) == {90} and "stopped" not in set(table.outcome)


@pytest.mark.long
def test_a_gpu_that_is_not_there_is_not_waited_for(folder):
    process = start(folder, f"{SPECTRUM}  gpus_per_trial: 64\n")
    output = process.communicate(timeout=1200)[0]
    assert process.returncode == 2 and "gpus_per_trial is 64, but Ray has" in output


SWEEPS = ROOT / "rllib_configs" / "sweeps"
# Best responses to runs of two iterations have to be made, not to be good: as these runs themselves.
BRIEF = {"iterations": 2, "episodes": 16, "selection_episodes": 8}


def with_brief_search(folder, name):
    """A copy of a shipped sweep and its bases; if it searches for best responses, then briefly, and with one seed."""
    path = shutil.copytree(SWEEPS.parent, folder / "configs") / "sweeps" / f"{name}.yaml"
    data = load_yaml_file(path)
    (sweep,) = data.values()
    if "best_response" in sweep["small"]:
        sweep["small"]["best_response"] |= BRIEF
        sweep["small"]["seeds"] = [100]
    path.write_text(dump_yaml(data), encoding="utf-8")
    return path, "best_response" in sweep["small"]


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(path.stem for path in SWEEPS.glob("*.yaml")))
def test_every_small_sweep_that_is_shipped_runs_from_its_file_to_its_tables(tmp_path, name):
    path, searches = with_brief_search(tmp_path, name)
    arms = load_study(path, small=True).arms
    # An arm of one iteration says so itself, which no --set can change.
    picked = ["untrained"] if "untrained" in arms else list(dict.fromkeys([arms[0], arms[-1]]))
    iterations = 1 if "untrained" in arms else 2
    words = [str(path), "--small", *(word for arm in picked for word in ("--arm", arm))]
    done = in_folder(tmp_path, *words, *([] if iterations == 1 else ["--set", f"stop.training_iteration={iterations}"]))
    output = done.communicate(timeout=1200)[0]
    assert done.returncode == 0, output
    table = pd.read_csv(tmp_path / "results" / f"{name}-small" / "table.csv")
    assert list(dict.fromkeys(table.arm)) == picked and set(table.iterations) == {iterations}
    assert "next: rbc-marl evaluate" in output
    living = {f"{row.arm}-{row.seed}" for row in table.itertuples() if row.outcome == "living"}
    made = {path.stem for path in (tmp_path / "results" / f"{name}-small" / "best_responses").glob("*.json")}
    assert made == (living if searches else set())
    assert living or name != "closed_spectrum"  # in which somebody trades from the first iterations on
