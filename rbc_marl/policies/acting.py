"""Decisions of all agents of a type: large economies a slab of agents at a time, so that layers stay in a CPU's cache.

Whoever acts needs what a network makes of an agent only until its choices are drawn: a million agents take the memory
of a few thousand.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rbc_marl.policies.distributions import FactorisedCategorical
from rbc_marl.policies.draws import Source
from rbc_marl.policies.networks import PolicyNetwork
from rbc_marl.policies.slabs import acting_slabs

ChoicesOf = Callable[[slice], FactorisedCategorical]
"""The action distribution of some of the agents, [E, n, ...]."""


def act(
    choices_of: ChoicesOf, network: PolicyNetwork, private: Tensor, is_random: bool, generator: Source = None
) -> tuple[Tensor, Tensor]:
    """Decide for all agents of a type.

    Args:
        choices_of: The distribution of some of them.
        network: Theirs.
        private: [E, A, Q] private parts of their observations.
        is_random: Whether they draw; else they play greedily.
        generator: Behind the draws, which do not depend on slabs.

    Returns:
        Choices [E, A, H] (int64), and their log-probabilities [E, A].
    """
    economies, agents, _ = private.shape
    cuts = list(acting_slabs(economies, agents, network.acting_values, private.device))
    if len(cuts) == 1:
        return decide(choices_of(cuts[0]), is_random, generator)
    uniform: Tensor | None = None
    parts = []
    for cut in cuts:
        choices = choices_of(cut)
        if is_random:
            if uniform is None:
                uniform = choices.draws(economies * agents, generator).view(economies, agents, -1)
            parts.append(choices.take(uniform[:, cut]))
        else:
            taken = choices.greedy(cut.start)
            parts.append((taken, choices.logp(taken)))
    taken, logp = (torch.cat(side, dim=1) for side in zip(*parts, strict=True))
    return taken, logp


def choices_of_network(network: PolicyNetwork, shared: Tensor, private: Tensor) -> ChoicesOf:
    """What `act` asks, answered by a network that sees parts of observations [E, G] and [E, A, Q]."""
    return lambda agents: network.distribution(network.logits(network.features(shared, private[:, agents])))


def decide(choices: FactorisedCategorical, is_random: bool, generator: Source) -> tuple[Tensor, Tensor]:
    """Choices [E, A, H] of a distribution, drawn or greedy, and their log-probabilities [E, A]."""
    if is_random:
        return choices.sample_and_logp(generator)
    taken = choices.greedy()
    return taken, choices.logp(taken)
