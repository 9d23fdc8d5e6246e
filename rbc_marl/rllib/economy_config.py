"""Which economy an RLlib configuration asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rbc_marl.config import PRESETS, EconomyConfig, parse_config
from rbc_marl.errors import ConfigError, nearest
from rbc_marl.observations import check_encoding

# Names under which the economies are registered with RLlib, and the presets behind them.
ENV_PRESETS = {"rbc_open": "open", "rbc_closed": "closed"}
# What env_config may hold on the plain path besides the fields of EconomyConfig, with the defaults.
ENV_OPTIONS: dict[str, Any] = {
    "encoding": "symlog",
    "render_mode": None,
    "reward_scale": None,
    "action_mode": "multidiscrete",
}


def parse_env_config(env: str, env_config: Mapping[str, Any], where: str = "env_config") -> tuple[EconomyConfig, str]:
    """The economy and the observation encoding of an ``env_config``.

    Args:
        env: "rbc_open" or "rbc_closed".
        env_config: Fields of `EconomyConfig`, and optionally ``encoding``.
        where: Its place in a file, for messages.

    Raises:
        ConfigError: The env or a key is unknown, a value is invalid, or the two name different economies.
    """
    if env not in ENV_PRESETS:
        raise ConfigError(f'env is "{env}"; it must be {" or ".join(ENV_PRESETS)}{nearest(str(env), ENV_PRESETS)}')
    fields = {**PRESETS[ENV_PRESETS[env]], **env_config}
    encoding = check_encoding(fields.pop("encoding", "symlog"))
    fields.pop("render_mode", None)  # of the PettingZoo environment
    return check_env(env, parse_config(fields, where), where), encoding


def check_env(env: str, economy: EconomyConfig, where: str) -> EconomyConfig:
    """Return an economy that is open or closed as its env says.

    Raises:
        ConfigError: It is the other.
    """
    if economy.open_economy != (env == "rbc_open"):
        other = "rbc_open" if economy.open_economy else "rbc_closed"
        raise ConfigError(f"{where}.open_economy is {economy.open_economy} but env is {env}; set env: {other}")
    return economy


def economy_of(config: Any) -> tuple[EconomyConfig, str]:  # noqa: ANN401 - an AlgorithmConfig
    """The economy and the observation encoding of an AlgorithmConfig."""
    return parse_env_config(config.env, dict(config.env_config))


def economy_on_any_path(config: Any) -> EconomyConfig:  # noqa: ANN401 - an AlgorithmConfig
    """The economy of an AlgorithmConfig whose ``env_config`` may hold options of the plain path as well."""
    fields = {name: value for name, value in config.env_config.items() if name not in ENV_OPTIONS}
    return parse_env_config(config.env, fields)[0]
