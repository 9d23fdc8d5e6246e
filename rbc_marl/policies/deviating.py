"""Deviations: policies in which one agent, or all agents of one type, do something else than in a strategy profile.

All other agents draw the same random numbers with the deviation as without it, period by period, so that the two can be
compared episode by episode. Where a network deviates from trained policies, even the deviators draw the same numbers: a
deviation to the policies' own network changes nothing, bit for bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from rbc_marl.choices import head_sizes
from rbc_marl.config import EconomyConfig
from rbc_marl.economy import EconomyState
from rbc_marl.errors import ConfigError
from rbc_marl.policies import Policies
from rbc_marl.policies.distributions import LOGIT_LIMIT, FactorisedCategorical
from rbc_marl.policies.imposed import UnderLaw, chooser_of, freely, law_of
from rbc_marl.policies.networks import PolicyNetwork
from rbc_marl.policies.saved import PolicySet, of_weights_type


class Strategy(Protocol):
    """What deviators do who follow neither a network nor a list of choices."""

    def decide(
        self, own: Tensor, observation: Mapping[str, Tensor], generator: torch.Generator | None, state: EconomyState
    ) -> Tensor:
        """Decide for one period.

        Args:
            own: [B, A, H] what the deviators would have chosen.
            observation: As `rbc_marl.policies.Policies` take it.
            generator: Behind every draw; it is nobody else's.
            state: At the start of the period.

        Returns:
            [B, A, H] indices of their heads.
        """
        ...


@dataclass(frozen=True)
class Deviation:
    """Who deviates, and what they do instead: follow a network, a constant, a schedule or a strategy.

    Raises:
        ConfigError: Not exactly one of ``network``, ``choice`` and ``strategy`` is given.
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
    """What the deviators choose: indices [H] of their heads in every period, or [B, H], other ones in each economy, or
    [B or 1, T, H], other ones in each period."""
    strategy: Strategy | None = None
    """Decides for the deviators by what it sees."""

    def __post_init__(self) -> None:
        """Check that there is one thing that the deviators follow."""
        if sum(part is not None for part in (self.network, self.choice, self.strategy)) != 1:
            raise ConfigError("a deviation needs a network or a choice, and not both; or a strategy alone")


class DeviatingPolicies(UnderLaw):
    """Policies with a deviation from them; see `rbc_marl.policies.Policies`.

    What is imposed on the policies is imposed on the deviation too.

    Attributes:
        base: The policies deviated from, trained or scripted, without what is imposed on them.
        law: What is imposed on them.
        deviation: Who deviates, and how.
        config: The economy.
        encoding: Of the observations.
        device: Where everything is.
    """

    def __init__(self, base: Policies, deviation: Deviation) -> None:
        """Check that the deviation fits the economy.

        Raises:
            ConfigError: There is no such agent, the choice or the network's heads are not the agents', or a schedule
                has not a choice for every period.
        """
        self.base, self.law = chooser_of(base), law_of(base)
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
        if self._choice is not None and self._choice.dim() == 3 and self._choice.shape[1] != base.config.horizon:
            raise ConfigError(f"the schedule has {self._choice.shape[1]} periods; episodes have {base.config.horizon}")

    @torch.no_grad()
    def act_freely(
        self,
        observation: Mapping[str, Tensor],
        generator: torch.Generator | None = None,
        greedy: bool = False,
        *,
        state: EconomyState | None = None,
    ) -> dict[str, Tensor]:
        """Decide for one period, before anything that is imposed; see `rbc_marl.policies.Policies`.

        Raises:
            ConfigError: There is no state, which schedules and strategies read.
        """
        network, agent_type = self.deviation.network, self.deviation.agent_type
        if network is not None and isinstance(self.base, PolicySet):
            logits = self.base.logits(observation)
            deviating = self._deviators_logits(network, observation)
            logits[agent_type] = replace_rows(logits[agent_type], deviating, self.deviation.agent)
            return self.base.choose(logits, generator, greedy)
        indices = dict(freely(self.base)(observation, generator, greedy, state=state))
        if network is not None:
            choices = network.distribution(self._deviators_logits(network, observation))
            deviating = choices.greedy() if greedy else choices.sample(side_stream(generator, self.device))
        else:
            deviating = self._without_network(indices[agent_type], observation, generator, state)
        indices[agent_type] = self._with_deviators(indices[agent_type], deviating)
        return indices

    def _without_network(
        self,
        indices: Tensor,
        observation: Mapping[str, Tensor],
        generator: torch.Generator | None,
        state: EconomyState | None,
    ) -> Tensor:
        """Choices [B, deviators or 1, H] by a constant, a schedule or a strategy; ``indices`` are the type's own."""
        economies, choice = observation["global"].shape[0], self._choice
        if choice is not None and choice.dim() < 3:
            return choice.expand(economies, -1).unsqueeze(1)
        if state is None:
            raise ConfigError("schedules and strategies read the true state; call act(observation, state=...)")
        if choice is not None:
            time = state.time.long().view(-1, 1, 1).expand(-1, 1, choice.shape[-1])
            return choice.expand(economies, -1, -1).gather(1, time)
        assert self.deviation.strategy is not None  # one of the three is given
        agent, own = self.deviation.agent, indices.reshape(economies, self.config.agents(self.deviation.agent_type), -1)
        own = own if agent is None else own[:, agent : agent + 1]
        return self.deviation.strategy.decide(own, observation, side_stream(generator, self.device), state)

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


def side_stream(
    generator: torch.Generator | None, device: torch.device, purpose: bytes = b""
) -> torch.Generator | None:
    """A generator seeded by the state of another one, which stays as it is; for each purpose a different one."""
    if generator is None:
        return None
    digest = hashlib.blake2b(generator.get_state().numpy().tobytes(), digest_size=7, key=purpose).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest, "big"))
