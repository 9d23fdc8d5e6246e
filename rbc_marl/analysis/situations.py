"""Situations: states in the middle of an episode, as some policies lead to them.

What is measured off the path changes one thing in such states, a wage or a tax, and leaves all others as played.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rbc_marl.choices import decode
from rbc_marl.economy import Actions, EconomyState
from rbc_marl.economy.shocks import seed_of_generator
from rbc_marl.errors import ConfigError
from rbc_marl.observations import observe
from rbc_marl.policies import Policies
from rbc_marl.policies.imposed import law_of
from rbc_marl.policies.saved import PolicySet, of_weights_type
from rbc_marl.vector_env import VectorEconomy


@torch.no_grad()
def situations(
    policies: Policies, count: int, seed: int = 0, periods: int | None = None
) -> tuple[EconomyState, torch.Generator]:
    """Play economies up to the middle of an episode, or for some periods.

    Args:
        policies: Whoever decides, with draws.
        count: Economies (B).
        seed: Of the draws.
        periods: How many are played; None: half of an episode.

    Returns:
        The state after these periods, and the generator after its draws.

    Raises:
        ConfigError: An episode has not so many periods.
    """
    config = policies.config
    if periods is not None and not 0 <= periods <= config.horizon:
        raise ConfigError(f"{periods} periods are to be played; an episode has {config.horizon}")
    generator = torch.Generator(device=policies.device).manual_seed(seed)
    env = VectorEconomy(config, count, device=policies.device, autoreset=False, encoding=policies.encoding)
    env.impose(law_of(policies).factors)
    observation = env.reset(seed_of_generator(generator))
    for _ in range(config.horizon // 2 if periods is None else periods):
        indices = policies.act(observation, generator, state=env.require_state())
        observation, _, _, _ = env.step(indices)
    return env.require_state(), generator


@torch.no_grad()
def decide(
    policies: Policies,
    state: EconomyState,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    only: str | None = None,
) -> Actions:
    """What everybody does in a state that need not lie on any path.

    Args:
        policies: Whoever decides, with draws.
        state: Of B economies.
        generator: Behind the draws; None for torch's own.
        dtype: Of the quantities.
        only: The one agent type whose decisions are read. Trained networks of the others are not asked, which takes
            most of the time, and what stands for their decisions means nothing.
    """
    observation = observe(policies.config, state, policies.encoding)
    if only is None or not isinstance(policies, PolicySet):
        indices = policies.act(observation, generator, state=state)
    else:
        indices = _alone(policies, only, observation, generator)
    return decode(policies.config, **indices, dtype=dtype)


def _alone(
    policies: PolicySet, agent_type: str, observation: Mapping[str, Tensor], generator: torch.Generator | None
) -> dict[str, Tensor]:
    """Indices as of `Policies.act`, where all other types take their first choice."""
    network, config = policies.networks[agent_type], policies.config
    parts = (of_weights_type(network, observation[part]) for part in ("global", agent_type))
    drawn = network.distribution(network.logits(network.features(*parts))).sample(generator)
    shapes = {"consumer": (config.num_consumers, config.num_firms + 2), "firm": (config.num_firms,), "government": ()}
    rows = len(observation["global"])
    indices = {name: drawn.new_zeros(rows, *shape) for name, shape in shapes.items()}
    return indices | {agent_type: drawn.reshape(rows, *shapes[agent_type])}
