"""The package's action distribution in the form that RLlib's modules, connectors and losses expect."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from ray.rllib.core.distribution.distribution import Distribution
from torch import Tensor

from rbc_marl.policies.distributions import FactorisedCategorical


class EconomyDistribution(Distribution):
    """Choices of one agent type, H of them side by side.

    Make a class for given heads with ``EconomyDistribution.get_partial_dist_cls(head_sizes=..., is_single=...)``.
    """

    def __init__(self, choices: FactorisedCategorical, is_single: bool) -> None:
        """Wrap choices; with ``is_single`` (a Discrete space) actions have no axis of choices."""
        super().__init__()
        self.choices = choices
        self.is_single = is_single

    @classmethod
    def from_logits(
        cls,
        logits: Tensor,
        head_sizes: tuple[int, ...],
        is_single: bool = False,
        **kwargs: Any,  # noqa: ANN401 - RLlib's signature
    ) -> EconomyDistribution:
        """The distribution of logits [..., K]."""
        return cls(FactorisedCategorical(logits, head_sizes), is_single)

    def sample(self, *, sample_shape: tuple[int, ...] = (), **kwargs: Any) -> Tensor:  # noqa: ANN401 - RLlib's signature
        """Draw choices, [..., H] or [...] with a single choice; from torch's global generator, as RLlib's own do."""
        if sample_shape:
            raise NotImplementedError("one draw at a time")
        return self._out(self.choices.sample())

    def rsample(self, *, sample_shape: tuple[int, ...] | None = None, **kwargs: Any) -> Tensor:  # noqa: ANN401
        """Not available: choices are not differentiable."""
        raise NotImplementedError("choices cannot be sampled with a gradient")

    def logp(self, value: Tensor, **kwargs: Any) -> Tensor:  # noqa: ANN401 - RLlib's signature
        """Log-probability [...] of choices."""
        return self.choices.logp(value.unsqueeze(-1) if self.is_single else value)

    def entropy(self) -> Tensor:
        """Entropy [...]."""
        return self.choices.entropy()

    def kl(self, other: EconomyDistribution, **kwargs: Any) -> Tensor:  # noqa: ANN401 - RLlib's signature
        """Kullback-Leibler divergence [...]."""
        return self.choices.kl(other.choices)

    def to_deterministic(self) -> EconomyDistribution:
        """The distribution that always takes the likeliest choices."""
        return _Likeliest(self.choices, self.is_single)

    @staticmethod
    def required_input_dim(space: gym.Space[Any], **kwargs: Any) -> int:  # noqa: ANN401 - RLlib's signature
        """Number of logits that an action space needs."""
        return int(gym.spaces.flatdim(space))

    def _out(self, actions: Tensor) -> Tensor:
        return actions.squeeze(-1) if self.is_single else actions


class _Likeliest(EconomyDistribution):
    def sample(self, *, sample_shape: tuple[int, ...] = (), **kwargs: Any) -> Tensor:  # noqa: ANN401
        with torch.no_grad():
            return self._out(self.choices.mode())
