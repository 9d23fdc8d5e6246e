"""The keys under `config:` in a file: which exist, of what type, and how they become RLlib's AlgorithmConfig.

A key is a parameter of one of AlgorithmConfig's own methods (`training(lr=...)`), so that each is set the way RLlib
means it to be set. In a file the keys stand side by side or under the name of their method (`training: {lr: 1e-3}`).
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import json
import math
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema

from rbc_marl.config import EconomyConfig
from rbc_marl.curriculum import Curriculum
from rbc_marl.errors import ConfigError
from rbc_marl.settings import Section, explain, load_named

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

# Methods of AlgorithmConfig, in the order in which they are called.
SECTIONS = (
    "api_stack",
    "resources",
    "framework",
    "environment",
    "env_runners",
    "learners",
    "training",
    "callbacks",
    "evaluation",
    "offline_data",
    "multi_agent",
    "reporting",
    "checkpointing",
    "debugging",
    "fault_tolerance",
    "rl_module",
    "experimental",
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
# Coefficients that RLlib also takes as a schedule: [[env step, value], ...].
SCHEDULED = ("lr", "entropy_coeff")
# Keys that hold a class, which a file names by its dotted path.
CLASSES = ("callbacks_class", "env_runner_cls", "learner_class")
# What the numbers may be; RLlib checks few of them. Both ends are allowed; None: no bound.
RANGES: dict[str, tuple[float, float | None]] = {
    "lr": (0.0, None),
    "gamma": (0.0, 1.0),
    "lambda_": (0.0, 1.0),
    "clip_param": (0.0, None),
    "entropy_coeff": (0.0, None),
    "vf_loss_coeff": (0.0, None),
    "vf_clip_param": (0.0, None),
    "kl_coeff": (0.0, None),
    "grad_clip": (0.0, None),
    "num_epochs": (1, None),
    "minibatch_size": (1, None),
    "train_batch_size": (1, None),
    "train_batch_size_per_learner": (1, None),
    "num_envs_per_env_runner": (1, None),
    "num_env_runners": (0, None),
    "num_learners": (0, None),
    "evaluation_num_env_runners": (0, None),
    "evaluation_interval": (1, None),
    "seed": (0, None),
}
_UNIONS = (typing.Union, types.UnionType)


@dataclasses.dataclass(frozen=True)
class Key:
    """One key of the configuration: its parameter's name, the methods that take it, and its annotation."""

    name: str
    sections: tuple[str, ...]
    annotation: Any
    owner: str  # module of the class that declares it: tells RLlib's `model` from ours


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
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

    hints = typing.get_type_hints(DefaultModelConfig)
    names = [field.name for field in dataclasses.fields(DefaultModelConfig)]
    return {name: Key(name, (), hints[name], DefaultModelConfig.__module__) for name in names}


@functools.cache
def known_keys(config_class: type) -> dict[str, Key]:
    """Every key that a kind of AlgorithmConfig takes, by name. A subclass's declaration comes before its base's."""
    from ray.rllib.utils.from_config import NotProvided

    found: dict[str, Key] = {}
    for section in SECTIONS:
        for owner in config_class.__mro__:
            method = vars(owner).get(section)
            if method is None:
                continue
            for parameter in inspect.signature(method).parameters.values():
                if parameter.default is not NotProvided:  # self, **kwargs, and what RLlib has deprecated
                    continue
                name = parameter.name
                if name not in found:
                    annotation = _annotation(parameter, method)
                    found[name] = Key(name, (section,), annotation, owner.__module__)
                elif section not in found[name].sections:
                    found[name] = dataclasses.replace(found[name], sections=(*found[name].sections, section))
    return {name: key for name, key in found.items() if name not in OLD_NAMES}


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
    elif parameter not in keys:
        problem = f"is not a setting of {config_class.__name__.removesuffix('Config')}{_suggest(name, keys)}"
    elif section in SECTIONS and section not in keys[parameter].sections:
        problem = f"does not belong there; move {name} to {keys[parameter].sections[0]}"
    else:
        return keys[parameter]
    raise ConfigError(f"{path} {problem}")


def _suggest(name: str, keys: Mapping[str, Key]) -> str:
    """The nearest key in today's spelling, also where a name of older versions or one inside a mapping is misspelt."""
    everyday = {parameter: spelling for spelling, parameter in SPELLINGS.items()}
    spellings = {everyday.get(known, known): everyday.get(known, known) for known in keys}
    spellings |= {section: section for section in SECTIONS} | OLD_NAMES
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
    if key.name in CLASSES and isinstance(value, str):
        return _load_class(key.name, value, path)
    try:
        _adapter(key).validate_json(json.dumps(value, default=repr), strict=True)
    except ValidationError as error:
        raise ConfigError(explain(error, Section, value, path)) from None
    if problem := _out_of_range(key.name, value):
        raise ConfigError(f"{path} {problem}")
    return value


def _out_of_range(name: str, value: Any) -> str:  # noqa: ANN401 - keys have many types
    """What is wrong with a number, or with one of a schedule; empty for nothing."""
    numbers = [value]
    if isinstance(value, list) and name in SCHEDULED:
        for point in value:
            if not (isinstance(point, list) and len(point) == 2 and all(type(part) in (int, float) for part in point)):
                return f"holds {point!r}; a schedule is a list of [env step, value] pairs"
        numbers = [point[1] for point in value]
    low, high = RANGES.get(name, (-math.inf, None))
    for number in numbers:
        if type(number) in (int, float) and not low <= number <= (math.inf if high is None else high):
            allowed = f"at least {low:g}" if high is None else f"between {low:g} and {high:g}"
            return f"is {number!r}; it must be {allowed}"
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


def _load_class(name: str, dotted: str, path: str) -> type:
    """A class of one's own, of the kind that its key takes."""
    from ray.rllib.callbacks.callbacks import RLlibCallback
    from ray.rllib.core.learner.learner import Learner
    from ray.rllib.env.env_runner import EnvRunner

    kinds = {"callbacks_class": RLlibCallback, "env_runner_cls": EnvRunner, "learner_class": Learner}
    kind: type = kinds[name]
    return load_named(dotted, path, lambda named: issubclass(named, kind), f"a subclass of RLlib's {kind.__name__}")


def check_keys(config_class: type, values: Mapping[str, Any], places: Mapping[str, str]) -> dict[str, tuple[Key, Any]]:
    """Check the names and types of all keys.

    Args:
        config_class: The kind of AlgorithmConfig.
        values: By the name in the file.
        places: The place of each in the file, for messages.

    Returns:
        Each with its key; classes that are named have taken the place of their names.

    Raises:
        ConfigError: A key is unknown, or its value is wrong.
    """
    keys = {name: find_key(config_class, str(name), places[name]) for name in values}
    return {name: (key, check_value(key, values[name], places[name])) for name, key in keys.items()}


def apply_keys(config: AlgorithmConfig, values: Mapping[str, Any], places: Mapping[str, str]) -> None:
    """Check keys, and set them on an AlgorithmConfig through its own methods.

    Args:
        config: Changed in place.
        values: By the name in the file.
        places: The place of each in the file, for messages.

    Raises:
        ConfigError: A key is unknown, or its value is wrong.
    """
    set_keys(config, check_keys(type(config), values, places), places)


def set_keys(config: AlgorithmConfig, checked: Mapping[str, tuple[Key, Any]], places: Mapping[str, str]) -> None:
    """Set keys that `check_keys` has checked on an AlgorithmConfig, through its own methods."""
    for section in SECTIONS:
        calls = {key.name: value for key, value in checked.values() if key.sections[0] == section}
        if not calls:
            continue
        try:
            getattr(config, section)(**calls)
        except Exception as error:
            where = {key.name: places[name] for name, (key, _) in checked.items() if key.name in calls}
            raise ConfigError(_placed(first_line(error), where, isinstance(error, ConfigError))) from error


def _placed(reason: str, places: Mapping[str, str], is_ours: bool) -> str:
    """A message of RLlib's or of EconomyPPO's with the places of the keys that it is about."""
    own = next((name for name in places if re.match(rf"{name}\b", reason)), None)
    if is_ours and own is not None:  # ours already say what is wrong with which key
        return places[own] + reason.removeprefix(own)
    named = [place for name, place in places.items() if name in reason]
    return f"{', '.join(named) or next(iter(places.values()))}: {reason}"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, for errors of libraries that write paragraphs."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


def _annotation(parameter: inspect.Parameter, method: Any) -> Any:  # noqa: ANN401 - annotations are anything
    if not isinstance(parameter.annotation, str):
        return parameter.annotation
    try:
        return eval(parameter.annotation, vars(inspect.getmodule(method)), {})  # the source code's own text
    except Exception:  # a name imported for type checkers only
        return Any
