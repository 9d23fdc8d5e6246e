"""What an economy is at a moment, what its agents decide, and what happened in a period.

Letters of the shapes, here and everywhere: B economies in a batch, C consumers, F firms. Money is the numéraire,
goods are in units, labour in hours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar, Self

import torch
from torch import Tensor


class _Tensors:
    """Operations on every tensor of a dataclass at once."""

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move to a device and cast the floating-point tensors; indices keep their type."""
        return self._map(lambda x: x.to(device=device, dtype=dtype if x.is_floating_point() else None))

    def __getitem__(self, rows: slice | Tensor) -> Self:
        """The economies ``rows`` of the batch (a slice or an index tensor, so that the batch axis stays)."""
        return self._map(lambda x: x[rows])

    def _map(self, function: Callable[[Tensor], Tensor]) -> Self:
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return type(self)(**{
            name: {key: function(x) for key, x in value.items()} if isinstance(value, Mapping) else function(value)
            for name, value in values.items()
        })  # fmt: skip


@dataclass(frozen=True)
class EconomyState(_Tensors):
    """A batch of economies at the start of a period (section 3 of the paper)."""

    price: Tensor
    """[B, F] money per unit, in force this period."""
    wage: Tensor
    """[B, F] money per hour, in force this period."""
    inventory: Tensor
    """[B, F] units that can be sold this period."""
    overdemanded: Tensor
    """[B, F] 1 where consumers wanted more than there was in the previous period, else 0."""
    income_tax: Tensor
    """[B] rate in force this period."""
    corporate_tax: Tensor
    """[B] rate in force this period."""
    time: Tensor
    """[B] periods since the start of the episode."""
    consumer_budget: Tensor
    """[B, C] money."""
    labour_disutility: Tensor
    """[B, C] utility lost per hour worked, times two (theta)."""
    firm_budget: Tensor
    """[B, F] money; negative in debt."""
    capital: Tensor
    """[B, F] capital in use this period; one unit costs one unit of money."""
    labour_exponent: Tensor
    """[B, F] output elasticity of labour (alpha)."""

    shocks: ClassVar[Mapping[str, Tensor]] = {}
    """Paths of numbers that move: none but in a `MovingState`."""

    @property
    def num_envs(self) -> int:
        """Economies in the batch."""
        return self.price.shape[0]

    def with_shocks(self, paths: Mapping[str, Tensor]) -> EconomyState:
        """The same with other paths of numbers that move, as `MovingState` has them; without any, none moves."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "shocks"}
        return MovingState(**values, shocks=paths) if paths else EconomyState(**values)


@dataclass(frozen=True)
class MovingState(EconomyState):
    """The state of a batch of economies in which numbers move from period to period."""

    shocks: Mapping[str, Tensor] = field(default_factory=dict)  # type: ignore[misc]
    """By name, the whole path of a number (`rbc_marl.economy.shocks`): [B, P], and of "workers" and "firms" [B, C, P]
    and [B, F, P]. Agents see no more of it than the configuration says."""


@dataclass(frozen=True)
class Actions(_Tensors):
    """Decisions of all agents in one period, as economic quantities. They need not lie on the configured choices."""

    demand: Tensor
    """[B, C, F] units each consumer asks of each firm, at least 0."""
    hours: Tensor
    """[B, C] hours each consumer works, at least 0."""
    employer: Tensor
    """[B, C] int64, the firm each consumer works for."""
    price: Tensor
    """[B, F] price posted for the next period."""
    wage: Tensor
    """[B, F] wage posted for the next period."""
    investment_fraction: Tensor
    """[B, F] share of this period's gross income invested."""
    income_tax: Tensor
    """[B] rate set for the next period."""
    corporate_tax: Tensor
    """[B] rate set for the next period."""


@dataclass(frozen=True)
class Flows(_Tensors):
    """What happened in a period. Rewards and metrics are read from here; nothing here changes the state."""

    demand: Tensor
    """[B, C, F] units asked for after each consumer's budget scaled them down."""
    consumption: Tensor
    """[B, C, F] units obtained."""
    hours: Tensor
    """[B, C] hours worked."""
    spending: Tensor
    """[B, C] money that sellers of goods got, before the tax on consumption."""
    wage_income: Tensor
    """[B, C] gross wages received."""
    income_tax_paid: Tensor
    """[B, C] money."""
    transfer: Tensor
    """[B] money that consumers receive from the tax pool, on average."""
    transfers: Tensor
    """[B, C] money each consumer receives from it."""
    tax_pool: Tensor
    """[B] money collected from consumers and firms."""
    total_demand: Tensor
    """[B, F] units asked for by all consumers."""
    sales: Tensor
    """[B, F] units sold to consumers."""
    exports: Tensor
    """[B, F] units sold abroad."""
    labour: Tensor
    """[B, F] hours worked for each firm."""
    output: Tensor
    """[B, F] units produced, for sale from the next period on; where markets clear, in this one."""
    revenue: Tensor
    """[B, F] money from sales and exports."""
    wage_bill: Tensor
    """[B, F] money."""
    investment: Tensor
    """[B, F] money turned into capital of the next period; where markets clear, goods."""
    profit: Tensor
    """[B, F] money: revenue less wages and investment, before tax; where markets clear, revenue less wages."""
    corporate_tax_paid: Tensor
    """[B, F] money."""
    dividends: Tensor
    """[B, F] money paid out to consumers, the same to each; where markets clear, below 0 for a loss."""
    consumer_interest: Tensor
    """[B, C] money earned on positive budgets."""
    firm_interest: Tensor
    """[B, F] money earned on positive budgets."""
    utility: Tensor
    """[B, C] utility of consumption less disutility of labour."""
    consumer_reward: Tensor
    """[B, C] utility, less the debt penalty in the last period; all rewards are discounted to the first period."""
    firm_reward: Tensor
    """[B, F] profit after tax, dividends included, or the owners' mean reward; plus the revenue bonus, less the debt
    penalty in the last period."""
    government_reward: Tensor
    """[B] welfare of the period, as the configuration defines it."""
