"""The batched economy against the scalar one, on random economies, states and decisions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rbc_marl.benchmark import scalar_economy as scalar
from rbc_marl.choices import decode
from rbc_marl.config import EconomyConfig
from rbc_marl.economy import EconomyState, Flows, initial_state, period
from tests.convert import flow_arrays, random_indices, row_arrays, scalar_action, scalar_state, state_arrays
from tests.strategies import Situation, economies, situations

UNITS = ("inventory", "demand", "consumption", "total_demand", "sales", "exports", "output")
MONEY = (
    "consumer_budget", "firm_budget", "capital", "spending", "wage_income", "income_tax_paid", "tax_pool", "transfer",
    "revenue", "wage_bill", "investment", "profit", "corporate_tax_paid", "dividends",
)  # fmt: skip
REWARDS = ("consumer_reward", "firm_reward", "government_reward")
UNCHANGED = ("price", "wage", "income_tax", "corporate_tax", "time", "labour_disutility", "labour_exponent", "labour")
# The scalar economy has the rest under other names or not at all; the accounting identities cover the interest.
ELSEWHERE = {"hours", "utility", "consumer_interest", "firm_interest", "transfers"}


def _largest(arrays: dict[str, np.ndarray], names: tuple[str, ...]) -> float:
    return max(1.0, *(float(np.abs(arrays[name]).max()) for name in names if name in arrays))


def near_ties(
    config: EconomyConfig, before: scalar.State, flows: scalar.Flows, relative: float
) -> tuple[set[int], bool]:
    """Firms for which rounding decides if a good counts as rationed, and whether it decides on a revenue bonus."""
    goods, bonus = set(), False
    for f, (firm, flow) in enumerate(zip(before.firms, flows.firms, strict=True)):
        if abs(flow.total_demand - firm.inventory) <= relative * max(1.0, flow.total_demand):
            goods.add(f)
        kept = flow.profit - flow.corporate_tax_paid - flow.dividends
        size = max(1.0, abs(firm.budget), flow.revenue, flow.wage_bill)
        bonus |= config.revenue_bonus > 0 and flow.revenue > 0 and abs(firm.budget + kept) <= relative * size
    return goods, bonus


def assert_agrees(situation: Situation, next_state: EconomyState, flows: Flows, row: int, relative: float) -> None:
    """One row of a batched period agrees with the scalar period, to a fraction of the amounts that went into it."""
    config = situation.config
    before = scalar_state(situation.state, row)
    after, happened = scalar.play_period(config, before, scalar_action(situation.actions, row))
    expected = {**state_arrays(after), **flow_arrays(happened)}
    mine = {**row_arrays(next_state, row), **row_arrays(flows, row)}
    rationing_ties, bonus_tie = near_ties(config, before, happened, relative)

    inputs = state_arrays(before)
    units = max(_largest(expected, UNITS), _largest(inputs, UNITS))
    money = max(_largest(expected, MONEY), _largest(inputs, MONEY))
    goods_value = units * max(1.0, float(inputs["price"].max()))
    size = dict.fromkeys(UNITS, units) | dict.fromkeys(MONEY, max(money, goods_value))
    size |= dict.fromkeys(REWARDS, max(_largest(expected, REWARDS), money, goods_value))
    # Utility is far smaller than money: its own size unless a debt enters.
    if not config.consumer_debt_penalty:
        size["consumer_reward"] = max(_largest(expected, ("consumer_reward",)), units * config.num_firms)
    for name in (*UNITS, *MONEY, *REWARDS):
        if bonus_tie and name in ("firm_reward", "government_reward"):
            continue
        np.testing.assert_allclose(mine[name], expected[name], rtol=0, atol=relative * size[name], err_msg=name)
    for name in UNCHANGED:
        np.testing.assert_array_equal(mine[name], expected[name], err_msg=name)
    clear = [f for f in range(config.num_firms) if f not in rationing_ties]
    np.testing.assert_array_equal(mine["overdemanded"][clear], expected["overdemanded"][clear])
    assert set(mine) == set(expected) | ELSEWHERE


@given(situations())
def test_a_batched_period_is_the_scalar_period_in_float64(situation: Situation):
    after, flows = period(situation.config, situation.state, situation.actions)
    for row in range(situation.state.num_envs):
        assert_agrees(situation, after, flows, row, relative=1e-12)


@given(situations())
def test_a_batched_period_is_the_scalar_period_in_float32(situation: Situation):
    rounded = situation.to(torch.float32)
    after, flows = period(rounded.config, rounded.state, rounded.actions)
    for row in range(rounded.state.num_envs):
        assert_agrees(rounded, after, flows, row, relative=3e-6)


@given(economies(), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_whole_episodes_of_grid_choices_agree_period_by_period(config: EconomyConfig, seed: int):
    envs = 2
    state = initial_state(config, envs, dtype=torch.float64)
    for t in range(config.horizon):
        actions = decode(config, **random_indices(config, envs, seed + t), dtype=torch.float64)
        situation = Situation(config, state, actions)
        state, flows = period(config, state, actions)
        for row in range(envs):
            assert_agrees(situation, state, flows, row, relative=1e-12)


@given(economies(), st.sampled_from([0.0, 0.37, 1.0]))
def test_both_economies_start_alike(config: EconomyConfig, scale: float):
    batched = initial_state(config, 3, dtype=torch.float64, labour_disutility_scale=scale)
    expected = state_arrays(scalar.start(config, scale))
    for row in range(3):
        for name, value in row_arrays(batched, row).items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-15, atol=0, err_msg=name)


@pytest.mark.parametrize(("consumers", "firms"), [(1, 1), (1, 13), (5, 1), (3, 13), (100, 10)])
def test_decoding_agrees_with_the_scalar_tables(consumers: int, firms: int):
    config = EconomyConfig(num_consumers=consumers, num_firms=firms, investment_choices=(0.0, 0.1, 0.5))
    indices = random_indices(config, 4, seed=5)
    batched = decode(config, **indices, dtype=torch.float64)
    for row in range(4):
        one = {name: index[row].tolist() for name, index in indices.items()}
        assert scalar.decode_action(config, **one) == scalar_action(batched, row)


def test_every_flow_of_the_batched_economy_is_compared():
    compared = {*UNITS, *MONEY, *REWARDS, *UNCHANGED, "overdemanded"} | ELSEWHERE
    assert {field.name for field in (*dataclasses.fields(Flows), *dataclasses.fields(EconomyState))} == compared
