"""What commands do with something that was found: save it, print it, and say what to run next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rich.console import Console

from rbc_marl.files import replace_file
from rbc_marl.places import local_path, named, push

if TYPE_CHECKING:
    from rich.table import Table

    from rbc_marl.analysis.charts import Chart

TEXTS = (".csv", ".tex", ".json")


class Found(Protocol):
    """What has a text for each of `TEXTS`."""

    def to_csv(self) -> str:
        """For spreadsheets."""
        ...

    def to_tex(self) -> str:
        """For LaTeX."""
        ...

    def to_json(self) -> str:
        """For programs."""
        ...


def output_files(out: Sequence[str] | None, pictures: Sequence[str] = ()) -> list[Path]:
    """Where to save, checked before there is work.

    Args:
        out: What was typed.
        pictures: Endings of pictures, where there are any to draw.

    Raises:
        ConfigError: A file has another ending, or cannot be written.
    """
    from rbc_marl.analysis.frames import check_path

    files = [local_path(file) for file in out or []]
    for file in files:
        check_path(file, (*TEXTS, *pictures))
    return files


def save_and_show(
    found: Found, tables: Callable[[], Sequence[Table]], charts: Callable[[], list[Chart]], files: Sequence[Path],
    as_json: bool, mend: str,
) -> None:  # fmt: skip
    """Save something, and print it.

    Args:
        found: Saved as texts.
        tables: Of it, for a terminal.
        charts: Of it, for pictures.
        files: Of `output_files`.
        as_json: Print that alone.
        mend: What could be run next, where nothing was saved.
    """
    from rbc_marl.analysis.drawing import save

    texts = {".csv": found.to_csv, ".tex": found.to_tex, ".json": found.to_json}
    for file in files:
        if file.suffix in texts:
            replace_file(file, texts[file.suffix]())
        else:
            save(charts(), file)
        push(file)
    if as_json:
        print(found.to_json(), end="")
        return
    console = Console(highlight=False)
    for table in tables():
        console.print(table)
    print(f"saved: {', '.join(map(named, files))}" if files else f"next: {mend}")
