"""Policy networks, one shared by all agents of a type (section 4 of the paper).

A network reads the global part of an observation once per economy and the private parts of all agents of its type,
and gives logits for every choice and a value. It knows nothing of Ray.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

from rbc_marl.config import EconomyConfig
from rbc_marl.errors import ConfigError
from rbc_marl.observations import observation_size, private_size, with_identity
from rbc_marl.policies.distributions import MASKED_LOGIT, FactorisedCategorical
from rbc_marl.policies.knots import make_knots, with_knots


class PolicyNetwork(nn.Module):
    """What all networks share: the heads they serve and the mask over their choices.

    A network of one's own is a subclass that takes the same arguments, and settings of its own as keyword arguments,
    which stand beside ``kind`` in a configuration. It defines `features`, `logits` and `values`; where `is_maskable`,
    `logits` adds `log_mask`. It must serve any number of agents, each by itself, and read nothing but the two parts of
    an observation. `SharedBodyNetwork` defines all but `features`.

    Attributes:
        shared_size: Length of the global part of an observation (G).
        private_size: Length of the private part with the identity of firms written out (P), as `written_out` gives it.
        seen_size: Length of the private part in a batch (Q), where firms have a number.
        head_sizes: Alternatives of each choice an agent takes.
        log_mask: [K] buffer, 0 where a choice is allowed and `MASKED_LOGIT` where not; part of the network's state,
            so that it travels with its weights.
        is_maskable: Whether choices can be forbidden.
        dealt_head: Number of the choice that greedy play deals out by its probabilities: a consumer's employer.
        hidden_values: Values of the widest hidden layer for one agent: how many rows are learnt from at
            once on a CPU follows from it. Only speed depends on it.
    """

    log_mask: Tensor
    hidden_values: int = 128

    def __init__(self, config: EconomyConfig, agent_type: str, encoding: str, sizes: Sequence[int]) -> None:
        """Register the mask, with every choice allowed.

        Args:
            config: The economy.
            agent_type: "consumer", "firm" or "government".
            encoding: Of the observations.
            sizes: Alternatives of each choice.
        """
        super().__init__()
        self.shared_size, self.private_size = observation_size(config, agent_type, encoding)
        self.seen_size = private_size(config, agent_type, encoding)
        self._firms = config.num_firms if agent_type == "firm" else None
        self.head_sizes = tuple(sizes)
        self.is_maskable = agent_type != "consumer"
        self.dealt_head = len(self.head_sizes) - 1 if agent_type == "consumer" else None
        # Where nothing can be forbidden the mask is no state: its length would tie the weights to the number of firms.
        self.register_buffer("log_mask", torch.zeros(sum(sizes)), persistent=self.is_maskable)

    def set_mask(self, allowed: Tensor) -> None:
        """Allow only some choices, when acting and when learning.

        Args:
            allowed: [K] bool, over the alternatives of all heads side by side.

        Raises:
            ConfigError: The network takes no mask, or some head is left without a choice.
        """
        if not self.is_maskable:
            raise ConfigError("this network's choices cannot be masked; masks are for firms and the government")
        if allowed.shape != self.log_mask.shape:
            raise ConfigError(f"a mask has shape {tuple(allowed.shape)}; it must have {tuple(self.log_mask.shape)}")
        if not all(bool(part.any()) for part in allowed.split(list(self.head_sizes))):
            raise ConfigError("a mask must leave every head at least one choice")
        self.log_mask.copy_(torch.where(allowed, 0.0, MASKED_LOGIT))

    def lift_mask(self) -> None:
        """Allow every choice."""
        self.log_mask.zero_()

    @property
    def acting_values(self) -> int:
        """Values of the widest layer for one agent, its logits among them."""
        return max(self.hidden_values, sum(self.head_sizes))

    def written_out(self, private: Tensor) -> Tensor:
        """Private parts [N, A, P] as numbers that layers can multiply: a firm's number becomes a one-hot identity."""
        return private if self._firms is None else with_identity(private, self._firms)

    def forward(self, shared: Tensor, private: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and values.

        Args:
            shared: [N, G] global parts, one per economy.
            private: [N, A, Q] private parts of the A agents, as in a batch: a firm's ends with its number.

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
        return FactorisedCategorical(logits, self.head_sizes, self.is_maskable, self.dealt_head)


class LayerReLU(nn.Module):
    """A ReLU behind a linear layer: in place where nobody asks for a gradient, which saves a pass through memory."""

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of the linear layer's outputs, which nobody else may hold."""
        # With a gradient not in place: what a Linear gives is a view, and autograd would copy every gradient.
        return torch.relu(x) if torch.is_grad_enabled() else torch.relu_(x)


def fully_connected(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers with a ReLU after each, from the first width to the last; nothing for a single width."""
    layers = [(nn.Linear(a, b), LayerReLU()) for a, b in pairwise(widths)]
    return nn.Sequential(*[part for layer in layers for part in layer])


class MaskedLinear(nn.Linear):
    """A linear layer to whose bias something can be added for one call."""

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
        """Outputs [..., out] of inputs [..., in]; ``shift`` [out] is added to the bias."""
        return functional.linear(x, self.weight, self.bias if shift is None else self.bias + shift)


class IdentityLinear(nn.Linear):
    """A linear layer without a bias on private parts of firms: its last columns are those of their identity.

    What multiplies the one-hot identity of a firm is a column of the weights, which its number looks up.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [..., out] of inputs [..., Q] that end with a number."""
        own, identity = self.weight.tensor_split([x.shape[-1] - 1], dim=1)
        return functional.linear(x[..., :-1], own) + functional.embedding(x[..., -1].long(), identity.T.contiguous())


class SharedBodyNetwork(PolicyNetwork):
    """A network with one linear head for all logits and one for the value, on the same features."""

    def make_heads(self, width: int, first_choice: float = 0.0) -> None:
        """Add the heads to features of some width; ``first_choice`` is added to the first logit at the start."""
        self.action_head = MaskedLinear(width, sum(self.head_sizes))
        with torch.no_grad():
            self.action_head.bias[0] += first_choice
        self.value_head = nn.Linear(width, 1)

    def logits(self, features: Tensor) -> Tensor:
        """Logits [N, A, K]; the mask enters with the bias, at no cost per agent."""
        logits: Tensor = self.action_head(features, self.log_mask if self.is_maskable else None)
        return logits

    def values(self, features: Tensor) -> Tensor:
        """Values [N, A]."""
        value: Tensor = self.value_head(features)
        return value.squeeze(-1)


class FlatNetwork(SharedBodyNetwork):
    """The paper's network: fully connected ReLU layers shared by logits and value.

    The first layer is one matrix split in two, so that its global part is computed once per economy, not once per
    agent.
    """

    def __init__(
        self,
        config: EconomyConfig,
        agent_type: str,
        encoding: str,
        sizes: Sequence[int],
        hidden: Sequence[int] = (128, 128),
        first_choice: float = 0.0,
        knots: Mapping[str, int] | None = None,
    ) -> None:
        """Make the layers.

        Args:
            config: As for `PolicyNetwork`, like the next three.
            agent_type: Whose it is.
            encoding: Of observations.
            sizes: Of heads.
            hidden: Widths of the layers.
            first_choice: Added to the first logit at the start. A government that begins with it sets no taxes, and
                tries others seldom; one that begins by drawing its rates evenly kills the market.
            knots: Of single numbers that all see, by name (`Knots`).
        """
        super().__init__(config, agent_type, encoding, sizes)
        inputs = self.shared_size + self.private_size
        self.shared_layer = nn.Linear(self.shared_size, hidden[0])
        layer = nn.Linear if agent_type != "firm" else IdentityLinear
        self.private_layer = layer(self.private_size, hidden[0], bias=False) if self.private_size else None
        bound = 1.0 / sqrt(inputs)  # as one layer of both parts would start
        for parameter in [*self.shared_layer.parameters(), *(self.private_layer or nn.Identity()).parameters()]:
            nn.init.uniform_(parameter, -bound, bound)
        self.body = fully_connected(hidden)
        self.hidden_values = max(hidden)
        self.make_heads(hidden[-1], first_choice)
        self.knots = make_knots(config, encoding, knots, hidden[0])

    def features(self, shared: Tensor, private: Tensor) -> Tensor:
        """Last hidden layer [N, A, hidden]."""
        x = with_knots(self.shared_layer(shared), self.knots, shared).unsqueeze(1)
        if self.private_layer is None:
            x = torch.relu(x).expand(-1, private.shape[1], -1)
        else:
            x = (x + self.private_layer(private)).relu_()
        features: Tensor = self.body(x)
        return features
