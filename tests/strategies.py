"""Random economies, states and decisions (hypothesis), extremes included: nothing to spend, free goods, full taxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st

from rbc_marl.config import EconomyConfig
from rbc_marl.economy import Actions, EconomyState, initial_state

CONSUMERS = st.sampled_from([1, 2, 3, 7, 20])
FIRMS = st.sampled_from([1, 2, 3, 5, 13])


@dataclass(frozen=True)
class Situation:
    """An economy, where it stands, and what everybody decides; tensors in float64."""

    config: EconomyConfig
    state: EconomyState
    actions: Actions

    def to(self, dtype: torch.dtype) -> Situation:
        """The same with other floating-point tensors."""
        return Situation(self.config, self.state.to(dtype=dtype), self.actions.to(dtype=dtype))


@st.composite
def economies(draw: st.DrawFn) -> EconomyConfig:
    """A valid configuration. Thresholds are representable in float32, so that both dtypes see the same ones."""
    consumers, firms = draw(CONSUMERS), draw(FIRMS)
    money = st.sampled_from([0.0, 1.0, 30.0, 2000.0, 1e5])
    capital = st.sampled_from([1.0, 100.0, 5000.0])
    alpha = st.sampled_from([0.2, 0.5, 0.8, 1.0])

    def each(value: st.SearchStrategy[float], count: int) -> st.SearchStrategy[float | tuple[float, ...]]:
        return value | st.lists(value, min_size=count, max_size=count).map(tuple)

    return EconomyConfig(
        num_consumers=consumers,
        num_firms=firms,
        horizon=draw(st.integers(1, 4)),
        open_economy=draw(st.booleans()),
        export_price=draw(st.sampled_from([0.0, 2.0, 500.0, 1000.0])),
        export_quota=draw(st.sampled_from([0.0, 0.5, 10.0, 1000.0])),
        crra=draw(st.sampled_from([0.0, 0.1, 0.3, 0.9, 1.0, 1.5, 3.0])),
        labour_disutility=draw(st.sampled_from([0.0, 0.01, 0.5])),
        labour_disutility_pareto_shape=draw(st.sampled_from([None, 0.5, 4.0])),
        interest_rate=draw(st.sampled_from([0.0, 0.1, 1.0])),
        labour_floor=draw(st.sampled_from([0.0, 260.0, 1040.0])),
        technology=draw(st.sampled_from([0.0, 0.01, 1.0])),
        consumer_grant=draw(st.sampled_from([0.0, 0.01, 5.0])),
        dividend_share=draw(st.sampled_from([0.0, 0.25, 1.0])),
        initial_price=draw(st.sampled_from([0.0, 2.0, 1000.0])),
        initial_wage=draw(st.sampled_from([0.0, 0.01, 22.0])),
        initial_inventory=draw(st.sampled_from([0.0, 3.0, 200.0])),
        initial_consumer_budget=draw(each(money, consumers)),
        initial_firm_budget=draw(st.none() | each(money, firms)),
        initial_capital=draw(st.just("two_level") | each(capital, firms)),
        labour_exponent=draw(st.just("paper") | each(alpha, firms)),
        price_choices=draw(st.sampled_from([(0.0, 500.0, 1000.0, 2500.0), (0.0, 1.0, 2.0, 5.0), (0.0,)])),
        wage_choices=draw(st.sampled_from([(0.0, 11.0, 44.0), (0.01,)])),
        investment_choices=draw(st.sampled_from([(0.1,), (0.0, 0.5, 1.0)])),
        income_tax_choices=draw(st.sampled_from([(0.0, 0.4, 1.0), (1.0,)])),
        corporate_tax_choices=draw(st.sampled_from([(0.0, 0.2, 0.6, 1.0), (1.0,)])),
        welfare=draw(st.sampled_from(["total", "consumers"])),
        firm_welfare_weight=draw(st.sampled_from([0.0, 0.0025, 1.0])),
        revenue_bonus=draw(st.sampled_from([0.0, 0.25])),
        consumer_debt_penalty=draw(st.sampled_from([0.0, 0.3])),
        firm_debt_penalty=draw(st.sampled_from([0.0, 0.7])),
        consumer_debt_scale=draw(st.sampled_from([1.0, 10.0])),
        firm_debt_scale=draw(st.sampled_from([1.0, 100.0])),
    )


PARTS: dict[str, list[object]] = {
    "utility": [
        "crra", "cara", {"kind": "cara", "aversion": 2.0}, "basket", {"kind": "basket", "substitution": 0.3},
        {"kind": "basket", "substitution": 4.0}, {"kind": "basket", "substitution": 1e3}, "ghh",
        {"kind": "ghh", "substitution": 1e3},
    ],
    "disutility": ["linear", "power", {"kind": "power", "exponent": 4.5, "usual": 100.0}],
    "production": ["cobb_douglas", "ces", {"kind": "ces", "substitution": 3.0}, {"kind": "ces", "substitution": 0.1}],
    "wage_tax": [
        "flat", "brackets", {"kind": "brackets", "thresholds": [100.0, 9000.0], "rates": [0.0, 0.5, 1.0]},
        {"kind": "brackets", "thresholds": [100.0, 9000.0], "factors": [0.5, 1.0, 3.0]},
    ],
    "transfers": [
        "equal", "poorest", {"kind": "poorest", "share": 0.1}, "by_income", {"kind": "by_income", "limit": 1.0},
    ],
    "welfare": [
        "total", "consumers", "rawls", "atkinson", {"kind": "atkinson", "aversion": 20.0, "least": -100.0},
        {"kind": "atkinson", "aversion": 0.0}, "nash", {"kind": "weighted", "weights": [2.0], "firms": 0.1},
    ],
    "depreciation": [0.0, 0.1, 1.0],
    "consumption_tax": [0.0, 0.2, 3.0], "firm_objective": ["profit", "owners"], "discount": [1.0, 0.9],
}  # fmt: skip
"""Parts of every kind, and the numbers beside them."""
ONE_GOOD = {"kind": "basket", "substitution": 1e3}
CLEARING = {"market": "clearing", "open_economy": False, "dividend_share": 1.0, "utility": ONE_GOOD}
"""Fields of an economy of any size in which markets clear."""


@st.composite
def situations(draw: st.DrawFn, num_envs: int = 2, *, parts: bool = False) -> Situation:
    """An economy anywhere, with quantities that need not lie on its grids; with parts other mechanics, too.

    Hypothesis chooses the economy and the kind of each quantity; the numbers come from a seed that it chooses.
    """
    config = draw(economies())
    if parts:
        config = config.replace(**{name: draw(st.sampled_from(kinds)) for name, kinds in PARTS.items()})
        if draw(st.booleans()):
            config = config.replace(**CLEARING)
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    envs, consumers, firms = num_envs, config.num_consumers, config.num_firms

    def some(highest: float, *shape: int, lowest: float = 0.0) -> torch.Tensor:
        """Zero, the highest value, anything between them, or a mixture."""
        kind = draw(st.sampled_from(["zero", "highest", "between", "mixed"]))
        shape = (envs, *shape)
        between = random.uniform(lowest, highest, size=shape)
        zero, high = np.zeros(shape), np.full(shape, highest)
        which = random.integers(3, size=shape)
        mixed = np.where(which == 0, zero, np.where(which == 1, high, between))
        return torch.from_numpy({"zero": zero, "highest": high, "between": between, "mixed": mixed}[kind])

    start = initial_state(config, envs, dtype=torch.float64)
    state = EconomyState(
        price=some(2500.0, firms),
        wage=some(44.0, firms),
        inventory=some(150.0, firms),
        overdemanded=torch.from_numpy(random.integers(2, size=(envs, firms)).astype(float)),
        income_tax=some(1.0),
        corporate_tax=some(1.0),
        time=torch.from_numpy(random.integers(config.horizon, size=envs).astype(float)),
        consumer_budget=some(5e4, consumers),
        labour_disutility=start.labour_disutility.clone(),
        firm_budget=some(1e6, firms, lowest=-1e6),
        capital=1.0 + some(2e4, firms),
        labour_exponent=start.labour_exponent.clone(),
    )
    return Situation(config, state, draw(decisions(config, envs, random)))


@st.composite
def decisions(draw: st.DrawFn, config: EconomyConfig, num_envs: int, random: np.random.Generator) -> Actions:
    """Decisions of everybody: anything from nothing to everything, jobs anywhere or all with one firm."""
    envs, consumers, firms = num_envs, config.num_consumers, config.num_firms

    def some(highest: float, *shape: int) -> torch.Tensor:
        low, high = draw(st.sampled_from([(0.0, 0.0), (highest, highest), (0.0, highest)]))
        return torch.from_numpy(random.uniform(low, high, size=(envs, *shape)))

    # Whole hours: sums are exact in both dtypes, so that the labour floor is never a matter of rounding.
    hours = some(1040.0, consumers).round()
    employer = torch.from_numpy(random.integers(firms, size=(envs, consumers)))
    if draw(st.booleans()):
        employer = torch.zeros_like(employer)
    return Actions(
        demand=some(10.0, consumers, firms),
        hours=hours,
        employer=employer,
        price=some(2500.0, firms),
        wage=some(44.0, firms),
        investment_fraction=some(1.0, firms),
        income_tax=some(1.0),
        corporate_tax=some(1.0),
    )
