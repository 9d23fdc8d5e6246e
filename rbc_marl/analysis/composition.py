"""Composition of an outcome: whose gains welfare counts, who buys, and how often firms choose the end of a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rbc_marl.analysis.rollouts import Episodes

COMPOSITION = (
    "profit",
    "profit_share",
    "export_share",
    "price_lowest",
    "price_highest",
    "wage_lowest",
    "wage_highest",
)
"""The keys of `composition`."""


def composition(episodes: Episodes) -> dict[str, float | None]:
    """What total welfare and sales are made of, means over episodes.

    Args:
        episodes: Recorded ones.

    Returns:
        ``profit``: rewards of all firms over an episode, in money; where they serve their owners, profit after tax.
        ``profit_share``: their part in total welfare, as it is weighted there; the rest is consumers' utility. None
        where one of the two is negative or rewards are no money: there are no shares then. ``export_share``: exports in
        all units sold; 0 where nothing is. ``price_lowest``, ``price_highest``,
        ``wage_lowest``, ``wage_highest``: share of firms and periods at that end of the choices, without the first
        period, which begins with prices and wages that nobody chose.

    Raises:
        ConfigError: The episodes were not recorded.
    """
    episodes.require_periods()
    config = episodes.config
    means = {name: float(values.double().mean()) for name, values in episodes.quantities.items()}
    profit, weight = means["firm_return"] * config.num_firms, config.firm_welfare_weight
    if is_for_owners := config.firm_objective == "owners":  # their reward is no money
        earned = episodes.firms["profit"].double() - episodes.firms["corporate_tax_paid"].double()
        profit = float(earned.sum(dim=(1, 2)).mean())
    sold = means["sales"] + means["exports"]
    return {
        "profit": profit,
        "profit_share": None if is_for_owners else _share(weight * profit, means["welfare_consumers"]),
        "export_share": means["exports"] / sold if sold > 0 else 0.0,
        **_corners("price", episodes.firms["price"], config.price_choices),
        **_corners("wage", episodes.firms["wage"], config.wage_choices),
    }


def composition_words(values: Mapping[str, Any]) -> str:
    """One line that says what `composition` returned; ``values`` holds ``welfare_consumers`` as well."""
    share = values["profit_share"]
    whole = f"consumers' welfare {values['welfare_consumers']:,.0f}, profit {values['profit']:,.0f} of money"
    whole += "" if share is None else f" ({share:.0%} of total welfare)"
    corners = [
        f"{name}s {values[name + '_lowest']:.0%} at the lowest, {values[name + '_highest']:.0%} at the highest choice"
        for name in ("price", "wage")
        if values[f"{name}_lowest"] + values[f"{name}_highest"] <= 1.0  # more: there is but one choice
    ]
    return "; ".join([whole, f"{values['export_share']:.0%} of what is sold is exported", *corners])


def _share(part: float, rest: float) -> float | None:
    """The part in the sum of both; None where one is negative or both are nothing."""
    return part / (part + rest) if min(part, rest) >= 0.0 and part + rest > 0.0 else None


def _corners(name: str, values: Tensor, choices: Sequence[float]) -> dict[str, float]:
    """Share of posted values [N, T, F] at either end of the choices."""
    posted = values[:, 1:]
    ends = {"lowest": min(choices), "highest": max(choices)}
    return {
        f"{name}_{end}": float((posted == torch.tensor(value, dtype=posted.dtype)).double().mean())
        if posted.numel()
        else 0.0
        for end, value in ends.items()
    }
