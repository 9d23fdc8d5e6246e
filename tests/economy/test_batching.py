"""A row of a batch is an economy of its own; devices, dtypes and host synchronisation."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings

from rbc_marl.choices import decode, sample_indices
from rbc_marl.config import EconomyConfig
from rbc_marl.economy import EconomyState, initial_state, period, residuals
from rbc_marl.observations import join, observe
from tests.convert import random_indices
from tests.host_reads import NoHostReads
from tests.strategies import Situation, situations

CONSUMER_AXIS = {
    "consumer_budget", "labour_disutility", "demand", "hours", "employer", "consumption", "spending", "wage_income",
    "income_tax_paid", "transfers", "consumer_interest", "utility", "consumer_reward",
}  # fmt: skip


def assert_equal(left: object, right: object, **tolerance: float) -> None:
    for field in dataclasses.fields(left):
        a, b = getattr(left, field.name), getattr(right, field.name)
        if tolerance:
            torch.testing.assert_close(a, b, msg=lambda text, name=field.name: f"{name}: {text}", **tolerance)
        else:
            assert torch.equal(a, b), field.name


def a_batch(config: EconomyConfig, num_envs: int, dtype: torch.dtype) -> Situation:
    """Economies that differ: several periods of random play from the start."""
    state = initial_state(config, num_envs, dtype=dtype)
    for seed in range(3):
        state, _ = period(config, state, decode(config, **random_indices(config, num_envs, seed), dtype=dtype))
    return Situation(config, state, decode(config, **random_indices(config, num_envs, 9), dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("consumers", "firms"), [(100, 10), (7, 3), (1, 1), (20, 13), (2, 1), (1, 5)])
@pytest.mark.parametrize("crra", [0.1, 1.0])
def test_a_batch_is_its_economies_one_at_a_time(consumers: int, firms: int, crra: float, dtype: torch.dtype):
    """Up to rounding only: vectorised powers and matrix products round differently at other places of a batch."""
    config = EconomyConfig(num_consumers=consumers, num_firms=firms, initial_wage=22.0, interest_rate=0.1, crra=crra)
    s = a_batch(config, 9, dtype)
    after, flows = period(config, s.state, s.actions)
    rounding = 8 * torch.finfo(dtype).eps
    money = rounding * float(max(s.state.firm_budget.abs().max(), flows.revenue.max(), flows.wage_bill.max()))
    units = rounding * float(max(s.state.inventory.max(), flows.total_demand.max(), flows.output.max()))
    small = {"inventory", "demand", "consumption", "utility", "consumer_reward", "sales", "exports", "total_demand"}
    for row in range(9):
        one = slice(row, row + 1)
        alone = period(config, s.state[one], s.actions[one])
        for mine, ours in zip(alone, (after, flows), strict=True):
            for name, value in vars(mine).items():
                atol = units + rounding * firms if name in small else money
                torch.testing.assert_close(
                    value, getattr(ours, name)[one], rtol=0, atol=atol, msg=lambda text, name=name: f"{name}: {text}"
                )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(situations(num_envs=4))
def test_a_row_does_not_notice_its_neighbours(dtype: torch.dtype, situation: Situation):
    """Rows 1 to 3 become other economies; row 0 stays what it was, bit for bit."""
    config, state, actions = situation.config, situation.to(dtype).state, situation.to(dtype).actions
    others = torch.tensor([0, 2, 2, 1])
    for one, two in zip(period(config, state, actions), period(config, state[others], actions[others]), strict=True):
        assert_equal(one[0:1], two[0:1])


@given(situations(num_envs=2))
def test_consumers_can_change_places(situation: Situation):
    config, state, actions = situation.config, situation.state, situation.actions
    order = torch.randperm(config.num_consumers, generator=torch.Generator().manual_seed(1))

    def permuted(part):
        return dataclasses.replace(
            part, **{name: value[:, order] for name, value in vars(part).items() if name in CONSUMER_AXIS}
        )

    before = period(config, state, actions)
    after = period(config, permuted(state), permuted(actions))
    for mine, theirs in zip(before, after, strict=True):
        # Sums run in another order. Absolute: of budgets up to 1e6 and flows up to 1e7.
        assert_equal(permuted(mine), theirs, rtol=1e-10, atol=1e-5)


@given(situations(num_envs=2))
def test_firms_can_change_places(situation: Situation):
    config, state, actions = situation.config, situation.state, situation.actions
    order = torch.randperm(config.num_firms, generator=torch.Generator().manual_seed(2))
    place = torch.argsort(order)

    def permuted(part):
        changed = {}
        for name, value in vars(part).items():
            if name == "employer":
                changed[name] = place[value]
            elif value.dim() == 3:
                changed[name] = value[:, :, order]
            elif value.dim() == 2 and name not in CONSUMER_AXIS:
                changed[name] = value[:, order]
        return dataclasses.replace(part, **changed)

    before = period(config, state, actions)
    after = period(config, permuted(state), permuted(actions))
    for mine, theirs in zip(before, after, strict=True):
        assert_equal(permuted(mine), theirs, rtol=1e-10, atol=1e-5)


@pytest.mark.parametrize("open_economy", [True, False])
def test_nothing_in_a_period_reads_a_tensor_on_the_host(open_economy: bool):
    config = EconomyConfig(
        num_consumers=6,
        num_firms=3,
        open_economy=open_economy,
        interest_rate=0.1,
        labour_floor=260.0,
        revenue_bonus=0.1,
        consumer_debt_penalty=0.1,
        firm_debt_penalty=0.1,
    )
    indices = random_indices(config, 4, seed=0)
    initial_state(config, 4)  # the endowments of a configuration are copied to the device once
    decode(config, **indices)
    with NoHostReads():
        state = initial_state(config, 4)
        for _ in range(3):
            actions = decode(config, **indices)
            before = state
            state, flows = period(config, state, actions)
            residuals(config, before, actions, state, flows)
            for encoding in ("symlog", "digits"):
                join(observe(config, state, encoding), "consumer")


def test_the_guard_against_host_reads_works():
    with pytest.raises(AssertionError, match="_local_scalar_dense"), NoHostReads():
        torch.ones(2).sum().item()
    with pytest.raises(AssertionError, match="reads a tensor"), NoHostReads():
        bool(torch.ones(()) > 0)


def test_a_period_runs_without_any_data():
    """On the meta device there are no values: whatever needs one fails."""
    config = EconomyConfig(num_consumers=5, num_firms=2, interest_rate=0.1, firm_debt_penalty=1.0, revenue_bonus=1.0)
    state = initial_state(config, 3).to("meta")
    actions = decode(config, **random_indices(config, 3, seed=0)).to("meta")
    after, flows = period(config, state, actions)
    assert flows.consumption.shape == (3, 5, 2)
    assert after.consumer_budget.device.type == "meta"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_and_dtypes_are_those_of_the_state(dtype: torch.dtype):
    config = EconomyConfig(num_consumers=4, num_firms=3)
    shapes = {"B": (2,), "C": (2, 4), "F": (2, 3), "CF": (2, 4, 3)}
    s = a_batch(config, 2, dtype)
    after, flows = period(config, s.state, s.actions)
    for field in dataclasses.fields(EconomyState):
        assert getattr(after, field.name).shape == getattr(s.state, field.name).shape
    for field in dataclasses.fields(flows):
        name, value = field.name, getattr(flows, field.name)
        if name in ("transfer", "tax_pool", "government_reward"):
            kind = "B"
        elif name in ("demand", "consumption"):
            kind = "CF"
        else:
            kind = "C" if name in CONSUMER_AXIS else "F"
        assert value.shape == shapes[kind], name
        assert value.dtype == dtype, name


def test_a_state_can_be_cast_and_sliced():
    config = EconomyConfig(num_consumers=4, num_firms=3)
    state = initial_state(config, 5)
    assert state.num_envs == 5
    assert state[1:3].num_envs == 2
    assert state[torch.tensor([4, 0, 0])].num_envs == 3
    assert state.to(dtype=torch.float64).price.dtype == torch.float64
    actions = decode(config, **random_indices(config, 5, seed=0))
    assert actions.to(dtype=torch.float64).employer.dtype == torch.int64


def test_a_large_economy_plays_an_episode():
    config = EconomyConfig(num_consumers=1000, num_firms=13, horizon=3)
    generator = torch.Generator().manual_seed(0)
    state = initial_state(config, 4)
    for _ in range(config.horizon):
        actions = decode(config, **sample_indices(config, 4, generator))
        state, flows = period(config, state, actions)
    assert flows.consumption.shape == (4, 1000, 13)
    assert all(torch.isfinite(value).all() for part in (state, flows) for value in vars(part).values())


@pytest.mark.slow
def test_a_million_workers_of_one_firm_work_as_many_hours_as_in_double_precision():
    config = EconomyConfig(num_consumers=1_000_000, num_firms=2, initial_wage=22.0)
    flows = {}
    for dtype in (torch.float32, torch.float64):
        indices = random_indices(config, 1, 0)
        actions = decode(config, **indices, dtype=dtype)
        everybody = dataclasses.replace(actions, employer=torch.zeros_like(actions.employer))
        _, flows[dtype] = period(config, initial_state(config, 1, dtype=dtype), everybody)
    assert flows[torch.float64].labour[0, 0] > 2**26  # beyond what a sum in float32 reaches
    for name in ("labour", "wage_bill", "profit", "output"):
        single, double = getattr(flows[torch.float32], name), getattr(flows[torch.float64], name)
        torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=0)


@pytest.mark.long
@settings(max_examples=20)
@given(situation=situations(num_envs=2))
def test_a_traced_period_is_the_eager_one(situation: Situation):
    torch.compiler.reset()
    traced = torch.compile(period, backend="aot_eager", fullgraph=True)
    expected = period(situation.config, situation.state, situation.actions)
    found = traced(situation.config, situation.state, situation.actions)
    for mine, theirs in zip(expected, found, strict=True):
        assert_equal(mine, theirs, rtol=1e-10, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@given(situations(num_envs=3))
def test_a_gpu_agrees_with_the_cpu(situation: Situation):
    expected = period(situation.config, situation.state, situation.actions)
    found = period(situation.config, situation.state.to("cuda"), situation.actions.to("cuda"))
    for mine, theirs in zip(expected, found, strict=True):
        assert_equal(mine, theirs.to("cpu"), rtol=1e-10, atol=1e-6)
