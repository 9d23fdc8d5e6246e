"""What a sweep changes: spellings of one setting, and changes that would be lost or would belie the tables."""

from __future__ import annotations

import pytest

from rbc_marl import ConfigError
from rbc_marl.equilibrium.changes import Change, Changes, check_apart, read_changes, setting
from rbc_marl.equilibrium.sweep_file import load_sweep

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
        return load_sweep(tmp_path / "s.yaml", sets)

    return load


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("lr", ("lr",)),
        ("config.lr", ("lr",)),
        ("training.lr", ("lr",)),
        ("config.training.lr", ("lr",)),
        ("debugging.seed", ("seed",)),
        ("lambda", ("lambda_",)),
        ("networks.firm", ("model", "firm")),
        ("checkpoint_freq", ("checkpoint_config", "checkpoint_frequency")),
        ("config.env_config.crra", ("env_config", "crra")),
        ("training", ("training",)),
    ],
)
def test_every_spelling_of_a_setting_has_one_form(key, words):
    assert setting(key) == words


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
        (RATES, "training.lr=5e-3", "--set training.lr=5e-3: the sweep varies lr; change it in the file"),
        (RATES.replace("lr", "config.lr"), "lr=5e-3", "--set lr=5e-3: the sweep varies config.lr; change it in the"),
        (EXPLORING, "curriculum.entropy.decay=7", "the sweep varies curriculum.entropy; change it in the file"),
        (EXPLORING, "config.training.curriculum={}", "the sweep varies curriculum.entropy; change it in the file"),
        (ARMS, "training.lr=5e-3", "--set training.lr=5e-3: s.arms.slow.set.lr is what makes an arm; change it in"),
        (TAXES, "env_config.welfare=total", "=total has no effect, for the section taxes sets env_config.welfare"),
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
        (f"set: {{env_config.welfare: total}}\n  {TAXES}", "s.set.env_config.welfare has no effect, for the section"),
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
    made = {run.arm: run.load(run.base.parent).config for run in found.runs}
    assert [config.lr for config in made.values()] == [1, 1, 2, 2]
    assert made["a,decay=8"].curriculum["entropy"] == {"decay": 8, "floor": 0.2}
    assert {config.gamma for config in made.values()} == {0.5}


def test_settings_that_only_begin_alike_stand_beside_each_other():
    check_apart(["lr", "lrate", "curriculum.start", "curriculum.starts"], "s")
    changes = read_changes({"curriculum.tax": 1, "curriculum.taxes": 2}, "s.set")
    assert Changes(changes, [], [], [Change("--set lrate=1", "lrate=1")]).in_order()[-1] == "lrate=1"
