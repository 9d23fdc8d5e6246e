"""Constant deviations: what somebody gains who makes the same choice in every period. A scan takes seconds.

A learner can miss what a constant finds, and the other way round: reports take the better of the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from rbc_marl.analysis.rollouts import SLAB, Episodes, play
from rbc_marl.choices import choice_tables, head_sizes
from rbc_marl.config import EconomyConfig
from rbc_marl.policies import Policies
from rbc_marl.policies.deviating import DeviatingPolicies, Deviation

# Of the consumers' choices at most so many hours, employers and units are scanned, evenly spread over all there are.
MOST_HOURS, MOST_EMPLOYERS, MOST_UNITS = 12, 12, 4
# Episodes per choice in the first round; each later round keeps a quarter of the choices and plays four times as many.
FIRST_EPISODES, KEPT_SHARE = 8, 4
# So many choices at most come through all rounds.
FINALISTS = 4


@dataclass(frozen=True)
class Target:
    """Who deviates: all agents of a type together, or a single one."""

    agent_type: str
    agent: int | None = None
    """Number of the agent among its type; None: all of them."""

    @property
    def kind(self) -> str:
        """Either "type" or "agent"."""
        return "type" if self.agent is None else "agent"

    @property
    def name(self) -> str:
        """Such as "firm" or "firm-3"."""
        return self.agent_type if self.agent is None else f"{self.agent_type}-{self.agent}"

    def returns(self, episodes: Episodes) -> Tensor:
        """Mean return of the deviators in each episode, [N], in float64."""
        returns = episodes.returns[self.agent_type].double()
        return returns.mean(1) if self.agent is None else returns[:, self.agent]


def constant_choices(config: EconomyConfig, agent_type: str) -> Tensor:
    """The constants that are scanned, [K, H] indices.

    All joint choices of a firm and of a government. Of a consumer a grid: hours, employer, and equally many units of
    every good (budgets ration what is too much, all goods alike), at most 12, 12 and 4 of them. Whoever works no hours
    has one employer only, for it makes no difference which.
    """
    sizes = head_sizes(config, agent_type)
    if agent_type != "consumer":
        return torch.arange(sizes[0]).unsqueeze(-1)
    hours = _spread(len(config.hours_choices), MOST_HOURS)
    employers, units = _spread(config.num_firms, MOST_EMPLOYERS), _spread(len(config.consumption_choices), MOST_UNITS)
    rows = [
        [unit] * config.num_firms + [hour, employer]
        for hour, employer, unit in product(hours, employers, units)
        if config.hours_choices[hour] > 0 or employer == 0
    ]
    return torch.tensor(rows)


def describe(config: EconomyConfig, agent_type: str, choice: Tensor) -> str:
    """A constant in words: choice [H] -> "price 2500, wage 11"."""
    tables = choice_tables(config)
    if agent_type == "consumer":
        units, hours, employer = choice[0], choice[-2], int(choice[-1])
        amount, time = float(tables.consumption[units]), float(tables.hours[hours])
        return f"{amount:g} of every good, {time:g} hours at firm {employer}"
    row = (tables.firm if agent_type == "firm" else tables.government)[choice[0]].tolist()
    if agent_type == "government":
        return f"income tax {row[0]:.0%}, corporate tax {row[1]:.0%}"
    investment = f", investment {row[2]:.0%}" if len(config.investment_choices) > 1 else ""
    return f"price {row[0]:g}, wage {row[1]:g}{investment}"


def scan(policies: Policies, target: Target, episodes: int = 256, seed: int = 0) -> Tensor:
    """The best constants, by successive halving: many choices on few episodes, then fewer choices on more.

    Args:
        policies: Whoever plays otherwise.
        target: Who deviates.
        episodes: Most episodes for a choice in one round.
        seed: Of the draws; each round has its own.

    Returns:
        [K, H] indices of at most four choices, best first.
    """
    alive, count, number = constant_choices(policies.config, target.agent_type), FIRST_EPISODES, 0
    while True:
        means = mean_returns(policies, target, alive, min(count, episodes), seed + number)
        order = means.argsort(descending=True, stable=True)
        is_last = len(alive) <= FINALISTS or count >= episodes
        kept = FINALISTS if is_last else max(len(alive) // KEPT_SHARE, FINALISTS)
        alive = alive[order[:kept]]
        if is_last:
            return alive
        count, number = count * KEPT_SHARE, number + 1


def mean_returns(policies: Policies, target: Target, choices: Tensor, episodes: int, seed: int) -> Tensor:
    """Mean return [K] of deviators who always choose one of ``choices`` [K, H]: all of them side by side."""
    side_by_side = max(SLAB // episodes, 1)
    means = []
    for some in choices.split(side_by_side):
        deviation = Deviation(target.agent_type, target.agent, choice=some.repeat_interleave(episodes, dim=0))
        rows = len(some) * episodes
        played = play(DeviatingPolicies(policies, deviation), rows, seed, slab=rows)
        means.append(target.returns(played).view(len(some), episodes).mean(1))
    return torch.cat(means)


def _spread(count: int, most: int) -> list[int]:
    """At most so many indices below ``count``, the first and the last among them."""
    return sorted({round(index) for index in torch.linspace(0, count - 1, min(count, most)).tolist()})
