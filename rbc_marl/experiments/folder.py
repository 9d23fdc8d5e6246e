"""A run's folder: what it was (config.yaml, run.json), what it reported (CSV, JSON, TensorBoard) and its checkpoints.

Nothing in it is ever half-written: files are replaced whole, and a checkpoint appears under its name only when it is
complete and on the disk.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from rbc_marl import places
from rbc_marl.errors import StorageError, UserError
from rbc_marl.experiments.logs import RunLogs
from rbc_marl.files import put, remove_leftovers, replace_file, set_aside, writing
from rbc_marl.signatures import FILE_NAME as SIGNATURE
from rbc_marl.signatures import sign, torn

CHECKPOINT = "checkpoint_"


class RunFolder:
    """The folder of one run, `<storage>/<experiment>/<run>/`.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._logs = RunLogs(path)

    @classmethod
    def create(cls, experiment_folder: Path, seed: int | None, fill: Callable[[Path], object]) -> RunFolder:
        """Make a new folder, named for the time and the seed. It is there with all that it begins with, or not at all.

        Args:
            experiment_folder: Where; made if there is none.
            seed: Of the run.
            fill: Writes what it begins with into the folder that it is given, ``run.json`` among it.

        Raises:
            UserError: The folder cannot be made.
        """
        stem = datetime.now().strftime("%Y-%m-%d_%H-%M-%S") + (f"_seed{seed}" if seed is not None else "")
        cls.remove_unbegun(experiment_folder)
        for attempt in range(100):  # two runs may start in the same second
            path = experiment_folder / (stem if attempt == 0 else f"{stem}_{attempt + 1}")
            temporary = path.with_name(f".{path.name}.tmp")
            try:
                experiment_folder.mkdir(parents=True, exist_ok=True)
                temporary.mkdir()
                if path.exists():
                    temporary.rmdir()
                    continue
                fill(temporary)
                put(temporary, path)
                return cls(path)
            except FileExistsError:
                if not experiment_folder.is_dir():
                    break
            except (OSError, StorageError) as error:
                cause = error.__cause__ if isinstance(error, StorageError) else error
                if isinstance(cause, FileNotFoundError) and experiment_folder.is_dir():
                    continue  # a process that began at the same time took it for what a killed one left
                shutil.rmtree(temporary, ignore_errors=True)
                if isinstance(error, StorageError):
                    raise
                raise UserError(f"{path} cannot be made ({error.strerror}); choose another storage_path") from None
        raise UserError(f"{experiment_folder} is not a folder; choose another storage_path")

    @classmethod
    def remove_unbegun(cls, experiment_folder: Path) -> None:
        """Remove what was left of runs that were killed while their folders were made."""
        for path in experiment_folder.glob(".????-??-??_*.tmp"):
            with suppress(OSError):  # renamed first: whoever is still making it notices
                shutil.rmtree(path.replace(path.with_name(f".0000-00-00_{uuid.uuid4().hex}.tmp")))

    @classmethod
    def all_in(cls, experiment_folder: Path) -> list[Self]:
        """The folders of an experiment's runs, the newest first."""
        return [cls(path.parent) for path in sorted(experiment_folder.glob("[!.]*/run.json"), reverse=True)]

    # What the run is

    def read_info(self) -> dict[str, Any]:
        """The contents of run.json; empty where there is none."""
        try:
            info = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return info if isinstance(info, dict) else {}

    def update_info(self, **changes: Any) -> None:  # noqa: ANN401 - plain data of any kind
        """Change entries of run.json.

        Raises:
            StorageError: It cannot be written.
        """
        text = json.dumps({**self.read_info(), **changes}, indent=2, allow_nan=False) + "\n"
        try:
            replace_file(self.path / "run.json", text)
        except StorageError:  # on a disk that is full there is still the room that the file has
            with writing(self.path / "run.json"), (self.path / "run.json").open("r+", encoding="utf-8") as file:
                file.write(text)
                file.truncate()
        places.push(self.path)

    # Checkpoints

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        found = (path for path in self.path.glob(f"{CHECKPOINT}*") if path.name.removeprefix(CHECKPOINT).isdigit())
        return sorted(filter(Path.is_dir, found), key=iteration_of)

    def tidy(self, report: Callable[[str], object] = print) -> None:
        """Make the folder fit to go on with: remove what was half-written, and set aside checkpoints that are torn.

        Only whoever holds the folder's lock may do so.

        Args:
            report: Told, in a line, of the newest checkpoint if it is torn, and of the next one, down to a whole one.
        """
        remove_leftovers(self.path)
        for path in reversed(self.checkpoints()):
            problem = torn(path)
            if not problem:
                break
            aside = set_aside(path)
            before = next(reversed(self.checkpoints()), None)
            after = f"the one before is {before.name}" if before else "there is none before"
            report(f"{path} is torn ({problem}); it is set aside as {aside.name}, and {after}")

    def save_checkpoint(self, iteration: int, write: Callable[[Path], object], keep: int | None) -> Path:
        """Write a checkpoint under a temporary name, give it its own, and remove those too many.

        It is signed, and on the disk with all that was reported before, when it gets its name.

        Args:
            iteration: Iterations done; a checkpoint of them that exists already stays as it is.
            write: Fills the folder it is given.
            keep: How many of the newest to keep; None: all.

        Raises:
            StorageError: It cannot be written; those before it are still there.
        """
        path = self.path / f"{CHECKPOINT}{iteration:06d}"
        self._logs.flush()
        with writing(path):
            if not path.is_dir():
                temporary = self.path / f".{path.name}.tmp"
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir()
                try:
                    write(temporary)
                    if not (temporary / SIGNATURE).is_file():
                        sign(temporary)
                    put(temporary, path)
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
        """Add the flat results of an iteration to progress.csv, result.json and the TensorBoard events (`RunLogs`)."""
        self._logs.log(iteration, results)

    def rewind(self, iteration: int) -> dict[str, Any]:
        """Forget what was reported after an iteration, before the run goes on from its checkpoint.

        Returns:
            The results of that iteration; empty where there are none.
        """
        return self._logs.rewind(iteration)

    def last_results(self) -> dict[str, Any]:
        """The results of the last iteration that was reported; empty where there are none."""
        return self._logs.last_results()

    def close(self) -> None:
        """Close the logs."""
        self._logs.close()


def iteration_of(checkpoint: Path) -> int:
    """Iterations that a checkpoint's name says it holds."""
    return int(checkpoint.name.removeprefix(CHECKPOINT))


