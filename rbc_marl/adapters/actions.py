"""Actions of single agents, checked and gathered into the index tensors of the core."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rbc_marl.choices import head_sizes
from rbc_marl.config import EconomyConfig
from rbc_marl.errors import ConfigError, nearest

Indices = NDArray[np.int64]


class ActionReader:
    """Turns a dictionary of actions by agent into indices by agent type."""

    def __init__(self, config: EconomyConfig, names: Mapping[str, list[str]]) -> None:
        """Remember who acts and in which ranges.

        Args:
            config: The economy.
            names: Agents of each type, in order.
        """
        self._names = {agent_type: list(agents) for agent_type, agents in names.items()}
        self._sizes = {
            agent_type: np.array(head_sizes(config, agent_type)).reshape(_shape(agent_type, config))
            for agent_type in names
        }

    def __call__(self, actions: Mapping[str, Any]) -> dict[str, Tensor]:
        """Check and gather.

        Args:
            actions: One action for each agent: F + 2 integers for a consumer, one for a firm or the government.

        Returns:
            "consumer" [1, C, F + 2], "firm" [1, F], "government" [1], int64, on the CPU.

        Raises:
            ConfigError: An agent is missing or unknown, or an action is not in its space.
        """
        self._check_agents(actions)
        gathered = {
            agent_type: torch.from_numpy(_gather([actions[name] for name in names], names, self._sizes[agent_type]))
            for agent_type, names in self._names.items()
        }
        return {
            "consumer": gathered["consumer"].unsqueeze(0),
            "firm": gathered["firm"].unsqueeze(0),
            "government": gathered["government"],
        }

    def _check_agents(self, actions: Mapping[str, Any]) -> None:
        if not isinstance(actions, Mapping):
            raise ConfigError(f"actions are a {type(actions).__name__}; give a mapping of agents to actions")
        known = [name for names in self._names.values() for name in names]
        missing = [name for name in known if name not in actions]
        if missing:
            more = f" (nor for {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise ConfigError(f"there is no action for {missing[0]}{more}; every agent acts in every period")
        if len(actions) > len(known):
            stranger = next(name for name in actions if name not in set(known))
            hint = nearest(str(stranger), known)
            raise ConfigError(f"there is an action for {stranger!r}, which is not an agent{hint}")


def _shape(agent_type: str, config: EconomyConfig) -> tuple[int, ...]:
    return (config.num_firms + 2,) if agent_type == "consumer" else ()


def _gather(actions: list[Any], names: list[str], sizes: NDArray[Any]) -> Indices:
    """Stack the actions of one type [A, ...]; the usual case is checked as a whole, anything else one by one."""
    try:
        stacked = np.array(actions)
    except (ValueError, TypeError, RuntimeError):  # of different shapes, or not arrays at all
        return _gather_singly(actions, names, sizes)
    is_usual = stacked.dtype.kind in "iu" and stacked.shape == (len(names), *sizes.shape)
    if is_usual and (stacked >= 0).all() and (stacked < sizes).all():
        return stacked.astype(np.int64, copy=False)
    return _gather_singly(actions, names, sizes)


def _gather_singly(actions: list[Any], names: list[str], sizes: NDArray[Any]) -> Indices:
    checked = [_check(np.asarray(action), name, sizes) for action, name in zip(actions, names, strict=True)]
    return np.stack(checked).astype(np.int64)


def _check(action: NDArray[Any], name: str, sizes: NDArray[Any]) -> NDArray[Any]:
    """Return one agent's action unchanged, or say what is wrong with it."""
    if action.shape != sizes.shape:
        expected = f"{sizes.size} integers: units of each good, hours, employer" if sizes.shape else "one integer"
        raise ConfigError(f"the action of {name} has shape {action.shape}; it must be {expected}")
    if action.dtype.kind not in "iu":
        raise ConfigError(f"the action of {name} is {action.tolist()!r}; it must be of integers (indices of choices)")
    wrong = np.argwhere((action < 0) | (action >= sizes))
    if len(wrong):
        place = tuple(wrong[0])
        where = f"[{place[0]}]" if place else ""
        raise ConfigError(f"the action{where} of {name} is {action[place]}; it must be from 0 to {sizes[place] - 1}")
    return action
