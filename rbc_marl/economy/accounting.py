"""Accounting identities: what a correct period balances, as ordinary outputs."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from rbc_marl.config import EconomyConfig
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
        - ``goods`` [B, F], units: opening inventory + output - sales - exports - closing inventory.
        - ``consumption`` [B, F], units: what consumers obtained - what the firm sold them.
        - ``labour`` [B], hours: worked by consumers, times their productivity - worked for firms.
        - ``wages`` [B], money: received by consumers - paid by firms.
        - ``consumer_money`` [B, C]: opening budget + grant + net wage + transfer + dividends - spending + interest -
          closing budget.
        - ``firm_money`` [B, F]: opening budget + revenue - wages - investment - tax - dividends + interest - closing
          budget.
        - ``capital`` [B, F]: opening capital + investment - closing capital.
        - ``taxes`` [B], money: collected - paid out to consumers.
        - ``money`` [B]: all budgets at the start + what enters from outside (grants, interest, exports) - what leaves
          into capital - all budgets at the end.
    """
    grant = numbers_of(config, in_force(state, parameters)).consumer_grant
    grants = (grant.squeeze(-1) if isinstance(grant, Tensor) else grant) * config.num_consumers
    taxes_paid = flows.income_tax_paid.sum(1) + flows.corporate_tax_paid.sum(1)
    interest = flows.consumer_interest.sum(1) + flows.firm_interest.sum(1)
    opening = state.consumer_budget.sum(1) + state.firm_budget.sum(1)
    closing = next_state.consumer_budget.sum(1) + next_state.firm_budget.sum(1)
    export_income = (flows.exports * state.price).sum(1)
    return {
        "goods": state.inventory + flows.output - flows.sales - flows.exports - next_state.inventory,
        "consumption": flows.consumption.sum(1) - flows.sales,
        "labour": times(actions.hours, state, "workers").sum(1) - flows.labour.sum(1),
        "wages": flows.wage_income.sum(1) - flows.wage_bill.sum(1),
        "consumer_money": state.consumer_budget
        + grant
        + flows.wage_income
        - flows.income_tax_paid
        + flows.transfer.unsqueeze(-1)
        + flows.dividends.sum(1, keepdim=True) / config.num_consumers
        - flows.spending
        + flows.consumer_interest
        - next_state.consumer_budget,
        "firm_money": state.firm_budget
        + flows.revenue
        - flows.wage_bill
        - flows.investment
        - flows.corporate_tax_paid
        - flows.dividends
        + flows.firm_interest
        - next_state.firm_budget,
        "capital": state.capital + flows.investment - next_state.capital,
        "taxes": taxes_paid - flows.transfer * config.num_consumers,
        "money": opening + grants + interest + export_income - flows.investment.sum(1) - closing,
    }
