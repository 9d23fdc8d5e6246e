"""The arithmetic of learning from whole episodes: advantages and the clipped policy loss (appendix of the paper)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

# Advantages are divided by at least this much, as RLlib does: a constant reward must not blow up to noise.
SMALLEST_DEVIATION = 1e-4


def advantages_and_targets(
    rewards: Tensor, values: Tensor, discount: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates of whole episodes.

    The horizon ends a finite game: nothing is expected after the last period. With ``gae_lambda`` 1 the targets are the
    discounted returns.

    Args:
        rewards: [T, ...] in the order of periods.
        values: [T, ...] estimates for the same periods.
        discount: Per period.
        gae_lambda: Weight of longer estimates, from 0 to 1.

    Returns:
        Advantages [T, ...], not standardised, and value targets [T, ...].
    """
    next_values = torch.cat([values[1:], torch.zeros_like(values[:1])])
    errors = rewards + discount * next_values - values
    advantages = torch.empty_like(errors)
    running = torch.zeros_like(errors[0])
    for t in range(errors.shape[0] - 1, -1, -1):
        running = errors[t] + discount * gae_lambda * running
        advantages[t] = running
    return advantages, advantages + values


def standardise(advantages: Tensor, weights: Tensor | None = None) -> Tensor:
    """Shift and scale to mean 0 and standard deviation 1, over all entries of weight 1.

    Args:
        advantages: [...].
        weights: Broadcastable to it, 0 or 1; None counts everything.
    """
    mean = weighted_mean(advantages, weights)
    deviation = weighted_mean((advantages - mean).square(), weights).sqrt()
    return (advantages - mean) / deviation.clamp(min=SMALLEST_DEVIATION)


def weighted_mean(values: Tensor, weights: Tensor | None, runs: int = 1) -> Tensor:
    """Mean of the entries of weight 1.

    Args:
        values: [...], rows of the first run first.
        weights: Broadcastable to it, 0 or 1; None counts everything.
        runs: How many runs the rows belong to.

    Returns:
        A scalar; of several runs, [R].
    """
    if weights is None:
        return mean_of_runs(values, runs)
    weights = weights.expand_as(values)
    return sum_of_runs(values * weights, runs) / sum_of_runs(weights, runs).clamp(min=1.0)


def mean_of_runs(values: Tensor, runs: int = 1) -> Tensor:
    """Mean of all entries; of several runs that of each, [R]."""
    return values.mean() if runs == 1 else values.reshape(runs, -1).mean(1)


def sum_of_runs(values: Tensor, runs: int = 1) -> Tensor:
    """Sum of all entries; of several runs that of each, [R]."""
    return values.sum() if runs == 1 else values.reshape(runs, -1).sum(1)


class LossTerms(NamedTuple):
    """Terms of the loss, each a mean over agents and periods: a scalar, or [R] of several runs."""

    total: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor


def clipped_loss(
    logp: Tensor,
    entropy: Tensor,
    values: Tensor,
    *,
    behaviour_logp: Tensor,
    advantages: Tensor,
    value_targets: Tensor,
    clip: float,
    value_weight: float,
    entropy_weight: float | Tensor,
    huber_delta: float,
    weights: Tensor | None = None,
    runs: int = 1,
) -> LossTerms:
    """The clipped surrogate loss with a Huber value loss.

    Args:
        logp: [...] log-probability of the actions taken, under the policy being trained.
        entropy: [...] of that policy.
        values: [...] estimates.
        behaviour_logp: [...] log-probability when the actions were taken.
        advantages: [...] standardised.
        value_targets: [...] in units of scaled reward.
        clip: How far the probability ratio may move from one.
        value_weight: Of the value loss.
        entropy_weight: Of the entropy bonus.
        huber_delta: Error from which the value loss grows linearly: a first estimate of money far off must not drown
            the rest.
        weights: Broadcastable to [...], 0 where nothing is to be learned; None counts everything.
        runs: How many runs the rows belong to, run by run.

    Returns:
        The total to minimise, and its terms.
    """
    ratio = torch.exp(logp - behaviour_logp)
    surrogate = torch.min(advantages * ratio, advantages * ratio.clamp(1.0 - clip, 1.0 + clip))
    policy = -weighted_mean(surrogate, weights, runs)
    errors = functional.huber_loss(values, value_targets, delta=huber_delta, reduction="none")
    value = weighted_mean(errors, weights, runs)
    mean_entropy = weighted_mean(entropy, weights, runs)
    return LossTerms(policy + value_weight * value - entropy_weight * mean_entropy, policy, value, mean_entropy)
