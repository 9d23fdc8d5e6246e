"""The start of an episode: endowments and heterogeneity (appendix of the paper). Nothing is random but shocks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor

from rbc_marl.config import EconomyConfig
from rbc_marl.economy.parameters import LABOUR_DISUTILITY_SCALE, Number
from rbc_marl.economy.shocks import Seeds, draw_shocks
from rbc_marl.economy.state import EconomyState


def initial_state(
    config: EconomyConfig,
    num_envs: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    labour_disutility_scale: Number = 1.0,
    seeds: Seeds | None = None,
    parameters: Mapping[str, Number] | None = None,
) -> EconomyState:
    """A batch of economies before their first period, equal but for what shocks will bring.

    Args:
        config: The economy.
        num_envs: Economies in the batch (B).
        device: Where the tensors live.
        dtype: Type of every quantity.
        labour_disutility_scale: Factor on the disutility of labour, a number or [B]; curricula anneal it from 0 to 1.
        seeds: Of the shocks, where the economy has any; None: nothing is drawn (`rbc_marl.economy.shocks`).
        parameters: Numbers in place of the configuration's own, around which shocks move.

    Returns:
        A state at time 0. Its tensors may share memory between economies: treat them as read-only.
    """
    device = torch.device(device)

    def each(values: Tensor) -> Tensor:
        return values.expand(num_envs, -1)

    def same(value: float, *shape: int) -> Tensor:
        return torch.full((num_envs, *shape), value, device=device, dtype=dtype)

    theta, consumer_budget, firm_budget, capital, exponent = _endowments(config, device, dtype)
    scale = labour_disutility_scale
    firms = config.num_firms
    paths = draw_shocks(config, num_envs, device, dtype, seeds, parameters)
    if (drawn := paths.get(LABOUR_DISUTILITY_SCALE)) is not None:
        scale = scale * drawn[:, 0]
    state = EconomyState(
        price=same(1.0 if config.market == "clearing" else config.initial_price, firms),
        wage=same(config.initial_wage, firms),
        inventory=same(config.initial_inventory, firms),
        overdemanded=same(0.0, firms),
        income_tax=same(0.0),
        corporate_tax=same(0.0),
        time=same(0.0),
        consumer_budget=each(consumer_budget),
        labour_disutility=each(theta * (scale.unsqueeze(-1) if isinstance(scale, Tensor) else scale)),
        firm_budget=each(firm_budget),
        capital=each(capital),
        labour_exponent=each(exponent),
    )
    return state.with_shocks(paths) if paths else state


def labour_disutilities(config: EconomyConfig) -> list[float]:
    """Labour disutility (theta) of each consumer, length C: inverse Pareto quantiles, or one value for all."""
    theta, shape, count = config.labour_disutility, config.labour_disutility_pareto_shape, config.num_consumers
    if shape is None:
        return [theta] * count
    return [theta * (1.0 - i / count) ** (1.0 / shape) for i in range(count)]


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # whoever asks first, others may need gradients
def _endowments(config: EconomyConfig, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Per-agent constants, built once: copying them from the host at every reset would stall an accelerator."""
    values = (
        labour_disutilities(config),
        config.consumer_budgets,
        config.firm_budgets,
        config.capitals,
        config.labour_exponents,
    )
    return tuple(torch.tensor(v, dtype=torch.float64).to(device=device, dtype=dtype) for v in values)
