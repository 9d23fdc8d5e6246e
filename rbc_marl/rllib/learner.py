"""The learner of the batched path: RLlib's PPO learner with a loss for many agents per row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from ray.rllib.algorithms.ppo.ppo import LEARNER_RESULTS_VF_EXPLAINED_VAR_KEY
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import ENTROPY_KEY, POLICY_LOSS_KEY, VF_LOSS_KEY
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from torch import Tensor

from rbc_marl.policies.learning import clipped_loss
from rbc_marl.rllib.connector import RolloutsToBatch
from rbc_marl.rllib.seeding import generator_at

# Tells the draws of minibatches from those of env runners with the same seed.
_MINIBATCH_STREAM = 1


class EconomyPPOLearner(PPOTorchLearner):
    """PPO on rows that are economy-periods.

    It differs from RLlib's learner in four things: rollouts become batches in one connector; minibatches are the same rows for every
    module, in an order that depends on the seed and the env steps so far alone; the loss reads logits and values of one pass, with a Huber
    value loss in place of a clipped one; and the entropy weight belongs to the update's own step, also right after a restore.
    """

    def build(self) -> None:
        """Build as RLlib does, then put the rollout connector first in the learner pipeline."""
        super().build()
        self._learner_connector.prepend(
            RolloutsToBatch(
                discount=self.config.gamma,
                gae_lambda=self.config.lambda_,
                reward_scale=self.config.reward_scale,
                device=self._device,
            )
        )
        self._steps_before_update = 0

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Set this update's entropy weights: RLlib sets them after an update, so the first one after a restore is wrong."""
        super().before_gradient_based_update(timesteps=timesteps)
        self._steps_before_update = int(timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0))
        for module_id in self.module.keys():  # noqa: SIM118 - a MultiRLModule is no mapping
            self.entropy_coeff_schedulers_per_module[module_id].update(timestep=self._steps_before_update)

    def _create_iterator_if_necessary(
        self,
        *,
        training_data: Any,  # noqa: ANN401 - RLlib's own type
        num_epochs: int = 1,
        minibatch_size: int | None = None,
        shuffle_batch_per_epoch: bool = False,
        **kwargs: Any,  # noqa: ANN401 - RLlib's signature
    ) -> Iterator[MultiAgentBatch]:
        batch = self._make_batch_if_necessary(training_data=training_data)
        batches = {
            module_id: dict(module_batch)
            for module_id, module_batch in batch.policy_batches.items()
            if self.should_module_be_updated(module_id, batch)
        }
        rows = batch.env_steps()
        size = min(minibatch_size or rows, rows)
        generator = generator_at("cpu", self.config.seed or 0, _MINIBATCH_STREAM, self._steps_before_update)
        for _ in range(num_epochs):
            if size == rows:
                yield _minibatch(batches, None, rows)
                continue
            order = torch.randperm(rows, generator=generator) if shuffle_batch_per_epoch else torch.arange(rows)
            for index in order.to(self._device).tensor_split(-(-rows // size)):
                yield _minibatch(batches, index, len(index))

    def _set_slicing_by_batch_id(self, batch: MultiAgentBatch, *, value: bool) -> MultiAgentBatch:
        return batch  # minibatches are made whole: nothing is sliced afterwards

    def compute_loss_for_module(
        self,
        *,
        module_id: str,
        config: Any,  # noqa: ANN401 - an AlgorithmConfig
        batch: dict[str, Any],
        fwd_out: dict[str, Tensor],
    ) -> Tensor:
        """The clipped loss of one module; shapes as in `RolloutsToBatch`."""
        network = self.module[module_id].unwrapped().network
        values = fwd_out[Columns.VF_PREDS]
        logp, entropy = network.distribution(fwd_out[Columns.ACTION_DIST_INPUTS]).logp_and_entropy(
            batch[Columns.ACTIONS]
        )
        terms = clipped_loss(
            logp,
            entropy,
            values,
            behaviour_logp=batch[Columns.ACTION_LOGP],
            advantages=batch[Postprocessing.ADVANTAGES],
            value_targets=batch[Postprocessing.VALUE_TARGETS],
            clip=config.clip_param,
            value_weight=config.vf_loss_coeff,
            entropy_weight=self.entropy_coeff_schedulers_per_module[module_id].get_current_value(),
            huber_delta=config.huber_delta,
        )
        self.metrics.log_dict(
            {
                POLICY_LOSS_KEY: terms.policy.detach(),
                VF_LOSS_KEY: terms.value.detach(),
                ENTROPY_KEY: terms.entropy.detach(),
                LEARNER_RESULTS_VF_EXPLAINED_VAR_KEY: _explained(values.detach(), batch[Postprocessing.VALUE_TARGETS]),
            },
            key=module_id,
            window=1,
        )
        return terms.total


def _minibatch(batches: dict[str, dict[str, Any]], index: Tensor | None, rows: int) -> MultiAgentBatch:
    """Some rows of every module's batch, or all of them."""

    def take(value: Any) -> Any:  # noqa: ANN401 - a tensor or a mapping of tensors
        if isinstance(value, dict):
            return {key: take(part) for key, part in value.items()}
        return value if index is None else value.index_select(0, index)

    return MultiAgentBatch(
        {module_id: SampleBatch({key: take(value) for key, value in columns.items()}) for module_id, columns in batches.items()},
        env_steps=rows,
    )


def _explained(values: Tensor, targets: Tensor) -> Tensor:
    """Share of the targets' variance that the values explain, over all agents and rows; at least -1."""
    return (1.0 - (targets - values).var() / targets.var().clamp(min=1e-8)).clamp(min=-1.0)
