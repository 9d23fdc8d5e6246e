"""Best responses to a sweep's runs, and which of them may be called equilibria."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rbc_marl.config import AGENT_TYPES

Row = Mapping[str, Any]

FOLDER = "best_responses"
# What the column "equilibrium" says of a run that may be called one.
YES = "yes"


def parse_settings(given: Any, where: str) -> Any:  # noqa: ANN401 - Settings of best responses
    """Settings of best responses from a file.

    Raises:
        ConfigError: A setting is unknown or wrong.
    """
    from rbc_marl.equilibrium.best_response import Settings

    return Settings.of(given, where)


def respond(
    rows: Sequence[Row],
    checkpoints: Mapping[str, Path],
    settings: Any,  # noqa: ANN401 - Settings of best responses
    folder: Path,
    workers: int,
    report: Callable[[str], None],
) -> dict[str, list[dict[str, Any]]]:
    """Best responses to every living run; what has been searched for already is not searched for again.

    Collapsed, impaired and stopped runs get none: their small gains would say nothing.

    Args:
        rows: Of the sweep, with their ``key``.
        checkpoints: By key.
        settings: As `parse_settings` gives them.
        folder: Of the sweep.
        workers: Deviations side by side.
        report: Told what happens.

    Returns:
        By key, the rows of the report.
    """
    from rbc_marl.equilibrium.best_response import best_responses
    from rbc_marl.rllib.run_folder import replace_file

    living = [row["key"] for row in rows if row["outcome"] == "living"]
    found = {}
    for i, key in enumerate(living, start=1):
        report(f"best responses to run {i} of {len(living)}: {key}")
        made = best_responses(checkpoints[key], settings, folder / FOLDER / key, workers=workers, report=report)
        replace_file(folder / FOLDER / f"{key}.json", json.dumps(made.to_dict(), indent=1) + "\n")
        found[key] = list(made.rows)
    return found


def verdict(deviations: Sequence[Row] | None, outcome: str) -> dict[str, Any]:
    """Columns that say how far a run is from an equilibrium.

    Args:
        deviations: Rows of its best responses; None where it has none.
        outcome: What became of the run.

    Returns:
        ``epsilon_<type>``: the largest gain over level found for the type as a whole; ``epsilon_one_<type>``: for a
        single agent of it. ``equilibrium``: "yes" or "no", and ``verdict``, why
        (`rbc_marl.equilibrium.best_response_report.verdict`). A run that is not living is never one.
    """
    from rbc_marl.equilibrium.best_response_report import epsilon
    from rbc_marl.equilibrium.best_response_report import verdict as judge

    found: dict[str, Any] = {}
    for kind, prefix, types in (("type", "epsilon_", AGENT_TYPES), ("agent", "epsilon_one_", AGENT_TYPES[:2])):
        for agent_type in types:
            rows = [row for row in deviations or () if (row["kind"], row["agent_type"]) == (kind, agent_type)]
            gains = [gain for row in rows if (gain := epsilon(row)) is not None]
            found[f"{prefix}{agent_type}"] = round(max(gains), 5) if gains else None
    is_equilibrium, words = judge(outcome, deviations or ())
    return {**found, "equilibrium": YES if is_equilibrium else "no", "verdict": words}
