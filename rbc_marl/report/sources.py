"""What a path is that a report is about: a run, trained policies, a sweep, or best responses; read into plain data.

Nothing is trained, nothing is changed, and what is still being written can be read: a last line that is torn, rows that
are missing and a run without an end are notes of the report, not errors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbc_marl.analysis import certificates
from rbc_marl.analysis.best_responses import judge
from rbc_marl.analysis.figures import training
from rbc_marl.analysis.figures.deviations import certificate_rows
from rbc_marl.analysis.groups import Thresholds
from rbc_marl.errors import UserError, first_line
from rbc_marl.experiments.folder import RunFolder
from rbc_marl.experiments.rows import HASH, RowStore
from rbc_marl.policies.saved import INDEX_NAME, find_checkpoint
from rbc_marl.presets import zoo

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]

BEST_RESPONSE = "best_response"
"""Folder of a run that holds its best responses."""
_KINDS = "a run, a sweep, a best response, a checkpoint, or the name of trained policies"


@dataclass(frozen=True)
class BestResponses:
    """What agents gain by deviating."""

    path: Path
    title: str
    rows: Sequence[Row]
    """One per deviation checked (`rbc_marl.analysis.verdicts`)."""
    outcomes: Mapping[str, str]
    """What became of the economy, by checkpoint; empty where a certificate alone says what was found."""
    checkpoints: Sequence[Row] = ()
    """What each checkpoint does, of a report."""
    notes: tuple[str, ...] = ()
    how: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A run, or policies alone."""

    path: Path
    title: str
    seed: int | None
    checkpoint: Path | None
    """Of its newest policies; None where none can be played."""
    progress: pd.DataFrame | None
    """A row per iteration, as in progress.csv; None where there is none."""
    best_responses: BestResponses | None
    notes: tuple[str, ...] = ()
    """What a reader must know, such as that it has not finished."""
    how: Mapping[str, Any] = field(default_factory=dict)
    """How it was made: plain data, or long texts."""


@dataclass(frozen=True)
class Sweep:
    """Many runs side by side."""

    path: Path
    title: str
    rows: Sequence[Row]
    """One per run that has ended, those of the first arm first."""
    deviations: Sequence[Row]
    """A row per deviation that was checked (`rbc_marl.analysis.best_responses.judge`)."""
    total: int
    """How many runs there are in all."""
    thresholds: Thresholds
    varied: tuple[str, ...]
    """Columns that say what was varied."""
    units: Mapping[str, tuple[str, float]]
    """By arm, what its government maximises, in words, and the weight of profit in total welfare."""
    notes: tuple[str, ...] = ()
    how: Mapping[str, Any] = field(default_factory=dict)


Source = Run | Sweep | BestResponses


def read_source(path: str | Path) -> Source:
    """Read what a path holds.

    Args:
        path: A folder, a certificate, or the name of policies that travel with the package.

    Raises:
        UserError: There is nothing to report, or a file in it is damaged.
    """
    path, name = Path(path), str(path)
    if not path.exists() and name in zoo():
        return _policies(zoo()[name], name)
    if not path.exists():
        find_checkpoint(path)  # refuses it, and says what could be meant
    try:
        return _read_file(path) if path.is_file() else _read_folder(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None


def _read_file(path: Path) -> Source:
    if path.name != certificates.FILE_NAME:
        raise UserError(f"{path} is a file; give {_KINDS}")
    return _best_responses(path.parent)


def _read_folder(path: Path) -> Source:
    if (path / "sweep.json").is_file():
        return _sweep(path)
    if (path / "run.json").is_file():
        return _run(path)
    if _has_best_responses(path):
        return _best_responses(path)
    if (path / INDEX_NAME).is_file() or any(path.glob(f"checkpoint_*/{INDEX_NAME}")):
        return _policies(path, path.resolve().name)
    # The folder of an experiment holds its runs and sweeps, named by their time.
    inside = [file.parent for name in ("run.json", "sweep.json") for file in path.glob(f"[!.]*/{name}")]
    if inside:
        return _read_folder(max(inside, key=lambda folder: folder.name))
    if any(path.glob("rows/*.json")):
        raise UserError(f"{path} holds rows, but no sweep.json says whose; give {_KINDS}")
    raise UserError(f"{path} holds nothing to report; give {_KINDS}")


# Runs


def _run(path: Path) -> Run:
    info = RunFolder(path).read_info()
    if not info:
        raise UserError(f"{path / 'run.json'} is damaged; give another run")
    status, notes = info.get("status", "running"), []
    progress, torn = _progress(path)
    checkpoint = find_checkpoint(path) if any(path.glob(f"checkpoint_*/{INDEX_NAME}")) else None
    done = 0 if progress is None or "training_iteration" not in progress else int(progress.training_iteration.max())
    is_plain = checkpoint is None and any(path.glob("checkpoint_*"))
    if checkpoint is None and not is_plain and (status != "running" or not done):
        raise UserError(f"{path} holds no checkpoint, so that there are no policies to report; give a run with one")
    if status != "finished":
        word = "has not finished: it runs, or was killed" if status == "running" else f"is {status}"
        notes.append(f"This run {word}, after {done:,} iterations.")
    if status != "finished" and checkpoint is not None:
        notes.append(f"What its economy does is that of its newest checkpoint, {checkpoint.name}.")
    elif checkpoint is None:
        notes.append("It holds no policies that can be played, so that this page shows its training alone.")
    if torn:
        notes.append("The last line of progress.csv is torn and left out.")
    if info.get("error"):
        notes.append(f"Error: {info['error']}")
    best = path / BEST_RESPONSE
    return Run(
        path,
        f"{info.get('experiment', path.parent.name)}, {path.resolve().name}",
        info.get("seed"),
        checkpoint,
        progress,
        _best_responses(best) if _has_best_responses(best) else None,
        tuple(notes),
        {**_how(info), "settings": _text(path / "config.yaml") or _text(path / "config.py")},
    )


def _policies(path: Path, title: str) -> Run:
    """Policies without the run that trained them."""
    checkpoint = find_checkpoint(path)
    try:
        info = json.loads((checkpoint / INDEX_NAME).read_text(encoding="utf-8")).get("info", {})
    except (ValueError, AttributeError):
        raise UserError(f"{checkpoint / INDEX_NAME} is damaged; give another checkpoint") from None
    best = path / BEST_RESPONSE
    settings = _text(path / "config.yaml") or _text(checkpoint.parent / "config.yaml")
    return Run(
        path,
        title,
        info.get("seed"),
        checkpoint,
        None,
        _best_responses(best) if _has_best_responses(best) else None,
        (),
        {**{str(key): value for key, value in info.items()}, "settings": settings},
    )


def _progress(path: Path) -> tuple[pd.DataFrame | None, bool]:
    """The table of a run; and whether its last line is torn, as of a run that was killed or writes just now."""
    file = path / "progress.csv"
    if not file.is_file() or not (text := file.read_text(encoding="utf-8")):
        return None, False
    head, *lines = text.splitlines()
    is_torn = bool(lines) and (not text.endswith("\n") or lines[-1].count(",") != head.count(","))
    if len(lines) <= is_torn:
        return None, is_torn
    frame = training.read_progress(path)
    return (frame.iloc[:-1] if is_torn else frame), is_torn


# Best responses


def _has_best_responses(path: Path) -> bool:
    return ((path / "report.json").is_file() and (path / "rows.csv").is_file()) or (
        path / certificates.FILE_NAME
    ).is_file()


def _best_responses(path: Path) -> BestResponses:
    title = f"best responses in {path.resolve().parent.name if path.name == BEST_RESPONSE else path.resolve().name}"
    if (path / "report.json").is_file():
        report = _mapping(path / "report.json")
        try:
            outcomes = {str(one["checkpoint"]): str(one["outcome"]) for one in report["checkpoints"]}
            rows = [dict(row) for row in report["rows"]]
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{path / 'report.json'} is damaged; run rbc-marl best-response again") from None
        how = {**_how(report), "settings": report.get("settings")}
        return BestResponses(path, title, rows, outcomes, report["checkpoints"], (), how)
    file, content = certificates.read(path)
    try:
        rows = certificate_rows(content)
    except (KeyError, TypeError) as error:
        raise UserError(f"{file} is damaged: {first_line(error)}") from None
    note = "These numbers are read from a certificate; rbc-marl verify computes them again."
    how = {"certificate": str(file), "sha256": content["sha256"], "versions": content["versions"]}
    return BestResponses(path, title, rows, {}, (), (note,), how)


# Sweeps


def _sweep(path: Path) -> Sweep:
    record = _mapping(path / "sweep.json")
    runs, store = record.get("runs"), RowStore(path)
    if not isinstance(runs, Mapping) or not runs:
        raise UserError(f"{path / 'sweep.json'} names no runs; give another sweep")
    found = [(key, run, store.look(str(key))) for key, run in runs.items()]
    outdated = [key for key, run, row in found if row is not None and row.get(HASH) not in (None, run.get(HASH))]
    if outdated:
        what = f"{store.path(outdated[0])} was made with other settings than sweep.json has"
        raise UserError(f"{what}; a table would compare what is not alike")
    rows: list[Row] = [{**row, "key": key} for key, _, row in found if row is not None]
    responses = {row["key"]: _responses(path, row["key"]) for row in rows}
    has_responses = any(found is not None for found in responses.values())
    deviations = judge(rows, responses) if has_responses else []
    notes = []
    if missing := len(runs) - len(rows):
        words = "has not finished: it runs, was interrupted, or left some pairs of taxes out"
        notes.append(f"This sweep {words}. Runs without a result: {missing} of {len(runs)}.")
    arms = dict.fromkeys(str(row["arm"]) for row in rows)
    units = record.get("units", {})
    return Sweep(
        path,
        f"sweep {record.get('name', path.resolve().name)}",
        rows,
        deviations,
        len(runs),
        Thresholds.parse(record.get("groups"), f"{path / 'sweep.json'}: groups"),
        tuple(record.get("varied", ())),
        {arm: tuple(units.get(arm, ("the welfare of its file", 0.0))) for arm in arms},
        tuple(notes),
        {**_how((record.get("invocations") or [{}])[-1]), "source": record.get("source"), "runs": len(runs)},
    )


def _responses(path: Path, key: str) -> list[Row] | None:
    """Rows of the best responses to a run; None where there are none."""
    file = path / "best_responses" / f"{key}.json"
    return list(_mapping(file).get("rows", [])) if file.is_file() else None


# Files


def _mapping(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged: it holds no mapping")
    return content


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _how(info: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says of how something was made."""
    names = ("command", "seed", "started", "time", "ended", "iterations", "git_commit", "versions", "platform")
    return {name: info[name] for name in names if info.get(name) not in (None, "", [])}
