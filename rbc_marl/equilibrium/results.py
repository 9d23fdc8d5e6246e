"""What a sweep leaves: tables of runs and of equilibria, a summary, figures, and what repeats it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from rbc_marl.analysis.tables import composition_summary, csv_text, markdown_table, summary
from rbc_marl.equilibrium import verdicts
from rbc_marl.equilibrium.figures_of_sweeps import spectrum, tax_bars
from rbc_marl.equilibrium.gains import deviation_rows, gain_summary
from rbc_marl.equilibrium.grouping import equilibria, group
from rbc_marl.equilibrium.sweep_file import Sweep
from rbc_marl.equilibrium.sweep_run import checkpoint_of
from rbc_marl.equilibrium.tax_tables import tax_summary, to_dict
from rbc_marl.equilibrium.taxes import play_anchors
from rbc_marl.errors import UserError, require

Row = Mapping[str, Any]

# Columns that come first in a table; the others follow as they are.
FIRST = ("arm", "seed", "outcome", "group", "hours", "welfare_total", "welfare_consumers")
# Columns that are no results.
HIDDEN = ("fingerprint", "key", "scheduler")


def begin(sweep: Sweep, folder: Path, command: Sequence[str] = ()) -> None:
    """Note what is about to run, and refuse what could not be written at the end.

    Raises:
        MissingExtraError: A library for tables or figures is not installed.
        UserError: The folder cannot be made.
    """
    from rbc_marl.rllib.run_folder import git_commit, replace_file, versions

    for library in ("pandas", "pyarrow", "scipy", "matplotlib"):
        require(library, "analysis")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made ({error.strerror}); choose another with --out") from None
    path = folder / "sweep.json"
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"invocations": []}
    now = {
        "command": list(command),
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": versions(),
        "git_commit": git_commit(),
        "platform": sys.platform,
    }
    record = {
        "name": sweep.name,
        "source": str(sweep.source),
        "invocations": [*earlier["invocations"], now],
        "runs": {
            run.key: {"base": str(run.base), "seed": run.seed, "sets": run.sets, "fingerprint": run.fingerprint}
            for run in sweep.runs
        },
    }
    replace_file(path, json.dumps(record, indent=1) + "\n")


def finish(
    sweep: Sweep,
    rows: Sequence[Row],
    folder: Path,
    workers: int = 1,
    report: Callable[[str], None] = print,
    arms: Sequence[str] | None = None,
) -> str:
    """Group the outcomes, check them where the file asks for it, and write tables, summary and figures.

    They are written before best responses are searched for as well: these take long, and can be interrupted. What was
    found before, with the same settings and about the same policies, counts until it is found anew.

    Args:
        sweep: All that could have run.
        rows: A row per run that did.
        folder: Of the sweep.
        workers: Best responses side by side.
        report: Told what happens.
        arms: Those whose best responses are searched for; None: all. Others keep what was found before.

    Returns:
        The summary, as Markdown.

    Raises:
        KeyboardInterrupt: The search for best responses was interrupted.
    """
    found = [dict(row) for row in rows]
    if sweep.best_response is None:
        return _write(sweep, found, folder, [])
    settings = verdicts.parse_settings(sweep.best_response, f"{sweep.name}.best_response")
    for row in found:
        row["key"] = f"{row['arm']}-{row['seed']}"
    living = {row["key"] for row in found if row["outcome"] == "living"}
    runs = {run.key: run for run in sweep.runs if run.key in living}
    before = {
        key: verdicts.found_before(folder, key, settings, partial(checkpoint_of, run, folder), report)
        for key, run in runs.items()
    }
    _write(sweep, found, folder, _judge(found, before))
    asked = [run for run in runs.values() if arms is None or run.arm in arms]
    checked = {run.key: (checkpoint_of(run, folder), run.rules) for run in asked}
    now = verdicts.respond(checked, settings, folder, workers, report)
    return _write(sweep, found, folder, _judge(found, {**before, **now}))


def _write(sweep: Sweep, found: list[dict[str, Any]], folder: Path, deviations: Sequence[Row]) -> str:
    """Write tables, figures and the summary of rows and of what deviators gain, and return the latter."""
    from rbc_marl.rllib.run_folder import replace_file

    for row, name in zip(found, group(found, sweep.groups), strict=True):
        row["group"] = name
    groups = equilibria(found, sweep.varied, {run.arm: (run.objective, run.profit_weight) for run in sweep.runs})
    write_table(found, folder, "table")
    write_table(groups, folder, "equilibria", first=("group",))
    objectives = {run.arm: run.objective for run in sweep.runs}
    parts = [summary(found, objectives), "What total welfare is made of, over the runs that are alive:"]
    parts.append(composition_summary(found))
    if sweep.taxes is not None:
        economy = sweep.runs[0].load(folder).env_config
        anchors = play_anchors(economy) if economy is not None else []
        coarse = sweep.coarse_seeds()
        replace_file(folder / "taxes.json", json.dumps(to_dict(found, anchors, coarse), indent=1) + "\n")
        parts = ["Learned taxes against fixed ones:", tax_summary(found, anchors, coarse), *parts]
        if any(row["policy"] == "learned" for row in found):
            tax_bars(found, folder / "taxes.png")
    if any(row["outcome"] not in ("collapsed", "stopped") for row in found):
        spectrum(found, folder / "spectrum.png")
    if deviations:
        write_table(deviations, folder, "deviations", first=())
        parts += ["What deviators gain, by best responses to each living run:", gain_summary(deviations)]
    else:  # a table of earlier ones would say otherwise
        for name in ("deviations.csv", "deviations.parquet"):
            (folder / name).unlink(missing_ok=True)
    text = "\n\n".join([*parts, "Outcomes that are qualitatively the same:", _groups(groups)])
    replace_file(folder / "summary.md", text + "\n")
    return text


def write_table(rows: Sequence[Row], folder: Path, name: str, first: Sequence[str] = FIRST) -> None:
    """Write rows as ``<name>.csv`` and ``<name>.parquet``, the columns that matter most first.

    A file appears whole or not at all. In Parquet a column of mixed kinds becomes text.
    """
    from rbc_marl.rllib.run_folder import replace_file

    pandas = require("pandas", "analysis")
    names = _columns(rows, first)
    replace_file(folder / f"{name}.csv", csv_text(rows, names))
    columns = {column: [row.get(column) for row in rows] for column in names}
    frame = pandas.DataFrame({column: _of_one_kind(values) for column, values in columns.items()})
    replace_file(folder / f"{name}.parquet", frame.to_parquet(engine="pyarrow", index=False))


def _judge(
    rows: Sequence[dict[str, Any]], deviations: Mapping[str, Sequence[Row] | None]
) -> list[dict[str, Any]]:
    """Add to the rows of runs the columns of their best responses, by key.

    Returns:
        A row for each deviation checked.
    """
    for row in rows:
        row |= verdicts.verdict(deviations.get(row["key"]), row["outcome"])
    return deviation_rows(rows, deviations)


def _columns(rows: Sequence[Row], first: Sequence[str]) -> list[str]:
    known = dict.fromkeys(name for row in rows for name in row if name not in HIDDEN)
    return [*(name for name in first if name in known), *(name for name in known if name not in first)]


def _of_one_kind(values: Sequence[Any]) -> list[Any]:
    kinds = {"number" if isinstance(v, int | float) else type(v).__name__ for v in values if v is not None}
    plain = kinds <= {"number"} or kinds <= {"str"}
    return (
        list(values) if plain else [None if v is None else v if isinstance(v, str) else json.dumps(v) for v in values]
    )


def _groups(groups: Sequence[Row]) -> str:
    """A Markdown table with a line per group."""
    names = ("hours", "price", "wage", "income_tax", "corporate_tax", "welfare_total", "welfare_consumers")
    head = ["group", "runs", *(name.replace("_", " ") for name in names)]
    checked = any("epsilon_consumer" in row for row in groups)
    if checked:
        head += ["equilibria", "largest gain: consumer", "firm", "government"]
    lines = []
    for row in groups:
        cells = [row["group"], str(row["runs"])]
        cells += [f"{row[name]:,.{2 if 'tax' in name else 0}f}" if name in row else "" for name in names]
        if checked:
            gains = [row.get(f"epsilon_{agent_type}") for agent_type in ("consumer", "firm", "government")]
            cells += [str(row["equilibria"]), *("" if gain is None else f"{gain:.1%}" for gain in gains)]
        lines.append(cells)
    return markdown_table(head, lines)
