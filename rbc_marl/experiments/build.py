"""From the plain data of an experiment to a validated one: its settings, its economy, and RLlib's AlgorithmConfig."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import gymnasium
from pydantic import AfterValidator, Field
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.registry import ALGORITHMS, _get_algorithm_class

from rbc_marl import places
from rbc_marl.config import AGENT_TYPES, PRESETS, EconomyConfig, parse_config
from rbc_marl.curriculum import Curriculum, parse_curriculum
from rbc_marl.errors import ConfigError, first_line, nearest, one_of
from rbc_marl.experiments.algorithm_keys import (
    SECTIONS,
    check_keys,
    check_value,
    everyday,
    key_schema,
    known_keys,
    model_keys,
    set_keys,
)
from rbc_marl.experiments.loggers import parse_loggers
from rbc_marl.experiments.spaces import SEED, SPACES, Space, check_spaces
from rbc_marl.experiments.stopping import parse_stop
from rbc_marl.observations import ENCODINGS
from rbc_marl.policies.saved import INDEX_NAME, find_checkpoint
from rbc_marl.presets import zoo
from rbc_marl.provenance import without_secrets
from rbc_marl.rllib.algorithm import EconomyPPO, EconomyPPOConfig
from rbc_marl.rllib.plain import ENV_PRESETS, policies, policy_mapping_fn, register
from rbc_marl.rllib.settings import DEVIATOR, ENV_OPTIONS, check_env, check_restored
from rbc_marl.schema import changeable, file_schema
from rbc_marl.settings import UNSET, Section, dump_yaml, load_named, plain, runs_when_imported, with_value
from rbc_marl.signatures import check_trusted
from rbc_marl.starts import read_starts

DEFAULT_RESULTS = "results"
OUR_ALGORITHMS: dict[str, type[Algorithm]] = {"EconomyPPO": EconomyPPO}


def _folder(text: str) -> str:
    try:
        return places.place_of(text, "")
    except ConfigError as error:
        raise ValueError(str(error).partition("; ")[2] or str(error).strip()) from None


def _checkpoint(text: str) -> str:
    folder = places.local_path(_folder(text)).resolve()
    places.pull(folder)
    if has_state(folder) or (folder / INDEX_NAME).is_file():
        return str(folder)
    if text in zoo():
        return str(find_checkpoint(text))
    raise ValueError("it must be the folder of a checkpoint")


def has_state(checkpoint: Path) -> bool:
    """Whether a checkpoint holds RLlib's state, and not policies alone."""
    return (checkpoint / "rllib_checkpoint.json").is_file()


Folder = Annotated[str, AfterValidator(_folder)]
Checkpoint = Annotated[str, AfterValidator(_checkpoint)]
Frequency = Annotated[int, Field(ge=0, le=10**12)]
Count = Annotated[int, Field(ge=1, le=10**9)]


class CheckpointSettings(Section):
    """When checkpoints are written, and how many are kept."""

    noun: ClassVar[str] = "a setting of checkpoints"

    checkpoint_frequency: Frequency = Field(default=0, description="iterations between two; 0: none")
    num_to_keep: Count | None = Field(default=None, description="of the newest; null: all")
    checkpoint_at_end: bool = Field(default=True, description="one more when the run stops")


class Base(Section):
    """The experiment that another one changes."""

    noun: ClassVar[str] = "a setting of a base"

    file: str = Field(description="a YAML file beside this one, or the name of a preset")
    experiment: str | None = Field(default=None, description="its name, where the file holds several")


class ExperimentSettings(Section):
    """What an experiment of a file holds."""

    noun: ClassVar[str] = "a setting of an experiment"

    base: str | Base | None = Field(default=None, description="where it starts: a file beside this one, or a preset")
    run: str = Field(description="EconomyPPO, or any of RLlib's", examples=["an algorithm, such as EconomyPPO"])
    env: object = Field(default=None, description="rbc_open, rbc_closed, or any environment of gymnasium's")
    stop: object = Field(default=None, description="results, and the values that end the run: {training_iteration: 9}")
    num_samples: Annotated[int, Field(ge=1)] = Field(default=1, description="trials of each point of a search")
    storage_path: Folder | None = Field(default=None, description="folder of the results, or an address: s3://bucket/x")
    checkpoint_config: CheckpointSettings | None = None
    restore: Checkpoint | None = Field(default=None, description="checkpoint to begin from, or policies by name")
    loggers: object = Field(default=None, description="wandb, mlflow, aim: [wandb], or {wandb: {project: economies}}")
    report: bool = Field(default=True, description="whether rbc-marl train ends with a report")
    config: dict[str, Any] | None = Field(default=None, description="settings of RLlib's AlgorithmConfig")

    def plain(self) -> dict[str, Any]:
        """Those that decide how a run is stored, as plain data of a file."""
        named = {"num_samples", "storage_path", "restore", "loggers", "report"}
        values = self.model_dump(include=named, exclude_defaults=True)
        return {**values, "checkpoint_config": (self.checkpoint_config or CheckpointSettings()).model_dump()}


@dataclass(frozen=True)
class Experiment:
    """One validated experiment of a file, ready to run.

    `config` builds the algorithm. `resolved` is plain data that gives the same experiment again when it is written to
    a YAML file (for a Python file it is only a summary). `sets` are the changes that must be made to the file's copy in
    the run's folder: all those to a Python file, and those to a YAML file's run when it was resumed. `spaces` is not
    empty for a sweep. `code` holds the dotted names of the classes that the file names. `trust` lets it begin from, or
    go on with, a checkpoint that is not known to be the user's own.
    """

    name: str
    run: str
    env: str
    env_config: EconomyConfig | None
    stop: Mapping[str, float]
    config: AlgorithmConfig
    resolved: dict[str, Any]
    checkpoints: CheckpointSettings
    seed: int
    storage: Path
    source: Path
    restore: Path | None = None
    loggers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    num_samples: int = 1
    spaces: Mapping[tuple[str, ...], Space] = field(default_factory=dict)
    sets: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    report: bool = True
    trust: bool = False

    @property
    def is_sweep(self) -> bool:
        """Whether the file asks for several trials (a search space, or `num_samples` above 1)."""
        return bool(self.spaces) or self.num_samples > 1

    @property
    def is_python(self) -> bool:
        """Whether the experiment comes from a Python file."""
        return self.source.suffix == ".py"


def build(
    name: str,
    source: Path,
    data: Mapping[str, Any],
    places: Mapping[str, str],
    spaces: Mapping[tuple[str, ...], Space],
    trust: bool = False,
) -> Experiment:
    """Build what plain data asks for, once for each value that a trial may get.

    Args:
        name: Of the experiment.
        source: Its file.
        data: Settings of `ExperimentSettings`; ``config`` holds flat keys.
        places: Where these keys stand in the file.
        spaces: The search spaces in it, by path.
        trust: Whether it may begin from a checkpoint that is not known to be the user's own.

    Raises:
        ConfigError: Something is wrong.
    """
    settings = ExperimentSettings.parse(data, name)
    check_spaces(spaces, settings.num_samples, name)
    examples: dict[str, Any] = {**data, "config": data.get("config", {})}
    for path, space in spaces.items():
        examples = with_value(examples, path, space.examples()[0])
    config, keys, economy = configured(name, settings.run, settings.env, examples["config"], places)
    config_class: type = type(config)
    seed = known_keys(config_class)["seed"]
    for path, space in spaces.items():
        for value in space.examples()[1:]:
            if path == SEED:  # many, of which none can disagree with other settings
                check_value(seed, value, places.get("seed", f"{name}.config.seed"))
                continue
            configured(name, settings.run, settings.env, with_value(examples, path, value)["config"], places)
        keys = with_value(keys, [everyday(path[1]), *path[2:]], space.plain())
    return _experiment(name, source, settings, config, economy, keys, spaces, trust)


def build_python(
    name: str, source: Path, config: AlgorithmConfig, data: Mapping[str, Any], trust: bool = False
) -> Experiment:
    """Build the experiment of a Python file.

    Args:
        name: Of the experiment.
        source: The file.
        config: Its configuration; finished here.
        data: Its other settings.
        trust: As in `build`.

    Raises:
        ConfigError: Something is wrong.
    """
    if config.algo_class is None or config.env is None:
        missing = "algorithm" if config.algo_class is None else "environment"
        raise ConfigError(f"{source}: config has no {missing}; start from PPOConfig().environment(...)")
    economy = economy_of(config.env, config.env_config or {}, f"{name}.config.env_config")
    config.seed = 0 if config.seed is None else config.seed
    _finish(config, name)
    algorithm = config.algo_class if isinstance(config.algo_class, str) else config.algo_class.__name__
    settings = ExperimentSettings.parse({**data, "run": algorithm, "env": str(config.env)}, name)
    return _experiment(name, source, settings, config, economy, None, {}, trust)


def _experiment(
    name: str,
    source: Path,
    settings: ExperimentSettings,
    config: AlgorithmConfig,
    economy: EconomyConfig | None,
    keys: Mapping[str, Any] | None,
    spaces: Mapping[tuple[str, ...], Space],
    trust: bool,
) -> Experiment:
    """An experiment with a finished configuration; the keys are None where a Python file made it."""
    reports_anything = keys is None or keys.get("callbacks") is not None
    stop = parse_stop(settings.stop, f"{name}.stop", custom_metrics=reports_anything)
    asked = [key for key in stop if key.startswith("evaluation/")]
    problem = ""
    if settings.num_samples > 1 and not spaces:
        mend = "add a search space to config, such as seed: {randint: [0, 1000000]}"
        problem = f"num_samples is {settings.num_samples}, and all would be the same; {mend}"
    elif asked and not config.evaluation_interval:
        problem = f"stop.{asked[0]} needs evaluations; give config.evaluation_interval"
    elif spaces and not stop:
        problem = "stop is missing; a sweep needs one, such as stop: {training_iteration: 100}"
    if problem:
        raise ConfigError(f"{name}.{problem}")
    if economy is not None and economy.start is not None:
        read_starts(economy)
    restore = Path(settings.restore) if settings.restore else None
    if restore is not None and has_state(restore):
        check_trusted(restore, trust, f"{name}.restore")
    elif restore is not None and settings.run != "EconomyPPO":
        raise ConfigError(f"{name}.restore holds policies alone, with which {settings.run} cannot begin; give another")
    if restore is not None and settings.run == "EconomyPPO":
        check_restored(restore, config, f"{name}.restore", trust=trust or has_state(restore))
    resolved = {"run": settings.run, "env": settings.env, "stop": dict(stop), **settings.plain()}
    return Experiment(
        name=name,
        run=settings.run,
        env=str(settings.env),
        env_config=economy,
        stop=stop,
        config=config,
        resolved=resolved if keys is None else {**resolved, "config": keys},
        checkpoints=settings.checkpoint_config or CheckpointSettings(),
        seed=int(config.seed),  # `configured` and `build_python` see to it that there is one
        storage=places.local_path(settings.storage_path or DEFAULT_RESULTS),
        source=source,
        restore=restore,
        loggers=_loggers(settings.loggers, f"{name}.loggers"),
        num_samples=settings.num_samples,
        spaces=spaces,
        report=settings.report,
        trust=trust,
    )


def _loggers(given: object, where: str) -> dict[str, dict[str, Any]]:
    """Loggers that a file asks for; a missing library is named before anything runs."""
    try:
        return {} if given is None else parse_loggers(given)
    except ConfigError as error:
        raise ConfigError(f"{where} {error}") from None


def configured(
    name: str, run: str, env: object, keys: Mapping[str, Any], places: Mapping[str, str]
) -> tuple[AlgorithmConfig, dict[str, Any], EconomyConfig | None]:
    """The AlgorithmConfig of flat keys, the keys written out in their everyday spelling, and the economy if it is ours.

    Raises:
        ConfigError: A key is unknown, a value wrong, or RLlib refuses the combination.
    """
    where = f"{name}.config"
    config = algorithm_class(run, f"{name}.run").get_default_config()
    _check_env(env, f"{name}.env")
    # What a file leaves open. In this process, for an economy is too small to send elsewhere.
    resolved = {**keys, **{key: value for key, value in {"seed": 0, "num_env_runners": 0}.items() if key not in keys}}
    if resolved["seed"] is None:
        resolved["seed"] = secrets.randbelow(2**31)
    given = resolved.get("env_config") or {}
    if env in ENV_PRESETS:
        resolved["env_config"] = given
    own = {key: places.get(key, f"{where}.{key}") for key in resolved}
    # All names and types first, so that the first mistake named is a plain one.
    checked = check_keys(type(config), resolved, own)
    if (economy := economy_of(env, given, own.get("env_config", where))) is not None:
        options = {name: value for name, value in given.items() if name in ENV_OPTIONS}
        whole = {**economy.model_dump(mode="json"), "encoding": ENCODINGS[0], **options}
        resolved["env_config"] = checked["env_config"] = whole
    _move_model(type(config), checked, own)
    for key in ("evaluation_config", "algorithm_config_overrides_per_module"):
        if resolved.get(key):
            _check_overrides(type(config), key, resolved, own[key], env)
    checked = plain(checked)  # RLlib may change what it gets
    if resolved.get("curriculum") is not None:  # parsed once: from here on it is typed
        checked["curriculum"] = parse_curriculum(resolved["curriculum"], own["curriculum"])
    config.environment(env=env)
    set_keys(config, checked, own)
    _finish(config, name)
    return config, {everyday(key): value for key, value in resolved.items()}, economy


def to_yaml(experiment: Experiment) -> str:
    """The resolved experiment as the text of a YAML file that `load_experiments` reads back, but for loggers' keys."""
    return dump_yaml({experiment.name: without_secrets(experiment.resolved)})


def experiment_schema() -> dict[str, Any]:
    """JSON schema of files of experiments: the keys of EconomyPPO, or any for RLlib's other algorithms."""
    schema = file_schema(ExperimentSettings, "Experiments of rbc-marl")
    economy, curriculum = EconomyConfig.model_json_schema(), Curriculum.model_json_schema()
    economy["properties"] |= {name: {} for name in ENV_OPTIONS}
    definitions = schema["$defs"] | curriculum.pop("$defs") | economy.pop("$defs")
    definitions |= {"economy": economy, "curriculum": curriculum}
    keys: dict[str, Any] = {everyday(name): key_schema(key) for name, key in known_keys(EconomyPPOConfig).items()}
    keys.pop("model")
    for key in keys.values():  # a key's own definitions belong to the whole
        definitions |= key.pop("$defs", {})
    keys["env_config"] = {"$ref": "#/$defs/economy"}
    keys["curriculum"] = {"anyOf": [{"$ref": "#/$defs/curriculum"}, {"type": ["string", "null"]}]}
    flat = {"type": "object", "properties": keys, "additionalProperties": False}
    ours = {**flat, "properties": {**{section: {"$ref": "#/$defs/section"} for section in SECTIONS}, **keys}}
    experiment = schema["additionalProperties"]
    experiment["properties"]["config"] = {"type": ["object", "null"]}
    definitions |= {"experiment": experiment, "config": ours}
    definitions = {name: changeable(value) for name, value in definitions.items()}
    shared = {name: {"$ref": f"#/$defs/config/properties/{name}"} for name in keys}
    definitions["section"] = {**flat, "properties": shared}
    other = {"properties": {"run": {"not": {"const": "EconomyPPO"}}}, "required": ["run"]}
    closed = {"properties": {"config": {"$ref": "#/$defs/config"}}}
    definitions["experiment"] |= {"if": other, "else": closed}
    # What can stand in place of a value: a search space, or the word that takes out a key of the base.
    space = {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": False}
    space |= {"properties": {name: {"type": "array"} for name in SPACES}}
    definitions["change"] = {"anyOf": [space, {"const": UNSET}]}
    return {**schema, "additionalProperties": {"$ref": "#/$defs/experiment"}, "$defs": definitions}


# RLlib's configuration


def algorithm_class(name: Any, where: str) -> type[Algorithm]:  # noqa: ANN401 - from a file
    """The algorithm that `run` names: ours, or any of RLlib's.

    Raises:
        ConfigError: There is none of that name.
    """
    known = [*OUR_ALGORITHMS, *ALGORITHMS]
    if name not in known:
        mend = nearest(str(name), known) or f"; there are {', '.join(known)}"
        raise ConfigError(f"{where} is {name!r}, which is not an algorithm{mend}")
    return OUR_ALGORITHMS.get(name) or _get_algorithm_class(name)


def economy_of(env: object, env_config: Mapping[str, Any], where: str) -> EconomyConfig | None:
    """Validate the economy of one of our environments.

    Args:
        env: The environment's name; for others than ours the result is None.
        env_config: Fields of EconomyConfig, and `encoding`.
        where: Place of env_config in the file.

    Raises:
        ConfigError: A field is unknown or wrong, or contradicts the environment's name.
    """
    if not isinstance(env, str) or env not in ENV_PRESETS:
        return None
    fields = {name: value for name, value in env_config.items() if name not in ENV_OPTIONS}
    for name in fields:
        if name not in EconomyConfig.model_fields:
            known = [*EconomyConfig.model_fields, *ENV_OPTIONS]
            raise ConfigError(f"{where}.{name} is not {EconomyConfig.noun}{nearest(str(name), known)}")
    one_of(env_config.get("encoding", ENCODINGS[0]), ENCODINGS, f"{where}.encoding")
    return check_env(env, parse_config({**PRESETS[ENV_PRESETS[env]], **fields}, where), where)


def _finish(config: AlgorithmConfig, where: str) -> None:
    """Give our environments their policies, and let RLlib validate the whole (on a copy: it may change things).

    Raises:
        ConfigError: RLlib refuses the configuration.
    """
    if config.env in ENV_PRESETS:
        _fill_policies(config, where)
    try:
        config.copy(copy_frozen=False).validate()
    except Exception as error:
        name = re.match(r"\w+", str(error))  # of ours most begin with a setting, some with what is wrong of several
        begins = isinstance(error, ConfigError) and name is not None and hasattr(config, name.group())
        raise ConfigError(f"{where}.config{'.' if begins else ': '}{first_line(error)}") from error


def _check_env(env: object, where: str) -> None:
    if isinstance(env, str) and env in ENV_PRESETS:
        register()
        return
    known = [*ENV_PRESETS, *gymnasium.registry]
    if isinstance(env, str) and ":" in env and runs_when_imported(env.partition(":")[0]):  # gymnasium imports it
        raise ConfigError(f"{where} is {env!r}, which is not an environment; write module:name")
    if isinstance(env, str) and env not in known and env.count(".") > 1:  # RLlib would call it
        load_named(env, where, lambda named: issubclass(named, gymnasium.Env), "an environment of gymnasium's")
    if not isinstance(env, str) or not (env in known or ":" in env or env.count(".") > 1):
        wrong = f"{env!r}, which is not an environment{nearest(str(env), known)}"
        missing = "missing; name an environment, such as rbc_open"
        raise ConfigError(f"{where} is {missing if env is None else wrong}")


def _move_model(config_class: type, checked: dict[str, Any], places: dict[str, str]) -> None:
    """Send `model`, with RLlib a setting of its old API stack, where it belongs: to `rl_module(model_config=...)`."""
    known, ours = known_keys(config_class), model_keys()
    if "model" in checked and known["model"].owner.startswith("ray."):
        problem = "is the old name of networks; write networks" if "networks" in known else ""
        if "model_config" in checked:
            problem = f"is given twice, also as {places['model_config']}; keep one"
        if problem:
            raise ConfigError(f"{places['model']} {problem}")
        checked["model_config"], places["model_config"] = checked.pop("model"), places["model"]
    model = checked.get("model_config")
    for name, value in model.items() if isinstance(model, Mapping) else ():
        place = f"{places['model_config']}.{name}"
        if name not in ours:
            raise ConfigError(f"{place} is not a setting of RLlib's models{nearest(str(name), ours)}")
        check_value(ours[name], value, place)


def _check_overrides(
    config_class: type[AlgorithmConfig], name: str, values: Mapping[str, Any], where: str, env: object
) -> None:
    """Check the keys inside `evaluation_config` or inside each module's overrides as strictly as the outer ones."""
    economy, groups, problem = values.get("env_config", {}), {where: values[name]}, ""
    if name == "algorithm_config_overrides_per_module":
        known = [*(values.get("policies") or (AGENT_TYPES if env in ENV_PRESETS else values[name]))]
        known += [DEVIATOR] if values.get("deviator") else []
        for module in values[name]:
            if module not in known:
                problem = f"{where}.{module} is not a policy{nearest(str(module), known)}"
        groups = {f"{where}.{module}": keys for module, keys in values[name].items()}
    for place, keys in groups.items():
        if not isinstance(keys, Mapping):
            problem = problem or f"{place} is {keys!r}; it must be a mapping, such as {{lr: 3e-4}}"
            continue
        check_keys(config_class, keys, {key: f"{place}.{key}" for key in keys})
        if "env_config" in keys and env in ENV_PRESETS:
            changed = keys["env_config"] or {}
            encoding = economy.get("encoding", ENCODINGS[0])
            if changed.get("encoding", encoding) != encoding:
                problem = f"{place}.env_config.encoding is not the {encoding} that policies learn with"
            economy_of(env, {**economy, **changed}, f"{place}.env_config")
    if problem:
        raise ConfigError(problem)


def _fill_policies(config: AlgorithmConfig, where: str) -> None:
    """One shared policy per agent type, unless the file says otherwise."""
    unmapped, problem = config.policy_mapping_fn is type(config).DEFAULT_POLICY_MAPPING_FN, ""
    if not config.is_multi_agent:
        config.multi_agent(policies=policies())
    elif unmapped and set(config.policies) != set(AGENT_TYPES):
        problem = f" must be {', '.join(AGENT_TYPES)}; others need a Python file and policy_mapping_fn"
    if unmapped:
        config.multi_agent(policy_mapping_fn=policy_mapping_fn)
    trained = config.policies_to_train
    if trained is not None and not callable(trained):
        unknown = [policy for policy in trained if policy not in config.policies]
        if not list(trained):
            problem = "_to_train is empty; name at least one policy"
        elif unknown:
            problem = f"_to_train names {unknown[0]!r}{nearest(str(unknown[0]), config.policies)}"
    if problem:
        raise ConfigError(f"{where}.config.policies{problem}")
