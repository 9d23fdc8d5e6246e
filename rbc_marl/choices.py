"""Choices of the agents: tables of economic quantities, indices into them, and masks over them.

Joint indices: a consumer has F consumption heads, an hours head and an employer head; a firm's single index is
``(price_i * n_wage + wage_i) * n_investment + investment_i``; the government's is ``income_i * n_corporate +
corporate_i``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Literal

import torch
from torch import Tensor

from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.economy.state import Actions
from rbc_marl.errors import ConfigError, one_of

# Consumers whose indices are turned around at once: 1 MB of the largest integers, with ten firms.
_AT_ONCE = 2**14
DType = torch.dtype | Literal["indices", "numbers"]


@dataclass(frozen=True)
class ChoiceTables:
    """Economic quantities behind the indices of a configuration."""

    consumption: Tensor
    """[n] units."""
    hours: Tensor
    """[n] hours."""
    firm: Tensor
    """[n, 3] price, wage, investment fraction."""
    government: Tensor
    """[n, 2] income tax, corporate tax."""


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # whoever asks first, others may need gradients
def choice_tables(
    config: EconomyConfig, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> ChoiceTables:
    """The tables of a configuration, built once per device and dtype."""

    def table(rows: object) -> Tensor:
        return torch.tensor(rows, dtype=torch.float64).to(device=device, dtype=dtype)

    return ChoiceTables(
        consumption=table(config.consumption_choices),
        hours=table(config.hours_choices),
        firm=table(list(product(config.price_choices, config.wage_choices, config.investment_choices))),
        government=table(list(product(config.income_tax_choices, config.corporate_tax_choices))),
    )


def head_sizes(config: EconomyConfig, agent_type: str) -> tuple[int, ...]:
    """Number of choices of each decision that an agent of a type takes in a period.

    Returns:
        consumer: F times the consumption choices, then hours, then F employers; firm and government: one joint choice.

    Raises:
        ConfigError: There is no such agent type.
    """
    if one_of(agent_type, AGENT_TYPES, "agent_type") == "consumer":
        goods = (len(config.consumption_choices),) * config.num_firms
        return (*goods, len(config.hours_choices), config.num_firms)
    if agent_type == "firm":
        return (len(config.price_choices) * len(config.wage_choices) * len(config.investment_choices),)
    return (len(config.income_tax_choices) * len(config.corporate_tax_choices),)


def index_dtype(head_sizes: Sequence[int]) -> torch.dtype:
    """The smallest integer type that holds every index of some heads."""
    return torch.uint8 if max(head_sizes) <= 256 else torch.int16 if max(head_sizes) <= 32767 else torch.int32


def decode(
    config: EconomyConfig,
    *,
    consumer: Tensor,
    firm: Tensor,
    government: Tensor,
    dtype: torch.dtype = torch.float32,
) -> Actions:
    """Turn indices into economic quantities.

    Args:
        config: The economy.
        consumer: [B, C, F + 2] integers: consumption of each good, hours, employer.
        firm: [B, F] integers, joint index of price, wage and investment.
        government: [B] integers, joint index of income and corporate tax.
        dtype: Type of the quantities.

    Returns:
        The actions. Indices are not checked here (that would read tensors on the host): see `check_indices`.
    """
    tables = choice_tables(config, consumer.device, dtype)
    firms = config.num_firms
    # Contiguous: with strided prices the batched products of the goods market take ten times as long, and what gathers
    # at strided indices takes twice as long as with a copy of them.
    price, wage, investment_fraction = _rows(tables.firm, firm).movedim(-1, 0).contiguous()
    income_tax, corporate_tax = _rows(tables.government, government).movedim(-1, 0).contiguous()
    by_head = _consumers_last(consumer)  # as the goods market works on it
    hours, employer = by_head[:, firms:].movedim(1, 0).contiguous()
    return Actions(
        demand=_rows(tables.consumption, by_head[:, :firms]).transpose(1, 2),
        hours=_rows(tables.hours, hours),
        employer=employer.long(),
        price=price,
        wage=wage,
        investment_fraction=investment_fraction,
        income_tax=income_tax,
        corporate_tax=corporate_tax,
    )


def _consumers_last(index: Tensor) -> Tensor:
    """Indices [B, C, H] as [B, H, C]; of many consumers a copy that is made while some of them are in the cache."""
    if index.shape[1] <= _AT_ONCE:
        return index.transpose(1, 2)
    return torch.cat([part.transpose(1, 2) for part in index.split(_AT_ONCE, dim=1)], dim=2)


def _rows(table: Tensor, index: Tensor) -> Tensor:
    """Rows of a table: table [n, ...], index [...] -> [..., ...]. index_select is the fastest gather on a CPU."""
    flat = index.reshape(-1)
    flat = flat if flat.dtype in (torch.int32, torch.int64) else flat.int()
    return table.index_select(0, flat).reshape(*index.shape, *table.shape[1:])


def sample_indices(
    config: EconomyConfig, num_envs: int, generator: torch.Generator, device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """Uniformly random indices for every agent: consumer [B, C, F + 2], firm [B, F], government [B], int64."""

    def draw(size: int, *shape: int) -> Tensor:
        return torch.randint(size, (num_envs, *shape), generator=generator, device=device)

    consumers, firms = config.num_consumers, config.num_firms
    hours = draw(len(config.hours_choices), consumers, 1)
    employer = draw(firms, consumers, 1)
    demand = draw(len(config.consumption_choices), consumers, firms)
    return {
        "consumer": torch.cat([demand, hours, employer], dim=-1),
        "firm": draw(head_sizes(config, "firm")[0], firms),
        "government": draw(head_sizes(config, "government")[0]),
    }


def index_shapes(config: EconomyConfig, num_envs: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the index tensors of each agent type."""
    consumers, firms = config.num_consumers, config.num_firms
    return {"consumer": (num_envs, consumers, firms + 2), "firm": (num_envs, firms), "government": (num_envs,)}


def check_shapes(config: EconomyConfig, num_envs: int, indices: Mapping[str, Tensor]) -> None:
    """Refuse index tensors of the wrong shape or type, without reading their values.

    Raises:
        ConfigError: An agent type is missing or unknown, or a tensor has the wrong shape or is not of integers.
    """
    check_actions(index_shapes(config, num_envs), indices)


def check_actions(
    shapes: Mapping[str, tuple[int, ...]], actions: Mapping[str, Tensor], dtype: DType = "indices"
) -> None:
    """Refuse actions of the wrong agent types, shape or type, without reading their values.

    Args:
        shapes: Of each agent type that acts.
        actions: By agent type.
        dtype: What they hold: "indices" (integers of any type), "numbers" (of any floating-point type) or one type.

    Raises:
        ConfigError: The message names the agent type.
    """
    check_mapping(actions)
    if actions.keys() != shapes.keys():
        named = ", ".join(map(str, actions)) or "nobody"
        raise ConfigError(f"actions are given for {named}; give {', '.join(shapes)}")
    for agent_type, shape in shapes.items():
        _check_tensor(f"actions of {agent_type}", actions[agent_type], shape, dtype)


def check_mapping(actions: object) -> None:
    """Refuse actions that are no mapping, at whatever door they come in.

    Raises:
        ConfigError: They are something else.
    """
    if not isinstance(actions, Mapping):
        raise ConfigError(f"actions are a {type(actions).__name__}; give a mapping, by agent or by agent type")


def _check_tensor(name: str, tensor: object, shape: tuple[int, ...], dtype: DType) -> None:
    """Refuse a tensor of the wrong shape or type; ``name``, a plural, begins the message."""
    if not isinstance(tensor, Tensor):
        problem = f"are a {type(tensor).__name__}; give a torch tensor"
    elif tensor.layout is not torch.strided or tensor.is_quantized:
        problem = f"are {tensor.layout}, which has no value at every place; give a dense tensor"
    elif tuple(tensor.shape) != shape:
        problem = f"have shape {tuple(tensor.shape)}; they must have shape {shape}"
    elif not _has_dtype(tensor, dtype):
        kinds = {"indices": "integers (indices of choices)", "numbers": "floating-point numbers"}
        problem = f"are {tensor.dtype}; they must be {kinds.get(str(dtype), dtype)}"
    else:
        return
    raise ConfigError(f"{name} {problem}")


def _has_dtype(tensor: Tensor, dtype: DType) -> bool:
    if dtype == "numbers":
        return tensor.is_floating_point()
    if dtype == "indices":
        return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
    return tensor.dtype == dtype


def check_values(are_fine: Tensor, problem: str) -> None:
    """Refuse values that cannot be. On an accelerator they are asserted: to read them would stall every step.

    Args:
        are_fine: A single bool.
        problem: What to say where it is false.

    Raises:
        ConfigError: It is false.
    """
    if are_fine.device.type != "cpu":
        torch._assert_async(are_fine, problem)
    elif not are_fine:
        raise ConfigError(problem)


def check_ranges(config: EconomyConfig, indices: Mapping[str, Tensor]) -> None:
    """Refuse indices outside their choices. Reads the tensors on the host.

    Raises:
        ConfigError: An index is negative or too large; the message names the agent type and the choice.
    """
    for agent_type in AGENT_TYPES:
        sizes = head_sizes(config, agent_type)
        index = indices[agent_type].reshape(-1, len(sizes))
        lowest, highest = index.amin(0).tolist(), index.amax(0).tolist()
        for head, (low, high, size) in enumerate(zip(lowest, highest, sizes, strict=True)):
            if low < 0 or high >= size:
                raise ConfigError(
                    f"an index of {_head_name(config, agent_type, head)} is {low if low < 0 else high}; "
                    f"it must be from 0 to {size - 1}"
                )


def check_quantities(config: EconomyConfig, num_envs: int, actions: Actions, dtype: torch.dtype) -> None:
    """Refuse economic quantities that no agent can decide for. On an accelerator values are asserted, not read.

    Raises:
        ConfigError: A quantity has the wrong shape or type, is not finite or is out of its range; the message names it.
    """
    consumers, firms = config.num_consumers, config.num_firms
    by_type = {"consumer": (num_envs, consumers), "firm": (num_envs, firms), "government": (num_envs,)}
    for name, (agent_type, highest) in _QUANTITIES.items():
        quantity: Tensor = getattr(actions, name)
        shape = (*by_type[agent_type], firms) if name == "demand" else by_type[agent_type]
        _check_tensor(f"values of {name}", quantity, shape, torch.int64 if name == "employer" else dtype)
        most = firms - 1 if name == "employer" else highest
        upper = "finite" if most == torch.finfo(torch.float32).max else f"at most {most:g}"
        check_values(
            ((quantity >= 0) & (quantity <= most)).all(),
            f"{name} holds a value that cannot be; every one must be at least 0 and {upper}",
        )


# Economic quantities: who decides, and the most there can be. No NaN lies below any number.
_QUANTITIES = {
    "demand": ("consumer", torch.finfo(torch.float32).max),
    "hours": ("consumer", torch.finfo(torch.float32).max),
    "employer": ("consumer", 0),
    "price": ("firm", torch.finfo(torch.float32).max),
    "wage": ("firm", torch.finfo(torch.float32).max),
    "investment_fraction": ("firm", 1.0),
    "income_tax": ("government", 1.0),
    "corporate_tax": ("government", 1.0),
}


def _head_name(config: EconomyConfig, agent_type: str, head: int) -> str:
    """What a head decides, in words."""
    if agent_type != "consumer":
        return "a firm's joint choice" if agent_type == "firm" else "the government's joint choice"
    if head < config.num_firms:
        return f"a consumer's demand for good {head}"
    return "a consumer's hours" if head == config.num_firms else "a consumer's employer"


def firm_mask(config: EconomyConfig, price: tuple[float, float], wage: tuple[float, float]) -> Tensor:
    """Joint choices of a firm [n] (bool) whose price and wage lie within closed ranges."""
    table = choice_tables(config, dtype=torch.float64).firm
    low_price, high_price = price
    low_wage, high_wage = wage
    return (
        (table[:, 0] >= low_price)
        & (table[:, 0] <= high_price)
        & (table[:, 1] >= low_wage)
        & (table[:, 1] <= high_wage)
    )


def government_mask(config: EconomyConfig, highest_rate: float) -> Tensor:
    """Joint choices of the government [n] (bool) with both tax rates at most ``highest_rate``."""
    table = choice_tables(config, dtype=torch.float64).government
    return (table <= highest_rate).all(dim=-1)


def fixed_government_mask(config: EconomyConfig, rates: tuple[float, float], highest_rate: float) -> Tensor:
    """One joint choice of the government [n] (bool): the rates, as far as they are open.

    Of each tax it allows the largest choice that is neither above its rate nor above ``highest_rate``; nothing where
    there is none.

    Args:
        config: The economy.
        rates: Income tax, corporate tax.
        highest_rate: Highest rate of either tax that is open.
    """
    table = choice_tables(config, dtype=torch.float64).government
    mask = torch.ones(len(table), dtype=torch.bool)
    for column, rate in enumerate(rates):
        choices = table[:, column]
        allowed = choices[choices <= min(rate, highest_rate)]
        mask &= choices == allowed.max() if len(allowed) else torch.zeros_like(mask)
    return mask
