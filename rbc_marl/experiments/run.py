"""Running an experiment in this process: train, report, save checkpoints, stop cleanly, go on where a run stopped."""

from __future__ import annotations

import json
import numbers
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from ray.rllib.algorithms.algorithm import Algorithm
from rich.console import Console

from rbc_marl import places
from rbc_marl.analysis.outcomes import BEST, outcome
from rbc_marl.errors import LostProcessError, StorageError, UserError, first_line
from rbc_marl.experiments.build import has_state
from rbc_marl.experiments.file import Experiment, load_experiments, to_yaml
from rbc_marl.experiments.folder import RunFolder, iteration_of
from rbc_marl.experiments.lock import TakenOverError, folder_lock
from rbc_marl.experiments.loggers import LoggedRun, Loggers
from rbc_marl.experiments.notes import MACHINE, RUN, write_readme
from rbc_marl.experiments.progress import Progress
from rbc_marl.experiments.ray_session import RayOptions, built_algorithm, cpus_needed, ray_session
from rbc_marl.experiments.signals import StopRequest
from rbc_marl.experiments.stopping import PROGRESS_KEYS, check_reported, flatten, should_stop
from rbc_marl.files import replace_file
from rbc_marl.policies.saved import load_policies
from rbc_marl.provenance import HIDDEN, git_commit, machine, masked, shown, shown_path, versions
from rbc_marl.rllib.population import STATE_NAME
from rbc_marl.signatures import check_trusted, sign

# Files of a run by which those to go on with are found.
HEADS = ("run.json", "config.yaml", "config.py")
STEPS = "num_env_steps_sampled_lifetime"
# Parts of RLlib's result that are not numbers of the run.
NOT_REPORTED = ("config", "pid", "timestamp", "done")


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        folder: Its folder.
        checkpoint: Its newest checkpoint.
        status: "finished" or "interrupted"; a run that fails raises.
        signal: The signal that interrupted it.
        results: The flat results of its last iteration.
    """

    folder: Path
    checkpoint: Path | None
    status: str
    signal: int | None = None
    results: Mapping[str, Any] = field(default_factory=dict)

    @property
    def iterations(self) -> int:
        """Iterations done."""
        return int(self.results.get("training_iteration", 0))

    @property
    def seconds(self) -> float:
        """Of training, also of parts before an interruption."""
        return float(self.results.get("time_total_s", 0.0))


def train(
    experiment: Experiment,
    folder: RunFolder | None = None,
    *,
    command: Sequence[str] = (),
    ray_options: RayOptions | None = None,
    console: Console | None = None,
    after_iteration: Callable[[dict[str, Any]], None] | None = None,
) -> Outcome:
    """Train an experiment to its stop criteria, or until it is interrupted.

    Args:
        experiment: A single run (`is_sweep` is false).
        folder: The folder of the run to go on with; None: a new run in a new folder.
        command: What was typed, for run.json.
        ray_options: Where Ray runs and what it may use.
        console: Where progress is shown; None: standard output.
        after_iteration: Told the flat results of every iteration, before a checkpoint says that it is done.

    Returns:
        How it ended.

    Raises:
        UserError: The algorithm cannot be built, or training fails; run.json then says "failed".
        LostProcessError: A process is lost without which it cannot go on.
    """
    options = ray_options or RayOptions()
    with ExitStack() as stack:
        request = stack.enter_context(StopRequest(lambda text: None))
        if folder is not None:
            hold = stack.enter_context(folder_lock(folder.path))
            _check_start(experiment, folder)
        stack.enter_context(ray_session(options, cpus_needed(experiment.config)))
        try:
            algorithm = stack.enter_context(built_algorithm(experiment.config, options.verbosity))
            last = _restore(algorithm, experiment, folder)
        except Exception as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{experiment.name} cannot be built: {reason(error)}") from error
        request.reinstall()
        if folder is None:
            folder = new_folder(experiment, command)
            hold = stack.enter_context(folder_lock(folder.path))
        loggers = stack.enter_context(_loggers(experiment, folder, lambda text: request.notice(text)))
        stack.callback(folder.close)
        begin_record(folder, experiment, command)
        write_readme(folder.path, f"A run of rbc_marl: {experiment.name}, seed {experiment.seed}.", RUN, command)
        progress = stack.enter_context(Progress(experiment.name, experiment.stop, experiment.env_config, last, console))
        request.notice = progress.notice

        def ended(results: dict[str, Any]) -> None:
            hold.check()
            if after_iteration is not None:
                after_iteration(results)

        return _run(experiment, algorithm, folder, last, progress, loggers, request, ended)


@contextmanager
def _loggers(experiment: Experiment, folder: RunFolder, notice: Callable[[str], None]) -> Iterator[Loggers]:
    """The run's loggers; their records end with it, and say whether it failed."""
    # Their own arguments may hold keys.
    settings = {name: value for name, value in experiment.resolved.items() if name != "loggers"}
    run = LoggedRun(f"{experiment.name}/{folder.path.name}", folder.path.resolve(), settings)
    loggers = Loggers(experiment.loggers, run, experiment.storage.resolve(), notice)
    has_failed = True
    try:
        yield loggers
        has_failed = False
    finally:
        loggers.close(has_failed)


def _run(
    experiment: Experiment,
    algorithm: Algorithm,
    folder: RunFolder,
    results: dict[str, Any],
    progress: Progress,
    loggers: Loggers,
    request: StopRequest,
    after_iteration: Callable[[dict[str, Any]], None],
) -> Outcome:
    """The training loop, and how it ends."""
    checkpoints, seconds_before, checked = experiment.checkpoints, results.get("time_total_s") or 0.0, False

    def save() -> None:
        write = algorithm.save_to_path
        folder.save_checkpoint(algorithm.iteration, lambda path: write(str(path.resolve())), checkpoints.num_to_keep)

    try:
        while not (done := should_stop(experiment.stop, results)) and request.signal is None:
            steps_before = results.get(STEPS)
            results = flat_results(algorithm.train(), seconds_before)
            _check_sampled(algorithm, results.get(STEPS), steps_before)
            folder.log(algorithm.iteration, results)
            progress.update(results)
            if seconds := results.get("env_runners/compile_time_s"):
                progress.notice(f"rollouts were compiled in {seconds:.0f} s")
            loggers.log(algorithm.iteration, results)
            if not checked:
                check_reported(experiment.stop, results)
                checked = "env_runners/episode_return_mean" in results
            after_iteration(results)
            if checkpoints.checkpoint_frequency and algorithm.iteration % checkpoints.checkpoint_frequency == 0:
                save()
        if checkpoints.checkpoint_at_end or not done:
            save()
    except KeyboardInterrupt:
        request.signal, done = request.signal or signal.SIGINT, False
    except TakenOverError:
        raise
    except Exception as error:
        failure = _failure(error, algorithm.iteration + 1, experiment.name, folder)
        with suppress(StorageError):  # a folder that is gone says nothing more
            folder.update_info(status="failed", ended=now(), error=shown([str(failure)])[0])
        raise failure from error
    status = "finished" if done else "interrupted"
    folder.update_info(status=status, ended=now(), iterations=algorithm.iteration, **became(experiment, results))
    newest = next(reversed(folder.checkpoints()), None)
    return Outcome(folder.path, newest, status, None if done else request.signal, results)


def _check_sampled(algorithm: Algorithm, steps: float | None, steps_before: float | None) -> None:
    """Refuse an iteration without samples, which RLlib's own algorithms count where all env runners are lost."""
    if not algorithm.config.num_env_runners or not (steps or 0) <= (steps_before or 0):
        return
    if not algorithm.env_runner_group.num_healthy_remote_workers():
        raise LostProcessError(f"all {algorithm.config.num_env_runners} env runners are lost")


def _failure(error: Exception, iteration: int, name: str, folder: RunFolder) -> UserError:
    """Why a run failed and from where it can go on, in one line; the traceback of what is no user's error is kept."""
    cause = getattr(error, "cause", None)  # where it happened in a process of Ray's
    error = cause if isinstance(cause, UserError) else error
    if isinstance(error, UserError):
        kind, message = type(error), str(error)
    else:
        with suppress(StorageError):
            replace_file(folder.path / "error.txt", traceback.format_exc())
        where = f"the traceback is in {folder.path / 'error.txt'}"
        kind, message = UserError, f"{name} failed in iteration {iteration}: {reason(error)}; {where}"
    saved = folder.checkpoints()
    last = f"the last checkpoint is {saved[-1]}" if saved else "no checkpoint was saved before"
    return kind(f"{message}; {last}{', from which --resume goes on' if saved and kind is StorageError else ''}")


def flat_results(result: Mapping[str, Any], seconds_before: float = 0.0) -> dict[str, Any]:
    """The numbers of RLlib's result, flat, without the times of single connectors.

    Args:
        result: What `Algorithm.train()` returned.
        seconds_before: Training time of earlier parts of the run, which RLlib does not count.
    """
    flat: dict[str, Any] = dict.fromkeys(key for key in PROGRESS_KEYS if key in result)  # these come first
    if "phase" in result.get("curriculum", {}):
        flat["curriculum/phase"] = str(result["curriculum"]["phase"])
    for key, value in flatten({k: v for k, v in result.items() if k not in NOT_REPORTED}).items():
        if isinstance(value, numbers.Real) and not isinstance(value, bool) and "connector" not in key:
            number, name = float(value), key.rsplit("/", 1)[-1]
            is_count = isinstance(value, numbers.Integral) or name.startswith("num_") or "_lifetime" in key
            flat[key] = int(number) if is_count and number.is_integer() else number
    flat["time_total_s"] = flat.get("time_total_s", 0.0) + seconds_before
    flat["date"] = now()
    return flat


def unfinished_run(experiment: Experiment, sets: Sequence[str] = ()) -> tuple[Experiment, RunFolder]:
    """Find the newest run of an experiment that has not finished, as it began.

    Args:
        experiment: As the file describes it now.
        sets: Changes to make to the run as it began.

    Raises:
        UserError: There is none, or it is in use.
    """
    home = experiment.storage / experiment.name
    places.pull_heads(home, HEADS)
    RunFolder.remove_unbegun(home)
    runs = RunFolder.all_in(home)
    for folder in runs:
        info = folder.read_info()
        if info.get("status") == "finished":
            continue
        with folder_lock(folder.path):  # refused while somebody runs it
            places.pull(folder.path)
            folder.tidy()
        check_trusted(folder.path, experiment.trust, "the run to resume", whole=False)
        source = folder.path / ("config.py" if experiment.is_python else "config.yaml")
        only = None if experiment.is_python else experiment.name
        # The copy of the file lacks those of earlier resumes; secrets are kept nowhere, and must be given again.
        changes = (*(text for text in info.get("sets", ()) if HIDDEN not in text), *sets)
        # From its first checkpoint on a run can do without the one that it began from, which may be gone.
        own = ("restore=null",) if folder.checkpoints() else ()
        began = load_experiments(source, only, sets=(*changes, *own), trust=experiment.trust)[0]
        # The copy of a Python file has another name.
        return replace(began, name=experiment.name, sets=changes), folder
    why = f"every run in {home} has finished" if runs else f"{home} holds no run to resume"
    raise UserError(f"{why}; leave out --resume to begin {'a new one' if runs else 'one'}")


def reason(error: BaseException) -> str:
    """One line for an error, also where it happened in a process of Ray's."""
    cause = getattr(error, "cause", None)
    error = cause if isinstance(cause, BaseException) else error
    return f"{type(error).__name__}: {first_line(error)}"


def became(experiment: Experiment, results: Mapping[str, Any]) -> dict[str, str]:
    """What became of the economy, judged by the last iteration, where it is reported."""
    names = ("hours", "middle_sales", "welfare_total", "welfare_consumers", "government_return")
    means = {name: results[f"env_runners/{name}"] for name in names if f"env_runners/{name}" in results}
    if experiment.env_config is None or len(means) < len(names):
        return {}
    return {"outcome": outcome(experiment.env_config, means, getattr(experiment.config, "rules", BEST))}


def _restore(algorithm: Algorithm, experiment: Experiment, folder: RunFolder | None) -> dict[str, Any]:
    """Put the algorithm where the run stopped, or where its experiment begins.

    Returns:
        The results of the last iteration that the checkpoint holds.
    """
    last = next(reversed(folder.checkpoints()), None) if folder is not None else None
    if (start := last or experiment.restore) is not None:
        try:
            if has_state(start):
                algorithm.load_checkpoint(str(start.resolve()))  # as restore_from_path, and tells callbacks
            else:  # policies alone, of which the experiment has made sure that they fit
                algorithm.start_from(load_policies(start, trust=experiment.trust).networks)
        except UserError:
            raise
        except Exception as error:
            mend = "rename it, to go on from the one before" if last else "give another"
            raise UserError(f"{start} cannot be loaded ({reason(error)}); {mend}") from error
    return {} if folder is None else folder.rewind(iteration_of(last) if last else 0)


def _check_start(experiment: Experiment, folder: RunFolder) -> None:
    """Make a run's folder fit to go on with, and refuse a checkpoint that must not be unpickled."""
    folder.tidy()
    last = next(reversed(folder.checkpoints()), None)
    if last is not None and (last / STATE_NAME).is_file():
        raise UserError(f"{last} was written by a sweep that trains runs together; give that sweep again to go on")
    if last is not None:
        check_trusted(last, experiment.trust, f"the checkpoint to go on from with {experiment.name}")


def new_folder(experiment: Experiment, command: Sequence[str] = ()) -> RunFolder:
    """A new folder for a run, with its settings and the record by which it can be resumed from then on."""
    name = "config.py" if experiment.is_python else "config.yaml"
    settings = experiment.source.read_bytes() if experiment.is_python else to_yaml(experiment)
    record = json.dumps(_record(experiment, command), indent=2) + "\n"

    def fill(path: Path) -> None:
        replace_file(path / name, settings)
        sign(path, [name])
        replace_file(path / "run.json", record)

    return RunFolder.create(experiment.storage / experiment.name, experiment.seed, fill)


def begin_record(folder: RunFolder, experiment: Experiment, command: Sequence[str], **more: object) -> None:
    """Note what begins: in run.json what it is and all that decides its numbers, in machine.json where it runs.

    Args:
        folder: Of the run.
        experiment: What is trained.
        command: What was typed.
        **more: Further entries of run.json.
    """
    replace_file(folder.path / MACHINE, json.dumps(machine(command, experiment.source), indent=1) + "\n")
    folder.update_info(**_record(experiment, command), **more)


def _record(experiment: Experiment, command: Sequence[str]) -> dict[str, Any]:
    """What run.json says of a run that begins."""
    return {
        "experiment": experiment.name,
        "algorithm": experiment.run,
        "seed": experiment.seed,
        "status": "running",
        "started": now(),
        "command": shown(command),
        "source": shown_path(experiment.source),
        "sets": [masked(text) for text in experiment.sets],
        "versions": versions(),
        "git_commit": git_commit(),
        "threads": torch.get_num_threads(),
        "platform": sys.platform,
    }


def now() -> str:
    """The time, as run.json says it."""
    return datetime.now().astimezone().isoformat(timespec="seconds")
