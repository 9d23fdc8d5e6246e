"""Who is trained from outside, and who plays the other agents of the economy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.errors import ConfigError, nearest, shown
from rbc_marl.policies import Policies
from rbc_marl.policies.imposed import as_trained
from rbc_marl.policies.saved import load_policies
from rbc_marl.policies.scripted import RULES, Rules, ScriptedPolicies, UniformPolicies
from rbc_marl.presets import zoo

Others = Policies | Rules | Mapping[str, Any] | str | Path
# What must be the same in the economy being played and in the one that policies were made for: numbers of agents, and
# the lists of choices behind the indices.
_MUST_AGREE = (
    "num_consumers",
    "num_firms",
    "consumption_choices",
    "hours_choices",
    "price_choices",
    "wage_choices",
    "investment_choices",
    "income_tax_choices",
    "corporate_tax_choices",
)


def trained_agents(config: EconomyConfig, train_types: Sequence[str] | None) -> dict[str, tuple[int, ...]]:
    """Numbers of the agents that are trained, by type, in the usual order; types without any are left out.

    Args:
        config: The economy.
        train_types: Agent types ("consumer"), single agents ("firm_3"), or None for everybody.

    Raises:
        ConfigError: A name is unknown, or nobody is named.
    """
    if train_types is None:
        train_types = AGENT_TYPES
    if not isinstance(train_types, (list, tuple, set, frozenset)) or not train_types:
        example = train_types if isinstance(train_types, str) and train_types else AGENT_TYPES[0]
        raise ConfigError(f'train_types is {shown(train_types)}; it must be a list, such as ["{example}"]')
    numbers: dict[str, set[int]] = {}
    for name in train_types:
        agent_type, _, number = str(name).rpartition("_")
        if isinstance(name, str) and name in AGENT_TYPES:
            numbers.setdefault(name, set()).update(range(config.agents(name)))
        elif agent_type in AGENT_TYPES and number.isdecimal() and int(number) < config.agents(agent_type):
            numbers.setdefault(agent_type, set()).add(int(number))
        else:
            ranges = ", ".join(f"{t}_0 to {t}_{config.agents(t) - 1}" for t in ("consumer", "firm"))
            allowed = f"agent types ({', '.join(AGENT_TYPES)}) or agents ({ranges}, government_0)"
            near = nearest(str(name), AGENT_TYPES)
            raise ConfigError(f"train_types holds {shown(name)}; it must hold {allowed}{near}")
    return {t: tuple(sorted(numbers[t])) for t in AGENT_TYPES if t in numbers}


def resolve_others(
    config: EconomyConfig, others: Others, encoding: str = "symlog", device: torch.device | str = "cpu"
) -> Policies:
    """Whoever plays the agents that are not trained.

    Args:
        config: The economy being played.
        others: The name of rules (a key of `rbc_marl.policies.scripted.RULES`), "random", `Rules` or a mapping of their
            fields, the name of policies that travel with the package, the folder of a checkpoint or of a run, with what
            its training imposed, or any `rbc_marl.policies.Policies`.
        encoding: Of the observations.
        device: Where everything is computed.

    Raises:
        ConfigError: They are unknown, or were made for other agents, choices or observations.
        UserError: The checkpoint is damaged.
    """
    policies: Policies
    if isinstance(others, str) and others == "random":
        policies = UniformPolicies(config, encoding, device)
    elif isinstance(others, (Rules, Mapping)) or (isinstance(others, str) and others in RULES):
        policies = ScriptedPolicies(config, others, encoding, device)
    elif isinstance(others, (str, Path)) and (Path(others).is_dir() or str(others) in zoo()):
        policies = as_trained(load_policies(others, device))
    elif not isinstance(others, (str, Path)) and callable(getattr(others, "act", None)):
        policies = others
    else:
        names = ("random", *RULES, *zoo())
        given, near = str(others) if isinstance(others, Path) else shown(others), nearest(str(others), names)
        allowed = f"{', '.join(names)}, the folder of a checkpoint or of a run, or policies"
        raise ConfigError(f"others is {given}; it must be {allowed}{near}")
    _check_fit(config, policies, encoding, torch.device(device))
    return policies


def _check_fit(config: EconomyConfig, policies: Policies, encoding: str, device: torch.device) -> None:
    """Refuse policies that were made for other agents, choices or observations, or are on another device."""
    pairs = {name: (getattr(policies.config, name), getattr(config, name)) for name in _MUST_AGREE}
    pairs |= {"encoding": (policies.encoding, encoding), "device": (policies.device.type, device.type)}
    mends = {"encoding": f'make it with encoding="{policies.encoding}"', "device": "load them there"}
    for name, (theirs, own) in pairs.items():
        if theirs != own:
            mend = mends.get(name, "make them the same")
            raise ConfigError(f"others were made for {name} {theirs}, and the economy has {own}; {mend}")
