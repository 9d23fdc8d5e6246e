"""Policy networks, one shared by all agents of a type (section 4 of the paper).

A network reads the global part of an observation once per economy and the private parts of all agents of its type, and gives
logits for every choice and a value. It knows nothing of Ray.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rbc_marl.choices import head_sizes
from rbc_marl.config import EconomyConfig
from rbc_marl.errors import ConfigError, nearest
from rbc_marl.observations import observation_size
from rbc_marl.policies.distributions import MASKED_LOGIT, FactorisedCategorical

DEFAULT_HIDDEN = (128, 128)


class PolicyNetwork(nn.Module):
    """What all networks share: the heads they serve and the mask over their choices.

    Attributes:
        shared_size: Length of the global part of an observation (G).
        head_sizes: Alternatives of each choice an agent takes.
        log_mask: [K] buffer, 0 where a choice is allowed and `MASKED_LOGIT` where not; part of the network's state, so that
            it travels with its weights.
        is_maskable: Whether choices can be forbidden.
    """

    log_mask: Tensor

    def __init__(self, shared_size: int, sizes: Sequence[int], is_maskable: bool) -> None:
        """Register the mask, with every choice allowed."""
        super().__init__()
        self.shared_size = shared_size
        self.head_sizes = tuple(sizes)
        self.is_maskable = is_maskable
        self.register_buffer("log_mask", torch.zeros(sum(sizes)))

    def set_mask(self, allowed: Tensor) -> None:
        """Allow only some choices, when acting and when learning.

        Args:
            allowed: [K] bool, over the alternatives of all heads side by side.

        Raises:
            ConfigError: The network takes no mask, or some head is left without a choice.
        """
        if not self.is_maskable:
            raise ConfigError("this network's choices cannot be masked; masks are for firms and the government")
        parts = allowed.split(list(self.head_sizes))
        if allowed.shape != self.log_mask.shape or not all(bool(part.any()) for part in parts):
            raise ConfigError("a mask must leave every head at least one choice")
        self.log_mask.copy_(torch.where(allowed, 0.0, MASKED_LOGIT))

    def forward(self, shared: Tensor, private: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and values.

        Args:
            shared: [N, G] global parts, one per economy.
            private: [N, A, P] private parts of the A agents.

        Returns:
            Logits [N, A, K], forbidden choices at `MASKED_LOGIT`, and values [N, A].
        """
        features = self.features(shared, private)
        return self.logits(features), self.values(features)

    def features(self, shared: Tensor, private: Tensor) -> Tensor:
        """What both heads read, [N, A, hidden]; arguments as in `forward`."""
        raise NotImplementedError

    def logits(self, features: Tensor) -> Tensor:
        """Logits [N, A, K] of features [N, A, hidden]."""
        raise NotImplementedError

    def values(self, features: Tensor) -> Tensor:
        """Values [N, A] of features [N, A, hidden]."""
        raise NotImplementedError

    def distribution(self, logits: Tensor) -> FactorisedCategorical:
        """The action distribution of logits [..., K]."""
        return FactorisedCategorical(logits, self.head_sizes, self.is_maskable)


class FlatNetwork(PolicyNetwork):
    """The paper's network: fully connected ReLU layers shared by logits and value.

    The first layer is one matrix split in two, so that its global part is computed once per economy, not once per agent.
    """

    def __init__(
        self, shared_size: int, private_size: int, sizes: Sequence[int], hidden: Sequence[int], is_maskable: bool
    ) -> None:
        """Make the layers.

        Args:
            shared_size: Length of the global part of an observation (G).
            private_size: Length of the private part (P).
            sizes: Alternatives of each choice.
            hidden: Width of each hidden layer.
            is_maskable: Whether choices can be forbidden.
        """
        super().__init__(shared_size, sizes, is_maskable)
        self.shared_layer = nn.Linear(shared_size, hidden[0])
        self.private_layer = nn.Linear(private_size, hidden[0], bias=False) if private_size else None
        bound = 1.0 / sqrt(shared_size + private_size)  # as one layer of both parts would start
        for parameter in [*self.shared_layer.parameters(), *(self.private_layer or nn.Identity()).parameters()]:
            nn.init.uniform_(parameter, -bound, bound)
        self.hidden_layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(hidden[:-1], hidden[1:], strict=True))
        self.action_head = nn.Linear(hidden[-1], sum(sizes))
        self.value_head = nn.Linear(hidden[-1], 1)

    def features(self, shared: Tensor, private: Tensor) -> Tensor:
        """Last hidden layer [N, A, hidden]."""
        x = self.shared_layer(shared).unsqueeze(1)
        x = x + self.private_layer(private) if self.private_layer is not None else x.expand(-1, private.shape[1], -1)
        x = torch.relu(x)
        for layer in self.hidden_layers:
            x = torch.relu(layer(x))
        return x

    def logits(self, features: Tensor) -> Tensor:
        """Logits [N, A, K]; the mask enters with the bias, at no cost per agent."""
        head = self.action_head
        bias = head.bias + self.log_mask if self.is_maskable else head.bias
        return functional.linear(features, head.weight, bias)

    def values(self, features: Tensor) -> Tensor:
        """Values [N, A]."""
        return self.value_head(features).squeeze(-1)


NETWORKS = ("flat",)


def check_network_spec(spec: str | Mapping[str, Any], where: str = "model") -> dict[str, Any]:
    """The complete form of a network's description in a configuration.

    Args:
        spec: A kind ("flat"), or a mapping with ``kind`` and optionally ``hidden``, a list of widths.
        where: Place in the file, for messages.

    Returns:
        A mapping of plain data with ``kind`` and ``hidden``.

    Raises:
        ConfigError: The kind or a key is unknown, or a width is not a positive whole number.
    """
    given = {"kind": spec} if isinstance(spec, str) else dict(spec) if isinstance(spec, Mapping) else None
    if given is None:
        raise ConfigError(f'{where} is {spec!r}; give "flat", or a mapping such as {{kind: flat, hidden: [128, 128]}}')
    for key in given:
        if key not in ("kind", "hidden"):
            raise ConfigError(f"{where}.{key} is not a setting of a network{nearest(str(key), ('kind', 'hidden'))}")
    kind = given.get("kind", "flat")
    if kind not in NETWORKS:
        raise ConfigError(f"{where}.kind is {kind!r}; it must be {' or '.join(NETWORKS)}{nearest(str(kind), NETWORKS)}")
    hidden = given.get("hidden", DEFAULT_HIDDEN)
    if (
        not isinstance(hidden, (list, tuple))
        or not hidden
        or not all(type(width) is int and width > 0 for width in hidden)
    ):
        raise ConfigError(f"{where}.hidden is {hidden!r}; it must be a list of positive whole numbers, such as [128, 128]")
    return {"kind": kind, "hidden": list(hidden)}


def build_network(
    config: EconomyConfig, agent_type: str, encoding: str = "symlog", spec: str | Mapping[str, Any] = "flat"
) -> PolicyNetwork:
    """Make the network of an agent type.

    Args:
        config: The economy.
        agent_type: "consumer", "firm" or "government".
        encoding: Of its observations.
        spec: Description; see `check_network_spec`.

    Raises:
        ConfigError: The type, the encoding or the description is unknown.
    """
    complete = check_network_spec(spec, where=f"model.{agent_type}")
    shared_size, private_size = observation_size(config, agent_type, encoding)
    return FlatNetwork(
        shared_size,
        private_size,
        head_sizes(config, agent_type),
        complete["hidden"],
        is_maskable=agent_type != "consumer",
    )
