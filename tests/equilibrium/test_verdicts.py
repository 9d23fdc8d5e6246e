"""Which runs of a sweep may be called equilibria."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from rbc_marl import ConfigError
from rbc_marl.equilibrium.best_response_settings import PAPER_BOUNDS
from rbc_marl.equilibrium.gains import deviation_rows, gain_summary
from rbc_marl.equilibrium.sweep_file import load_sweep
from rbc_marl.equilibrium.verdicts import verdict
from tests.equilibrium.test_sweep import BASE
from tests.equilibrium.test_sweep_kinds import swept


def deviation(agent_type, over_level, kind="type", outcome="living", verified=True, constant=-1.0):
    return {
        "checkpoint": "checkpoint_000001",
        "outcome": outcome,
        "kind": kind,
        "agent_type": agent_type,
        "agent": 3 if kind == "agent" else None,
        "paper_bound": PAPER_BOUNDS[agent_type],
        "level": 100.0,
        "gain": 100.0 * over_level,
        "gain_low": 100.0 * over_level - 0.1,
        "gain_high": 100.0 * over_level + 0.1,
        "training_gain": None,
        "gain_over_level": over_level,
        "verified": verified,
        "constant": "price 2500",
        "constant_gain": constant,
        "constant_gain_low": constant - 1.0,
    }


TYPES = [deviation("consumer", 0.01), deviation("firm", -0.02), deviation("government", 0.004)]


def test_a_living_run_whose_types_gain_little_is_an_equilibrium():
    found = verdict([*TYPES, deviation("firm", 0.06, "agent")], "living")
    assert found["equilibrium"] == "yes"
    assert (found["epsilon_consumer"], found["epsilon_firm"], found["epsilon_government"]) == (0.01, 0.0, 0.004)
    assert (found["epsilon_one_consumer"], found["epsilon_one_firm"]) == (None, 0.06)


def test_gains_of_many_runs_come_to_their_mean_and_worst():
    runs = [{"arm": "a", "seed": seed, "outcome": "living", "key": f"a-{seed}"} for seed in (1, 2, 3)]
    small, large = deviation("consumer", -0.02), deviation("consumer", 0.05, constant=4.0)
    alone = deviation("firm", 0.2, "agent", verified=False)
    rows = deviation_rows(runs, {"a-1": [small, alone], "a-2": [large], "a-3": None})
    assert [(row["seed"], row["agent_type"], row["agent"]) for row in rows] == [
        (1, "consumer", None),
        (1, "firm", 3),
        (2, "consumer", None),
    ]
    assert gain_summary(rows).splitlines()[2:] == [
        "| a | consumer | 2 | 100 | 2.5 | 5 | 2.50% | 5.00% | 4.00% | 3% | 1/2 | 2/2 |",
        "| a | firm 3 alone | 1 | 100 | 20 | 20 | 20.00% | 20.00% | 0.00% | 10% | 1/1 | 0/1 |",
    ]


@pytest.mark.parametrize("outcome", ["collapsed", "impaired", "stopped"])
def test_a_run_that_is_not_living_is_none_however_small_its_gains(outcome):
    assert verdict([{**row, "outcome": outcome} for row in TYPES], outcome)["equilibrium"] == "no"
    found = verdict(None, outcome)
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
    assert verdict(deviations, "living")["equilibrium"] == "no"


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
        load_sweep(tmp_path / "sweep.yaml")


@pytest.mark.slow
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
    with pytest.raises(ConfigError, match=r"x\.best_response stands beside x\.taxes"):
        load_sweep(tmp_path / "sweep.yaml")
