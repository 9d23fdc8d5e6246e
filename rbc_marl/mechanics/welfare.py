"""Welfare of a period: what the government maximises, of the rewards of consumers and firms in it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from rbc_marl.mechanics.part import Choice, Part
from rbc_marl.settings import Many

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PUBLISHED = ("total", "consumers")
# A gain of nobody at all, in utility: its logarithm and its powers are finite.
_LEAST_GAIN = 1e-6


class Welfare(Part):
    """Base of definitions of welfare. An episode's is the sum over its periods, so that inequality counts in each."""

    role: ClassVar[str] = "welfare"

    def of(self, consumer_reward: Tensor, firm_reward: Tensor) -> Tensor:
        """Welfare of a period.

        Args:
            consumer_reward: [B, C] utility.
            firm_reward: [B, F] money.

        Returns:
            [B].
        """
        raise NotImplementedError


class Rawls(Welfare):
    """The utility of whoever is worst off in the period, times the number of consumers (Rawls 1971)."""

    kind: Literal["rawls"] = "rawls"

    def of(self, consumer_reward: Tensor, firm_reward: Tensor) -> Tensor:
        """The lowest, for everybody."""
        del firm_reward
        return consumer_reward.amin(1) * consumer_reward.shape[1]


class Atkinson(Welfare):
    """The utility that, if everybody had it, would be as good as the unequal ones there are, times consumers.

    Gains over a least utility are averaged as powers (Atkinson 1970): with an aversion of 0 it is the sum, with a large
    one it comes to `Rawls`. Where all are alike it is their sum. Who is below the least counts as a hair above it.
    """

    kind: Literal["atkinson"] = "atkinson"
    aversion: Annotated[float, Field(ge=0.0, le=50.0)] = Field(1.0, description="to inequality; 0 is none")
    least: Annotated[float, Field(ge=-1e12, le=1e12)] = Field(
        -10.0, description="utility of a period from which gains are counted; below it nobody should be"
    )

    def of(self, consumer_reward: Tensor, firm_reward: Tensor) -> Tensor:
        """The mean of powers of gains, as a gain."""
        del firm_reward
        logs = (consumer_reward - self.least).clamp(min=_LEAST_GAIN).log()
        power = 1.0 - self.aversion
        if abs(power) < 1e-4:
            mean = logs.mean(1)
        else:  # scaled by one end, so that no power is out of range
            end = logs.amax(1, keepdim=True) if power > 0.0 else logs.amin(1, keepdim=True)
            mean = end.squeeze(1) + ((logs - end) * power).exp().mean(1).log() / power
        return (mean.exp() + self.least) * consumer_reward.shape[1]


class Nash(Welfare):
    """The product of consumers' gains over a least utility, as the sum of their logarithms (Nash 1950).

    Who is below the least counts as a hair above it.
    """

    kind: Literal["nash"] = "nash"
    least: Annotated[float, Field(ge=-1e12, le=1e12)] = Field(
        -10.0, description="utility of a period from which gains are counted; below it nobody should be"
    )

    def of(self, consumer_reward: Tensor, firm_reward: Tensor) -> Tensor:
        """The sum of logarithms."""
        del firm_reward
        return (consumer_reward - self.least).clamp(min=_LEAST_GAIN).log().sum(1)


class Weighted(Welfare):
    """A weighted sum: of each consumer's utility, and of all firms' rewards."""

    kind: Literal["weighted"] = "weighted"
    weights: Annotated[Many[Annotated[float, Field(ge=0.0, le=1e6)]], Field(min_length=1)] = Field(
        (1.0,), description="of consumers, one each; of fewer each stands for a group, as many in each"
    )
    firms: Annotated[float, Field(ge=0.0, le=1e6)] = Field(0.0, description="weight of firms' rewards")

    def of(self, consumer_reward: Tensor, firm_reward: Tensor) -> Tensor:
        """Utilities times weights."""
        each = _one_each(self.weights, consumer_reward.shape[1], consumer_reward.device, consumer_reward.dtype)
        weighted = (consumer_reward * each).sum(1)
        return weighted + self.firms * firm_reward.sum(1) if self.firms else weighted


@lru_cache(maxsize=16)
def _one_each(weights: tuple[float, ...], consumers: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The weights [C] of consumers, in groups of as many."""
    import torch

    with torch.inference_mode(False):  # whoever asks first, others may need gradients
        each = [weights[i * len(weights) // consumers] for i in range(consumers)]
        return torch.tensor(each, dtype=dtype).to(device)


WelfarePart = Annotated[
    Literal["total", "consumers"] | Welfare, Choice(Welfare, (Rawls, Atkinson, Nash, Weighted), PUBLISHED)
]
