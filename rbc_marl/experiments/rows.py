"""Rows: the results of finished pieces of work, one JSON file each, by which interrupted work goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rbc_marl import places
from rbc_marl.errors import UserError
from rbc_marl.files import replace_file, set_aside

# The column with the hash of all settings that determine a row.
HASH = "fingerprint"


class RowStore:
    """The rows under ``folder/rows``. Each is written whole or not at all, so that every row belongs to finished work.

    Args:
        folder: Of a sweep, or of best responses.
        report: Told of a row that cannot be read.
    """

    def __init__(self, folder: Path, report: Callable[[str], object] = print) -> None:
        self.folder, self.report = folder, report

    def path(self, key: str) -> Path:
        """The file of a row."""
        return self.folder / "rows" / f"{key}.json"

    def read(self, key: str, settings_hash: str | None = None) -> dict[str, Any] | None:
        """A row, or None if the work has still to be done.

        Args:
            key: Name of the row.
            settings_hash: Hash of the settings that the row must have been made with; None: the key says it all.

        Raises:
            UserError: The row was made with other settings: a table would compare what is not alike.
        """
        row = read_json(self.path(key), self.report)
        if row is not None and settings_hash is not None and row.get(HASH, settings_hash) != settings_hash:
            raise UserError(
                f"{self.path(key)} was made with other settings than {key} has now; "
                f"give another folder with --out, or remove {self.folder}"
            )
        return row

    def look(self, key: str) -> dict[str, Any] | None:
        """A row, or None if the work has still to be done; a torn one stays where it is.

        Raises:
            UserError: It is torn.
        """
        try:
            value = json.loads(self.path(key).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            value, problem = None, str(error)
        else:
            problem = f"it holds a {type(value).__name__}, not a mapping"
        if not isinstance(value, dict):
            raise UserError(f"{self.path(key)} is torn ({problem}); run what made it again, which makes it anew")
        return value

    def write(self, key: str, row: Mapping[str, Any]) -> None:
        """Keep a row."""
        self.path(key).parent.mkdir(parents=True, exist_ok=True)
        replace_file(self.path(key), json.dumps(row, allow_nan=False))
        places.push(self.path(key))


def read_json(path: Path, report: Callable[[str], object] = print) -> dict[str, Any] | None:
    """A mapping from a JSON file; None if there is no file, or a torn one, which is set aside as ``<name>.torn``.

    Args:
        path: The file.
        report: Told, in a line, of a file that is torn.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(value, dict):
            return value
        problem = f"it holds a {type(value).__name__}, not a mapping"
    except FileNotFoundError:
        return None
    except ValueError as error:
        problem = str(error)
    torn = set_aside(path)
    report(f"{path} is torn ({problem}); it is set aside as {torn.name} and made again")
    return None
