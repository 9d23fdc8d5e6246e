"""What a report makes of its rows: epsilons, verdicts, and numbers that have no meaning."""

from __future__ import annotations

import dataclasses
import io
import json

import pytest
from rich.console import Console

from rbc_marl.analysis.best_responses import better_deviation, gain_in_training, verify
from rbc_marl.analysis.figures import best_response_bars, short_name
from rbc_marl.equilibrium.best_response import BestResponseReport, _row
from rbc_marl.equilibrium.best_response_settings import BestResponseSettings
from rbc_marl.equilibrium.deviations import GainsJob
from rbc_marl.equilibrium.profile import Deviator, profile_of_rules
from tests.equilibrium.economies import MONOPOLY, RULES

MADE_OF = {
    "welfare_consumers": 432.0,
    "profit": 13e6,
    "profit_share": 0.987,
    "export_share": 0.75,
    "price_lowest": 0.0,
    "price_highest": 0.97,
    "wage_lowest": 0.0,
    "wage_highest": 0.0,
}
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


def report(rows, outcome="living"):
    names = dict.fromkeys(one["checkpoint"] for one in rows)
    checkpoints = [{"checkpoint": name, "outcome": outcome, "notes": [], **MADE_OF} for name in names]
    return BestResponseReport(rows, checkpoints, BestResponseSettings())


def near(**changes):
    """Rows of all types that are near an equilibrium, some of them changed."""
    shares = {"consumer": 0.02, "firm": -0.001, "government": 0.005}
    return [row(agent_type, share, **changes.get(agent_type, {})) for agent_type, share in shares.items()]


def test_epsilons_are_gains_over_level_and_never_below_nothing():
    assert report(near()).epsilons == {"consumer": 0.02, "firm": 0.0, "government": 0.005}


def test_epsilons_are_those_of_the_last_checkpoint():
    rows = [row("firm", 0.5, checkpoint="checkpoint_000050"), row("firm", 0.01)]
    assert report(rows).epsilons == {"firm": 0.01}


@pytest.mark.parametrize("outcome", ["collapsed", "impaired"])
def test_an_economy_that_does_not_live_has_no_epsilon_and_is_no_equilibrium(outcome):
    rows = [{**one, "outcome": outcome} for one in near()]
    found = report(rows, outcome)
    assert found.epsilons == {"consumer": None, "firm": None, "government": None}
    assert found.verdicts()["checkpoint_000100"].startswith(f"no equilibrium: the economy is {outcome}")


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
    assert report(rows).verdicts()["checkpoint_000100"].startswith(words)


def test_single_agents_come_to_their_largest_and_mean_gain():
    rows = [*near(), row("firm", 0.1, 0), row("firm", 0.3, 4), row("consumer", 0.01, 99)]
    consumer, firm = report(rows).agents()
    assert (consumer["agent_type"], consumer["checked"], consumer["largest_agent"]) == ("consumer", 1, 99)
    assert (firm["checked"], firm["largest_agent"], firm["largest_over_level"]) == (2, 4, 0.3)
    assert firm["mean_gain"] == pytest.approx(0.2 * LEVELS["firm"])
    assert firm["largest_gain"] == pytest.approx(0.3 * LEVELS["firm"])


@pytest.mark.parametrize(
    ("learned", "constant", "expected"),
    [
        ((3.0, 1.0, 5.0), (2.0, 1.5, 2.5), ("learned", 3.0, 1.5, 5.0)),
        ((1.0, -2.0, 4.0), (2.0, 1.5, 2.5), ("constant", 2.0, 1.5, 4.0)),
        ((2.0, 1.0, 3.0), (2.0, 1.0, 3.0), ("learned", 2.0, 1.0, 3.0)),
    ],
)
def test_the_better_of_both_deviations_counts_where_they_are_measured(learned, constant, expected):
    found = better_deviation({"learned": ends(*learned), "constant": ends(*constant)})
    assert tuple(found[name] for name in ("found_by", "gain", "low", "high")) == expected


def ends(gain, low, high):
    return {"gain": gain, "low": low, "high": high}


def test_a_row_gives_what_the_better_deviation_gains_on_fresh_episodes_wherever_it_was_picked():
    # On the episodes of the picking the learned deviation was ahead; on fresh ones the constant is.
    profile, deviator = profile_of_rules(MONOPOLY, RULES), Deviator("firm")
    constant = {"selection_gain": 5.0, "words": "price 1200, wage 0"}
    learned = {"selection_gain": 9.0, "iteration": 20}
    picked = GainsJob(profile, BestResponseSettings(), deviator, learned, constant)
    gains = {"baseline": 10.0, "learned": ends(1.0, -2.0, 4.0), "constant": ends(2.0, 1.5, 2.5)}
    control, baseline = {"recovered": 1.0, "perturbed": 0.0}, {"outcome": "living", "training": None}
    row = _row(picked, gains, control, baseline)
    assert (row["found_by"], row["gain"], row["gain_low"], row["gain_high"]) == ("constant", 2.0, 1.5, 4.0)
    assert row["gain_over_level"] == 0.2
    assert (row["learned_gain"], row["learned_gain_low"]) == (1.0, -2.0)
    assert (row["constant_gain"], row["constant_gain_low"]) == (2.0, 1.5)
    # What the control's network gains was not learnt from the policies, and the row says so.
    ahead = {**gains, "learned": ends(3.0, 2.0, 4.0)}
    for iteration, words in ((20, "after 20 iterations"), (0, "before it had learnt anything")):
        best = dataclasses.replace(picked, learned={**learned, "iteration": iteration, "recovered": None})
        row = _row(best, ahead, control, baseline)
        assert (row["found_by"], row["iteration"]) == ("control", iteration)
        assert row["note"].endswith(f"the control's network did best, {words}")
    assert _row(picked, ahead, control, baseline)["found_by"] == "learned"


def test_the_papers_measure_is_given_where_it_has_a_meaning():
    firm = {"start": 3.0, "gain": 4.0, "low": 3.5, "high": 4.5}
    fell, same = {**firm, "gain": -2.0, "low": -3.0, "high": -1.0}, {**firm, "gain": 0.2, "low": -1.0, "high": 1.4}
    assert gain_in_training(firm, 7.0) == (firm, "")
    gain, note = gain_in_training(fell, 1.0)
    assert gain == {} and note == "the reward fell in training (3 to 1): there is no gain in training"
    gain, note = gain_in_training(same, 3.2)
    assert gain == {} and note.startswith("the reward (3 to 3.2) is not surely more than before training")
    gain, note = gain_in_training(None, 7.0)
    assert gain == {} and "rules are not trained" in note


@pytest.mark.parametrize(("recovered", "verified"), [(0.5, True), (1.2, True), (0.49, False), (None, False)])
def test_a_control_verifies_from_half_of_the_loss_on(recovered, verified):
    found, reason = verify({"recovered": recovered})
    assert found is verified and reason.startswith("" if verified else "not verified: ")
    assert bool(reason) is not verified


def test_the_table_fits_a_terminal_and_shows_every_row_whole():
    rows = [*near(), row("consumer", 0.01, 99, gain=0.5, gain_high=0.6), row("firm", 0.3, 4, verified=False)]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(report([*(dict(one, checkpoint="checkpoint_000050") for one in rows), *rows]).table())
    text = console.export_text()
    assert "…" not in text
    lines = [line.split() for line in text.splitlines()]
    assert ["50:", "living"] in lines and ["100:", "living"] in lines
    assert lines.count(["consumer", "99", "4.35", "0.5", "±", "0.1", "1.00%", "-", "90%", "learned"]) == 2
    assert sum("failed" in line for line in lines) == 2


def test_a_checkpoint_has_a_short_name():
    names = ("checkpoint_000100", "checkpoint_000000", "checkpoint_000100-2", "monopoly", "rules-2")
    assert [short_name(name) for name in names] == ["100", "0", "100-2", "monopoly", "rules-2"]


def test_a_figure_has_a_panel_for_each_type_and_is_drawn_anew(tmp_path):
    rows = near()
    for count, picture in ((3, tmp_path / "three.png"), (1, tmp_path / "one.png")):
        best_response_bars(rows[:count], picture)
    import matplotlib.image

    three, one = (matplotlib.image.imread(tmp_path / name).shape for name in ("three.png", "one.png"))
    assert three[1] == 3 * one[1] and three[0] == one[0]


def test_a_report_is_plain_data(tmp_path):
    found = report(near())
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["epsilons"] == found.epsilons
