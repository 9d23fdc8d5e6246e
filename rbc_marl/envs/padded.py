"""All agents with one observation space and one action space, for libraries that know only one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Space
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from rbc_marl.config import AGENT_TYPES
from rbc_marl.envs.actions import ActionSettings, action_length, as_array, index_sizes
from rbc_marl.envs.pettingzoo import Info, Observation, ParallelEconomy
from rbc_marl.envs.spaces import MaskedMultiDiscrete
from rbc_marl.errors import ConfigError, one_of
from rbc_marl.observations import bounds

Invalid = Literal["refuse", "first"]


def homogenize(
    env: ParallelEconomy, *, action_mask: bool | None = None, invalid: Invalid = "refuse"
) -> HomogeneousEconomy:
    """Give all agents of an environment one observation space and one action space.

    Args:
        env: The environment; it is played through the result from now on.
        action_mask: Whether observations are dictionaries of "observation" and "action_mask". None: wherever actions
            are indices.
        invalid: What becomes of an index that is in the common space and not among the agent's own choices: "refuse"
            raises an error; "first" takes the agent's first choice instead, for learners that know no masks.

    Raises:
        ConfigError: A mask is asked for in the mode "box", or ``invalid`` is unknown.
    """
    return HomogeneousEconomy(env, action_mask=action_mask, invalid=invalid)


class HomogeneousEconomy(ParallelEnv[str, Any, Any]):
    """An economy in padded spaces; see `homogenize`.

    An observation is which type the agent is of ([3]: 1 for its own among consumer, firm, government), then what it
    sees in `ParallelEconomy`, then zeros. An action is the agent's own, then numbers that are not read: in the mode
    "multidiscrete" a firm or the government decides by the first of a consumer's F + 2 indices. A mask has an entry for
    each alternative of each index of the common space, side by side; of an index that is not read only the first is
    allowed.

    Attributes:
        env: The environment inside.
        agents: Names of the agents still playing.
        possible_agents: Names of all agents.
    """

    metadata: ClassVar[dict[str, Any]] = ParallelEconomy.metadata

    def __init__(
        self, env: ParallelEconomy, *, action_mask: bool | None = None, invalid: Invalid = "refuse"
    ) -> None:
        """See `homogenize`."""
        mask = {} if action_mask is None else {"action_mask": action_mask}
        ActionSettings.parse({"action_mode": env.action_mode, **mask}, "")
        self.env = env
        self.possible_agents = env.possible_agents
        self.render_mode = env.render_mode
        self.state_space = env.state_space
        self._invalid = one_of(invalid, get_args(Invalid), "invalid")
        self._has_mask = env.action_mode != "box" if action_mask is None else action_mask
        types = {name: name.rpartition("_")[0] for name in env.possible_agents}
        self._types = types
        self._sizes = {} if env.action_mode == "box" else self._sizes_of_types()
        self._lengths = {t: action_length(env.config, t, env.action_mode) for t in set(types.values())}
        self._common = self._common_sizes()
        self._observation_space = self._make_observation_space()
        self._observation_spaces = dict.fromkeys(types, self._observation_space)
        self._action_spaces = {name: self._make_action_space() for name in types}
        self._own_masks = {t: self._mask(t, np.ones(sum(sizes), np.int8)) for t, sizes in self._sizes.items()}

    @property
    def agents(self) -> list[str]:
        """Names of the agents still playing: all, or none."""
        return self.env.agents

    @property
    def unwrapped(self) -> ParallelEconomy:
        """The environment inside."""
        return self.env

    def observation_space(self, agent: str) -> Space[Any]:
        """The common space of observations."""
        self.env.observation_space(agent)  # refuses an unknown agent
        return self._observation_spaces[agent]

    def action_space(self, agent: str) -> Space[Any]:
        """The common space of actions: equal for all, with a generator for each agent."""
        self.env.action_space(agent)
        return self._action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Info]]:
        """Start a new episode; as `ParallelEconomy.reset`."""
        observations, infos = self.env.reset(seed=seed, options=options)
        return self._pad_all(observations), infos

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Info]]:
        """Play one period; as `ParallelEconomy.step`.

        Raises:
            ConfigError: As there; the shape of an action is that of the common space.
        """
        if isinstance(actions, Mapping):  # anything else the environment inside refuses
            actions = {name: self._own(name, action) for name, action in actions.items()}
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        return self._pad_all(observations), rewards, terminations, truncations, infos

    def state(self) -> Observation:
        """Everything any agent sees; as `ParallelEconomy.state`."""
        return self.env.state()

    def render(self) -> str | NDArray[np.uint8] | None:
        """As `ParallelEconomy.render`."""
        return self.env.render()

    def close(self) -> None:
        """As `ParallelEconomy.close`."""
        self.env.close()

    def _sizes_of_types(self) -> dict[str, tuple[int, ...]]:
        env = self.env
        return {t: index_sizes(env.config, t, env.action_mode) for t in AGENT_TYPES if t in self._types.values()}

    def _common_sizes(self) -> tuple[int, ...]:
        """Alternatives of each index of the common space."""
        width = max((len(sizes) for sizes in self._sizes.values()), default=0)
        return tuple(max(s[head] for s in self._sizes.values() if head < len(s)) for head in range(width))

    def _make_action_space(self) -> Space[Any]:
        if self.env.action_mode == "box":
            return Box(-1.0, 1.0, (max(length or 0 for length in self._lengths.values()),), np.float32)
        return Discrete(self._common[0]) if len(self._common) == 1 else MaskedMultiDiscrete(list(self._common))

    def _make_observation_space(self) -> Space[Any]:
        config, types = self.env.config, [t for t in AGENT_TYPES if t in self._types.values()]
        boxes = [Box(*bounds(config, agent_type, self.env.encoding), dtype=np.float32) for agent_type in types]
        length = max(box.shape[0] for box in boxes)
        low, high = np.zeros(3 + length, np.float32), np.ones(3 + length, np.float32)
        high[3:] = 0.0  # the padding of the longest is empty
        for box in boxes:
            own = slice(3, 3 + box.shape[0])
            low[own], high[own] = np.minimum(low[own], box.low), np.maximum(high[own], box.high)
        space = Box(low, high, dtype=np.float32)
        if not self._has_mask:
            return space
        return Dict([("observation", space), ("action_mask", Box(0, 1, (sum(self._common),), np.int8))])

    def _mask(self, agent_type: str, own: NDArray[np.int8]) -> NDArray[np.int8]:
        """An agent's own mask in the common space."""
        mask, start, taken = np.zeros(sum(self._common), np.int8), 0, 0
        sizes = self._sizes[agent_type]
        for head, size in enumerate(self._common):
            if head < len(sizes):
                mask[start : start + sizes[head]] = own[taken : taken + sizes[head]]
                taken += sizes[head]
            else:
                mask[start] = 1
            start += size
        return mask

    def _pad_all(self, observations: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._pad(name, observation) for name, observation in observations.items()}

    def _pad(self, name: str, observation: Observation | dict[str, Any]) -> Observation | dict[str, Any]:
        agent_type = self._types[name]
        own = observation["observation"] if isinstance(observation, dict) else observation
        space = self._observation_space
        shape = (space["observation"] if isinstance(space, Dict) else space).shape
        assert shape is not None
        padded = np.zeros(shape, np.float32)
        padded[AGENT_TYPES.index(agent_type)] = 1.0
        padded[3 : 3 + len(own)] = own
        if not self._has_mask:
            return padded
        mask = self._own_masks[agent_type]
        if isinstance(observation, dict):
            mask = self._mask(agent_type, observation["action_mask"])
        return {"observation": padded, "action_mask": mask.copy()}

    def _own(self, name: str, action: object) -> object:
        """The agent's own part of an action of the common space."""
        if name not in self._types:
            return action  # refused inside
        agent_type, array = self._types[name], as_array(action, f"the action of {name}")
        shape = self._action_spaces[name].shape
        if array.shape != shape:
            expected = f"{shape[0]} numbers" if shape else "one integer"
            raise ConfigError(f"the action of {name} has shape {array.shape}; it must be {expected}")
        length = self._lengths[agent_type]
        own = array if not shape else array[0] if length is None else array[:length]
        if self._invalid == "first" and array.dtype.kind in "iu":
            sizes, common = np.array(self._sizes[agent_type]), np.array(self._common[: len(self._sizes[agent_type])])
            if length is None:
                sizes, common = sizes[0], common[0]
            own = np.where((own >= sizes) & (own < common), 0, own)
        return own
