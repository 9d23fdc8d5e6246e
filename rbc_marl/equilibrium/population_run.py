"""The runs of a population as trials of Ray Tune, trained a stretch at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rbc_marl.equilibrium.jobs import KEY, begin_trial
from rbc_marl.equilibrium.population import (
    Population,
    State,
    in_words,
    lineage_in_words,
    read_state,
    write_state,
)
from rbc_marl.equilibrium.schedulers import quantities
from rbc_marl.equilibrium.sweep_file import Run
from rbc_marl.equilibrium.sweep_run import RUNS, Trained
from rbc_marl.errors import UserError

NEWS = "news"


def first_values(runs: Mapping[str, Run], folder: Path) -> dict[str, dict[str, Any]]:
    """By key, the values with which runs begin, or with which they were interrupted."""
    found = {}
    for key, run in runs.items():
        state = read_state(folder, key, run.fingerprint)
        found[key] = state.values if state else dict(run.variant.values)
    return found


def member(
    population: Population,
    runs: Mapping[str, Run],
    folder: Path,
    ended: Callable[[Run, Trained, Mapping[str, Any]], object],
) -> type:
    """The class of Tune's trials.

    Args:
        population: What changes, and when.
        runs: By key.
        folder: Of the sweep, absolute.
        ended: Called in the trial's process with a run as it ended, its last checkpoint and further columns.
    """
    from ray import tune

    class Member(tune.Trainable):
        """A run. Its state is a file in the sweep's folder, and what Tune hands from one trial to another."""

        def setup(self, config: dict[str, Any]) -> None:
            begin_trial()
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.run = runs[new_config[KEY]]
            self.now = {key: new_config[key] for key in population.spaces}
            self.state = read_state(folder, self.run.key, self.run.fingerprint) or State(self.run.key)
            return True

        def step(self) -> dict[str, Any]:
            before = self.state
            state = before.goes_on(self.run.key, self.now)
            limit = self.run.load(folder).stop["training_iteration"]
            results: dict[str, Any] = {}
            if state.iterations < limit:
                every = population.settings.every
                until = min(int(limit), (state.iterations // every + 1) * every)
                state, results = _stretch(self.run, state, until, folder)
                write_state(folder, state, self.run.fingerprint)
                is_done = state.iterations >= limit or state.iterations < until  # another criterion can end it
            else:
                is_done = True
            self.state = state
            if is_done:
                assert state.checkpoint is not None  # a run has at least one iteration
                trained = Trained(folder / state.checkpoint, state.iterations, state.seconds)
                columns = {population.columns[key]: value for key, value in state.values.items()}
                run = replace(self.run, sets=(*self.run.sets, *_sets(state.values)))
                ended(run, trained, {**columns, "lineage": lineage_in_words(population, state)})
            news = ""
            if before.run != self.run.key:
                words = in_words(population, state.values)
                news = f"iteration {before.iterations}: {self.run.key} goes on from {before.run} with {words}"
            return {**quantities(results), "iterations": state.iterations, NEWS: news, "done": is_done}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            Path(checkpoint_dir, "state.json").write_text(self.state.to_json(), encoding="utf-8")

        def load_checkpoint(self, checkpoint: str) -> None:
            self.state = State.from_json(Path(checkpoint, "state.json").read_text(encoding="utf-8"))

    return Member


def _sets(values: Mapping[str, Any]) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]


def _stretch(run: Run, state: State, until: int, folder: Path) -> tuple[State, dict[str, Any]]:
    """Train from a state on to an iteration, in a run folder of its own, which says where it began and with what.

    Returns:
        The state then, and the flat results of the last iteration.

    Raises:
        UserError: It did not get there.
    """
    from rich.console import Console

    from rbc_marl.rllib.experiment import train

    sets = [*run.sets, *_sets(state.values), f"stop.training_iteration={until}"]
    sets += ["checkpoint_config.checkpoint_frequency=0", "checkpoint_config.checkpoint_at_end=true"]
    if state.checkpoint is not None:
        sets.append(f"restore={json.dumps(str(folder / state.checkpoint))}")
    outcome = train(replace(run, sets=tuple(sets)).load(folder / RUNS / run.key), console=Console(quiet=True))
    if outcome.checkpoint is None or outcome.status != "finished":
        raise UserError(f"{run.key} did not finish; see {outcome.folder}")
    results = dict(outcome.results)
    now = replace(
        state,
        checkpoint=str(outcome.checkpoint.resolve().relative_to(folder)),
        iterations=int(results["training_iteration"]),
        seconds=state.seconds + float(results.get("time_total_s", 0.0)),
    )
    return now, results
