"""What `rbc-marl evaluate` prints of saved policies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from rbc_marl import EconomyConfig, cli
from rbc_marl.analysis import drawing
from rbc_marl.config import AGENT_TYPES
from rbc_marl.policies.build import NetworkSpec, build_network
from rbc_marl.policies.saved import save_policies

CONFIG = EconomyConfig(num_consumers=4, num_firms=3, horizon=4)


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    specs = dict.fromkeys(AGENT_TYPES, NetworkSpec(kind="flat", hidden=(8,)))
    networks = {t: build_network(CONFIG, t, "symlog", specs[t]) for t in AGENT_TYPES}
    save_policies(tmp_path / "checkpoint_000001", CONFIG, "symlog", networks, specs)
    return str(tmp_path / "checkpoint_000001")


def evaluate(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        cli.main(["evaluate", *arguments])
    out, err = capsys.readouterr()
    return end.value.code, out, err


def evaluation(capsys, *arguments):
    status, out, _ = evaluate(capsys, *arguments, "--episodes", "4", "--json")
    assert status == 0
    return json.loads(out)


def test_trembles_are_off_unless_asked_for_and_said_in_json_and_text(capsys, checkpoint):
    plain = evaluation(capsys, checkpoint)
    assert plain["trembles"] == {}
    trembling = evaluation(capsys, checkpoint, "--trembles", "price=1", "--trembles", "government=0.5")
    assert trembling["trembles"] == {"government": 0.5, "price": 1.0}
    assert trembling["price"] != plain["price"]
    assert trembling["shopping_share"] == plain["shopping_share"]

    status, out, _ = evaluate(capsys, checkpoint, "--episodes", "4", "--trembles", "price=0.05")
    assert status == 0
    assert "trembles: chance replaced actions in all of the above and in the outcome (price 5.0%)" in out
    assert "--trembles price=0.05 --out economy.png" in out.splitlines()[-1]
    assert "trembles:" not in evaluate(capsys, checkpoint, "--episodes", "4")[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("price", "--trembles price: write it as key=value, such as price=0.05"),
        ("price=2", "--trembles.price is 2; it must be at most 1"),
        ("prices=0.1", '--trembles.prices is not an agent type or a part of a firm\'s action; did you mean "price"'),
    ],
)
def test_wrong_trembles_are_refused(capsys, checkpoint, text, message):
    status, out, err = evaluate(capsys, checkpoint, "--trembles", text)
    assert (status, out) == (2, "")
    assert message in err


def test_what_agents_do_off_the_path_is_in_json_and_text(capsys, checkpoint):
    data = evaluation(capsys, checkpoint)["off_path"]
    assert list(data["working"]["hours_by_wage"]) == ["0", "11", "22", "33", "44"]
    assert list(data["pricing"]) == ["firm_0", "firm_1", "firm_2"]
    assert {"income_tax", "corporate_tax", "welfare", "constant"} == set(data["taxing"])
    out = evaluate(capsys, checkpoint, "--episodes", "4")[1]
    assert all(f"\n{name}: " in out for name in ("shopping", "working", "pricing", "taxing"))


@pytest.mark.parametrize(
    ("by", "names"),
    [("period", ("prices", "roll-out-price")), ("firm", ("roll-out-profit", "price-by-stock")),
     ("consumer", ("employers", "lorenz"))],
)  # fmt: skip
def test_a_picture_shows_periods_firms_or_consumers(capsys, checkpoint, tmp_path, monkeypatch, by, names):
    drawn = []
    monkeypatch.setattr(drawing, "save", lambda charts, path, title="": drawn.append((charts, path, title)))
    target = tmp_path / "x.png"
    status, out, _ = evaluate(capsys, checkpoint, "--episodes", "2", "--out", str(target), "--by", by)
    ((charts, path, title),) = drawn
    assert status == 0 and path == target and f"picture: {target}" in out and title.startswith(checkpoint)
    assert set(names) < {chart.name for chart in charts}
    others = {"prices", "price-by-stock", "employers"} - set(names)
    assert not others & {chart.name for chart in charts}


def test_a_picture_of_what_is_imposed_shows_it(capsys, checkpoint, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(drawing, "save", lambda charts, path, title="": drawn.extend(charts))
    arguments = ("--episodes", "2", "--out", str(tmp_path / "x.png"), "--by", "firm", "--fix", "price=1500")
    assert evaluate(capsys, checkpoint, *arguments)[0] == 0
    (chart,) = [chart for chart in drawn if chart.name == "price-by-stock"]
    assert set(chart.layers[0].y) == {1500.0}


def test_what_training_imposed_is_imposed_unless_it_is_left_off(capsys, checkpoint):
    plain = evaluation(capsys, checkpoint)
    assert "imposed" not in plain
    index = Path(checkpoint, "policies.json")
    content = json.loads(index.read_text(encoding="utf-8"))
    content["info"]["imposed"] = {"choices": {"price": 1500.0}, "period": 2}
    index.write_text(json.dumps(content), encoding="utf-8")
    bound = evaluation(capsys, checkpoint)
    assert bound["imposed"] == {"choices": {"price": 1500.0}, "period": 2}
    fixed = evaluation(capsys, checkpoint, "--no-imposed", "--fix", "price=1500")
    assert bound["price"] == fixed["price"] != plain["price"] and bound["hours"] == fixed["hours"]
    assert evaluation(capsys, checkpoint, "--no-imposed") == plain
    assert evaluation(capsys, checkpoint, "--fix", "price=1000")["price"] < bound["price"]  # what is typed counts
    assert evaluation(capsys, checkpoint, "--trembles", "price=1")["price"] == bound["price"]
    _, out, _ = evaluate(capsys, checkpoint, "--episodes", "2")
    assert "imposed as in training: price 1500 from period 2" in out and "--no-imposed" not in out
    _, out, _ = evaluate(capsys, checkpoint, "--episodes", "2", "--no-imposed")
    assert "imposed as in training" not in out and "--no-imposed --out economy.png" in out.splitlines()[-1]
    means = []
    for more in ((), ("--no-imposed",)):
        status, out, _ = evaluate(capsys, checkpoint, "--at", "export_quota=10,50", "--episodes", "4", "--json", *more)
        assert status == 0
        means.append(out)
    assert means[0] != means[1]
