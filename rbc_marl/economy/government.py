"""The government: redistribution, welfare and the penalty on final debt (section 3 of the paper)."""

from __future__ import annotations

import torch
from torch import Tensor

from rbc_marl.economy.parameters import Number, is_off
from rbc_marl.mechanics.welfare import Welfare


def consumption_tax(spending: Tensor, rate: Number) -> Tensor | None:
    """Tax [B, C] on what goods cost before it [B, C]; None where there is none."""
    return None if is_off(rate) else rate * spending


def collect(
    income_tax_paid: Tensor, corporate_tax_paid: Tensor, consumption_tax_paid: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Pool all taxes of a period.

    Args:
        income_tax_paid: [B, C] money.
        corporate_tax_paid: [B, F] money.
        consumption_tax_paid: [B, C] money; None where nothing is due.

    Returns:
        The pool [B], and its part for each consumer, if all receive the same [B].
    """
    pool = income_tax_paid.sum(dim=1) + corporate_tax_paid.sum(dim=1)
    if consumption_tax_paid is not None:
        pool = pool + consumption_tax_paid.sum(dim=1)
    return pool, pool / income_tax_paid.shape[1]


def debt_penalty(budget: Tensor, is_last: Tensor, weight: Number, scale: Number) -> Tensor:
    """Reward lost for debt at the end of the game (no Ponzi schemes).

    Args:
        budget: [B, N] money at the end of the period.
        is_last: [B] whether this period is the episode's last.
        weight: Reward lost per ``scale`` of debt.
        scale: Money.
    """
    return torch.where(is_last.unsqueeze(-1), (-budget).clamp(min=0.0) * (weight / scale), 0.0)


def welfare(definition: str | Welfare, firm_weight: Number, consumer_reward: Tensor, firm_reward: Tensor) -> Tensor:
    """Welfare [B] of rewards [B, C] and [B, F]: of "consumers" only, "total", with firms at their weight, or a part."""
    if isinstance(definition, Welfare):
        return definition.of(consumer_reward, firm_reward)
    consumers = consumer_reward.sum(dim=1)
    if definition == "consumers":
        return consumers
    return consumers + (firm_weight * firm_reward.sum(dim=1, keepdim=True)).squeeze(1)
