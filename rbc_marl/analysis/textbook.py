r"""The textbook case, in closed form: one consumer who owns one firm, log utility, capital that lasts a period.

With n periods left, this one included, the value of capital is ``E_n log K`` and a constant, where ``a`` is the
exponent of capital and ``b`` the discount (Brock and Mirman 1972; McCandless 2008, chapter 6):

    E_1 = a,    E_n = a (1 + b E_{n-1}),    saving rate  s_n = b E_{n-1} / (1 + b E_{n-1}),    s_1 = 0

Far from the end the saving rate is ``a b``. An hour costs at the margin what its wage brings, so that
``theta / 2 (h / usual)^(e - 1) = (1 - a) / ((1 - s_n) h)``, with ``e = 1`` where disutility is linear. Neither depends
on capital or technology: the rule is the same under shocks. The package's utility is of units plus one, ``log(c + 1)``:
where people consume thousands of units the difference is a part in thousands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rbc_marl.analysis.euler import euler_errors, resource_residuals
from rbc_marl.analysis.rollouts import Episodes, play
from rbc_marl.config import EconomyConfig
from rbc_marl.errors import ConfigError
from rbc_marl.mechanics.labour import Linear, Power
from rbc_marl.mechanics.production import CobbDouglas
from rbc_marl.mechanics.utility import Crra
from rbc_marl.policies import Policies

# Periods at either end that are left out of means: capital is on its way, or nobody needs it any more.
ENDS = 5


class ClosedForm(NamedTuple):
    """What is best in each period; float64."""

    saving: Tensor
    """[T] share of output that is invested."""
    hours: Tensor
    """[T] worked."""
    far_saving: float
    """The saving rate far from the end: the exponent of capital times the discount."""


def lacks_closed_form(config: EconomyConfig) -> str:
    """What of an economy makes that there is no closed form, such as "depreciation 0.1"; empty where there is one."""
    needed = {
        "market": "clearing", "firm_objective": "owners", "num_consumers": 1, "num_firms": 1, "crra": 1.0,
        "depreciation": 1.0, "labour_floor": 0.0, "consumption_tax": 0.0,
        "income_tax_choices": (0.0,), "corporate_tax_choices": (0.0,),
    }  # fmt: skip
    kinds: dict[str, tuple[type, ...]] = {
        "utility": (Crra,), "production": (CobbDouglas,), "disutility": (Linear, Power),
    }  # fmt: skip
    lacking = [name for name, value in needed.items() if getattr(config, name) != value]
    lacking += [name for name, kind in kinds.items() if not isinstance(getattr(config, name), kind)]
    moving = config.shocks.on if config.shocks is not None else {}
    words = [config.title_of(name) for name in lacking]
    words += [f"shocks.{name}" for name in moving if name not in ("technology", "workers", "firms")]
    return next(iter(words), "")


def closed_form(config: EconomyConfig) -> ClosedForm:
    """The best saving rates and hours of an economy, period by period.

    Raises:
        ConfigError: The economy is not the textbook case.
    """
    if part := lacks_closed_form(config):
        raise ConfigError(f"there is no closed form with {part}; see rbc_marl.analysis.textbook for what it takes")
    labour, discount = config.labour_exponents[0], config.discount
    capital, disutility = 1.0 - labour, config.disutility
    exponent, usual = (disutility.exponent, disutility.usual) if isinstance(disutility, Power) else (1.0, 1.0)
    saving, later = [], 0.0
    for _ in range(config.horizon):
        saving.append(discount * later / (1.0 + discount * later))
        later = capital * (1.0 + discount * later)
    rates = torch.tensor(saving[::-1], dtype=torch.float64)
    cost = 0.5 * config.labour_disutility * usual ** (1.0 - exponent)
    hours = (labour / ((1.0 - rates) * cost)) ** (1.0 / exponent)
    return ClosedForm(rates, hours, capital * discount)


@dataclass(frozen=True)
class Learned:
    """Saving and hours of episodes beside the closed form."""

    saving: Tensor
    """[T] investment over output, of sums over episodes."""
    hours: Tensor
    """[T] mean over episodes."""
    best: ClosedForm

    def distances(self) -> dict[str, float]:
        """Relative distances from the closed form of means over all periods but `ENDS` at either end.

        Returns:
            ``saving`` and ``hours``, 0.01 for 1% above; ``saving_from_far``, from the exponent of capital times the
            discount; ``worst_saving`` and ``worst_hours``, the largest of a single one of these periods, by size.
        """
        middle = slice(ENDS, len(self.saving) - ENDS)
        saving, hours = self.saving[middle], self.hours[middle]
        best_saving, best_hours = self.best.saving[middle], self.best.hours[middle]
        return {
            "saving": float(saving.mean() / best_saving.mean() - 1.0),
            "hours": float(hours.mean() / best_hours.mean() - 1.0),
            "saving_from_far": float(saving.mean() / self.best.far_saving - 1.0),
            "worst_saving": float((saving / best_saving - 1.0).abs().max()),
            "worst_hours": float((hours / best_hours - 1.0).abs().max()),
        }


def learned(episodes: Episodes) -> Learned:
    """Saving and hours of recorded episodes.

    Raises:
        ConfigError: The episodes were not recorded, have too few periods, or the economy has no closed form.
    """
    episodes.require_periods()
    best, config = closed_form(episodes.config), episodes.config
    if config.horizon <= 2 * ENDS:
        raise ConfigError(f"horizon is {config.horizon}; a middle needs more than {2 * ENDS} periods")
    invested, made = (episodes.firms[name].double().sum(dim=(0, 2)) for name in ("investment", "output"))
    return Learned(invested / made, episodes.periods["hours"].double().mean(dim=0), best)


def measured(policies: Policies, episodes: int = 64, seed: int = 0, *, greedy: bool = True) -> list[dict[str, float]]:
    """What policies do beside the closed form, and what another choice would gain: a row for each period.

    Args:
        policies: Of the consumer and the firm.
        episodes: Where choices are drawn; greedy play has one.
        seed: Of the draws.
        greedy: Whether everybody takes the likeliest choice.

    Returns:
        ``period`` from 1, ``saving`` and ``hours``, ``best_saving`` and ``best_hours`` of the closed form,
        ``consumer_gain`` and ``firm_gain``, Euler errors as shares of the period's consumption, and ``residual``, the
        largest of any identity over all periods as a share of output.

    Raises:
        ConfigError: The economy has no closed form.
    """
    found = learned(play(policies, episodes, seed, greedy, record=True))
    gains = [euler_errors(policies, who, 0, episodes, seed, greedy=greedy).share for who in ("consumer", "firm")]
    residual = max(resource_residuals(policies, episodes, seed, greedy=greedy).values())
    columns = {
        "saving": found.saving, "hours": found.hours, "best_saving": found.best.saving, "best_hours": found.best.hours,
        "consumer_gain": gains[0], "firm_gain": gains[1],
    }  # fmt: skip
    return [
        {"period": t + 1, **{name: float(column[t]) for name, column in columns.items()}, "residual": residual}
        for t in range(len(found.saving))
    ]
