"""What a run's folder shows in TensorBoard, without a run."""

from __future__ import annotations

import math

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rbc_marl.experiments.folder import RunFolder

NAMES = [f"env_runners/quantity_{number}" for number in range(100)]


def results(iteration):
    return {"training_iteration": iteration, **{name: iteration + k / 8 for k, name in enumerate(NAMES)}}


def log(path, iterations):
    folder = RunFolder(path)
    for iteration in iterations:
        folder.log(iteration, results(iteration))
    return folder


def shown(path):
    """Steps and values by tag, as TensorBoard reads them."""
    events = EventAccumulator(str(path)).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_shows_every_number_at_its_iteration(tmp_path):
    log(tmp_path, range(1, 21)).close()
    expected = {tag: [(step, results(step)[tag]) for step in range(1, 21)] for tag in results(1)}
    assert shown(tmp_path) == expected


def test_an_iteration_is_in_its_files_before_the_next_begins(tmp_path):
    folder = log(tmp_path, [1, 2])  # not closed: a process that is killed closes nothing
    assert [step for step, _ in shown(tmp_path)[NAMES[99]]] == [1, 2]
    assert len((tmp_path / "progress.csv").read_text(encoding="utf-8").splitlines()) == 3
    assert len((tmp_path / "result.json").read_text(encoding="utf-8").splitlines()) == 2
    folder.close()


def test_an_event_that_was_cut_short_hides_no_other(tmp_path):
    log(tmp_path, [1, 2, 3]).close()
    (file,) = tmp_path.glob("events.*")
    file.write_bytes(file.read_bytes()[:-100])
    assert [step for step, _ in shown(tmp_path)[NAMES[0]]] == [1, 2]


def test_a_part_that_goes_back_hides_what_was_reported_after_it(tmp_path, monkeypatch):
    log(tmp_path, [1, 2, 3]).close()
    monkeypatch.setattr("time.time", lambda: 4e9)  # files are read in the order of their names
    log(tmp_path, [3, 4]).close()
    assert [step for step, _ in shown(tmp_path)[NAMES[0]]] == [1, 2, 3, 4]


def test_a_number_that_is_not_finite_is_left_out_alone(tmp_path):
    folder = RunFolder(tmp_path)
    folder.log(1, {"a": math.nan, "b": math.inf, "c": 3.0, "date": "today"})
    folder.close()
    assert shown(tmp_path) == {"c": [(1, 3.0)]}


class KilledError(BaseException):
    """What nobody catches, as little as a kill."""


def begin(path):
    (path / "run.json").write_text("{}", encoding="utf-8")


def test_a_run_that_is_killed_while_its_folder_is_made_leaves_nothing_that_counts(tmp_path):
    def kill(path):
        begin(path)
        raise KilledError

    with pytest.raises(KilledError):
        RunFolder.create(tmp_path / "tiny", 5, kill)
    assert RunFolder.all_in(tmp_path / "tiny") == []
    (left,) = (tmp_path / "tiny").iterdir()
    assert left.name.startswith(".") and left.name.endswith("_seed5.tmp")
    made = RunFolder.create(tmp_path / "tiny", 5, begin)
    assert list((tmp_path / "tiny").iterdir()) == [made.path]
    assert [run.path for run in RunFolder.all_in(tmp_path / "tiny")] == [made.path]


def test_of_runs_that_begin_at_the_same_time_each_has_its_own_folder(tmp_path):
    inner = []

    def beset(path):
        begin(path)
        if not inner:  # another takes what is being made for what a killed process left
            inner.append(RunFolder.create(tmp_path, 5, begin))
            begin(path)

    outer = RunFolder.create(tmp_path, 5, beset)
    assert sorted(tmp_path.iterdir()) == sorted([outer.path, inner[0].path])
    assert (outer.path / "run.json").is_file() and (inner[0].path / "run.json").is_file()
