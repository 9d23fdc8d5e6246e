"""An experiment starts from another one: beside its file, or a preset."""

from __future__ import annotations

import pytest

from rbc_marl.experiments import file as file_module
from rbc_marl.experiments.file import read_specs
from tests.experiments.test_file import ECONOMY, load, refusal
from tests.experiments.test_file import write as write  # a fixture

CHILD = """
child:
  base: {base}
  stop: {{env_runners/hours: 300}}
  config:
    training: {{lr: 2e-3}}
    env_config: {{num_firms: 3, horizon: 4}}
    minibatch_size: null
    num_envs_per_env_runner: unset
"""


def test_an_experiment_changes_its_base_key_by_key(write):
    write(ECONOMY + "    minibatch_size: 4\n", "base.yaml")
    (spec,) = read_specs(write(CHILD.format(base="base.yaml"), "child.yaml"))
    assert spec.data["stop"] == {"training_iteration": 3, "env_runners/hours": 300}
    economy = {"num_consumers": 3, "num_firms": 3, "horizon": 4}
    assert spec.data["config"] == {"env_config": economy, "lr": 2e-3, "minibatch_size": None}
    experiment = spec.build()
    assert (experiment.name, experiment.config.lr, experiment.config.num_envs_per_env_runner) == ("child", 2e-3, 16)
    assert "base" not in experiment.resolved


def test_a_base_has_a_base_and_a_file_is_read_once(write, monkeypatch):
    write(ECONOMY, "base.yaml")
    write(CHILD.format(base="base.yaml"), "child.yaml")
    both = write("a: {base: child.yaml, config: {gamma: 0.5}}\nb: {base: {file: child.yaml, experiment: child}}\n")
    opened = []
    read = file_module.load_yaml_file
    monkeypatch.setattr(file_module, "load_yaml_file", lambda path: opened.append(path.name) or read(path))
    a, b = read_specs(both)
    assert sorted(opened) == ["base.yaml", "child.yaml", "experiment.yaml"]
    assert {**a.data["config"], "gamma": None} == {**b.data["config"], "gamma": None}


def test_a_preset_is_a_base_and_a_file_wherever_one_is(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load("small").env_config.num_consumers == 20
    path = write("mine: {base: small, config: {seed: 3}}")
    assert (load(path).seed, load(path).env_config.num_consumers) == (3, 20)
    write(ECONOMY, "small.yaml")  # a path wins over a name
    assert load(path.with_name("small.yaml")).env_config.num_consumers == 3


def test_a_search_space_takes_the_place_of_what_the_base_has(write):
    write(ECONOMY.replace("lr: 1e-3", "lr: {grid_search: [1, 2]}"), "base.yaml")
    (spec,) = read_specs(write("a: {base: base.yaml, config: {lr: {uniform: [0, 1]}}}"))
    assert spec.data["config"]["lr"] == {"uniform": [0, 1]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a: {base: experiment.yaml}",
            "a.base leads back to where it began (experiment.yaml: a -> experiment.yaml: a)",
        ),
        ("a: {base: two.yaml}", "a.base is two.yaml, which holds x, y; name one: {file: two.yaml, experiment: x}"),
        (
            "a: {base: quikstart}",
            "quikstart does not exist; give the path of a YAML or a Python file, or the name of",
        ),
        ("a: {base: 3}", "a.base is 3; it must be a mapping with file, experiment"),
        ("a: {base: {fle: two.yaml}}", 'a.base.fle is not a setting of a base; did you mean "file"?'),
    ],
)
def test_a_base_that_cannot_be_one_is_refused(write, text, message):
    write("x: {run: PPO}\ny: {run: PPO}\n", "two.yaml")
    assert message in refusal(write(text))
