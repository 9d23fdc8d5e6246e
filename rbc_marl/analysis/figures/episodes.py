"""Figures of played episodes: paths, firms in every period, flows of money, employers, and who gets how much.

Letters of the shapes: N episodes, T periods, F firms, C consumers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import torch

from rbc_marl.analysis.charts import Arrows, Bars, Boxes, Cells, Chart, Line, Place
from rbc_marl.analysis.figures.numbers import BAND, SMALLEST_TAXES, banded, plain
from rbc_marl.analysis.indicators import gini
from rbc_marl.economy import initial_state

if TYPE_CHECKING:
    from torch import Tensor

    from rbc_marl.analysis.rollouts import Episodes
    from rbc_marl.config import EconomyConfig

# Charts of paths: name, title, unit, and the quantities of `rbc_marl.analysis.metrics` drawn, each with its words.
_PATHS: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    ("prices", "prices", "money per unit", {"price": "mean over firms"}),
    ("wages", "wages", "money per hour", {"wage": "mean over firms"}),
    ("hours", "hours", "hours per consumer", {"hours": "hours"}),
    ("employment", "employment", "% of consumers", {"employment": "who work at all"}),
    ("goods", "goods", "units per consumer", {"output": "made", "consumption": "bought", "exports": "exported"}),
    ("stock", "stock", "units per consumer", {"inventory": "for sale", "unsold": "unsold"}),
    ("taxes", "taxes", "rate (%)", {"income_tax": "income", "corporate_tax": "corporate"}),
    ("utility", "utility", "utility per consumer", {"consumer_reward": "utility"}),
)
_ROLL_OUT: dict[str, tuple[str, Literal["blue", "orange", "grey"]]] = {
    "price": ("price (money per unit)", "grey"),
    "wage": ("wage (money per hour)", "grey"),
    "inventory": ("units for sale", "blue"),
    "sales": ("units sold at home", "blue"),
    "exports": ("units exported", "orange"),
    "labour": ("hours worked for the firm", "blue"),
    "output": ("units made", "blue"),
    "profit": ("profit (money)", "grey"),
}
_FIGURE_2 = ("price", "sales", "exports")
# Groups of consumers in charts that have a row or a point for each.
_MOST_ROWS = 20
_BINS = 24
# What an axis of Gini coefficients shows at least: those of people who are alike look like it.
_SMALL_GINI = 0.2


def paths(episodes: Episodes) -> list[Chart]:
    """How episodes go: means and bands of what is reported of each period.

    Args:
        episodes: Played with ``record=True``. With ``agents=True`` there is a chart of inequality, too.

    Returns:
        Charts of prices, wages, hours, employment, goods, stock, taxes, utility and inequality.

    Raises:
        ConfigError: The episodes were not recorded.
    """
    episodes.require_periods()
    periods = _periods(episodes)
    charts = []
    for name, title, unit, quantities in _PATHS:
        if not episodes.config.open_economy:
            quantities = {quantity: words for quantity, words in quantities.items() if quantity != "exports"}
        scale = 100.0 if "%" in unit else 1.0
        drawn = {words: scale * episodes.periods[quantity].double() for quantity, words in quantities.items()}
        lines = tuple(banded(periods, v, words if len(drawn) > 1 else "") for words, v in drawn.items())
        caption = f"{title.capitalize()} by period, {unit}: {said(episodes)}."
        reach = {"y": SMALLEST_TAXES} if name == "taxes" else {}
        charts.append(Chart(name, title, "period", unit, lines, caption, starts_at_zero=True, includes=reach))
    return [*charts, *_inequality(episodes)]


def roll_out(episodes: Episodes, quantities: Sequence[str] = _FIGURE_2) -> list[Chart]:
    """What every firm does in every period of the first episode (Figure 2 of the paper).

    Args:
        episodes: Played with ``record=True``.
        quantities: "price", "wage", "inventory", "sales", "exports", "labour", "output" or "profit": a chart for each,
            but none of the exports of a closed economy.

    Raises:
        ConfigError: The episodes were not recorded.
    """
    episodes.require_periods()
    columns = _columns(episodes)
    charts = []
    for name in quantities:
        if name == "exports" and not episodes.config.open_economy:
            continue
        words, colour = _ROLL_OUT[name]
        values = episodes.firms[name][0].double().T
        rows = range(values.shape[0])
        cells = Cells([plain(row) for row in values], list(rows), columns, words, colour=colour, starts_at_zero=True)
        caption = f"Of every firm in every period of one episode: {words}."
        charts.append(Chart(f"roll-out-{name}", words, "period", "firm", (cells,), caption))
    return charts


def portrait(episodes: Episodes) -> list[Chart]:
    """The paths of episodes, then every firm in every period of the first one.

    Args:
        episodes: Played with ``record=True``, best with ``agents=True`` (`paths`).

    Raises:
        ConfigError: The episodes were not recorded.
    """
    return [*paths(episodes), *roll_out(episodes)]


def firms(episodes: Episodes) -> list[Chart]:
    """All that is kept of every firm in every period of the first episode; see `roll_out`."""
    return roll_out(episodes, tuple(_ROLL_OUT))


def consumers(episodes: Episodes) -> list[Chart]:
    """Who works for whom, and who gets how much; see `employers`, `distributions` and `paths`."""
    return [*employers(episodes), *distributions(episodes), *_inequality(episodes)]


def said(episodes: Episodes) -> str:
    """What lines and bands are of these episodes, in words."""
    return f"mean of {_count(episodes)}, and the middle {BAND[1] - BAND[0]}% of them"


def money(episodes: Episodes) -> list[Chart]:
    """Flows of money between consumers, firms, the government and abroad (Figure 1 of the paper).

    Args:
        episodes: Played with ``record=True``.

    Returns:
        One chart: arrows as wide as the flows, means over periods and episodes, in money per consumer and period.

    Raises:
        ConfigError: The episodes were not recorded.
    """
    episodes.require_periods()
    flows, is_open = _flows(episodes), episodes.config.open_economy
    places = {"government": (0.5, 0.88), "consumers": (0.16, 0.5), "firms": (0.84, 0.5), "capital": (0.16, 0.1)}
    places |= {"abroad": (0.84, 0.1)} if is_open else {}
    kept = {
        "consumers": sum(_SIGNS["consumers"].get(name, 0) * size for name, size in flows.items()),
        "firms": sum(_SIGNS["firms"].get(name, 0) * size for name, size in flows.items()),
    }
    words = [f"{name}\n(keep {kept[name]:+,.0f})" if name in kept else name for name in places]
    words = [text.replace("-", "\N{MINUS SIGN}") for text in words]
    boxes = Boxes([x for x, _ in places.values()], [y for _, y in places.values()], words, height=0.19)
    drawn = {name: size for name, size in flows.items() if size > 0.0 and (is_open or name != "exports")}
    names = {"income tax": "income and consumption tax"} if _taxes_goods(episodes.config) else {}
    labels = [f"{names.get(name, name)} {size:,.0f}" for name, size in drawn.items()]
    arrows = Arrows(
        [_ARROWS[name][0] for name in drawn],
        [_ARROWS[name][1] for name in drawn],
        list(drawn.values()),
        labels,
        colour=2,
    )
    caption = f"Money per consumer and period, means of {_count(episodes)}: {', '.join(labels)}."
    title = "flows of money (per consumer and period)"
    return [Chart("money", title, "", "", (boxes, arrows), caption, size=(1.7, 1.5))]


def _taxes_goods(config: EconomyConfig) -> bool:
    return config.consumption_tax > 0.0 or (config.shocks is not None and config.shocks.consumption_tax is not None)


# Where the arrow of each flow begins and ends.
_ARROWS = {
    "wages": ((0.7, 0.575), (0.3, 0.575)),
    "spending": ((0.3, 0.425), (0.7, 0.425)),
    "dividends": ((0.7, 0.5), (0.3, 0.5)),
    "income tax": ((0.06, 0.61), (0.36, 0.9)),
    "transfers": ((0.5, 0.77), (0.28, 0.61)),
    "corporate tax": ((0.84, 0.61), (0.64, 0.87)),
    "investment": ((0.72, 0.39), (0.3, 0.16)),
    "exports": ((0.84, 0.21), (0.84, 0.39)),
}
# What each flow does to money: of whom, and whether it comes or goes.
_SIGNS = {
    "consumers": {"wages": 1, "dividends": 1, "transfers": 1, "spending": -1, "income tax": -1},
    "firms": {"spending": 1, "exports": 1, "wages": -1, "investment": -1, "corporate tax": -1, "dividends": -1},
}


def _flows(episodes: Episodes) -> dict[str, float]:
    """Money per consumer and period, by the name of the flow; without grants and interest, which come from nowhere."""
    config = episodes.config
    kept = {name: values.double() for name, values in episodes.firms.items()}
    price, scale = kept["price"], config.num_consumers * config.horizon * episodes.num_episodes
    of_firms = {
        "wages": kept["wage_bill"],
        "spending": price * kept["sales"],
        "dividends": kept["dividends"],
        "corporate tax": kept["corporate_tax_paid"],
        "exports": price * kept["exports"],
        "investment": price * (kept["sales"] + kept["exports"]) - kept["wage_bill"] - kept["profit"],
    }
    flows = {name: float(values.sum()) / scale for name, values in of_firms.items()}
    collected, paid_out = (float(episodes.periods[name].double().mean()) for name in ("tax_revenue", "transfer"))
    flows |= {"income tax": max(collected - flows["corporate tax"], 0.0), "transfers": paid_out}
    # Differences of large sums are rounding where nothing flows.
    largest = max(flows.values())
    return {name: flows[name] if flows[name] > 1e-6 * largest else 0.0 for name in _ARROWS}


def employers(episodes: Episodes) -> list[Chart]:
    """Who works for whom, how much, and when.

    Args:
        episodes: Played with ``agents=True``.

    Returns:
        Charts: the share of each consumer's hours that each firm gets; hours at each firm in each period; hours of each
        consumer, with a band. Nothing without single consumers.
    """
    if not episodes.consumer_periods:
        return []
    config = episodes.config
    hours = episodes.consumer_periods["hours"].double()  # [N, T, C]
    employer = episodes.consumer_periods["employer"].long()
    worked = torch.stack([(hours * (employer == firm)).sum(dim=0) for firm in range(config.num_firms)])  # [F, T, C]
    groups = _groups(config.num_consumers)
    by_group = torch.stack([worked[..., start:end].sum(dim=(1, 2)) for start, end in groups])  # [groups, F]
    total = by_group.sum(dim=1, keepdim=True)
    shares = torch.where(total > 0, 100.0 * by_group / total.clamp(min=1e-9), torch.nan)
    names = [f"{start}-{end - 1}" if end - start > 1 else str(start) for start, end in groups]
    numbers, count = list(range(config.num_firms)), _count(episodes)
    cells = Cells([plain(row) for row in shares], names, numbers, "% of their hours", starts_at_zero=True)
    order = _who_minds_work_least(config)
    who = Chart(
        "employers", "who works for whom (% of their hours)", "firm", "consumers", (cells,),
        f"Share of the hours of consumers that each firm gets, over {count}{order}.",
    )  # fmt: skip
    mean = worked.sum(dim=2) / episodes.num_episodes
    when = Chart(
        "labour", "hours worked for each firm", "period", "firm",
        (Cells([plain(row) for row in mean], numbers, _columns(episodes), "hours", starts_at_zero=True),),
        f"Hours worked for each firm in each period, mean of {count}.",
    )  # fmt: skip
    line = banded(list(range(config.num_consumers)), hours.mean(dim=1), has_dots=False)
    much = Chart(
        "hours-by-consumer", "hours of each consumer", "consumer", "hours per period", (line,),
        f"Hours of each consumer, {said(episodes)}{order}.", starts_at_zero=True,
    )  # fmt: skip
    return [who, when, much]


def _who_minds_work_least(config: EconomyConfig) -> str:
    """What the numbers of consumers say, in words; nothing where all are alike."""
    disutility = initial_state(config, 1).labour_disutility[0]
    if disutility[0] == disutility[-1]:
        return ""
    return f"; consumers of {'small' if disutility[0] < disutility[-1] else 'large'} numbers mind work least"


def distributions(episodes: Episodes) -> list[Chart]:
    """Who gets how much: Lorenz curves and histograms over consumers.

    Args:
        episodes: Played with ``record=True``.

    Returns:
        Charts: Lorenz curves of income, consumption and money with their Gini coefficients, then a histogram each of
        income, consumption, money and utility.

    Raises:
        ConfigError: The episodes were not recorded.
    """
    episodes.require_periods()
    held = {name: episodes.consumers[name].double() for name in ("income", "consumption", "money")}
    histograms = {
        "income": (held["income"], "money received in an episode"),
        "consumption": (held["consumption"], "units of all goods in an episode"),
        "money": (held["money"], "money at the end of an episode"),
        "utility": (episodes.returns["consumer"].double(), "utility of an episode"),
    }
    charts = _lorenz(held, episodes)
    return charts + [_histogram(name, values, unit, episodes) for name, (values, unit) in histograms.items()]


def _lorenz(held: dict[str, Tensor], episodes: Episodes) -> list[Chart]:
    layers, words = [Line([0.0, 100.0], [0.0, 100.0], "all alike", colour=3, is_faint=True)], []
    for name, values in held.items():
        coefficient = gini(values) if float(values.min()) >= 0.0 else None
        if coefficient is None:
            continue
        ordered = values.sort(dim=1).values.mean(dim=0)  # as the Gini: weighted by the totals of episodes
        curve = torch.cat([ordered.new_zeros(1), ordered.cumsum(0) / ordered.sum()])
        x = torch.linspace(0.0, 100.0, len(curve))
        layers.append(Line(x.tolist(), plain(100.0 * curve), f"{name} {coefficient:.2f}"))
        words.append(f"{name} {coefficient:.2f}")
    if not words:
        return []
    caption = f"Lorenz curves over consumers, means of {_count(episodes)}. Gini coefficients: {', '.join(words)}."
    x_words, y_words = "consumers, the poorest first (%)", "share of the total (%)"
    return [Chart("lorenz", "Lorenz curves (Gini coefficients)", x_words, y_words, tuple(layers), caption)]


def _histogram(name: str, values: Tensor, unit: str, episodes: Episodes) -> Chart:
    flat = values.flatten()
    low, high = float(flat.min()), float(flat.max())
    edges = torch.linspace(low, high if high > low else low + 1.0, _BINS + 1, dtype=torch.float64)
    counts = torch.histogram(flat.cpu(), edges).hist
    middles = (edges[:-1] + edges[1:]) / 2
    bars = Bars(middles.tolist(), plain(100.0 * counts / counts.sum()))
    caption = f"Histogram of the {unit}, over the consumers of {_count(episodes)}."
    return Chart(f"histogram-{name}", name, unit, "% of consumers", (bars,), caption)


def _inequality(episodes: Episodes) -> list[Chart]:
    """Gini coefficients of each period; the mean over episodes of each episode's own."""
    if not episodes.consumer_periods:
        return []
    lines = []
    for name, words in (("consumption", "consumption"), ("budget", "money")):
        values = episodes.consumer_periods[name].double()
        if float(values.min()) < 0.0 or float(values.sum()) <= 0.0:
            continue
        lines.append(banded(_periods(episodes), _ginis(values), words))
    if not lines:
        return []
    caption = f"Gini coefficients over consumers by period: {said(episodes)}."
    title, y = "inequality by period", "Gini coefficient"
    reach = {"y": (0.0, _SMALL_GINI)}
    return [Chart("inequality", title, "period", y, tuple(lines), caption, starts_at_zero=True, includes=reach)]


def _ginis(values: Tensor) -> Tensor:
    """Gini coefficients [N, T] of [N, T, C]; 0 where nobody has anything."""
    count = values.shape[-1]
    ranks = 2.0 * torch.arange(1, count + 1, dtype=values.dtype) - count - 1.0
    total = count * values.sum(dim=-1)
    return (ranks * values.sort(dim=-1).values).sum(dim=-1) / torch.where(total > 0.0, total, 1.0)


def _groups(count: int) -> list[tuple[int, int]]:
    """Ends of groups of consumers: each alone where they are few, else ten of nearly one size."""
    if count <= _MOST_ROWS:
        return [(i, i + 1) for i in range(count)]
    ends = [round(i * count / 10) for i in range(11)]
    return list(pairwise(ends))


def _periods(episodes: Episodes) -> list[float]:
    return [float(period) for period in range(1, episodes.config.horizon + 1)]


def _columns(episodes: Episodes) -> list[Place]:
    return [int(period) for period in _periods(episodes)]


def _count(episodes: Episodes) -> str:
    return f"{episodes.num_episodes} episode{'s' if episodes.num_episodes != 1 else ''}"

