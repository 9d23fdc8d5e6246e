"""Networks that treat firms alike: what they learn of one firm they know of all, and they run with any number of firms.

A flat network has to learn the response to each firm's price on its own, and in practice learns none. Here one small
network is shared by all firms, sees each firm's price, wage, inventory and rationing beside their mean over firms,
and gives that firm's logits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from rbc_marl.config import EconomyConfig
from rbc_marl.observations import ObservationLayout, observation_layout, scales, symlog
from rbc_marl.policies.knots import make_knots, with_knots
from rbc_marl.policies.networks import PolicyNetwork, SharedBodyNetwork, fully_connected

_FIRM_QUANTITIES = ("price", "wage", "inventory", "overdemanded")


class FirmFeatures(nn.Module):
    """Splits the global part of an observation into what belongs to each firm and what is common.

    The number of firms is read off the observation, so that a network made for ten firms serves four or twenty-five.
    """

    def __init__(self, layout: ObservationLayout, is_net: bool = False) -> None:
        """Read the layout of observations, and fix whether wages are those after income tax."""
        super().__init__()
        self.width = layout.width
        self.is_net = is_net
        self.per_firm = len(_FIRM_QUANTITIES) - 1 + layout.width
        # Taxes, time and shocks: all that follows what belongs to firms.
        self.common = layout.sizes("government")[0] - layout.global_slices[_FIRM_QUANTITIES[-1]].stop

    def forward(self, shared: Tensor) -> tuple[Tensor, Tensor]:
        """Split global parts [N, G].

        Returns:
            Each firm's quantities [N, F, per_firm], and the common ones with the firms' mean [N, common + per_firm].
        """
        firms = (shared.shape[-1] - self.common) // self.per_firm
        widths = [firms, firms, firms * self.width, firms, self.common]
        price, wage, inventory, overdemanded, common = shared.split(widths, dim=-1)
        if self.is_net:
            wage = wage * (1.0 - common[..., :1])
        own = torch.cat(
            [
                price.unsqueeze(-1),
                wage.unsqueeze(-1),
                inventory.unflatten(-1, (firms, self.width)),
                overdemanded.unsqueeze(-1),
            ],
            dim=-1,
        )
        return own, torch.cat([common, own.mean(1)], dim=-1)


class PriceRanks(nn.Module):
    """How each price stands beside those of the other goods: what a shopper with little money goes by.

    A consumer who buys the cheapest goods first asks of each good which are cheaper, and whether money is left once
    those are bought. A small network finds neither in one price beside the mean of all.
    """

    width = 3

    def __init__(self, config: EconomyConfig) -> None:
        """Read the scale of prices, and the most units of a good, from the economy."""
        super().__init__()
        self.money = max(config.consumption_choices) * scales(config)["price"]
        # A share of the highest price, which keeps ratios to a price of 0 finite.
        self.floor = 0.04

    def forward(self, price: Tensor) -> Tensor:
        """Describe prices.

        Args:
            price: [N, F] as a share of the highest choice.

        Returns:
            [N, F, 3]: the share of firms that are cheaper, the log ratio to the lowest price, and the (symlog) cost of
            the most units of every cheaper good.
        """
        ordered = price.sort(-1).values.contiguous()
        cheaper = torch.searchsorted(ordered, price.contiguous())
        cost = torch.cat([torch.zeros_like(ordered[..., :1]), ordered.cumsum(-1)], dim=-1).gather(-1, cheaper)
        ratio = ((price + self.floor) / (ordered[..., :1] + self.floor)).log()
        return torch.stack([cheaper.to(price.dtype) / price.shape[-1], ratio, symlog(cost * self.money)], dim=-1)


def _pool(features: Tensor) -> Tensor:
    """Mean over firms [N, A, hidden] of features [N, A, F, hidden]: as `mean`, but its gradient is divided once."""
    return features.sum(2) / features.shape[2]


class EquivariantConsumer(PolicyNetwork):
    """A consumer's network: per firm its consumption and employer logits, pooled over firms its hours and value."""

    def __init__(
        self,
        config: EconomyConfig,
        agent_type: str,
        encoding: str,
        sizes: Sequence[int],
        hidden: Sequence[int] = (32, 32),
        ranks_prices: bool = False,
        knots: Mapping[str, int] | None = None,
    ) -> None:
        """Make the layers.

        Args:
            config: As for `PolicyNetwork`, like the next three.
            agent_type: Whose it is.
            encoding: Of observations.
            sizes: Of heads.
            hidden: Widths of the network shared by firms.
            ranks_prices: Whether it sees how each price stands beside the cheaper ones (`PriceRanks`).
            knots: Of single numbers that all see, by name (`Knots`).
        """
        layout = observation_layout(config, encoding)
        super().__init__(config, agent_type, encoding, sizes)
        # What a worker keeps of a wage: whoever has learnt to respond to wages then responds to income tax as well.
        self.split = FirmFeatures(layout, is_net=True)
        self.ranks = PriceRanks(config) if ranks_prices else None
        self.own_layer = nn.Linear(self.split.per_firm + (PriceRanks.width if ranks_prices else 0), hidden[0])
        self.common_layer = nn.Linear(self.split.common + self.split.per_firm, hidden[0], bias=False)
        self.private_layer = nn.Linear(self.private_size, hidden[0], bias=False)
        self.body = fully_connected(hidden)
        self.pooled = fully_connected((hidden[-1], hidden[-1]))
        self.hidden_values = max(hidden) * config.num_firms
        self.firm_head = nn.Linear(hidden[-1], len(config.consumption_choices) + 1)
        self.hours_head = nn.Linear(hidden[-1], len(config.hours_choices))
        self.value_head = nn.Linear(hidden[-1], 1)
        self.knots = make_knots(config, encoding, knots, hidden[0])

    def forward(self, shared: Tensor, private: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and values; see `PolicyNetwork.forward`. Features are pooled once for both."""
        features = self.features(shared, private)
        pooled = self.pooled(_pool(features))
        return self._logits(features, pooled), self._values(pooled)

    def features(self, shared: Tensor, private: Tensor) -> Tensor:
        """Last hidden layer of every consumer and firm, [N, A, F, hidden]."""
        own, common = self.split(shared)
        if self.ranks is not None:
            own = torch.cat([own, self.ranks(own[..., 0])], dim=-1)
        per_firm = self.own_layer(own).unsqueeze(1)  # once per economy and firm
        of_all = with_knots(self.common_layer(common), self.knots, shared).unsqueeze(1)
        per_agent = (of_all + self.private_layer(private)).unsqueeze(2)
        features: Tensor = self.body((per_firm + per_agent).relu_())
        return features

    def logits(self, features: Tensor) -> Tensor:
        """Logits [N, A, K]: consumption of each good, hours, employer."""
        return self._logits(features, self.pooled(_pool(features)))

    def values(self, features: Tensor) -> Tensor:
        """Values [N, A]."""
        return self._values(self.pooled(_pool(features)))

    def _logits(self, features: Tensor, pooled: Tensor) -> Tensor:
        per_firm = self.firm_head(features)
        return torch.cat([per_firm[..., :-1].flatten(2), self.hours_head(pooled), per_firm[..., -1]], dim=-1)

    def _values(self, pooled: Tensor) -> Tensor:
        value: Tensor = self.value_head(pooled)
        return value.squeeze(-1)


class EquivariantFirm(SharedBodyNetwork):
    """A firm's network: its own price, wage and inventory beside the mean over all firms; no identity."""

    def __init__(
        self,
        config: EconomyConfig,
        agent_type: str,
        encoding: str,
        sizes: Sequence[int],
        hidden: Sequence[int] = (32, 32),
        knots: Mapping[str, int] | None = None,
    ) -> None:
        """Make the layers."""
        layout = observation_layout(config, encoding)
        super().__init__(config, agent_type, encoding, sizes)
        self.split = FirmFeatures(layout)
        numbers = layout.private_slices["firm"]["identity"].start
        self.own_layer = nn.Linear(self.split.per_firm + numbers, hidden[0])
        self.common_layer = nn.Linear(self.split.common + self.split.per_firm, hidden[0], bias=False)
        self.body = fully_connected(hidden)
        self.hidden_values = max(hidden)
        self.make_heads(hidden[-1])
        self.knots = make_knots(config, encoding, knots, hidden[0])

    def features(self, shared: Tensor, private: Tensor) -> Tensor:
        """Last hidden layer [N, A, hidden]: of all firms, or of those whose numbers there are."""
        own, common = self.split(shared)
        number = private[..., -1:].long()  # agents may be some of the firms, in any order
        own = own.gather(1, number.expand(-1, -1, own.shape[-1]))
        first = self.own_layer(torch.cat([own, private[..., :-1]], dim=-1))
        of_all = with_knots(self.common_layer(common), self.knots, shared).unsqueeze(1)
        features: Tensor = self.body(torch.relu(first + of_all))
        return features


class EquivariantGovernment(SharedBodyNetwork):
    """A government's network: firms are seen one by one and pooled."""

    def __init__(
        self,
        config: EconomyConfig,
        agent_type: str,
        encoding: str,
        sizes: Sequence[int],
        hidden: Sequence[int] = (32, 32),
        knots: Mapping[str, int] | None = None,
    ) -> None:
        """Make the layers."""
        layout = observation_layout(config, encoding)
        super().__init__(config, agent_type, encoding, sizes)
        self.split = FirmFeatures(layout)
        self.own_layer = nn.Linear(self.split.per_firm, hidden[0])
        self.common_layer = nn.Linear(self.split.common + self.split.per_firm, hidden[0], bias=False)
        self.body = fully_connected(hidden)
        self.hidden_values = max(hidden[0] * config.num_firms, *hidden)
        self.make_heads(hidden[-1])
        self.knots = make_knots(config, encoding, knots, hidden[0])

    def features(self, shared: Tensor, private: Tensor) -> Tensor:
        """Last hidden layer [N, 1, hidden]."""
        own, common = self.split(shared)
        of_all = with_knots(self.common_layer(common), self.knots, shared).unsqueeze(1)
        seen = torch.relu(self.own_layer(own) + of_all).mean(1, keepdim=True)
        features: Tensor = self.body(seen)
        return features
