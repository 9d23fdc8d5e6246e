"""Best responses to the runs of a sweep, and what its table says of them."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import pandas as pd
import pytest

from rbc_marl import ConfigError
from rbc_marl.equilibrium import best_response, study_results
from rbc_marl.equilibrium.best_response import BestResponseReport
from rbc_marl.equilibrium.profile import profile_of_checkpoint
from rbc_marl.equilibrium.study import load_study
from tests.analysis.test_verdicts import deviation
from tests.equilibrium.bases import BASE
from tests.equilibrium.economies import plant
from tests.equilibrium.test_study import ROW
from tests.experiments.test_sweep_kinds import swept


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("{iteration: 3}", r"x\.best_response\.iteration is not a setting of best responses"),
        ("{seeds: []}", r"x\.best_response\.seeds is \[\]"),
        ("{agents: {firm: [2]}}", r"x\.best_response: firm 2 is not in this economy"),
        ("{checkpoints: all}", r"x\.best_response\.checkpoints is for rbc-marl best-response"),
    ],
)
def test_best_responses_that_cannot_be_searched_for_are_refused_before_anything_trains(tmp_path, settings, message):
    (tmp_path / "base.yaml").write_text(BASE, encoding="utf-8")
    text = f"x: {{base: base.yaml, seeds: [1], arms: {{plain: {{}}}}, best_response: {settings}}}"
    (tmp_path / "sweep.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_study(tmp_path / "sweep.yaml")


CHECKED = """
checked:
  base: base.yaml
  seeds: [1]
  episodes: 8
  arms: {asked: {}, other: {}, dead: {}}
  best_response: {types: [firm], agents: {}, seeds: [0], iterations: 10, episodes: 8, selection_episodes: 4}
"""


@pytest.fixture
def checked(tmp_path, monkeypatch):
    """A sweep of living runs, and a dead one, each with a report of best responses, the first of which is wanted."""
    (tmp_path / "base.yaml").write_text(BASE, encoding="utf-8")
    (tmp_path / "sweep.yaml").write_text(CHECKED, encoding="utf-8")
    sweep = load_study(tmp_path / "sweep.yaml")
    settings = sweep.best_response
    (tmp_path / "best_responses").mkdir()
    for run in sweep.runs:
        plant(tmp_path / run.key / "checkpoint_000002")
        profile = profile_of_checkpoint(tmp_path / run.key)
        described = {"checkpoint": profile.name, "digest": profile.digest, "outcome": "living", "notes": []}
        made = BestResponseReport([deviation("firm", 0.04)], [described], settings)
        text = json.dumps({**made.to_dict(), "epsilons": None})
        (tmp_path / "best_responses" / f"{run.key}.json").write_text(text, encoding="utf-8")
    monkeypatch.setattr(study_results, "checkpoint_of", lambda run, folder: folder / run.key / "checkpoint_000002")
    responses = lambda runs, *_: {key: [deviation("firm", 0.07)] for key in runs}  # noqa: E731
    monkeypatch.setattr(best_response, "best_responses_to_runs", responses)
    monkeypatch.setattr(study_results, "_draw", lambda *_: None)  # which takes seconds
    return sweep, tmp_path


def finished(sweep, folder):
    """The table and the lines of a sweep that is finished with ``--arm asked``."""
    taxes = {"income_tax": 0.0, "corporate_tax": 0.0}
    rows = [{**ROW, **taxes, "arm": run.arm, "seed": run.seed} for run in sweep.runs]
    rows[2]["outcome"] = "impaired"
    said = []
    study_results.finish(sweep, rows, folder, 1, said.append, ["asked"])
    return pd.read_csv(folder / "table.csv").set_index("arm").epsilon_firm.fillna(-1.0).to_dict(), said


def test_arms_that_are_not_asked_for_keep_what_was_found_before_with_the_same_settings(checked):
    sweep, folder = checked
    shutil.copytree(folder / "other-1", folder / "moved")  # where a checkpoint lies makes no difference
    shutil.rmtree(folder / "other-1")
    shutil.move(folder / "moved", folder / "other-1")
    assert finished(sweep, folder) == ({"asked": 0.07, "other": 0.04, "dead": -1.0}, [])
    assert set(pd.read_csv(folder / "deviations.csv").arm) == {"asked", "other"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("settings", r"it was made with other settings \(seeds, iterations\)"),
        ("policies", "it is about another checkpoint"),
        ("version", r"it was made with other settings \(perturbation\)"),
        ("checkpoint", "does not exist"),
    ],
)
def test_what_was_found_with_other_settings_or_of_other_policies_does_not_count(checked, change, reason):
    sweep, folder = checked
    if change == "settings":
        sweep = replace(sweep, best_response=sweep.best_response.replace(iterations=20, seeds=(0, 1)))
    for key in ("asked-1", "other-1") if change != "settings" else ():
        path = folder / "best_responses" / f"{key}.json"
        if change == "policies":
            plant(folder / key / "checkpoint_000002", tempted=2.0)
        elif change == "version":  # an earlier one, which had another name for it
            made = json.loads(path.read_text(encoding="utf-8"))
            made["settings"]["damage"] = made["settings"].pop("perturbation")
            path.write_text(json.dumps(made), encoding="utf-8")
        else:
            shutil.rmtree(folder / key)
    epsilons, said = finished(sweep, folder)
    assert epsilons == {"asked": 0.07, "other": -1.0, "dead": -1.0}
    assert len(said) == 2
    for key, line in zip(("asked-1", "other-1"), said, strict=True):
        assert line.startswith(f"{folder / 'best_responses' / key}.json is left out until {key} is checked again: ")
        assert re.search(reason, line)


def test_a_torn_report_is_named_and_set_aside(checked):
    sweep, folder = checked
    path = folder / "best_responses" / "other-1.json"
    path.write_text(path.read_text(encoding="utf-8")[:100], encoding="utf-8")
    epsilons, said = finished(sweep, folder)
    assert epsilons == {"asked": 0.07, "other": -1.0, "dead": -1.0}
    assert len(said) == 1 and said[0].startswith(f"{path} is torn (")
    assert path.with_name("other-1.json.torn").exists() and not path.exists()


def test_a_table_of_deviations_none_of_which_count_any_more_does_not_stay(checked, monkeypatch):
    sweep, folder = checked
    monkeypatch.setattr(best_response, "best_responses_to_runs", lambda *_: {})
    finished(sweep, folder)
    assert (folder / "deviations.csv").exists() and (folder / "deviations.parquet").exists()
    finished(replace(sweep, best_response=sweep.best_response.replace(iterations=20)), folder)
    assert not (folder / "deviations.csv").exists() and not (folder / "deviations.parquet").exists()


@pytest.mark.long
def test_living_runs_of_a_sweep_are_best_responded_and_others_are_not(tmp_path):
    # Welfare is utility alone. Consumers to whom work costs nothing live better than with a monopolist's prices; where
    # it costs a thousand times as much, those who work at random are worse off than those who work the fewest hours.
    (tmp_path / "base.yaml").write_text(BASE, encoding="utf-8")
    text = """
checked:
  base: base.yaml
  seeds: [1]
  episodes: 8
  rules: monopoly
  set: {env_config.hours_choices: [260, 520], env_config.firm_welfare_weight: 0}
  arms:
    living: {set: {env_config.labour_disutility: 0}}
    impaired: {set: {env_config.labour_disutility: 10}}
  best_response:
    {types: [government], agents: {firm: [0]}, seeds: [0], iterations: 1, episodes: 8, selection_episodes: 4}
"""
    output = swept(tmp_path, text)
    assert "best responses to run 1 of 1: living-1" in output
    results = tmp_path / "results" / "checked"
    rows = json.loads((results / "best_responses" / "living-1.json").read_text(encoding="utf-8"))["rows"]
    assert [(row["agent_type"], row["agent"]) for row in rows] == [("government", None), ("firm", 0)]
    assert not (results / "best_responses" / "impaired-1.json").exists()
    table = pd.read_csv(results / "table.csv").set_index("arm")
    assert table.outcome.to_dict() == {"living": "living", "impaired": "impaired"}
    assert table.equilibrium.to_dict() == {"living": "no", "impaired": "no"}
    living = table.verdict["living"]
    assert living.startswith("undecided: consumer and firm") or "gains" in living.removesuffix("whatever anybody gains")
    assert table.epsilon_government.notna().to_dict() == {"living": True, "impaired": False}
    deviations = pd.read_csv(results / "deviations.csv")
    assert deviations.arm.tolist() == ["living", "living"] and deviations.gain.tolist() == [row["gain"] for row in rows]
    assert len(pd.read_parquet(results / "deviations.parquet")) == 2
    assert "| living | firm 0 alone | 1 |" in (results / "summary.md").read_text(encoding="utf-8")


def test_taxes_and_best_responses_do_not_go_together(tmp_path):
    (tmp_path / "base.yaml").write_text(BASE, encoding="utf-8")
    text = "x: {base: base.yaml, seeds: [1], taxes: {income: [0], corporate: [0]}, best_response: {seeds: [0]}}"
    (tmp_path / "sweep.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"x\.best_response stands beside taxes, where"):
        load_study(tmp_path / "sweep.yaml")
