"""How agents act: what an action is in each mode, and the actions of single agents checked and gathered.

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
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import model_validator
from torch import Tensor

from rbc_marl.choices import check_actions, check_mapping, check_values, head_sizes
from rbc_marl.config import EconomyConfig
from rbc_marl.errors import ConfigError, first_line, nearest, shown
from rbc_marl.settings import Section

ActionMode = Literal["multidiscrete", "discrete", "box"]
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

# Lists of choices behind them; whom a consumer can work for is no list of the configuration.
_LISTS = {
    "consumer": ("consumption_choices", "hours_choices"),
    "firm": ("price_choices", "wage_choices", "investment_choices"),
    "government": ("income_tax_choices", "corporate_tax_choices"),
}


class ActionSettings(Section):
    """How agents act, and whether they see what is allowed."""

    noun: ClassVar[str] = "an argument of an environment"

    action_mode: ActionMode = "multidiscrete"
    action_mask: bool = False

    @model_validator(mode="after")
    def _check_mask(self) -> Self:
        if self.action_mask and self.action_mode == "box":
            raise ValueError('action_mask is true, and action_mode "box" has no choices to mask; take another mode')
        return self


def check_joint_choices(config: EconomyConfig, agent_types: Iterable[str]) -> None:
    """Refuse the mode "discrete" for agents of types with more than 4,096 joint choices.

    Raises:
        ConfigError: The message names the type, and the lists to shorten.
    """
    for agent_type in agent_types:
        count = joint_choices(config, agent_type)
        if count > MOST_JOINT_CHOICES:
            fewer = "fewer firms (num_firms) or shorter lists of " if agent_type == "consumer" else "shorter lists of "
            lists = [name for name in _LISTS[agent_type] if len(getattr(config, name)) > 1]
            number = f"{count:,}" if count < 10**9 else f"{float(count):.2g}"
            raise ConfigError(
                f'action_mode "discrete" would give each {agent_type} {number} joint choices, of which there '
                f'may be {MOST_JOINT_CHOICES:,}; take {fewer}{", ".join(lists)}, or action_mode "multidiscrete"'
            )


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


def check_batch(
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
    lengths = {agent_type: action_length(config, agent_type, mode) for agent_type in shapes}
    full = {t: shape if (n := lengths[t]) is None else (*shape, n) for t, shape in shapes.items()}
    check_actions(full, actions, "numbers" if mode == "box" else "indices")
    for agent_type, action in actions.items() if mode == "box" else ():
        are_fine = (action.abs() <= 1.0).all()  # no NaN is
        check_values(are_fine, f"an action of {agent_type} holds a number that is not from -1 to 1; clip them")


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


class ActionReader:
    """Turns a dictionary of actions by agent into arrays by agent type."""

    def __init__(
        self,
        config: EconomyConfig,
        names: Mapping[str, list[str]],
        mode: str = "multidiscrete",
    ) -> None:
        """Remember who acts and in which ranges.

        Args:
            config: The economy.
            names: Agents of each type that act, in order.
            mode: The action mode.
        """
        self._names = {agent_type: list(agents) for agent_type, agents in names.items()}
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
            ConfigError: An agent is missing or unknown, or an action is not in its space.
        """
        self._check_agents(actions)
        result = {}
        for agent_type, names in self._names.items():
            gathered = _gather([actions[name] for name in names], names, self._kinds[agent_type])
            result[agent_type] = torch.from_numpy(gathered).unsqueeze(0)
        return result

    def _check_agents(self, actions: Mapping[str, Any]) -> None:
        known = [name for names in self._names.values() for name in names]
        check_mapping(actions)
        if missing := [name for name in known if name not in actions]:
            more = f" (nor for {len(missing) - 1} more)" if len(missing) > 1 else ""
            problem = f"there is no action for {missing[0]}{more}; every agent acts in every period"
        elif len(actions) > len(known):
            stranger = next(name for name in actions if name not in set(known))
            hint = nearest(str(stranger), known)
            problem = f"there is an action for {stranger!r}, which is not an agent{hint}"
        else:
            return
        raise ConfigError(problem)


class _Indices:
    """Indices of choices: how many alternatives there are at each place."""

    dtype = np.int64
    kinds = "iu"
    words = "of integers (indices of choices)"

    def __init__(self, sizes: NDArray[Any]) -> None:
        self.sizes = sizes
        self.shape = sizes.shape
        several = f"{sizes.size} integers: units of each good, hours, employer"
        self.shape_in_words = several if self.shape else "one integer"

    def are_inside(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Which indices are among the alternatives; [...] and broadcast."""
        inside: NDArray[np.bool_] = (values >= 0) & (values < self.sizes)
        return inside

    def range_in_words(self, position: tuple[int, ...]) -> str:
        """What the index at a position of one action can be."""
        return f"from 0 to {self.sizes[position] - 1}"


class _Positions:
    """Numbers from -1 to 1."""

    dtype = np.float32
    kinds = "fiu"
    words = "of numbers from -1 to 1"

    def __init__(self, length: int) -> None:
        self.shape = (length,)
        self.shape_in_words = f"{length} numbers"

    def are_inside(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Which numbers are on the scale."""
        inside: NDArray[np.bool_] = np.abs(values) <= 1  # no NaN is
        return inside

    def range_in_words(self, position: tuple[int, ...]) -> str:
        """What the number at a position of one action can be."""
        return "from -1 to 1"


def _gather(actions: list[Any], names: list[str], kind: _Indices | _Positions) -> NDArray[Any]:
    """Stack the actions of one type [A, ...]; the usual case is checked as a whole, anything else one by one."""
    if any(isinstance(action, np.ma.MaskedArray) for action in actions):  # of which NumPy takes what is missing as well
        return _gather_singly(actions, names, kind)
    try:
        stacked = np.array(actions)
    except Exception:  # of different shapes, or not arrays at all: whatever an object does when asked for its numbers
        return _gather_singly(actions, names, kind)
    is_usual = stacked.shape == (len(names), *kind.shape) and stacked.dtype.kind in kind.kinds
    if is_usual and kind.are_inside(stacked).all():
        return stacked.astype(kind.dtype, copy=False)
    return _gather_singly(actions, names, kind)


def _gather_singly(actions: list[Any], names: list[str], kind: _Indices | _Positions) -> NDArray[Any]:
    arrays = [as_array(action, f"the action of {name}") for action, name in zip(actions, names, strict=True)]
    for array, name in zip(arrays, names, strict=True):
        _check_action(array, name, kind)
    return np.stack(arrays).astype(kind.dtype)


def as_array(values: object, name: str) -> NDArray[Any]:
    """One agent's action, or the mask of a type, as an array.

    Raises:
        ConfigError: It cannot be one: lists of different lengths, a sparse tensor, or an array without some values.
    """
    try:
        if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
            raise ValueError("some of its values are missing")
        return np.asarray(values)
    except Exception as error:  # whatever the object does when it is asked for its numbers
        kind = type(values).__name__
        raise ConfigError(f"{name} is a {kind} that is no array of numbers: {first_line(error)}") from None


def _check_action(action: NDArray[Any], name: str, kind: _Indices | _Positions) -> None:
    """Refuse one agent's action that is not in its space; the message names the agent and the position."""
    position: tuple[int, ...] = ()
    if action.shape != kind.shape:
        problem = f"has shape {action.shape}; it must be {kind.shape_in_words}"
    elif action.dtype.kind not in kind.kinds:
        problem = f"is {shown(action.tolist())}; it must be {kind.words}"
    elif len(outside := np.argwhere(~kind.are_inside(action))):
        position = tuple(outside[0].tolist())
        problem = f"is {action[position]}; it must be {kind.range_in_words(position)}"
    else:
        return
    suffix = f"[{position[0]}]" if position else ""
    raise ConfigError(f"the action{suffix} of {name} {problem}")
