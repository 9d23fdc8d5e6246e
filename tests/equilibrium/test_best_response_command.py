"""The command best-response, from a shell: what it prints, what it refuses, and how it goes on after a kill."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rbc_marl import cli
from rbc_marl.equilibrium import best_response
from rbc_marl.equilibrium.profile import result_folders
from tests.analysis.test_verdicts import near
from tests.equilibrium.economies import plant
from tests.equilibrium.test_report import report

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def run_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (3, 6):
        plant(tmp_path / "run" / f"checkpoint_{number:06}")
    return tmp_path / "run"


def start(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    words = [sys.executable, "-m", "rbc_marl", "best-response", *arguments]
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


SMALL = ["run", "--agent", "firm:1", "--seeds", "1", "--episodes", "40", "--workers", "1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "nothing does not exist; give the folder of a checkpoint or of a run"),
        (["run/checkpoint_000006"], "run" + os.sep),
        (["run", "--checkpoint", "5"], "run has no checkpoint of iteration 5; it has kept 3, 6"),
        (["run", "--checkpoint", "last"], "--checkpoint last: give the number of an iteration, or all"),
        (["run", "--type", "consumers"], "types.0 is 'consumers'; it must be 'consumer', 'firm' or 'government'; did"),
        (["run", "--agent", "firm:2"], "firm 2 is not in this economy; its 2 agents of type firm are numbered from 0"),
        (["run", "--agent", "firms:1"], 'agents.firms is not a type whose agents can deviate alone; did you mean "f'),
        (["run", "--agent", "firm"], "--agent firm: write it as type:number, such as consumer:37, or firm:all"),
        (["run", "--lr", "firm"], "--lr firm: write it as type=rate, such as firm=1e-3"),
        (["run", "--iterations", "0"], "Invalid value for '--iterations'"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_trains(capsys, run_folder, arguments, message):
    if arguments == ["run/checkpoint_000006"]:
        (run_folder / "checkpoint_000006" / "policies" / "firm.safetensors").write_bytes(b"damaged")
        message = f"run{os.sep}checkpoint_000006{os.sep}policies{os.sep}firm.safetensors is damaged"
    with pytest.raises(SystemExit) as caught:
        cli.main(["best-response", *arguments])
    out, err = capsys.readouterr()
    assert (caught.value.code, out) == (2, "")
    assert err.startswith(f"rbc-marl: {message}") and err.count("\n") == 1
    assert not (run_folder / "best_response").exists()


def test_a_checkpoint_whose_weights_belong_to_another_economy_is_refused(capsys, run_folder):
    index = run_folder / "checkpoint_000006" / "policies.json"
    index.write_text(index.read_text(encoding="utf-8").replace('"num_firms": 2', '"num_firms": 3'), encoding="utf-8")
    with pytest.raises(SystemExit) as caught:
        cli.main(["best-response", "run"])
    err = capsys.readouterr().err
    assert caught.value.code == 2 and "the economy and network of policies.json need" in err


@pytest.mark.parametrize(
    ("arguments", "work", "results"),
    [
        (["run"], "run/best_response", "run/best_response"),
        (["run", "--checkpoint", "3"], "run/best_response", "run/best_response"),
        (["run/checkpoint_000003"], "run/best_response", "run/best_response/checkpoint_000003"),
        (["run/checkpoint_000003/"], "run/best_response", "run/best_response/checkpoint_000003"),
        (["run/checkpoint_000003", "--checkpoint", "6"], "run/best_response", "run/best_response"),
        (["newest"], "run/best_response", "run/best_response/checkpoint_000006"),
        (["run/checkpoint_000003", "--out", "there"], "there", "there"),
        (["by-hand"], "by-hand/best_response", "by-hand/best_response"),
    ],
)
def test_results_lie_in_the_folder_of_the_run_and_never_in_a_checkpoint(
    run_folder, monkeypatch, capsys, arguments, work, results
):
    (run_folder.parent / "newest").symlink_to(run_folder / "checkpoint_000006")
    plant(run_folder.parent / "by-hand")
    worked = []

    def found(path, settings, folder, *_, **__):
        worked.append(folder.resolve().relative_to(run_folder.parent))
        return report(near())

    monkeypatch.setattr(best_response, "best_responses", found)
    with pytest.raises(SystemExit) as caught:
        cli.main(["best-response", *arguments, "--no-report"])
    assert caught.value.code == 0
    assert [str(folder) for folder in worked] == [work]
    written = [str(path.parent.relative_to(run_folder.parent)) for path in run_folder.parent.rglob("report.json")]
    assert written == [results]
    (said,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("results: "))
    assert Path(said.split()[1]).resolve() == run_folder.parent / results


def test_inside_a_checkpoint_its_run_is_found(run_folder, monkeypatch):
    monkeypatch.chdir(run_folder / "checkpoint_000003")
    assert result_folders(Path(".")) == (
        run_folder / "best_response",
        run_folder / "best_response" / "checkpoint_000003",
    )


def test_what_a_killed_command_had_begun_to_write_goes_at_the_next_start(run_folder, monkeypatch):
    halves = [run_folder / "best_response" / name for name in (".0f.tmp", "rows/.a.json.tmp", "weights/.a.tmp")]
    for half in halves:
        half.parent.mkdir(parents=True, exist_ok=True)
        half.touch()
    monkeypatch.setattr(best_response, "best_responses_to", lambda *_, **__: [half.exists() for half in halves])
    settings = best_response.BestResponseSettings(types=("firm",))
    found = best_response.best_responses(run_folder, settings, run_folder / "best_response")
    assert found == [False, False, False]


@pytest.mark.long
def test_a_checkpoint_goes_on_with_what_was_found_for_its_run_and_keeps_a_report_of_its_own(run_folder):
    words = [*SMALL[1:], "--iterations", "2"]
    assert start("run", *words).wait(timeout=1200) == 0
    whole = (run_folder / "best_response" / "report.json").read_bytes()
    rows = sorted((run_folder / "best_response" / "rows").iterdir())
    again = start("run/checkpoint_000006", *words)
    out, err = again.communicate(timeout=1200)
    assert again.returncode == 0, err
    assert "results: run/best_response/checkpoint_000006 (report.json" in out
    assert sorted((run_folder / "best_response" / "rows").iterdir()) == rows  # nothing was searched for again
    assert (run_folder / "best_response" / "report.json").read_bytes() == whole
    own = json.loads((run_folder / "best_response" / "checkpoint_000006" / "report.json").read_text(encoding="utf-8"))
    assert own["rows"] == json.loads(whole)["rows"]


@pytest.mark.long
def test_the_command_prints_a_table_and_keeps_a_report(run_folder):
    process = start(*SMALL, "--iterations", "3", "--checkpoint", "3", "--checkpoint", "6")
    out, err = process.communicate(timeout=1200)
    assert (process.returncode, err) == (0, "")
    lines = out.splitlines()
    assert any(line.startswith("8/8  checkpoint_00000") for line in lines)
    assert "gain by deviating, of 40 episodes, with 95% intervals" in out
    assert "results: run/best_response (report.json, rows.csv, best_response.png)" in lines
    assert lines[-1] == "next: rbc-marl evaluate run"
    kept = json.loads((run_folder / "best_response" / "report.json").read_text(encoding="utf-8"))
    assert [(row["checkpoint"], row["agent"]) for row in kept["rows"]] == [
        ("checkpoint_000003", 1),
        ("checkpoint_000006", 1),
    ]
    assert kept["command"][:3] == ["rbc-marl", "best-response", "run"]


@pytest.mark.long
def test_json_is_all_that_stands_on_standard_output(run_folder):
    process = start(*SMALL, "--iterations", "2", "--json", "--out", "elsewhere")
    out, err = process.communicate(timeout=1200)
    assert process.returncode == 0, err
    report = json.loads(out)
    assert report["rows"][0]["agent_type"] == "firm" and report["outcome"] == "living"
    assert "4/4" in err and Path("elsewhere", "report.json").is_file()


@pytest.mark.long
def test_a_command_that_is_killed_goes_on_and_ends_as_an_uninterrupted_one(run_folder):
    words = [*SMALL, "--iterations", "40"]
    killed = start(*words)
    rows = run_folder / "best_response" / "rows"
    deadline = time.monotonic() + 200
    while len(list(rows.glob("*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    first = {path: path.stat().st_mtime_ns for path in rows.glob("*.json")}
    assert first
    again = start(*words)
    out, err = again.communicate(timeout=1200)
    assert again.returncode == 0, err
    assert "pieces of work were done before" in out
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in first.items())  # nothing ran again
    resumed = json.loads((run_folder / "best_response" / "report.json").read_text(encoding="utf-8"))["rows"]
    whole = start(*words, "--out", "whole")
    assert whole.wait(timeout=1200) == 0
    assert json.loads(Path("whole", "report.json").read_text(encoding="utf-8"))["rows"] == resumed


def test_a_run_that_cannot_be_written_is_refused_before_anything_trains(capsys, run_folder, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("rbc_marl.errors.tempfile.TemporaryFile", refuse)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["best-response", str(run_folder), "--iterations", "1"])
    message = capsys.readouterr().err
    assert stopped.value.code == 2 and len(message.splitlines()) == 1
    assert "cannot be written (Read-only file system" in message and "give another folder with --out FOLDER" in message
