"""Best responses to a sweep's runs, and which of them may be called equilibria."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rbc_marl.config import AGENT_TYPES
from rbc_marl.errors import UserError

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
    runs: Mapping[str, tuple[Path, str]],
    settings: Any,  # noqa: ANN401 - Settings of best responses
    folder: Path,
    workers: int,
    report: Callable[[str], None],
) -> dict[str, list[dict[str, Any]]]:
    """Best responses to living runs; what has been searched for already is not searched for again.

    Collapsed, impaired and stopped runs should get none: their small gains would say nothing.

    Args:
        runs: By key, the checkpoint and the name of the rule-based economy that tells impaired runs from living ones.
        settings: As `parse_settings` gives them.
        folder: Of the sweep.
        workers: Deviations side by side.
        report: Told what happens.

    Returns:
        By key, the rows of the report.
    """
    from rbc_marl.equilibrium.best_response import best_responses
    from rbc_marl.rllib.run_folder import replace_file

    found = {}
    for i, (key, (checkpoint, rules)) in enumerate(runs.items(), start=1):
        report(f"best responses to run {i} of {len(runs)}: {key}")
        made = best_responses(checkpoint, settings, folder / FOLDER / key, workers, report, rules)
        replace_file(folder / FOLDER / f"{key}.json", json.dumps(made.to_dict(), indent=1) + "\n")
        found[key] = list(made.rows)
    return found


def found_before(
    folder: Path,
    key: str,
    settings: Any,  # noqa: ANN401 - Settings of best responses
    checkpoint: Callable[[], Path],
    report: Callable[[str], None],
) -> list[dict[str, Any]] | None:
    """The rows of a run's report that was written earlier, where the same search would be made today.

    A table would otherwise compare what is not alike: one run searched for ten iterations, another for two hundred.

    Args:
        folder: Of the sweep.
        key: Of the run.
        settings: Those of today, as `parse_settings` gives them.
        checkpoint: Gives the checkpoint of today; asked only where there is a report.
        report: Told, in a line, of a report that does not count, and why.

    Returns:
        None where there is no report, or where other settings made it or it is about other policies.
    """
    path = folder / FOLDER / f"{key}.json"
    if not path.exists():
        return None
    made = json.loads(path.read_text(encoding="utf-8"))
    reason = _outdated(made, settings, checkpoint)
    if reason:
        report(f"{path} is left out until {key} is checked again: {reason}")
        return None
    rows: list[dict[str, Any]] = made["rows"]
    return rows


def _outdated(made: Mapping[str, Any], settings: Any, checkpoint: Callable[[], Path]) -> str:  # noqa: ANN401
    """Why a report says nothing of today's policies by today's settings; empty where it does."""
    from rbc_marl.equilibrium.subject import checkpoint_subject

    now = json.loads(json.dumps(settings.to_dict()))  # as it is kept: lists in place of tuples
    changed = [name for name, value in now.items() if made["settings"].get(name) != value]
    if changed:
        return f"it was made with other settings ({', '.join(changed)})"
    try:
        digest = checkpoint_subject(checkpoint()).digest
    except UserError as error:
        return str(error)
    # A report without these is of an earlier version, which did not scan every firm's constants.
    checked = [one.get("digest") for one in made["checkpoints"]]
    is_of_today = checked == [digest] and all("iteration" in row for row in made["rows"])
    return "" if is_of_today else "it is about another checkpoint, or was made by an earlier version"


def verdict(deviations: Sequence[Row] | None, outcome: str) -> dict[str, Any]:
    """Columns that say how far a run is from an equilibrium.

    Args:
        deviations: Rows of its best responses; None where it has none.
        outcome: What became of the run.

    Returns:
        ``epsilon_<type>``: the largest gain over level found for the type as a whole; ``epsilon_one_<type>``: for a
        single agent of it, by constants alone for further firms. ``equilibrium``: "yes" or "no", and ``verdict``, why
        (`rbc_marl.equilibrium.best_response_report.verdict`). A run that is not living is never one.
    """
    from rbc_marl.equilibrium.best_response_report import epsilon
    from rbc_marl.equilibrium.best_response_report import verdict as judge

    found: dict[str, Any] = {}
    single = ("agent", "constant")
    for kinds, prefix, types in ((("type",), "epsilon_", AGENT_TYPES), (single, "epsilon_one_", AGENT_TYPES[:2])):
        for agent_type in types:
            rows = [row for row in deviations or () if row["kind"] in kinds and row["agent_type"] == agent_type]
            gains = [gain for row in rows if (gain := epsilon(row)) is not None]
            found[f"{prefix}{agent_type}"] = round(max(gains), 5) if gains else None
    is_equilibrium, words = judge(outcome, deviations or ())
    return {**found, "equilibrium": YES if is_equilibrium else "no", "verdict": words}
