"""The runs of a population, trained a stretch at a time as trials of Ray Tune."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rbc_marl.equilibrium.jobs import row_file, run_trials
from rbc_marl.equilibrium.planned_run import Run
from rbc_marl.equilibrium.population import (
    STATES,
    Population,
    State,
    in_words,
    lineage_in_words,
    next_states,
    read_states,
    write_state,
)
from rbc_marl.equilibrium.schedulers import quantities
from rbc_marl.equilibrium.sweep_run import RUNS, Trained
from rbc_marl.errors import UserError

LeaveRow = Callable[[Run, Trained, Mapping[str, Any]], object]


@dataclass(frozen=True)
class Stretch:
    """What there is to do before runs are compared again."""

    number: int
    """Counted from 0."""
    starts: Mapping[str, State]
    """By run that has yet to be trained, what it goes on from."""
    without_row: tuple[str, ...]
    """Runs that ended, but were interrupted before they left their rows."""


def train_population(
    population: Population,
    runs: Mapping[str, Run],
    folder: Path,
    workers: int,
    leave_row: LeaveRow,
    *,
    ended: Callable[[str], object],
    report: Callable[[str], None],
    gpus: float = 0.0,
) -> None:
    """Train every run to its end. Runs wait for each other after each stretch, and are compared there.

    What each stretch came to is kept in a file. After an interruption, also by a kill, those that are missing are
    trained, and what a comparison decided is decided again, alike. Where Tune is interrupted this returns early.

    Args:
        population: What changes, and when.
        runs: All runs of the sweep, by key, those that have ended included.
        folder: Of the sweep.
        workers: Runs side by side.
        leave_row: Called in a trial's process with a run as it ended, its last checkpoint and further columns.
        ended: Told of each run that has left its row.
        report: Told of each run that goes on as a copy.
        gpus: Share of a GPU for each run.

    Raises:
        UserError: A run failed.
    """
    root = folder.resolve()
    while True:
        stretch = next_stretch(population, runs, root)
        todo = [*stretch.without_row, *stretch.starts]
        if not todo:
            return
        for key, state in stretch.starts.items():
            if stretch.number and state.lineage[-1]["iteration"] == state.iterations:
                words = in_words(population, state.values)
                report(f"iteration {state.iterations}: {key} goes on from {state.lineage[-2]['run']} with {words}")
        done: list[str] = []

        def told(key: str, result: Mapping[str, Any], done: list[str] = done) -> None:
            done.append(key)
            if result["ended"]:
                ended(key)

        work = partial(_advance, stretch=stretch, population=population, runs=runs, root=root, leave_row=leave_row)
        run_trials(work, todo, root / STATES, workers, ended=told, gpus=gpus)
        if len(done) < len(todo):
            return


def next_stretch(population: Population, runs: Mapping[str, Run], folder: Path) -> Stretch:
    """What there is to do next, from the states that runs have left."""
    past = {key: read_states(folder, run.record) for key, run in runs.items()}
    living = {key: len(states) for key, states in past.items() if not (states and states[-1].ended)}
    number = min(living.values(), default=0)
    if number == 0:
        starts = {key: State().goes_on(key, dict(run.variant.values)) for key, run in runs.items()}
    else:  # also runs that are further by now were compared there
        before = {key: states[number - 1] for key, states in past.items() if len(states) >= number}
        starts = next_states(population, {key: state for key, state in before.items() if not state.ended})
    return Stretch(
        number=number,
        starts={key: state for key, state in starts.items() if living.get(key) == number},
        without_row=tuple(key for key in runs if key not in living and not row_file(folder, key).exists()),
    )


def _advance(
    key: str, stretch: Stretch, population: Population, runs: Mapping[str, Run], root: Path, leave_row: LeaveRow
) -> dict[str, Any]:
    """Train a run for a stretch, and leave its row where it has ended then."""
    run = runs[key]
    if key in stretch.starts:
        state = _train(population, run, stretch.starts[key], (stretch.number + 1) * population.settings.every, root)
        write_state(root, run.record, stretch.number, state)
    else:
        state = read_states(root, run.record)[-1]
    if state.ended:
        assert state.checkpoint is not None  # a stretch has at least one iteration
        trained = Trained(root / state.checkpoint, state.iterations, state.seconds)
        columns = {population.columns[name]: value for name, value in state.values.items()}
        changed = replace(run, sets=(*run.sets, *_sets(state.values)))
        leave_row(changed, trained, {**columns, "lineage": lineage_in_words(population, state)})
    return {"ended": state.ended}


def _sets(values: Mapping[str, Any]) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]


def _train(population: Population, run: Run, state: State, until: int, folder: Path) -> State:
    """Train from a state on to an iteration, in a run folder of its own, which says where it began and with what.

    Raises:
        UserError: It did not get there.
    """
    from rich.console import Console

    from rbc_marl.rllib.experiment import train

    limit = int(run.load(folder).stop["training_iteration"])
    until = min(until, limit)
    sets = [*run.sets, *_sets(state.values), f"stop.training_iteration={until}"]
    sets += ["checkpoint_config.checkpoint_frequency=0", "checkpoint_config.checkpoint_at_end=true"]
    if state.checkpoint is not None:
        sets.append(f"restore={json.dumps(str(folder / state.checkpoint))}")
    outcome = train(replace(run, sets=tuple(sets)).load(folder / RUNS / run.key), console=Console(quiet=True))
    if outcome.checkpoint is None or outcome.status != "finished":
        raise UserError(f"{run.key} did not finish; see {outcome.folder}")
    iterations = int(outcome.results["training_iteration"])
    return replace(
        state,
        checkpoint=str(outcome.checkpoint.resolve().relative_to(folder)),
        iterations=iterations,
        seconds=state.seconds + float(outcome.results.get("time_total_s", 0.0)),
        score=_score(population, quantities(outcome.results)),
        ended=iterations >= limit or iterations < until,  # another criterion can end it
    )


def _score(population: Population, found: Mapping[str, Any]) -> float | None:
    value = found.get(population.settings.metric)
    if value is None or not math.isfinite(value):
        return None
    return float(value) if population.settings.mode == "max" else -float(value)
