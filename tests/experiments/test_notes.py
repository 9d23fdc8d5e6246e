"""What a stranger finds beside results: README.txt, metrics.json, and columns in an order."""

from __future__ import annotations

import csv
import json

from rbc_marl.analysis.composition import COMPOSITION
from rbc_marl.analysis.described import describe
from rbc_marl.analysis.indicators import INDICATORS
from rbc_marl.analysis.metrics import QUANTITIES
from rbc_marl.analysis.studies import FIRST
from rbc_marl.experiments.folder import RunFolder
from rbc_marl.experiments.notes import RUN, SWEEP, in_order, readme, write_readme


def test_every_quantity_of_the_package_has_words_and_a_unit():
    measured = (*QUANTITIES, *INDICATORS, *COMPOSITION, "shopping_share", "demand_elasticity", "epsilon_one_firm")
    measured += ("share_at_2500", "sales_at_2500", "exports_at_2500", "demand_at_2500", "epsilon_consumer")
    for name in measured:
        assert describe(name) is not None and describe(name).words and describe(name).unit, name
    assert all(describe(name) for name in FIRST)


def test_a_column_of_training_is_the_quantity_that_it_reports():
    assert describe("env_runners/hours") == describe("hours")
    assert describe("evaluation/env_runners/hours").words == "in an evaluation: hours worked"
    assert describe("middle_hours").words == "hours worked; without the first and the last period"
    assert describe("curriculum/highest_tax").unit == "rate" and describe("curriculum/entropy_firm").unit == "factor"
    assert describe("learners/firm/vf_loss") is None and describe("env_runners/episode_len_mean") is None


def test_columns_stand_in_an_order_whatever_came_first():
    columns = ["timers/a", "env_runners/wage", "evaluation/env_runners/hours", "curriculum/x", "env_runners/hours"]
    columns += ["time_total_s", "learners/b", "training_iteration"]
    assert in_order(columns) == [
        *("training_iteration", "time_total_s", "curriculum/x", "env_runners/hours", "env_runners/wage"),
        *("evaluation/env_runners/hours", "timers/a", "learners/b"),
    ]


def test_columns_that_come_later_keep_the_order_and_what_was_there(tmp_path):
    folder = RunFolder(tmp_path)
    folder.log(1, {"learners/b": 0.5, "training_iteration": 1, "env_runners/wage": 2.0})
    folder.log(2, {"training_iteration": 2, "env_runners/hours": 3.0, "learners/b": 0.25, "env_runners/wage": 4.0})
    folder.close()
    again = RunFolder(tmp_path)
    again.rewind(2)
    again.log(3, {"env_runners/hours": 5.0, "training_iteration": 3, "learners/b": 1.0, "curriculum/x": 1.0})
    again.close()
    with (tmp_path / "progress.csv").open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head == ["training_iteration", "curriculum/x", "env_runners/hours", "env_runners/wage", "learners/b"]
    assert rows == [["1", "", "", "2.0", "0.5"], ["2", "", "3.0", "4.0", "0.25"], ["3", "1.0", "5.0", "", "1.0"]]
    described = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert described["env_runners/hours"] == {"words": "hours worked", "unit": "hours, per consumer"}
    assert "learners/b" not in described


def test_the_readme_says_what_made_the_folder_and_how_to_read_each_file(tmp_path):
    for files in (RUN, SWEEP):
        text = readme("A run.", files, ["rbc-marl", "train", "my file.yaml"])
        assert text.startswith("A run.\n\nMade by: rbc-marl train 'my file.yaml'\n") and 'pandas.read_' in text
        assert all(name in text for name in files) and max(map(len, text.splitlines())) < 100
    assert "Made by" not in readme("A run.", RUN, [])
    write_readme(tmp_path, "A run.", RUN, [])
    write_readme(tmp_path, "Another.", RUN, [])
    assert (tmp_path / "README.txt").read_text(encoding="utf-8").startswith("A run.")
