"""Sweeps: many runs side by side through Ray Tune, each trained, evaluated and classified, in one table."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rbc_marl.analysis.tables import STOPPED
from rbc_marl.equilibrium.schedulers import Asha, reporter, reports_of, tune_scheduler
from rbc_marl.equilibrium.sweep_file import Run, Sweep
from rbc_marl.equilibrium.sweep_run import finished_run
from rbc_marl.equilibrium.taxes import kept_pairs, pair_of, play_substitutes
from rbc_marl.errors import UserError

ROWS = "rows"


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
    if sweep.taxes is None or sweep.taxes.coarse_seeds is None:
        return _run_all(sweep, folder, workers, report)
    seeds = sorted({run.seed for run in sweep.runs})[: sweep.taxes.coarse_seeds]
    coarse = [run for run in sweep.runs if run.seed in seeds]
    report(f"coarse grid: every pair of rates with {len(seeds)} of the seeds")
    rows = _run_all(replace(sweep, runs=tuple(coarse)), folder, workers, report)
    kept = kept_pairs(rows, sweep.taxes)
    words = ", ".join(f"{income:g}/{corporate:g}" for income, corporate in sorted(kept))
    report(f"all seeds: the learned policies and the pairs {words}")
    chosen = [run for run in sweep.runs if run.seed in seeds or pair_of(dict(run.columns)) in {None, *kept}]
    return _run_all(replace(sweep, runs=tuple(chosen)), folder, workers, report)


def _run_all(sweep: Sweep, folder: Path, workers: int, report: Callable[[str], None]) -> list[dict[str, Any]]:
    rows = folder / ROWS
    rows.mkdir(parents=True, exist_ok=True)
    missing = [run for run in sweep.runs if not (rows / f"{run.key}.json").exists()]
    for run in sweep.runs:
        _check_made_alike(rows / f"{run.key}.json", run)
    report(f"{len(sweep.runs) - len(missing)} of {len(sweep.runs)} runs are done; {workers} at a time")
    if missing:
        _tune(sweep, missing, folder, workers, report)
    left = [run.key for run in sweep.runs if not (rows / f"{run.key}.json").exists()]
    if left:
        report(f"interrupted: {len(left)} of {len(sweep.runs)} runs are missing; the same command goes on with them")
        raise KeyboardInterrupt
    return [json.loads((rows / f"{run.key}.json").read_text(encoding="utf-8")) for run in sweep.runs]


def _tune(sweep: Sweep, missing: Sequence[Run], folder: Path, workers: int, report: Callable[[str], None]) -> None:
    """Run what is missing, as many at a time as there are workers."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # Tune's own tables of trials
    from ray import tune

    _check_gpus(sweep.gpus_per_trial)
    by_key = {run.key: run for run in missing}
    root, asha, gpus = folder.resolve(), sweep.scheduler, sweep.gpus_per_trial
    limits = {run.key: _iterations(run) for run in missing} if asha else {}

    def trial(config: dict[str, Any]) -> None:
        run = by_key[config["run"]]
        after = reporter(asha, limits[run.key], root, run.key, tune.report) if asha else None
        tune.report(run_one(run, root, after))

    scheduler = None
    if asha:
        scheduler = tune_scheduler(asha, max(limits.values()), root, [run.key for run in sweep.runs])
    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": 1, **({"gpu": gpus} if gpus else {})}),
        param_space={"run": tune.grid_search(list(by_key))},
        # A new process takes longer to import everything than small runs take. A run that is stopped leaves its process
        # in the middle of training, where no other could begin.
        tune_config=tune.TuneConfig(max_concurrent_trials=workers, scheduler=scheduler, reuse_actors=asha is None),
        run_config=tune.RunConfig(
            name=f"tune-{time.strftime('%Y%m%d-%H%M%S')}",
            storage_path=str(root),
            verbose=0,
            callbacks=[_reporter(report, by_key, root, len(sweep.runs), asha)],
        ),
    )
    errors = [result.error for result in tuner.fit() if result.error]
    if errors:
        raise UserError(f"{len(errors)} runs failed, the first with: {str(errors[0]).strip().splitlines()[-1]}")


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
    import torch

    from rbc_marl.analysis.composition import composition
    from rbc_marl.analysis.outcomes import outcome
    from rbc_marl.analysis.responses import responses
    from rbc_marl.analysis.rollouts import Evaluation, play
    from rbc_marl.policies.saved import load_policies
    from rbc_marl.rllib.run_folder import replace_file

    torch.set_num_threads(1)
    trained = finished_run(run, folder, after_iteration)
    policies = load_policies(trained.checkpoint)
    episodes = play(policies, run.episodes, seed=run.seed, record=True)
    means = Evaluation.of(episodes).means
    others = play_substitutes(policies, run.episodes, run.seed) if run.governments else {}
    row: dict[str, Any] = {
        "arm": run.arm,
        "seed": run.seed,
        "outcome": outcome(policies.config, means, run.rules),
        **dict(run.columns),
        **_rounded(means),
        **_rounded(composition(episodes)),
        **_rounded(responses(policies, seed=run.seed)),
        **_rounded(others),
        "iterations": trained.iterations,
        "seconds": round(trained.seconds, 1),
        "changes": " ".join(run.sets),
        "fingerprint": run.fingerprint,
    }
    replace_file(folder / ROWS / f"{run.key}.json", json.dumps(row))
    return row


def _rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 4) for name, value in values.items()}


def _check_gpus(share: float) -> None:
    """Refuse to wait for a GPU that will never come."""
    import ray

    found = ray.cluster_resources().get("GPU", 0.0) if share else 0.0
    if found < share:
        raise UserError(f"gpus_per_trial is {share:g}, but Ray has {found:g} GPUs here; leave it out to train on CPUs")


def _check_made_alike(path: Path, run: Run) -> None:
    """Refuse a row of the same name that other settings made: the table would compare what is not alike."""
    if not path.exists():
        return
    made = json.loads(path.read_text(encoding="utf-8")).get("fingerprint", run.fingerprint)
    if made != run.fingerprint:
        raise UserError(
            f"{path} was made with other settings than {run.key} has now; give another folder with --out, or remove "
            f"{path.parents[1]}"
        )


def _stopped_row(run: Run, folder: Path) -> dict[str, Any]:
    """The row of a run that the scheduler ended: its last report, from training."""
    *_, last = reports_of(folder, run.key)
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


def _reporter(
    report: Callable[[str], None], runs: Mapping[str, Run], folder: Path, total: int, asha: Asha | None
) -> Any:  # noqa: ANN401 - a Tune callback
    from ray import tune

    from rbc_marl.rllib.run_folder import replace_file

    class Reporter(tune.Callback):
        """Says what each run came to, and leaves the rows of those that the scheduler stops."""

        def __init__(self) -> None:
            self.ended = total - len(runs)

        def on_trial_result(
            self,
            iteration: int,
            trials: list[Any],
            trial: Any,  # noqa: ANN401
            result: dict[str, Any],
            **info: Any,  # noqa: ANN401
        ) -> None:
            run = runs[trial.config["run"]]
            path = folder / ROWS / f"{run.key}.json"
            if asha and result.get("done") and not path.exists():
                replace_file(path, json.dumps(_stopped_row(run, folder)))

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ANN401
            self.ended += 1
            path = folder / ROWS / f"{trial.config['run']}.json"
            row = json.loads(path.read_text(encoding="utf-8"))
            words = [f"{self.ended}/{total}", f"{row['arm']} seed {row['seed']}: {row['outcome']}"]
            welfare = f"welfare {row['welfare_total']:,.0f} (consumers {row['welfare_consumers']:,.0f})"
            time_taken = f"{row['seconds']:.0f} s" if "seconds" in row else f"after {row['iterations']} iterations"
            report("  ".join([*words, f"hours {row['hours']:.0f}", welfare, time_taken]))

    return Reporter()
