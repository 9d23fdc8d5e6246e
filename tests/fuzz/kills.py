"""What the campaign of kills shares: commands that are killed at drawn moments, and what must be true afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rbc_marl.experiments.lock import folder_lock
from tests.experiments.test_ray_session import environment

# Seconds between two looks at what a command has written, and those after which it hangs.
LOOK, HANGS = 0.01, 900


def standing(folder):
    """All files under a folder, with their sizes."""
    files = set()
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            with contextlib.suppress(FileNotFoundError):
                if entry.is_dir(follow_symlinks=False):
                    files |= {(entry.path, -1)} | standing(entry.path)
                else:
                    files.add((entry.path, entry.stat(follow_symlinks=False).st_size))
    return files


@dataclass
class Life:
    """How long a command lived, in seconds and in changes that were seen of its files."""

    seconds: float = 0.0
    changes: int = 0

    def is_over(self, moment):
        return self.seconds >= moment.seconds or self.changes >= moment.changes


@dataclass
class Campaign:
    """Commands in one folder, killed at moments that a seed draws.

    Attributes:
        folder: Where they work.
        seed: Of the moments.
        whole: The life of a command that nobody killed.
    """

    folder: Path
    seed: int
    whole: Life | None = None

    def __post_init__(self):
        self.draw = random.Random(self.seed)
        # Paths of sockets have at most 107 bytes: pytest's folders can be too long for Ray's names below them.
        self.home = Path(tempfile.mkdtemp(prefix="kill", dir="/tmp"))
        self.log, self.newest = self.home / "said.log", "nothing"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end_strays(self.home)
        shutil.rmtree(self.home, ignore_errors=True)

    def start(self, folder, *words):
        """Start a console command in a group of processes of its own."""
        folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("w") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "rbc_marl", *words],
                cwd=folder,
                env=environment(RAY_TMPDIR=str(self.home), COLUMNS="200"),
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self):
        return self.log.read_text(encoding="utf-8", errors="replace")

    def undisturbed(self, folder, *words):
        """Let a command end by itself, and keep how long that took: moments are drawn from its life."""
        process = self.start(folder, *words)
        self.whole, has_ended = self.watch(process, folder, Life(HANGS, sys.maxsize))
        assert has_ended and process.returncode == 0, self.said()

    def watch(self, process, folder, moment):
        """Wait for a moment in a command's life, or for its end.

        Returns:
            How long it lived until then, and whether it has ended.
        """
        began, before, life, self.newest = time.monotonic(), standing(folder), Life(), "nothing"
        while not life.is_over(moment):
            if process.poll() is not None:
                return life, True
            time.sleep(LOOK)
            now = standing(folder)
            if new := now - before:
                self.newest = os.path.relpath(max(new)[0], folder)
            life = Life(time.monotonic() - began, life.changes + len(new))
            before = now
        return life, False

    def moment(self):
        """A moment of the undisturbed life, by its clock or by its changes, which are many where much is written."""
        share = self.draw.random()
        if self.draw.random() < 0.5:
            return Life(share * self.whole.seconds, sys.maxsize)
        return Life(HANGS, round(share * self.whole.changes))

    def killed(self, folder, *words):
        """Start a command and kill it at a drawn moment, with its whole group.

        Returns:
            Whether it lived until then; a command that ended before it must have ended well.
        """
        process = self.start(folder, *words)
        if not self.lives_until_its_kill(process, folder):
            self.ends_well(process)
            return False
        self.kill(process)
        return True

    def lives_until_its_kill(self, process, folder):
        """Whether a command lives until a drawn moment; this returns then, or at its end."""
        life, has_ended = self.watch(process, folder, self.moment())
        what = "has ended" if has_ended else "kill"
        # For whoever reads the output of a campaign.
        print(f"{what} after {life.seconds:.1f} s, {life.changes} changes, the last of {self.newest}", flush=True)
        return not has_ended

    def kill(self, process):
        """Kill a command with its whole group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def ends_well(self, process):
        assert process.wait(HANGS) == 0, self.said()

    def until_its_end(self, folder, *words):
        """Let a command end by itself; whatever came before, it must end well."""
        self.ends_well(self.start(folder, *words))


def end_strays(home):
    """End the processes that Ray has left of killed commands: those alone that were told of this folder."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"RAY_TMPDIR={home}".encode() in path.read_bytes().split(b"\0"):
                os.kill(int(path.parent.name), signal.SIGKILL)


def assert_nothing_is_left_over(folder):
    """No half-written file stands under a folder, and nobody is refused it. The folders of Tune are Ray's."""
    own = [path for path in folder.rglob("*") if not any(part.startswith("tune-") for part in path.parts)]
    assert not [path for path in own if path.name.endswith(".tmp")]
    for lock in (path for path in own if path.name == ".lock"):
        with folder_lock(lock.parent):
            pass


def without(content, *names):
    """Plain data without the entries of some names, wherever they stand."""
    if isinstance(content, dict):
        return {name: without(value, *names) for name, value in content.items() if name not in names}
    return [without(value, *names) for value in content] if isinstance(content, list) else content


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def contents(folder, pattern="*"):
    """The bytes of the files below a folder, by their paths there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob(pattern) if path.is_file()}
