"""What nobody can mean is refused in one line before anything starts: sizes, counts, words, names, grids."""

from __future__ import annotations

import pytest

from rbc_marl.equilibrium.study import load_study
from rbc_marl.errors import ConfigError
from rbc_marl.experiments.file import folder_problem, load_experiments
from rbc_marl.policies.build import NetworkSpec
from rbc_marl.rllib.algorithm import EconomyPPOConfig

TINY = """
{name}:
  run: EconomyPPO
  env: rbc_open
  stop: {{training_iteration: 2}}
  config:
    env_config: {{num_consumers: 3, num_firms: 2}}
    num_envs_per_env_runner: 2
"""
SWEEP = "s:\n  base: tiny.yaml\n  seeds: {seeds}\n  {rest}\n"


@pytest.fixture
def write(tmp_path):
    def write_file(text, name="tiny.yaml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def refusal(path, *sets):
    with pytest.raises(ConfigError) as error:
        load_experiments(path, sets=sets)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("env_config.num_consumers=1000000000", "config: a run of this size would need about 6.53 TB of memory"),
        ("env_config.horizon=1000000000", "config: a run of this size would need about 4.7 TB of memory"),
        ("num_envs_per_env_runner=1000000000", "for an iteration's episodes: make horizon, num_envs_per_env_runner"),
        ("train_batch_size_per_learner=1000000000000", "a run of this size would need about"),
        ("env_config={num_firms: 1000000, num_consumers: 100000}", "a run of this size would need about"),
        ("env_config.num_firms=1000000000", "env_config.num_firms is 1000000000; it must be at most 1e+06"),
        ("networks={consumer: {kind: flat, hidden: [1000000000]}}", "it must be at most 65536"),
        ("env_config.consumption_choices=[1e308]", "consumption_choices.0 is 1e+308; it must be at most 1e+15"),
        ("reward_scale={firm: 1e-300}", "config.reward_scale.firm is 1e-300; it must be at least 1e-12"),
        ("num_env_runners=100000", "config.num_env_runners is 100000; it must be between 0 and 10,000"),
        ("evaluation_num_env_runners=100000", "it must be between 0 and 10,000"),
        ("seed=4294967296", "config.seed is 4294967296; it must be between 0 and 4,294,967,295"),
        ("num_gpus_per_learner=-1", "config.num_gpus_per_learner is -1; it must be between 0 and 1,000"),
        ("num_cpus_per_env_runner=-3", "config.num_cpus_per_env_runner is -3"),
        ("custom_resources_per_env_runner={a: -3}", "custom_resources_per_env_runner holds a: -3; an amount must be"),
        ("num_epochs=1000000000000", "config.num_epochs is 1000000000000; it must be between 1 and 10,000"),
        ("metrics_num_episodes_for_smoothing=0", "it must be at least 1"),
        ("framework=abc", "config.framework is 'abc'; it must be torch"),
        ("log_level=abc", "config.log_level is 'abc'; it must be DEBUG or"),
        ("placement_strategy=PAK", "it must be PACK or SPREAD or STRICT_PACK or STRICT_SPREAD; did you mean \"PACK\"?"),
        ("env_runner_cls=builtins.dict", "config.env_runner_cls is \"builtins.dict\", which is not a subclass"),
        ("config=[]", "config: name a setting"),
        ("stop={training_iteration: {}}", "stop.training_iteration is {}; it must be a number"),
        ("num_samples=1000000000", "e makes 1,000,000,000 variants; at most 1,000 can run"),
        ("policies=[rich, poor]", "config.policies is "),
        ("rollout_fragment_length=77", "which EconomyPPO does not read"),
        ("optimizer={a: 1}", "which EconomyPPO does not read: it learns with Adam"),
        ("observation_fn=abc", "config.observation_fn is 'abc'"),
        ("policy_mapping_fn=abc", "config.policy_mapping_fn is 'abc'"),
        ("input=abc", "which EconomyPPO does not read"),
        ("action_mask_key=abc", "which EconomyPPO does not read: masks come from the curriculum"),
        ("lr=" + "[" * 500, "--set lr is not valid YAML at line 1, column 51: there are more than 50 levels"),
        ("lr=&a [*a]", "--set lr is not valid YAML at line 1, column 5: a value stands inside itself"),
        ("lr='a\x00'", "--set lr is not valid YAML: unacceptable character"),
    ],
)
def test_nonsense_is_refused_with_what_is_allowed(write, change, message):
    assert message in refusal(write(TINY.format(name="e")), change)


def test_a_config_or_a_key_that_is_no_mapping_of_words_is_refused(write):
    assert "e.config is []" in refusal(write("e:\n  run: EconomyPPO\n  env: rbc_open\n  config: []\n"))
    assert refusal(write("e:\n  null: 1\n")).startswith("e.None is not a setting of an experiment")


def test_settings_as_a_whole_are_no_search_space(write):
    path = write("e:\n  run: EconomyPPO\n  env: rbc_open\n  config: {grid_search: [1, a]}\n")
    assert "e.config.grid_search is not a setting" in refusal(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("framework_str", "abc"), ("num_gpus_per_learner", -1), ("seed", 2**32), ("num_env_runners", 10**5)],
)
def test_configurations_made_in_python_are_held_to_the_same(name, value):
    config = EconomyPPOConfig()
    setattr(config, name, value)
    with pytest.raises(ConfigError, match=f"^{name} is {value!r}; it must be"):
        config.validate()


@pytest.mark.parametrize(
    "name",
    ["", " ", "a\nb", "a/b", "a\\b", "..", ".a", "-x", "*", "a:b", "a ", " a", "con", "NUL.txt", "x" * 121, "a;b"],
)
def test_names_of_experiments_arms_and_sweeps_are_plain(name, write):
    assert folder_problem(name, "an arm")
    text = TINY.format(name=repr(name) if "\n" not in name else '"a\\nb"')
    assert "cannot name an experiment" in refusal(write(text))


@pytest.mark.parametrize("name", ["a", "open-rbc", "crra=0.5,quota=1e3", "Österreich 2", "no tax (20%)", "a.b", "1"])
def test_names_that_say_what_is_varied_are_fine(name):
    assert folder_problem(name, "an arm") == ""


HUNDRED, MANY = str([0.1] * 100), str([0.1] * 300)
GRIDS = {
    f"lr: {{grid_search: {MANY}}}": "e.config.lr.grid_search has 300 values; a list to search has at most 250",
    f"lr: {{grid_search: {HUNDRED}}}\n    gamma: {{grid_search: {HUNDRED}}}": "e makes 10,000 variants; at most 1,000",
    "seed: {grid_search: [0, 4294967296]}": "e.config.seed is 4294967296; it must be between",
}


@pytest.mark.parametrize(("line", "message"), GRIDS.items(), ids=["choices", "variants", "seed"])
def test_grids_that_nobody_can_run_are_refused_soon(write, line, message):
    assert message in refusal(write(f"{TINY.format(name='e')}    {line}\n"))


@pytest.mark.parametrize(
    ("seeds", "rest", "message"),
    [
        ("{from: 0, count: 10000000}", "arms: {a: {}}", "s.seeds is "),
        ("[4294967296]", "arms: {a: {}}", "each at most 4,294,967,295"),
        ("[0]", f"variants: {{lr: {HUNDRED}, gamma: {HUNDRED}}}", "makes 10,000 variants"),
        ("{from: 0, count: 10000}", "arms: {a: {}, b: {}, c: {}, d: {}, e: {}, f: {}}", "s makes 60,000 runs"),
        ("[0]", "arms: {a/b: {}}", "'a/b' cannot name an arm"),
        ("[0]", f"variants: {{lr: {MANY}}}", "s.variants.lr has 300 values"),
    ],
)
def test_sweeps_that_nobody_can_run_are_refused_soon(write, seeds, rest, message):
    write(TINY.format(name="e"))
    with pytest.raises(ConfigError) as error:
        load_study(write(SWEEP.format(seeds=seeds, rest=rest), "sweep.yaml"))
    assert message in str(error.value)


def test_a_file_of_too_many_experiments_is_refused_before_the_first_is_built(write):
    text = "".join(TINY.format(name=f"e{i}") for i in range(101))
    assert "holds 101 experiments; at most 100 can stand in one file" in refusal(write(text))


@pytest.mark.parametrize("kind", ["flat", "equivariant"])
def test_widths_that_are_null_are_the_usual_ones(write, kind):
    networks = f"networks={{consumer: {{kind: {kind}, hidden: null}}}}"
    (experiment,) = load_experiments(write(TINY.format(name="e")), sets=[networks])
    assert experiment.config.networks.consumer == NetworkSpec.of(kind)
