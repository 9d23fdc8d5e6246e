"""One agent of an economy as a gymnasium environment; policies play all others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.envs.others import Others
from rbc_marl.envs.pettingzoo import ParallelEconomy, parallel_env
from rbc_marl.errors import one_of
from rbc_marl.settings import seed_of


class SingleAgentEconomy(gym.Env[Any, Any]):
    """The economy as one of its agents meets it: ``gymnasium.make("rbc_marl/Firm-v0", num_consumers=20)``.

    Observation, action and reward are the agent's own in `ParallelEconomy`, and the horizon truncates the episode
    unless it is to terminate it. The seed of `reset` decides what the others draw.

    Attributes:
        agent: The agent's name, such as "firm_0".
        economy: The PettingZoo environment behind this one.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - gymnasium declares it so, and reads it from the class
        "render_modes": ParallelEconomy.metadata["render_modes"],
        "render_fps": ParallelEconomy.metadata["render_fps"],
    }

    def __init__(
        self,
        agent_type: str,
        config: EconomyConfig | str | Mapping[str, Any] | None = "open",
        *,
        agent: int = 0,
        max_cycles: int | None = None,
        render_mode: str | None = None,
        encoding: str = "symlog",
        action_mode: str = "multidiscrete",
        action_mask: bool = False,
        others: Others = "monopoly",
        terminate_at_horizon: bool = False,
        **overrides: object,
    ) -> None:
        """Make the environment.

        Args:
            agent_type: "consumer", "firm" or "government".
            config: As for `rbc_marl.parallel_env`, and so is what follows.
            agent: The agent's number among those of its type.
            max_cycles: Periods in an episode.
            render_mode: "ansi", "rgb_array", "human" or None.
            encoding: Of the observations.
            action_mode: How the agent acts.
            action_mask: Whether observations hold an action mask.
            others: Who plays everybody else.
            terminate_at_horizon: Whether the last period terminates the episode instead of truncating it: the horizon
                is the end of a finite game, and learners then bootstrap nothing from a value after it.
            **overrides: Fields of `EconomyConfig` to change.

        Raises:
            ConfigError: An argument is unknown or out of range.
        """
        self.agent = f"{one_of(agent_type, AGENT_TYPES, 'agent_type')}_{agent}"
        self.render_mode = render_mode
        self.terminate_at_horizon = terminate_at_horizon
        self.economy = parallel_env(
            config,
            max_cycles=max_cycles,
            render_mode=render_mode,
            encoding=encoding,
            action_mode=action_mode,
            action_mask=action_mask,
            train_types=[self.agent],
            others=others,
            **overrides,
        )
        self.observation_space = self.economy.observation_space(self.agent)
        self.action_space = self.economy.action_space(self.agent)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start a new episode. A seed restarts the draws of the others; options are accepted and not used."""
        seed = None if seed is None else seed_of(seed)
        super().reset(seed=seed)
        observations, infos = self.economy.reset(seed=seed)
        return observations[self.agent], infos[self.agent]

    def step(self, action: object) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Play one period.

        Returns:
            Observation, reward, terminated, truncated (one of them in the last period), info.

        Raises:
            ConfigError: The episode has not begun or is over, or the action is not in its space.
        """
        observations, rewards, terminations, truncations, infos = self.economy.step({self.agent: action})
        name, is_over = self.agent, terminations[self.agent] or truncations[self.agent]
        terminated = is_over and self.terminate_at_horizon
        return observations[name], rewards[name], terminated, is_over and not terminated, infos[name]

    def render(self) -> str | NDArray[np.uint8] | None:  # type: ignore[override]  # gymnasium promises its own frames
        """The economy now, in the render mode; see `ParallelEconomy.render`."""
        return self.economy.render()
