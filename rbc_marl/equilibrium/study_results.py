"""What studies leave in their folders: a record of what runs, tables, a summary and figures."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbc_marl import places
from rbc_marl.analysis.best_responses import judge
from rbc_marl.analysis.drawing import save
from rbc_marl.analysis.figures import sweeps
from rbc_marl.analysis.figures.deviations import best_responses
from rbc_marl.analysis.studies import outcome_report, table_files
from rbc_marl.analysis.tables import training_summary
from rbc_marl.analysis.targets import Targets
from rbc_marl.analysis.taxes import play_anchors, tax_panels, tax_summary, to_dict
from rbc_marl.equilibrium import best_response
from rbc_marl.errors import UserError, require
from rbc_marl.experiments.notes import MACHINE, METRICS, SWEEP, metrics, write_readme
from rbc_marl.experiments.rows import HASH, read_json
from rbc_marl.experiments.sweep import RUNS, checkpoint_of
from rbc_marl.files import remove_leftovers, replace_file

if TYPE_CHECKING:
    from rbc_marl.equilibrium.study import Study

Row = Mapping[str, Any]

# Folders of a sweep that go to its address and come from there on their own.
APART = ("runs", "rows")
SUMMARY = "summary.md"


def fetch(folder: Path) -> None:
    """Bring what a sweep has left at its address, but for its runs: who goes on with one brings it."""
    places.pull(folder, APART)
    places.pull(folder / "rows")


def store(folder: Path) -> None:
    """Bring what a sweep has left to its address, but for runs and rows, which are brought there as they end."""
    tune = [path.name for path in folder.glob("tune-*")] if places.is_remote(folder) else []
    places.push(folder, (*APART, *tune))


def make_folder(folder: Path) -> None:
    """Make the folder of a sweep, and refuse what could not be written at the end.

    Raises:
        MissingExtraError: A library for tables or figures is not installed.
        UserError: The folder cannot be made.
    """
    for library in ("pandas", "pyarrow", "scipy", "matplotlib"):
        require(library, "analysis")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made ({error.strerror}); choose another with --out") from None


def tidy(folder: Path) -> None:
    """Remove what a sweep that was killed had begun to write; only whoever holds the folder's lock may do so."""
    remove_leftovers(folder, *(path for path in folder.glob("*/") if path.name != RUNS))


def begin(
    study: Study, folder: Path, command: Sequence[str] = (), report: Callable[[str], None] = print
) -> None:
    """Note in ``sweep.json`` what is about to run."""
    from rbc_marl.provenance import git_commit, machine, shown, versions

    earlier = read_json(folder / "sweep.json", report) or {}
    now = {
        "command": shown(command),
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": versions(),
        "git_commit": git_commit(),
        "platform": sys.platform,
    }
    _record(study, folder, [*earlier.get("invocations", []), now])
    replace_file(folder / MACHINE, json.dumps(machine(command, study.source), indent=1) + "\n")
    write_readme(folder, f"A sweep of rbc_marl: {study.name}.", SWEEP, command)


def note_runs(study: Study, folder: Path) -> None:
    """Note in ``sweep.json`` the runs of a study that has got more."""
    _record(study, folder, (read_json(folder / "sweep.json") or {}).get("invocations", []))


def _record(study: Study, folder: Path, invocations: Sequence[Mapping[str, Any]]) -> None:
    from rbc_marl.provenance import shown_path

    record = {
        "name": study.name,
        "source": shown_path(study.source),
        # What a report of the rows goes by.
        "groups": study.groups.plain(),
        "varied": list(study.varied),
        "units": {run.arm: run.unit for run in study.runs},
        "invocations": [*invocations],
        "runs": {
            run.key: {
                "base": shown_path(run.spec.source),
                "seed": run.seed,
                "changes": run.changes,
                HASH: run.fingerprint,
            }
            for run in study.runs
        },
    }
    replace_file(folder / "sweep.json", json.dumps(record, indent=1) + "\n")


# Tables, summary and figures


def finish(
    study: Study,
    rows: Sequence[Row],
    folder: Path,
    workers: int = 1,
    report: Callable[[str], None] = print,
    asked: Sequence[str] | None = None,
) -> str:
    """Group the outcomes, search for best responses if asked for, and write tables, summary and figures.

    They are written before best responses are searched for as well: these take long, and can be interrupted. What was
    found before, with the same settings and about the same policies, counts until it is found anew.

    Args:
        study: All that could have run.
        rows: A row per run that did.
        folder: Of the sweep.
        workers: Best responses side by side.
        report: Told what happens.
        asked: Arms whose best responses are searched for; None: all. Others keep what was found before.

    Returns:
        The summary, as Markdown.

    Raises:
        KeyboardInterrupt: The search for best responses was interrupted.
    """
    table, settings = [dict(row) for row in rows], study.best_response
    if settings is None:
        return _write(study, table, folder, [])
    for row in table:
        row["key"] = f"{row['arm']}-{row['seed']}"
    living = {row["key"] for row in table if row["outcome"] == "living"}
    runs = {run.key: run for run in study.runs if run.key in living}
    before = {
        key: best_response.earlier_rows(folder, key, settings, partial(checkpoint_of, run, folder), report)
        for key, run in runs.items()
    }
    _write(study, table, folder, judge(table, before))
    checked = {
        run.key: (checkpoint_of(run, folder), run.rules) for run in runs.values() if asked is None or run.arm in asked
    }
    now = best_response.best_responses_to_runs(checked, settings, folder, workers, report)
    return _write(study, table, folder, judge(table, {**before, **now}))


def _write(study: Study, rows: list[dict[str, Any]], folder: Path, deviations: Sequence[Row]) -> str:
    """Write tables, the summary and figures of rows and of what deviators gain, and return the summary."""
    if any(run.is_evaluated for run in study.runs):
        units = {run.arm: run.unit for run in study.runs}
        parts, files = outcome_report(rows, deviations, study.groups, study.varied, units)
    else:
        parts, files = [training_summary(rows, study.varied)], table_files(rows, "table")
    if study.taxes is not None:
        economy, coarse = study.runs[0].economy, study.coarse_seeds()
        anchors = play_anchors(economy) if economy is not None else []
        files["taxes.json"] = json.dumps(to_dict(rows, anchors, coarse), indent=1) + "\n"
        parts = ["Learned taxes against fixed ones:", tax_summary(rows, anchors, coarse), *parts]
    targets = study.runs[0].measure
    if isinstance(targets, Targets):
        parts = ["Nearest to the targets:", targets.summary(rows), *parts]
    if study.search is not None:
        parts = [f"Best draws by {study.search.metric}:", study.search.summary(rows), *parts]
    text = "\n\n".join(parts)
    columns = dict.fromkeys(name for row in rows for name in row)
    for name, content in {**files, METRICS: metrics(columns)}.items():
        replace_file(folder / name, content)
    for name in {"deviations.csv", "deviations.parquet"} - files.keys():  # a table of earlier ones would say otherwise
        (folder / name).unlink(missing_ok=True)
    _draw(study, rows, deviations, folder)
    replace_file(folder / SUMMARY, text + "\n")  # last, for it says that all is there
    return text


def _draw(study: Study, rows: Sequence[Row], deviations: Sequence[Row], folder: Path) -> None:
    """Draw what there is to see of rows and of what deviators gain; no picture where there is nothing."""
    pictures = {"spectrum": sweeps.spectrum(rows, study.varied), "market": sweeps.market(rows)}
    if len({row["arm"] for row in rows}) > 1:
        pictures["comparison"] = sweeps.comparison(rows)
    if study.taxes is not None:
        pictures["taxes"] = sweeps.tax_bars(tax_panels(rows))
        pictures["tax_map"] = [*sweeps.tax_map(rows), *sweeps.laffer(rows)]
    if deviations:
        pictures["deviations"] = best_responses(deviations)
    columns = {"taxes": 2, "tax_map": 2, "deviations": 1}
    for name, charts in pictures.items():
        if charts:
            save(charts, folder / f"{name}.png", columns.get(name, 3))
