"""What a report says first: two sentences on what was found."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rbc_marl.analysis.outcomes import (
    BEST,
    COLLAPSED,
    DEAD,
    FAILED,
    LIVING,
    NOT_ALIVE,
    reference_welfare,
    welfare_quantity,
)
from rbc_marl.analysis.tables import NOT_EVALUATED, TRAINED
from rbc_marl.analysis.verdicts import who
from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.mechanics import Welfare

Row = Mapping[str, Any]
Sentences = tuple[str, str]

_UNKNOWN = "What an economy does is not known without policies."
_WELFARES = {"total": "total welfare", "consumers": "consumers' welfare"}
_SUBJECTS = {"consumer": "consumers", "firm": "firms", "government": "the government"}


def of_economy(
    config: EconomyConfig, became: str, values: Mapping[str, float | None], shopping_share: float | None, rules: str
) -> Sentences:
    """What became of an economy, with its welfare against the rules, and whether consumers look at prices.

    Args:
        config: The economy.
        became: Its outcome (`rbc_marl.analysis.outcomes`).
        values: Its reported quantities and indicators.
        shopping_share: See `rbc_marl.analysis.shopping.Shopping`.
        rules: Name of the rule-based economy that an open one is held against.
    """
    return f"The economy {_became(became)}: {_welfare(config, values, rules)}.", _shopping(shopping_share)


def of_sweep(rows: Sequence[Row], total: int) -> Sentences:
    """What became of the runs of a sweep, and what the living ones are like.

    Args:
        rows: Of the runs that ended.
        total: How many there are.
    """
    counts = Counter(str(row["outcome"]) for row in rows)
    if not counts:
        return f"None of {total} runs has ended yet.", "There is nothing to compare."
    if set(counts) == {TRAINED}:
        return f"{counts[TRAINED]} of {total} runs are trained.", _UNKNOWN
    others = [f"{count} {outcome}" for outcome, count in counts.most_common() if outcome != LIVING]
    first = ", ".join([f"{counts[LIVING]} of {total} runs are living", *others])
    alive = [row for row in rows if row["outcome"] not in (*NOT_ALIVE, *NOT_EVALUATED)]
    if not alive:
        return f"{first}.", "No economy is alive."
    if checked := [row for row in alive if row.get("epsilon_consumer") is not None]:
        count = sum(row["equilibrium"] == "yes" for row in checked)
        return f"{first}.", f"{count} of {len(checked)} that were checked can be called an equilibrium."
    shares = [row["shopping_share"] for row in alive if row.get("shopping_share") is not None]
    welfare = statistics.median(row["welfare_total"] for row in alive)
    second = f"Those alive have a median total welfare of {welfare:,.0f}"
    if shares:
        second += f"; of what consumers can gain by choosing goods by price, they gain {statistics.mean(shares):.0%}"
    return f"{first}.", f"{second}."


def of_training(iterations: int) -> Sentences:
    """What can be said of a run whose policies cannot be played."""
    return f"The run has trained for {iterations:,} iterations.", _UNKNOWN


def of_deviations(rows: Sequence[Row], outcomes: Mapping[str, str]) -> Sentences:
    """Who gains how much by deviating, and whether that is within the paper's bounds.

    Args:
        rows: A row per deviation checked.
        outcomes: What became of the economy, by checkpoint.
    """
    last = rows[-1]["checkpoint"] if rows else ""
    if outcomes.get(last, LIVING) != LIVING:
        return f"The economy is {outcomes[last]}.", "Small gains by deviating say nothing there."
    own = _checked(rows)
    if not own:
        return "Nobody was checked.", "Whether anybody gains by deviating is not known."
    gains = [f"{subject} {share:.2%}" for subject, share in _largest(own).items()]
    first = f"By the best deviations found, the largest gains over the baseline return are: {', '.join(gains)}."
    beyond, unsure = _outside(own)
    if beyond:
        return first, f"This is beyond the paper's bounds for: {_listed(beyond)}."
    if unsure:
        unsurely = f"but intervals reach beyond for: {_listed(unsure)}"
        return first, f"Nobody surely gains more than the paper's bounds, {unsurely}."
    return first, "All gains, with their intervals, are within the paper's bounds."


def deviations_in_a_sentence(rows: Sequence[Row], outcomes: Mapping[str, str]) -> str:
    """The same in a sentence, beside what became of the economy; arguments as of `of_deviations`."""
    last = rows[-1]["checkpoint"] if rows else ""
    own = _checked(rows)
    if not own:
        return "Whether anybody gains by deviating is not known, for nobody was checked."
    if outcomes.get(last, LIVING) != LIVING:
        return "What agents gain by deviating says little in such an economy."
    gains = _in_a_row([f"{subject} {share:.2%}" for subject, share in _largest(own).items()])
    first = f"The best deviations found gain {gains} over the baseline return"
    beyond, unsure = _outside(own)
    if beyond:
        return f"{first}: beyond the paper's bounds for {_listed(beyond)}."
    if unsure:
        return f"{first}: nobody surely more than the paper's bounds, but intervals reach beyond for {_listed(unsure)}."
    return f"{first}: all, with their intervals, within the paper's bounds."


def _checked(rows: Sequence[Row]) -> list[Row]:
    """Rows about the last checkpoint whose gains can be held against a level."""
    return [row for row in rows if row["checkpoint"] == rows[-1]["checkpoint"] and row["level"]]


def _largest(rows: Sequence[Row]) -> dict[str, float]:
    """The largest gain of each agent type, as a share of the baseline return, by who gains it."""
    worst = [
        max(members, key=_share) for kind in AGENT_TYPES if (members := [r for r in rows if r["agent_type"] == kind])
    ]
    return {_subject(row): max(_share(row), 0.0) for row in worst}


def _outside(rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    """Who gains more than the paper's bounds beyond doubt; and whose interval holds the bound."""
    beyond = [_subject(row) for row in rows if _end(row, "gain_low") > row["paper_bound"]]
    unsure = [_subject(row) for row in rows if _end(row, "gain_low") <= row["paper_bound"] < _end(row, "gain_high")]
    return beyond, unsure


def _became(became: str) -> str:
    words = {COLLAPSED: "has collapsed, for hardly anybody works", DEAD: "is dead, for nothing is sold"}
    return "cannot be judged" if became == FAILED else words.get(became, f"is {became}")


def _welfare(config: EconomyConfig, values: Mapping[str, float | None], rules: str) -> str:
    if not config.open_economy:
        share = values.get("planner_share")
        known = "cannot be held against a planner's" if share is None else f"is {share:.1%} of a planner's"
        return f"consumers' welfare {known}"
    name = config.welfare.title if isinstance(config.welfare, Welfare) else _WELFARES[config.welfare]
    own = values[welfare_quantity(config)] or 0.0
    reference = reference_welfare(config, rules)
    economy = "the best rule-based economy" if rules == BEST else f"the rule-based economy {rules}"
    if reference <= 0.0:
        return f"its {name} is {own:,.0f}, where that of {economy} is {reference:,.0f}"
    return f"its {name} is {own / reference:.0%} of that of {economy}"


def _shopping(share: float | None) -> str:
    if share is None:
        return "There is nothing to gain by choosing goods by price."
    return f"Of what consumers can gain by choosing goods by price, they gain {share:.0%}."


def _share(row: Row) -> float:
    return float(row["gain"]) / abs(float(row["level"]))


def _end(row: Row, end: str) -> float:
    return float(row[end]) / abs(float(row["level"]))


def _subject(row: Row) -> str:
    return who(row) if row.get("agent") is not None else _SUBJECTS[str(row["agent_type"])]


def _listed(names: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(names))
    return ", ".join(distinct[:3]) + (f" and {len(distinct) - 3} others" if len(distinct) > 3 else "")


def _in_a_row(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
