"""Writing a report: what is read, what is said of it, and the files that come of it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rbc_marl.analysis.described import describe_all
from rbc_marl.analysis.drawing import save
from rbc_marl.analysis.rollouts import Episodes
from rbc_marl.analysis.studies import FIRST
from rbc_marl.analysis.tables import columns_of, csv_text, tex_table
from rbc_marl.errors import UserError
from rbc_marl.experiments.logs import finite
from rbc_marl.files import replace_file
from rbc_marl.provenance import git_commit, shown, versions
from rbc_marl.report.page import cell_words, charts_of, page
from rbc_marl.report.sections import Part, Table, comparison_of, part_of
from rbc_marl.report.sources import read_source

PAGE = "report.html"
FOLDER = "report"
"""Folder of a report, inside of what it is about."""
ELSEWHERE = Path("results", "reports")
"""Where reports go that are about several things, or about what has no folder of its own."""
_RECORD = ".report.json"
# Where figures are drawn, before any file of an earlier report is replaced.
_DRAWN = ".figures.tmp"
_FIRST = ("source", "quantity", "mean", "standard_error", "unit", *FIRST)


@dataclass(frozen=True)
class Written:
    """A report that was written."""

    folder: Path
    files: tuple[str, ...]
    """Their names, relative to the folder."""
    verdict: tuple[str, ...]
    """What the page says first, of the first of its sources."""

    @property
    def page(self) -> Path:
        """The page."""
        return self.folder / PAGE


def write_report(
    paths: Sequence[str | Path],
    out: str | Path | None = None,
    *,
    force: bool = False,
    trust: bool = False,
    command: Sequence[str] = (),
    played: Episodes | None = None,
) -> Written:
    """Write a report: a page, ``figures/``, and the numbers as CSV, TeX and JSON.

    Args:
        paths: Folders of runs, sweeps, best responses or checkpoints, certificates, or names of trained policies.
        out: Folder to write into; None: ``report`` inside of the only path, or ``results/reports/<names>``.
        force: Whether files that no report wrote, or that were changed since, may be written over.
        trust: Whether code that is not installed may run, of network classes that policies name.
        command: What was typed, for the record.
        played: Episodes of the newest policies of the only path, if they were played already
            (`rbc_marl.report.sections.played_for_report`).

    Returns:
        What was written.

    Raises:
        UserError: There is nothing to report, something is damaged, or the folder holds other files or cannot be
            written.
        MissingExtraError: A library for figures or tables is not installed.
    """
    if not paths:
        raise UserError("there is nothing to report; name a run, a sweep, a best response or trained policies")
    sources = [read_source(path) for path in paths]
    folder = Path(out) if out is not None else _folder(paths)
    before = _check(folder, force)
    parts = [part_of(source, trust=trust, played=played if len(sources) == 1 else None) for source in sources]
    if len(parts) > 1:
        parts = [part for part in (comparison_of(parts), *parts) if part is not None]
    title = parts[0].title if len(sources) == 1 else " and ".join(source.title for source in sources)
    how = _provenance(paths, command)
    texts = _numbers(title, parts, how)
    html = page(f"Report: {title}", parts, texts, how)
    try:
        _make(folder)
        written = _write(folder, {PAGE: html, **texts}, parts, before)
    except OSError as error:
        raise UserError(f"{folder} cannot be written to ({error.strerror}); choose another with --out") from None
    return Written(folder, tuple(written), parts[0].verdict)


def _folder(paths: Sequence[str | Path]) -> Path:
    """Where a report goes that nobody said a place for."""
    first = Path(paths[0])
    if len(paths) == 1 and first.is_dir():
        return first / FOLDER
    if len(paths) == 1 and first.is_file():
        return first.parent / FOLDER
    names = [re.sub(r"[^\w.-]+", "_", Path(path).name).strip(".") or "report" for path in paths]
    return ELSEWHERE / "+".join(names)[:100]


def _check(folder: Path, force: bool) -> dict[str, list[str]]:
    """Refuse a folder with files that no report wrote, or that were changed since.

    Returns:
        What an earlier report wrote there: hashes by name. One that was killed may have come to some of its files.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; choose another folder with --out")
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        inside = {name: was for name, was in record.items() if _is_inside(name)}
        before = {name: [was] if isinstance(was, str) else list(was) for name, was in inside.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        before = {}
    if force or not folder.exists():
        return before
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or name == _RECORD or _is_leftover(Path(name), before):
            continue
        if _hash(path.read_bytes()) not in before.get(name, ()):
            why = "was changed since a report wrote it" if name in before else "was not written by a report"
            raise UserError(f"{path} {why}; choose another folder with --out, or --force to write over it")
    return before


def _is_inside(name: str) -> bool:
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts


def _is_leftover(name: Path, before: Mapping[str, object]) -> bool:
    """Whether a report that was killed left a file half-written; the next one writes it anew."""
    whole = name.with_name(name.name.removeprefix(".").removesuffix(".tmp")).as_posix()
    return name.parts[0] == _DRAWN or (name.suffix == ".tmp" and whole in (_RECORD, *before))


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "figures").mkdir(exist_ok=True)


def _write(
    folder: Path, texts: Mapping[str, str], parts: Sequence[Part], before: Mapping[str, Sequence[str]]
) -> list[str]:
    """Write all files, the page last, for it says that all is there; and remove those of an earlier report.

    What is about to be written is noted first: where a report is killed the next one knows its files.

    Returns:
        Their names.
    """
    contents = _figures(folder, parts)
    contents |= {name: texts[name].encode() for name in sorted(texts, key=PAGE.__eq__)}
    now = {name: _hash(content) for name, content in contents.items()}
    known = {name: [*before.get(name, ()), *([now[name]] if name in now else [])] for name in {**before, **now}}
    replace_file(folder / _RECORD, json.dumps(known, indent=1) + "\n")
    for name, content in contents.items():
        replace_file(folder / name, content)
    for name in before.keys() - now.keys():
        (folder / name).unlink(missing_ok=True)
        (folder / name).with_name(f".{Path(name).name}.tmp").unlink(missing_ok=True)
    replace_file(folder / _RECORD, json.dumps(now, indent=1) + "\n")
    return list(now)


def _figures(folder: Path, parts: Sequence[Part]) -> dict[str, bytes]:
    """Draw all figures: their files by name."""
    drawn, figures = folder / _DRAWN, {}
    shutil.rmtree(drawn, ignore_errors=True)
    drawn.mkdir()
    try:
        for number, part in enumerate(parts):
            for chart in charts_of(part):
                prefix = f"{number}-" if len(parts) > 1 else ""
                name = f"{prefix}{re.sub(r'[^a-z0-9]+', '-', chart.name.lower())}.png"
                save([chart], drawn / name)
                figures[f"figures/{name}"] = (drawn / name).read_bytes()
    finally:
        shutil.rmtree(drawn, ignore_errors=True)
    return figures


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _provenance(paths: Sequence[str | Path], command: Sequence[str]) -> dict[str, Any]:
    return {
        "about": [str(path) for path in paths],
        "command": shown(list(command) or sys.argv),
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": versions(),
        "git_commit": git_commit(),
    }


def _numbers(title: str, parts: Sequence[Part], how: Mapping[str, Any]) -> dict[str, str]:
    """The numbers of a report as files: all of them as CSV and JSON, and the tables of the page as TeX."""
    of_several = sum(bool(part.numbers) for part in parts) > 1
    rows = [{**({"source": part.title} if of_several else {}), **row} for part in parts for row in part.numbers]
    names = columns_of(rows, _FIRST)
    quantities = dict.fromkeys([*names, *(str(row["quantity"]) for row in rows if "quantity" in row)])
    content = {
        "title": title,
        "parts": [{name: getattr(part, name) for name in ("title", "verdict", "notes", "how")} for part in parts],
        "numbers": rows,
        "quantities": describe_all(quantities),
        "made": how,
    }
    tables = [table for part in parts for section in part.sections for table in section.tables]
    return {
        "numbers.csv": csv_text(rows, names),
        "numbers.tex": "\n".join(map(_tex, tables)),
        "numbers.json": json.dumps(_finite(content), indent=1, allow_nan=False, default=str) + "\n",
    }


def _tex(table: Table) -> str:
    rows = [[cell_words(cell) for cell in row[: table.narrow]] for row in table.rows]
    return tex_table(table.head[: table.narrow], rows, table.caption)


def _finite(value: Any) -> Any:  # noqa: ANN401 - plain data
    """Plain data without infinities and NaN, which JSON does not have."""
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    return [_finite(entry) for entry in value] if isinstance(value, list | tuple) else finite(value)
