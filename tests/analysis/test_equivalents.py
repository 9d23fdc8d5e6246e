"""Consumption equivalents, with numbers that can be worked out by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from rbc_marl import ConfigError, preset
from rbc_marl.analysis.equivalents import consumption_equivalent
from rbc_marl.analysis.rollouts import play
from rbc_marl.policies.scripted import ScriptedPolicies, UniformPolicies

LINEAR = preset("open", num_consumers=2, num_firms=2, horizon=2, crra=0.0)


def living(units, utility, config=LINEAR):
    """An episode in which each of two consumers has so many units of either good in both periods."""
    episodes = play(UniformPolicies(config), 1)
    returns = {**episodes.returns, "consumer": torch.full((1, 2), utility)}
    return dataclasses.replace(episodes, returns=returns, baskets=torch.full((1, 2, 2, 2), units))


def share(home, other, consumers=None):
    return consumption_equivalent(home, other, consumers)["gain"]


def test_with_linear_utility_the_share_is_that_of_the_units():
    # 4 units in either good and period are worth 16; half of that is disutility. At home 4 are left, abroad 8.
    assert share(living(1.0, 4.0), living(4.0, 8.0)) == pytest.approx(4 / 16)
    assert share(living(4.0, 8.0), living(1.0, 4.0)) == pytest.approx(-4 / 4)
    assert share(living(4.0, 8.0), living(4.0, 8.0)) == pytest.approx(0.0, abs=1e-9)


def test_with_logarithmic_utility_units_are_scaled_within_it():
    config = LINEAR.replace(crra=1.0)
    # Utility of 3 units: log 4 in each of four goods and periods; a third of them, 1 unit: log 2.
    four, two = 4 * float(torch.tensor(4.0).log()), 4 * float(torch.tensor(2.0).log())
    assert share(living(9.0, two, config), living(3.0, four, config)) == pytest.approx(2 / 3)


def test_later_consumption_counts_as_much_less_as_later_rewards():
    """Of 4 units in either good the first period is worth 8, and the second half of that."""
    config = LINEAR.replace(discount=0.5)
    assert share(living(1.0, 3.0, config), living(4.0, 12.0, config)) == pytest.approx(9 / 12)
    with pytest.raises(ConfigError, match=r"discount is 0\.5 in one economy and 1 in the other"):
        share(living(1.0, 3.0, config), living(1.0, 3.0))


def test_differences_that_no_consumption_makes_up_for_have_no_share():
    assert consumption_equivalent(living(1.0, 4.0), living(0.0, 0.0)) is None  # nothing to be scaled
    assert consumption_equivalent(living(1.0, 4.0), living(0.0, 5.0)) is None
    assert consumption_equivalent(living(1.0, -50.0), living(4.0, 8.0)) is None  # better there even without goods
    bounded = LINEAR.replace(crra=3.0)  # utility of a good stays below one half
    assert consumption_equivalent(living(1.0, 40.0, bounded), living(1.0, 1.0, bounded)) is None


def test_played_economies_are_compared_both_ways():
    config = preset("open", num_consumers=6, num_firms=3, horizon=4)
    poor, rich = (play(p, 8, baskets=True) for p in (ScriptedPolicies(config, "monopoly"), UniformPolicies(config)))
    assert rich.baskets.shape == (8, 4, 6, 3) and not rich.periods
    there, back = consumption_equivalent(poor, rich), consumption_equivalent(rich, poor)
    better = rich.quantities["consumer_return"].mean() > poor.quantities["consumer_return"].mean()
    assert better and 0 < there["gain"] < 1 and (back is None or back["gain"] < 0)
    assert there["low"] < there["gain"] < there["high"]


def test_the_interval_is_that_of_a_mean_where_utility_is_linear():
    # Four units in every good and period are worth 16 to either consumer, so that a gain of 1 is a share of 1 / 16.
    first, second = (
        dataclasses.replace(
            play(UniformPolicies(LINEAR), 4),
            returns={"consumer": torch.tensor([[mine, 1.0], [1.0, mine], [3.0, mine], [mine, 3.0]])},
            baskets=torch.full((4, 2, 2, 2), 4.0),
        )
        for mine in (2.0, 6.0)
    )
    found = consumption_equivalent(first, second)
    gains = (second.returns["consumer"] - first.returns["consumer"]).mean(dim=1) / 16
    assert found["gain"] == pytest.approx(float(gains.mean())) == 2 / 16
    assert found["high"] - found["gain"] == pytest.approx(1.959964 * float(gains.std()) / 2, rel=1e-4, abs=1e-9)
    # Of one consumer alone: 4, 0, 0, 4.
    alone = consumption_equivalent(first, second, [0])
    assert alone["gain"] == pytest.approx(2 / 16)
    assert alone["high"] - alone["gain"] == pytest.approx(1.959964 * (4 / 3) ** 0.5 * 2 / 16 / 2, rel=1e-3)


def test_economies_that_cannot_be_compared_are_refused():
    with pytest.raises(ConfigError, match="baskets=True"):
        consumption_equivalent(living(1.0, 4.0), play(UniformPolicies(LINEAR), 1))
    with pytest.raises(ConfigError, match=r"crra is 0 in one economy and 1 in the other"):
        consumption_equivalent(living(1.0, 4.0), living(1.0, 4.0, LINEAR.replace(crra=1.0)))
    with pytest.raises(ConfigError, match="2 episodes cannot be paired with 1"):
        consumption_equivalent(play(UniformPolicies(LINEAR), 2, baskets=True), living(1.0, 4.0))
