"""What a sweep changes in its base: changes that would be lost or would belie the tables, and how much is read."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import jsonschema
import pytest
import yaml

from rbc_marl import ConfigError
from rbc_marl.equilibrium.study import StudyFile, load_study
from rbc_marl.schema import file_schema
from rbc_marl.settings import load_yaml

BASE = """
tiny:
  run: EconomyPPO
  env: rbc_open
  stop: {training_iteration: 40}
  config: {env_config: {num_consumers: 4, num_firms: 2, horizon: 3}, curriculum: {entropy: {decay: 50, floor: 0.1}}}
"""
RATES = "variants: {lr: [1e-3, 2e-3]}"
ARMS = "arms: {slow: {set: {lr: 1e-4}}, fast: {set: {lr: 1e-2}}}"
EXPLORING = "variants: {curriculum.entropy: [{decay: 50, floor: 0.1}, {decay: 200, floor: 0.1}]}"
TAXES = "taxes: {income: [0], corporate: [0]}"


@pytest.fixture
def sweep(tmp_path):
    (tmp_path / "base.yaml").write_text(BASE, encoding="utf-8")

    def load(text, *sets):
        (tmp_path / "s.yaml").write_text(f"s:\n  base: base.yaml\n  seeds: [1, 2]\n  {text}\n", encoding="utf-8")
        return load_study(tmp_path / "s.yaml", sets)

    return load


@pytest.mark.parametrize(
    ("text", "sets", "message"),
    [
        ("arms: {a: {}}", ["seed=9"], "--set seed=9: every run of a sweep gets its own; use seeds: in the sweep file"),
        ("arms: {a: {}}", ["config.debugging.seed=9"], "use seeds: in the sweep file"),
        ("arms: {a: {}}", ["storage_path=x"], "use --out on the command line"),
        ("arms: {a: {}}", ["num_samples=2"], "use samples: in the sweep file"),
        ("arms: {a: {}}\n  set: {seed: 9}", [], "s.set.seed cannot be set here; use seeds: in the sweep file"),
        ("arms: {a: {set: {debugging.seed: 9}}}", [], "s.arms.a.set.debugging.seed cannot be set here; use seeds:"),
        ("variants: {config.seed: [5, 6]}", [], "s.variants.config.seed cannot vary here; use seeds:"),
        ("variants: {debugging.seed: [5, 6]}", [], "s.variants.debugging.seed cannot vary here; use seeds:"),
    ],
)
def test_what_a_sweep_sets_itself_cannot_be_set(sweep, text, sets, message):
    with pytest.raises(ConfigError) as caught:
        sweep(text, *sets)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "change", "message"),
    [
        (RATES, "training.lr=5e-3", "--set training.lr=5e-3: s.variants.lr varies it; change it in the file"),
        (RATES.replace("lr", "config.lr"), "lr=5e-3", "--set lr=5e-3: s.variants.config.lr varies it; change it in"),
        (EXPLORING, "curriculum.entropy.decay=7", "s.variants.curriculum.entropy varies it; change it in the file"),
        (EXPLORING, "config.training.curriculum={}", "s.variants.curriculum.entropy varies it; change it in"),
        (ARMS, "training.lr=5e-3", "--set training.lr=5e-3: s.arms.slow.set.lr is what makes an arm; change it in"),
        (TAXES, "env_config.welfare=total", "=total has no effect, for s.taxes sets env_config.welfare; leave"),
        (TAXES, "curriculum.taxes.fixed={income: 0, corporate: 0.2}", "learned-total would learn nothing"),
    ],
)
def test_a_command_line_cannot_belie_what_the_tables_say_was_varied(sweep, text, change, message):
    with pytest.raises(ConfigError) as caught:
        sweep(text, change)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"set: {{config.lr: 1e-4}}\n  {RATES}", "s.set.config.lr has no effect, for s.variants.lr varies it;"),
        (f"{ARMS}\n  {RATES}", "s.arms.slow.set.lr has no effect, for s.variants.lr varies it; leave one out"),
        (f"set: {{curriculum.entropy.decay: 7}}\n  {EXPLORING}", "s.set.curriculum.entropy.decay has no effect"),
        ("variants: {lr: [1e-3], training.lr: [2e-3]}", "s.variants.training.lr is the setting that s.variants.lr"),
        (
            "variants: {curriculum.entropy.decay: [7], curriculum: [null]}",
            "s.variants.curriculum.entropy.decay is a part of s.variants.curriculum; keep one",
        ),
        ("arms: {a: {set: {lr: 1, training.lr: 2}}}", "s.arms.a.set.lr has no effect beside s.arms.a.set.training.lr"),
        (f"set: {{env_config.welfare: total}}\n  {TAXES}", "s.set.env_config.welfare has no effect, for s.taxes sets"),
        ("arms: {a: {set: [lr=1e-3]}}", "s.arms.a.set is ['lr=1e-3']; it must be a mapping such as {lr: 1e-3}"),
        ("arms: {a: {}}\n  set: [lr=1e-3]", "s.set is ['lr=1e-3']; it must be a mapping such as {lr: 1e-3}"),
        ("arms: {a: {}}\n  set: {lr: 2020-01-01}", "s.set.lr is datetime.date(2020, 1, 1); give a number, a text"),
        ("variants: {lr: [2020-01-01]}", "s.variants.lr is datetime.date(2020, 1, 1); give a number, a text"),
        ("variants: {1: [2]}", "1 is not a setting of EconomyPPO"),
    ],
)
def test_a_file_cannot_ask_for_what_would_be_lost(sweep, text, message):
    with pytest.raises(ConfigError) as caught:
        sweep(text)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_an_arm_changes_what_its_file_sets_and_a_variant_refines_both(sweep):
    found = sweep(
        "set: {curriculum.entropy: {decay: 9, floor: 0.2}, lr: 1}\n  arms: {a: {}, b: {set: {training.lr: 2}}}\n  "
        "variants: {curriculum.entropy.decay: [7, 8]}",
        "gamma=0.5",
    )
    made = {run.arm: run.build(run.spec.source.parent).config for run in found.runs}
    plain = {run.arm: run.spec.data["config"] for run in found.runs}
    assert [config.lr for config in made.values()] == [1, 1, 2, 2]
    assert plain["a,decay=8"]["curriculum"]["entropy"] == {"decay": 8, "floor": 0.2}
    assert {config.gamma for config in made.values()} == {0.5}


def test_a_sweep_reads_its_base_once_and_parses_two_documents_whatever_its_runs(monkeypatch):
    path = Path(__file__).parents[2] / "rllib_configs" / "sweeps" / "hyperparameters.yaml"
    documents, read, load, read_text = [], Counter(), yaml.load, Path.read_text

    def loaded(text, *arguments, **options):
        documents.append(text)
        return load(text, *arguments, **options)

    def opened(path, *arguments, **options):
        read[path.name] += 1
        return read_text(path, *arguments, **options)

    monkeypatch.setattr(yaml, "load", loaded)
    monkeypatch.setattr(Path, "read_text", opened)
    assert len(load_study(path).runs) == 48
    assert len(documents) == 2
    assert read == {"hyperparameters.yaml": 1, "quickstart.yaml": 1}


def test_a_mistake_in_a_sweep_file_is_named_with_its_line(sweep):
    with pytest.raises(ConfigError, match=r"^s\.episodes is 0; it must be at least 1 \(line 4 of s\.yaml\)$"):
        sweep("episodes: 0\n  arms: {a: {}}")


@pytest.mark.parametrize("wrong", ["num_consumers", "crra"])
def test_of_several_variants_the_one_that_is_wrong_is_named(sweep, wrong):
    values = {"crra": [0.1, 0.2], "num_consumers": [3, 4], "interest_rate": [0.0, 0.1]}
    values[wrong][1] = -1
    variants = {f"env_config.{name}": listed for name, listed in values.items()}
    with pytest.raises(ConfigError) as caught:
        sweep(f"variants: {json.dumps(variants)}")
    assert str(caught.value).endswith(f"(s.variants.env_config.{wrong})")


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("seeds: {from: 1, count: 2}, arms: {a: null, b: {seeds: [3], set: {lr: 1}}}, scheduler: asha", True),
        ("seeds: [1], variants: {lr: {uniform: [0, 1]}}, scheduler: {asha: {every: 5}}, groups: {hours: 10%}", True),
        ("seeds: [1], taxes: {income: [0], pairs: [[0, 0.8]], coarse: null}, small: {seeds: [2]}", True),
        ("seeds: [-1], arms: {a: {}}", False),
        ("seeds: [1], arms: {a: {sets: {}}}", False),
        ("seeds: [1], arms: {a: {}}, scheduler: pbt", False),
    ],
)
def test_editors_are_told_what_a_file_can_hold(text, fits):
    schema = file_schema(StudyFile, "Sweeps")
    data = load_yaml(f"s: {{base: base.yaml, {text}}}", "s.yaml")
    assert jsonschema.Draft7Validator(schema).is_valid(data) == fits
