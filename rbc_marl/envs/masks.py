"""Masks over the choices of agents that act by indices: what is allowed, and who broke the rule."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rbc_marl.choices import check_values
from rbc_marl.config import EconomyConfig
from rbc_marl.envs.actions import as_array, index_sizes
from rbc_marl.errors import ConfigError, one_of


class ActionMasks:
    """What each agent type may choose: one entry for each alternative of each of its indices, side by side."""

    def __init__(self, config: EconomyConfig, mode: str, names: Mapping[str, list[str]]) -> None:
        """Allow everything.

        Args:
            config: The economy.
            mode: One of the action modes with indices.
            names: Agents of each type that act.
        """
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
        if not isinstance(masks, Mapping):
            raise ConfigError(f"masks are a {type(masks).__name__}; give a mapping by agent type")
        for name, mask in masks.items():
            agent_type = one_of(name, self._sizes, "the agent type of a mask")
            given, length = as_array(mask, f"the mask of {agent_type}"), sum(self._sizes[agent_type])
            if given.dtype.kind not in "biuf" or not ((given == 0) | (given == 1)).all():
                raise ConfigError(f"the mask of {agent_type} must hold true and false, or 1 and 0")
            allowed = given.astype(bool)
            if allowed.shape != (length,):
                problem = f"has shape {allowed.shape}; it must have ({length},)"
            elif not np.logical_or.reduceat(allowed, self._starts[agent_type]).all():
                problem = "leaves a decision without any choice; allow at least one"
            else:
                checked[agent_type] = allowed.astype(np.int8)
                continue
            raise ConfigError(f"the mask of {agent_type} {problem}")
        self._allowed.update(checked)

    def of(self, agent_type: str) -> NDArray[np.int8]:
        """A copy of the mask of a type: 1 where allowed."""
        return self._allowed[agent_type].copy()

    def check(self, agent_type: str, indices: Tensor) -> None:
        """Refuse what is not allowed: indices [B, A] or [B, A, n]. On an accelerator it is asserted.

        Indices out of range are left to whoever decodes them.

        Raises:
            ConfigError: The message names the agent and its choice.
        """
        sizes = torch.tensor(self._sizes[agent_type], device=indices.device)
        starts = torch.from_numpy(self._starts[agent_type]).to(indices.device)
        allowed = torch.from_numpy(self._allowed[agent_type]).to(indices.device)
        heads = indices.reshape(*indices.shape[:2], len(sizes)).long()
        is_wrong = (allowed[starts + heads.clamp_min(0).minimum(sizes - 1)] == 0) & (heads >= 0) & (heads < sizes)
        problem = f"an action of {agent_type} is one that its action_mask forbids"
        if indices.device.type == "cpu" and is_wrong.any():
            row, agent, head = is_wrong.nonzero()[0].tolist()
            suffix = f"[{head}]" if indices.dim() > 2 else ""
            name, choice = self._names[agent_type][agent], int(heads[row, agent, head])
            problem = f"the action{suffix} of {name} is {choice}, which its action_mask forbids"
        check_values(~is_wrong.any(), problem)

    def draw(self, agent_type: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Uniformly random allowed indices, [*shape, heads] int64, on the generator's device."""
        sizes, heads = self._sizes[agent_type], []
        for mask in torch.from_numpy(self._allowed[agent_type]).to(generator.device).split(sizes):
            drawn = torch.multinomial(mask.float(), prod(shape), replacement=True, generator=generator)
            heads.append(drawn.view(shape))
        return torch.stack(heads, dim=-1)
