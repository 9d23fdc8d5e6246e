"""Best baskets at given prices and money: equal marginal utility of money over goods.

Two answers to one question. `unit_steps` orders the units that can be asked for, best value first: what a consumer with
so much money should ask for, and what one more unit of money is worth to it. `best_baskets` allows parts of units, as
the budget's scaling of requests does: the most utility that any basket of the same cost could have.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rbc_marl.config import EconomyConfig
from rbc_marl.economy.markets import utility_of

_BISECTIONS = 60


class UnitSteps(NamedTuple):
    """Steps from one number of units of a good to the next one that can be asked for, the best value first.

    Utility is concave, so that the first n steps are the best basket for their cost. S steps are F goods times one less
    than the numbers of units.
    """

    rank: Tensor
    """[B, F, K - 1] place of each good's steps among all, which rises along the last axis."""
    cost: Tensor
    """[B, S + 1] money for the first 0, 1 .. S steps, and for the fewest units of every good."""
    utility: Tensor
    """[B, S + 1] of the first 0, 1 .. S steps; only differences mean something."""
    value: Tensor
    """[B, S + 1] utility per unit of money of the next step: infinite where it is free, 0 where there is none."""

    def affordable(self, money: Tensor) -> Tensor:
        """Number of steps [B, ...] that money [B, ...] pays for."""
        flat = money.reshape(len(money), -1).contiguous()
        return (torch.searchsorted(self.cost, flat, right=True) - 1).clamp(min=0).view_as(money)

    def units(self, steps: Tensor) -> Tensor:
        """Place [B, C, F] in the sorted numbers of units of every good, after so many steps [B, C]."""
        goods = self.rank.shape[1]
        wanted = steps.unsqueeze(1).expand(-1, goods, -1).contiguous()
        return torch.searchsorted(self.rank, wanted).transpose(1, 2)

    def utility_of(self, money: Tensor) -> Tensor:
        """Utility [B, ...] of money [B, ...] spent on the best basket, as if parts of steps could be bought."""
        steps = self.affordable(money).reshape(len(money), -1)
        rest = (money.reshape(len(money), -1) - self.cost.gather(1, steps)).clamp(min=0.0)
        value = self.utility.gather(1, steps) + rest * self.value.gather(1, steps)
        return value.view_as(money)


def unit_steps(config: EconomyConfig, price: Tensor, supply: Tensor | None = None) -> UnitSteps:
    """Order the units of all goods by what they are worth for their money.

    Args:
        config: The economy.
        price: [B, F], at least 0. Of equal steps the first good's comes first.
        supply: [B, F] most units of each good that a consumer will get. What is beyond it keeps its place, costs
            nothing and brings nothing. None: no end.

    Returns:
        The steps, in float64.
    """
    units = torch.tensor(sorted(config.consumption_choices), dtype=torch.float64, device=price.device)
    price = price.double().unsqueeze(-1)  # [B, F, 1]
    gain, cost = utility_of(units, config.crra).diff(), price * units.diff()
    # Rounding must not put a good's second unit before its first.
    value = (gain / cost).cummin(-1).values if len(units) > 1 else cost
    part = torch.ones_like(cost)
    if supply is not None:
        part = ((supply.double().unsqueeze(-1) - units[:-1]) / units.diff()).clamp(0.0, 1.0)
    value, order = value.flatten(1).sort(dim=1, descending=True, stable=True)
    cost, gain = ((part * x).flatten(1).gather(1, order).cumsum(1) for x in (cost, gain))
    least = (price * units[0]).sum(1)  # [B, 1]
    first = torch.zeros_like(least)
    return UnitSteps(
        rank=order.argsort(dim=1).view(part.shape),
        cost=least + torch.cat([first, cost], dim=1),
        utility=torch.cat([first, gain], dim=1),
        value=torch.cat([value, first], dim=1),
    )


def best_baskets(config: EconomyConfig, price: Tensor, spending: Tensor) -> Tensor:
    """Units of the most utility for some spending, parts of units allowed: equal marginal utility of money.

    Args:
        config: The economy.
        price: [..., F] above 0.
        spending: [..., 1] money.

    Returns:
        [..., F] units, up to the most that can be asked for.
    """
    most = max(config.consumption_choices)
    if config.crra == 0.0:
        return cheapest_first(price, spending, most)
    low, high = torch.full_like(spending, -40.0), torch.full_like(spending, 40.0)  # log marginal utility of money

    def basket(log_multiplier: Tensor) -> Tensor:
        return (torch.exp(-(log_multiplier + price.log()) / config.crra) - 1.0).clamp(0.0, most)

    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        is_over = (basket(middle) * price).sum(-1, keepdim=True) > spending
        low, high = torch.where(is_over, middle, low), torch.where(is_over, high, middle)
    return basket(high)


def cheapest_first(price: Tensor, spending: Tensor, most: float) -> Tensor:
    """Units [..., F] of a basket of the cheapest good, then of the next, and so on: the best where utility is linear.

    Args:
        price: [..., F], at least 0. Of goods that cost alike the first comes first.
        spending: [..., 1] money.
        most: Units of each good.
    """
    price = price.expand(*spending.shape[:-1], price.shape[-1])
    ordered, order = price.sort(dim=-1, stable=True)
    left = spending - ((most * ordered).cumsum(dim=-1) - most * ordered)
    units = torch.where(ordered > 0, left / torch.where(ordered > 0, ordered, 1.0), most).clamp(min=0.0, max=most)
    return torch.zeros_like(units).scatter(-1, order, units)
