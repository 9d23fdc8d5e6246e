"""Actions of single agents, checked and gathered into one tensor for each agent type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rbc_marl.adapters.action_modes import action_length, index_sizes
from rbc_marl.adapters.masks import ActionMasks
from rbc_marl.config import EconomyConfig
from rbc_marl.errors import ConfigError, nearest


class ActionReader:
    """Turns a dictionary of actions by agent into arrays by agent type."""

    def __init__(
        self,
        config: EconomyConfig,
        names: Mapping[str, list[str]],
        mode: str = "multidiscrete",
        masks: ActionMasks | None = None,
    ) -> None:
        """Remember who acts and in which ranges.

        Args:
            config: The economy.
            names: Agents of each type that act, in order.
            mode: The action mode.
            masks: What they may choose; None: everything.
        """
        self._names = {agent_type: list(agents) for agent_type, agents in names.items()}
        self._masks = masks
        self._kinds: dict[str, _Indices | _Positions] = {}
        for agent_type in names:
            length = action_length(config, agent_type, mode)
            if mode == "box":
                assert length is not None
                self._kinds[agent_type] = _Positions(length)
            else:
                sizes = np.array(index_sizes(config, agent_type, mode))
                self._kinds[agent_type] = _Indices(sizes if length is not None else sizes.reshape(()))

    def __call__(self, actions: Mapping[str, Any]) -> dict[str, Tensor]:
        """Check and gather.

        Args:
            actions: One action for each agent that acts.

        Returns:
            By type, on the CPU, with a batch axis of 1: [1, A] or [1, A, n], int64, or float32 in the mode "box".

        Raises:
            ConfigError: An agent is missing or unknown, or an action is not in its space or forbidden by its mask.
        """
        self._check_agents(actions)
        result = {}
        for agent_type, names in self._names.items():
            gathered = _gather([actions[name] for name in names], names, self._kinds[agent_type])
            if self._masks is not None:
                self._masks.check(agent_type, gathered)
            result[agent_type] = torch.from_numpy(gathered).unsqueeze(0)
        return result

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


class _Indices:
    """Indices of choices: how many alternatives there are at each place."""

    dtype = np.int64

    def __init__(self, sizes: NDArray[Any]) -> None:
        self.sizes = sizes
        self.shape = sizes.shape

    def contain(self, stacked: NDArray[Any]) -> bool:
        """Whether actions of the right shape [A, ...] are all fine."""
        return bool(stacked.dtype.kind in "iu" and (stacked >= 0).all() and (stacked < self.sizes).all())

    def complain(self, action: NDArray[Any], name: str) -> None:
        """Say what is wrong with one agent's action, if anything is."""
        if action.shape != self.shape:
            several = f"{self.sizes.size} integers: units of each good, hours, employer"
            expected = several if self.shape else "one integer"
            raise ConfigError(f"the action of {name} has shape {action.shape}; it must be {expected}")
        if action.dtype.kind not in "iu":
            given = repr(action.tolist())
            raise ConfigError(f"the action of {name} is {given}; it must be of integers (indices of choices)")
        wrong = np.argwhere((action < 0) | (action >= self.sizes))
        if len(wrong):
            place = tuple(wrong[0])
            where, most = f"[{place[0]}]" if place else "", self.sizes[place] - 1
            raise ConfigError(f"the action{where} of {name} is {action[place]}; it must be from 0 to {most}")


class _Positions:
    """Numbers from -1 to 1."""

    dtype = np.float32

    def __init__(self, length: int) -> None:
        self.shape = (length,)

    def contain(self, stacked: NDArray[Any]) -> bool:
        """Whether actions of the right shape [A, n] are all fine."""
        return bool(stacked.dtype.kind in "fiu" and (np.abs(stacked) <= 1).all())  # no NaN is

    def complain(self, action: NDArray[Any], name: str) -> None:
        """Say what is wrong with one agent's action, if anything is."""
        if action.shape != self.shape:
            raise ConfigError(f"the action of {name} has shape {action.shape}; it must be {self.shape[0]} numbers")
        if action.dtype.kind not in "fiu":
            raise ConfigError(f"the action of {name} is {action.tolist()!r}; it must be of numbers from -1 to 1")
        for place in np.flatnonzero(~(np.abs(action) <= 1)):
            raise ConfigError(f"the action[{place}] of {name} is {action[place]}; it must be from -1 to 1")


def _gather(actions: list[Any], names: list[str], kind: _Indices | _Positions) -> NDArray[Any]:
    """Stack the actions of one type [A, ...]; the usual case is checked as a whole, anything else one by one."""
    try:
        stacked = np.array(actions)
    except (ValueError, TypeError, RuntimeError):  # of different shapes, or not arrays at all
        return _gather_singly(actions, names, kind)
    if stacked.shape == (len(names), *kind.shape) and kind.contain(stacked):
        return stacked.astype(kind.dtype, copy=False)
    return _gather_singly(actions, names, kind)


def _gather_singly(actions: list[Any], names: list[str], kind: _Indices | _Positions) -> NDArray[Any]:
    arrays = [np.asarray(action) for action in actions]
    for array, name in zip(arrays, names, strict=True):
        kind.complain(array, name)
    return np.stack(arrays).astype(kind.dtype)
