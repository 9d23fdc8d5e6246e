"""Sweeps: many runs side by side through Ray Tune, each trained, evaluated and classified, in one table."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rbc_marl.equilibrium.sweep_file import Run, Sweep
from rbc_marl.errors import UserError

# Columns that come first in a table; the others follow as they are.
FIRST = ("arm", "seed", "outcome", "hours", "welfare_total", "welfare_consumers")


def run_sweep(sweep: Sweep, folder: Path, workers: int, report: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """Train and evaluate every run of a sweep that has no row yet.

    Each run leaves a row in ``folder/rows`` when it is done: a sweep that was interrupted, also by a kill, goes on
    with the runs that are missing.

    Args:
        sweep: What to run.
        folder: Where runs, rows and the table are kept.
        workers: Runs side by side, one thread each.
        report: Told of each run that ends.

    Returns:
        One row per run, in the order of the sweep.

    Raises:
        UserError: A run failed.
    """
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # Tune's own tables of trials
    from ray import tune

    rows = folder / "rows"
    rows.mkdir(parents=True, exist_ok=True)
    missing = [run for run in sweep.runs if not (rows / f"{run.key}.json").exists()]
    report(f"{len(sweep.runs) - len(missing)} of {len(sweep.runs)} runs are done; {workers} at a time")
    if missing:
        by_key = {run.key: run for run in missing}
        root = str(folder.resolve())

        def trial(config: dict[str, Any]) -> None:
            tune.report(run_one(by_key[config["run"]], Path(root)))

        tuner = tune.Tuner(
            tune.with_resources(trial, {"cpu": 1}),
            param_space={"run": tune.grid_search(list(by_key))},
            tune_config=tune.TuneConfig(max_concurrent_trials=workers),
            run_config=tune.RunConfig(
                name=f"tune-{time.strftime('%Y%m%d-%H%M%S')}",
                storage_path=root,
                verbose=0,
                callbacks=[_reporter(report, len(sweep.runs), len(sweep.runs) - len(missing))],
            ),
        )
        errors = [result.error for result in tuner.fit() if result.error]
        if errors:
            raise UserError(f"{len(errors)} runs failed, the first with: {str(errors[0]).strip().splitlines()[-1]}")
    return [json.loads((rows / f"{run.key}.json").read_text(encoding="utf-8")) for run in sweep.runs]


def run_one(run: Run, folder: Path) -> dict[str, Any]:
    """Train one run in this process, evaluate its policies, and leave its row.

    Args:
        run: What to train.
        folder: The sweep's folder.

    Returns:
        The row: arm, seed, outcome, the reported quantities, consumers' responses, and how long training took.
    """
    import torch
    from rich.console import Console

    from rbc_marl.analysis.outcomes import outcome
    from rbc_marl.analysis.responses import responses
    from rbc_marl.analysis.rollouts import evaluate
    from rbc_marl.policies.saved import load_policies
    from rbc_marl.rllib.experiment import train
    from rbc_marl.rllib.run_folder import replace_file

    torch.set_num_threads(1)
    started = time.perf_counter()
    experiment = run.load(folder / "runs" / run.key)
    ended = train(experiment, console=Console(quiet=True))
    seconds = time.perf_counter() - started
    if ended.checkpoint is None or ended.status != "finished":
        raise UserError(f"{run.key} did not finish; see {ended.folder}")
    policies = load_policies(ended.checkpoint)
    evaluation = evaluate(policies, run.episodes, seed=run.seed)
    row: dict[str, Any] = {
        "arm": run.arm,
        "seed": run.seed,
        "outcome": outcome(policies.config, evaluation.means, run.rules),
        **{name: round(value, 4) for name, value in evaluation.means.items()},
        **{name: round(value, 4) for name, value in responses(policies, seed=run.seed).items()},
        "iterations": int(ended.results.get("training_iteration", 0)),
        "seconds": round(seconds, 1),
        "changes": " ".join(run.sets),
    }
    replace_file(folder / "rows" / f"{run.key}.json", json.dumps(row))
    return row


def write_table(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows as CSV, the columns that matter most first."""
    names = [*FIRST, *(name for name in rows[0] if name not in FIRST)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _reporter(report: Callable[[str], None], total: int, done: int) -> Any:  # noqa: ANN401 - a Tune callback
    from ray import tune

    class Reporter(tune.Callback):
        """Says what each run came to."""

        def __init__(self) -> None:
            self.ended = done

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ANN401
            self.ended += 1
            row = trial.last_result
            welfare = f"welfare {row['welfare_total']:,.0f} (consumers {row['welfare_consumers']:,.0f})"
            words = [f"{self.ended}/{total}", f"{row['arm']} seed {row['seed']}: {row['outcome']}"]
            report("  ".join([*words, f"hours {row['hours']:.0f}", welfare, f"{row['seconds']:.0f} s"]))

    return Reporter()
