"""The env runner of the batched path: whole episodes of a batch of economies, as tensors from start to end."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from math import ceil
from typing import Any

import gymnasium as gym
import ray
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils import force_list
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.framework import get_device
from ray.rllib.utils.metrics import (
    EPISODE_LEN_MEAN,
    EPISODE_MODULE_RETURN_MEAN,
    EPISODE_RETURN_MAX,
    EPISODE_RETURN_MEAN,
    EPISODE_RETURN_MIN,
    NUM_AGENT_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
    NUM_MODULE_STEPS_SAMPLED,
    SAMPLE_TIMER,
    WEIGHTS_SEQ_NO,
)
from torch import Tensor

from rbc_marl.config import AGENT_TYPES
from rbc_marl.curriculum import Phase
from rbc_marl.policies.slabs import keep_freed_memory
from rbc_marl.rllib.callbacks import STEPS_PER_ITERATION, PhaseTracker
from rbc_marl.rllib.compiled import COMPILE_TIME
from rbc_marl.rllib.modules import agent_spaces
from rbc_marl.rllib.rollout import BehaviourSettings, EpisodeCollector, Rollout, Stream, generator_at
from rbc_marl.rllib.settings import DEVIATOR, Deviator, agent_type_of, economy_of, module_ids
from rbc_marl.rllib.sizes import CPU_SLAB

# Name of a figure in RLlib's results: of an env runner, or of one of its modules.
Figure = str | tuple[str, str]
# Figures that are no means over episodes.
EXTREMES: dict[Figure, str] = {EPISODE_RETURN_MIN: "min", EPISODE_RETURN_MAX: "max"}


class EconomyEnvRunner(EnvRunner, Checkpointable):
    """Plays whole episodes and returns them as `Rollout` objects.

    Every call of `sample` starts new episodes and plays them to the horizon. Its draws depend on the seed, the worker
    and the env steps so far alone, so that a resumed run, or one that lost a worker, goes on as it would have.
    """

    def __init__(self, config: AlgorithmConfig, **kwargs: object) -> None:
        """Build the economies and the modules from an algorithm's configuration."""
        super().__init__(config=config, **kwargs)
        keep_freed_memory()
        gpus = self.config.num_gpus_per_env_runner
        if not self.worker_index:  # beside a local learner, economies live where it does
            gpus = 0 if self.config.num_learners else self.config.num_gpus_per_learner
        self.device = torch.device(get_device(self.config, gpus))
        self._callbacks: list[RLlibCallback] = [cls() for cls in force_list(self.config.callbacks_class)]
        self._weights_seq_no = 0
        self._steps_since_sync = 0
        self.make_env()
        self.make_module()
        self._phases = PhaseTracker(self.config, self.device)

    def make_env(self) -> None:
        """Make the batch of economies, and tell callbacks."""
        self.economy, self.encoding = economy_of(self.config)
        self._collector = EpisodeCollector(self.config, self.device)
        self.env = self._collector.env_of(self.config.num_envs_per_env_runner)
        functions, context = self.config.callbacks_on_environment_created, self.config.env_config
        self._call("on_environment_created", self._callbacks, functions, env=self.env, env_context=context)

    def make_module(self) -> None:
        """Make the modules of all agent types on this runner's device."""
        spec = self.config.get_multi_rl_module_spec(spaces=self.get_spaces(), inference_only=True)
        self.module: MultiRLModule = spec.build()
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
        # A number of episodes or steps is asked for to evaluate, without trembles; training samples without one.
        is_training = num_episodes is None and num_timesteps is None and not self.config.in_evaluation
        generator = self._generator(self.worker_index or 0, self._steps_since_sync)
        rollouts = self._sample(count, generator, explore, random_actions, is_training)
        self._steps_since_sync += sum(map(len, rollouts))
        return [rollout.to("cpu") for rollout in rollouts] if self.worker_index else rollouts

    def sample_as(self, worker_index: int, rounds: int) -> list[Rollout]:
        """Play what a remote env runner plays for an update, bit for bit.

        Args:
            worker_index: The runner's.
            rounds: How often it has played all of its economies for this update before.

        Returns:
            Rollouts in host memory.
        """
        count = self.config.num_envs_per_env_runner
        generator = self._generator(worker_index, rounds * count * self.economy.horizon)
        is_training = not self.config.in_evaluation
        return [rollout.to("cpu") for rollout in self._sample(count, generator, None, False, is_training)]

    def _sample(
        self, count: int, generator: torch.Generator, explore: bool | None, random_actions: bool, is_training: bool
    ) -> list[Rollout]:
        """Play ``count`` episodes in the phase where the run stands, log them, and tell callbacks."""
        phase = self.phase()
        self._phases.mask(self.module, phase)
        behaviour = BehaviourSettings(
            explore=self.config.explore if explore is None else explore,
            random=frozenset(AGENT_TYPES) if random_actions else phase.random,
            parameters=phase.own_economy().parameters(),
        )
        if is_training:
            behaviour = behaviour.for_training(self.config, phase)
        self.metrics.log_value(WEIGHTS_SEQ_NO, self._weights_seq_no, window=1)
        rollouts, summaries = [], []
        compiled = self.compile_time
        with self.metrics.log_time(SAMPLE_TIMER), torch.no_grad():
            for size in self._slab_sizes(count):
                rollout, summary = self._play(size, behaviour, generator)
                rollouts.append(replace(rollout, phase_step=self.num_env_steps_sampled_lifetime))
                summaries.append(summary)
        if self.config.torch_compile_worker:
            self.metrics.log_value(COMPILE_TIME, self.compile_time - compiled, reduce="sum")
        self._log_steps(sum(map(len, rollouts)), sum(rollout.economies for rollout in rollouts))
        if rollouts:
            self._log_figures(rollouts, summaries)
        self._call("on_sample_end", self._callbacks, self.config.callbacks_on_sample_end, samples=rollouts)
        return rollouts

    def _play(
        self, count: int, behaviour: BehaviourSettings, generator: torch.Generator
    ) -> tuple[Rollout, dict[str, Tensor]]:
        """Play ``count`` economies from start to horizon: the rollout, and the reported quantities."""
        self._call_of_episode("on_episode_created", "on_episode_start")
        played = self._collector.collect(
            self.module, count, behaviour, generator, lambda: self._call_of_episode("on_episode_step")
        )
        self._call_of_episode("on_episode_end", episode=played[0])
        return played

    @property
    def compile_time(self) -> float:
        """Seconds spent on compiling so far."""
        return self._collector.compiled.seconds

    def phase(self) -> Phase:
        """Where the run stood in its curriculum when the algorithm last said how far it is.

        It says so after every update: however often it samples for the next one, all of that is played in one phase.
        """
        return self._phases.at(self.num_env_steps_sampled_lifetime)

    def _slab_sizes(self, count: int) -> list[int]:
        """How many economies are stepped together: all on an accelerator, nearly equal slabs on a CPU."""
        slabs = -(-count // CPU_SLAB) if self.device.type == "cpu" else min(count, 1)
        return [count // slabs + (i < count % slabs) for i in range(slabs)]

    def _generator(self, worker_index: int, steps_since_sync: int) -> torch.Generator:
        seed = self.config.seed if self.config.seed is not None else int(torch.randint(2**31, ()))
        return generator_at(
            self.device,
            seed,
            Stream.ACTIONS,
            worker_index,
            int(self.config.in_evaluation),
            self.num_env_steps_sampled_lifetime,
            steps_since_sync,
        )

    def _call(self, name: str, callbacks: Sequence[RLlibCallback], functions: object, **kwargs: object) -> None:
        """Call a method of callbacks, and functions for the same event."""
        kwargs = {"env_runner": self, "metrics_logger": self.metrics, **kwargs}
        make_callback(name, callbacks_objects=callbacks, callbacks_functions=functions, kwargs=kwargs)

    def _call_of_episode(self, *names: str, episode: Rollout | None = None) -> None:
        """Call callbacks of episodes once for the whole batch, and only where a user wrote one.

        There is something to look at where the episodes have ended: the rollout, which has RLlib's `get_return`.
        """
        for name in names:
            written = [c for c in self._callbacks if getattr(type(c), name) is not getattr(RLlibCallback, name)]
            functions = getattr(self.config, f"callbacks_{name}")
            if written or functions:
                kwargs = {"env": self._collector.env, "rl_module": self.module, "env_index": 0}
                self._call(name, written, functions, episode=episode, **kwargs)

    def _log_steps(self, steps: int, episodes: int) -> None:
        """Count what was played; agent steps by agent type, as a thousand agents would make a thousand entries."""
        counts: dict[tuple[str, ...], int] = {(NUM_ENV_STEPS_SAMPLED,): steps, (NUM_EPISODES,): episodes}
        for agent_type in AGENT_TYPES:
            agent_steps = steps * self.economy.agents(agent_type)
            counts[NUM_AGENT_STEPS_SAMPLED, agent_type] = counts[NUM_MODULE_STEPS_SAMPLED, agent_type] = agent_steps
        if self.config.deviator:  # one agent: its steps are env steps, and among those of its type above
            counts[NUM_MODULE_STEPS_SAMPLED, DEVIATOR] = steps
        for (name, *of_type), count in counts.items():
            self.metrics.log_value((name, *of_type), count, reduce="sum")
            has_throughput = name == NUM_ENV_STEPS_SAMPLED
            lifetime = (f"{name}_lifetime", *of_type)  # as RLlib calls them
            self.metrics.log_value(lifetime, count, reduce="lifetime_sum", with_throughput=has_throughput)

    def _log_figures(self, rollouts: Sequence[Rollout], summaries: Sequence[dict[str, Tensor]]) -> None:
        """Log returns and reported quantities, one number each."""
        episodes = sum(rollout.economies for rollout in rollouts)
        figures = {
            key: getattr(of_episodes, EXTREMES.get(key, "mean"))()
            for key, of_episodes in episode_figures(rollouts, summaries, self.config.deviator).items()
        }
        # All at once: a device is waited for with each read, and RLlib averages floats faster than tensors.
        numbers = zip(figures, torch.stack(list(figures.values())).tolist(), strict=True)
        smoothing = self.config.metrics_num_episodes_for_smoothing
        window = max(1, smoothing // ((self.config.num_env_runners or 1) * episodes))
        self.metrics.log_value(EPISODE_LEN_MEAN, self.economy.horizon, window=window)
        for key, number in numbers:
            self.metrics.log_value(key, number, reduce=EXTREMES.get(key, "mean"), window=window)

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
        else:
            self._weights_seq_no = state.get(WEIGHTS_SEQ_NO, self._weights_seq_no)
        if NUM_ENV_STEPS_SAMPLED_LIFETIME in state:
            self.num_env_steps_sampled_lifetime = int(state[NUM_ENV_STEPS_SAMPLED_LIFETIME])
            self._steps_since_sync = 0
        self._phases.steps_per_iteration = state.get(STEPS_PER_ITERATION, self._phases.steps_per_iteration)

    def take_weights(self, module_ids: Collection[str], learner: Learner) -> None:
        """Take over weights of a learner in this process: from device to device, where RLlib goes by the host."""
        for module_id in module_ids:
            weights = learner.module[module_id].unwrapped().state_dict()
            self.module[module_id].load_state_dict(weights, strict=False)  # who only acts has no critic
        self._weights_seq_no = learner._weights_seq_no

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[()], dict[str, Any]]:
        """What makes this runner again."""
        return (), {"config": self.config}

    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        """The modules."""
        return [(COMPONENT_RL_MODULE, self.module)]

    def assert_healthy(self) -> None:
        """Check that economies and modules are there."""
        if self.env is None or self.module is None:
            raise AssertionError("the env runner has no economies or no modules")


def episode_figures(
    rollouts: Sequence[Rollout], summaries: Sequence[dict[str, Tensor]], deviator: Deviator | None = None
) -> dict[Figure, Tensor]:
    """Returns and reported quantities of each episode, [E], under RLlib's names.

    An iteration reports their means, but for those in `EXTREMES`.

    Args:
        rollouts: Episodes.
        summaries: Their reported quantities.
        deviator: Whose return is reported as well.
    """

    def returns(agent_type: str, agents: slice = slice(None)) -> Tensor:
        """[E] sums over some agents of a type, as RLlib defines them."""
        return torch.cat([rollout.rewards[agent_type][..., agents].sum((0, 2)) for rollout in rollouts])

    by_type = {agent_type: returns(agent_type) for agent_type in AGENT_TYPES}
    total = torch.stack(list(by_type.values())).sum(0)
    figures: dict[Figure, Tensor] = {
        EPISODE_RETURN_MEAN: total,
        EPISODE_RETURN_MIN: total,
        EPISODE_RETURN_MAX: total,
        **{(EPISODE_MODULE_RETURN_MEAN, agent_type): by_type[agent_type] for agent_type in AGENT_TYPES},
        **{name: torch.cat([summary[name] for summary in summaries]) for name in summaries[0]},
    }
    if deviator:
        own = returns(deviator.type, slice(deviator.agent, deviator.agent + 1))
        figures[EPISODE_MODULE_RETURN_MEAN, DEVIATOR] = own
    return figures
