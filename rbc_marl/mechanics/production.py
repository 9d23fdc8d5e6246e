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

    def labour_share(self, capital: Tensor, labour: Tensor, exponent: Tensor) -> Tensor | None:
        """Share [B, F] of output that labour gets at its marginal product; None where the part has no formula for it.

        Shapes are as in `output`. Markets that clear pay wages by it.
        """
        del capital, labour, exponent
        return None


class CobbDouglas(Production):
    """The paper's: ``A * capital^(1 - alpha) * labour^alpha``."""

    kind: Literal["cobb_douglas"] = "cobb_douglas"

    def output(self, capital: Tensor, labour: Tensor, exponent: Tensor, technology: Number) -> Tensor:
        """The product of powers."""
        return technology * capital.pow(1.0 - exponent) * labour.pow(exponent)

    def labour_share(self, capital: Tensor, labour: Tensor, exponent: Tensor) -> Tensor:
        """The exponent, whatever there is of either."""
        del capital, labour
        return exponent


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

    def labour_share(self, capital: Tensor, labour: Tensor, exponent: Tensor) -> Tensor:
        """``alpha labour^rho / ((1 - alpha) capital^rho + alpha labour^rho)``, in logarithms: no power is formed."""
        rho = 1.0 - 1.0 / self.substitution
        if abs(rho) < 1e-3:  # as in `output`
            return exponent
        ratio = (labour.clamp(min=1e-20) / capital.clamp(min=1e-20)).log()
        return (exponent.logit() + rho * ratio).sigmoid()


ProductionPart = Annotated[Production, Choice(Production, (CobbDouglas, Ces))]
