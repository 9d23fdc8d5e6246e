"""Parts of one's own: named by path, tried before they run, kept with policies; and an audit finds what they break."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given

from rbc_marl import ConfigError, EconomyConfig, UserError, VectorEconomy, own_class
from rbc_marl.config import AGENT_TYPES
from rbc_marl.economy import period, residuals
from rbc_marl.economy.audit import PLAYS, audit, work
from rbc_marl.policies.build import build_network
from rbc_marl.policies.saved import load_policies, save_policies
from tests.economy import own_parts
from tests.economy.own_parts import OWN, Satiable
from tests.economy.test_accounting import _size
from tests.strategies import Situation, situations

ROOT = Path(__file__).parents[2]
SMALL = {"num_consumers": 3, "num_firms": 2, "horizon": 3}
MODULE = "my_parts_of_a_test"


@given(situations())
def test_identities_hold_with_parts_of_ones_own(situation: Situation):
    config = situation.config.replace(**{role: part() for role, part in OWN.items()})
    after, flows = period(config, situation.state, situation.actions)
    for name, residual in residuals(config, situation.state, situation.actions, after, flows).items():
        assert residual.abs().max() <= 1e-13 * _size(situation, after, flows, name), name


def test_a_part_can_read_a_number_that_moves():
    path = {"crra": {"kind": "path", "values": [0.2, 0.6]}}
    rewards = []
    for utility in ("crra", own_parts.Curved):
        config = EconomyConfig(**SMALL, utility=utility, shocks=path, initial_inventory=20.0)
        batch = VectorEconomy(config, 2, dtype=torch.float64)
        batch.reset()
        rewards += [torch.stack([batch.step(batch.sample_actions())[1]["consumer"] for _ in range(2)])]
    torch.testing.assert_close(*rewards)


@pytest.mark.parametrize(
    "given", [Satiable(), Satiable, f"{own_parts.__name__}.Satiable", {"class": f"{own_parts.__name__}:Satiable"}]
)
def test_a_class_is_named_by_itself_or_by_its_path(given):
    config = EconomyConfig(**SMALL, utility=given)
    assert config == EconomyConfig(**SMALL, utility=Satiable()) and hash(config) == hash(config.replace())
    assert config.model_dump(mode="json")["utility"] == {"class": "tests.economy.own_parts:Satiable", "limit": 8.0}
    assert config.own_parts == {"utility": Satiable()} and pickle.loads(pickle.dumps(config)) == config
    assert EconomyConfig(**config.for_processes()) == config


def test_its_parameters_are_checked_and_count():
    other = EconomyConfig(**SMALL, utility={"class": Satiable, "limit": 2.0})
    assert other != EconomyConfig(**SMALL, utility=Satiable) and other.utility.limit == 2.0
    with pytest.raises(ConfigError, match=r"^utility.limit is 'much'; it must be a number"):
        EconomyConfig(utility={"class": Satiable, "limit": "much"})
    with pytest.raises(ConfigError, match=r"^utility.limits is not a parameter .*did you mean \"limit\""):
        EconomyConfig(utility={"class": Satiable, "limits": 2.0})
    with pytest.raises(ConfigError, match="Listed has a parameter that can change; take tuples"):
        EconomyConfig(utility=own_parts.Listed)
    with pytest.raises(ConfigError, match=r"Halved, which builds on Flat; it must be a subclass of .*WageTax itself$"):
        EconomyConfig(wage_tax=own_parts.Halved)  # bounds and rules would go by the flat tax


@pytest.mark.parametrize(
    ("role", "part", "message"),
    [
        ("utility", own_parts.Misshapen, r"Misshapen gives \[2, 2, 3\], and must give a tensor \[2, 3\]"),
        ("utility", own_parts.Failing, r"Failing cannot be called: RuntimeError: no such thing$"),
    ],
)
def test_one_that_cannot_work_is_refused_before_anything_is_played(role, part, message):
    with pytest.raises(ConfigError, match=message):
        VectorEconomy(EconomyConfig(**SMALL, **{role: part}))


# What an audit finds


@pytest.mark.parametrize(
    ("role", "part", "what", "number"),
    [
        ("transfers", own_parts.Leaky, "the identity taxes is off by", 2),  # there are no taxes in the first period
        ("wage_tax", own_parts.Confiscating, "the tax on wages is more than the pay", 1),
        ("production", own_parts.Roots, "output is no finite number", 1),
    ],
)
def test_an_audit_says_what_a_part_breaks_and_in_which_period(role, part, what, number):
    config = EconomyConfig(**SMALL, initial_wage=11.0, **{role: part})
    found = audit(config)
    first = min((one for one in found if one.what.startswith(what)), key=lambda one: one.period)
    assert first.period == number and first.play in PLAYS
    assert audit(EconomyConfig(**SMALL, initial_wage=11.0)) == []


def test_an_audit_finds_nothing_wrong_in_any_part_of_the_package():
    parts = {"utility": "ghh", "disutility": "power", "production": "ces", "wage_tax": "brackets"}
    numbers = {"depreciation": 0.3, "consumption_tax": 0.2, "interest_rate": 0.1}
    assert audit(EconomyConfig(**SMALL, **parts, **numbers, transfers="by_income")) == []


def test_an_audit_plays_an_economy_in_which_numbers_move():
    moving = {"kind": "ar1", "persistence": 0.5, "deviation": 0.3}
    shocks = {"workers": moving, "technology": moving, "consumption_tax": {"kind": "path", "values": [0.1, 0.4]}}
    assert audit(EconomyConfig(**SMALL, shocks=shocks, initial_wage=11.0, transfers="by_income")) == []
    leaky = audit(EconomyConfig(**SMALL, shocks=shocks, initial_wage=11.0, transfers=own_parts.Leaky))
    assert any(one.what == "the identity taxes is off by" for one in leaky)


def test_work_is_worth_less_with_a_high_crra():
    published, dead = work(EconomyConfig()), work(EconomyConfig(crra=2.0))
    # 22 x 1040 of money buys 15.25 units at 1500: with a crra of 2, ten goods of 1.525 give 10 x (1 - 1 / 2.525).
    assert dead.goods == pytest.approx(10 * (1 - 1 / 2.525), rel=0.03) and dead.effort == published.effort
    assert published.ratio > 3.0 > 1.5 > dead.ratio
    linear = work(EconomyConfig(crra=0.0, labour_disutility_pareto_shape=None))
    assert linear.goods == pytest.approx(22 * 1040 / 1500) and linear.effort == pytest.approx(0.005 * 1040)


# With policies


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """Policies of an economy with a part in a module of a working folder: importable, not installed."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / f"{MODULE}.py").write_text(Path(own_parts.__file__).read_text(encoding="utf-8"))
    monkeypatch.syspath_prepend(tmp_path / "work")
    importlib.invalidate_caches()
    module = importlib.import_module(MODULE)
    config = EconomyConfig(**SMALL, utility={"class": module.Satiable, "limit": 3.0})
    networks = {t: build_network(config, t) for t in AGENT_TYPES}
    save_policies(tmp_path / "saved", config, "symlog", networks, dict.fromkeys(AGENT_TYPES, "flat"))
    yield tmp_path / "saved", config
    for name in [n for n in sys.modules if n == MODULE or n.startswith("_copy_")]:
        del sys.modules[name]
        own_class._COPIES.pop(name, None)


def forget(monkeypatch):
    """As in a process that never saw the module's folder."""
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if not (Path(entry) / f"{MODULE}.py").exists()])
    del sys.modules[MODULE]
    importlib.invalidate_caches()


def test_policies_name_the_class_and_need_trust(checkpoint):
    folder, config = checkpoint
    assert json.loads((folder / "policies.json").read_text())["economy"]["utility"] == {
        "class": f"{MODULE}:Satiable", "limit": 3.0,
    }  # fmt: skip
    assert (folder / "policies" / "source" / f"{MODULE}.py").is_file()
    with pytest.raises(UserError, match=rf"economy.utility.class: {MODULE}:Satiable is code .*--trust"):
        load_policies(folder)
    assert load_policies(folder, trust=True).config == config
    other = load_policies(folder, trust=True, economy={"crra": 0.5, "utility": "cara"}).config
    assert other.utility == EconomyConfig(utility="cara").utility


def test_the_copy_runs_where_the_module_is_not_and_reaches_other_processes(checkpoint, monkeypatch, tmp_path):
    folder, _ = checkpoint
    forget(monkeypatch)
    config = load_policies(folder, trust=True).config
    assert type(config.utility).__module__.startswith("_copy_")
    units = torch.tensor([1.0], dtype=torch.float64)
    assert float(config.utility.of_good(units, config)) == pytest.approx(3.0 * float(torch.tanh(units / 3.0)))
    networks = {t: build_network(config, t) for t in AGENT_TYPES}
    save_policies(tmp_path / "again", config, "symlog", networks, dict.fromkeys(AGENT_TYPES, "flat"))
    assert load_policies(tmp_path / "again", trust=True).config == config
    program = "import pickle, sys; config = pickle.load(sys.stdin.buffer); print(config.utility.limit)"
    done = subprocess.run(
        [sys.executable, "-c", program], input=pickle.dumps(config), capture_output=True, check=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.strip() == b"3.0"


@pytest.mark.parametrize("named", [f"{MODULE}.Satiable", "antigravity.X", {"class": "antigravity.X"}, {"class": 3}])
def test_a_strangers_index_imports_nothing_without_trust(checkpoint, monkeypatch, named):
    folder, _ = checkpoint
    index = json.loads((folder / "policies.json").read_text())
    index["economy"]["utility"] = named
    (folder / "policies.json").write_text(json.dumps(index))
    forget(monkeypatch)
    monkeypatch.setitem(sys.modules, "antigravity", None)
    with pytest.raises(UserError, match="a class is written as module:Class"):
        load_policies(folder)
    assert MODULE not in sys.modules


FILE = """
own:
  run: EconomyPPO
  env: rbc_open
  stop: {training_iteration: 2}
  config:
    env_config:
      num_consumers: 3
      num_firms: 2
      horizon: 3
      utility: {class: my_parts_of_a_file.Satiable, limit: 5.0}
      wage_tax: my_parts_of_a_file.Progressive
      production: {class: my_parts_of_a_file.Crowded}
      welfare: {kind: atkinson, aversion: 2}
    num_envs_per_env_runner: 2
    networks: {consumer: {kind: flat, hidden: [8]}}
"""


@pytest.mark.slow
def test_a_file_with_parts_of_ones_own_trains_and_is_saved_evaluated_and_reported(tmp_path):
    (tmp_path / "own.yaml").write_text(FILE, encoding="utf-8")
    source = Path(own_parts.__file__).read_text(encoding="utf-8")
    (tmp_path / "my_parts_of_a_file.py").write_text(source, encoding="utf-8")

    def run(*arguments):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        command = [sys.executable, "-m", "rbc_marl.cli", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    status, out, err = run("train", "own.yaml")
    assert status == 0 and "iteration 2/2" in out, err
    assert re.fullmatch(r"next: rbc-marl evaluate results/own/\S+ --trust", out.splitlines()[-1])
    (report,) = tmp_path.glob("results/own/*/report/report.html")
    assert report.stat().st_size > 5000
    status, _, err = run("evaluate", "results/own")
    assert status == 2 and err.count("\n") == 1 and "economy.utility.class" in err and "--trust" in err
    status, out, err = run("evaluate", "results/own", "--trust", "--episodes", "4", "--json")
    assert status == 0 and json.loads(out)["episodes"] == 4, err
