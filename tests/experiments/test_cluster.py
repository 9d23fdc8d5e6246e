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
from ray.exceptions import NodeDiedError, RayTaskError, WorkerCrashedError

from rbc_marl import EconomyConfig, UserError
from rbc_marl.analysis.situations import situations
from rbc_marl.experiments import cluster
from rbc_marl.experiments.ray_session import RayOptions, usable_cores
from rbc_marl.policies.scripted import UniformPolicies
from rbc_marl.starts import save_starts
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


@pytest.mark.parametrize(
    ("error", "listed_for", "is_left_out"),
    [
        (NodeDiedError("its machine is dead"), 1000, True),  # the list of machines may say otherwise for a while
        (WorkerCrashedError(), 3, True),
        (WorkerCrashedError(), 1000, False),
        (RayTaskError("_look", "", ImportError("no module")), 1, False),
    ],
    ids=["died", "leaves", "stays", "fails"],
)
def test_a_machine_that_dies_while_it_is_looked_at_is_left_out(monkeypatch, error, listed_for, is_left_out):
    looks = iter([True] * listed_for)

    def get(*_, **__):
        raise error

    def nodes():
        return [{"NodeID": "a", "Alive": next(looks, False)}]

    monkeypatch.setattr(cluster, "ray", SimpleNamespace(get=get, nodes=nodes))
    monkeypatch.setattr(cluster, "BETWEEN_LOOKS", 0.0)
    if is_left_out:
        assert cluster._answer("a", "machine a", None) is None
    else:
        with pytest.raises(UserError, match="machine a cannot work"):
            cluster._answer("a", "machine a", None)


def test_a_machine_looks_for_what_the_work_reads(tmp_path):
    mark = tmp_path / ".mark.tmp"

    def problem(paths=(), modules=(), states=()):
        return cluster._look(mark, paths, dict(modules), states)["problem"]

    assert problem() == f"does not see {tmp_path}"
    mark.touch()
    assert problem([tmp_path]) == problem([], {"json": "/nowhere"}) == problem([], {}, [str(mark)]) == ""
    assert problem([tmp_path, tmp_path / "own"]) == f"does not see {tmp_path / 'own'}"
    assert problem([], {"module_of_nobody": str(tmp_path)}) == f"does not see {tmp_path}"
    assert problem([], {}, ["states.safetensors"]) == "does not see states.safetensors"


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


def command(folder, *words, **changes):
    """Start a command in a folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "rbc_marl.cli", *words],
        cwd=folder,
        env=environment(**changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def sweep(folder, address, *words, base=BASE):
    """Start a sweep in a folder."""
    (folder / "base.yaml").write_text(base, encoding="utf-8")
    (folder / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
    return command(folder, "sweep", "sweep.yaml", "--ray-address", address, *words)


def rows(folder):
    found = {}
    for path in (folder / "rows").glob("*.json"):
        row = json.loads(path.read_text(encoding="utf-8"))
        found[path.stem] = {key: value for key, value in row.items() if key != "seconds"}
    return found


hides = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0 or not shutil.which("unshare"), reason="only root can hide a folder"
)
OWN = """
import os
from pathlib import Path

from ray.rllib.callbacks.callbacks import RLlibCallback

from own_package.parts import Satiable  # noqa: F401
from rbc_marl.curriculum import Phase

Path({seen!r}, str(os.getpid())).write_text(__file__)


class Late:
    def phase(self, iteration):
        from learning import learners  # not before it runs

        return Phase(learning=learners)


class Mine(RLlibCallback):
    pass
"""
PARTS = """
import torch

from rbc_marl.mechanics import AdditiveUtility


class Satiable(AdditiveUtility):
    limit: float = 8.0

    def of_good(self, units, numbers):
        return self.limit * torch.tanh(units / self.limit)
"""


@pytest.mark.long
@hides
def test_modules_bases_and_states_beside_a_file_travel_to_machines_that_do_not_see_them(machines, tmp_path):
    address, start = machines
    study, shared = tmp_path / "study", tmp_path / "shared"
    (study / "own_package").mkdir(parents=True)
    (shared / "seen").mkdir(parents=True)
    (study / "own_code_of_a_study.py").write_text(OWN.format(seen=str(shared / "seen")), encoding="utf-8")
    (study / "own_package" / "__init__.py").touch()
    (study / "own_package" / "parts.py").write_text(PARTS, encoding="utf-8")
    (study / "learning.py").write_text("learners = frozenset({'firm', 'consumer'})\n", encoding="utf-8")
    config = EconomyConfig(num_consumers=4, num_firms=2, horizon=3)
    save_starts(study / "states.safetensors", situations(UniformPolicies(config), 3, seed=1, periods=2)[0])
    base = BASE.replace(
        "horizon: 3}",
        "horizon: 3, start: states.safetensors, utility: {class: own_package.parts.Satiable, limit: 6.0}}\n"
        "    curriculum: own_code_of_a_study.Late\n    callbacks: own_code_of_a_study.Mine",
    )
    hidden = start(f"mount -t tmpfs none {study}")
    process = sweep(study, address, "--out", str(shared / "twins"), base=base)
    said = process.communicate(timeout=900)[0]
    assert process.returncode == 0 and hidden.poll() is None, said
    sent = f"<sent>{study}/own_code_of_a_study.py"
    assert sent in {file.read_text() for file in (shared / "seen").iterdir()}
    process = sweep(study, "local", "--out", str(shared / "alone"), base=base)
    said = process.communicate(timeout=900)[0]
    assert process.returncode == 0, said
    assert len(rows(shared / "twins")) == 2 and rows(shared / "twins") == rows(shared / "alone")

    for file in (shared / "seen").iterdir():
        file.unlink()
    words = ["train", "base.yaml", "--ray-address", address, "--set", "num_env_runners=1", "--set", "report=false"]
    process = command(study, *words, "--set", f"storage_path={shared}", PYTHONSAFEPATH="1")  # as a console script
    said = process.communicate(timeout=900)[0]
    assert process.returncode == 0, said
    assert sent in {file.read_text() for file in (shared / "seen").iterdir()}
    stop(hidden)


@pytest.mark.long
@hides
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
