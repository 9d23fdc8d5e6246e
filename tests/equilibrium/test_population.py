"""Populations: what pbt may change, how a run's lineage is kept, and how its values stay in their bounds."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import PopulationBasedTraining

from rbc_marl import ConfigError
from rbc_marl.equilibrium.jobs import KEY
from rbc_marl.equilibrium.population import State, lineage_in_words, read_state, state_file, tune_pbt
from rbc_marl.equilibrium.population_run import first_values
from rbc_marl.equilibrium.sweep_file import load_sweep

BASE = """
tiny:
  run: EconomyPPO
  env: rbc_open
  stop: {training_iteration: 40}
  config: {env_config: {num_consumers: 4, num_firms: 2, horizon: 3}}
"""
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
    begun = State("a").goes_on("a", values)
    later = State("a", "runs/a/x", 10, 1.0, begun.lineage)
    assert later.goes_on("a", values).lineage == begun.lineage  # nothing changed
    copy = later.goes_on("b", {**values, "lr": 2e-3})
    assert (copy.run, copy.checkpoint, copy.iterations) == ("b", "runs/a/x", 10)
    assert copy.values == {**values, "lr": 2e-3}
    assert State.from_json(copy.to_json()) == copy
    assert lineage_in_words(population, copy) == (
        "0: a lr=0.001 num_epochs=2 entropy_coeff=0; 10: b lr=0.002 num_epochs=2 entropy_coeff=0"
    )


def test_runs_begin_with_their_draws_and_go_on_with_what_they_had(file, tmp_path):
    sweep = load_sweep(file)
    runs = {run.key: run for run in sweep.runs}
    drawn = first_values(runs, tmp_path)
    assert drawn["draw=0-1"] == drawn["draw=0-2"] != drawn["draw=1-1"]
    changed = {**drawn["draw=0-1"], "lr": 5e-3}
    path = state_file(tmp_path, "draw=0-1", runs["draw=0-1"].fingerprint)
    path.parent.mkdir()
    path.write_text(State("draw=0-1").goes_on("draw=0-1", changed).to_json(), encoding="utf-8")
    assert first_values(runs, tmp_path) == {**drawn, "draw=0-1": changed}
    assert read_state(tmp_path, "draw=0-1", "another") is None


def test_a_copy_stays_the_run_that_it_is_and_its_values_stay_within_their_bounds(file):
    population = load_sweep(file).population
    edge = {"lr": 1e-2, "num_epochs": 3, "entropy_coeff": 0.1}
    scheduler = tune_pbt(population, {"a": edge, "b": edge})
    trials = [SimpleNamespace(config={KEY: key, **edge}) for key in "ab"]
    copies = [scheduler._get_new_config(*trials)[0] for _ in range(200)]
    assert {copy[KEY] for copy in copies} == {"a"}
    assert all(1e-4 <= copy["lr"] <= 1e-2 for copy in copies) and len({copy["lr"] for copy in copies}) > 2
    assert {copy["num_epochs"] for copy in copies} <= {1, 2, 3} and all(type(c["num_epochs"]) is int for c in copies)
    assert {copy["entropy_coeff"] for copy in copies} == {0, 0.01, 0.1}


def test_what_is_drawn_depends_on_the_seed_the_run_and_its_iteration_alone(file, monkeypatch):
    edge = {"lr": 1e-3, "num_epochs": 2, "entropy_coeff": 0.01}
    drawn = {}

    def exploit(self, trial, *others):
        drawn["now"] = self._get_new_config(trial, trial)[0], random.random()

    monkeypatch.setattr(PopulationBasedTraining, "_checkpoint_or_exploit", exploit)

    def draw(seed, key, iteration):
        file.write_text(f"{SWEEP}  draw_seed: {seed}\n", encoding="utf-8")
        scheduler, trial = tune_pbt(load_sweep(file).population, {}), FakeTrial(key, edge)
        scheduler._trial_state[trial] = SimpleNamespace(last_train_time=iteration)
        before = random.getstate()
        scheduler._checkpoint_or_exploit(trial, None, [], [])
        assert random.getstate() == before
        return drawn["now"]

    assert draw(0, "a", 10) == draw(0, "a", 10)
    others = [draw(1, "a", 10), draw(0, "b", 10), draw(0, "a", 20)]
    assert len({chance for _, chance in [draw(0, "a", 10), *others]}) == 4


class FakeTrial:
    """What PBT reads of a trial of Tune's."""

    def __init__(self, key, values):
        self.config = {KEY: key, **values}
