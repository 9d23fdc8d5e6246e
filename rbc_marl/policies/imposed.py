"""Imposed choices: the same policies under a tax, a price, a wage or hours that are not theirs to choose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from rbc_marl.choices import choice_tables
from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.economy import EconomyState
from rbc_marl.errors import ConfigError, one_of
from rbc_marl.policies import Policies
from rbc_marl.policies.deviating import DeviatingPolicies, Deviation
from rbc_marl.settings import Section

# What can be imposed: on whom, and its column in the table of joint choices. Hours are a choice of their own.
_PARTS = {
    "hours": ("consumer", None),
    "price": ("firm", 0),
    "wage": ("firm", 1),
    "investment": ("firm", 2),
    "income_tax": ("government", 0),
    "corporate_tax": ("government", 1),
}

# What holds in the period in which it is chosen; all else from the next one on.
_AT_ONCE = ("hours", "investment")


class Imposed(Section):
    """Choices that are imposed on all agents of a type, in every period that they choose for."""

    noun: ClassVar[str] = "what can be imposed"

    hours: float | None = Field(None, description="of every consumer")
    price: float | None = Field(None, description="of every firm")
    wage: float | None = Field(None, description="of every firm")
    investment: float | None = Field(None, description="share of every firm")
    income_tax: float | None = Field(None, description="rate")
    corporate_tax: float | None = Field(None, description="rate")

    @property
    def chosen(self) -> dict[str, float]:
        """What is imposed, by name."""
        return {name: value for name in _PARTS if (value := getattr(self, name)) is not None}

    def on(self, policies: Policies, in_force: int | None = None) -> Policies:
        """Policies that follow what is imposed, and decide everything else as before.

        What they draw for all other choices is the same as without, so that episodes of one seed can be paired.

        Args:
            policies: Whoever decides everything else.
            in_force: From which period on it holds, counted from 1; None: as soon as it can. Hours and investment hold
                in the period in which they are chosen, all else from the next one on.

        Raises:
            ConfigError: A value is not a choice of the economy, or cannot be in force so early or late.
        """
        config = policies.config
        for name, value in self.chosen.items():
            one_of(value, getattr(config, f"{name}_choices"), name)
            first = 1 if name in _AT_ONCE else 2
            if in_force is not None and not first <= in_force <= config.horizon:
                raise ConfigError(f"{name} is to be in force in period {in_force}; give {first} to {config.horizon}")
        for agent_type in AGENT_TYPES:
            own = {name: x for name, x in self.chosen.items() if _PARTS[name][0] == agent_type}
            for is_at_once in (True, False):
                values = {name: x for name, x in own.items() if (name in _AT_ONCE) is is_at_once}
                if values:
                    chosen_in = 0 if in_force is None else in_force - (1 if is_at_once else 2)
                    strategy = ReplaceParts(config, agent_type, values, chosen_in)
                    policies = DeviatingPolicies(policies, Deviation(agent_type, strategy=strategy))
        return policies


class ReplaceParts:
    """What agents would have chosen, with parts of it replaced; see `rbc_marl.policies.deviating.Strategy`."""

    def __init__(
        self, config: EconomyConfig, agent_type: str, values: Mapping[str, float], first_period: int = 0
    ) -> None:
        """Look up what each choice becomes.

        Args:
            config: The economy.
            agent_type: Who chooses.
            values: By part: "hours" of consumers, "price", "wage" and "investment" of firms, "income_tax" and
                "corporate_tax" of the government. Each is a choice of the economy.
            first_period: From which period on parts are replaced.
        """
        self.first_period = first_period
        self.hours: int | None = None
        if agent_type == "consumer":
            self.hours = config.hours_choices.index(values["hours"])
            return
        table = getattr(choice_tables(config, dtype=torch.float64), agent_type)
        wanted = table.clone()
        for name, value in values.items():
            wanted[:, _PARTS[name][1]] = value
        # The first choice of each kind: two alike in the table are the same choice.
        self.becomes = (wanted.unsqueeze(1) == table).all(-1).to(torch.uint8).argmax(dim=1)

    def decide(
        self, own: Tensor, observation: Mapping[str, Tensor], generator: torch.Generator | None, state: EconomyState
    ) -> Tensor:
        """Decide for one period."""
        if self.hours is not None:
            replaced = own.clone()
            replaced[..., -2] = self.hours
        else:
            replaced = self.becomes.to(own.device)[own.long()].to(own.dtype)
        return torch.where(state.time.view(-1, 1, 1) >= self.first_period, replaced, own)
