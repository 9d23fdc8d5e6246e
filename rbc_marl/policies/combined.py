"""Policies put together from parts: other policies, or recorded choices, decide for single agent types."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rbc_marl.choices import head_sizes
from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.economy import EconomyState
from rbc_marl.errors import ConfigError, nearest
from rbc_marl.policies import Policies
from rbc_marl.policies.imposed import UnderLaw, freely, law_of


class CombinedPolicies(UnderLaw):
    """Each agent type follows the policies given for it: trained, rule-based or replayed ones, in any mixture.

    Every part decides for all agents and is taken at its word for one type. All draw from the generator of the call,
    one after another: with other parts in their place the rest draw anew. What is imposed on the base is
    imposed on all.

    Attributes:
        parts: By agent type.
        law: What is imposed on the base.
        config: The economy, the same for all parts.
        encoding: Of the observations: that of the parts that read them.
        device: Where the parts are.
    """

    def __init__(self, base: Policies, **parts: Policies) -> None:
        """Put policies together.

        Args:
            base: Decides for every agent type that has no part of its own.
            **parts: By agent type: ``consumer``, ``firm``, ``government``.

        Raises:
            ConfigError: An agent type is unknown, or a part is made for another economy, encoding or device.
        """
        for agent_type, part in parts.items():
            if agent_type not in AGENT_TYPES:
                raise ConfigError(f"{agent_type} is not an agent type{nearest(agent_type, AGENT_TYPES)}")
            is_alike = {
                "economy": part.config == base.config,
                "encoding": part.encoding == base.encoding,
                "device": _device(part) == _device(base),
            }
            for name, is_same in is_alike.items():
                if not is_same:
                    raise ConfigError(f"the policies of the {agent_type} are made for another {name} than the rest")
        self.parts = {agent_type: parts.get(agent_type, base) for agent_type in AGENT_TYPES}
        self.law = law_of(base)
        self.config: EconomyConfig = base.config
        self.encoding: str = base.encoding
        self.device: torch.device = base.device

    def act_freely(
        self,
        observation: Mapping[str, Tensor],
        generator: torch.Generator | None = None,
        greedy: bool = False,
        *,
        state: EconomyState | None = None,
    ) -> dict[str, Tensor]:
        """Decide for one period, before anything that is imposed; see `rbc_marl.policies.Policies`."""
        distinct = {id(part): part for part in self.parts.values()}
        indices = {key: freely(part)(observation, generator, greedy, state=state) for key, part in distinct.items()}
        return {agent_type: indices[id(part)][agent_type] for agent_type, part in self.parts.items()}


class Recording(UnderLaw):
    """Policies whose government's choices are kept, period by period, before anything that is imposed on them.

    Attributes:
        policies: Those that decide.
        law: What is imposed on them.
        choices: Joint choices of the government [B], one tensor per period played so far.
    """

    def __init__(self, policies: Policies) -> None:
        self.policies, self.law = policies, law_of(policies)
        self.config, self.encoding, self.device = policies.config, policies.encoding, policies.device
        self.choices: list[Tensor] = []

    def act_freely(
        self,
        observation: Mapping[str, Tensor],
        generator: torch.Generator | None = None,
        greedy: bool = False,
        *,
        state: EconomyState | None = None,
    ) -> dict[str, Tensor]:
        """Decide for one period, and keep the government's choice; see `rbc_marl.policies.Policies`."""
        indices = freely(self.policies)(observation, generator, greedy, state=state)
        self.choices.append(indices["government"])
        return indices


class ReplayedGovernment(UnderLaw):
    """Policies whose government plays recorded choices, period by period, whatever the state is.

    With `shuffled` choices it sets the same rates as often, but at random moments. The difference in welfare is what
    the government gains by looking at the state.

    Attributes:
        policies: Those that decide for consumers and firms.
        law: What is imposed on them.
        choices: Joint choices [T, E] of T periods in E episodes, played side by side; then from the start again.
        periods: How many have been played.
    """

    def __init__(self, policies: Policies, choices: Tensor) -> None:
        """Take choices to play.

        Raises:
            ConfigError: There are none, or one is not a choice of this economy.
        """
        highest = head_sizes(policies.config, "government")[0] - 1
        if choices.numel() == 0 or int(choices.min()) < 0 or int(choices.max()) > highest:
            raise ConfigError(f"choices to replay must be joint choices of the government, from 0 to {highest}")
        self.policies, self.law = policies, law_of(policies)
        self.config, self.encoding, self.device = policies.config, policies.encoding, policies.device
        self.choices = choices.to(policies.device)
        self.periods = 0

    def act_freely(
        self,
        observation: Mapping[str, Tensor],
        generator: torch.Generator | None = None,
        greedy: bool = False,
        *,
        state: EconomyState | None = None,
    ) -> dict[str, Tensor]:
        """Decide for one period; see `rbc_marl.policies.Policies`.

        Raises:
            ConfigError: There are not as many economies as episodes in the choices.
        """
        indices = freely(self.policies)(observation, generator, greedy, state=state)
        choices = self.choices[self.periods % len(self.choices)]
        if choices.shape != indices["government"].shape:
            played, recorded = len(indices["government"]), len(choices)
            raise ConfigError(
                f"{played} economies are played; choices of {recorded} episodes need {recorded} side by side"
            )
        self.periods += 1
        return {**indices, "government": choices}


def _device(policies: Policies) -> tuple[str, int]:
    """Type and index of a device: "cuda" is "cuda:0"."""
    device = torch.device(policies.device)
    return device.type, device.index or 0


def shuffled(choices: Tensor, seed: int) -> Tensor:
    """Choices of a government dealt out anew over episodes and periods.

    The last period's are left where they are: no period follows in which they could come into force, so nothing was
    ever learned about them, and among the others they would be noise.

    Args:
        choices: [T, E], of T periods in E episodes.
        seed: Of the permutation.

    Returns:
        [T, E]: the choices of periods 0 to T - 2 permuted among themselves, then those of the last period.
    """
    effective = choices[:-1].flatten()
    order = torch.randperm(len(effective), generator=torch.Generator().manual_seed(seed)).to(choices.device)
    return torch.cat([effective[order].view_as(choices[:-1]), choices[-1:]])
