"""Best responses of a sweep's runs, and which of them may be called equilibria."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rbc_marl.config import AGENT_TYPES
from rbc_marl.equilibrium.checks import check_keys, number
from rbc_marl.errors import ConfigError

Row = Mapping[str, Any]

# Largest gain over level that an equilibrium leaves an agent of each type: those of the paper's Table 3.
BOUNDS = {"consumer": 0.03, "firm": 0.10, "government": 0.01}
FOLDER = "best_responses"


def parse_bounds(given: Any, where: str) -> dict[str, float]:  # noqa: ANN401 - from a file
    """Bounds by agent type; those that are left out keep the paper's value.

    Raises:
        ConfigError: An agent type is unknown, or a bound is not a number of at least 0.
    """
    given = {} if given is None else given
    check_keys(given, AGENT_TYPES, where, "an agent type")
    return {**BOUNDS, **{name: number(value, f"{where}.{name}", 0.0) for name, value in given.items()}}


def parse_settings(given: Any, where: str) -> Any:  # noqa: ANN401 - Settings of best responses
    """Settings of best responses from a file.

    Raises:
        ConfigError: A setting is unknown or wrong.
    """
    from rbc_marl.equilibrium.best_response import Settings

    names = [field.name for field in dataclasses.fields(Settings)]
    check_keys(given, names, where, "a setting of best responses")
    try:
        return Settings(**{name: _frozen(value) for name, value in given.items()})
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from None


def respond(
    rows: Sequence[Row],
    checkpoints: Mapping[str, Path],
    settings: Any,  # noqa: ANN401 - Settings of best responses
    folder: Path,
    workers: int,
    report: Callable[[str], None],
) -> dict[str, list[dict[str, Any]]]:
    """Best responses to every living run that has none yet.

    Collapsed, impaired and stopped runs get none: their small gains would say nothing.

    Args:
        rows: Of the sweep, with their ``key``.
        checkpoints: By key.
        settings: As `parse_settings` gives them.
        folder: Of the sweep.
        workers: Deviators side by side.
        report: Told what happens.

    Returns:
        By key, the rows of the report.
    """
    from rbc_marl.equilibrium.best_response import best_responses
    from rbc_marl.rllib.run_folder import replace_file

    living = [row["key"] for row in rows if row["outcome"] == "living"]
    found = {}
    for i, key in enumerate(living, start=1):
        path = folder / FOLDER / f"{key}.json"
        if not path.exists():
            report(f"best responses {i}/{len(living)}: {key}")
            path.parent.mkdir(parents=True, exist_ok=True)
            made = best_responses(checkpoints[key], settings, folder / FOLDER / key, workers=workers, report=report)
            replace_file(path, json.dumps(made.to_dict(), default=str))
        found[key] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return found


def verdict(deviations: Sequence[Row] | None, outcome: str, bounds: Mapping[str, float]) -> dict[str, Any]:
    """Columns that say how far a run is from an equilibrium.

    Args:
        deviations: Rows of its best responses; None where it has none.
        outcome: What became of the run.
        bounds: By agent type.

    Returns:
        ``epsilon_<type>``: the largest gain over level found for the type as a whole; ``epsilon_one_<type>``: for a
        single agent of it. ``equilibrium``: "yes" if the run is living, every check is verified and no gain exceeds its
        bound; "no" with the deviation that gains most beyond its bound; "unchecked" or "not verified". A collapsed or
        impaired run is never one, whatever its gains.
    """
    found: dict[str, Any] = {}
    for kind, prefix in (("type", "epsilon_"), ("agent", "epsilon_one_")):
        for agent_type in AGENT_TYPES if kind == "type" else AGENT_TYPES[:2]:
            gains = [
                row["gain_over_level"]
                for row in deviations or ()
                if row["kind"] == kind and row["agent_type"] == agent_type and row["gain_over_level"] is not None
            ]
            found[f"{prefix}{agent_type}"] = round(max(gains), 5) if gains else None
    found["equilibrium"] = _verdict(deviations, outcome, bounds)
    return found


def _verdict(deviations: Sequence[Row] | None, outcome: str, bounds: Mapping[str, float]) -> str:
    if outcome != "living":
        return f"no: {outcome}"
    if not deviations:
        return "unchecked"
    beyond = [row for row in deviations if _excess(row, bounds) > 0.0]
    if beyond:
        worst = max(beyond, key=lambda row: _excess(row, bounds))
        who = worst["agent_type"] if worst["kind"] == "type" else f"{worst['agent_type']} {worst['agent']}"
        gain = worst["gain_over_level"]
        size = f"gains {gain:.1%}" if gain is not None else "gains where it has nothing"
        return f"no: {who} {size} ({worst['found_by']})"
    return "yes" if all(row["verified"] for row in deviations) else "not verified"


def _excess(row: Row, bounds: Mapping[str, float]) -> float:
    """By how much a gain exceeds its bound; a gain without a level to compare it with counts where it is certain."""
    if row["gain_over_level"] is None:
        return row["gain"] if row["gain_low"] > 0.0 else 0.0
    return row["gain_over_level"] - bounds[row["agent_type"]]


def _frozen(value: Any) -> Any:  # noqa: ANN401 - plain data
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return {key: _frozen(item) for key, item in value.items()} if isinstance(value, Mapping) else value
