"""Tables of many runs: what a reader needs to judge them, each seed shown, intervals beside every share."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rbc_marl.analysis.outcomes import FAILED, LIVING, NOT_ALIVE
from rbc_marl.errors import require

Row = Mapping[str, Any]

# Outcomes of runs whose economies were not evaluated, and count neither as alive nor as dead: a scheduler ended the run
# before its time; its numbers were not finite; its algorithm saves no policies, so that only results of training exist.
STOPPED, TRAINED = "stopped", "trained"
NOT_EVALUATED = (STOPPED, FAILED, TRAINED)
# The column of the welfare that a run's own government maximises.
WELFARE = "government_return"


def csv_text(rows: Sequence[Row], names: Sequence[str]) -> str:
    """Rows as CSV with the columns ``names``, of which a row may lack some."""
    file = io.StringIO()
    writer = csv.DictWriter(file, names, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def columns_of(rows: Sequence[Row], first: Sequence[str], hidden: Sequence[str] = ()) -> list[str]:
    """Names of all columns of rows but the hidden ones, those that matter most first."""
    known = dict.fromkeys(name for row in rows for name in row if name not in hidden)
    return [*(name for name in first if name in known), *(name for name in known if name not in first)]


def parquet_bytes(rows: Sequence[Row], names: Sequence[str]) -> bytes:
    """Rows as a Parquet file with the columns ``names``. A column of mixed kinds becomes text."""
    columns = {name: _of_one_kind([row.get(name) for row in rows]) for name in names}
    frame = require("pandas", "analysis").DataFrame(columns)
    return bytes(frame.to_parquet(engine="pyarrow", index=False))


def _of_one_kind(values: Sequence[Any]) -> list[Any]:
    kinds = {"number" if isinstance(v, int | float) else type(v).__name__ for v in values if v is not None}
    if not kinds:  # numbers that exist in no row, as in the CSV
        return [math.nan] * len(values)
    plain = kinds <= {"number"} or kinds <= {"str"}
    return (
        list(values) if plain else [None if v is None else v if isinstance(v, str) else json.dumps(v) for v in values]
    )


def markdown_table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table: its head, and lines of as many cells each."""
    first, *others = ("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (head, *lines))
    return "\n".join([first, "|" + "---|" * len(head), *others])


def tex_table(head: Sequence[str], lines: Iterable[Sequence[str]], comment: str = "") -> str:
    """A table for LaTeX, with the package booktabs: its head, and lines of as many cells each.

    Args:
        head: Names of the columns; the first is aligned to the left, all others to the right.
        lines: Plain text, in which nothing is a command of LaTeX's.
        comment: Stands above it.
    """
    texts = ((" ".join(tex_text(cell).split()) for cell in row) for row in (head, *lines))
    first, *others = (" & ".join(row) + r" \\" for row in texts)
    above = [f"% {' '.join(comment.split())}"] if comment else []
    begin = rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}"
    return "\n".join([*above, begin, r"\toprule", first, r"\midrule", *others, r"\bottomrule", r"\end{tabular}", ""])


_TEX = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "±": r"$\pm$",
    **{letter: f"\\{letter}" for letter in "_%&#${}"},
}


def tex_text(text: str) -> str:
    """Text in which nothing is a command of LaTeX's."""
    return "".join(_TEX.get(letter, letter) for letter in text)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95% Wilson interval of a share."""
    interval = require("scipy.stats", "analysis").binomtest(successes, trials).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def fisher(alive: int, runs: int, other_alive: int, other_runs: int) -> float:
    """Two-sided p-value of Fisher's exact test that two shares differ."""
    table = [[alive, runs - alive], [other_alive, other_runs - other_alive]]
    return float(require("scipy.stats", "analysis").fisher_exact(table).pvalue)


def summary(rows: Sequence[Row], objectives: Mapping[str, str] | None = None) -> str:
    """A Markdown summary of a sweep: a table with a line per arm, then every seed's welfare.

    The table's welfare is what a run's own government maximises. The first arm is the one that the others are compared
    with: paired differences over seeds they share, and Fisher's test of the shares that are alive (neither collapsed
    nor dead). Runs that a scheduler stopped are counted at the end only, and those that failed are listed there; where
    that happened to all of the first arm's, nothing is compared.

    Args:
        rows: Of all runs, those of the first arm first.
        objectives: By arm, what its government maximises, in words. Welfares of two objectives have two units, so that
            they have no difference. None: all maximise the same.
    """
    objectives = objectives or {}
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    ended = {arm: [row for row in rows if row["arm"] == arm and row["outcome"] not in NOT_EVALUATED] for arm in arms}
    reference, shown = next(iter(arms), ""), [arm for arm in arms if ended[arm]]
    others = [arm for arm in shown if objectives.get(arm) != objectives.get(reference)]
    head = ["arm", "alive", "95% interval", "living", "government's welfare: median", "least", "most"]
    head += ["paired difference", "Fisher p"]
    cells = []
    for arm in shown:
        against = [] if arm == reference else ended[reference]
        cells.append(_cells(arm, ended[arm], against, is_one_unit=arm not in others))
    lines = [markdown_table(head, cells)]
    if others:
        words = f"No difference of welfare where a government maximises something else than that of {reference}"
        lines += ["", f"{words} ({objectives.get(reference)})."]
    if arms and not ended[reference]:
        has_failed = any(row["outcome"] == FAILED for row in rows if row["arm"] == reference)
        why = "was stopped before its time or failed" if has_failed else "was stopped before its time"
        lines += ["", f"Nothing is compared: every run of the first arm, {reference}, {why}."]
    lines += ["", *_seeds({arm: ended[arm] for arm in shown}, objectives if others else {})]
    stopped = sum(row["outcome"] == STOPPED for row in rows)
    lines += ["", f"Runs stopped before their time, which no line counts: {stopped}"] if stopped else []
    return "\n".join([*lines, *failures(rows)])


def failures(rows: Sequence[Row]) -> list[str]:
    """Lines that list the runs that failed, with their errors; none where there are no such runs."""
    failed = [f"- {row['arm']} seed {row['seed']}: {row['error']}" for row in rows if row["outcome"] == FAILED]
    return ["", f"Runs that failed, which no line counts: {len(failed)}", "", *failed] if failed else []


def training_summary(rows: Sequence[Row], varied: Sequence[str]) -> str:
    """A Markdown summary of runs that were not evaluated: a line per run, with what was varied and its last returns.

    Args:
        rows: Of all runs.
        varied: Columns that say what was varied.
    """
    trained = [row for row in rows if row["outcome"] == TRAINED]
    columns = dict.fromkeys(name for row in trained for name in row)
    # Of single agents, of whom there may be hundreds, the table of all runs has the returns.
    returns = [name for name in columns if name.split("/")[0].endswith(_RETURNS) and not name.startswith("agent_")]
    names = [*varied, "seed", "iterations", *returns]
    lines = [[str(row["arm"]), *(_cell(row.get(name)) for name in names)] for row in trained]
    head = ["arm", *(name.replace("_", " ") for name in names)]
    return "\n".join([markdown_table(head, lines), *failures(rows)])


_RETURNS = ("_return_mean", "_returns_mean", "_return")


def _cell(value: object) -> str:
    return "" if value is None else f"{value:,.5g}" if isinstance(value, float) else str(value)


def _seeds(by_arm: Mapping[str, Sequence[Row]], objectives: Mapping[str, str]) -> list[str]:
    """Every seed's welfare, a line per arm; with what governments maximise where that is not the same in all."""
    after = ", after what the arm's government maximises" if objectives else ""
    lines = [f"Total welfare of each seed (consumers' welfare in brackets){after}:", ""]
    for arm, rows in by_arm.items():
        values = ", ".join(
            f"{row['seed']}: {row['welfare_total']:,.0f} ({row['welfare_consumers']:,.0f})"
            + ("" if row["outcome"] == LIVING else f" {row['outcome']}")
            for row in rows
        )
        lines.append(f"- {arm}{f' [{objectives.get(arm)}]' if objectives else ''}: {values}")
    return lines


def economy_summary(rows: Sequence[Row]) -> str:
    """A Markdown table of what economies do, a line per arm: means over its runs that ended, dead ones included.

    Of closed economies it also says what their outcomes are judged by.
    """
    columns = dict(_HEADLINES)
    if any(row.get("planner_share") is not None for row in rows):
        columns |= _HEADLINES_OF_CLOSED
    lines = []
    for arm in dict.fromkeys(row["arm"] for row in rows):
        ended = [row for row in rows if row["arm"] == arm and row["outcome"] not in NOT_EVALUATED]
        counts = Counter(row["outcome"] for row in ended)
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
        lines.append([arm, outcomes, *(_mean_of(ended, name, form) for name, (_, form) in columns.items())])
    return markdown_table(["arm", "outcomes", *(words for words, _ in columns.values())], lines)


_HEADLINES = {
    "shopping_share": ("shopping share", ".2f"),
    "demand_elasticity": ("demand elasticity", ".1f"),
    "hours": ("hours", ",.0f"),
    "employment": ("employment", ".0%"),
    "unsold_share": ("unsold", ".0%"),
    "consumer_return": ("utility of a consumer", ",.1f"),
    "welfare_total": ("total welfare", ",.0f"),
    "welfare_consumers": ("consumers' welfare", ",.0f"),
    "middle_price_std": ("price std", ",.0f"),
    "price_sales": ("price-sales", ".2f"),
    "trade_share": ("trade in periods with goods", ".1%"),
}
_HEADLINES_OF_CLOSED = {
    "planner_share": ("of a planner's welfare", ".1%"),
    "firms_money_share": ("firms' share of the money", ".0%"),
    "labour_share": ("labour share", ".0%"),
}


def composition_summary(rows: Sequence[Row]) -> str:
    """A Markdown table of what welfare is made of, a line per arm: means over its runs that are alive.

    See `rbc_marl.analysis.composition`.
    """
    head = ["arm", "alive", "consumers' welfare", "profit", *_COMPOSITION.values()]
    lines = []
    for arm in dict.fromkeys(row["arm"] for row in rows):
        alive = [row for row in rows if row["arm"] == arm and row["outcome"] not in (*NOT_ALIVE, *NOT_EVALUATED)]
        cells = [arm, str(len(alive)), _mean_of(alive, "welfare_consumers", ",.0f"), _mean_of(alive, "profit", ",.0f")]
        lines.append([*cells, *(_mean_of(alive, name, ".0%") for name in _COMPOSITION)])
    return markdown_table(head, lines)


_COMPOSITION = {
    "profit_share": "profit in total welfare",
    "export_share": "exports in sales",
    "price_lowest": "prices at the lowest",
    "price_highest": "at the highest choice",
    "wage_lowest": "wages at the lowest",
    "wage_highest": "at the highest choice",
}


def _mean_of(rows: Sequence[Row], name: str, form: str) -> str:
    """The mean of a quantity over the runs that have it."""
    values = [row[name] for row in rows if row.get(name) is not None]
    return f"{statistics.mean(values):{form}}" if values else ""


def _cells(arm: str, rows: Sequence[Row], first: Sequence[Row], is_one_unit: bool) -> list[str]:
    """An arm's line of the table, against the rows of the first arm, of which there may be none."""
    alive = sum(row["outcome"] not in NOT_ALIVE for row in rows)
    living = sum(row["outcome"] == LIVING for row in rows)
    low, high = wilson(alive, len(rows))
    welfare = [row[WELFARE] for row in rows]
    return [
        arm,
        f"{alive}/{len(rows)}",
        f"{low:.2f}-{high:.2f}",
        f"{living}/{len(rows)}",
        f"{statistics.median(welfare):,.0f}",
        f"{min(welfare):,.0f}",
        f"{max(welfare):,.0f}",
        _paired(rows, first) if is_one_unit else "",
        _fisher(rows, first),
    ]


def _paired(rows: Sequence[Row], first: Sequence[Row]) -> str:
    """Mean difference of welfare from the first arm on the same seeds, with its standard error."""
    reference = {row["seed"]: row[WELFARE] for row in first}
    differences = [row[WELFARE] - reference[row["seed"]] for row in rows if row["seed"] in reference]
    if len(differences) < 2:
        return ""
    error = statistics.stdev(differences) / len(differences) ** 0.5
    return f"{statistics.mean(differences):+,.0f} ± {error:,.0f}"


def _fisher(rows: Sequence[Row], first: Sequence[Row]) -> str:
    """Of the shares alive, on the seeds that both arms have."""
    seeds = {row["seed"] for row in rows} & {row["seed"] for row in first}
    counts = [sum(row["outcome"] not in NOT_ALIVE for row in side if row["seed"] in seeds) for side in (rows, first)]
    return f"{fisher(counts[0], len(seeds), counts[1], len(seeds)):.3f}" if seeds else ""
