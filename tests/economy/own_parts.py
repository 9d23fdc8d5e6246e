"""Parts of one's own, as a user writes them, and some that are wrong."""

from __future__ import annotations

import torch

from rbc_marl.mechanics import AdditiveUtility, Disutility, Production, Transfers, Utility, WageTax, Welfare, beside
from rbc_marl.mechanics.taxes import Flat


class Satiable(AdditiveUtility):
    """Utility of each good that comes to an end."""

    limit: float = 8.0

    def of_good(self, units, numbers):
        return self.limit * torch.tanh(units / self.limit)


class Effort(Disutility):
    step: float = 500.0

    def effort(self, hours, labour_disutility):
        return 0.5 * labour_disutility * hours * (1.0 + hours / self.step)


class Crowded(Production):
    room: float = 20000.0

    def output(self, capital, labour, exponent, technology):
        effective = labour / (1.0 + labour / self.room)
        return technology * capital.pow(1.0 - exponent) * effective.pow(exponent)


class Progressive(WageTax):
    half: float = 10000.0

    def paid(self, wage_income, rate):
        return rate * wage_income * wage_income / (wage_income + self.half)


class ToTheFirst(Transfers):
    def shares(self, budget, wage_income):
        return torch.nn.functional.one_hot(torch.zeros_like(budget[:, 0]).long(), budget.shape[1]).to(budget.dtype)


class Median(Welfare):
    def of(self, consumer_reward, firm_reward):
        return consumer_reward.median(1).values


OWN = {
    "utility": Satiable,
    "disutility": Effort,
    "production": Crowded,
    "wage_tax": Progressive,
    "transfers": ToTheFirst,
    "welfare": Median,
}


class Leaky(Transfers):
    """Gives away more than there is."""

    def shares(self, budget, wage_income):
        return (0.0 * budget + 1.5) / budget.shape[1]


class Confiscating(WageTax):
    """Takes more than the pay."""

    def paid(self, wage_income, rate):
        return 2.0 * wage_income


class Roots(Production):
    """Is no number where nobody works."""

    def output(self, capital, labour, exponent, technology):
        return capital / labour


class Misshapen(Utility):
    def of_goods(self, consumption, numbers):
        return consumption


class Failing(Utility):
    def of_goods(self, consumption, numbers):
        raise RuntimeError("no such thing\nand more")


class Listed(Utility):
    weights: list[float] = [1.0]  # noqa: RUF012 - what is wrong with it


class Halved(Flat):
    def paid(self, wage_income, rate):
        return 0.5 * super().paid(wage_income, rate)


class Curved(AdditiveUtility):
    def of_good(self, units, numbers):
        curvature = 1.0 - beside(numbers.crra, units)
        return ((units + 1.0) ** curvature - 1.0) / curvature
