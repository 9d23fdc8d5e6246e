"""Starting Ray quietly, with as much of the machine as a run needs, and stopping it afterwards."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.job_config import JobConfig
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.tune.registry import get_trainable_cls

from rbc_marl import starts
from rbc_marl.errors import UserError, first_line
from rbc_marl.own_code import worker_setup
from rbc_marl.rllib.lost import check_room
from rbc_marl.signatures import user_key


@dataclass(frozen=True)
class RayOptions:
    """Where Ray runs and what it may use; None leaves the choice to the run.

    Attributes:
        address: Of a running cluster, or "auto" for the one on this machine; None: a Ray of one's own, whatever runs.
        num_cpus: CPUs of a Ray of one's own; a cluster has its own number.
        num_gpus: GPUs, likewise.
        verbosity: 0: errors, 1: warnings as well, 2: everything.
    """

    address: str | None = None
    num_cpus: int | None = None
    num_gpus: int | None = None
    verbosity: int = 0


def quieten(verbosity: int) -> None:
    """Keep Ray's banners and deprecation warnings off the screen; errors stay. Verbosity 1 shows warnings, 2 all."""
    level = [logging.ERROR, logging.WARNING, logging.INFO][min(verbosity, 2)]
    for name in ("ray", "ray.rllib", "ray.tune"):
        logging.getLogger(name).setLevel(level)
    if verbosity == 0:
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning, UserWarning):
            warnings.filterwarnings("ignore", category=category)


def usable_cores() -> int:
    """Cores that this process may use, which on a shared machine are fewer than there are."""
    count = getattr(os, "process_cpu_count", None)  # from Python 3.13 on
    if count is not None:
        return count() or 1
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpus_needed(config: AlgorithmConfig) -> int:
    """CPUs that the processes of a run ask Ray for; the run itself, which is no process of Ray's, counts as one."""
    runners = (config.num_env_runners + config.evaluation_num_env_runners) * config.num_cpus_per_env_runner
    each = config.num_cpus_per_learner if isinstance(config.num_cpus_per_learner, int | float) else 1
    return 1 + int(runners + config.num_learners * (each + config.num_aggregator_actors_per_learner))


@contextmanager
def ray_session(options: RayOptions, cpus: int) -> Iterator[None]:
    """Ray, started unless this process has it already, and stopped at the end if it was started here.

    Args:
        options: What the user asked for. Without an address Ray is one's own, even where a cluster runs.
        cpus: What the run needs at least.

    Raises:
        UserError: Ray cannot be reached or started.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray's processes find the modules that this one finds, and no others.
    here = {str(Path.cwd()), str(Path(sys.argv[0]).resolve().parent)}
    setup = _worker_setup(options)
    paths = [path for path in dict.fromkeys(str(Path(path).resolve()) for path in sys.path) if path in here]
    runtime_env = {"worker_process_setup_hook": setup} if setup else None
    try:
        with _deaf_to_hangups():
            ray.init(
                log_to_driver=options.verbosity > 0,
                logging_level=logging.INFO if options.verbosity > 1 else logging.ERROR,
                job_config=_OwnPaths(runtime_env=runtime_env, _py_driver_sys_path=paths),
                **_where(options, cpus),
            )
    except Exception as error:
        message = f"Ray does not start ({first_line(error)}); -vv shows what it says"
        if options.address is not None:  # a wrong token looks like a cluster that cannot be reached
            message = (
                f"Ray at {options.address} cannot be joined ({first_line(error)}); try another --ray-address, "
                "or give the cluster's token: copy ~/.ray/auth_token of its head node here, or set RAY_AUTH_TOKEN, "
                "with RAY_AUTH_MODE=token (RAY_AUTH_MODE=disabled for a cluster without tokens)"
            )
        raise UserError(message) from error
    try:
        quieten(options.verbosity)
        yield
    finally:
        ray.shutdown()


def _worker_setup(options: RayOptions) -> Callable[[], None] | None:
    """What each process of Ray's runs first; None for nothing.

    Those of a cluster get the key that checkpoints need, modules of one's own, and files of states. All travel through
    Ray's own store; the key is written into no folder of results.
    """
    if options.address is None:
        return worker_setup()
    find_modules, key, states = worker_setup(send=True), user_key(), starts.to_send()
    if find_modules is None and key is None and not states:
        return None

    def set_up() -> None:
        from rbc_marl import starts
        from rbc_marl.signatures import use_key

        if key is not None:
            use_key(key)
        if find_modules is not None:
            find_modules()
        starts.receive(states)

    return set_up


def _where(options: RayOptions, cpus: int) -> dict[str, Any]:
    """Arguments of `ray.init`: a cluster's address, or a Ray of one's own and what it may use."""
    if options.address is not None:  # a cluster knows itself what it has
        return {"address": options.address}
    # RLlib needs a running Ray even where everything happens in this process: then one idle worker is enough.
    wanted = options.num_cpus or (cpus if cpus == 1 else max(cpus, usable_cores()))
    return {"address": "local", "num_cpus": wanted, "num_gpus": options.num_gpus, "include_dashboard": False}


@contextmanager
def _deaf_to_hangups() -> Iterator[None]:
    """Lets processes that start here outlive their terminal: a run that is to save itself still needs Ray's."""
    is_main = threading.current_thread() is threading.main_thread()  # which alone can
    hangup = getattr(signal, "SIGHUP", None) if is_main else None  # not on Windows
    previous = signal.signal(hangup, signal.SIG_IGN) if hangup else None
    try:
        yield
    finally:
        if hangup:
            signal.signal(hangup, previous)


class _OwnPaths(JobConfig):
    """Lets Ray add no folders: it puts the working folder first, also where this process does not have it."""

    def _runtime_env_has_working_dir(self) -> bool:
        return True


@contextmanager
def built_algorithm(config: AlgorithmConfig, verbosity: int) -> Iterator[Algorithm]:
    """The algorithm of a configuration, stopped at the end.

    RLlib makes a folder of its own for each algorithm under ~/ray_results, which stays empty here: it gets a temporary
    one instead. Its class stays what it is, for checkpoints name it: only this object finds its folder in another way.

    Args:
        config: Left as it is.
        verbosity: As in `quieten`.

    Raises:
        UserError: Ray has no room for its processes.
    """
    config = config.copy(copy_frozen=False)
    if verbosity == 0:
        config.debugging(log_level="ERROR")
    named = config.algo_class
    cls: Any = get_trainable_cls(named) if isinstance(named, str) else named
    algorithm = cls.__new__(cls)
    check_room(config)  # also for algorithms that would wait without an end
    with tempfile.TemporaryDirectory(prefix="rbc_marl_") as folder:
        algorithm._setup_logdir = lambda: setattr(algorithm, "_logdir", folder)
        algorithm.__init__(config=config)
        try:
            yield algorithm
        finally:
            algorithm.stop()
