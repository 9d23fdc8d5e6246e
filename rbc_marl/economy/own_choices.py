"""What each alternative of a consumer's own choices would have brought, all else as it was played.

A consumer is one of many: its own basket hardly moves prices or stocks, and the period is a formula. So every
alternative of every choice can be valued exactly, where a sampled return shows one alternative with the noise of all
other choices. What a choice does to later periods goes through money alone, at its marginal value along the path.

Left out is what comes back to a consumer of its own spending and wages, through transfers and dividends: of each unit
of money at most one part in C, for all C consumers share what firms pay in tax and as dividends.

Utility must be a sum over goods, so that the value of a good's units depends on the others through money alone
(`lacks_own_values`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from rbc_marl.config import EconomyConfig
from rbc_marl.economy.markets import ration, with_consumption_tax
from rbc_marl.economy.parameters import Number, Numbers, numbers_of
from rbc_marl.economy.state import EconomyState, Flows
from rbc_marl.errors import ConfigError
from rbc_marl.mechanics.taxes import Flat
from rbc_marl.mechanics.utility import AdditiveUtility

# Scales at which the utility of all other goods is computed; between them it is a parabola.
_NODES = (0.0, 0.5, 1.0)


class Market(NamedTuple):
    """What consumers met in the periods of some episodes; leading axes [...] are periods and economies."""

    price: Tensor
    """[..., F] in force, before the tax on consumption."""
    net_wage: Tensor
    """[..., F] wage in force after income tax; where the tax on wages is not flat, [..., F, H] what each of the hours
    that can be chosen pays after tax."""
    inventory: Tensor
    """[..., F] units for sale."""
    total_demand: Tensor
    """[..., F] units that all consumers asked for and could pay."""
    budget: Tensor
    """[..., C] money of each consumer at the start of the period."""
    labour_disutility: Tensor
    """[..., C] utility lost per two hours of work."""


def lacks_own_values(config: EconomyConfig) -> str:
    """What makes that choices have no values of their own: "utility ghh" or "shocks.workers"; empty where they have."""
    if config.market == "clearing":
        return "market clearing"
    if not isinstance(config.utility, AdditiveUtility):
        return config.utility.title
    return "shocks.workers" if config.shocks is not None and config.shocks.workers is not None else ""


def require_own_values(config: EconomyConfig, what: str) -> None:
    """Refuse an economy in which a consumer's single choices have no values of their own.

    Args:
        config: The economy.
        what: Needs them, for the message.

    Raises:
        ConfigError: The message names what is the matter.
    """
    if part := lacks_own_values(config):
        needs = {"shocks.workers": "workers who are alike", "market clearing": "a market of posted prices"}
        alike = needs.get(part, "a utility that is a sum over goods")
        raise ConfigError(f"{what} needs {alike}, and has {part}; leave it unset")


def market_of(config: EconomyConfig, state: EconomyState, flows: Flows) -> Market:
    """What consumers met in one period, from the state at its start and what happened in it."""
    net_wage = state.wage * (1.0 - state.income_tax.unsqueeze(-1))
    if not isinstance(config.wage_tax, Flat):
        pay = state.wage.unsqueeze(-1) * _table(config.hours_choices, state.wage.dtype, state.wage.device)
        net_wage = pay - config.wage_tax.paid(pay, state.income_tax.view(-1, 1, 1))
    return Market(
        price=state.price,
        net_wage=net_wage,
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
    numbers = numbers_of(config, parameters)
    price = with_consumption_tax(market.price, numbers.consumption_tax)
    cost = _cost(requested, price)
    binds = cost > market.budget
    scale = torch.where(binds, market.budget / cost, 1.0)
    share_met = ration(market.total_demand, market.inventory)[0].unsqueeze(-2)
    got_per_money = share_met * requested / cost.clamp(min=1e-9).unsqueeze(-1)
    marginal = got_per_money * _additive(config).marginal(scale.unsqueeze(-1) * requested * share_met, numbers)
    marginal = marginal.sum(-1)
    spent_per_money = _cost(got_per_money, price)
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
    numbers, utility = numbers_of(config, parameters), _additive(config)
    paid = with_consumption_tax(market.price, numbers.consumption_tax)
    price, inventory = paid.unsqueeze(-2), market.inventory.unsqueeze(-2)  # [..., 1, F]
    budget = market.budget.unsqueeze(-1)  # [..., C, 1]
    share_met = ration(market.total_demand, market.inventory)[0].unsqueeze(-2)
    cost = _cost(requested, paid).unsqueeze(-1)
    others = (market.total_demand.unsqueeze(-2) - _scale(budget, cost) * requested).clamp(min=0.0)  # their demand
    other_cost = (cost - price * requested).clamp(min=0.0)
    scales = _scale(budget.unsqueeze(-1), other_cost.unsqueeze(-1) + price.unsqueeze(-1) * units)
    demand = scales * units
    own = demand * (inventory.unsqueeze(-1) / (others.unsqueeze(-1) + demand)).clamp(max=1.0).nan_to_num(nan=1.0)
    reach = requested * share_met
    spent_on_others = _cost(reach, paid).unsqueeze(-1) - price * reach  # at scale 1
    spending = scales * spent_on_others.unsqueeze(-1) + price.unsqueeze(-1) * own
    value = _utility_of_others(utility, numbers, reach, scales) + utility.of_good(own, numbers)
    return value - later.unsqueeze(-1).unsqueeze(-1) * spending


@lru_cache(maxsize=16)
def _table(choices: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # whoever asks first, others may need gradients
        return torch.tensor(choices, dtype=dtype).to(device)


def _additive(config: EconomyConfig) -> AdditiveUtility:
    """The utility, which is a sum over goods.

    Raises:
        ConfigError: It is none.
    """
    if not isinstance(config.utility, AdditiveUtility):
        require_own_values(config, "the value of single choices")
    assert isinstance(config.utility, AdditiveUtility)
    return config.utility


def _cost(units: Tensor, price: Tensor) -> Tensor:
    """Money [..., C] that units [..., C, F] cost at price [..., F]."""
    return torch.matmul(units, price.unsqueeze(-1)).squeeze(-1)


def _scale(budget: Tensor, cost: Tensor) -> Tensor:
    """Share of requests that a budget pays for; all of what costs nothing."""
    return torch.where(cost > budget, budget.clamp(min=0.0) / cost.clamp(min=1e-9), 1.0)


def _utility_of_others(utility: AdditiveUtility, numbers: Numbers, reach: Tensor, scales: Tensor) -> Tensor:
    """Utility [..., C, F, K] of all goods but one, at several scales of the whole basket.

    Args:
        utility: Of each good.
        numbers: That it reads.
        reach: [..., C, F] units obtained at scale 1.
        scales: [..., C, F, K] of the basket.
    """
    low = scales.amin((-1, -2), keepdim=True)  # [..., C, 1, 1]
    high = scales.amax((-1, -2), keepdim=True)
    width = (high - low).clamp(min=1e-6)
    baskets = (reach * (low + width * node).squeeze(-1) for node in _NODES)
    at = [utility.of_good(basket, numbers).sum(-1)[..., None, None] for basket in baskets]
    x = (scales - low) / width
    # The parabola through the three nodes 0, 1/2, 1.
    a, b = 2.0 * (at[0] - 2.0 * at[1] + at[2]), -3.0 * at[0] + 4.0 * at[1] - at[2]
    return at[0] + x * (b + x * a) - utility.of_good(reach.unsqueeze(-1) * scales, numbers)
