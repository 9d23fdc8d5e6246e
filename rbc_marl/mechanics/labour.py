"""Disutility of labour: what hours cost the consumer who works them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from rbc_marl.mechanics.part import Choice, Part

if TYPE_CHECKING:
    from torch import Tensor


class Disutility(Part):
    """Base of disutilities of labour: nothing for no hours, and no less with more."""

    role: ClassVar[str] = "disutility"

    def effort(self, hours: Tensor, labour_disutility: Tensor) -> Tensor:
        """What hours cost.

        Args:
            hours: [..] worked in a period.
            labour_disutility: [..] each consumer's own (theta): in the paper an hour costs theta / 2.

        Returns:
            [..], in utility; where utility is `Ghh`, in units of goods.
        """
        raise NotImplementedError

    def net(self, pay: Tensor, hours: Tensor, labour_disutility: Tensor) -> Tensor:
        """What hours bring, at a pay in utility for each, less what they cost: of any shapes that fit together."""
        return pay * hours - self.effort(hours, labour_disutility)

    def best_hours(self, pay: Tensor, labour_disutility: Tensor, low: float, high: float) -> Tensor | None:
        """Hours from ``low`` to ``high`` of the most `net`; None where the part has no formula for it."""
        del pay, labour_disutility, low, high
        return None


class Linear(Disutility):
    """The paper's: every hour costs ``theta / 2``."""

    kind: Literal["linear"] = "linear"

    def effort(self, hours: Tensor, labour_disutility: Tensor) -> Tensor:
        """``theta / 2`` times hours."""
        return 0.5 * labour_disutility * hours

    def net(self, pay: Tensor, hours: Tensor, labour_disutility: Tensor) -> Tensor:
        """Of one hour, times hours."""
        return (pay - 0.5 * labour_disutility) * hours

    def best_hours(self, pay: Tensor, labour_disutility: Tensor, low: float, high: float) -> Tensor:
        """The most or the fewest: whether an hour brings more than it costs."""
        worthwhile = pay - 0.5 * labour_disutility > 0.0
        return pay.new_tensor(high).where(worthwhile, low)


class Power(Disutility):
    """Further hours cost more and more: ``theta / 2 * usual / e * (hours / usual)^e``.

    At the usual hours one more costs ``theta / 2``, as in the paper; before that less. The Frisch elasticity of labour
    supply is ``1 / (e - 1)``.
    """

    kind: Literal["power"] = "power"
    exponent: Annotated[float, Field(gt=1.0, le=100.0)] = Field(2.0, description="of hours (e); more than 1")
    usual: Annotated[float, Field(gt=0.0, le=1e9)] = Field(520.0, description="hours at which one more costs theta / 2")

    def effort(self, hours: Tensor, labour_disutility: Tensor) -> Tensor:
        """The power of hours, scaled."""
        return labour_disutility * (0.5 * self.usual / self.exponent) * (hours / self.usual) ** self.exponent

    def best_hours(self, pay: Tensor, labour_disutility: Tensor, low: float, high: float) -> Tensor:
        """Where one more hour costs what it brings."""
        ratio = pay.clamp(min=0.0) / (0.5 * labour_disutility).clamp(min=1e-30)
        return (self.usual * ratio ** (1.0 / (self.exponent - 1.0))).clamp(min=low, max=high)


DisutilityPart = Annotated[Disutility, Choice(Disutility, (Linear, Power))]
