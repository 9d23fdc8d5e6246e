"""Figures of economies compared: what a reform changes, and which consumers gain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rbc_marl.analysis.charts import Bars, Chart, Points, Rule

if TYPE_CHECKING:
    from rbc_marl.analysis.comparison import Comparison, GroupGain

# What is drawn, in this order.
_QUANTITIES = {
    "hours": "hours",
    "output": "output",
    "consumption": "consumption",
    "exports": "exports",
    "price": "price",
    "wage": "wage",
    "consumer_return": "utility of a consumer",
    "firm_return": "profit of a firm",
    "welfare_total": "total welfare",
}


def reform(comparison: Comparison) -> list[Chart]:
    """How economies differ from the first, in per cent of it, and what groups of consumers gain.

    Args:
        comparison: Economies that were held against the first of them.

    Returns:
        A chart of differences, then one of gains where the economies have the same consumers: means over pairs of
        episodes with 95% intervals.
    """
    return [*_changes(comparison), *_gains(comparison)]


def _changes(comparison: Comparison) -> list[Chart]:
    first, *others = comparison.economies
    found = {(one.economy, one.quantity): one for one in comparison.changes}
    drawn = [name for name in _QUANTITIES if found[first, name].mean != 0.0]
    layers = []
    for economy in others:
        rows = [(found[economy, name], 100.0 / abs(found[first, name].mean)) for name in drawn]
        ends = ([scale * getattr(one, end) for one, scale in rows] for end in ("difference", "low", "high"))
        sizes, low, high = ends
        words = [_QUANTITIES[name] for name in drawn]
        layers.append(Bars(words, sizes, economy, low, high, is_horizontal=True))
    if not drawn:
        return []
    caption = (
        f"Differences of {' and '.join(others)} to {first}, in per cent of it: means of {comparison.episodes} pairs of "
        "episodes with 95% intervals."
    )
    title = f"what changes from {first}"
    return [Chart("reform", title, "difference (%)", "", tuple(layers), caption, size=(1.35, 1.4))]


def _gains(comparison: Comparison) -> list[Chart]:
    if not comparison.gains:
        return []
    first, *others = comparison.economies
    is_share = all(one.equivalent is not None for one in comparison.gains)
    layers = []
    for number, economy in enumerate(others):
        groups = [one for one in comparison.gains if one.economy == economy]
        at = [one.group + 0.12 * (number - (len(others) - 1) / 2) for one in groups]
        values, low, high = zip(*(_ends(one, is_share) for one in groups), strict=True)
        layers.append(Points(at, list(values), economy, low=list(low), high=list(high)))
    unit = "% of consumption" if is_share else "utility of an episode"
    caption = (
        f"What groups of consumers gain by living in {' or '.join(others)} instead of {first}, {unit}, by their "
        f"utility in {first}: means of {comparison.episodes} pairs of episodes with 95% intervals."
    )
    x = "groups of consumers, the least utility first"
    return [Chart("gains", "who gains", x, f"gain ({unit})", (*layers, Rule(0.0)), caption, size=(1.35, 1.4))]


def _ends(gain: GroupGain, is_share: bool) -> tuple[float, float | None, float | None]:
    """A gain and the ends of its interval, as drawn."""
    if not is_share or gain.equivalent is None or gain.equivalent_low is None or gain.equivalent_high is None:
        return gain.gain, gain.low, gain.high
    return 100.0 * gain.equivalent, 100.0 * gain.equivalent_low, 100.0 * gain.equivalent_high
