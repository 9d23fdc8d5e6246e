"""Mutated files and words: each is read, or refused in one line. What is accepted reads back as it was resolved."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rbc_marl.cli.experiments import _describe
from rbc_marl.equilibrium.best_response_settings import BestResponseSettings, settings_from_words
from rbc_marl.equilibrium.study import load_study
from rbc_marl.experiments.file import load_experiments, read_overrides, to_yaml
from rbc_marl.memory import LARGEST_MACHINE
from rbc_marl.rllib.algorithm import EconomyPPOConfig
from rbc_marl.rllib.sizes import memory_of
from rbc_marl.settings import dump_yaml, load_yaml
from tests.fuzz.mutations import NASTY, cases, mutated, mutated_text, refused_or_accepted, values

pytestmark = pytest.mark.long

CONFIGS = Path(__file__).parents[2] / "rllib_configs"
FILES = sorted(CONFIGS.glob("*.yaml"))
SWEEPS = sorted((CONFIGS / "sweeps").glob("*.yaml"))
TEXTS = [path.read_text(encoding="utf-8") for path in FILES]
TREES = [yaml.safe_load(text) for text in TEXTS]
# Whole ones: a base hides most of the rest from mutations.
TREES += [tree for tree in TREES if "base" not in next(iter(tree.values()))] * 4
SWEEP_TEXTS = [path.read_text(encoding="utf-8") for path in SWEEPS]
SWEEP_TREES = [yaml.safe_load(text) for text in SWEEP_TEXTS]
BEST_RESPONSE = BestResponseSettings().to_dict()
SETTINGS = [
    "lr", "seed", "env_config.num_consumers", "env_config.crra", "stop.training_iteration", "networks.firm",
    "trembles", "curriculum", "curriculum.start.firm", "num_env_runners", "env_config", "config", "stop", "rules",
    "checkpoint_freq", "training.lr", "evaluation_interval", "framework", "callbacks", "env_runner_cls", "run", "env",
    "base", "model", "a", "", "=", ".", "lr.x", "env_config.horizon", "deviator", "scripted",
]  # fmt: skip
WORDS = ["env_config.crra=0.5", "networks={consumer: flat, firm: {kind: flat, hidden: [8]}}", "lr=1e-3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The shipped files, beside which mutated ones find their bases."""
    return Path(shutil.copytree(CONFIGS, tmp_path_factory.mktemp("fuzz") / "configs"))


def text_of(tree):
    try:
        return dump_yaml(tree)
    except yaml.YAMLError:
        return repr(tree)


def check_experiments(path, sets=()):
    with refused_or_accepted():
        for experiment in load_experiments(path, sets=sets):
            assert _describe(experiment)
            assert 0 <= experiment.seed < 2**32
            assert all(math.isfinite(value) for value in experiment.stop.values())
            config = experiment.config.copy(copy_frozen=False)
            if isinstance(config, EconomyPPOConfig):
                config.validate()
                assert memory_of(config).total <= LARGEST_MACHINE
            again = path.with_name("again.yaml")
            again.write_text(to_yaml(experiment), encoding="utf-8")
            (read_back,) = load_experiments(again)
            assert to_yaml(read_back) == to_yaml(experiment)


@given(tree=mutated(TREES))
@cases(200)
def test_mutated_experiments_are_read_or_refused(folder, tree):
    path = folder / "mutated.yaml"
    path.write_text(text_of(tree), encoding="utf-8")
    check_experiments(path)


@given(text=mutated_text(TEXTS))
@cases(80)
def test_mutated_texts_of_experiments_are_read_or_refused(folder, text):
    path = folder / "mutated.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    check_experiments(path)


@given(key=st.sampled_from(SETTINGS) | st.text(max_size=12), value=st.sampled_from(NASTY) | values | st.text())
@cases(160)
def test_words_of_a_command_line_are_read_or_refused(folder, key, value):
    text = value if isinstance(value, str) else text_of(value).strip()
    with refused_or_accepted():
        read_overrides([f"{key}={text}"])
        check_experiments(folder / "small.yaml", [f"{key}={text}"])


@given(word=mutated_text(WORDS))
@cases(80)
def test_mutated_words_are_read_or_refused(folder, word):
    check_experiments(folder / "small.yaml", [word])


@given(tree=mutated(SWEEP_TREES), small=st.booleans())
@cases(100)
def test_mutated_sweeps_are_read_or_refused(folder, tree, small):
    path = folder / "sweeps" / "mutated.yaml"
    path.write_text(text_of(tree), encoding="utf-8")
    with refused_or_accepted():
        assert load_study(path, small=small).runs


@given(text=mutated_text(SWEEP_TEXTS))
@cases(40)
def test_mutated_texts_of_sweeps_are_read_or_refused(folder, text):
    path = folder / "sweeps" / "mutated.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with refused_or_accepted():
        assert load_study(path).runs


@given(tree=mutated([{"best_response": BEST_RESPONSE}]))
@cases(160)
def test_mutated_settings_of_best_responses_are_read_or_refused(tree):
    with refused_or_accepted():
        data = load_yaml(text_of(tree), "mutated")
        settings = BestResponseSettings.parse(data.get("best_response", data), "best_response")
        assert BestResponseSettings.parse(settings.to_dict(), "again") == settings


@given(words=st.lists(st.text(max_size=12) | st.sampled_from(["firm:all", "consumer:37", "firm=1e-3", "all", "9" * 400,
                                                             "firm:٣", "firm=1e999", "government:0"]), max_size=3),
       option=st.sampled_from(["types", "agents", "checkpoints", "rates"]))  # fmt: skip
@cases(120)
def test_words_of_best_response_are_read_or_refused(words, option):
    with refused_or_accepted():
        settings_from_words(**{option: words})
