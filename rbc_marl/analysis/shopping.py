"""Do consumers see prices? Their baskets at given prices and money, beside the best and the blindest there are.

On the path of a trained economy prices hardly vary, so that nothing seen there says how consumers would respond to
others. Here prices are set from outside. Stock is in every shop, so that money binds and goods do not.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rbc_marl.analysis.situations import decide
from rbc_marl.economy import initial_state
from rbc_marl.economy.baskets import best_utility
from rbc_marl.economy.markets import with_consumption_tax
from rbc_marl.policies import Policies

# Situations of random prices, and as many for each price of the demand curve.
SITUATIONS = 64
# Money for so many units of every good, so that it matters which ones are bought.
_UNITS_AFFORDED = 0.4
# Stock of each good, as a share of what all consumers can ask for.
_STOCK_SHARE = 0.3
# A price at which they buy less than this share of what they buy at the lowest is above what they pay.
_LITTLE = 0.01


@dataclass(frozen=True)
class Shopping:
    """What consumers do with prices."""

    share: float | None
    """Of the possible gain in utility by choosing goods, at random prices: 0 spends evenly on all, 1 is the best; None
    where there is nothing to gain."""
    demand: dict[float, float]
    """Units that all consumers buy of one good by its own price, all others at the highest price; empty where markets
    clear, and nobody asks for goods."""

    @property
    def elasticity(self) -> float:
        """Relative change of demand over that of the price, where demand ends; 0 without demand or a lower price.

        Between the highest price at which consumers buy at least 1% of what they buy at the lowest, and the next lower:
        above it there is nothing to compare.
        """
        curve = sorted(self.demand.items())
        bought = [number for number, (_, units) in enumerate(curve) if units >= _LITTLE * curve[0][1] and units > 0]
        if not bought or bought[-1] == 0:
            return 0.0
        (low, at_low), (high, at_high) = curve[bought[-1] - 1 : bought[-1] + 1]
        return (at_high - at_low) / (at_high + at_low) * (high + low) / (high - low)

    def numbers(self) -> dict[str, float | None]:
        """What stands in a row of a table."""
        demand = {f"demand_at_{price:g}": units for price, units in sorted(self.demand.items())}
        return {"shopping_share": self.share, "demand_elasticity": self.elasticity, **demand}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: the share, the elasticity and the demand curve."""
        demand = {f"{price:g}": units for price, units in self.demand.items()}
        return {"shopping_share": self.share, "demand_elasticity": self.elasticity, "demand": demand}

    def describe(self) -> str:
        """The measurement in a line."""
        if not self.demand:
            return "markets clear, and consumers get what their income pays for"
        gain = "nothing to gain by choosing goods" if self.share is None else f"{self.share:.0%} of the possible gain"
        curve = ", ".join(f"{units:,.0f} at {price:,.0f}" for price, units in sorted(self.demand.items()))
        return f"{gain}; of one good, all others at the highest price, they buy {curve}"


@torch.no_grad()
def shopping(
    policies: Policies,
    situations: int = SITUATIONS,
    seed: int = 0,
    money: float | None = None,
    wage: float | None = None,
) -> Shopping:
    """Measure how consumers respond to prices.

    Args:
        policies: Whose consumers decide.
        situations: Draws of prices for every firm, and as many for each price of the demand curve.
        seed: Of the draws.
        money: Of each consumer; None: `_UNITS_AFFORDED` of every good at the mean of the prices above 0.
        wage: Of every firm; None: the lowest above 0.
    """
    config = policies.config
    if config.market == "clearing":
        return Shopping(None, {})
    prices = _prices(policies)
    money, wage = _usual(policies, money, wage)
    device = policies.device
    generator = torch.Generator(device=device).manual_seed(seed)
    table = torch.tensor(prices, dtype=torch.float64, device=device)
    draw = torch.randint(len(prices), (situations, config.num_firms), generator=generator, device=device)
    price = table[draw]
    units = baskets(policies, price, money, wage, generator)
    spending = (units * price.unsqueeze(1)).sum(-1, keepdim=True)
    even = torch.full_like(units, max(config.consumption_choices))
    even *= (spending / (even * price.unsqueeze(1)).sum(-1, keepdim=True)).clamp(max=1.0)
    ideal = float(best_utility(config, price, spending.squeeze(-1)).sum())
    got, blind = (float(config.utility.of_goods(basket.transpose(1, 2), config).sum()) for basket in (units, even))
    demand = demand_curve(policies, situations, generator, money, wage)
    means = {own: float(units.mean()) for own, units in demand.items()}
    possible = ideal - blind
    return Shopping((got - blind) / possible if possible > 1e-9 * max(abs(ideal), 1.0) else None, means)


@torch.no_grad()
def demand_curve(
    policies: Policies,
    situations: int,
    generator: torch.Generator,
    money: float | None = None,
    wage: float | None = None,
) -> dict[float, Tensor]:
    """Units [B] of one good that all consumers buy, by its own price, all others at the highest.

    Args:
        policies: Whose consumers decide.
        situations: Economies of each price (B).
        generator: Behind their draws.
        money: As for `shopping`, like ``wage``.
        wage: Of every firm.
    """
    prices, firms, firm = _prices(policies), policies.config.num_firms, policies.config.num_firms // 2
    money, wage = _usual(policies, money, wage)
    demand = {}
    for own in prices:
        price = torch.full((situations, firms), prices[-1], dtype=torch.float64, device=policies.device)
        price[:, firm] = own
        demand[own] = baskets(policies, price, money, wage, generator)[..., firm].sum(1)
    return demand


def _prices(policies: Policies) -> list[float]:
    """Prices above 0, the lowest first."""
    return sorted(price for price in policies.config.price_choices if price > 0) or [1.0]


def _usual(policies: Policies, money: float | None, wage: float | None) -> tuple[float, float]:
    """Money and wage as given, or in their place what `shopping` takes."""
    prices, wages = _prices(policies), [choice for choice in policies.config.wage_choices if choice > 0] or [0.0]
    afforded = _UNITS_AFFORDED * policies.config.num_firms * sum(prices) / len(prices)
    return afforded if money is None else money, min(wages) if wage is None else wage


def baskets(
    policies: Policies, price: Tensor, money: float, wage: float, generator: torch.Generator | None = None
) -> Tensor:
    """Units [B, C, F] that consumers buy at prices [B, F], no good running out, in the middle of an episode."""
    config = policies.config
    state = initial_state(config, len(price), price.device)
    stock = _STOCK_SHARE * config.num_consumers * max(config.consumption_choices)
    state = dataclasses.replace(
        state,
        price=price.to(state.price.dtype),
        wage=torch.full_like(state.wage, wage),
        inventory=torch.full_like(state.inventory, stock),
        consumer_budget=torch.full_like(state.consumer_budget, money),
        time=torch.full_like(state.time, config.horizon // 2),
    )
    demand = decide(policies, state, generator, torch.float64).demand
    cost = (demand * with_consumption_tax(price, config.consumption_tax).unsqueeze(1)).sum(-1, keepdim=True)
    return demand * (money / cost).clamp(max=1.0).nan_to_num(nan=1.0)
