"""EconomyPPO: RLlib's PPO on batches of economies, one shared policy per agent type."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Self

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME

from rbc_marl.analysis.outcomes import BEST, check_reference
from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.curriculum import build_curriculum
from rbc_marl.errors import ConfigError
from rbc_marl.policies.build import build_network
from rbc_marl.policies.networks import PolicyNetwork
from rbc_marl.policies.saved import save_policies
from rbc_marl.rllib.callbacks import CurriculumCallback
from rbc_marl.rllib.economy_config import economy_of
from rbc_marl.rllib.env_runner import EconomyEnvRunner
from rbc_marl.rllib.learner import EconomyPPOLearner
from rbc_marl.rllib.messages import TakeIterationLength, TakeState, TakeWeights
from rbc_marl.rllib.module_specs import check_evaluation, module_spec, network_spec
from rbc_marl.rllib.modules import EconomyModule
from rbc_marl.rllib.own_settings import check_own_settings
from rbc_marl.rllib.phases import STEPS_PER_ITERATION
from rbc_marl.rllib.plain import policy_mapping_fn
from rbc_marl.rllib.roles import agent_type_of, check_deviator, check_roles, check_scripted, module_ids

# Divisors of the paper's appendix: rewards of all types come to about one.
PAPER_REWARD_SCALE = {"consumer": 5.0, "firm": 30000.0, "government": 1000.0}


class EconomyPPOConfig(PPOConfig):
    """PPO's configuration with defaults that suit economies.

    Settings of RLlib's PPO keep their meaning; those in `rbc_marl.rllib.own_settings.UNREAD`, which nothing reads, are
    refused.

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
        # Looking at every gradient for NaN stalls an accelerator twice per parameter and minibatch.
        self.torch_skip_nan_gradients = True
        self.reward_scale = dict(PAPER_REWARD_SCALE)
        self.huber_delta = 1.0
        self.networks: dict[str, Any] = dict.fromkeys(AGENT_TYPES, "flat")
        self.curriculum: Any = None
        self.rules: str = BEST
        self.agents_per_update: dict[str, int] = {}
        self.probe_economies: dict[str, Any] = {}
        self.deviator: dict[str, Any] = {}
        self.scripted: dict[str, Any] = {}

    def training(
        self,
        *,
        reward_scale: Mapping[str, float] = NotProvided,
        huber_delta: float = NotProvided,
        networks: Mapping[str, Any] = NotProvided,
        curriculum: Any = NotProvided,  # noqa: ANN401 - a mapping, a name or a schedule
        rules: str = NotProvided,
        agents_per_update: Mapping[str, int] = NotProvided,
        probe_economies: Mapping[str, Any] = NotProvided,
        deviator: Mapping[str, Any] | None = NotProvided,
        scripted: Mapping[str, Any] | None = NotProvided,
        **kwargs: Any,  # noqa: ANN401 - RLlib's own settings
    ) -> Self:
        """RLlib's training settings, and those of economies.

        Args:
            reward_scale: Divisor of rewards by agent type; types left out keep theirs.
            huber_delta: Scaled error from which the value loss grows linearly.
            networks: Network by agent type: "flat", or {kind: flat, hidden: [128, 128]}; types left out keep theirs.
            curriculum: Parts of a `rbc_marl.curriculum.Curriculum`, its name, or any schedule; None for none.
            rules: Name of the rule-based economy that the trained one is held against ("monopoly", "cost_plus",
                "redistribution", ...; by default the best of these three): with less than 80% of its welfare an economy
                counts as impaired.
            agents_per_update: How many agents of a type, drawn anew for each update, it learns from.
            probe_economies: {count: 1, random: firm, learners: [consumer]}: in the last ``count`` economies of a
                batch one type acts uniformly at random, and only ``learners`` learn from them. They show consumers
                prices that firms no longer post.
            deviator: {type: consumer, agent: 37}: one agent acts and learns through a module of its own, "deviator",
                with its type's network unless ``network`` says otherwise, and its type learns from the others alone.
                Saved policies leave it out.
            scripted: {firm: monopoly}: types that follow rules (`rbc_marl.policies.scripted`) and never learn. A run
                with such types saves no policies.
            **kwargs: As in PPOConfig.training.

        Raises:
            ConfigError: An agent type or a network is unknown, or a scale is not positive.
        """
        super().training(**kwargs)
        if reward_scale is not NotProvided:
            self.reward_scale = {**self.reward_scale, **reward_scale}
        if huber_delta is not NotProvided:
            self.huber_delta = huber_delta
        if networks is not NotProvided:
            self.networks = {**self.networks, **networks}
        if curriculum is not NotProvided:
            self.curriculum = curriculum
        if rules is not NotProvided:
            try:
                self.rules = check_reference(rules)
            except ConfigError as error:
                raise ConfigError(f"rules is {error}") from None
        if agents_per_update is not NotProvided:
            self.agents_per_update = dict(agents_per_update)
        if probe_economies is not NotProvided:
            self.probe_economies = (
                {"random": "firm", "learners": ["consumer"], **probe_economies} if probe_economies else {}
            )
        if deviator is not NotProvided:
            self.deviator = check_deviator(deviator)
            self.multi_agent(policies=set(module_ids(self)))
        if scripted is not NotProvided:
            self.scripted = check_scripted(scripted)
        check_own_settings(self, _unchanged())
        return self

    def update_from_dict(self, config_dict: Mapping[str, Any]) -> Self:
        """RLlib's; settings of `training` that a dictionary changes are merged and checked as there.

        Raises:
            ConfigError: One of them is wrong, or networks stand under ``model``.
        """
        if any(agent_type in config_dict.get("model", {}) for agent_type in AGENT_TYPES):
            raise ConfigError("model names agent types; in a dictionary it is RLlib's own: give networks instead")
        settings = EconomyPPOConfig.training.__kwdefaults__ or {}  # all that it takes besides RLlib's
        own = {key: config_dict[key] for key in settings if key in config_dict}
        super().update_from_dict({key: value for key, value in config_dict.items() if key not in own})
        changed = {key: value for key, value in own.items() if value != getattr(self, key)}
        return self.training(**changed) if changed else self

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """An `EconomyModule`; what each agent type needs is added in `get_multi_rl_module_spec`."""
        return RLModuleSpec(module_class=EconomyModule)

    def get_multi_rl_module_spec(self, *, inference_only: bool = False, **kwargs: Any) -> MultiRLModuleSpec:  # noqa: ANN401
        """One `EconomyModule` per agent type and for a deviator, or the modules that the user has configured."""
        if self._rl_module_spec is not None:
            return super().get_multi_rl_module_spec(inference_only=inference_only, **kwargs)
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
        check_own_settings(self, _unchanged())
        economy, _ = economy_of(self)
        check_roles(self, economy)
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
        self._take_over_curriculum(economy)
        if build_curriculum(self.curriculum, economy) is not None:
            self._follow_curriculum()
            self._check_iteration(economy)
        count = self.probe_economies.get("count", 0)
        if count >= self.num_envs_per_env_runner and not self.in_evaluation:  # which has no probes
            raise ConfigError(
                f"probe_economies.count is {count} of {self.num_envs_per_env_runner} economies; "
                "leave at least one that is no probe"
            )
        super().validate()

    def _callback_classes(self) -> list[Any]:
        given = self.callbacks_class
        return list(given) if isinstance(given, (list, tuple)) else [given]

    def _take_over_curriculum(self, economy: EconomyConfig) -> None:
        """Follow a callback's own curriculum: on this path the callback reports, and the setting decides."""
        for cls in self._callback_classes():
            given = cls.curriculum if issubclass(cls, CurriculumCallback) else None
            if given is None:
                continue
            if self.curriculum is None:
                self.curriculum = given
            same = self.curriculum == given
            if not same and build_curriculum(self.curriculum, economy) != build_curriculum(given, economy):
                raise ConfigError(
                    "curriculum is given twice: as a setting, and to curriculum_callback another one; keep one"
                )

    def _follow_curriculum(self) -> None:
        """Add the callback that reports where the run stands in its curriculum."""
        classes = self._callback_classes()
        if not any(issubclass(cls, CurriculumCallback) for cls in classes):
            self.callbacks_class = [*classes, CurriculumCallback]

    def _check_iteration(self, economy: EconomyConfig) -> None:
        """Refuse iterations that end in the midst of what env runners play in one go: phases would fall out of step."""
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

    @property
    def steps_per_iteration(self) -> int:
        """Env steps of an iteration of the curriculum: fixed when a run begins, and kept in its checkpoints."""
        return self._steps_per_iteration or int(self.config.total_train_batch_size)

    def training_step(self) -> None:
        """Sample and learn; then all env runners know how far the run is, and so what phase comes next.

        RLlib says so only at the end of an iteration of several steps, and not to a process that is still busy taking
        over its weights.
        """
        super().training_step()
        known = TakeState({NUM_ENV_STEPS_SAMPLED_LIFETIME: self._env_steps()})
        if self.env_runner is not None:
            known(self.env_runner)
        self.env_runner_group.foreach_env_runner_async_fetch_ready(known, tag="env_steps")

    def save_to_path(self, path: str | Path | None = None, *args: Any, **kwargs: Any) -> str:  # noqa: ANN401 - RLlib's signature
        """Save RLlib's checkpoint and, beside it, the policies (`save_policies`).

        Returns:
            The checkpoint's path.
        """
        # RLlib hands the path to a library that takes relative ones for addresses.
        target = str(super().save_to_path(str(Path(path or tempfile.mkdtemp()).resolve()), *args, **kwargs))
        if not self.config.scripted:  # what follows rules is no network that could be saved
            self.save_policies(target)
        return target

    def save_policies(self, folder: str | Path) -> None:
        """Write ``policies.json`` and ``policies/<type>.safetensors`` into a folder: economy, networks and weights."""
        economy, encoding = economy_of(self.config)
        networks = self.networks()
        specs = {agent_type: network_spec(self.config, agent_type) for agent_type in AGENT_TYPES}
        info = {
            "training_iteration": self.training_iteration,
            "env_steps": self._env_steps(),
            "seed": self.config.seed,
            "rules": self.config.rules,
        }
        save_policies(folder, economy, encoding, networks, specs, info)

    def networks(self) -> dict[str, PolicyNetwork]:
        """Copies of all modules' networks as they are now, by module."""
        economy, encoding = economy_of(self.config)
        weights = self.learner_group.get_weights()
        networks = {}
        for module_id in module_ids(self.config):
            agent_type = agent_type_of(self.config, module_id)
            networks[module_id] = build_network(economy, agent_type, encoding, network_spec(self.config, module_id))
            networks[module_id].load_state_dict(
                {name.removeprefix("network."): _tensor(value) for name, value in weights[module_id].items()}
            )
        return networks

    def start_from(self, networks: Mapping[str, PolicyNetwork]) -> None:
        """Give modules the weights of networks; the others keep theirs. Every choice is allowed again.

        Args:
            networks: By module, each of the kind that the module has.
        """
        states = {module_id: network.state_dict() for module_id, network in networks.items()}
        self.learner_group.foreach_learner(TakeWeights(states))
        self._sync_env_runners()

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401 - RLlib's signature
        """RLlib's state, and how long an iteration is."""
        state: dict[str, Any] = super().get_state(*args, **kwargs)
        return {**state, STEPS_PER_ITERATION: self.steps_per_iteration}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore, and tell env runners how far the run is: RLlib does so before it knows."""
        super().set_state(state)
        self._steps_per_iteration = state.get(STEPS_PER_ITERATION, self._steps_per_iteration)
        self.learner_group.foreach_learner(TakeIterationLength(self.steps_per_iteration))
        self._sync_env_runners()

    def restore_from_path(self, path: str | Path, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - RLlib's signature
        """Restore, and tell env runners how far the run is: RLlib does so before it knows."""
        super().restore_from_path(path, *args, **kwargs)
        self._sync_env_runners()

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401 - RLlib's signature
        """Evaluate; the training goes on as if nothing had been evaluated, also where its env runner did the work."""
        results: dict[str, Any] = super().evaluate(*args, **kwargs)
        if self.eval_env_runner_group is None and self.env_runner is not None:
            self.env_runner.set_state({NUM_ENV_STEPS_SAMPLED_LIFETIME: self._env_steps()})
        return results

    def _env_steps(self) -> int:
        return int(self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0))

    def _sync_env_runners(self) -> None:
        """Give all env runners the learner's weights, whatever their numbers, and where the run is."""
        state = {
            COMPONENT_RL_MODULE: self.learner_group.get_weights(),
            NUM_ENV_STEPS_SAMPLED_LIFETIME: self._env_steps(),
            STEPS_PER_ITERATION: self.steps_per_iteration,
        }
        for group in (self.env_runner_group, self.eval_env_runner_group):
            if group is not None:
                group.foreach_env_runner(TakeState(state))


def _tensor(value: Any) -> Any:  # noqa: ANN401 - an array or a tensor
    import numpy as np
    import torch

    # Arrays from another process cannot be written to, and torch wants its own to be.
    return value if isinstance(value, torch.Tensor) else torch.from_numpy(np.array(value))
