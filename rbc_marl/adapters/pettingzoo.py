"""One economy as a PettingZoo parallel environment."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete, Space
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from rbc_marl.adapters.actions import ActionReader
from rbc_marl.adapters.infos import PlayedPeriod, period_infos
from rbc_marl.adapters.picture import picture
from rbc_marl.adapters.render import table
from rbc_marl.choices import head_sizes
from rbc_marl.config import AGENT_TYPES, EconomyConfig, resolve_config
from rbc_marl.errors import ConfigError, nearest, require
from rbc_marl.observations import bounds, join, observation_size
from rbc_marl.vector_env import VectorEconomy

Observation = NDArray[np.float32]
Info = dict[str, Any]


def parallel_env(
    config: EconomyConfig | str | Mapping[str, Any] | None = "open",
    *,
    max_cycles: int | None = None,
    render_mode: str | None = None,
    encoding: str = "symlog",
    **overrides: Any,  # noqa: ANN401 - fields have many types, and are validated
) -> ParallelEconomy:
    """One economy as a PettingZoo `ParallelEnv` named "rbc_v0".

    Args:
        config: A configuration, the name of a preset ("open" or "closed") or a mapping of fields.
        max_cycles: Periods in an episode; None: the configuration's horizon.
        render_mode: "ansi" (a table as text), "rgb_array" (a picture; needs the extra "analysis"), "human" (prints the
            table) or None.
        encoding: How money and units enter observations: "symlog" or "digits".
        **overrides: Fields of `EconomyConfig` to change.

    Raises:
        ConfigError: An argument is unknown or out of range.
        MissingExtraError: The render mode needs a library that is not installed.
    """
    if max_cycles is not None and "horizon" in overrides:
        raise ConfigError("max_cycles and horizon are both given; they are the same thing: give one")
    return ParallelEconomy(
        resolve_config(config, **overrides), max_cycles=max_cycles, render_mode=render_mode, encoding=encoding
    )


class ParallelEconomy(ParallelEnv[str, Observation, Any]):
    """One economy whose agents all act at once, from the first period to the last, and are truncated together.

    Agents, in this order: ``consumer_0``.., ``firm_0``.., ``government_0``. Letters: C consumers, F firms.

    Observations are float32 vectors with finite bounds: the global part [G], which all agents see, followed by the
    agent's private part (see `rbc_marl.observations`). Actions are indices (see `rbc_marl.choices`): a consumer's are
    F + 2 integers (units of each good, hours, employer), a firm's and the government's are one integer. Rewards are
    plain floats: utility, profit after tax, welfare. Infos say what happened to the agent in the period.

    Nothing in the economy is random: the seed given to `reset` has nothing to seed. Action spaces have generators of
    their own, as everywhere in PettingZoo.

    Attributes:
        agents: Names of the agents still playing: all, or none.
        possible_agents: Names of all agents.
        state_space: Box of `state`: the global part and every private part, [G + C P + F Q].
        render_mode: As given.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "name": "rbc_v0",
        "render_modes": ["human", "ansi", "rgb_array"],
        "render_fps": 1,
        "is_parallelizable": True,
    }

    def __init__(
        self,
        config: EconomyConfig,
        *,
        max_cycles: int | None = None,
        render_mode: str | None = None,
        encoding: str = "symlog",
    ) -> None:
        """Make the environment; `parallel_env` takes presets and overrides as well.

        Raises:
            ConfigError: An argument is unknown or out of range.
            MissingExtraError: The render mode needs a library that is not installed.
        """
        _check_render_mode(render_mode)
        self.render_mode = render_mode
        self.max_cycles = config.horizon if max_cycles is None else max_cycles
        self.agents: list[str] = []
        self._names = {t: [f"{t}_{i}" for i in range(config.agents(t))] for t in AGENT_TYPES}
        self.possible_agents = [name for t in AGENT_TYPES for name in self._names[t]]
        self._read_actions = ActionReader(config, self._names)
        self._economy = VectorEconomy(config.replace(horizon=self.max_cycles), autoreset=False, encoding=encoding)
        self._observation: dict[str, torch.Tensor] | None = None
        self._history: list[PlayedPeriod] = []
        self._observation_spaces = self._make_observation_spaces()
        self._action_spaces: dict[str, Space[Any]] = {
            name: _action_space(config, t) for t in AGENT_TYPES for name in self._names[t]
        }
        self.state_space = self._make_state_space()

    @property
    def config(self) -> EconomyConfig:
        """The economy now being played."""
        return self._economy.config

    @property
    def encoding(self) -> str:
        """How money and units enter observations."""
        return self._economy.encoding

    @property
    def labour_disutility_scale(self) -> float:
        """Factor on the disutility of labour, as curricula anneal it. A new value counts from the next `reset` on."""
        return self._economy.labour_disutility_scale

    @labour_disutility_scale.setter
    def labour_disutility_scale(self, scale: float) -> None:
        self._economy.labour_disutility_scale = scale

    @property
    def max_cycles(self) -> int:
        """Periods in an episode. A new value counts from the next `reset` on."""
        return self._max_cycles

    @max_cycles.setter
    def max_cycles(self, value: int) -> None:
        try:
            cycles = 0 if isinstance(value, bool) else operator.index(value)
        except TypeError:
            cycles = 0
        if cycles < 1:
            raise ConfigError(f"max_cycles is {value!r}; it must be a whole number of at least 1")
        self._max_cycles = cycles

    def observation_space(self, agent: str) -> Space[Observation]:
        """The space of an agent's observations: always the same object."""
        return self._observation_spaces[self._known(agent)]

    def action_space(self, agent: str) -> Space[Any]:
        """The space of an agent's actions: always the same object."""
        return self._action_spaces[self._known(agent)]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Observation], dict[str, Info]]:
        """Start a new episode.

        Args:
            seed: Accepted for PettingZoo; the economy draws nothing.
            options: Accepted for PettingZoo and not used.

        Returns:
            Observations and (empty) infos of every agent.
        """
        if self.max_cycles != self.config.horizon:
            scale, config = self.labour_disutility_scale, self.config.replace(horizon=self.max_cycles)
            self._economy = VectorEconomy(config, autoreset=False, encoding=self.encoding)
            self.labour_disutility_scale = scale
        self._observation = self._economy.reset()
        self._history = []
        self.agents = self.possible_agents[:]
        if self.render_mode == "human":
            self.render()
        return self._split(self._observation), {name: {} for name in self.agents}

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[dict[str, Observation], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Info]]:
        """Play one period.

        Args:
            actions: One action for each of `agents`.

        Returns:
            Observations, rewards, terminations (never), truncations (all at once, in the last period), infos; by agent.

        Raises:
            ConfigError: The episode has not begun or is over, an agent is missing or unknown, or an action is not in
                its space.
        """
        self._check_running("step()")
        before = self._economy.state
        assert before is not None
        indices = self._read_actions(actions)
        self._observation, rewards, truncated, flows = self._economy.step(indices)
        after = self._economy.state
        assert after is not None
        period = PlayedPeriod(before, indices["consumer"][0, :, -1], flows, after)
        self._remember(period)
        is_over = bool(truncated[0])
        if is_over:
            self.agents = []
        if self.render_mode == "human":
            self.render()
        names = self.possible_agents
        values = [value for t in AGENT_TYPES for value in rewards[t].flatten().tolist()]
        return (
            self._split(self._observation),
            dict(zip(names, values, strict=True)),
            dict.fromkeys(names, False),
            dict.fromkeys(names, is_over),
            dict(zip(names, period_infos(self.config, period), strict=True)),
        )

    def state(self) -> Observation:
        """Everything any agent sees: the global part, then each consumer's and each firm's private part.

        Returns:
            [G + C P + F Q].

        Raises:
            ConfigError: Before the first reset.
        """
        self._check_reset("state()")
        assert self._observation is not None
        parts = [self._observation[key].flatten() for key in ("global", *AGENT_TYPES)]
        result: Observation = torch.cat(parts).numpy()
        return result

    def render(self) -> str | NDArray[np.uint8] | None:
        """The economy now, and what happened in the last period.

        Returns:
            Render mode "ansi": text. "rgb_array": uint8 [height, width, 3]. "human": nothing, the text is printed.

        Raises:
            ConfigError: Before the first reset, or the environment was made without a render mode.
        """
        if self.render_mode is None:
            raise ConfigError('the environment has no render_mode; make it with render_mode="ansi" or "rgb_array"')
        self._check_reset("render()")
        state = self._economy.state
        assert state is not None
        if self.render_mode == "rgb_array":
            return picture(self.config, state, self._history)
        text = table(self.config, state, self._history[-1] if self._history else None)
        if self.render_mode == "ansi":
            return text
        print(text)
        return None

    def close(self) -> None:
        """Nothing is held open; the environment can still be reset."""

    def _remember(self, period: PlayedPeriod) -> None:
        if self.render_mode != "rgb_array":  # only the picture shows more than the last period
            self._history.clear()
        self._history.append(period)

    def _split(self, observation: dict[str, torch.Tensor]) -> dict[str, Observation]:
        """Whole observations by agent: rows of one array a type."""
        rows: list[Observation] = []
        for agent_type in AGENT_TYPES:
            rows.extend(join(observation, agent_type)[0].numpy())
        return dict(zip(self.possible_agents, rows, strict=True))

    def _make_observation_spaces(self) -> dict[str, Space[Observation]]:
        spaces = {t: Box(*bounds(self.config, t, self.encoding), dtype=np.float32) for t in AGENT_TYPES}
        return {name: spaces[t] for t in AGENT_TYPES for name in self._names[t]}

    def _make_state_space(self) -> Box:
        shared = observation_size(self.config, "government", self.encoding)[0]
        both = []
        for side in (0, 1):
            limits = {t: bounds(self.config, t, self.encoding)[side] for t in AGENT_TYPES}
            private = [np.tile(limits[t][shared:], self.config.agents(t)) for t in AGENT_TYPES]
            both.append(np.concatenate([limits["government"], *private]))
        return Box(both[0], both[1], dtype=np.float32)

    def _known(self, agent: str) -> str:
        if agent not in self._action_spaces:
            raise ConfigError(f"{agent!r} is not an agent{nearest(str(agent), self.possible_agents)}")
        return agent

    def _check_reset(self, call: str) -> None:
        if self._observation is None:
            raise ConfigError(f"the environment has not been reset; call reset() before {call}")

    def _check_running(self, call: str) -> None:
        self._check_reset(call)
        if not self.agents:
            raise ConfigError(f"the episode is over; call reset() before the next {call}")


def _action_space(config: EconomyConfig, agent_type: str) -> Space[Any]:
    sizes = head_sizes(config, agent_type)
    return MultiDiscrete(list(sizes)) if agent_type == "consumer" else Discrete(sizes[0])


def _check_render_mode(render_mode: str | None) -> None:
    modes: list[str] = ParallelEconomy.metadata["render_modes"]
    if render_mode is not None and render_mode not in modes:
        hint = nearest(str(render_mode), modes)
        raise ConfigError(f"render_mode is {render_mode!r}; it must be {', '.join(modes)} or None{hint}")
    if render_mode == "rgb_array":
        require("matplotlib", "analysis")
