"""Spaces of the PettingZoo environment: built once, always the same objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Space

from rbc_marl.adapters.action_modes import index_sizes
from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.observations import bounds, observation_size


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
