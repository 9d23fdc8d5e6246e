"""What RLlib builds the policy networks from: their spaces, and as plain data their economy, encoding and network."""

from __future__ import annotations

from typing import Any

from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from rbc_marl.errors import ConfigError
from rbc_marl.policies.build import build_network, check_network_spec
from rbc_marl.policies.saved import check_fit
from rbc_marl.rllib.economy_config import economy_of
from rbc_marl.rllib.modules import EconomyModule, agent_spaces
from rbc_marl.rllib.roles import DEVIATOR, agent_type_of, module_ids


def network_spec(config: Any, module_id: str) -> dict[str, Any]:  # noqa: ANN401 - an EconomyPPOConfig
    """The complete description of a module's network; a deviator has its type's unless it is given another."""
    if module_id == DEVIATOR and "network" in config.deviator:
        return check_network_spec(config.deviator["network"], "deviator.network")
    agent_type = agent_type_of(config, module_id)
    return check_network_spec(config.networks[agent_type], f"networks.{agent_type}")


def module_spec(
    config: Any, module_id: str, inference_only: bool = False  # noqa: ANN401 - an EconomyPPOConfig
) -> RLModuleSpec:
    """A module of an agent type: its spaces, and as plain data its economy, encoding and network."""
    economy, encoding = economy_of(config)
    agent_type = agent_type_of(config, module_id)
    observation_space, action_space = agent_spaces(economy, agent_type, encoding)
    return RLModuleSpec(
        module_class=EconomyModule,
        observation_space=observation_space,
        action_space=action_space,
        inference_only=inference_only,
        model_config={
            "agent_type": agent_type,
            "economy": economy.model_dump(mode="json"),
            "encoding": encoding,
            "network": network_spec(config, module_id),
        },
    )


def check_evaluation(config: Any) -> None:  # noqa: ANN401 - an EconomyPPOConfig
    """Refuse to evaluate in an economy that the networks do not fit: it would fail only after iterations of training.

    Raises:
        ConfigError: Agents see or choose other things there.
    """
    if config.in_evaluation or not config.evaluation_interval or config._rl_module_spec is not None:
        return  # nothing to play in, or modules of the user's own
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
