"""Firms: income, investment, tax and production (section 3 of the paper)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rbc_marl.economy.parameters import Number, is_off
from rbc_marl.mechanics.production import Production


class Accounts(NamedTuple):
    """A firm's money in one period, each [B, F]."""

    revenue: Tensor
    wage_bill: Tensor
    investment: Tensor
    profit: Tensor
    corporate_tax_paid: Tensor


def settle_accounts(
    units_sold: Tensor, price: Tensor, labour: Tensor, wage: Tensor, investment_fraction: Tensor, tax_rate: Tensor
) -> Accounts:
    """Income of a period: revenue pays wages, a share of what is left is invested, tax falls on positive profit.

    Args:
        units_sold: [B, F] to consumers and abroad.
        price: [B, F] in force.
        labour: [B, F] hours, all of them paid.
        wage: [B, F] in force.
        investment_fraction: [B, F] share of gross income invested; losses are not invested.
        tax_rate: [B] corporate tax in force.
    """
    revenue = units_sold * price
    wage_bill = labour * wage
    gross = revenue - wage_bill
    investment = (investment_fraction * gross).clamp(min=0.0)
    profit = gross - investment
    return Accounts(revenue, wage_bill, investment, profit, tax_rate.unsqueeze(-1) * profit.clamp(min=0.0))


def settle_in_goods(
    inventory: Tensor, output: Tensor, labour_share: Tensor, investment_fraction: Tensor, tax_rate: Tensor
) -> Accounts:
    """Income of a period in goods, where markets clear: the good's price is 1.

    All that is not invested is sold; of what is sold profit is what labour does not get. It is below 0 where more is
    invested than capital earns.

    Args:
        inventory: [B, F] units left from before, for consumers alone.
        output: [B, F] units made.
        labour_share: [B, F] of output, paid as wages.
        investment_fraction: [B, F] share of output that becomes capital.
        tax_rate: [B] corporate tax in force.
    """
    investment = investment_fraction * output
    sales = inventory + (output - investment)
    wage_bill = labour_share * output
    profit = sales - wage_bill
    return Accounts(sales, wage_bill, investment, profit, tax_rate.unsqueeze(-1) * profit.clamp(min=0.0))


def pay_dividends(earned: Tensor, share: Number) -> Tensor:
    """Money [B, F] that firms pay out of what they earned [B, F] after tax: a share of it, and nothing of a loss."""
    return share * earned.clamp(min=0.0)


def produce(
    production: Production,
    capital: Tensor,
    labour: Tensor,
    exponent: Tensor,
    technology: Number,
    labour_floor: Number,
) -> Tensor:
    """Output [B, F] in units; hours below the floor make as much as none, which is nothing as published."""
    effective = labour if is_off(labour_floor) else torch.where(labour >= labour_floor, labour, 0.0)
    return production.output(capital, effective, exponent, technology)


def wear_out(capital: Tensor, depreciation: Number) -> Tensor:
    """Capital [B, F] that is left of this period's in the next, before investment."""
    return capital if is_off(depreciation) else capital * (1.0 - depreciation)


def revenue_bonus(revenue: Tensor, closing_budget: Tensor, share: Number) -> Tensor:
    """Reward [B, F] (never money) for revenue, while the firm's budget stays positive."""
    return torch.where(closing_budget > 0, share * revenue, 0.0)
