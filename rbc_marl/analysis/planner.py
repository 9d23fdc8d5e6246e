"""A planner's welfare: the most utility that a closed economy could make of its people and its capital.

The planner tells everybody how long to work and where, and shares all goods equally. Money, prices and taxes play no
part. Hours and units need not be among the choices, and capital stays as it is at the start.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from rbc_marl.config import EconomyConfig
from rbc_marl.economy import initial_state
from rbc_marl.errors import ConfigError
from rbc_marl.mechanics.labour import Linear
from rbc_marl.mechanics.production import CobbDouglas
from rbc_marl.mechanics.utility import AdditiveUtility

_BISECTIONS = 60
# What the planner reads in the configuration: where shocks move it, there is none.
_READ = ("technology", "crra", "depreciation", "workers", "firms", "labour_disutility_scale")


class Plan(NamedTuple):
    """What a planner does, and what it comes to."""

    welfare: float
    """Consumers' welfare of an episode."""
    hours: float
    """Per consumer and period, over all periods."""


def lacks_plan(config: EconomyConfig) -> str:
    """What of an economy makes that there is no planner, such as "production ces"; empty where there is one."""
    known = {"utility": AdditiveUtility, "disutility": Linear, "production": CobbDouglas}
    parts = [config.parts[name].title for name, base in known.items() if not isinstance(config.parts[name], base)]
    parts += ["a depreciation"] if config.depreciation else []
    parts += [f"{config.market} market"] if config.market != "posted" else []
    parts += ["a discount"] if config.discount != 1.0 else []
    moving = config.shocks.on if config.shocks is not None else {}
    parts += [f"shocks.{name}" for name in _READ if name in moving]
    return next(iter(parts), "a warm start" if config.start is not None else "")  # of other capital


@lru_cache(maxsize=32)
def plan(config: EconomyConfig) -> Plan:
    """The planner's best allocation in every period but the last, whose goods nobody could have.

    Goods made in a period are shared out in the next, and none are carried further: every period is alike, utility of
    goods is concave, and an hour costs a consumer always the same. Stocks at the start are not counted.

    Hours go to the firms until another one brings as much everywhere, and no more than it costs whoever minds least
    among those who have hours left.

    Raises:
        ConfigError: The economy has something for which there is no planner.
    """
    if part := lacks_plan(config):
        raise ConfigError(f"there is no planner with {part}; hold the economy against a rule-based one")
    utility_part = config.utility
    assert isinstance(utility_part, AdditiveUtility)
    state = initial_state(config, 1, "cpu", torch.float64)
    exponent, capital = state.labour_exponent[0], state.capital[0]
    # An hour costs half the disutility: whoever minds least works first.
    costs = 0.5 * state.labour_disutility[0].sort().values
    most = max(config.hours_choices)
    scale = config.technology * capital ** (1.0 - exponent)
    # Nobody can have more units of a good, so that more hours make no utility.
    enough = (config.num_consumers * max(config.consumption_choices) / scale) ** (1.0 / exponent)

    def wanted(value: float) -> Tensor:
        """Hours [F] at which another one brings ``value`` of utility, of all consumers."""
        low, high = torch.zeros_like(exponent), enough.clamp(max=config.num_consumers * most)
        for _ in range(_BISECTIONS):
            hours = (low + high) / 2
            units = scale * hours**exponent / config.num_consumers
            brings = utility_part.marginal(units, config) * exponent * scale * hours ** (exponent - 1.0)
            low, high = torch.where(brings > value, hours, low), torch.where(brings > value, high, hours)
        return high

    low, high = 0.0, 1e6  # the value of an hour
    for _ in range(_BISECTIONS):
        value = (low + high) / 2
        is_wanted = float(wanted(value).sum()) > most * float((costs < value).sum())
        low, high = (value, high) if is_wanted else (low, value)
    # Either hours wanted or hours offered may jump at that value: as many are worked as both sides allow.
    fewest, hours = wanted(high), wanted(low)
    offered = most * float((costs < high).sum())
    if float(hours.sum()) > offered:
        hours = fewest + (hours - fewest) * (offered - fewest.sum()) / (hours - fewest).sum()
    units = scale * hours**exponent / config.num_consumers
    taken = (hours.sum() - most * torch.arange(len(costs))).clamp(min=0.0, max=most)
    periods = config.horizon - 1
    utility = config.num_consumers * float(utility_part.of_good(units, config).sum()) - float((taken * costs).sum())
    return Plan(max(periods * utility, 0.0), periods * float(hours.sum()) / config.num_consumers / config.horizon)
