"""What agents see: published encodings, layout, bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rbc_marl.choices import decode
from rbc_marl.config import EconomyConfig
from rbc_marl.economy import EconomyState, initial_state, period
from rbc_marl.errors import ConfigError
from rbc_marl.observations import (
    bounds,
    digits,
    join,
    observation_layout,
    observation_size,
    observe,
    private_part,
    private_size,
    symlog,
    with_number,
)
from tests.convert import random_indices
from tests.golden_files import host_math
from tests.strategies import economies

TYPES = ("consumer", "firm", "government")
ENCODINGS = ("symlog", "digits")


def test_digits_are_the_published_ones_and_keep_the_sign():
    answers = host_math()
    given_, published = answers["digits_input"], answers["digits_output"]
    found = digits(torch.from_numpy(given_)).numpy()
    assert found.shape == (len(given_), 11)
    np.testing.assert_array_equal(found[:, 10], np.sign(given_))
    # Of a debt the published ten entries are those of the distance to the next power: ours are the debt's own.
    positive = given_ >= 0
    np.testing.assert_allclose(found[positive, :10], published[positive], rtol=0, atol=1e-6)
    ours = digits(torch.from_numpy(-given_)).numpy()
    np.testing.assert_array_equal(ours[:, :10], found[:, :10])


def test_digits_worked_by_hand():
    encoded = digits(torch.tensor([[1234.5, -70.0]], dtype=torch.float64))[0].tolist()
    assert encoded[0] == pytest.approx(
        [0.45, 0.345, 0.2345, 0.12345, 0.012345, *[1234.5 / 10**k for k in range(6, 11)], 1.0]
    )
    assert encoded[1][:3] == pytest.approx([0.0, 0.7, 0.07])
    assert encoded[1][10] == -1.0
    assert digits(torch.zeros(1))[0].tolist() == [0.0] * 11


def test_symlog_worked_by_hand():
    found = symlog(torch.tensor([0.0, math.e - 1, -(math.e**2) + 1, 1e6], dtype=torch.float64)).tolist()
    assert found == pytest.approx([0.0, 0.1, -0.2, math.log(1e6 + 1) / 10], rel=1e-12)


def published_states() -> tuple[EconomyConfig, EconomyState]:
    """The rollout of the published code around the economy as one batch of states."""
    answers = host_math()
    consumer = torch.from_numpy(answers["rollout_consumer_state"]).flatten(0, 1)
    firm = torch.from_numpy(answers["rollout_firm_state"]).flatten(0, 1)
    firms, shared = firm.shape[1], consumer[:, 0]
    config = EconomyConfig(num_consumers=consumer.shape[1], num_firms=firms, horizon=10)
    columns = [shared[:, i * firms : (i + 1) * firms] for i in range(4)]
    rates = [shared[:, 4 * firms + i] for i in range(3)]
    own = 4 * firms + 3
    state = EconomyState(
        *columns,
        *rates,
        consumer_budget=consumer[..., own],
        labour_disutility=consumer[..., own + 1],
        firm_budget=firm[..., own],
        capital=firm[..., own + 1],
        labour_exponent=firm[..., own + 2],
    )
    return config, state


@pytest.mark.parametrize("agent_type", TYPES)
def test_digit_observations_are_the_published_network_inputs_with_a_sign(agent_type: str):
    config, state = published_states()
    found = join(observe(config, state, "digits"), agent_type)
    published = torch.from_numpy(host_math()[f"rollout_{agent_type}_network_input"]).flatten(0, 1)
    firms = config.num_firms
    first = 2 * firms  # prices and wages
    is_sign = torch.zeros(found.shape[-1], dtype=torch.bool)
    is_sign[first + 10 : first + 11 * firms : 11] = True
    shared, private = observation_size(config, agent_type, "digits")
    assert found.shape[-1] == shared + private
    assert shared == 2 * firms + 11 * firms + firms + 3
    if private:
        is_sign[shared + 10] = True
    assert published.shape[-1] == int((~is_sign).sum())
    ours = found[..., ~is_sign]
    # Debts apart (see above): there the ten entries and the sign are checked by the test of the digits.
    budget = {"consumer": state.consumer_budget, "firm": state.firm_budget}.get(agent_type)
    comparable = torch.ones_like(ours, dtype=torch.bool)
    if budget is not None:
        own = shared - firms  # without the signs of the inventories
        comparable[..., own : own + 10] = (budget >= 0).unsqueeze(-1)
        torch.testing.assert_close(found[..., shared + 10], budget.sign())
    assert (state.inventory >= 0).all()
    # Absolute, of digits in [0, 1]; an exact multiple of a power of ten may wrap around.
    gap = (ours - published).abs()
    assert gap[comparable].max() <= 1e-6, gap[comparable].max()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_each_quantity_stands_where_the_layout_says(encoding: str):
    config = EconomyConfig(num_consumers=3, num_firms=2, horizon=4)
    state = initial_state(config, 2)
    for seed in range(2):
        state, _ = period(config, state, decode(config, **random_indices(config, 2, seed)))
    observation = observe(config, state, encoding)
    layout = observation_layout(config, encoding)
    encode = digits if encoding == "digits" else (lambda x: symlog(x).unsqueeze(-1))
    part = {name: observation["global"][:, place] for name, place in layout.global_slices.items()}
    torch.testing.assert_close(part["price"], state.price / 2500)
    torch.testing.assert_close(part["wage"], state.wage / 44)
    torch.testing.assert_close(part["inventory"], encode(state.inventory).flatten(1))
    torch.testing.assert_close(part["overdemanded"], state.overdemanded)
    torch.testing.assert_close(part["income_tax"], state.income_tax.unsqueeze(-1))
    torch.testing.assert_close(part["corporate_tax"], state.corporate_tax.unsqueeze(-1))
    torch.testing.assert_close(part["time"], torch.full((2, 1), 0.5))
    own = {name: observation["consumer"][..., place] for name, place in layout.private_slices["consumer"].items()}
    torch.testing.assert_close(own["budget"], encode(state.consumer_budget))
    torch.testing.assert_close(own["labour_disutility"], state.labour_disutility.unsqueeze(-1) / 0.01)
    written_out = private_part(observation, "firm")
    own = {name: written_out[..., place] for name, place in layout.private_slices["firm"].items()}
    torch.testing.assert_close(own["budget"], encode(state.firm_budget))
    capital = state.capital / 10000 if encoding == "digits" else symlog(state.capital)
    torch.testing.assert_close(own["capital"], capital.unsqueeze(-1))
    torch.testing.assert_close(own["labour_exponent"], state.labour_exponent.unsqueeze(-1))
    torch.testing.assert_close(own["identity"], torch.eye(2).expand(2, 2, 2))
    assert torch.equal(observation["firm"][..., -1], torch.arange(2.0).expand(2, 2))
    assert torch.equal(with_number(private_part(observation, "firm"), 2), observation["firm"])
    for agent_type in TYPES:
        places = {**layout.global_slices}, layout.private_slices[agent_type]
        for slices, size in zip(places, layout.sizes(agent_type), strict=True):
            covered = [i for place in slices.values() for i in range(place.start, place.stop)]
            assert covered == list(range(size))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(("consumers", "firms"), [(1, 1), (4, 13), (7, 2)])
def test_the_global_part_exists_once(consumers: int, firms: int, encoding: str):
    config = EconomyConfig(num_consumers=consumers, num_firms=firms)
    observation = observe(config, initial_state(config, 3), encoding)
    assert set(observation) == {"global", *TYPES}
    sizes = {agent_type: observation_size(config, agent_type, encoding) for agent_type in TYPES}
    assert {shared for shared, _ in sizes.values()} == {observation["global"].shape[-1]}
    assert observation["global"].dim() == 2
    for agent_type, (shared, private) in sizes.items():
        agents = config.agents(agent_type)
        assert observation[agent_type].shape == (3, agents, private_size(config, agent_type, encoding))
        joined = join(observation, agent_type)
        assert joined.shape == (3, agents, shared + private)
        for agent in range(agents):
            assert torch.equal(joined[:, agent, :shared], observation["global"])
        assert torch.equal(joined[..., shared:], private_part(observation, agent_type))
    assert sizes["government"][1] == 0


@given(
    encoding=st.sampled_from(ENCODINGS),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    config=economies(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=80)
def test_bounds_are_finite_and_hold_along_whole_rollouts(
    encoding: str, dtype: torch.dtype, config: EconomyConfig, seed: int
):
    limits = {agent_type: bounds(config, agent_type, encoding) for agent_type in TYPES}
    state = initial_state(config, 2, dtype=dtype)
    for t in range(config.horizon + 1):
        observation = observe(config, state, encoding)
        for agent_type, (low, high) in limits.items():
            joined = join(observation, agent_type)
            assert joined.dtype == dtype
            seen = joined.to(torch.float32).numpy()
            assert low.dtype == high.dtype == np.float32
            assert low.shape == high.shape == seen.shape[-1:]
            assert np.isfinite(low).all()
            assert np.isfinite(high).all()
            assert (seen >= low).all(), (agent_type, np.argwhere(seen < low)[:3])
            assert (seen <= high).all(), (agent_type, np.argwhere(seen > high)[:3])
        state, _ = period(config, state, decode(config, **random_indices(config, 2, seed + t), dtype=dtype))


@pytest.mark.parametrize("tables", [(0.7, 0.3), (1.1, 0.01), (3.3, 0.9), (1234.567, 0.1)])
def test_bounds_hold_for_tables_that_float32_cannot_represent(tables: tuple[float, float]):
    price, theta = tables
    config = EconomyConfig(
        num_consumers=2,
        num_firms=2,
        initial_price=price,
        price_choices=[price / 3, price],
        initial_wage=theta,
        wage_choices=[theta / 7, theta],
        labour_disutility=theta,
        income_tax_choices=[theta],
    )
    state = initial_state(config, 1)
    for agent_type in TYPES:
        low, high = bounds(config, agent_type)
        seen = join(observe(config, state), agent_type).numpy()
        assert (seen >= low).all()
        assert (seen <= high).all()


def test_consumers_see_their_own_budget_only():
    config = EconomyConfig(num_consumers=3, num_firms=2)
    state = initial_state(config, 1)
    poorer = EconomyState(**{**vars(state), "consumer_budget": torch.tensor([[2000.0, 5.0, 2000.0]])})
    one, two = observe(config, state), observe(config, poorer)
    for agent_type in TYPES:
        changed = (join(one, agent_type) != join(two, agent_type)).any(dim=-1)[0].tolist()
        assert changed == ([False, True, False] if agent_type == "consumer" else [False] * config.agents(agent_type))


def test_an_unknown_encoding_is_refused_with_the_nearest():
    config = EconomyConfig(num_consumers=2, num_firms=2)
    for call in (
        lambda: observe(config, initial_state(config, 1), "digit"),
        lambda: observation_layout(config, "digit"),
        lambda: bounds(config, "firm", "digit"),
    ):
        with pytest.raises(ConfigError, match=r"encoding is 'digit'.*did you mean \"digits\""):
            call()
