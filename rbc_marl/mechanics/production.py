"""Production: what capital and hours make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from rbc_marl.mechanics.numbers import Number
from rbc_marl.mechanics.part import Choice, Part

if TYPE_CHECKING:
    from torch import Tensor


class Production(Part):
    """Base of production functions: finite, and at least 0 at any capital and hours, 0 included."""

    role: ClassVar[str] = "production"

    def output(self, capital: Tensor, labour: Tensor, exponent: Tensor, technology: Number) -> Tensor:
        """What firms make in a period.

        Args:
            capital: [B, F] at its start.
            labour: [B, F] hours worked.
            exponent: [B, F] each firm's ``labour_exponent``.
            technology: Total factor productivity, a number or a column.

        Returns:
            [B, F] units.
        """
        raise NotImplementedError


class CobbDouglas(Production):
    """The paper's: ``A * capital^(1 - alpha) * labour^alpha``."""

    kind: Literal["cobb_douglas"] = "cobb_douglas"

    def output(self, capital: Tensor, labour: Tensor, exponent: Tensor, technology: Number) -> Tensor:
        """The product of powers."""
        return technology * capital.pow(1.0 - exponent) * labour.pow(exponent)


class Ces(Production):
    """Constant elasticity of substitution: ``A * ((1 - alpha) capital^rho + alpha labour^rho)^(1 / rho)``.

    ``rho = 1 - 1 / substitution``. Capital is in units that cost one unit of money, labour in hours, and alpha is the
    firm's ``labour_exponent``, here a share. At a substitution of 1 it is Cobb-Douglas.
    """

    kind: Literal["ces"] = "ces"
    substitution: Annotated[float, Field(ge=0.1, le=100.0)] = Field(
        0.5, description="elasticity of substitution between capital and labour; 1 is Cobb-Douglas"
    )

    def output(self, capital: Tensor, labour: Tensor, exponent: Tensor, technology: Number) -> Tensor:
        """In hours for each unit of capital, so that no power is out of range."""
        rho = 1.0 - 1.0 / self.substitution
        if abs(rho) < 1e-3:  # where 1 / rho loses digits, and the limit is as near
            return CobbDouglas().output(capital, labour, exponent, technology)
        capital = capital.clamp(min=1e-20)
        mean = 1.0 - exponent + exponent * (labour / capital).pow(rho)
        return technology * capital * mean.pow(1.0 / rho)


ProductionPart = Annotated[Production, Choice(Production, (CobbDouglas, Ces))]
