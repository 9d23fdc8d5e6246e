"""What best responses come to: rows of plain data, a table, a verdict, and files that keep what repeats them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from rbc_marl.analysis.composition import composition_words
from rbc_marl.analysis.tables import csv_text
from rbc_marl.config import AGENT_TYPES
from rbc_marl.equilibrium.best_response_settings import PAPER_BOUNDS, Settings
from rbc_marl.equilibrium.figures import best_response_bars, place
from rbc_marl.errors import MissingExtraError

# A firm that gains more than this share of its level by a constant choice does not merely draw less at random.
FIRM_CONSTANT_SHARE = 0.01
# Gains measured on fewer episodes are for trying things out: nothing is called an equilibrium by them.
LEAST_EPISODES = 1000


@dataclass(frozen=True)
class Report:
    """Best responses to one or several sets of policies."""

    rows: Sequence[dict[str, Any]]
    """One per deviation checked, checkpoint by checkpoint: types first, then single agents, then further firms (of
    kind "constant"), for whom constants alone were tried."""
    checkpoints: Sequence[dict[str, Any]]
    """What the economy of each checkpoint does: its outcome, the reported quantities, and notes."""
    settings: Settings
    started: str = ""
    """When, for the record."""

    @property
    def outcome(self) -> str:
        """Of the last checkpoint: "living", "impaired" or "collapsed"."""
        return str(self.checkpoints[-1]["outcome"])

    @property
    def epsilons(self) -> dict[str, float | None]:
        """Gain over level of each type at the last checkpoint, at least 0: who stays gains nothing.

        None where the economy is not living: a dead one has no equilibrium with a small epsilon.
        """
        last = self.checkpoints[-1]["checkpoint"]
        rows = [row for row in self.rows if row["kind"] == "type" and row["checkpoint"] == last]
        return {row["agent_type"]: epsilon(row) for row in rows}

    def agents(self) -> list[dict[str, Any]]:
        """Of the single agents checked, by checkpoint and type: how many, and the largest and the mean gain.

        Gains below 0 count as 0: who stays gains nothing.
        """
        found = []
        for checkpoint in self.checkpoints:
            for agent_type in AGENT_TYPES:
                rows = [
                    row
                    for row in self.rows
                    if row["kind"] == "agent"
                    and (row["checkpoint"], row["agent_type"]) == (checkpoint["checkpoint"], agent_type)
                ]
                if rows:
                    largest = max(rows, key=lambda row: row["gain"])
                    gains = [max(row["gain"], 0.0) for row in rows]
                    found.append(
                        {
                            "checkpoint": checkpoint["checkpoint"],
                            "agent_type": agent_type,
                            "checked": len(rows),
                            "largest_gain": max(gains),
                            "largest_agent": largest["agent"],
                            "largest_over_level": _at_least_nothing(largest["gain_over_level"]),
                            "mean_gain": sum(gains) / len(gains),
                        }
                    )
        return found

    def verdicts(self) -> dict[str, str]:
        """In words, by checkpoint, whether it can be called an equilibrium."""
        return {
            one["checkpoint"]: verdict(
                one["outcome"], [row for row in self.rows if row["checkpoint"] == one["checkpoint"]]
            )[1]
            for one in self.checkpoints
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
        for name in ("level", "gain", "/level", "/training", "control"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("by", no_wrap=True)
        previous = ""
        for row in self.rows:
            if row["kind"] == "constant":
                continue  # a line below has them
            if row["checkpoint"] != previous:
                previous = row["checkpoint"]
                table.add_section()
                table.add_row(f"{place(previous)}: {row['outcome']}", style="bold")
            # An interval for the better of two deviations never reaches less far up than down.
            table.add_row(
                row["agent_type"] if row["agent"] is None else f"  {row['agent_type']} {row['agent']}",
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
        lines += [f"{one['checkpoint']}: {composition_words(one)}" for one in self.checkpoints]
        for one in self.agents():
            lines.append(
                f"{one['checkpoint']}: of {one['checked']} single {one['agent_type']}s, {one['agent_type']} "
                f"{one['largest_agent']} gains most: {_number(one['largest_gain'])} "
                f"({_percent(one['largest_over_level'])} of its level); mean {_number(one['mean_gain'])}"
            )
        lines += [line for one in self.checkpoints if (line := self._further_firms(one["checkpoint"]))]
        lines += [f"{one['checkpoint']}: {note}" for one in self.checkpoints for note in one["notes"]]
        for row in self.rows:
            if row["kind"] == "constant":
                continue
            who = row["agent_type"] if row["agent"] is None else f"{row['agent_type']} {row['agent']}"
            words = [f"always {row['constant']}"] if row["found_by"] == "constant" else []
            words += [row["note"]] if row["note"] else []
            lines += [f"{row['checkpoint']}: {who}: {text}" for text in words]
        return lines

    def _further_firms(self, checkpoint: str) -> str:
        """What those come to for whom constants alone were tried."""
        rows = [row for row in self.rows if (row["checkpoint"], row["kind"]) == (checkpoint, "constant")]
        if not rows:
            return ""
        most = max(rows, key=lambda row: row["gain"])
        firms = "firm" if len(rows) == 1 else "firms"
        words = f"{checkpoint}: of {len(rows)} further {firms}, by constants alone, "
        if most["gain"] <= 0.0:
            return words + "none gains"
        share = _percent(most["gain_over_level"])
        return f"{words}firm {most['agent']} gains most: {_number(most['gain'])} ({share}), always {most['constant']}"

    def save(self, folder: Path, command: Sequence[str] = ()) -> list[str]:
        """Write report.json (with the command, seeds and versions), rows.csv and, with matplotlib, a figure.

        Args:
            folder: Where; made where it is missing.
            command: What was typed; this process's by default.

        Returns:
            Names of the files written.
        """
        from rbc_marl.rllib.run_folder import git_commit, replace_file, versions

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


def epsilon(row: Mapping[str, Any]) -> float | None:
    """Gain over level, at least 0; None where the economy is not living or the level is 0."""
    if row["outcome"] != "living" or row["gain_over_level"] is None:
        return None
    return _at_least_nothing(row["gain_over_level"])


def _at_least_nothing(share: float | None) -> float | None:
    return None if share is None else max(float(share), 0.0)


def verdict(outcome: str, rows: Sequence[Mapping[str, Any]]) -> tuple[bool, str]:
    """Whether policies can be called an epsilon-equilibrium, and why, in words.

    They cannot where the economy is not living; where firms, or one firm, gain by a constant choice (surely, and more
    than 1% of the level); where a type or one agent surely gains more of its level than the paper's bound, or a type of
    its gain in training. Of a level of 0 any gain is more. Nothing is said where a type was not checked, or where of
    anybody who was, type or single agent, the control failed or the interval of the gain reaches beyond the bound, or
    where gains were measured on fewer than 1,000 episodes.

    Args:
        outcome: What became of the economy.
        rows: Of its best responses; "surely" is by their 95% intervals.

    Returns:
        Whether they can, and the reason.
    """
    if outcome != "living":
        return False, f"no equilibrium: the economy is {outcome}, whatever anybody gains"
    others = [row["outcome"] for row in rows if row["outcome"] != "living"]
    if others:
        return False, f"undecided: on the episodes of the best responses the economy is {others[0]}"
    firms = [row for row in rows if row["agent_type"] == "firm" and row["constant_gain_low"] > 0]
    firms = [row for row in firms if row["constant_gain"] > FIRM_CONSTANT_SHARE * abs(row["level"])]
    if firms:
        row = max(firms, key=lambda row: row["constant_gain"])
        share = f" ({row['constant_gain'] / abs(row['level']):.1%} of the level)" if row["level"] else ""
        gain = f"{_number(row['constant_gain'])}{share}"
        return False, f"no equilibrium: {_who(row)} {gain} by a constant choice: {row['constant']}"
    for row in rows:
        bound = PAPER_BOUNDS[row["agent_type"]]
        for words, (scale, _, most) in _scales(row).items():
            if row["gain_low"] > bound * most:
                share = f"{row['gain'] / scale:.1%} of the {words}, more than {bound:.0%}" if scale else ""
                return False, f"no equilibrium: {_who(row)} {share or _number(row['gain']) + ' on a level of 0'}"
    types = {row["agent_type"]: row for row in rows if row["kind"] == "type"}
    unsure = [t for t in AGENT_TYPES if t not in types] + [_name(row) for row in rows if row["verified"] is False]
    if unsure:
        others = [f"{len(unsure) - 3} others"] if len(unsure) > 3 else []
        return False, f"undecided: {' and '.join(unsure[:3] + others)} not checked or not verified"
    for row in rows:
        bound = PAPER_BOUNDS[row["agent_type"]]
        if any(row["gain_high"] > bound * least for _, least, _ in _scales(row).values()):
            return False, f"undecided: {_name(row)} may gain more than {bound:.0%}; its interval reaches beyond"
    fewest = min(row["episodes"] for row in rows)
    if fewest < LEAST_EPISODES:
        return False, f"undecided: gains were measured on {fewest:,} episodes; that takes at least {LEAST_EPISODES:,}"
    gains = ", ".join(f"{agent_type} {epsilon(row) or 0.0:.2%}" for agent_type, row in types.items())
    return True, f"an equilibrium of types within {gains} of their levels"


def _scales(row: Mapping[str, Any]) -> dict[str, tuple[float, float, float]]:
    """What a gain is held against: the level, which may be 0, and of a type what it surely gained in training.

    Each with the ends of its interval; that of the level is so narrow that it counts as known.
    """
    scales = {"level": (abs(row["level"]),) * 3}
    if row["kind"] == "type" and row["training_gain"] is not None:
        scales["gain in training"] = (row["training_gain"], row["training_gain_low"], row["training_gain_high"])
    return scales


def _name(row: Mapping[str, Any]) -> str:
    return str(row["agent_type"]) if row["agent"] is None else f"{row['agent_type']} {row['agent']} alone"


def _who(row: Mapping[str, Any]) -> str:
    if row["agent"] is not None:
        return f"{row['agent_type']} {row['agent']} alone gains"
    return "the government gains" if row["agent_type"] == "government" else f"{row['agent_type']}s gain"


def _number(value: float, digits: int = 3) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.{digits}g}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"
