"""Scans of constant choices find the best one, where that is known."""

from __future__ import annotations

import pytest
import torch

from rbc_marl import EconomyConfig
from rbc_marl.analysis.constants import constant_choices, describe, mean_returns, scan
from rbc_marl.analysis.deviators import Deviator
from rbc_marl.analysis.rollouts import play
from rbc_marl.choices import head_sizes
from rbc_marl.policies.deviating import DeviatingPolicies, Deviation
from rbc_marl.policies.saved import load_policies
from rbc_marl.policies.scripted import ScriptedPolicies, UniformPolicies
from tests.equilibrium.economies import BEST, LEVEL, MONOPOLY, RULES, SHOPS, plant

WIDE = EconomyConfig(num_consumers=2, num_firms=30, horizon=1)


@pytest.mark.parametrize("agent_type", ["firm", "government"])
def test_every_joint_choice_of_firms_and_governments_is_scanned(agent_type):
    config = EconomyConfig()
    assert constant_choices(config, agent_type).flatten().tolist() == list(range(head_sizes(config, agent_type)[0]))


def test_the_grid_of_consumers_is_bounded_and_holds_the_ends_of_each_choice():
    rows = constant_choices(WIDE, "consumer")
    assert rows.shape[1] == 32 and len(rows.unique(dim=0)) == len(rows) == 4 * (4 * 12 + 1)
    units, hours, employers = rows[:, 0], rows[:, -2], rows[:, -1]
    assert (rows[:, :30] == units.unsqueeze(1)).all()
    assert {0, 10} <= set(units.tolist()) and {0, 4} <= set(hours.tolist()) and {0, 29} <= set(employers.tolist())
    sizes = torch.tensor(head_sizes(WIDE, "consumer"))
    assert (rows >= 0).all() and (rows < sizes).all()


def test_constants_are_said_in_words():
    config = EconomyConfig()
    assert describe(config, "firm", torch.tensor([26])) == "price 2500, wage 11"
    assert describe(config, "government", torch.tensor([7])) == "income tax 20%, corporate tax 20%"
    words = describe(config, "consumer", torch.tensor([3] * 10 + [2, 7]))
    assert words == "3 of every good, 520 hours at firm 7"


def test_the_best_price_of_a_monopolist_is_found():
    base = ScriptedPolicies(MONOPOLY, RULES)
    deviator = Deviator("firm", 0)
    assert deviator.returns(play(base, 4)).tolist() == [LEVEL] * 4
    choices = constant_choices(MONOPOLY, "firm")
    assert mean_returns(base, deviator, choices, 3, 0).tolist() == [LEVEL, BEST, LEVEL, 0.0]
    assert describe(MONOPOLY, "firm", scan(base, deviator, 16)[0]) == "price 1200, wage 0"


def test_many_constants_side_by_side_give_what_each_gives_alone():
    base, deviator = UniformPolicies(SHOPS), Deviator("government")
    choices = constant_choices(SHOPS, "government")
    together = mean_returns(base, deviator, choices, 200, 3)
    alone = torch.stack(
        [
            deviator.returns(play(DeviatingPolicies(base, Deviation("government", choice=c)), 400, seed=9)).mean()
            for c in choices[::7]
        ]
    )
    torch.testing.assert_close(together[::7], alone, rtol=0.05, atol=0.5)


def test_halving_keeps_the_best_however_many_there_are(tmp_path):
    plant(tmp_path)
    base = load_policies(tmp_path)
    for deviator, words in ((Deviator("firm"), "price 2000, wage 0"), (Deviator("firm", 1), "price 2000, wage 0")):
        assert describe(SHOPS, "firm", scan(base, deviator, 64)[0]) == words
    best = scan(base, Deviator("consumer", 2), 64)
    assert len(best) == 4
    # Work brings nothing at a wage of 0, and the stock is enough for ten of every good.
    assert describe(SHOPS, "consumer", best[0]) == "10 of every good, 0 hours at firm 0"
