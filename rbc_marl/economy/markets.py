"""Goods and labour markets: who gets what at the prices and wages in force (section 3 of the paper).

What every consumer has of every good stands as [B, F, C]: with the long axis last, a CPU multiplies by what belongs to
a consumer or to a good in a third of the time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rbc_marl.economy.parameters import Number, is_off

# Hours of so many workers of one firm, at most 520 each, are still added exactly in float32.
MOST_ADDED_SINGLY = 2**24 // 520


def sum_over_goods(units: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum over firms: units [B, F, C], weights [B, F] -> [B, C]."""
    return torch.matmul(weights.unsqueeze(1), units).squeeze(1)


def afford(requested: Tensor, price: Tensor, budget: Tensor) -> Tensor:
    """Scale down the demand of consumers who ask for more than they can pay.

    Args:
        requested: [B, F, C] units asked for.
        price: [B, F] prices in force.
        budget: [B, C] money at the start of the period.

    Returns:
        The share [B, C] of every request that its consumer can pay for. All goods of a consumer are scaled alike; a
        request that costs nothing is never scaled.
    """
    cost = sum_over_goods(requested, price)
    # Rounding can leave a budget a hair below zero; at tiny prices that hair would buy many units less than nothing.
    # Without a cost this is 0 / 0.
    return (torch.minimum(budget.clamp(min=0.0), cost) / cost).nan_to_num_(nan=1.0)


def ration(total_demand: Tensor, inventory: Tensor) -> tuple[Tensor, Tensor]:
    """Share of each good's demand that can be met.

    Args:
        total_demand: [B, F] units asked for.
        inventory: [B, F] units there are.

    Returns:
        The share [B, F] everybody gets of what they asked for, and whether the good is rationed [B, F].
    """
    is_rationed = (total_demand > 0) & (total_demand > inventory)
    return torch.where(is_rationed, inventory / torch.where(is_rationed, total_demand, 1.0), 1.0), is_rationed


def hours_by_employer(hours: Tensor, employer: Tensor, num_firms: int) -> Tensor:
    """Hours worked for each firm [B, F]: hours [B, C] at employers [B, C]. Nobody is turned away."""
    # Hours are added one by one: beyond 2^24 in all, a float32 sum stands still when a little is added.
    terms = hours.double() if hours.shape[1] > MOST_ADDED_SINGLY else hours
    return terms.new_zeros(hours.shape[0], num_firms).scatter_add(1, employer, terms).to(hours.dtype)


def export(inventory: Tensor, sales: Tensor, price: Tensor, lowest_price: Number, quota: Number) -> Tensor:
    """Units [B, F] sold abroad at the firm's own price: what is left, up to the quota, from a price on."""
    left = inventory - sales
    if isinstance(quota, Tensor):  # clamp takes no number beside a tensor
        exported = torch.minimum(left.clamp(min=0.0), quota)
    else:
        exported = left.clamp(min=0.0, max=quota)
    return torch.where(price >= lowest_price, exported, 0.0)


def with_consumption_tax(price: Tensor, rate: Number) -> Tensor:
    """Prices [B, F] that consumers pay, of those that firms get."""
    return price if is_off(rate) else price * (1.0 + rate)
