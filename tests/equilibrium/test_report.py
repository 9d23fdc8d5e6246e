"""What a report of best responses holds."""

from __future__ import annotations

import dataclasses
import json

from rbc_marl.analysis.deviators import Deviator
from rbc_marl.equilibrium.best_response import BestResponseReport, _row
from rbc_marl.equilibrium.best_response_settings import BestResponseSettings
from rbc_marl.equilibrium.deviations import GainsJob
from rbc_marl.equilibrium.profile import profile_of_rules
from tests.analysis.test_best_responses import ends
from tests.analysis.test_verdicts import near, row
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


def report(rows):
    names = dict.fromkeys(one["checkpoint"] for one in rows)
    checkpoints = [{"checkpoint": name, "outcome": "living", "notes": [], **MADE_OF} for name in names]
    return BestResponseReport(rows, checkpoints, BestResponseSettings())


def test_epsilons_are_those_of_the_last_checkpoint():
    rows = [row("firm", 0.5, checkpoint="checkpoint_000050"), row("firm", 0.01)]
    assert report(rows).epsilons == {"firm": 0.01}


def test_each_checkpoint_has_a_verdict_of_its_own():
    found = report([*near(firm={"checkpoint": "checkpoint_000050"})[1:2], *near()])
    assert found.verdicts()["checkpoint_000050"].startswith("undecided: consumer and government not checked")
    assert found.verdicts()["checkpoint_000100"].startswith("an equilibrium of types")


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


def test_a_report_is_plain_data(tmp_path):
    found = report(near())
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["epsilons"] == found.epsilons
