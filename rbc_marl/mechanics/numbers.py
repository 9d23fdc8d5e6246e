"""Numbers as formulas read them: plain ones of a whole batch, or columns with one for each economy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, overload

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import TypeIs

    Number = float | Tensor
else:  # torch is imported by whoever computes: `rbc-marl --help` should not wait for it
    Number = Any


class Numbers(Protocol):
    """Where a formula reads an economy's numbers, each under its name in `rbc_marl.economy.PARAMETERS`."""

    @property
    def crra(self) -> Number:
        """Relative risk aversion, a float or a column [B, 1]."""


def is_plain(number: Number) -> TypeIs[float]:
    """Whether a number is of the whole batch, and no tensor."""
    return isinstance(number, (int, float))


def is_off(number: Number) -> bool:
    """Whether what a number weighs can be left out: it is 0 in the whole batch. Tensors are not looked into."""
    return isinstance(number, (int, float)) and number == 0.0


@overload
def beside(number: Tensor, values: Tensor) -> Tensor: ...
@overload
def beside(number: Number, values: Tensor) -> Number: ...
def beside(number: Number, values: Tensor) -> Number:
    """A column [..., 1] with as many axes as the values beside which it stands; a plain number as it is."""
    if isinstance(number, (int, float)):
        return number
    return number.reshape(*number.shape, *(1,) * (values.dim() - number.dim()))
