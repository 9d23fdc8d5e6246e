"""Shopping: known answers, from the best basket there is to spreading money evenly."""

from __future__ import annotations

import json

import pytest
import torch

from rbc_marl import EconomyConfig
from rbc_marl.analysis.shopping import Shopping, baskets, shopping
from rbc_marl.mechanics.utility import utility_of
from rbc_marl.policies.scripted import ScriptedPolicies

CONFIG = EconomyConfig(num_consumers=6, num_firms=5)


class Shoppers:
    """Consumers who request a given basket of the prices and the money in front of them."""

    encoding, device = "symlog", torch.device("cpu")

    def __init__(self, config, basket):
        self.config, self.basket = config, basket

    def act(self, observation, generator=None, greedy=False, *, state):
        shape = (*state.consumer_budget.shape, self.config.num_firms)
        units = self.basket(state.price.double().unsqueeze(1).expand(shape), state.consumer_budget.double()[..., None])
        requests = units.round().long()
        work = torch.zeros(*shape[:2], 2, dtype=torch.int64)
        return {
            "consumer": torch.cat([requests, work], dim=-1),
            "firm": torch.zeros(shape[0], self.config.num_firms, dtype=torch.int64),
            "government": torch.zeros(shape[0], dtype=torch.int64),
        }


def whole_units(price, money):
    """The best basket of whole units, unit by unit: of each next unit the most utility for the money."""
    units = torch.zeros_like(price)
    left = money.clone()
    for _ in range(10 * price.shape[-1]):
        gain = (utility_of(units + 1, CONFIG.crra) - utility_of(units, CONFIG.crra)) / price
        gain = gain.masked_fill((units >= 10) | (price > left), -1.0)
        best = gain.argmax(-1, keepdim=True)
        buys = gain.gather(-1, best) > 0
        units = units.scatter_add(-1, best, buys.to(units.dtype))
        left = left - price.gather(-1, best) * buys
    return units


def test_the_best_basket_of_whole_units_comes_close_to_all_of_the_possible_gain():
    measured = shopping(Shoppers(CONFIG, whole_units))
    assert 0.95 <= measured.share <= 1.0


def test_spreading_money_evenly_has_nothing_of_the_possible_gain():
    measured = shopping(Shoppers(CONFIG, lambda price, money: torch.full_like(price, 10.0)))
    assert measured.share == pytest.approx(0.0, abs=1e-9)
    assert measured.elasticity > -0.5


def test_demand_falls_with_the_own_price_where_shoppers_see_it():
    measured = shopping(Shoppers(CONFIG, whole_units))
    units = [measured.demand[price] for price in sorted(measured.demand)]
    assert units == sorted(units, reverse=True)
    assert units[-2] > 3 * units[-1]
    assert measured.elasticity < -2


@pytest.mark.parametrize(
    ("demand", "elasticity"),
    [
        ({500: 33, 1000: 31, 2000: 26, 2500: 24}, -0.36),
        ({500: 900, 1000: 580, 1500: 150, 2000: 0.1, 2500: 0}, -2.945),  # above 1,500 nobody buys
        ({500: 10, 1000: 0}, 0.0),
        ({500: 0, 1000: 0}, 0.0),
        ({500: 5}, 0.0),
    ],
)
def test_an_elasticity_is_that_where_demand_ends(demand, elasticity):
    assert Shopping(0.5, demand).elasticity == pytest.approx(elasticity, abs=0.001)


def test_rules_that_buy_the_cheapest_first_are_seen_to_do_so():
    assert shopping(ScriptedPolicies(CONFIG, "monopoly")).share > 0.5


@pytest.mark.parametrize("fields", [{}, {"crra": 0.0}, {"crra": 0.5}, {"num_consumers": 6, "num_firms": 5}])
def test_rational_consumers_have_nearly_all_of_the_possible_gain(fields):
    config = EconomyConfig(**fields)
    rational, cheapest = (shopping(ScriptedPolicies(config, rules)).share for rules in ("rational", "monopoly"))
    assert rational >= 0.98
    if config.crra > 0:
        assert rational > cheapest


@pytest.mark.parametrize("fields", [{"num_consumers": 1, "num_firms": 1}, {"price_choices": (0.0,)}, {"crra": 1.0}])
def test_odd_economies_are_measured_too(fields):
    config = EconomyConfig(**{"num_consumers": 3, "num_firms": 2} | fields)
    measured = shopping(ScriptedPolicies(config, "monopoly"), situations=4)
    assert (measured.share is None) == (fields != {"crra": 1.0})
    assert json.dumps(measured.to_dict(), allow_nan=False)
    assert measured.describe()
    assert set(measured.demand) == ({price for price in config.price_choices if price > 0} or {1.0})
    assert all(units >= 0 for units in measured.demand.values())


def test_baskets_cost_no_more_than_the_money_there_is():
    price = torch.full((3, 5), 2000.0, dtype=torch.float64)
    units = baskets(Shoppers(CONFIG, lambda price, money: torch.full_like(price, 10.0)), price, 5000.0, 11.0)
    torch.testing.assert_close((units * 2000.0).sum(-1), torch.full((3, 6), 5000.0, dtype=torch.float64))
