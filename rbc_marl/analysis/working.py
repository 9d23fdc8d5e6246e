"""Do consumers see wages and taxes? Their employers and hours where these are set from outside.

On the path of a trained economy wages hardly vary. Here a wage or a tax is changed in the middle of an episode, and
all else stays as played.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rbc_marl.analysis.situations import decide, situations
from rbc_marl.economy import EconomyState
from rbc_marl.economy.markets import hours_by_employer
from rbc_marl.policies import Policies

SITUATIONS = 64


@dataclass(frozen=True)
class Working:
    """What consumers do with wages and taxes."""

    share: float | None
    """Of the possible gain in wages by choosing employers, at random wages and weighted by hours: 0 is an employer
    drawn at random, 1 the one who pays best; None where nobody works or all wages are alike."""
    hours_by_wage: dict[float, float]
    """Hours that all consumers offer one firm, by its own wage."""
    hours_by_income_tax: dict[float, float]
    """Hours per consumer, by the rate."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        by_wage, by_tax = (
            {f"{x:g}": hours for x, hours in curve.items()} for curve in (self.hours_by_wage, self.hours_by_income_tax)
        )
        return {"share": self.share, "hours_by_wage": by_wage, "hours_by_income_tax": by_tax}

    def describe(self) -> str:
        """The measurement in a line."""
        nothing = "nothing to gain by choosing employers"
        share = nothing if self.share is None else f"{self.share:.0%} of the possible gain in wages"
        wages = ", ".join(f"{hours:,.0f} at {wage:g}" for wage, hours in sorted(self.hours_by_wage.items()))
        taxes = ", ".join(f"{hours:,.0f} at {rate:.0%}" for rate, hours in sorted(self.hours_by_income_tax.items()))
        return f"{share}; hours for one firm by its wage: {wages}; hours of a consumer by income tax: {taxes}"


@torch.no_grad()
def working(policies: Policies, situations_played: int = SITUATIONS, seed: int = 0) -> Working:
    """Measure how consumers respond to wages and the income tax.

    Args:
        policies: Whose consumers decide; all agents play up to the middle of an episode.
        situations_played: Economies.
        seed: Of the draws.
    """
    state, generator = situations(policies, situations_played, seed)
    curves = supply_curves(policies, state, generator)
    by_wage, by_tax = ({x: float(hours.mean()) for x, hours in curve.items()} for curve in curves)
    return Working(_share(policies, state, generator), by_wage, by_tax)


@torch.no_grad()
def supply_curves(
    policies: Policies, state: EconomyState, generator: torch.Generator
) -> tuple[dict[float, Tensor], dict[float, Tensor]]:
    """Hours in every economy, where one firm's wage or the income tax is set from outside.

    Args:
        policies: Whose consumers decide.
        state: Of B economies.
        generator: Behind the draws.

    Returns:
        Hours [B] that all consumers offer one firm, by its wage; and hours [B] per consumer, by the income tax.
    """
    config = policies.config
    rows = torch.arange(state.num_envs, device=state.wage.device)
    firm = rows.remainder(config.num_firms)
    by_wage, by_tax = {}, {}
    for wage in sorted(config.wage_choices):
        own = state.wage.index_put((rows, firm), state.wage.new_tensor(wage))
        by_wage[wage] = _labour(policies, dataclasses.replace(state, wage=own), generator)[rows, firm]
    for rate in sorted(config.income_tax_choices):
        taxed = dataclasses.replace(state, income_tax=torch.full_like(state.income_tax, rate))
        by_tax[rate] = _labour(policies, taxed, generator).sum(1) / config.num_consumers
    return by_wage, by_tax


def _share(policies: Policies, state: EconomyState, generator: torch.Generator) -> float | None:
    """Share of the possible gain in wages at wages drawn from the choices."""
    table = state.wage.new_tensor(policies.config.wage_choices)
    draw = torch.randint(len(table), state.wage.shape, generator=generator, device=state.wage.device)
    wage = table[draw]
    labour = _labour(policies, dataclasses.replace(state, wage=wage), generator).double()
    mean, best = wage.mean(1, keepdim=True), wage.amax(1, keepdim=True)
    got, possible = (float((labour * (at - mean)).sum()) for at in (wage, best))
    return got / possible if possible > 1e-9 else None


def _labour(policies: Policies, state: EconomyState, generator: torch.Generator) -> Tensor:
    """Hours [B, F] worked for each firm."""
    actions = decide(policies, state, generator)
    return hours_by_employer(actions.hours, actions.employer, policies.config.num_firms)
