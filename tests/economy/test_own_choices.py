"""Values of a consumer's own choices: what `period` gives where one choice of one consumer is changed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rbc_marl import EconomyConfig, decode
from rbc_marl.choices import sample_indices
from rbc_marl.economy import initial_state, period
from rbc_marl.economy.own_choices import Market, consumption_values, market_of, value_of_money

ECONOMIES = {
    "plenty": {"num_consumers": 100, "num_firms": 4, "initial_inventory": 1000.0},
    "scarce": {"num_consumers": 100, "num_firms": 4, "initial_inventory": 50.0},
    "logarithmic": {"num_consumers": 100, "num_firms": 4, "initial_inventory": 300.0, "crra": 1.0},
    "interest": {"num_consumers": 100, "num_firms": 4, "initial_inventory": 300.0, "interest_rate": 0.1},
    "dividends": {"num_consumers": 100, "num_firms": 4, "initial_inventory": 300.0, "dividend_share": 1.0},
    "one firm": {"num_consumers": 100, "num_firms": 1, "initial_inventory": 300.0},
    "one consumer": {"num_consumers": 1, "num_firms": 3, "initial_inventory": 7.0},
    "free goods": {"num_consumers": 20, "num_firms": 3, "initial_inventory": 50.0, "price_choices": (0.0, 500.0)},
}
CONSUMER, HORIZON, EPISODES = 0, 6, 8


class Episodes:
    """Episodes of random actions, which can be played again with one thing changed."""

    def __init__(self, **fields):
        self.config = EconomyConfig(horizon=HORIZON, **fields)
        generator = torch.Generator().manual_seed(3)
        draws = [sample_indices(self.config, EPISODES, generator) for _ in range(HORIZON)]
        self.actions = [decode(self.config, **draw, dtype=torch.float64) for draw in draws]
        self.returns, self.steps = self.play()
        self.requested = torch.stack([actions.demand for actions in self.actions])

    def play(self, at=None, change=None):
        state = initial_state(self.config, EPISODES, dtype=torch.float64)
        returns, steps = torch.zeros(EPISODES, dtype=torch.float64), []
        for t, actions in enumerate(self.actions):
            if t == at:
                state, actions = change(state, actions)
            after, flows = period(self.config, state, actions)
            steps.append((state, flows))
            returns = returns + flows.consumer_reward[:, CONSUMER]
            state = after
        return returns, steps

    @property
    def market(self):
        return Market(*map(torch.stack, zip(*(market_of(self.config, *step) for step in self.steps), strict=True)))

    def gains(self, t, good):
        """[EPISODES, K] of each number of units of a good in period t over the units that were asked for."""

        def asks(units):
            def change(state, actions):
                demand = actions.demand.clone()
                demand[:, CONSUMER, good] = units
                return state, replace(actions, demand=demand)

            return change

        returns = [self.play(t, asks(units))[0] for units in self.config.consumption_choices]
        return torch.stack(returns, -1) - self.returns.unsqueeze(-1)


@pytest.fixture(params=ECONOMIES, scope="module")
def episodes(request):
    return Episodes(**ECONOMIES[request.param])


def test_money_is_worth_what_one_more_unit_of_it_adds(episodes):
    later = value_of_money(episodes.config, episodes.market, episodes.requested, discount=1.0)
    assert (later[-1] == 0).all()
    for t in range(HORIZON - 1):

        def richer(state, actions):
            budget = state.consumer_budget.clone()
            budget[:, CONSUMER] += 0.01
            return replace(state, consumer_budget=budget), actions

        # Money at the end of period t has earned its interest already; its owner pays a little of it to the others.
        added = (episodes.play(t + 1, richer)[0] - episodes.returns) / 0.01 * (1 + episodes.config.interest_rate)
        torch.testing.assert_close(later[t, :, CONSUMER], added, rtol=0.05, atol=1e-5)


def test_units_are_worth_what_the_period_gives_for_them(episodes):
    market, requested = episodes.market, episodes.requested
    later = value_of_money(episodes.config, market, requested, discount=1.0)
    values = consumption_values(episodes.config, market, requested, later)[:, :, CONSUMER]
    for t in (2, HORIZON - 1):
        for good in range(episodes.config.num_firms):
            taken = requested[t, :, CONSUMER, good].long().unsqueeze(-1)
            valued = values[t, :, good] - values[t, :, good].gather(-1, taken)
            real = episodes.gains(t, good)
            # A parabola stands for the utility of all other goods. Before the last period, a slope does for later ones.
            tolerance = 0.04 if t == HORIZON - 1 else 0.15
            assert (valued - real).square().mean().sqrt() <= tolerance * real.square().mean().sqrt() + 1e-3, (t, good)


def test_a_later_discount_makes_money_worth_less(episodes):
    patient, hasty = (value_of_money(episodes.config, episodes.market, episodes.requested, d) for d in (1.0, 0.5))
    assert (hasty <= patient).all()
    torch.testing.assert_close(hasty[-2], 0.5 * patient[-2])
