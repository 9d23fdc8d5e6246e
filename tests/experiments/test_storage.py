"""Runs and sweeps whose results are in a bucket, of a real S3 server on this machine (moto's)."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from rich.console import Console
from safetensors.torch import load_file

from rbc_marl import UserError, places
from rbc_marl.cli import main
from rbc_marl.equilibrium.study import load_study, run_study
from rbc_marl.experiments import lock
from rbc_marl.experiments.file import load_experiments
from rbc_marl.experiments.folder import RunFolder
from rbc_marl.experiments.lock import TakenOverError, folder_lock, this_process
from rbc_marl.experiments.run import train, unfinished_run
from tests.experiments.test_run import FILE
from tests.experiments.test_sweep import BASE, SWEEP

ROOT = Path(__file__).parents[2]
# Never another one of the machine's: moto 5.2 answers pyarrow's uploads in parts with an error.
SERVER = ROOT / "build" / "libraries" / "storage" / "bin" / "moto_server"
pytestmark = [
    pytest.mark.long,
    pytest.mark.usefixtures("ray_running"),
    pytest.mark.skipif(not SERVER.is_file(), reason="moto's server is not installed (.ci/libraries storage)"),
    pytest.mark.filterwarnings("ignore:.*Overriding environment"),
]


@pytest.fixture(scope="module")
def server():
    """The address of an S3 server with a bucket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [SERVER, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            try:
                urllib.request.urlopen(urllib.request.Request(f"{address}/economies", method="PUT"), timeout=60)
                break
            except OSError:
                time.sleep(0.2)
        assert process.poll() is None
        yield address
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(autouse=True)
def machine(server, tmp_path, monkeypatch):
    """Moves to another machine, which has files, keys and none of the results."""
    for name, value in {"AWS_ENDPOINT_URL": server, "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    def move(name):
        folder = tmp_path / name
        folder.mkdir()
        for file, text in {"tiny.yaml": FILE, "base.yaml": BASE, "sweep.yaml": SWEEP}.items():
            (folder / file).write_text(text, encoding="utf-8")
        monkeypatch.chdir(folder)
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        monkeypatch.setattr(places, "_stored", {})
        return folder

    return move


def tiny(*sets):
    (experiment,) = load_experiments("tiny.yaml", sets=sets)
    return experiment


def quiet():
    return Console(file=io.StringIO())


def weights(checkpoint):
    files = sorted((checkpoint / "policies").glob("*.safetensors"))
    return {file.name: {name: tensor.tolist() for name, tensor in load_file(file).items()} for file in files}


def test_a_run_in_a_bucket_goes_on_on_another_machine(machine, capsys):
    machine("first")
    whole = weights(train(tiny(), console=quiet()).checkpoint)
    at = ("storage_path=s3://economies/runs", "checkpoint_freq=1", "keep_checkpoints_num=2")
    begun = train(tiny(*at, "stop.training_iteration=3"), console=quiet())
    RunFolder(begun.folder).update_info(status="interrupted")
    assert not Path("s3:").exists()

    second = machine("second")
    experiment, folder = unfinished_run(tiny(*at), ["stop.training_iteration=4"])
    assert [path.name for path in folder.checkpoints()] == ["checkpoint_000002", "checkpoint_000003"]
    assert second / "cache" in folder.path.parents
    ended = train(experiment, folder, console=quiet())
    assert weights(ended.checkpoint) == whole
    rows = (ended.folder / "progress.csv").read_text(encoding="utf-8").splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["1", "2", "3", "4"]

    machine("third")
    with pytest.raises(UserError, match=r"every run in .* has finished"):
        unfinished_run(tiny(*at))
    with pytest.raises(SystemExit, match="0"):
        main(["evaluate", places.named(ended.folder), "--episodes", "2", "--out", "s3://economies/table.csv"])
    assert "table: s3://economies/table.csv" in capsys.readouterr().out
    assert places.opened("s3://economies/table.csv").is_file()


def test_a_run_in_a_bucket_is_held_by_one_process_of_all_machines(machine):
    machine("first")
    folder = places.local_path("s3://economies/held")
    with folder_lock(folder):
        machine("second")
        there = {**this_process(), "since": "now", "host": "node7"}
        places.local_path("s3://economies/other").mkdir()
        record = places.local_path("s3://economies/other/.lock.json")
        record.write_text(json.dumps(there), encoding="utf-8")
        places.push(record)
        record.unlink()
        held = pytest.raises(UserError, match=rf"in use by process {os.getpid()} on node7 since now")
        with held, folder_lock(record.parent):
            pass
        assert not record.exists()
        other = places.local_path("s3://economies/held/.lock.json")
        places.pull(other)
        assert json.loads(other.read_text(encoding="utf-8"))["pid"] == os.getpid()
        other.unlink()
    places.pull(other)
    assert not other.exists()  # given back


def test_of_two_machines_that_come_for_a_folder_in_a_bucket_at_once_one_has_it(machine, monkeypatch):
    folders = []
    for number in range(2):
        machine(f"machine{number}")
        folders.append(places.local_path("s3://economies/wanted"))
        folders[-1].mkdir()
    here = this_process()
    monkeypatch.setattr(lock, "this_process", lambda: {**here, "host": threading.current_thread().name})
    both, push, waited, ended = threading.Barrier(2), places.push, threading.local(), []

    def push_together(path):  # both have found that nobody is there
        if not getattr(waited, "once", False):
            waited.once = True
            both.wait(60)
        push(path)

    def take(folder):
        try:
            with folder_lock(folder):
                both.wait(60)
                ended.append("has it")
        except UserError as error:
            ended.append(str(error))
            both.wait(60)

    monkeypatch.setattr(places, "push", push_together)
    machines = [threading.Thread(target=take, args=(folder,), name=f"node{n}") for n, folder in enumerate(folders)]
    for each in machines:
        each.start()
    for each in machines:
        each.join()
    refused, has_it = sorted(ended, key=lambda text: text == "has it")
    assert has_it == "has it" and " is in use by process " in refused
    assert places.names(folders[0], ".lock") == []  # given back


def test_whoever_slept_for_long_finds_that_its_folder_in_a_bucket_was_taken_over(machine, monkeypatch):
    machine("first")
    monkeypatch.setattr(lock, "BEAT", 0.05)
    folder = places.local_path("s3://economies/slept")
    with folder_lock(folder) as hold:
        machine("second")
        other = places.local_path("s3://economies/slept/.lock.json")
        other.write_text(json.dumps({**this_process(), "since": "now", "host": "node7"}), encoding="utf-8")
        while json.loads(hold.path.read_text(encoding="utf-8"))["host"] != "node7":
            places.push(other)  # a sign of life of the first may have been on its way
            hold._thread.join(0.05)
        with pytest.raises(TakenOverError, match="on node7 since now"):
            hold.check()
    there, _ = places.look(other)
    assert json.loads(there)["host"] == "node7"  # it stays the other's


def test_a_sweep_in_a_bucket_is_there_for_another_machine(machine):
    first = machine("first")
    folder = places.local_path("s3://economies/sweep")
    words = [sys.executable, "-m", "rbc_marl.cli", "sweep", "sweep.yaml", "--out", "s3://economies/sweep"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}  # Ray's processes get the keys from here
    done = subprocess.run([*words, "--workers", "2"], cwd=first, env=env, capture_output=True, text=True)
    assert "results: s3://economies/sweep (" in done.stdout, done.stderr
    text = (folder / "summary.md").read_text(encoding="utf-8").removesuffix("\n")

    machine("second")
    other, said = places.local_path("s3://economies/sweep"), quiet()
    assert other != folder and not other.exists()
    assert run_study(load_study("sweep.yaml"), other, 1, console=said) == text
    assert "3 of 3 runs are done" in said.file.getvalue()
    assert (other / "summary.md").is_file() and not (other / "runs").exists()
    assert not list(other.glob("tune-*"))


def test_a_bucket_that_is_not_there_is_said_before_anything_is_trained(machine):
    machine("first")
    with pytest.raises(UserError, match=r"s3://nowhere/runs/tiny/\S+ cannot be written \(.*check bucket and keys"):
        train(tiny("storage_path=s3://nowhere/runs"), console=quiet())
