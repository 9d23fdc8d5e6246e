"""Ray is one's own unless an address is asked for, also where a cluster runs on the machine."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[2]
TOKEN = "0123456789abcdef" * 4
CPUS = 3  # of the cluster, so that it is told from a Ray of one's own

SESSION = """
from rbc_marl.errors import UserError
from rbc_marl.experiments.ray_session import RayOptions, ray_session
try:
    with ray_session(RayOptions({address!r}), 1):
        import ray
        print(int(ray.cluster_resources()["CPU"]))
except UserError as error:
    print(error)
"""


def environment(token=None, **changes):
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {"RAY_AUTH_MODE": "disabled"}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **auth, **changes}


@contextmanager
def head_node(token=None, cpus=CPUS):
    """The address and the folder of a cluster with a port of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Paths of sockets have at most 107 bytes: pytest's folders can be too long for Ray's names below them.
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    ray = Path(sys.executable).with_name("ray")
    words = ["start", "--head", "--block", f"--port={port}", f"--num-cpus={cpus}", f"--temp-dir={folder}"]
    words += ["--include-dashboard=false", "--disable-usage-stats", "--node-ip-address=127.0.0.1"]
    log = folder / "head.log"
    with log.open("w") as out:
        head = subprocess.Popen(
            [str(ray), *words], env=environment(token), stdout=out, stderr=out, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 120
        while "--block" not in log.read_text() and head.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        assert head.poll() is None, log.read_text()
        yield f"127.0.0.1:{port}", folder
    finally:
        os.killpg(head.pid, signal.SIGTERM)  # only what was started here
        try:
            head.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster():
    """The address of a cluster with tokens."""
    with head_node(TOKEN) as (address, _):
        yield address


def said(address, env):
    code = textwrap.dedent(SESSION.format(address=address))
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=1200)
    assert done.stdout, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_without_an_address_ray_is_ones_own_whatever_runs(cluster):
    assert said(None, environment(RAY_ADDRESS=cluster)) == "1"


def test_an_address_joins_a_cluster_with_the_cpus_that_it_has(cluster):
    assert said(cluster, environment(TOKEN)) == str(CPUS)


def test_the_error_of_a_cluster_with_tokens_says_what_to_set(cluster):
    message = said(cluster, environment("f" * 64, RAY_gcs_rpc_server_connect_timeout_s="2"))
    for words in (cluster, "RAY_AUTH_TOKEN", "RAY_AUTH_MODE=token", "~/.ray/auth_token"):
        assert words in message
