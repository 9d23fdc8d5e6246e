"""Markets that clear: nobody posts prices or wages, and what is made is used in the same period.

The good is the numéraire: its price is 1. Firms hire everybody who comes, at the marginal product of labour. They put
their ``investment_fraction`` of output into capital, in goods; consumers buy the rest. All profit goes to consumers,
alike, who own the firms; a loss they make good. Each consumer gets goods for what it earns and receives in the period,
so that nobody saves but firms, and all markets clear. Goods of several firms are one good (`lacks_clearing`).

Prices and wages among the choices play no part, nor does demand. The wage in the state is the last one paid.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rbc_marl.config import EconomyConfig
from rbc_marl.economy import firms, government, markets, shocks
from rbc_marl.economy.parameters import Numbers
from rbc_marl.economy.state import Actions, EconomyState, Flows
from rbc_marl.economy.trade import Trade


def trade(config: EconomyConfig, state: EconomyState, actions: Actions, numbers: Numbers) -> Trade:
    """Work, production, investment, pay and consumption of a period, in this order.

    Args:
        config: The economy.
        state: At the start of the period; its prices and wages are not read.
        actions: Decisions of all agents.
        numbers: As the period reads them; ``dividend_share`` is not read.
    """
    effective_hours = shocks.times(actions.hours, state, "workers")
    labour = markets.hours_by_employer(effective_hours, actions.employer, config.num_firms)
    technology = shocks.times(numbers.technology, state, "firms")
    output = firms.produce(
        config.production, state.capital, labour, state.labour_exponent, technology, numbers.labour_floor
    )
    labour_share = config.production.labour_share(state.capital, labour, state.labour_exponent)
    assert labour_share is not None  # the configuration has seen to it
    accounts = firms.settle_in_goods(
        state.inventory, output, labour_share, actions.investment_fraction, state.corporate_tax
    )
    sales, dividends = accounts.revenue, accounts.profit - accounts.corporate_tax_paid
    wage = accounts.wage_bill / torch.where(labour > 0.0, labour, 1.0)  # nothing is made without labour
    wage_income = wage.gather(1, actions.employer) * effective_hours
    income_tax_paid = config.wage_tax.paid(wage_income, state.income_tax.unsqueeze(-1))
    tax_on_sales = government.consumption_tax(sales, numbers.consumption_tax)
    tax_pool, transfer = government.collect(income_tax_paid, accounts.corporate_tax_paid, tax_on_sales)
    transfers = config.transfers.each(tax_pool, transfer, state.consumer_budget, wage_income)
    received = transfers + dividends.sum(dim=1, keepdim=True) / config.num_consumers

    share = _shares(wage_income - income_tax_paid + received)
    consumption = sales.unsqueeze(2) * share.unsqueeze(1)
    spending = consumption.sum(1)
    nothing = torch.zeros_like(sales)
    return Trade(
        demand=consumption,
        consumption=consumption,
        total_demand=sales,
        sales=sales,
        is_rationed=nothing.bool(),
        exports=nothing,
        labour=labour,
        output=output,
        accounts=accounts,
        earned=dividends,
        spending=spending,
        wage_income=wage_income,
        income_tax_paid=income_tax_paid,
        consumption_tax_paid=government.consumption_tax(spending, numbers.consumption_tax),
        tax_pool=tax_pool,
        transfer=transfer,
        transfers=transfers,
        dividends=dividends,
        received=received,
        retained=nothing,
        inventory=nothing,
        price=torch.ones_like(state.price),
        wage=wage,
    )


def wage_paid(config: EconomyConfig, state: EconomyState, flows: Flows) -> Tensor:
    """Wages [B, F] that firms paid in a period: those in force, or where markets clear what came of it.

    Args:
        config: The economy.
        state: At the start of the period.
        flows: What happened in it.
    """
    if config.market != "clearing":
        return state.wage
    return flows.wage_bill / torch.where(flows.labour > 0.0, flows.labour, 1.0)


def _shares(income: Tensor) -> Tensor:
    """Each consumer's share [B, C] of all goods: that of its income [B, C], or nothing where that is a loss."""
    income = income.clamp(min=0.0)
    total = income.sum(1, keepdim=True)
    return income / torch.where(total > 0.0, total, 1.0)
