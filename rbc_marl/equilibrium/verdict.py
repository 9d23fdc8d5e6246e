"""Results of best responses: reports with tables and files, epsilons, and whether policies are an equilibrium.

A row is the plain data of one deviation that was checked. Its ``level`` is the baseline return: what the deviator gets
while nobody deviates. Its ``gain`` is that of the better of a learned deviation and a constant, with a 95% interval.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from rbc_marl.analysis.composition import composition_words
from rbc_marl.analysis.figures import best_response_bars, short_name
from rbc_marl.analysis.tables import csv_text, markdown_table
from rbc_marl.config import AGENT_TYPES
from rbc_marl.equilibrium.best_response_settings import PAPER_BOUNDS, BestResponseSettings
from rbc_marl.errors import MissingExtraError

Row = Mapping[str, Any]

# A firm that gains more than this share of its baseline return by a constant does not merely draw less at random.
FIRM_CONSTANT_SHARE = 0.01
# Gains measured on fewer episodes are for trying things out: nothing is called an equilibrium by them.
LEAST_EPISODES = 1000
# What the column "equilibrium" of a sweep's table says of a run that is one.
YES = "yes"


# A report of one search


@dataclass(frozen=True)
class BestResponseReport:
    """Best responses to one or several strategy profiles."""

    rows: Sequence[dict[str, Any]]
    """One per deviation checked, checkpoint by checkpoint: types first, then single agents, then further firms (of
    kind "constant"), for whom constants alone were tried."""
    checkpoints: Sequence[dict[str, Any]]
    """What the economy of each checkpoint does: its outcome, the reported quantities, and notes."""
    settings: BestResponseSettings
    started: str = ""
    """When, for the record."""

    @property
    def outcome(self) -> str:
        """Of the last checkpoint: "living", "impaired" or "collapsed"."""
        return str(self.checkpoints[-1]["outcome"])

    @property
    def epsilons(self) -> dict[str, float | None]:
        """Epsilon of each type at the last checkpoint; see `epsilon`."""
        rows = self._rows_of(self.checkpoints[-1]["checkpoint"])
        return {row["agent_type"]: epsilon(row) for row in rows if row["kind"] == "type"}

    def agents(self) -> list[dict[str, Any]]:
        """Of the single agents checked, by checkpoint and type: how many, and the largest and the mean gain.

        Gains below 0 count as 0: an agent that stays gains nothing.
        """
        summaries = []
        for checkpoint in (described["checkpoint"] for described in self.checkpoints):
            for agent_type in AGENT_TYPES:
                rows = [row for row in self._rows_of(checkpoint, "agent") if row["agent_type"] == agent_type]
                if not rows:
                    continue
                gains = [max(row["gain"], 0.0) for row in rows]
                largest = max(rows, key=lambda row: row["gain"])
                share = largest["gain_over_level"]
                summaries.append(
                    {
                        "checkpoint": checkpoint,
                        "agent_type": agent_type,
                        "checked": len(rows),
                        "largest_gain": max(gains),
                        "largest_agent": largest["agent"],
                        "largest_over_level": None if share is None else max(share, 0.0),
                        "mean_gain": sum(gains) / len(gains),
                    }
                )
        return summaries

    def verdicts(self) -> dict[str, str]:
        """In words, by checkpoint, whether it can be called an equilibrium."""
        return {
            described["checkpoint"]: verdict(described["outcome"], self._rows_of(described["checkpoint"]))[1]
            for described in self.checkpoints
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "outcome": self.outcome,
            "epsilons": self.epsilons,
            "verdicts": self.verdicts(),
            "rows": list(self.rows),
            "agents": self.agents(),
            "checkpoints": list(self.checkpoints),
            "settings": self.settings.to_dict(),
            "started": self.started,
        }

    def table(self) -> Table:
        """The rows for a terminal, narrow enough for 80 columns."""
        title = f"gain by deviating, of {self.settings.episodes} episodes, with 95% intervals"
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
        table.add_column("who", no_wrap=True)
        for name in ("baseline", "gain", "/base", "/training", "control"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("by", no_wrap=True)
        previous = ""
        for row in self.rows:
            if row["kind"] == "constant":
                continue  # a line below has them
            if row["checkpoint"] != previous:
                previous = row["checkpoint"]
                table.add_section()
                table.add_row(f"{short_name(previous)}: {row['outcome']}", style="bold")
            # An interval for the better of two deviations never reaches less far up than down.
            table.add_row(
                _name(row) if row["agent"] is None else f"  {_name(row)}",
                _number(row["level"]),
                f"{_number(row['gain'])} ± {_number(row['gain_high'] - row['gain'], 2)}",
                _percent(row["gain_over_level"]),
                _percent(row["gain_over_training"]),
                f"{row['recovered']:.0%}" if row["verified"] else "failed",
                row["found_by"],
            )
        return table

    def lines(self) -> list[str]:
        """Verdicts, what the single agents come to, and notes, as plain lines below the table."""
        lines = [f"{name}: {words}" for name, words in self.verdicts().items()]
        lines += [f"{described['checkpoint']}: {composition_words(described)}" for described in self.checkpoints]
        for agents in self.agents():
            agent_type = agents["agent_type"]
            lines.append(
                f"{agents['checkpoint']}: of {agents['checked']} single {agent_type}s, {agent_type} "
                f"{agents['largest_agent']} gains most: {_number(agents['largest_gain'])} "
                f"({_percent(agents['largest_over_level'])} of its baseline return); "
                f"mean {_number(agents['mean_gain'])}"
            )
        lines += [line for described in self.checkpoints for line in self._further_firms(described["checkpoint"])]
        lines += [f"{described['checkpoint']}: {note}" for described in self.checkpoints for note in described["notes"]]
        for row in self.rows:
            if row["kind"] != "constant":
                words = [f"always {row['constant']}"] if row["found_by"] == "constant" else []
                words += [row["note"]] if row["note"] else []
                lines += [f"{row['checkpoint']}: {_name(row)}: {text}" for text in words]
        return lines

    def save(self, folder: Path, command: Sequence[str] = ()) -> list[str]:
        """Write report.json (with the command, seeds and versions), rows.csv and, with matplotlib, a figure.

        Args:
            folder: Where; made where it is missing.
            command: What was typed; this process's by default.

        Returns:
            Names of the files written.
        """
        from rbc_marl.experiments.folder import replace_file
        from rbc_marl.provenance import git_commit, versions

        folder.mkdir(parents=True, exist_ok=True)
        record = {"command": list(command) or sys.argv, "versions": versions(), "git_commit": git_commit()}
        text = json.dumps({**self.to_dict(), **record}, indent=2, allow_nan=False)
        replace_file(folder / "report.json", text + "\n")
        replace_file(folder / "rows.csv", csv_text(self.rows, list(self.rows[0])))
        try:
            best_response_bars([row for row in self.rows if row["kind"] != "constant"], folder / "best_response.png")
        except MissingExtraError:
            return ["report.json", "rows.csv"]
        return ["report.json", "rows.csv", "best_response.png"]

    def _rows_of(self, checkpoint: str, kind: str = "") -> list[dict[str, Any]]:
        rows = (row for row in self.rows if row["checkpoint"] == checkpoint)
        return [row for row in rows if kind in ("", row["kind"])]

    def _further_firms(self, checkpoint: str) -> Iterator[str]:
        """What the firms come to for which constants alone were tried, in a line; none where there are none."""
        if rows := self._rows_of(checkpoint, "constant"):
            largest = max(rows, key=lambda row: row["gain"])
            firms = "firm" if len(rows) == 1 else "firms"
            words = f"firm {largest['agent']} gains most: {_number(largest['gain'])} "
            words += f"({_percent(largest['gain_over_level'])}), always {largest['constant']}"
            words = words if largest["gain"] > 0.0 else "none gains"
            yield f"{checkpoint}: of {len(rows)} further {firms}, by constants alone, {words}"


# Epsilons and verdicts


def epsilon(row: Row) -> float | None:
    """Gain over the baseline return, at least 0: an agent that stays gains nothing.

    None where the economy is not living, for a dead one has no equilibrium with a small epsilon, or where the baseline
    return is 0.
    """
    if row["outcome"] != "living" or row["gain_over_level"] is None:
        return None
    return max(float(row["gain_over_level"]), 0.0)


def verdict(outcome: str, rows: Sequence[Row]) -> tuple[bool, str]:
    """Whether policies can be called an epsilon-equilibrium, and why, in words.

    They cannot where the economy is not living; where firms, or one firm, gain by a constant choice (surely, and more
    than 1% of the baseline return); where a type or one agent surely gains more of its baseline return than the paper's
    bound, or a type of its gain in training. Of a baseline return of 0 any gain is more. Nothing is said where a type
    was not checked, or where of anybody who was, type or single agent, the control failed or the interval of the gain
    reaches beyond the bound, or where gains were measured on fewer than 1,000 episodes.

    Args:
        outcome: What became of the economy.
        rows: Of its best responses; "surely" is by their 95% intervals.

    Returns:
        Whether they can, and the reason.
    """
    if outcome != "living":
        return False, f"no equilibrium: the economy is {outcome}, whatever anybody gains"
    not_living = [row["outcome"] for row in rows if row["outcome"] != "living"]
    if not_living:
        return False, f"undecided: on the episodes of the best responses the economy is {not_living[0]}"
    if refutation := _gain_by_a_constant(rows) or _gain_beyond_a_bound(rows):
        return False, f"no equilibrium: {refutation}"
    if doubt := _doubt(rows):
        return False, f"undecided: {doubt}"
    types = [row for row in rows if row["kind"] == "type"]
    gains = ", ".join(f"{row['agent_type']} {epsilon(row) or 0.0:.2%}" for row in types)
    return True, f"an equilibrium of types within {gains} of their baseline returns"


def _gain_by_a_constant(rows: Sequence[Row]) -> str:
    """What firms, or one firm, surely gain by a constant choice, in words; empty where they do not."""
    firms = [row for row in rows if row["agent_type"] == "firm" and row["constant_gain_low"] > 0]
    firms = [row for row in firms if row["constant_gain"] > FIRM_CONSTANT_SHARE * abs(row["level"])]
    if not firms:
        return ""
    row = max(firms, key=lambda row: row["constant_gain"])
    share = f" ({row['constant_gain'] / abs(row['level']):.1%} of the baseline return)" if row["level"] else ""
    return f"{_who_gains(row)} {_number(row['constant_gain'])}{share} by a constant choice: {row['constant']}"


def _gain_beyond_a_bound(rows: Sequence[Row]) -> str:
    """Who surely gains more than the paper's bound, in words; empty where nobody does."""
    for row in rows:
        bound = PAPER_BOUNDS[row["agent_type"]]
        for words, (scale, _, most) in _scales(row).items():
            if row["gain_low"] > bound * most:
                if not scale:
                    return f"{_who_gains(row)} {_number(row['gain'])} on a baseline return of 0"
                return f"{_who_gains(row)} {row['gain'] / scale:.1%} of the {words}, more than {bound:.0%}"
    return ""


def _doubt(rows: Sequence[Row]) -> str:
    """Why rows in which nobody surely gains prove no equilibrium, in words; empty where they do."""
    checked = {row["agent_type"] for row in rows if row["kind"] == "type"}
    unsure = [agent_type for agent_type in AGENT_TYPES if agent_type not in checked]
    unsure += [f"{_name(row)}{_alone(row)}" for row in rows if row["verified"] is False]
    if unsure:
        more = [f"{len(unsure) - 3} others"] if len(unsure) > 3 else []
        return f"{' and '.join(unsure[:3] + more)} not checked or not verified"
    for row in rows:
        bound = PAPER_BOUNDS[row["agent_type"]]
        if any(row["gain_high"] > bound * least for _, least, _ in _scales(row).values()):
            return f"{_name(row)}{_alone(row)} may gain more than {bound:.0%}; its interval reaches beyond"
    fewest = min(row["episodes"] for row in rows)
    if fewest < LEAST_EPISODES:
        return f"gains were measured on {fewest:,} episodes; that takes at least {LEAST_EPISODES:,}"
    return ""


def _scales(row: Row) -> dict[str, tuple[float, float, float]]:
    """What a gain is held against: the baseline return, which may be 0, and of a type what it gained in training.

    Each with the ends of its interval; that of the baseline return is so narrow that it counts as known.
    """
    scales = {"baseline return": (abs(row["level"]),) * 3}
    if row["kind"] == "type" and row["training_gain"] is not None:
        scales["gain in training"] = (row["training_gain"], row["training_gain_low"], row["training_gain_high"])
    return scales


# The runs of a sweep


def verdict_columns(rows: Sequence[Row] | None, outcome: str) -> dict[str, Any]:
    """Columns of a sweep's table that say how far a run is from an equilibrium.

    Args:
        rows: Of its best responses; None where it has none.
        outcome: What became of the run.

    Returns:
        ``epsilon_<type>``: the epsilon of the type as a whole; ``epsilon_one_<type>``: the largest of its single
        agents, by constants alone for further firms. ``equilibrium``: "yes" or "no", and ``verdict``, why (`verdict`).
        A run that is not living is never one.
    """
    columns: dict[str, Any] = {}
    single = ("agent", "constant")
    for kinds, prefix, types in ((("type",), "epsilon_", AGENT_TYPES), (single, "epsilon_one_", AGENT_TYPES[:2])):
        for agent_type in types:
            of_type = [row for row in rows or () if row["kind"] in kinds and row["agent_type"] == agent_type]
            epsilons = [share for row in of_type if (share := epsilon(row)) is not None]
            columns[f"{prefix}{agent_type}"] = round(max(epsilons), 5) if epsilons else None
    is_equilibrium, words = verdict(outcome, rows or ())
    return {**columns, "equilibrium": YES if is_equilibrium else "no", "verdict": words}


def deviation_rows(runs: Sequence[Row], responses: Mapping[str, Sequence[Row] | None]) -> list[dict[str, Any]]:
    """A row for each deviation checked, with the arm and the seed of its run.

    Args:
        runs: Rows of the sweep, with their ``key``.
        responses: By key, the rows of best responses; None for runs without.
    """
    replaced = ("checkpoint", "outcome")
    return [
        {
            **{name: run[name] for name in ("arm", "seed", "outcome")},
            **{name: value for name, value in row.items() if name not in replaced},
        }
        for run in runs
        for row in responses.get(run["key"]) or ()
    ]


def gain_summary(rows: Sequence[Row]) -> str:
    """A Markdown table with a line for each arm and deviator, over runs.

    Gains below zero count as 0, for an agent that stays gains nothing. "above it beyond doubt" counts runs in which the
    lower end of the gain's interval is above the paper's bound.
    """
    head = ["arm", "who", "runs", "baseline return", "gain: mean", "worst", "over baseline: mean", "worst"]
    head += ["by a constant: worst", "paper's bound", "above it beyond doubt", "verified"]
    of_line: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        who = "each further firm, constants only" if row["kind"] == "constant" else f"{_name(row)}{_alone(row)}"
        of_line.setdefault((row["arm"], who), []).append(row)
    lines = [[arm, who, *_gain_cells(members)] for (arm, who), members in of_line.items()]
    return markdown_table(head, lines)


def _gain_cells(rows: Sequence[Row]) -> list[str]:
    """What one deviator gains over the runs of an arm, from the number of runs to how many are verified."""
    gains = [max(row["gain"], 0.0) for row in rows]
    shares = [share for row in rows if (share := epsilon(row)) is not None]
    constants = [max(row["constant_gain"], 0.0) / abs(row["level"]) for row in rows if row["level"]]
    bound = rows[0]["paper_bound"]
    above = {row["seed"] for row in rows if row["gain_low"] > bound * abs(row["level"])}
    controlled = [row for row in rows if row["verified"] is not None]
    runs = len({row["seed"] for row in rows})
    return [
        str(runs),
        f"{fmean(row['level'] for row in rows):,.4g}",
        f"{fmean(gains):,.3g}",
        f"{max(gains):,.3g}",
        f"{fmean(shares):.2%}" if shares else "",
        f"{max(shares):.2%}" if shares else "",
        f"{max(constants):.2%}" if constants else "",
        f"{bound:.0%}",
        f"{len(above)}/{runs}",
        f"{sum(row['verified'] for row in controlled)}/{len(controlled)}" if controlled else "",
    ]


# Words


def _name(row: Row) -> str:
    return str(row["agent_type"]) if row["agent"] is None else f"{row['agent_type']} {row['agent']}"


def _alone(row: Row) -> str:
    return "" if row["agent"] is None else " alone"


def _who_gains(row: Row) -> str:
    if row["agent"] is not None:
        return f"{_name(row)} alone gains"
    return "the government gains" if row["agent_type"] == "government" else f"{row['agent_type']}s gain"


def _number(value: float, digits: int = 3) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.{digits}g}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"
