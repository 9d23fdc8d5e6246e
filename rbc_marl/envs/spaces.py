"""Spaces of the PettingZoo environment: built once, always the same objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Space

from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.envs.actions import action_length, index_sizes
from rbc_marl.observations import bounds, observation_size


class MaskedMultiDiscrete(MultiDiscrete):
    """A MultiDiscrete that samples by an agent's ``action_mask``, in which the choices of all heads stand in a row."""

    def sample(self, mask: Any = None, probability: Any = None) -> Any:  # noqa: ANN401 - Gymnasium's signature
        """A sample; ``mask`` is the observed array of 0 and 1, or Gymnasium's tuple of an array for each head."""
        if isinstance(mask, np.ndarray):
            mask = tuple(np.split(mask, np.cumsum(self.nvec)[:-1]))
        return super().sample(mask, probability)


def action_space(config: EconomyConfig, agent_type: str, mode: str, has_mask: bool = False) -> Space[Any]:
    """A new space for the actions of one agent, which may observe an action mask."""
    length = action_length(config, agent_type, mode)
    if mode == "box":
        assert length is not None
        return Box(-1.0, 1.0, (length,), np.float32)
    sizes = index_sizes(config, agent_type, mode)
    if length is None:
        return Discrete(sizes[0])
    return (MaskedMultiDiscrete if has_mask else MultiDiscrete)(list(sizes))


def observation_spaces(
    config: EconomyConfig, encoding: str, names: Mapping[str, list[str]], masked_mode: str | None
) -> dict[str, Space[Any]]:
    """The space of each agent's observations; agents of a type share one.

    Args:
        config: The economy.
        encoding: Of the observations.
        names: Agents of each type.
        masked_mode: The action mode where observations hold an action mask; None where they hold none.
    """
    spaces: dict[str, Space[Any]] = {}
    for agent_type, agents in names.items():
        space: Space[Any] = Box(*bounds(config, agent_type, encoding), dtype=np.float32)
        if masked_mode is not None:
            length = sum(index_sizes(config, agent_type, masked_mode))
            space = Dict([("observation", space), ("action_mask", Box(0, 1, (length,), np.int8))])
        spaces.update(dict.fromkeys(agents, space))
    return spaces


def state_space(config: EconomyConfig, encoding: str) -> Box:
    """The space of everything any agent sees: the global part and every private part, [G + C P + F Q]."""
    shared = observation_size(config, "government", encoding)[0]
    both = []
    for side in (0, 1):
        limits = {t: bounds(config, t, encoding)[side] for t in AGENT_TYPES}
        private = [np.tile(limits[t][shared:], config.agents(t)) for t in AGENT_TYPES]
        both.append(np.concatenate([limits["government"], *private]))
    return Box(both[0], both[1], dtype=np.float32)
