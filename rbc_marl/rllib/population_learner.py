"""What the runs of a population learn: networks stacked over runs, and one step of the optimiser for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import ENTROPY_KEY, POLICY_LOSS_KEY, VF_LOSS_KEY
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.utils.schedules.scheduler import Scheduler
from torch import Tensor

from rbc_marl.curriculum import Phase
from rbc_marl.policies.slabs import slabs, take_rows, take_rows_of_each
from rbc_marl.policies.stacked import names_of_runs, stacked, state_of
from rbc_marl.rllib.connector import RolloutsToBatch
from rbc_marl.rllib.losses import explained_share, is_logit_response, loss_terms, rows_weight
from rbc_marl.rllib.rollout import Rollout, Stream, generator_at
from rbc_marl.rllib.settings import agent_type_of, economy_of, module_ids

if TYPE_CHECKING:
    from rbc_marl.policies.networks import PolicyNetwork
    from rbc_marl.rllib.algorithm import EconomyPPOConfig

Numbers = dict[str, float | Tensor]
"""Numbers of a module by RLlib's names: [R] of each run, or one of all."""
_NORM = "gradients_default_optimizer_global_norm"
# What Adam remembers of every weight; the number of steps is the same for all runs.
_MOMENTS = ("exp_avg", "exp_avg_sq")
LARGEST_NORM = 10e8  # RLlib counts an infinite norm as this


class PopulationLearner:
    """The modules of R runs and their optimisers: `rbc_marl.rllib.learner.EconomyPPOLearner` for several runs at once.

    Adam treats each weight by itself, gradients are clipped run by run, and every mean is one over the rows of a run:
    no run's numbers depend on another's.

    Attributes:
        module: One `EconomyModule` per agent type, with stacked networks: they act and learn.
        optimizers: By module.
    """

    def __init__(self, config: EconomyPPOConfig, seeds: Sequence[int], device: torch.device) -> None:
        """Start every run from the weights that it would have alone.

        Args:
            config: Of all runs but for the seed; validated.
            seeds: One for each run.
            device: Where everything is.
        """
        self.config, self.seeds, self.device = config, tuple(seeds), device
        self.economy, _ = economy_of(config)
        self.module = _stacked_modules(config, self.seeds, device)
        self._settings = {m: config.get_config_for_module(m) for m in module_ids(config)}
        self.optimizers = {
            m: torch.optim.Adam(self.network(m).parameters(), fused=device.type in ("cpu", "cuda") or None)
            for m in self._settings
        }
        self._rates = {m: Scheduler(s.lr, framework="torch", device="cpu") for m, s in self._settings.items()}
        self._entropy = {
            m: Scheduler(s.entropy_coeff, framework="torch", device="cpu") for m, s in self._settings.items()
        }
        self._to_batch = RolloutsToBatch(
            discount=config.gamma,
            rewards_discounted_at=self.economy.discount,
            gae_lambda=config.lambda_,
            reward_scale=config.reward_scale.chosen,
            device=device,
            agents_per_update=config.agents_per_update.chosen,
            seed=self.seeds,
            deviator=config.deviator,
            logit_response_in=self.economy if config.logit_response else None,
        )

    def network(self, module_id: str) -> PolicyNetwork:
        """The stacked network of a module."""
        network: PolicyNetwork = self.module[module_id].unwrapped().network
        return network

    def update(self, rollout: Rollout, phase: Phase, env_steps: int) -> dict[str, Numbers]:
        """Learn from the episodes of all runs.

        Args:
            rollout: Of one iteration, the economies of one run beside those of another.
            phase: In which it was played.
            env_steps: Of each run so far, this iteration's among them.

        Returns:
            By module, numbers of the last gradient step; only those of rates where it did not learn.
        """
        reported = {m: self._set_rates(m, phase, env_steps) for m in self._settings}
        learning = frozenset(m for m in self._settings if self._learns(m, phase))
        self._to_batch.prepare(env_steps, learning)
        batches = self._to_batch(rl_module=self.module, batch={}, episodes=[rollout])
        for minibatch in self._minibatches(batches, len(rollout) // len(self.seeds), env_steps):
            for module_id, columns in minibatch.items():
                reported[module_id] |= self._step(module_id, columns, phase)
        return reported

    def state_of(self, run: int) -> dict[str, Any]:
        """What one run needs to go on: tensors and numbers by module."""
        return {m: {"weights": state_of(self.network(m), run), "adam": self._adam_of(m, run)} for m in self._settings}

    def set_states(self, states: Sequence[dict[str, Any]]) -> None:
        """Take over what `state_of` gave, of as many runs, each after as many iterations."""
        for module_id in self._settings:
            network, parts = self.network(module_id), [state[module_id] for state in states]
            of_runs, stacked_names = dict(network.named_parameters()), names_of_runs(network)
            weights = {
                name: torch.stack([part["weights"][name] for part in parts]) if name in stacked_names else one
                for name, one in parts[0]["weights"].items()
            }
            network.load_state_dict(weights)
            moments = self.optimizers[module_id].state
            for name, one in parts[0]["adam"].items():
                together = {key: torch.stack([part["adam"][name][key] for part in parts]) for key in _MOMENTS}
                moments[of_runs[name]] = {key: x.to(self.device) for key, x in {**one, **together}.items()}

    def _adam_of(self, module_id: str, run: int) -> dict[str, dict[str, Tensor]]:
        """Adam's memory of one run, by weight; nothing of weights that have never had a gradient."""
        moments = self.optimizers[module_id].state
        return {
            name: {key: (x[run] if key in _MOMENTS else x).clone() for key, x in moments[weights].items()}
            for name, weights in self.network(module_id).named_parameters()
            if weights in moments
        }

    def _set_rates(self, module_id: str, phase: Phase, env_steps: int) -> Numbers:
        """Set the learning rate of an update; returns it and the weight of entropy before the phase's factor."""
        rate = float(self._rates[module_id].update(timestep=env_steps))
        rate *= phase.rate(agent_type_of(self.config, module_id))
        for group in self.optimizers[module_id].param_groups:
            group["lr"] = rate
        entropy = float(self._entropy[module_id].update(timestep=env_steps))
        clipped = {_NORM: 0.0} if self._settings[module_id].grad_clip else {}  # RLlib's word for no gradient
        return {"default_optimizer_learning_rate": rate, "curr_entropy_coeff": entropy, **clipped}

    def _learns(self, module_id: str, phase: Phase) -> bool:
        asked = self.config.policies_to_train
        is_asked = asked(module_id, None) if callable(asked) else asked is None or module_id in asked
        return bool(is_asked) and agent_type_of(self.config, module_id) in phase.learning

    def _minibatches(
        self, batches: dict[str, dict[str, Any]], rows: int, env_steps: int
    ) -> Iterator[dict[str, dict[str, Any]]]:
        """What each gradient step learns from: as many rows of each run, in the order that it would have alone."""
        size, runs = min(self.config.minibatch_size or rows, rows), len(self.seeds)
        generators = [generator_at("cpu", seed, Stream.MINIBATCHES, env_steps) for seed in self.seeds]
        for _ in range(self.config.num_epochs if batches else 0):
            if size == rows:
                yield batches
                continue
            if self.config.shuffle_batch_per_epoch:
                orders = torch.stack([torch.randperm(rows, generator=each) for each in generators])
            else:
                orders = torch.arange(rows).expand(runs, -1)
            orders = orders + torch.arange(runs).unsqueeze(1) * rows
            for index in orders.to(self.device).tensor_split(-(-rows // size), dim=1):
                yield take_rows(batches, index.flatten())

    def _step(self, module_id: str, columns: dict[str, Any], phase: Phase) -> Numbers:
        """One gradient step of a module, its gradient summed over slabs of rows as for a single run."""
        module, optimizer, runs = self.module[module_id].unwrapped(), self.optimizers[module_id], len(self.seeds)
        network = self.network(module_id)
        optimizer.zero_grad(set_to_none=True)
        rows, agents = columns[Columns.ACTION_LOGP].shape
        whole, values = rows_weight(columns, runs), []
        reported: Numbers = {}
        for cut in slabs(rows // runs, runs * agents * network.hidden_values, self.device):
            slab = take_rows_of_each(columns, cut, runs)
            has_critic = not is_logit_response(slab)
            fwd_out = module.forward_train(slab) if has_critic else module.policy_alone(slab)
            terms = loss_terms(
                self._settings[module_id],
                self.economy,
                network,
                slab,
                fwd_out,
                entropy_weight=float(self._entropy[module_id].get_current_value())
                * phase.entropy[agent_type_of(self.config, module_id)],
                temperature_factor=phase.entropy["consumer"],
                runs=runs,
            )
            share = rows_weight(slab, runs) / whole
            (terms.total * share).sum().backward()
            named = {"total_loss": terms.total, POLICY_LOSS_KEY: terms.policy, ENTROPY_KEY: terms.entropy}
            if has_critic:
                named[VF_LOSS_KEY] = terms.value
                values.append(fwd_out[Columns.VF_PREDS].detach().unflatten(0, (runs, -1)))
            for name, term in named.items():
                reported[name] = reported.get(name, 0.0) + term.detach() * share
        if values:
            targets = columns[Postprocessing.VALUE_TARGETS].unflatten(0, (runs, -1))
            reported["vf_explained_var"] = torch.vmap(explained_share)(torch.cat(values, dim=1), targets)
        reported |= self._clip(module_id)
        optimizer.step()
        return reported

    def _clip(self, module_id: str) -> Numbers:
        """Clip the gradients of a module by the norm of each run's; returns the norms before."""
        limit = self._settings[module_id].grad_clip
        if not limit:
            return {}
        gradients = [p.grad for p in self.network(module_id).parameters() if p.grad is not None]
        squares = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients])
        norm = squares.sum(0).sqrt().nan_to_num(neginf=-LARGEST_NORM, posinf=LARGEST_NORM)
        factor = limit / torch.clamp(norm + 1e-6, min=limit)
        for gradient in gradients:
            gradient.mul_(factor.view(-1, *(1 for _ in gradient.shape[1:])))
        return {_NORM: norm}


def _stacked_modules(config: EconomyPPOConfig, seeds: Sequence[int], device: torch.device) -> MultiRLModule:
    """Modules whose networks are those with which the runs of the seeds begin."""
    modules = []
    with torch.random.fork_rng(devices=[]):
        for seed in seeds:
            torch.manual_seed(seed)  # as RLlib does before it makes a learner's modules
            modules.append(config.get_multi_rl_module_spec().build())
    result = modules[0]
    for module_id in module_ids(config):
        result[module_id].network = stacked([each[module_id].network for each in modules]).to(device)
    return result
