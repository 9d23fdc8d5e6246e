"""Sweeps: files, runs, and what happens to a sweep that is interrupted."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.rllib.callbacks.callbacks import RLlibCallback

from rbc_marl import ConfigError, UserError
from rbc_marl.analysis.composition import composition
from rbc_marl.analysis.indicators import indicators
from rbc_marl.analysis.rollouts import Evaluation, play
from rbc_marl.analysis.shopping import shopping
from rbc_marl.analysis.studies import table_files
from rbc_marl.cli import main
from rbc_marl.equilibrium.study import load_study
from rbc_marl.errors import NonFiniteError
from rbc_marl.experiments import together
from rbc_marl.experiments.file import Override, to_yaml
from rbc_marl.experiments.run import new_folder
from rbc_marl.experiments.sweep import _begun, checkpoint_of, describe, rows_of, run_one, run_sweep
from rbc_marl.policies.saved import load_policies
from tests.equilibrium.economies import plant

ROOT = Path(__file__).resolve().parents[2]
BASE = """
tiny:
  run: EconomyPPO
  env: rbc_open
  stop: {training_iteration: 2}
  checkpoint_config: {checkpoint_frequency: 10}
  config:
    env_config: {num_consumers: 4, num_firms: 2, horizon: 3}
    num_envs_per_env_runner: 2
    networks: {consumer: &flat {kind: flat, hidden: [8]}, firm: *flat, government: *flat}
"""
SWEEP = """
twins:
  report: false
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
    sweep = load_study(files / "sweep.yaml")
    assert [run.key for run in sweep.runs] == ["plain-1", "eager-2", "plain-2"]
    experiment = sweep.runs[1].build(files)
    assert (experiment.seed, experiment.config.lr) == (2, 1e-2)
    assert experiment.resolved["config"]["curriculum"] == {"start": {"firm": 1}}


def test_arms_can_be_picked(files):
    sweep = load_study(files / "sweep.yaml")
    assert sweep.only(["eager"]).arms == ("eager",) and sweep.only([]) == sweep
    with pytest.raises(ConfigError, match=r'eagr is not an arm of .*did you mean "eager"'):
        sweep.only(["eagr"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("base: base.yaml", "base: other.yaml", "other.yaml does not exist"),
        ("base: base.yaml", "bases: base.yaml", 'twins.bases is not a setting of a sweep; did you mean "base"'),
        ("seeds: [1, 2]", "seeds: [1, -2]", "twins.seeds is [1, -2]; give a list of whole numbers"),
        ("seeds: [1, 2]", "seeds: []", "twins.seeds is []; give a list"),
        ("lr: 1e-2", "lrr: 1e-2", 'lrr is not a setting of EconomyPPO; did you mean "lr"'),
        ("{firm: 1}", "{bank: 1}", "curriculum.start.bank is not a part of a curriculum"),
        ("  arms:", "  armes:", "twins.armes is not a setting"),
        ("seeds: [1, 2]", "seeds: [1, 1]", "twins.seeds is [1, 1]; give each seed once"),
        ("episodes: 8", "episodes: 0", "twins.episodes is 0; it must be at least 1"),
        ("episodes: 8", "rules: monopol", 'twins.rules is \'monopol\'; it must be one of best'),
        ("episodes: 8", "groups: {hour: 1}", "twins.groups.hour is not a measure"),
        ("episodes: 8", "gpus_per_trial: -1", "twins.gpus_per_trial is -1; it must be at least 0"),
        ("episodes: 8", "scheduler: ashes", "twins.scheduler is 'ashes'; it must be asha or null; did you mean"),
        ("episodes: 8", "scheduler: {asha: {graces: 9}}", "twins.scheduler.asha.graces is not a setting of asha"),
        ("episodes: 8", "scheduler: {asha: {reduction: 1}}", "scheduler.asha.reduction is 1; it must be more than 1"),
        ("episodes: 8", "scheduler: {asha: {metric: hour}}", "asha.metric is 'hour'; it must be one of hours,"),
        ("episodes: 8", "scheduler: {asha: {every: 0}}", "twins.scheduler.asha.every is 0"),
        ("episodes: 8", "variants: {crra: [0, 1]}", "crra is not a setting of EconomyPPO"),
        ("episodes: 8", "variants: {env_config.crra: [0, -1]}", "env_config.crra is -1; it must be at least 0"),
        ("episodes: 8", "taxes: {}", "twins.taxes has arms of its own; leave out arms and variants"),
        ("episodes: 8", "small: {seed: [1]}", 'twins.small.seed is not a setting of a sweep; did you mean "seeds"'),
        ("base: base.yaml", "base: base.yaml\n  set: {lr: {grid_search: [1, 2]}}", "holds search spaces itself (lr)"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_trains(files, old, new, message):
    assert old in SWEEP
    (files / "sweep.yaml").write_text(SWEEP.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_study(files / "sweep.yaml")
    assert message in str(caught.value)


def test_a_scenario_is_no_sweep(files):
    (files / "sweep.yaml").write_text("question: Why?\npolicies: small\nchange: {crra: 1}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"sweep\.yaml is a scenario file; rbc-marl scenario .* answers its question"):
        load_study(files / "sweep.yaml")


SHIPPED = sorted((ROOT / "rllib_configs" / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_sweep_can_run(path):
    is_tuning = path.stem == "hyperparameters"
    assert all((run.seed < 100) == is_tuning for run in load_study(path).runs)  # seeds below 100 are for tuning


def test_a_dry_run_says_what_would_run_and_what_is_done_and_leaves_nothing(files, monkeypatch, capsys):
    monkeypatch.chdir(files)
    sweep = load_study("sweep.yaml")
    done = files / "out" / "rows" / "plain-1.json"
    done.parent.mkdir(parents=True)
    done.write_text(json.dumps({"outcome": "living", "fingerprint": sweep.runs[0].fingerprint}), encoding="utf-8")
    words = ["rbc-marl", "sweep", "sweep.yaml", "--out", "out", "--dry-run"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit, match=r"^0$"):
        main(words[1:])
    assert capsys.readouterr().out.splitlines() == [
        "twins: 3 runs, 1 of them done",
        "  plain: base.yaml; seeds 1-2",
        '  eager: base.yaml with lr=0.01 curriculum.start={"firm": 1}; seeds 2',
        "  results: out",
        "next: rbc-marl sweep sweep.yaml --out out",
    ]
    assert sorted(path.name for path in files.rglob("*")) == ["base.yaml", "out", "plain-1.json", "rows", "sweep.yaml"]


def test_a_dry_run_tells_seeds_schedulers_and_best_responses(files):
    text = SWEEP.replace("[1, 2]", "[1, 2, 5, 7, 8]") + "  scheduler: {asha: {every: 1, grace: 1}}\n"
    (files / "sweep.yaml").write_text(f"{text}  best_response: {{}}\n", encoding="utf-8")
    lines = describe(load_study(files / "sweep.yaml"), files / "out").splitlines()
    assert lines[1].endswith("base.yaml; seeds 1-2, 5, 7-8")
    assert lines[3:5] == [
        "  asha: metric welfare_total, mode max, every 1, grace 1, reduction 3.0",
        "  then best responses to every living run",
    ]
    taxes = "  taxes: {income: [0], corporate: [0, 1], welfare: [total], coarse: {seeds: 1, keep: 1}}\n"
    (files / "sweep.yaml").write_text(SWEEP.split("  arms:")[0] + taxes, encoding="utf-8")
    lines = describe(load_study(files / "sweep.yaml"), files / "out").splitlines()
    assert lines[0] == "twins: at most 6 runs, 0 of them done"
    assert lines[-2].startswith("  first every pair of rates with seeds 1, then the best 1 of each welfare")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_small_sweep_has_a_name_of_its_own_and_few_small_runs(path):
    whole, small = load_study(path), load_study(path, small=True)
    assert small.name == f"{whole.name}-small"
    assert len(small.runs) <= min(16, len(whole.runs) - 1)
    assert {run.build(ROOT).env_config.num_consumers for run in small.runs} == {20}


def test_variants_are_crossed_with_arms_and_seeds(files):
    text = SWEEP.replace("episodes: 8", "variants: {env_config.crra: [0, 0.5], env_config.export_quota: [10]}")
    (files / "sweep.yaml").write_text(text, encoding="utf-8")
    sweep = load_study(files / "sweep.yaml")
    assert sweep.arms == (
        "plain,crra=0,export_quota=10",
        "plain,crra=0.5,export_quota=10",
        "eager,crra=0,export_quota=10",
        "eager,crra=0.5,export_quota=10",
    )
    assert sweep.varied == ("crra", "export_quota")
    (run,) = (run for run in sweep.runs if run.key == "eager,crra=0.5,export_quota=10-2")
    experiment = run.build(files)
    assert (experiment.config.lr, experiment.env_config.crra, experiment.env_config.export_quota) == (1e-2, 0.5, 10.0)


@pytest.mark.parametrize("change", ["env_config.crra=0.3", "config.env_config.crra=0.3", "env_config={}"])
def test_what_is_varied_cannot_be_set_as_well(files, change):
    text = SWEEP.replace("episodes: 8", "variants: {env_config.crra: [0, 0.5]}")
    (files / "sweep.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"twins\.variants\.env_config\.crra varies it; change it in the file"):
        load_study(files / "sweep.yaml", [change])
    assert load_study(files / "sweep.yaml", ["env_config.horizon=2"]).runs[0].build(files).env_config.horizon == 2


def test_fixed_taxes_are_phased_in_as_the_files_own_curriculum_says(files):
    text = """
taxes:
  base: base.yaml
  seeds: [7]
  set: {curriculum: {taxes: {begin: 1, end: 3}}, stop.training_iteration: 9}
  taxes: {income: [0, 0.4], corporate: [0.8]}
"""
    (files / "sweep.yaml").write_text(text, encoding="utf-8")
    sweep = load_study(files / "sweep.yaml")
    assert sweep.arms == ("learned-total", "learned-consumers", "fixed-0-0.8", "fixed-0.4-0.8")
    curricula = {run.arm: run.spec.data["config"]["curriculum"]["taxes"] for run in sweep.runs}
    assert curricula["learned-total"] == {"begin": 1, "end": 3}
    assert curricula["fixed-0.4-0.8"] == {"begin": 1, "end": 3, "fixed": {"income": 0.4, "corporate": 0.8}}
    changed = load_study(files / "sweep.yaml", ["curriculum={taxes: {end: 9}}"]).runs[-1].spec.data["config"]
    changed = changed["curriculum"]
    assert changed["taxes"] == {"end": 9, "fixed": {"income": 0.4, "corporate": 0.8}}  # what makes the arm stays


def test_the_small_section_stands_in_place_of_the_rest(files):
    (files / "sweep.yaml").write_text(f"{SWEEP}  small: {{seeds: [5], arms: {{plain: {{}}}}}}\n", encoding="utf-8")
    assert [run.key for run in load_study(files / "sweep.yaml", small=True).runs] == ["plain-5"]
    assert len(load_study(files / "sweep.yaml").runs) == 3
    (files / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"twins\.small is missing"):
        load_study(files / "sweep.yaml", small=True)


def test_a_share_of_a_gpu_reaches_the_learner_of_every_run(files):
    (files / "sweep.yaml").write_text(SWEEP.replace("episodes: 8", "gpus_per_trial: 0.25"), encoding="utf-8")
    sweep = load_study(files / "sweep.yaml")
    assert all(run.bundles == ({"CPU": 1, "GPU": 0.25},) for run in sweep.runs)
    assert {run.build(files).config.num_gpus_per_learner for run in sweep.runs} == {0.25}


def test_a_fingerprint_tells_settings_apart_and_not_seeds(files):
    prints = {run.key: run.fingerprint for run in load_study(files / "sweep.yaml").runs}
    assert prints["plain-1"] == prints["plain-2"] != prints["eager-2"]
    changed = load_study(files / "sweep.yaml", ["gamma=0.5"]).runs[0]
    assert changed.fingerprint != prints[changed.key]


def with_rate(run, rate):
    return replace(run, spec=run.spec.with_overrides([Override(("config", "lr"), rate, "--set lr")]))


def test_a_run_goes_on_from_a_folder_only_if_its_settings_are_the_same(files):
    run = load_study(files / "sweep.yaml").runs[0]
    experiment = run.build(files / "out" / "runs" / run.key)
    home = experiment.storage / experiment.name
    for name, begun in (("1", run.build(files / "moved")), ("2", with_rate(run, 0.5).build(files))):
        (home / name / "checkpoint_000010").mkdir(parents=True)
        (home / name / "run.json").write_text('{"status": "interrupted"}', encoding="utf-8")
        (home / name / "config.yaml").write_text(to_yaml(begun), encoding="utf-8")
    assert checkpoint_of(run, files / "out") == home / "1" / "checkpoint_000010"
    with pytest.raises(UserError, match="holds no checkpoint"):
        checkpoint_of(with_rate(run, 0.7), files / "out")


def test_rows_that_other_settings_made_are_refused(files):
    sweep = load_study(files / "sweep.yaml", ["gamma=0.5"])
    done = files / "out" / "rows"
    done.mkdir(parents=True)
    row = {"outcome": "living", "fingerprint": "of something else"}
    (done / "plain-1.json").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(UserError, match=r"plain-1\.json was made with other settings .* with --out"):
        run_sweep(sweep, files / "out", 1)


def test_a_run_whose_numbers_are_not_finite_leaves_a_row_that_says_so_and_is_not_run_again(files, monkeypatch):
    def failing(*_, **__):
        raise NonFiniteError("tiny: the loss of firm is nan in iteration 2")

    monkeypatch.setattr("rbc_marl.experiments.run.train", failing)
    sweep = load_study(files / "sweep.yaml")
    row = run_one(sweep.runs[0], files / "out")
    assert (row["arm"], row["seed"], row["outcome"]) == ("plain", 1, "failed")
    assert row["error"] == "tiny: the loss of firm is nan in iteration 2"
    assert rows_of(sweep, files / "out") == [row]


def test_policies_whose_economy_is_not_finite_have_failed_and_not_collapsed(files, monkeypatch):
    sweep = load_study(files / "sweep.yaml")
    plant(files / "checkpoint_000001")
    trained = SimpleNamespace(checkpoint=files / "checkpoint_000001", iterations=1, seconds=1.0)
    monkeypatch.setattr("rbc_marl.experiments.sweep._train", lambda *_: trained)
    assert run_one(sweep.runs[0], files / "out")["outcome"] != "failed"
    means = Evaluation.of(play(load_policies(files / "checkpoint_000001"), 2)).means
    spoilt = SimpleNamespace(means={**means, "welfare_total": math.nan}, indicators={})
    monkeypatch.setattr(Evaluation, "of", lambda *_: spoilt)
    row = run_one(sweep.runs[0], files / "out")
    assert row["outcome"] == "failed" and "not finite" in row["error"]


def test_a_row_holds_all_that_is_measured(files, monkeypatch):
    sweep = load_study(files / "sweep.yaml")
    plant(files / "checkpoint_000001")
    trained = SimpleNamespace(checkpoint=files / "checkpoint_000001", iterations=1, seconds=1.0)
    monkeypatch.setattr("rbc_marl.experiments.sweep._train", lambda *_: trained)
    row = run_one(sweep.runs[0], files / "out")
    policies = load_policies(files / "checkpoint_000001")
    episodes = play(policies, sweep.runs[0].episodes, seed=1, record=True)
    measured = {**Evaluation.of(episodes).means, **indicators(episodes), **composition(episodes)}
    measured |= shopping(policies, seed=1).numbers()
    assert {name: row[name] for name in measured} == {
        name: None if value is None else round(value, 4) for name, value in measured.items()
    }
    assert json.loads((files / "out" / "rows" / "plain-1.json").read_text(encoding="utf-8")) == row
    header = table_files([row], "table")["table.csv"].splitlines()[0].split(",")
    assert set(measured) <= set(header)
    assert header[:6] == ["arm", "seed", "outcome", "hours", "welfare_total", "welfare_consumers"]


def test_another_error_ends_the_sweep_and_leaves_no_row(files, monkeypatch):
    def failing(*_, **__):
        raise UserError("planned")

    monkeypatch.setattr("rbc_marl.experiments.run.train", failing)
    with pytest.raises(UserError, match="planned"):
        run_one(load_study(files / "sweep.yaml").runs[0], files / "out")
    assert not (files / "out" / "rows").exists()


@pytest.mark.parametrize("population", [False, True])
def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again_in_its_folder(files, monkeypatch, population):
    def trained(experiment, folder, **_):
        assert folder.path == begun.path
        raise UserError("planned")

    run = load_study(files / "sweep.yaml").runs[0]
    begun = new_folder(run.build(files / "out" / "runs" / run.key))
    monkeypatch.setattr("rbc_marl.experiments.run.train", trained)
    with pytest.raises(UserError, match="planned"), ExitStack() as stack:
        if population:
            trained(None, together._folder(_begun(run, files / "out"), stack))
        run_one(run, files / "out")


@pytest.mark.long
def test_a_sweep_that_is_killed_goes_on_and_ends_as_an_uninterrupted_one(files):
    (files / "base.yaml").write_text(BASE.replace("training_iteration: 2", "training_iteration: 60"), encoding="utf-8")
    killed = command(files)
    done, begun = files / "results" / "twins" / "rows", files / "results" / "twins" / "runs"
    deadline = time.monotonic() + 200
    while not (list(done.glob("*.json")) and list(begun.glob("plain-2/*/*/checkpoint_*"))):
        assert time.monotonic() < deadline and killed.poll() is None
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    kept = [*done.glob("*.json"), *begun.glob("*/*/*/checkpoint_*/policies.json")]
    first = {path: path.stat().st_mtime_ns for path in kept}
    assert not (done / "plain-2.json").exists()
    again = command(files)
    output = again.communicate(timeout=1200)[0]
    assert again.returncode == 0, output
    assert "of 3 runs are done" in output and not output.startswith("0 of 3")
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in first.items())  # nothing ran again,
    assert len(list(begun.glob("plain-2/*/*"))) == 1  # also no part of the run that was cut short
    resumed = rows(files)
    (files / "results").rename(files / "first")
    whole = command(files, "--workers", "1")
    assert whole.wait(timeout=1200) == 0
    assert rows(files) == resumed  # whoever trains beside it
    summary = (files / "results" / "twins" / "summary.md").read_text(encoding="utf-8")
    assert "| plain |" in summary and "| eager |" in summary
    row = json.loads((files / "results" / "twins" / "rows" / "eager-2.json").read_text(encoding="utf-8"))
    assert row["outcome"] in ("collapsed", "impaired", "living") and row["iterations"] == 60


@pytest.mark.long
def test_a_run_that_fails_is_said_and_the_others_keep_their_rows(files):
    text = SWEEP.replace("curriculum.start: {firm: 1}", "callbacks: tests.experiments.test_sweep.Failing")
    (files / "sweep.yaml").write_text(text, encoding="utf-8")
    process = command(files)
    output = process.communicate(timeout=1200)[0]
    assert process.returncode == 2, output
    assert "1 of 3 failed, the first with: " in output
    assert len(list((files / "results" / "twins" / "rows").glob("plain-*.json"))) == 2


class Failing(RLlibCallback):
    """A callback that fails in training, not before."""

    def on_train_result(self, **info):
        raise RuntimeError("planned")
