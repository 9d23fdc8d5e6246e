"""Accounting identities: what a correct period balances, as ordinary outputs."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from rbc_marl.config import EconomyConfig
from rbc_marl.economy.government import consumption_tax
from rbc_marl.economy.parameters import Number, numbers_of
from rbc_marl.economy.shocks import in_force, times
from rbc_marl.economy.state import Actions, EconomyState, Flows


def residuals(
    config: EconomyConfig,
    state: EconomyState,
    actions: Actions,
    next_state: EconomyState,
    flows: Flows,
    parameters: Mapping[str, Number] | None = None,
) -> dict[str, Tensor]:
    """How far each identity is from holding in one period; zero up to rounding in a correct economy.

    Args:
        config: The economy.
        state: At the start of the period.
        actions: Decisions of the period.
        next_state: At its end.
        flows: What happened.
        parameters: As the period was given them.

    Returns:
        - ``goods`` [B, F], units: opening inventory + output - sales - exports - closing inventory; where markets
            clear, investment is of goods: less investment, here in place of in the sums of money below.
        - ``consumption`` [B, F], units: what consumers obtained - what the firm sold them.
        - ``labour`` [B], hours: worked by consumers, times their productivity - worked for firms.
        - ``wages`` [B], money: received by consumers - paid by firms.
        - ``consumer_money`` [B, C]: opening budget + grant + net wage + transfer + dividends - spending - tax on
            consumption + interest - closing budget.
        - ``firm_money`` [B, F]: opening budget + revenue - wages - investment - tax - dividends + interest - closing
            budget.
        - ``capital`` [B, F]: opening capital - depreciation + investment - closing capital.
        - ``taxes`` [B], money: paid by consumers and firms - paid out to consumers.
        - ``tax_pool`` [B], money: paid by consumers and firms - what the pool is said to hold.
        - ``money`` [B]: all budgets at the start + what enters from outside (grants, interest, exports) - what leaves
            into capital - all budgets at the end.
    """
    numbers = numbers_of(config, in_force(state, parameters))
    grant = numbers.consumer_grant
    grants = (grant.squeeze(-1) if isinstance(grant, Tensor) else grant) * config.num_consumers
    on_goods = consumption_tax(flows.spending, numbers.consumption_tax)
    on_goods = 0.0 * flows.spending if on_goods is None else on_goods
    taxes_paid = flows.income_tax_paid.sum(1) + flows.corporate_tax_paid.sum(1) + on_goods.sum(1)
    worn_out = state.capital * numbers.depreciation
    interest = flows.consumer_interest.sum(1) + flows.firm_interest.sum(1)
    opening = state.consumer_budget.sum(1) + state.firm_budget.sum(1)
    closing = next_state.consumer_budget.sum(1) + next_state.firm_budget.sum(1)
    export_income = (flows.exports * state.price).sum(1)
    money_invested, goods_invested = flows.investment, 0.0 * flows.investment
    if config.market == "clearing":
        money_invested, goods_invested = goods_invested, money_invested
    return {
        "goods": state.inventory + flows.output - flows.sales - flows.exports - goods_invested - next_state.inventory,
        "consumption": flows.consumption.sum(1) - flows.sales,
        "labour": times(actions.hours, state, "workers").sum(1) - flows.labour.sum(1),
        "wages": flows.wage_income.sum(1) - flows.wage_bill.sum(1),
        "consumer_money": state.consumer_budget
        + grant
        + flows.wage_income
        - flows.income_tax_paid
        + flows.transfers
        + flows.dividends.sum(1, keepdim=True) / config.num_consumers
        - flows.spending
        - on_goods
        + flows.consumer_interest
        - next_state.consumer_budget,
        "firm_money": state.firm_budget
        + flows.revenue
        - flows.wage_bill
        - money_invested
        - flows.corporate_tax_paid
        - flows.dividends
        + flows.firm_interest
        - next_state.firm_budget,
        "capital": state.capital - worn_out + flows.investment - next_state.capital,
        "taxes": taxes_paid - flows.transfers.sum(1),
        "tax_pool": taxes_paid - flows.tax_pool,
        "money": opening + grants + interest + export_income - money_invested.sum(1) - closing,
    }
