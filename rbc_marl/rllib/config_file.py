"""Experiments from files: YAML as the old `rllib train file` took it, and Python files that hold a `config`.

Everything is validated here, before Ray starts or a folder is made. A message names the full path of what is wrong
(`open-economy.config.lr_shedule`) and how to mend it.
"""

from __future__ import annotations

import copy
import dataclasses
import runpy
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from rbc_marl.config import EconomyConfig, load_yaml_file, parse_set
from rbc_marl.errors import ConfigError, nearest
from rbc_marl.rllib import plain
from rbc_marl.rllib.build_config import build_config, economy_of, finish_config, resolve_keys
from rbc_marl.rllib.config_keys import SECTIONS, apply_keys, first_line, flatten_sections
from rbc_marl.rllib.own_code import make_importable
from rbc_marl.rllib.own_settings import check_restored
from rbc_marl.rllib.search_space import Space, find_spaces, with_value
from rbc_marl.rllib.stopping import parse_stop

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

DEFAULT_RESULTS = "results"
SETTINGS = ("run", "env", "stop", "num_samples", "storage_path", "checkpoint_config", "restore", "config")
CHECKPOINT_KEYS = ("checkpoint_frequency", "num_to_keep", "checkpoint_at_end")
# Settings of the old command, and where they stand now.
OLD_SETTINGS = {
    "checkpoint_freq": "checkpoint_frequency",
    "checkpoint_at_end": "checkpoint_at_end",
    "keep_checkpoints_num": "num_to_keep",
}


@dataclass(frozen=True)
class CheckpointSettings:
    """When checkpoints are written: every `frequency` iterations (0: never on the way), and how many are kept."""

    frequency: int = 0
    keep: int | None = None
    at_end: bool = True


@dataclass(frozen=True)
class Experiment:
    """One validated experiment of a file, ready to run.

    `config` builds the algorithm. `resolved` is plain data that gives the same experiment again when it is written to
    a YAML file (for a Python file it is only a summary). `sets` are the changes that must be made to the file's copy in
    the run's folder: all those to a Python file, and those to a YAML file's run when it was resumed. `spaces` is not
    empty for a sweep.
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
    num_samples: int = 1
    spaces: Mapping[tuple[str, ...], Space] = field(default_factory=dict)
    sets: tuple[str, ...] = ()

    @property
    def is_sweep(self) -> bool:
        """Whether the file asks for several trials (a search space, or `num_samples` above 1)."""
        return bool(self.spaces) or self.num_samples > 1

    @property
    def is_python(self) -> bool:
        """Whether the experiment comes from a Python file."""
        return self.source.suffix == ".py"

    def with_values(self, values: Mapping[tuple[str, ...], Any]) -> AlgorithmConfig:
        """The AlgorithmConfig of one trial of a sweep.

        Args:
            values: A value for the path of each search space.

        Raises:
            ConfigError: A value is not valid.
        """
        keys = self.resolved["config"]
        for path, value in values.items():
            keys = with_value(keys, path, value)
        return _build(self.name, self.run, self.env, keys, {})[0]


def load_experiments(path: str | Path, only: str | None = None, *, sets: Sequence[str] = ()) -> list[Experiment]:
    """Read and validate the experiments of a file. Classes that it names may lie beside it or in the working folder.

    Args:
        path: A YAML file (`.yaml`, `.yml`) or a Python file (`.py`).
        only: Name of one experiment; None for all, in the file's order.
        sets: Changes such as `"lr=1e-3"`, `"env_config.num_consumers=20"` or `"stop.training_iteration=3"`.

    Raises:
        ConfigError: The file is missing or something in it is wrong.
    """
    path = Path(path)
    make_importable(path.parent, Path.cwd())
    data = {path.stem: None} if path.suffix == ".py" else load_yaml_file(path)
    names = [str(name) for name in data]
    if not names:
        raise ConfigError(f"{path} is empty; it must hold an experiment: a name, and under it run, env and config")
    if only is not None and only not in names:
        raise ConfigError(f'{path} has no experiment "{only}"; it has {", ".join(names)}{nearest(only, names)}')
    if path.suffix == ".py":
        return [_read_python(path, sets)]
    return [_read_yaml(path, str(name), spec, sets) for name, spec in data.items() if only in (None, str(name))]


def _read_yaml(path: Path, name: str, spec: Any, sets: Sequence[str]) -> Experiment:  # noqa: ANN401 - from a file
    if not isinstance(spec, Mapping):
        raise ConfigError(f"{path}: {name} is {spec!r}; an experiment is a name, and under it run, env and config")
    if "/" in name or name.startswith("."):
        raise ConfigError(f"{path}: {name!r} cannot name an experiment; its results get a folder of that name")
    if {"base", "seeds"} <= spec.keys():
        raise ConfigError(f"{path} is a sweep file; rbc-marl sweep {path} runs it; --dry-run shows what would run")
    spec, keys, places = _canonical(name, spec)
    for text in sets:
        spec, keys = _apply_set(text, spec, keys, places, name)
    if "env" in keys:
        env = keys.pop("env")
        if spec.setdefault("env", env) != env:
            raise ConfigError(f"{places['env']} is {env!r} but {name}.env is {spec['env']!r}; keep one")
    if "run" not in spec:
        raise ConfigError(f"{name}.run is missing; name an algorithm, such as EconomyPPO")
    return _validated(path, name, spec, keys, places)


def _validated(
    path: Path, name: str, spec: Mapping[str, Any], keys: dict[str, Any], places: dict[str, str]
) -> Experiment:
    """Build what the file asks for, once for each value that a trial may get."""
    run, env = spec["run"], spec.get("env")
    spaces = dict(find_spaces(keys, f"{name}.config"))
    examples: dict[str, Any] = keys
    for place, space in spaces.items():
        examples = with_value(examples, place, space.examples()[0])
    config, resolved = _build(name, run, env, examples, places)
    for place, space in spaces.items():
        for value in space.examples()[1:]:
            _build(name, run, env, with_value(examples, place, value), places)
        resolved = with_value(resolved, place, {space.kind: list(space.arguments)})
    settings = _settings(name, spec)
    if settings["num_samples"] > 1 and not spaces:
        mend = "add a search space to config, such as seed: {randint: [0, 1000000]}"
        raise ConfigError(f"{name}.num_samples is {settings['num_samples']}, and all would be the same; {mend}")
    custom = config.callbacks_class is not type(config)().callbacks_class
    stop = parse_stop(spec.get("stop"), f"{name}.stop", custom_metrics=custom)
    asked = [key for key in stop if key.startswith("evaluation/")]
    if asked and not config.evaluation_interval:
        raise ConfigError(f"{name}.stop.{asked[0]} needs evaluations; give config.evaluation_interval")
    if spaces and not stop:
        raise ConfigError(f"{name}.stop is missing; a sweep needs one, such as stop: {{training_iteration: 100}}")
    economy = economy_of(env, config.env_config or {}, f"{name}.config.env_config")
    if settings["restore"] is not None and run == "EconomyPPO":
        check_restored(settings["restore"], config, f"{name}.restore")
    described = {"run": run, "env": env, "stop": stop, **_without_defaults(settings), "config": resolved}
    return Experiment(
        name=name,
        run=run,
        env=str(env),
        env_config=economy,
        stop=stop,
        config=config,
        resolved=described,
        seed=resolved_seed(config),
        source=path,
        spaces=spaces,
        **settings,
    )


def resolved_seed(config: AlgorithmConfig) -> int:
    """The seed of an AlgorithmConfig that has one: `resolve_keys` and Python files see to it."""
    assert config.seed is not None
    return int(config.seed)


def _build(
    name: str,
    run: str,
    env: Any,  # noqa: ANN401 - from a file
    keys: Mapping[str, Any],
    places: Mapping[str, str],
) -> tuple[AlgorithmConfig, dict[str, Any]]:
    """The AlgorithmConfig of flat keys, and the keys with everything written out."""
    resolved = resolve_keys(env, keys, places, f"{name}.config")
    return build_config(run, env, resolved, places, name), resolved


def _canonical(name: str, spec: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """Check the names of an experiment's settings, and bring old spellings and sections into one form."""
    found: dict[str, Any] = {}
    for setting, value in spec.items():
        if setting in OLD_SETTINGS:
            found.setdefault("checkpoint_config", {})[OLD_SETTINGS[setting]] = value
        elif setting == "local_dir":
            raise ConfigError(f"{name}.local_dir is a name of older RLlib versions; write storage_path")
        elif setting not in SETTINGS:
            known = [*SETTINGS, *OLD_SETTINGS]
            inside = "; it belongs under config" if setting in SECTIONS else nearest(str(setting), known)
            raise ConfigError(f"{name}.{setting} is not a setting of an experiment{inside}")
        elif setting == "checkpoint_config" and isinstance(value, Mapping):
            found["checkpoint_config"] = {**value, **found.get("checkpoint_config", {})}
        elif setting != "config":
            found[setting] = copy.deepcopy(value)
    config = spec.get("config") or {}
    if not isinstance(config, Mapping):
        raise ConfigError(f"{name}.config is {config!r}; it must be a mapping of settings")
    keys, places = flatten_sections(copy.deepcopy(dict(config)), f"{name}.config")
    return found, keys, places


def _apply_set(
    text: str, spec: dict[str, Any], keys: dict[str, Any], places: dict[str, str], name: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    parts, value = parse_set(text)
    if parts[0] == "config":
        parts = parts[1:]
    if parts and parts[0] in OLD_SETTINGS:
        parts = ["checkpoint_config", OLD_SETTINGS[parts[0]]]
    if not parts:
        raise ConfigError(f"--set {text}: name a setting, such as config.lr")
    if parts[0] in SETTINGS:
        return _put(spec, parts, value, text), keys
    section = f"{parts.pop(0)}." if parts[0] in SECTIONS and len(parts) > 1 else ""
    places[parts[0]] = f"{name}.config.{section}{parts[0]}"
    return spec, _put(keys, parts, value, text)


def _put(tree: dict[str, Any], parts: list[str], value: Any, text: str) -> dict[str, Any]:  # noqa: ANN401 - any value
    inner: Any = tree
    for i, part in enumerate(parts[:-1]):
        inner = inner.get(part, {})
        if not isinstance(inner, Mapping):
            raise ConfigError(f"--set {text}: {'.'.join(parts[: i + 1])} is {inner!r} in the file, not a mapping")
    return with_value(tree, tuple(parts), value)


def _settings(name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Check everything of an experiment that is neither run, env, stop nor config."""
    samples = spec.get("num_samples", 1)
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise ConfigError(f"{name}.num_samples is {samples!r}; it must be a whole number of at least 1")
    for setting in ("storage_path", "restore"):
        if not isinstance(spec.get(setting, ""), str | None):
            raise ConfigError(f"{name}.{setting} is {spec[setting]!r}; it must be the path of a folder")
    restore = Path(spec["restore"]).resolve() if spec.get("restore") else None
    if restore is not None and not (restore / "rllib_checkpoint.json").is_file():
        raise ConfigError(f"{name}.restore is {spec['restore']!r}, which is no checkpoint; give its folder")
    storage = Path(spec.get("storage_path") or DEFAULT_RESULTS)
    checkpoints = _checkpoints(spec.get("checkpoint_config"), f"{name}.checkpoint_config")
    return {"num_samples": samples, "restore": restore, "storage": storage, "checkpoints": checkpoints}


def _checkpoints(given: Any, where: str) -> CheckpointSettings:  # noqa: ANN401 - from a file
    if given is None:
        return CheckpointSettings()
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where} is {given!r}; it must be a mapping such as {{checkpoint_frequency: 50}}")
    for key, value in given.items():
        if key not in CHECKPOINT_KEYS:
            raise ConfigError(f"{where}.{key} is not a setting of checkpoints{nearest(str(key), CHECKPOINT_KEYS)}")
        if key == "checkpoint_at_end" and not isinstance(value, bool):
            raise ConfigError(f"{where}.{key} is {value!r}; it must be true or false")
        low = 0 if key == "checkpoint_frequency" else 1
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= low
        if key != "checkpoint_at_end" and not whole and not (key == "num_to_keep" and value is None):
            raise ConfigError(f"{where}.{key} is {value!r}; it must be a whole number of at least {low}")
    return CheckpointSettings(
        given.get("checkpoint_frequency", 0), given.get("num_to_keep"), given.get("checkpoint_at_end", True)
    )


def _without_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The checked settings as plain data of a file again."""
    saved = settings["checkpoints"]
    given: dict[str, Any] = {}
    if settings["num_samples"] > 1:
        given["num_samples"] = settings["num_samples"]
    if settings["storage"] != Path(DEFAULT_RESULTS):
        given["storage_path"] = str(settings["storage"])
    if settings["restore"] is not None:
        given["restore"] = str(settings["restore"])
    given["checkpoint_config"] = dict(zip(CHECKPOINT_KEYS, (saved.frequency, saved.keep, saved.at_end), strict=True))
    return given


def to_yaml(experiment: Experiment) -> str:
    """The resolved experiment as the text of a YAML file that `load_experiments` reads back."""
    return yaml.safe_dump({experiment.name: experiment.resolved}, sort_keys=False, allow_unicode=True, width=110)


def _read_python(path: Path, sets: Sequence[str]) -> Experiment:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

    module = _run_python(path)
    config = module.get("config")
    if not isinstance(config, AlgorithmConfig):
        raise ConfigError(f"{path} holds no AlgorithmConfig named config; write config = EconomyPPOConfig()...")
    config, name = config.copy(copy_frozen=False), path.stem
    spec: dict[str, Any] = {"stop": module.get("stop")}
    keys: dict[str, Any] = {}
    places: dict[str, str] = {}
    for text in sets:
        for part in parse_set(text)[0][:2]:  # a change inside a mapping starts from what the file's config holds
            if isinstance(getattr(config, part, None), dict):
                keys.setdefault(part, copy.deepcopy(getattr(config, part)))
        spec, keys = _apply_set(text, spec, keys, places, name)
    if found := {"run", "env"} & set(spec):
        raise ConfigError(f"--set {found.pop()}: a Python file sets this itself; change it there")
    apply_keys(config, keys, places)
    return dataclasses.replace(_finish_python(path, name, config, spec), sets=tuple(sets))


def _finish_python(path: Path, name: str, config: AlgorithmConfig, spec: Mapping[str, Any]) -> Experiment:
    if config.algo_class is None or config.env is None:
        missing = "algorithm" if config.algo_class is None else "environment"
        raise ConfigError(f"{path}: config has no {missing}; start from PPOConfig().environment(...)")
    if config.env in plain.ENV_PRESETS:
        plain.register()
    economy = economy_of(config.env, config.env_config or {}, f"{name}.config.env_config")
    config.seed = 0 if config.seed is None else config.seed
    finish_config(config, name)
    settings = _settings(name, spec)
    stop = parse_stop(spec.get("stop"), f"{name}.stop", custom_metrics=True)
    algorithm = config.algo_class if isinstance(config.algo_class, str) else config.algo_class.__name__
    if settings["restore"] is not None and algorithm == "EconomyPPO":
        check_restored(settings["restore"], config, f"{name}.restore")
    return Experiment(
        name=name,
        run=algorithm,
        env=str(config.env),
        env_config=economy,
        stop=stop,
        config=config,
        resolved={"run": algorithm, "env": str(config.env), "stop": stop, **_without_defaults(settings)},
        seed=resolved_seed(config),
        source=path,
        **settings,
    )


def _run_python(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; give the path of a YAML or a Python file")
    try:
        return runpy.run_path(str(path))
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        place = f", line {lines[-1]}" if lines else f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ConfigError(f"{path}{place}: {type(error).__name__}: {first_line(error)}") from error
