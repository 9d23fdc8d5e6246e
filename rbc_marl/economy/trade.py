"""What was traded in a period, at posted prices or at prices that clear markets: what all that follows reads."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from rbc_marl.economy.firms import Accounts


class Trade(NamedTuple):
    """Goods, work and payments of a period: [B, F] of firms, [B, C] of consumers."""

    demand: Tensor
    """[B, F, C] units asked for that can be paid."""
    consumption: Tensor
    """[B, F, C] units obtained."""
    total_demand: Tensor
    sales: Tensor
    is_rationed: Tensor
    exports: Tensor
    labour: Tensor
    output: Tensor
    accounts: Accounts
    earned: Tensor
    """Profit after tax."""
    spending: Tensor
    """[B, C] before the tax on consumption."""
    wage_income: Tensor
    income_tax_paid: Tensor
    consumption_tax_paid: Tensor | None
    """[B, C]; None where there is none."""
    tax_pool: Tensor
    """[B]."""
    transfer: Tensor
    """[B]."""
    transfers: Tensor
    """[B, C], or [B, 1], the same to each."""
    dividends: Tensor
    received: Tensor
    """What consumers get without working: as `transfers`."""
    retained: Tensor
    """Money that firms keep."""
    inventory: Tensor
    """For sale in the next period."""
    price: Tensor
    """In force in the next period."""
    wage: Tensor
    """In force in the next period."""
