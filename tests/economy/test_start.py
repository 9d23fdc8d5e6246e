"""The first period's state."""

from __future__ import annotations

import pytest
import torch

from rbc_marl.config import EconomyConfig
from rbc_marl.economy import initial_state


def test_the_open_economy_starts_as_the_paper_says():
    state = initial_state(EconomyConfig(), 2, dtype=torch.float64)
    assert state.price.tolist() == [[1000.0] * 10] * 2
    assert state.wage.tolist() == [[0.0] * 10] * 2
    assert state.firm_budget.tolist() == [[2_200_000.0] * 10] * 2
    assert state.consumer_budget.tolist() == [[2000.0] * 100] * 2
    assert state.capital.tolist() == [[5000.0] * 5 + [10000.0] * 5] * 2
    assert state.labour_exponent.tolist() == [[0.2, 0.3, 0.4, 0.6, 0.8] * 2] * 2
    assert state.labour_disutility[1].tolist() == pytest.approx([0.01 * (1 - i / 100) ** 0.25 for i in range(100)])
    for nothing in (state.inventory, state.overdemanded, state.income_tax, state.corporate_tax, state.time):
        assert not nothing.any()


@pytest.mark.parametrize(("firms", "low"), [(1, 0), (2, 1), (3, 1), (13, 6)])
def test_the_smaller_half_of_the_firms_starts_with_less_capital(firms: int, low: int):
    capital = initial_state(EconomyConfig(num_firms=firms), 1).capital[0].tolist()
    assert capital == [5000.0] * low + [10000.0] * (firms - low)


def test_thirteen_firms_repeat_the_five_labour_exponents():
    exponents = initial_state(EconomyConfig(num_firms=13), 1, dtype=torch.float64).labour_exponent[0].tolist()
    assert exponents == [0.2, 0.3, 0.4, 0.6, 0.8, 0.2, 0.3, 0.4, 0.6, 0.8, 0.2, 0.3, 0.4]


def test_each_agent_can_be_endowed_by_itself():
    config = EconomyConfig(
        num_consumers=2,
        num_firms=2,
        initial_consumer_budget=[1.0, 2.0],
        initial_firm_budget=[3.0, 4.0],
        initial_capital=[5.0, 6.0],
        labour_exponent=[0.7, 0.8],
    )
    state = initial_state(config, 1, dtype=torch.float64)
    assert state.consumer_budget.tolist() == [[1.0, 2.0]]
    assert state.firm_budget.tolist() == [[3.0, 4.0]]
    assert state.capital.tolist() == [[5.0, 6.0]]
    assert state.labour_exponent.tolist() == [[0.7, 0.8]]


def test_labour_disutility_can_be_equal_and_can_be_scaled():
    config = EconomyConfig(num_consumers=3, labour_disutility_pareto_shape=None, labour_disutility=0.5)
    assert initial_state(config, 1).labour_disutility.tolist() == [[0.5, 0.5, 0.5]]
    assert initial_state(config, 1, labour_disutility_scale=0.5).labour_disutility.tolist() == [[0.25, 0.25, 0.25]]
    assert initial_state(config, 1).labour_disutility.tolist() == [[0.5, 0.5, 0.5]]
