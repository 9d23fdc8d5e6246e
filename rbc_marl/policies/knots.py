"""Single numbers that all agents see, resolved by piecewise-linear functions in a network's first layer.

A network sees the period, or the number of a family of economies, as one number among many, and learns an answer to it
that is smooth. With knots it has a weight for each of some evenly spaced values, and between them weighs both
neighbours: hat functions, the linear finite elements with which economists approximate policy functions (Judd 1998,
chapter 6.6; McGrattan 1996). As many knots as there are periods make a policy for each period.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

import torch
from torch import Tensor, nn

from rbc_marl.config import EconomyConfig
from rbc_marl.errors import ConfigError, nearest
from rbc_marl.observations import common_ranges


class Knots(nn.Module):
    """What is added to a first layer: of each quantity a weight for each knot, all 0 at the start.

    So a network begins as it would without knots. Its own weights of the quantity stay beside them: beyond the last
    knots what is added stays what it is there.

    Attributes:
        layer: From the K hat functions of all quantities to the first layer; its columns are the values at knots.
    """

    columns: Tensor
    centres: Tensor
    spacings: Tensor
    lows: Tensor
    highs: Tensor
    scales: Tensor

    def __init__(self, config: EconomyConfig, encoding: str, counts: Mapping[str, int], width: int) -> None:
        """Place the knots.

        Args:
            config: The economy.
            encoding: Of its observations.
            counts: Knots by quantity, at least 2: from the lowest to the highest value that it takes.
            width: Of the first layer.

        Raises:
            ConfigError: A quantity is not among `rbc_marl.observations.common_ranges`.
        """
        super().__init__()
        ranges = common_ranges(config, encoding)
        check_knots(counts, ranges, "knots")
        hats = []
        for name, count in counts.items():
            where, low, high = ranges[name]
            spacing = (high - low) / (count - 1) or 1.0  # of a number that never moves
            for column in where:  # several where there are news of coming periods
                hats += [(column, low + spacing * knot, spacing, low, high, sqrt(count)) for knot in range(count)]
        columns, *numbers = zip(*hats, strict=True)
        for name, values in zip(("centres", "spacings", "lows", "highs", "scales"), numbers, strict=True):
            self.register_buffer(name, torch.tensor(values), persistent=False)
        self.register_buffer("columns", torch.tensor(columns), persistent=False)
        # Without draws: the weights of networks that are made next are those of networks without knots.
        self.layer = nn.utils.skip_init(nn.Linear, len(hats), width, bias=False)
        nn.init.zeros_(self.layer.weight)

    def hats(self, shared: Tensor) -> Tensor:
        """Hat functions [N, K] of global parts [N, G]: of one quantity they are 0 to 1, and 1 in all."""
        values = shared[..., self.columns].clamp(self.lows, self.highs)
        return torch.relu(1.0 - (values - self.centres).abs() / self.spacings)

    def forward(self, shared: Tensor) -> Tensor:
        """What is added to the first layer, [N, width], of global parts [N, G]."""
        # Where values are seen alike often, each enters with a mean square of 1: with many knots each is seen seldom,
        # and its weights would learn too slowly.
        added: Tensor = self.layer(self.hats(shared) * self.scales)
        return added


def check_knots(counts: Mapping[str, int], known: Mapping[str, object], where: str) -> None:
    """Refuse knots of quantities that are not single numbers which all agents see, and fewer than two.

    Raises:
        ConfigError: There are such.
    """
    for name, count in counts.items():
        if count < 2:
            raise ConfigError(f"{where}.{name} is {count}; it must be at least 2")
        if name not in known:
            there = f"no single number that all agents see; there are {', '.join(known)}{nearest(name, known)}"
            raise ConfigError(f"{where}.{name} is {there}")


def make_knots(config: EconomyConfig, encoding: str, counts: Mapping[str, int] | None, width: int) -> Knots | None:
    """Knots for a first layer; None where there are none. Arguments as of `Knots`."""
    return Knots(config, encoding, counts, width) if counts else None


def with_knots(first: Tensor, knots: Knots | None, shared: Tensor) -> Tensor:
    """The share of a first layer [N, width] that is common to agents, with what knots add to it.

    Args:
        first: Without knots.
        knots: None for none.
        shared: [N, G] global parts.
    """
    return first if knots is None else first + knots(shared)
