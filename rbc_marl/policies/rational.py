"""Rational consumers: the best basket, saving and hours, if prices, wages and taxes stayed as they are.

A consumer plans the same spending and the same hours for all periods that are left. It may spend this period what it
has, wages pay for the next one, and nobody works in the last. Money is worth what the next unit of the plan's basket
would bring for it. So a consumer buys what is worth more than the money, works while the wage's money is worth more
than the disutility, and saves what is worth more later. It plans anew in every period.

Of a good that ran out a consumer counts on an equal share of the stock, and asks for no more. Taxes shared out,
dividends and interest are not foreseen.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rbc_marl.config import EconomyConfig
from rbc_marl.economy import EconomyState
from rbc_marl.economy.baskets import UnitSteps, unit_steps
from rbc_marl.economy.markets import with_consumption_tax
from rbc_marl.mechanics.taxes import Flat


class Plan(NamedTuple):
    """What consumers would do from now on."""

    hours: Tensor
    """[B, C] worked in every period but the last."""
    later: Tensor
    """[B, C] money spent in every period after this one; infinite in the last period, where saving is worth nothing."""


def plan(config: EconomyConfig, state: EconomyState, steps: UnitSteps, hours: Tensor) -> Plan:
    """The best constant hours and spending.

    Who earns more in a period than there is now spends all now, and each period's wages in the next. Everybody else
    spends an equal part of all that there is and will be in every period.

    Args:
        config: The economy.
        state: Whose prices, wages and taxes last.
        steps: `unit_steps` at its prices.
        hours: [H] that can be worked, rising; of equally good ones the first is taken.
    """
    left = (config.horizon - state.time).clamp(min=1.0).double().view(-1, 1, 1)  # periods, this one included
    money = state.consumer_budget.double().clamp(min=0.0).unsqueeze(-1)  # [B, C, 1]
    income = _net_income(config, state, hours).expand(*money.shape[:2], -1)  # [B, C, H] of a period
    even = (money + (left - 1.0) * income) / left
    is_short = income > money
    later = torch.where(is_short, income, even)
    now = torch.where(is_short, money, even)
    effort = config.disutility.effort(hours.double(), state.labour_disutility.double().unsqueeze(-1))
    goods_now, goods_later = steps.utility_of(now), steps.utility_of(later)
    if config.utility.is_separable:
        utility = goods_now + (left - 1.0) * goods_later - (left - 1.0) * effort
    else:  # work now and in all periods but the last
        value, worked = config.utility.with_effort, left > 1.0
        utility = value(goods_now, torch.where(worked, effort, 0.0), config) + value(goods_later, 0.0 * effort, config)
        utility = utility + (left - 2.0).clamp(min=0.0) * value(goods_later, effort, config)
    best = utility.argmax(dim=-1, keepdim=True)
    later = torch.where(left > 1.0, later, torch.inf)
    return Plan(hours.expand_as(income).gather(-1, best).squeeze(-1), later.gather(-1, best).squeeze(-1))


def _net_income(config: EconomyConfig, state: EconomyState, hours: Tensor) -> Tensor:
    """Pay [B, 1, H] of hours [H] at the firm that pays best, after tax."""
    best, rate = state.wage.amax(dim=1).double().view(-1, 1, 1), state.income_tax.double().view(-1, 1, 1)
    if isinstance(config.wage_tax, Flat):
        return (1.0 - rate) * best * hours.double()
    pay = best * hours.double()
    return pay - config.wage_tax.paid(pay, rate)


def consumer_choices(
    config: EconomyConfig, state: EconomyState, order: Tensor, hours: Tensor
) -> tuple[Tensor, Tensor]:
    """What rational consumers ask for, and how long they work.

    Who spends all asks for one step too many: the budget scales the basket down to what it pays for.

    Args:
        config: The economy.
        state: At the start of the period.
        order: [B, C, F] goods from the cheapest to the dearest. Of those that cost alike the ones that ran out come
            last, in one order, while each consumer has its own order of the others.
        hours: [H] that can be worked, rising.

    Returns:
        Place [B, C, F] of every good's units in the sorted `consumption_choices`, and the hours [B, C].
    """
    supply, first = expected_supply(config, state), order[:, 0]
    on_shelf = torch.where(state.inventory > 0.0, supply, 0.0)
    paid = with_consumption_tax(state.price, config.consumption_tax)
    price, supply, on_shelf = (x.gather(1, first) for x in (paid, supply, on_shelf))
    steps, on_offer = unit_steps(config, price, supply), unit_steps(config, price, on_shelf)
    planned = plan(config, state, steps, hours)
    worthwhile, paid = steps.affordable(planned.later), on_offer.affordable(state.consumer_budget.double())
    units = on_offer.units(torch.where(worthwhile <= paid, worthwhile, paid + 1))
    units = torch.minimum(units, _enough(config, on_shelf).unsqueeze(1))
    return torch.zeros_like(units).scatter(-1, order, units), planned.hours


def _enough(config: EconomyConfig, supply: Tensor) -> Tensor:
    """Place [B, F] of the fewest units that are no less than the supply [B, F]; of the most where it has no end."""
    units = supply.new_tensor(sorted(config.consumption_choices))
    return torch.searchsorted(units, supply.contiguous()).clamp(max=len(units) - 1)


def expected_supply(config: EconomyConfig, state: EconomyState) -> Tensor:
    """Units [B, F] of a good that a consumer can count on in a period.

    An equal share of the stock where a good ran out or there is none, and no end elsewhere. Before anything is made
    all stocks are empty, which says nothing of later ones: then there is no end of any good.
    """
    is_scarce = (state.overdemanded > 0.0) | (state.inventory <= 0.0)
    is_begun = (state.inventory > 0.0).any(dim=1, keepdim=True)
    return torch.where(is_scarce & is_begun, state.inventory / config.num_consumers, torch.inf)
