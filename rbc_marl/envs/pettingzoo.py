"""One economy as a PettingZoo parallel environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from gymnasium.spaces import Space
from numpy.typing import NDArray
from pettingzoo import ParallelEnv
from pydantic import Field

from rbc_marl import memory
from rbc_marl.config import EconomyConfig, resolve_config
from rbc_marl.envs.actions import ActionReader
from rbc_marl.envs.controlled import ControlledBatch
from rbc_marl.envs.infos import PlayedPeriod, period_infos
from rbc_marl.envs.others import Others
from rbc_marl.envs.picture import picture
from rbc_marl.envs.render import table
from rbc_marl.envs.spaces import action_space, observation_spaces, state_space
from rbc_marl.errors import ConfigError, nearest, one_of, require
from rbc_marl.observations import join, whole_state
from rbc_marl.settings import Section

# Of an agent: its name, spaces, generators and infos, Python's own objects; and of each number that it sees, with its
# bounds. All firms see all firms, so that these grow with the square of their number.
_BYTES_OF_AN_AGENT, _BYTES_OF_A_NUMBER = 4000, 14
# Share of a machine's memory that an environment may take before its first step.
_SHARE = 4

Observation = NDArray[np.float32]
Info = dict[str, Any]


def parallel_env(
    config: EconomyConfig | str | Mapping[str, Any] | None = "open",
    *,
    max_cycles: int | None = None,
    render_mode: str | None = None,
    encoding: str = "symlog",
    action_mode: str = "multidiscrete",
    action_mask: bool = False,
    train_types: Sequence[str] | None = None,
    others: Others = "monopoly",
    **overrides: object,
) -> ParallelEconomy:
    """One economy as a PettingZoo `ParallelEnv` named "rbc_v0".

    Args:
        config: A configuration, the name of a preset ("open" or "closed") or a mapping of fields.
        max_cycles: Periods in an episode; None: the configuration's horizon.
        render_mode: "ansi" (a table as text), "rgb_array" (a picture; needs the extra "analysis"), "human" (prints the
            table) or None.
        encoding: How money and units enter observations: "symlog" or "digits".
        action_mode: How agents act: "multidiscrete", "discrete" or "box" (see `rbc_marl.envs.actions`).
        action_mask: Whether observations are dictionaries of "observation" and "action_mask".
        train_types: Whom this environment is about: agent types or single agents ("firm_0"); None: everybody.
        others: Who plays the rest: the name of rules, "random", the folder of a checkpoint or of a run, or policies
            (see `rbc_marl.envs.others`).
        **overrides: Fields of `EconomyConfig` to change.

    Raises:
        ConfigError: An argument is unknown or out of range.
        MissingExtraError: The render mode needs a library that is not installed.
    """
    if max_cycles is not None and "horizon" in overrides:
        raise ConfigError("max_cycles and horizon are both given; they are the same thing: give one")
    return ParallelEconomy(
        resolve_config(config, **overrides),
        max_cycles=max_cycles,
        render_mode=render_mode,
        encoding=encoding,
        action_mode=action_mode,
        action_mask=action_mask,
        train_types=train_types,
        others=others,
    )


def _check_agents(config: EconomyConfig) -> None:
    """Refuse an environment of more agents than Python can hold one by one.

    Raises:
        ConfigError: There are too many.
    """
    agents, machine = config.num_consumers + config.num_firms, memory.of_this_machine()
    size = agents * (_BYTES_OF_AN_AGENT + _BYTES_OF_A_NUMBER * 6 * config.num_firms)
    what = f"an environment with {agents:,} agents, each with spaces of its own,"
    memory.check(size * _SHARE, what, "take VectorEconomy", machine)


class EpisodeSettings(Section):
    """What can change between the episodes of an environment."""

    noun: ClassVar[str] = "an argument of an environment"

    max_cycles: Annotated[int, Field(ge=1)] = 1
    labour_disutility_scale: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0


class ParallelEconomy(ParallelEnv[str, Observation, Any]):
    """One economy whose agents all act at once, from the first period to the last, and are truncated together.

    Agents, in this order: ``consumer_0``.., ``firm_0``.., ``government_0``. Letters: C consumers, F firms.

    Observations are float32 vectors with finite bounds: the global part [G], which all agents see, followed by the
    agent's private part (see `rbc_marl.observations`). Actions are indices (see `rbc_marl.choices`): a consumer's are
    F + 2 integers (units of each good, hours, employer), a firm's and the government's are one integer. Other action
    modes say the same in one integer, or in numbers from -1 to 1. Rewards are plain floats: utility, profit after tax,
    welfare. Infos say what happened to the agent in the period.

    With ``train_types`` only some agents are agents of the environment; ``others`` play the rest of the economy.

    Nothing in the economy is random: the seed given to `reset` has nothing to seed but the draws of the others, which
    go on from it at resets without one and differ in every environment that never got one. Action spaces have
    generators of their own, as everywhere in PettingZoo.

    Attributes:
        agents: Names of the agents still playing: all of `possible_agents`, or none.
        possible_agents: Names of all agents of the environment.
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
        action_mode: str = "multidiscrete",
        action_mask: bool = False,
        train_types: Sequence[str] | None = None,
        others: Others = "monopoly",
    ) -> None:
        """Make the environment; see `parallel_env`, which takes presets and overrides as well.

        Raises:
            ConfigError: An argument is unknown or out of range.
            MissingExtraError: The render mode needs a library that is not installed.
        """
        self.render_mode = one_of(render_mode, (*self.metadata["render_modes"], None), "render_mode")
        if render_mode == "rgb_array":
            require("matplotlib", "analysis")
        _check_agents(config)
        self.max_cycles = config.horizon if max_cycles is None else max_cycles
        self.agents: list[str] = []
        self._controlled = ControlledBatch(
            config.replace(horizon=self.max_cycles),
            action_mode=action_mode,
            action_mask=action_mask,
            encoding=encoding,
            train_types=train_types,
            others=others,
        )
        self._names = self._controlled.names
        self.possible_agents = [name for names in self._names.values() for name in names]
        self._read_actions = ActionReader(config, self._names, action_mode)
        self._history: list[PlayedPeriod] = []
        self._observation_spaces = observation_spaces(
            config, encoding, self._names, action_mode if action_mask else None
        )
        self._action_spaces = {
            name: action_space(config, t, action_mode, action_mask)
            for t, names in self._names.items()
            for name in names
        }
        self.state_space = state_space(config, encoding)

    @property
    def config(self) -> EconomyConfig:
        """The economy now being played."""
        return self._controlled.economy.config

    @property
    def encoding(self) -> str:
        """How money and units enter observations."""
        return self._controlled.economy.encoding

    @property
    def action_mode(self) -> str:
        """How agents act: "multidiscrete", "discrete" or "box"."""
        return self._controlled.action_mode

    def set_action_masks(self, masks: Mapping[str, Any]) -> None:
        """Allow only some choices, at once and until the next call; see `rbc_marl.choices.firm_mask`.

        Args:
            masks: For some agent types [n], true where allowed: n joint choices in the mode "discrete"; otherwise the
                alternatives of all of an agent's indices, side by side.

        Raises:
            ConfigError: A mask is of a type that is not trained, has the wrong length or leaves no choice; or the
                environment was made without action masks.
        """
        self._controlled.set_action_masks(masks)

    def set_parameters(self, parameters: Mapping[str, float]) -> None:
        """Put numbers in place of the economy's own; see `VectorEconomy.set_parameters`.

        Raises:
            ConfigError: A name or a number cannot be.
        """
        self._controlled.economy.set_parameters(parameters)

    @property
    def labour_disutility_scale(self) -> float:
        """Factor on the disutility of labour, as curricula anneal it. A new value counts from the next `reset` on."""
        return float(self._controlled.economy.labour_disutility_scale)

    @labour_disutility_scale.setter
    def labour_disutility_scale(self, scale: float) -> None:
        settings = EpisodeSettings(labour_disutility_scale=scale)
        self._controlled.economy.labour_disutility_scale = settings.labour_disutility_scale

    @property
    def max_cycles(self) -> int:
        """Periods in an episode. A new value counts from the next `reset` on."""
        return self._max_cycles

    @max_cycles.setter
    def max_cycles(self, value: int) -> None:
        self._max_cycles = EpisodeSettings(max_cycles=value).max_cycles

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
            seed: Of the draws of the others, where there are any; the economy itself draws nothing.
            options: Accepted for PettingZoo and not used.

        Returns:
            Observations and (empty) infos of every agent.
        """
        self._controlled.set_horizon(self.max_cycles)
        observation = self._controlled.reset(seed)
        self._history = []
        self.agents = self.possible_agents[:]
        if self.render_mode == "human":
            self.render()
        return self._split(observation), {name: {} for name in self.agents}

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
        self._controlled.economy.check_running()
        before = self._controlled.economy.require_state()
        played = self._controlled.step(self._read_actions(actions))
        after = self._controlled.economy.require_state()
        period = PlayedPeriod(before, played.employer[0], played.flows, after)
        self._remember(period)
        if played.is_over:
            self.agents = []
        if self.render_mode == "human":
            self.render()
        names = self.possible_agents
        values = [value for t in self._names for value in self._controlled.rows(played.rewards[t], t)[0].tolist()]
        return (
            self._split(played.observation),
            dict(zip(names, values, strict=True)),
            dict.fromkeys(names, False),
            dict.fromkeys(names, played.is_over),
            self._infos(period),
        )

    def state(self) -> Observation:
        """Everything any agent sees: the global part, then each consumer's and each firm's private part.

        Returns:
            [G + C P + F Q].

        Raises:
            ConfigError: Before the first reset.
        """
        self._controlled.economy.require_state("state()")
        assert self._controlled.observation is not None
        result: Observation = whole_state(self._controlled.observation)[0].numpy()
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
        state = self._controlled.economy.require_state("render()")
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

    def _infos(self, period: PlayedPeriod) -> dict[str, Info]:
        infos = period_infos(self.config, period)
        if self._controlled.others is not None:
            starts = {"consumer": 0, "firm": self.config.num_consumers, "government": len(infos) - 1}
            infos = [infos[starts[t] + i] for t, numbers in self._controlled.trained.items() for i in numbers]
        return dict(zip(self.possible_agents, infos, strict=True))

    def _split(self, observation: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Whole observations by agent: rows of one array a type."""
        result: dict[str, Any] = {}
        for agent_type, names in self._names.items():
            rows = self._controlled.rows(join(observation, agent_type), agent_type)[0].numpy()
            result.update(zip(names, rows, strict=True))
            if self._controlled.masks is not None:
                for name in names:
                    result[name] = {"observation": result[name], "action_mask": self._controlled.masks.of(agent_type)}
        return result

    def _known(self, agent: str) -> str:
        if agent not in self._action_spaces:
            raise ConfigError(f"{agent!r} is not an agent{nearest(str(agent), self.possible_agents)}")
        return agent
