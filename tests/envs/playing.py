"""Playing the PettingZoo environment in tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from rbc_marl.choices import head_sizes
from rbc_marl.config import EconomyConfig
from rbc_marl.envs.actions import to_box, to_joint
from rbc_marl.envs.pettingzoo import ParallelEconomy


def random_indices(config: EconomyConfig, seed: int) -> dict[str, np.ndarray]:
    """Indices of one period by agent type: consumer [C, F + 2], firm [F], government [1]."""
    random = np.random.default_rng(seed)
    sizes = {t: np.array(head_sizes(config, t)) for t in ("consumer", "firm", "government")}
    return {
        "consumer": random.integers(sizes["consumer"], size=(config.num_consumers, config.num_firms + 2)),
        "firm": random.integers(sizes["firm"][0], size=config.num_firms),
        "government": random.integers(sizes["government"][0], size=1),
    }


def by_agent(indices: dict[str, np.ndarray]) -> dict[str, Any]:
    """The same, by agent."""
    return {f"{t}_{i}": action for t, actions in indices.items() for i, action in enumerate(actions)}


def as_tensors(indices: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The same, for a batch of one."""
    return {
        "consumer": torch.from_numpy(indices["consumer"])[None],
        "firm": torch.from_numpy(indices["firm"])[None],
        "government": torch.from_numpy(indices["government"]),
    }


def in_mode(config: EconomyConfig, indices: dict[str, np.ndarray], mode: str) -> dict[str, np.ndarray]:
    """The same decisions, by agent type, in an action mode: arrays [A] or [A, n]."""
    if mode == "multidiscrete":
        return indices
    translate = to_joint if mode == "discrete" else to_box
    return {t: translate(config, t, torch.from_numpy(index)).numpy() for t, index in indices.items()}


def random_actions(env: ParallelEconomy, seed: int) -> dict[str, Any]:
    """A random action of every agent of the environment, in its mode: the same decisions in every mode."""
    everybody = by_agent(in_mode(env.config, random_indices(env.config, seed), env.action_mode))
    return {agent: everybody[agent] for agent in env.possible_agents}


def episode(env: ParallelEconomy, seed: int = 0) -> Iterator[tuple[Any, ...]]:
    """Play one episode with random actions: what reset, then what every step returns."""
    yield env.reset()
    period = 0
    while env.agents:
        yield env.step(random_actions(env, seed * 1000 + period))
        period += 1
