"""Learned taxes against fixed ones: paired seeds, collapsed runs counted, no pair judged on seeds that picked it.

Functions of policies, which measure, and of the rows of a sweep of taxes, which compare.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from rbc_marl.analysis.outcomes import CANDIDATES, NOT_ALIVE
from rbc_marl.analysis.rollouts import Evaluation, evaluate, play
from rbc_marl.analysis.tables import NOT_EVALUATED, markdown_table
from rbc_marl.config import EconomyConfig
from rbc_marl.errors import require
from rbc_marl.policies.scripted import GOVERNMENTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rbc_marl.policies import Policies

Pair = tuple[float, float]
Row = Mapping[str, Any]

# The rates of the paper's fixed policies: equal for both taxes.
PAPER_GRID: tuple[Pair, ...] = ((0.2, 0.2), (0.4, 0.4), (0.6, 0.6), (0.8, 0.8))
SHUFFLED = "shuffled"
# Governments that a learned policy's consumers and firms also meet, without learning again.
SUBSTITUTES = (SHUFFLED, *GOVERNMENTS)
# With fewer seeds an interval would say nothing.
LEAST_SEEDS = 3
# Most fixed pairs that are drawn: those with the highest means.
MOST_PAIRS = 12


def play_substitutes(policies: Policies, episodes: int, seed: int) -> dict[str, float]:
    """How trained consumers and firms fare under governments that they were not trained with.

    "shuffled" plays the trained government's own choices, dealt out anew over episodes and periods (see
    `rbc_marl.policies.combined.shuffled`): the same rates as often, at no particular moment. The others are
    `rbc_marl.policies.scripted.GOVERNMENTS`. Nobody learns again.

    Args:
        policies: Trained ones.
        episodes: Of each evaluation.
        seed: Of the draws, the same for all.

    Returns:
        ``shuffled_welfare_total`` and so on: both welfares and the hours of each.
    """
    import torch

    from rbc_marl.policies.combined import CombinedPolicies, Recording, ReplayedGovernment, shuffled
    from rbc_marl.policies.scripted import ScriptedPolicies

    recording = Recording(policies)
    play(recording, episodes, seed, slab=episodes)
    choices = shuffled(torch.stack(recording.choices), seed)
    governments: dict[str, Policies] = {SHUFFLED: ReplayedGovernment(policies, choices)}
    for name, rates in GOVERNMENTS.items():
        rules = ScriptedPolicies(policies.config, rates, policies.encoding, policies.device)
        governments[name] = CombinedPolicies(policies, government=rules)
    found: dict[str, float] = {}
    for name, government in governments.items():
        means = Evaluation.of(play(government, episodes, seed, slab=episodes)).means
        found |= {f"{name}_{quantity}": means[quantity] for quantity in ("welfare_total", "welfare_consumers", "hours")}
    return found


def play_anchors(economy: EconomyConfig, episodes: int = 256, seed: int = 0) -> list[dict[str, Any]]:
    """Economies run by rules alone, under each rule-based government: what trained ones are held against.

    Returns:
        Plain data, a row per economy and government: ``rules``, ``government``, both welfares and the hours.
    """
    from rbc_marl.policies.scripted import RULES, Rules, ScriptedPolicies

    rows = []
    for rules, (name, rates) in product(CANDIDATES, GOVERNMENTS.items()):
        means = evaluate(ScriptedPolicies(economy, Rules(**{**vars(RULES[rules]), **rates})), episodes, seed).means
        quantities = {quantity: means[quantity] for quantity in ("welfare_total", "welfare_consumers", "hours")}
        rows.append({"rules": rules, "government": name, **quantities})
    return rows


def pair_of(row: Row) -> Pair | None:
    """The fixed rates of a run; None where they are learned."""
    return None if row["policy"] == "learned" else (float(row["income"]), float(row["corporate"]))


def by_rates(rows: Sequence[Row], name: str) -> dict[Pair, dict[int, float]]:
    """A quantity of every fixed pair by seed."""
    found: dict[Pair, dict[int, float]] = {}
    for row in rows:
        if (pair := pair_of(row)) is not None and row["outcome"] not in NOT_EVALUATED:
            found.setdefault(pair, {})[row["seed"]] = row[name]
    return found


def kept_pairs(rows: Sequence[Row], welfares: Sequence[str], keep: int) -> set[Pair]:
    """The pairs that get all seeds, by the rows of a coarse grid.

    Args:
        rows: Of every pair, on the same seeds.
        welfares: Definitions of welfare by which pairs are judged: "total", "consumers".
        keep: How many go on by each.

    Returns:
        The best pairs by mean welfare, of each definition, collapsed runs counted; and those of the paper's grid.
    """
    kept = {pair for row in rows if (pair := pair_of(row)) in PAPER_GRID}
    for welfare in welfares:
        values = by_rates(rows, f"welfare_{welfare}")
        means = {pair: sum(seeds.values()) / len(seeds) for pair, seeds in values.items()}
        kept |= set(sorted(means, key=lambda pair: (-means[pair], pair))[:keep])
    return {pair for pair in kept if pair is not None}


def tax_panels(rows: Sequence[Row]) -> dict[str, dict[str, list[float]]]:
    """What `rbc_marl.analysis.figures.sweeps.tax_bars` draws: by definition of welfare, the welfare of each run by bar.

    Bars are the learned policy, the same with its rates shuffled, then the best fixed pairs by their rates.
    """
    panels = {}
    for welfare, learned in _learned(rows).items():
        name = f"welfare_{welfare}"
        panels[welfare] = {"learned": [row[name] for row in learned]}
        if all(f"{SHUFFLED}_{name}" in row for row in learned):
            panels[welfare]["states shuffled"] = [row[f"{SHUFFLED}_{name}"] for row in learned]
        fixed = {pair: list(values.values()) for pair, values in by_rates(rows, name).items()}
        best = sorted(fixed, key=lambda pair: (-float(np.mean(fixed[pair])), pair))[:MOST_PAIRS]
        panels[welfare] |= {f"fixed {pair[0]:.0%} / {pair[1]:.0%}": fixed[pair] for pair in sorted(best)}
    return panels


def _learned(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The evaluated runs of each learned policy, by definition of welfare."""
    learned: dict[str, list[Row]] = {}
    for row in rows:
        if row["policy"] == "learned" and row["outcome"] not in NOT_EVALUATED:
            learned.setdefault(row["welfare"], []).append(row)
    return learned


@dataclass(frozen=True)
class Comparison:
    """A learned policy against the best of some fixed pairs, seed by seed.

    The best pair of a few noisy means is flattered by the luck of having been picked on them. So each seed is judged by
    the pair that is best on all other seeds, and seeds on which a coarse grid picked its pairs judge nothing.
    """

    welfare: str
    against: str
    """Which pairs: "every pair" or "equal rates of 20-80%"."""
    pairs: int
    """How many of them have all seeds."""
    tried: int
    """How many there were, those included that a coarse grid left behind."""
    seeds: tuple[int, ...]
    """Those that judge."""
    learned: float
    """Mean welfare of the learned policy on these seeds."""
    best: Pair
    """The pair with the highest mean on these very seeds."""
    fixed: float
    """Its mean: too high by luck."""
    held_out: float | None
    """Mean, over these seeds, of the pair that is best on all others: free of that luck. None with one seed."""
    difference: tuple[float, float] | None
    """95% interval of learned minus the best pair, whichever that really is; None with fewer than three seeds. It holds
    for all pairs at once: from the least of their lower ends to the least of their upper ends, by Student's t over
    paired seeds, the upper ones corrected for their number (Bonferroni)."""
    ratio: float | None
    """``learned / held_out``; None where that is not positive."""


def compare(
    rows: Sequence[Row], welfare: str, equal_rates_only: bool = False, picked_on: Sequence[int] = ()
) -> Comparison | None:
    """Hold the policy learned for a welfare against fixed pairs of rates.

    Args:
        rows: Of a sweep of taxes.
        welfare: "total" or "consumers".
        equal_rates_only: Whether only the paper's grid counts, which has all seeds whatever a coarse grid says.
        picked_on: Seeds of the coarse grid. Where it left pairs behind they take part in picking the best, and judge
            nothing.

    Returns:
        The comparison; None where no learned run shares a seed with the fixed ones.
    """
    name = f"welfare_{welfare}"
    learned = {row["seed"]: row[name] for row in _learned(rows).get(welfare, ())}
    tried = by_rates(rows, name)
    if equal_rates_only:
        tried = {pair: values for pair, values in tried.items() if pair in PAPER_GRID}
    fixed = {pair: values for pair, values in tried.items() if learned.keys() <= values.keys()}
    if not learned or not fixed:
        return None
    judging = [s not in picked_on or len(fixed) == len(tried) for s in sorted(learned)]
    if not any(judging):
        return None
    seeds, pairs = sorted(learned), sorted(fixed)
    table = np.array([[fixed[pair][s] for s in seeds] for pair in pairs])
    own, others, judged = np.array([learned[s] for s in seeds])[judging], _held_out(table), table[:, judging]
    best = int(judged.mean(axis=1).argmax())
    mean = float(own.mean())
    held_out = None if others is None else float(others[judging].mean())
    return Comparison(
        welfare=welfare,
        against="equal rates of 20-80%" if equal_rates_only else "every pair",
        pairs=len(pairs),
        tried=len(tried),
        seeds=tuple(s for s, judges in zip(seeds, judging, strict=True) if judges),
        learned=mean,
        best=pairs[best],
        fixed=float(judged[best].mean()),
        held_out=held_out,
        difference=_over_best(own - judged) if len(own) >= LEAST_SEEDS else None,
        ratio=mean / held_out if held_out is not None and held_out > 0 else None,
    )


def comparisons(rows: Sequence[Row], picked_on: Sequence[int] = ()) -> list[Comparison]:
    """Every definition of welfare that was learned for, against every pair and against the paper's grid."""
    found = [compare(rows, welfare, equal, picked_on) for welfare in _learned(rows) for equal in (False, True)]
    return [one for one in found if one is not None]


def to_dict(rows: Sequence[Row], anchors: Sequence[Row] = (), picked_on: Sequence[int] = ()) -> dict[str, Any]:
    """Plain data for JSON: the comparisons and the rule-based anchors."""
    return {"comparisons": [_finite(asdict(one)) for one in comparisons(rows, picked_on)], "anchors": list(anchors)}


def tax_summary(rows: Sequence[Row], anchors: Sequence[Row] = (), picked_on: Sequence[int] = ()) -> str:
    """The experiment as Markdown: comparisons, what each policy came to, and economies run by rules."""
    lines = [_sentence(one) for one in comparisons(rows, picked_on)]
    note = (
        "Means count collapsed runs. The best pair is picked on the seeds on which its mean is taken, which flatters "
        "it: what counts is the pair picked on the other seeds, seed by seed. Seeds on which a coarse grid dropped "
        "pairs help to pick, and judge nothing."
    )
    return "\n".join([*lines, "", note, "", _policies(rows), "", _anchors(anchors)]).rstrip()


def _sentence(one: Comparison) -> str:
    count = str(one.pairs) if one.pairs == one.tried else f"the {one.pairs} kept of {one.tried}"
    line = (
        f"- Welfare ({one.welfare}), {len(one.seeds)} seeds, against {one.against} ({count}): "
        f"learned {one.learned:,.0f}; best pair {one.best[0]:.0%} income / {one.best[1]:.0%} corporate {one.fixed:,.0f}"
    )
    if one.held_out is None:
        return line
    line += f"; pair picked on the other seeds {one.held_out:,.0f}, difference {one.learned - one.held_out:+,.0f}"
    line += ", no ratio: that mean is not positive" if one.ratio is None else f", ratio {one.ratio:.2f}"
    if one.difference is None:
        return line
    low, high = one.difference
    return f"{line}; learned minus the best pair, whichever it is, 95% interval {low:+,.0f} to {high:+,.0f}"


def _policies(rows: Sequence[Row]) -> str:
    """A table with a line per policy: learned ones, the same with other governments, then fixed pairs."""
    head = ("policy", "seeds", "collapsed", "total welfare", "± se", "consumers' welfare", "± se", "hours")
    lines = []
    for welfare, own in _learned(rows).items():
        lines.append(_line(f"learned for {welfare}", own))
        for name in SUBSTITUTES:
            if all(f"{name}_welfare_total" in row for row in own):
                words = "states shuffled" if name == "shuffled" else f"government {name.replace('_', ' ')}"
                lines.append(_line(f"learned for {welfare}, {words}", own, f"{name}_"))
    for pair in sorted(by_rates(rows, "hours")):
        own = [row for row in rows if pair_of(row) == pair and row["outcome"] not in NOT_EVALUATED]
        lines.append(_line(f"fixed {pair[0]:.0%} / {pair[1]:.0%}", own))
    return markdown_table(head, lines)


def _line(name: str, rows: Sequence[Row], prefix: str = "") -> list[str]:
    cells = [name, str(len(rows)), "" if prefix else str(sum(row["outcome"] in NOT_ALIVE for row in rows))]
    for quantity in ("welfare_total", "welfare_consumers"):
        values = np.array([row[f"{prefix}{quantity}"] for row in rows])
        error = f"{values.std(ddof=1) / math.sqrt(len(values)):,.0f}" if len(values) > 1 else ""
        cells += [f"{values.mean():,.0f}", error]
    return [*cells, f"{np.mean([row[f'{prefix}hours'] for row in rows]):.0f}"]


def _anchors(anchors: Sequence[Row]) -> str:
    if not anchors:
        return ""
    lines = []
    for row in anchors:
        cells = [row["rules"].replace("_", " "), row["government"].replace("_", " ")]
        lines.append([*cells, *(f"{row[name]:,.0f}" for name in ("welfare_total", "welfare_consumers", "hours"))])
    return markdown_table(["economy run by rules", "government", "total welfare", "consumers' welfare", "hours"], lines)


def _held_out(table: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """From a table [P, S], by seed, the pair that is best on all others [S]; None with one seed."""
    count = table.shape[1]
    if count < 2:
        return None
    others = (table.sum(axis=1, keepdims=True) - table) / (count - 1)
    best: NDArray[np.float64] = table[others.argmax(axis=0), np.arange(count)]
    return best


def _over_best(gains: NDArray[np.float64]) -> tuple[float, float]:
    """Interval of what the learned policy has over the best pair, from what it has over each [P, S]."""
    stats = require("scipy.stats", "analysis")
    pairs, seeds = gains.shape
    means, errors = gains.mean(axis=1), gains.std(axis=1, ddof=1) / math.sqrt(seeds)
    low, high = stats.t.ppf(0.975, seeds - 1), stats.t.ppf(1.0 - 0.025 / pairs, seeds - 1)
    return float((means - low * errors).min()), float((means + high * errors).min())


def _finite(value: Any) -> Any:  # noqa: ANN401 - plain data
    """The same without NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
