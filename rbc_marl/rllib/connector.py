"""From rollouts to what the loss reads: scaled rewards, values, advantages and targets, on the learner's device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch import Tensor

from rbc_marl.policies.learning import advantages_and_targets, standardise
from rbc_marl.rllib.rollout import Rollout

# Env steps whose hidden layers stay in a CPU's cache; more at once run slower.
SLAB_ROWS = 64


class RolloutsToBatch(ConnectorV2):
    """Learner connector: one row per economy and period, the same rows for every module.

    Every module then has the same number of rows, so that minibatches match, sizes count env steps, and the global part of an
    observation is stored once per row.
    """

    def __init__(
        self,
        input_observation_space: Any = None,  # noqa: ANN401 - RLlib's signature
        input_action_space: Any = None,  # noqa: ANN401
        *,
        discount: float,
        gae_lambda: float,
        reward_scale: dict[str, float],
        device: torch.device | str | None = None,
    ) -> None:
        """Fix the arithmetic.

        Args:
            input_observation_space: Unused; RLlib passes it.
            input_action_space: Unused; RLlib passes it.
            discount: Per period.
            gae_lambda: Weight of longer advantage estimates.
            reward_scale: Divisor of the rewards of each agent type.
            device: Of the learner; None leaves rollouts where they are.
        """
        super().__init__(input_observation_space, input_action_space)
        self.discount = discount
        self.gae_lambda = gae_lambda
        self.reward_scale = reward_scale
        self.device = device

    def __call__(
        self,
        *,
        rl_module: MultiRLModule,
        batch: dict[str, Any],
        episodes: Sequence[Rollout],
        **kwargs: Any,  # noqa: ANN401 - RLlib's signature
    ) -> dict[str, Any]:
        """Turn rollouts into one batch per module.

        Returns:
            By module: observations ("global" [N, G], "private" [N, A, P]), actions [N, A, H], log-probabilities, standardised advantages
            and value targets [N, A], with N = periods x economies, period by period.
        """
        rollout = Rollout.join(episodes)
        if self.device is not None:
            rollout = rollout.to(torch.device(self.device))
        shared = rollout.observations["global"].flatten(0, 1)
        for module_id, module in rl_module.items():
            observations = {"global": shared, "private": rollout.observations[module_id].flatten(0, 1)}
            rewards = rollout.rewards[module_id] / self.reward_scale[module_id]
            with torch.no_grad():
                values = values_in_slabs(module.unwrapped(), observations).view_as(rewards)
            advantages, targets = advantages_and_targets(rewards, values, self.discount, self.gae_lambda)
            batch[module_id] = {
                Columns.OBS: observations,
                Columns.ACTIONS: rollout.actions[module_id].flatten(0, 1),
                Columns.ACTION_LOGP: rollout.logp[module_id].flatten(0, 1),
                Postprocessing.ADVANTAGES: standardise(advantages).flatten(0, 1),
                Postprocessing.VALUE_TARGETS: targets.flatten(0, 1),
            }
        return batch


def values_in_slabs(module: Any, observations: dict[str, Tensor]) -> Tensor:  # noqa: ANN401 - any RLModule with values
    """Values [N, A] of observations, a slab of rows at a time on a CPU and all at once elsewhere."""
    rows = observations["global"].shape[0]
    step = SLAB_ROWS if observations["global"].device.type == "cpu" else rows
    slabs = [
        module.compute_values({Columns.OBS: {key: value[i : i + step] for key, value in observations.items()}})
        for i in range(0, rows, step)
    ]
    return torch.cat(slabs)
