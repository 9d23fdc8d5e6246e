"""Runs of a sweep that differ in their seeds or fixed taxes, trained side by side in one process."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rbc_marl.curriculum import Schedule, parse_curriculum
from rbc_marl.errors import ConfigError, NonFiniteError
from rbc_marl.experiments.build import Experiment
from rbc_marl.experiments.folder import RunFolder, iteration_of
from rbc_marl.experiments.lock import folder_lock
from rbc_marl.experiments.notes import RUN, write_readme
from rbc_marl.experiments.run import Outcome, became, begin_record, new_folder, now, reason
from rbc_marl.rllib.population import STATE_NAME, Population, check_population

# The one criterion that ends all runs of a population at once.
_ITERATIONS = "training_iteration"


@dataclass(frozen=True)
class Begun:
    """A run to train: its experiment, and the folder in which it began, if it did."""

    experiment: Experiment
    folder: RunFolder | None = None

    @property
    def checkpoint(self) -> Path | None:
        """Where it stopped."""
        return next(reversed(self.folder.checkpoints()), None) if self.folder else None

    @property
    def iterations(self) -> int | None:
        """Iterations done; None for a run that only itself can go on with, for RLlib wrote its checkpoint."""
        if self.checkpoint is None:
            return 0
        return iteration_of(self.checkpoint) if is_of_population(self.checkpoint) else None


def is_of_population(checkpoint: Path) -> bool:
    """Whether a population wrote a checkpoint."""
    return (checkpoint / STATE_NAME).is_file()


def can_be_together(experiment: Experiment) -> bool:
    """Whether a population can train an experiment."""
    is_plain = experiment.run == "EconomyPPO" and not experiment.restore and not experiment.is_python
    if not is_plain or experiment.loggers or set(experiment.stop) != {_ITERATIONS}:
        return False
    try:
        check_population(experiment.config, [experiment.seed])
    except ConfigError:
        return False
    return True


def kind(experiment: Experiment) -> str:
    """All that runs of one population have in common: what an experiment says, but for its seed and fixed taxes."""
    resolved = {key: value for key, value in experiment.resolved.items() if key not in ("storage_path", "report")}
    settings = {key: value for key, value in resolved["config"].items() if key != "seed"}
    curriculum = settings.get("curriculum")
    if isinstance(curriculum, Mapping) and (taxes := _fixed(curriculum)):
        settings["curriculum"] = {**curriculum, "taxes": {**taxes, "fixed": True}}
    return json.dumps({**resolved, "config": settings}, sort_keys=True, default=str)


def _fixed(curriculum: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The taxes of a curriculum that fixes them."""
    taxes = curriculum.get("taxes")
    return taxes if isinstance(taxes, Mapping) and taxes.get("fixed") else None


def _schedules(experiments: Sequence[Experiment]) -> list[Schedule] | None:
    """The curricula of runs of one kind, where they differ."""
    given = [experiment.config.curriculum for experiment in experiments]
    if all(each == given[0] for each in given):
        return None
    return [schedule for each in given if (schedule := parse_curriculum(each)) is not None]


def bundled(groups: Iterable[Sequence[str]], most: int, workers: int) -> list[tuple[str, ...]]:
    """Deal out runs to populations, none larger than needed to keep all workers busy.

    Args:
        groups: Keys of runs that can be together.
        most: Runs of a population.
        workers: Populations side by side.

    Returns:
        Keys of the runs of each population, the first of every group before the second of any.
    """
    alike = [tuple(group) for group in groups]
    size = min(most, max(-(-sum(map(len, alike)) // max(workers, 1)), 1))
    dealt = []
    for group in alike:
        count = -(-len(group) // size)
        if len(alike) == 1 and size > 1:  # as many for each worker
            count = min(-(-count // workers) * workers, len(group))
        dealt.append([group[len(group) * i // count : len(group) * (i + 1) // count] for i in range(count)])
    turns = range(max(map(len, dealt), default=0))
    return [parts[turn] for turn in turns for parts in dealt if turn < len(parts)]


def train_together(runs: Sequence[Begun]) -> list[Outcome | NonFiniteError]:
    """Train runs to their end.

    Args:
        runs: They are of one `kind`, and have done as many iterations.

    Returns:
        How each ended; an error for one whose numbers are not finite, while the others went on.
    """
    experiments = [run.experiment for run in runs]
    first = experiments[0]
    with ExitStack() as stack:
        seeds = [experiment.seed for experiment in experiments]
        population = Population(first.config, seeds, _schedules(experiments))
        folders = [_folder(run, stack) for run in runs]
        if runs[0].checkpoint is not None:
            population.restore([run.checkpoint for run in runs if run.checkpoint is not None])
        results = [folder.rewind(population.iteration) for folder in folders]
        for experiment, folder in zip(experiments, folders, strict=True):
            begin_record(folder, experiment, (), population=seeds)
            write_readme(folder.path, f"A run of rbc_marl: {experiment.name}, seed {experiment.seed}.", RUN, ())
        try:
            while population.iteration < first.stop[_ITERATIONS] and len(population.failed) < len(runs):
                _iterate(population, first, folders, results)
        except Exception as error:
            for folder in folders:
                folder.update_info(status="failed", ended=now(), error=reason(error))
            raise
        return [
            _end(population, run, experiment, folder, results[run])
            for run, (experiment, folder) in enumerate(zip(experiments, folders, strict=True))
        ]


def _folder(run: Begun, stack: ExitStack) -> RunFolder:
    """The folder of a run, for this process alone."""
    folder = run.folder or new_folder(run.experiment)
    stack.enter_context(folder_lock(folder.path))
    folder.tidy()
    stack.callback(folder.close)
    return folder


def _iterate(
    population: Population, experiment: Experiment, folders: Sequence[RunFolder], results: list[dict[str, Any]]
) -> None:
    """One iteration of all runs, with what is due after it."""
    reported = population.train()
    frequency = experiment.checkpoints.checkpoint_frequency
    for run, folder in enumerate(folders):
        if run not in population.failed:
            results[run] = reported[run]
            folder.log(population.iteration, results[run])
            if frequency and population.iteration % frequency == 0:
                _save(population, run, experiment, folder)


def _save(population: Population, run: int, experiment: Experiment, folder: RunFolder) -> None:
    keep = experiment.checkpoints.num_to_keep
    folder.save_checkpoint(population.iteration, lambda path: population.save(run, path), keep)


def _end(
    population: Population, run: int, experiment: Experiment, folder: RunFolder, results: Mapping[str, Any]
) -> Outcome | NonFiniteError:
    """Save a run at its end, and say how it ended."""
    error = population.failed.get(run)
    try:
        if error is None:
            _save(population, run, experiment, folder)
    except NonFiniteError as unsaved:
        error = unsaved
    if error is not None:
        folder.update_info(status="failed", ended=now(), error=str(error))
        return error
    iterations = int(results[_ITERATIONS])
    folder.update_info(status="finished", ended=now(), iterations=iterations, **became(experiment, results))
    return Outcome(folder.path, folder.checkpoints()[-1], "finished", results=results)
