"""Comparative statics: one policy at several values of a number, also of a family's, which its agents see."""

from __future__ import annotations

import csv
import io
import json

import pytest
import torch

from rbc_marl import ConfigError, cli, load, preset
from rbc_marl.analysis.comparison import COMPARED
from rbc_marl.analysis.rollouts import play
from rbc_marl.analysis.statics import statics
from rbc_marl.config import AGENT_TYPES
from rbc_marl.policies.build import build_network
from rbc_marl.policies.saved import save_policies
from rbc_marl.policies.scripted import UniformPolicies

SIZES = {"num_consumers": 5, "num_firms": 3, "horizon": 4}
FAMILY = preset("open", **SIZES, shocks={"export_quota": {"kind": "drawn", "values": [10.0, 100.0], "scale": "log"}})


@pytest.fixture
def saved(tmp_path):
    """Untrained policies of a family."""
    torch.manual_seed(0)
    networks = {t: build_network(FAMILY, t) for t in AGENT_TYPES}
    save_policies(tmp_path / "family", FAMILY, "symlog", networks, dict.fromkeys(AGENT_TYPES, "flat"))
    return tmp_path / "family"


def run(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        cli.main([*map(str, words)])
    return ended.value.code or 0, *capsys.readouterr()


def test_every_value_is_the_economy_that_has_it():
    one, two = (UniformPolicies(preset("open", **SIZES, crra=crra)) for crra in (0.1, 0.5))
    found = statics("crra", {0.1: one, 0.5: two}, episodes=6, seed=3)
    assert found.values == [0.1, 0.5] and len(found.statics) == 2 * len(COMPARED)
    for value, policies in ((0.1, one), (0.5, two)):
        hours = play(policies, 6, 3).quantities["hours"].double()
        (static,) = (each for each in found.of("hours") if each.value == value)
        assert static.mean == pytest.approx(float(hours.mean()))
        assert static.high - static.mean == pytest.approx(1.96 * float(hours.std()) / 6**0.5, rel=1e-3)
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert rows[0]["name"] == "crra" and {row["quantity"] for row in rows} == set(COMPARED)
    assert found.to_tex().count(r"\\") == len(COMPARED) + 2 and len(found.charts()) == len(COMPARED)
    assert found.tables()[0].row_count == len(COMPARED) + 1
    with pytest.raises(ConfigError, match="episodes is 1; an interval takes at least 2"):
        statics("crra", {0.1: one}, episodes=1)
    with pytest.raises(ConfigError, match="crra has no values; give some, such as crra=1,2"):
        statics("crra", {})


def test_a_family_is_fixed_at_a_value_that_its_agents_see_and_others_are_a_guess(saved, capsys):
    family, fixed = load(saved), load(saved, economy={"export_quota": 31.622776})
    assert fixed.config.export_quota == fixed.config.shocks.export_quota.at == 31.622776
    assert family.config.shocks.export_quota.at is None
    seen = []
    for policies in (family, fixed):
        play(policies, 8, watch=lambda state, *_: seen.append(state.shocks["export_quota"][:, 0]))
    assert set(torch.cat(seen[:4]).tolist()) == {10.0, 100.0}
    (quota,) = set(torch.cat(seen[4:]).tolist())
    assert quota == pytest.approx(31.622776)
    assert capsys.readouterr().err == ""
    load(saved, economy={"export_quota": 500})
    assert "export_quota is 500, and policies were trained with 10 to 100: what they do" in capsys.readouterr().err


def test_evaluate_prints_and_saves_a_table_over_values(saved, tmp_path, capsys):
    words = ["evaluate", saved, "--episodes", "4", "--fix", "wage=22"]
    status, out, err = run(capsys, *words, "--at", "env_config.export_quota=10,50", "--out", tmp_path / "s.csv")
    assert (status, err) == (0, "") and "by export_quota: 4 episodes at each value, seed 0" in out
    rows = list(csv.DictReader((tmp_path / "s.csv").open()))
    assert {row["value"] for row in rows} == {"10", "50"} and {row["outcome"] for row in rows} != {""}
    status, out, _ = run(capsys, *words, "--at", "crra=0.1,0.3", "--json")
    assert status == 0 and [one["value"] for one in json.loads(out)["statics"]][:: len(COMPARED)] == [0.1, 0.3]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--at", "export_quota"], "--at export_quota: write it as a number and its values, such as"),
        (["--at", "export_quota=10,x"], "write it as a number and its values"),
        (["--at", "export_qota=10,20"], 'did you mean "export_quota"'),
        (["--at", "export_quota=10", "--greedy"], "--at goes with --set, --fix"),
    ],
)
def test_mistakes_are_one_line(saved, words, message, capsys):
    status, out, err = run(capsys, "evaluate", saved, *words)
    assert (status, out) == (2, "") and message in err and err.count("\n") == 1
