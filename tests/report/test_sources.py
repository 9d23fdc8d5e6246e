"""What a path is that a report is about, and what is refused in a line."""

from __future__ import annotations

import re

import pytest

from rbc_marl.errors import UserError
from rbc_marl.report.sources import BestResponses, Run, Sweep, read_source
from tests.report.folders import deviation, make_policies, make_run, make_sweep, row, write_json


def refusal(path):
    with pytest.raises(UserError) as caught:
        read_source(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_finished_run_has_progress_policies_and_no_notes(tmp_path):
    run = read_source(make_run(tmp_path / "run"))
    assert isinstance(run, Run) and run.notes == () and run.title == "tiny, run" and run.seed == 3
    assert run.checkpoint == tmp_path / "run" / "checkpoint_000004"
    assert list(run.progress.training_iteration) == [1, 2, 3, 4]
    assert run.how["command"] == ["rbc-marl", "train", "tiny.yaml"] and "EconomyPPO" in run.how["settings"]


@pytest.mark.parametrize("torn", ["5,0.5,5", "5,0.5,500.0,-5", "5"])
def test_a_running_run_says_so_and_loses_its_torn_line(tmp_path, torn):
    run = read_source(make_run(tmp_path / "run", "running", torn=torn))
    assert list(run.progress.training_iteration) == [1, 2, 3, 4]
    assert "has not finished: it runs, or was killed, after 4 iterations" in run.notes[0]
    assert any("torn" in note for note in run.notes) and any("checkpoint_000004" in note for note in run.notes)


def test_a_running_run_without_a_checkpoint_yet_shows_its_training(tmp_path):
    run = read_source(make_run(tmp_path / "run", "running", has_policies=False))
    assert run.checkpoint is None and "no policies" in run.notes[-1]


@pytest.mark.parametrize("status", ["finished", "failed", "interrupted"])
def test_a_run_that_ended_without_a_checkpoint_is_refused(tmp_path, status):
    assert "holds no checkpoint" in refusal(make_run(tmp_path / "run", status, has_policies=False))


def test_of_an_experiment_the_newest_run_counts(tmp_path):
    for name in ("2026-01-01_seed1", "2026-01-02_seed1"):
        make_run(tmp_path / name)
    assert read_source(tmp_path).path == tmp_path / "2026-01-02_seed1"


def test_policies_can_be_reported_without_their_run(tmp_path):
    make_policies(tmp_path / "checkpoint_000001")
    for path in (tmp_path, tmp_path / "checkpoint_000001"):
        run = read_source(path)
        assert isinstance(run, Run) and run.progress is None and run.seed == 3


def test_policies_of_the_package_bring_their_certificate():
    run = read_source("open_rbc")
    assert run.title == "open_rbc" and run.best_responses.outcomes == {}
    assert {"consumer", "firm", "government"} == {one["agent_type"] for one in run.best_responses.rows}
    assert "rbc-marl verify" in run.best_responses.notes[0]


def test_a_sweep_says_which_runs_are_missing(tmp_path):
    sweep = read_source(make_sweep(tmp_path, [row("a", 1), row("b", 2)], missing=3))
    assert isinstance(sweep, Sweep) and [one["arm"] for one in sweep.rows] == ["a", "b"] and sweep.total == 5
    assert "Runs without a result: 3 of 5." in sweep.notes[0]


def test_a_torn_row_is_refused_and_stays(tmp_path):
    folder = make_sweep(tmp_path, [row("a", 1)])
    (folder / "rows" / "a-1.json").write_text('{"arm": "a"', encoding="utf-8")
    assert "a-1.json is torn" in refusal(folder)
    assert (folder / "rows" / "a-1.json").is_file()  # a report changes nothing
    (folder / "rows" / "a-1.json").write_text("[1]", encoding="utf-8")
    assert "it holds a list" in refusal(folder)


def test_rows_of_other_settings_are_refused(tmp_path):
    assert "other settings" in refusal(make_sweep(tmp_path, [row("a", 1, fingerprint="another")]))


def test_a_best_response_is_read_from_its_report(tmp_path):
    checkpoints = [{"checkpoint": "checkpoint_000004", "outcome": "living", "notes": []}]
    write_json(tmp_path / "report.json", {"rows": [deviation("firm", 1.0)], "checkpoints": checkpoints, "settings": {}})
    (tmp_path / "rows.csv").touch()
    found = read_source(tmp_path)
    assert isinstance(found, BestResponses) and found.outcomes == {"checkpoint_000004": "living"}
    write_json(tmp_path / "report.json", {"rows": 3, "checkpoints": checkpoints})
    assert "report.json is damaged" in refusal(tmp_path)


def test_a_certificate_that_was_changed_is_refused(tmp_path):
    write_json(tmp_path / "certificate.json", {"format_version": 1, "checkpoints": [], "sha256": "0"})
    assert "was changed" in refusal(tmp_path / "certificate.json")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty", None, r"empty holds nothing to report; give a run, a sweep"),
        ("lost/rows/a.json", "{}", r"lost holds rows, but no sweep.json"),
        ("a/sweep.json", "{", r"sweep.json is damaged"),
        ("b/sweep.json", "{}", r"sweep.json names no runs"),
        ("c/run.json", "{", r"run.json is damaged"),
        ("d/policies.json", "[", r"policies.json is damaged"),
    ],
)
def test_what_is_damaged_or_empty_is_one_line(tmp_path, name, content, message):
    path = tmp_path / name
    if content is None:
        path.mkdir()
    else:
        path.parent.mkdir(parents=True)
        path.write_text(content, encoding="utf-8")
    assert re.search(message, refusal(tmp_path / name.split("/")[0]))


def test_a_name_that_is_not_known_gets_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert 'did you mean "quickstart"?' in refusal("quikstart")
    (tmp_path / "file.txt").touch()
    assert "file.txt is a file; give a run" in refusal("file.txt")
