"""Figures of best responses and certificates: what deviators gain, who found it, and bounds from above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rbc_marl.analysis.charts import Chart, Layer, Marker, Points, Rule
from rbc_marl.analysis.figures.numbers import Row, has
from rbc_marl.analysis.outcomes import LIVING
from rbc_marl.analysis.verdicts import PAPER_BOUNDS, deviator, short_name
from rbc_marl.config import AGENT_TYPES

_SEARCHES: dict[str, tuple[str, Marker, int]] = {
    "learned": ("learning", "circle", 0),
    "control": ("the control's learning", "circle", 2),
    "constant": ("a constant", "square", 1),
    "schedule": ("a schedule", "square", 5),
    "rule": ("a rule", "square", 4),
    "rational": ("a rational rule", "square", 4),
    "one-step": ("one step ahead", "square", 4),
}
"""In words, with the marker and the colour, by the column ``found_by``."""
# Height of a line of a chart, and of what stands above and below all, in those of a usual chart.
_LINE, _FRAME = 0.09, 0.45


def best_responses(rows: Sequence[Row]) -> list[Chart]:
    """The gain over the baseline return of every deviation checked.

    Points are the best deviation that was found, by who found it, with 95% intervals; hollow where the control search
    failed. Crosses are what learning alone finds, as in the paper, where that is less. Triangles are bounds from above.
    A dotted line is the paper's bound.

    Args:
        rows: Of reports of best responses (`rbc_marl.analysis.best_responses`), of `certificate_rows`, or of the
            deviations of a sweep, about one or several checkpoints or runs.

    Returns:
        A chart for each agent type that was checked.
    """
    drawn = [row for row in rows if row.get("kind") != "constant" and has(row, "level") and row["level"]]
    return [_of_type(name, own) for name in AGENT_TYPES if (own := [row for row in drawn if row["agent_type"] == name])]


def certificate_rows(certificate: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The agents of a certificate as rows that `best_responses` draws.

    Args:
        certificate: What ``certificate.json`` holds.
    """
    checkpoints = certificate["checkpoints"]
    return [_certified(checkpoint, agent) for checkpoint in checkpoints for agent in checkpoint["agents"]]


def _certified(checkpoint: Mapping[str, Any], agent: Mapping[str, Any]) -> dict[str, Any]:
    learned = agent["deviations"].get("learned", {}).get("gain") or {}
    upper = agent["upper"] or {}
    return {
        "checkpoint": checkpoint["path"].rpartition("/")[2],
        "outcome": LIVING,
        "kind": "type" if agent["agent"] is None else "agent",
        "agent_type": agent["agent_type"],
        "agent": agent["agent"],
        "episodes": checkpoint["episodes"],
        "level": agent["baseline"]["mean"],
        "gain": agent["lower"]["gain"],
        "gain_low": agent["lower"]["low"],
        "gain_high": agent["lower"]["high"],
        "found_by": agent["found_by"],
        "verified": None,
        "paper_bound": PAPER_BOUNDS[agent["agent_type"]],
        "learned_gain": learned.get("gain"),
        "upper_gain_high": upper.get("high"),
    }


def _of_type(agent_type: str, rows: Sequence[Row]) -> Chart:
    names = _names(rows)
    order = list(dict.fromkeys(names))
    at = _spread(names, order)
    bound = 100.0 * rows[0]["paper_bound"]
    layers: list[Layer] = [Rule(0.0, axis="x"), Rule(bound, f"the paper's bound ({bound:g}%)", axis="x")]
    placed = list(zip(rows, at, strict=True))
    for found_by, failed in dict.fromkeys((row["found_by"], _failed(row)) for row in rows):
        own = [(row, y) for row, y in placed if (row["found_by"], _failed(row)) == (found_by, failed)]
        layers.append(_found(found_by, own, failed))
    layers += _beside(rows, at)
    count = len({(row.get("arm"), row.get("seed"), row.get("checkpoint")) for row in rows})
    subject = "consumers" if agent_type == "consumer" else "firms" if agent_type == "firm" else "the government"
    episodes = f", each on {rows[0]['episodes']:,.0f} episodes" if has(rows[0], "episodes") else ""
    caption = (
        f"Gains of {subject} by deviating, in per cent of the baseline return, with 95% intervals, by who found the "
        f"deviation: {len(rows)} deviation{'s' if len(rows) > 1 else ''} of {count} "
        f"{'economies' if count > 1 else 'economy'}{episodes}."
    )
    return Chart(
        f"best-responses-{agent_type}", f"gains of {subject} by deviating",
        "gain over the baseline return (%)", "", tuple(layers), caption,
        places={"y": tuple(order)}, size=(1.7, _FRAME + _LINE * max(len(order), 2)),
    )  # fmt: skip


def _failed(row: Row) -> bool:
    """Whether the control search failed; false where there was none."""
    return has(row, "verified") and not row["verified"]


def _found(found_by: str, rows: Sequence[tuple[Row, float]], failed: bool) -> Points:
    words, marker, colour = _SEARCHES.get(found_by, (found_by, "square", 2))
    label = f"found by {words}{' (control failed)' if failed else ''}"
    ends = {end: [_share(row, end) for row, _ in rows] for end in ("gain", "gain_low", "gain_high")}
    return Points(
        [value for value in ends["gain"] if value is not None], [y for _, y in rows], label, marker,
        low=ends["gain_low"], high=ends["gain_high"], along="x",
        words=[_words(row) for row, _ in rows], hollow=[failed] * len(rows), colour=colour,
    )  # fmt: skip


def _beside(rows: Sequence[Row], at: Sequence[float]) -> list[Layer]:
    """What learning alone finds, and bounds from above."""
    layers: list[Layer] = []
    markers: tuple[tuple[str, str, Marker, tuple[str, ...]], ...] = (
        ("learned_gain", "learning alone", "cross", ("learned", "control")),
        ("upper_gain_high", "bound from above", "triangle", ()),
    )
    for column, label, marker, is_there_already in markers:
        found = [(share, y) for row, y in zip(rows, at, strict=True)
                 if row["found_by"] not in is_there_already and (share := _share(row, column)) is not None]  # fmt: skip
        if found:
            layers.append(Points([x for x, _ in found], [y for _, y in found], label, marker, colour=3))
    return layers


def _share(row: Row, column: str) -> float | None:
    """A gain in per cent of the baseline return."""
    return 100.0 * float(row[column]) / abs(row["level"]) if has(row, column) else None


def _names(rows: Sequence[Row]) -> list[str]:
    """Who deviates, and in which economy where there are several arms or checkpoints."""
    told = [name for name in ("arm", "checkpoint") if len({row.get(name) for row in rows}) > 1]
    return [" ".join([_who(row), *(_where(row, told))]) for row in rows]


def _who(row: Row) -> str:
    number = row["agent"] if has(row, "agent") else None
    if number is None:
        return "all" if row["agent_type"] != "government" else "government"
    return deviator({**row, "agent": int(number)})


def _where(row: Row, told: Sequence[str]) -> list[str]:
    places = [short_name(str(row[name])) if name == "checkpoint" else str(row[name]) for name in told]
    places += [] if row["outcome"] == LIVING else [row["outcome"]]
    return [f"({', '.join(places)})"] if places else []


def _words(row: Row) -> str:
    seed = f", seed {row['seed']}" if has(row, "seed") else ""
    return f"{_who(row)}{seed}: found by {row['found_by']}"


def _spread(names: Sequence[str], order: Sequence[str]) -> list[float]:
    """Where each row stands: rows of one name one below the other, within the place of the name."""
    counts = {name: names.count(name) for name in order}
    seen = dict.fromkeys(order, 0)
    at = []
    for name in names:
        at.append(order.index(name) + 0.6 * ((seen[name] + 0.5) / counts[name] - 0.5))
        seen[name] += 1
    return at
