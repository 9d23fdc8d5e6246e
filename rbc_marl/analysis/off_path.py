"""What agents see off the path: the quick measurements of each type, as `rbc-marl evaluate` prints them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rbc_marl.analysis.pricing import Pricing, pricing
from rbc_marl.analysis.taxing import Taxing, taxing
from rbc_marl.analysis.working import Working, working
from rbc_marl.policies import Policies

# Few firms and episodes: seconds, not minutes.
_FIRMS, _EPISODES = 3, 8


@dataclass(frozen=True)
class OffPath:
    """Consumers at other wages and taxes, firms at other prices, the government at other taxes."""

    working: Working
    pricing: Pricing
    taxing: Taxing

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {name: part.to_dict() for name, part in vars(self).items()}

    def lines(self) -> list[str]:
        """The measurements, a line each."""
        return [f"{name}: {part.describe()}" for name, part in vars(self).items()]


def off_path(policies: Policies, seed: int = 0) -> OffPath:
    """Measure all three; see `working`, `pricing` (of three firms) and `taxing`."""
    return OffPath(
        working(policies, seed=seed),
        pricing(policies, _EPISODES, seed, firms=_FIRMS),
        taxing(policies, _EPISODES, seed),
    )
