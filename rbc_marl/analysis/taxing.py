"""Does the government see what taxes do? Welfare at constant taxes beside its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch

from rbc_marl.analysis.rollouts import Episodes, play
from rbc_marl.policies import Policies
from rbc_marl.policies.deviating import DeviatingPolicies, Deviation

EPISODES = 32


@dataclass(frozen=True)
class Taxing:
    """Welfare, as the government maximises it, over the same episodes."""

    own: tuple[float, float]
    """Its income and corporate tax, means over the periods in which rates it has set are in force."""
    welfare: float
    """By its own taxes, per episode."""
    gains: dict[tuple[float, float], float]
    """By constant income and corporate tax: welfare less that by its own taxes."""
    standard_errors: dict[tuple[float, float], float]
    """Of the gains, over episodes."""

    @property
    def best(self) -> tuple[float, float]:
        """The constant taxes of the highest welfare."""
        return max(self.gains, key=self.gains.__getitem__)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: a row per pair of constant taxes."""
        names = ("income_tax", "corporate_tax", "gain", "standard_error")
        errors = self.standard_errors
        rows = [dict(zip(names, (*pair, gain, errors[pair]), strict=True)) for pair, gain in self.gains.items()]
        return {"income_tax": self.own[0], "corporate_tax": self.own[1], "welfare": self.welfare, "constant": rows}

    def describe(self) -> str:
        """The measurement in a line."""
        gain, error = self.gains[self.best], self.standard_errors[self.best]
        own, best = (f"income {rates[0]:.0%}, corporate {rates[1]:.0%}" for rates in (self.own, self.best))
        return (
            f"welfare {self.welfare:,.0f} by its own taxes ({own}), "
            f"{gain:+,.0f} ± {error:,.0f} by the best constant ones near them ({best})"
        )


def taxing(policies: Policies, episodes: int = EPISODES, seed: int = 0) -> Taxing:
    """Play constant taxes around those that the government sets.

    Args:
        policies: Whoever decides.
        episodes: Episodes of each pair of taxes, at least 2.
        seed: Of the draws, which are the same for all taxes.

    Returns:
        The measurement at the choices nearest to its mean rates, and one choice to either side of each.
    """
    config = policies.config
    played = play(policies, episodes, seed, slab=episodes)
    in_force = config.horizon / max(config.horizon - 1, 1)  # nobody sets the rates of the first period, which are 0
    own = tuple(float(played.quantities[name].mean()) * in_force for name in ("income_tax", "corporate_tax"))
    incomes, corporates = (
        _around(choices, rate)
        for choices, rate in zip((config.income_tax_choices, config.corporate_tax_choices), own, strict=True)
    )
    gains, errors = {}, {}
    for income, corporate in product(incomes, corporates):
        choice = torch.tensor([income * len(config.corporate_tax_choices) + corporate])
        constant = DeviatingPolicies(policies, Deviation("government", choice=choice))
        difference = _welfare(play(constant, episodes, seed, slab=episodes)) - _welfare(played)
        pair = (config.income_tax_choices[income], config.corporate_tax_choices[corporate])
        gains[pair], errors[pair] = float(difference.mean()), float(difference.std()) / math.sqrt(episodes)
    return Taxing((own[0], own[1]), float(_welfare(played).mean()), gains, errors)


def _welfare(played: Episodes) -> torch.Tensor:
    """Welfare [N] of each episode, as the government maximises it."""
    return played.returns["government"].double().flatten()


def _around(choices: tuple[float, ...], rate: float) -> list[int]:
    """Indices of the choice nearest to a rate and of those next to it."""
    order = sorted(range(len(choices)), key=choices.__getitem__)
    nearest = min(range(len(order)), key=lambda place: abs(choices[order[place]] - rate))
    return order[max(nearest - 1, 0) : nearest + 2]
