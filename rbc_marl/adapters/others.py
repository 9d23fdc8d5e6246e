"""Who is trained from outside, and who plays the other agents of the economy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.errors import ConfigError, nearest
from rbc_marl.policies import Policies
from rbc_marl.policies.saved import load_policies
from rbc_marl.policies.scripted import RULES, Rules, ScriptedPolicies, UniformPolicies

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
    if isinstance(train_types, str):
        raise ConfigError(f'train_types is "{train_types}"; it must be a list, such as ["{train_types}"]')
    if train_types is not None and not train_types:
        raise ConfigError(f"train_types is empty; name at least one of {', '.join(AGENT_TYPES)}")
    chosen: dict[str, set[int]] = {}
    for name in AGENT_TYPES if train_types is None else train_types:
        if name in AGENT_TYPES:
            chosen.setdefault(name, set()).update(range(config.agents(name)))
            continue
        agent_type, _, number = str(name).rpartition("_")
        if agent_type not in AGENT_TYPES:
            raise ConfigError(
                f"train_types holds {name!r}; it must hold agent types ({', '.join(AGENT_TYPES)}) or agents such as "
                f"firm_0{nearest(str(name), AGENT_TYPES)}"
            )
        if not number.isdecimal() or int(number) >= config.agents(agent_type):
            last = config.agents(agent_type) - 1
            raise ConfigError(f"train_types holds {name!r}; the agents are {agent_type}_0 to {agent_type}_{last}")
        chosen.setdefault(agent_type, set()).add(int(number))
    return {t: tuple(sorted(chosen[t])) for t in AGENT_TYPES if t in chosen}


def resolve_others(
    config: EconomyConfig, others: Others, encoding: str = "symlog", device: torch.device | str = "cpu"
) -> Policies:
    """Whoever plays the agents that are not trained.

    Args:
        config: The economy being played.
        others: The name of rules (a key of `rbc_marl.policies.scripted.RULES`), "random", `Rules` or a mapping of their
            fields, the folder of a checkpoint or of a run, or any `rbc_marl.policies.Policies`.
        encoding: Of the observations.
        device: Where everything is computed.

    Raises:
        ConfigError: They are unknown, or were made for other agents, choices or observations.
        UserError: The checkpoint is damaged.
    """
    if isinstance(others, Path) or (isinstance(others, str) and others not in (*RULES, "random")):
        if not Path(others).is_dir():
            known = ("random", *RULES)
            raise ConfigError(
                f'others is "{others}"; it must be {", ".join(known)}, or the folder of a checkpoint or of a run'
                f"{nearest(str(others), known)}"
            )
        policies: Policies = load_policies(others, device)
    elif others == "random":
        policies = UniformPolicies(config, encoding, device)
    elif isinstance(others, (str, Rules, Mapping)):
        policies = ScriptedPolicies(config, others, encoding, device)
    elif callable(getattr(others, "act", None)):
        policies = others
    else:
        raise ConfigError(f"others is a {type(others).__name__}; give the name of rules, a folder or policies")
    _check_fit(config, policies, encoding, torch.device(device))
    return policies


def _check_fit(config: EconomyConfig, policies: Policies, encoding: str, device: torch.device) -> None:
    for name in _MUST_AGREE:
        mine, theirs = getattr(config, name), getattr(policies.config, name)
        if mine != theirs:
            raise ConfigError(f"others were made for {name} {theirs}, and the economy has {mine}; make them the same")
    if policies.encoding != encoding:
        raise ConfigError(
            f"others read observations in the encoding {policies.encoding}, and the environment gives {encoding}; "
            f'make it with encoding="{policies.encoding}"'
        )
    if policies.device.type != device.type:
        raise ConfigError(f"others are on {policies.device}, and the economy is on {device}; load them there")
