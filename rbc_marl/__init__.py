"""Open and closed real-business-cycle economies of many learning agents: a batched torch core, PettingZoo and RLlib."""

from importlib import import_module
from typing import TYPE_CHECKING

from rbc_marl.config import EconomyConfig, preset
from rbc_marl.envs.registration import register as _register_environments
from rbc_marl.errors import ConfigError, MissingExtraError, UserError

if TYPE_CHECKING:
    from rbc_marl.choices import decode
    from rbc_marl.envs.padded import homogenize
    from rbc_marl.envs.pettingzoo import parallel_env
    from rbc_marl.observations import join
    from rbc_marl.policies.saved import load_policies as load
    from rbc_marl.vector_env import VectorEconomy

__version__ = "0.1.0"

__all__ = [
    "ConfigError",
    "EconomyConfig",
    "MissingExtraError",
    "UserError",
    "VectorEconomy",
    "__version__",
    "decode",
    "homogenize",
    "join",
    "load",
    "parallel_env",
    "preset",
]

# Imported when they are first asked for: they bring torch, and `rbc-marl --help` should not wait for that.
_LATER = {
    "VectorEconomy": "rbc_marl.vector_env:VectorEconomy",
    "decode": "rbc_marl.choices:decode",
    "homogenize": "rbc_marl.envs.padded:homogenize",
    "join": "rbc_marl.observations:join",
    "load": "rbc_marl.policies.saved:load_policies",
    "parallel_env": "rbc_marl.envs.pettingzoo:parallel_env",
}


_register_environments()


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _LATER[name].partition(":")
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value
