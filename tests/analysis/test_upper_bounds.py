"""Upper bounds: no return is above them in any economy, and known answers are met."""

from __future__ import annotations

import pytest
import torch

from rbc_marl import ConfigError, EconomyConfig
from rbc_marl.analysis.deviators import Deviator
from rbc_marl.analysis.gains import measure
from rbc_marl.analysis.rollouts import play
from rbc_marl.analysis.searches import best_alternatives
from rbc_marl.analysis.upper_bounds import PathRecorder, PricePath, dual, lacks_bounds, upper_bounds
from rbc_marl.policies.scripted import ScriptedPolicies, UniformPolicies
from rbc_marl.policies.trembles import Trembles
from rbc_marl.processes import Shocks
from tests.economy.own_parts import Effort, Satiable

SMALL = EconomyConfig(num_consumers=5, num_firms=3, horizon=4, export_quota=3.0, initial_inventory=10.0)
ECONOMIES = {
    "open": SMALL,
    "interest, debts penalised": SMALL.replace(interest_rate=0.3, consumer_debt_penalty=2.0),
    "dividends": SMALL.replace(dividend_share=0.5, open_economy=False),
    "log, free goods": SMALL.replace(crra=1.0, initial_price=0.0),
    "no curvature": SMALL.replace(crra=0.0, consumption_choices=(0.0, 0.5, 3.0)),
    "cara, hours that cost more and more": SMALL.replace(utility={"kind": "cara", "aversion": 0.4}, disutility="power"),
    "goods are taxed, capital wears out": SMALL.replace(consumption_tax=0.4, depreciation=0.2, production="ces"),
    "a utility without formulas": SMALL.replace(utility=Satiable(limit=3.0)),
    "curved, poor": SMALL.replace(crra=2.0, initial_consumer_budget=(0.0, 1.0, 900.0, 2e3, 1e6)),
}


@pytest.mark.parametrize("name", ECONOMIES)
@pytest.mark.parametrize("rules", [None, "rational", "full_employment"])
def test_no_consumer_has_more_than_its_bound_on_the_path_that_was_played(name, rules):
    config = ECONOMIES[name]
    policies = UniformPolicies(config) if rules is None else ScriptedPolicies(config, rules)
    recorder = PathRecorder(config, tuple(range(5)))
    returns = play(policies, 40, 3, slab=16, watch=recorder).returns["consumer"].double()
    for steps in (0, 200):
        bounds, values = upper_bounds(config, recorder.path(), steps)
        assert bounds.shape == returns.shape == (40, 5) and values.shape == (40, 5, 4)
        assert (bounds >= returns).all() and (values >= 0).all() and (values[..., -1] == 0).all()
    assert bounds.mean() < 3 * returns.abs().mean() + 200  # and no bound that says nothing


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"utility": "ghh"}, "utility ghh"), ({"wage_tax": "brackets"}, "wage_tax brackets"),
        ({"transfers": "poorest"}, "transfers poorest"), ({"disutility": Effort()}, "disutility tests.*:Effort"),
    ],
)  # fmt: skip
def test_there_are_no_bounds_with_some_parts(fields, part):
    config = SMALL.replace(**fields)
    recorder = PathRecorder(config, (0,))
    play(UniformPolicies(config), 2, 3, watch=recorder)
    with pytest.raises(ConfigError, match=f"^there are no upper bounds with {part}; "):
        upper_bounds(config, recorder.path())


def path(price, pay, income, money, theta=0.0):
    """One consumer in one episode: price [T][F], pay [T], income [T]."""
    price, pay, income = (torch.tensor(x, dtype=torch.float64) for x in (price, pay, income))
    one = torch.tensor([[theta]], dtype=torch.float64)
    money = torch.tensor([[money]], dtype=torch.float64)
    return PricePath(price[None, None], price[None, None], pay[None, None], income[None, None], one[..., None], money)


def utility(units, crra):
    return ((units + 1) ** (1 - crra) - 1) / (1 - crra)


def bound_of(config, given):
    return float(upper_bounds(config, given)[0])


def test_one_period_with_one_good_spends_all_money():
    config = EconomyConfig(num_consumers=1, num_firms=1, horizon=1, crra=0.5)
    assert bound_of(config, path([[2.0]], [0.0], [9.0], 8.0)) == pytest.approx(utility(4.0, 0.5), rel=1e-5)
    # What comes in now is spent later, if there is a later; and nobody buys more than can be chosen.
    assert bound_of(config, path([[2.0]], [0.0], [0.0], 80.0)) == pytest.approx(utility(10.0, 0.5), rel=1e-3)


def test_money_is_spread_over_goods_and_periods_and_earns_interest():
    config = EconomyConfig(num_consumers=1, num_firms=2, horizon=2, crra=0.5, interest_rate=0.5)
    # Marginal utility per unit of money falls with interest: (1 + c) is (1.5)^2 times as large in the second period.
    given = path([[1.0, 1.0], [1.0, 1.0]], [0.0, 0.0], [0.0, 0.0], 6.0)
    first = (6.0 * 1.5 + 2.0 + 3.0) / (2.0 * 1.5**2 + 2.0 * 1.5) - 1.0
    second = 1.5 * (6.0 - 2.0 * first) / 2.0
    assert 1.0 + second == pytest.approx(1.5**2 * (1.0 + first))
    best = 2.0 * (utility(first, 0.5) + utility(second, 0.5))
    assert bound_of(config, given) == pytest.approx(best, rel=1e-4)


def test_hours_are_worked_as_long_as_what_they_buy_is_worth_it():
    config = EconomyConfig(num_consumers=1, num_firms=1, horizon=2, crra=0.5, hours_choices=(0.0, 100.0))
    # An hour of the first period buys a unit in the second: marginal utility (1 + c)^-0.5 meets theta / 2 = 0.5 at 3.
    given = path([[1.0], [1.0]], [1.0, 1.0], [0.0, 0.0], 0.0, theta=1.0)
    assert bound_of(config, given) == pytest.approx(utility(3.0, 0.5) - 0.5 * 3.0, rel=5e-3)


def test_any_multipliers_give_a_bound_and_the_gradient_is_that_of_the_bound():
    config = EconomyConfig(num_consumers=1, num_firms=2, horizon=3, crra=0.7, interest_rate=0.1)
    given = path([[1.0, 2.0], [3.0, 1.0], [2.0, 2.0]], [0.1, 0.2, 0.3], [1.0, 0.0, 1.0], 5.0, theta=0.2)
    best = bound_of(config, given)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        multipliers = torch.rand(1, 1, 3, generator=generator, dtype=torch.float64) + 0.05
        bound, slack = dual(config, given, multipliers)
        assert float(bound) >= best - 1e-9
        for t in range(3):
            step = torch.zeros_like(multipliers)
            step[..., t] = 1e-6
            above, below = (float(dual(config, given, multipliers + sign * step)[0]) for sign in (1.0, -1.0))
            assert (above - below) / 2e-6 == pytest.approx(float(slack[..., t]), rel=1e-2, abs=1e-3)


def test_there_are_no_bounds_where_what_they_read_moves():
    path = {"kind": "path", "values": [1.0]}
    found = {name: lacks_bounds(EconomyConfig(shocks={name: path})) for name in Shocks.by_period()}
    reads = ("workers", "crra", "interest_rate", "consumer_grant", "dividend_share", "consumption_tax")
    assert found == {name: f"shocks.{name}" if name in reads else "" for name in Shocks.by_period()}
    config = EconomyConfig(num_consumers=3, num_firms=2, horizon=3, shocks={"workers": path})
    policies = UniformPolicies(config)
    assert best_alternatives(policies, Deviator("consumer", 0), torch.zeros(4), 0) == []
    assert measure(policies, Deviator("consumer", 0), {}, 4, 0, Trembles())["upper"] is None
