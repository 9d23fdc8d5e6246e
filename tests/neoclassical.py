"""The planner's problem of one consumer and one firm, solved from its first-order conditions: numpy and scipy alone.

    max  sum_t b^t (log(c_t + 1) - theta / 2 h_t),    c_t = y_t + (1 - d) k_t - k_{t+1},    y_t = A_t k_t^a h_t^(1 - a)

Consumption follows ``1 / (c_t + 1) = b / (c_{t+1} + 1) (a y_{t+1} / k_{t+1} + 1 - d)``, hours ``theta / 2 (c_t + 1) =
(1 - a) y_t / h_t``. Capital is given at the start and worth nothing after the end. Nothing here knows the package.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import root


@dataclass(frozen=True)
class Model:
    """Numbers of the problem."""

    capital_share: float
    discount: float
    depreciation: float
    theta: float
    technology: float

    def output(self, technology, capital, hours):
        return technology * capital**self.capital_share * hours ** (1.0 - self.capital_share)

    def steady_state(self):
        """Capital and hours that stay as they are."""
        a, b, d, z = self.capital_share, self.discount, self.depreciation, self.technology
        per_hour = ((1.0 / b - 1.0 + d) / (a * z)) ** (1.0 / (a - 1.0))  # capital
        wage = (1.0 - a) * z * per_hour**a
        consumption = 2.0 * wage / self.theta - 1.0
        hours = consumption / (z * per_hour**a - d * per_hour)
        return per_hour * hours, hours


@dataclass(frozen=True)
class Path:
    """Of T periods: capital [T + 1], the rest [T]."""

    capital: np.ndarray
    hours: np.ndarray
    output: np.ndarray
    consumption: np.ndarray

    @property
    def saving(self):
        return 1.0 - self.consumption / self.output


def solve(model: Model, first: float, technology: np.ndarray) -> Path:
    """The best path from a first capital, where technology [T] is known."""
    periods, keeps = len(technology), 1.0 - model.depreciation
    steady, usual = model.steady_state()

    def unpack(x):
        capital = np.concatenate([[first], np.exp(x[: periods - 1]), [0.0]])
        hours = np.exp(x[periods - 1 :])
        output = model.output(technology, capital[:-1], hours)
        return capital, hours, output, output + keeps * capital[:-1] - capital[1:]

    def conditions(x):
        capital, hours, output, consumption = unpack(x)
        worth = consumption + 1.0
        returns = model.capital_share * output[1:] / capital[1:-1] + keeps
        euler = model.discount * returns * worth[:-1] - worth[1:]
        work = (1.0 - model.capital_share) * output / hours - 0.5 * model.theta * worth
        return np.concatenate([euler / steady, work / model.theta / steady])

    guess = np.concatenate([np.full(periods - 1, np.log(steady)), np.full(periods, np.log(usual))])
    guess[: periods - 1] -= np.linspace(0.0, 3.0, periods - 1) ** 8 / 3.0**7  # little is left at the end
    found = root(conditions, guess, tol=1e-12)
    assert np.abs(conditions(found.x)).max() < 1e-9, found.message
    return Path(*unpack(found.x))
