"""Logs are bounded, whole lines after any interruption, and cheap to go on with."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pytest

from rbc_marl.analysis.figures.training import read_progress
from rbc_marl.experiments import iterations as whole_iterations
from rbc_marl.experiments import logs
from rbc_marl.experiments.folder import RunFolder
from rbc_marl.experiments.logs import EVERY, FULL, RunLogs
from rbc_marl.files import set_aside

# As many numbers as an iteration of EconomyPPO reports, with names as long.
NAMES = [f"env_runners/module_episode_returns_{number:03d}" for number in range(150)]


def results(iteration, **more):
    return {"training_iteration": iteration, **{name: iteration / 7 + k for k, name in enumerate(NAMES)}, **more}


def table(path):
    with (path / "progress.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert all(None not in row and None not in row.values() for row in rows)
    return rows


def iterations(path):
    listed = [int(row["training_iteration"]) for row in table(path)]
    lines = (path / "result.json").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["training_iteration"] for line in lines] == listed
    return listed


def size(path):
    return sum(file.stat().st_size for file in path.rglob("*"))


def whole(path):
    return pd.read_parquet(path / "iterations")


@pytest.fixture
def short(monkeypatch):
    """A run whose long part begins after ten iterations."""
    monkeypatch.setattr(logs, "FULL", 10)


@pytest.fixture
def parts(monkeypatch, short):
    """Such a run, with its iterations in files of 25."""
    monkeypatch.setattr(whole_iterations, "PART", 25)


def test_of_the_first_thousand_each_is_kept_and_then_one_in_twenty():
    assert (FULL, EVERY) == (1000, 20)
    is_due = RunLogs(Path())._is_due
    assert [iteration for iteration in range(998, 1043) if is_due(iteration, {})] == [998, 999, 1000, 1020, 1040]


def test_a_long_run_grows_by_less_than_two_kilobytes_an_iteration(tmp_path, short):
    folder = RunFolder(tmp_path)
    for iteration in range(1, 11):
        folder.log(iteration, results(iteration))
    before = size(tmp_path)
    assert before / 10 > 10_000  # what each would take
    for iteration in range(11, 211):
        folder.log(iteration, results(iteration))
    folder.close()
    assert (size(tmp_path) - before) / 200 < 2000
    assert iterations(tmp_path) == [*range(1, 11), *range(20, 211, EVERY), 210]


def test_iterations_with_a_checkpoint_or_a_new_evaluation_are_kept(tmp_path, short):
    folder = RunFolder(tmp_path)
    for iteration in range(1, 75):
        last = iteration // 33
        evaluation = {"evaluation/hours": float(last)} if last else {}  # RLlib may repeat it until the next
        folder.log(iteration, results(iteration, **evaluation))
        if iteration in (20, 47):
            folder.save_checkpoint(iteration, lambda path: (path / "a").write_text(""), keep=None)
    folder.close()
    assert iterations(tmp_path) == [*range(1, 11), 20, 33, 40, 47, 60, 66, 74]
    assert {row["evaluation/hours"] for row in table(tmp_path)} == {"", "1.0", "2.0"}


def test_going_on_gives_the_results_of_the_checkpoint_and_leaves_out_what_came_after(tmp_path, short):
    folder = RunFolder(tmp_path)
    for iteration in range(1, 60):
        folder.log(iteration, results(iteration))
        if iteration == 47:
            folder.save_checkpoint(iteration, lambda path: (path / "a").write_text(""), keep=None)
    folder.close()
    again = RunFolder(tmp_path)
    assert again.rewind(47) == results(47) == again.last_results()
    assert iterations(tmp_path)[-3:] == [20, 40, 47]
    again.log(48, results(48))
    again.close()
    assert iterations(tmp_path)[-3:] == [40, 47, 48]


def written(path, lines):
    """The logs of a long run, each line as this package writes it."""
    with (path / "progress.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(results(1)))
        writer.writeheader()
        writer.writerows(results(iteration) for iteration in lines)
    text = "".join(json.dumps(results(iteration)) + "\n" for iteration in lines)
    (path / "result.json").write_text(text, encoding="utf-8")


def test_going_on_after_a_long_run_reads_the_ends_of_its_files(tmp_path, monkeypatch):
    written(tmp_path, range(1, 101))
    read, plain = [], logs._backwards

    def counted(file):
        for start, line in plain(file):
            read.append(len(line))
            yield start, line

    monkeypatch.setattr(logs, "_backwards", counted)
    folder = RunFolder(tmp_path)
    assert folder.rewind(98)["training_iteration"] == 98
    assert len(read) == 6  # three lines of each file
    folder.log(99, results(99))
    folder.close()
    assert len(read) == 6
    assert iterations(tmp_path) == [*range(1, 100)]


@pytest.mark.parametrize("block", [1, 7, 100, 1 << 16])
def test_lines_come_backwards_whole_whatever_is_read_at_a_time(tmp_path, monkeypatch, block):
    monkeypatch.setattr(logs, "_BLOCK", block)
    content = b"head\r\n" + b"x" * 150 + b"\r\n\n" + b"last"
    (tmp_path / "a").write_bytes(content)
    with (tmp_path / "a").open("rb") as file:
        lines = list(logs._backwards(file))
    assert [line for _, line in lines] == [b"last", b"\n", b"x" * 150 + b"\r\n", b"head\r\n"]
    assert all(content[start:].startswith(line) for start, line in lines)


@pytest.mark.parametrize("torn", ["", "training_iter", 'training_iteration,a\r\n1,2\r\n"', "a,b\r\n1,2\r\n"])
def test_a_table_that_was_cut_short_is_read_and_gone_on_with(tmp_path, torn):
    (tmp_path / "progress.csv").write_text(torn, encoding="utf-8", newline="")
    (tmp_path / "result.json").write_text('{"training_iteration": 1, "a": 2}\n{"train', encoding="utf-8")
    folder = RunFolder(tmp_path)
    assert folder.rewind(1) == {"training_iteration": 1, "a": 2}
    folder.log(2, {"training_iteration": 2, "a": 3, "b": 4})
    folder.close()
    assert [row["training_iteration"] for row in table(tmp_path)] == (["1", "2"] if "1,2\r\n\"" in torn else ["2"])
    assert table(tmp_path)[-1] == {"training_iteration": "2", "a": "3", "b": "4"}


def test_a_line_that_is_cut_short_on_a_full_disk_is_gone_when_the_run_goes_on(tmp_path):
    written(tmp_path, [1, 2])
    for name, part in (("progress.csv", "3,1.0,1"), ("result.json", '{"training_iteration": 3, "env')):
        with (tmp_path / name).open("a", encoding="utf-8") as file:
            file.write(part)
    folder = RunFolder(tmp_path)
    assert folder.last_results()["training_iteration"] == 2
    assert folder.rewind(2) == results(2)
    folder.log(3, results(3))
    folder.close()
    assert iterations(tmp_path) == [1, 2, 3]


def test_a_run_without_its_logs_begins_new_ones(tmp_path):
    written(tmp_path, [1])
    set_aside(tmp_path / "progress.csv")
    (tmp_path / "result.json").unlink()
    folder = RunFolder(tmp_path)
    assert folder.rewind(1) == folder.last_results() == {}
    folder.log(2, results(2))
    folder.close()
    assert iterations(tmp_path) == [2]


@pytest.mark.parametrize("last", [9, 10, 11, 24, 25, 26, 49, 50, 60, 75])
def test_what_is_left_out_is_whole_in_parquet_after_any_interruption(tmp_path, parts, last):
    folder = RunFolder(tmp_path)
    for iteration in range(1, 77):
        folder.log(iteration, results(iteration))
        if iteration == 60:
            folder.save_checkpoint(iteration, lambda path: (path / "a").write_text(""), keep=None)
    # Not closed: it was killed. Whatever checkpoint it goes on from, it plays what came after once more.
    (tmp_path / "iterations" / ".000000001.parquet.tmp").write_bytes(b"half")
    again = RunFolder(tmp_path)
    again.rewind(last)
    for iteration in range(last + 1, 91):
        again.log(iteration, results(iteration, **({"evaluation/hours": 1.0} if iteration > 80 else {})))
    again.close()
    kept = whole(tmp_path)
    assert list(kept["training_iteration"]) == list(range(11, 91))
    assert all(list(kept[name]) == [i / 7 + k for i in kept["training_iteration"]] for k, name in enumerate(NAMES[:3]))
    assert not list((tmp_path / "iterations").glob(".*"))
    frame = read_progress(tmp_path, whole=True)
    assert list(frame["training_iteration"]) == list(range(1, 91))
    assert list(frame["evaluation/hours"].dropna()) == [1.0] * 10


def test_a_file_of_iterations_that_was_damaged_is_set_aside(tmp_path, parts):
    folder = RunFolder(tmp_path)
    for iteration in range(1, 41):
        folder.log(iteration, results(iteration))
    folder.close()
    (tmp_path / "iterations" / "000000026.parquet").write_bytes(b"PAR1")
    again = RunFolder(tmp_path)
    again.rewind(40)
    again.log(41, results(41))
    again.close()
    assert list(whole(tmp_path)["training_iteration"]) == [*range(11, 26), 41]
    assert (tmp_path / "iterations-000000026.parquet.torn").is_file()


def test_going_on_reads_no_file_of_iterations_but_the_newest(tmp_path, parts):
    folder = RunFolder(tmp_path)
    for iteration in range(1, 101):
        folder.log(iteration, results(iteration))
    folder.close()
    for path in (tmp_path / "iterations").iterdir():
        if path.name != "000000076.parquet":
            path.write_bytes(b"not looked at")
    again = RunFolder(tmp_path)
    again.rewind(90)
    again.log(91, results(91))
    again.close()
    newest = pd.read_parquet(tmp_path / "iterations" / "000000076.parquet")
    assert list(newest["training_iteration"]) == [*range(76, 92)]
