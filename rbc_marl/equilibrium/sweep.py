"""Sweeps: many runs side by side through Ray Tune, each trained, evaluated and classified, in one table."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from rbc_marl.analysis.tables import STOPPED
from rbc_marl.equilibrium.jobs import row_file, run_trials
from rbc_marl.equilibrium.planned_run import Run
from rbc_marl.equilibrium.population_run import train_population
from rbc_marl.equilibrium.schedulers import Asha, reporter, reports_of, tune_scheduler
from rbc_marl.equilibrium.sweep_file import Sweep
from rbc_marl.equilibrium.sweep_run import Trained, finished_run
from rbc_marl.equilibrium.taxes import kept_pairs, pair_of, play_substitutes
from rbc_marl.errors import UserError


def run_sweep(sweep: Sweep, folder: Path, workers: int, report: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """Train and evaluate every run of a sweep that has no row yet.

    Each run leaves a row in ``folder/rows`` when it is done: a sweep that was interrupted, also by a kill, goes on
    with the runs that are missing, and these from their last checkpoints.

    Args:
        sweep: What to run.
        folder: Where runs, rows and the table are kept.
        workers: Runs side by side, one thread each.
        report: Told of each run that ends.

    Returns:
        One row per run, in the order of the sweep. Of a sweep of taxes with a coarse grid the runs of pairs that it
        left behind are missing beyond the grid's seeds.

    Raises:
        UserError: A run failed, or the folder holds rows that were made with other settings.
        KeyboardInterrupt: The sweep was interrupted.
    """
    check_rows(sweep, folder)
    seeds = sweep.coarse_seeds()
    if sweep.taxes is None or not seeds:
        rows = _run_all(sweep, folder, workers, report)
        if sweep.population is not None:
            metric, pick = sweep.population.settings.metric, max if sweep.population.settings.mode == "max" else min
            best = pick(rows, key=lambda row: row[metric])
            report(f"best: {best['arm']} seed {best['seed']}, {metric} {best[metric]:,.6g}, by {best['lineage']}")
        return rows
    coarse = [run for run in sweep.runs if run.seed in seeds]
    report(f"coarse grid: every pair of rates with {len(seeds)} of the seeds")
    rows = _run_all(replace(sweep, runs=tuple(coarse)), folder, workers, report)
    kept = kept_pairs(rows, sweep.taxes)
    words = ", ".join(f"{income:g}/{corporate:g}" for income, corporate in sorted(kept))
    report(f"all seeds: the learned policies and the pairs {words}")
    chosen = [run for run in sweep.runs if run.seed in seeds or pair_of(dict(run.columns)) in {None, *kept}]
    return _run_all(replace(sweep, runs=tuple(chosen)), folder, workers, report)


def _run_all(sweep: Sweep, folder: Path, workers: int, report: Callable[[str], None]) -> list[dict[str, Any]]:
    missing = [run for run in sweep.runs if not _is_done(sweep, run, folder)]
    report(f"{len(sweep.runs) - len(missing)} of {len(sweep.runs)} runs are done; {workers} at a time")
    if missing:
        _tune(sweep, missing, folder, workers, report)
    left = [run.key for run in sweep.runs if not _is_done(sweep, run, folder)]
    if left:
        report(f"interrupted: {len(left)} of {len(sweep.runs)} runs are missing; the same command goes on with them")
        raise KeyboardInterrupt
    return [_read(row_file(folder, run.key)) for run in sweep.runs]


def rows_of(sweep: Sweep, folder: Path) -> list[dict[str, Any]]:
    """The rows there are of a sweep's runs, in its order."""
    return [_read(row_file(folder, run.key)) for run in sweep.runs if _is_done(sweep, run, folder)]


def describe(sweep: Sweep, folder: Path) -> str:
    """What would run, in plain lines: every arm with its seeds and what it changes in its base."""
    most = "at most " if sweep.coarse_seeds() else ""
    lines = [f"{sweep.name}: {most}{len(sweep.runs)} runs, {len(rows_of(sweep, folder))} of them done"]
    for arm in sweep.arms:
        runs = [run for run in sweep.runs if run.arm == arm]
        changes = f" with {' '.join(runs[0].sets)}" if runs[0].sets else ""
        base = os.path.relpath(runs[0].base)
        lines.append(f"  {arm or 'every run'}: {base}{changes}; seeds {_ranges(run.seed for run in runs)}")
    if sweep.taxes and (seeds := sweep.coarse_seeds()):
        keep = f"the best {sweep.taxes.coarse_keep} of each welfare"
        lines.append(f"  first every pair of rates with seeds {_ranges(seeds)}, then {keep} and the paper's with all")
    if scheduler := sweep.scheduler or (sweep.population and sweep.population.settings):
        settings = ", ".join(f"{key} {value}" for key, value in asdict(scheduler).items())
        lines.append(f"  {type(scheduler).__name__.lower()}: {settings}")
    if sweep.best_response is not None:
        lines.append("  then best responses to every living run")
    return "\n".join([*lines, f"  results: {folder}"])


def _ranges(seeds: Iterable[int]) -> str:
    """Whole numbers in words: 3, 100-119."""
    found: list[list[int]] = []
    for seed in sorted(seeds):
        if found and seed == found[-1][-1] + 1:
            found[-1].append(seed)
        else:
            found.append([seed])
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in found)


def check_rows(sweep: Sweep, folder: Path) -> None:
    """Refuse rows that other settings made: a table would compare what is not alike.

    Raises:
        UserError: A run has such a row.
    """
    for run in sweep.runs:
        path = row_file(folder, run.key)
        if path.exists() and _read(path).get("fingerprint", run.fingerprint) != run.fingerprint:
            raise UserError(
                f"{path} was made with other settings than {run.key} has now; "
                f"give another folder with --out, or remove {path.parents[1]}"
            )


def _is_done(sweep: Sweep, run: Run, folder: Path) -> bool:
    """Whether a run has its row. One that a scheduler stopped is done for that scheduler alone."""
    path = row_file(folder, run.key)
    if not path.exists():
        return False
    row = _read(path)
    return row["outcome"] != STOPPED or row.get("scheduler") == _described(sweep.scheduler)


def _described(scheduler: Asha | None) -> str:
    return json.dumps(asdict(scheduler) if scheduler else None, sort_keys=True)


def _read(path: Path) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return row


def _write(path: Path, row: Mapping[str, Any]) -> None:
    from rbc_marl.rllib.run_folder import replace_file

    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps(row))


def _tune(sweep: Sweep, missing: Sequence[Run], folder: Path, workers: int, report: Callable[[str], None]) -> None:
    """Run what is missing, as many at a time as there are workers."""
    _check_gpus(sweep.gpus_per_trial)
    root, endings = folder.resolve(), itertools.count(len(sweep.runs) - len(missing) + 1)

    def ended(key: str, _: Mapping[str, Any] | None = None) -> None:
        row = _read(row_file(root, key))
        report(f"{next(endings)}/{len(sweep.runs)}  {_line(row)}")

    gpus = sweep.gpus_per_trial
    if sweep.population is not None:
        runs, leave = {run.key: run for run in sweep.runs}, partial(leave_row, folder=root)
        train_population(sweep.population, runs, root, workers, leave, ended=ended, report=report, gpus=gpus)
        return
    by_key, asha = {run.key: run for run in missing}, sweep.scheduler
    limits = {run.key: _iterations(run) for run in missing} if asha else {}

    def work(key: str) -> dict[str, Any]:
        from ray import tune

        after = reporter(asha, limits[key], root, by_key[key].record, tune.report) if asha else None
        return run_one(by_key[key], root, after)

    def reported(key: str, result: dict[str, Any]) -> None:
        if asha and result.get("done") and not _is_done(sweep, by_key[key], root):
            _write(row_file(root, key), {**_stopped_row(by_key[key], root), "scheduler": _described(asha)})

    names = {run.key: run.record for run in sweep.runs}
    scheduler = tune_scheduler(asha, max(limits.values()), root, names) if asha else None
    run_trials(work, list(by_key), folder, workers, ended=ended, reported=reported, gpus=gpus, scheduler=scheduler)


def _line(row: Mapping[str, Any]) -> str:
    """What a run came to."""
    welfare = f"welfare {row['welfare_total']:,.0f} (consumers {row['welfare_consumers']:,.0f})"
    taken = f"{row['seconds']:.0f} s" if "seconds" in row else f"after {row['iterations']} iterations"
    return f"{row['arm']} seed {row['seed']}: {row['outcome']}  hours {row['hours']:.0f}  {welfare}  {taken}"


def run_one(run: Run, folder: Path, after_iteration: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any]:
    """Train one run in this process, evaluate its policies, and leave its row.

    Args:
        run: What to train.
        folder: The sweep's folder.
        after_iteration: Told the flat results of every iteration.

    Returns:
        The row: arm, seed, outcome, the reported quantities, what welfare is made of, consumers' responses, and how
        long training took.
    """
    return leave_row(run, finished_run(run, folder, after_iteration), {}, folder)


def leave_row(run: Run, trained: Trained, others: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Evaluate the policies of a run that was trained, and leave its row.

    Args:
        run: What was trained.
        trained: Its end.
        others: Further columns; of one name with a column of the run they take its place.
        folder: The sweep's folder.

    Returns:
        The row, as `run_one` does.
    """
    from rbc_marl.analysis.composition import composition
    from rbc_marl.analysis.outcomes import outcome
    from rbc_marl.analysis.responses import responses
    from rbc_marl.analysis.rollouts import Evaluation, play
    from rbc_marl.policies.saved import load_policies

    policies = load_policies(trained.checkpoint)
    episodes = play(policies, run.episodes, seed=run.seed, record=True)
    means = Evaluation.of(episodes).means
    substitutes = play_substitutes(policies, run.episodes, run.seed) if run.governments else {}
    row: dict[str, Any] = {
        "arm": run.arm,
        "seed": run.seed,
        "outcome": outcome(policies.config, means, run.rules, run.welfares),
        **dict(run.columns),
        **others,
        **_rounded(means),
        **_rounded(composition(episodes)),
        **_rounded(responses(policies, seed=run.seed)),
        **_rounded(substitutes),
        "iterations": trained.iterations,
        "seconds": round(trained.seconds, 1),
        "changes": " ".join(run.sets),
        "fingerprint": run.fingerprint,
    }
    _write(row_file(folder, run.key), row)
    return row


def _rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 4) for name, value in values.items()}


def _check_gpus(share: float) -> None:
    """Refuse to wait for a GPU that will never come."""
    import ray

    found = ray.cluster_resources().get("GPU", 0.0) if share else 0.0
    if found < share:
        raise UserError(f"gpus_per_trial is {share:g}, but Ray has {found:g} GPUs here; leave it out to train on CPUs")


def _stopped_row(run: Run, folder: Path) -> dict[str, Any]:
    """The row of a run that the scheduler ended: its last report, from training."""
    *_, last = reports_of(folder, run.record)
    iterations = last.pop("iterations")
    return {
        "arm": run.arm,
        "seed": run.seed,
        "outcome": STOPPED,
        **dict(run.columns),
        **_rounded(last),
        "iterations": iterations,
        "changes": " ".join(run.sets),
        "fingerprint": run.fingerprint,
    }


def _iterations(run: Run) -> int:
    return int(run.load(Path("results")).stop["training_iteration"])
