"""Best responses: known answers are found, planted mistakes are mended, and reports say what they must."""

from __future__ import annotations

import copy
import csv
import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from rbc_marl import ConfigError, UserError
from rbc_marl.analysis.rollouts import play
from rbc_marl.equilibrium import deviation_jobs
from rbc_marl.equilibrium.best_response import Settings, best_responses, best_responses_to
from rbc_marl.equilibrium.constants import Target
from rbc_marl.equilibrium.deviation_jobs import (
    ConstantsJob,
    FinalJob,
    LearnJob,
    deviation_config,
    episode_seed,
    learn,
    paired,
)
from rbc_marl.equilibrium.subject import checkpoint_subject, find_subjects, rules_subject, told_apart
from rbc_marl.policies.deviating import DeviatingPolicies, Deviation
from rbc_marl.policies.saved import load_policies, save_policies
from tests.equilibrium.economies import BEST, LEVEL, MONOPOLY, NETWORK, RULES, SHOPS, plant, weights

QUICK = Settings(
    types=("firm",),
    agents={},
    seeds=(0,),
    iterations=60,
    episodes=64,
    selection_episodes=32,
    economies=16,
    lr={"firm": 2e-2},
    damage=1.0,
)
QUICK_AS_THE_RUN = dataclasses.replace(QUICK, economies=None)
FLAT = {t: {"kind": "flat", "hidden": [8]} for t in ("consumer", "firm", "government")}


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
    settings = dataclasses.replace(QUICK, agents={"firm": (0, 1)}, agent_economies=16)
    folder = tmp_path_factory.mktemp("mended")
    return best_responses(planted, settings, folder, workers=0, report=silent), folder


@pytest.mark.parametrize("agents", [{}, {"firm": (0,)}], ids=["type", "agent"])
def test_a_firm_among_scripted_consumers_learns_the_price_that_is_best_by_hand(tmp_path, agents):
    subject = rules_subject(MONOPOLY, RULES, FLAT)
    settings = dataclasses.replace(QUICK, types=() if agents else ("firm",), agents=agents, agent_economies=16)
    report = best_responses_to([subject], settings, tmp_path, workers=0, report=silent)
    (row,) = report.rows
    assert row["level"] == LEVEL
    assert row["learned_gain"] == row["constant_gain"] == row["gain"] == BEST - LEVEL
    assert row["constant"] == "price 1200, wage 0"
    assert row["verified"] and row["recovered"] > 1.0  # the rules were not the best
    assert row["gain_over_training"] is None and "rules are not trained" in row["note"]


def test_several_subjects_of_one_name_keep_their_own_rows_and_verdicts(tmp_path):
    best = rules_subject(MONOPOLY, {**RULES, "price": 1200.0}, FLAT)
    subjects = [rules_subject(MONOPOLY, RULES, FLAT), best]
    settings = dataclasses.replace(QUICK, iterations=1)
    said = []
    report = best_responses_to(subjects, settings, tmp_path, workers=0, report=said.append)
    found = {row["checkpoint"]: (row["level"], row["constant_gain"]) for row in report.rows}
    assert found == {"rules": (LEVEL, BEST - LEVEL), "rules-2": (BEST, 0.0)}
    assert [one["checkpoint"] for one in report.checkpoints] == list(report.verdicts()) == ["rules", "rules-2"]
    assert sum("  rules  " in line for line in said) == sum("  rules-2  " in line for line in said) == 5
    # What was found of the second is found again where it is the first.
    best_responses_to([best], settings, tmp_path, workers=0, report=said.append)
    assert len(said) == 10


def test_subjects_are_told_apart_by_titles_that_no_other_has():
    subject = rules_subject(MONOPOLY, RULES, FLAT)
    named = [dataclasses.replace(subject, name=name) for name in ("rules", "rules", "rules-2", "rules", "rules-2")]
    titles = [one.title for one in told_apart(named)]
    assert titles == ["rules", "rules-3", "rules-2", "rules-4", "rules-2-2"]
    assert [one.name for one in told_apart(named)] == [one.name for one in named]


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


def test_a_report_says_what_was_recovered_and_what_the_outcome_is(mended):
    report, _ = mended
    rows = {row["agent"]: row for row in report.rows}
    assert rows[0]["verified"] and rows[0]["recovered"] > 0.9 and rows[0]["damaged_level"] < rows[0]["level"]
    # Firm 1 is so bad that a network that has learnt nothing does better: there is no loss to win back.
    assert rows[1]["damaged_level"] > rows[1]["level"]
    assert (rows[1]["verified"], rows[1]["recovered"]) == (False, None)
    assert "not verified: a damaged network loses nothing" in rows[1]["note"]
    assert {row["outcome"] for row in report.rows} == {"collapsed"}  # nobody works here
    assert report.outcome == "collapsed"
    assert report.epsilons == {"firm": None}
    words = "no equilibrium: the economy is collapsed, whatever anybody gains"
    assert report.verdicts() == {"checkpoint_000007": words}
    assert any("EconomyPPO's own" in note for note in report.checkpoints[0]["notes"])


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


def test_nothing_is_done_twice_and_another_seed_adds_to_what_is_there(planted, mended):
    report, folder = mended
    stamps = {path.name: path.stat().st_mtime_ns for path in (folder / "rows").iterdir()}
    settings = dataclasses.replace(QUICK, agents={}, seeds=(0, 1))
    said = []
    again = best_responses(planted, settings, folder, workers=0, report=said.append)
    after = {path.name: path.stat().st_mtime_ns for path in (folder / "rows").iterdir()}
    assert {name: after[name] for name in stamps} == stamps
    new = {name.rpartition("-")[0] for name in set(after) - set(stamps)}
    finals = {f"checkpoint_000007-{who}-final" for who in ("firm", "firm-0", "firm-1")}
    assert "checkpoint_000007-firm-learn-1" in new and new <= {"checkpoint_000007-firm-learn-1", *finals}
    assert said[0] == "6 of 7 pieces of work were done before"
    # Single firms were not asked for; their constants are looked through nevertheless.
    assert [(row["kind"], row["agent"]) for row in again.rows] == [("type", None), ("constant", 0), ("constant", 1)]
    found = {row["agent"]: row["constant_gain"] for row in report.rows}
    assert {row["agent"]: row["gain"] for row in again.rows[1:]} == {one: found[one] for one in (0, 1)}
    assert all(row["learned_gain"] is row["verified"] is None for row in again.rows[1:])
    assert any("of 2 further firms, by constants alone, firm 1 gains most" in line for line in again.lines())


@pytest.mark.slow
def test_trials_of_tune_find_what_this_process_finds(planted, mended, tmp_path):
    report, _ = mended
    other = best_responses(planted, QUICK, tmp_path, workers=2, report=silent)
    assert other.rows[0] == report.rows[0]
    assert len(list((tmp_path / "rows").iterdir())) == 9  # of which four are about the two firms alone


def test_the_same_network_as_a_deviation_gains_exactly_nothing(planted, tmp_path):
    from safetensors.torch import save_file

    subject = checkpoint_subject(planted)
    for target in (Target("firm"), Target("firm", 1), Target("consumer", 2), Target("government")):
        name = f"{target.name}.safetensors"
        save_file(subject.policies().networks[target.agent_type].state_dict(), tmp_path / name)
        job = FinalJob(subject, QUICK, target, learned={"weights": name, "is_greedy": False})
        assert job.run(tmp_path)["learned"] == {"gain": 0.0, "low": 0.0, "high": 0.0}


@pytest.mark.parametrize("target", [Target("firm"), Target("consumer", 3)], ids=lambda t: t.kind)
def test_everybody_else_keeps_every_weight_bit_for_bit(planted, target, monkeypatch):
    from rbc_marl.rllib.algorithm import EconomyPPO

    seen = []
    networks = EconomyPPO.networks

    def watched(self):
        seen.append({name: weights(network) for name, network in networks(self).items()})
        return networks(self)

    monkeypatch.setattr(EconomyPPO, "networks", watched)
    subject = checkpoint_subject(planted)
    before = subject.policies().networks
    learned = learn(subject, dataclasses.replace(QUICK, iterations=3), target, 0, before[target.agent_type])
    assert list(learned) == [1, 2, 3]
    module_id = "deviator" if target.agent is not None else target.agent_type
    for agent_type, network in before.items():
        same = all(torch.equal(x, seen[-1][agent_type][name]) for name, x in network.state_dict().items())
        assert same is (agent_type != module_id)
    own = before[target.agent_type].state_dict()
    assert not all(torch.equal(x, own[name]) for name, x in learned[3].state_dict().items())


def test_a_search_that_overshoots_takes_the_best_that_it_passed_by(planted, tmp_path, monkeypatch):
    subject, target = checkpoint_subject(planted), Target("firm", 1)
    good, worse = (copy.deepcopy(subject.policies().networks["firm"]) for _ in range(2))
    good.action_head.bias[2] += 60.0  # posts the highest price,
    worse.action_head.bias[0] += 60.0  # the lowest
    paths = {False: {2: good, 60: worse}, True: {2: worse, 60: worse}}
    for is_control, picked in ((False, 2), (True, 0)):  # a control may find nothing better than where it starts
        monkeypatch.setattr(deviation_jobs, "learn", lambda *_, path=paths[is_control]: path)
        row = LearnJob(subject, QUICK, target, seed=0, is_control=is_control).run(tmp_path)
        assert (row["iteration"], row["is_greedy"]) == (picked, False)
        assert row["selection_gain"] > 0.0


def test_deviations_are_learnt_without_what_the_run_masked_or_scheduled(tmp_path):
    run = tmp_path / "run"
    networks = plant(run / "checkpoint_000003")
    networks["firm"].set_mask(torch.tensor([True, True, False]))
    save_policies(run / "checkpoint_000003", SHOPS, "symlog", networks, dict.fromkeys(networks, NETWORK), {"seed": 5})
    (run / "config.yaml").write_text(
        """
tiny:
  run: EconomyPPO
  env: rbc_closed
  config:
    curriculum: {taxes: {begin: 2, end: 4}}
    callbacks: no.such.module.Class
    probe_economies: {count: 1}
    num_envs_per_env_runner: 5
    gamma: 0.5
    lr: 2e-3
    entropy_coeff: 0.5
    algorithm_config_overrides_per_module: {firm: {lr: 1e-5, entropy_coeff: 0.3}}
""",
        encoding="utf-8",
    )
    subject = checkpoint_subject(run)
    assert subject.notes == ("masks that still held for firm were lifted",)
    assert not subject.policies().networks["firm"].log_mask.any()
    settings = Settings(iterations=10)
    config = deviation_config(subject, settings, Target("firm"), 4)
    assert (config.curriculum, config.probe_economies, config.gamma, config.seed) == (None, {}, 0.5, 4)
    assert config.lr == [[0, 1e-4], [15, 1e-3], [75, 1e-3], [150, 1e-4]]  # 5 economies, 3 periods, 10 iterations
    assert config.get_config_for_module("firm").entropy_coeff == 0.02
    assert config.policies_to_train == ["firm"] and config.num_envs_per_env_runner == 5
    alone = deviation_config(subject, settings, Target("consumer", 1), 4)
    assert alone.deviator == {"type": "consumer", "agent": 1} and alone.policies_to_train == ["deviator"]
    assert alone.num_envs_per_env_runner == 32 and alone.lr[1] == [96, 2e-3]


@pytest.mark.parametrize("spelling", ["lambda", "lambda_"])
def test_settings_of_a_run_are_known_however_they_are_written_and_wherever_it_is_looked_at(
    tmp_path, monkeypatch, spelling
):
    plant(tmp_path / "run" / "checkpoint_000003")
    keys = f"{spelling}: 0.9, num_env_runners: 2, num_envs_per_env_runner: 64, minibatch_size: 192"
    text = f"tiny: {{run: EconomyPPO, env: rbc_closed, config: {{{keys}}}}}"
    (tmp_path / "run" / "config.yaml").write_text(text, encoding="utf-8")
    subject = checkpoint_subject(tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run" / "checkpoint_000003")
    (tmp_path / "best").symlink_to(tmp_path / "run" / "checkpoint_000003")
    assert checkpoint_subject(Path(".")) == checkpoint_subject(tmp_path / "best") == subject
    assert find_subjects(Path("."), "all") == find_subjects(Path("."), (3,)) == [subject]
    whole = deviation_config(subject, QUICK_AS_THE_RUN, Target("firm"), 0)
    assert (whole.lambda_, whole.num_envs_per_env_runner, whole.minibatch_size) == (0.9, 128, 192)
    alone = deviation_config(subject, QUICK_AS_THE_RUN, Target("firm", 1), 0)  # 32 economies of three periods
    alone.validate()
    assert (alone.num_envs_per_env_runner, alone.minibatch_size) == (32, None)


def test_policies_of_no_run_have_no_checkpoints_to_pick_from(tmp_path):
    plant(tmp_path / "exported")
    assert [one.name for one in find_subjects(tmp_path / "exported")] == ["exported"]
    with pytest.raises(UserError, match="exported is no checkpoint of a run"):
        find_subjects(tmp_path / "exported", "all")


def test_several_checkpoints_of_a_run_are_found_by_their_iterations(tmp_path):
    for number in (2, 10, 4):
        plant(tmp_path / f"checkpoint_{number:06}")
    assert [one.name for one in find_subjects(tmp_path)] == ["checkpoint_000010"]
    assert [one.name for one in find_subjects(tmp_path, (4, 2))] == ["checkpoint_000004", "checkpoint_000002"]
    everything = ["checkpoint_000002", "checkpoint_000004", "checkpoint_000010"]
    assert [one.name for one in find_subjects(tmp_path / "checkpoint_000004", "all")] == everything
    assert [one.name for one in find_subjects(tmp_path / "checkpoint_000004")] == ["checkpoint_000004"]
    with pytest.raises(UserError, match="has no checkpoint of iteration 3; it has kept 2, 4, 10"):
        find_subjects(tmp_path, (2, 3))


def test_other_weights_under_the_same_name_are_another_subject(tmp_path):
    plant(tmp_path / "one" / "checkpoint_000001")
    shutil.copytree(tmp_path / "one", tmp_path / "same")
    plant(tmp_path / "other" / "checkpoint_000001", tempted=2.0)
    digests = {name: checkpoint_subject(tmp_path / name).digest for name in ("one", "same", "other")}
    assert digests["one"] == digests["same"] != digests["other"]


def test_deviations_are_picked_and_measured_on_different_episodes(planted):
    picking, measuring, scanning = (episode_seed(QUICK, stream) for stream in range(3))
    assert len({picking, measuring, scanning}) == 3
    policies, target = load_policies(planted), Target("firm")
    row = ConstantsJob(checkpoint_subject(planted), QUICK, target).run(planted)
    chosen = DeviatingPolicies(policies, Deviation("firm", choice=torch.tensor(row["choice"])))

    def mean(who, seed, count):
        return float(target.returns(play(who, count, seed)).mean())

    picked = mean(chosen, picking, 32) - mean(policies, picking, 32)
    level = mean(policies, measuring, 64)
    assert row["selection_gain"] == pytest.approx(picked)
    final = FinalJob(checkpoint_subject(planted), QUICK, target, constant=row).run(planted)
    assert final["level"] == pytest.approx(level) != pytest.approx(mean(policies, picking, 32))
    assert final["constant"]["gain"] == pytest.approx(mean(chosen, measuring, 64) - level)


def test_an_interval_is_that_of_the_mean_of_paired_differences():
    mean, low, high = paired(torch.tensor([1.0, 2.0, 3.0, 6.0], dtype=torch.float64))
    error = 1.959964 * (14 / 3) ** 0.5 / 2
    assert (mean, low, high) == pytest.approx((3.0, 3.0 - error, 3.0 + error))


def test_intervals_of_two_deviations_hold_at_once_as_often_as_one_alone(planted):
    subject, target = checkpoint_subject(planted), Target("firm")
    final = FinalJob(subject, QUICK, target, constant={"choice": [1]}).run(planted)
    policies, seed = load_policies(planted), episode_seed(QUICK, 1)
    chosen = DeviatingPolicies(policies, Deviation("firm", choice=torch.tensor([1])))
    differences = target.returns(play(chosen, 64, seed)) - target.returns(play(policies, 64, seed))
    error = 2.241403 * float(differences.std()) / 8  # each misses in 2.5% of cases
    gain = final["constant"]
    assert (gain["low"], gain["high"]) == pytest.approx((gain["gain"] - error, gain["gain"] + error))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"iteration": 3}, 'best_response.iteration is not a setting of best responses; did you mean "iterations"'),
        ({"iterations": 0}, "best_response.iterations is 0; it must be a whole number of at least 1"),
        ({"types": ["firms"]}, "best_response.types has 'firms'.*did you mean \"firm\""),
        ({"agents": "some"}, "best_response.agents is 'some'"),
        ({"agents": {"government": [0]}}, "best_response.agents.government cannot deviate alone"),
        ({"agents": {"firm": [-1]}}, r"best_response.agents.firm has -1"),
        ({"seeds": []}, "best_response.seeds is"),
        ({"lr": {"firm": 0}}, "best_response.lr.firm is 0; it must be above 0"),
        ({"checkpoints": "some"}, "best_response.checkpoints is 'some'"),
        ({"entropy": -1}, "best_response.entropy is -1"),
        ([], "best_response is .*it must be a mapping"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        Settings.of(given)


def test_settings_of_a_file_are_read_and_agents_default_to_low_middle_and_high(planted):
    settings = Settings.of({"types": ["consumer"], "seeds": [4], "lr": {"firm": 1e-2}})
    assert [target.name for target in settings.targets(SHOPS)] == ["consumer", "consumer-4", "consumer-2", "consumer-0"]
    everybody = Settings.of({"types": [], "agents": {"firm": "all"}})
    assert [target.name for target in everybody.targets(SHOPS)] == ["firm-0", "firm-1"]
    with pytest.raises(ConfigError, match="firm 2 is not in this economy; its 2 agents"):
        Settings.of({"agents": {"firm": [2]}}).targets(SHOPS)
    with pytest.raises(ConfigError, match="nobody is to be checked"):
        Settings.of({"types": [], "agents": {}}).targets(SHOPS)
