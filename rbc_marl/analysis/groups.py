"""Outcomes that are qualitatively the same, put into one group: which different equilibria a sweep has found."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, WithJsonSchema

from rbc_marl.analysis.outcomes import IMPAIRED, LIVING, NOT_ALIVE
from rbc_marl.analysis.tables import markdown_table
from rbc_marl.settings import Section

Row = Mapping[str, Any]

# Outcomes that are grouped by what they measure, best first. All collapsed runs are one group, and so are all dead
# ones; runs without an outcome, such as those that a scheduler stopped or that failed, are in none.
GROUPED = (LIVING, IMPAIRED)


@dataclass(frozen=True)
class Limit:
    """How far a measure may differ: in its own unit, or as a share of the larger of two magnitudes."""

    value: float
    is_share: bool = False

    def holds(self, first: float, second: float) -> bool:
        """Whether two values differ by no more."""
        unit = max(abs(first), abs(second)) if self.is_share else 1.0
        return abs(first - second) <= self.value * unit


def _limit(given: object) -> Limit | None:
    """A limit as a file writes it: a number, a share such as "10%", or null for none."""
    if given is None or isinstance(given, Limit):
        return given
    is_share = isinstance(given, str) and given.endswith("%")
    try:
        value = math.nan if isinstance(given, bool) else float(str(given).removesuffix("%"))
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0.0):
        raise ValueError('it must be a number of at least 0, a share such as "10%", or null')
    return Limit(value / 100.0 if is_share else value, is_share)


_SCHEMA = {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": "^[0-9.]+%$"}, {"type": "null"}]}
AnyLimit = Annotated[Limit | None, BeforeValidator(_limit), WithJsonSchema(_SCHEMA)]


class Thresholds(Section):
    """How far two outcomes may differ and still be the same: for each measure a number, a share, or null for no limit.

    The defaults are for economies of the published size; a share suits what scales with the number of consumers.
    """

    noun: ClassVar[str] = "a measure that tells outcomes apart"

    hours: AnyLimit = Limit(100.0)
    price: AnyLimit = Limit(250.0)
    wage: AnyLimit = Limit(5.5)
    income_tax: AnyLimit = Limit(0.1)
    corporate_tax: AnyLimit = Limit(0.1)
    welfare_total: AnyLimit = Limit(0.1, is_share=True)
    welfare_consumers: AnyLimit = Limit(0.1, is_share=True)

    def plain(self) -> dict[str, float | str | None]:
        """As a file writes them."""
        limits = {name: getattr(self, name) for name in MEASURES}
        return {
            name: None if one is None else f"{100 * one.value:.10g}%" if one.is_share else one.value
            for name, one in limits.items()
        }

    def alike(self, first: Row, second: Row) -> bool:
        """Whether no measure differs by more than its limit."""
        limits = ((name, getattr(self, name)) for name in MEASURES)
        return all(limit is None or limit.holds(first[name], second[name]) for name, limit in limits)


MEASURES = tuple(Thresholds.model_fields)


def group(rows: Sequence[Row], thresholds: Thresholds) -> list[str | None]:
    """The group of each row.

    Two runs are neighbours if no measure differs by more than its threshold, and a group is all that neighbours reach:
    the same whatever the order of the rows, though its ends may lie further apart than two neighbours. Living and
    impaired runs are never of one group.

    Returns:
        "living-1" and so on, from the largest mean total welfare down (consumers', where total welfare tells nothing
        apart); "collapsed" or "dead"; None for runs without an outcome.
    """
    welfare = "welfare_consumers" if thresholds.welfare_total is None else "welfare_total"
    names: list[str | None] = [row["outcome"] if row["outcome"] in NOT_ALIVE else None for row in rows]
    for outcome in GROUPED:
        members = [i for i, row in enumerate(rows) if row["outcome"] == outcome]
        found = _components(members, rows, thresholds)
        found.sort(key=lambda part: (-_mean(rows, part, welfare), sorted(_label(rows[i]) for i in part)))
        for number, part in enumerate(found, start=1):
            for i in part:
                names[i] = f"{outcome}-{number}"
    return names


def equilibria(
    rows: Sequence[Row], varied: Sequence[str] = (), units: Mapping[str, tuple[str, float]] | None = None
) -> list[dict[str, Any]]:
    """One row per group.

    Args:
        rows: Runs, each with its ``group``.
        varied: Columns that say what was varied: of these the distinct values are listed.
        units: By arm, what its government maximises, in words, and the weight of profit in total welfare. Welfares of
            other objectives or weights have another unit: of a group that mixes them no mean is given. None: all alike.

    Returns:
        The group, its outcome, how many runs and which, their settings; then of every quantity the mean, and of the
        measures the least and the most. Of ``epsilon_...`` columns the largest, which bounds them all, where every
        run has one.
    """
    names = sorted({row["group"] for row in rows if row.get("group")}, key=_rank)
    return [_summary(name, [row for row in rows if row.get("group") == name], varied, units or {}) for name in names]


def group_summary(groups: Sequence[Row]) -> str:
    """A Markdown table with a line per group, as `equilibria` gives them."""
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


def _summary(
    name: str, rows: Sequence[Row], varied: Sequence[str], units: Mapping[str, tuple[str, float]]
) -> dict[str, Any]:
    ordered = sorted(rows, key=_label)
    found: dict[str, Any] = {
        "group": name,
        "outcome": ordered[0]["outcome"],
        "runs": len(ordered),
        "equilibria": sum(row.get("equilibrium") == "yes" for row in ordered),
        "arms": " ".join(sorted({str(row["arm"]) for row in ordered})),
        "seeds": " ".join(map(str, sorted({row["seed"] for row in ordered}))),
    }
    found |= {column: _distinct([row[column] for row in ordered if row.get(column) is not None]) for column in varied}
    objectives, weights = ({units[row["arm"]][i] for row in ordered if row["arm"] in units} for i in range(2))
    mixed = {"government_return"} if len(objectives) > 1 else set()
    mixed |= {"government_return", "welfare_total", "profit_share"} if len(weights) > 1 else set()
    columns = dict.fromkeys(column for row in ordered for column in row if column not in mixed)
    for column in columns:
        values = [row[column] for row in ordered if _is_number(row.get(column))]
        if column in found or not values or column in ("seed", "iterations", "seconds"):
            continue
        if column.startswith("epsilon_"):
            if len(values) == len(ordered):  # of a run that was not checked nothing is known
                found[column] = max(values)
            continue
        found[column] = round(math.fsum(values) / len(values), 6)
        if column in MEASURES:
            found |= {f"{column}_least": min(values), f"{column}_most": max(values)}
    return found


def _components(members: Sequence[int], rows: Sequence[Row], thresholds: Thresholds) -> list[list[int]]:
    """Connected components of the neighbours among some rows."""
    left = set(members)
    found = []
    while left:
        reached, frontier = set(), {left.pop()}
        while frontier:
            reached |= frontier
            near = {j for i in frontier for j in left if thresholds.alike(rows[i], rows[j])}
            left -= near
            frontier = near
        found.append(sorted(reached))
    return found


def _mean(rows: Sequence[Row], members: Sequence[int], name: str) -> float:
    """Mean of a welfare, without a trace of the order in which it is summed."""
    return statistics.fmean(sorted(rows[i][name] for i in members))


def _label(row: Row) -> tuple[str, int]:
    return str(row["arm"]), int(row["seed"])


def _rank(name: str) -> tuple[int, int]:
    outcome, _, number = name.partition("-")
    return [*GROUPED, *NOT_ALIVE].index(outcome), int(number or 0)


def _distinct(values: Sequence[Any]) -> str:
    """The distinct values, in their own order where they have one."""
    ordered = sorted(set(values)) if all(map(_is_number, values)) else sorted({str(value) for value in values})
    return " ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in ordered)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
