"""A run's folder: what it was (config.yaml, run.json), what it reported (CSV, JSON, TensorBoard) and its checkpoints.

Nothing in it is ever half-written: files are replaced whole, and a checkpoint appears under its name only when it is
complete.
"""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from rbc_marl import places
from rbc_marl.errors import UserError
from rbc_marl.experiments.notes import METRICS, in_order, metrics

CHECKPOINT = "checkpoint_"


class RunFolder:
    """The folder of one run, `<storage>/<experiment>/<run>/`.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._table = path / "progress.csv"
        self._columns: list[str] = []
        self._events: _EventFile | None = None

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
                return cls(path)
            except FileExistsError:
                if not experiment_folder.is_dir():
                    break
            except OSError as error:
                raise UserError(f"{path} cannot be made ({error.strerror}); choose another storage_path") from None
        raise UserError(f"{experiment_folder} is not a folder; choose another storage_path")

    @classmethod
    def all_in(cls, experiment_folder: Path) -> list[Self]:
        """The folders of an experiment's runs, the newest first."""
        return [cls(path.parent) for path in sorted(experiment_folder.glob("*/run.json"), reverse=True)]

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
        places.push(self.path)

    # Checkpoints

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        found = (path for path in self.path.glob(f"{CHECKPOINT}*") if path.name.removeprefix(CHECKPOINT).isdigit())
        return sorted(filter(Path.is_dir, found), key=iteration_of)

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
            try:
                write(temporary)
                temporary.replace(path)
            finally:  # a state that cannot be written leaves nothing behind
                shutil.rmtree(temporary, ignore_errors=True)
        for old in self.checkpoints()[: -keep if keep else 0]:
            doomed = old.with_name(f".{old.name}.tmp")
            old.replace(doomed)
            shutil.rmtree(doomed)
        with suppress(UserError):  # everything is here, and goes there with the next one; or the end of the run fails
            places.push(self.path)
        return path

    # What the run reports

    def log(self, iteration: int, results: Mapping[str, Any]) -> None:
        """Add the flat results of an iteration to progress.csv, result.json and the TensorBoard events.

        All three are in their files when this returns, so that a process that is killed loses nothing of it.
        """
        numbers = {key: value for key, value in results.items() if isinstance(value, int | float)}
        self._append_csv(numbers)
        with (self.path / "result.json").open("a", encoding="utf-8") as file:
            file.write(json.dumps({key: finite(value) for key, value in results.items()}, allow_nan=False) + "\n")
        if self._events is None:
            self._events = _EventFile(self.path, iteration)
        self._events.add_scalars(numbers, iteration)

    def rewind(self, iteration: int) -> dict[str, Any]:
        """Forget what was reported after an iteration, before the run goes on from its checkpoint.

        Returns:
            The results of that iteration; empty where there are none.
        """
        kept = [pair for pair in self._read_results() if pair[1].get("training_iteration", 0) <= iteration]
        replace_file(self.path / "result.json", "".join(f"{line}\n" for line, _ in kept))
        if self._table.exists():
            self._columns, rows = self._read_csv()
            self._write_csv([row for row in rows if float(row.get("training_iteration") or "inf") <= iteration])
        return kept[-1][1] if kept else {}

    def close(self) -> None:
        """Close the TensorBoard events."""
        if self._events is not None:
            self._events.close()

    def _read_results(self) -> Iterator[tuple[str, dict[str, Any]]]:
        file = self.path / "result.json"
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
            with suppress(ValueError):  # the last line of a run that was killed
                yield line, json.loads(line)

    def _append_csv(self, numbers: Mapping[str, float]) -> None:
        if new := [key for key in numbers if key not in self._columns]:  # of evaluations, for one: they come later
            rows = self._read_csv()[1] if self._table.exists() else []
            self._columns = in_order([*self._columns, *new])
            self._write_csv(rows)
            replace_file(self.path / METRICS, metrics(self._columns))
        with self._table.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns).writerow(numbers)

    def _read_csv(self) -> tuple[list[str], list[dict[str, str]]]:
        with self._table.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = [row for row in reader if None not in row.values()]  # drops the last row of a run that was killed
        return list(reader.fieldnames or []), rows

    def _write_csv(self, rows: list[dict[str, str]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        replace_file(self._table, text.getvalue())


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


class _EventFile:
    """TensorBoard events of one part of a run: one event an iteration, which holds all of its numbers.

    tensorboardX's own writer hands every scalar to a thread, through a queue between processes, and waits for the disk
    whenever it flushes: several times the cost of all other reporting.
    """

    def __init__(self, folder: Path, iteration: int) -> None:
        """Begin a file; TensorBoard then hides what older files of the folder hold from this iteration on."""
        from tensorboardX.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped]

        # Files are named for the second in which they begin: the next part of the run must not write over this one's.
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{iteration:06d}"
        self._file = (folder / name).open("wb", buffering=0)  # every record reaches the system at once
        self._append(Event(wall_time=time.time(), file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)
        self._append(Event(wall_time=time.time(), step=iteration, session_log=start))

    def add_scalars(self, numbers: Mapping[str, float], iteration: int) -> None:
        """Add the finite ones of an iteration's numbers."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

        values = [Summary.Value(tag=key, simple_value=x) for key, x in numbers.items() if math.isfinite(x)]
        self._append(Event(wall_time=time.time(), step=iteration, summary=Summary(value=values)))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, event: Any) -> None:  # noqa: ANN401 - protobuf messages have no types
        """Add a record: length, its checksum, the event, its checksum."""
        from tensorboardX.record_writer import masked_crc32c  # type: ignore[import-untyped]

        content = event.SerializeToString()
        length = struct.pack("<Q", len(content))
        checksums = [struct.pack("<I", masked_crc32c(part)) for part in (length, content)]
        self._file.write(length + checksums[0] + content + checksums[1])
