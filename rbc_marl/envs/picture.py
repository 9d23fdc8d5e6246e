"""An economy as a picture: who works for whom, and how goods, money and welfare move (extra "analysis")."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rbc_marl.config import EconomyConfig
from rbc_marl.economy import EconomyState
from rbc_marl.envs.infos import PlayedPeriod, welfares
from rbc_marl.envs.render import number, title
from rbc_marl.errors import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

WIDTH, HEIGHT, DPI = 12.8, 7.2, 100
# Radius of the ring of firms.
RING = 0.97
INK, FAINT = "#22313f", "#b9c2cb"
SOLD, EXPORTED, UNSOLD = "#2a7fb8", "#f2a541", "#d5dce3"
GAIN, LOSS = "#3c9d6e", "#c8553d"
# Golden angle: points placed on a spiral with it never line up.
GOLDEN_ANGLE = math.pi * (3.0 - math.sqrt(5.0))


EPISODE_MEASURES: dict[str, Callable[[PlayedPeriod], float]] = {
    "Hours per consumer": lambda period: float(period.flows.hours.mean()),
    "Units per consumer": lambda period: float(period.flows.consumption[0].sum(-1).mean()),
    "Welfare": lambda period: float(period.flows.government_reward[0]),
}


def picture(config: EconomyConfig, state: EconomyState, history: list[PlayedPeriod]) -> NDArray[np.uint8]:
    """Draw the economy.

    Left, the labour market of the last period: firms stand in a ring (coloured by the price in force), and behind each
    a dot for every consumer who works there (coloured by consumption, larger for more hours); those without work are
    in the middle. Right, goods and profits by firm in the last period, and the episode so far.

    Args:
        config: The economy.
        state: Now (B = 1).
        history: Periods played so far; may be empty.

    Returns:
        uint8 [720, 1280, 3].

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure_module = require("matplotlib.figure", "analysis")
    agg = require("matplotlib.backends.backend_agg", "analysis")
    # A bare Figure: pyplot would keep it, and choose a backend, for the whole process.
    figure: Figure = figure_module.Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, facecolor="white")
    canvas = agg.FigureCanvasAgg(figure)
    figure.text(0.02, 0.955, title(config, state), fontsize=15, color=INK, weight="bold")
    figure.text(0.02, 0.918, _subtitle(config, state, history), fontsize=10.5, color=INK)
    _draw_labour_market(figure, config, state, history)
    grid = figure.add_gridspec(3, 3, left=0.54, right=0.985, bottom=0.075, top=0.85, wspace=0.35, hspace=0.6)
    _draw_goods(figure.add_subplot(grid[0, :]), config, state, history)
    _draw_profits(figure.add_subplot(grid[1, :]), config, history)
    for column, (label, measure) in enumerate(EPISODE_MEASURES.items()):
        _draw_episode(figure.add_subplot(grid[2, column]), config, [measure(period) for period in history], label)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _subtitle(config: EconomyConfig, state: EconomyState, history: list[PlayedPeriod]) -> str:
    source = history[-1].before if history else state
    text = f"income tax {float(source.income_tax[0]):.0%}, corporate tax {float(source.corporate_tax[0]):.0%}"
    if not history:
        return f"{text}; no period has been played"
    consumers, total = (number(value) for value in welfares(config, history[-1].flows))
    pool = number(float(history[-1].flows.tax_pool[0]))
    return f"{text}, taxes shared out {pool}; welfare of the period {consumers} (consumers), {total} (with firms)"


def _draw_labour_market(
    figure: Figure, config: EconomyConfig, state: EconomyState, history: list[PlayedPeriod]
) -> None:
    axes = figure.add_axes((0.0, 0.13, 0.51, 0.77))
    axes.axis("off")
    in_force = history[-1].before if history else state
    hours = history[-1].flows.hours[0].numpy() if history else np.zeros(config.num_consumers)
    employer = history[-1].employer.numpy() if history else np.zeros(config.num_consumers, np.int64)
    units = history[-1].flows.consumption[0].sum(-1).numpy() if history else np.zeros(config.num_consumers)
    dots, spacing = _consumer_places(config.num_firms, employer, hours)
    extent = max(1.3, float(np.abs(dots).max()) + spacing)
    axes.set(xlim=(-extent, extent), ylim=(-extent, extent), aspect="equal")
    effort = hours / (max(config.hours_choices) or 1.0)
    consumers = axes.scatter(
        dots[:, 0], dots[:, 1], s=_points(axes, 0.85 * spacing) ** 2 * (0.3 + 0.7 * effort), c=units, cmap="viridis",
        vmin=0.0, vmax=max(1.0, units.max()), linewidths=0,
    )  # fmt: skip
    side = min(0.2, 0.75 * 2 * math.pi * RING / config.num_firms)
    places = RING * _directions(config.num_firms)
    firms = axes.scatter(
        places[:, 0], places[:, 1], s=_points(axes, side) ** 2, c=in_force.price[0].numpy(), cmap="OrRd", marker="s",
        vmin=0.0, vmax=max(1.0, 1.4 * max(config.initial_price, *config.price_choices)), edgecolors=INK,
    )  # fmt: skip
    _label_firms(axes, config, in_force)
    idle = int((hours <= 0).sum())
    caption = f"Firms and those who work for them (larger: more hours); {idle} without work in the middle"
    figure.text(0.255, 0.112, caption, ha="center", fontsize=9, color=INK)
    _colour_bar(figure, firms, "price in force", 0.05)
    _colour_bar(figure, consumers, "units consumed", 0.29)


def _label_firms(axes: Axes, config: EconomyConfig, in_force: EconomyState) -> None:
    """Numbers in the squares and prices and wages inside the ring, where there is room."""
    price, wage = in_force.price[0].tolist(), in_force.wage[0].tolist()
    for i, (x, y) in enumerate(_directions(config.num_firms)):
        if config.num_firms <= 24:
            axes.text(RING * x, RING * y, str(i), ha="center", va="center", fontsize=9, color=INK, weight="bold")
        if config.num_firms <= 12:
            text = f"price {price[i]:,.0f}\nwage {wage[i]:,.0f}"
            axes.text(0.64 * x, 0.73 * y, text, ha="center", va="center", fontsize=7.5, color=INK, linespacing=1.15)


def _colour_bar(figure: Figure, drawn: ScalarMappable, label: str, left: float) -> None:
    axes = figure.add_axes((left, 0.073, 0.17, 0.014))
    bar = figure.colorbar(drawn, cax=axes, orientation="horizontal")
    bar.outline.set_visible(False)
    axes.tick_params(labelsize=7.5, length=2, colors=INK)
    axes.set_xlabel(label, fontsize=8.5, color=INK, labelpad=2)


def _points(axes: Axes, length: float) -> float:
    """A length of the map in points, for marker sizes."""
    low, high = axes.get_ylim()
    return length * 72.0 * axes.get_position().height * HEIGHT / (high - low)


def _directions(count: int) -> NDArray[np.float64]:
    """Unit vectors around a circle, the first upwards, clockwise [count, 2]."""
    angles = np.pi / 2 - 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _consumer_places(
    num_firms: int, employer: NDArray[np.int64], hours: NDArray[Any]
) -> tuple[NDArray[np.float64], float]:
    """Where each consumer is drawn [C, 2], and the distance between neighbours.

    Workers stand in a beam behind their firm, all beams equally wide, so that their lengths compare; those without work
    stand on a spiral in the middle.
    """
    is_working = hours > 0
    staff = np.bincount(employer[is_working], minlength=num_firms)
    columns, spacing = _beam(int(staff.max()), num_firms)
    places = np.empty((len(employer), 2))
    for firm, outwards in enumerate(_directions(num_firms)):
        members = np.flatnonzero(is_working & (employer == firm))
        rank = np.arange(len(members))
        along = 1.13 + spacing * (rank // columns)
        across = spacing * (rank % columns - (columns - 1) / 2)
        sideways = np.array([outwards[1], -outwards[0]])
        places[members] = along[:, None] * outwards + across[:, None] * sideways
    idle = np.flatnonzero(~is_working)
    turn = np.arange(len(idle))
    radius = min(0.6 * spacing, 0.4 / math.sqrt(max(len(idle), 1))) * np.sqrt(turn)
    places[idle] = radius[:, None] * np.stack([np.cos(turn * GOLDEN_ANGLE), np.sin(turn * GOLDEN_ANGLE)], axis=1)
    return places, spacing


def _beam(longest: int, num_firms: int) -> tuple[int, float]:
    """Columns of a beam and the distance between its dots, so that the largest staff fits behind its firm."""
    slot = 0.85 * 2 * math.pi * RING / max(num_firms, 6)
    spacing = 0.085
    while True:
        columns = max(1, min(int(slot / spacing), 2 if longest <= 12 else 10_000))
        if math.ceil(longest / columns) * spacing <= 0.56:
            return columns, spacing
        spacing *= 0.9


def _draw_goods(axes: Axes, config: EconomyConfig, state: EconomyState, history: list[PlayedPeriod]) -> None:
    """Stacked bars: what each firm sold, exported and kept of what it had; a line: what it made for the next period."""
    firms = np.arange(config.num_firms)
    _style(axes, "Goods by firm, units")
    if not history:
        axes.bar(firms, state.inventory[0].numpy(), color=UNSOLD, label="in stock")
    else:
        last = history[-1]
        sold, exported = last.flows.sales[0].numpy(), last.flows.exports[0].numpy()
        unsold = np.maximum(last.before.inventory[0].numpy() - sold - exported, 0.0)
        axes.bar(firms, sold, color=SOLD, label="sold")
        axes.bar(firms, exported, bottom=sold, color=EXPORTED, label="exported")
        axes.bar(firms, unsold, bottom=sold + exported, color=UNSOLD, label="left over")
        output = last.flows.output[0].numpy()
        axes.hlines(output, firms - 0.32, firms + 0.32, color=INK, linewidth=2, label="made for the next period")
    axes.set_ylim(0.0, 1.08 * max(1.0, axes.dataLim.y1))
    axes.legend(
        fontsize=8, frameon=False, ncols=4, loc="lower right", bbox_to_anchor=(1.01, 0.97), handlelength=1.2,
        columnspacing=1.0,
    )  # fmt: skip
    _firm_axis(axes, config)


def _draw_profits(axes: Axes, config: EconomyConfig, history: list[PlayedPeriod]) -> None:
    _style(axes, "Profit by firm after tax, thousands")
    profit = np.zeros(config.num_firms)
    if history:
        flows = history[-1].flows
        profit = (flows.profit - flows.corporate_tax_paid)[0].numpy() / 1000.0
    axes.bar(np.arange(config.num_firms), profit, color=np.where(profit >= 0, GAIN, LOSS))
    axes.axhline(0.0, color=INK, linewidth=0.8)
    axes.set_ylim(1.12 * min(0.0, profit.min()) - 0.1, 1.12 * max(0.0, profit.max()) + 0.9)
    _firm_axis(axes, config)


def _draw_episode(axes: Axes, config: EconomyConfig, values: list[float], label: str) -> None:
    """A quantity over the episode so far."""
    _style(axes, label)
    periods = range(1, len(values) + 1)
    axes.plot(periods, values, color=SOLD, marker="o", markersize=4 if config.horizon <= 40 else 0)
    axes.set_xlim(0.5, config.horizon + 0.5)
    low, high = min([0.0, *values]), max([1.0, *values])
    margin = 0.1 * (high - low)
    axes.set_ylim(low - (margin if low < 0 else 0.0), high + margin)
    axes.set_xticks(range(1, config.horizon + 1, math.ceil(config.horizon / 5)))
    axes.set_xlabel("period", fontsize=8, color=INK, labelpad=1)


def _style(axes: Axes, label: str) -> None:
    axes.set_title(label, fontsize=10, color=INK, loc="left", weight="bold")
    axes.tick_params(labelsize=8, colors=INK, length=2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)


def _firm_axis(axes: Axes, config: EconomyConfig) -> None:
    """A firm a tick; few firms keep slim bars."""
    middle, half = (config.num_firms - 1) / 2, max(config.num_firms, 5) / 2 + 0.1
    axes.set_xlim(middle - half, middle + half)
    step = math.ceil(config.num_firms / 20)
    axes.set_xticks(range(0, config.num_firms, step))
