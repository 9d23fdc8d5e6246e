"""Outcomes that are qualitatively the same, put into one group: which different equilibria a sweep has found."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rbc_marl.equilibrium.checks import check_keys
from rbc_marl.errors import ConfigError

Row = Mapping[str, Any]

MEASURES = ("hours", "price", "wage", "income_tax", "corporate_tax", "welfare_total", "welfare_consumers")
# For economies of the published size; a share ("10%") suits what scales with the number of consumers.
DEFAULTS: dict[str, float | str] = {
    "hours": 100.0,
    "price": 250.0,
    "wage": 5.5,
    "income_tax": 0.1,
    "corporate_tax": 0.1,
    "welfare_total": "10%",
    "welfare_consumers": "10%",
}
# Outcomes that are grouped by what they measure, best first. All collapsed runs are one group; runs that a scheduler
# stopped are none.
GROUPED = ("living", "impaired")
COLLAPSED = "collapsed"


@dataclass(frozen=True)
class Thresholds:
    """How far two outcomes may differ and still be the same.

    Attributes:
        absolute: By measure, in its own unit.
        relative: By measure, as a share of the larger of two magnitudes.
    """

    absolute: Mapping[str, float]
    relative: Mapping[str, float]

    def alike(self, one: Row, other: Row) -> bool:
        """Whether no measure differs by more than its threshold."""
        pairs = [(one[name], other[name], limit) for name, limit in self.absolute.items()]
        pairs += [
            (one[name], other[name], share * max(abs(one[name]), abs(other[name])))
            for name, share in self.relative.items()
        ]
        return all(abs(x - y) <= limit for x, y, limit in pairs)


def parse_thresholds(given: Any, where: str) -> Thresholds:  # noqa: ANN401 - from a file
    """Thresholds from a file: a number, a share such as "10%", or null to leave a measure out.

    Raises:
        ConfigError: A measure is unknown or its threshold is not one.
    """
    given = {} if given is None else given
    check_keys(given, MEASURES, where, "a measure that tells outcomes apart")
    absolute, relative = {}, {}
    for name, value in {**DEFAULTS, **given}.items():
        if value is None:
            continue
        if isinstance(value, str) and value.endswith("%"):
            relative[name] = _positive(value.removesuffix("%"), value, f"{where}.{name}") / 100.0
        else:
            absolute[name] = _positive(value, value, f"{where}.{name}")
    return Thresholds(absolute, relative)


def group(rows: Sequence[Row], thresholds: Thresholds) -> list[str | None]:
    """The group of each row.

    Two runs are neighbours if no measure differs by more than its threshold, and a group is all that neighbours reach:
    the same whatever the order of the rows, though its ends may lie further apart than two neighbours. Living and
    impaired runs are never of one group.

    Returns:
        "living-1" and so on, from the largest mean total welfare down (consumers', where total welfare tells nothing
        apart); "collapsed"; None for runs without an outcome.
    """
    tells_apart = {*thresholds.absolute, *thresholds.relative}
    welfare = "welfare_total" if "welfare_total" in tells_apart else "welfare_consumers"
    names: list[str | None] = [COLLAPSED if row["outcome"] == COLLAPSED else None for row in rows]
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
    return [*GROUPED, COLLAPSED].index(outcome), int(number or 0)


def _distinct(values: Sequence[Any]) -> str:
    """The distinct values, in their own order where they have one."""
    ordered = sorted(set(values)) if all(map(_is_number, values)) else sorted({str(value) for value in values})
    return " ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in ordered)


def _is_number(value: Any) -> bool:  # noqa: ANN401 - cells of a table
    return isinstance(value, int | float) and not isinstance(value, bool)


def _positive(value: Any, given: Any, where: str) -> float:  # noqa: ANN401 - from a file
    try:
        found = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not (math.isfinite(found) and found >= 0.0):
        raise ConfigError(f'{where} is {given!r}; it must be a number of at least 0, a share such as "10%", or null')
    return found
