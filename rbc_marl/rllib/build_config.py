"""From the plain data of an experiment to a checked AlgorithmConfig of RLlib."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rbc_marl.config import AGENT_TYPES, PRESETS, EconomyConfig, parse_config
from rbc_marl.errors import ConfigError, nearest
from rbc_marl.observations import ENCODINGS
from rbc_marl.rllib import plain
from rbc_marl.rllib.config_keys import apply_keys, check_value, find_key, first_line, known_keys, model_keys
from rbc_marl.rllib.economy_config import ENV_OPTIONS, check_env
from rbc_marl.rllib.roles import DEVIATOR

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm import Algorithm
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

OUR_ALGORITHMS = ("EconomyPPO",)


def algorithm_class(name: Any, where: str) -> type[Algorithm]:  # noqa: ANN401 - from a file
    """The algorithm that `run` names: ours, or any of RLlib's.

    Raises:
        ConfigError: There is none of that name.
    """
    from ray.rllib.algorithms.registry import ALGORITHMS, _get_algorithm_class

    known = [*OUR_ALGORITHMS, *ALGORITHMS]
    if name not in known:
        mend = nearest(str(name), known) or f"; there are {', '.join(known)}"
        raise ConfigError(f"{where} is {name!r}, which is not an algorithm{mend}")
    if name in OUR_ALGORITHMS:
        from rbc_marl.rllib import algorithm

        return getattr(algorithm, name)
    return _get_algorithm_class(name)


def economy_of(env: Any, env_config: Any, where: str) -> EconomyConfig | None:  # noqa: ANN401 - from a file
    """Validate the economy of one of our environments.

    Args:
        env: The environment's name; for others than ours the result is None.
        env_config: Fields of EconomyConfig, and `encoding`.
        where: Place of env_config in the file.

    Raises:
        ConfigError: A field is unknown or wrong, or contradicts the environment's name.
    """
    if not isinstance(env, str) or env not in plain.ENV_PRESETS:
        return None
    if not isinstance(env_config, Mapping):
        raise ConfigError(f"{where} is {env_config!r}; it must be a mapping of fields, such as {{num_consumers: 20}}")
    fields = {name: value for name, value in env_config.items() if name not in ENV_OPTIONS}
    encoding = env_config.get("encoding", ENCODINGS[0])
    if encoding not in ENCODINGS:
        raise ConfigError(f"{where}.encoding is {encoding!r}; it must be {' or '.join(ENCODINGS)}")
    for field in fields:
        if field not in EconomyConfig.model_fields:
            known = [*EconomyConfig.model_fields, *ENV_OPTIONS]
            raise ConfigError(f"{where}.{field} is not a field of an economy{nearest(str(field), known)}")
    return check_env(env, parse_config({**PRESETS[plain.ENV_PRESETS[env]], **fields}, where=where), where)


def _options(env_config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in env_config.items() if name in ENV_OPTIONS}


def resolve_keys(env: Any, keys: Mapping[str, Any], paths: Mapping[str, str], where: str) -> dict[str, Any]:  # noqa: ANN401
    """Write out what a file leaves open: the whole economy, the seed and where environments run.

    Raises:
        ConfigError: The economy is not valid.
    """
    resolved = dict(keys)
    given = keys.get("env_config", {})
    economy = economy_of(env, given, paths.get("env_config", f"{where}.env_config"))
    if economy is not None:
        resolved["env_config"] = {**economy.model_dump(mode="json"), "encoding": ENCODINGS[0], **_options(given)}
    if keys.get("seed", 0) is None:
        resolved["seed"] = secrets.randbelow(2**31)
    resolved.setdefault("seed", 0)
    resolved.setdefault("num_env_runners", 0)  # in this process: an economy is too small to send elsewhere
    return resolved


def build_config(run: str, env: Any, keys: Mapping[str, Any], paths: Mapping[str, str], where: str) -> AlgorithmConfig:  # noqa: ANN401
    """Make the AlgorithmConfig of an experiment and let RLlib validate it. Nothing is started.

    Args:
        run: Name of the algorithm.
        env: Name of the environment.
        keys: Flat keys of AlgorithmConfig's methods, as `resolve_keys` returns them.
        paths: Place of each key in the file, for messages.
        where: Place of the whole experiment in the file.

    Raises:
        ConfigError: A key is unknown, a value wrong, or RLlib refuses the combination.
    """
    cls = algorithm_class(run, f"{where}.run")
    _check_env(env, f"{where}.env")
    config = cls.get_default_config()
    places = {name: paths.get(name, f"{where}.config.{name}") for name in keys}
    for name, value in keys.items():  # all names and types first, so that the first mistake named is a plain one
        check_value(find_key(type(config), name, places[name]), value, places[name])
    values = copy.deepcopy(dict(keys))
    values["env"], places["env"] = env, f"{where}.env"
    _translate_model(type(config), values, places)
    for name in ("evaluation_config", "algorithm_config_overrides_per_module"):
        if values.get(name):
            _check_overrides(type(config), name, values, places[name], env)
    apply_keys(config, values, places)
    finish_config(config, where)
    return config


def finish_config(config: AlgorithmConfig, where: str) -> None:
    """Give our environments their policies, and let RLlib validate the whole (on a copy: it may change things).

    Raises:
        ConfigError: RLlib refuses the configuration.
    """
    if config.env in plain.ENV_PRESETS:
        _fill_policies(config, where)
    try:
        config.copy(copy_frozen=False).validate()
    except ConfigError as error:
        raise ConfigError(f"{where}.config.{error}") from error
    except Exception as error:
        raise ConfigError(f"{where}.config: {first_line(error)}") from error


def _check_env(env: Any, where: str) -> None:  # noqa: ANN401 - from a file
    if isinstance(env, str) and env in plain.ENV_PRESETS:
        plain.register()
        return
    import gymnasium

    known = [*plain.ENV_PRESETS, *gymnasium.registry]
    if env is None:
        raise ConfigError(f"{where} is missing; name an environment, such as rbc_open")
    if not isinstance(env, str) or not (env in known or ":" in env or env.count(".") > 1):
        raise ConfigError(f"{where} is {env!r}, which is not an environment{nearest(str(env), known)}")


def _translate_model(config_class: type, values: dict[str, Any], places: dict[str, str]) -> None:
    """Send `model` where it belongs: to our `networks`, or to RLlib's `rl_module(model_config=...)`."""
    known = known_keys(config_class)
    if "model" in values and known["model"].owner.startswith("ray."):  # there it is a setting of the old API stack
        target = "networks" if "networks" in known else "model_config"
        if target in values:
            raise ConfigError(f"{places['model']} is given twice, also as {places[target]}; keep one")
        values[target], places[target] = values.pop("model"), places["model"]
    model = values.get("model_config")
    for name, value in model.items() if isinstance(model, Mapping) else ():
        place, ours = f"{places['model_config']}.{name}", model_keys()
        if name not in ours:
            raise ConfigError(f"{place} is not a setting of RLlib's models{nearest(str(name), ours)}")
        check_value(ours[name], value, place)


def _check_overrides(
    config_class: type[AlgorithmConfig], name: str, values: dict[str, Any], where: str, env: object
) -> None:
    """Check the keys inside `evaluation_config` or inside each module's overrides as strictly as the outer ones."""
    groups = {where: values[name]}
    if name == "algorithm_config_overrides_per_module":
        policies = values.get("policies") or (AGENT_TYPES if env in plain.ENV_PRESETS else None)
        if policies is not None and values.get("deviator"):
            policies = [*policies, DEVIATOR]
        for module in values[name]:
            if policies is not None and module not in policies:
                raise ConfigError(f"{where}.{module} is not a policy{nearest(str(module), policies)}")
        groups = {f"{where}.{module}": keys for module, keys in values[name].items()}
    for place, keys in groups.items():
        if not isinstance(keys, Mapping):
            raise ConfigError(f"{place} is {keys!r}; it must be a mapping, such as {{lr: 3e-4}}")
        for key, value in keys.items():
            check_value(find_key(config_class, str(key), f"{place}.{key}"), value, f"{place}.{key}")
        if "env_config" in keys and env in plain.ENV_PRESETS:
            changed = {} if keys["env_config"] is None else keys["env_config"]
            encoding = values.get("env_config", {}).get("encoding", ENCODINGS[0])
            if changed.get("encoding", encoding) != encoding:
                raise ConfigError(f"{place}.env_config.encoding is not the {encoding} that policies learn with")
            economy_of(env, {**values.get("env_config", {}), **changed}, f"{place}.env_config")


def _fill_policies(config: AlgorithmConfig, where: str) -> None:
    """One shared policy per agent type, unless the file says otherwise."""
    unmapped = config.policy_mapping_fn is type(config).DEFAULT_POLICY_MAPPING_FN
    if not config.is_multi_agent:
        config.multi_agent(policies=plain.policies())
    elif unmapped and set(config.policies) != set(AGENT_TYPES):
        names = ", ".join(AGENT_TYPES)
        raise ConfigError(f"{where}.config.policies must be {names}; others need a Python file and policy_mapping_fn")
    if unmapped:
        config.multi_agent(policy_mapping_fn=plain.policy_mapping_fn)
    trained = config.policies_to_train
    if trained is None or callable(trained):
        return
    place = f"{where}.config.policies_to_train"
    if not list(trained):
        raise ConfigError(f"{place} is empty; name at least one policy")
    for policy in trained:
        if policy not in config.policies:
            raise ConfigError(f"{place} names {policy!r}{nearest(str(policy), config.policies)}")
