"""Situations: states in the middle of an episode, as some policies lead to them.

What is measured off the path changes one thing in such states, a wage or a tax, and leaves all others as played.
"""

from __future__ import annotations

import torch

from rbc_marl.choices import decode
from rbc_marl.economy import Actions, EconomyState
from rbc_marl.observations import observe
from rbc_marl.policies import Policies
from rbc_marl.vector_env import VectorEconomy


@torch.no_grad()
def situations(policies: Policies, count: int, seed: int = 0) -> tuple[EconomyState, torch.Generator]:
    """Play economies up to the middle of an episode.

    Args:
        policies: Whoever decides, with draws.
        count: Economies (B).
        seed: Of the draws.

    Returns:
        The state at the start of the middle period, and the generator after its draws.
    """
    config = policies.config
    generator = torch.Generator(device=policies.device).manual_seed(seed)
    env = VectorEconomy(config, count, device=policies.device, autoreset=False, encoding=policies.encoding)
    observation = env.reset()
    for _ in range(config.horizon // 2):
        indices = policies.act(observation, generator, state=env.require_state())
        observation, _, _, _ = env.step(indices)
    return env.require_state(), generator


@torch.no_grad()
def decide(
    policies: Policies,
    state: EconomyState,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> Actions:
    """What everybody does in a state that need not lie on any path, with draws; quantities in a type of one's own."""
    indices = policies.act(observe(policies.config, state, policies.encoding), generator, state=state)
    return decode(policies.config, **indices, dtype=dtype)
