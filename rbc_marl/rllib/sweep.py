"""Experiments with search spaces: Ray Tune runs their trials, each built and checked as a single run is."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import tune

from rbc_marl.errors import UserError
from rbc_marl.rllib.build_config import algorithm_class
from rbc_marl.rllib.config_file import Experiment, to_yaml
from rbc_marl.rllib.experiment import flat_results, reason, run_record
from rbc_marl.rllib.progress import SECONDS_BETWEEN_LINES, shown
from rbc_marl.rllib.ray_session import RayOptions, cpus_needed, ray_session
from rbc_marl.rllib.run_folder import RunFolder, replace_file

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm import Algorithm
    from ray.tune import ResultGrid
    from rich.console import Console


@dataclass(frozen=True)
class Trial:
    """One trial: its values, the flat results of its last iteration, its folder, whether it is done, and its error."""

    values: Mapping[str, Any]
    results: Mapping[str, Any]
    folder: Path
    done: bool
    error: str | None = None


@dataclass(frozen=True)
class SweepOutcome:
    """How a sweep ended: its folder, "finished" or "interrupted" or "failed", and its trials."""

    folder: Path
    status: str
    trials: Sequence[Trial] = field(default_factory=tuple)


def sweep(
    experiment: Experiment,
    folder: RunFolder | None = None,
    *,
    command: Sequence[str] = (),
    ray_options: RayOptions | None = None,
    console: Console | None = None,
) -> SweepOutcome:
    """Run every trial of an experiment.

    Args:
        experiment: One whose `is_sweep` is true.
        folder: The folder of the sweep to go on with; None: a new one.
        command: What was typed, for run.json.
        ray_options: Where Ray runs and what it may use.
        console: Where progress is shown; None: standard output.

    Raises:
        UserError: Ray cannot be started.
    """
    options = ray_options or RayOptions()
    with ray_session(options, max(2, cpus_needed(experiment.config))):
        resumed, folder = folder is not None, folder or RunFolder.create(experiment.storage / experiment.name, None)
        if not resumed:
            replace_file(folder.path / "config.yaml", to_yaml(experiment))
        folder.update_info(**run_record(experiment, command), sweep=True)
        if options.verbosity == 0:
            os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # Tune's newer output prints at any verbosity
        try:
            with _sigterm_as_sigint():
                trials = _trials(_tuner(experiment, folder, resumed, console).fit())
        except Exception as error:
            folder.update_info(status="failed", error=reason(error))
            raise UserError(f"{experiment.name} failed: {reason(error)}") from error
        status = _status(trials)
        folder.update_info(status=status)
    return SweepOutcome(folder.path, status, trials)


def trial_class(experiment: Experiment) -> type[Algorithm]:
    """The experiment's algorithm as Tune runs it: made from a trial's values, by the same checks as a single run."""
    base: Any = algorithm_class(experiment.run, experiment.name)

    class Trial(base):
        """One trial."""

        def __init__(self, config: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Tune's own signature
            if isinstance(config, dict) and "class" not in config:  # a restored checkpoint brings RLlib's own state
                config = _trial_config(experiment, config)
            super().__init__(config, **kwargs)

        @classmethod
        def default_resource_request(cls, config: Any) -> Any:  # noqa: ANN401 - Tune's own signature
            return base.default_resource_request(_trial_config(experiment, config))

    Trial.__name__ = Trial.__qualname__ = base.__name__
    return Trial


def _trial_config(experiment: Experiment, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - an AlgorithmConfig
    config = experiment.with_values({path: values[".".join(path)] for path in experiment.spaces})
    return config.debugging(log_level="ERROR")


def _tuner(experiment: Experiment, folder: RunFolder, resumed: bool, console: Console | None) -> Any:  # noqa: ANN401
    trainable = trial_class(experiment)
    if resumed and tune.Tuner.can_restore(str(folder.path.resolve())):
        return tune.Tuner.restore(str(folder.path.resolve()), trainable, resume_unfinished=True, restart_errored=True)
    saved = experiment.checkpoints
    return tune.Tuner(
        trainable,
        param_space={".".join(path): space.to_tune() for path, space in experiment.spaces.items()},
        tune_config=tune.TuneConfig(num_samples=experiment.num_samples),
        run_config=tune.RunConfig(
            name=folder.path.name,
            storage_path=str(folder.path.parent.resolve()),
            stop=dict(experiment.stop),
            verbose=0,
            callbacks=[Reporter(experiment, console)],
            checkpoint_config=tune.CheckpointConfig(
                checkpoint_frequency=saved.frequency, checkpoint_at_end=saved.at_end, num_to_keep=saved.keep
            ),
        ),
    )


class Reporter(tune.Callback):
    """Prints a plain line for the trial that reported last, every ten seconds, and one for each that ends.

    Args:
        experiment: What is swept.
        console: Where to write; None: standard output. It is not kept when Tune saves the sweep's state.
    """

    def __init__(self, experiment: Experiment, console: Console | None) -> None:
        self.experiment, self.console = experiment, console
        self.last_line = time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "console": None, "last_line": -math.inf}

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:  # noqa: ANN401
        """Print, if it is time."""
        if time.monotonic() - self.last_line >= SECONDS_BETWEEN_LINES:
            self._print(trials, trial, result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ANN401
        """Print what the trial came to."""
        self._print(trials, trial, trial.last_result, just_ended=1)

    def _print(self, trials: list[Any], trial: Any, result: Any, just_ended: int = 0) -> None:  # noqa: ANN401
        from rich.console import Console

        self.last_line = time.monotonic()
        results = flat_results(result)
        ended = just_ended + sum(other.is_finished() for other in trials if other is not trial)
        values = " ".join(f"{key}={value}" for key, value in trial.evaluated_params.items())
        words = [f"{ended}/{len(trials)} trials done", values, f"iteration {results.get('training_iteration', 0)}"]
        words += [f"{label} {text}" for label, text in shown(results, self.experiment.env_config)]
        (self.console or Console(highlight=False)).print("  ".join(words), soft_wrap=True)


def _trials(grid: ResultGrid) -> list[Trial]:
    """The outcome of each trial, in Tune's order."""
    found = []
    for i in range(len(grid)):
        result = grid[i]
        folder, metrics = Path(result.path), result.metrics or {}
        given = folder / "params.json"
        values = json.loads(given.read_text(encoding="utf-8")) if given.is_file() else {}
        error = reason(result.error) if result.error else None
        found.append(Trial(values, flat_results(metrics), folder, bool(metrics.get("done")), error))
    return found


def _status(trials: Sequence[Trial]) -> str:
    if any(trial.error for trial in trials):
        return "failed"
    return "finished" if trials and all(trial.done for trial in trials) else "interrupted"


@contextmanager
def _sigterm_as_sigint() -> Iterator[None]:
    """Tune ends cleanly, with its state saved, on Ctrl-C only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
