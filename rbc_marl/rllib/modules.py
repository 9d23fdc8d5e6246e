"""The policy networks as RLModules: one module per agent type, for the batched path and for RLlib's own algorithms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor

from rbc_marl.choices import head_sizes
from rbc_marl.config import EconomyConfig, parse_config
from rbc_marl.observations import bounds
from rbc_marl.policies.build import build_network
from rbc_marl.policies.networks import PolicyNetwork
from rbc_marl.rllib.distributions import EconomyDistribution


class EconomyModule(TorchRLModule, ValueFunctionAPI):
    """A policy network with a shared value head.

    ``model_config`` holds plain data: ``agent_type``, ``economy`` (fields of the configuration), ``encoding`` and
    ``network``.

    Observations come in either of two forms: a mapping with "global" [N, G] and "private" [N, A, P] (the batched
    path; outputs have the axes [N, A, ...]), or whole observations [..., G + P] of single agents (RLlib's own
    algorithms).
    """

    network: PolicyNetwork

    def setup(self) -> None:
        """Build the network from ``model_config``."""
        economy = parse_config(self.model_config["economy"], where="model_config.economy")
        agent_type = self.model_config["agent_type"]
        self.network = build_network(economy, agent_type, self.model_config["encoding"], self.model_config["network"])
        self.action_dist_cls = EconomyDistribution.get_partial_dist_cls(
            head_sizes=self.network.head_sizes, is_single=isinstance(self.action_space, gym.spaces.Discrete)
        )

    # RLlib switches every layer between training and evaluation at each call. These layers know no difference, and
    # for a handful of economies the switching takes a tenth of an iteration.

    def forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401
        """Logits, without a gradient."""
        return self._forward_exploration(batch, **kwargs)

    def forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401
        """Logits, without a gradient."""
        return self._forward_inference(batch, **kwargs)

    def forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401
        """Logits and values, with a gradient."""
        if self.inference_only:
            raise RuntimeError("this module was made for acting only (inference_only); it cannot learn")
        return self._forward_train(batch, **kwargs)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401 - RLlib's signature
        shared, private, is_whole = self._parts(batch[Columns.OBS])
        logits = self.network.logits(self.network.features(shared, private))
        return {Columns.ACTION_DIST_INPUTS: _restore(logits, batch[Columns.OBS]) if is_whole else logits}

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401 - RLlib's signature
        """Logits and values from one pass: the value head shares the network's body."""
        shared, private, is_whole = self._parts(batch[Columns.OBS])
        logits, values = self.network(shared, private)
        if is_whole:
            logits, values = _restore(logits, batch[Columns.OBS]), values.view(batch[Columns.OBS].shape[:-1])
        return {Columns.ACTION_DIST_INPUTS: logits, Columns.VF_PREDS: values}

    def compute_values(self, batch: dict[str, Any], embeddings: Tensor | None = None) -> Tensor:
        """Values of a batch's observations: [N, A], or [...] for whole observations."""
        shared, private, is_whole = self._parts(batch[Columns.OBS])
        values = self.network.values(self.network.features(shared, private))
        return values.view(batch[Columns.OBS].shape[:-1]) if is_whole else values

    def _parts(self, observation: Tensor | Mapping[str, Tensor]) -> tuple[Tensor, Tensor, bool]:
        """Global and private parts, and whether they came as one whole observation per agent."""
        if isinstance(observation, Mapping):
            return observation["global"], observation["private"], False
        flat = observation.reshape(-1, observation.shape[-1])
        shared_size = self.network.shared_size
        return flat[:, :shared_size], flat[:, shared_size:].unsqueeze(1), True


def _restore(logits: Tensor, observation: Tensor) -> Tensor:
    return logits.view(*observation.shape[:-1], logits.shape[-1])


def agent_spaces(economy: EconomyConfig, agent_type: str, encoding: str) -> tuple[gym.spaces.Box, gym.Space[Any]]:
    """Spaces of one agent's whole observation and action."""
    low, high = bounds(economy, agent_type, encoding)
    sizes = head_sizes(economy, agent_type)
    action: gym.Space[Any] = gym.spaces.MultiDiscrete(list(sizes)) if len(sizes) > 1 else gym.spaces.Discrete(sizes[0])
    return gym.spaces.Box(low, high, dtype=np.float32), action
