"""Code of one's own is found where a file names it, checked before it is used, and nothing else is imported."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
from functools import partial
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
from ray import cloudpickle

from rbc_marl import own_code
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


NEAR = """
def near():
    from later import DEPTH  # not before it runs

    return DEPTH
"""
SENT = """
import importlib, pickle, sys
setup, unseen = pickle.loads(bytes.fromhex(sys.stdin.read()))
setup()
assert unseen() is None, unseen()
module = importlib.import_module("sent_curriculum")
assert module.Late().phase(0).learning == {"firm"}
assert module.near() == 3 and module.WORD == "inner"
from rbc_marl import own_class, own_code
print(module.__file__)
print(own_class.source_of(module.Late) == own_class._current_source("sent_curriculum") == SOURCE)
for name in ("never_named", "sent_package.data", "boto3"):
    try:
        importlib.import_module(name)
    except ImportError:
        continue
    assert "site-packages" in sys.modules[name].__file__, name
"""


@pytest.mark.parametrize("there", ["the same files", "older files", "older files, on the path", "nothing"])
def test_modules_that_a_file_names_and_what_they_import_travel_with_the_work(write, tmp_path, monkeypatch, there):
    (tmp_path / "study" / "sent_package" / ".venv").mkdir(parents=True)
    source = "from near import near\nfrom sent_package.inner import WORD\n" + OWN_CURRICULUM
    write(source, "study/sent_curriculum.py")
    write(NEAR, "study/near.py")
    write("DEPTH = 3\n", "study/later.py")
    write("", "study/sent_package/__init__.py")
    write("from . import other\nWORD = other.WORD\n", "study/sent_package/inner.py")
    write("WORD = 'inner'\n", "study/sent_package/other.py")
    write("SECRET = 1\n", "study/sent_package/.venv/data.py")
    for name in ("never_named", "boto3"):
        write("raise SystemExit('imported')\n", f"study/{name}.py")
    anew(monkeypatch)
    load(write(ECONOMY.rstrip() + "\n    curriculum: sent_curriculum.Late\n", "study/experiment.yaml"))
    for name in ("sent_curriculum", "near", "sent_package", "sent_package.inner", "sent_package.other"):
        sys.modules.pop(name)
    modules = own_code.modules()
    assert {*modules} == {"sent_curriculum", "near", "sent_package"} and not any("SECRET" in t for t in texts())
    sent = cloudpickle.dumps((own_code.worker_setup(send=True), partial(own_code.unseen, modules)))
    if there != "the same files":
        (tmp_path / "study").rename(tmp_path / "moved")
    if there.startswith("older"):
        (tmp_path / "study" / "sent_package").mkdir(parents=True)
        write("WORD = 'of an older version'\n", "study/sent_package/inner.py")
        write("raise SystemExit('of an older version')\n", "study/sent_curriculum.py")
    path = [str(ROOT), *([str(tmp_path / "study")] if "path" in there else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", SENT.replace("SOURCE", repr(source))]
    done = subprocess.run(command, cwd=tmp_path, env=environment, input=sent.hex(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    file, is_same = done.stdout.split()
    folder = f"{tmp_path / 'study'}"
    assert file == (folder if there == "the same files" else f"<sent>{folder}") + "/sent_curriculum.py"
    assert is_same == "True"


def anew(monkeypatch):
    """Forget what was named before."""
    others = [finder for finder in sys.meta_path if not isinstance(finder, own_code._OwnModules)]
    monkeypatch.setattr(sys, "meta_path", others)
    monkeypatch.setattr(own_code, "_finder", own_code._OwnModules())


def texts():
    return [source.decode() for _, files in own_code._sources().values() for source in files.values()]


def test_a_module_that_is_compiled_or_very_large_stays_and_its_folder_must_be_seen(tmp_path, monkeypatch):
    anew(monkeypatch)
    folder = tmp_path / "study"
    folder.mkdir()
    for name in ("compiled", "large", "small"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("X = 1\n", encoding="utf-8")
        own_code.allow_import(f"{name}.X", [folder], "config")
    (folder / "compiled" / f"fast{EXTENSION_SUFFIXES[0]}").touch()
    (folder / "large" / "table.py").write_text("#" * (own_code.MOST_SENT + 1), encoding="utf-8")
    assert {*own_code._sources()} == {"small"} and own_code.unseen(own_code.modules()) is None
    homes = own_code.modules()
    anew(monkeypatch)
    folder.rename(tmp_path / "moved")
    assert own_code.unseen({"large": homes["large"]}) == str(folder)


def test_what_a_python_file_imports_from_beside_itself_travels_also_what_it_imports_later(tmp_path, monkeypatch):
    anew(monkeypatch)
    (tmp_path / "program.py").write_text("def later():\n    import json, used_later\n", encoding="utf-8")
    for name in ("used_later", "unused"):
        (tmp_path / f"{name}.py").write_text("", encoding="utf-8")
    own_code.allow_program(tmp_path / "program.py")
    assert own_code._sources() == {"used_later": (str(tmp_path), {"used_later.py": b""})}


def test_what_is_found_on_the_search_path_beside_a_file_travels_and_what_is_installed_does_not(tmp_path, monkeypatch):
    anew(monkeypatch)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("on_the_path", "json", "torch"):
        (tmp_path / f"{name}.py").write_text("", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(tmp_path)] + [str(tmp_path)])
    for name in ("on_the_path", "json", "torch", "rbc_marl"):
        own_code.allow_import(f"{name}.X", [tmp_path, ROOT], "config")
    assert {*own_code._sources()} == {"on_the_path"} and not own_code._finder.homes


def test_two_modules_of_one_name_are_told_of(write, tmp_path, monkeypatch):
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        write(OWN_CURRICULUM, f"{folder}/twice_named.py")
        write(ECONOMY.rstrip() + "\n    curriculum: twice_named.Late\n", f"{folder}/experiment.yaml")
    load(tmp_path / "one" / "experiment.yaml")
    assert '"twice_named" lies in ' in refusal(tmp_path / "other" / "experiment.yaml")
    monkeypatch.delitem(sys.modules, "twice_named")
    assert load(tmp_path / "other" / "experiment.yaml")
