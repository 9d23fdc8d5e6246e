"""Tables of choices, indices into them, masks over them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from rbc_marl import choices
from rbc_marl.choices import (
    check_ranges,
    check_shapes,
    choice_tables,
    decode,
    firm_mask,
    fixed_government_mask,
    government_mask,
    head_sizes,
    sample_indices,
)
from rbc_marl.config import EconomyConfig
from rbc_marl.errors import ConfigError
from tests.convert import random_indices
from tests.golden_files import host_math

ODD = EconomyConfig(
    num_consumers=4,
    num_firms=3,
    consumption_choices=[0.0, 1.5],
    hours_choices=[0.0, 10.0, 20.0],
    price_choices=[1.0, 2.0],
    wage_choices=[3.0, 4.0, 5.0],
    investment_choices=[0.0, 0.5, 0.75, 1.0],
    income_tax_choices=[0.0, 0.5, 1.0],
    corporate_tax_choices=[0.25, 0.75],
)


def test_head_sizes_follow_the_tables():
    assert head_sizes(ODD, "consumer") == (2, 2, 2, 3, 3)
    assert head_sizes(ODD, "firm") == (2 * 3 * 4,)
    assert head_sizes(ODD, "government") == (6,)
    paper = EconomyConfig()
    assert head_sizes(paper, "consumer") == (11,) * 10 + (5, 10)
    assert (head_sizes(paper, "firm"), head_sizes(paper, "government")) == ((30,), (36,))
    with pytest.raises(ConfigError, match="agent_type is 'bank'; it must be consumer, firm or government"):
        head_sizes(paper, "bank")


def test_the_indices_of_many_consumers_are_decoded_as_those_of_few(monkeypatch):
    indices = random_indices(ODD, 3, 1)
    expected = decode(ODD, **indices)
    monkeypatch.setattr(choices, "_AT_ONCE", 3)
    actions = decode(ODD, **indices)
    for name in ("demand", "hours", "employer"):
        assert torch.equal(getattr(actions, name), getattr(expected, name))


def test_a_firm_index_counts_investment_fastest_then_wage_then_price():
    every = torch.arange(24).reshape(8, 3)
    actions = decode(
        ODD, consumer=torch.zeros(8, 4, 5, dtype=torch.int64), firm=every, government=torch.zeros(8).long()
    )
    found = zip(
        *(x.flatten().tolist() for x in (actions.price, actions.wage, actions.investment_fraction)), strict=True
    )
    assert list(found) == list(product((1.0, 2.0), (3.0, 4.0, 5.0), (0.0, 0.5, 0.75, 1.0)))


def test_a_government_index_counts_the_corporate_tax_fastest():
    none = torch.zeros(6, 4, 5, dtype=torch.int64)
    actions = decode(ODD, consumer=none, firm=torch.zeros(6, 3).long(), government=torch.arange(6))
    found = zip(actions.income_tax.tolist(), actions.corporate_tax.tolist(), strict=True)
    assert list(found) == list(product((0.0, 0.5, 1.0), (0.25, 0.75)))


def test_a_consumer_index_is_goods_then_hours_then_employer():
    consumer = torch.tensor([[[1, 0, 1, 2, 1], [0, 0, 0, 0, 2], [0, 1, 0, 1, 0], [1, 1, 1, 0, 0]]])
    actions = decode(ODD, consumer=consumer, firm=torch.zeros(1, 3).long(), government=torch.zeros(1).long())
    assert actions.demand[0].tolist() == [[1.5, 0.0, 1.5], [0.0, 0.0, 0.0], [0.0, 1.5, 0.0], [1.5, 1.5, 1.5]]
    assert actions.hours[0].tolist() == [20.0, 0.0, 10.0, 0.0]
    assert actions.employer[0].tolist() == [1, 2, 0, 0]
    assert actions.employer.dtype == torch.int64


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_any_integer_type_can_be_an_index(dtype: torch.dtype):
    indices = random_indices(ODD, 5, seed=3)
    expected = decode(ODD, **indices)
    found = decode(ODD, **{name: index.to(dtype) for name, index in indices.items()})
    for name, value in vars(expected).items():
        assert torch.equal(value, getattr(found, name)), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tables_have_the_dtype_that_is_asked_for(dtype: torch.dtype):
    config = EconomyConfig(income_tax_choices=[0.2, 0.6000000000000001])
    assert choice_tables(config, dtype=dtype).government.dtype == dtype
    actions = decode(config, **random_indices(config, 3, seed=0), dtype=dtype)
    assert {value.dtype for name, value in vars(actions).items() if name != "employer"} == {dtype}
    assert torch.equal(
        choice_tables(config, dtype=dtype).government[6:, 0], torch.full((6,), 0.6000000000000001, dtype=dtype)
    )


def test_random_indices_cover_every_choice_and_nothing_else():
    indices = sample_indices(ODD, 2000, torch.Generator().manual_seed(0))
    check_shapes(ODD, 2000, indices)
    check_ranges(ODD, indices)
    heads = {"consumer": head_sizes(ODD, "consumer"), "firm": head_sizes(ODD, "firm"), "government": (6,)}
    for head, size in enumerate(heads["consumer"]):
        assert indices["consumer"][..., head].unique().tolist() == list(range(size))
    assert indices["firm"].unique().tolist() == list(range(24))
    assert indices["government"].unique().tolist() == list(range(6))


def test_random_indices_come_from_the_given_generator_alone():
    def draw(seed: int) -> dict[str, torch.Tensor]:
        return sample_indices(ODD, 6, torch.Generator().manual_seed(seed))

    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, same, other = draw(5), draw(5), draw(6)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("agent_type", "shape"),
    [("consumer", (2, 4, 4)), ("consumer", (2, 3, 5)), ("firm", (2, 4)), ("firm", (2, 3, 1)), ("government", (2, 1))],
)
def test_wrong_shapes_are_refused(agent_type: str, shape: tuple[int, ...]):
    indices = random_indices(ODD, 2, seed=0) | {agent_type: torch.zeros(shape, dtype=torch.int64)}
    with pytest.raises(ConfigError, match=f"{agent_type} have shape"):
        check_shapes(ODD, 2, indices)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.complex64])
def test_indices_must_be_integers(dtype: torch.dtype):
    indices = random_indices(ODD, 2, seed=0)
    with pytest.raises(ConfigError, match="must be integers"):
        check_shapes(ODD, 2, indices | {"firm": torch.zeros(2, 3, dtype=dtype)})


def test_every_agent_type_must_act_and_no_other():
    indices = random_indices(ODD, 2, seed=0)
    with pytest.raises(ConfigError, match="consumer, firm, government"):
        check_shapes(ODD, 2, {name: indices[name] for name in ("consumer", "firm")})
    with pytest.raises(ConfigError, match="bank"):
        check_shapes(ODD, 2, indices | {"bank": indices["firm"]})


@pytest.mark.parametrize(
    ("agent_type", "place", "value", "message"),
    [
        ("consumer", (1, 3, 2), 2, "consumer's demand for good 2 is 2; it must be from 0 to 1"),
        ("consumer", (0, 0, 0), -1, "consumer's demand for good 0 is -1"),
        ("consumer", (0, 1, 3), 3, "consumer's hours is 3; it must be from 0 to 2"),
        ("consumer", (0, 1, 4), 3, "consumer's employer is 3; it must be from 0 to 2"),
        ("firm", (1, 2), 24, "firm's joint choice is 24; it must be from 0 to 23"),
        ("firm", (1, 2), -24, "firm's joint choice is -24"),
        ("government", (1,), 6, "government's joint choice is 6; it must be from 0 to 5"),
    ],
)
def test_indices_out_of_range_are_refused(agent_type: str, place: tuple[int, ...], value: int, message: str):
    indices = random_indices(ODD, 2, seed=0)
    check_ranges(ODD, indices)
    indices[agent_type][place] = value
    with pytest.raises(ConfigError, match=message):
        check_ranges(ODD, indices)


# N of the schedules; iteration i widens the firms' choices up to N and the taxes from N to 2N.
SCHEDULES = {"short": 30000, "long": 100000, "tiny": 10}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_masks_are_those_of_the_published_schedules(schedule: str):
    answers, steps = host_math(), SCHEDULES[schedule]
    config = EconomyConfig()
    for row, iteration in enumerate(answers[f"schedule_{schedule}_episode"].tolist()):
        wider = min(iteration / steps, 1.0)
        price, wage = (1000 - 1000 * wider, 1000 + 1500 * wider), (22 - 22 * wider, 22 + 22 * wider)
        allowed = firm_mask(config, price=price, wage=wage)
        assert allowed.dtype == torch.bool
        published = answers[f"schedule_{schedule}_firm_mask"][row] == 0
        np.testing.assert_array_equal(allowed.numpy(), published, err_msg=f"firms in iteration {iteration}")
        highest = min(max(iteration - steps, 0) / steps, 1.0)
        published = answers[f"schedule_{schedule}_government_mask"][row] == 0
        found = government_mask(config, highest).numpy()
        np.testing.assert_array_equal(found, published, err_msg=f"government in iteration {iteration}")


def test_masks_follow_the_index_layout():
    mask = firm_mask(ODD, price=(2.0, 2.0), wage=(3.5, 10.0))
    assert mask.nonzero().flatten().tolist() == [16, 17, 18, 19, 20, 21, 22, 23]
    assert government_mask(ODD, 0.5).nonzero().flatten().tolist() == [0, 2]
    assert not government_mask(ODD, 0.1).any()
    assert government_mask(ODD, 1.0).all()


def test_a_fixed_mask_leaves_the_largest_choice_of_each_rate_that_is_open_and_not_above_it():
    assert fixed_government_mask(ODD, (0.9, 0.8), 1.0).nonzero().flatten().tolist() == [3]
    assert fixed_government_mask(ODD, (0.9, 0.8), 0.6).nonzero().flatten().tolist() == [2]
    assert not fixed_government_mask(ODD, (0.9, 0.8), 0.2).any()  # no corporate tax is so low
