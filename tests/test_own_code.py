"""Code of one's own is found where a file names it, checked before it is used, and nothing else is imported."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.experiments.test_file import ECONOMY, load, refusal
from tests.experiments.test_file import write as write  # a fixture

ROOT = Path(__file__).parents[1]

OWN_CURRICULUM = """
from ray.rllib.callbacks.callbacks import RLlibCallback

from rbc_marl.curriculum import Phase


class Late:
    def phase(self, iteration):
        return Phase(learning=frozenset({"firm"}))


class Mine(RLlibCallback):
    pass
"""


def test_classes_of_ones_own_lie_beside_the_file_or_in_the_working_folder(write, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    before = [*sys.path]
    monkeypatch.chdir(tmp_path / "work")
    write(OWN_CURRICULUM, "beside_the_file.py")
    write(OWN_CURRICULUM, "work/in_the_working_folder.py")
    for module in ("beside_the_file", "in_the_working_folder"):
        for _ in range(2):
            experiment = load(write(ECONOMY), f"curriculum={module}.Late", f"callbacks={module}.Mine")
            assert experiment.config.callbacks_class.__module__ == module
            assert set(experiment.code) == {f"{module}.Late", f"{module}.Mine"}
            monkeypatch.delitem(sys.modules, module)
    assert sys.path == before
    assert importlib.util.find_spec("experiment_of_nobody") is None


@pytest.mark.parametrize("named", ["os.abort", "signal.pause", "http.server.test", "os.fork"])
def test_what_a_file_names_is_not_called_unless_it_is_a_curriculum(write, named):
    assert f'small.config.curriculum is "{named}", which is not a curriculum' in refusal(
        write(ECONOMY), f"curriculum={named}"
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("callbacks=antigravity.X", 'small.config.callbacks is "antigravity.X", which is not a subclass of RLlib'),
        ("callbacks=pip.__main__.X", 'small.config.callbacks is "pip.__main__.X", which is not a subclass of RLlib'),
        ("env=antigravity:X", "small.env is 'antigravity:X', which is not an environment"),
        ("env=http.server.test", 'small.env is "http.server.test", which is not an environment of gymnasium\'s'),
    ],
)
def test_what_runs_when_it_is_imported_is_not_imported(write, monkeypatch, setting, message):
    for module in ("antigravity", "pip.__main__"):
        monkeypatch.setitem(sys.modules, module, None)  # an import would be an error of its own
    assert message in refusal(write(ECONOMY), setting)


@pytest.mark.parametrize(
    "keys",
    [
        "replay_buffer_config: {type: os.abort}",
        "replay_buffer_config: {type: subprocess.Popen}",
        "replay_buffer_config: {type: torch.utils.data.DataLoader}",
        "policy_mapping_fn: {type: os.abort}",
        "input: http.server.test",
        "input_config: {inner: [{type: os.abort}]}",
        "evaluation_config: {policy_mapping_fn: {type: os.abort}}",
        "replay_buffer_config: {type: ray.rllib.no_such.Buffer}",
        "replay_buffer_config: {type: ray.rllib.utils.from_config.from_config}",
    ],
)
def test_names_that_rllib_would_call_are_its_own_classes(write, keys):
    file = write(f"a:\n  run: DQN\n  env: CartPole-v1\n  stop: {{training_iteration: 1}}\n  config: {{{keys}}}\n")
    message = refusal(file)
    refusals = ("which RLlib would call; give one of RLlib's classes", "no_such", "which is not a class of RLlib's")
    assert any(refused in message for refused in refusals)
    name = "ray.rllib.utils.replay_buffers.replay_buffer.ReplayBuffer"
    assert load(write(file.read_text("utf-8").replace(keys, f"replay_buffer_config: {{type: {name}}}")))


def test_a_module_beside_a_file_is_imported_only_if_the_file_or_that_module_names_it(write, tmp_path):
    """In a process of its own, as from a console script: Python puts no folder of the user on its path."""
    for name in ("boto3", "comet_ml", "tabulate"):
        write("raise SystemExit('imported')\n", f"{name}.py")
    write("from helper import Phase\n" + OWN_CURRICULUM, "named.py")
    write("from rbc_marl.curriculum import Phase\n", "helper.py")
    write(ECONOMY.rstrip() + "\n    curriculum: named.Late\n")
    code = """
    import importlib, sys
    from rbc_marl.experiments.file import load_experiments
    (experiment,) = load_experiments("experiment.yaml")
    assert type(experiment.config.curriculum).__module__ == "named", experiment.config.curriculum
    assert "helper" in sys.modules
    for name in ("boto3", "comet_ml", "nobody"):
        try:
            importlib.import_module(name)
        except ImportError:
            continue
        assert "site-packages" in sys.modules[name].__file__
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_two_modules_of_one_name_are_told_of(write, tmp_path, monkeypatch):
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        write(OWN_CURRICULUM, f"{folder}/twice_named.py")
        write(ECONOMY.rstrip() + "\n    curriculum: twice_named.Late\n", f"{folder}/experiment.yaml")
    load(tmp_path / "one" / "experiment.yaml")
    assert '"twice_named" lies in ' in refusal(tmp_path / "other" / "experiment.yaml")
    monkeypatch.delitem(sys.modules, "twice_named")
    assert load(tmp_path / "other" / "experiment.yaml")
