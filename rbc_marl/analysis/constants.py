"""Constant deviations: the return of a deviator that makes the same choice in every period. A scan takes seconds.

A learner can miss what a constant finds, and the other way round: reports take the better of the two.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from rbc_marl.analysis.deviators import Deviator
from rbc_marl.analysis.rollouts import SLAB, play
from rbc_marl.choices import choice_tables, head_sizes
from rbc_marl.config import EconomyConfig
from rbc_marl.policies import Policies
from rbc_marl.policies.deviating import DeviatingPolicies

# Of the consumers' choices at most so many hours, employers and units are scanned, evenly spread over all there are.
MOST_HOURS, MOST_EMPLOYERS, MOST_UNITS = 12, 12, 4
# Episodes per choice in the first round; each later round keeps a quarter of the choices and plays four times as many.
FIRST_EPISODES, SHRINKAGE = 8, 4
# So many choices at most come through all rounds.
FINALISTS = 4


def constant_choices(config: EconomyConfig, agent_type: str) -> Tensor:
    """The constants that are scanned, [K, H] indices.

    All joint choices of a firm and of a government. Of a consumer a grid: hours, employer, and equally many units of
    every good (budgets ration what is too much, all goods alike), at most 12, 12 and 4 of them. Without hours of
    work one employer is enough, for it makes no difference which.
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


def scan(policies: Policies, deviator: Deviator, episodes: int = 256, seed: int = 0) -> Tensor:
    """The best constants, by successive halving: many choices on few episodes, then fewer choices on more.

    Args:
        policies: What everybody plays who does not deviate.
        deviator: Who deviates.
        episodes: Most episodes for a choice in one round.
        seed: Of the draws; each round has its own.

    Returns:
        [K, H] indices of at most four choices, best first.
    """
    choices, count, number = constant_choices(policies.config, deviator.agent_type), FIRST_EPISODES, 0
    while True:
        means = mean_returns(policies, deviator, choices, min(count, episodes), seed + number)
        order = means.argsort(descending=True, stable=True)
        is_last = len(choices) <= FINALISTS or count >= episodes
        num_kept = FINALISTS if is_last else max(len(choices) // SHRINKAGE, FINALISTS)
        choices = choices[order[:num_kept]]
        if is_last:
            return choices
        count, number = count * SHRINKAGE, number + 1


def mean_returns(policies: Policies, deviator: Deviator, choices: Tensor, episodes: int, seed: int) -> Tensor:
    """Mean return [K] of a deviator that makes one of ``choices``, [K, H] or by period [K, T, H]: all side by side.

    Raises:
        UserError: A return is not finite.
    """
    means = []
    for chunk in choices.split(max(SLAB // episodes, 1)):
        deviation = deviator.deviation(choice=chunk.repeat_interleave(episodes, dim=0))
        rows = len(chunk) * episodes
        played = play(DeviatingPolicies(policies, deviation), rows, seed, slab=rows)
        means.append(deviator.returns(played).view(len(chunk), episodes).mean(1))
    return torch.cat(means)


def _spread(count: int, most: int) -> list[int]:
    """At most so many indices below ``count``, the first and the last among them."""
    return sorted({round(index) for index in torch.linspace(0, count - 1, min(count, most)).tolist()})
