"""Training of one run of a sweep, from where an interruption left it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbc_marl.config import load_yaml
from rbc_marl.equilibrium.jobs import row_file
from rbc_marl.equilibrium.planned_run import Run
from rbc_marl.equilibrium.population import read_states
from rbc_marl.errors import UserError

if TYPE_CHECKING:
    from rbc_marl.rllib.config_file import Experiment
    from rbc_marl.rllib.run_folder import RunFolder

RUNS = "runs"
# Seconds to wait for the processes of a killed sweep to end.
PATIENCE = 20.0


@dataclass(frozen=True)
class Trained:
    """A run that reached its end."""

    checkpoint: Path
    iterations: int
    seconds: float
    """Of training, also of parts before an interruption."""


def finished_run(run: Run, folder: Path, after_iteration: Callable[[dict[str, Any]], None] | None = None) -> Trained:
    """Train a run to its end: from the beginning, from its last checkpoint, or not at all where it is trained already.

    Args:
        run: What to train.
        folder: The sweep's folder.
        after_iteration: Told the flat results of every iteration.

    Raises:
        UserError: It did not reach its end.
    """
    from rich.console import Console

    from rbc_marl.rllib.experiment import train

    experiment = run.load(folder / RUNS / run.key)
    earlier = _earlier(experiment)
    if earlier is not None and (trained := _trained(earlier)) is not None:
        return trained
    if earlier is not None and not (earlier.checkpoints() and _is_free(earlier)):
        earlier = None
    ended = train(experiment, earlier, console=Console(quiet=True), after_iteration=after_iteration)
    if ended.checkpoint is None or ended.status != "finished":
        raise UserError(f"{run.key} did not finish; see {ended.folder}")
    seconds = float(ended.results.get("time_total_s", 0.0))
    return Trained(ended.checkpoint, int(ended.results.get("training_iteration", 0)), seconds)


def checkpoint_of(run: Run, folder: Path) -> Path:
    """The last checkpoint of a run that has been trained.

    Raises:
        UserError: There is none.
    """
    if (states := read_states(folder, run.record)) and states[-1].checkpoint is not None:
        return folder / states[-1].checkpoint
    earlier = _earlier(run.load(folder / RUNS / run.key))
    if earlier is None or not earlier.checkpoints():
        mend = f"remove {row_file(folder, run.key)} to train again"
        raise UserError(f"{folder / RUNS / run.key} holds no checkpoint; {mend}")
    return earlier.checkpoints()[-1]


def _earlier(experiment: Experiment) -> RunFolder | None:
    """The newest folder of a run that began before, with the same settings, if it did."""
    from rbc_marl.rllib.config_file import to_yaml
    from rbc_marl.rllib.run_folder import RunFolder

    now = _settings(to_yaml(experiment))
    begun = sorted((experiment.storage / experiment.name).glob("*/run.json"))
    alike = [path.parent for path in begun if _settings((path.parent / "config.yaml").read_text("utf-8")) == now]
    return RunFolder(alike[-1]) if alike else None


def _settings(text: str) -> dict[str, Any]:
    """What an experiment's file says, but for the place of its results, which may have been moved."""
    ((_, spec),) = load_yaml(text, where="config.yaml").items()
    return {key: value for key, value in spec.items() if key != "storage_path"}


def _trained(folder: RunFolder) -> Trained | None:
    """A run that ended before its row was written."""
    if folder.read_info().get("status") != "finished" or not folder.checkpoints():
        return None
    *_, last = (folder.path / "result.json").read_text(encoding="utf-8").splitlines()
    results = json.loads(last)
    return Trained(folder.checkpoints()[-1], int(results["training_iteration"]), float(results["time_total_s"]))


def _is_free(folder: RunFolder) -> bool:
    """Whether nobody else runs it. Its number may have passed to another process since: then a new run is begun."""
    deadline = time.monotonic() + PATIENCE
    while folder.is_alive() and time.monotonic() < deadline:
        time.sleep(0.2)
    return not folder.is_alive()
