"""Every field of a configuration changes what it should change, and not what it should not."""

from __future__ import annotations

import pytest
import torch

from rbc_marl.choices import decode
from rbc_marl.config import EconomyConfig
from rbc_marl.economy import initial_state, period
from tests import strategies
from tests.convert import random_indices

# A lively economy of four periods: rationing, exports, debts, taxes, interest, all at once.
BASE = {
    "num_consumers": 5, "num_firms": 3, "horizon": 4, "initial_wage": 22.0, "initial_inventory": 30.0,
    "initial_firm_budget": 9000.0, "interest_rate": 0.05,
}  # fmt: skip
CLEARING = {name: value for name, value in strategies.CLEARING.items() if name != "market"}
FIRM_DEBT = {"firm_debt_penalty": 0.5}
# Consumers have no debts: this is checked with a budget put below zero, see `fingerprint`.
CONSUMER_DEBT = {"consumer_debt_penalty": 0.5}

# field: (what else to set, the new value, what must change, what must not)
CASES: dict[str, tuple[dict[str, object], object, set[str], set[str]]] = {
    "start": ({}, "starts.safetensors", set(), set()),  # batches read it: see tests/test_starts.py
    "shocks": (
        {}, {"technology": {"kind": "path", "values": [0.05]}}, {"output", "inventory"}, {"labour", "wage_income"}
    ),
    "num_consumers": ({}, 6, {"consumer_budget", "consumption", "hours"}, set()),
    "num_firms": ({}, 4, {"firm_budget", "consumption", "price"}, set()),
    "horizon": (FIRM_DEBT, 5, {"firm_reward", "government_reward"}, {"firm_budget", "consumer_reward"}),
    "open_economy": ({}, False, {"exports", "inventory", "firm_reward"}, {"labour", "wage_income"}),
    "export_price": ({}, 2000.0, {"exports", "inventory", "firm_budget"}, {"labour", "wage_income"}),
    "export_quota": ({}, 3.0, {"exports", "inventory", "firm_budget"}, {"labour", "wage_income"}),
    "crra": ({}, 0.2, {"consumer_reward", "utility", "government_reward"}, {"consumption", "firm_reward"}),
    "labour_disutility": ({}, 0.02, {"consumer_reward", "labour_disutility"}, {"consumption", "firm_reward"}),
    "labour_disutility_pareto_shape": ({}, None, {"consumer_reward", "labour_disutility"}, {"consumption"}),
    "interest_rate": ({}, 0.1, {"consumer_budget", "firm_budget", "consumer_interest"}, {"hours", "price"}),
    "labour_floor": ({}, 1000.0, {"output", "inventory"}, {"labour", "wage_bill"}),
    "technology": ({}, 0.02, {"output", "inventory"}, {"labour", "wage_bill"}),
    "consumer_grant": ({}, 1.0, {"consumer_budget"}, {"labour", "wage_bill"}),
    "dividend_share": ({}, 0.5, {"dividends", "consumer_budget", "firm_budget"}, {"labour", "wage_bill", "price"}),
    "depreciation": ({}, 0.1, {"capital"}, {"labour", "wage_bill", "price"}),
    "consumption_tax": ({}, 0.2, {"tax_pool", "consumer_budget"}, {"labour", "wage_bill", "price"}),
    "utility": ({}, "cara", {"consumer_reward", "utility", "government_reward"}, {"consumption", "firm_reward"}),
    "disutility": ({}, "power", {"consumer_reward", "utility", "government_reward"}, {"consumption", "firm_reward"}),
    "production": ({}, "ces", {"output", "inventory"}, {"labour", "wage_bill"}),
    "wage_tax": ({}, "brackets", {"income_tax_paid", "tax_pool", "consumer_budget"}, {"income_tax", "labour"}),
    "transfers": ({}, "poorest", {"transfers", "consumer_budget"}, {"labour", "wage_bill", "price"}),
    "market": (CLEARING, "clearing", {"sales", "price", "wage", "investment"}, {"labour", "labour_disutility"}),
    "firm_objective": ({}, "owners", {"firm_reward", "government_reward"}, {"consumer_reward", "firm_budget"}),
    "discount": ({}, 0.9, {"consumer_reward", "firm_reward", "government_reward"}, {"utility", "firm_budget"}),
    "initial_price": ({}, 500.0, {"price", "spending", "revenue"}, {"labour", "wage_bill"}),
    "initial_wage": ({}, 11.0, {"wage", "wage_bill", "wage_income"}, {"labour", "price"}),
    "initial_inventory": ({}, 5.0, {"inventory", "sales"}, {"labour", "price"}),
    "initial_consumer_budget": ({}, 3000.0, {"consumer_budget", "demand"}, {"labour", "price"}),
    "initial_firm_budget": ({}, 5000.0, {"firm_budget"}, {"consumption", "output"}),
    "initial_capital": ({}, 100.0, {"capital", "output"}, {"labour", "price"}),
    "labour_exponent": ({}, 0.5, {"labour_exponent", "output"}, {"labour", "price"}),
    "consumption_choices": ({}, tuple(2.0 * i for i in range(11)), {"demand", "sales"}, {"labour", "price"}),
    "hours_choices": ({}, (0.0, 26.0, 52.0, 78.0, 104.0), {"hours", "labour", "output"}, {"price"}),
    "price_choices": ({}, (0.0, 500.0, 1000.0, 1500.0, 2000.0, 2600.0), {"price", "revenue"}, {"wage"}),
    "wage_choices": ({}, (0.0, 11.0, 22.0, 33.0, 55.0), {"wage", "wage_bill"}, {"price", "labour"}),
    "investment_choices": ({}, (0.3,), {"investment", "capital", "firm_reward"}, {"price", "labour"}),
    "income_tax_choices": ({}, (0.1, 0.2, 0.4, 0.6, 0.8, 0.9), {"income_tax", "tax_pool"}, {"corporate_tax", "sales0"}),
    "corporate_tax_choices": ({}, (0.1, 0.2, 0.4, 0.6, 0.8, 0.9), {"corporate_tax", "tax_pool"}, {"income_tax"}),
    "welfare": ({}, "consumers", {"government_reward"}, {"consumer_reward", "firm_reward", "firm_budget"}),
    "firm_welfare_weight": ({}, 0.01, {"government_reward"}, {"consumer_reward", "firm_reward", "firm_budget"}),
    "revenue_bonus": ({}, 0.2, {"firm_reward", "government_reward"}, {"firm_budget", "consumer_reward"}),
    "consumer_debt_penalty": (CONSUMER_DEBT, 0.7, {"consumer_reward", "government_reward"}, {"consumer_budget"}),
    "firm_debt_penalty": (FIRM_DEBT, 0.7, {"firm_reward", "government_reward"}, {"firm_budget", "consumer_reward"}),
    "consumer_debt_scale": (CONSUMER_DEBT, 2.0, {"consumer_reward", "government_reward"}, {"consumer_budget"}),
    "firm_debt_scale": (FIRM_DEBT, 50.0, {"firm_reward", "government_reward"}, {"firm_budget", "consumer_reward"}),
}


def fingerprint(config: EconomyConfig) -> dict[str, torch.Tensor]:
    """Every quantity of four periods of random choices, in two economies; the second begins with poor consumers."""
    state = initial_state(config, 2, dtype=torch.float64)
    if config.consumer_debt_penalty:  # far below zero, which rounding alone cannot do
        state = type(state)(**{**vars(state), "consumer_budget": state.consumer_budget - 1e9})
    history = {name: [value] for name, value in vars(state).items() if name != "shocks"}
    for t in range(4):
        indices = random_indices(config, 2, seed=t)
        if config.consumer_debt_penalty:  # in debt, one buys nothing
            indices["consumer"][..., : config.num_firms] = 0
        state, flows = period(config, state, decode(config, **indices, dtype=torch.float64))
        for part in (state, flows):
            for name, value in vars(part).items():
                if name != "shocks":  # paths of numbers, none but where they move
                    history.setdefault(name, []).append(value)
    found = {name: torch.stack(values) for name, values in history.items()}
    return found | {"sales0": history["sales"][0]}


def differ(one: torch.Tensor, two: torch.Tensor) -> bool:
    return one.shape != two.shape or not torch.equal(one, two)


@pytest.mark.parametrize("field", EconomyConfig.model_fields)
def test_each_field_changes_what_it_should_and_nothing_else(field: str):
    assert field in CASES, f"{field} is new: say here what it changes"
    others, value, must, must_not = CASES[field]
    base = EconomyConfig(**(BASE | others))
    changed = base.replace(**{field: value})
    assert changed != base
    before, after = fingerprint(base), fingerprint(changed)
    assert all(torch.isfinite(quantity).all() for quantity in after.values())
    unmoved = {name for name in must if not differ(before[name], after[name])}
    moved = {name for name in must_not if differ(before[name], after[name])}
    assert not unmoved, f"{field} does not change {unmoved}"
    assert not moved, f"{field} changes {moved}"


def test_there_is_no_case_for_a_field_that_is_gone():
    assert set(CASES) == set(EconomyConfig.model_fields)


def test_the_same_configuration_leaves_the_same_fingerprint():
    config = EconomyConfig(**BASE)
    before, after = fingerprint(config), fingerprint(config.replace())
    assert not any(differ(before[name], after[name]) for name in before)
