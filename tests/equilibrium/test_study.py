"""Tables, summaries and figures of sweeps, from rows written by hand."""

from __future__ import annotations

import csv
import json

import pandas as pd

from rbc_marl.analysis.studies import table_files
from rbc_marl.analysis.tables import composition_summary, summary
from rbc_marl.equilibrium.study import load_study
from rbc_marl.equilibrium.study_results import begin, finish
from tests.equilibrium.bases import BASE

ROW = {
    "arm": "plain",
    "seed": 100,
    "outcome": "living",
    "hours": 400.0,
    "government_return": 30000.0,
    "welfare_total": 30000.0,
    "welfare_consumers": 400.0,
    "consumption": 2.0,
    "price": 2300.0,
    "wage": 10.0,
    "consumer_return": 4.0,
    "firm_return": 1e6,
    "profit": 1e7,
    "profit_share": 0.98,
    "export_share": 0.74,
    "price_lowest": 0.0,
    "price_highest": 0.9,
    "wage_lowest": 0.1,
    "wage_highest": 0.0,
}
COMPLETE = {**ROW, "income_tax": 0.1, "corporate_tax": 0.1, "government_reward": 1.0}
STOPPED = {"arm": "other", "seed": 100, "outcome": "stopped", "hours": 3.0}
STOPPED |= {"welfare_total": 1.0, "welfare_consumers": 1.0}


def test_tables_say_the_same_as_csv_and_as_parquet(tmp_path):
    rows = [{**ROW, "quota": 10, "choice": "a", "fingerprint": "x"}, {**STOPPED, "quota": 50, "choice": 3, "key": "k"}]
    files = table_files(rows, "table")
    assert list(files) == ["table.csv", "table.parquet"]
    (tmp_path / "table.csv").write_text(files["table.csv"], encoding="utf-8")
    (tmp_path / "table.parquet").write_bytes(files["table.parquet"])
    with (tmp_path / "table.csv").open(encoding="utf-8") as file:
        header, first, second = csv.reader(file)
    assert header[:6] == ["arm", "seed", "outcome", "hours", "welfare_total", "welfare_consumers"]
    assert "fingerprint" not in header and "key" not in header
    assert first[header.index("quota")] == "10" and second[header.index("profit")] == ""
    table = pd.read_parquet(tmp_path / "table.parquet")
    assert list(table) == header
    assert table.quota.tolist() == [10, 50] and table.profit.isna().tolist() == [False, True]
    assert table.choice.tolist() == ["a", "3"]  # a column of mixed kinds is text


def test_runs_that_were_stopped_are_counted_and_nothing_else():
    text = summary([ROW, STOPPED])
    assert "| plain | 1/1 |" in text and "| other |" not in text
    assert "Runs stopped before their time, which no line counts: 1" in text
    assert "stopped" not in summary([ROW])


def test_runs_that_failed_are_listed_with_their_errors_and_counted_nowhere(tmp_path):
    (tmp_path / "base.yaml").write_text(BASE, encoding="utf-8")
    (tmp_path / "s.yaml").write_text("s: {base: base.yaml, seeds: [1, 2], arms: {plain: {}, bold: {}}}", "utf-8")
    study = load_study(tmp_path / "s.yaml")
    rows = [{**COMPLETE, "arm": arm, "seed": seed} for arm in study.arms for seed in (1, 2)]
    rows[3] = {"arm": "bold", "seed": 2, "outcome": "failed", "error": "the loss of firm is nan in iteration 7"}
    text = finish(study, rows, tmp_path)
    assert "| bold | 1/1 |" in text and "collapsed" not in text
    assert "Runs that failed, which no line counts: 1" in text
    assert "- bold seed 2: the loss of firm is nan in iteration 7" in text.splitlines()
    table = pd.read_csv(tmp_path / "table.csv")
    assert table.outcome.tolist() == ["living", "living", "living", "failed"] and pd.isna(table.group[3])
    assert pd.read_csv(tmp_path / "equilibria.csv").runs.sum() == 3
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert pictures == {"spectrum.png", "comparison.png"}  # nobody measured demand, taxes or deviations
    assert "every run of the first arm, bold, was stopped before its time or failed" in summary([rows[3], rows[0]])
    assert summary([rows[3]]).count("iteration 7") == 1


def test_a_record_that_is_torn_is_named_and_begun_anew(tmp_path):
    (tmp_path / "base.yaml").write_text(BASE, encoding="utf-8")
    (tmp_path / "s.yaml").write_text("s: {base: base.yaml, seeds: [1], arms: {plain: {}}}", encoding="utf-8")
    study, said = load_study(tmp_path / "s.yaml"), []
    for count in (1, 2):
        begin(study, tmp_path, ["rbc-marl"], said.append)
        assert len(json.loads((tmp_path / "sweep.json").read_text(encoding="utf-8"))["invocations"]) == count
    (tmp_path / "sweep.json").write_text('{"name": "s", "invo', encoding="utf-8")
    begin(study, tmp_path, ["rbc-marl"], said.append)
    assert len(said) == 1 and said[0].startswith(f"{tmp_path / 'sweep.json'} is torn")
    assert len(json.loads((tmp_path / "sweep.json").read_text(encoding="utf-8"))["invocations"]) == 1


def test_welfares_of_other_parameters_are_other_units(tmp_path):
    (tmp_path / "base.yaml").write_text(BASE, encoding="utf-8")
    arms = {n: f"{{set: {{env_config.welfare: {{kind: atkinson, aversion: {n}}}}}}}" for n in (1, 2)}
    text = f"s: {{base: base.yaml, seeds: [1], arms: {{one: {arms[1]}, two: {arms[2]}}}}}"
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    one, two = (run.unit[0] for run in load_study(tmp_path / "s.yaml").runs)
    assert one == "welfare {kind: atkinson, aversion: 1.0, least: -10.0}" and one != two


def test_a_sweep_knows_what_each_arms_government_maximises(tmp_path):
    (tmp_path / "other.yaml").write_text(BASE.replace("horizon: 3", "horizon: 3, welfare: consumers"), encoding="utf-8")
    (tmp_path / "base.yaml").write_text(BASE, encoding="utf-8")
    arms = "{plain: {}, other: {base: other.yaml}, free: {set: {env_config.firm_welfare_weight: 0}}}"
    text = f"s: {{base: base.yaml, seeds: [1, 2], arms: {arms}}}"
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    sweep = load_study(tmp_path / "s.yaml")
    assert {run.arm: run.unit[0] for run in sweep.runs} == {
        "plain": "total welfare with profit weighted by 0.0025",
        "other": "consumers' welfare",
        "free": "total welfare with profit weighted by 0",
    }
    rows = [{**COMPLETE, "arm": arm, "seed": seed} for arm in sweep.arms for seed in (1, 2)]
    lines = finish(sweep, rows, tmp_path).splitlines()
    assert [line.split(" | ")[-2] for line in lines[2:5]] == ["", "", ""]
    assert any(line.startswith("- other [consumers' welfare]: 1: 30,000 (400)") for line in lines)


def test_a_summary_says_what_welfare_is_made_of_over_the_runs_that_are_alive():
    rows = [ROW, {**ROW, "profit": 2e7, "profit_share": None}, {**ROW, "outcome": "collapsed", "profit": -5.0}]
    rows.append({**ROW, "outcome": "dead", "profit": -5.0})
    lines = composition_summary(rows).splitlines()
    assert lines[2] == "| plain | 2 | 400 | 15,000,000 | 98% | 74% | 0% | 90% | 10% | 0% |"
    assert composition_summary([STOPPED]).splitlines()[2] == "| other | 0 |" + "  |" * 8


