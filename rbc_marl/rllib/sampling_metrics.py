"""What an env runner reports about the episodes it played."""

from __future__ import annotations

from typing import Any

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
from rbc_marl.rllib.rollout import Rollout


def log_rollout(
    metrics: MetricsLogger,
    config: Any,  # noqa: ANN401 - an AlgorithmConfig
    economy: EconomyConfig,
    rollout: Rollout,
    summary: dict[str, Tensor],
    reported: int,
) -> None:
    """Log one rollout: counts of steps, returns, and the reported quantities of its economies.

    Agent steps are counted by agent type: a thousand agents would otherwise make a thousand entries.

    Args:
        metrics: The env runner's logger.
        config: The algorithm's configuration.
        economy: The economy.
        rollout: What was played.
        summary: Reported quantities, one value per economy that is no probe.
        reported: How many economies, from the first, are no probes: returns are theirs.
    """
    window = max(1, config.metrics_num_episodes_for_smoothing // ((config.num_env_runners or 1) * rollout.economies))
    steps, episodes = len(rollout), rollout.economies
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
    total = sum(rollout.rewards[agent_type].sum((0, 2))[:reported] for agent_type in AGENT_TYPES)
    metrics.log_value(EPISODE_LEN_MEAN, economy.horizon, window=window)
    metrics.log_value(EPISODE_RETURN_MEAN, total.mean(), window=window)
    metrics.log_value(EPISODE_RETURN_MIN, total.min(), reduce="min", window=window)
    metrics.log_value(EPISODE_RETURN_MAX, total.max(), reduce="max", window=window)
    for agent_type in AGENT_TYPES:  # the sum over a type's agents, as RLlib defines it
        returns = rollout.rewards[agent_type].sum((0, 2))[:reported].mean()
        metrics.log_value((EPISODE_MODULE_RETURN_MEAN, agent_type), returns, window=window)
    for name, values in summary.items():
        metrics.log_value(name, values.mean(), window=window)
