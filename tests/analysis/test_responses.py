"""Responses to prices and wages, on consumers whose responses are known."""

from __future__ import annotations

import pytest
import torch

from rbc_marl import preset
from rbc_marl.analysis.responses import responses
from rbc_marl.policies.scripted import UniformPolicies

ECONOMY = preset("open", num_consumers=8, num_firms=3)


class Deciding(UniformPolicies):
    """Consumers who demand more of what is cheap, and work longer for better wages, as strongly as told."""

    def __init__(self, demand, work):
        super().__init__(ECONOMY)
        self.demand, self.work = demand, work

    def act(self, observation, generator=None, greedy=False, *, state=None):
        indices = super().act(observation, generator, greedy, state=state)
        consumer = indices["consumer"].clone()
        price = (state.price / 500).round().long()  # 0 .. 5
        if self.demand:
            consumer[..., :3] = (10 - 2 * price if self.demand > 0 else 2 * price).unsqueeze(1)
        if self.work:
            wage = (state.wage / 11).round().long().gather(1, consumer[..., -1])  # 0 .. 4
            consumer[..., -2] = wage if self.work > 0 else 4 - wage
        return {**indices, "consumer": consumer}


@pytest.mark.parametrize("sign", [1, -1])
def test_consumers_who_answer_exactly_have_correlations_of_one(sign):
    found = responses(Deciding(sign, sign), num_episodes=16)
    assert found["price_demand"] == pytest.approx(-sign)
    assert found["price_request"] == pytest.approx(-sign)
    assert found["wage_hours"] == pytest.approx(sign)
    assert found["wage_labour"] * sign > 0.2  # how many choose a firm is chance


def test_consumers_who_do_not_look_have_none():
    found = responses(Deciding(0, 0), num_episodes=64)
    assert all(abs(value) < 0.08 for value in found.values())


def test_a_market_shows_what_single_consumers_hide():
    class HalfLooking(Deciding):
        def act(self, observation, generator=None, greedy=False, *, state=None):
            exact = super().act(observation, generator, greedy, state=state)["consumer"]
            chance = UniformPolicies(ECONOMY).act(observation, generator)["consumer"]
            is_exact = torch.rand(exact.shape, generator=generator) < 0.3
            return {
                **UniformPolicies(ECONOMY).act(observation, generator),
                "consumer": torch.where(is_exact, exact, chance),
            }

    found = responses(HalfLooking(1, 1), num_episodes=64)
    assert found["price_demand"] < 1.5 * found["price_request"] < 0


def test_the_same_seed_gives_the_same_numbers_and_an_economy_of_one_period_gives_none():
    assert responses(Deciding(1, 0), 8, seed=1) == responses(Deciding(1, 0), 8, seed=1)
    assert responses(Deciding(1, 0), 8, seed=1) != responses(Deciding(1, 0), 8, seed=2)
    assert set(responses(UniformPolicies(ECONOMY.replace(horizon=1)), 4).values()) == {0.0}
