"""Other packages are measured in environments of their own. Those here need no registry."""

from __future__ import annotations

import json
import sys

import pytest

from rbc_marl import ConfigError, cli, preset
from rbc_marl.benchmark import rivals, tables
from rbc_marl.benchmark.clock import Limit
from rbc_marl.benchmark.rivals import Rival
from rbc_marl.errors import UserError

CONFIG = preset("open", num_consumers=3, num_firms=2, horizon=2)
IDLE = Rival((), "idle", "def make(size):\n    return lambda: None\n")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "rbc_marl" / "rivals"


@pytest.fixture
def own_interpreter(monkeypatch):
    monkeypatch.setattr(rivals, "environment_of", lambda name: sys.executable)


def test_an_unknown_package_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"the package to measure against is 'vams'.*did you mean \"vmas\""):
        rivals.check_rivals(["vams"])
    assert rivals.check_rivals(["vmas", "vmas"]) == ["vmas"]


def test_the_command_refuses_an_unknown_package_in_one_line(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["bench", "--against", "vams"])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert 'did you mean "vmas"' in error and error.count("\n") == 1


def test_a_package_is_stepped_beside_the_economy(monkeypatch, own_interpreter):
    monkeypatch.setitem(rivals.RIVALS, "idle", IDLE)
    measured = rivals.measure_rivals(["idle"], CONFIG, 2, 0.01)
    assert list(measured) == ["rbc_marl", "idle"]
    assert measured["rbc_marl"]["what"] == "the economy, 6 agents" and measured["idle"]["what"] == "idle"
    for values in measured.values():
        assert set(values["steps_per_second"]) == {"1", "128"} and min(values["steps_per_second"].values()) > 0
    assert json.loads(json.dumps(measured)) == measured


def test_what_does_not_run_is_named_in_one_line_and_the_rest_measured(monkeypatch, own_interpreter):
    broken = Rival((), "broken", "import a_package_that_is_not_there\n")
    monkeypatch.setattr(rivals, "RIVALS", {"broken": broken, "idle": IDLE})
    limit = Limit()
    measured = rivals.measure_rivals(["broken", "idle"], CONFIG, 2, 0.01, limit)
    assert list(measured) == ["rbc_marl", "idle"]
    assert limit.skipped == [
        "broken does not run: ModuleNotFoundError: No module named 'a_package_that_is_not_there'"
    ]


def test_what_does_not_install_is_named_in_one_line(monkeypatch):
    def refuse(name):
        raise UserError(f"{name} cannot be installed: ERROR: No matching distribution found")

    monkeypatch.setattr(rivals, "environment_of", refuse)
    limit = Limit()
    assert list(rivals.measure_rivals(["vmas"], CONFIG, 1, 0.01, limit)) == ["rbc_marl"]
    assert limit.skipped == ["vmas cannot be installed: ERROR: No matching distribution found"]


def test_an_environment_is_made_once_and_anew_where_its_requirements_changed(folder, monkeypatch):
    commands = []

    def run(command, problem):
        commands.append(command)
        (folder / "idle").mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(rivals, "_run", run)
    monkeypatch.setitem(rivals.RIVALS, "idle", IDLE._replace(requirements=("idle==1",)))
    interpreter = rivals.environment_of("idle")
    assert rivals.environment_of("idle") == interpreter and interpreter.is_relative_to(folder / "idle")
    assert [command[1:3] for command in commands] == [["-m", "venv"], ["-m", "pip"]]
    assert commands[1][0] == str(interpreter) and commands[1][-1] == "idle==1"
    monkeypatch.setitem(rivals.RIVALS, "idle", IDLE._replace(requirements=("idle==2",)))
    rivals.environment_of("idle")
    assert len(commands) == 4 and commands[3][-1] == "idle==2"


def test_an_installation_that_fails_is_not_taken_for_one(folder, monkeypatch):
    monkeypatch.setitem(rivals.RIVALS, "none", Rival(("no such requirement!",), "none", ""))
    monkeypatch.setattr(sys, "executable", "false")
    for _ in range(2):
        with pytest.raises(UserError, match=r"^none gets no environment: "):
            rivals.environment_of("none")


def test_the_table_has_them_side_by_side():
    values = {
        "rbc_marl": {"what": "the economy, 111 agents", "steps_per_second": {"1": 2000.0, "128": 90000.0}},
        "vmas": {"what": "simple_spread, 3 agents", "steps_per_second": {"1": 1000.0, "128": 30000.0}},
    }
    words = tables.markdown({"machine": {}, "size": {"consumers": 1, "firms": 1, "periods": 1}, "rivals": values})
    assert "| rivals | vmas (simple_spread, 3 agents), 128 side by side | 30,000 steps/s | 0.333 x rbc_marl |" in words


@pytest.mark.long
def test_vmas_installs_and_runs(folder):
    limit = Limit()
    measured = rivals.measure_rivals(["vmas"], CONFIG, 1, 0.1, limit)
    assert limit.skipped == [] and min(measured["vmas"]["steps_per_second"].values()) > 0
