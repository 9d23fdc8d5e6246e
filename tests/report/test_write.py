"""Writing a report: which files, over what, and that a report fails nothing but itself."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from pathlib import Path

import pytest

from rbc_marl import cli
from rbc_marl.analysis.rollouts import play
from rbc_marl.cli import experiments
from rbc_marl.cli.report import say_report
from rbc_marl.errors import UserError
from rbc_marl.experiments.run import Outcome
from rbc_marl.report import write, write_report
from tests.report.folders import HOSTILE, deviation, make_run, make_sweep, row, write_json


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Pictures take seconds, and are tested with what draws them."""
    monkeypatch.setattr(write, "save", lambda charts, path: Path(path).write_bytes(b"picture"))


@pytest.fixture
def sweep(tmp_path):
    rows = [row("a", 1), row(HOSTILE, 2), row("a", 3, "failed", error=f"{HOSTILE} | torn\nin two")]
    return make_sweep(tmp_path / "sweep", rows, missing=1)


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_sweep_gets_a_page_figures_and_numbers_inside_of_its_folder(sweep):
    report = write_report([sweep], command=["rbc-marl", "report"])
    assert report.folder == sweep / "report" and report.page.is_file()
    assert {"report.html", "numbers.csv", "numbers.tex", "numbers.json"} <= names(report.folder)
    assert any(name.startswith("figures/spectrum") for name in report.files)
    assert set(report.files) | {".report.json"} == names(report.folder)
    with (report.folder / "numbers.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(one["arm"], one["hours"]) for one in rows] == [("a", "1.0"), (HOSTILE, "2.0"), ("a", "3.0")]
    assert "fingerprint" not in rows[0] and list(rows[0])[:3] == ["arm", "seed", "outcome"]


def test_the_json_says_what_numbers_are_and_how_all_was_made(sweep):
    write_report([sweep], command=["rbc-marl", "report"])
    content = json.loads((sweep / "report" / "numbers.json").read_text(encoding="utf-8"))
    assert content["parts"][0]["verdict"][0] == "2 of 4 runs are living, 1 failed."
    assert content["quantities"]["hours"]["unit"] == "hours, per consumer" and len(content["numbers"]) == 3
    assert content["made"]["command"] == ["rbc-marl", "report"] and "torch" in content["made"]["versions"]


def test_the_tables_for_latex_are_whole_and_hold_no_command(sweep):
    write_report([sweep])
    text = (sweep / "report" / "numbers.tex").read_text(encoding="utf-8")
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") >= 4
    for table in text.split(r"\begin{tabular}")[1:]:
        columns = table.partition("}")[0].count("l") + table.partition("}")[0].count("r")
        body = table.partition(r"\midrule")[2].partition(r"\bottomrule")[0].strip().splitlines()
        assert {line.replace(r"\&", "").count("&") + 1 for line in body} == {columns}


def test_hostile_names_and_errors_stay_texts(sweep):
    html = write_report([sweep]).page.read_text(encoding="utf-8")
    assert "<script>alert" not in html and "&lt;script&gt;alert" in html


def test_a_report_is_written_again_over_its_own_files_and_leaves_none_behind(sweep):
    first = write_report([sweep])
    for path in (sweep / "rows").glob("a-1.json"):
        path.write_text(json.dumps(row("a", 1, "collapsed")), encoding="utf-8")
    (sweep / "rows" / f"{HOSTILE}-2.json".replace("/", "_")).unlink()
    again = write_report([sweep])
    assert set(again.files) < set(first.files) and names(again.folder) == set(again.files) | {".report.json"}


def test_what_no_report_wrote_is_not_written_over(sweep):
    folder = write_report([sweep]).folder
    (folder / "mine.txt").touch()
    with pytest.raises(UserError, match=r"mine.txt was not written by a report; choose another folder with --out"):
        write_report([sweep])
    (folder / "mine.txt").unlink()
    (folder / "numbers.tex").write_text("edited", encoding="utf-8")
    with pytest.raises(UserError, match=r"numbers.tex was changed since a report wrote it"):
        write_report([sweep])
    (folder / "mine.txt").touch()
    write_report([sweep], force=True)
    assert (folder / "mine.txt").is_file() and (folder / "numbers.tex").read_text(encoding="utf-8") != "edited"


class KilledError(BaseException):
    """What nobody catches, as little as a kill."""


@pytest.mark.parametrize("has_earlier", [False, True])
def test_a_report_that_is_killed_at_any_moment_is_written_again_without_force(sweep, monkeypatch, has_earlier):
    def killed_at(number):
        """Kill a report when it writes its so manieth file; a half of that stays."""
        calls = itertools.count()

        def replace(path, content):
            if next(calls) == number:
                path.with_name(f".{path.name}.tmp").write_bytes(b"half")
                raise KilledError
            whole(path, content)

        return replace

    def killed_drawing(charts, path):
        path.write_bytes(b"half")
        raise KilledError

    whole, done = write.replace_file, names(write_report([sweep], sweep / "report").folder)
    if not has_earlier:
        shutil.rmtree(sweep / "report")
    for number in range(-1, len(done)):
        for path in (sweep / "rows").glob("a-1.json"):  # so that there is something new to write
            path.write_text(json.dumps(row("a", 1, hours=100.0 + number)), encoding="utf-8")
        with monkeypatch.context() as patch:
            patch.setattr(write, "replace_file", killed_at(number))
            if number < 0:
                patch.setattr(write, "save", killed_drawing)
            with pytest.raises(KilledError):
                write_report([sweep])
    assert names(write_report([sweep]).folder) == done
    record = json.loads((sweep / "report" / ".report.json").read_text(encoding="utf-8"))
    assert all(isinstance(digest, str) for digest in record.values())
    (sweep / "report" / "numbers.tex").write_text("edited", encoding="utf-8")
    with pytest.raises(UserError, match=r"numbers.tex was changed since a report wrote it"):
        write_report([sweep])


def test_a_record_that_leads_outside_removes_nothing(sweep, tmp_path):
    folder = write_report([sweep]).folder
    (tmp_path / "precious").touch()
    write_json(folder / ".report.json", {"../../precious": "x", str(tmp_path / "precious"): "x"})
    write_report([sweep], force=True)
    assert (tmp_path / "precious").is_file()


def test_a_folder_that_cannot_be_written_is_one_line(sweep, tmp_path, capsys):
    (tmp_path / "file").touch()
    for out in ("file", "file/inside"):
        with pytest.raises(SystemExit) as caught:
            cli.main(["report", str(sweep), "--out", str(tmp_path / out)])
        out, err = capsys.readouterr()
        assert caught.value.code == 2 and err.count("\n") == 1 and err.startswith("rbc-marl: ") and "--out" in err


def test_nothing_to_report_is_one_line_and_status_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["report", str(tmp_path)])
    assert caught.value.code == 2 and "holds nothing to report" in capsys.readouterr().err
    with pytest.raises(UserError, match="there is nothing to report"):
        write_report([])


def test_the_command_says_the_verdict_and_where_the_page_is(sweep, capsys):
    with pytest.raises(SystemExit):
        cli.main(["report", str(sweep)])
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("2 of 4 runs are living") and second.startswith(f"report: {sweep}/report/report.html (")


def test_names_and_several_sources_get_a_folder_of_their_own(tmp_path, sweep):
    assert write._folder(["open_rbc"]) == Path("results/reports/open_rbc")
    assert write._folder([sweep, "a/../b c"]) == Path("results/reports/sweep+b_c")
    assert write._folder([sweep]) == sweep / "report"


def test_several_sources_stand_in_one_page_and_one_table(tmp_path, sweep):
    run = make_run(tmp_path / "run", "running", has_policies=False)
    report = write_report([sweep, run], tmp_path / "out")
    text = (report.folder / "numbers.csv").read_text(encoding="utf-8")
    assert text.startswith("source,quantity,mean") and "sweep tiny," in text
    assert '"tiny, run",env_runners/hours,400.0' in text
    html = report.page.read_text(encoding="utf-8")
    assert "<h2>sweep tiny</h2>" in html and "<h2>tiny, run</h2>" in html and "has not finished" in html


def test_best_responses_have_their_gains_in_all_files(tmp_path):
    rows = [deviation("firm", 1.0), deviation("consumer", 9.0, agent=1)]
    write_json(tmp_path / "b" / "report.json", {"rows": rows, "checkpoints": [], "settings": {}})
    (tmp_path / "b" / "rows.csv").touch()
    report = write_report([tmp_path / "b"])
    assert report.verdict[1] == "This is beyond the paper's bounds for: consumer 1 alone."
    assert "consumer 1" in (report.folder / "numbers.tex").read_text(encoding="utf-8")


@pytest.mark.parametrize("error", [UserError("no room"), RuntimeError("a\nbug")])
def test_a_report_that_fails_is_one_line_after_training(monkeypatch, capsys, tmp_path, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("rbc_marl.report.write_report", fail)
    say_report(tmp_path)
    out = capsys.readouterr().out
    assert out.startswith("no report was written: ") and out.count("\n") == 1
    assert ("no room" in out) or ("RuntimeError: a bug" in out)


@pytest.mark.slow
def test_a_run_is_reported_with_pictures_and_every_quantity(tmp_path, monkeypatch):
    monkeypatch.undo()
    report = write_report([make_run(tmp_path / "run")])
    assert sum(name.startswith("figures/") for name in report.files) > 20
    assert all((report.folder / name).stat().st_size > 1000 for name in report.files if name.endswith(".png"))
    text = (report.folder / "numbers.csv").read_text(encoding="utf-8")
    assert text.startswith("quantity,mean,standard_error,unit,words\noutcome,") and "\nshopping_share," in text


@pytest.mark.slow
def test_runs_stand_side_by_side(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = write_report([make_run(tmp_path / name) for name in ("one", "two")])
    assert report.folder == Path("results/reports/one+two") and "economies are living" in report.verdict[0]
    assert '<th scope="col">tiny, two</th>' in report.page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_training_ends_with_a_verdict_on_deviations_and_plays_once_for_picture_and_report(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("rbc_marl.analysis.drawing.save", lambda charts, path, **_: path)
    played = []

    def count(*arguments, **how):
        played.append(play(*arguments, **how))
        return played[-1]

    monkeypatch.setattr("rbc_marl.report.sections.play", count)
    folder = make_run(tmp_path / "run")
    rows = [deviation("firm", 1.0), deviation("consumer", 9.0, agent=1)]
    write_json(folder / "best_response" / "report.json", {"rows": rows, "checkpoints": [], "settings": {}})
    (folder / "best_response" / "rows.csv").touch()
    experiments._report_run(Outcome(folder, folder / "checkpoint_000004", "finished"), "again", has_report=True)
    assert len(played) == 1 and played[0].num_episodes == 256
    lines = capsys.readouterr().out.splitlines()
    assert f"picture: {folder / 'economy.png'}" in lines and f"report: {folder / 'report' / 'report.html'}" in lines
    first, second, third = json.loads((folder / "report" / "numbers.json").read_text())["parts"][0]["verdict"]
    gain = "The best deviations found gain consumer 1 alone 9.00% and firms 1.00% over the baseline return"
    assert second == f"{gain}: beyond the paper's bounds for consumer 1 alone."
    assert first.startswith("The economy is ") and "choosing goods by price" in third
    page = (folder / "report" / "report.html").read_text(encoding="utf-8")
    assert " ".join([first, second, third]).replace("'", "&#x27;") in page and "256 episodes" in page
