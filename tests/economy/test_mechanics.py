"""Parts of an economy: identities hold for all of them together, each is what its formula says, the default is free."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle

import pytest
import torch
from hypothesis import given
from torch.utils._python_dispatch import TorchDispatchMode

from rbc_marl import ConfigError, EconomyConfig
from rbc_marl.benchmark import scalar_economy
from rbc_marl.choices import decode, sample_indices
from rbc_marl.economy import initial_state, period, residuals
from rbc_marl.mechanics import BASES, labour, production, taxes, utility, welfare
from tests.economy.test_accounting import _size
from tests.host_reads import NoHostReads
from tests.strategies import PARTS, Situation, situations

SMALL = {"num_consumers": 4, "num_firms": 2, "horizon": 3, "initial_wage": 11.0, "initial_inventory": 30.0}
OTHER = {
    "utility": {"kind": "basket", "substitution": 3.0}, "disutility": "power", "production": "ces",
    "wage_tax": "brackets", "transfers": "poorest", "welfare": "atkinson", "depreciation": 0.1, "consumption_tax": 0.2,
}  # fmt: skip
# Operations of a period of the published open economy that are no views: what it took before there were parts.
PUBLISHED_OPERATIONS = {
    "bmm": 2, "clamp": 4, "minimum": 1, "div": 4, "nan_to_num_": 1, "mul": 13, "sum": 6, "new_zeros": 1,
    "scatter_add": 1, "gt": 2, "bitwise_and": 1, "scalar_tensor": 3, "where": 4, "log1p": 1, "mul_": 1, "exp2_": 1,
    "sub": 9, "gather": 1, "ge": 2, "add": 10, "rsub": 2, "pow": 2, "zeros_like": 3, "_to_copy": 1,
}  # fmt: skip
VIEWS = {"alias", "as_strided", "detach", "expand", "permute", "select", "slice", "squeeze", "transpose", "unsqueeze"}
VIEWS |= {"view", "_unsafe_view"}


def played(config, dtype=torch.float64, seed=0):
    """A state, decisions on the grid, and what they come to."""
    state = initial_state(config, 2, dtype=dtype)
    actions = decode(config, **sample_indices(config, 2, torch.Generator().manual_seed(seed)), dtype=dtype)
    return state, actions, *period(config, state, actions)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


# All of them together


@pytest.mark.parametrize(("dtype", "relative"), [(torch.float64, 1e-13), (torch.float32, 2e-6)])
@given(situations(parts=True))
def test_every_identity_holds_for_any_combination_of_parts(dtype: torch.dtype, relative: float, situation: Situation):
    s = situation.to(dtype)
    after, flows = period(s.config, s.state, s.actions)
    for name, residual in residuals(s.config, s.state, s.actions, after, flows).items():
        assert residual.abs().max() <= relative * _size(s, after, flows, name), name


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@given(situations(parts=True))
def test_nothing_is_nan_and_nobody_pays_more_than_there_is(dtype: torch.dtype, situation: Situation):
    s = situation.to(dtype)
    after, flows = period(s.config, s.state, s.actions)
    for part in (after, flows):
        for field in dataclasses.fields(part):
            assert torch.isfinite(getattr(part, field.name)).all(), field.name
    rounding = 1.0 + 8 * torch.finfo(dtype).eps * s.config.num_consumers
    tiny = 1e-4 if dtype == torch.float32 else 1e-11
    paid = flows.spending * (1.0 + s.config.consumption_tax)
    if s.config.market == "posted":
        assert (paid <= s.state.consumer_budget * rounding + tiny).all()
    assert (flows.income_tax_paid <= flows.wage_income * rounding).all()
    assert (flows.transfers >= 0.0).all() and (flows.output >= 0.0).all() and (after.capital >= 0.0).all()


@given(situations(parts=True, num_envs=3))
def test_a_row_does_not_depend_on_the_batch_it_stands_in(situation: Situation):
    config, state, actions = situation.config, situation.state, situation.actions
    whole, one = period(config, state, actions), period(config, state[1:2], actions[1:2])
    for mine, theirs in zip(whole, one, strict=True):
        for field in dataclasses.fields(mine):
            a, b = getattr(mine, field.name)[1:2], getattr(theirs, field.name)
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-9, msg=lambda text, n=field.name: f"{n}: {text}")


def test_no_part_reads_a_tensor_on_the_host():
    for name, kinds in PARTS.items():
        for kind in kinds:
            config = EconomyConfig(**SMALL, **{name: kind})
            played(config)  # constants are made once
            state = initial_state(config, 2, dtype=torch.float64)
            actions = decode(config, **sample_indices(config, 2, torch.Generator().manual_seed(0)), dtype=torch.float64)
            with NoHostReads():
                period(config, state, actions)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [OTHER, {"utility": "ghh", "transfers": "by_income", "welfare": "nash"}])
def test_a_compiled_period_with_other_parts_is_the_eager_one(changes):
    config = EconomyConfig(**SMALL, **changes)
    state, actions, after, flows = played(config)
    torch.compiler.reset()
    compiled = torch.compile(period, backend="aot_eager", fullgraph=True)(config, state, actions)
    for mine, theirs in zip(compiled, (after, flows), strict=True):
        for field in dataclasses.fields(mine):
            torch.testing.assert_close(getattr(mine, field.name), getattr(theirs, field.name))


def test_the_published_parts_cost_no_operation():
    class Operations(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.counts = {}

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            name = func.overloadpacket.__name__
            if name not in VIEWS:
                self.counts[name] = self.counts.get(name, 0) + 1
            return func(*args, **(kwargs or {}))

    config = EconomyConfig(**SMALL)
    state, actions, *_ = played(config, torch.float32)
    with Operations() as operations:
        period(config, state, actions)
    assert operations.counts == PUBLISHED_OPERATIONS


# Each by its formula


NUMBERS = EconomyConfig(crra=2.0)
GOODS = tensor([[1.0], [3.0]])  # one consumer has a unit of the first good and three of the second


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (utility.Crra(), (1 - 1 / 2) + (1 - 1 / 4)),
        (utility.Cara(aversion=0.5), 2 * (1 - math.exp(-0.5)) + 2 * (1 - math.exp(-1.5))),
        (utility.Basket(substitution=1.0), 1 - 1 / (1 + 2 * math.sqrt(2 * 4) - 2)),  # Cobb-Douglas: a geometric mean
        (utility.Basket(substitution=2.0), 1 - 1 / (2 * ((math.sqrt(2) + math.sqrt(4)) / 2) ** 2 - 1)),
        (utility.Basket(substitution=0.5), 1 - 1 / (2 * 2 / (1 / 2 + 1 / 4) - 1)),  # a harmonic mean
        (utility.Basket(substitution=1e6), 1 - 1 / 5),
        (utility.Ghh(substitution=1e6), 4.0),  # the basket alone, in units
    ],
)
def test_goods_come_to_what_the_formula_says(part, expected):
    assert float(part.of_goods(GOODS, NUMBERS)) == pytest.approx(expected, rel=1e-6)


def test_the_utility_of_ghh_is_that_of_the_basket_less_the_effort_and_goes_on_below_nothing():
    found = utility.Ghh().with_effort(tensor(4.0, 4.0, 4.0), tensor(1.0, 4.0, 6.0), NUMBERS)
    assert found.tolist() == pytest.approx([1 - 1 / 4, 0.0, -2.0])


@pytest.mark.parametrize("part", [utility.Crra(), utility.Cara(aversion=0.3)])
def test_a_formula_of_marginal_utility_is_the_slope_and_is_turned_round(part):
    units = tensor(0.0, 0.5, 3.0, 9.0)
    slope = part.marginal(units, NUMBERS)
    torch.testing.assert_close(slope, utility.AdditiveUtility.marginal(part, units, NUMBERS))
    torch.testing.assert_close(part.units_at(slope, NUMBERS), units)


def test_hours_cost_what_the_formula_says():
    power = labour.Power(exponent=3.0, usual=500.0)
    hours, theta = tensor(0.0, 500.0, 1000.0), tensor(0.01, 0.01, 0.01)
    assert power.effort(hours, theta).tolist() == pytest.approx([0.0, 0.005 * 500 / 3, 0.005 * 500 / 3 * 8])
    assert labour.Linear().effort(hours, theta).tolist() == [0.0, 2.5, 5.0]
    # At twice the pay that the usual hours cost at the margin: hours times the square root of two.
    assert float(power.best_hours(tensor(0.01), tensor(0.01), 0.0, 1e4)) == pytest.approx(500 * math.sqrt(2))
    assert labour.Linear().best_hours(tensor(0.006, 0.004), theta[:2], 0.0, 900.0).tolist() == [900.0, 0.0]


@pytest.mark.parametrize(
    ("substitution", "expected"),
    [(0.5, 2 * 1 / (0.75 / 16 + 0.25 / 4)), (2.0, 2 * (0.75 * 4 + 0.25 * 2) ** 2), (1.0, 2 * 16**0.75 * 4**0.25)],
)
def test_output_is_what_the_formula_says(substitution, expected):
    part = production.Ces(substitution=substitution)
    assert float(part.output(tensor(16.0), tensor(4.0), tensor(0.25), 2.0)) == pytest.approx(expected)
    assert math.isfinite(float(part.output(tensor(0.0), tensor(0.0), tensor(0.25), 2.0)))


def test_pay_is_taxed_by_bracket():
    pay, rate = tensor([50.0, 150.0, 400.0]), tensor([0.4])
    by_factors = taxes.Brackets(thresholds=(100.0, 200.0), factors=(0.0, 1.0, 3.0))
    assert by_factors.paid(pay, rate).flatten().tolist() == pytest.approx([0.0, 20.0, 40.0 + 200.0])  # at most 1
    by_rates = taxes.Brackets(thresholds=(100.0, 200.0), rates=(0.1, 0.2, 0.5))
    assert by_rates.paid(pay, rate).flatten().tolist() == pytest.approx([5.0, 20.0, 130.0])
    assert taxes.Brackets(thresholds=(100.0,)).paid(pay, rate).flatten().tolist() == pytest.approx([0.0, 20.0, 120.0])


def test_the_pool_goes_to_whom_the_part_says():
    budget, pay = tensor([5.0, 1.0, 1.0, 9.0]), tensor([0.0, 50.0, 100.0, 200.0])
    assert taxes.Poorest(share=0.5).shares(budget, pay).flatten().tolist() == [0.0, 0.5, 0.5, 0.0]
    assert taxes.Poorest(share=0.25).shares(budget, pay).flatten().tolist() == [0.0, 0.5, 0.5, 0.0]  # alike alike
    by_income = taxes.ByIncome(limit=100.0)
    assert by_income.shares(budget, pay).flatten().tolist() == pytest.approx([2 / 3, 1 / 3, 0.0, 0.0])
    assert by_income.shares(budget, pay + 100.0).flatten().tolist() == [0.25] * 4


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (welfare.Rawls(), 3 * 1.0),
        (welfare.Atkinson(aversion=0.0, least=0.0), 1.0 + 3.0 + 9.0),
        (welfare.Atkinson(aversion=1.0, least=0.0), 3 * 3.0),
        (welfare.Atkinson(aversion=2.0, least=-1.0), 3 * (3 / (1 / 2 + 1 / 4 + 1 / 10) - 1)),
        (welfare.Nash(least=-1.0), math.log(2 * 4 * 10)),
        (welfare.Weighted(weights=(1.0, 0.0, 2.0), firms=0.5), 1.0 + 2 * 9.0 + 0.5 * 5.0),
    ],
)
def test_welfare_is_what_the_formula_says(part, expected):
    assert float(part.of(tensor([1.0, 3.0, 9.0]), tensor([2.0, 3.0]))) == pytest.approx(expected)


def test_capital_wears_out_before_it_grows():
    config = EconomyConfig(**SMALL, depreciation=0.25)
    state, _, after, flows = played(config)
    torch.testing.assert_close(after.capital, 0.75 * state.capital + flows.investment)


def test_a_tax_on_goods_is_paid_on_top_of_their_price_and_shared_out():
    config = EconomyConfig(**SMALL, consumption_tax=0.5, initial_consumer_budget=100.0, initial_price=10.0)
    _, _, _, flows = played(config)
    torch.testing.assert_close(flows.spending.amax(), tensor(100.0 / 1.5).squeeze())  # the budget binds with the tax
    torch.testing.assert_close(flows.tax_pool, 0.5 * flows.spending.sum(1))  # the other rates are 0 in the first period
    torch.testing.assert_close(flows.revenue, 10.0 * (flows.sales + flows.exports))


# How they are chosen


@pytest.mark.parametrize("name", BASES)
def test_a_part_is_plain_data_that_makes_it_again(name: str):
    for kind in PARTS[name]:
        config = EconomyConfig(**SMALL, **{name: kind})
        again = EconomyConfig(**json.loads(json.dumps(config.model_dump(mode="json"))))
        assert again == config and hash(again) == hash(config) == hash(pickle.loads(pickle.dumps(config)))
        assert config.replace(crra=0.3).replace(crra=config.crra) == config
        as_mapping = {"kind": kind} if isinstance(kind, str) else kind
        assert EconomyConfig(**SMALL, **{name: as_mapping}) == config


def test_parts_as_published_are_not_in_what_is_saved():
    config = EconomyConfig()
    dumped = config.model_dump(mode="json")
    later = {"utility", "disutility", "production", "wage_tax", "transfers", "depreciation", "consumption_tax"}
    later |= {"market", "firm_objective", "discount"}
    assert not later & dumped.keys() and dumped["welfare"] == "total"
    assert EconomyConfig(depreciation=0.1, utility="cara").model_dump().keys() & later == {"depreciation", "utility"}
    assert config.welfare == "total" and config.departure == ""
    assert EconomyConfig(welfare={"kind": "consumers"}).welfare == "consumers"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"utility": "cra"}, 'utility is .cra.; it must be crra, basket, cara, ghh, a mapping .*did you mean "crra"?'),
        ({"utility": {"aversion": 1.0}}, "utility: kind is missing; it must be crra, basket, cara, ghh"),
        ({"utility": {"kind": "cara", "aversion": -1.0}}, "utility.aversion is -1.0; it must be more than 0"),
        ({"utility": {"kind": "cara", "averson": 1.0}}, 'utility.averson is not a parameter .*"aversion"?'),
        ({"utility": 3}, "utility is 3; it must be crra, basket"),
        ({"welfare": "totl"}, "welfare is 'totl'; it must be total, consumers, rawls, .*did you mean \"total\"?"),
        ({"welfare": {"kind": "total", "x": 1}}, "welfare.x is not a parameter of total, which has none"),
        ({"wage_tax": {"kind": "brackets", "thresholds": [2.0, 1.0]}}, "wage_tax.thresholds are .*; they must rise"),
        ({"wage_tax": {"kind": "brackets", "rates": [0.5]}}, "wage_tax.rates are 1; 2 brackets need one each"),
        ({"num_consumers": 2, "welfare": {"kind": "weighted", "weights": [1, 1, 1]}}, "welfare has 3 weights; th"),
        ({"production": {"class": "nobody.Makes"}}, 'production.class is "nobody.Makes", which cannot be imported'),
        ({"production": "nobody.Makes"}, 'production.*"nobody.Makes", which cannot be imported'),
        ({"production": {"class": "os.abort"}}, 'production.class is "os.abort", which is not a subclass'),
        ({"production": {"class": utility.Cara}}, "production.class is .*; it must be a subclass of rbc_"),
    ],
)  # fmt: skip
def test_a_part_that_cannot_be_is_refused_in_a_line(fields, message):
    with pytest.raises(ConfigError, match=message) as caught:
        EconomyConfig.parse(fields, "")
    assert "\n" not in str(caught.value)


def test_the_scalar_economy_is_the_published_one_only():
    with pytest.raises(ConfigError, match="the published one, without utility ghh"):
        scalar_economy.start(EconomyConfig(utility="ghh"))
