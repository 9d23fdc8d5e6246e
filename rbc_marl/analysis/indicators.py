"""Indicators of recorded episodes: how firms price and sell, what is left unsold, and who gets the money.

Letters of the shapes: N episodes, T periods, F firms, C consumers. Ratios are of sums over all episodes, so that an
episode in which hardly anything happens weighs hardly anything. What does not exist is None, not 0: a correlation of
prices that do not vary, a markup where nothing is sold. Numbers that are not finite stay so.

Markets are measured in periods 2 to T - 1 (`rbc_marl.analysis.metrics.middle`): nobody chose the prices of the first
period, nor can what is made in the last one be sold. Inequality and money are of whole episodes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rbc_marl.analysis.metrics import middle
from rbc_marl.analysis.planner import lacks_plan, plan
from rbc_marl.config import EconomyConfig

if TYPE_CHECKING:
    from rbc_marl.analysis.rollouts import Episodes

INDICATORS = (
    *("unsold_share", "trade_share", "price_sales", "markup", "labour_share", "concentration"),
    *("gini_income", "gini_consumption", "gini_money", "firms_money_share", "planner_share"),
)
"""Keys of `indicators`, but for those of `strategies`."""
# Variances below this share of the mean square are rounding.
_ROUNDING = 1e-12
# Prices that firms post less often are left out of words, and so are all but the most frequent ones.
_RARE = 0.01
_MOST_PRICES = 3


def indicators(episodes: Episodes) -> dict[str, float | None]:
    """All indicators of some episodes.

    Returns:
        `INDICATORS`, then those of `strategies`. ``price_sales`` is `price_sales_correlation`; ``firms_money_share``
        (profit after tax and dividends in the money of consumers, see `money_of_consumers`) and ``planner_share``
        (consumers' welfare over that of `rbc_marl.analysis.planner.plan`) are of closed economies only, else None;
        so is the first with a warm start, and the second where an economy has no planner. Where markets clear all is
        sold at one price: ``unsold_share`` and ``markup`` are None.

    Raises:
        ConfigError: The episodes were not recorded.
    """
    episodes.require_periods()
    config = episodes.config
    whole = {name: values.double() for name, values in episodes.firms.items()}
    part = {name: values[:, middle(config.horizon)] for name, values in whole.items()}
    price, output, wages = part["price"], part["output"], part["wage_bill"]
    sold = {period: each["sales"] + each["exports"] for period, each in (("all", whole), ("middle", part))}
    is_posted = config.market == "posted"
    return {
        "unsold_share": unsold_share(whole["inventory"], sold["all"], whole["output"]) if is_posted else None,
        "trade_share": trade_share(whole["inventory"], sold["all"]),
        "price_sales": price_sales_correlation(price, part["sales"]),
        "markup": markup(price, sold["middle"], output, wages) if is_posted else None,
        "labour_share": ratio(wages, price * output),
        "concentration": concentration(part["sales"]),
        **{f"gini_{name}": gini(values) for name, values in episodes.consumers.items()},
        **_of_closed(episodes),
        **strategies(episodes.firms["price"][:, middle(config.horizon)], part["sales"], part["exports"], config),
    }


def ratio(numerator: Tensor, denominator: Tensor) -> float | None:
    """Ratio of two sums over all entries; None where the lower one is 0."""
    below = float(denominator.sum())
    return float(numerator.sum()) / below if below != 0.0 else None


def unsold_share(inventory: Tensor, sold: Tensor, output: Tensor) -> float | None:
    """Share of all units for sale in an episode that nobody had bought at its end.

    Args:
        inventory: [N, T, F] units for sale at the start of each period.
        sold: [N, T, F] units, at home and abroad.
        output: [N, T, F] units made, which are for sale from the next period on: those of the last never are.
    """
    for_sale = inventory[:, 0] + output[:, :-1].sum(dim=1)
    return ratio(inventory[:, -1] - sold[:, -1], for_sale)


def trade_share(inventory: Tensor, sold: Tensor) -> float | None:
    """Share of the periods with goods in which any are sold; None where there are never goods.

    Args:
        inventory: [N, T, F] units for sale at the start of each period: with less than one in all there are no goods.
        sold: [N, T, F] units, at home and abroad.
    """
    has_goods = inventory.sum(dim=2) >= 1.0
    return ratio((has_goods & (sold.sum(dim=2) > 0.0)).double(), has_goods.double())


def price_sales_correlation(price: Tensor, sales: Tensor) -> float | None:
    """Correlation over firms of price and units sold to consumers, as deviations from the period's means over firms.

    Below 0 where consumers buy from whoever is cheaper at the moment. What moves all prices of a period counts nothing.

    Args:
        price: [N, T, F] in force.
        sales: [N, T, F] units.

    Returns:
        None where one of the two never varies over firms.
    """
    x, y = (values - values.mean(dim=-1, keepdim=True) for values in (price, sales))
    squares = [float((deviation * deviation).sum()) for deviation in (x, y)]
    sizes = [float((values * values).sum()) for values in (price, sales)]
    if any(square <= _ROUNDING * size for square, size in zip(squares, sizes, strict=True)):
        return None
    return float((x * y).sum()) / math.sqrt(squares[0] * squares[1])


def markup(price: Tensor, sold: Tensor, output: Tensor, wage_bill: Tensor) -> float | None:
    """Mean price of a unit sold over the wages paid for a unit made, less 1.

    Args:
        price: [N, T, F] in force.
        sold: [N, T, F] units, at home and abroad.
        output: [N, T, F] units made.
        wage_bill: [N, T, F] money.

    Returns:
        None where nothing is sold or nobody is paid.
    """
    sold_at, unit_cost = ratio(price * sold, sold), ratio(wage_bill, output)
    return None if sold_at is None or not unit_cost else sold_at / unit_cost - 1.0


def concentration(sales: Tensor) -> float | None:
    """Herfindahl index of units sold to consumers: 1 where one firm sells all of a period, 1 / F where all sell alike.

    The mean over periods, weighted by what is sold in them.

    Args:
        sales: [N, T, F] units.

    Returns:
        None where nothing is sold.
    """
    total = sales.sum(dim=-1)
    squares = (sales * sales).sum(dim=-1)
    return ratio(torch.where(total > 0, squares / torch.where(total > 0, total, 1.0), squares), total)


def gini(values: Tensor) -> float | None:
    """Gini coefficient over consumers: 0 where all have the same, (C - 1) / C where one has everything.

    The mean over episodes, weighted by their totals.

    Args:
        values: [N, C] at least 0.

    Returns:
        None where nobody has anything.
    """
    count = values.shape[-1]
    ranks = torch.arange(1, count + 1, dtype=torch.float64)
    ordered = values.double().sort(dim=-1).values
    total = count * ordered.sum()
    return ratio((2.0 * ranks - count - 1.0) * ordered, total) if not float(total) <= 0.0 else None


def strategies(price: Tensor, sales: Tensor, exports: Tensor, config: EconomyConfig) -> dict[str, float | None]:
    """What firms sell at each of their prices (Figure 2 of the extended abstract).

    Args:
        price: [N, T, F] in force, as the economy holds it.
        sales: [N, T, F] units sold to consumers.
        exports: [N, T, F] units sold abroad.
        config: The economy, for the prices to choose from.

    Returns:
        For every price, such as 2500: ``share_at_2500``, the share of firms and periods at it; ``sales_at_2500`` and
        ``exports_at_2500``, units that a firm then sells in a period, None where no firm posts it.
    """
    found: dict[str, float | None] = {}
    for choice in config.price_choices:
        is_posted = (price == torch.tensor(choice, dtype=price.dtype)).double()
        found[f"share_at_{choice:.10g}"] = float(is_posted.mean())
        found[f"sales_at_{choice:.10g}"] = ratio(is_posted * sales, is_posted)
        found[f"exports_at_{choice:.10g}"] = ratio(is_posted * exports, is_posted)
    return found


def indicator_words(values: Mapping[str, float | None], config: EconomyConfig) -> list[str]:
    """Lines that say which prices firms post and how unequal consumers are, of what `indicators` returned."""
    posted = {f"{price:.10g}": values[f"share_at_{price:.10g}"] or 0.0 for price in config.price_choices}
    frequent = [name for name in sorted(posted, key=posted.__getitem__, reverse=True) if posted[name] >= _RARE]
    prices = [
        f"{float(name):,.10g} {posted[name]:.0%} of the time ({values[f'sales_at_{name}']:,.3g} units sold at home, "
        f"{values[f'exports_at_{name}']:,.3g} abroad)"
        for name in frequent[:_MOST_PRICES]
    ]
    ginis = [(name, values.get(f"gini_{name}")) for name in ("income", "consumption", "money")]
    unequal = ", ".join(f"{name} {gini:.2f}" for name, gini in ginis if gini is not None)
    posted_words = [f"firms post: {'; '.join(prices) or 'none of the choices'}"] if config.market == "posted" else []
    return [*posted_words, *([f"Gini: {unequal}"] if unequal else [])]


def money_of_consumers(config: EconomyConfig) -> float:
    """Money that consumers of a closed economy can spend in an episode but for what they earn: at the start, and given.

    Firms together can keep no more, whatever they pay out and take in again.
    """
    return sum(config.consumer_budgets) + config.num_consumers * config.horizon * config.consumer_grant


def _of_closed(episodes: Episodes) -> dict[str, float | None]:
    """What closed economies are judged by, where money comes from nowhere else and utility is all that there is."""
    config = episodes.config
    if config.open_economy:
        return {"firms_money_share": None, "planner_share": None}
    profit, tax, dividends = (episodes.firms[name].double() for name in ("profit", "corporate_tax_paid", "dividends"))
    kept = (profit - tax - dividends).sum(dim=(1, 2)).mean()
    # What a warm start gives them nobody knows here.
    money = money_of_consumers(config) if config.start is None else 0.0
    welfare = 0.0 if lacks_plan(config) else plan(config).welfare
    reached = float(episodes.quantities["welfare_consumers"].double().mean())
    return {
        "firms_money_share": float(kept) / money if money > 0.0 else None,
        "planner_share": reached / welfare if welfare > 0.0 else None,
    }
