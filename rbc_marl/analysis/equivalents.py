"""Consumption equivalents: differences in utility between economies, as shares of consumption (Lucas 1987)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import torch
from torch import Tensor

from rbc_marl.analysis.best_responses import CONFIDENCE
from rbc_marl.analysis.rollouts import Episodes
from rbc_marl.config import EconomyConfig
from rbc_marl.errors import ConfigError

_BISECTIONS = 40
# Consumption is raised this many times at most: what it takes to make up for more is no longer a share of it.
_MOST = 2.0**20
# Step of the scale by which the slope of utility is measured.
_STEP = 1e-4


def consumption_equivalent(
    home: Episodes, other: Episodes, consumers: Sequence[int] | None = None
) -> dict[str, float] | None:
    """Share of consumption that consumers would give up to live in another economy, at the hours worked there.

    With the share ``g``, the mean consumer of ``other`` would be as well off as that of ``home``: the utility of
    ``(1 - g)`` times the units of every good, consumer and period there, less the disutility of hours there, is the
    utility at home. It is above 0 where the other economy is better; -0.5 says that it takes half as much again to be
    as well off there.

    Args:
        home: Episodes of the economy in which consumers live, played with ``baskets=True``.
        other: Of the other, likewise, as many and with the same seed; its consumption is scaled.
        consumers: Numbers of those who are meant; None: all of them.

    Returns:
        ``gain``, the share, and ``low`` and ``high``, the ends of its 95% interval over pairs of episodes (the gain
        itself where there is one pair). None where no share makes up for the difference, as where nobody consumes;
        where hours and goods cannot be told apart, as in the utility `Ghh`; and where shocks move ``crra``.

    Raises:
        ConfigError: The episodes hold no baskets, their numbers differ, or utility is curved differently in the two.
    """
    if home.config.utility != other.config.utility:
        raise ConfigError(
            f"utility is {home.config.utility} in one economy and {other.config.utility} in the other; "
            "utilities can be compared where they are the same"
        )
    if home.config.crra != other.config.crra:
        raise ConfigError(
            f"crra is {home.config.crra:g} in one economy and {other.config.crra:g} in the other; "
            "utilities can be compared where it is the same"
        )
    if home.num_episodes != other.num_episodes:
        counts = f"{home.num_episodes} episodes cannot be paired with {other.num_episodes}"
        raise ConfigError(f"{counts}; play as many of each")
    if home.config.discount != other.config.discount:
        raise ConfigError(
            f"discount is {home.config.discount:g} in one economy and {other.config.discount:g} in the other; "
            "utilities can be compared where it is the same"
        )
    chosen = slice(None) if consumers is None else list(consumers)
    units, config = _baskets(other)[:, :, chosen].double(), other.config
    _baskets(home)  # refused where there are none
    if not config.utility.is_separable or any(_curvature_moves(episodes.config) for episodes in (home, other)):
        return None
    here, there = (episodes.returns["consumer"].double()[:, chosen].mean(dim=1) for episodes in (home, other))
    disutility = _lifetime(units, config) - there

    def gains(scale: float) -> Tensor:
        """[N] utility of scaled consumption in the other economy, beyond that at home."""
        return _lifetime(units * scale, config) - disutility - here

    def gain(scale: float) -> float:
        return float(gains(scale).mean())

    low, high = 0.0, 1.0
    while gain(high) < 0.0:
        low, high = high, 2.0 * high
        if high > _MOST:
            return None
    if gain(low) > 0.0 or gain(high) == gain(low):
        return None
    for _ in range(_BISECTIONS):
        scale = (low + high) / 2
        low, high = (scale, high) if gain(scale) < 0.0 else (low, scale)
    share, left = 1.0 - high, gains(high)
    half = 0.0
    if len(left) > 1:  # the delta method: what is left of the differences, by the slope at the share
        slope = (gain(high * (1 + _STEP)) - gain(high * (1 - _STEP))) / (2 * _STEP * high)
        half = NormalDist().inv_cdf((1.0 + CONFIDENCE) / 2) * float(left.std()) / math.sqrt(len(left)) / slope
    return {"gain": share, "low": share - half, "high": share + half}


def _baskets(episodes: Episodes) -> Tensor:
    """Units [N, T, C, F]."""
    if episodes.baskets is None:
        raise ConfigError("the episodes hold no baskets; play them with baskets=True")
    return episodes.baskets


def _curvature_moves(config: EconomyConfig) -> bool:
    return config.shocks is not None and config.shocks.crra is not None


def _lifetime(units: Tensor, config: EconomyConfig) -> Tensor:
    """[N] utility of consumption [N, T, C, F] of the mean consumer over each episode."""
    goods = config.utility.of_goods(units.flatten(0, 1).transpose(1, 2), config)  # [N T, C]
    per_period: Tensor = goods.unflatten(0, units.shape[:2])
    weight = config.discount ** torch.arange(units.shape[1], device=units.device, dtype=per_period.dtype)
    return (per_period * weight.unsqueeze(-1)).sum(1).mean(1)
