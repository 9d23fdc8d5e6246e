"""Deviations: policies in which one agent, or all agents of one type, do something else than in a strategy profile.

All other agents draw the same random numbers with the deviation as without it, period by period, so that the two can be
compared episode by episode. Where a network deviates from trained policies, even the deviators draw the same numbers: a
deviation to the policies' own network changes nothing, bit for bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rbc_marl.choices import head_sizes
from rbc_marl.config import EconomyConfig
from rbc_marl.economy import EconomyState
from rbc_marl.errors import ConfigError
from rbc_marl.policies import Policies
from rbc_marl.policies.distributions import LOGIT_LIMIT, FactorisedCategorical
from rbc_marl.policies.networks import PolicyNetwork
from rbc_marl.policies.saved import PolicySet, of_weights_type


@dataclass(frozen=True)
class Deviation:
    """Who deviates, and what they do instead: follow another network, or make one choice in every period.

    Raises:
        ConfigError: Neither or both of ``network`` and ``choice`` are given.
    """

    agent_type: str
    agent: int | None = None
    """Number of the agent among those of its type; None: all of them."""
    network: PolicyNetwork | None = None
    """Decides for the deviators."""
    is_greedy: bool = False
    """Whether the deviators take their network's likeliest choices instead of drawing. Where all consumers deviate,
    they still draw their employers: alike consumers would all join one firm."""
    choice: Tensor | None = None
    """What the deviators always choose: indices [H] of their heads, or [B, H], other ones in each economy."""

    def __post_init__(self) -> None:
        """Check that there is either a network or a choice."""
        if (self.network is None) == (self.choice is None):
            raise ConfigError("a deviation needs a network or a choice, and not both")


class DeviatingPolicies:
    """Policies with a deviation from them; see `rbc_marl.policies.Policies`.

    Attributes:
        base: The policies deviated from, trained or scripted.
        deviation: Who deviates, and how.
        config: The economy.
        encoding: Of the observations.
        device: Where everything is.
    """

    def __init__(self, base: Policies, deviation: Deviation) -> None:
        """Check that the deviation fits the economy.

        Raises:
            ConfigError: There is no such agent, or the choice or the network's heads are not the agents'.
        """
        self.base = base
        self.deviation = deviation
        self.config: EconomyConfig = base.config
        self.encoding = base.encoding
        self.device = base.device
        sizes, agents = head_sizes(base.config, deviation.agent_type), base.config.agents(deviation.agent_type)
        if deviation.agent is not None and not 0 <= deviation.agent < agents:
            raise ConfigError(
                f"agent {deviation.agent} of type {deviation.agent_type} is not in this economy; "
                f"they are numbered from 0 to {agents - 1}"
            )
        heads = len(sizes) if deviation.choice is None else deviation.choice.shape[-1]
        if heads != len(sizes) or (deviation.network is not None and deviation.network.head_sizes != sizes):
            raise ConfigError(f"the deviation does not fit the {len(sizes)} choices of a {deviation.agent_type}")
        self._choice = None if deviation.choice is None else deviation.choice.long().to(self.device)

    @torch.no_grad()
    def act(
        self,
        observation: Mapping[str, Tensor],
        generator: torch.Generator | None = None,
        greedy: bool = False,
        *,
        state: EconomyState | None = None,
    ) -> dict[str, Tensor]:
        """Decide for one period; see `rbc_marl.policies.Policies`."""
        network, agent_type = self.deviation.network, self.deviation.agent_type
        if network is not None and isinstance(self.base, PolicySet):
            logits = self.base.logits(observation)
            deviating = self._deviators_logits(network, observation)
            logits[agent_type] = replace_rows(logits[agent_type], deviating, self.deviation.agent)
            return self.base.choose(logits, generator, greedy)
        indices = dict(self.base.act(observation, generator, greedy, state=state))
        if network is not None:
            choices = network.distribution(self._deviators_logits(network, observation))
            deviating = choices.greedy() if greedy else choices.sample(_side_stream(generator, self.device))
        else:
            assert self._choice is not None  # one of the two is given
            deviating = self._choice.expand(observation["global"].shape[0], -1).unsqueeze(1)  # [B, 1, H]
        indices[agent_type] = self._with_deviators(indices[agent_type], deviating)
        return indices

    def _deviators_logits(self, network: PolicyNetwork, observation: Mapping[str, Tensor]) -> Tensor:
        """Logits [B, deviators, K]."""
        agent = self.deviation.agent
        private = observation[self.deviation.agent_type]
        private = private if agent is None else private[:, agent : agent + 1]
        parts = (of_weights_type(network, part) for part in (observation["global"], private))
        logits = network.logits(network.features(*parts))
        if not self.deviation.is_greedy:
            return logits
        drawn = network.dealt_head if agent is None else None
        return certain(logits, network.head_sizes, drawn)

    def _with_deviators(self, indices: Tensor, deviating: Tensor) -> Tensor:
        """Indices of a type, with choices [B, deviators or 1, H] in place of the deviators' own."""
        agent, result = self.deviation.agent, indices.clone()
        rows = slice(None) if agent is None else slice(agent, agent + 1)
        if self.deviation.agent_type == "government":
            result.copy_(deviating[:, 0, 0])
        else:
            result[:, rows] = deviating[..., 0] if self.deviation.agent_type == "firm" else deviating
        return result


def replace_rows(logits: Tensor, deviating: Tensor, agent: int | None) -> Tensor:
    """Logits [B, A, K] of a type with those of one agent replaced by ``deviating`` [B, 1, K]; of all if it is None."""
    if agent is None:
        return deviating
    return torch.cat([logits[:, :agent], deviating, logits[:, agent + 1 :]], dim=1)


def certain(logits: Tensor, sizes: tuple[int, ...], drawn: int | None = None) -> Tensor:
    """Logits [..., K] that leave no doubt about the likeliest choice of each head but the one that is still drawn."""
    mode = FactorisedCategorical(logits, sizes).mode()
    starts = [sum(sizes[:head]) for head in range(len(sizes))]
    sure = torch.full_like(logits, -LOGIT_LIMIT).scatter(-1, mode + mode.new_tensor(starts), LOGIT_LIMIT)
    if drawn is not None:
        own = slice(starts[drawn], starts[drawn] + sizes[drawn])
        sure[..., own] = logits[..., own]
    return sure


def _side_stream(generator: torch.Generator | None, device: torch.device) -> torch.Generator | None:
    """A generator seeded by the state of another one, which stays as it is."""
    if generator is None:
        return None
    digest = hashlib.blake2b(generator.get_state().numpy().tobytes(), digest_size=7).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest, "big"))
