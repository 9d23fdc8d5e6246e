"""The environment as a PettingZoo module: ``rbc_v0.parallel_env()``, ``rbc_v0.env()``, ``rbc_v0.raw_env()``."""

from __future__ import annotations

from typing import Any

from pettingzoo import AECEnv
from pettingzoo.utils.conversions import parallel_to_aec_wrapper
from pettingzoo.utils.wrappers import OrderEnforcingWrapper

from rbc_marl.envs.pettingzoo import Observation, parallel_env

__all__ = ["env", "parallel_env", "raw_env"]


def env(*args: Any, **kwargs: Any) -> AECEnv[str, Observation, Any]:  # noqa: ANN401 - handed on to parallel_env
    """The environment with agents that act one after the other, and with PettingZoo's checks of the order of calls.

    Args:
        *args: As for `parallel_env`.
        **kwargs: As for `parallel_env`.
    """
    return OrderEnforcingWrapper(raw_env(*args, **kwargs))


def raw_env(*args: Any, **kwargs: Any) -> AECEnv[str, Observation, Any]:  # noqa: ANN401 - handed on to parallel_env
    """As `env`, without the checks."""
    return parallel_to_aec_wrapper(parallel_env(*args, **kwargs))
