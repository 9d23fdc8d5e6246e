"""The commands impulse, transition and moments: what they print, save and refuse."""

from __future__ import annotations

import csv
import json

import pytest

from rbc_marl import cli
from rbc_marl.presets import zoo

SMALL = ["--episodes", "2", "--seed", "3"]


def run(capsys, *words):
    """Exit status, output and errors of a command."""
    with pytest.raises(SystemExit) as ended:
        cli.main([*map(str, words)])
    out, err = capsys.readouterr()
    return ended.value.code or 0, out, err


@pytest.mark.slow
def test_impulse_prints_and_saves_responses(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    files = [tmp_path / f"impulse{ending}" for ending in (".csv", ".tex", ".json", ".svg")]
    outs = [word for file in files for word in ("--out", file)]
    shock = "technology=-5%@3,persistence=0.5"
    status, out, err = run(capsys, "impulse", "quickstart", "--shock", shock, *SMALL, *outs)
    assert (status, err) == (0, "") and all(file.stat().st_size for file in files)
    assert "technology -5% in period 3, persistence 0.5: 2 pairs of episodes, seed 3" in out and "saved:" in out
    assert all(line == line.rstrip("…") for line in out.splitlines()) and "…" not in out  # 80 columns are enough
    rows = list(csv.DictReader(files[0].open()))
    (output,) = (row for row in rows if row["quantity"] == "output" and row["period"] == "3")
    assert float(output["difference"]) == pytest.approx(-0.05 * float(output["without"]), rel=1e-4)
    means = [row["quantity"] for row in rows if not row["period"]]
    assert means[:2] == ["output", "consumption"] and means[-3:] == ["consumption", "hours", "utility"]


def test_transition_and_another_economy_in_json(capsys):
    words = ["transition", "quickstart", "--reform", "income_tax=0.2@4", "--reform", "export_quota=10@4", "--json"]
    status, out, _ = run(capsys, *words, "--reform", "wage>=22@4", "--set", "horizon=5", *SMALL)
    found = json.loads(out)
    assert status == 0 and found["horizon"] == 5 and found["first"] == 4
    assert found["treatment"] == "income_tax 0.2, export_quota 10, minimum_wage 22 from period 4 on"
    taxes = [one for one in found["paths"] if one["quantity"] == "income_tax"]
    assert [one["treated"] for one in taxes[3:]] == pytest.approx([0.2, 0.2])
    assert min(one["treated"] for one in found["paths"] if one["quantity"] == "wage" and one["period"] > 3) >= 22.0


def test_a_scenario_is_asked_by_its_name_or_by_a_file(capsys, tmp_path):
    status, out, err = run(capsys, "scenario", "export_ban", "--learn", "0", *SMALL)
    assert (status, err) == (0, "") and out.startswith("What does an export ban do?\nexport_quota 0 from")
    mine = tmp_path / "mine.yaml"
    mine.write_text("{question: 'And a grant?', policies: quickstart, change: {consumer_grant: 50}}", encoding="utf-8")
    status, out, _ = run(capsys, "scenario", mine, "--set", "horizon=5", "--json", *SMALL)
    found = json.loads(out)
    assert status == 0 and (found["treatment"], found["first"], found["horizon"]) == ("consumer_grant 50", 1, 5)
    assert found["whole"][0]["policies"] == "kept"


def test_moments_print_a_table_beside_data(capsys, tmp_path):
    data, table = tmp_path / "data.csv", tmp_path / "moments.tex"
    data.write_text("output,hours\n1,4\n2,5\n4,5\n3,6\n", encoding="utf-8")
    status, out, _ = run(capsys, "moments", "quickstart", "--data", data, "--hp", "1600", "--out", table, *SMALL)
    assert status == 0 and "moments over 8 periods, HP filter 1600" in out and out.count("  data") == 2
    assert "…" not in out and r"\toprule" in table.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["impulse", "quickstart", "--shock", "technolgy=-5%@3"], 'did you mean "technology"'),
        (["impulse", "quickstart", "--shock", "technology=-5%"], "write it with a period, such as technology"),
        (["impulse", "quickstart", "--shock", "technology@3"], "write it as key=value, such as technology"),
        (["impulse", "quickstart", "--shock", "technology=x@3"], "x is no number; write it as technology=-5%@3"),
        (["impulse", "quickstart", "--shock", "technology=-5%@3,persistance=1"], 'did you mean "persistence"'),
        (["impulse", "quickstart", "--shock", "technology=-5%@30"], "episodes have 10: give an earlier one"),
        (["impulse", "closed_money", "--shock", "export_price=-5%@3"], "a closed economy has none; give another"),
        (["impulse", "quickstart", "--shock", "technology=-5%@3", "--out", "a.doc"], "a.doc"),
        (["transition", "quickstart", "--reform", "income_tax=0.2"], "such as income_tax=0.2@5"),
        (["transition", "quickstart", "--reform", "price<=1234@3"], "maximum_price is 1234.0; it must be"),
        (["transition", "quickstart", "--reform", "wage=11@3", "--reform", "price=500@4"], "give one period"),
        (["scenario", "exportban"], "exportban does not exist; give the path of a YAML file"),
        (["scenario", "export_ban", "--set", "export_qota=1"], 'did you mean "export_quota"'),
        (["scenario", "export_ban", "--learn", "0", "--folder", "x"], "--folder is for runs of --learn; give"),
        (["moments", "quickstart", "--data", "none.csv"], "none.csv cannot be read"),
        (["evaluate", "quickstart", "--states", "a@11"], "a@11; episodes have 10 periods: give one of them"),
        (["check", "small", "--set", "env_config.start=none.safetensors"], "none.safetensors', which cannot be"),
        (["evaluate", "quickstart", "--states", "s3://a/b@3"], "--states is s3://a/b, where no episode can begin"),
    ],
)
def test_mistakes_are_one_line(words, message, capsys):
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "") and message in err and err.count("\n") == 1


@pytest.mark.parametrize(("iterations", "words"), [("1", "of 1 more iteration: "), ("2", "of 2 more iterations: ")])
def test_what_was_learned_on_is_said_in_whole_words(capsys, monkeypatch, iterations, words):
    learning_on = pytest.importorskip("rbc_marl.experiments.learning_on")
    same = dict.fromkeys((learning_on.CONTROL, learning_on.LEARNED), zoo()["quickstart"])
    monkeypatch.setattr(learning_on, "learn_on", lambda *_, **__: same)
    status, out, _ = run(capsys, "impulse", "quickstart", "--shock", "technology=-5%@3", "--learn", iterations, *SMALL)
    assert status == 0 and words in out
