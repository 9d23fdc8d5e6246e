"""Search spaces in an experiment's own file: the same sweep as from a sweep file, with the same folder and resume."""

from __future__ import annotations

import io
import json

import pandas as pd
import pytest
from rich.console import Console

from rbc_marl import ConfigError, UserError
from rbc_marl.equilibrium.study import load_study, run_study, study_of, unfinished_study
from rbc_marl.experiments.file import read_overrides, read_specs
from rbc_marl.experiments.lock import folder_lock
from rbc_marl.experiments.rows import RowStore
from rbc_marl.experiments.sweep_file import sweep_of
from rbc_marl.policies.saved import find_checkpoint, load_policies
from rbc_marl.signatures import sign

FILE = """
tiny:
  run: EconomyPPO
  env: rbc_open
  stop: {training_iteration: 2}
  config:
    env_config: {num_consumers: 3, num_firms: 2, horizon: 3}
    num_envs_per_env_runner: 2
    rules: monopoly
    networks: {consumer: &flat {kind: flat, hidden: [8]}, firm: *flat, government: *flat}
"""
PLAIN = """
tiny:
  run: PPO
  env: rbc_open
  stop: {training_iteration: 1}
  config:
    env_config: {num_consumers: 2, num_firms: 1, horizon: 2}
    train_batch_size_per_learner: 4
    minibatch_size: 4
    num_epochs: 1
    model: {fcnet_hiddens: [8]}
"""


@pytest.fixture
def spec(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def read(*sets, text=FILE):
        (tmp_path / "tiny.yaml").write_text(text, encoding="utf-8")
        return read_specs(tmp_path / "tiny.yaml")[0].with_overrides(read_overrides(sets))

    return read


def quiet():
    return Console(file=io.StringIO(), width=200)


def test_a_grid_has_an_arm_for_each_point_and_its_seeds(spec):
    spaces = ("lr={grid_search: [1e-3, 1e-2]}", "seed={grid_search: [4, 7]}", "env_config.crra={choice: [0.5]}")
    sweep = sweep_of(spec(*spaces))
    arms = ("lr=0.001,draw=0", "lr=0.01,draw=0")
    assert [run.key for run in sweep.runs] == [f"{arm}-{seed}" for seed in (4, 7) for arm in arms]
    assert set(sweep.varied) == {"lr", "crra"}
    experiment = sweep.runs[-1].build(sweep.source.parent)
    assert (experiment.config.lr, experiment.seed, experiment.env_config.crra) == (1e-2, 7, 0.5)
    assert not experiment.is_sweep and experiment.checkpoints.checkpoint_at_end
    assert {run.rules for run in sweep.runs} == {"monopoly"}


def test_a_sweep_file_and_an_experiment_make_the_same_runs(spec, tmp_path):
    grid = sweep_of(spec("lr={grid_search: [1e-3, 1e-2]}", "seed={grid_search: [1, 2]}"))
    text = "s: {base: tiny.yaml, seeds: [1, 2], rules: monopoly, variants: {lr: [1e-3, 1e-2]}}"
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    study = load_study(tmp_path / "s.yaml")
    assert [(run.key, run.fingerprint, run.changes) for run in grid.runs] == [
        (run.key, run.fingerprint, run.changes) for run in study.runs
    ]


def test_seeds_that_are_drawn_are_seeds_and_go_with_the_draws_of_other_settings(spec):
    (alone,) = {sweep_of(spec("seed={randint: [0, 1000]}", "num_samples=3")).arms}
    assert alone == ("tiny",)
    seeds = [run.seed for run in sweep_of(spec("seed={randint: [0, 1000]}", "num_samples=3")).runs]
    both = sweep_of(spec("seed={randint: [0, 1000]}", "lr={uniform: [0.1, 0.2]}", "num_samples=3")).runs
    assert len(set(seeds)) == 3
    assert [(run.arm, run.seed) for run in both] == [(f"draw={i}", seed) for i, seed in enumerate(seeds)]
    assert {run.key for run in sweep_of(spec("lr={grid_search: [0.1]}", "seed=5")).runs} == {"lr=0.1-5"}


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["lr={grid_search: [1e-3, -1]}"], "lr is -1"),
        (["lr={grid_search: [1e-3]}", "stop={}"], "stop is missing; give a sweep's runs an end"),
        (["lr={uniform: [2, 1]}"], "the first number must be below the second"),
    ],
)
def test_points_that_cannot_be_are_refused_before_anything_trains(spec, sets, message):
    with pytest.raises(ConfigError) as caught:
        sweep_of(spec(*sets))
    assert message in str(caught.value)


def test_what_was_interrupted_goes_on_in_its_folder_with_the_settings_it_began_with(spec, tmp_path):
    asked = spec("seed={grid_search: [1, 2]}")
    study, folder, began = study_of(asked)
    assert folder.parent.name == "tiny" and folder.name.endswith("_sweep")
    with pytest.raises(UserError, match="holds no sweep that has not finished"):
        unfinished_study(asked)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(json.dumps({began.name: dict(began.data)}), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"sweep to resume is .*, whose files can run any code, and it has no sig"):
        unfinished_study(spec())
    sign(folder, ["config.yaml"])
    store = RowStore(folder)
    for run in study.runs:
        again, same, _ = unfinished_study(spec())
        assert same.resolve() == folder.resolve()
        assert [run.fingerprint for run in again.runs] == [run.fingerprint for run in study.runs]
        store.write(run.key, {"outcome": "living", "fingerprint": run.fingerprint})
    assert unfinished_study(asked)[1].resolve() == folder.resolve()  # it was killed before its tables were written
    (folder / "summary.md").touch()
    with pytest.raises(UserError, match="holds no sweep that has not finished"):
        unfinished_study(asked)


def test_a_random_seed_is_drawn_once_and_kept(spec):
    study, _, began = study_of(spec("lr={grid_search: [0.1, 0.2]}", "seed=null"))
    (seed,) = {run.seed for run in study.runs}
    assert began.data["config"]["seed"] == seed


def test_two_processes_cannot_run_one_sweep(spec, tmp_path):
    study, folder, began = study_of(spec("seed={grid_search: [1, 2]}"))
    folder.mkdir(parents=True)
    with folder_lock(folder), pytest.raises(UserError, match=str(folder)):
        run_study(study, folder, 1, spec=began, console=quiet())
    assert not (folder / "rows").exists() and not (folder / "sweep.json").exists()


@pytest.mark.long
def test_a_grid_ends_in_a_table_and_its_runs_can_be_evaluated(spec, ray_running, capsys):
    study, folder, began = study_of(spec("lr={grid_search: [1e-3, 1e-2]}", "seed={grid_search: [1, 2]}"))
    console = quiet()
    text = run_study(study, folder, 2, spec=began, console=console, command=["rbc-marl", "train"])
    assert "4/4  " in console.file.getvalue() and "| lr=0.001 |" in text
    table = pd.read_csv(folder / "table.csv")
    assert sorted(zip(table.lr, table.seed, strict=True)) == [(0.001, 1), (0.001, 2), (0.01, 1), (0.01, 2)]
    assert set(table.outcome) <= {"living", "impaired", "collapsed"} and set(table.iterations) == {2}
    policies = load_policies(find_checkpoint(folder / "runs" / "lr=0.01-2" / "tiny"))
    assert policies.config.num_consumers == 3
    rows = {path: path.stat().st_mtime_ns for path in (folder / "rows").iterdir()}
    torn = folder / "rows" / "lr=0.01-2.json"
    whole = json.loads(torn.read_text(encoding="utf-8"))
    torn.write_text(torn.read_text(encoding="utf-8")[:40], encoding="utf-8")
    again, same, began = unfinished_study(spec())
    run_study(again, same, 1, spec=began, console=quiet())
    assert f"{torn.name} is torn" in capsys.readouterr().out
    assert json.loads(torn.read_text(encoding="utf-8")) == whole  # its run had ended, and is not trained again
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in rows.items() if path != torn)


@pytest.mark.long
def test_a_grid_of_an_algorithm_that_saves_no_policies_has_rows_of_its_last_results(spec, ray_running):
    study, folder, began = study_of(spec("lr={grid_search: [1e-3, 1e-2]}", text=PLAIN))
    assert not any(run.is_evaluated for run in study.runs)
    text = run_study(study, folder, 2, spec=began, console=quiet())
    table = pd.read_csv(folder / "table.csv")
    assert table.lr.tolist() == [0.001, 0.01] and set(table.outcome) == {"trained"}
    assert table.episode_return_mean.notna().all() and set(table.iterations) == {1}
    assert "| lr=0.001 |" in text and "episode return mean" in text
    assert (folder / "summary.md").read_text(encoding="utf-8").strip() == text
    assert not (folder / "equilibria.csv").exists() and not (folder / "spectrum.png").exists()
