"""The reported quantities, defined once for training, evaluation and every table.

Hours are per consumer and period. Consumption, output, exports and stocks are units per consumer and period, over all
firms. Price and wage are the unweighted means over firms, and taxes the rates, in force in the period. Returns are sums
over the episode per agent. Welfare is the sum over the episode, in both definitions, whichever the government
maximises. The means over all periods mix a first one, in which there are no goods, and a last one, in which nobody
needs money, into everything: each stands beside the mean over the periods between, under its name after ``middle_``.

Everything here is tensors [B], one entry per economy. Nothing is read on the host, so that a learner can call it each
period. What takes whole episodes of all firms to measure is in `rbc_marl.analysis.indicators`.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from rbc_marl.config import EconomyConfig
from rbc_marl.economy import EconomyState, Flows
from rbc_marl.economy.clearing import wage_paid

# Mean hours below this share of the most one can choose: nobody works to speak of, and an open economy is dead.
COLLAPSE_SHARE = 0.1
# Quantities that an episode reports as the mean over its periods, by subject; the others it reports as sums.
WORK = ("hours", "employment", "wage")
GOODS = ("output", "consumption", "sales", "exports", "inventory", "unsold")
PRICES = ("price", "price_std")
TAXES = ("income_tax", "corporate_tax", "tax_revenue", "transfer")
MEANS = (*WORK, *GOODS, *PRICES, *TAXES)
MIDDLE_MEANS = tuple(f"middle_{name}" for name in MEANS)
"""The same over periods 2 to T - 1; over all periods where there are fewer than three."""
SUMS = {
    "trade": "trade_periods",
    "consumer_reward": "consumer_return",
    "firm_reward": "firm_return",
    "government_reward": "government_return",
    "welfare_consumers": "welfare_consumers",
    "welfare_total": "welfare_total",
}
"""Quantities of a period whose sum an episode reports, and the name of that sum."""
QUANTITIES = (*MEANS, *MIDDLE_MEANS, *SUMS.values())
"""Everything that is reported of an episode."""


def period_quantities(config: EconomyConfig, state: EconomyState, flows: Flows) -> dict[str, Tensor]:
    """Quantities of one period, each [B].

    Args:
        config: The economy.
        state: At the start of the period: its prices, wages and taxes were in force.
        flows: What happened in it.

    Returns:
        `MEANS` and the keys of `SUMS`; rewards are means over the agents of a type. ``employment`` is the share of
        consumers who work at all. ``sales`` are units sold to consumers, measured at the firms: equal to
        ``consumption``, measured at the consumers. ``inventory`` is what could be sold in the period, ``unsold`` what
        is left of it. ``price_std`` is the standard deviation over firms. ``tax_revenue`` and ``transfer`` are money
        per consumer. ``trade`` is 1 where any unit was sold, to consumers or abroad, else 0.
    """
    consumers = config.num_consumers
    welfare_consumers = flows.consumer_reward.sum(dim=1)
    unsold = state.inventory - flows.sales - flows.exports
    if config.market == "clearing":  # nothing is left of what is made
        unsold = torch.zeros_like(unsold)
    sales, exports = flows.sales.sum(dim=1) / consumers, flows.exports.sum(dim=1) / consumers
    return {
        "hours": flows.hours.mean(dim=1),
        "employment": (flows.hours > 0).to(flows.hours.dtype).mean(dim=1),
        "wage": wage_paid(config, state, flows).mean(dim=1),
        "output": flows.output.sum(dim=1) / consumers,
        "consumption": flows.consumption.sum(dim=(1, 2)) / consumers,
        "sales": sales,
        "exports": exports,
        "inventory": state.inventory.sum(dim=1) / consumers,
        "unsold": unsold.sum(dim=1) / consumers,
        "price": state.price.mean(dim=1),
        "price_std": state.price.std(dim=1, correction=0),
        "income_tax": state.income_tax,
        "corporate_tax": state.corporate_tax,
        "tax_revenue": flows.tax_pool / consumers,
        "transfer": flows.transfer,
        "trade": (sales + exports > 0).to(sales.dtype),
        "consumer_reward": flows.consumer_reward.mean(dim=1),
        "firm_reward": flows.firm_reward.mean(dim=1),
        "government_reward": flows.government_reward,
        "welfare_consumers": welfare_consumers,
        "welfare_total": welfare_consumers + config.firm_welfare_weight * flows.firm_reward.sum(dim=1),
    }


def middle(horizon: int) -> slice:
    """Periods 2 to T - 1 of T, from 0: those with goods and with a future; all where there are fewer than three."""
    return slice(1, horizon - 1) if horizon > 2 else slice(0, horizon)


class EpisodeMetrics:
    """The reported quantities of a batch of episodes, added up period by period.

    Attributes:
        config: The economy.
        periods: How many periods have been added.
    """

    def __init__(self, config: EconomyConfig) -> None:
        """Start with no period."""
        self.config = config
        self.periods = 0
        self._middle = range(config.horizon)[middle(config.horizon)]
        self._sums: list[Tensor] = []  # [quantities, B], over all periods and over those of the middle

    def add(self, state: EconomyState, flows: Flows) -> None:
        """Add one period: the state at its start, and what happened in it."""
        self.add_quantities(torch.stack(tuple(period_quantities(self.config, state, flows).values())))

    def add_quantities(self, values: Tensor) -> None:
        """Add one period: its `period_quantities`, stacked [quantities, B]."""
        counts = (True, self.periods in self._middle)
        sums = self._sums or [torch.zeros_like(values) for _ in counts]
        self._sums = [total + values if is_counted else total for total, is_counted in zip(sums, counts, strict=True)]
        self.periods += 1

    def result(self) -> dict[str, Tensor]:
        """`QUANTITIES` of each episode, [B] each.

        Raises:
            ValueError: Periods are missing.
        """
        if self.periods < self.config.horizon:
            had = f"{self.periods} of {self.config.horizon}" if self.periods else "no"
            raise ValueError(f"{had} period has been added; call add(state, flows) after each")
        totals, middles = (dict(zip((*MEANS, *SUMS), total, strict=True)) for total in self._sums)
        means = {name: totals[name] / self.periods for name in MEANS}
        means |= {f"middle_{name}": middles[name] / len(self._middle) for name in MEANS}
        return means | {reported: totals[name] for name, reported in SUMS.items()}


def summarise(config: EconomyConfig, states: Iterable[EconomyState], flows: Iterable[Flows]) -> dict[str, Tensor]:
    """`QUANTITIES` of a batch of whole episodes.

    Args:
        config: The economy.
        states: At the start of each period.
        flows: Of each period.
    """
    metrics = EpisodeMetrics(config)
    for state, flow in zip(states, flows, strict=True):
        metrics.add(state, flow)
    return metrics.result()


def collapsed(config: EconomyConfig, mean_hours: float) -> bool:
    """Whether an open economy with these mean hours per consumer and period is dead (`COLLAPSE_SHARE`).

    A closed one can live with few hours, for its money circulates once: see `rbc_marl.analysis.outcomes`.
    """
    return config.open_economy and mean_hours < COLLAPSE_SHARE * max(config.hours_choices)
