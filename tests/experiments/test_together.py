"""Runs of a sweep that one process trains together: dealt out, trained, stopped and gone on with."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace

import pytest

from rbc_marl import UserError
from rbc_marl.equilibrium.study import load_study
from rbc_marl.experiments.run import train
from rbc_marl.experiments.sweep import RUNS, _alike, _begun, run_one, run_sweep, run_together
from rbc_marl.experiments.together import bundled, can_be_together, kind
from rbc_marl.policies.saved import load_policies
from rbc_marl.rllib.population import Population
from tests.rllib.conftest import ray_running  # noqa: F401 - a fixture

BASE = """
tiny:
  run: EconomyPPO
  env: rbc_open
  stop: {training_iteration: 4}
  checkpoint_config: {checkpoint_frequency: 2, num_to_keep: 2}
  config:
    env_config: {num_consumers: 4, num_firms: 2, horizon: 3}
    num_envs_per_env_runner: 2
    networks: {consumer: &flat {kind: flat, hidden: [8]}, firm: *flat, government: *flat}
"""
SWEEP = """
twins:
  base: base.yaml
  seeds: [1, 2, 3]
  episodes: 8
  population: 8
  arms:
    plain: {}
    eager: {set: {lr: 1e-2}}
"""


@pytest.fixture
def files(tmp_path):
    (tmp_path / "base.yaml").write_text(BASE, encoding="utf-8")
    (tmp_path / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
    return tmp_path


def plain_runs(files):
    return [run for run in load_study(files / "sweep.yaml").runs if run.arm == "plain"]


def folders(files, run):
    return sorted(path.parent for path in (files / RUNS / run.key).glob("*/*/run.json"))


def numbers(row):
    return {name: x for name, x in row.items() if isinstance(x, float) and name != "seconds"}


@pytest.mark.parametrize(
    ("groups", "most", "workers", "sizes"),
    [
        (["abcdefgh"], 8, 2, [4, 4]),
        (["abcdefghijklmnopqrst"], 8, 2, [5, 5, 5, 5]),
        (["abc"], 8, 2, [1, 2]),
        (["ab", "cd"], 8, 2, [2, 2]),
        (["ab", "c"], 8, 2, [2, 1]),
        (["abcdefghijklmno"], 8, 2, [7, 8]),
        (["abcd"], 1, 1, [1, 1, 1, 1]),
        (["abcde"], 2, 1, [1, 2, 2]),
        ([], 8, 2, []),
    ],
)
def test_runs_are_dealt_out_so_that_all_workers_are_busy(groups, most, workers, sizes):
    parts = bundled(groups, most, workers)
    assert [len(part) for part in parts] == sizes
    assert sorted(run for part in parts for run in part) == sorted("".join(groups))


def test_the_first_population_of_every_arm_comes_before_the_second_of_any():
    assert bundled(["abcd", "efgh"], 2, 2) == [("a", "b"), ("e", "f"), ("c", "d"), ("g", "h")]


@pytest.mark.parametrize(
    "change",
    [
        "stop: {training_iteration: 4, env_runners/hours: 5}",
        "stop: {env_runners/hours: 5}",
        "config.evaluation_interval: 1",
        "config.grad_clip_by: norm",
    ],
)
def test_what_populations_do_not_do_is_trained_run_by_run(files, change):
    (plain, *_) = plain_runs(files)
    assert can_be_together(plain.build(files))
    key, _, value = change.partition(": ")
    text = BASE.replace("stop: {training_iteration: 4}", change) if key == "stop" else BASE
    text = text if key == "stop" else f"{text}    {key.removeprefix('config.')}: {value}\n"
    (files / "base.yaml").write_text(text, encoding="utf-8")
    (run, *_) = plain_runs(files)
    assert not can_be_together(run.build(files))


def test_runs_with_loggers_are_trained_by_themselves(files):
    (plain, *_) = plain_runs(files)
    assert not can_be_together(replace(plain.build(files), loggers={"wandb": {}}))


TAXES = """
taxes:
  base: base.yaml
  seeds: [1, 2]
  episodes: 8
  population: 8
  taxes: {income: [0, 0.4], corporate: [0.2], welfare: [total]}
"""


def test_runs_of_different_fixed_taxes_are_of_one_kind_and_learned_ones_of_another(files):
    (files / "taxes.yaml").write_text(TAXES, encoding="utf-8")
    runs = load_study(files / "taxes.yaml").runs
    kinds = {run.key: kind(run.build(files / run.key)) for run in runs}
    assert len(kinds) == 6
    assert len({name for key, name in kinds.items() if key.startswith("fixed")}) == 1
    assert len({name for key, name in kinds.items() if key.startswith("learned")}) == 1
    assert len(set(kinds.values())) == 2


@pytest.mark.slow
def test_runs_of_different_fixed_taxes_are_trained_together(files, ray_running):  # noqa: F811
    (files / "taxes.yaml").write_text(TAXES, encoding="utf-8")
    runs = [run for run in load_study(files / "taxes.yaml").runs if run.arm.startswith("fixed")]
    run_together(runs, files)
    rates = {run.key: load_policies(folders(files, run)[0]).info["seed"] for run in runs}
    assert sorted(rates.values()) == [1, 1, 2, 2]
    rows = [json.loads((files / "rows" / f"{run.key}.json").read_text(encoding="utf-8")) for run in runs]
    # In the first of three periods there is no tax.
    assert {(row["income"], row["income_tax"]) for row in rows} == {(0.0, 0.0), (0.4, 0.2667)}


@pytest.mark.slow
def test_runs_trained_together_leave_what_each_leaves_alone(files, ray_running):  # noqa: F811
    runs = plain_runs(files)
    run_together(runs, files)
    for run in runs[:2]:
        alone = run_one(run, files / "alone")
        together = json.loads((files / "rows" / f"{run.key}.json").read_text(encoding="utf-8"))
        assert together.keys() == alone.keys() and together["outcome"] == alone["outcome"]
        own = numbers(alone)
        assert own and {n: x for n, x in own.items() if not math.isclose(x, together[n], rel_tol=1e-3)} == {}
        (folder,), (other,) = folders(files, run), folders(files / "alone", run)
        assert [path.name for path in sorted(folder.glob("checkpoint_*"))] == ["checkpoint_000002", "checkpoint_000004"]
        assert load_policies(folder).info == load_policies(other).info
        info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        assert (info["status"], info["seed"], info["population"]) == ("finished", run.seed, [1, 2, 3])
        tables = [list(csv.DictReader((path / "progress.csv").open(encoding="utf-8"))) for path in (folder, other)]
        assert [len(table) for table in tables] == [4, 4]
        for name in ("training_iteration", "num_env_steps_sampled_lifetime", "env_runners/num_episodes_lifetime"):
            assert [row[name] for row in tables[0]] == [row[name] for row in tables[1]]


@pytest.mark.slow
def test_runs_that_were_stopped_together_go_on_from_their_checkpoints(files, monkeypatch, ray_running):  # noqa: F811
    runs, study = plain_runs(files), load_study(files / "sweep.yaml")
    run_together(runs, files / "whole")
    trained, own = [], Population.train

    def train_until_it_is_killed(self):
        trained.append(self.iteration + 1)
        if trained == [1, 2, 3]:
            raise KeyboardInterrupt
        return own(self)

    monkeypatch.setattr(Population, "train", train_until_it_is_killed)
    with pytest.raises(KeyboardInterrupt):
        run_together(runs, files)
    assert {_alike(study, run, files) for run in runs} == {(kind(runs[0].build(files)), 2)}
    assert _begun(runs[0], files).iterations == 2
    with pytest.raises(UserError, match="give that sweep again"):
        train(runs[0].build(files / RUNS / runs[0].key), _begun(runs[0], files).folder)
    run_one(runs[2], files)  # by itself, as a population of one
    run_together(runs[:2], files)
    assert trained == [1, 2, 3, 3, 4, 3, 4]
    for run in runs:
        assert len(folders(files, run)) == 1
        rows = [json.loads((f / "rows" / f"{run.key}.json").read_text("utf-8")) for f in (files, files / "whole")]
        assert all(math.isclose(x, rows[1][name], rel_tol=1e-3) for name, x in numbers(rows[0]).items())


@pytest.mark.slow
def test_a_run_that_breaks_has_a_row_that_says_so_and_the_others_have_theirs(files, monkeypatch):
    own = Population.train

    def breaking(self):
        self.learner.network("firm").action_head.weight.data[1, 0] = float("inf")
        return own(self)

    monkeypatch.setattr(Population, "train", breaking)
    runs = plain_runs(files)
    run_together(runs, files)
    outcomes = [json.loads((files / "rows" / f"{run.key}.json").read_text("utf-8"))["outcome"] for run in runs]
    assert outcomes[1] == "failed" and "failed" not in (outcomes[0], outcomes[2])
    assert [json.loads((folders(files, run)[0] / "run.json").read_text("utf-8"))["status"] for run in runs] == [
        "finished",
        "failed",
        "finished",
    ]


@pytest.mark.long
def test_a_sweep_trains_seeds_together_where_there_are_more_runs_than_workers(files, ray_running):  # noqa: F811
    said = []
    rows = run_sweep(load_study(files / "sweep.yaml"), files / "out", workers=1, report=said.append)
    assert [(row["arm"], row["seed"]) for row in rows] == [(arm, s) for s in (1, 2, 3) for arm in ("plain", "eager")]
    infos = [json.loads(path.read_text("utf-8")) for path in (files / "out" / RUNS).glob("*/*/*/run.json")]
    assert sorted(info["population"] for info in infos) == [[1, 2, 3]] * 6
    assert sum("6 of 6" in line or "seed" in line for line in said) >= 6
