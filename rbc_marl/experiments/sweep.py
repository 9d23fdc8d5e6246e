"""Sweeps: many runs side by side through Ray Tune, each trained, evaluated and classified, in one table."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from ray import tune
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from rich.console import Console

from rbc_marl import places
from rbc_marl.analysis.composition import composition
from rbc_marl.analysis.groups import Thresholds
from rbc_marl.analysis.outcomes import BEST, FAILED, outcome
from rbc_marl.analysis.rollouts import Evaluation, play
from rbc_marl.analysis.shopping import shopping
from rbc_marl.analysis.tables import NOT_EVALUATED, STOPPED, TRAINED
from rbc_marl.config import EconomyConfig
from rbc_marl.errors import ConfigError, NonFiniteError, UserError, nearest
from rbc_marl.experiments import run as training
from rbc_marl.experiments.build import Experiment, algorithm_class
from rbc_marl.experiments.cluster import check_room_of_runs
from rbc_marl.experiments.earlier import earlier_folder, is_free, trained_before
from rbc_marl.experiments.file import ExperimentSpec, Override
from rbc_marl.experiments.progress import tell
from rbc_marl.experiments.ray_session import cpus_needed
from rbc_marl.experiments.rows import HASH, RowStore
from rbc_marl.experiments.run import Outcome
from rbc_marl.experiments.schedulers import Asha, reporter, reports_of, tune_scheduler
from rbc_marl.experiments.together import Begun, bundled, can_be_together, is_of_population, kind, train_together
from rbc_marl.experiments.trials import run_trials
from rbc_marl.mechanics import Welfare
from rbc_marl.policies.imposed import as_trained
from rbc_marl.policies.saved import load_policies

RUNS = "runs"
Measure = Callable[..., Mapping[str, float | None]]  # columns of a row, by policies, episodes and a seed


@dataclass(frozen=True)
class RunSpec:
    """One run of a sweep before it is trained: an arm with a seed."""

    arm: str
    seed: int
    spec: ExperimentSpec
    """The experiment with the arm's changes."""
    changes: str = ""
    """These changes in words."""
    columns: tuple[tuple[str, Any], ...] = ()
    """What was varied, as columns of a table."""
    episodes: int = 256
    """On which its final policies are evaluated."""
    rules: str = BEST
    """Name of the rule-based economy that it is held against."""
    welfares: tuple[str, ...] = ()
    """Definitions of welfare by which it may be living, where its government maximises none; empty: its economy's."""
    measure: Measure | None = None
    """Measures further columns of its row."""
    economy: EconomyConfig | None = None
    is_evaluated: bool = True
    """Whether it saves policies that can be played; otherwise its row has the results of its last iteration."""
    iterations: float = math.inf
    """At which it ends at the latest."""
    bundles: tuple[Mapping[str, float], ...] = ({"CPU": 1.0},)
    """What its processes need, its own first."""
    fingerprint: str = ""
    """Hash of all settings that determine the row; excludes the seed, which the key has, and the code version."""

    @property
    def key(self) -> str:
        """Name of its row and of its run folders."""
        return f"{self.arm}-{self.seed}"

    @property
    def record(self) -> str:
        """Name of what is kept of it on the way to its row. Other settings leave it alone."""
        return f"{self.key}-{self.fingerprint}"

    @property
    def unit(self) -> tuple[str, float]:
        """What its government maximises, in words, and the weight of profit in total welfare: the unit of welfares."""
        weight = self.economy.firm_welfare_weight if self.economy else 0.0
        if self.economy is not None and isinstance(self.economy.welfare, Welfare):
            return f"welfare {self.economy.welfare}", weight
        is_total = self.economy is None or self.economy.welfare == "total"
        return f"total welfare with profit weighted by {weight:g}" if is_total else "consumers' welfare", weight

    def build(self, storage: Path) -> Experiment:
        """The experiment to train, with its results under ``storage``.

        It saves a checkpoint at its end whatever the file says: that is what its row is about.

        Raises:
            ConfigError: The file or a change is not valid.
        """
        own = (
            Override(("config", "seed"), self.seed, "seeds"),
            Override(("storage_path",), str(storage), "--out"),
            Override(("checkpoint_config", "checkpoint_at_end"), True, "a sweep"),
        )
        return self.spec.with_overrides(own).build()

    def checked(self, experiment: Experiment) -> Self:
        """The same with what its built experiment decides."""
        config, resolved = experiment.config, experiment.resolved
        bundles = self.bundles
        if cpus_needed(config) > 1 or config.num_gpus_per_learner:
            request = algorithm_class(experiment.run, experiment.name).default_resource_request(config.to_dict())
            bundles = tuple(dict(bundle) for bundle in request.bundles)
        shared = {key: value for key, value in resolved["config"].items() if key != "seed"}
        run = {key: value for key, value in resolved.items() if key not in ("loggers", "report")}
        decisive = [{**run, "config": shared, "storage_path": None}, self.episodes, self.rules]
        measured = getattr(self.measure, "decides", self.measure is not None)
        decisive += [measured, *([self.welfares] if self.welfares else [])]
        return replace(
            self,
            economy=experiment.env_config,
            is_evaluated=experiment.run == "EconomyPPO" and bool(experiment.env_config) and not scripted_types(config),
            iterations=experiment.stop.get("training_iteration", math.inf),
            bundles=bundles,
            fingerprint=hashlib.sha256(json.dumps(decisive, sort_keys=True, default=str).encode()).hexdigest()[:16],
        )


@dataclass(frozen=True)
class Sweep:
    """Many runs of an experiment, each checked."""

    name: str
    source: Path
    """The file that asks for it."""
    runs: tuple[RunSpec, ...]
    """In the order in which they begin."""
    groups: Thresholds
    scheduler: Asha | None = None
    report: bool = True
    """Whether it ends with a report."""
    population: int = 1
    """Most runs that one process trains together."""

    @property
    def varied(self) -> tuple[str, ...]:
        """Columns that say what was varied."""
        return tuple(dict.fromkeys(column for run in self.runs for column, _ in run.columns))

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms, in the file's order."""
        return tuple(dict.fromkeys(run.arm for run in self.runs))

    @property
    def processes(self) -> int:
        """Most processes of a run."""
        return max(len(run.bundles) for run in self.runs)

    @property
    def cpus(self) -> float:
        """Most CPUs of a run."""
        return max(sum(bundle.get("CPU", 0.0) for bundle in run.bundles) for run in self.runs) or 1.0

    @property
    def needed(self) -> tuple[Path, ...]:
        """Folders that runs read."""
        paths = {run.spec.data.get("restore") for run in self.runs}
        return tuple(Path(path) for path in sorted(filter(None, paths)))

    @property
    def size(self) -> str:
        """How many runs there are, in words."""
        return f"{len(self.runs)} runs"

    def only(self, arms: Sequence[str]) -> Self:
        """The same sweep with some of its arms; with all of them where none is named.

        Raises:
            ConfigError: It has no such arm.
        """
        for arm in arms:
            if arm not in self.arms:
                raise ConfigError(f"{arm} is not an arm of {self.source}{nearest(arm, self.arms)}")
        return replace(self, runs=tuple(run for run in self.runs if not arms or run.arm in arms))

    def notes(self) -> list[str]:
        """Lines that say what else happens to its runs."""
        if self.scheduler is None:
            return []
        settings = ", ".join(f"{key} {value}" for key, value in self.scheduler.model_dump().items())
        return [f"asha: {settings}"]


def interleaved(runs: Sequence[RunSpec], name: str) -> tuple[RunSpec, ...]:
    """Runs in the order in which they begin: the first seed of every arm before the second of any.

    A sweep that is cut short then still compares all arms.

    Raises:
        ConfigError: Two arms have one name.
    """
    if len({run.key for run in runs}) < len(runs):
        raise ConfigError(f"{name} has two arms of one name; give each another")
    arms = [[run for run in runs if run.arm == arm] for arm in dict.fromkeys(run.arm for run in runs)]
    return tuple(run for turn in itertools.zip_longest(*arms) for run in turn if run is not None)


def scripted_types(config: AlgorithmConfig) -> list[str]:
    """Agent types that follow rules in a run: it saves no policies."""
    scripted = getattr(config, "scripted", None)
    return list(scripted.chosen) if scripted is not None else []


def run_sweep(sweep: Sweep, folder: Path, workers: int, report: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """Train and evaluate every run of a sweep that has no row yet.

    Each run leaves a row in ``folder/rows`` when it is done: a sweep that was interrupted, also by a kill, goes on
    with the runs that are missing, and these from their last checkpoints. A run whose numbers are not finite leaves a
    row that says so ("failed").

    Args:
        sweep: What to run.
        folder: Where runs, rows and the table are kept.
        workers: Runs side by side, one thread each.
        report: Told of each run that ends.

    Returns:
        One row per run, in the order of the sweep.

    Raises:
        UserError: A run ended with another error, or the folder holds rows that were made with other settings.
        KeyboardInterrupt: The sweep was interrupted.
    """
    store = RowStore(folder, report)
    missing = [run for run in sweep.runs if finished_row(sweep, run, store) is None]
    report(f"{len(sweep.runs) - len(missing)} of {len(sweep.runs)} runs are done; {workers} at a time")
    if missing:
        _tune(sweep, missing, folder, workers, report)
    rows = rows_of(sweep, folder, report)
    if left := len(sweep.runs) - len(rows):
        report(f"interrupted: {left} of {len(sweep.runs)} runs are missing")
        raise KeyboardInterrupt
    return rows


def rows_of(sweep: Sweep, folder: Path, report: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """The rows there are of a sweep's runs, in its order.

    Raises:
        UserError: Some were made with other settings.
    """
    store = RowStore(folder, report)
    return [row for run in sweep.runs if (row := finished_row(sweep, run, store)) is not None]


def finished_row(sweep: Sweep, run: RunSpec, store: RowStore) -> dict[str, Any] | None:
    """The row of a run, if it is done. One that a scheduler stopped is done for that scheduler alone."""
    row = store.read(run.key, run.fingerprint)
    is_done = row is not None and (row["outcome"] != STOPPED or row.get("scheduler") == _described(sweep.scheduler))
    return row if is_done else None


def describe(sweep: Sweep, folder: Path) -> str:
    """What would run, in plain lines: every arm with its seeds and what it changes in its base."""
    lines = [f"{sweep.name}: {sweep.size}, {len(rows_of(sweep, folder))} of them done"]
    for arm in sweep.arms:
        runs = [run for run in sweep.runs if run.arm == arm]
        changes = f" with {runs[0].changes}" if runs[0].changes else ""
        base = os.path.relpath(runs[0].spec.source)
        lines.append(f"  {arm}: {base}{changes}; seeds {seed_ranges(run.seed for run in runs)}")
    lines += [f"  {note}" for note in sweep.notes()]
    return "\n".join([*lines, f"  results: {folder}"])


def seed_ranges(seeds: Iterable[int]) -> str:
    """Seeds in words: 3, 100-119."""
    ranges: list[list[int]] = []
    for seed in sorted(seeds):
        if not ranges or seed != ranges[-1][-1] + 1:
            ranges.append([])
        ranges[-1].append(seed)
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in ranges)


def _described(scheduler: Asha | None) -> str:
    return json.dumps(scheduler.model_dump() if scheduler else None, sort_keys=True)


def _tune(sweep: Sweep, missing: Sequence[RunSpec], folder: Path, workers: int, report: Callable[[str], None]) -> None:
    """Run what is missing, as many at a time as there are workers."""
    check_room_of_runs([run.bundles for run in missing])
    root, endings = folder.resolve(), itertools.count(len(sweep.runs) - len(missing) + 1)
    store, by_key, asha = RowStore(root, report), {run.key: run for run in missing}, sweep.scheduler
    groups: dict[Hashable, list[str]] = {}
    for run in missing:
        groups.setdefault(_alike(sweep, run, root), []).append(run.key)
    together = {keys[0]: keys for keys in bundled(groups.values(), sweep.population, workers)}  # by the first run

    def work(key: str) -> dict[str, Any]:
        run = by_key[key]
        if len(together[key]) > 1:
            return run_together([by_key[each] for each in together[key]], root)
        after = reporter(asha, int(run.iterations), root, run.record, tune.report) if asha else None
        return run_one(run, root, after)

    def ended(trial: str, _: Mapping[str, Any]) -> None:
        for key in together[trial]:
            places.pull(store.path(key))  # which another machine may have written
            row = store.read(key)
            tell(report, next(endings), len(sweep.runs), f"{key}: no row" if row is None else _line(row))

    def reported(key: str, result: Mapping[str, Any]) -> None:
        run = by_key[key]
        if asha and result.get("done") and finished_row(sweep, run, store) is None:
            store.write(key, {**_stopped_row(run, root), "scheduler": _described(asha)})

    scheduler = None
    if asha is not None:
        most = max(run.iterations for run in missing)
        scheduler = tune_scheduler(asha, int(most), root, {run.key: run.record for run in sweep.runs})
    bundles = {key: by_key[key].bundles for key in together}
    how: dict[str, Any] = {"reported": reported, "bundles": bundles, "scheduler": scheduler, "report": report}
    run_trials(work, [*together], folder, workers, ended, **how)


def _alike(sweep: Sweep, run: RunSpec, folder: Path) -> Hashable:
    """What runs have in common that a population can train: their kind, and the iterations done."""
    if sweep.population == 1 or sweep.scheduler is not None or len(run.bundles) > 1:
        return run.key
    begun = _begun(run, folder)
    done = begun.iterations
    alone = done is None or done >= run.iterations or not can_be_together(begun.experiment)
    return run.key if alone else (kind(begun.experiment), done)


def _line(row: Mapping[str, Any]) -> str:
    """What a run came to."""
    name = f"{row['arm']} seed {row['seed']}: {row['outcome']}"
    taken = f"{row['seconds']:.0f} s" if "seconds" in row else f"after {row.get('iterations', 0)} iterations"
    if row["outcome"] == FAILED:
        return f"{name}  {row['error']}"
    if row["outcome"] == TRAINED:
        return f"{name}  return {row.get('episode_return_mean') or math.nan:.4g}  {taken}"
    welfare = f"welfare {row['welfare_total']:,.0f} (consumers {row['welfare_consumers']:,.0f})"
    trade = f"trade in {row['trade_periods']:.3g} periods"
    return f"{name}  hours {row['hours']:.0f}  {trade}  {welfare}  {taken}"


def run_one(
    run: RunSpec, folder: Path, after_iteration: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, Any]:
    """Train one run in this process, evaluate its policies, and leave its row.

    Args:
        run: What to train.
        folder: The sweep's folder.
        after_iteration: Told the flat results of every iteration.

    Returns:
        The row: arm, seed, outcome, the reported quantities and indicators, what welfare is made of, how consumers
        shop, and how long training took.
    """
    try:
        trained: Outcome | NonFiniteError = _train(run, folder, after_iteration)
    except NonFiniteError as error:
        trained = error
    return _finish(run, folder, trained)


def run_together(runs: Sequence[RunSpec], folder: Path) -> dict[str, Any]:
    """Train runs of one kind as one population; the rest is as in `run_one`.

    Returns:
        The row of the last.
    """
    trained = train_together([_begun(run, folder) for run in runs])
    return [_finish(run, folder, each) for run, each in zip(runs, trained, strict=True)][-1]


def _finish(run: RunSpec, folder: Path, trained: Outcome | NonFiniteError) -> dict[str, Any]:
    """Evaluate a run that has been trained, and leave its row."""
    try:
        if isinstance(trained, NonFiniteError):
            raise trained
        assert trained.checkpoint is not None  # whoever trains sees to it
        results = _evaluated(run, trained.checkpoint) if run.is_evaluated else _last_results(trained)
        results |= {"iterations": trained.iterations, "seconds": round(trained.seconds, 1)}
    except NonFiniteError as error:
        results = {"outcome": FAILED, "error": str(error)}
    row = _row(run, results)
    RowStore(folder).write(run.key, row)
    return row


def remeasure(sweep: Sweep, folder: Path, report: Callable[[str], None] = print) -> None:
    """Make the rows of runs anew from their last checkpoints, as after an update that measures more; train nothing.

    Rows of runs that were stopped, failed or never evaluated stay, and so do their times and iterations.

    Raises:
        UserError: A run's checkpoint is gone, or the folder holds rows that were made with other settings.
    """
    store = RowStore(folder, report)
    for number, run in enumerate(sweep.runs, start=1):
        row = finished_row(sweep, run, store)
        if row is None or row["outcome"] in NOT_EVALUATED:
            continue
        training = {name: row[name] for name in ("iterations", "seconds")}
        row = _row(run, _evaluated(run, checkpoint_of(run, folder)) | training)
        store.write(run.key, row)
        tell(report, number, len(sweep.runs), _line(row))


def _row(run: RunSpec, results: Mapping[str, Any]) -> dict[str, Any]:
    head = {"arm": run.arm, "seed": run.seed, "outcome": results["outcome"], **dict(run.columns)}
    return {**head, **results, "changes": run.changes, HASH: run.fingerprint}


def _evaluated(run: RunSpec, checkpoint: Path) -> dict[str, Any]:
    """Columns of a run whose policies are played."""
    policies = as_trained(load_policies(checkpoint, trust=True))  # its networks were trained here
    episodes = play(policies, run.episodes, seed=run.seed, record=True)
    evaluation = Evaluation.of(episodes)
    measured = {**evaluation.means, **evaluation.indicators, **composition(episodes)}
    measured |= shopping(policies, seed=run.seed).numbers()
    measured |= run.measure(policies, run.episodes, run.seed) if run.measure else {}
    if spoilt := [name for name, x in measured.items() if x is not None and not math.isfinite(x)]:
        raise NonFiniteError(f"{', '.join(spoilt)} of the policies in {checkpoint} are not finite")
    became = outcome(policies.config, evaluation.means, run.rules, run.welfares)
    return {"outcome": became, **{name: None if x is None else round(x, 4) for name, x in measured.items()}}


def _last_results(trained: Outcome) -> dict[str, Any]:
    """Columns of a run that saved no policies: what its last iteration reported of episodes."""
    columns: dict[str, Any] = {"outcome": TRAINED}
    for name, value in trained.results.items():
        is_number = isinstance(value, int | float) and math.isfinite(value)
        if name.startswith("env_runners/") and is_number and "timer" not in name and "connector" not in name:
            columns[name.removeprefix("env_runners/")] = value
    return columns


def _stopped_row(run: RunSpec, folder: Path) -> dict[str, Any]:
    """The row of a run that the scheduler ended: its last report, from training."""
    *_, last = reports_of(folder, run.record)
    iterations = last.pop("iterations")
    quantities = {name: None if x is None else round(x, 4) for name, x in last.items()}
    return _row(run, {"outcome": STOPPED, **quantities, "iterations": iterations})


# Training, from where an interruption left it


def _train(run: RunSpec, folder: Path, after_iteration: Callable[[dict[str, Any]], None] | None) -> Outcome:
    """Train a run to its end: from the beginning, from its last checkpoint, or not at all where it is trained already.

    Raises:
        UserError: It did not reach its end.
    """
    experiment = run.build(folder / RUNS / run.key)
    earlier = earlier_folder(experiment)
    if earlier is not None and (trained := trained_before(earlier)) is not None:
        return trained
    if earlier is not None and not is_free(earlier):
        earlier = None
    if earlier is not None and earlier.checkpoints() and is_of_population(earlier.checkpoints()[-1]):
        (ended_so,) = train_together([Begun(experiment, earlier)])
        if isinstance(ended_so, NonFiniteError):
            raise ended_so
        return ended_so
    ended = training.train(experiment, earlier, console=Console(quiet=True), after_iteration=after_iteration)
    if ended.checkpoint is None or ended.status != "finished":
        raise UserError(f"{run.key} did not finish; see {ended.folder}")
    return ended


def _begun(run: RunSpec, folder: Path) -> Begun:
    """A run, and where it was left: nowhere if that cannot be gone on with."""
    experiment = run.build(folder / RUNS / run.key)
    earlier = earlier_folder(experiment)
    return Begun(experiment, earlier if earlier is not None and is_free(earlier) else None)


def checkpoint_of(run: RunSpec, folder: Path) -> Path:
    """The last checkpoint of a run that has been trained.

    Raises:
        UserError: There is none.
    """
    earlier = earlier_folder(run.build(folder / RUNS / run.key))
    if earlier is None or not earlier.checkpoints():
        mend = f"remove {RowStore(folder).path(run.key)} to train again"
        raise UserError(f"{folder / RUNS / run.key} holds no checkpoint; {mend}")
    return earlier.checkpoints()[-1]
