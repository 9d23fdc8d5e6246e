"""Figures of responses: how a shock or a reform changes the path of an economy, and of whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rbc_marl.analysis.charts import Chart, Line, Points, Rule

if TYPE_CHECKING:
    from rbc_marl.analysis.treatments import Response, Responses

# Who plays under a treatment, in words of a legend.
WHO = {"kept": "policies kept", "learned": "learned on"}

# What is drawn, in this order, and in how many per cent of what it is without; None: as it is.
_PATHS = {
    "output": "output",
    "consumption": "consumption",
    "exports": "exports",
    "hours": "hours",
    "wage": "wage",
    "price": "price",
    "investment": "investment",
    "firm_reward": "profit of a firm",
    "welfare_total": "total welfare",
}


def responses(found: Responses) -> list[Chart]:
    """How a treatment changes the path of an economy, and what it changes for groups of consumers.

    Args:
        found: Of `rbc_marl.analysis.treatments`.

    Returns:
        A chart for each quantity, in per cent of its mean over periods without the treatment, and one for each of
        consumption, hours and utility by group of consumers: means over pairs of episodes with 95% intervals. Where
        some learned on under the treatment, both paths are in it.
    """
    paths = [_path(found, quantity, words) for quantity, words in _PATHS.items()]
    return [*(chart for chart in paths if chart is not None), *_groups(found)]


def _path(found: Responses, quantity: str, words: str) -> Chart | None:
    """A quantity's path; None where there is nothing of it."""
    path = found.of(quantity)
    level = sum(one.without for one in path) / len(path)
    if level == 0.0:
        return None
    scale = 100.0 / abs(level)
    lines = [_line(found, found.of(quantity, policies=who), scale) for who in found.policies]
    caption = (
        f"{words.capitalize()}, {found.treatment}: difference by period in per cent of its mean without, {level:,.4g} "
        f"({path[0].unit}); means of {found.episodes} pairs of episodes with 95% intervals."
    )
    marks = (Rule(0.0), Rule(float(found.first), axis="x"))
    return Chart(f"response-{quantity}", words, "period", "difference (%)", (*lines, *marks), caption)


def _line(found: Responses, path: list[Response], scale: float) -> Line:
    low, high = [scale * one.low for one in path], [scale * one.high for one in path]
    values = [scale * one.difference for one in path]
    return Line([float(one.period) for one in path], values, low=low, high=high, has_dots=True, **_of(found, path))


def _of(found: Responses, path: list[Response]) -> dict[str, Any]:
    """Label and colour of what belongs to some policies, where there are several."""
    number = found.policies.index(path[0].policies)
    return {"label": WHO[path[0].policies], "colour": number} if len(found.policies) > 1 else {}


def _groups(found: Responses) -> list[Chart]:
    charts = []
    for quantity in dict.fromkeys(one.quantity for one in found.means):
        rows = [one for one in found.means if one.quantity == quantity]
        points = []
        for who in found.policies:
            own = [one for one in rows if one.policies == who]
            points.append(
                Points(
                    [float(one.group or 0) for one in own],
                    [one.difference for one in own],
                    low=[one.low for one in own],
                    high=[one.high for one in own],
                    **_of(found, own),
                )
            )
        caption = (
            f"{quantity.capitalize()} of groups of consumers, {found.treatment}: difference in {rows[0].unit}, means "
            f"of periods {found.first} to {found.horizon} and of {found.episodes} pairs of episodes with 95% intervals."
        )
        x, y = "consumers, the least utility first", f"difference ({rows[0].unit.partition(',')[0]})"
        name, words = f"response-groups-{quantity}", f"{quantity}, by group"
        charts.append(Chart(name, words, x, y, (*points, Rule(0.0)), caption))
    return charts
