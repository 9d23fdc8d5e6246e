"""Do firms see what prices are worth to them? One firm's return by its own prices, and by a constant one.

All other choices of the firm, and everybody else's, are made by the same policies with the same draws: the stock that a
firm brings to market is what its own wages have made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rbc_marl.analysis.rollouts import play
from rbc_marl.config import EconomyConfig
from rbc_marl.economy import EconomyState
from rbc_marl.policies import Policies
from rbc_marl.policies.imposed import UnderLaw, freely, law_of

EPISODES = 16


@dataclass(frozen=True)
class FirmPricing:
    """Returns of one firm, over the same episodes."""

    firm: int
    own: float
    """Mean return by its own prices."""
    gains: dict[float, float]
    """By constant price: mean return less that by its own prices."""
    standard_errors: dict[float, float]
    """Of the gains, over episodes."""

    @property
    def best_price(self) -> float:
        """The constant price of the highest return."""
        return max(self.gains, key=self.gains.__getitem__)

    @property
    def gains_surely(self) -> bool:
        """Whether the best constant price gains by more than two standard errors."""
        return self.gains[self.best_price] > 2.0 * self.standard_errors[self.best_price]


@dataclass(frozen=True)
class Pricing:
    """Which firms would gain by which constant price."""

    firms: tuple[FirmPricing, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: an entry per firm."""
        return {
            f"firm_{each.firm}": {
                "return": each.own,
                "best_price": each.best_price,
                "gains": {f"{price:g}": gain for price, gain in each.gains.items()},
                "standard_errors": {f"{price:g}": error for price, error in each.standard_errors.items()},
            }
            for each in self.firms
        }

    def describe(self) -> str:
        """The measurement in a line."""
        better = [each for each in self.firms if each.gains_surely]
        if not better:
            return f"none of {len(self.firms)} firms gains by a constant price"
        by_price: dict[float, list[str]] = {}
        for each in better:
            by_price.setdefault(each.best_price, []).append(str(each.firm))
        prices = "; ".join(f"{price:,.0f}: {', '.join(firms)}" for price, firms in sorted(by_price.items()))
        most = max(better, key=lambda each: each.gains[each.best_price])
        gain = f"firm {most.firm} gains {most.gains[most.best_price]:,.0f} on {most.own:,.0f}"
        return f"{len(better)} of {len(self.firms)} firms gain by a constant price ({prices}); {gain}"


def pricing(policies: Policies, episodes: int = EPISODES, seed: int = 0, firms: int | None = None) -> Pricing:
    """Play every firm's constant prices against its own prices.

    Args:
        policies: Whoever decides.
        episodes: Episodes of each firm and price, at least 2.
        seed: Of the draws, which are the same for all prices.
        firms: How many firms, evenly spread over all; None: all.
    """
    config = policies.config
    number = config.num_firms if firms is None else min(firms, config.num_firms)
    own = play(policies, episodes, seed, slab=episodes).returns["firm"].double()
    prices = {price: index for index, price in enumerate(config.price_choices)}
    measured = []
    for firm in (each * config.num_firms // number for each in range(number)):
        differences = {
            price: play(ConstantPrice(policies, firm, index), episodes, seed, slab=episodes).returns["firm"][:, firm]
            - own[:, firm]
            for price, index in prices.items()
        }
        gains = {price: float(difference.mean()) for price, difference in differences.items()}
        errors = {price: float(x.std()) / math.sqrt(episodes) for price, x in differences.items()}
        measured.append(FirmPricing(firm, float(own[:, firm].mean()), gains, errors))
    return Pricing(tuple(measured))


class ConstantPrice(UnderLaw):
    """Policies in which one firm always posts the same price; see `rbc_marl.policies.Policies`."""

    def __init__(self, base: Policies, firm: int, price_index: int) -> None:
        """Take whoever decides for everything else, and the firm's price as an index of `price_choices`."""
        self.base, self.law, self.firm, self.price_index = base, law_of(base), firm, price_index
        self.config: EconomyConfig = base.config
        self.encoding, self.device = base.encoding, base.device

    def act_freely(
        self,
        observation: Mapping[str, Tensor],
        generator: torch.Generator | None = None,
        greedy: bool = False,
        *,
        state: EconomyState | None = None,
    ) -> dict[str, Tensor]:
        """Decide for one period, before anything that is imposed; see `rbc_marl.policies.Policies`."""
        indices = dict(freely(self.base)(observation, generator, greedy, state=state))
        per_price = len(self.config.wage_choices) * len(self.config.investment_choices)
        joint = indices["firm"].clone()
        joint[:, self.firm] = self.price_index * per_price + joint[:, self.firm].remainder(per_price)
        return {**indices, "firm": joint}
