"""Pieces of work side by side through Ray Tune, each of which leaves its result in a file and is never done twice."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import ray
import torch
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from rbc_marl.errors import UserError
from rbc_marl.experiments.progress import tell
from rbc_marl.experiments.ray_session import quieten
from rbc_marl.experiments.rows import RowStore
from rbc_marl.experiments.signals import ending_signals, leave_terminal

# Where a trial's configuration holds the key of its piece of work.
KEY = "key"
# Where a trial's last report says why it failed.
ERROR = "ended_by"
# How often a trial begins again, from what is kept of it, after its process or machine was lost.
LOST = 10
# Seconds between two looks at whether any machine is left.
LOOK = 10.0


class Job(Protocol):
    """A piece of work."""

    @property
    def key(self) -> str:
        """Name of its file: all that decides the result must be in it."""

    def run(self, folder: Path) -> dict[str, Any]:
        """Do it; files beside the result can be left in the folder.

        Returns:
            The result: plain data, with ``line``, what to say of it.
        """


def run_jobs(
    jobs: Sequence[Job], folder: Path, workers: int, report: Callable[[str], None] = print
) -> dict[str, dict[str, Any]]:
    """Do every job that has no result yet.

    Each leaves its result in ``folder/rows`` when it is done, so that work that was interrupted, also by a kill, goes
    on with what is missing.

    Args:
        jobs: What to do.
        folder: Where results are kept.
        workers: Jobs side by side, as Tune's trials of one CPU and one thread each; 0: one after another in this
            process, which is how to work inside another trial.
        report: Told of each job that ends.

    Returns:
        Results by key.

    Raises:
        UserError: A job failed.
        KeyboardInterrupt: They were interrupted.
    """
    store = RowStore(folder, report)
    missing = {job.key: job for job in jobs if store.read(job.key) is None}
    done, root = len(jobs) - len(missing), folder.resolve()
    if missing and done:
        report(f"{done} of {len(jobs)} pieces of work were done before")
    counter = itertools.count(done + 1)

    def ended(_: str, result: Mapping[str, Any]) -> None:
        tell(report, next(counter), len(jobs), result["line"])

    def work(key: str) -> dict[str, Any]:  # with a store of its own: this process's report may not travel
        return {"line": _do(missing[key], RowStore(root))["line"]}

    if missing and workers:
        run_trials(work, list(missing), folder, workers, ended, report=report)
    elif missing:
        for job in missing.values():
            ended(job.key, _do(job, store))
    rows = {job.key: row for job in jobs if (row := store.read(job.key)) is not None}
    if left := [job.key for job in jobs if job.key not in rows]:  # Tune was interrupted, and ends without an error then
        report(f"interrupted: {len(left)} of {len(jobs)} pieces of work are left; the same command goes on with them")
        raise KeyboardInterrupt
    return rows


def _do(job: Job, store: RowStore) -> dict[str, Any]:
    started = time.perf_counter()
    try:
        row = job.run(store.folder)
    except Exception as error:
        raise UserError(f"{job.key} failed: {type(error).__name__}: {error}") from error
    row["seconds"] = round(time.perf_counter() - started, 1)
    row["line"] = f"{row['line']}  {row['seconds']:.0f} s"
    store.write(job.key, row)
    return row


def run_trials(
    work: Callable[[str], dict[str, Any]],
    keys: Sequence[str],
    folder: Path,
    workers: int,
    ended: Callable[[str, dict[str, Any]], None],
    *,
    reported: Callable[[str, dict[str, Any]], None] | None = None,
    bundles: Mapping[str, Sequence[Mapping[str, float]]] | None = None,
    scheduler: TrialScheduler | None = None,
    report: Callable[[str], None] = print,
) -> None:
    """Do pieces of work as trials of Ray Tune, each with one thread.

    Args:
        work: Done in a trial's process, with a key; what it returns is the trial's last report.
        keys: One for each trial.
        folder: Where Tune keeps its records.
        workers: Trials side by side.
        ended: Told, in this process, the key and the last report of each trial that ends.
        reported: Told of every report.
        bundles: By key, what the processes of a trial need, its own first; None: one CPU each.
        scheduler: Tune's, which may end trials early.
        report: Told when no machine is left to work.

    Raises:
        UserError: A trial failed.
    """
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # Tune's own tables of trials

    def trial(config: dict[str, Any]) -> None:
        quieten(0)
        torch.set_num_threads(1)
        try:
            tune.report(work(config[KEY]))
        except Exception as error:  # told, not raised: what Tune itself sees fail is a process that was lost
            tune.report({ERROR: f"{type(error).__name__}: {' '.join(str(error).split())}"})

    def resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        asked = [{"CPU": 1.0}] if bundles is None else bundles[config[KEY]]
        return tune.PlacementGroupFactory([dict(bundle) for bundle in asked])

    tuner = tune.Tuner(
        tune.with_resources(trial, resources),
        param_space={KEY: tune.grid_search(list(keys))},
        # A new process takes longer to import everything than small pieces of work take. A function that is stopped
        # leaves its process in the middle of its work, where no other could begin.
        tune_config=tune.TuneConfig(max_concurrent_trials=workers, scheduler=scheduler, reuse_actors=scheduler is None),
        run_config=tune.RunConfig(
            name=f"tune-{time.strftime('%Y%m%d-%H%M%S')}",
            storage_path=str(folder.resolve()),
            verbose=0,
            callbacks=[_Listener(ended, reported, report)],
            failure_config=tune.FailureConfig(max_failures=LOST),
        ),
    )
    with _all_as_sigint():
        errors = [_error(result) for result in tuner.fit() if result.error or ERROR in (result.metrics or {})]
    if errors:
        last = errors[0].removeprefix("UserError: ")
        raise UserError(f"{len(errors)} of {len(keys)} failed, the first with: {last}")


def _error(result: tune.Result) -> str:
    """Why a trial failed, in a line."""
    told = (result.metrics or {}).get(ERROR)
    return str(told or str(result.error).strip().splitlines()[-1])


class _Listener(tune.Callback):
    """Passes on what Tune says of trials. Tune keeps a copy of it, which has nobody to tell."""

    def __init__(
        self, ended: Callable[..., None], reported: Callable[..., None] | None, report: Callable[[str], None]
    ) -> None:
        self.ended, self.reported, self.report = ended, reported, report
        self._looked, self._is_stranded = time.monotonic(), False

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: object) -> None:
        if time.monotonic() - self._looked < LOOK:
            return
        is_stranded = not ray.cluster_resources().get("CPU")
        if is_stranded and not self._is_stranded:
            self.report("no machine is left to work: waiting for one (Ctrl-C stops, the same command goes on)")
        self._looked, self._is_stranded = time.monotonic(), is_stranded

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: object
    ) -> None:
        if self.reported is not None:
            self.reported(trial.config[KEY], result)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        if ERROR not in trial.last_result:
            self.ended(trial.config[KEY], trial.last_result)


@contextmanager
def _all_as_sigint() -> Iterator[None]:
    """Tune ends cleanly, with its state saved, on Ctrl-C only."""
    is_main = threading.current_thread() is threading.main_thread()  # which alone can
    terminals = [number for number in (1, 2) if os.isatty(number)]

    def interrupt(number: int, _: FrameType | None) -> None:
        if number != signal.SIGTERM:
            leave_terminal(terminals)
        os.kill(os.getpid(), signal.SIGINT)

    others = [number for number in ending_signals() if number != signal.SIGINT] if is_main else []
    previous = {number: signal.signal(number, interrupt) for number in others}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
