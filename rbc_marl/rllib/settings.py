"""The settings of EconomyPPO: its own as typed sections, the economy behind them, and which of RLlib's it follows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field, field_validator
from ray.rllib.policy.policy import PolicySpec
from ray.tune.search.sample import Domain

from rbc_marl.analysis.outcomes import BEST
from rbc_marl.config import AGENT_TYPES, PRESETS, EconomyConfig, parse_config
from rbc_marl.curriculum import parse_curriculum
from rbc_marl.economy.audit import try_parts
from rbc_marl.economy.own_choices import require_own_values
from rbc_marl.errors import ConfigError, UserError, nearest
from rbc_marl.observations import check_encoding
from rbc_marl.policies.build import NetworkSpec
from rbc_marl.policies.imposed import Treatment
from rbc_marl.policies.logit_response import LogitResponse
from rbc_marl.policies.saved import INDEX_NAME, load_policies
from rbc_marl.policies.scripted import RULES, Rules, resolve_rules
from rbc_marl.policies.trembles import Trembles
from rbc_marl.settings import Section, plain

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

    from rbc_marl.rllib.algorithm import EconomyPPOConfig

# The economy of an AlgorithmConfig

# Names under which the economies are registered with RLlib, and the presets behind them.
ENV_PRESETS = {"rbc_open": "open", "rbc_closed": "closed"}
# What env_config may hold on the plain path besides the fields of EconomyConfig, with the defaults.
ENV_OPTIONS: dict[str, Any] = {
    "encoding": "symlog",
    "render_mode": None,
    "reward_scale": None,
    "action_mode": "multidiscrete",
}


def parse_env_config(env: str, env_config: Mapping[str, Any]) -> tuple[EconomyConfig, str]:
    """The economy and the observation encoding of an ``env_config``.

    Args:
        env: "rbc_open" or "rbc_closed".
        env_config: Fields of `EconomyConfig`, and optionally ``encoding``.

    Raises:
        ConfigError: The env or a key is unknown, a value is invalid, or the two name different economies.
    """
    if not isinstance(env, str) or env not in ENV_PRESETS:
        raise ConfigError(f'env is "{env}"; it must be {" or ".join(ENV_PRESETS)}{nearest(str(env), ENV_PRESETS)}')
    fields = {**PRESETS[ENV_PRESETS[env]], **env_config}
    encoding = check_encoding(fields.pop("encoding", "symlog"))
    fields.pop("render_mode", None)  # of the PettingZoo environment
    return check_env(env, parse_config(fields, "env_config"), "env_config"), encoding


def check_env(env: str, economy: EconomyConfig, where: str) -> EconomyConfig:
    """Return an economy that is open or closed as its env says.

    Raises:
        ConfigError: It is the other.
    """
    if economy.open_economy != (env == "rbc_open"):
        other = "rbc_open" if economy.open_economy else "rbc_closed"
        raise ConfigError(f"{where}.open_economy is {economy.open_economy} but env is {env}; set env: {other}")
    return economy


def economy_of(config: AlgorithmConfig) -> tuple[EconomyConfig, str]:
    """The economy and the observation encoding of an AlgorithmConfig."""
    return parse_env_config(config.env, dict(config.env_config))


# The settings of EconomyPPO that RLlib's PPO does not have

Positive = Annotated[float, Field(ge=1e-12, le=1e15)]
Count = Annotated[int, Field(ge=1)]


class PerType(Section):
    """A value for each agent type; what is left out is None or the default."""

    noun: ClassVar[str] = "an agent type"

    @property
    def chosen(self) -> dict[str, Any]:
        """Values by agent type, without those that are None."""
        return {t: value for t in AGENT_TYPES if (value := getattr(self, t)) is not None}


class RewardScale(PerType):
    """Divisors of rewards: by the paper's appendix, rewards of all types come to about one."""

    consumer: Positive = 5.0
    firm: Positive = 30000.0
    government: Positive = 1000.0


class Networks(PerType):
    """Networks of agent types."""

    consumer: NetworkSpec = NetworkSpec.of("flat")
    firm: NetworkSpec = NetworkSpec.of("flat")
    government: NetworkSpec = NetworkSpec.of("flat")


class AgentsPerUpdate(PerType):
    """How many agents of a type, drawn anew for each update, it learns from; all where it is left out."""

    consumer: Count | None = None
    firm: Count | None = None
    government: Count | None = None


class Deviator(Section):
    """One agent with a module of its own, "deviator", among the others of its type.

    Everybody still draws in one go: whoever does not deviate draws the same random numbers as without a deviator.
    """

    noun: ClassVar[str] = "a setting of a deviator"

    type: Literal["consumer", "firm"] = Field(examples=["consumer"])
    agent: Annotated[int, Field(ge=0)] = Field(description="its number among its type, from 0", examples=[0])
    network: NetworkSpec | None = Field(None, description="None: that of its type")


def _rules(value: object) -> object:
    """Rules by name or as a mapping."""
    if value is None or isinstance(value, (Rules, str, Mapping)):
        return None if value is None else resolve_rules(value)
    raise ValueError(f"it must be the name of rules or a mapping of them; there are {', '.join(RULES)}")


ScriptedRules = Annotated[Rules | None, BeforeValidator(_rules)]


class Scripted(PerType):
    """Types that follow rules, and never learn."""

    consumer: ScriptedRules = None
    firm: ScriptedRules = None
    government: ScriptedRules = None


def _reference(name: str) -> str:
    known = (BEST, *RULES)
    if name not in known:
        raise ValueError(f"it must be one of {', '.join(known)}{nearest(name, known)}")
    return name


class EconomySettings(Section):
    """The settings of EconomyPPO that RLlib's PPO does not have; ``curriculum``, whose type is open, stands beside."""

    noun: ClassVar[str] = "a setting of EconomyPPO"

    reward_scale: RewardScale = Field(RewardScale(), description="divisor of the rewards of each agent type")
    huber_delta: Positive = Field(1.0, description="scaled error from which the value loss grows linearly")
    networks: Networks = Field(Networks(), description="network of each agent type")
    rules: Annotated[str, AfterValidator(_reference)] = Field(
        BEST, description="rule-based economy that the trained one is held against"
    )
    agents_per_update: AgentsPerUpdate = Field(AgentsPerUpdate(), description="agents of a type that it learns from")
    trembles: Trembles = Field(Trembles(), description="how often training replaces actions by random ones")
    logit_response: LogitResponse | None = Field(
        None, description="consumers learn from exact values of their own choices, in place of PPO"
    )
    autocast: Literal["bfloat16"] | None = Field(None, description="type of the networks' matrix products in training")
    deviator: Deviator | None = Field(None, description="one agent with a module of its own")
    scripted: Scripted = Field(Scripted(), description="rules of types that never learn")
    imposed: Treatment = Field(Treatment(), description="choices and numbers that training imposes")

    @field_validator("agents_per_update", "scripted", "trembles", "imposed", mode="before")
    @classmethod
    def _nothing(cls, value: object) -> object:
        return {} if value is None else value

    @field_validator("logit_response", mode="before")
    @classmethod
    def _by_a_switch(cls, value: object) -> object:
        if isinstance(value, bool):
            return {} if value else None
        if value is not None and not isinstance(value, (Mapping, LogitResponse)):
            raise ValueError("it must be true, null, or a mapping of basket, work and uniform")
        return value

    @field_validator("deviator", mode="before")
    @classmethod
    def _empty(cls, value: object) -> object:
        return None if value in ({}, ()) else value


OWN_SETTINGS = (*EconomySettings.model_fields, "curriculum")
# A type that is left out of these keeps what it has.
MERGED_SETTINGS = ("reward_scale", "networks")


def parse_setting(name: str, value: object) -> object:
    """The typed form of one of `OWN_SETTINGS`.

    Raises:
        ConfigError: It is not valid; the message begins with the setting's path.
    """
    if name == "curriculum":
        return parse_curriculum(cast(Any, value), name)  # whatever it is, it is checked there
    return getattr(EconomySettings.parse({name: value}, ""), name)


def has_search_space(value: object) -> bool:
    """Whether Ray Tune is still to choose something inside of plain data."""
    if isinstance(value, Mapping):
        return "grid_search" in value or any(map(has_search_space, value.values()))
    return isinstance(value, Domain) or (isinstance(value, (list, tuple)) and any(map(has_search_space, value)))


# Modules

DEVIATOR = "deviator"


def module_ids(config: AlgorithmConfig) -> tuple[str, ...]:
    """Names of the modules of an algorithm: the agent types, and the deviator where there is one."""
    return (*AGENT_TYPES, DEVIATOR) if getattr(config, "deviator", None) else AGENT_TYPES


def agent_type_of(config: AlgorithmConfig, module_id: str) -> str:
    """The agent type that a module acts for."""
    return str(config.deviator.type) if module_id == DEVIATOR else module_id


def network_spec(config: EconomyPPOConfig, module_id: str) -> NetworkSpec:
    """The description of a module's network; a deviator has its type's unless it is given another."""
    own = config.deviator.network if config.deviator and module_id == DEVIATOR else None
    spec: NetworkSpec = own or getattr(config.networks, agent_type_of(config, module_id))
    return spec


def check_roles(config: EconomyPPOConfig, economy: EconomyConfig) -> None:
    """Check who acts and learns against the economy.

    Raises:
        ConfigError: The deviator is not in the economy, a network lacks an option, nobody would learn, consumers
            cannot learn from values that choices do not have, or a part of one's own cannot be called.
    """
    try_parts(economy)
    if config.logit_response is not None:
        require_own_values(economy, "logit_response")
        imposed = {name for part in config.imposed.parts for name in (*part.choices.chosen, *part.factors)}
        for name in {"hours", "workers"} & imposed:
            raise ConfigError(f"imposed has {name}, which logit_response does not know; leave one of the two unset")
    config.imposed.law(economy)
    for agent_type in AGENT_TYPES:
        getattr(config.networks, agent_type).check_options(agent_type, economy, economy_of(config)[1])
    if config.deviator is not None:
        agent_type, agent, agents = config.deviator.type, config.deviator.agent, economy.agents(config.deviator.type)
        if agent >= agents:
            numbers = f"the {agents} agents of type {agent_type} are numbered from 0 to {agents - 1}"
            raise ConfigError(f"deviator.agent is {agent}; {numbers}")
    learners = config.policies_to_train
    if learners is not None and not callable(learners):
        unknown = [str(name) for name in learners if name not in module_ids(config)]
        if unknown or not learners:
            problem = f"names {unknown[0]!r}{nearest(unknown[0], module_ids(config))}" if unknown else "is empty"
            raise ConfigError(f"policies_to_train {problem}; name at least one of {', '.join(module_ids(config))}")
    if config.torch_compile_worker and config.scripted.chosen:
        raise ConfigError("torch_compile_worker compiles no rules, and scripted has some; leave one of the two out")
    named = module_ids(config) if learners is None or callable(learners) else learners
    if all(module_id in config.scripted.chosen for module_id in named):
        raise ConfigError(f"scripted leaves nobody to learn: {', '.join(sorted(named))} follow rules")


# Settings of RLlib's

# Those that something on this path reads, by what reads them.
FOLLOWED: dict[str, str] = {
    "EconomyEnvRunner": "env env_config env_runner_cls num_envs_per_env_runner explore seed in_evaluation "
    "torch_compile_worker num_gpus_per_env_runner num_gpus_per_learner local_gpu_idx "
    "metrics_num_episodes_for_smoothing callbacks_class stats_cls_lookup "
    "callbacks_on_environment_created callbacks_on_episode_created callbacks_on_episode_start "
    "callbacks_on_episode_step callbacks_on_episode_end callbacks_on_sample_end",
    "EconomyPPOLearner": "lr entropy_coeff clip_param vf_loss_coeff gamma lambda_ grad_clip grad_clip_by log_gradients "
    "num_epochs minibatch_size shuffle_batch_per_epoch torch_skip_nan_gradients torch_ddp_kwargs policies_to_train "
    "algorithm_config_overrides_per_module _per_module_overrides _learner_class _learner_connector "
    "learner_config_dict _train_batch_size_per_learner",
    "RLlib's Algorithm": "num_env_runners num_learners create_local_env_runner create_env_on_local_worker "
    "num_cpus_per_env_runner num_cpus_per_learner num_cpus_for_main_process custom_resources_for_main_process "
    "custom_resources_per_env_runner custom_resources_per_learner placement_strategy _fake_gpus "
    "max_requests_in_flight_per_env_runner max_requests_in_flight_per_learner sample_timeout_s "
    "validate_env_runners_after_construction broadcast_env_runner_states merge_env_runner_states "
    "_dont_auto_sync_env_runner_states min_time_s_per_iteration min_train_timesteps_per_iteration "
    "min_sample_timesteps_per_iteration log_level log_sys_usage framework_str _validate_config "
    "_use_msgpack_checkpoints keep_per_episode_custom_metrics callbacks_on_algorithm_init "
    "callbacks_on_checkpoint_loaded callbacks_on_env_runners_recreated callbacks_on_evaluate_end "
    "callbacks_on_evaluate_start callbacks_on_train_result",
    "evaluation": "custom_evaluation_function evaluation_auto_duration_max_env_steps_per_sample "
    "evaluation_auto_duration_min_env_steps_per_sample evaluation_config evaluation_duration evaluation_duration_unit "
    "evaluation_error_after_n_consecutive_skips evaluation_force_reset_envs_before_iteration evaluation_interval "
    "evaluation_num_env_runners evaluation_parallel_to_training evaluation_sample_timeout_s "
    "evaluation_unhealthy_workers_timeout_s",
    "fault tolerance": "restart_failed_env_runners ignore_env_runner_failures max_num_env_runner_restarts "
    "delay_between_env_runner_restarts_s env_runner_health_probe_timeout_s env_runner_restore_timeout_s "
    "num_consecutive_env_runner_failures_tolerance",
    "RLlib's own bookkeeping": "algo_class class worker_index _is_frozen _is_atari _is_online "
    "_prior_exploration_config simple_optimizer",
    "EconomyPPO": " ".join(OWN_SETTINGS),
}
_FOLLOWED = frozenset(" ".join(FOLLOWED.values()).split())
# Why some of the others are not read.
_REASONS = {
    "use_kl_loss kl_coeff kl_target vf_clip_param": "its loss has a Huber value loss, and no KL term",
    "model _model_config _rl_module_spec": "networks, also classes of one's own, stand under networks",
    "policies policy_mapping_fn": "there is one policy for each agent type",
    "batch_mode clip_actions normalize_actions compress_observations observation_filter rollout_fragment_length "
    "add_default_connectors_to_env_to_module_pipeline add_default_connectors_to_module_to_env_pipeline "
    "add_default_connectors_to_learner_pipeline _env_to_module_connector _module_to_env_connector": (
        "whole episodes come as batches, from env runners of its own"
    ),
    "use_critic": "it always has a critic",
    "use_gae": "advantages are always generalised",
    "count_steps_by": "everything is counted in env steps, periods of an economy",
    "clip_rewards": "rewards are divided by reward_scale",
    "train_batch_size": "its batch is train_batch_size_per_learner",
    "optimizer": "it learns with Adam",
    "torch_compile_worker_dynamo_backend torch_compile_worker_dynamo_mode": "env runners compile with Inductor",
    "torch_compile_learner torch_compile_learner_what_to_compile torch_compile_learner_dynamo_backend "
    "torch_compile_learner_dynamo_mode": "learners are not compiled; env runners are by torch_compile_worker",
    "action_mask_key": "masks come from the curriculum",
    "_torch_lr_scheduler_classes": "a schedule of learning rates stands under lr",
}
_REASON = {name: reason for names, reason in _REASONS.items() for name in names.split()}
# Values that ask for what EconomyPPO does anyway.
_SAME: dict[str, tuple[object, ...]] = {"clip_rewards": (False,), "kl_coeff": (0.0,), "vf_clip_param": (float("inf"),)}
# What can differ between agent types.
PER_MODULE = (
    "lr",
    "entropy_coeff",
    "clip_param",
    "vf_loss_coeff",
    "huber_delta",
    "grad_clip",
    "grad_clip_by",
    "log_gradients",
)


def check_followed(config: EconomyPPOConfig, default: EconomyPPOConfig) -> None:
    """Refuse settings that would have no effect.

    Args:
        config: The configuration.
        default: One that nobody has changed.

    Raises:
        ConfigError: Something differs from its default that nothing on this path reads; the message begins with it.
    """
    if not config.in_evaluation:  # whose configuration RLlib changes for env runners of its own
        for name, value in vars(config).items():
            _check_unread(config, default, name, value, "")
    if isinstance(config.evaluation_config, Mapping):
        for key, value in config.evaluation_config.items():
            name = config._translate_special_keys(key, warn_deprecated=False)
            if value != getattr(config, name, None):
                _check_unread(config, default, name, value, "evaluation_config.")
    for module_id, keys in config.algorithm_config_overrides_per_module.items():
        for key in keys if isinstance(keys, Mapping) else ():
            if key not in PER_MODULE:
                mend = f"give {key} for all of them; {', '.join(PER_MODULE)} can differ"
                path = f"algorithm_config_overrides_per_module.{module_id}.{key}"
                raise ConfigError(f"{path} is read for no module: {mend}")


def _check_unread(config: EconomyPPOConfig, default: EconomyPPOConfig, name: str, value: object, where: str) -> None:
    if name in _FOLLOWED or name.startswith("__"):  # such as Tune's own notes, "__trial_info__"
        return
    shown = f"{where}{name.removeprefix('_')}"
    if not hasattr(default, name):
        raise ConfigError(f"{shown} is not a setting of EconomyPPO{nearest(name, vars(default))}")
    unchanged = getattr(default, name)
    same = _are_shared(config, value) if name == "policies" else value == unchanged or value in _SAME.get(name, ())
    if not same:
        reason = _REASON.get(name, "nothing that it runs asks for it")
        now, before = (text if len(text) < 80 else f"{text[:80]}..." for text in map(_one_line, (value, unchanged)))
        raise ConfigError(f"{shown} is {now}, which EconomyPPO does not read: {reason}; leave it {before}")


def _one_line(value: object) -> str:
    return " ".join(repr(value).split())


def _are_shared(config: EconomyPPOConfig, policies: object) -> bool:
    """Whether policies are one for each agent type, and perhaps a deviator's, without settings of their own."""
    names = set(policies) if isinstance(policies, (Mapping, set, frozenset, list, tuple)) else set()
    specs = policies.values() if isinstance(policies, Mapping) else ()
    states = [spec.get_state() if isinstance(spec, PolicySpec) else spec for spec in specs if spec is not None]
    are_plain = all(state == PolicySpec().get_state() for state in states)
    return are_plain and names in (set(AGENT_TYPES), set(module_ids(config)))


def check_restored(checkpoint: Path, config: EconomyPPOConfig, where: str, *, trust: bool) -> None:
    """Refuse to begin with policies that were made for other choices or observations, or whose weights are not finite.

    Args:
        checkpoint: The folder; one without policies as plain data is left to RLlib.
        config: Of the run that begins with it.
        where: Its place in a file.
        trust: Whether code that is not installed may run; RLlib's own state, which is unpickled next, runs its anyway.

    Raises:
        ConfigError: They do not fit.
    """
    if not (checkpoint / INDEX_NAME).is_file():
        return
    economy, encoding = economy_of(config)
    try:
        policies = load_policies(checkpoint, economy=economy.for_processes(), trust=trust)
    except UserError as error:
        raise ConfigError(f"{where} does not fit this economy: {error}") from None
    if policies.encoding != encoding:
        raise ConfigError(f"{where} has policies that see numbers as {policies.encoding}, but encoding is {encoding}")


def as_plain(value: object) -> object:
    """Sections inside of a configuration as the mappings that make them again, numbers of NumPy as Python's own."""
    return value.model_dump(exclude_none=True) if isinstance(value, Section) else plain(value)
