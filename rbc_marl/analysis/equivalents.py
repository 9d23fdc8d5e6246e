"""Consumption equivalents: differences in utility between economies, as shares of consumption (Lucas 1987)."""

from __future__ import annotations

from torch import Tensor

from rbc_marl.analysis.rollouts import Episodes
from rbc_marl.economy.markets import utility_of
from rbc_marl.errors import ConfigError

_BISECTIONS = 60
# Consumption is raised this many times at most: what it takes to make up for more is no longer a share of it.
_MOST = 2.0**20


def consumption_equivalent(home: Episodes, other: Episodes) -> float | None:
    """Share of consumption that a consumer would give up to live in another economy, at the hours worked there.

    With the share ``g``, the mean consumer of ``other`` would be as well off as that of ``home``: the utility of
    ``(1 - g)`` times the units of every good, consumer and period there, less the disutility of hours there, is the
    utility at home. It is above 0 where the other economy is better; -0.5 says that it takes half as much again to be
    as well off there.

    Args:
        home: Episodes of the economy in which consumers live, played with ``baskets=True``.
        other: Of the other, likewise; its consumption is scaled.

    Returns:
        The share; None where no share makes up for the difference, as where nobody consumes.

    Raises:
        ConfigError: The episodes hold no baskets, or utility is curved differently in the two.
    """
    if home.config.crra != other.config.crra:
        raise ConfigError(
            f"crra is {home.config.crra:g} in one economy and {other.config.crra:g} in the other; "
            "utilities can be compared where it is the same"
        )
    units, crra = _baskets(other), other.config.crra

    def gain(scale: float) -> float:
        """Utility of scaled consumption in the other economy, beyond that at home."""
        return _lifetime(units * scale, crra) - fixed

    disutility = _lifetime(units, crra) - float(other.returns["consumer"].double().mean())
    fixed = disutility + float(home.returns["consumer"].double().mean())
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
    return 1.0 - high


def _baskets(episodes: Episodes) -> Tensor:
    """Units [N, T, C, F], in double precision."""
    if episodes.baskets is None:
        raise ConfigError("the episodes hold no baskets; play them with baskets=True")
    return episodes.baskets.double()


def _lifetime(units: Tensor, crra: float) -> float:
    """Utility of consumption of the mean consumer over an episode."""
    return float(utility_of(units, crra).sum(dim=(1, 3)).mean())
