"""Pieces of work side by side through Ray Tune, each of which leaves its result in a file and is never done twice."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from rbc_marl.errors import UserError

# Where a trial's configuration holds the key of its piece of work.
KEY = "key"


def row_file(folder: Path, key: str) -> Path:
    """Where the result of a piece of work is kept, once it is done."""
    return folder / "rows" / f"{key}.json"


class Job(Protocol):
    """A piece of work."""

    @property
    def key(self) -> str:
        """Name of its file: all that decides the result must be in it."""
        ...

    def run(self, folder: Path) -> dict[str, Any]:
        """Do it.

        Args:
            folder: Where files beside the result can be left.

        Returns:
            The result: plain data, with ``line``, what to say of it.
        """
        ...


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
    missing = {job.key: job for job in jobs if not row_file(folder, job.key).exists()}
    if missing:
        done = len(jobs) - len(missing)
        if done:
            report(f"{done} of {len(jobs)} pieces of work were done before")
        if workers:
            _through_tune(missing, folder, workers, _Counter(report, done, len(jobs)))
        else:
            counter = _Counter(report, done, len(jobs))
            for job in missing.values():
                counter.ended(_do(job, folder)["line"])
    left = [job.key for job in jobs if not row_file(folder, job.key).exists()]
    if left:  # Tune was interrupted, and ends without an error then
        report(f"interrupted: {len(left)} of {len(jobs)} pieces of work are left; the same command goes on with them")
        raise KeyboardInterrupt
    return {job.key: json.loads(row_file(folder, job.key).read_text(encoding="utf-8")) for job in jobs}


class _Counter:
    """Says what each job came to, and how many are left."""

    def __init__(self, report: Callable[[str], None], done: int, total: int) -> None:
        self.report, self.done, self.total = report, done, total

    def ended(self, line: str) -> None:
        self.done += 1
        self.report(f"{self.done}/{self.total}  {line}")


def _do(job: Job, folder: Path) -> dict[str, Any]:
    from rbc_marl.rllib.run_folder import replace_file

    started = time.perf_counter()
    try:
        row = job.run(folder)
    except Exception as error:
        raise UserError(f"{job.key} failed: {type(error).__name__}: {error}") from error
    row["seconds"] = round(time.perf_counter() - started, 1)
    row["line"] = f"{row['line']}  {row['seconds']:.0f} s"
    path = row_file(folder, job.key)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps(row, allow_nan=False))
    return row


def _through_tune(jobs: dict[str, Job], folder: Path, workers: int, counter: _Counter) -> None:
    root = folder.resolve()
    run_trials(
        lambda key: {"line": _do(jobs[key], root)["line"]},
        list(jobs),
        folder,
        workers,
        ended=lambda _, result: counter.ended(result["line"]),
    )


def run_trials(
    work: Callable[[str], dict[str, Any]],
    keys: Sequence[str],
    folder: Path,
    workers: int,
    *,
    ended: Callable[[str, dict[str, Any]], None],
    reported: Callable[[str, dict[str, Any]], None] | None = None,
    gpus: float = 0.0,
    scheduler: Any = None,  # noqa: ANN401 - Tune's
) -> None:
    """Do pieces of work as trials of Ray Tune, each with one CPU and one thread.

    Args:
        work: Done in a trial's process, with a key; what it returns is the trial's last report.
        keys: One for each trial.
        folder: Where Tune keeps its records.
        workers: Trials side by side.
        ended: Told, in this process, the key and the last report of each trial that ends.
        reported: Told of every report.
        gpus: Share of a GPU for each trial.
        scheduler: Tune's, which may end trials early.

    Raises:
        UserError: A trial failed.
    """
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # Tune's own tables of trials
    from ray import tune

    def trial(config: dict[str, Any]) -> None:
        import torch

        from rbc_marl.rllib.ray_session import quieten

        quieten(0)
        torch.set_num_threads(1)
        tune.report(work(config[KEY]))

    class Listener(tune.Callback):
        """Passes on what Tune says of trials. Tune keeps a copy of it, which has nobody to tell."""

        def __init__(self, ended: Callable[..., None], reported: Callable[..., None] | None) -> None:
            self.ended, self.reported = ended, reported

        def __getstate__(self) -> dict[str, Any]:
            return {}

        def on_trial_result(
            self,
            iteration: int,
            trials: list[Any],
            trial: Any,  # noqa: ANN401
            result: dict[str, Any],
            **info: Any,  # noqa: ANN401
        ) -> None:
            if self.reported is not None:
                self.reported(trial.config[KEY], result)

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ANN401
            self.ended(trial.config[KEY], trial.last_result)

    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": 1, **({"gpu": gpus} if gpus else {})}),
        param_space={KEY: tune.grid_search(list(keys))},
        # A new process takes longer to import everything than small pieces of work take. A function that is stopped
        # leaves its process in the middle of its work, where no other could begin.
        tune_config=tune.TuneConfig(
            max_concurrent_trials=workers, scheduler=scheduler, reuse_actors=scheduler is None
        ),
        run_config=tune.RunConfig(
            name=f"tune-{time.strftime('%Y%m%d-%H%M%S')}",
            storage_path=str(folder.resolve()),
            verbose=0,
            callbacks=[Listener(ended, reported)],
        ),
    )
    errors = [result.error for result in tuner.fit() if result.error]
    if errors:
        last = str(errors[0]).strip().splitlines()[-1].removeprefix("rbc_marl.errors.")
        raise UserError(f"{len(errors)} of {len(keys)} failed, the first with: {last}")
