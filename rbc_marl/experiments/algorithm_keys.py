"""The keys under `config:` in a file: which exist, of what type, and how they become RLlib's AlgorithmConfig.

A key is a parameter of one of AlgorithmConfig's own methods (`training(lr=...)`), so that each is set the way RLlib
means it to be set. In a file the keys stand side by side or under the name of their method (`training: {lr: 1e-3}`).
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import itertools
import json
import re
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.from_config import NotProvided

from rbc_marl.config import EconomyConfig
from rbc_marl.curriculum import Curriculum
from rbc_marl.errors import ConfigError, first_line
from rbc_marl.rllib.ranges import out_of_range
from rbc_marl.settings import Section, explain, load_named

# Methods of AlgorithmConfig, in the order in which they are called.
SECTIONS = (
    *("api_stack", "resources", "framework", "environment", "env_runners", "learners", "training", "callbacks"),
    *("evaluation", "offline_data", "multi_agent", "reporting", "checkpointing", "debugging", "fault_tolerance"),
    *("rl_module", "experimental"),
)
# Keys whose everyday name is not the name of the parameter.
SPELLINGS = {"lambda": "lambda_", "input": "input_", "callbacks": "callbacks_class"}
# Names of older RLlib versions, which today's would ignore or refuse without saying what to write.
OLD_NAMES = {
    "num_workers": "num_env_runners",
    "num_rollout_workers": "num_env_runners",
    "num_envs_per_worker": "num_envs_per_env_runner",
    "num_cpus_per_worker": "num_cpus_per_env_runner",
    "num_gpus_per_worker": "num_gpus_per_env_runner",
    "num_sgd_iter": "num_epochs",
    "sgd_minibatch_size": "minibatch_size",
    "num_learner_workers": "num_learners",
    "evaluation_num_workers": "evaluation_num_env_runners",
    "num_cpus_for_driver": "num_cpus_for_main_process",
    "observation_filter": "env_to_module_connector",
    "min_time_s_per_reporting": "min_time_s_per_iteration",
    "timesteps_per_iteration": "min_sample_timesteps_per_iteration",
    "lr_schedule": "lr",
    "entropy_coeff_schedule": "entropy_coeff",
}
# Settings of older versions of this package, and what does now what they were for.
REPLACED = {"probe_economies": "trembles"}
# Coefficients that RLlib also takes as a schedule: [[env step, value], ...].
SCHEDULED = ("lr", "entropy_coeff")
# Keys that hold a class, which a file names by its dotted path, and the kind of class.
CLASSES: dict[str, type] = {"callbacks_class": RLlibCallback, "env_runner_cls": EnvRunner, "learner_class": Learner}
_UNIONS = (typing.Union, types.UnionType)


@dataclasses.dataclass(frozen=True)
class Key:
    """One key of the configuration: its parameter's name, the methods that take it, and its annotation."""

    name: str
    sections: tuple[str, ...]
    annotation: Any
    owner: str  # module of the class that declares it: tells RLlib's `model` from ours


def everyday(key: str) -> str:
    """The name of a key as files spell it: ``lambda`` for ``lambda_``."""
    return next((spelling for spelling, parameter in SPELLINGS.items() if parameter == key), key)


def flatten_sections(keys: Mapping[str, Any], where: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Lift the keys out of sections named for AlgorithmConfig's methods.

    Returns:
        The flat keys by the names of their parameters, and for each its full path in the file.

    Raises:
        ConfigError: A key is not a word, or is given twice.
    """
    flat: dict[str, Any] = {}
    paths: dict[str, str] = {}
    for name, value in keys.items():
        nested = name in SECTIONS and isinstance(value, Mapping)
        for key, inner in value.items() if nested else [(name, value)]:
            path = f"{where}.{name}.{key}" if nested else f"{where}.{key}"
            parameter = SPELLINGS.get(key, key)
            if parameter in flat or not isinstance(key, str):
                twice = f"is given twice, also as {paths.get(parameter)}; keep one"
                raise ConfigError(
                    f"{path} {twice if parameter in flat else 'is not a name; keys are words such as lr'}"
                )
            flat[parameter], paths[parameter] = inner, path
    return flat, paths


@functools.cache
def model_keys() -> dict[str, Key]:
    """The settings of RLlib's own models, by name."""
    hints, fields = typing.get_type_hints(DefaultModelConfig), dataclasses.fields(DefaultModelConfig)
    return {field.name: Key(field.name, (), hints[field.name], DefaultModelConfig.__module__) for field in fields}


@functools.cache
def known_keys(config_class: type) -> dict[str, Key]:
    """Every key that a kind of AlgorithmConfig takes, by name. A subclass's declaration comes before its base's."""
    found: dict[str, Key] = {}
    for section, owner in itertools.product(SECTIONS, config_class.__mro__):
        method = vars(owner).get(section)
        for name, parameter in inspect.signature(method).parameters.items() if method else ():
            # Others are self, **kwargs, and what RLlib has deprecated.
            if parameter.default is NotProvided and name not in OLD_NAMES:
                first = found.get(name) or Key(name, (), _annotation(parameter, method), owner.__module__)
                found[name] = dataclasses.replace(first, sections=(*first.sections, section))
    return found


def find_key(config_class: type, name: str, path: str) -> Key:
    """Look a key up by the name a file gives it.

    Raises:
        ConfigError: There is no such key; the message names the nearest one.
    """
    keys = known_keys(config_class)
    parameter = SPELLINGS.get(name, name)
    section = path.split(".")[-2] if path.count(".") > 1 else ""
    if name in OLD_NAMES:
        problem = f"is a name of older RLlib versions; write {OLD_NAMES[name]}"
    elif name in REPLACED:
        problem = f"is gone; write {REPLACED[name]}"
    elif parameter not in keys:
        problem = f"is not a setting of {config_class.__name__.removesuffix('Config')}{_suggest(name, keys)}"
    elif section in SECTIONS and section not in keys[parameter].sections:
        problem = f"does not belong there; move {name} to {keys[parameter].sections[0]}"
    else:
        return keys[parameter]
    raise ConfigError(f"{path} {problem}")


def _suggest(name: str, keys: Mapping[str, Key]) -> str:
    """The nearest key in today's spelling, also where a name of older versions or one inside a mapping is misspelt."""
    spellings = {name: name for name in (*map(everyday, keys), *SECTIONS)} | OLD_NAMES
    inside: dict[str, type[Section]] = {"env_config": EconomyConfig}
    inside |= {"curriculum": Curriculum} if "curriculum" in keys else {}
    for outer, section_class in inside.items():
        spellings = {inner: f"{outer}.{inner}" for inner in section_class.names()} | spellings
    close = difflib.get_close_matches(name, sorted(spellings), n=1, cutoff=0.6)
    return f'; did you mean "{spellings[close[0]]}"?' if close else ""


def check_value(key: Key, value: Any, path: str) -> Any:  # noqa: ANN401 - keys have many types
    """Check a value from a file against its key's type and range.

    Returns:
        The value, or the class that it names.

    Raises:
        ConfigError: The type or the number is not allowed. A number in quotes is a text, and refused as one.
    """
    if isinstance(value, str) and (kind := CLASSES.get(key.name)):
        meant = f"a subclass of RLlib's {kind.__name__}"
        return load_named(value, path, lambda named: issubclass(named, kind), meant)
    for place, name in _called(key.name, value, path):
        if not name.startswith("ray.rllib."):
            raise ConfigError(f"{place} is {name!r}, which RLlib would call; give one of RLlib's classes")
        load_named(name, place, lambda _: True, "a class of RLlib's")
    try:
        _adapter(key).validate_json(json.dumps(value, default=repr), strict=True)
    except ValidationError as error:
        raise ConfigError(explain(error, Section, value, path)) from None
    if problem := _out_of_schedule(key.name, value) or out_of_range(key.name, value):
        raise ConfigError(f"{path} {problem}")
    return value


def _called(key: str, value: Any, path: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - from a file
    """Dotted names in a value that RLlib would look up and call, whatever they are, and their places."""
    if key in ("type", "input_") and isinstance(value, str) and "." in value:
        if key == "type" or all(part.isidentifier() for part in value.split(".")):
            yield path, value
    elif key != "env_config" and isinstance(value, Mapping):  # environments get theirs as it is
        for inner, given in value.items():
            yield from _called(str(inner), given, f"{path}.{inner}")
    elif isinstance(value, list):
        for given in value:
            yield from _called(key, given, path)


def _out_of_schedule(name: str, value: object) -> str:
    """What is wrong with a schedule of a coefficient; empty for nothing, and where there is none."""
    for point in value if isinstance(value, list) and name in SCHEDULED else ():
        if not (isinstance(point, list) and len(point) == 2 and all(type(part) in (int, float) for part in point)):
            return f"holds {point!r}; a schedule is a list of [env step, value] pairs"
        if problem := out_of_range(name, point[1]):
            return problem
    return ""


@functools.cache
def _adapter(key: Key) -> TypeAdapter[Any]:
    """A validator of plain data; read as JSON, in which a list stands for a tuple."""
    annotation = _readable(key.annotation)
    if key.name in SCHEDULED:
        annotation = typing.Union[annotation, float, list]  # noqa: UP007 - of a value
    strict = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    return TypeAdapter(annotation, config=strict)


def key_schema(key: Key) -> dict[str, Any]:
    """JSON schema of what a file can give for a key; one that takes anything where only Python has it."""
    try:
        return _adapter(key).json_schema()
    except PydanticInvalidForJsonSchema:
        return {}


class _PythonObject:
    """Stands for what only Python can give."""


def _readable(annotation: Any) -> Any:  # noqa: ANN401 - annotations are anything
    """An annotation without names that only type checkers know, and with lists for collections."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(annotation, typing.ForwardRef) or origin is type or getattr(annotation, "_is_protocol", False):
        return _PythonObject
    if origin in (Collection, Callable) or annotation is inspect.Parameter.empty:
        return list[_readable(arguments[0])] if origin is Collection else Callable if origin else Any  # type: ignore[misc]
    if not arguments or origin is Literal:
        return annotation
    parts = tuple(argument if argument is ... else _readable(argument) for argument in arguments)
    return typing.Union[parts] if origin in _UNIONS else origin[parts]  # noqa: UP007 - of values


def check_keys(config_class: type, values: Mapping[str, Any], places: Mapping[str, str]) -> dict[str, Any]:
    """Check the names and types of all keys.

    Args:
        config_class: The kind of AlgorithmConfig.
        values: By the name in the file.
        places: The place of each in the file, for messages.

    Returns:
        The values; classes that are named have taken the place of their names.

    Raises:
        ConfigError: A key is unknown, or its value is wrong.
    """
    keys = {name: find_key(config_class, str(name), places[name]) for name in values}
    return {name: check_value(key, values[name], places[name]) for name, key in keys.items()}


def apply_keys(config: AlgorithmConfig, values: Mapping[str, Any], places: Mapping[str, str]) -> None:
    """Check keys, and set them on an AlgorithmConfig through its own methods.

    Args:
        config: Changed in place.
        values: By the name of the parameter.
        places: The place of each in the file, for messages.

    Raises:
        ConfigError: A key is unknown, or its value is wrong.
    """
    set_keys(config, check_keys(type(config), values, places), places)


def set_keys(config: AlgorithmConfig, checked: Mapping[str, Any], places: Mapping[str, str]) -> None:
    """Set keys that `check_keys` has checked on an AlgorithmConfig, through its own methods."""
    config_class: type = type(config)
    known = known_keys(config_class)
    for section in SECTIONS:
        calls = {name: value for name, value in checked.items() if known[name].sections[0] == section}
        if not calls:
            continue
        try:
            getattr(config, section)(**calls)
        except Exception as error:
            where, reason = {name: places[name] for name in calls}, first_line(error)
            # Ours begin with the key that is wrong, which another method may have set.
            own = next((name for name in checked if re.match(rf"{name}\b", reason)), None)
            if isinstance(error, ConfigError) and own is not None:
                raise ConfigError(places[own] + reason.removeprefix(own)) from error
            named = [place for name, place in where.items() if name in reason] or list(where.values())[:1]
            raise ConfigError(f"{', '.join(named)}: {reason}") from error


def _annotation(parameter: inspect.Parameter, method: Any) -> Any:  # noqa: ANN401 - annotations are anything
    if not isinstance(parameter.annotation, str):
        return parameter.annotation
    try:
        return eval(parameter.annotation, vars(inspect.getmodule(method)), {})  # the source code's own text
    except Exception:  # a name imported for type checkers only
        return Any
