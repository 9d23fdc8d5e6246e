"""Best baskets: against all baskets there are, and where units are few, free or out of order."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from rbc_marl import EconomyConfig
from rbc_marl.economy.baskets import best_baskets, cheapest_first, unit_steps
from rbc_marl.mechanics.utility import utility_of

CONFIG = EconomyConfig(num_consumers=6, num_firms=5)
PRICES = [[500.0, 700.0, 2000.0], [900.0, 900.0, 900.0], [1.0, 2500.0, 40.0]]


@pytest.mark.parametrize("crra", [0.0, 0.1, 0.5, 1.0, 3.0])
def test_no_basket_of_the_same_spending_is_better_than_the_best(crra):
    config = CONFIG.replace(crra=crra)
    generator = torch.Generator().manual_seed(0)
    price = 100.0 + 2400.0 * torch.rand(50, 1, 5, generator=generator, dtype=torch.float64)
    others = 10.0 * torch.rand(50, 40, 5, generator=generator, dtype=torch.float64)
    spending = (others * price).sum(-1, keepdim=True)
    best = best_baskets(config, price, spending)
    torch.testing.assert_close((best * price).sum(-1, keepdim=True), spending, rtol=1e-6, atol=1e-3)
    assert (best >= 0).all()
    assert (best <= 10).all()
    assert (utility_of(best, crra).sum(-1) >= utility_of(others, crra).sum(-1) - 1e-9).all()


@pytest.mark.parametrize("choices", [(0.0, 1.0, 2.0, 3.0), (4.0, 0.0, 1.0), (1.0, 2.0)])
@pytest.mark.parametrize("crra", [0.0, 0.1, 1.0, 3.0])
def test_no_basket_of_whole_units_is_better_than_the_best_steps_that_cost_no_less(crra, choices):
    config = EconomyConfig(num_firms=3, crra=crra, consumption_choices=choices)
    price, table = torch.tensor(PRICES).double(), torch.tensor(sorted(choices)).double()
    steps = unit_steps(config, price)
    all_baskets = torch.tensor(list(product(choices, repeat=3))).double()
    costs, utilities = all_baskets @ price.T, utility_of(all_baskets, crra).sum(-1)
    for count in range(steps.cost.shape[1]):
        units = table[steps.units(torch.full((3, 1), count))].squeeze(1)
        cost = (units * price).sum(-1)
        torch.testing.assert_close(steps.cost[:, count], cost)
        best = torch.stack([utilities[costs[:, row] <= cost[row] + 1e-6].max() for row in range(3)])
        torch.testing.assert_close(utility_of(units, crra).sum(-1), best)


def test_money_pays_for_the_steps_that_cost_no_more():
    steps = unit_steps(EconomyConfig(num_firms=2, crra=0.0), torch.tensor([[100.0, 300.0]]))
    assert steps.affordable(torch.tensor([[0.0, 99.0, 100.0, 1299.0, 1300.0, 1e9]]).double()).tolist() == [
        [0, 0, 1, 10, 11, 20]
    ]
    assert steps.units(torch.tensor([[0, 1, 11]])).tolist() == [[[0, 0], [1, 0], [10, 1]]]


def test_utility_of_money_counts_parts_of_steps_and_ends_with_the_last():
    steps = unit_steps(EconomyConfig(num_firms=2, crra=0.0), torch.tensor([[100.0, 300.0]]))
    utility = steps.utility_of(torch.tensor([[0.0, 50.0, 1150.0, 4000.0, 1e9]]).double())
    torch.testing.assert_close(utility, torch.tensor([[0.0, 0.5, 10.5, 20.0, 20.0]]).double())


def test_free_goods_come_first_and_without_money():
    steps = unit_steps(EconomyConfig(num_firms=2), torch.tensor([[100.0, 0.0]]))
    none = torch.zeros(1, 1, dtype=torch.float64)
    assert steps.units(steps.affordable(none)).tolist() == [[[0, 10]]]
    assert steps.utility_of(none).isfinite().all()


def test_units_beyond_the_supply_keep_their_place_and_cost_and_bring_nothing():
    price, config = torch.tensor([[100.0, 300.0]]), EconomyConfig(num_firms=2, crra=0.0)
    steps = unit_steps(config, price, torch.tensor([[2.5, torch.inf]]))
    assert torch.equal(steps.rank, unit_steps(config, price).rank)
    assert steps.cost[0, [2, 3, 10, 11]].tolist() == [200.0, 250.0, 250.0, 550.0]
    assert steps.utility_of(torch.tensor([[250.0, 400.0]]).double()).tolist() == [[2.5, 3.0]]


def test_one_number_of_units_leaves_no_step():
    steps = unit_steps(EconomyConfig(num_firms=2, consumption_choices=(3.0,)), torch.tensor([[100.0, 300.0]]))
    money = torch.tensor([[0.0, 1e6]]).double()
    assert steps.units(steps.affordable(money)).tolist() == [[[0, 0], [0, 0]]]
    assert steps.utility_of(money).tolist() == [[0.0, 0.0]]


def test_the_cheapest_goods_first():
    price = torch.tensor([[300.0, 0.0, 100.0], [200.0, 200.0, 100.0]])
    units = cheapest_first(price, torch.tensor([[1300.0], [1300.0]]), 10.0)
    assert units.tolist() == [[1.0, 10.0, 10.0], [1.5, 0.0, 10.0]]
