"""Open and closed real-business-cycle economies of many learning agents: a batched torch core, PettingZoo and RLlib."""

from rbc_marl.adapters.pettingzoo import parallel_env
from rbc_marl.choices import decode
from rbc_marl.config import EconomyConfig, preset
from rbc_marl.errors import ConfigError, MissingExtraError, UserError
from rbc_marl.observations import join
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
    "join",
    "parallel_env",
    "preset",
]
