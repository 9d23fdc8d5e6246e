"""The keys under `config:` in a file: which exist, of what type, and how they reach RLlib's AlgorithmConfig.

A key is a parameter of one of AlgorithmConfig's own methods (`training(lr=...)`), so that each is set the way RLlib
means it to be set. In a file the keys stand side by side or under the name of their method (`training: {lr: 1e-3}`).
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import inspect
import math
import re
import types
import typing
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from rbc_marl.errors import ConfigError

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
        The flat keys, and for each its full path in the file.

    Raises:
        ConfigError: A key is not a word, or is given twice.
    """
    flat: dict[str, Any] = {}
    paths: dict[str, str] = {}
    for name, value in keys.items():
        nested = name in SECTIONS and isinstance(value, Mapping)
        for key, inner in value.items() if nested else [(name, value)]:
            path = f"{where}.{name}.{key}" if nested else f"{where}.{key}"
            if not isinstance(key, str):
                raise ConfigError(f"{path} is not a name; keys are words such as lr")
            if key in flat:
                raise ConfigError(f"{path} is given twice, also as {paths[key]}; keep one")
            flat[key], paths[key] = inner, path
    return flat, paths


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
    if name in OLD_NAMES:
        raise ConfigError(f"{path} is a name of older RLlib versions; write {OLD_NAMES[name]}")
    if parameter not in keys:
        algorithm = config_class.__name__.removesuffix("Config")
        raise ConfigError(f"{path} is not a setting of {algorithm}{_suggest(name, keys)}")
    section = path.split(".")[-2] if path.count(".") > 1 else ""
    if section in SECTIONS and section not in keys[parameter].sections:
        raise ConfigError(f"{path} does not belong there; move {name} to {keys[parameter].sections[0]}")
    return keys[parameter]


def _suggest(name: str, keys: Mapping[str, Key]) -> str:
    """The nearest key in today's spelling, also where a name of older RLlib versions is misspelt."""
    everyday = {parameter: spelling for spelling, parameter in SPELLINGS.items()}
    spellings = {everyday.get(known, known): everyday.get(known, known) for known in keys}
    spellings |= {section: section for section in SECTIONS} | OLD_NAMES
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
        return _load_class(value, path)
    annotation = typing.Union[key.annotation, float, list] if key.name in SCHEDULED else key.annotation  # noqa: UP007
    if not _fits(value, annotation):
        names = " or ".join(_describe(annotation))
        mend = f"it must be {names}" if names else "it takes a Python object: set it in a Python file"
        raise ConfigError(f"{path} is {value!r}; {mend}")
    low, high = RANGES.get(key.name, (-math.inf, None))
    numbers = _scheduled_values(value, path) if isinstance(value, list) and key.name in SCHEDULED else [value]
    for number in numbers:
        countable = isinstance(number, int | float) and not isinstance(number, bool)
        if countable and not (low <= number and (high is None or number <= high)):
            allowed = f"at least {low:g}" if high is None else f"between {low:g} and {high:g}"
            raise ConfigError(f"{path} is {number!r}; it must be {allowed}")
    return value


def apply_keys(config: AlgorithmConfig, values: Mapping[str, Any], paths: Mapping[str, str]) -> None:
    """Set checked keys on an AlgorithmConfig through its own methods.

    Args:
        config: Changed in place.
        values: By the name in the file.
        paths: The place of each in the file, for messages.

    Raises:
        ConfigError: A key is unknown, or its value is wrong.
    """
    calls: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        key = find_key(type(config), name, paths[name])
        calls.setdefault(key.sections[0], {})[key.name] = check_value(key, value, paths[name])
    for section in SECTIONS:
        if section in calls:
            try:
                getattr(config, section)(**calls[section])
            except Exception as error:
                reason = first_line(error)
                places = {SPELLINGS.get(name, name): paths[name] for name in values}
                own = next((name for name in calls[section] if re.match(rf"{name}\b", reason)), None)
                if isinstance(error, ConfigError) and own is not None:  # ours already say what is wrong with which key
                    raise ConfigError(places[own] + reason.removeprefix(own)) from error
                named = [place for name, place in places.items() if name in calls[section] and name in reason]
                raise ConfigError(f"{', '.join(named) or places[next(iter(calls[section]))]}: {reason}") from error


def first_line(error: BaseException) -> str:
    """The first line of an error's message, for errors of libraries that write paragraphs."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


_NAMES: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "a mapping",
}
_PLURALS = {int: "whole numbers", float: "numbers", str: "texts"}


def _annotation(parameter: inspect.Parameter, method: Any) -> Any:  # noqa: ANN401 - annotations are anything
    if not isinstance(parameter.annotation, str):
        return parameter.annotation
    try:
        return eval(parameter.annotation, vars(inspect.getmodule(method)), {})  # the source code's own text
    except Exception:  # a name imported for type checkers only
        return Any


def _fits(value: Any, annotation: Any) -> bool:  # noqa: ANN401 - values and annotations are anything
    """Whether plain data from a file fits an annotation. A number in quotes, true for 1 or NaN do not."""
    if annotation in (Any, inspect.Parameter.empty):
        return True
    if annotation in (None, type(None)):
        return value is None
    if annotation in (int, float, bool, str):
        return _fits_scalar(value, annotation)
    origin, arguments = _parts(annotation)
    if origin is typing.Union:
        return any(_fits(value, argument) for argument in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is dict:
        return isinstance(value, dict) and all(_fits(inner, arguments[1]) for inner in value.values() if arguments)
    if origin is list:
        return isinstance(value, list) and all(_fits(inner, arguments[0]) for inner in value if arguments)
    if origin is tuple:
        fixed = len(arguments) == len(value) if isinstance(value, list) and Ellipsis not in arguments else True
        pairs = zip(value, arguments, strict=False) if isinstance(value, list) else ()
        return isinstance(value, list) and fixed and all(_fits(inner, part) for inner, part in pairs if part is not ...)
    return not isinstance(value, str | int | float | list | dict | None)  # a class or a function: no plain value


def _fits_scalar(value: Any, kind: type) -> bool:  # noqa: ANN401 - from a file
    if isinstance(value, bool):
        return kind is bool
    if kind is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, kind)


def _parts(annotation: Any) -> tuple[Any, tuple[Any, ...]]:  # noqa: ANN401 - annotations are anything
    """An annotation's kind of container (Union, Literal, dict, list, tuple or None) and its arguments."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return typing.Union, arguments
    if origin is typing.Literal:
        return origin, arguments
    container = origin if inspect.isclass(origin) else annotation if annotation in (dict, list, tuple) else None
    if container is None or container is type:
        return None, ()
    if issubclass(container, Mapping):
        return dict, arguments
    if issubclass(container, tuple):
        return (tuple if arguments else list), arguments
    return (list, arguments) if issubclass(container, Collection) else (None, ())


def _describe(annotation: Any) -> list[str]:  # noqa: ANN401 - annotations are anything
    """What a file can give for an annotation, in words; nothing for what only Python can give."""
    if annotation in _NAMES:
        return [_NAMES[annotation]]
    origin, arguments = _parts(annotation)
    if origin is typing.Union:
        return list(dict.fromkeys(text for argument in arguments for text in _describe(argument)))
    if origin is typing.Literal:
        return [" or ".join(map(str, arguments))]
    if origin is dict:
        of = f" of {_PLURALS[arguments[1]]}" if arguments and arguments[1] in _PLURALS else ""
        return [f"a mapping{of}"]
    if origin in (list, tuple):
        return [f"a list of {_PLURALS[arguments[0]]}" if arguments and arguments[0] in _PLURALS else "a list"]
    return []


def _scheduled_values(value: list[Any], path: str) -> list[Any]:
    for point in value:
        if not (isinstance(point, list) and len(point) == 2 and all(_fits(number, float) for number in point)):
            raise ConfigError(f"{path} holds {point!r}; a schedule is a list of [env step, value] pairs")
    return [point[1] for point in value]


def _load_class(dotted: str, path: str) -> type:
    module, _, name = dotted.replace(":", ".").rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f'{path} is "{dotted}", which cannot be imported ({first_line(error)})') from None
    if not isinstance(found, type):
        raise ConfigError(f'{path} is "{dotted}", which is not a class; name one as package.module.Class')
    return found
