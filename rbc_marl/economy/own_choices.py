"""What each alternative of a consumer's own choices would have brought, all else as it was played.

A consumer is one of many: its own basket hardly moves prices or stocks, and the period is a formula. So every
alternative of every choice can be valued exactly, where a sampled return shows one alternative with the noise of all
other choices. What a choice does to later periods goes through money alone, at its marginal value along the path.

Left out is what comes back to a consumer of its own spending and wages, through transfers and dividends: of each unit
of money at most one part in C, for all C consumers share what firms pay in tax and as dividends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from rbc_marl.config import EconomyConfig
from rbc_marl.economy.markets import ration, utility_of
from rbc_marl.economy.parameters import Number, beside, numbers_of
from rbc_marl.economy.state import EconomyState, Flows
from rbc_marl.errors import ConfigError

# Scales at which the utility of all other goods is computed; between them it is a parabola.
_NODES = (0.0, 0.5, 1.0)


class Market(NamedTuple):
    """What consumers met in the periods of some episodes; leading axes [...] are periods and economies."""

    price: Tensor
    """[..., F] in force."""
    net_wage: Tensor
    """[..., F] wage in force after income tax."""
    inventory: Tensor
    """[..., F] units for sale."""
    total_demand: Tensor
    """[..., F] units that all consumers asked for and could pay."""
    budget: Tensor
    """[..., C] money of each consumer at the start of the period."""
    labour_disutility: Tensor
    """[..., C] utility lost per two hours of work."""


def lacks_own_values(config: EconomyConfig) -> str:
    """What of an economy makes that choices have no values of their own: "shocks.workers"; empty where they have."""
    return "shocks.workers" if config.shocks is not None and config.shocks.workers is not None else ""


def require_own_values(config: EconomyConfig, what: str) -> None:
    """Refuse an economy in which the formulas here do not know what an hour of work is paid.

    Args:
        config: The economy.
        what: Needs the values, for the message.

    Raises:
        ConfigError: The productivity of workers moves.
    """
    if part := lacks_own_values(config):
        raise ConfigError(f"{what} needs workers who are alike, and {part} moves their productivity; unset one")


def market_of(state: EconomyState, flows: Flows) -> Market:
    """What consumers met in one period, from the state at its start and what happened in it."""
    return Market(
        price=state.price,
        net_wage=state.wage * (1.0 - state.income_tax.unsqueeze(-1)),
        inventory=state.inventory,
        total_demand=flows.total_demand,
        budget=state.consumer_budget,
        labour_disutility=state.labour_disutility,
    )


def value_of_money(
    config: EconomyConfig,
    market: Market,
    requested: Tensor,
    discount: float,
    parameters: Mapping[str, Number] | None = None,
) -> Tensor:
    """Marginal value of money after each period, along the path played: what one more unit would have added.

    Requests are held as they were played. A consumer whose budget binds spends more money on the same basket, in which
    every unit gives its marginal utility; one whose budget does not bind carries it over. Money left at the horizon is
    worth nothing.

    Args:
        config: The economy.
        market: Of whole episodes, [T, ...].
        requested: [T, ..., C, F] units asked for.
        discount: Of utility, per period.
        parameters: As the periods were given them, tensors [T, ...].

    Returns:
        [T, ..., C] utility per unit of money held at the end of each period.
    """
    cost = _cost(requested, market.price)
    binds = cost > market.budget
    scale = torch.where(binds, market.budget / cost, 1.0)
    share_met = ration(market.total_demand, market.inventory)[0].unsqueeze(-2)
    got_per_money = share_met * requested / cost.clamp(min=1e-9).unsqueeze(-1)
    numbers = numbers_of(config, parameters)
    marginal = got_per_money * (scale.unsqueeze(-1) * requested * share_met + 1.0) ** -beside(numbers.crra, requested)
    marginal = marginal.sum(-1)
    spent_per_money = _cost(got_per_money, market.price)
    later = torch.zeros_like(cost)
    growth = discount * (1.0 + numbers.interest_rate)
    for t in range(len(cost) - 2, -1, -1):
        kept = later[t + 1]
        now = torch.where(binds[t + 1], marginal[t + 1] + kept * (1.0 - spent_per_money[t + 1]), kept)
        later[t] = (growth[t] if isinstance(growth, Tensor) else growth) * now
    return later


def consumption_values(
    config: EconomyConfig,
    market: Market,
    requested: Tensor,
    later: Tensor,
    parameters: Mapping[str, Number] | None = None,
) -> Tensor:
    """Value of each number of units of each good, a consumer's other requests and everybody else's as played.

    The budget's scaling of the whole basket and the consumer's own part in rationing are exact.

    Args:
        config: The economy.
        market: What consumers met.
        requested: [..., C, F] units asked for.
        later: [..., C] marginal value of money after the period, from `value_of_money`.
        parameters: As the periods were given them, tensors [...].

    Returns:
        [..., C, F, K] utility now less the value of the money spent; only differences within a good mean something.
    """
    units = requested.new_tensor(config.consumption_choices)
    price, inventory = market.price.unsqueeze(-2), market.inventory.unsqueeze(-2)  # [..., 1, F]
    budget = market.budget.unsqueeze(-1)  # [..., C, 1]
    share_met = ration(market.total_demand, market.inventory)[0].unsqueeze(-2)
    cost = _cost(requested, market.price).unsqueeze(-1)
    others = (market.total_demand.unsqueeze(-2) - _scale(budget, cost) * requested).clamp(min=0.0)  # their demand
    other_cost = (cost - price * requested).clamp(min=0.0)
    scales = _scale(budget.unsqueeze(-1), other_cost.unsqueeze(-1) + price.unsqueeze(-1) * units)
    demand = scales * units
    own = demand * (inventory.unsqueeze(-1) / (others.unsqueeze(-1) + demand)).clamp(max=1.0).nan_to_num(nan=1.0)
    reach = requested * share_met
    spent_on_others = _cost(reach, market.price).unsqueeze(-1) - price * reach  # at scale 1
    spending = scales * spent_on_others.unsqueeze(-1) + price.unsqueeze(-1) * own
    crra = numbers_of(config, parameters).crra
    utility = _utility_of_others(crra, reach, scales) + utility_of(own, crra)
    return utility - later.unsqueeze(-1).unsqueeze(-1) * spending


def _cost(units: Tensor, price: Tensor) -> Tensor:
    """Money [..., C] that units [..., C, F] cost at price [..., F]."""
    return torch.matmul(units, price.unsqueeze(-1)).squeeze(-1)


def _scale(budget: Tensor, cost: Tensor) -> Tensor:
    """Share of requests that a budget pays for; all of what costs nothing."""
    return torch.where(cost > budget, budget.clamp(min=0.0) / cost.clamp(min=1e-9), 1.0)


def _utility_of_others(crra: Number, reach: Tensor, scales: Tensor) -> Tensor:
    """Utility [..., C, F, K] of all goods but one, at several scales of the whole basket.

    Args:
        crra: Relative risk aversion.
        reach: [..., C, F] units obtained at scale 1.
        scales: [..., C, F, K] of the basket.
    """
    low = scales.amin((-1, -2), keepdim=True)  # [..., C, 1, 1]
    high = scales.amax((-1, -2), keepdim=True)
    width = (high - low).clamp(min=1e-6)
    at = [utility_of(reach * (low + width * node).squeeze(-1), crra).sum(-1)[..., None, None] for node in _NODES]
    x = (scales - low) / width
    # The parabola through the three nodes 0, 1/2, 1.
    a, b = 2.0 * (at[0] - 2.0 * at[1] + at[2]), -3.0 * at[0] + 4.0 * at[1] - at[2]
    return at[0] + x * (b + x * a) - utility_of(reach.unsqueeze(-1) * scales, crra)
