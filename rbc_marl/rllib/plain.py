"""The PettingZoo environment for RLlib's own algorithms (the plain path): every agent is an RLlib agent of its own.

RLlib's multi-agent episodes keep agents in sets, so that the order of the rows of a batch, and with it what a seed
means, changes with PYTHONHASHSEED. Fix that variable as well to repeat a run of this path in another process.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
from ray.rllib.utils.typing import AgentID, MultiAgentDict
from ray.tune.registry import ENV_CREATOR, _global_registry, register_env

from rbc_marl.config import AGENT_TYPES
from rbc_marl.envs.pettingzoo import ParallelEconomy
from rbc_marl.errors import ConfigError
from rbc_marl.rllib.settings import ENV_OPTIONS, RewardScale, parse_env_config
from rbc_marl.rllib.settings import ENV_PRESETS as ENV_PRESETS  # part of this module's interface


class EconomyMultiAgentEnv(ParallelPettingZooEnv):
    """`ParallelEconomy` as an RLlib `MultiAgentEnv`.

    Differs from RLlib's wrapper in that
    - agents keep the order of the PettingZoo environment (there they come from a set, whose order changes with
      PYTHONHASHSEED);
    - the last period *terminates* every agent: the horizon is the end of a finite game, so nothing may be bootstrapped
      from a value after it. (PettingZoo itself is told that the horizon truncates.)
    - `reset(seed=...)` seeds ``np_random``, as every gymnasium environment does;
    - `render` works;
    - rewards can be divided by a number for each agent type: money rewards are far too large for most algorithms.

    Attributes:
        agents: All agents, always: they leave together.
        observation_spaces: Spaces by agent, in their order; likewise ``action_spaces``.
        metadata: This environment's own copy (RLlib writes into it).
    """

    def __init__(self, env: ParallelEconomy, reward_scale: Mapping[str, float] | None = None) -> None:
        """Wrap a PettingZoo environment.

        Args:
            env: The environment.
            reward_scale: Divisor of the rewards of an agent type; 1 where it is left out.
        """
        names: list[str] = list(env.possible_agents)
        scale = reward_scale or {}
        self._divisors = {name: float(scale.get(policy_mapping_fn(name), 1.0)) for name in names}
        self.agents = [*names]
        self.possible_agents = [*names]
        self.metadata = dict(env.metadata)
        self.render_mode = env.render_mode
        super().__init__(env)
        self.observation_spaces = {name: env.observation_space(name) for name in names}
        self.action_spaces = {name: env.action_space(name) for name in names}
        # Pairs: given a mapping, Dict would sort consumer_10 before consumer_2.
        self.observation_space = gym.spaces.Dict([(name, env.observation_space(name)) for name in names])
        self.action_space = gym.spaces.Dict([(name, env.action_space(name)) for name in names])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[MultiAgentDict, MultiAgentDict]:
        """Start a new episode; a seed also seeds ``np_random``."""
        gym.Env.reset(self, seed=seed, options=options)
        observations, infos = self.par_env.reset(seed=seed, options=options)
        return observations, infos

    def step(
        self, action_dict: MultiAgentDict
    ) -> tuple[MultiAgentDict, MultiAgentDict, MultiAgentDict, MultiAgentDict, MultiAgentDict]:
        """Play one period; in the last one every agent is terminated and none is truncated."""
        observations, rewards, terminateds, truncateds, infos = self.par_env.step(action_dict)
        ended = {agent: terminateds[agent] or truncateds[agent] for agent in terminateds}
        ended["__all__"] = all(ended.values())
        rewards = {agent: reward / self._divisors[agent] for agent, reward in rewards.items()}
        return observations, rewards, ended, dict.fromkeys(ended, False), infos

    def set_parameters(self, parameters: Mapping[str, float]) -> None:
        """Put numbers in place of the economy's own; see `VectorEconomy.set_parameters`."""
        self.par_env.set_parameters(parameters)

    def render(self) -> str | NDArray[np.uint8] | None:
        """The frame of the PettingZoo environment, in its render mode."""
        return self.par_env.render()


def make_env(name: str, env_config: Mapping[str, Any] | None = None) -> EconomyMultiAgentEnv:
    """The environment that Tune knows by a name.

    Args:
        name: "rbc_open" or "rbc_closed".
        env_config: Fields of `EconomyConfig` that differ from the preset's, "encoding", "render_mode", "action_mode",
            and "reward_scale", a divisor of rewards by agent type, as in EconomyPPOConfig.

    Raises:
        ConfigError: The name or a field is unknown, or a value is invalid.
    """
    given = dict(env_config or {})
    options = {option: given.pop(option, default) for option, default in ENV_OPTIONS.items()}
    config, _ = parse_env_config(name, {**given, "encoding": options["encoding"]})
    reward_scale = options.pop("reward_scale")
    if reward_scale is not None:
        RewardScale.parse(reward_scale, "env_config.reward_scale")
    return EconomyMultiAgentEnv(ParallelEconomy(config, **options), reward_scale)


def register() -> None:
    """Make "rbc_open" and "rbc_closed" known to Ray Tune and RLlib."""
    for name in ENV_PRESETS:
        register_env(name, partial(make_env, name))


def check_registered(name: str) -> None:
    """Refuse a name that somebody has given to an environment of their own: EconomyPPO would not play in it.

    Raises:
        ConfigError: There is one.
    """
    creator = _global_registry.get(ENV_CREATOR, name) if _global_registry.contains(ENV_CREATOR, name) else None
    if creator is not None and getattr(creator, "func", None) is not make_env:
        mend = "register yours under another name, and train it with RLlib's own algorithms"
        raise ConfigError(f"env is {name}, a name that was given to another environment: {mend}")


def policies() -> set[str]:
    """Modules of `AlgorithmConfig.multi_agent(policies=...)`: one for each type of agent, shared by its agents."""
    return set(AGENT_TYPES)


def policy_mapping_fn(agent_id: AgentID, *_: object, **__: object) -> str:
    """The module of an agent: "consumer_7" -> "consumer".

    Raises:
        ConfigError: The agent is of no known type.
    """
    agent_type = str(agent_id).rpartition("_")[0]
    if agent_type not in AGENT_TYPES:
        raise ConfigError(f"{agent_id!r} is not an agent; names are like consumer_0, firm_0 and government_0")
    return agent_type
