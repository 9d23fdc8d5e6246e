"""Verdicts on best responses: epsilons, and whether policies can be called an equilibrium, and why.

A row is the plain data of one deviation that was checked (`rbc_marl.analysis.best_responses`). Its ``level`` is the
baseline return: what the deviator gets while nobody deviates. Its ``gain`` is that of the better of a learned deviation
and a constant, with a 95% interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rbc_marl.config import AGENT_TYPES

Row = Mapping[str, Any]

# The paper's bounds of an equilibrium (its Table 3): gain over what the type gained in training.
PAPER_BOUNDS = {"consumer": 0.03, "firm": 0.10, "government": 0.01}
# A firm that gains more than this share of its baseline return by a constant does not merely draw less at random.
FIRM_CONSTANT_SHARE = 0.01
# Gains measured on fewer episodes are for trying things out: nothing is called an equilibrium by them.
LEAST_EPISODES = 1000


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
    return f"{_who_gains(row)} {number(row['constant_gain'])}{share} by a constant choice: {row['constant']}"


def _gain_beyond_a_bound(rows: Sequence[Row]) -> str:
    """Who surely gains more than the paper's bound, in words; empty where nobody does."""
    for row in rows:
        bound = PAPER_BOUNDS[row["agent_type"]]
        for words, (scale, _, most) in _scales(row).items():
            if row["gain_low"] > bound * most:
                if not scale:
                    return f"{_who_gains(row)} {number(row['gain'])} on a baseline return of 0"
                return f"{_who_gains(row)} {row['gain'] / scale:.1%} of the {words}, more than {bound:.0%}"
    return ""


def _doubt(rows: Sequence[Row]) -> str:
    """Why rows in which nobody surely gains prove no equilibrium, in words; empty where they do."""
    checked = {row["agent_type"] for row in rows if row["kind"] == "type"}
    unsure = [agent_type for agent_type in AGENT_TYPES if agent_type not in checked]
    unsure += [who(row) for row in rows if row["verified"] is False]
    if unsure:
        more = [f"{len(unsure) - 3} others"] if len(unsure) > 3 else []
        return f"{' and '.join(unsure[:3] + more)} not checked or not verified"
    for row in rows:
        bound = PAPER_BOUNDS[row["agent_type"]]
        if any(row["gain_high"] > bound * least for _, least, _ in _scales(row).values()):
            return f"{who(row)} may gain more than {bound:.0%}; its interval reaches beyond"
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
    return {**columns, "equilibrium": "yes" if is_equilibrium else "no", "verdict": words}


# Words


def who(row: Row) -> str:
    """Who deviates, such as "firm" or "firm 3 alone"."""
    return deviator(row) if row["agent"] is None else f"{deviator(row)} alone"


def deviator(row: Row) -> str:
    """The same without a word on whether others do too: "firm" or "firm 3"."""
    return str(row["agent_type"]) if row["agent"] is None else f"{row['agent_type']} {row['agent']}"


def short_name(checkpoint: str) -> str:
    """A short name of a checkpoint: its iteration where it has one, and its number among those of one name."""
    iteration, *number = checkpoint.removeprefix("checkpoint_").split("-")
    return "-".join([iteration.lstrip("0") or "0", *number]) if iteration.isdigit() else checkpoint


def _who_gains(row: Row) -> str:
    if row["agent"] is not None:
        return f"{who(row)} gains"
    return "the government gains" if row["agent_type"] == "government" else f"{row['agent_type']}s gain"


def number(value: float, digits: int = 3) -> str:
    """A gain or a return, of 100 and more without decimals."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.{digits}g}"
