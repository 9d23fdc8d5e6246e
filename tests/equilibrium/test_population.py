"""Populations: what pbt may change, who goes on from whom, how lineages are kept, and what comes after a kill."""

from __future__ import annotations

import dataclasses
import json

import pytest

from rbc_marl import ConfigError
from rbc_marl.equilibrium import population_run
from rbc_marl.equilibrium.jobs import row_file
from rbc_marl.equilibrium.population import State, lineage_in_words, next_states, read_states, write_state
from rbc_marl.equilibrium.population_run import next_stretch, train_population
from rbc_marl.equilibrium.sweep_file import load_sweep
from tests.equilibrium.bases import BASE

SWEEP = """
population:
  base: base.yaml
  seeds: [1, 2]
  variants:
    lr: {loguniform: [1e-4, 1e-2]}
    num_epochs: {randint: [1, 4]}
    entropy_coeff: {choice: [0, 0.01, 0.1]}
  samples: 2
  scheduler: {pbt: {every: 10}}
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "base.yaml").write_text(BASE, encoding="utf-8")
    (tmp_path / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
    return tmp_path / "sweep.yaml"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lr: {", "env_config.crra: {", "population.variants.env_config.crra cannot change while a run goes on"),
        ("lr: {", "config.env_config.crra: {", "crra cannot change while a run goes on"),
        ("{choice: [0, 0.01, 0.1]}", "[0, 0.1]", "pbt changes it in every run: write {choice: [0, 0.1]}"),
        ("{randint: [1, 4]}", "{qrandint: [1, 4, 2]}", "num_epochs.qrandint is none of the distributions"),
        ("samples: 2", "samples: 1\n  arms: {a: {}, b: {}}", "population.arms stands beside pbt"),
    ],
)
def test_what_cannot_change_is_refused(file, old, new, message):
    text = SWEEP.replace(old, new)
    assert text != SWEEP
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_sweep(file)
    assert message in str(caught.value)


def test_one_run_without_variants_or_of_another_algorithm_is_no_population(file):
    for text, message in (
        (SWEEP.replace("seeds: [1, 2]", "seeds: [1]").replace("samples: 2", "samples: 1"), "at least two runs"),
        (SWEEP[: SWEEP.index("  variants")] + "  arms: {plain: {}}\n  scheduler: pbt\n", "variants is missing"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=message):
            load_sweep(file)
    file.write_text(SWEEP, encoding="utf-8")
    (file.parent / "base.yaml").write_text(BASE.replace("EconomyPPO", "PPO"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"tiny\.run is PPO; a sweep plays the policies that EconomyPPO alone saves"):
        load_sweep(file)


def test_the_draws_with_one_seed_are_a_population_of_their_own(file):
    file.write_text(SWEEP.replace("seeds: [1, 2]", "seeds: [1]"), encoding="utf-8")
    assert [run.key for run in load_sweep(file).runs] == ["draw=0-1", "draw=1-1"]


def test_settings_of_the_scheduler_are_part_of_what_a_row_was_made_with(file):
    sweep = load_sweep(file)
    with pytest.raises(ConfigError, match="leave out --arm"):
        sweep.only([sweep.arms[0]])
    file.write_text(SWEEP.replace("every: 10", "every: 20"), encoding="utf-8")
    assert load_sweep(file).runs[0].fingerprint != sweep.runs[0].fingerprint


def test_a_lineage_goes_through_the_runs_that_policies_were_copied_from(file):
    population = load_sweep(file).population
    values = {"lr": 1e-3, "num_epochs": 2, "entropy_coeff": 0}
    begun = State().goes_on("a", values)
    later = State("runs/a/x", 10, 1.0, lineage=begun.lineage)
    assert later.goes_on("a", values).lineage == begun.lineage  # nothing changed
    copy = later.goes_on("b", {**values, "lr": 2e-3})
    assert (copy.checkpoint, copy.iterations) == ("runs/a/x", 10)
    assert copy.values == {**values, "lr": 2e-3}
    assert State.from_json(copy.to_json()) == copy
    assert lineage_in_words(population, copy) == (
        "0: a lr=0.001 num_epochs=2 entropy_coeff=0; 10: b lr=0.002 num_epochs=2 entropy_coeff=0"
    )


VALUES = {"lr": 1e-3, "num_epochs": 2, "entropy_coeff": 0.01}


def states(scores, iterations=10):
    """Runs by their scores, each with values of its own."""
    found = {}
    for i, (run, score) in enumerate(scores.items()):
        begun = State().goes_on(run, {**VALUES, "lr": 1e-3 * (1 + i)})
        found[run] = dataclasses.replace(begun, checkpoint=f"runs/{run}", iterations=iterations, score=score)
    return found


def test_the_worst_go_on_as_copies_of_the_best_and_the_others_as_they_are(file):
    population = load_sweep(file).population  # of four runs one gives up
    before = states({"a": 3.0, "b": 1.0, "c": 4.0, "d": 2.0})
    after = next_states(population, before)
    assert {run: after[run] for run in "acd"} == {run: before[run] for run in "acd"}
    assert (after["b"].checkpoint, after["b"].iterations) == ("runs/c", 10)
    assert [one["run"] for one in after["b"].lineage] == ["c", "b"] and after["b"].values != after["c"].values


@pytest.mark.parametrize(
    ("scores", "copies"),
    [
        ({"a": None, "b": 1.0, "c": 2.0, "d": 0.5}, {"a": "c"}),  # a number that is none is worse than any other
        ({"a": None, "b": None, "c": None, "d": None}, {}),
        ({"a": 1.0}, {}),
        ({"a": 1.0, "b": 1.0}, {"a": "b"}),  # ties are broken by name: the same at each reading
    ],
)
def test_who_is_copied(file, scores, copies):
    after = next_states(load_sweep(file).population, states(scores))
    found = {run: state.checkpoint.removeprefix("runs/") for run, state in after.items()}
    assert {run: donor for run, donor in found.items() if donor != run} == copies


def test_values_of_copies_stay_within_their_bounds_and_differ(file):
    population = load_sweep(file).population
    edge = {"lr": 1e-2, "num_epochs": 3, "entropy_coeff": 0.1}
    found = []
    for iterations in range(200):
        worse, better = (State(f"runs/{run}", iterations, 0.0, score).goes_on(run, edge)
                         for run, score in (("a", 0.0), ("b", 1.0)))
        found.append(next_states(population, {"a": worse, "b": better})["a"].values)
    assert all(1e-4 <= one["lr"] <= 1e-2 for one in found) and len({one["lr"] for one in found}) > 20
    assert {one["num_epochs"] for one in found} == {1, 2, 3}
    assert all(type(one["num_epochs"]) is int for one in found)
    assert {one["entropy_coeff"] for one in found} == {0, 0.01, 0.1}


def test_whole_numbers_change_by_at_least_one(file):
    file.write_text(SWEEP.replace("pbt: {every: 10}", "pbt: {every: 10, resample: 0}"), encoding="utf-8")
    population = load_sweep(file).population
    found = {next_states(population, states({"a": 0.0, "b": 1.0}, n))["a"].values["num_epochs"] for n in range(50)}
    assert found == {1, 3}  # of 2 a fifth more or less is 2 again


def test_what_is_drawn_depends_on_the_seed_the_run_and_its_iteration_alone(file):
    def draw(seed, run, iterations):
        text = SWEEP.replace("pbt: {every: 10}", "pbt: {every: 10, resample: 1}")
        file.write_text(f"{text}  draw_seed: {seed}\n", encoding="utf-8")
        return next_states(load_sweep(file).population, states({run: 0.0, "z": 1.0}, iterations))[run].values["lr"]

    assert draw(0, "a", 10) == draw(0, "a", 10)
    assert len({draw(0, "a", 10), draw(1, "a", 10), draw(0, "b", 10), draw(0, "a", 20)}) == 4


class Trials:
    """Stands for Tune and for training: a stretch takes no time, and a sweep is killed after so many of them."""

    def __init__(self, monkeypatch, sweep, folder, *, worst="draw=0-1", ends_early=None):
        self.sweep, self.folder, self.trained, self.rows, self.said = sweep, folder, [], [], []
        self.worst, self.ends_early, self.left = worst, ends_early, None
        monkeypatch.setattr(population_run, "run_trials", self.run_trials)
        monkeypatch.setattr(population_run, "_train", self.train)

    def go(self, left=None):
        self.left = left
        runs = {run.key: run for run in self.sweep.runs}
        train_population(
            self.sweep.population, runs, self.folder, 2, self.leave_row, ended=self.rows.append, report=self.said.append
        )

    def run_trials(self, work, todo, folder, workers, *, ended, gpus):
        for key in todo:
            if self.left is not None:
                if not self.left:
                    raise KeyboardInterrupt
                self.left -= 1
            ended(key, work(key))

    def train(self, population, run, state, until, folder):
        self.trained.append((run.key, state.iterations, until, state.values))
        score = -1.0 if run.key == self.worst else float(until + len(run.key) + run.seed)
        early = self.ends_early == (run.key, until)
        return dataclasses.replace(
            state, checkpoint=f"runs/{run.key}/{until}", iterations=until - early, score=score,
            ended=early or until >= 40,
        )

    def leave_row(self, run, trained, columns):
        path = row_file(self.folder, run.key)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({**columns, "iterations": trained.iterations}), encoding="utf-8")


def test_runs_wait_for_each_other_and_every_stretch_is_trained_once(file, tmp_path, monkeypatch):
    trials = Trials(monkeypatch, load_sweep(file), tmp_path)
    trials.go()
    assert [(start, until) for _, start, until, _ in trials.trained] == [
        (start, start + 10) for start in (0, 10, 20, 30) for _ in range(4)
    ]
    assert len(trials.rows) == len(set(trials.rows)) == 4
    assert len(trials.said) == 3 and all("draw=0-1 goes on from draw=" in line for line in trials.said)
    first = {key: values for key, start, _, values in trials.trained if not start}
    assert first["draw=0-1"] == first["draw=0-2"] != first["draw=1-1"]


@pytest.mark.parametrize("stops", range(1, 16))
def test_an_interrupted_population_ends_as_if_it_had_not_been(file, tmp_path, monkeypatch, stops):
    whole = Trials(monkeypatch, load_sweep(file), tmp_path / "whole")
    whole.go()
    trials = Trials(monkeypatch, load_sweep(file), tmp_path / "cut")
    for _ in range(16 // stops + 1):
        try:
            trials.go(stops)
        except KeyboardInterrupt:
            continue
        break
    assert trials.trained == whole.trained
    for run in trials.sweep.runs:
        assert row_file(tmp_path / "cut", run.key).read_text() == row_file(tmp_path / "whole", run.key).read_text()


@pytest.mark.parametrize("early", [("draw=1-2", 20), ("draw=0-1", 10)])
def test_a_run_that_ends_by_another_criterion_leaves_the_others_to_go_on(file, tmp_path, monkeypatch, early):
    trials = Trials(monkeypatch, load_sweep(file), tmp_path, ends_early=early)
    trials.go()
    rows = {run.key: json.loads(row_file(tmp_path, run.key).read_text()) for run in trials.sweep.runs}
    iterations = {key: row["iterations"] for key, row in rows.items()}
    assert iterations.pop(early[0]) == early[1] - 1 and set(iterations.values()) == {40} and len(iterations) == 3


def test_a_run_that_was_killed_before_it_left_its_row_leaves_it_without_training(file, tmp_path, monkeypatch):
    trials = Trials(monkeypatch, load_sweep(file), tmp_path)
    trials.go()
    missing = row_file(tmp_path, "draw=1-1")
    text, count = missing.read_text(), len(trials.trained)
    missing.unlink()
    trials.go()
    assert missing.read_text() == text and len(trials.trained) == count and trials.rows[-1] == "draw=1-1"


def test_states_of_other_settings_are_left_alone(file, tmp_path):
    sweep = load_sweep(file)
    runs = {run.key: run for run in sweep.runs}
    write_state(tmp_path, runs["draw=0-1"].record, 0, states({"draw=0-1": 1.0})["draw=0-1"])
    assert next_stretch(sweep.population, runs, tmp_path).starts.keys() == runs.keys() - {"draw=0-1"}
    file.write_text(SWEEP.replace("every: 10", "every: 20"), encoding="utf-8")
    changed = load_sweep(file)
    assert read_states(tmp_path, changed.runs[0].record) == []
