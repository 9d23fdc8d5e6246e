"""How an agent states its choice: several indices, one index, or numbers on a continuous scale.

- ``multidiscrete``: the choices of the core. A consumer's are F + 2 indices, a firm's and the government's are one.
- ``discrete``: one index for everything an agent decides. A consumer's counts like a number of F + 2 digits, the first
  good's being the most significant and the employer's the least.
- ``box``: numbers from -1 to 1, each on the scale between the least and the greatest of the configured choices. A
  consumer gives F amounts to buy, hours, and F preferences, of which the greatest names the employer; a firm gives
  price, wage and investment; the government income tax and corporate tax. What lies between two choices is played as it
  is: the economy knows no grid. Gradients are not promised.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from math import prod
from typing import Any, Literal, get_args

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete, Space
from torch import Tensor

from rbc_marl.choices import head_sizes
from rbc_marl.config import EconomyConfig
from rbc_marl.errors import ConfigError, nearest

ActionMode = Literal["multidiscrete", "discrete", "box"]
ACTION_MODES: tuple[str, ...] = get_args(ActionMode)
MOST_JOINT_CHOICES = 4096
# A float32 between -1 and 1 cannot hold most choices exactly: so near to one, as a share of the scale, is that choice.
# It matters: a price a hair below `export_price` sells nothing abroad.
NEAR = 1e-6

FIELDS: dict[str, tuple[str, ...]] = {
    "consumer": ("demand", "hours", "employer"),
    "firm": ("price", "wage", "investment_fraction"),
    "government": ("income_tax", "corporate_tax"),
}
"""Fields of `rbc_marl.economy.Actions` that each agent type decides."""


class MaskedMultiDiscrete(MultiDiscrete):
    """A MultiDiscrete that samples by an agent's ``action_mask``, in which the choices of all heads stand in a row."""

    def sample(self, mask: Any = None, probability: Any = None) -> Any:  # noqa: ANN401 - Gymnasium's signature
        """A sample; ``mask`` is the observed array of 0 and 1, or Gymnasium's tuple of an array for each head."""
        if isinstance(mask, np.ndarray):
            mask = tuple(np.split(mask, np.cumsum(self.nvec)[:-1]))
        return super().sample(mask, probability)


def check_action_mode(config: EconomyConfig, mode: str, agent_types: Iterable[str]) -> str:
    """Return a mode in which agents of some types can act.

    Raises:
        ConfigError: The mode is unknown, or "discrete" would give an agent more than 4,096 joint choices.
    """
    if mode not in ACTION_MODES:
        hint = nearest(str(mode), ACTION_MODES)
        raise ConfigError(f"action_mode is {mode!r}; it must be {', '.join(ACTION_MODES[:-1])} or box{hint}")
    for agent_type in agent_types if mode == "discrete" else ():
        count = joint_choices(config, agent_type)
        if count > MOST_JOINT_CHOICES:
            fewer = "fewer firms (num_firms) or shorter lists of " if agent_type == "consumer" else "shorter lists of "
            lists = [name for name in _LISTS[agent_type] if len(getattr(config, name)) > 1]
            raise ConfigError(
                f'action_mode "discrete" would give each {agent_type} {_count(count)} joint choices, of which there '
                f'may be {MOST_JOINT_CHOICES:,}; take {fewer}{", ".join(lists)}, or action_mode "multidiscrete"'
            )
    return mode


_LISTS = {
    "consumer": ("consumption_choices", "hours_choices"),
    "firm": ("price_choices", "wage_choices", "investment_choices"),
    "government": ("income_tax_choices", "corporate_tax_choices"),
}


def _count(number: int) -> str:
    return f"{number:,}" if number < 10**9 else f"{float(number):.2g}"


def joint_choices(config: EconomyConfig, agent_type: str) -> int:
    """Number of different choices an agent of a type has in a period, everything it decides taken together."""
    return prod(head_sizes(config, agent_type))


def action_length(config: EconomyConfig, agent_type: str, mode: str) -> int | None:
    """Numbers in one agent's action; None where it is a single number without an axis."""
    if mode == "box":
        return 2 * config.num_firms + 1 if agent_type == "consumer" else len(FIELDS[agent_type])
    return config.num_firms + 2 if mode == "multidiscrete" and agent_type == "consumer" else None


def index_sizes(config: EconomyConfig, agent_type: str, mode: str) -> tuple[int, ...]:
    """Alternatives of each index that an agent gives in one of the two modes of indices."""
    return (joint_choices(config, agent_type),) if mode == "discrete" else head_sizes(config, agent_type)


def action_space(config: EconomyConfig, agent_type: str, mode: str, has_mask: bool = False) -> Space[Any]:
    """A new space for the actions of one agent, which may observe an action mask."""
    length = action_length(config, agent_type, mode)
    if mode == "box":
        assert length is not None
        return Box(-1.0, 1.0, (length,), np.float32)
    sizes = index_sizes(config, agent_type, mode)
    if length is None:
        return Discrete(sizes[0])
    return (MaskedMultiDiscrete if has_mask else MultiDiscrete)(list(sizes))


def to_indices(config: EconomyConfig, agent_type: str, joint: Tensor) -> Tensor:
    """Indices of the core from joint ones [...]: [..., F + 2] for consumers, the same again for the others."""
    if agent_type != "consumer":
        return joint
    digits = []
    for size in reversed(head_sizes(config, agent_type)[1:]):
        digits.append(joint % size)
        joint = joint // size
    # The first digit is what remains: that of a joint index out of range is out of range too, and will be refused.
    return torch.stack([joint, *digits[::-1]], dim=-1)


def to_joint(config: EconomyConfig, agent_type: str, indices: Tensor) -> Tensor:
    """The inverse of `to_indices`."""
    if agent_type != "consumer":
        return indices
    joint = torch.zeros_like(indices[..., 0], dtype=torch.int64)
    for head, size in enumerate(head_sizes(config, agent_type)):
        joint = joint * size + indices[..., head]
    return joint


def to_quantities(config: EconomyConfig, agent_type: str, box: Tensor) -> dict[str, Tensor]:
    """Economic quantities of actions in the mode "box".

    Args:
        config: The economy.
        agent_type: Of the agents.
        box: [..., n] from -1 to 1, float.

    Returns:
        The fields of `rbc_marl.economy.Actions` that the type decides: [...] each, a consumer's demand [..., F].
    """
    if agent_type == "consumer":
        firms = config.num_firms
        return {
            "demand": _amount(box[..., :firms], config.consumption_choices),
            "hours": _amount(box[..., firms], config.hours_choices),
            "employer": box[..., firms + 1 :].argmax(dim=-1),
        }
    columns = zip(FIELDS[agent_type], _LISTS[agent_type], box.unbind(-1), strict=True)
    return {field: _amount(column, getattr(config, choices)) for field, choices, column in columns}


def to_box(config: EconomyConfig, agent_type: str, indices: Tensor) -> Tensor:
    """The action in the mode "box" that plays given choices of the core.

    Args:
        config: The economy.
        agent_type: Of the agents.
        indices: [..., F + 2] for consumers, [...] for the others.

    Returns:
        [..., n] float32. A consumer prefers its employer at 1 and all others at -1.
    """
    if agent_type == "consumer":
        firms = config.num_firms
        employer = torch.nn.functional.one_hot(indices[..., -1].long(), firms) * 2.0 - 1.0
        amounts = [_position(indices[..., :firms], config.consumption_choices)]
        return torch.cat([*amounts, _position(indices[..., firms : firms + 1], config.hours_choices), employer], dim=-1)
    columns = []
    for name in reversed(_LISTS[agent_type]):
        choices = getattr(config, name)
        columns.append(_position(indices % len(choices), choices))
        indices = indices // len(choices)
    return torch.stack(columns[::-1], dim=-1)


def check_actions(
    config: EconomyConfig, mode: str, shapes: Mapping[str, tuple[int, int]], actions: Mapping[str, Tensor]
) -> None:
    """Refuse batches of actions of the wrong shape or type; in the mode "box" also what is not from -1 to 1.

    On an accelerator values are asserted, not read. Ranges of indices are checked where they are used.

    Args:
        config: The economy.
        mode: The action mode.
        shapes: (B, A) of each agent type that acts.
        actions: [B, A] or [B, A, n] by type.

    Raises:
        ConfigError: The message names the agent type.
    """
    if actions.keys() != shapes.keys():
        raise ConfigError(f"actions are given for {', '.join(sorted(actions)) or 'nobody'}; give {', '.join(shapes)}")
    for agent_type, shape in shapes.items():
        action, length = actions[agent_type], action_length(config, agent_type, mode)
        expected = shape if length is None else (*shape, length)
        if tuple(action.shape) != expected:
            raise ConfigError(f"actions of {agent_type} have shape {tuple(action.shape)}; they must have {expected}")
        if mode == "box":
            _check_box(agent_type, action)
        elif action.is_floating_point() or action.is_complex() or action.dtype == torch.bool:
            raise ConfigError(f"actions of {agent_type} are {action.dtype}; they must be integers (indices of choices)")


def _check_box(agent_type: str, action: Tensor) -> None:
    if not action.is_floating_point():
        raise ConfigError(f"actions of {agent_type} are {action.dtype}; they must be floating-point numbers")
    is_fine = (action.abs() <= 1.0).all()  # no NaN is
    if action.device.type != "cpu":
        torch._assert_async(is_fine, f"actions of {agent_type} must be from -1 to 1")
    elif not is_fine:
        raise ConfigError(f"an action of {agent_type} holds a number that is not from -1 to 1; clip them")


def _amount(position: Tensor, choices: Sequence[float]) -> Tensor:
    """Amounts at positions from -1 to 1 on the scale of the choices; very near to a choice: that choice."""
    table = _table(tuple(sorted(choices)), position.dtype, position.device)
    low, high = table[0], table[-1]
    amount = (low + (position + 1.0) / 2.0 * (high - low)).clamp(low, high)
    distance, nearest_choice = (amount.unsqueeze(-1) - table).abs().min(dim=-1)
    return torch.where(distance <= NEAR * (high - low), table[nearest_choice], amount)


@lru_cache(maxsize=256)
def _table(choices: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(choices, dtype=dtype, device=device)


def _position(index: Tensor, choices: Sequence[float]) -> Tensor:
    table = torch.tensor(choices, dtype=torch.float64, device=index.device)
    low, high = table.min(), table.max()
    position = (table - low) / (high - low) * 2.0 - 1.0 if high > low else torch.zeros_like(table)
    return position.float()[index.long()]
