"""What the thinned logs of a long run leave out: every later iteration, in Parquet files of a thousand each.

``pandas.read_parquet("iterations")`` reads them all. The newest file is written whole again with each checkpoint, and
not in between: what a killed process had not written, the resumed run plays again.
"""

from __future__ import annotations

import io
import math
from array import array
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rbc_marl.experiments.notes import in_order
from rbc_marl.files import remove_leftovers, replace_file, set_aside, writing

FOLDER = "iterations"
# Iterations of a file: it is kept in memory and written whole, so that it must not be long.
PART = 1000
_ITERATION = "training_iteration"


class Iterations:
    """The Parquet files in a run's folder.

    Args:
        run: The folder of the run.
    """

    def __init__(self, run: Path) -> None:
        self._folder = run / FOLDER
        self._columns: dict[str, array[float]] = {}
        self._is_written = True

    def add(self, iteration: int, numbers: Mapping[str, float]) -> None:
        """Add the numbers of an iteration; what fills a file is written.

        Raises:
            StorageError: They cannot be written.
        """
        rows = len(self._columns.get(_ITERATION, ()))
        for name in numbers:
            if name not in self._columns:
                self._columns[name] = array("d", [math.nan]) * rows
        for name, column in self._columns.items():
            column.append(numbers.get(name, math.nan))
        self._is_written = False
        if iteration % PART == 0:
            self.write()
            self._columns = {}

    def write(self) -> None:
        """Write what there is of the newest file.

        Raises:
            StorageError: It cannot be written.
        """
        if self._is_written:
            return
        import pyarrow
        from pyarrow import parquet

        columns = {name: np.array(self._columns[name]) for name in in_order(self._columns)}
        content = io.BytesIO()
        how = {"compression": "zstd", "use_dictionary": False, "use_byte_stream_split": True}  # half the size
        parquet.write_table(pyarrow.table(columns), content, **how, write_statistics=False)
        path = self._path(int(self._columns[_ITERATION][-1]))
        with writing(path):
            path.parent.mkdir(exist_ok=True)
        replace_file(path, content.getvalue())
        self._is_written = True

    def rewind(self, iteration: int) -> None:
        """Forget what came after an iteration, before the run goes on from its checkpoint. Older files are not read.

        Raises:
            StorageError: The files cannot be written.
        """
        self._columns, self._is_written = {}, True
        if not self._folder.is_dir():
            return
        remove_leftovers(self._folder)
        newest = self._path(iteration)
        with writing(self._folder):
            for path in self._folder.glob("*.parquet"):
                if path.name > newest.name:
                    path.unlink()
        if iteration % PART and newest.is_file():
            self._read(newest, iteration)

    def _read(self, path: Path, iteration: int) -> None:
        """Take up a file that is not full, up to an iteration."""
        from pyarrow import ArrowException, parquet

        try:
            table = parquet.read_table(path)
            listed = table[_ITERATION].to_numpy()
        except (ArrowException, OSError, KeyError):  # it was damaged since; in its folder nobody could read the others
            set_aside(path.replace(self._folder.with_name(f"{FOLDER}-{path.name}")))
            return
        is_kept = listed <= iteration
        if not is_kept.any():
            path.unlink()
            return
        self._columns = {name: array("d", table[name].to_numpy()[is_kept]) for name in table.column_names}
        if not is_kept.all():
            self._is_written = False
            self.write()

    def _path(self, iteration: int) -> Path:
        """The file that an iteration stands in, named for its first one."""
        return self._folder / f"{(max(iteration, 1) - 1) // PART * PART + 1:09d}.parquet"
