"""The settings that say from whom, and from which economies, agent types learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rbc_marl.config import AGENT_TYPES
from rbc_marl.errors import ConfigError, nearest

_PROBE_KEYS = ("count", "random", "learners")


def check_agents_per_update(given: Mapping[str, Any]) -> None:
    """Check numbers of agents by type.

    Raises:
        ConfigError: A type is unknown, or a number is not one.
    """
    for agent_type, count in given.items():
        if agent_type not in AGENT_TYPES:
            raise ConfigError(f"agents_per_update.{agent_type} is not an agent type{nearest(agent_type, AGENT_TYPES)}")
        if type(count) is not int or count < 1:
            raise ConfigError(f"agents_per_update.{agent_type} is {count!r}; it must be a whole number, at least 1")


def check_probe_economies(probes: Mapping[str, Any]) -> None:
    """Check the setting ``probe_economies``, with its defaults filled in; empty for none.

    Raises:
        ConfigError: A key or an agent type is unknown, or the number is not one.
    """
    for key in probes:
        if key not in _PROBE_KEYS:
            known = ", ".join(_PROBE_KEYS)
            raise ConfigError(f"probe_economies.{key} is not one of {known}{nearest(str(key), _PROBE_KEYS)}")
    if probes and (type(probes.get("count")) is not int or probes["count"] < 0):
        raise ConfigError(f"probe_economies.count is {probes.get('count')!r}; it must be a whole number, at least 0")
    if probes and probes["random"] not in AGENT_TYPES:
        known = ", ".join(AGENT_TYPES)
        raise ConfigError(f"probe_economies.random is {probes['random']!r}; it must be one of {known}")
    for learner in probes.get("learners", ()):
        if learner not in AGENT_TYPES or learner == probes["random"]:
            raise ConfigError(f"probe_economies.learners has {learner!r}; name agent types other than the random one")
