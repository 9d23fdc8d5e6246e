"""Curricula as RLlib callbacks, for every algorithm.

EconomyPPO's env runners and learners ask for the phase themselves; for it the callback only reports where the run
stands. On the plain path RLlib's own workers know nothing of curricula: there the callback sets the phase from
outside, after each iteration, after a restore and after a worker was replaced, always from the env steps so far.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.learner.learner import Learner
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.rllib.utils.schedules.scheduler import Scheduler

from rbc_marl.config import AGENT_TYPES
from rbc_marl.curriculum import Phase, Schedule, build_curriculum, parse_curriculum
from rbc_marl.errors import ConfigError
from rbc_marl.rllib.env_runner import EconomyEnvRunner
from rbc_marl.rllib.phases import STEPS_PER_ITERATION, PhaseTracker

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm import Algorithm


# A run's `policies_to_train`: names, a function of a name and a batch, or None for all.
Asked = Sequence[str] | Callable[[str, object], bool] | None


class CurriculumCallback(RLlibCallback):
    """Follows a curriculum. Make a class for one with `curriculum_callback`.

    On the plain path it sets masks (of modules that are `EconomyModule`), the factor on the disutility of labour, who
    learns (of those in ``policies_to_train``), and learning rates; for entropy RLlib's own schedules are used there,
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
        self._tracker = PhaseTracker(algorithm.config, "cpu", parse_curriculum(self.curriculum))
        if not _is_batched(algorithm) and algorithm.env_runner.module is not None:
            build_curriculum(self._tracker.schedule, self._tracker.economy)
            problems = self._tracker.not_followed(algorithm.env_runner.module)
            if problems:
                raise ConfigError(
                    f"the curriculum {'; it '.join(problems)}: take EconomyPPO, make the modules "
                    "rbc_marl.rllib.modules.EconomyModule (RLModuleSpec), or leave that part of the curriculum out"
                )
        self._set_phase(algorithm)

    def on_train_result(self, *, algorithm: Algorithm, result: dict[str, Any], **kwargs: object) -> None:
        """Report the phase of this iteration, and set that of the next."""
        phase = self._set_phase(algorithm)
        result["curriculum"] = {
            "phase": phase.describe(),
            "highest_tax": phase.highest_tax,
            "labour_disutility": phase.labour_disutility,
            "learning_rate": phase.learning_rate,
            **{f"entropy_{agent_type}": factor for agent_type, factor in phase.entropy.items()},
        }

    def on_checkpoint_loaded(self, *, algorithm: Algorithm, **kwargs: object) -> None:
        """Set the phase of the restored run."""
        self._set_phase(algorithm)

    def on_env_runners_recreated(self, *, algorithm: Algorithm, **kwargs: object) -> None:
        """Tell replaced workers."""
        self._set_phase(algorithm)

    def on_evaluate_start(self, *, algorithm: Algorithm, **kwargs: object) -> None:
        """Tell evaluation workers."""
        self._set_phase(algorithm)

    def _set_phase(self, algorithm: Algorithm) -> Phase:
        tracker = self._tracker
        if tracker is None:  # an algorithm that was restored may load before it says that it is there
            tracker = self._tracker = PhaseTracker(algorithm.config, "cpu", parse_curriculum(self.curriculum))
        tracker.steps_per_iteration = getattr(algorithm, STEPS_PER_ITERATION, tracker.steps_per_iteration)
        steps = int(algorithm.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0))
        phase = tracker.at(steps)
        if not _is_batched(algorithm):
            algorithm.learner_group.foreach_learner(_SetInLearner(tracker, steps, algorithm.config.policies_to_train))
            for group in (algorithm.env_runner_group, algorithm.eval_env_runner_group):
                if group is not None:
                    group.foreach_env_runner(_SetInRunner(tracker, phase))
        return phase


def curriculum_callback(curriculum: Schedule | Mapping[str, Any] | str | None) -> type[CurriculumCallback]:
    """A callback class that follows a curriculum: ``config.callbacks(curriculum_callback("paper_short"))``.

    Raises:
        ConfigError: The curriculum is unknown or malformed.
    """
    return type("CurriculumCallback", (CurriculumCallback,), {"curriculum": parse_curriculum(curriculum)})


def _is_batched(algorithm: Algorithm) -> bool:
    """Whether its env runners ask for the phase themselves."""
    return issubclass(algorithm.config.env_runner_cls or object, EconomyEnvRunner)


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


class _SetInLearner:
    """Sets the phase of an env step in a learner of RLlib's own; a class, so that it can be sent to a process."""

    def __init__(self, tracker: PhaseTracker, env_steps: int, asked: Asked) -> None:
        self.tracker, self.env_steps, self.asked = tracker, env_steps, asked
        self.phase = tracker.at(env_steps)

    def __call__(self, learner: Learner) -> None:
        self.tracker.mask(learner.module, self.phase)
        known: Sequence[str] = list(learner.module.keys())
        learns = _Learns(self.asked, self.phase)
        factor = self.phase.learning_rate
        if not learns.anybody(known):  # RLlib cannot update nobody: all go on, with steps of length zero
            learns, factor = _Learns(self.asked, Phase()), 0.0
        names = None if callable(self.asked) else [module_id for module_id in known if learns(module_id)]
        learner.config.multi_agent(policies_to_train=learns if names is None else names)
        for module_id in known:
            rate, optimizer = learner.config.get_config_for_module(module_id).lr, learner.get_optimizer(module_id)
            if factor == 0.0 or isinstance(rate, (int, float)):  # a schedule of RLlib's own is left to it
                rate = rate * factor if factor else 0.0
            elif optimizer not in learner._optimizer_lr_schedules:  # or to who made the optimizer
                continue
            # After each update, of which an iteration may have many, RLlib sets what this says.
            schedule = Scheduler(rate, framework=learner.framework, device=learner._device)
            if optimizer in learner._optimizer_lr_schedules:
                learner._optimizer_lr_schedules[optimizer] = schedule
            learner._set_optimizer_lr(optimizer, float(schedule.update(timestep=self.env_steps)))


class _SetInRunner:
    """Sets a phase in an env runner of RLlib's own."""

    def __init__(self, tracker: PhaseTracker, phase: Phase) -> None:
        self.tracker, self.phase = tracker, phase

    def __call__(self, env_runner: EnvRunner) -> None:
        if env_runner.module is not None:
            self.tracker.mask(env_runner.module, self.phase)
        for env in getattr(env_runner.env, "envs", ()):
            env.unwrapped.set_labour_disutility_scale(self.phase.labour_disutility)
