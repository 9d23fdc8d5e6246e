"""Work on the machines of a cluster: raylets of this machine, each for itself."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from rbc_marl import UserError
from rbc_marl.experiments import cluster
from rbc_marl.experiments.ray_session import RayOptions, usable_cores
from tests.experiments.test_ray_session import environment, head_node
from tests.experiments.test_sweep import BASE

ROOT = Path(__file__).parents[2]
SWEEP = """
twins:
  report: false
  base: base.yaml
  seeds: [1, 2]
  episodes: 8
  arms: {plain: {}}
"""
RAY = str(Path(sys.executable).with_name("ray"))


def test_of_a_ray_of_ones_own_the_usable_cores_count():
    assert cluster.cores(RayOptions()) == usable_cores()


def test_of_a_cluster_all_cores_count(monkeypatch):
    monkeypatch.setattr(cluster, "ray", SimpleNamespace(cluster_resources=lambda: {"CPU": 12.0}))
    assert cluster.cores(RayOptions("auto")) == 12


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"problem": "does not see /data/x"}, "machine a does not see /data/x; put it into a folder that all machines"),
        ({"versions": {"torch": "1.0"}}, r"machine a has torch 1.0, and this machine .*: install the same versions"),
    ],
)
def test_a_machine_that_cannot_do_the_work_is_named(told, said):
    from rbc_marl.provenance import versions

    same = {"problem": "", "versions": versions()}
    cluster._check("machine a", same)
    with pytest.raises(UserError, match=said):
        cluster._check("machine a", {**same, **told, "versions": {**versions(), **told.get("versions", {})}})


def test_a_machine_looks_for_what_the_work_reads(tmp_path):
    mark = tmp_path / ".mark.tmp"
    assert cluster._look(mark, [])["problem"] == f"does not see {tmp_path}"
    mark.touch()
    assert cluster._look(mark, [tmp_path])["problem"] == ""
    assert cluster._look(mark, [tmp_path, tmp_path / "own"])["problem"] == f"does not see {tmp_path / 'own'}"


@pytest.fixture(scope="module")
def machines():
    """A cluster of a head without cores, and what starts further machines of one core."""
    started = []
    with head_node(cpus=0) as (address, folder):
        log = folder / "session_latest" / "logs" / "gcs_server.out"

        def joined():
            return log.read_text(encoding="utf-8", errors="replace").count("Registering new node. ")

        def start(before=""):
            there = joined()
            names = ("dashboard-agent-listen", "dashboard-agent-grpc", "metrics-export")
            ports = [f"--{name}-port=0" for name in names]  # each machine has its own, but here it is one
            words = f"exec {RAY} start --address={address} --num-cpus=1 --block --disable-usage-stats {' '.join(ports)}"
            shell = ["unshare", "-m", "sh", "-c", f"{before} && {words}"] if before else ["sh", "-c", words]
            out = folder / f"node{len(started)}.log"
            with out.open("w") as file:
                node = subprocess.Popen(
                    shell, env=environment(), stdout=file, stderr=subprocess.STDOUT, start_new_session=True
                )
            started.append(node)
            while joined() == there and node.poll() is None:
                time.sleep(0.2)
            assert node.poll() is None, out.read_text(encoding="utf-8")
            return node

        try:
            yield address, start
        finally:
            for node in started:
                stop(node)


def stop(node):
    """Lose a machine at once, with all that runs on it: Ray's workers are in groups of their own."""
    if node.poll() is None:
        lost = [node.pid, *below(node.pid)]
        for pid in lost:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.wait()


def below(pid):
    """Processes that a process has started, and those that these have."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text(encoding="utf-8").rpartition(")")[2].split()[1]) == pid:
                yield int(path.parent.name)
                yield from below(int(path.parent.name))


def sweep(folder, address, *words):
    """Start a sweep in a folder."""
    (folder / "base.yaml").write_text(BASE, encoding="utf-8")
    (folder / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
    command = [sys.executable, "-m", "rbc_marl.cli", "sweep", "sweep.yaml", "--ray-address", address, *words]
    return subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def rows(folder):
    found = {}
    for path in (folder / "rows").glob("*.json"):
        row = json.loads(path.read_text(encoding="utf-8"))
        found[path.stem] = {key: value for key, value in row.items() if key != "seconds"}
    return found


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root")
def test_a_sweep_is_spread_over_machines_and_outlives_one_of_them(machines, tmp_path):
    address, start = machines
    lame = start(f"mount -t tmpfs none {tmp_path}")  # a machine that does not see the folder
    process = sweep(tmp_path, address)
    said = process.communicate(timeout=600)[0]
    assert process.returncode == 2 and f"does not see {tmp_path}" in said, said
    assert not list((tmp_path / "results" / "twins").glob("r*"))  # neither runs nor rows: no work was done
    stop(lame)

    first, second = start(), start()
    process = sweep(tmp_path, address)
    results = tmp_path / "results" / "twins"
    while process.poll() is None and not list(results.glob("runs/*/*/*/result.json")):
        time.sleep(0.1)
    stop(first)
    said = process.communicate(timeout=600)[0]
    assert process.returncode == 0 and second.poll() is None, said
    assert "0 of 2 runs are done; 2 at a time" in said  # as many as the cluster has cores
    local = tmp_path / "alone"
    local.mkdir()
    process = sweep(local, "local")
    assert process.wait(600) == 0
    assert len(rows(results)) == 2 and rows(results) == rows(local / "results" / "twins")
