"""What `rbc-marl evaluate` prints of saved policies."""

from __future__ import annotations

import json

import pytest
import torch

from rbc_marl import cli, preset
from rbc_marl.analysis.indicators import INDICATORS
from rbc_marl.analysis.metrics import QUANTITIES
from rbc_marl.config import AGENT_TYPES
from rbc_marl.policies.build import build_network
from rbc_marl.policies.saved import save_policies

OPEN = preset("open", num_consumers=5, num_firms=3, horizon=5)
CLOSED = preset("closed", num_consumers=5, num_firms=3, horizon=5)


def evaluate(capsys, folder, config, *options):
    """What the command prints of untrained networks."""
    torch.manual_seed(0)
    networks = {t: build_network(config, t) for t in AGENT_TYPES}
    save_policies(folder, config, "symlog", networks, dict.fromkeys(AGENT_TYPES, "flat"))
    with pytest.raises(SystemExit) as caught:
        cli.main(["evaluate", str(folder), "--episodes", "6", *options])
    assert caught.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("config", [OPEN, CLOSED], ids=["open", "closed"])
def test_the_text_is_short_and_has_a_line_for_each_question(tmp_path, capsys, monkeypatch, config):
    monkeypatch.setenv("COLUMNS", "80")
    lines = evaluate(capsys, tmp_path, config).splitlines()
    assert lines[0].strip() == "6 episodes, seed 0" and len(lines) <= 37
    starts = [line.split(" ")[0] for line in lines]
    for subject in ("work", "goods", "prices", "money", "welfare", "firms", "Gini:", "shopping:", "outcome:", "next:"):
        assert subject in starts
    (became,) = (line for line in lines if line.startswith("outcome: "))
    assert became.endswith("trade in 4 of 4 periods)")
    assert ("welfare of the best rule-based economy" in became) is config.open_economy
    assert ("of a planner's welfare, firms keep " in became) is not config.open_economy


def test_json_has_all_quantities_and_null_for_what_does_not_exist(tmp_path, capsys):
    found = json.loads(evaluate(capsys, tmp_path, OPEN, "--json"))
    assert {*QUANTITIES, *INDICATORS, "share_at_2500", "shopping_share", "demand_elasticity"} <= set(found)
    assert found["planner_share"] is None and found["labour_share"] > 0
    assert found["trade_periods"] == 4.0
    idle = preset("open", num_consumers=5, num_firms=3, horizon=5, technology=1e-12)
    found = json.loads(evaluate(capsys, tmp_path, idle, "--set", "hours_choices=[0,0,0,0,0]", "--json"))
    assert (found["employment"], found["trade_periods"], found["collapsed"]) == (0.0, 0.0, False)  # nobody could work
    assert all(found[name] is None for name in ("unsold_share", "markup", "concentration", "gini_consumption"))
