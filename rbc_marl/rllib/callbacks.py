"""Curricula in RLlib: the phase of an env step, and a callback that brings it to every algorithm.

EconomyPPO's env runners and learners ask a `PhaseTracker` themselves; for it the callback only reports where the run
stands. On the plain path RLlib's own workers know nothing of curricula: there the callback sets the phase from
outside, after each iteration, after a restore and after a worker was replaced, always from the env steps so far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.learner.learner import Learner
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.rllib.utils.schedules.scheduler import Scheduler
from torch import Tensor

from rbc_marl.config import AGENT_TYPES
from rbc_marl.curriculum import Curriculum, Phase, Schedule, build_curriculum, parse_curriculum
from rbc_marl.errors import ConfigError
from rbc_marl.policies.distributions import MASKED_LOGIT
from rbc_marl.policies.networks import PolicyNetwork
from rbc_marl.rllib.settings import ENV_OPTIONS, agent_type_of, module_ids, parse_env_config

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm import Algorithm
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
    from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule

# Name of an iteration's env steps in the states of algorithms and env runners.
STEPS_PER_ITERATION = "steps_per_iteration"


class PhaseTracker:
    """Finds the phase of an env step, and masks modules accordingly.

    It keeps no progress of its own: env runners and evaluation runners ask with the env steps they were told, learners
    with those that the rollouts bring along.

    Attributes:
        steps_per_iteration: Env steps of an iteration. A run that was restored goes on with what it began with.
    """

    def __init__(self, config: AlgorithmConfig, device: torch.device | str, schedule: Schedule | None = None) -> None:
        """Read the length of an iteration, and unless one is given the schedule, from an AlgorithmConfig.

        A schedule was checked when the configuration was; here it is only bound to the economy.
        """
        fields = {name: value for name, value in config.env_config.items() if name not in ENV_OPTIONS}
        self.economy, _ = parse_env_config(config.env, fields)
        schedule = parse_curriculum(getattr(config, "curriculum", None)) if schedule is None else schedule
        self.schedule = schedule.of(self.economy) if isinstance(schedule, Curriculum) else schedule
        self.steps_per_iteration = max(int(config.total_train_batch_size), 1) if self.schedule is not None else 1
        self.device = device
        self._types = {module_id: agent_type_of(config, module_id) for module_id in module_ids(config)}
        self._key: tuple[Any, ...] = ()
        self._log_masks: dict[str, Tensor] = {}

    def at(self, env_steps: int) -> Phase:
        """The phase in which the env step after ``env_steps`` falls."""
        if self.schedule is None:
            return Phase()
        return self.schedule.phase(env_steps // self.steps_per_iteration)

    def mask(self, modules: MultiRLModule, phase: Phase) -> None:
        """Set the masks of a phase in all modules that can be masked."""
        if self.schedule is None:
            return
        log_masks = self.log_masks(phase)
        for agent_type, network in self._networks(modules):
            if agent_type in log_masks:
                network.log_mask.copy_(log_masks[agent_type])

    def lift(self, modules: MultiRLModule) -> None:
        """Allow every choice where there is no curriculum, whose phases alone mask some."""
        if self.schedule is None:
            for _, network in self._networks(modules):
                network.lift_mask()

    def _networks(self, modules: MultiRLModule) -> Iterator[tuple[str, PolicyNetwork]]:
        """The agent types and networks of modules; RLlib's own modules have none, and take no mask."""
        for module_id, agent_type in self._types.items():
            network = getattr(modules[module_id].unwrapped(), "network", None) if module_id in modules else None
            if network is not None:
                yield agent_type, network

    def not_followed(self, modules: MultiRLModule) -> list[str]:
        """What a curriculum asks for at some time that these modules cannot do, in words.

        RLlib's own modules take no mask, and its own env runners let nobody act at random.
        """
        if self.schedule is None:
            return []
        phases = [self.schedule.phase(iteration) for iteration in (0, 1, 10, 100, 1000, 10000)]
        followed = {agent_type for agent_type, _ in self._networks(modules)}
        problems = []
        for module_id, agent_type in self._types.items():
            masks = [mask for phase in phases if (mask := phase.masks(self.economy).get(agent_type)) is not None]
            if module_id in modules and agent_type not in followed and not all(bool(mask.all()) for mask in masks):
                problems.append(f"restricts what the {agent_type} may choose, but module {module_id} takes no mask")
        return problems + [
            f"lets the {agent_type} act at random"
            for agent_type in AGENT_TYPES
            if any(agent_type in phase.random for phase in phases)
        ]

    def log_masks(self, phase: Phase) -> dict[str, Tensor]:
        """What a phase adds to the logits [K] of firms and of the government."""
        key = (phase.price, phase.wage, phase.highest_tax, phase.fixed_taxes)
        if key != self._key:
            self._key = key
            self._log_masks = {
                agent_type: torch.where(mask, 0.0, MASKED_LOGIT).to(self.device)
                for agent_type, mask in phase.masks(self.economy).items()
            }
        return self._log_masks


# A run's `policies_to_train`: names, a function of a name and a batch, or None for all.
Asked = Sequence[str] | Callable[[str, object], bool] | None


class CurriculumCallback(RLlibCallback):
    """Follows a curriculum. Make a class for one with `curriculum_callback`.

    On the plain path it sets masks (of modules that are `EconomyModule`), parameters of the economy, who learns (of
    those in ``policies_to_train``), and learning rates; for entropy RLlib's own schedules are used there,
    and nobody acts at random before its stage.
    `EconomyPPO` takes over the curriculum as its own.

    Attributes:
        curriculum: The schedule, typed or as `EconomyPPOConfig.training(curriculum=...)` takes it; None takes the
            algorithm's own.
    """

    curriculum: ClassVar[Any] = None
    _tracker: PhaseTracker | None = None

    def on_algorithm_init(self, *, algorithm: Algorithm, **kwargs: object) -> None:
        """Set the first phase.

        Raises:
            ConfigError: The curriculum asks for what modules and env runners of RLlib's own cannot do.
        """
        tracker = self._tracker = PhaseTracker(algorithm.config, "cpu", parse_curriculum(self.curriculum))
        if not _is_batched(algorithm) and algorithm.env_runner.module is not None:
            build_curriculum(tracker.schedule, tracker.economy)
            problems = tracker.not_followed(algorithm.env_runner.module)
            if problems:
                raise ConfigError(
                    f"the curriculum {'; it '.join(problems)}: take EconomyPPO, make the modules "
                    "rbc_marl.rllib.modules.EconomyModule (RLModuleSpec), or leave that part of the curriculum out"
                )
        self._set_phase(algorithm)

    def on_train_result(self, *, algorithm: Algorithm, result: dict[str, Any], **kwargs: object) -> None:
        """Report the phase of this iteration, and set that of the next."""
        phase = self._set_phase(algorithm)
        result["curriculum"] = phase.report()

    def on_checkpoint_loaded(self, *, algorithm: Algorithm, **kwargs: object) -> None:
        """Set the phase of a restored run; likewise for replaced workers, and for those that evaluate."""
        self._set_phase(algorithm)

    on_env_runners_recreated = on_checkpoint_loaded
    on_evaluate_start = on_checkpoint_loaded

    def _set_phase(self, algorithm: Algorithm) -> Phase:
        tracker = self._tracker
        if tracker is None:  # an algorithm that was restored may load before it says that it is there
            tracker = self._tracker = PhaseTracker(algorithm.config, "cpu", parse_curriculum(self.curriculum))
        tracker.steps_per_iteration = getattr(algorithm, STEPS_PER_ITERATION, tracker.steps_per_iteration)
        steps = int(algorithm.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0))
        phase = tracker.at(steps)
        if not _is_batched(algorithm):
            asked = algorithm.config.policies_to_train
            algorithm.learner_group.foreach_learner(partial(_set_in_learner, tracker, steps, asked))
            training, evaluation = algorithm.env_runner_group, algorithm.eval_env_runner_group
            for group, played in ((training, phase), (evaluation, phase.own_economy())):
                if group is not None:
                    group.foreach_env_runner(partial(_set_in_runner, tracker, played))
        return phase


def curriculum_callback(curriculum: Schedule | Mapping[str, Any] | str | None) -> type[CurriculumCallback]:
    """A callback class that follows a curriculum: ``config.callbacks(curriculum_callback("paper_short"))``.

    Raises:
        ConfigError: The curriculum is unknown or malformed.
    """
    return type("CurriculumCallback", (CurriculumCallback,), {"curriculum": parse_curriculum(curriculum)})


def _is_batched(algorithm: Algorithm) -> bool:
    """Whether it is EconomyPPO, whose env runners and learners ask for the phase themselves."""
    return hasattr(algorithm, STEPS_PER_ITERATION)


class _Learns:
    """Whether a module learns: the run asks for it, and so does the phase where it is an agent type's.

    Args:
        asked: The run's ``policies_to_train``.
        phase: Where the run stands.
    """

    def __init__(self, asked: Asked, phase: Phase) -> None:
        self.asked, self.phase = asked, phase

    def __call__(self, module_id: str, batch: object = None) -> bool:
        if module_id in AGENT_TYPES and module_id not in self.phase.learning:
            return False
        if callable(self.asked):
            return bool(self.asked(module_id, batch))
        return self.asked is None or module_id in self.asked

    def anybody(self, module_ids: Sequence[str]) -> bool:
        try:
            return any(self(module_id) for module_id in module_ids)
        except Exception:  # a function of one's own that has to see the batch
            return True


def _set_in_learner(tracker: PhaseTracker, env_steps: int, asked: Asked, learner: Learner) -> None:
    """Set the phase of an env step in a learner of RLlib's own."""
    phase = tracker.at(env_steps)
    tracker.mask(learner.module, phase)
    known: Sequence[str] = list(learner.module.keys())
    learns, is_idle = _Learns(asked, phase), False
    if not learns.anybody(known):  # RLlib cannot update nobody: all go on, with steps of length zero
        learns, is_idle = _Learns(asked, Phase()), True
    names = None if callable(asked) else [module_id for module_id in known if learns(module_id)]
    learner.config.multi_agent(policies_to_train=learns if names is None else names)
    for module_id in known:
        factor = 0.0 if is_idle else phase.rate(module_id)
        rate, optimizer = learner.config.get_config_for_module(module_id).lr, learner.get_optimizer(module_id)
        if factor == 0.0 or isinstance(rate, (int, float)):  # a schedule of RLlib's own is left to it
            rate = rate * factor if factor else 0.0
        elif optimizer not in learner._optimizer_lr_schedules:  # or to who made the optimizer
            continue
        # After each update, of which an iteration may have many, RLlib sets what this says.
        schedule = Scheduler(rate, framework=learner.framework, device=learner._device)
        if optimizer in learner._optimizer_lr_schedules:
            learner._optimizer_lr_schedules[optimizer] = schedule
        learner._set_optimizer_lr(optimizer, float(schedule.update(timestep=env_steps)))


def _set_in_runner(tracker: PhaseTracker, phase: Phase, env_runner: EnvRunner) -> None:
    """Set a phase in an env runner of RLlib's own."""
    if env_runner.module is not None:
        tracker.mask(env_runner.module, phase)
    for env in getattr(env_runner.env, "envs", ()):
        env.unwrapped.set_parameters(phase.parameters())
