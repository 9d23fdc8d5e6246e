"""Masks over the choices of agents that act by indices: what is allowed, and who broke the rule."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rbc_marl.adapters.action_modes import index_sizes
from rbc_marl.config import EconomyConfig
from rbc_marl.errors import ConfigError


class ActionMasks:
    """What each agent type may choose: one entry for each alternative of each of its indices, side by side."""

    def __init__(self, config: EconomyConfig, mode: str, names: Mapping[str, list[str]]) -> None:
        """Allow everything.

        Raises:
            ConfigError: The mode has no choices that a mask could name.
        """
        if mode == "box":
            raise ConfigError('action_mask is true, and action_mode "box" has no choices to mask; take another mode')
        self._names = names
        self._sizes = {agent_type: index_sizes(config, agent_type, mode) for agent_type in names}
        self._starts = {t: np.cumsum((0, *sizes[:-1])) for t, sizes in self._sizes.items()}
        self._allowed = {t: np.ones(sum(sizes), np.int8) for t, sizes in self._sizes.items()}

    def set(self, masks: Mapping[str, Any]) -> None:
        """Take over masks of some agent types; the others keep theirs.

        Raises:
            ConfigError: A type is not played, a mask has the wrong length, or leaves no choice.
        """
        checked = {}
        for agent_type, mask in masks.items():
            if agent_type not in self._sizes:
                raise ConfigError(f"there is a mask for {agent_type!r}; masks are for {', '.join(self._sizes)}")
            allowed = np.asarray(mask).astype(bool)
            sizes = self._sizes[agent_type]
            if allowed.shape != (sum(sizes),):
                raise ConfigError(f"the mask of {agent_type} has shape {allowed.shape}; it must have ({sum(sizes)},)")
            if not np.logical_or.reduceat(allowed, self._starts[agent_type]).all():
                raise ConfigError(f"the mask of {agent_type} leaves a decision without any choice; allow at least one")
            checked[agent_type] = allowed.astype(np.int8)
        self._allowed.update(checked)

    def of(self, agent_type: str) -> NDArray[np.int8]:
        """A copy of the mask of a type: 1 where allowed."""
        return self._allowed[agent_type].copy()

    def check_batch(self, agent_type: str, indices: Tensor) -> None:
        """Refuse what is not allowed in a batch: indices [B, A] or [B, A, n]. On an accelerator it is asserted.

        Indices out of range are left to whoever decodes them.

        Raises:
            ConfigError: Some agent of the type chose what its mask forbids.
        """
        sizes = self._sizes[agent_type]
        allowed = torch.from_numpy(self._allowed[agent_type]).to(indices.device)
        heads = indices.reshape(-1, len(sizes)).unbind(-1)
        for size, head, mask in zip(sizes, heads, allowed.split(sizes), strict=True):
            is_fine = ((mask[head.clamp(0, size - 1)] == 1) | (head < 0) | (head >= size)).all()
            if indices.device.type != "cpu":
                torch._assert_async(is_fine, f"an action of {agent_type} is one that the action mask forbids")
            elif not is_fine:
                raise ConfigError(f"an action of {agent_type} is one that the action mask forbids")

    def draw(self, agent_type: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Uniformly random allowed indices, [*shape, heads] int64, on the generator's device."""
        sizes, heads = self._sizes[agent_type], []
        for mask in torch.from_numpy(self._allowed[agent_type]).to(generator.device).split(sizes):
            drawn = torch.multinomial(mask.float(), prod(shape), replacement=True, generator=generator)
            heads.append(drawn.view(shape))
        return torch.stack(heads, dim=-1)

    def check(self, agent_type: str, indices: NDArray[np.int64]) -> None:
        """Refuse what is not allowed: indices [A] or [A, n] within their ranges.

        Raises:
            ConfigError: The message names the agent and its choice.
        """
        places = indices.reshape(len(indices), -1) + self._starts[agent_type]
        wrong = np.argwhere(self._allowed[agent_type][places] == 0)
        if len(wrong):
            agent, head = wrong[0]
            where = f"[{head}]" if indices.ndim > 1 else ""
            choice = indices.reshape(len(indices), -1)[agent, head]
            name = self._names[agent_type][agent]
            raise ConfigError(f"the action{where} of {name} is {choice}, which its action_mask forbids")
