"""Between the batched economy and the scalar one."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from rbc_marl.benchmark import scalar_economy as scalar
from rbc_marl.config import EconomyConfig
from rbc_marl.economy import Actions, EconomyState, Flows


def scalar_state(state: EconomyState, row: int) -> scalar.State:
    """One row of a batch as a scalar economy."""
    s = {field.name: getattr(state, field.name)[row].tolist() for field in dataclasses.fields(state)}
    consumers = zip(s["consumer_budget"], s["labour_disutility"], strict=True)
    firms = zip(
        *(
            s[name]
            for name in ("price", "wage", "inventory", "overdemanded", "firm_budget", "capital", "labour_exponent")
        ),
        strict=True,
    )
    return scalar.State(
        tuple(scalar.Consumer(*values) for values in consumers),
        tuple(scalar.Firm(*values) for values in firms),
        income_tax=s["income_tax"],
        corporate_tax=s["corporate_tax"],
        time=int(s["time"]),
    )


def scalar_action(actions: Actions, row: int) -> scalar.Action:
    """One row of a batch of actions as a scalar action."""
    a = {field.name: getattr(actions, field.name)[row].tolist() for field in dataclasses.fields(actions)}
    consumers = zip(map(tuple, a["demand"]), a["hours"], map(int, a["employer"]), strict=True)
    firms = zip(a["price"], a["wage"], a["investment_fraction"], strict=True)
    return scalar.Action(
        tuple(scalar.ConsumerAction(*values) for values in consumers),
        tuple(scalar.FirmAction(*values) for values in firms),
        income_tax=a["income_tax"],
        corporate_tax=a["corporate_tax"],
    )


def state_arrays(state: scalar.State) -> dict[str, np.ndarray]:
    """A scalar state by the field names of EconomyState, without a batch axis."""
    firms, consumers = state.firms, state.consumers
    columns = {
        "price": [firm.price for firm in firms],
        "wage": [firm.wage for firm in firms],
        "inventory": [firm.inventory for firm in firms],
        "overdemanded": [float(firm.overdemanded) for firm in firms],
        "income_tax": state.income_tax,
        "corporate_tax": state.corporate_tax,
        "time": state.time,
        "consumer_budget": [consumer.budget for consumer in consumers],
        "labour_disutility": [consumer.labour_disutility for consumer in consumers],
        "firm_budget": [firm.budget for firm in firms],
        "capital": [firm.capital for firm in firms],
        "labour_exponent": [firm.labour_exponent for firm in firms],
    }
    return {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}


def flow_arrays(flows: scalar.Flows) -> dict[str, np.ndarray]:
    """Scalar flows by the field names of Flows, without a batch axis."""
    columns: dict[str, object] = {
        "demand": [flow.demand for flow in flows.consumers],
        "consumption": [flow.consumption for flow in flows.consumers],
        "consumer_reward": [flow.reward for flow in flows.consumers],
        "firm_reward": [flow.reward for flow in flows.firms],
        "government_reward": flows.government_reward,
        "tax_pool": flows.tax_pool,
        "transfer": flows.transfer,
    }
    for name in ("spending", "wage_income", "income_tax_paid"):
        columns[name] = [getattr(flow, name) for flow in flows.consumers]
    for name in (
        "total_demand",
        "sales",
        "exports",
        "labour",
        "output",
        "revenue",
        "wage_bill",
        "investment",
        "profit",
    ):
        columns[name] = [getattr(flow, name) for flow in flows.firms]
    for name in ("corporate_tax_paid", "dividends"):
        columns[name] = [getattr(flow, name) for flow in flows.firms]
    return {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}


def row_arrays(batched: EconomyState | Flows, row: int) -> dict[str, np.ndarray]:
    """One row of every tensor of a batched state or of batched flows, in float64."""
    found = {}
    for field in dataclasses.fields(batched):
        value = getattr(batched, field.name)
        found[field.name] = value[row].detach().cpu().to(torch.float64).numpy()
    return found


def random_indices(config: EconomyConfig, num_envs: int, seed: int) -> dict[str, torch.Tensor]:
    """Random choices of everybody, drawn without the package's own sampler."""
    draw = np.random.default_rng(seed)
    envs, consumers, firms = num_envs, config.num_consumers, config.num_firms
    goods = draw.integers(len(config.consumption_choices), size=(envs, consumers, firms))
    hours = draw.integers(len(config.hours_choices), size=(envs, consumers, 1))
    employer = draw.integers(firms, size=(envs, consumers, 1))
    firm_actions = len(config.price_choices) * len(config.wage_choices) * len(config.investment_choices)
    government_actions = len(config.income_tax_choices) * len(config.corporate_tax_choices)
    return {
        "consumer": torch.from_numpy(np.concatenate([goods, hours, employer], axis=-1)),
        "firm": torch.from_numpy(draw.integers(firm_actions, size=(envs, firms))),
        "government": torch.from_numpy(draw.integers(government_actions, size=(envs,))),
    }
