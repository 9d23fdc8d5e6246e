"""The portrait of an economy: how episodes go on average, and what every firm does in one (the paper's Figure 2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rbc_marl.analysis.charts import COLOURS
from rbc_marl.analysis.drawing import new_figure, save_figure
from rbc_marl.analysis.rollouts import Episodes
from rbc_marl.errors import require

# Panels of paths: title, unit, and the quantities of `rbc_marl.analysis.metrics` that are drawn, each with its words.
PATHS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("prices", "money per unit", {"price": "mean over firms"}),
    ("wages", "money per hour", {"wage": "mean over firms"}),
    ("work", "hours per consumer", {"hours": "hours"}),
    ("goods", "units per consumer", {"output": "made", "consumption": "bought", "exports": "exported"}),
    ("taxes", "%", {"income_tax": "income", "corporate_tax": "corporate"}),
    ("consumers", "utility per consumer", {"consumer_reward": "utility"}),
)
# What is shown of every firm and period of one episode: a field of `Episodes.firms`, its words, and its colours.
ROLLOUT = {
    "price": ("price (money per unit)", "cividis"),
    "sales": ("units sold at home", "Blues"),
    "exports": ("units exported", "Oranges"),
}
# Ends of the bands, in per cent of the episodes.
BAND = (10, 90)
# More cells than this have no room for their numbers.
_MOST_NUMBERS = 150


def portrait(episodes: Episodes, path: str | Path, title: str = "") -> Path:
    """Draw the paths of an episode, with bands over episodes, and every firm in every period of the first one.

    Args:
        episodes: Played with ``record=True``.
        path: Where the picture goes; its suffix says its format.
        title: Of the picture, such as the name of the policies.

    Returns:
        The path.

    Raises:
        ConfigError: The episodes were not recorded.
        MissingExtraError: matplotlib is not installed.
    """
    episodes.require_periods()
    figure = new_figure(11.0, 9.0)
    counted = f"mean of {episodes.num_episodes} episodes, and the middle {BAND[1] - BAND[0]}% of them"
    figure.suptitle(f"{title}: {counted}; below, the first episode" if title else counted, fontsize="medium")
    periods = np.arange(1, episodes.config.horizon + 1)
    for number, (name, unit, quantities) in enumerate(PATHS, start=1):
        axes = figure.add_subplot(3, 3, number)
        for colour, (quantity, words) in zip(COLOURS, quantities.items(), strict=False):
            values = episodes.periods[quantity].double().numpy() * (100.0 if unit == "%" else 1.0)
            axes.fill_between(periods, *np.percentile(values, BAND, axis=0), color=colour, alpha=0.2, linewidth=0)
            axes.plot(periods, values.mean(axis=0), ".-", color=colour, label=words)
        axes.set(title=name, ylabel=unit, xlabel="period")
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.xaxis.get_major_locator().set_params(integer=True)
        if len(quantities) > 1:
            axes.legend(fontsize="small")
    for number, (name, (words, colours)) in enumerate(ROLLOUT.items(), start=7):
        axes = figure.add_subplot(3, 3, number)
        _cells(axes, episodes.firms[name][0].numpy().T, colours)
        axes.set(title=words, xlabel="period", ylabel="firm")
    return save_figure(figure, path)


def _cells(axes: Any, values: Any, colours: str) -> None:  # noqa: ANN401 - matplotlib is optional
    """A number in every cell, on a ground that is the darker, the larger it is; rows are firms, columns periods."""
    firms, periods = values.shape
    image = axes.imshow(values, cmap=colours, aspect="auto", extent=(0.5, periods + 0.5, firms - 0.5, -0.5))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.yaxis.get_major_locator().set_params(integer=True)
    if values.size > _MOST_NUMBERS:
        axes.figure.colorbar(image, ax=axes)
        return
    effects = require("matplotlib.patheffects", "analysis")
    outline = [effects.withStroke(linewidth=1.5, foreground="white")]  # legible on every ground
    for firm in range(firms):
        for period in range(periods):
            text = f"{values[firm, period]:,.0f}"
            axes.text(period + 1, firm, text, ha="center", va="center", fontsize=6, path_effects=outline)
