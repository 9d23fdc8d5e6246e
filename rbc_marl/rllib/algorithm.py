"""EconomyPPO: RLlib's PPO on batches of economies, one shared policy per agent type."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils import force_list
from ray.rllib.utils.metrics import (
    ALL_MODULES,
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_MODULE_STEPS_TRAINED_LIFETIME,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
    WEIGHTS_SEQ_NO,
)

from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.curriculum import Schedule, build_curriculum, parse_curriculum
from rbc_marl.errors import ConfigError
from rbc_marl.policies.build import NetworkSpec, build_network
from rbc_marl.policies.imposed import IMPOSED, Treatment
from rbc_marl.policies.logit_response import LogitResponse
from rbc_marl.policies.networks import PolicyNetwork
from rbc_marl.policies.saved import check_finite_weights, save_policies
from rbc_marl.policies.trembles import Trembles
from rbc_marl.rllib.callbacks import STEPS_PER_ITERATION, CurriculumCallback
from rbc_marl.rllib.compiled import check_compiler, sample_timeout
from rbc_marl.rllib.env_runner import EconomyEnvRunner
from rbc_marl.rllib.finite import check_finite_results
from rbc_marl.rllib.learner import EconomyPPOLearner
from rbc_marl.rllib.lost import check_room, naming_lost_learners
from rbc_marl.rllib.modules import EconomyModule, check_described, check_evaluation, classes_of_networks, module_spec
from rbc_marl.rllib.plain import check_registered, policy_mapping_fn
from rbc_marl.rllib.ranges import check_ranges
from rbc_marl.rllib.rollout import Rollout
from rbc_marl.rllib.sampling import sample_here, sample_shares
from rbc_marl.rllib.settings import (
    MERGED_SETTINGS,
    OWN_SETTINGS,
    AgentsPerUpdate,
    Deviator,
    EconomySettings,
    Networks,
    RewardScale,
    Scripted,
    agent_type_of,
    as_plain,
    check_followed,
    check_roles,
    economy_of,
    has_search_space,
    module_ids,
    network_spec,
    parse_setting,
)
from rbc_marl.rllib.sizes import check_memory
from rbc_marl.settings import plain
from rbc_marl.signatures import sign


class EconomyPPOConfig(PPOConfig):
    """PPO's configuration with defaults that suit economies.

    Settings of RLlib's PPO keep their meaning; those that nothing on this path reads are refused
    (`rbc_marl.rllib.settings.FOLLOWED`). Numbers and sequences of NumPy are taken where plain ones are, and Ray Tune's
    search spaces where it can search: everything is checked again when the configuration is validated.

    Sizes count env steps, one period of one economy: ``num_envs_per_env_runner`` economies play one whole episode
    each per iteration, and ``train_batch_size_per_learner`` follows from that unless it is set. ``minibatch_size``
    None trains on whole batches.
    """

    def __init__(self, algo_class: type | None = None) -> None:
        """Set the defaults (appendix of the paper where it gives them)."""
        super().__init__(algo_class=algo_class or EconomyPPO)
        self.callbacks_class: Any = self.callbacks_class
        self.env: Any = "rbc_open"
        self.env_runner_cls = EconomyEnvRunner
        self.num_env_runners = 0
        self.num_envs_per_env_runner = 16
        self.batch_mode = "complete_episodes"
        self.add_default_connectors_to_learner_pipeline = False
        self.multi_agent(policies=set(AGENT_TYPES), policy_mapping_fn=policy_mapping_fn)
        self.train_batch_size: Any = None
        self.lr = 1e-3
        self.gamma = 0.9999
        self.lambda_ = 1.0
        self.clip_param = 0.2
        self.grad_clip = 2.0
        self.num_epochs = 2
        self.minibatch_size = None
        self.entropy_coeff = 0.05
        self.vf_loss_coeff = 0.5
        self.use_kl_loss = False
        # With the usual 30 s each iteration would wait as long for an env runner that is gone.
        self.env_runner_health_probe_timeout_s = 0.1
        # Looking at every gradient for NaN stalls an accelerator twice per parameter and minibatch.
        self.torch_skip_nan_gradients = True
        defaults = EconomySettings.parse({}, "")
        self.reward_scale: RewardScale = defaults.reward_scale
        self.huber_delta: float = defaults.huber_delta
        self.networks: Networks = defaults.networks
        self.curriculum: Schedule | None = None
        self.rules: str = defaults.rules
        self.agents_per_update: AgentsPerUpdate = defaults.agents_per_update
        self.trembles: Trembles = defaults.trembles
        self.logit_response: LogitResponse | None = None
        self.autocast: Literal["bfloat16"] | None = None
        self.deviator: Deviator | None = None
        self.scripted: Scripted = defaults.scripted
        self.imposed: Treatment = defaults.imposed

    def training(
        self,
        *,
        reward_scale: RewardScale | Mapping[str, float] = NotProvided,
        huber_delta: float = NotProvided,
        networks: Networks | Mapping[str, NetworkSpec | str | type[PolicyNetwork] | Mapping[str, Any]] = NotProvided,
        curriculum: Schedule | Mapping[str, Any] | str | None = NotProvided,
        rules: str = NotProvided,
        agents_per_update: AgentsPerUpdate | Mapping[str, int] | None = NotProvided,
        trembles: Trembles | Mapping[str, float] | None = NotProvided,
        logit_response: LogitResponse | Mapping[str, Any] | bool | None = NotProvided,
        autocast: Literal["bfloat16"] | None = NotProvided,
        deviator: Deviator | Mapping[str, Any] | None = NotProvided,
        scripted: Scripted | Mapping[str, Any] | None = NotProvided,
        imposed: Treatment | Mapping[str, Any] | None = NotProvided,
        **kwargs: object,
    ) -> Self:
        """RLlib's training settings, and those of economies.

        Args:
            reward_scale: Divisor of rewards by agent type; types left out keep theirs.
            huber_delta: Scaled error from which the value loss grows linearly.
            networks: Network by agent type: "flat", {kind: flat, hidden: [128, 128]}, or a class of one's own
                (`NetworkSpec`); types left out keep theirs.
            curriculum: Parts of a `rbc_marl.curriculum.Curriculum`, its name, or any schedule; None for none.
            rules: Name of the rule-based economy that tells impaired outcomes from living ones; the best of several.
            agents_per_update: How many agents of a type, drawn anew for each update, it learns from.
            trembles: {price: 0.05}: how often training replaces actions by random ones (`rbc_marl.policies.trembles`).
            logit_response: Temperatures of consumers who learn from the exact values of all alternatives of their own
                choices (`rbc_marl.policies.logit_response`); True for the defaults, None for PPO.
            autocast: "bfloat16": networks multiply matrices in it when they act and learn (`torch.autocast`).
            deviator: {type: consumer, agent: 37}: one agent has a module of its own; saved policies leave it out.
            scripted: {firm: monopoly}: types that follow rules, and never learn; such a run saves no policies.
            imposed: What training imposes on all, such as {choices: {income_tax: 0.2}, period: 5} (`Treatment`).
            **kwargs: As in PPOConfig.training.

        Raises:
            ConfigError: A setting is not valid.
        """
        values = locals()
        if "model" in kwargs:
            raise ConfigError("model is the old name of networks; give networks={'consumer': ..., 'firm': ...}")
        super().training(**{name: plain(value) for name, value in kwargs.items()})
        for name in OWN_SETTINGS:
            if values[name] is not NotProvided:
                self._take(name, plain(values[name]))
        check_followed(self, _unchanged())
        return self

    def _take(self, name: str, value: object) -> None:
        """Keep a setting of our own: typed, or as it is while Tune is still to choose something in it."""
        if name in MERGED_SETTINGS and isinstance(value, Mapping):
            value = {**dict(getattr(self, name)), **value}
        setattr(self, name, value if has_search_space(value) else parse_setting(name, value))
        if name == "deviator":
            self.multi_agent(policies=set(module_ids(self)))

    def to_dict(self) -> dict[str, Any]:
        """RLlib's, with our own settings as plain data."""
        settings: dict[str, Any] = super().to_dict()
        return {**settings, **{name: as_plain(settings[name]) for name in OWN_SETTINGS}}

    def update_from_dict(self, config_dict: Mapping[str, Any]) -> Self:
        """RLlib's; settings of `training` that a dictionary changes are merged and checked as there.

        Raises:
            ConfigError: One of them is wrong, or networks stand under ``model``.
        """
        if any(agent_type in config_dict.get("model", {}) for agent_type in AGENT_TYPES):
            raise ConfigError("model names agent types; in a dictionary it is RLlib's own: give networks instead")
        own = {name: config_dict[name] for name in OWN_SETTINGS if name in config_dict}
        rest = {key: plain(value) for key, value in config_dict.items() if key not in own}
        if "model" in rest:  # RLlib would hand it to `training`, where it is an old name of ours
            self.model = rest.pop("model")
        super().update_from_dict(rest)
        for name, value in own.items():
            self._take(name, plain(value))
        return self

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """An `EconomyModule`; what each agent type needs is added in `get_multi_rl_module_spec`."""
        return RLModuleSpec(module_class=EconomyModule)

    def get_multi_rl_module_spec(self, *, inference_only: bool = False, **kwargs: object) -> MultiRLModuleSpec:
        """One `EconomyModule` per agent type and for a deviator."""
        specs = {module_id: module_spec(self, module_id, inference_only) for module_id in module_ids(self)}
        return MultiRLModuleSpec(rl_module_specs=specs)

    def get_default_learner_class(self) -> type[EconomyPPOLearner]:
        """The learner of rows that are economy-periods."""
        return EconomyPPOLearner

    def validate(self) -> None:
        """Check the settings that belong together.

        Raises:
            ConfigError: A setting cannot work on this path.
        """
        for name, value in vars(self).items():
            if isinstance(value, (np.generic, np.ndarray)):
                setattr(self, name, plain(value))
        for name in OWN_SETTINGS:
            setattr(self, name, parse_setting(name, getattr(self, name)))
        check_followed(self, _unchanged())
        check_ranges(vars(self))
        economy, encoding = economy_of(self)
        check_registered(self.env)
        self._check_classes()
        check_roles(self, economy)
        for module_id in module_ids(self):
            spec = network_spec(self, module_id)
            if spec.is_own:  # what is wrong with it shows now, not in another process
                spec.build(economy, agent_type_of(self, module_id), encoding)
        check_evaluation(self)
        learners = self.num_learners or 1
        # Of each env runner alone: one may be lost for a while, and the others' episodes must still share out evenly.
        if self.num_envs_per_env_runner % learners and not self.in_evaluation:
            raise ConfigError(
                f"{self.num_envs_per_env_runner} economies of an env runner cannot be shared by {learners} learners; "
                "make num_envs_per_env_runner a multiple of num_learners"
            )
        if getattr(self, "_train_batch_size_per_learner", None) is None:
            episodes = self.num_envs_per_env_runner * max(self.num_env_runners, 1)
            super().training(train_batch_size_per_learner=episodes * economy.horizon // learners)
        if self.num_learners and self.minibatch_size is None:  # RLlib counts the minibatches of learner processes
            self.minibatch_size = self.train_batch_size_per_learner
        check_memory(self)
        self._settle_curriculum(economy)
        super().validate()

    def _check_classes(self) -> None:
        """Refuse classes of other kinds: they would fail in the midst of training, or be another path."""
        kinds = [("env_runner_cls", self.env_runner_cls, EconomyEnvRunner)]
        kinds += [("learner_class", self.learner_class, EconomyPPOLearner)]
        kinds += [("callbacks_class", cls, RLlibCallback) for cls in force_list(self.callbacks_class)]
        for name, cls, kind in kinds:
            if not (isinstance(cls, type) and issubclass(cls, kind)):
                raise ConfigError(f"{name} is {cls!r}; it must be a subclass of {kind.__name__}")

    def _settle_curriculum(self, economy: EconomyConfig) -> None:
        """Take over a callback's own curriculum: on this path the setting decides, and the callback reports.

        Iterations that would end in the midst of what env runners play in one go are refused: phases would fall out of
        step.
        """
        callbacks = force_list(self.callbacks_class)
        reporters = [cls for cls in callbacks if issubclass(cls, CurriculumCallback)]
        schedules = [self.curriculum, *(parse_curriculum(cls.curriculum) for cls in reporters)]
        schedules = [schedule for schedule in schedules if schedule is not None]
        if any(schedule != schedules[0] for schedule in schedules):
            raise ConfigError(
                "curriculum is given twice: as a setting, and to curriculum_callback another one; keep one"
            )
        self.curriculum = schedules[0] if schedules else None
        if build_curriculum(self.curriculum, economy) is None:
            return
        if not reporters:
            self.callbacks_class = [*callbacks, CurriculumCallback]
        in_one_go = self.num_envs_per_env_runner * max(self.num_env_runners, 1) * economy.horizon
        if self.total_train_batch_size % in_one_go and not self.in_evaluation:
            raise ConfigError(
                f"train_batch_size_per_learner is {self.train_batch_size_per_learner}, so that an iteration has "
                f"{self.total_train_batch_size} env steps; with a curriculum it must have a multiple of {in_one_go}, "
                "which is what all env runners play in one go: leave the size out"
            )

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return {}


@cache
def _unchanged() -> EconomyPPOConfig:
    """The defaults."""
    return EconomyPPOConfig()


class EconomyPPO(PPO):
    """PPO on batches of economies. Its checkpoints also hold the policies as plain data, readable without Ray."""

    @classmethod
    def get_default_config(cls) -> AlgorithmConfig:
        """An `EconomyPPOConfig`."""
        return EconomyPPOConfig()

    _steps_per_iteration: int | None = None

    def setup(self, config: AlgorithmConfig) -> None:
        """Build everything.

        Raises:
            UserError: Ray has no room for the processes, for which RLlib would wait without an end.
            ConfigError: Other networks learn than the settings describe, or there is no compiler that they ask for.
        """
        check_room(config)
        check_compiler(config)
        super().setup(config)
        for result in self.learner_group.foreach_learner(lambda learner: classes_of_networks(learner.module)):
            check_described(result.get(), self.config)

    @property
    def steps_per_iteration(self) -> int:
        """Env steps of an iteration of the curriculum: fixed when a run begins, and kept in its checkpoints."""
        return self._steps_per_iteration or int(self.config.total_train_batch_size)

    def step(self) -> dict[str, Any]:
        """One iteration.

        Raises:
            NonFiniteError: A return or a loss is infinite or NaN: what follows would say nothing of an economy.
            LostProcessError: A learner is lost, or all env runners are and nobody can play in their place.
        """
        with naming_lost_learners(self.learner_group):
            results: dict[str, Any] = super().step()
        check_finite_results(results, self.iteration + 1)
        return results

    def training_step(self) -> None:
        """Sample and learn; then all env runners know how far the run is, and so what phase comes next.

        RLlib says so only at the end of an iteration of several steps, and not to a process that is still busy taking
        over its weights. It would sample all runners anew where one is lost, so that batches grow, and count an
        iteration without samples where all are.
        """
        self._learn(*self._sample())
        state = {NUM_ENV_STEPS_SAMPLED_LIFETIME: self._env_steps()}
        if self.env_runner is not None:
            self.env_runner.set_state(state)
        self.env_runner_group.foreach_env_runner_async_fetch_ready(lambda r: r.set_state(state), tag="env_steps")

    def _sample(self) -> tuple[list[Rollout], list[dict[str, Any]]]:
        """The episodes of an update, and what was logged of them."""
        config = self.config
        with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
            if not self.env_runner_group.num_remote_env_runners():
                return sample_here(self.env_runner, config.total_train_batch_size)
            in_one_go = config.num_env_runners * config.num_envs_per_env_runner * economy_of(config)[0].horizon
            rounds = math.ceil(config.total_train_batch_size / in_one_go)
            return sample_shares(self.env_runner_group, rounds, sample_timeout(config))

    def _learn(self, rollouts: Sequence[Rollout], logged: Sequence[dict[str, Any]]) -> None:
        """The rest of `PPO.training_step`: update the learners, and give env runners the new weights."""
        self.metrics.aggregate(list(logged), key=ENV_RUNNER_RESULTS)
        trained = (LEARNER_RESULTS, ALL_MODULES, NUM_MODULE_STEPS_TRAINED_LIFETIME)
        timesteps = {
            NUM_ENV_STEPS_SAMPLED_LIFETIME: self._env_steps(),
            NUM_MODULE_STEPS_TRAINED_LIFETIME: self.metrics.peek(trained, default=0),
        }
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            results = self.learner_group.update(
                episodes=list(rollouts),
                timesteps=timesteps,
                num_epochs=self.config.num_epochs,
                minibatch_size=self.config.minibatch_size,
                shuffle_batch_per_epoch=self.config.shuffle_batch_per_epoch,
            )
            self.metrics.aggregate(results, key=LEARNER_RESULTS)
        learners, group, policies = self.learner_group, self.env_runner_group, set(results[0]) - {ALL_MODULES}
        with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            if learners.is_local and not group.num_remote_env_runners():
                learners.foreach_learner(partial(self.env_runner.take_weights, policies))
            else:
                group.sync_weights(policies, from_worker_or_learner_group=learners, inference_only=True)

    def save_to_path(self, path: str | Path | None = None, *args: object, **kwargs: object) -> str:
        """Save RLlib's checkpoint and, beside it, the policies (`save_policies`) and the signature of all files.

        Returns:
            The checkpoint's path.

        Raises:
            NonFiniteError: A weight is infinite or NaN; nothing is written.
            LostProcessError: A learner is lost.
        """
        with naming_lost_learners(self.learner_group):
            self._check_finite_weights("no checkpoint is saved")
            # RLlib hands the path to a library that takes relative ones for addresses.
            target = str(super().save_to_path(str(Path(path or tempfile.mkdtemp()).resolve()), *args, **kwargs))
            if not self.config.scripted.chosen:  # what follows rules is no network that could be saved
                self.save_policies(target)
        if "filesystem" not in kwargs and Path(target).is_dir():
            sign(Path(target))
        return target

    def save_policies(self, folder: str | Path) -> None:
        """Write ``policies.json`` and ``policies/<type>.safetensors`` into a folder: economy, networks and weights."""
        economy, encoding = economy_of(self.config)
        networks = self.networks()
        specs = {agent_type: network_spec(self.config, agent_type) for agent_type in AGENT_TYPES}
        info: dict[str, Any] = {"training_iteration": self.training_iteration, "env_steps": self._env_steps()}
        info |= {"seed": self.config.seed, "rules": self.config.rules}
        if self.config.imposed.chosen:  # evaluations impose it again
            info[IMPOSED] = self.config.imposed.chosen
        save_policies(folder, economy, encoding, networks, specs, info)

    def networks(self) -> dict[str, PolicyNetwork]:
        """Copies of all modules' networks as they are now, by module."""
        economy, encoding = economy_of(self.config)
        weights = self.learner_group.get_weights()
        networks = {}
        for module_id in module_ids(self.config):
            agent_type = agent_type_of(self.config, module_id)
            networks[module_id] = build_network(economy, agent_type, encoding, network_spec(self.config, module_id))
            # Arrays from another process cannot be written to, and torch wants its own to be: they are copied.
            state = {name.removeprefix("network."): np.array(x) for name, x in weights[module_id].items()}
            networks[module_id].load_state_dict({name: torch.from_numpy(x) for name, x in state.items()})
        return networks

    def start_from(self, networks: Mapping[str, PolicyNetwork]) -> None:
        """Give modules the weights of networks; the others keep theirs. Every choice is allowed again.

        Args:
            networks: By module, each of the kind that the module has.
        """
        states = {module_id: network.state_dict() for module_id, network in networks.items()}

        def fill(learner: Learner) -> None:
            for module_id, state in states.items():
                network = learner.module[module_id].unwrapped().network
                network.load_state_dict(state)
                network.lift_mask()

        self.learner_group.foreach_learner(fill)
        self._sync_env_runners()

    def get_state(self, *args: object, **kwargs: object) -> dict[str, Any]:
        """RLlib's state, and how long an iteration is."""
        state: dict[str, Any] = super().get_state(*args, **kwargs)
        return {**state, STEPS_PER_ITERATION: self.steps_per_iteration}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore, and tell env runners how far the run is: RLlib does so before it knows."""
        super().set_state(state)
        self._steps_per_iteration = state.get(STEPS_PER_ITERATION, self._steps_per_iteration)
        length = self.steps_per_iteration
        self.learner_group.foreach_learner(lambda learner: setattr(learner.phases, STEPS_PER_ITERATION, length))
        self._sync_env_runners()

    def restore_from_path(self, path: str | Path, *args: object, **kwargs: object) -> None:
        """Restore, and tell env runners how far the run is: RLlib does so before it knows.

        Raises:
            NonFiniteError: A weight is infinite or NaN.
        """
        super().restore_from_path(path, *args, **kwargs)
        self._check_finite_weights(f"{path} cannot be restored")
        self._sync_env_runners()

    def evaluate(self, *args: object, **kwargs: object) -> dict[str, Any]:
        """Evaluate; training goes on as if nothing had been evaluated, also where its env runner did the work."""
        results: dict[str, Any] = super().evaluate(*args, **kwargs)
        if self.eval_env_runner_group is None and self.env_runner is not None:
            self.env_runner.set_state({NUM_ENV_STEPS_SAMPLED_LIFETIME: self._env_steps()})
        return results

    def _check_finite_weights(self, what: str) -> None:
        check_finite_weights(self.learner_group.get_weights(), what)

    def _env_steps(self) -> int:
        return int(self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0))

    def _sync_env_runners(self) -> None:
        """Give all env runners the learner's weights, whatever their number there, and where the run is."""
        number = {WEIGHTS_SEQ_NO: next(iter(self.learner_group.foreach_learner(lambda x: x._weights_seq_no))).get()}
        reached = {NUM_ENV_STEPS_SAMPLED_LIFETIME: self._env_steps(), STEPS_PER_ITERATION: self.steps_per_iteration}
        state = {COMPONENT_RL_MODULE: self.learner_group.get_weights(), **reached}
        for group in (self.env_runner_group, self.eval_env_runner_group):
            if group is not None:
                group.foreach_env_runner(lambda env_runner: [env_runner.set_state(each) for each in (state, number)])
