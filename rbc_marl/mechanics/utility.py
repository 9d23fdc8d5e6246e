"""Utility of a period: what a consumer's goods come to, less what its hours cost.

Utilities of this package count each good plus one unit, as the paper does, so that a missing good is worth something
finite, and nothing at all is worth 0.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from rbc_marl.mechanics.numbers import Number, Numbers, beside, is_plain
from rbc_marl.mechanics.part import Choice, Part

if TYPE_CHECKING:
    from torch import Tensor

# Distance of eta from 1 below which utility takes the way that loses no digits.
NEARLY_LOG = 0.25
# From this elasticity of substitution on, goods are as good as one: exponents nearer to 1 lose digits.
_MOST_ELASTIC = 100.0


class Utility(Part):
    """Base of utilities: concave in goods, and higher with more of any.

    A class of one's own says what goods come to (`of_goods`); its utility is that less the disutility of labour, unless
    it says otherwise (`with_effort`). One that is a sum over goods says what one good comes to: `AdditiveUtility`.
    """

    role: ClassVar[str] = "utility"

    def of_goods(self, consumption: Tensor, numbers: Numbers) -> Tensor:
        """What goods come to, hours aside.

        Args:
            consumption: [B, F, ...] units; goods stand on the second axis, consumers or other cases on the next.
            numbers: The economy's, such as ``numbers.crra``: each a float, or a column [B, 1] with each economy's own.

        Returns:
            [B, ...].
        """
        raise NotImplementedError

    def with_effort(self, goods: Tensor, effort: Tensor, numbers: Numbers) -> Tensor:
        """Utility of what goods come to and of the disutility of labour, of one shape: one less the other."""
        del numbers
        return goods - effort

    @property
    def has_one_good(self) -> bool:
        """Whether a unit of one good is as good as one of any other, however many there are of each."""
        return False

    @property
    def is_separable(self) -> bool:
        """Whether utility is what goods come to less the disutility of labour."""
        return type(self).with_effort is Utility.with_effort


class AdditiveUtility(Utility):
    """Utility that is a sum over goods: what values single choices of a consumer needs it."""

    def of_good(self, units: Tensor, numbers: Numbers) -> Tensor:
        """Utility of units of one good, element by element; its slope falls and stays above 0."""
        raise NotImplementedError

    def marginal(self, units: Tensor, numbers: Numbers) -> Tensor:
        """Utility of one more unit of a good, element by element: the slope of `of_good`, by torch if not given."""
        import torch  # not on the way of a period

        with torch.inference_mode(False), torch.enable_grad():
            at = units.clone().detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.of_good(at, numbers).sum(), at)
        return slope

    def units_at(self, marginal: Tensor, numbers: Numbers) -> Tensor | None:
        """Units of a good whose marginal utility is so much; None where the part has no formula for it."""
        del marginal, numbers
        return None

    def of_goods(self, consumption: Tensor, numbers: Numbers) -> Tensor:
        """The sum over goods."""
        return self.of_good(consumption, numbers).sum(1)


class Crra(AdditiveUtility):
    """The paper's: constant relative risk aversion ``crra`` in units plus one of each good, summed over goods.

    ``u(c) = ((c + 1)^(1 - eta) - 1) / (1 - eta)``, and ``log(c + 1)`` at eta = 1.
    """

    kind: Literal["crra"] = "crra"

    def of_goods(self, consumption: Tensor, numbers: Numbers) -> Tensor:
        """Written with log1p and exp2, which take a CPU half of the time of a power.

        They take two thirds of that of log and exp; but a power loses digits where eta is nearly 1, and expm1 does not.
        """
        crra = numbers.crra
        if not is_plain(crra):
            return utility_of(consumption, crra).sum(1)
        log_units = consumption.log1p()
        if crra == 1.0:
            return log_units.sum(1)
        if abs(1.0 - crra) < NEARLY_LOG:
            return log_units.mul_(1.0 - crra).expm1_().sum(1) / (1.0 - crra)
        return (log_units.mul_((1.0 - crra) / math.log(2.0)).exp2_().sum(1) - consumption.shape[1]) / (1.0 - crra)

    def of_good(self, units: Tensor, numbers: Numbers) -> Tensor:
        """CRRA of units plus one."""
        return utility_of(units, numbers.crra)

    def marginal(self, units: Tensor, numbers: Numbers) -> Tensor:
        """``(c + 1)^-eta``."""
        return (units + 1.0) ** -beside(numbers.crra, units)

    def units_at(self, marginal: Tensor, numbers: Numbers) -> Tensor:
        """``marginal^(-1 / eta) - 1``; where utility is linear, any or none."""
        crra = numbers.crra
        return marginal ** (-1.0 / crra if crra > 0.0 else -math.inf) - 1.0


class Cara(AdditiveUtility):
    """Constant absolute risk aversion in units of each good, summed over goods: ``u(c) = (1 - exp(-a c)) / a``."""

    kind: Literal["cara"] = "cara"
    aversion: Annotated[float, Field(gt=0.0, le=100.0)] = Field(
        0.1, description="absolute risk aversion (a), per unit; the first unit is worth one whatever it is"
    )

    def of_good(self, units: Tensor, numbers: Numbers) -> Tensor:
        """``(1 - exp(-a c)) / a``."""
        del numbers
        return (units * -self.aversion).expm1() / -self.aversion

    def marginal(self, units: Tensor, numbers: Numbers) -> Tensor:
        """``exp(-a c)``."""
        del numbers
        return (units * -self.aversion).exp()

    def units_at(self, marginal: Tensor, numbers: Numbers) -> Tensor:
        """``-log(marginal) / a``."""
        del numbers
        return marginal.log() / -self.aversion


class Basket(Utility):
    """CRRA over a basket of all goods, between which consumers substitute more or less easily (Dixit and Stiglitz).

    The basket is ``G = F (mean of (c_f + 1)^rho)^(1 / rho) - F`` with ``rho = 1 - 1 / substitution``: the units of all
    goods where each is as many, and fewer where they differ. Its utility is ``u(G)``, with the ``crra`` of the economy.
    """

    kind: Literal["basket"] = "basket"
    substitution: Annotated[float, Field(gt=0.0, le=1e6)] = Field(
        1.0, description="elasticity of substitution between goods; 1 is Cobb-Douglas, from 100 on goods are one"
    )

    def of_goods(self, consumption: Tensor, numbers: Numbers) -> Tensor:
        """CRRA of the basket."""
        units = basket_of(consumption, self.substitution)
        return utility_of(units, numbers.crra)

    @property
    def has_one_good(self) -> bool:
        """From an elasticity of 100 on."""
        return self.substitution >= _MOST_ELASTIC


class Ghh(Utility):
    """Greenwood, Hercowitz and Huffman (1988): CRRA over a basket less the disutility of labour, which is in goods.

    ``u(G - v)`` with the ``crra`` of the economy and the basket of `Basket`: hours do not depend on how rich one is.
    Below 0 utility goes on as a line of slope 1, which it has there: it stays finite whatever agents do.
    """

    kind: Literal["ghh"] = "ghh"
    substitution: Annotated[float, Field(gt=0.0, le=1e6)] = Field(
        1.0, description="elasticity of substitution between goods; 1 is Cobb-Douglas, from 100 on goods are one"
    )

    def of_goods(self, consumption: Tensor, numbers: Numbers) -> Tensor:
        """The basket, in units."""
        del numbers
        return basket_of(consumption, self.substitution)

    def with_effort(self, goods: Tensor, effort: Tensor, numbers: Numbers) -> Tensor:
        """CRRA of the basket less the effort."""
        left = goods - effort
        return utility_of(left.clamp(min=0.0), numbers.crra) + left.clamp(max=0.0)

    @property
    def has_one_good(self) -> bool:
        """From an elasticity of 100 on."""
        return self.substitution >= _MOST_ELASTIC


def basket_of(consumption: Tensor, substitution: float) -> Tensor:
    """The basket [B, ...] that units [B, F, ...] of all goods come to, in units; see `Basket`."""
    goods = consumption.shape[1]
    if substitution >= _MOST_ELASTIC:
        return consumption.sum(1)
    logs = consumption.log1p()
    rho = 1.0 - 1.0 / substitution
    if abs(rho) < 1e-4:
        return goods * logs.mean(1).expm1()
    # Scaled by the largest, or by the smallest where rho is below 0: no power can overflow.
    most = logs.amax(1, keepdim=True) if rho > 0.0 else logs.amin(1, keepdim=True)
    mean = ((logs - most) * rho).exp().mean(1)
    return goods * (most.squeeze(1) + mean.log() / rho).expm1()


def utility_of(units: Tensor, crra: Number) -> Tensor:
    """CRRA utility of units plus one, of any shape."""
    if not is_plain(crra):
        curvature: Tensor = 1.0 - beside(crra, units)
        is_log = curvature == 0.0
        log_units = units.log1p()
        power = (log_units * curvature).expm1() / curvature.masked_fill(is_log, 1.0)
        return log_units.where(is_log, power)
    if crra == 1.0:
        return units.log1p()
    return (units.log1p() * (1.0 - crra)).expm1() / (1.0 - crra)


UtilityPart = Annotated[Utility, Choice(Utility, (Crra, Basket, Cara, Ghh))]
