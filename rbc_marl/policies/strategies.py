"""Strategies of deviators that are written by hand, by name, or that value every alternative of a consumer's choices.

A strategy decides for one agent, or for all agents of a type, by what it sees at the start of a period
(`rbc_marl.policies.deviating.Strategy`). What the others choose in the same period it does not see.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from rbc_marl.choices import choice_tables, decode
from rbc_marl.config import EconomyConfig
from rbc_marl.economy import EconomyState
from rbc_marl.economy.markets import afford, with_consumption_tax
from rbc_marl.economy.own_choices import Market, consumption_values
from rbc_marl.errors import ConfigError, nearest
from rbc_marl.policies import Policies
from rbc_marl.policies.deviating import Strategy
from rbc_marl.policies.imposed import ReplaceParts
from rbc_marl.policies.scripted import RULES, ScriptedPolicies

UNDERCUT = "undercut by one step"
PAY_NOTHING = "pay nothing from period {}"
# Rounds over all goods in which a consumer mends its basket, one good after another.
_ROUNDS = 2


def rule_names(config: EconomyConfig, agent_type: str) -> list[str]:
    """Names of the rules that agents of a type can follow; `rule_by_name` takes them.

    Consumers and firms follow every rule-based economy of `rbc_marl.policies.scripted.RULES`. Firms can also undercut,
    or pay no wage from some period on. The government has none, for its rules are constants; nor
    has anybody where markets clear.
    """
    if agent_type == "government" or config.market == "clearing":
        return []
    own = [UNDERCUT, *(PAY_NOTHING.format(k) for k in range(config.horizon))] if agent_type == "firm" else []
    return [*RULES, *own]


def rule_by_name(name: str, base: Policies, agent_type: str, agent: int | None) -> Strategy:
    """The strategy behind a name of `rule_names`.

    Args:
        name: Of the rule.
        base: The policies that are deviated from.
        agent_type: Of the deviator.
        agent: Number of the deviator; None: all agents of the type.

    Raises:
        ConfigError: There is no such rule.
    """
    names = rule_names(base.config, agent_type)
    if name not in names:
        raise ConfigError(f'"{name}" is not a rule of a {agent_type}{nearest(name, names)}')
    if name in RULES:
        scripted = ScriptedPolicies(base.config, name, base.encoding, base.device)
        return FollowPolicies(scripted, agent_type, agent)
    if name == UNDERCUT:
        return Undercut(base.config, agent)
    match = re.search(r"\d+", name)
    assert match is not None  # it is one of the names
    return ReplaceParts(base.config, "firm", {"wage": min(base.config.wage_choices)}, first_period=int(match[0]))


class FollowPolicies:
    """Do what other policies do in the deviators' place; see `rbc_marl.policies.deviating.Strategy`."""

    def __init__(self, policies: Policies, agent_type: str, agent: int | None) -> None:
        self.policies, self.agent_type, self.agent = policies, agent_type, agent

    def decide(
        self, own: Tensor, observation: Mapping[str, Tensor], generator: torch.Generator | None, state: EconomyState
    ) -> Tensor:
        """Decide for one period."""
        indices = self.policies.act(observation, generator, state=state)[self.agent_type]
        indices = indices.reshape(len(indices), -1, own.shape[-1])
        return indices if self.agent is None else indices[:, self.agent : self.agent + 1]


class Undercut:
    """Post the highest price below the lowest of the other firms; wages and investment stay as they would have been.

    Where no choice is lower than that but above 0, post the lowest one above 0.
    """

    def __init__(self, config: EconomyConfig, agent: int | None) -> None:
        self.config, self.agent = config, agent

    def decide(
        self, own: Tensor, observation: Mapping[str, Tensor], generator: torch.Generator | None, state: EconomyState
    ) -> Tensor:
        """Decide for one period."""
        firms = self.config.num_firms
        agents = range(firms) if self.agent is None else [self.agent]
        rivals = torch.stack([_without(state.price, i).amin(1) for i in agents], dim=1)  # [B, A]
        choices = torch.tensor(self.config.price_choices, dtype=rivals.dtype, device=rivals.device)
        is_lower = (choices < rivals.unsqueeze(-1)) & (choices > 0)
        highest = torch.where(is_lower, choices, -1.0).argmax(-1)
        lowest = torch.where(choices > 0, choices, torch.inf).argmin()
        price = torch.where(is_lower.any(-1), highest, lowest)
        rest = len(self.config.wage_choices) * len(self.config.investment_choices)
        return (price * rest + own[..., 0] % rest).unsqueeze(-1)


class BestAlternatives:
    """A consumer who makes the best of each of its own choices at every state it comes to, with money at given values.

    Starting from the basket it would have asked for, it takes for one good after another the number of units that is
    worth most, by the exact value of every alternative (`rbc_marl.economy.own_choices`). It joins whoever pays best,
    and works the hours whose pay is worth most beyond what they cost. What the others ask for it does not see:
    it draws it anew from their policies.

    Attributes:
        base: The policies deviated from.
        values: [T, 1 or C] value of money at the end of each period, in utility: of the deviator, or of all consumers.
        agent: Number of the deviator; None: all consumers.
    """

    def __init__(self, base: Policies, values: Tensor, agent: int | None) -> None:
        self.base, self.values, self.agent = base, values.to(base.device), agent

    def decide(
        self, own: Tensor, observation: Mapping[str, Tensor], generator: torch.Generator | None, state: EconomyState
    ) -> Tensor:
        """Decide for one period."""
        config, firms = self.base.config, self.base.config.num_firms
        rows = slice(None) if self.agent is None else slice(self.agent, self.agent + 1)
        later = self.values.to(state.price.dtype)[state.time.long()]  # [B, A]
        net_wage = state.wage * (1.0 - state.income_tax.unsqueeze(-1))
        best_pay, employer = net_wage.max(1, keepdim=True)
        table = state.price.new_tensor(sorted(config.hours_choices))
        theta = state.labour_disutility[:, rows].unsqueeze(-1)
        best = config.disutility.net((later * best_pay).unsqueeze(-1), table, theta).argmax(-1)
        hours = torch.tensor(config.hours_choices, device=best.device).argsort()[best]
        basket = self._basket(own[..., :firms], observation, generator, state, later, rows)
        return torch.cat([basket, hours.unsqueeze(-1), employer.expand_as(hours).unsqueeze(-1)], dim=-1)

    def _basket(
        self,
        basket: Tensor,
        observation: Mapping[str, Tensor],
        generator: torch.Generator | None,
        state: EconomyState,
        later: Tensor,
        rows: slice,
    ) -> Tensor:
        """Units [B, A, F], as indices."""
        config = self.base.config
        units = choice_tables(config, basket.device, state.price.dtype).consumption
        everybody = self.base.act(observation, generator, state=state)
        requested = decode(config, **everybody, dtype=state.price.dtype).demand.transpose(1, 2)  # [B, F, C]
        paid = with_consumption_tax(state.price, config.consumption_tax)
        demand = requested * afford(requested, paid, state.consumer_budget).unsqueeze(1)
        others = (demand.sum(2, keepdim=True) - demand[:, :, rows]).transpose(1, 2).clamp(min=0.0)  # [B, A, F]
        price, paid = (x.unsqueeze(1).expand_as(others) for x in (state.price, paid))
        budget = state.consumer_budget[:, rows]
        basket = basket.clone()
        for good in list(range(config.num_firms)) * _ROUNDS:
            asked = units[basket]
            scale = afford(asked.flatten(0, 1).unsqueeze(-1), paid.flatten(0, 1), budget.reshape(-1, 1))
            # One market a consumer: each knows its own part in what is asked for.
            market = Market(
                price=price,
                net_wage=price,  # no wage counts here
                inventory=state.inventory.unsqueeze(1).expand_as(others),
                total_demand=others + asked * scale.view_as(budget).unsqueeze(-1),
                budget=budget.unsqueeze(-1),
                labour_disutility=budget.unsqueeze(-1),
            )
            values = consumption_values(config, market, asked.unsqueeze(-2), later.unsqueeze(-1))
            basket[..., good] = values[..., 0, good, :].argmax(-1)
        return basket


def _without(price: Tensor, firm: int) -> Tensor:
    """Prices [B, F - 1] of all other firms; of the only firm its own."""
    return torch.cat([price[:, :firm], price[:, firm + 1 :]], dim=1) if price.shape[1] > 1 else price
