"""Settings of EconomyPPO that cannot be meant: ranges of its own, and RLlib's that nothing on this path reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rbc_marl.config import AGENT_TYPES
from rbc_marl.errors import ConfigError, UserError, nearest
from rbc_marl.policies.build import check_network_spec
from rbc_marl.policies.saved import INDEX_NAME, load_policies
from rbc_marl.rllib.economy_config import economy_of
from rbc_marl.rllib.subsets import check_agents_per_update, check_probe_economies

# Settings of RLlib's that nothing here reads, by why; they must keep their defaults.
_OWN_LOSS = "its loss has a Huber value loss, and no KL term"
_OWN_ROLLOUTS = "whole episodes come as batches, from env runners of its own"
UNREAD = {
    "use_critic": "it always has a critic",
    "use_gae": "advantages are always generalised",
    "use_kl_loss": _OWN_LOSS,
    "kl_coeff": _OWN_LOSS,
    "kl_target": _OWN_LOSS,
    "vf_clip_param": _OWN_LOSS,
    "batch_mode": _OWN_ROLLOUTS,
    "clip_actions": _OWN_ROLLOUTS,
    "normalize_actions": _OWN_ROLLOUTS,
    "compress_observations": _OWN_ROLLOUTS,
    "observation_filter": _OWN_ROLLOUTS,
    "add_default_connectors_to_env_to_module_pipeline": _OWN_ROLLOUTS,
    "add_default_connectors_to_module_to_env_pipeline": _OWN_ROLLOUTS,
    "count_steps_by": "everything is counted in env steps, periods of an economy",
    "clip_rewards": "rewards are divided by reward_scale",
    "add_default_connectors_to_learner_pipeline": _OWN_ROLLOUTS,
    "_env_to_module_connector": _OWN_ROLLOUTS,
    "_module_to_env_connector": _OWN_ROLLOUTS,
    "train_batch_size": "its batch is train_batch_size_per_learner",
    "_model_config": "networks of agent types stand under networks",
}
# Values that ask for what EconomyPPO does anyway.
SAME: dict[str, tuple[Any, ...]] = {"clip_rewards": (False,), "kl_coeff": (0.0,), "vf_clip_param": (math.inf,)}
# What can differ between agent types.
PER_MODULE = (
    "lr",
    "entropy_coeff",
    "clip_param",
    "vf_loss_coeff",
    "huber_delta",
    "grad_clip",
    "grad_clip_by",
    "log_gradients",
)


def check_own_settings(config: Any, default: Any) -> None:  # noqa: ANN401 - EconomyPPOConfigs
    """Refuse settings that are out of range, or that would have no effect.

    Args:
        config: The configuration.
        default: One that nobody has changed.

    Raises:
        ConfigError: There is such a setting; the message begins with its name.
    """
    for name in ("reward_scale", "networks"):
        for key in getattr(config, name):
            if key not in AGENT_TYPES:
                raise ConfigError(f"{name}.{key} is not an agent type{nearest(str(key), AGENT_TYPES)}")
    for agent_type, scale in config.reward_scale.items():
        if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not scale > 0:
            raise ConfigError(f"reward_scale.{agent_type} is {scale!r}; it must be a number above 0")
    for agent_type, spec in config.networks.items():
        check_network_spec(spec, f"networks.{agent_type}")
    check_agents_per_update(config.agents_per_update)
    check_probe_economies(config.probe_economies)
    for name, reason in ({} if config.in_evaluation else UNREAD).items():
        if name == "_model_config" and config._rl_module_spec is not None:
            continue  # modules of one's own read it
        value, only = getattr(config, name), getattr(default, name)
        if value != only and value not in SAME.get(name, ()):
            shown = name.removeprefix("_")
            raise ConfigError(f"{shown} is {value!r}, which EconomyPPO does not read: {reason}; leave it {only!r}")
    for module_id, keys in config.algorithm_config_overrides_per_module.items():
        for key in keys if isinstance(keys, Mapping) else ():
            if key not in PER_MODULE:
                mend = f"give {key} for all of them; {', '.join(PER_MODULE)} can differ"
                place = f"algorithm_config_overrides_per_module.{module_id}.{key}"
                raise ConfigError(f"{place} is read for no module: {mend}")
    huber = config.huber_delta
    if isinstance(huber, bool) or not isinstance(huber, (int, float)) or not huber > 0:
        raise ConfigError(f"huber_delta is {huber!r}; it must be a number above 0")
    trained = config.policies_to_train
    if trained is not None and not callable(trained) and not trained:
        raise ConfigError("policies_to_train is empty; name at least one agent type")


def check_restored(checkpoint: Path, config: Any, where: str) -> None:  # noqa: ANN401 - an EconomyPPOConfig
    """Refuse to begin with policies that were made for other choices or observations.

    Args:
        checkpoint: The folder; one without policies as plain data is left to RLlib.
        config: Of the run that begins with it.
        where: Its place in a file.

    Raises:
        ConfigError: They do not fit.
    """
    if not (checkpoint / INDEX_NAME).is_file():
        return
    economy, encoding = economy_of(config)
    try:
        policies = load_policies(checkpoint, economy=economy.model_dump(mode="json"))
    except UserError as error:
        raise ConfigError(f"{where} does not fit this economy: {error}") from None
    if policies.encoding != encoding:
        raise ConfigError(f"{where} has policies that see numbers as {policies.encoding}, but encoding is {encoding}")
