"""Runs leave complete folders, stop cleanly, and go on where they stopped. All with a real Ray."""

from __future__ import annotations

import csv
import gc
import importlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rbc_marl.errors import LostProcessError, NonFiniteError, UserError
from rbc_marl.experiments.file import load_experiments
from rbc_marl.experiments.folder import RunFolder
from rbc_marl.experiments.run import StopRequest, _check_sampled, new_folder, train, unfinished_run

pytestmark = [
    pytest.mark.usefixtures("ray_running"),
    pytest.mark.slow,
    # RLlib registers its own wrapper with gymnasium again for each algorithm.
    pytest.mark.filterwarnings("ignore:.*Overriding environment"),
]

ROOT = Path(__file__).parents[2]

FILE = """
tiny:
  run: EconomyPPO
  env: rbc_open
  stop: {training_iteration: 4}
  config:
    env_config: {num_consumers: 3, num_firms: 2, horizon: 3}
    num_envs_per_env_runner: 2
    minibatch_size: 3
    networks: {consumer: {kind: flat, hidden: [8]}}
    seed: 5
"""

# A callback that sends a signal to its own process, as somebody at the terminal would.
INTERRUPTED = """
import os
import signal

from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.callbacks.callbacks import RLlibCallback


class Interrupt(RLlibCallback):
    def on_train_result(self, *, algorithm, result, **kwargs):
        if result["training_iteration"] == 2 and os.path.exists("interrupt"):
            os.remove("interrupt")
            {action}

    def on_checkpoint_loaded(self, *, algorithm, **kwargs):
        open("loaded", "w").close()


config = (
    PPOConfig()
    .environment("rbc_open", env_config={{"num_consumers": 2, "num_firms": 1, "horizon": 3}})
    .env_runners(num_env_runners=0, batch_mode="complete_episodes")
    .training(train_batch_size_per_learner=6, minibatch_size=6, num_epochs=1)
    .rl_module(model_config={{"fcnet_hiddens": [4]}})
    .callbacks(Interrupt)
)
stop = {{"training_iteration": 4}}
"""


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(FILE, encoding="utf-8")
    return tmp_path


def tiny(*sets):
    (experiment,) = load_experiments("tiny.yaml", sets=sets)
    return experiment


def quiet():
    return Console(file=io.StringIO())


def rows(folder):
    with (folder / "progress.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def iterations(folder):
    return [int(row["training_iteration"]) for row in rows(folder)]


def info(folder):
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def weights(checkpoint):
    return {path.name: load_file(path) for path in sorted((checkpoint / "policies").glob("*.safetensors"))}


def assert_equal_weights(a, b):
    one, other = weights(a), weights(b)
    assert len(one) == 3
    assert one.keys() == other.keys()
    for name, tensors in one.items():
        for key, tensor in tensors.items():
            assert tensor.equal(other[name][key]), f"{name}: {key}"


def test_a_run_leaves_its_settings_results_and_checkpoints():
    outcome = train(tiny(), command=["rbc-marl", "train", "tiny.yaml"], console=quiet())
    folder = outcome.folder
    assert outcome.status == "finished"
    assert folder.parent.as_posix() == "results/tiny"
    assert folder.name.endswith("_seed5")
    events = [name for name in names(folder) if name.startswith("events.out")]
    assert len(events) == 1
    files = [".lock", "README.txt", "checkpoint_000004", "config.yaml", *events]
    files += ["machine.json", "metrics.json", "progress.csv", "result.json", "run.json", "signature.json"]
    assert names(folder) == sorted(files)
    record = info(folder)
    assert (record["status"], record["seed"], record["iterations"]) == ("finished", 5, 4)
    assert record["command"] == ["rbc-marl", "train", "tiny.yaml"]
    assert {"python", "torch", "ray", "rbc_marl"} <= set(record["versions"])
    assert iterations(folder) == [1, 2, 3, 4]
    assert float(rows(folder)[-1]["env_runners/hours"]) == pytest.approx(outcome.results["env_runners/hours"])
    lines = (folder / "result.json").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["training_iteration"] for line in lines] == [1, 2, 3, 4]


def test_what_a_run_says_of_itself_holds_nothing_of_the_machine(in_empty_folder):
    command = ["rbc-marl", "train", str(in_empty_folder / "tiny.yaml"), "--set", "loggers.wandb.api_key=abc"]
    folder = train(tiny("stop.training_iteration=1"), command=command, console=quiet()).folder
    shared = "".join((folder / name).read_text("utf-8") for name in ("run.json", "README.txt", "config.yaml"))
    assert str(in_empty_folder) not in shared and "abc" not in shared
    assert not {"host", "pid", "folder"} & info(folder).keys()
    assert info(folder)["threads"] == torch.get_num_threads()
    machine = json.loads((folder / "machine.json").read_text(encoding="utf-8"))
    assert (machine["host"], machine["pid"]) == (socket.gethostname(), os.getpid())
    assert machine["command"][2] == command[2] and "abc" not in machine["command"][-1]


def test_tensorboard_shows_what_the_table_holds():
    folder = train(tiny(), console=quiet()).folder
    events = EventAccumulator(str(folder)).Reload()
    shown = [(event.step, event.value) for event in events.Scalars("env_runners/hours")]
    table = [(int(row["training_iteration"]), float(row["env_runners/hours"])) for row in rows(folder)]
    assert shown == [(step, pytest.approx(value, rel=1e-6)) for step, value in table]


def test_the_saved_settings_run_again_to_the_same_end():
    first = train(tiny(), console=quiet())
    (again,) = load_experiments(first.folder / "config.yaml")
    second = train(again, console=quiet())
    assert second.folder != first.folder
    assert_equal_weights(first.checkpoint, second.checkpoint)


def test_another_seed_ends_elsewhere():
    first, second = train(tiny(), console=quiet()), train(tiny("seed=6"), console=quiet())
    with pytest.raises(AssertionError):
        assert_equal_weights(first.checkpoint, second.checkpoint)


def test_checkpoints_come_at_their_frequency_and_only_the_newest_stay():
    folder = train(tiny("checkpoint_freq=1", "keep_checkpoints_num=2"), console=quiet()).folder
    assert [name for name in names(folder) if "checkpoint" in name] == ["checkpoint_000003", "checkpoint_000004"]


def test_the_last_checkpoint_can_be_left_out():
    outcome = train(tiny("checkpoint_freq=3", "checkpoint_at_end=false"), console=quiet())
    assert [path.name for path in outcome.folder.glob("*checkpoint*")] == ["checkpoint_000003"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_between_iterations_with_a_checkpoint(in_empty_folder, number):
    action = f"os.kill(os.getpid(), {int(number)})"
    (in_empty_folder / "mine.py").write_text(textwrap.dedent(INTERRUPTED.format(action=action)), encoding="utf-8")
    (in_empty_folder / "interrupt").touch()
    (experiment,) = load_experiments("mine.py", sets=["checkpoint_at_end=false"])  # an interrupted run saves one anyway
    console = quiet()
    outcome = train(experiment, console=console)
    assert (outcome.status, outcome.signal, outcome.checkpoint.name) == ("interrupted", number, "checkpoint_000002")
    assert "a checkpoint is saved" in console.file.getvalue()
    assert info(outcome.folder)["status"] == "interrupted"
    resumed = train(*unfinished_run(experiment), console=quiet())
    assert (resumed.folder, resumed.status) == (outcome.folder, "finished")
    assert iterations(resumed.folder) == [1, 2, 3, 4]
    assert (in_empty_folder / "loaded").exists()  # callbacks are told, for one that follows a curriculum


def test_signals_are_the_callers_again_after_a_run():
    def handlers():
        return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]

    before = handlers()
    train(tiny("stop.training_iteration=1"), console=quiet())
    assert handlers() == before


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system does not list the handles of a process")
def test_a_run_holds_no_more_however_long_it_trains():
    held = {}

    def count(results):
        if results["training_iteration"] in (20, 80):
            gc.collect()
            handles = len(os.listdir("/proc/self/fd"))
            held[results["training_iteration"]] = (len(gc.get_objects()), handles, threading.active_count())

    train(tiny("stop.training_iteration=80", "report=false"), console=quiet(), after_iteration=count)
    grown = [after - before for before, after in zip(held[20], held[80], strict=True)]
    # Ray's threads come and go; whatever keeps something of each iteration keeps sixty of it.
    assert max(grown) < 40, grown


def kill_after(folder, iteration):
    """Leave a folder as a run would that was killed after it had written a line and a half too many."""
    RunFolder(folder).update_info(status="running", pid=os.getpid(), host=socket.gethostname())
    for name in ("progress.csv", "result.json"):
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write('{"training_iteration": 9, "time_to' if name.endswith("json") else "9,0.1")
    assert iterations(folder)[:iteration] == list(range(1, iteration + 1))


def test_parts_of_a_run_that_begin_within_a_second_keep_their_own_events(in_empty_folder, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1e9)
    for iteration in (1, 2):
        folder = RunFolder(in_empty_folder)
        folder.log(iteration, {"training_iteration": iteration})
        folder.close()
    assert len(list(in_empty_folder.glob("events.*"))) == 2


def test_a_killed_run_resumes_bit_for_bit_and_repeats_no_row():
    whole = train(tiny(), console=quiet())
    cut = train(tiny("stop.training_iteration=3", "checkpoint_freq=2", "checkpoint_at_end=false"), console=quiet())
    assert cut.checkpoint.name == "checkpoint_000002"
    kill_after(cut.folder, 3)
    seconds = float(rows(cut.folder)[1]["time_total_s"])
    experiment, folder = unfinished_run(tiny(), ["stop.training_iteration=4", "checkpoint_at_end=true"])
    resumed = train(experiment, folder, console=quiet())
    assert resumed.folder == cut.folder
    assert iterations(resumed.folder) == [1, 2, 3, 4]
    lines = (resumed.folder / "result.json").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["training_iteration"] for line in lines] == [1, 2, 3, 4]
    assert float(rows(resumed.folder)[2]["time_total_s"]) > seconds
    # One by one: each file is one part of the run.
    files = [EventAccumulator(str(file)).Reload() for file in resumed.folder.glob("events.*")]
    steps = [event.step for file in files for event in file.Scalars("env_runners/hours")]
    assert sorted(set(steps)) == [1, 2, 3, 4]
    assert_equal_weights(whole.checkpoint, resumed.checkpoint)
    hours = [[row["env_runners/hours"] for row in rows(outcome.folder)] for outcome in (whole, resumed)]
    assert hours[0] == hours[1]


def test_a_run_killed_before_its_first_checkpoint_starts_over():
    cut = train(tiny("stop.training_iteration=1", "checkpoint_at_end=false"), console=quiet())
    assert cut.checkpoint is None
    kill_after(cut.folder, 1)
    resumed = train(*unfinished_run(tiny(), ["stop.training_iteration=2"]), console=quiet())
    assert iterations(resumed.folder) == [1, 2]


def test_a_run_killed_as_soon_as_its_folder_is_there_is_resumed_in_it():
    begun = new_folder(tiny("stop.training_iteration=1"))
    assert names(begun.path) == ["config.yaml", "run.json", "signature.json"]
    experiment, folder = unfinished_run(tiny(), ["stop.training_iteration=2"])
    assert folder.path == begun.path and experiment.sets == ("stop.training_iteration=2",)
    assert train(experiment, folder, console=quiet()).status == "finished"


def test_changes_made_to_a_resumed_run_hold_when_it_is_resumed_again():
    folder = train(tiny("stop.training_iteration=1"), console=quiet()).folder
    RunFolder(folder).update_info(status="interrupted")
    changes = ["stop.training_iteration=2", "lr=3e-4"]
    assert train(*unfinished_run(tiny(), changes), console=quiet()).folder == folder
    assert iterations(folder) == [1, 2] and info(folder)["sets"] == changes
    RunFolder(folder).update_info(status="interrupted")
    again, _ = unfinished_run(tiny(), ["checkpoint_freq=1"])
    assert (again.stop, again.config.lr, again.checkpoints.checkpoint_frequency) == ({"training_iteration": 2}, 3e-4, 1)
    assert again.sets == (*changes, "checkpoint_freq=1")


def test_only_an_unfinished_run_that_nobody_runs_is_resumed():
    with pytest.raises(UserError, match="results/tiny holds no run to resume; leave out --resume"):
        unfinished_run(tiny())
    outcome = train(tiny("stop.training_iteration=1"), console=quiet())
    with pytest.raises(UserError, match="every run in results/tiny has finished"):
        unfinished_run(tiny())
    RunFolder(outcome.folder).update_info(status="running", pid=1, host=socket.gethostname())
    code = f"""if True:
        from pathlib import Path
        from rbc_marl.experiments.lock import folder_lock
        with folder_lock(Path({str(outcome.folder)!r})):
            print("locked", flush=True)
            input()
    """
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    other = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, **pipes)
    try:
        assert other.stdout.readline() == b"locked\n"
        held = f"is in use by process {other.pid} on {socket.gethostname()} since .*; wait for its end, or stop it"
        with pytest.raises(UserError, match=held):
            unfinished_run(tiny())
        with pytest.raises(UserError, match=held):
            train(tiny(), RunFolder(outcome.folder), console=quiet())
    finally:
        other.kill()  # it cannot let go of the folder itself
        other.communicate()
    assert unfinished_run(tiny())[1].path == outcome.folder  # process 1, which runs, is somebody else


def test_an_iteration_without_samples_is_not_counted():
    def check(runners, steps, healthy):
        group = SimpleNamespace(num_healthy_remote_workers=lambda: healthy)
        algorithm = SimpleNamespace(config=SimpleNamespace(num_env_runners=runners), env_runner_group=group)
        _check_sampled(algorithm, steps, 64)

    check(2, 96, 0)
    check(2, 64, 1)  # it has only not answered yet
    check(0, 64, 0)
    for steps in (64, None):
        with pytest.raises(LostProcessError, match=r"^all 2 env runners are lost$"):
            check(2, steps, 0)


def test_a_run_begins_from_a_checkpoint_that_the_file_names():
    first = train(tiny("stop.training_iteration=2"), console=quiet())
    second = train(tiny(f"restore={first.checkpoint}"), console=quiet())
    assert iterations(second.folder) == [3, 4]
    assert_equal_weights(second.checkpoint, train(tiny(), console=quiet()).checkpoint)


def test_a_run_with_a_checkpoint_of_its_own_goes_on_without_the_one_that_it_began_from():
    first = train(tiny("stop.training_iteration=2"), console=quiet())
    begun = train(tiny(f"restore={first.checkpoint}", "stop.training_iteration=3"), console=quiet())
    RunFolder(begun.folder).update_info(status="interrupted")
    shutil.rmtree(first.folder)
    experiment, folder = unfinished_run(tiny(), ["stop.training_iteration=4"])
    assert folder.path == begun.folder and experiment.restore is None
    assert iterations(train(experiment, folder, console=quiet()).folder) == [3, 4]


def test_a_run_that_would_never_end_by_its_criterion_says_so_after_one_iteration():
    with pytest.raises(UserError, match=r"stop.env_runners/episode_len_max is not reported by this run"):
        train(tiny("stop={env_runners/episode_len_max: 9}"), console=quiet())
    (folder,) = (Path("results") / "tiny").iterdir()
    assert info(folder)["status"] == "failed"


def test_a_failure_in_training_is_explained_in_one_line(in_empty_folder):
    action = 'raise RuntimeError("no more goods\\nsecond line")'
    (in_empty_folder / "mine.py").write_text(textwrap.dedent(INTERRUPTED.format(action=action)), encoding="utf-8")
    (in_empty_folder / "interrupt").touch()
    (experiment,) = load_experiments("mine.py")
    with pytest.raises(UserError) as caught:
        train(experiment, console=quiet())
    (folder,) = (in_empty_folder / "results" / "mine").iterdir()
    assert "\n" not in str(caught.value)
    assert "mine failed in iteration 3: RuntimeError: no more goods; the traceback is in" in str(caught.value)
    assert str(caught.value).endswith("; no checkpoint was saved before")
    assert info(folder)["status"] == "failed"
    assert "second line" in (folder / "error.txt").read_text(encoding="utf-8")
    assert unfinished_run(experiment)[1].path == folder.relative_to(in_empty_folder)


SPOILING = """
import torch
from ray.rllib.callbacks.callbacks import RLlibCallback


class Spoil(RLlibCallback):
    def on_train_result(self, *, algorithm, result, **kwargs):
        if result["training_iteration"] == {iteration}:
            weights = algorithm.learner_group._learner.module["firm"].parameters()
            with torch.no_grad():
                next(weights).fill_(float("nan"))
"""


@pytest.mark.parametrize("iteration", [3, 4])  # of 4: before the next one, or before the checkpoint at the end
def test_a_run_whose_numbers_are_not_finite_fails_and_keeps_its_last_good_checkpoint(in_empty_folder, iteration):
    module = f"spoils_iteration_{iteration}"
    (in_empty_folder / f"{module}.py").write_text(SPOILING.format(iteration=iteration), encoding="utf-8")
    with pytest.raises(NonFiniteError) as caught:
        train(tiny("checkpoint_freq=2", f"callbacks={module}.Spoil"), console=quiet())
    (folder,) = (in_empty_folder / "results" / "tiny").iterdir()
    assert str(caught.value).endswith(f"; the last checkpoint is results/tiny/{folder.name}/checkpoint_000002")
    assert info(folder)["status"] == "failed" and info(folder)["error"] == str(caught.value)
    assert [name for name in names(folder) if "checkpoint" in name] == ["checkpoint_000002"]


def test_an_algorithm_that_cannot_be_built_leaves_no_folder(in_empty_folder):
    text = "bad: {run: PPO, env: CartPole-v1, config: {env_config: {no_such: 1}}}"
    (in_empty_folder / "bad.yaml").write_text(text, encoding="utf-8")
    (experiment,) = load_experiments("bad.yaml")
    with pytest.raises(UserError, match=r"bad cannot be built: .*no_such"):
        train(experiment, console=quiet())
    assert names(in_empty_folder) == ["bad.yaml", "tiny.yaml"]


def test_rllib_leaves_no_folder_of_its_own(monkeypatch, tmp_path):
    home = tmp_path / "ray_results"  # where RLlib would make one
    monkeypatch.setattr("ray.tune.trainable.trainable.DEFAULT_STORAGE_PATH", str(home))
    train(tiny("stop.training_iteration=1"), console=quiet())
    assert not home.exists() or list(home.iterdir()) == []


def test_progress_is_plain_lines_where_there_is_no_terminal():
    console = quiet()
    train(tiny(), console=console)
    lines = console.file.getvalue().splitlines()
    assert lines[0].startswith("iteration 1/4")
    assert lines[-1].startswith("iteration 4/4")
    for label in ("consumer reward", "firm reward", "government reward", "hours", "price", "wage", "income tax"):
        assert f"  {label} " in lines[-1]


def test_progress_is_live_on_a_terminal():
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    train(tiny(), console=console)
    assert "iteration 4/4" in console.file.getvalue()
    assert "\x1b[" in console.file.getvalue()


def test_a_signal_in_the_middle_of_an_import_of_what_tells_of_it(tmp_path, monkeypatch):
    (tmp_path / "half_imported.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\nfor _ in range(10**6):\n    pass\nNAME = 'whole'\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    told = []

    def notice(words):
        told.append((importlib.import_module("half_imported").NAME, words.split(":")[0]))

    with StopRequest(notice) as request:
        importlib.import_module("half_imported")
    assert told == [("whole", "stopping")]
    assert request.signal == signal.SIGTERM
