"""One period of the economy: the order of events, and nothing else (section 3 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rbc_marl.config import EconomyConfig
from rbc_marl.economy import clearing, firms, government, markets, shocks
from rbc_marl.economy.parameters import Number, Numbers, is_off, numbers_of
from rbc_marl.economy.state import Actions, EconomyState, Flows
from rbc_marl.economy.trade import Trade


def period(
    config: EconomyConfig, state: EconomyState, actions: Actions, parameters: Mapping[str, Number] | None = None
) -> tuple[EconomyState, Flows]:
    """Play one period of a batch of economies.

    Consumers shop, are rationed and work; firms export, pay wages, invest, pay tax and produce; taxes and dividends are
    shared out; budgets change and earn interest. Prices, wages and tax rates chosen now, and goods made now, count from
    the next period on. Where markets clear, people work first and consume last (`rbc_marl.economy.clearing`). The
    function is pure, and neither reads a tensor on the host nor branches on one.

    Args:
        config: The economy.
        state: At the start of the period.
        actions: Decisions of all agents.
        parameters: Some of `PARAMETERS` in place of the configuration's own numbers: each a number, or a tensor [B] in
            the state's floating-point type. They are not checked. A shock to the same number holds in their place.

    Returns:
        The state at the start of the next period, and what happened in this one.
    """
    numbers = numbers_of(config, shocks.in_force(state, parameters))
    trade = clearing.trade if config.market == "clearing" else _trade_at_posted_prices
    traded = trade(config, state, actions, numbers)
    accounts = traded.accounts

    goods = config.utility.of_goods(traded.consumption, numbers)
    effort = config.disutility.effort(actions.hours, state.labour_disutility)
    utility = config.utility.with_effort(goods, effort, numbers)
    del goods, effort  # their memory is used again

    tax_on_goods = traded.consumption_tax_paid
    paid = traded.spending if tax_on_goods is None else traded.spending + tax_on_goods
    net_wage_income = traded.wage_income - traded.income_tax_paid
    consumer_income = numbers.consumer_grant - paid + net_wage_income + traded.received
    consumer_budget, consumer_interest = _close(state.consumer_budget + consumer_income, numbers.interest_rate)
    left = state.firm_budget + traded.retained
    firm_budget, firm_interest = _close(left, numbers.interest_rate)

    next_time = state.time + 1.0
    is_last = next_time >= config.horizon
    consumer_reward = _consumer_reward(numbers, utility, consumer_budget, is_last)
    aim = _aim_of_firms(config, traded.earned, consumer_reward)
    firm_reward = _firm_reward(numbers, aim, accounts.revenue, left, firm_budget, is_last)
    welfare = government.welfare(config.welfare, numbers.firm_welfare_weight, consumer_reward, firm_reward)
    if config.discount != 1.0:
        weight = config.discount**state.time
        consumer_reward, firm_reward = consumer_reward * weight.unsqueeze(-1), firm_reward * weight.unsqueeze(-1)
        welfare = welfare * weight

    next_state = EconomyState(
        price=traded.price,
        wage=traded.wage,
        inventory=traded.inventory,
        overdemanded=traded.is_rationed.to(state.price.dtype),
        income_tax=actions.income_tax,
        corporate_tax=actions.corporate_tax,
        time=next_time,
        consumer_budget=consumer_budget,
        labour_disutility=state.labour_disutility,
        firm_budget=firm_budget,
        capital=firms.wear_out(state.capital, numbers.depreciation) + accounts.investment,
        labour_exponent=state.labour_exponent,
    )
    flows = Flows(
        demand=traded.demand.transpose(1, 2),
        consumption=traded.consumption.transpose(1, 2),
        hours=actions.hours,
        spending=traded.spending,
        wage_income=traded.wage_income,
        income_tax_paid=traded.income_tax_paid,
        transfer=traded.transfer,
        transfers=traded.transfers.expand_as(traded.spending),
        tax_pool=traded.tax_pool,
        total_demand=traded.total_demand,
        sales=traded.sales,
        exports=traded.exports,
        labour=traded.labour,
        output=traded.output,
        dividends=traded.dividends,
        consumer_interest=consumer_interest,
        firm_interest=firm_interest,
        utility=utility,
        consumer_reward=consumer_reward,
        firm_reward=firm_reward,
        government_reward=welfare,
        **accounts._asdict(),
    )
    return next_state.with_shocks(state.shocks) if state.shocks else next_state, flows


def _trade_at_posted_prices(
    config: EconomyConfig, state: EconomyState, actions: Actions, numbers: Numbers
) -> Trade:
    """Shopping, work, exports, production and payments of a period, in this order."""
    effective_hours = shocks.times(actions.hours, state, "workers")
    requested = actions.demand.transpose(1, 2)  # [B, F, C], see `markets`
    consumer_price = markets.with_consumption_tax(state.price, numbers.consumption_tax)
    share_paid = markets.afford(requested, consumer_price, state.consumer_budget)
    demand = requested * share_paid.unsqueeze(1)
    total_demand = demand.sum(2)
    labour = markets.hours_by_employer(effective_hours, actions.employer, config.num_firms)
    share_met, is_rationed = markets.ration(total_demand, state.inventory)
    consumption = demand * share_met.unsqueeze(2)
    sales = torch.where(is_rationed, state.inventory, total_demand)  # rounding must not sell more than there is
    spending = markets.sum_over_goods(consumption, state.price)
    wage_income = state.wage.gather(1, actions.employer) * effective_hours
    income_tax_paid = config.wage_tax.paid(wage_income, state.income_tax.unsqueeze(-1))

    exports = (
        markets.export(state.inventory, sales, state.price, numbers.export_price, numbers.export_quota)
        if config.open_economy
        else torch.zeros_like(sales)
    )
    accounts = firms.settle_accounts(
        sales + exports, state.price, labour, state.wage, actions.investment_fraction, state.corporate_tax
    )
    technology = shocks.times(numbers.technology, state, "firms")
    output = firms.produce(
        config.production, state.capital, labour, state.labour_exponent, technology, numbers.labour_floor
    )
    consumption_tax_paid = government.consumption_tax(spending, numbers.consumption_tax)
    tax_pool, transfer = government.collect(income_tax_paid, accounts.corporate_tax_paid, consumption_tax_paid)
    transfers = config.transfers.each(tax_pool, transfer, state.consumer_budget, wage_income)

    earned = accounts.profit - accounts.corporate_tax_paid
    dividends, received, retained = _share_out(numbers.dividend_share, config.num_consumers, earned, transfers)
    return Trade(
        demand=demand,
        consumption=consumption,
        total_demand=total_demand,
        sales=sales,
        is_rationed=is_rationed,
        exports=exports,
        labour=labour,
        output=output,
        accounts=accounts,
        earned=earned,
        spending=spending,
        wage_income=wage_income,
        income_tax_paid=income_tax_paid,
        consumption_tax_paid=consumption_tax_paid,
        tax_pool=tax_pool,
        transfer=transfer,
        transfers=transfers,
        dividends=dividends,
        received=received,
        retained=retained,
        inventory=state.inventory - sales - exports + output,
        price=actions.price,
        wage=actions.wage,
    )


def _share_out(share: Number, num_consumers: int, earned: Tensor, transfers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Dividends [B, F], what consumers receive without working, and what firms keep of their earnings [B, F].

    Args:
        share: Of positive earnings, paid out.
        num_consumers: Who share it.
        earned: [B, F] profit after tax.
        transfers: [B, C] from the tax pool; or [B, 1], the same to each, as then is what they receive.
    """
    if is_off(share):
        return torch.zeros_like(earned), transfers, earned
    dividends = firms.pay_dividends(earned, share)
    return dividends, transfers + dividends.sum(dim=1, keepdim=True) / num_consumers, earned - dividends


def _close(budget: Tensor, interest_rate: Number) -> tuple[Tensor, Tensor]:
    """Pay interest on positive budgets: the closing budgets, and the interest."""
    if is_off(interest_rate):
        return budget, torch.zeros_like(budget)
    interest = interest_rate * budget.clamp(min=0.0)
    return budget + interest, interest


def _consumer_reward(numbers: Numbers, utility: Tensor, budget: Tensor, is_last: Tensor) -> Tensor:
    if is_off(numbers.consumer_debt_penalty):
        return utility
    weight, scale = numbers.consumer_debt_penalty, numbers.consumer_debt_scale
    return utility - government.debt_penalty(budget, is_last, weight, scale)


def _aim_of_firms(config: EconomyConfig, earned: Tensor, consumer_reward: Tensor) -> Tensor:
    """What firms [B, F] are there for: their owners' mean reward, or profit after tax.

    Of profit dividends take nothing, for they are the owners' gain too.
    """
    if config.firm_objective == "owners":
        return consumer_reward.mean(dim=1, keepdim=True).expand_as(earned)
    return earned


def _firm_reward(
    numbers: Numbers, aim: Tensor, revenue: Tensor, left: Tensor, closing: Tensor, is_last: Tensor
) -> Tensor:
    """Reward of firms [B, F]: what they are there for, bonus and penalty."""
    reward = aim
    if not is_off(numbers.revenue_bonus):
        reward = reward + firms.revenue_bonus(revenue, left, numbers.revenue_bonus)
    if not is_off(numbers.firm_debt_penalty):
        reward = reward - government.debt_penalty(closing, is_last, numbers.firm_debt_penalty, numbers.firm_debt_scale)
    return reward
