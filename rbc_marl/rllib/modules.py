"""The policy networks as RLModules, with their spaces and distribution, for both paths through RLlib."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.distribution import Distribution
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor

from rbc_marl.choices import head_sizes
from rbc_marl.config import EconomyConfig, parse_config
from rbc_marl.errors import ConfigError
from rbc_marl.observations import bounds, with_number
from rbc_marl.own_class import name_of
from rbc_marl.policies.build import NetworkSpec, build_network
from rbc_marl.policies.distributions import FactorisedCategorical
from rbc_marl.policies.networks import PolicyNetwork
from rbc_marl.policies.saved import check_fit
from rbc_marl.rllib.settings import agent_type_of, economy_of, module_ids, network_spec

if TYPE_CHECKING:
    from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule

    from rbc_marl.rllib.algorithm import EconomyPPOConfig


class EconomyModule(TorchRLModule, ValueFunctionAPI):
    """A policy network with a shared value head.

    ``model_config`` holds ``agent_type``, ``economy`` (fields of the configuration), ``encoding``, ``network`` and
    ``autocast``: all plain data, but for a `NetworkSpec` that names a class of one's own.

    Observations come in either of two forms: a mapping with "global" [N, G] and "private" [N, A, Q] (the batched
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

    def forward_exploration(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """Logits, without a gradient."""
        return self._forward_exploration(batch, **kwargs)

    def forward_inference(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """Logits, without a gradient."""
        return self._forward_inference(batch, **kwargs)

    def forward_train(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """Logits and values, with a gradient."""
        if self.inference_only:
            raise RuntimeError("this module was made for acting only (inference_only); it cannot learn")
        return self._forward_train(batch, **kwargs)

    def _forward(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        return self.policy_alone(batch)

    def policy_alone(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Logits, with a gradient: what learns without a critic needs no values."""
        shared, private, rows = self._parts(batch[Columns.OBS])
        with self._products():
            logits = self.network.logits(self.network.features(shared, private))
        return {Columns.ACTION_DIST_INPUTS: logits.view(*rows, logits.shape[-1]).to(shared.dtype)}

    def _forward_train(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """Logits and values from one pass: the value head shares the network's body."""
        shared, private, rows = self._parts(batch[Columns.OBS])
        with self._products():
            logits, values = self.network(shared, private)
        logits, values = logits.view(*rows, logits.shape[-1]).to(shared.dtype), values.view(rows).to(shared.dtype)
        return {Columns.ACTION_DIST_INPUTS: logits, Columns.VF_PREDS: values}

    def compute_values(self, batch: dict[str, Any], embeddings: Tensor | None = None) -> Tensor:
        """Values of a batch's observations: [N, A], or [...] for whole observations."""
        shared, private, rows = self._parts(batch[Columns.OBS])
        with self._products():
            values = self.network.values(self.network.features(shared, private))
        return values.view(rows).to(shared.dtype)

    def _products(self) -> AbstractContextManager[object]:
        """Where matrix products are of the type that ``autocast`` names; weights and outputs keep theirs."""
        dtype = self.model_config.get("autocast")
        if dtype is None:
            return nullcontext()
        return torch.autocast(self.network.log_mask.device.type, getattr(torch, dtype))

    def _parts(self, observation: Tensor | Mapping[str, Tensor]) -> tuple[Tensor, Tensor, torch.Size]:
        """Global and private parts, and the shape of what stands for one value each: [N, A], or [...]."""
        if isinstance(observation, Mapping):
            return observation["global"], observation["private"], observation["private"].shape[:2]
        flat = observation.reshape(-1, observation.shape[-1])
        shared, private = flat.tensor_split([self.network.shared_size], dim=1)
        if self.model_config["agent_type"] == "firm":
            private = with_number(private, self.network.private_size - self.network.seen_size + 1)
        return shared, private.unsqueeze(1), observation.shape[:-1]


def agent_spaces(economy: EconomyConfig, agent_type: str, encoding: str) -> tuple[gym.spaces.Box, gym.Space[Any]]:
    """Spaces of one agent's whole observation and action."""
    low, high = bounds(economy, agent_type, encoding)
    sizes = head_sizes(economy, agent_type)
    action: gym.Space[Any] = gym.spaces.MultiDiscrete(list(sizes)) if len(sizes) > 1 else gym.spaces.Discrete(sizes[0])
    return gym.spaces.Box(low, high, dtype=np.float32), action


def module_spec(config: EconomyPPOConfig, module_id: str, inference_only: bool = False) -> RLModuleSpec:
    """What RLlib builds a module from: its spaces, economy, encoding and network."""
    economy, encoding = economy_of(config)
    agent_type = agent_type_of(config, module_id)
    observation_space, action_space = agent_spaces(economy, agent_type, encoding)
    spec = network_spec(config, module_id)
    return RLModuleSpec(
        module_class=EconomyModule,
        observation_space=observation_space,
        action_space=action_space,
        inference_only=inference_only,
        model_config={
            "agent_type": agent_type,
            "economy": economy.for_processes(),
            "encoding": encoding,
            "network": spec if spec.is_own else spec.model_dump(mode="json"),
            "autocast": None if config.in_evaluation else config.autocast,
        },
    )


def class_name(spec: NetworkSpec, agent_type: str) -> str:
    """The class of a network that settings describe, as ``module:Class``."""
    return name_of(spec.class_of(agent_type))


def classes_of_networks(modules: MultiRLModule) -> dict[str, str]:
    """What learns, by module: the class of its network, or of a module that is not ours."""
    own = {module_id: modules[module_id].unwrapped() for module_id in modules.keys()}  # noqa: SIM118 - no mapping
    return {m: name_of(type(x.network if type(x) is EconomyModule else x)) for m, x in own.items()}


def check_described(learning: Mapping[str, str], config: EconomyPPOConfig) -> None:
    """Refuse to learn with other networks than settings describe: those that are saved would not be those that learnt.

    Args:
        learning: Class by module, as `classes_of_networks` gives them.
        config: Describes them.

    Raises:
        ConfigError: They differ.
    """
    described = {m: class_name(network_spec(config, m), agent_type_of(config, m)) for m in module_ids(config)}
    for module_id in (*described, *learning):
        here, there = learning.get(module_id), described.get(module_id)
        if here != there:
            mend = f"name it in networks: training(networks={{{module_id!r}: MyNetwork}})"
            raise ConfigError(f"the {module_id} learns with {here}, and networks.{module_id} describes {there}; {mend}")


def check_evaluation(config: EconomyPPOConfig) -> None:
    """Refuse to evaluate in an economy that the networks do not fit: it would fail only after iterations of training.

    Raises:
        ConfigError: Agents see or choose other things there.
    """
    if config.in_evaluation or not config.evaluation_interval:
        return
    own, encoding = economy_of(config)
    other, seen = economy_of(config.get_evaluation_config_object())
    if (own, encoding) == (other, seen):
        return
    for module_id in module_ids(config):
        agent_type, spec = agent_type_of(config, module_id), network_spec(config, module_id)
        trained = build_network(own, agent_type, encoding, spec)
        try:
            check_fit(build_network(other, agent_type, seen, spec), trained, agent_type)
        except ConfigError as error:
            raise ConfigError(f"evaluation_config.env_config does not fit: {error}") from None


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
        cls, logits: Tensor, head_sizes: tuple[int, ...], is_single: bool = False, **kwargs: object
    ) -> EconomyDistribution:
        """The distribution of logits [..., K]."""
        return cls(FactorisedCategorical(logits, head_sizes), is_single)

    def sample(self, *, sample_shape: tuple[int, ...] = (), **kwargs: object) -> Tensor:
        """Draw choices, [..., H] or [...] with a single choice; from torch's global generator, as RLlib's own do."""
        if sample_shape:
            raise NotImplementedError("one draw at a time")
        return self._out(self.choices.sample())

    def rsample(self, *, sample_shape: tuple[int, ...] | None = None, **kwargs: object) -> Tensor:
        """Not available: choices are not differentiable."""
        raise NotImplementedError("choices cannot be sampled with a gradient")

    def logp(self, value: Tensor, **kwargs: object) -> Tensor:
        """Log-probability [...] of choices."""
        return self.choices.logp(value.unsqueeze(-1) if self.is_single else value)

    def entropy(self) -> Tensor:
        """Entropy [...]."""
        return self.choices.entropy()

    def kl(self, other: EconomyDistribution, **kwargs: object) -> Tensor:
        """Kullback-Leibler divergence [...]."""
        return self.choices.kl(other.choices)

    def to_deterministic(self) -> EconomyDistribution:
        """The distribution that always takes the likeliest choices."""
        return _Likeliest(self.choices, self.is_single)

    @staticmethod
    def required_input_dim(space: gym.Space[Any], **kwargs: object) -> int:
        """Number of logits that an action space needs."""
        return int(gym.spaces.flatdim(space))

    def _out(self, actions: Tensor) -> Tensor:
        return actions.squeeze(-1) if self.is_single else actions


class _Likeliest(EconomyDistribution):
    def sample(self, *, sample_shape: tuple[int, ...] = (), **kwargs: object) -> Tensor:
        with torch.no_grad():
            return self._out(self.choices.mode())
