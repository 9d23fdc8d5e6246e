"""What must balance in every period of every economy."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given

from rbc_marl.choices import decode, sample_indices
from rbc_marl.config import EconomyConfig
from rbc_marl.economy import initial_state, period, residuals
from tests.strategies import Situation, situations

GOODS = ("goods", "consumption")


def _size(situation: Situation, after: object, flows: object, name: str) -> float:
    """The largest amount that enters an identity: rounding is a fraction of it."""
    if name == "labour":
        return 1.0 + float(situation.actions.hours.sum(1).max())
    kinds = ("inventory", "sales", "exports", "output", "total_demand") if name in GOODS else (
        "consumer_budget", "firm_budget", "revenue", "wage_bill", "capital", "tax_pool", "investment",
    )  # fmt: skip
    largest = 1.0
    for part in (situation.state, after, flows):
        for kind in kinds:
            if hasattr(part, kind):
                largest = max(largest, float(getattr(part, kind).abs().sum(-1).max()))
    return largest


@pytest.mark.parametrize(("dtype", "relative"), [(torch.float64, 1e-13), (torch.float32, 1e-6)])
@given(situations())
def test_goods_money_capital_labour_and_taxes_balance(dtype: torch.dtype, relative: float, situation: Situation):
    s = situation.to(dtype)
    after, flows = period(s.config, s.state, s.actions)
    found = residuals(s.config, s.state, s.actions, after, flows)
    assert set(found) == {
        "goods", "consumption", "labour", "wages", "consumer_money", "firm_money", "capital", "taxes", "tax_pool",
        "money",
    }  # fmt: skip
    for name, residual in found.items():
        assert residual.abs().max() <= relative * _size(s, after, flows, name), name


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@given(situations())
def test_nothing_is_nan_and_nothing_is_sold_that_is_not_there(dtype: torch.dtype, situation: Situation):
    s = situation.to(dtype)
    after, flows = period(s.config, s.state, s.actions)
    for part in (after, flows):
        for field in dataclasses.fields(part):
            assert torch.isfinite(getattr(part, field.name)).all(), field.name
    rounding = 1.0 + 4 * torch.finfo(dtype).eps * s.config.num_consumers
    tiny = 1e-5 if dtype == torch.float32 else 1e-12
    assert (flows.sales <= s.state.inventory * rounding).all()
    assert (flows.sales + flows.exports <= s.state.inventory * rounding).all()
    assert (flows.spending <= s.state.consumer_budget * rounding + tiny).all()
    assert (flows.consumption <= flows.demand).all()
    assert (flows.demand <= s.actions.demand).all()
    assert (flows.exports >= 0).all()
    assert (flows.exports <= s.config.export_quota).all()
    assert (flows.investment >= 0).all()
    assert (flows.corporate_tax_paid >= 0).all()
    assert (after.inventory >= -1e-4).all()


@given(situations())
def test_a_period_leaves_its_arguments_alone(situation: Situation):
    state = dataclasses.replace(situation.state, **{k: v.clone() for k, v in vars(situation.state).items()})
    actions = dataclasses.replace(situation.actions, **{k: v.clone() for k, v in vars(situation.actions).items()})
    first = period(situation.config, situation.state, situation.actions)
    again = period(situation.config, situation.state, situation.actions)
    for before, now in ((state, situation.state), (actions, situation.actions), *zip(first, again, strict=True)):
        for name, value in vars(before).items():
            assert torch.equal(value, getattr(now, name)), name


WRONG = {
    "goods": ("next_state", "inventory"),
    "consumption": ("flows", "consumption"),
    "labour": ("flows", "labour"),
    "wages": ("flows", "wage_bill"),
    "consumer_money": ("next_state", "consumer_budget"),
    "firm_money": ("next_state", "firm_budget"),
    "capital": ("next_state", "capital"),
    "taxes": ("flows", "transfers"),
    "tax_pool": ("flows", "tax_pool"),
    "money": ("flows", "exports"),
}
PLAIN = {"num_consumers": 6, "num_firms": 3, "initial_wage": 11.0, "initial_inventory": 50.0, "interest_rate": 0.1}


@pytest.mark.parametrize(
    ("name", "part", "field"),
    [*((name, *wrong) for name, wrong in WRONG.items())]
    + [(name, "flows", "dividends") for name in ("consumer_money", "firm_money")],
)
def test_each_residual_finds_a_wrong_entry(name: str, part: str, field: str):
    config = EconomyConfig(**PLAIN, dividend_share=0.5)
    state = initial_state(config, 2, dtype=torch.float64)
    draw = torch.Generator().manual_seed(4)
    actions = decode(config, **sample_indices(config, 2, draw), dtype=torch.float64)
    after, flows = period(config, state, actions)
    parts = {"next_state": after, "flows": flows}
    parts[part] = dataclasses.replace(parts[part], **{field: getattr(parts[part], field) + 2.0})
    right = residuals(config, state, actions, after, flows)
    wrong = residuals(config, state, actions, **parts)
    assert right[name].abs().max() < 1e-8
    assert wrong[name].abs().max() >= 0.5
