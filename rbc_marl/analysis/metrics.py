"""The reported quantities, defined once for training, evaluation and every table.

Hours are per consumer and period. Consumption, output and exports are units per consumer and period, over all firms.
Price and wage are the unweighted means over firms, and taxes the rates, in force in the period. Returns are sums over
the episode per agent. Welfare is the sum over the episode, in both definitions, whichever the government maximises.

Everything here is tensors [B], one entry per economy. Nothing is read on the host, so that a learner can call it each
period.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from rbc_marl.config import EconomyConfig
from rbc_marl.economy import EconomyState, Flows

# Mean hours below this share of the most one can choose: nobody works to speak of, and the economy is dead.
COLLAPSE_SHARE = 0.1
# Quantities that an episode reports as the mean over its periods; the others it reports as sums.
MEANS = ("hours", "consumption", "sales", "output", "exports", "price", "wage", "income_tax", "corporate_tax")
SUMS = {
    "consumer_reward": "consumer_return",
    "firm_reward": "firm_return",
    "government_reward": "government_return",
    "welfare_consumers": "welfare_consumers",
    "welfare_total": "welfare_total",
}
"""Quantities of a period whose sum an episode reports, and the name of that sum."""
QUANTITIES = (*MEANS, *SUMS.values())
"""Everything that is reported of an episode."""


def period_quantities(config: EconomyConfig, state: EconomyState, flows: Flows) -> dict[str, Tensor]:
    """Quantities of one period, each [B].

    Args:
        config: The economy.
        state: At the start of the period: its prices, wages and taxes were in force.
        flows: What happened in it.

    Returns:
        `MEANS` and the keys of `SUMS`; rewards are means over the agents of a type. ``sales`` are units sold to
        consumers, measured at the firms: equal to ``consumption``, measured at the consumers.
    """
    consumers = config.num_consumers
    welfare_consumers = flows.consumer_reward.sum(dim=1)
    return {
        "hours": flows.hours.mean(dim=1),
        "consumption": flows.consumption.sum(dim=(1, 2)) / consumers,
        "sales": flows.sales.sum(dim=1) / consumers,
        "output": flows.output.sum(dim=1) / consumers,
        "exports": flows.exports.sum(dim=1) / consumers,
        "price": state.price.mean(dim=1),
        "wage": state.wage.mean(dim=1),
        "income_tax": state.income_tax,
        "corporate_tax": state.corporate_tax,
        "consumer_reward": flows.consumer_reward.mean(dim=1),
        "firm_reward": flows.firm_reward.mean(dim=1),
        "government_reward": flows.government_reward,
        "welfare_consumers": welfare_consumers,
        "welfare_total": welfare_consumers + config.firm_welfare_weight * flows.firm_reward.sum(dim=1),
    }


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
        self._totals: dict[str, Tensor] = {}

    def add(self, state: EconomyState, flows: Flows) -> None:
        """Add one period: the state at its start, and what happened in it."""
        quantities = period_quantities(self.config, state, flows)
        self._totals = {
            name: self._totals[name] + value if self._totals else value for name, value in quantities.items()
        }
        self.periods += 1

    def result(self) -> dict[str, Tensor]:
        """`QUANTITIES` of each episode, [B] each.

        Raises:
            ValueError: No period has been added.
        """
        if self.periods == 0:
            raise ValueError("no period has been added; call add(state, flows) after each")
        means = {name: self._totals[name] / self.periods for name in MEANS}
        return means | {reported: self._totals[name] for name, reported in SUMS.items()}


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
    """Whether an economy with these mean hours per consumer and period is dead (`COLLAPSE_SHARE`)."""
    return mean_hours < COLLAPSE_SHARE * max(config.hours_choices)
