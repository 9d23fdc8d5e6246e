"""The learner of the batched path: RLlib's PPO learner with a loss for many agents per row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from ray.rllib.algorithms.ppo.ppo import LEARNER_RESULTS_VF_EXPLAINED_VAR_KEY
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import DEFAULT_OPTIMIZER, ENTROPY_KEY, LR_KEY, POLICY_LOSS_KEY, VF_LOSS_KEY
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.rllib.utils.metrics.stats import MeanStats
from torch import Tensor

from rbc_marl.policies.learning import LossTerms
from rbc_marl.policies.slabs import keep_freed_memory, slabs, take_rows
from rbc_marl.rllib.callbacks import PhaseTracker
from rbc_marl.rllib.connector import RolloutsToBatch
from rbc_marl.rllib.losses import explained_share, is_logit_response, loss_terms, rows_weight
from rbc_marl.rllib.rollout import Stream, generator_at
from rbc_marl.rllib.settings import agent_type_of, economy_of

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
    from ray.rllib.core.learner.training_data import TrainingData


class EconomyPPOLearner(PPOTorchLearner):
    """PPO on rows that are economy-periods.

    It differs from RLlib's learner in four things: rollouts become batches in one connector; minibatches are the same
    rows for every module, in an order that depends on the seed and the env steps so far alone; the loss reads logits
    and values of one pass, with a Huber value loss in place of a clipped one; and the entropy weight belongs to the
    update's own step, also right after a restore.
    """

    def build(self) -> None:
        """Build as RLlib does, then put the rollout connector first in the learner pipeline."""
        super().build()
        keep_freed_memory()
        # With a seed RLlib asks for deterministic algorithms; torch then also fills all memory that it takes with NaN.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a module's property
        config = self.config
        economy, _ = economy_of(config)
        self._rollouts_to_batch = RolloutsToBatch(
            discount=config.gamma,
            rewards_discounted_at=economy.discount,
            gae_lambda=config.lambda_,
            reward_scale=config.reward_scale.chosen,
            device=self._device,
            agents_per_update=config.agents_per_update.chosen,
            seed=config.seed or 0,
            deviator=config.deviator,
            logit_response_in=economy if config.logit_response else None,
        )
        self._learner_connector.prepend(self._rollouts_to_batch)
        self.phases = PhaseTracker(config, self._device)
        self._phase = self.phases.at(0)
        self._phase_step: int | None = None
        self._env_steps = 0
        # What the loss of each module said of the slabs of the present gradient step.
        self._reports: dict[str, list[tuple[float | Tensor, LossTerms, Tensor | None]]] = {}

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:  # noqa: ANN401 - RLlib's
        """Adam as RLlib makes it, but all parameters of a module in one kernel where the device has one."""
        parameters = self.get_parameters(self.module[module_id])
        is_fused = True if torch.device(self._device).type in ("cpu", "cuda") else None
        optimizer = torch.optim.Adam(parameters, fused=is_fused)
        self.register_optimizer(
            module_id=module_id, optimizer=optimizer, params=parameters, lr_or_lr_schedule=config.lr
        )

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore, also to an earlier state: RLlib ignores weights that are older than the present ones.

        Who learns is a setting of this run, which the state of another would undo. So are masks: weights bring along
        those of the curriculum that they were saved in.
        """
        if COMPONENT_RL_MODULE in state:
            self._weights_seq_no = 0
        super().set_state({key: value for key, value in state.items() if key != "should_module_be_updated"})
        self.phases.lift(self.module)

    def update(self, *args: Any, training_data: Any = None, **kwargs: Any) -> Any:  # noqa: ANN401 - RLlib's signature
        """Learn from rollouts in the phase in which they were played."""
        rollouts = kwargs.get("episodes") if training_data is None else training_data.episodes
        self._phase_step = min((rollout.phase_step for rollout in rollouts or ()), default=None)
        return super().update(*args, training_data=training_data, **kwargs)

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Set masks, entropy weights and learning rates of this update.

        RLlib sets both weights and rates after an update, so that the first one after a restore is wrong.
        """
        super().before_gradient_based_update(timesteps=timesteps)
        self._env_steps = int(timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0))
        # Without rollouts only the count is known, which already includes what there is to learn from.
        step = max(self._env_steps - 1, 0) if self._phase_step is None else self._phase_step
        self._phase = self.phases.at(step)
        self.phases.mask(self.module, self._phase)
        learning = set()
        for module_id in self.module.keys():  # noqa: SIM118 - a MultiRLModule is no mapping
            self.entropy_coeff_schedulers_per_module[module_id].update(timestep=self._env_steps)
            optimizer = self.get_optimizer(module_id)
            rate = self._optimizer_lr_schedules[optimizer].update(timestep=self._env_steps)
            agent_type = agent_type_of(self.config, module_id)
            self._set_optimizer_lr(optimizer, float(rate) * self._phase.rate(agent_type))
            is_due = agent_type in self._phase.learning
            if is_due and module_id not in self.config.scripted.chosen and self.should_module_be_updated(module_id):
                learning.add(module_id)
        self._rollouts_to_batch.prepare(self._env_steps, frozenset(learning))

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Update schedules as RLlib does, and report the learning rates that were really in force.

        What else is reported of the last gradient step is read here, all of it at once: RLlib would wait for a device
        with each number.
        """
        used = {m: self._get_optimizer_lr(self.get_optimizer(m)) for m in self.module.keys()}  # noqa: SIM118
        super().after_gradient_based_update(timesteps=timesteps)
        rates = {(module_id, f"{DEFAULT_OPTIMIZER}_{LR_KEY}"): rate for module_id, rate in used.items()}
        tensors = {
            (module_id, name): reported.values[-1]
            for module_id in used
            for name, reported in self.metrics.stats.get(module_id, {}).items()
            if isinstance(reported, MeanStats) and len(reported.values) and isinstance(reported.values[-1], Tensor)
        }
        numbers = torch.stack([*tensors.values()]).tolist() if tensors else ()
        for key, number in (*rates.items(), *zip(tensors, numbers, strict=True)):
            self.metrics.delete(*key, key_error=False)  # RLlib's own entry: a second value would be averaged with it
            self.metrics.log_value(key, number, window=1)

    def _create_iterator_if_necessary(
        self,
        *,
        training_data: TrainingData,
        num_epochs: int = 1,
        minibatch_size: int | None = None,
        shuffle_batch_per_epoch: bool = False,
        **kwargs: object,
    ) -> Iterator[MultiAgentBatch]:
        batch = self._make_batch_if_necessary(training_data=training_data)
        batches = {module_id: dict(columns) for module_id, columns in batch.policy_batches.items()}
        if not batches:  # RLlib wants at least one step to report
            yield MultiAgentBatch({}, env_steps=0)
            return
        rows = batch.env_steps()
        size = min(minibatch_size or rows, rows)
        generator = generator_at("cpu", self.config.seed or 0, Stream.MINIBATCHES, self._env_steps)
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
        self, *, module_id: str, config: AlgorithmConfig, batch: dict[str, Any], fwd_out: dict[str, Tensor]
    ) -> Tensor:
        """The loss of one module, clipped or of a logit response; shapes as in `RolloutsToBatch`."""
        terms = loss_terms(
            config,
            self.phases.economy,
            self.module[module_id].unwrapped().network,
            batch,
            fwd_out,
            entropy_weight=self._entropy_weight(module_id),
            temperature_factor=self._phase.entropy["consumer"],
        )
        values = None if is_logit_response(batch) else fwd_out[Columns.VF_PREDS].detach()
        self._reports.setdefault(module_id, []).append((rows_weight(batch), terms, values))
        return terms.total

    def _uncompiled_update(self, batch: dict[str, Any], **kwargs: object) -> tuple[Any, Any, Any]:
        """One gradient step, its gradient summed over slabs of rows where a CPU works faster so; none for nobody."""
        if not batch:
            return {}, {}, {}
        columns = {module_id: dict(part) for module_id, part in batch.items()}
        device = torch.device(self._device)
        cuts = {}
        for module_id, part in columns.items():
            rows, agents = part[Columns.ACTION_LOGP].shape
            values = agents * self.module[module_id].unwrapped().network.hidden_values
            cuts[module_id] = list(slabs(rows, values, device))
        self._reports = {}
        # Several learners exchange gradients in every backward pass, so they make only one.
        whole = max(map(len, cuts.values())) == 1 or self.config.num_learners > 1
        result = super()._uncompiled_update(batch, **kwargs) if whole else self._update_in_slabs(columns, cuts)
        for module_id, part in columns.items():
            self._log_terms(module_id, part.get(Postprocessing.VALUE_TARGETS))
        return result

    def _update_in_slabs(
        self, columns: dict[str, dict[str, Any]], cuts: dict[str, list[slice]]
    ) -> tuple[Any, Any, Any]:
        for optimizer in self._optimizer_parameters:
            optimizer.zero_grad(set_to_none=True)
        losses: dict[str, Any] = {}
        fwd_out: dict[str, Any] = {}
        for module_id, part in columns.items():
            for cut in cuts[module_id]:
                slab = {module_id: take_rows(part, cut)}
                fwd_out.update(self.module.forward_train(slab))
                mean = self.compute_losses(fwd_out={module_id: fwd_out[module_id]}, batch=slab)[module_id]
                loss = mean * (rows_weight(slab[module_id]) / rows_weight(part))
                loss.backward()
                losses[module_id] = losses.get(module_id, 0.0) + loss.detach()
        gradients = {key: parameter.grad for key, parameter in self._params.items()}
        self.apply_gradients(self.postprocess_gradients(gradients))
        return fwd_out, losses, {}

    def _log_terms(self, module_id: str, value_targets: Tensor | None) -> None:
        """Report a gradient step's terms over all of its rows, in however many slabs they came.

        Logit responses have no critic, and no value targets.
        """
        weights, terms, values = zip(*self._reports[module_id], strict=True)

        def mean(numbers: list[Tensor]) -> Tensor:
            return sum(w * x.detach() for w, x in zip(weights, numbers, strict=True)) / sum(weights)

        reported = {
            POLICY_LOSS_KEY: mean([each.policy for each in terms]),
            ENTROPY_KEY: mean([each.entropy for each in terms]),
        }
        if value_targets is not None:
            reported[VF_LOSS_KEY] = mean([each.value for each in terms])
            reported[LEARNER_RESULTS_VF_EXPLAINED_VAR_KEY] = explained_share(torch.cat(values), value_targets)
        self.metrics.log_dict(reported, key=module_id, window=1)

    def _entropy_weight(self, module_id: str) -> float:
        scheduled = float(self.entropy_coeff_schedulers_per_module[module_id].get_current_value())
        return scheduled * self._phase.entropy[agent_type_of(self.config, module_id)]


def _minibatch(batches: dict[str, dict[str, Any]], index: Tensor | None, rows: int) -> MultiAgentBatch:
    """Some rows of every module's batch, or all of them."""
    parts = batches if index is None else take_rows(batches, index)
    return MultiAgentBatch({module_id: SampleBatch(part) for module_id, part in parts.items()}, env_steps=rows)
