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
from rbc_marl.economy.markets import sum_over_goods
from rbc_marl.mechanics.utility import AdditiveUtility, Crra

_BISECTIONS = 60
# Where utility is no sum over goods, the best basket is put together of so many parts of a unit.
_PARTS = 10


class UnitSteps(NamedTuple):
    """Steps from one number of units of a good to the next one that can be asked for, the best value first.

    Utility is concave, so that the first n steps are the best basket for their cost. S steps are F goods times one less
    than the numbers of units. Utility is here what goods come to, hours aside (`rbc_marl.mechanics.Utility.of_goods`).
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
        price: [B, F] that consumers pay, at least 0. Of equal steps the first good's comes first.
        supply: [B, F] most units of each good that a consumer will get. What is beyond it keeps its place, costs
            nothing and brings nothing. None: no end.

    Returns:
        The steps, in float64.
    """
    units = torch.tensor(sorted(config.consumption_choices), dtype=torch.float64, device=price.device)
    if not isinstance(config.utility, AdditiveUtility):
        return _greedy_steps(config, price.double(), units, None if supply is None else supply.double())
    price = price.double().unsqueeze(-1)  # [B, F, 1]
    gain, cost = config.utility.of_good(units, config).diff(), price * units.diff()
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


def _greedy_steps(config: EconomyConfig, price: Tensor, units: Tensor, supply: Tensor | None) -> UnitSteps:
    """`unit_steps` where what a unit is worth depends on the other goods: each time the best one for its money.

    Args:
        config: The economy.
        price: [B, F].
        units: [K] rising.
        supply: [B, F], or None.
    """
    (batch, goods), steps = price.shape, price.shape[1] * (len(units) - 1)
    taken = torch.zeros(batch, goods, dtype=torch.int64, device=price.device)
    ranks = torch.zeros(batch, goods, len(units) - 1, dtype=torch.int64, device=price.device)
    path = [taken]
    for step in range(steps):
        more = (taken + 1).clamp(max=len(units) - 1)
        basket = units[taken].unsqueeze(-1).expand(-1, -1, goods).clone()  # [B, F, one case for each good]
        basket.diagonal(dim1=1, dim2=2).copy_(units[more])
        gain = config.utility.of_goods(basket, config) - config.utility.of_goods(units[taken].unsqueeze(-1), config)
        value = torch.where(more > taken, gain / (price * (units[more] - units[taken])), -torch.inf)
        best = value.nan_to_num(nan=0.0, neginf=-torch.inf).argmax(1, keepdim=True)
        ranks.view(batch, -1).scatter_(1, best * (len(units) - 1) + taken.gather(1, best), step)
        taken = taken.scatter_add(1, best, torch.ones_like(best))
        path.append(taken)
    got = units[torch.stack(path, dim=2)]  # [B, F, S + 1]
    if supply is not None:
        got = torch.minimum(got, supply.unsqueeze(-1).clamp(min=float(units[0])))
    cost, utility = sum_over_goods(got, price), config.utility.of_goods(got, config)
    gain, paid = utility.diff(dim=1), cost.diff(dim=1)
    value = torch.where(paid > 0.0, gain / paid, torch.where(gain > 0.0, torch.inf, 0.0))
    last = torch.zeros_like(value[:, :1]) if steps else utility * 0.0
    return UnitSteps(ranks, cost.cummax(1).values, utility - utility[:, :1], torch.cat([value, last], dim=1))


def best_utility(config: EconomyConfig, price: Tensor, spending: Tensor) -> Tensor:
    """The most that goods can come to for some spending, parts of units allowed, where nothing runs out.

    Args:
        config: The economy.
        price: [B, F] above 0 that consumers pay.
        spending: [B, C] money.

    Returns:
        [B, C] what goods come to, hours aside. Where utility is no sum over goods, to within parts of a tenth of a
        unit.
    """
    if isinstance(config.utility, AdditiveUtility):
        units = best_baskets(config, price.unsqueeze(1), spending.unsqueeze(-1))
        return config.utility.of_goods(units.transpose(1, 2), config)
    most = max(config.consumption_choices)
    units = torch.linspace(0.0, most, round(most * _PARTS) + 1, dtype=torch.float64, device=price.device)
    return _greedy_steps(config, price, units, None).utility_of(spending)


def best_baskets(config: EconomyConfig, price: Tensor, spending: Tensor) -> Tensor:
    """Units of the most utility for some spending, parts of units allowed: equal marginal utility of money.

    Utility must be a sum over goods.

    Args:
        config: The economy.
        price: [..., F] above 0.
        spending: [..., 1] money.

    Returns:
        [..., F] units, up to the most that can be asked for.
    """
    most = max(config.consumption_choices)
    utility = config.utility
    assert isinstance(utility, AdditiveUtility)  # whoever asks has looked
    if isinstance(utility, Crra) and config.crra == 0.0:
        return cheapest_first(price, spending, most)
    low, high = torch.full_like(spending, -40.0), torch.full_like(spending, 40.0)  # log marginal utility of money

    def basket(log_multiplier: Tensor) -> Tensor:
        if isinstance(utility, Crra):  # in logarithms, where no power is out of range
            return (torch.exp(-(log_multiplier + price.log()) / config.crra) - 1.0).clamp(0.0, most)
        return units_at(config, (log_multiplier + price.log()).exp(), most)

    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        is_over = (basket(middle) * price).sum(-1, keepdim=True) > spending
        low, high = torch.where(is_over, middle, low), torch.where(is_over, high, middle)
    return basket(high)


def units_at(config: EconomyConfig, marginal: Tensor, most: float) -> Tensor:
    """Units of a good, from 0 to the most, whose marginal utility is so much: of any shape.

    By the formula of the utility, which must be a sum over goods; by bisection where it has none.
    """
    utility = config.utility
    assert isinstance(utility, AdditiveUtility)
    units = utility.units_at(marginal, config)
    if units is not None:
        return units.clamp(min=0.0, max=most)
    low, high = torch.zeros_like(marginal), torch.full_like(marginal, most)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        is_worth_more = utility.marginal(middle, config) > marginal
        low, high = torch.where(is_worth_more, middle, low), torch.where(is_worth_more, high, middle)
    return high


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
