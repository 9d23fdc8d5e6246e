"""What runs tell a scheduler, and what is left of it after an interruption."""

from __future__ import annotations

import pytest

from rbc_marl.experiments.schedulers import REPORTS, Asha, reporter, reports_of


@pytest.mark.parametrize("whole", [0, 1])
def test_reports_after_a_line_that_was_cut_short_are_kept_like_any_other(tmp_path, whole):
    path = tmp_path / REPORTS / "run.jsonl"
    path.parent.mkdir()
    path.write_text('{"iterations": 50}\n' * whole + '{"iterations": 1', encoding="utf-8")
    told = []
    after_iteration = reporter(Asha(every=50), 1000, tmp_path, "run", told.append)
    for done in range(1, 201):
        after_iteration({"training_iteration": done, "env_runners/hours": 4.0})
    expected = [50, 100, 150, 200]
    assert [result["iterations"] for result in told] == expected[whole:]
    assert [result["iterations"] for result in reports_of(tmp_path, "run")] == expected
