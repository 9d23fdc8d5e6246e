"""The env runner of the batched path: whole episodes of a batch of economies, as tensors from start to end."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import accumulate
from math import ceil
from typing import Any

import gymnasium as gym
import ray
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.framework import get_device
from ray.rllib.utils.metrics import (
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    SAMPLE_TIMER,
    WEIGHTS_SEQ_NO,
)
from torch import Tensor

from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.curriculum import Phase
from rbc_marl.policies.slabs import keep_freed_memory
from rbc_marl.rllib.episodes import BehaviourSettings, EpisodeCollector, log_rollouts
from rbc_marl.rllib.modules import agent_spaces
from rbc_marl.rllib.phases import STEPS_PER_ITERATION, PhaseTracker, generator_at
from rbc_marl.rllib.rollout import Rollout
from rbc_marl.rllib.settings import agent_type_of, economy_of, module_ids

# Economies stepped together on a CPU: with more, their tensors leave the cache and each step costs more.
CPU_SLAB = 128
# Tells the draws of env runners from those of minibatches with the same seed.
_ACTION_STREAM = 0


class EconomyEnvRunner(EnvRunner, Checkpointable):
    """Plays whole episodes and returns them as `Rollout` objects.

    Every call of `sample` starts new episodes and plays them to the horizon. Its draws depend on the seed, the worker
    and the env steps so far alone, so that a resumed run, or one that lost a worker, goes on as it would have.
    """

    def __init__(self, config: AlgorithmConfig, **kwargs: object) -> None:
        """Build the economies and the modules from an algorithm's configuration."""
        super().__init__(config=config, **kwargs)
        keep_freed_memory()
        is_local = not self.worker_index
        gpus = self.config.num_gpus_per_env_runner
        if is_local:  # beside a local learner, economies live where it does
            gpus = 0 if self.config.num_learners else self.config.num_gpus_per_learner
        self.device = torch.device(get_device(self.config, gpus))
        self.economy: EconomyConfig
        self.economy, self.encoding = economy_of(self.config)
        self._callbacks: list[RLlibCallback] = _instances(self.config.callbacks_class)
        self._weights_seq_no = 0
        self._steps_since_sync = 0
        self.make_env()
        self.module: MultiRLModule
        self.make_module()
        self._phases = PhaseTracker(self.config, self.device)

    def make_env(self) -> None:
        """Make the batch of economies, and tell callbacks."""
        self.economy, self.encoding = economy_of(self.config)
        roles = self.config.deviator, self.config.scripted
        self._collector = EpisodeCollector(self.economy, self.encoding, self.device, *roles)
        self.env = self._collector.env_of(self.config.num_envs_per_env_runner)
        make_callback(
            "on_environment_created",
            callbacks_objects=self._callbacks,
            callbacks_functions=self.config.callbacks_on_environment_created,
            kwargs={
                "env_runner": self,
                "metrics_logger": self.metrics,
                "env": self.env,
                "env_context": self.config.env_config,
            },
        )

    def make_module(self) -> None:
        """Make the modules of all agent types on this runner's device."""
        spec = self.config.get_multi_rl_module_spec(spaces=self.get_spaces(), inference_only=True)
        self.module = spec.build()
        self.module.foreach_module(lambda _, module: module.to(self.device))

    def get_spaces(self) -> dict[str, tuple[gym.Space[Any], gym.Space[Any]]]:
        """Spaces of one agent of each module, under the keys that RLlib reads."""
        types = {module_id: agent_type_of(self.config, module_id) for module_id in module_ids(self.config)}
        spaces = {module_id: agent_spaces(self.economy, t, self.encoding) for module_id, t in types.items()}
        both = (
            gym.spaces.Dict({t: observation for t, (observation, _) in spaces.items()}),
            gym.spaces.Dict({t: action for t, (_, action) in spaces.items()}),
        )
        return {INPUT_ENV_SPACES: both, INPUT_ENV_SINGLE_SPACES: both, **spaces}

    def sample(
        self,
        *,
        num_timesteps: float | None = None,
        num_episodes: int | None = None,
        explore: bool | None = None,
        random_actions: bool = False,
        force_reset: bool = False,
        **kwargs: object,
    ) -> list[Rollout]:
        """Play whole episodes.

        Args:
            num_timesteps: Env steps wanted; whole episodes are played until there are as many.
            num_episodes: Episodes wanted; by default one of each economy of the batch.
            explore: Draw actions (True) or take the likeliest (False); by default as configured.
            random_actions: Draw uniformly instead of asking the modules.
            force_reset: Without meaning here: every call starts new episodes.
            **kwargs: For versions to come.

        Returns:
            Rollouts, on a CPU in nearly equal slabs of at most 128 economies. Those of remote runners are in host
            memory.

        Raises:
            ValueError: Both numbers are given.
        """
        if num_timesteps is not None and num_episodes is not None:
            raise ValueError("give num_timesteps or num_episodes, not both")
        count = num_episodes if num_episodes is not None else self.config.num_envs_per_env_runner
        if num_timesteps is not None:
            count = ceil(num_timesteps / self.economy.horizon)  # RLlib's "auto" duration gives fractions
        generator = self._generator()
        phase = self.phase()
        self._phases.mask(self.module, phase)
        probes = self.config.probe_economies
        behaviour = BehaviourSettings(
            explore=self.config.explore if explore is None else explore,
            random=frozenset(AGENT_TYPES) if random_actions else phase.random,
            labour_disutility=phase.labour_disutility,
            probe_random=probes.random if probes else "firm",
        )
        # A number of episodes or steps is asked for to evaluate, without probes; training samples without one.
        is_training = num_episodes is None and num_timesteps is None and not self.config.in_evaluation
        num_probes = probes.count if probes and is_training else 0
        sizes = self._slab_sizes(count)
        behaviours = [replace(behaviour, probes=of_slab) for of_slab in _last(num_probes, sizes)]
        self.metrics.log_value(WEIGHTS_SEQ_NO, self._weights_seq_no, window=1)
        with self.metrics.log_time(SAMPLE_TIMER), torch.no_grad():
            played = [self._play(size, each, generator) for size, each in zip(sizes, behaviours, strict=True)]
        rollouts = [replace(rollout, phase_step=self.num_env_steps_sampled_lifetime) for rollout, _ in played]
        summaries = [summary for _, summary in played]
        log_rollouts(self.metrics, self.config, self.economy, rollouts, summaries, num_probes)
        make_callback(
            "on_sample_end",
            callbacks_objects=self._callbacks,
            callbacks_functions=self.config.callbacks_on_sample_end,
            kwargs={"env_runner": self, "metrics_logger": self.metrics, "samples": rollouts},
        )
        self._steps_since_sync += sum(len(rollout) for rollout in rollouts)
        return [rollout.cpu() for rollout in rollouts] if self.worker_index else rollouts

    def _play(
        self, count: int, behaviour: BehaviourSettings, generator: torch.Generator
    ) -> tuple[Rollout, dict[str, Tensor]]:
        """Play ``count`` economies from start to horizon: the rollout, and the reported quantities."""
        self._call_episode_callbacks("on_episode_created", "on_episode_start")
        played = self._collector.collect(
            self.module, count, behaviour, generator, lambda: self._call_episode_callbacks("on_episode_step")
        )
        self._call_episode_callbacks("on_episode_end")
        return played

    def phase(self) -> Phase:
        """Where the run stood in its curriculum when the algorithm last said how far it is.

        It says so after every update: however often it samples for the next one, all of that is played in one phase.
        """
        return self._phases.at(self.num_env_steps_sampled_lifetime)

    def _slab_sizes(self, count: int) -> list[int]:
        """How many economies are stepped together: all on an accelerator, nearly equal slabs on a CPU."""
        slabs = -(-count // CPU_SLAB) if self.device.type == "cpu" else min(count, 1)
        return [count // slabs + (i < count % slabs) for i in range(slabs)]

    def _generator(self) -> torch.Generator:
        seed = self.config.seed if self.config.seed is not None else int(torch.randint(2**31, ()))
        return generator_at(
            self.device,
            seed,
            _ACTION_STREAM,
            self.worker_index or 0,
            int(self.config.in_evaluation),
            self.num_env_steps_sampled_lifetime,
            self._steps_since_sync,
        )

    def _call_episode_callbacks(self, *names: str) -> None:
        """Call callbacks of episodes once for the whole batch, and only where a user wrote one."""
        for name in names:
            overridden = [c for c in self._callbacks if getattr(type(c), name) is not getattr(RLlibCallback, name)]
            functions = getattr(self.config, f"callbacks_{name}")
            if overridden or functions:
                make_callback(
                    name,
                    callbacks_objects=overridden,
                    callbacks_functions=functions,
                    kwargs={
                        "episode": None,
                        "env_runner": self,
                        "metrics_logger": self.metrics,
                        "env": self._collector.env,
                        "rl_module": self.module,
                        "env_index": 0,
                    },
                )

    def get_metrics(self) -> dict[str, Any]:
        """Everything logged since the last call, reduced."""
        result: dict[str, Any] = self.metrics.reduce()
        return result

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: object,
    ) -> dict[str, Any]:
        """Env steps so far and in an iteration, and the modules' weights where asked for."""
        state: dict[str, Any] = {
            NUM_ENV_STEPS_SAMPLED_LIFETIME: self.num_env_steps_sampled_lifetime,
            STEPS_PER_ITERATION: self._phases.steps_per_iteration,
        }
        if self._check_component(COMPONENT_RL_MODULE, components, not_components):
            state[COMPONENT_RL_MODULE] = self.module.get_state(
                components=self._get_subcomponents(COMPONENT_RL_MODULE, components),
                not_components=self._get_subcomponents(COMPONENT_RL_MODULE, not_components),
                **kwargs,
            )
            state[WEIGHTS_SEQ_NO] = self._weights_seq_no
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over env steps and weights; weights with the number of the present ones are ignored.

        A smaller number is no reason to ignore weights: a run that goes back to a checkpoint has them.
        """
        if COMPONENT_RL_MODULE in state:
            sequence_number = state.get(WEIGHTS_SEQ_NO, 0)
            if sequence_number == 0 or self._weights_seq_no != sequence_number:
                weights = state[COMPONENT_RL_MODULE]
                self.module.set_state(ray.get(weights) if isinstance(weights, ray.ObjectRef) else weights)
            self._weights_seq_no = sequence_number
        if NUM_ENV_STEPS_SAMPLED_LIFETIME in state:
            self.num_env_steps_sampled_lifetime = int(state[NUM_ENV_STEPS_SAMPLED_LIFETIME])
            self._steps_since_sync = 0
        self._phases.steps_per_iteration = state.get(STEPS_PER_ITERATION, self._phases.steps_per_iteration)

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[()], dict[str, Any]]:
        """What makes this runner again."""
        return (), {"config": self.config}

    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        """The modules."""
        return [(COMPONENT_RL_MODULE, self.module)]

    def assert_healthy(self) -> None:
        """Check that economies and modules are there."""
        if self._collector is None or self.module is None:
            raise AssertionError("the env runner has no economies or no modules")

    def stop(self) -> None:
        """Nothing to release."""


def _last(count: int, sizes: Sequence[int]) -> list[int]:
    """How many of the last ``count`` economies of all stand in each slab."""
    ends = accumulate(sizes)
    return [min(max(count - (sum(sizes) - end), 0), size) for end, size in zip(ends, sizes, strict=True)]


def _instances(callbacks: type[RLlibCallback] | Sequence[type[RLlibCallback]]) -> list[RLlibCallback]:
    classes = callbacks if isinstance(callbacks, Sequence) else [callbacks]
    return [cls() for cls in classes]
