"""Loggers of other projects, Weights & Biases, MLflow and Aim, through the callbacks that Ray Tune has for them.

The callbacks hear of trials of Tune. A run is shown to them as one, also inside a sweep, where Tune's own trials are
pieces of work of any kind. Where a logger fails while a run goes on, the run goes on without it.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.tune.logger import LoggerCallback

from rbc_marl.errors import ConfigError, UserError, first_line, nearest, require

LOGGERS = {
    "wandb": "ray.air.integrations.wandb.WandbLoggerCallback",
    "mlflow": "rbc_marl.experiments.mlflow_logger.InOneWrite",
    "aim": "ray.tune.logger.aim.AimLoggerCallback",
}
"""Ray's callbacks by name, which is also that of the extra that installs the library. Loaded where they are used."""


def _callback_class(name: str) -> type[LoggerCallback]:
    module, _, attribute = LOGGERS[name].rpartition(".")
    return getattr(importlib.import_module(module), attribute)


@dataclass(eq=False)
class LoggedRun:
    """A run as Ray's callbacks see it: what they read of a trial."""

    name: str
    folder: Path
    """Of the run."""
    config: dict[str, Any] = field(default_factory=dict)
    checkpoint: None = None

    def __str__(self) -> str:
        return self.name

    @property
    def trial_id(self) -> str:
        """The same when the run is resumed, and no other run's."""
        return hashlib.sha256(str(self.folder).encode()).hexdigest()[:16]

    @property
    def evaluated_params(self) -> dict[str, Any]:
        """The run's configuration."""
        return self.config

    @property
    def local_path(self) -> str:
        """The run's folder."""
        return str(self.folder)

    path = local_path

    @property
    def local_experiment_path(self) -> str:
        """The folder of the experiment's runs."""
        return str(self.folder.parent)

    @property
    def experiment_dir_name(self) -> str:
        """The experiment, under which runs are grouped."""
        return self.folder.parent.name

    def init_local_path(self) -> None:
        """Nothing: the folder is there."""

    def get_ray_actor_ip(self) -> None:
        """None: the run is no actor."""


def parse_loggers(given: object) -> dict[str, dict[str, Any]]:
    """Check which loggers are asked for.

    Args:
        given: Names, ``[wandb, mlflow]``, or names with arguments of Ray's callbacks, ``{wandb: {project: taxes}}``.

    Returns:
        The arguments by name.

    Raises:
        ConfigError: A name or an argument is unknown. The message begins with what follows the setting's path.
        MissingExtraError: A library is not installed.
    """
    if isinstance(given, str):
        given = [given]
    if isinstance(given, list | tuple):
        given = dict.fromkeys(given)
    if not isinstance(given, Mapping):
        raise ConfigError(f"is {given!r}; give names, such as [wandb], or {{wandb: {{project: economies}}}}")
    for name, options in given.items():
        if name not in LOGGERS:
            mend = nearest(str(name), LOGGERS) or f"; there are {', '.join(LOGGERS)}"
            raise ConfigError(f"names {name!r}, which is not a logger{mend}")
        if not isinstance(options, Mapping | None):
            raise ConfigError(f"gives {name} {options!r}; it must be a mapping such as {{project: economies}}")
        require(name, name)
        known = inspect.signature(_callback_class(name)).parameters
        takes_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known.values())
        for option in options or ():
            if option not in known and not takes_any:
                mend = nearest(str(option), known) or f"; there are {', '.join(known)}"
                raise ConfigError(f"gives {name} {option!r}, which Ray's callback for it does not take{mend}")
    return {str(name): dict(options or {}) for name, options in given.items()}


class Loggers:
    """The loggers of a run, which get the results of each iteration.

    Args:
        chosen: Arguments of Ray's callbacks, by logger.
        run: The run.
        storage: Where results go: local records of MLflow and Aim lie beside them, unless the arguments, or the
            variables that these libraries read, say something else.
        notice: Told when a logger fails.

    Raises:
        UserError: A logger cannot start, such as one that wants a key.
    """

    def __init__(
        self, chosen: Mapping[str, Mapping[str, Any]], run: LoggedRun, storage: Path, notice: Callable[[str], None]
    ) -> None:
        self._run, self._notice = run, notice
        self._callbacks: dict[str, LoggerCallback] = {}
        for name, options in chosen.items():
            try:
                callback = _callback_class(name)(**{**_defaults(name, run, storage), **options})
                callback.setup()
                callback.log_trial_start(run)
            except Exception as error:
                self.close(has_failed=True)
                raise UserError(f"{name} cannot log this run: {first_line(error)}") from error
            self._callbacks[name] = callback

    def log(self, iteration: int, results: Mapping[str, Any]) -> None:
        """Pass on the flat results of an iteration."""
        for name, callback in list(self._callbacks.items()):
            try:
                callback.log_trial_result(iteration, self._run, dict(results))
            except Exception as error:  # somebody else's server: no reason to lose a training
                del self._callbacks[name]
                self._notice(f"{name} takes no more results ({first_line(error)}); training goes on without it")

    def close(self, has_failed: bool) -> None:
        """End the records, and wait until they are sent."""
        for callback in self._callbacks.values():
            with suppress(Exception):
                callback.log_trial_end(self._run, failed=has_failed)
                callback.on_experiment_end([self._run])
        self._callbacks = {}


def _defaults(name: str, run: LoggedRun, storage: Path) -> dict[str, Any]:
    """Arguments of a logger's callback that neither the file nor the environment gives."""
    experiment = run.experiment_dir_name
    match name:
        case "wandb":  # a resumed run goes on in its record
            project = {} if "WANDB_PROJECT" in os.environ else {"project": experiment}
            # Its process may have been started by a Ray that does not know this one's variables.
            mode = {"mode": os.environ["WANDB_MODE"]} if "WANDB_MODE" in os.environ else {}
            return {**project, **mode, "resume": "allow"}
        case "mlflow":
            uri = {} if "MLFLOW_TRACKING_URI" in os.environ else {"tracking_uri": f"sqlite:///{storage / 'mlflow.db'}"}
            return {**uri, "experiment_name": os.environ.get("MLFLOW_EXPERIMENT_NAME", experiment)}
        case _:
            return {"repo": str(storage), "experiment_name": experiment}
