"""Numbers of an economy that can differ between the economies of a batch, and change from phase to phase.

A configuration is one economy. Beside it, some of its numbers can be given again: a number for a whole batch, or a
tensor [B] with each economy's own. What is not given is the configuration's own, and where nothing is, nothing is
computed for it. Shapes, endowments and what agents can choose stay the configuration's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from rbc_marl.config import EconomyConfig, Money
from rbc_marl.errors import ConfigError, nearest, shown
from rbc_marl.mechanics.numbers import beside as beside
from rbc_marl.mechanics.numbers import is_off as is_off
from rbc_marl.settings import plain

Number = float | Tensor
"""A number of a whole batch, or a tensor: [B] where users give it, a column [..., 1] where formulas read it."""


@dataclass(frozen=True)
class Parameters:
    """The numbers that a period reads, under the names of `EconomyConfig`: each a number or a column [..., 1]."""

    export_price: Number
    export_quota: Number
    crra: Number
    interest_rate: Number
    labour_floor: Number
    technology: Number
    consumer_grant: Number
    dividend_share: Number
    depreciation: Number
    consumption_tax: Number
    firm_welfare_weight: Number
    revenue_bonus: Number
    consumer_debt_penalty: Number
    firm_debt_penalty: Number
    consumer_debt_scale: Number
    firm_debt_scale: Number


Numbers = EconomyConfig | Parameters
"""Where a period reads its numbers: in the configuration, unless some are given again."""

# What a period reads.
_NAMES = tuple(field.name for field in fields(Parameters))
# A factor on every consumer's disutility of labour, which an episode starts with.
LABOUR_DISUTILITY_SCALE = "labour_disutility_scale"
PARAMETERS = (*_NAMES, LABOUR_DISUTILITY_SCALE)
"""Names of all numbers that can vary."""

_REASONS = {
    "num_consumers num_firms horizon": "it sets the shapes of tensors",
    "open_economy": "it is no number; let export_quota fall to 0",
    "start": "it is no number; give other states",
    "shocks": "they are no number; vary the number that they move",
    "welfare": "it is no number; vary firm_welfare_weight",
    "market firm_objective": "it is no number",
    "discount": "it weighs rewards, which learning must know",
    "utility": "it is no number; vary crra",
    "production": "it is no number; vary technology",
    "disutility": "it is no number; vary labour_disutility_scale",
    "wage_tax transfers": "they are no numbers; vary consumption_tax",
    "labour_disutility labour_disutility_pareto_shape": "consumers differ in it; vary labour_disutility_scale",
    "labour_exponent": "firms differ in it; vary technology",
    "initial_price initial_wage initial_inventory initial_consumer_budget initial_firm_budget initial_capital": (
        "episodes start with it, and no period reads it"
    ),
    "consumption_choices hours_choices price_choices wage_choices investment_choices income_tax_choices "
    "corporate_tax_choices": "it sets what agents can choose",
}
FIXED = {name: reason for names, reason in _REASONS.items() for name in names.split()}
"""Why each of the other fields of `EconomyConfig` cannot vary."""


class _Ranges(EconomyConfig):
    """What each number may be."""

    labour_disutility_scale: Money = 1.0


def own_number(config: EconomyConfig, name: str) -> float:
    """The configuration's own value of a number that can vary."""
    return 1.0 if name == LABOUR_DISUTILITY_SCALE else float(getattr(config, name))


def numbers_of(config: EconomyConfig, parameters: Mapping[str, Number] | None) -> Numbers:
    """The numbers that a period reads: the configuration itself where none of them is given again.

    Args:
        config: The economy.
        parameters: Numbers in place of its own; a tensor [...] has one for each economy, and becomes a column [..., 1].
    """
    given = {name: parameters[name] for name in _NAMES if name in parameters} if parameters else {}
    if not given:
        return config
    numbers = {name: given.get(name, getattr(config, name)) for name in _NAMES}
    return Parameters(**{n: x.unsqueeze(-1) if isinstance(x, Tensor) else x for n, x in numbers.items()})


def check_number(name: str, number: object, place: str) -> float:
    """Check a number that is to hold in place of the configuration's own.

    Args:
        name: Of the number.
        number: What is given.
        place: What it is called in a message.

    Raises:
        ConfigError: Nothing of this name can vary, or the number cannot be; the message begins with the place.
    """
    if name in FIXED:
        raise ConfigError(f"{place} cannot vary: {FIXED[name]}")
    if name not in PARAMETERS:
        raise ConfigError(f"{place} is not a number of an economy that can vary{nearest(name, PARAMETERS)}")
    try:
        return float(getattr(_Ranges.parse({name: number}, ""), name))
    except ConfigError as error:
        raise ConfigError(str(error).replace(name, place, 1)) from None


def _column(values: list[Any], place: str) -> Tensor:
    """Numbers of a list, or of an array, as a tensor."""
    if not all(type(value) in (int, float) for value in values):
        raise ConfigError(f"{place} is {shown(values)}; give a number, or a list of one for each economy")
    return torch.tensor(values, dtype=torch.float64)


def check_parameters(
    parameters: Mapping[str, object], num_envs: int, device: torch.device, dtype: torch.dtype
) -> dict[str, Number]:
    """Check numbers that are to hold in a batch. The values of tensors are read on the host.

    Args:
        parameters: By name, a number or a tensor [B].
        num_envs: Economies in the batch (B).
        device: Where tensors are moved.
        dtype: To which they are cast.

    Raises:
        ConfigError: A name or a number cannot be; the message begins with ``parameters.`` and the name.
    """
    checked: dict[str, Number] = {}
    if not isinstance(parameters, Mapping):
        raise ConfigError(f"parameters are a {type(parameters).__name__}; give a mapping of names to numbers")
    for name, number in parameters.items():
        place = f"parameters.{name}"
        if isinstance(values := plain(number), list) and not isinstance(number, Tensor):
            number = _column(values, place)
        if isinstance(number, Tensor) and number.dim():
            if number.shape != (num_envs,):
                shape = list(number.shape)
                raise ConfigError(f"{place} has shape {shape}; give a number, or a tensor [{num_envs}] with one each")
            for extreme in number.aminmax():
                check_number(name, extreme.item(), place)
            checked[name] = number.to(device=device, dtype=dtype)
        else:
            checked[name] = check_number(name, number, place)
    return checked
