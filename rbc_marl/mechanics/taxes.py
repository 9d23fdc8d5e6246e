"""Taxes on wages, and who gets what all taxes bring. Rates of the government are those in force in the period."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from rbc_marl.mechanics.part import Choice, Part
from rbc_marl.settings import Many

if TYPE_CHECKING:
    from torch import Tensor

_Money = Annotated[float, Field(gt=0.0, le=1e15)]
_Rate = Annotated[float, Field(ge=0.0, le=1.0)]


class WageTax(Part):
    """Base of taxes on wages: of any pay at least 0, and no more than the pay."""

    role: ClassVar[str] = "wage_tax"

    def paid(self, wage_income: Tensor, rate: Tensor) -> Tensor:
        """The tax on a consumer's pay, element by element.

        Args:
            wage_income: [B, ...] pay of a period, money.
            rate: [B, 1 ...] income tax that the government chose, as many axes.

        Returns:
            [B, ...] money.
        """
        raise NotImplementedError


class Flat(WageTax):
    """The paper's: the government's rate on all pay."""

    kind: Literal["flat"] = "flat"

    def paid(self, wage_income: Tensor, rate: Tensor) -> Tensor:
        """Rate times pay."""
        return rate * wage_income


class Brackets(WageTax):
    """Rates by bracket: pay above each threshold is taxed at that bracket's rate.

    A bracket's rate is a factor times the rate that the government chooses, at most 1, or a rate of its own. There is
    one more than thresholds: the first is on pay below all of them.
    """

    kind: Literal["brackets"] = "brackets"
    thresholds: Annotated[Many[_Money], Field(min_length=1, max_length=100)] = Field(
        (10000.0,), description="money per period, rising: where each further bracket begins"
    )
    factors: Many[Annotated[float, Field(ge=0.0, le=1e6)]] | None = Field(
        None, description="of each bracket, on the government's rate; null: 0 on the first, 1 on the others"
    )
    rates: Many[_Rate] | None = Field(None, description="of each bracket, in place of the government's rate")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if list(self.thresholds) != sorted(set(self.thresholds)):
            raise ValueError(f"thresholds are {list(self.thresholds)}; they must rise")
        if self.factors is not None and self.rates is not None:
            raise ValueError("rates are given beside factors; keep one of the two")
        brackets = len(self.thresholds) + 1
        for name in ("factors", "rates"):
            value = getattr(self, name)
            if value is not None and len(value) != brackets:
                raise ValueError(f"{name} are {len(value)}; {brackets} brackets need one each")
        return self

    def paid(self, wage_income: Tensor, rate: Tensor) -> Tensor:
        """The sum over brackets."""
        factors = self.factors or (0.0, *(1.0 for _ in self.thresholds))
        tax = 0.0 * wage_income
        for number, low in enumerate((0.0, *self.thresholds)):
            inside = (wage_income - low).clamp(min=0.0)
            if number < len(self.thresholds):
                inside = inside.clamp(max=self.thresholds[number] - low)
            own = (rate * factors[number]).clamp(max=1.0) if self.rates is None else self.rates[number]
            tax = tax + own * inside
        return tax


class Transfers(Part):
    """Base of what consumers receive from the pool of all taxes, in the same period: all of it."""

    role: ClassVar[str] = "transfers"

    def shares(self, budget: Tensor, wage_income: Tensor) -> Tensor:
        """Each consumer's share of the pool.

        Args:
            budget: [B, C] money at the start of the period.
            wage_income: [B, C] pay of the period, before tax.

        Returns:
            [B, C], at least 0; those of an economy come to 1.
        """
        raise NotImplementedError

    def each(self, pool: Tensor, mean: Tensor, budget: Tensor, wage_income: Tensor) -> Tensor:
        """What each consumer receives [B, C], or [B, 1] where all receive the same: of a pool [B], and its mean [B]."""
        del mean
        return pool.unsqueeze(-1) * self.shares(budget, wage_income)


class Equal(Transfers):
    """The paper's: everybody receives the same."""

    kind: Literal["equal"] = "equal"

    def each(self, pool: Tensor, mean: Tensor, budget: Tensor, wage_income: Tensor) -> Tensor:
        """The mean."""
        del pool, budget, wage_income
        return mean.unsqueeze(-1)

    def shares(self, budget: Tensor, wage_income: Tensor) -> Tensor:
        """One over the number of consumers."""
        del wage_income
        return (0.0 * budget + 1.0) / budget.shape[-1]


class Poorest(Transfers):
    """All goes in equal parts to those with the least money at the start of the period.

    Who has as much as the richest of them receives as much as they do.
    """

    kind: Literal["poorest"] = "poorest"
    share: Annotated[float, Field(gt=0.0, le=1.0)] = Field(0.5, description="of consumers who receive something")

    def shares(self, budget: Tensor, wage_income: Tensor) -> Tensor:
        """Equal among those whose money is no more than the richest receiver's."""
        del wage_income
        count = max(1, round(self.share * budget.shape[-1]))
        receives = (budget <= budget.kthvalue(count, dim=-1, keepdim=True).values).to(budget.dtype)
        return receives / receives.sum(-1, keepdim=True)


class ByIncome(Transfers):
    """Who earns less receives more: shares fall linearly with the pay of the period, to nothing at a limit.

    Where everybody earns more than that, all receive the same.
    """

    kind: Literal["by_income"] = "by_income"
    limit: _Money = Field(20000.0, description="pay of a period from which on one receives nothing")

    def shares(self, budget: Tensor, wage_income: Tensor) -> Tensor:
        """By how far pay is below the limit."""
        del budget
        need = (1.0 - wage_income / self.limit).clamp(min=0.0)
        need = need + (need.sum(-1, keepdim=True) <= 0.0).to(need.dtype)
        return need / need.sum(-1, keepdim=True)


WageTaxPart = Annotated[WageTax, Choice(WageTax, (Flat, Brackets))]
TransfersPart = Annotated[Transfers, Choice(Transfers, (Equal, Poorest, ByIncome))]
