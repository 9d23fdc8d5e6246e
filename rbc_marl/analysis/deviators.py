"""Who deviates, and what a deviation gains: differences between play with and without it on the same random numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rbc_marl.analysis.rollouts import Episodes
from rbc_marl.errors import ConfigError, UserError
from rbc_marl.policies import Policies
from rbc_marl.policies.deviating import Deviation, Strategy
from rbc_marl.policies.networks import PolicyNetwork
from rbc_marl.policies.strategies import BestAlternatives, rule_by_name


@dataclass(frozen=True)
class Deviator:
    """Who deviates: all agents of a type together, or a single one."""

    agent_type: str
    agent: int | None = None
    """Number of the agent among its type; None: all of them."""

    @property
    def kind(self) -> str:
        """Either "type" or "agent"."""
        return "type" if self.agent is None else "agent"

    @property
    def name(self) -> str:
        """Such as "firm" or "firm-3"."""
        return self.agent_type if self.agent is None else f"{self.agent_type}-{self.agent}"

    def deviation(
        self,
        network: PolicyNetwork | None = None,
        *,
        is_greedy: bool = False,
        choice: Tensor | None = None,
        strategy: Strategy | None = None,
    ) -> Deviation:
        """What the deviator does instead; see `rbc_marl.policies.deviating.Deviation`."""
        return Deviation(self.agent_type, self.agent, network, is_greedy, choice, strategy)

    def plays(self, plan: Mapping[str, Any], base: Policies, network: PolicyNetwork | None = None) -> Deviation:
        """The deviation behind a plan, which is plain data.

        Args:
            plan: ``{"kind": "constant", "choice": [H]}``, ``{"kind": "schedule", "choices": [T][H]}``, ``{"kind":
                "rule", "name": ...}``, ``{"kind": "one-step", "values": [T][A]}`` or ``{"kind": "learned",
                "is_greedy": ...}``.
            base: The policies that are deviated from.
            network: What was learnt, for the last kind.

        Raises:
            ConfigError: The kind, or a rule, is unknown.
        """
        match plan["kind"]:
            case "constant":
                return self.deviation(choice=torch.tensor(plan["choice"]))
            case "schedule":
                return self.deviation(choice=torch.tensor(plan["choices"]).unsqueeze(0))
            case "rule":
                return self.deviation(strategy=rule_by_name(plan["name"], base, self.agent_type, self.agent))
            case "one-step":
                values = torch.tensor(plan["values"], dtype=torch.float64)
                return self.deviation(strategy=BestAlternatives(base, values, self.agent))
            case "learned":
                return self.deviation(network, is_greedy=plan["is_greedy"])
        raise ConfigError(f'"{plan["kind"]}" is not a kind of deviation')

    def returns(self, episodes: Episodes) -> Tensor:
        """Mean return of the deviator's agents in each episode, [N], in float64.

        Raises:
            UserError: A return is infinite or NaN: nothing can be held against it, and it is no gain of 0.
        """
        returns = episodes.returns[self.agent_type].double()
        returns = returns.mean(1) if self.agent is None else returns[:, self.agent]
        broken = int((~returns.isfinite()).sum())
        if broken:
            raise UserError(
                f"the return of {self.name.replace('-', ' ')} is not finite in {broken} of {len(returns)} episodes, so "
                "there is no baseline return and no gain; check the policies, and the economy's rates and prices"
            )
        return returns
