"""Who plays whom: a module for each agent type, one for a single agent that deviates, and rules for types without one.

The deviating agent acts through a module of its own, "deviator", in the midst of the others of its type. Everybody
still draws in one go: whoever does not deviate draws the same random numbers with a deviator as without.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.errors import ConfigError, nearest
from rbc_marl.policies.build import check_network_spec
from rbc_marl.policies.scripted import resolve_rules

DEVIATOR = "deviator"
_KEYS = ("type", "agent", "network")


def module_ids(config: Any) -> tuple[str, ...]:  # noqa: ANN401 - an AlgorithmConfig
    """Names of the modules of an algorithm: the agent types, and the deviator where there is one."""
    return (*AGENT_TYPES, DEVIATOR) if getattr(config, "deviator", None) else AGENT_TYPES


def agent_type_of(config: Any, module_id: str) -> str:  # noqa: ANN401 - an AlgorithmConfig
    """The agent type that a module acts for."""
    return str(config.deviator["type"]) if module_id == DEVIATOR else module_id


def check_deviator(given: Any) -> dict[str, Any]:  # noqa: ANN401 - from a file
    """The checked form of the setting ``deviator``; empty for none.

    Raises:
        ConfigError: It is not a mapping of a type of many agents and a number, a key is unknown, or its network is.
    """
    if not given:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"deviator is {given!r}; it must be a mapping, such as {{type: consumer, agent: 37}}")
    for key in given:
        if key not in _KEYS:
            raise ConfigError(f"deviator.{key} is not one of {', '.join(_KEYS)}{nearest(str(key), _KEYS)}")
    agent_type, agent = given.get("type"), given.get("agent")
    if agent_type not in ("consumer", "firm"):
        mend = nearest(str(agent_type), AGENT_TYPES[:2])
        raise ConfigError(f"deviator.type is {agent_type!r}; it must be consumer or firm{mend}")
    if type(agent) is not int or agent < 0:
        raise ConfigError(f"deviator.agent is {agent!r}; it must be a whole number, at least 0")
    if "network" in given:
        check_network_spec(given["network"], "deviator.network")
    return dict(given)


def check_scripted(given: Any) -> dict[str, Any]:  # noqa: ANN401 - from a file
    """The checked form of the setting ``scripted``: rules by agent type; empty for none.

    Raises:
        ConfigError: It is not a mapping, an agent type is unknown, or rules are.
    """
    if not given:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"scripted is {given!r}; it must be a mapping, such as {{firm: monopoly}}")
    for agent_type, rules in given.items():
        if agent_type not in AGENT_TYPES:
            raise ConfigError(f"scripted.{agent_type} is not an agent type{nearest(str(agent_type), AGENT_TYPES)}")
        try:
            resolve_rules(rules)
        except ConfigError as error:
            raise ConfigError(f"scripted.{agent_type}: {error}") from None
    return dict(given)


def check_roles(config: Any, economy: EconomyConfig) -> None:  # noqa: ANN401 - an AlgorithmConfig
    """Check the roles against the economy, and that somebody is left to learn.

    Raises:
        ConfigError: The deviator is not in the economy, or all that would learn follow rules.
    """
    if config.deviator:
        agent_type, agent = config.deviator["type"], config.deviator["agent"]
        agents = economy.agents(agent_type)
        if agent >= agents:
            raise ConfigError(
                f"deviator.agent is {agent}; the {agents} agents of type {agent_type} are numbered "
                f"from 0 to {agents - 1}"
            )
    learners = config.policies_to_train
    named = module_ids(config) if learners is None or callable(learners) else learners
    if all(module_id in config.scripted for module_id in named):
        raise ConfigError(f"scripted leaves nobody to learn: {', '.join(sorted(named))} follow rules")
