"""A run's folder: what it was (config.yaml, run.json), what it reported (CSV, JSON, TensorBoard) and its checkpoints.

Nothing in it is ever half-written: files are replaced whole, and a checkpoint appears under its name only when it is
complete.
"""

from __future__ import annotations

import csv
import importlib.metadata
import json
import math
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from rbc_marl.errors import UserError

CHECKPOINT = "checkpoint_"
PACKAGES = ("torch", "ray", "numpy", "gymnasium", "pettingzoo", "rbc_marl")


class RunFolder:
    """The folder of one run, `<storage>/<experiment>/<run>/`.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns: list[str] = []
        self._events: Any = None

    @classmethod
    def create(cls, experiment_folder: Path, seed: int | None) -> RunFolder:
        """Make a new folder, named for the time and the seed.

        Raises:
            UserError: The folder cannot be made.
        """
        stem = datetime.now().strftime("%Y-%m-%d_%H-%M-%S") + (f"_seed{seed}" if seed is not None else "")
        for attempt in range(100):  # two runs may start in the same second
            path = experiment_folder / (stem if attempt == 0 else f"{stem}_{attempt + 1}")
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                if not experiment_folder.is_dir():
                    break
            except OSError as error:
                raise UserError(f"{path} cannot be made ({error.strerror}); choose another storage_path") from None
            else:
                return cls(path)
        raise UserError(f"{experiment_folder} is not a folder; choose another storage_path")

    # What the run is

    def read_info(self) -> dict[str, Any]:
        """The contents of run.json; empty where there is none."""
        try:
            info = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return info if isinstance(info, dict) else {}

    def update_info(self, **changes: Any) -> None:  # noqa: ANN401 - plain data of any kind
        """Change entries of run.json."""
        text = json.dumps({**self.read_info(), **changes}, indent=2, allow_nan=False)
        replace_file(self.path / "run.json", text + "\n")

    def is_alive(self) -> bool:
        """Whether the process that runs this folder still exists (on this machine)."""
        info = self.read_info()
        if info.get("status") != "running" or info.get("host") != socket.gethostname():
            return False
        if info.get("pid") == os.getpid():
            return False
        try:
            os.kill(int(info["pid"]), 0)
        except (OSError, KeyError, ValueError):
            return False
        return True

    # Checkpoints

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        found = [path for path in self.path.glob(f"{CHECKPOINT}*") if path.is_dir()]
        return sorted((path for path in found if path.name.removeprefix(CHECKPOINT).isdigit()), key=iteration_of)

    def save_checkpoint(self, iteration: int, write: Callable[[Path], object], keep: int | None) -> Path:
        """Write a checkpoint under a temporary name, give it its own, and remove those too many.

        Args:
            iteration: Iterations done; a checkpoint of them that exists already stays as it is.
            write: Fills the folder it is given.
            keep: How many of the newest to keep; None: all.
        """
        path = self.path / f"{CHECKPOINT}{iteration:06d}"
        if not path.is_dir():
            temporary = self.path / f".{path.name}.tmp"
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            write(temporary)
            temporary.replace(path)
        for old in self.checkpoints()[: -keep if keep else 0]:
            doomed = old.with_name(f".{old.name}.tmp")
            old.replace(doomed)
            shutil.rmtree(doomed)
        return path

    # What the run reports

    def log(self, iteration: int, results: Mapping[str, Any]) -> None:
        """Add the flat results of an iteration to progress.csv, result.json and the TensorBoard events."""
        numbers = {key: value for key, value in results.items() if isinstance(value, int | float)}
        self._append_csv(numbers)
        with (self.path / "result.json").open("a", encoding="utf-8") as file:
            file.write(json.dumps({key: finite(value) for key, value in results.items()}, allow_nan=False) + "\n")
        if self._events is None:
            self._events = _open_events(self.path, iteration)
        for key, value in numbers.items():
            if math.isfinite(value):
                self._events.add_scalar(key, value, iteration)
        self._events.flush()

    def rewind(self, iteration: int) -> dict[str, Any]:
        """Forget what was reported after an iteration, before the run goes on from its checkpoint.

        Returns:
            The results of that iteration; empty where there are none.
        """
        last: dict[str, Any] = {}
        lines = []
        for line, results in self._read_results():
            if results.get("training_iteration", 0) <= iteration:
                lines.append(line)
                last = results
        replace_file(self.path / "result.json", "".join(f"{line}\n" for line in lines))
        table = self.path / "progress.csv"
        if table.exists():
            columns, rows = _read_csv(table)
            self._columns = columns
            self._write_csv([row for row in rows if float(row.get("training_iteration") or "inf") <= iteration])
        return last

    def close(self) -> None:
        """Close the TensorBoard events."""
        if self._events is not None:
            self._events.close()
            self._events = None

    def _read_results(self) -> Iterator[tuple[str, dict[str, Any]]]:
        file = self.path / "result.json"
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
            try:
                yield line, json.loads(line)
            except ValueError:  # the last line of a run that was killed
                continue

    def _append_csv(self, numbers: Mapping[str, float]) -> None:
        table = self.path / "progress.csv"
        new = [key for key in numbers if key not in self._columns]
        if new:  # evaluation results, for one, come later than the first row
            rows = _read_csv(table)[1] if table.exists() else []
            self._columns = [*self._columns, *new]
            self._write_csv(rows)
        with table.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns).writerow(numbers)

    def _write_csv(self, rows: list[dict[str, str]]) -> None:
        temporary = self.path / ".progress.csv.tmp"
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        temporary.replace(self.path / "progress.csv")


def iteration_of(checkpoint: Path) -> int:
    """Iterations that a checkpoint's name says it holds."""
    return int(checkpoint.name.removeprefix(CHECKPOINT))


def replace_file(path: Path, content: str | bytes) -> None:
    """Write a file whole: a reader sees the old content or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    temporary.replace(path)


def finite(value: Any) -> Any:  # noqa: ANN401 - a number or anything else
    """The value, or None for NaN and infinities, which JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def versions() -> dict[str, str]:
    """Versions of what decides a run: Python and the packages that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # a source tree that is not installed
            if package == "rbc_marl":
                from rbc_marl import __version__

                found[package] = __version__
    return found


def git_commit() -> str | None:
    """The commit of the current folder, with "+changes" where files differ from it; None outside a repository."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    return f"{commit}+changes" if commit and git("status", "--porcelain", "--untracked-files=no") else commit


def _open_events(path: Path, iteration: int) -> Any:  # noqa: ANN401 - tensorboardX has no types
    """A writer of TensorBoard events; what older files of the folder hold from this iteration on is purged."""
    from tensorboardX import SummaryWriter  # type: ignore[import-untyped]

    # Files are named for the second in which they begin: the next part of the run must not write over this one's.
    return SummaryWriter(str(path), purge_step=iteration, flush_secs=60, filename_suffix=f".{iteration:06d}")


def _read_csv(table: Path) -> tuple[list[str], list[dict[str, str]]]:
    with table.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if None not in row.values()]  # drops the last row of a run that was killed
    return list(reader.fieldnames or []), rows
