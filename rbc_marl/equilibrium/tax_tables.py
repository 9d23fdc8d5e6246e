"""Learned taxes against fixed ones: paired seeds, collapsed runs included, intervals by bootstrap."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rbc_marl.equilibrium.taxes import PAPER_GRID, SUBSTITUTES, Pair, by_rates, pair_of

Row = Mapping[str, Any]

RESAMPLES = 10_000


@dataclass(frozen=True)
class Comparison:
    """A learned policy against the best of some fixed pairs, on the seeds that all of them have."""

    welfare: str
    against: str
    """Which pairs: "every pair" or "equal rates of 20-80%"."""
    pairs: int
    """How many there are."""
    seeds: tuple[int, ...]
    best: Pair
    """The pair with the highest mean on these very seeds."""
    learned: float
    """Mean welfare of the learned policy."""
    fixed: float
    """Mean welfare of the best pair: too high by the luck of being picked on the seeds it is judged on."""
    held_out: float
    """Mean over seeds of the pair that is best on all others: free of that luck. NaN with one seed."""
    difference: tuple[float, float]
    """95% interval of ``learned - fixed``, over seeds, the best pair picked anew in every resample."""
    ratio: float | None
    """``learned / fixed``; None where the fixed mean is not positive."""
    ratio_interval: tuple[float, float] | None
    """Likewise; an end is infinite where resamples have a fixed mean that is not positive."""


def compare(rows: Sequence[Row], welfare: str, equal_rates_only: bool = False, seed: int = 0) -> Comparison | None:
    """Hold the policy learned for a welfare against fixed pairs of rates.

    Args:
        rows: Of a sweep of taxes.
        welfare: "total" or "consumers".
        equal_rates_only: Whether only the paper's grid counts.
        seed: Of the bootstrap.

    Returns:
        The comparison; None where no learned run shares a seed with the fixed ones.
    """
    name = f"welfare_{welfare}"
    learned = {row["seed"]: row[name] for row in rows if row["policy"] == "learned" and row["welfare"] == welfare}
    fixed = by_rates(rows, name)
    if equal_rates_only:
        fixed = {pair: values for pair, values in fixed.items() if pair in PAPER_GRID}
    # Pairs that a coarse grid left behind have fewer seeds than the learned policy, and are not compared.
    fixed = {pair: values for pair, values in fixed.items() if learned.keys() <= values.keys()}
    if not learned or not fixed:
        return None
    seeds, pairs = sorted(learned), sorted(fixed)
    gained = np.array([learned[s] for s in seeds])
    table = np.array([[fixed[pair][s] for s in seeds] for pair in pairs])
    best = int(table.mean(axis=1).argmax())
    differences, ratios = _resampled(gained, table, seed)
    mean, fixed_mean = float(gained.mean()), float(table[best].mean())
    return Comparison(
        welfare=welfare,
        against="equal rates of 20-80%" if equal_rates_only else "every pair",
        pairs=len(pairs),
        seeds=tuple(seeds),
        best=pairs[best],
        learned=mean,
        fixed=fixed_mean,
        held_out=_held_out(table),
        difference=_interval(differences),
        ratio=mean / fixed_mean if fixed_mean > 0 else None,
        ratio_interval=_interval(ratios) if fixed_mean > 0 else None,
    )


def comparisons(rows: Sequence[Row]) -> list[Comparison]:
    """Every definition of welfare that was learned for, against every pair and against the paper's grid."""
    learned = dict.fromkeys(row["welfare"] for row in rows if row["policy"] == "learned")
    found = [compare(rows, welfare, equal) for welfare in learned for equal in (False, True)]
    return [one for one in found if one is not None]


def to_dict(rows: Sequence[Row], anchors: Sequence[Row] = ()) -> dict[str, Any]:
    """Plain data for JSON: the comparisons and the rule-based anchors."""
    return {"comparisons": [_finite(asdict(one)) for one in comparisons(rows)], "anchors": list(anchors)}


def tax_summary(rows: Sequence[Row], anchors: Sequence[Row] = ()) -> str:
    """The experiment as Markdown: comparisons, what each policy came to, and economies run by rules."""
    lines = []
    for one in comparisons(rows):
        low, high = one.difference
        line = (
            f"- Welfare ({one.welfare}), {len(one.seeds)} seeds, against {one.against} ({one.pairs}): learned "
            f"{one.learned:,.0f}, best fixed pair {one.best[0]:.0%} income / {one.best[1]:.0%} corporate "
            f"{one.fixed:,.0f}; difference {one.learned - one.fixed:+,.0f} (95% interval {low:+,.0f} to {high:+,.0f})"
        )
        if one.ratio is not None and one.ratio_interval is not None:
            line += f", ratio {one.ratio:.2f} ({one.ratio_interval[0]:.2f} to {one.ratio_interval[1]:.2f})"
        else:
            line += ", no ratio: the fixed mean is not positive"
        if math.isfinite(one.held_out):
            line += f"; best pair of the other seeds {one.held_out:,.0f}"
        lines.append(line)
    note = (
        "Means count collapsed runs. The best fixed pair is picked on the seeds on which it is then compared, which "
        'flatters it; intervals resample seeds and pick it anew each time, and "best pair of the other seeds" judges '
        "each seed by the pair that is best on all others."
    )
    return "\n".join([*lines, "", note, "", *_policies(rows), "", *_anchors(anchors)]).rstrip()


def _policies(rows: Sequence[Row]) -> list[str]:
    """A table with a line per policy: learned ones, the same with other governments, then fixed pairs."""
    head = ("policy", "seeds", "collapsed", "total welfare", "± se", "consumers' welfare", "± se", "hours")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for welfare in dict.fromkeys(row["welfare"] for row in rows if row["policy"] == "learned"):
        own = [row for row in rows if row["policy"] == "learned" and row["welfare"] == welfare]
        lines.append(_line(f"learned for {welfare}", own))
        for name in SUBSTITUTES:
            if all(f"{name}_welfare_total" in row for row in own):
                words = "states shuffled" if name == "shuffled" else f"government {name.replace('_', ' ')}"
                lines.append(_line(f"learned for {welfare}, {words}", own, f"{name}_"))
    for pair in sorted({pair for row in rows if (pair := pair_of(row)) is not None}):
        lines.append(_line(f"fixed {pair[0]:.0%} / {pair[1]:.0%}", [row for row in rows if pair_of(row) == pair]))
    return lines


def _line(name: str, rows: Sequence[Row], prefix: str = "") -> str:
    cells = [name, str(len(rows)), "" if prefix else str(sum(row["outcome"] == "collapsed" for row in rows))]
    for quantity in ("welfare_total", "welfare_consumers"):
        values = np.array([row[f"{prefix}{quantity}"] for row in rows])
        error = f"{values.std(ddof=1) / math.sqrt(len(values)):,.0f}" if len(values) > 1 else ""
        cells += [f"{values.mean():,.0f}", error]
    cells.append(f"{np.mean([row[f'{prefix}hours'] for row in rows]):.0f}")
    return "| " + " | ".join(cells) + " |"


def _anchors(anchors: Sequence[Row]) -> list[str]:
    if not anchors:
        return []
    lines = ["| economy run by rules | government | total welfare | consumers' welfare | hours |", "|" + "---|" * 5]
    for row in anchors:
        cells = [row["rules"].replace("_", " "), row["government"].replace("_", " ")]
        cells += [f"{row[name]:,.0f}" for name in ("welfare_total", "welfare_consumers", "hours")]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _resampled(learned: Any, table: Any, seed: int) -> tuple[Any, Any]:  # noqa: ANN401 - arrays [S], [P, S]
    """Differences and ratios [R] of resampled seeds, the best pair picked anew in each."""
    count = len(learned)
    drawn = np.random.default_rng(seed).integers(count, size=(RESAMPLES, count))
    weights = np.stack([np.bincount(row, minlength=count) for row in drawn]) / count  # [R, S]
    best = (weights @ table.T).max(axis=1)
    own = weights @ learned
    return own - best, np.divide(own, best, out=np.full(RESAMPLES, math.inf), where=best > 0)


def _held_out(table: Any) -> float:  # noqa: ANN401 - an array [P, S]
    count = table.shape[1]
    if count < 2:
        return math.nan
    others = (table.sum(axis=1, keepdims=True) - table) / (count - 1)
    return float(table[others.argmax(axis=0), np.arange(count)].mean())


def _interval(values: Any) -> tuple[float, float]:  # noqa: ANN401 - an array
    ordered = np.sort(values)
    low, high = int(0.025 * len(ordered)), math.ceil(0.975 * len(ordered)) - 1
    return float(ordered[low]), float(ordered[high])


def _finite(value: Any) -> Any:  # noqa: ANN401 - plain data
    """The same without NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
