"""What an env runner reports about the episodes it played."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ray.rllib.utils.metrics import (
    EPISODE_LEN_MEAN,
    EPISODE_MODULE_RETURN_MEAN,
    EPISODE_RETURN_MAX,
    EPISODE_RETURN_MEAN,
    EPISODE_RETURN_MIN,
    NUM_AGENT_STEPS_SAMPLED,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
    NUM_EPISODES_LIFETIME,
    NUM_MODULE_STEPS_SAMPLED,
    NUM_MODULE_STEPS_SAMPLED_LIFETIME,
)
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger
from torch import Tensor

from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.rllib.roles import DEVIATOR
from rbc_marl.rllib.rollout import Rollout


def log_rollouts(
    metrics: MetricsLogger,
    config: Any,  # noqa: ANN401 - an AlgorithmConfig
    economy: EconomyConfig,
    rollouts: Sequence[Rollout],
    summaries: Sequence[dict[str, Tensor]],
    probes: int,
) -> None:
    """Log the rollouts of one call, as one: counts of steps, returns, and the reported quantities of their economies.

    Agent steps are counted by agent type: a thousand agents would otherwise make a thousand entries.

    Args:
        metrics: The env runner's logger.
        config: The algorithm's configuration.
        economy: The economy.
        rollouts: What was played; of none, only that there were none.
        summaries: Reported quantities of each rollout, one value per economy that is no probe.
        probes: How many economies, the last of all, are probes: returns are those of the others.
    """
    steps, episodes = sum(len(rollout) for rollout in rollouts), sum(rollout.economies for rollout in rollouts)
    metrics.log_value(NUM_ENV_STEPS_SAMPLED, steps, reduce="sum")
    metrics.log_value(NUM_ENV_STEPS_SAMPLED_LIFETIME, steps, reduce="lifetime_sum", with_throughput=True)
    metrics.log_value(NUM_EPISODES, episodes, reduce="sum")
    metrics.log_value(NUM_EPISODES_LIFETIME, episodes, reduce="lifetime_sum")
    for agent_type in AGENT_TYPES:
        agent_steps = steps * economy.agents(agent_type)
        for key, reduce in (
            (NUM_AGENT_STEPS_SAMPLED, "sum"),
            (NUM_AGENT_STEPS_SAMPLED_LIFETIME, "lifetime_sum"),
            (NUM_MODULE_STEPS_SAMPLED, "sum"),
            (NUM_MODULE_STEPS_SAMPLED_LIFETIME, "lifetime_sum"),
        ):
            metrics.log_value((key, agent_type), agent_steps, reduce=reduce)
    if config.deviator:  # one agent: its steps are env steps, and among those of its type above
        metrics.log_value((NUM_MODULE_STEPS_SAMPLED, DEVIATOR), steps, reduce="sum")
        metrics.log_value((NUM_MODULE_STEPS_SAMPLED_LIFETIME, DEVIATOR), steps, reduce="lifetime_sum")
    if not rollouts:
        return
    window = max(1, config.metrics_num_episodes_for_smoothing // ((config.num_env_runners or 1) * episodes))
    returns = {
        agent_type: torch.cat([r.rewards[agent_type].sum((0, 2)) for r in rollouts])[: episodes - probes]
        for agent_type in AGENT_TYPES
    }
    total = torch.stack(list(returns.values())).sum(0)
    metrics.log_value(EPISODE_LEN_MEAN, economy.horizon, window=window)
    metrics.log_value(EPISODE_RETURN_MEAN, total.mean(), window=window)
    metrics.log_value(EPISODE_RETURN_MIN, total.min(), reduce="min", window=window)
    metrics.log_value(EPISODE_RETURN_MAX, total.max(), reduce="max", window=window)
    for agent_type in AGENT_TYPES:  # the sum over a type's agents, as RLlib defines it
        metrics.log_value((EPISODE_MODULE_RETURN_MEAN, agent_type), returns[agent_type].mean(), window=window)
    if config.deviator:
        agent_type, agent = config.deviator["type"], config.deviator["agent"]
        own = torch.cat([r.rewards[agent_type][..., agent].sum(0) for r in rollouts])[: episodes - probes]
        metrics.log_value((EPISODE_MODULE_RETURN_MEAN, DEVIATOR), own.mean(), window=window)
    for name in summaries[0]:
        metrics.log_value(name, torch.cat([summary[name] for summary in summaries]).mean(), window=window)
