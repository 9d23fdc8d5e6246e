"""How a sweep is shown while it goes on."""

from __future__ import annotations

import io

from rich.console import Console

from rbc_marl.experiments.progress import SweepProgress, tell


def shown(is_terminal):
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=120, color_system=None)
    with SweepProgress("twins", console) as report:
        report("0 of 3 runs are done; 2 at a time")
        tell(report, 1, 3, "plain seed 1: living")
        tell(report, 2, 3, "plain seed 2: [living]")
    return console.file.getvalue()


def test_off_a_terminal_each_run_that_ends_is_a_plain_line():
    assert shown(False).splitlines() == [
        "0 of 3 runs are done; 2 at a time",
        "1/3  plain seed 1: living",
        "2/3  plain seed 2: [living]",
    ]


def test_on_a_terminal_there_is_one_bar_with_time_left_and_the_last_run():
    text = shown(True)
    assert "0 of 3 runs are done" in text and "twins" in text
    assert "2/3  0:00 left  plain seed 2: [living]" in text and "━" in text


def test_without_a_bar_lines_go_to_whoever_is_told():
    said = []
    tell(said.append, 1, 2, "a is done")
    assert said == ["1/2  a is done"]


def test_time_left_is_told_by_the_pace_of_the_runs_that_ended_since_the_work_began(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("rbc_marl.experiments.progress.time.monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), force_terminal=False)
    report = SweepProgress("twins", console)
    now[0] = 110.0
    report.update(5, 10, "the first of today")  # four were done before
    assert report.time_left(5) == 50.0
    now[0] = 130.0
    report.update(1, 3, "other work, which began at the end of the first")
    assert report.time_left(1) == 40.0
