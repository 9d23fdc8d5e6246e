"""What ends a run in order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rbc_marl.experiments.signals import ending_signals, leave_terminal

ROOT = Path(__file__).parents[2]
FILE = """
tiny:
  run: EconomyPPO
  env: rbc_open
  report: false
  stop: {training_iteration: 100000}
  config:
    env_config: {num_consumers: 3, num_firms: 2, horizon: 3}
    num_envs_per_env_runner: 2
    networks: {consumer: {kind: flat, hidden: [8]}}
"""


def test_a_signal_that_a_run_was_told_to_ignore_ends_nothing():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert ending_signals() == [signal.SIGINT, signal.SIGTERM]
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        assert ending_signals() == [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_is_printed_to_a_terminal_that_is_gone_goes_nowhere(tmp_path):
    stream = os.open(tmp_path / "terminal", os.O_CREAT | os.O_WRONLY)
    leave_terminal([stream])
    os.write(stream, b"lost")
    os.close(stream)
    assert (tmp_path / "terminal").read_bytes() == b""


@pytest.mark.long
def test_a_run_whose_terminal_is_closed_saves_a_checkpoint(tmp_path):
    import pty

    (tmp_path / "tiny.yaml").write_text(FILE, encoding="utf-8")
    master, slave = pty.openpty()
    code = "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); from rbc_marl.cli import main; main()"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", code, "train", "tiny.yaml"]
    process = subprocess.Popen(
        words, cwd=tmp_path, env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    shown = b""
    while not list(tmp_path.glob("results/tiny/*/result.json")):
        shown += os.read(master, 4096)  # ends with an error where the process does
    os.close(master)
    assert process.wait(300) == 128 + signal.SIGHUP, shown
    (run,) = (tmp_path / "results" / "tiny").iterdir()
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["status"] == "interrupted"
    assert len(list(run.glob("checkpoint_*"))) == 1
