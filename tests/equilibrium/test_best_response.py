"""Best responses: known answers are found, planted mistakes are mended, and reports say what they must."""

from __future__ import annotations

import csv
import json
import shutil
import sys

import pytest
import torch

from rbc_marl import UserError, cli
from rbc_marl.analysis import certificates
from rbc_marl.equilibrium.best_response import best_responses, best_responses_to
from rbc_marl.equilibrium.profile import profile_of_rules
from rbc_marl.policies.build import build_network
from rbc_marl.policies.saved import save_policies
from tests.equilibrium.economies import BEST, FLAT, LEVEL, MONOPOLY, QUICK, RULES, SHOPS, plant


def silent(text):
    pass


@pytest.fixture(scope="module", autouse=True)
def ray(ray_running):
    pass


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted") / "checkpoint_000007"
    plant(folder)
    return folder


@pytest.fixture(scope="module")
def mended(planted, tmp_path_factory):
    settings = QUICK.replace(agents={"firm": (0, 1)}, agent_economies=16)
    folder = tmp_path_factory.mktemp("mended")
    return best_responses(planted, settings, folder, workers=0, log=silent), folder


@pytest.mark.parametrize(
    "agents", [pytest.param({}, id="type"), pytest.param({"firm": (0,)}, id="agent", marks=pytest.mark.long)]
)
def test_a_firm_among_scripted_consumers_learns_the_price_that_is_best_by_hand(tmp_path, agents):
    profile = profile_of_rules(MONOPOLY, RULES, FLAT)
    settings = QUICK.replace(types=() if agents else ("firm",), agents=agents, agent_economies=16)
    report = best_responses_to([profile], settings, tmp_path, workers=0, log=silent)
    (row,) = report.rows
    assert row["level"] == LEVEL
    assert row["learned_gain"] == row["constant_gain"] == row["gain"] == BEST - LEVEL
    assert row["constant"] == "price 1200, wage 0"
    assert row["verified"] and row["recovered"] > 1.0  # the rules were not the best
    assert row["gain_over_training"] is None and "rules are not trained" in row["note"]


def test_several_profiles_of_one_name_keep_their_own_rows_and_verdicts(tmp_path):
    best = profile_of_rules(MONOPOLY, {**RULES, "price": 1200.0}, FLAT)
    profiles = [profile_of_rules(MONOPOLY, RULES, FLAT), best]
    settings = QUICK.replace(iterations=1)
    said = []
    report = best_responses_to(profiles, settings, tmp_path, workers=0, log=said.append)
    found = {row["checkpoint"]: (row["level"], row["constant_gain"]) for row in report.rows}
    assert found == {"rules": (LEVEL, BEST - LEVEL), "rules-2": (BEST, 0.0)}
    assert [one["checkpoint"] for one in report.checkpoints] == list(report.verdicts()) == ["rules", "rules-2"]
    assert sum("  rules  " in line for line in said) == sum("  rules-2  " in line for line in said) == 5
    # What was found of the second is found again where it is the first.
    best_responses_to([best], settings, tmp_path, workers=0, log=said.append)
    assert len(said) == 10


@pytest.mark.long
def test_a_planted_mistake_of_one_firm_is_found_and_the_good_firm_gains_nothing(mended):
    report, _ = mended
    rows = {(row["kind"], row["agent"]): row for row in report.rows}
    assert list(rows) == [("type", None), ("agent", 0), ("agent", 1)]
    most = 5 * 2000.0 * 2  # from five consumers in the two periods whose price it chooses
    good, bad, both = rows["agent", 0], rows["agent", 1], rows["type", None]
    assert good["level"] == pytest.approx(most, rel=1e-3) and abs(good["gain"]) < 0.01 * most
    assert bad["level"] < 0.2 * most
    assert bad["level"] + bad["constant_gain"] == pytest.approx(most)
    assert bad["level"] + bad["learned_gain"] > 0.95 * most
    assert both["gain"] == pytest.approx(bad["gain"] / 2, rel=0.05)
    assert bad["gain_low"] <= bad["gain"] <= bad["gain_high"] and bad["gain_low"] > 0.7 * most
    assert report.agents()[0] | {"mean_gain": 0, "largest_over_level": 0} == {
        "checkpoint": "checkpoint_000007",
        "agent_type": "firm",
        "checked": 2,
        "largest_gain": bad["gain"],
        "largest_agent": 1,
        "largest_over_level": 0,
        "mean_gain": 0,
    }


@pytest.mark.long
def test_a_report_says_what_was_recovered_and_what_the_outcome_is(mended):
    report, _ = mended
    rows = {row["agent"]: row for row in report.rows}
    assert rows[0]["verified"] and rows[0]["recovered"] > 0.9 and rows[0]["damaged_level"] < rows[0]["level"]
    # Firm 1 is so bad that a network that has learnt nothing does better: there is no loss to win back.
    assert rows[1]["damaged_level"] > rows[1]["level"]
    assert (rows[1]["verified"], rows[1]["recovered"]) == (False, None)
    assert "not verified: a perturbed network loses nothing" in rows[1]["note"]
    assert {row["outcome"] for row in report.rows} == {"living"}  # nobody works, and all eat from the stock
    assert report.outcome == "living"
    assert report.epsilons["firm"] > 0.5
    (verdict,) = report.verdicts().values()
    assert verdict.startswith("no equilibrium: firm 1 alone gains") and verdict.endswith("price 2000, wage 0")
    assert any("EconomyPPO's own" in note for note in report.checkpoints[0]["notes"])


@pytest.mark.long
def test_a_report_is_kept_with_what_repeats_it(mended, tmp_path):
    report, _ = mended
    written = report.save(tmp_path, ["rbc-marl", "best-response", "here"])
    kept = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert kept["rows"] == report.rows and kept["command"] == ["rbc-marl", "best-response", "here"]
    assert kept["settings"]["seeds"] == [0] and kept["settings"]["episodes"] == 64
    assert {"torch", "ray", "rbc_marl", "python"} <= set(kept["versions"])
    with (tmp_path / "rows.csv").open(encoding="utf-8") as file:
        assert [row["agent"] for row in csv.DictReader(file)] == ["", "0", "1"]
    assert "best_response.png" in written and (tmp_path / "best_response.png").stat().st_size > 5000
    assert report.table().row_count == 4 and len(report.lines()) >= 3
    # What welfare is made of stands beside what anybody gains.
    assert {"profit", "export_share", "price_highest", "wage_lowest"} <= set(kept["checkpoints"][0])
    assert any("of what is sold is exported" in line for line in report.lines())


@pytest.mark.long
def test_a_certificate_goes_with_the_report_of_a_checkpoint_and_holds(mended, tmp_path):
    report, _ = mended
    report.save(tmp_path)
    lines = certificates.verify(tmp_path, log=silent)
    assert [line.split(" gains")[0] for line in lines[:-1]] == ["firm", "firm 0", "firm 1"]
    (checkpoint,) = json.loads((tmp_path / "certificate.json").read_text(encoding="utf-8"))["checkpoints"]
    for agent, row in zip(checkpoint["agents"], report.rows, strict=True):
        ends = {"gain": row["gain"], "low": row["gain_low"], "high": row["gain_high"]}
        assert agent["lower"] == ends and set(agent["deviations"]) == {"learned", "constant", "searched"}
        assert row["searched"] and row["searched_gain_low"] <= row["searched_gain"] <= row["gain"]
        assert row["tremble_gain_low"] <= row["tremble_gain"] <= row["tremble_gain_high"]
        assert row["upper_gain"] is row["own_effect"] is None  # of firms nothing is known from above


def test_nothing_is_done_twice_and_another_seed_adds_to_what_is_there(planted, mended):
    report, folder = mended
    stamps = {path.name: path.stat().st_mtime_ns for path in (folder / "rows").iterdir()}
    settings = QUICK.replace(agents={}, seeds=(0, 1))
    said = []
    again = best_responses(planted, settings, folder, workers=0, log=said.append)
    after = {path.name: path.stat().st_mtime_ns for path in (folder / "rows").iterdir()}
    assert {name: after[name] for name in stamps} == stamps
    new = {name.rpartition("-")[0] for name in set(after) - set(stamps)}
    gains = {f"checkpoint_000007-{who}-gains" for who in ("firm", "firm-0", "firm-1")}
    assert "checkpoint_000007-firm-learn-1" in new and new <= {"checkpoint_000007-firm-learn-1", *gains}
    assert said[0] == "6 of 7 pieces of work were done before"
    # Single firms were not asked for; their constants are looked through nevertheless.
    assert [(row["kind"], row["agent"]) for row in again.rows] == [("type", None), ("constant", 0), ("constant", 1)]
    found = {row["agent"]: row["constant_gain"] for row in report.rows}
    assert {row["agent"]: row["gain"] for row in again.rows[1:]} == {one: found[one] for one in (0, 1)}
    assert all(row["learned_gain"] is row["verified"] is None for row in again.rows[1:])
    assert any("of 2 further firms, by constants alone, firm 1 gains most" in line for line in again.lines())


def test_a_torn_row_is_named_and_made_again(planted, mended, tmp_path):
    report, folder = mended
    shutil.copytree(folder, tmp_path / "again")
    (row,) = (tmp_path / "again" / "rows").glob("*-firm-1-constants-*.json")
    whole = json.loads(row.read_text(encoding="utf-8"))
    row.write_text(row.read_text(encoding="utf-8")[:20], encoding="utf-8")
    said = []
    again = best_responses(planted, report.settings, tmp_path / "again", workers=0, log=said.append)
    assert again.rows == report.rows
    assert said[0].startswith(f"{row} is torn (") and row.with_name(f"{row.name}.torn").exists()
    assert json.loads(row.read_text(encoding="utf-8"))["choice"] == whole["choice"]


@pytest.mark.long
def test_trials_of_tune_find_what_this_process_finds(planted, mended, tmp_path):
    report, _ = mended
    other = best_responses(planted, QUICK, tmp_path, workers=2, log=silent)
    assert other.rows[0] == report.rows[0]
    assert len(list((tmp_path / "rows").iterdir())) == 9  # of which four are about the two firms alone


OWN_NETWORK = """
from rbc_marl.policies.networks import FlatNetwork


class Narrow(FlatNetwork):
    def __init__(self, config, agent_type, encoding, sizes, width=3):
        super().__init__(config, agent_type, encoding, sizes, hidden=(width,))
"""


@pytest.fixture
def own_checkpoint(tmp_path, monkeypatch):
    """A checkpoint of a network class of one's own, whose module has gone since."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "my_narrow_network.py").write_text(OWN_NETWORK, encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(source))
        specs = {t: {"kind": "my_narrow_network.Narrow", "width": 2} for t in ("consumer", "firm", "government")}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            networks = {t: build_network(SHOPS, t, spec=spec) for t, spec in specs.items()}
        save_policies(tmp_path / "own", SHOPS, "symlog", networks, specs, {"seed": 5})
    sys.modules.pop("my_narrow_network")
    return tmp_path / "own"


def test_networks_of_ones_own_best_respond_where_they_are_trusted_and_nowhere_else(own_checkpoint, tmp_path):
    settings = QUICK.replace(types=("firm",), agents={"consumer": 1}, iterations=1, agent_economies=4)
    with pytest.raises(UserError, match="--trust"):
        best_responses(own_checkpoint, settings, tmp_path / "results", workers=0, log=silent)
    assert not (tmp_path / "results").exists() and "my_narrow_network" not in sys.modules
    report = best_responses(own_checkpoint, settings, tmp_path / "results", workers=0, log=silent, trust=True)
    assert [(row["kind"], row["agent_type"]) for row in report.rows[:2]] == [("type", "firm"), ("agent", "consumer")]
    assert all(row["learned_gain"] is not None for row in report.rows[:2])
    # The digest is that of the checkpoint alone: a second look finds everything done.
    said = []
    again = best_responses(own_checkpoint, settings, tmp_path / "results", workers=0, log=said.append, trust=True)
    assert again.rows == report.rows and said == []


def test_commands_say_what_to_type_for_networks_of_ones_own(own_checkpoint, capsys):
    for command in ("evaluate", "best-response"):
        with pytest.raises(SystemExit) as caught:
            cli.main([command, str(own_checkpoint)])
        assert caught.value.code == 2 and "--trust" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        cli.main(["evaluate", str(own_checkpoint), "--episodes", "2", "--trust"])
    out = capsys.readouterr().out
    assert caught.value.code == 0 and "outcome: " in out and "--trust --out economy.png" in out


@pytest.mark.long
def test_trials_of_tune_find_what_this_process_finds_of_networks_of_ones_own(own_checkpoint, tmp_path):
    settings = QUICK.replace(iterations=1)
    here = best_responses(own_checkpoint, settings, tmp_path / "here", workers=0, log=silent, trust=True)
    trials = best_responses(own_checkpoint, settings, tmp_path / "trials", workers=1, log=silent, trust=True)
    assert trials.rows == here.rows
