"""What a run reports while it trains: progress.csv, result.json and events for TensorBoard.

They are bounded: of a long run every twentieth iteration is kept, and so are those that have a checkpoint or a new
evaluation. `Iterations` has all of them. Going on with a run reads the ends of files alone.
"""

from __future__ import annotations

import csv
import io
import json
import math
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from rbc_marl.experiments.iterations import Iterations
from rbc_marl.experiments.notes import METRICS, in_order, metrics
from rbc_marl.files import flush, replace_file, writing

# Iterations of which each is written; after them one in so many is.
FULL, EVERY = 1000, 20
_ITERATION, _EVALUATION = "training_iteration", "evaluation/"
# Bytes that are read at a time from the end of a file.
_BLOCK = 1 << 16


class RunLogs:
    """The logs in a run's folder.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._table, self._lines = path / "progress.csv", path / "result.json"
        self._whole = Iterations(path)
        self._columns: list[str] = []
        self._events: _EventFile | None = None
        self._left_out: tuple[int, Mapping[str, Any]] | None = None
        self._evaluated: tuple[int, dict[str, Any]] = (-EVERY, {})

    def log(self, iteration: int, results: Mapping[str, Any]) -> None:
        """Add the flat results of an iteration.

        Those that are kept are in their files when this returns: a process that is killed loses nothing of them.

        Raises:
            StorageError: They cannot be written.
        """
        self._left_out = (iteration, results)
        if iteration > FULL:
            self._whole.add(iteration, _numbers(results))
        if self._is_due(iteration, results):
            self.write_last()

    def _is_due(self, iteration: int, results: Mapping[str, Any]) -> bool:
        evaluation = {name: value for name, value in results.items() if name.startswith(_EVALUATION)}
        before, numbers = self._evaluated
        if evaluation and evaluation != numbers and iteration - before >= EVERY:
            self._evaluated = (iteration, evaluation)
            return True
        return iteration <= FULL or iteration % EVERY == 0

    def write_last(self) -> None:
        """Write the newest iteration, if it was left out: a checkpoint of it is saved, or the run ends."""
        if self._left_out is None:
            return
        (iteration, results), self._left_out = self._left_out, None
        numbers = _numbers(results)
        with writing(self.path):
            self._append_csv(numbers)
            with self._lines.open("a", encoding="utf-8") as file:
                file.write(json.dumps({key: finite(value) for key, value in results.items()}, allow_nan=False) + "\n")
            if self._events is None:
                self._events = _EventFile(self.path, iteration)
            self._events.add_scalars(numbers, iteration)

    def flush(self) -> None:
        """Write the newest iteration, and wait until everything is on the disk."""
        self.write_last()
        self._whole.write()
        with writing(self.path):
            for path in (self._table, self._lines):
                if path.exists():
                    flush(path)

    def rewind(self, iteration: int) -> dict[str, Any]:
        """Forget what was reported after an iteration, before the run goes on from its checkpoint.

        Returns:
            The results of that iteration; empty where there are none.

        Raises:
            StorageError: The files cannot be written.
        """

        def is_kept(line: bytes) -> bool:
            result = _mapping(line)
            return result is not None and result.get(_ITERATION, 0) <= iteration

        self._left_out = None
        self._whole.rewind(iteration)
        with writing(self.path):
            last = _cut(self._lines, is_kept)
            self._rewind_table(iteration)
        return (_mapping(last) or {}) if last else {}

    def last_results(self) -> dict[str, Any]:
        """The results of the last iteration that was written whole; empty where there are none."""
        if self._lines.is_file():
            with self._lines.open("rb") as file:
                for _, line in _backwards(file):
                    if line.endswith(b"\n") and (result := _mapping(line)) is not None:
                        return result
        return {}

    def close(self) -> None:
        """Write the newest iteration, if it was left out, and close the TensorBoard events."""
        try:
            self.write_last()
            self._whole.write()
        finally:
            if self._events is not None:
                self._events.close()

    def _rewind_table(self, iteration: int) -> None:
        if not self._table.is_file():
            return
        with self._table.open("rb") as file:
            head = file.readline()
        self._columns = _fields(head)
        if _ITERATION not in self._columns or not head.endswith(b"\n"):  # cut short in its first line: made anew
            self._columns = []
            self._table.unlink()
            return
        place = self._columns.index(_ITERATION)

        def is_kept(line: bytes) -> bool:
            fields = _fields(line)
            if line == head or len(fields) != len(self._columns):
                return line == head
            return float(fields[place] or "inf") <= iteration

        _cut(self._table, is_kept)

    def _append_csv(self, numbers: Mapping[str, float]) -> None:
        if new := [key for key in numbers if key not in self._columns]:  # of evaluations, for one: they come later
            rows = self._read_csv() if self._table.exists() else []
            self._columns = in_order([*self._columns, *new])
            self._write_csv(rows)
            replace_file(self.path / METRICS, metrics(self._columns))
        with self._table.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns).writerow(numbers)

    def _read_csv(self) -> list[dict[str, str]]:
        with self._table.open(newline="", encoding="utf-8") as file:
            # Drops the last row of a run that was killed.
            return [row for row in csv.DictReader(file) if None not in row and None not in row.values()]

    def _write_csv(self, rows: list[dict[str, str]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
        replace_file(self._table, text.getvalue())


def finite(value: Any) -> Any:  # noqa: ANN401 - a number or anything else
    """The value, or None for NaN and infinities, which JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(results: Mapping[str, Any]) -> dict[str, float]:
    return {key: value for key, value in results.items() if isinstance(value, int | float)}


def _mapping(line: bytes) -> dict[str, Any] | None:
    """A line of result.json; None for one that was cut short."""
    try:
        result = json.loads(line)
    except ValueError:
        return None
    return result if isinstance(result, dict) else None


def _fields(line: bytes) -> list[str]:
    return next(csv.reader([line.decode("utf-8", errors="replace")]), [])


def _cut(path: Path, is_kept: Callable[[bytes], bool]) -> bytes | None:
    """Shorten a file of lines to the last whole one that is kept. What stands before it is not read.

    Returns:
        That line; None where there is none, or no file.
    """
    if not path.is_file():
        return None
    last, end = None, 0
    with path.open("r+b") as file:
        for start, line in _backwards(file):
            if line.endswith(b"\n") and is_kept(line):
                last, end = line, start + len(line)
                break
        file.truncate(end)
    flush(path)
    return last


def _backwards(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Lines of a file and where each begins, the last one first."""
    position, rest = file.seek(0, io.SEEK_END), b""
    while position:
        size = min(_BLOCK, position)
        position = file.seek(position - size)
        rest = file.read(size) + rest
        first, *lines = rest.splitlines(keepends=True)
        ends = position + len(rest)
        for line in reversed(lines):
            ends -= len(line)
            yield ends, line
        rest = first
    if rest:
        yield 0, rest


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
