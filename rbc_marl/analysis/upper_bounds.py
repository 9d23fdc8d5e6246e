r"""Upper bounds on what single consumers can get, by Lagrangian duality.

A consumer who takes the path that was played as given (prices, wages, tax rates, and what everybody else pays into the
pool of taxes) solves a concave programme: units from 0 to the most of each good, hours from the fewest to the most at
the best net wage, and in every period no more spending than there is money. Nothing is rationed, units need not be
whole, and the consumer knows the whole path: it can only get more than a consumer in the economy, who knows less.

Money at the start of period t, with interest R = 1 + r on whatever is left, never below 0 (rounding aside):

    m_t = R^t m_0 + sum_{s < t} R^(t-s) (income_s + w_s h_s - p'_s c_s),        p_t c_t <= m_t

The multiplier of the second line is mu_t >= 0, and lambda_s = sum_{t > s} mu_t R^(t-s) is the value of money at the end
of period s. For any multipliers at all

    sum_t mu_t R^t m_0 + sum_s lambda_s income_s
    + sum_{t,f} max_c [u(c) - (mu_t p_tf + lambda_t p'_tf) c] + sum_t max_h h (lambda_t w_t - theta / 2)

is no less than the best return (weak duality): c = q^(-1/eta) - 1 within its limits solves the first maximum, and the
second is at one of its ends. Other utilities have other solutions, as long as they are sums over goods, and so have
other disutilities of labour (`lacks_bounds`). Descent looks for multipliers of a small bound; a poor search gives a
larger, valid one.

What the consumer itself does to the pool and to dividends within a period counts in its favour. Of the income tax on
its own pay, and of the tax on what it buys, a share 1/C comes back. Of what it spends firms pass on at most k, their
tax and the dividend of the rest, and 1/C of that comes back; and if it leaves the employer that it had, no more than
k/C of its pay. w and p' are net of that, and income is what it was without the tax on its own pay. A penalty on debt
can only lower a return, and is left out. What the consumer's choices do to what others choose, and through firms'
stocks to later periods, is not in the bound: it is measured, as the difference of the bounds along the paths with and
without a deviation.
There are no bounds under shocks to what consumers are paid or like (`lacks_bounds`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from rbc_marl.config import EconomyConfig
from rbc_marl.economy import EconomyState, Flows
from rbc_marl.economy.baskets import units_at
from rbc_marl.economy.markets import with_consumption_tax
from rbc_marl.errors import ConfigError
from rbc_marl.mechanics.taxes import Equal, Flat
from rbc_marl.mechanics.utility import AdditiveUtility

STEPS = 400
# Of the logarithms of multipliers, in the first step; it falls to 0.
_RATE = 0.3
# Returns are sums of numbers of 24 bits: a bound may lie below a return by so large a share of utility. More than that
# it must not.
ROUNDING = 2e-6


# Numbers that the bound reads in the configuration: where they move by period, there are no bounds.
_READ = ("workers", "crra", "interest_rate", "consumer_grant", "dividend_share", "consumption_tax")


def lacks_bounds(config: EconomyConfig, moved: Collection[str] = ()) -> str:
    """What of an economy makes that there are no bounds, such as "wage_tax brackets"; empty where there are.

    Args:
        config: The economy.
        moved: Numbers that something imposed moves, beside its own shocks (`rbc_marl.policies.imposed.Law.factors`).
    """
    zero = torch.zeros(())
    is_known = {
        "market": config.market == "posted",
        "discount": config.discount == 1.0,
        "utility": isinstance(config.utility, AdditiveUtility),
        "disutility": config.disutility.best_hours(zero, zero, 0.0, 0.0) is not None,
        "wage_tax": isinstance(config.wage_tax, Flat),
        "transfers": isinstance(config.transfers, Equal),
    }
    lacking = [config.title_of(name) for name, known in is_known.items() if not known]
    moving = config.shocks.on if config.shocks is not None else {}
    lacking += [f"shocks.{name}" for name in _READ if name in moving]
    return next(iter(lacking + [f"factors on {name}" for name in _READ if name in moved]), "")


class PricePath(NamedTuple):
    """What consumers take as given: N episodes, A consumers, T periods, F goods, in float64."""

    price: Tensor
    """[N, 1, T, F] in force, with the tax on consumption."""
    price_after_tax: Tensor
    """[N, 1, T, F] less what of it comes back from the pool at most."""
    pay: Tensor
    """[N, 1, T] for an hour, after tax and what comes back of it, at the firm that pays best."""
    income: Tensor
    """[N, A, T] money that comes in whatever the consumer does."""
    labour_disutility: Tensor
    """[N, A, 1] utility lost per two hours of work."""
    money: Tensor
    """[N, A] at the start."""


@dataclass
class PathRecorder:
    """Keeps what some consumers take as given, of episodes that `rbc_marl.analysis.rollouts.play` shows it."""

    config: EconomyConfig
    consumers: tuple[int, ...]
    periods: list[PricePath] = field(default_factory=list)

    def __call__(self, state: EconomyState, indices: Mapping[str, Tensor], flows: Flows) -> None:
        """Keep a period of a slab."""
        del indices
        config, who = self.config, list(self.consumers)
        share = 1.0 / config.num_consumers
        income_tax, corporate_tax = state.income_tax.double()[:, None], state.corporate_tax.double()[:, None]
        passed_on = corporate_tax + config.dividend_share * (1.0 - corporate_tax)
        on_goods = config.consumption_tax
        received = flows.transfer + flows.dividends.sum(1) * share
        pay, price = flows.wage_income.double()[:, who], state.price.double()[:, None]
        bought = with_consumption_tax(price, on_goods)
        own = (passed_on - income_tax) * pay * share
        period = PricePath(
            price=bought,
            price_after_tax=bought - price * share * (passed_on.unsqueeze(-1) + on_goods),
            pay=(1.0 - (1.0 - share) * income_tax) * state.wage.double().amax(1, keepdim=True),
            income=config.consumer_grant + received.double()[:, None] + own,
            labour_disutility=state.labour_disutility.double()[:, who],
            money=state.consumer_budget.double()[:, who],
        )
        self.periods.append(PricePath(*(x.cpu() for x in period)))

    def path(self) -> PricePath:
        """All episodes that were shown, one after another."""
        horizon = self.config.horizon
        slabs = [self.periods[i : i + horizon] for i in range(0, len(self.periods), horizon)]
        whole = [PricePath(*(torch.stack(parts, dim=2) for parts in zip(*slab, strict=True))) for slab in slabs]
        path = PricePath(*(torch.cat(parts) for parts in zip(*whole, strict=True)))
        return path._replace(labour_disutility=path.labour_disutility[..., :1], money=path.money[..., 0])


def upper_bounds(config: EconomyConfig, path: PricePath, steps: int = STEPS) -> tuple[Tensor, Tensor]:
    """Upper bounds on the returns of consumers who take a path as given.

    Args:
        config: The economy.
        path: What they take as given.
        steps: Of the descent. Any number gives a bound.

    Returns:
        The bounds [N, A], in utility, and the values of money at the end of each period that belong to them
        [N, A, T], in utility per unit of money.

    Raises:
        ConfigError: The economy has a part for which there are no bounds.
    """
    if part := lacks_bounds(config):
        raise ConfigError(f"there are no upper bounds with {part}; compare with the best deviation that was found")
    shape = path.income.shape
    positive = path.price > 0.0
    typical = (path.price.sum((2, 3)) / positive.sum((2, 3)).clamp(min=1)).clamp(min=1e-6)
    logs = -(typical.log().unsqueeze(-1).expand(shape)).clone()
    mean, square = torch.zeros_like(logs), torch.zeros_like(logs)
    best = torch.full(shape[:2], torch.inf, dtype=torch.float64)
    best_multipliers = logs.exp()
    for step in range(steps + 1):
        multipliers = logs.exp()
        bound, slack = dual(config, path, multipliers)
        is_better = bound < best
        best = torch.where(is_better, bound, best)
        best_multipliers = torch.where(is_better.unsqueeze(-1), multipliers, best_multipliers)
        gradient = multipliers * slack
        # Adam, on logarithms: multipliers of goods at 500 and at 2500 differ by orders of magnitude.
        mean, square = 0.8 * mean + 0.2 * gradient, 0.95 * square + 0.05 * gradient**2
        direction = (mean / (1 - 0.8 ** (step + 1))) / ((square / (1 - 0.95 ** (step + 1))).sqrt() + 1e-12)
        logs = logs - _RATE * (1.0 - step / (steps + 1)) * direction
    later = best_multipliers @ _growth(config, shape[-1])
    return best, later


def dual(config: EconomyConfig, path: PricePath, multipliers: Tensor) -> tuple[Tensor, Tensor]:
    """The bound that multipliers give, and its gradient.

    Args:
        config: The economy.
        path: What consumers take as given.
        multipliers: [N, A, T], at least 0, of the constraint that spending is no more than money.

    Returns:
        The bound [N, A], `ROUNDING` included, and [N, A, T] how much more money there is than is spent.
    """
    growth = _growth(config, multipliers.shape[-1])
    later = multipliers @ growth  # [N, A, T]
    start = path.money.clamp(min=0.0).unsqueeze(-1) * (1.0 + config.interest_rate) ** torch.arange(growth.shape[0])
    cost = multipliers.unsqueeze(-1) * path.price + later.unsqueeze(-1) * path.price_after_tax
    assert isinstance(config.utility, AdditiveUtility)
    units = units_at(config, cost, max(config.consumption_choices))
    pay, ends = later * path.pay, (min(config.hours_choices), max(config.hours_choices))
    hours = config.disutility.best_hours(pay, path.labour_disutility, *ends)
    assert hours is not None
    utility = config.utility.of_good(units, config)
    bound = (utility - cost * units).sum((-1, -2))
    bound = bound + config.disutility.net(pay, hours, path.labour_disutility).sum(-1)
    bound = bound + (multipliers * start).sum(-1) + (later * path.income).sum(-1)
    earned = path.income + path.pay * hours - (path.price_after_tax * units).sum(-1)
    slack = start + earned @ growth.T - (path.price * units).sum(-1)
    effort = config.disutility.effort(hours, path.labour_disutility)
    rounding = ROUNDING * (utility.sum((-1, -2)) + effort.sum(-1) + 1.0)
    return bound + rounding, slack


def _growth(config: EconomyConfig, periods: int) -> Tensor:
    """[T, T]: what money at the end of period s (columns) has grown to at the start of period t (rows), if later."""
    time = torch.arange(periods, dtype=torch.float64)
    ages = time.unsqueeze(1) - time
    return torch.where(ages > 0, (1.0 + config.interest_rate) ** ages.clamp(min=0), 0.0)
