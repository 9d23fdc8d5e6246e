"""Epsilons, and what may be called an equilibrium."""

from __future__ import annotations

import pytest

from rbc_marl.analysis.verdicts import PAPER_BOUNDS, epsilon, verdict, verdict_columns

LEVELS = {"consumer": 4.35, "firm": 1_308_764.0, "government": 33_154.0}


def row(agent_type, share=0.0, agent=None, *, constant=-0.5, checkpoint="checkpoint_000100", **changes):
    """A row in which the best deviation gains a share of the level, and the best constant another."""
    level = LEVELS[agent_type]
    return {
        "checkpoint": checkpoint,
        "outcome": "living",
        "kind": "type" if agent is None else "agent",
        "agent_type": agent_type,
        "agent": agent,
        "unit": "money",
        "episodes": 1024,
        "level": level,
        "gain": share * level,
        "gain_low": (share - 0.001) * level,
        "gain_high": (share + 0.001) * level,
        "gain_over_level": share,
        "training_gain": None,
        "training_gain_low": changes.get("training_gain"),
        "training_gain_high": changes.get("training_gain"),
        "gain_over_training": None,
        "paper_bound": {"consumer": 0.03, "firm": 0.1, "government": 0.01}[agent_type],
        "found_by": "constant" if share == constant else "learned",
        "learned_gain": share * level,
        "learned_gain_low": (share - 0.001) * level,
        "constant_gain": constant * level,
        "constant_gain_low": (constant - 0.001) * level,
        "constant": "price 2500, wage 0",
        "verified": True,
        "recovered": 0.9,
        "damaged_level": 0.0,
        "note": "",
        **changes,
    }


def near(**changes):
    """Rows of all types that are near an equilibrium, some of them changed."""
    shares = {"consumer": 0.02, "firm": -0.001, "government": 0.005}
    return [row(agent_type, share, **changes.get(agent_type, {})) for agent_type, share in shares.items()]


def test_an_epsilon_is_the_gain_over_level_and_never_below_nothing():
    assert [epsilon(row) for row in near()] == [0.02, 0.0, 0.005]


@pytest.mark.parametrize("outcome", ["collapsed", "impaired"])
def test_an_economy_that_does_not_live_has_no_epsilon_and_is_no_equilibrium(outcome):
    rows = [{**one, "outcome": outcome} for one in near()]
    assert [epsilon(row) for row in rows] == [None, None, None]
    is_equilibrium, words = verdict(outcome, rows)
    assert not is_equilibrium and words.startswith(f"no equilibrium: the economy is {outcome}")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (near(), "an equilibrium of types within consumer 2.00%, firm 0.00%, government 0.50% of their base"),
        ([*near(), row("firm", 0.17, 3, constant=0.17)], "no equilibrium: firm 3 alone gains 222,490 (17.0% of"),
        (near(firm={"constant": 0.02}), "no equilibrium: firms gain 26,175 (2.0% of the baseline return)"),
        # What is within chance, or only saves the randomness of a policy, says nothing against it.
        (near(firm={"constant": 0.02, "constant_gain_low": -1.0}), "an equilibrium"),
        (near(firm={"constant": 0.005}), "an equilibrium"),
        ([row("consumer", 0.04), *near()[1:]], "no equilibrium: consumers gain 4.0% of the baseline return, more"),
        # The paper's bounds are on the gain over what training had brought, where there is such a thing.
        (near(government={"training_gain": 9_946.0}), "no equilibrium: the government gains 1.7% of the gain in"),
        # What training brought is measured as well: only what holds at both ends of its interval is sure.
        (near(government={"training_gain": 9_946.0, "training_gain_high": 2e4}), "undecided: government may gain more"),
        (near(government={"training_gain": 3e4, "training_gain_low": 1e4}), "undecided: government may gain more"),
        (near(government={"training_gain": 3e4}), "an equilibrium"),
        # A measurement that could be on either side of the bound proves neither.
        ([row("consumer", 0.0295), *near()[1:]], "undecided: consumer may gain more than 3%"),
        ([row("consumer", 0.0305), *near()[1:]], "undecided: consumer may gain more than 3%"),
        # One agent that learns to gain is enough, if it surely does.
        ([*near(), row("consumer", 0.17, 99)], "no equilibrium: consumer 99 alone gains 17.0% of the baseline return"),
        ([*near(), row("consumer", 0.17, 99, gain_low=-1.0)], "undecided: consumer 99 alone may gain more than 3%"),
        ([*near(), row("firm", 0.05, 3)], "an equilibrium"),
        # What a search that misses what there is to find did not find says nothing, of one agent either.
        ([*near(), row("firm", 0.0, 3, verified=False)], "undecided: firm 3 alone not checked or not verified"),
        (
            [*near()[:2], *(row("firm", 0.0, i, verified=False) for i in range(4))],
            "undecided: government and firm 0 alone and firm 1 alone and 2 others not checked or not verified",
        ),
        # Any gain is more than a share of nothing.
        (near(consumer={"level": 0.0}), "no equilibrium: consumers gain 0.087 on a baseline return of 0"),
        ([*near(), row("firm", 0.1, 3, level=0.0)], "no equilibrium: firm 3 alone gains 130,876 on a baseline return"),
        ([*near(), row("firm", 0.0, 3, level=0.0)], "undecided: firm 3 alone may gain more than 10%"),
        ([*near(), row("firm", 0.0, 3, level=0.0, gain_low=0.0, gain_high=0.0)], "an equilibrium"),
        (near(consumer={"outcome": "impaired"}), "undecided: on the episodes of the best responses the economy is imp"),
        (near(firm={"episodes": 999}), "undecided: gains were measured on 999 episodes; that takes at least 1,000"),
        (near()[:2], "undecided: government not checked or not verified"),
        (near(consumer={"verified": False}), "undecided: consumer not checked or not verified"),
    ],
)
def test_a_verdict_calls_an_equilibrium_only_what_may_be_called_so(rows, words):
    is_equilibrium, reason = verdict("living", rows)
    assert reason.startswith(words) and is_equilibrium is words.startswith("an equilibrium")


# The columns of a sweep's table


def deviation(agent_type, over_level, kind="type", outcome="living", verified=True, constant=-1.0):
    return {
        "checkpoint": "checkpoint_000001",
        "outcome": outcome,
        "kind": kind,
        "agent_type": agent_type,
        "agent": None if kind == "type" else 3,
        "episodes": 1024,
        "paper_bound": PAPER_BOUNDS[agent_type],
        "level": 100.0,
        "gain": 100.0 * over_level,
        "gain_low": 100.0 * over_level - 0.1,
        "gain_high": 100.0 * over_level + 0.1,
        "training_gain": None,
        "training_gain_low": None,
        "training_gain_high": None,
        "gain_over_level": over_level,
        "verified": verified,
        "iteration": 200,
        "constant": "price 2500",
        "constant_gain": constant,
        "constant_gain_low": constant - 1.0,
    }


TYPES = [deviation("consumer", 0.01), deviation("firm", -0.02), deviation("government", 0.004)]


def test_a_living_run_whose_types_gain_little_is_an_equilibrium():
    found = verdict_columns([*TYPES, deviation("firm", 0.06, "agent")], "living")
    assert found["equilibrium"] == "yes"
    assert (found["epsilon_consumer"], found["epsilon_firm"], found["epsilon_government"]) == (0.01, 0.0, 0.004)
    assert (found["epsilon_one_consumer"], found["epsilon_one_firm"]) == (None, 0.06)


def test_further_firms_count_by_their_constants_and_need_no_control():
    further = deviation("firm", 0.006, "constant", verified=None, constant=0.6)
    found = verdict_columns([*TYPES, further], "living")
    assert found["equilibrium"] == "yes" and found["epsilon_one_firm"] == 0.006
    found = verdict_columns([*TYPES, deviation("firm", 0.12, "constant", verified=None, constant=12.0)], "living")
    assert found["equilibrium"] == "no" and found["epsilon_one_firm"] == 0.12
    words = "firm 3 alone gains 12 (12.0% of the baseline return) by a constant choice: price 2500"
    assert found["verdict"].endswith(words)


@pytest.mark.parametrize("outcome", ["collapsed", "impaired", "stopped"])
def test_a_run_that_is_not_living_is_none_however_small_its_gains(outcome):
    assert verdict_columns([{**row, "outcome": outcome} for row in TYPES], outcome)["equilibrium"] == "no"
    found = verdict_columns(None, outcome)
    assert found["equilibrium"] == "no" and found["epsilon_consumer"] is None


@pytest.mark.parametrize(
    "deviations",
    [
        None,
        TYPES[:2],
        [*TYPES[:2], deviation("government", 0.02)],
        [*TYPES[:2], deviation("government", 0.0, verified=False)],
        [*TYPES, deviation("firm", 0.0, "agent", constant=20.0)],
        [*TYPES, deviation("firm", 0.3, "agent")],
    ],
    ids=["unchecked", "a type unchecked", "beyond the bound", "not verified", "by a constant price", "alone"],
)
def test_a_living_run_is_none_without_proof(deviations):
    assert verdict_columns(deviations, "living")["equilibrium"] == "no"
