"""Starting Ray quietly, with as much of the machine as a run needs, and stopping it afterwards."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from unittest import mock

from rbc_marl.errors import UserError
from rbc_marl.rllib.config_keys import first_line
from rbc_marl.rllib.own_code import own_folders

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm import Algorithm
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig


@dataclass(frozen=True)
class RayOptions:
    """Where Ray runs and what it may use; None leaves the choice to the run."""

    address: str | None = None
    num_cpus: int | None = None
    num_gpus: int | None = None
    verbosity: int = 0


def quieten(verbosity: int) -> None:
    """Keep Ray's banners and deprecation warnings off the screen; errors stay. Verbosity 1 shows warnings, 2 all."""
    import ray.rllib  # noqa: F401 - importing it sets the levels that are changed here

    level = [logging.ERROR, logging.WARNING, logging.INFO][min(verbosity, 2)]
    for name in ("ray", "ray.rllib", "ray.tune"):
        logging.getLogger(name).setLevel(level)
    if verbosity == 0:
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning, UserWarning):
            warnings.filterwarnings("ignore", category=category)


def cpus_needed(config: AlgorithmConfig) -> int:
    """CPUs that the processes of a run ask Ray for; the run itself, which is no process of Ray's, counts as one."""
    runners = (config.num_env_runners + config.evaluation_num_env_runners) * config.num_cpus_per_env_runner
    each = config.num_cpus_per_learner if isinstance(config.num_cpus_per_learner, int | float) else 1
    return 1 + int(runners + config.num_learners * (each + config.num_aggregator_actors_per_learner))


@contextmanager
def ray_session(options: RayOptions, cpus: int) -> Iterator[None]:
    """Ray, started unless it runs already, and stopped at the end if it was started here.

    Args:
        options: What the user asked for.
        cpus: What the run needs at least.

    Raises:
        UserError: Ray cannot be reached or started.
    """
    import ray
    from ray.job_config import JobConfig

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # RLlib needs a running Ray even where everything happens in this process: then one idle worker is enough.
    own = options.address is None
    wanted = cpus if cpus == 1 else max(cpus, os.cpu_count() or 1)
    try:
        ray.init(
            address=options.address,
            num_cpus=(options.num_cpus or wanted) if own else None,
            num_gpus=options.num_gpus if own else None,
            include_dashboard=False if own else None,
            log_to_driver=options.verbosity > 0,
            logging_level=logging.INFO if options.verbosity > 1 else logging.ERROR,
            # Ray itself hands on the folder of the running script and the working folder alone.
            job_config=JobConfig(_py_driver_sys_path=own_folders()),
        )
    except Exception as error:
        where = f"Ray at {options.address}" if options.address else "Ray"
        raise UserError(f"{where} does not start ({first_line(error)}); try another --ray-address") from error
    try:
        quieten(options.verbosity)
        yield
    finally:
        ray.shutdown()


@contextmanager
def built_algorithm(config: AlgorithmConfig, verbosity: int) -> Iterator[Algorithm]:
    """The algorithm of a configuration, stopped at the end.

    RLlib makes a folder of its own for each algorithm under ~/ray_results, which stays empty here: it gets a temporary
    one instead.
    """
    config = config.copy(copy_frozen=False)
    if verbosity == 0:
        config.debugging(log_level="ERROR")
    with tempfile.TemporaryDirectory(prefix="rbc_marl_") as folder:
        with mock.patch("ray.tune.trainable.trainable.DEFAULT_STORAGE_PATH", folder):
            algorithm = config.build_algo()
        try:
            yield algorithm
        finally:
            algorithm.stop()
