"""Experiments are read from files as they were meant, and every mistake is refused with its place and its mend."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
import yaml

from rbc_marl.curriculum import Curriculum
from rbc_marl.errors import ConfigError
from rbc_marl.experiments.build import CheckpointSettings
from rbc_marl.experiments.file import (
    Override,
    load_experiments,
    read_overrides,
    read_specs,
    setting_name,
    setting_path,
    to_yaml,
)

ECONOMY = """
small:
  run: EconomyPPO
  env: rbc_open
  stop: {training_iteration: 3}
  config:
    env_config: {num_consumers: 3, num_firms: 2}
    num_envs_per_env_runner: 2
    lr: 1e-3
"""

CARTPOLE = """
cart:
  run: PPO
  env: CartPole-v1
  stop: {training_iteration: 2}
  config:
    training: {train_batch_size_per_learner: 200, minibatch_size: 100, num_epochs: 1, lambda: 0.9}
    model: {fcnet_hiddens: [16]}
"""


@pytest.fixture
def write(tmp_path):
    def write_file(text, name="experiment.yaml"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write_file


def load(path, *sets):
    (experiment,) = load_experiments(path, sets=sets)
    return experiment


def refusal(path, *sets, only=None):
    with pytest.raises(ConfigError) as caught:
        load_experiments(path, only, sets=sets)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_keys_reach_the_algorithm_flat_or_under_their_method(write):
    config = load(write(CARTPOLE), "lr=3e-4", "env_runners.num_envs_per_env_runner=2").config
    assert (config.lr, config.lambda_, config.minibatch_size, config.num_envs_per_env_runner) == (3e-4, 0.9, 100, 2)
    assert config.total_train_batch_size == 200
    assert config.model_config["fcnet_hiddens"] == [16]


def test_sections_do_not_replace_the_methods_of_the_configuration(write):
    assert callable(load(write(CARTPOLE)).config.training)


def test_an_experiment_says_what_runs(write):
    experiment = load(write(ECONOMY), "seed=7", "checkpoint_freq=5", "keep_checkpoints_num=2")
    assert (experiment.name, experiment.run, experiment.env, experiment.seed) == ("small", "EconomyPPO", "rbc_open", 7)
    assert experiment.env_config.num_consumers == 3
    assert experiment.checkpoints == CheckpointSettings(checkpoint_frequency=5, num_to_keep=2)
    assert not experiment.is_sweep


def test_the_environments_name_decides_whether_the_economy_is_open(write):
    assert load(write(ECONOMY)).env_config.open_economy
    assert not load(write(ECONOMY), "env=rbc_closed").env_config.open_economy
    assert "set env: rbc_closed" in refusal(write(ECONOMY), "env_config.open_economy=false")


def test_agent_types_without_a_network_of_their_own_keep_the_usual_one(write):
    config = load(write(ECONOMY), "networks.consumer={kind: flat, hidden: [8]}").config
    assert (config.networks.consumer.kind, config.networks.consumer.hidden) == ("flat", (8,))
    assert config.networks.firm == load(write(ECONOMY)).config.networks.firm


@pytest.mark.parametrize("run", ["PPO", "APPO", "IMPALA"])
def test_our_environments_give_any_algorithm_its_three_policies(write, run):
    config = load(write(ECONOMY), f"run={run}").config
    assert set(config.policies) == {"consumer", "firm", "government"}
    assert config.policy_mapping_fn("consumer_12", None) == "consumer"
    assert config.policy_mapping_fn("government_0", None) == "government"


def test_the_resolved_experiment_reads_back_to_itself(write):
    sets = [
        "algorithm_config_overrides_per_module={firm: {lr: 2e-4}}",
        "lr={grid_search: [1e-3, 1e-2]}",
        "num_samples=2",
    ]
    experiment = load(write(ECONOMY), *sets, "storage_path=elsewhere")
    again = load(write(to_yaml(experiment), "again.yaml"))
    assert again.resolved == experiment.resolved
    assert again.spaces == experiment.spaces
    assert (again.seed, again.storage, again.num_samples) == (0, Path("elsewhere"), 2)
    assert again.env_config == experiment.env_config
    assert experiment.resolved["config"]["env_config"]["crra"] == 0.1  # what the file left open is written out


def test_a_setting_has_one_path_in_all_its_spellings():
    for key in ("lr", "config.lr", "training.lr", "config.training.lr"):
        assert setting_path(key) == ("config", "lr")
    assert setting_path("lambda") == setting_path("training.lambda_") == ("config", "lambda_")
    assert setting_path("checkpoint_freq") == setting_path("checkpoint_config.checkpoint_frequency")
    assert setting_path("stop.env_runners/hours") == ("stop", "env_runners/hours")
    assert setting_path("environment.env") == setting_path("env") == ("env",)
    assert setting_name(setting_path("training.lr")) == "lr"
    assert setting_name(setting_path("stop.training_iteration")) == "stop.training_iteration"


def test_a_mistake_has_the_line_of_its_file_unless_it_comes_from_elsewhere(write):
    wrong = write(ECONOMY.replace("lr: 1e-3", "lr: -1"))
    assert refusal(wrong) == "small.config.lr is -1; it must be at least 0 (line 9 of experiment.yaml)"
    assert refusal(write(ECONOMY), "lr=-1") == "small.config.lr is -1; it must be at least 0"
    inside = write(ECONOMY.replace("lr: 1e-3", "training: {gama: 1}"))
    assert refusal(inside).endswith('did you mean "gamma"? (line 9 of experiment.yaml)')
    (spec,) = read_specs(write(ECONOMY))
    with pytest.raises(ConfigError, match=r"^small.config.lr is -1; it must be at least 0 \(taxes.set.lr\)$"):
        spec.with_overrides([Override(("config", "lr"), -1, "taxes.set.lr")]).build()


def test_a_curriculum_is_typed_once_it_is_read(write):
    experiment = load(write(ECONOMY), "curriculum={taxes: {end: 9}}")
    assert isinstance(experiment.config.curriculum, Curriculum)
    assert experiment.resolved["config"]["curriculum"] == {"taxes": {"end": 9}}


def test_a_seed_of_null_is_drawn_once_and_kept(write):
    experiment = load(write(ECONOMY), "seed=null")
    assert experiment.resolved["config"]["seed"] == experiment.seed == experiment.config.seed
    assert load(write(ECONOMY), "seed=null").seed != experiment.seed


def test_stop_criteria_are_flat_or_nested(write):
    nested = load(write(ECONOMY), "stop={env_runners: {hours: 300}, training_iteration: 9}")
    flat = load(write(ECONOMY), "stop={env_runners/hours: 300}", "stop.training_iteration=9")
    assert nested.stop == flat.stop == {"env_runners/hours": 300, "training_iteration": 9}


def test_changes_on_the_command_line_reach_inside_mappings(write):
    experiment = load(write(ECONOMY), "env_config.crra=0.5", "config.gamma=0.9", "stop.training_iteration=8")
    assert (experiment.env_config.crra, experiment.env_config.num_consumers) == (0.5, 3)
    assert (experiment.config.gamma, experiment.stop["training_iteration"]) == (0.9, 8)


def test_several_experiments_are_read_in_order_or_one_by_name(write):
    path = write(ECONOMY + CARTPOLE)
    assert [experiment.name for experiment in load_experiments(path)] == ["small", "cart"]
    assert [experiment.name for experiment in load_experiments(path, "cart")] == ["cart"]
    assert refusal(path, only="crat").endswith('has no experiment "crat"; it has small, cart; did you mean "cart"?')


ECONOMY_MISTAKES = [
    (
        "export_qouta=3",
        'small.config.export_qouta is not a setting of EconomyPPO; did you mean "env_config.export_quota"?',
    ),
    (
        "learning_rates=3",
        'small.config.learning_rates is not a setting of EconomyPPO; did you mean "curriculum.learning_rate"?',
    ),
    ("config=3", "config: name a setting, such as config.lr"),
    ("storage_path=s4://bucket/runs", "small.storage_path is 's4://bucket/runs'; it must be a path, or begin with"),
    (
        "callbacks=http.server.HTTPServer",
        'small.config.callbacks is "http.server.HTTPServer", which is not a subclass of',
    ),
    (
        "env_runner_cls=builtins.dict",
        'small.config.env_runner_cls is "builtins.dict", which is not a subclass of RLlib\'s EnvRunner',
    ),
    (
        "learner_class=builtins.dict",
        'small.config.learner_class is "builtins.dict", which is not a subclass of RLlib\'s Learner',
    ),
    ("lr_shedule=1", 'small.config.lr_shedule is not a setting of EconomyPPO; did you mean "lr"?'),
    ("training.gama=1", 'small.config.training.gama is not a setting of EconomyPPO; did you mean "gamma"?'),
    ("learners.gamma=0.9", "small.config.learners.gamma does not belong there; move gamma to training"),
    ("probe_economies={count: 1}", "small.config.probe_economies is gone; write trembles"),
    ("num_workers=2", "small.config.num_workers is a name of older RLlib versions; write num_env_runners"),
    ("lr='1e-3'", "small.config.lr is '1e-3'; it must be a number or a list"),
    ("lr=-1", "small.config.lr is -1; it must be at least 0"),
    ("gamma=1.5", "small.config.gamma is 1.5; it must be between 0 and 1"),
    ("num_epochs=1.5", "small.config.num_epochs is 1.5; it must be a whole number"),
    ("num_epochs=true", "small.config.num_epochs is True; it must be a whole number"),
    (
        "entropy_coeff=[[0, 1], [9]]",
        "small.config.entropy_coeff holds [9]; a schedule is a list of [env step, value] pairs",
    ),
    (
        "env_config.num_consumer=3",
        'small.config.env_config.num_consumer is not a field of an economy; did you mean "num_consumers"?',
    ),
    ("env_config.interest_rate=-0.2", "small.config.env_config.interest_rate is -0.2; it must be "),
    ("env_config.num_firms='2'", "small.config.env_config.num_firms is '2'; it must be "),
    ("env_config.hours_choices=[]", "small.config.env_config.hours_choices is []; it must "),
    ("env_config.initial_capital=[1, 2, 3]", "small.config.env_config.initial_capital has 3 values; there are 2 firms"),
    ("env_config.encoding=digit", "small.config.env_config.encoding is 'digit'; it must be symlog or digits"),
    ("env_config=3", "small.config.env_config is 3; it must be a mapping"),
    ("networks.consumr=flat", 'small.config.networks.consumr is not an agent type; did you mean "consumer"?'),
    ("model.firm=flat", "small.config.model is the old name of networks; write networks"),
    ("networks.firm=flatt", "small.config.networks.firm is 'flatt'; it must be flat or equivariant"),
    ("reward_scale.firm='3'", "small.config.reward_scale.firm is '3'; it must be a number"),
    (
        "algorithm_config_overrides_per_module.firms={lr: 1}",
        "small.config.algorithm_config_overrides_per_module.firms is not a policy",
    ),
    (
        "algorithm_config_overrides_per_module.firm={lrr: 1}",
        "small.config.algorithm_config_overrides_per_module.firm.lrr is not a",
    ),
    (
        "evaluation_config={explor: false}",
        'small.config.evaluation_config.explor is not a setting of EconomyPPO; did you mean "explore"?',
    ),
    ("evaluation_config={env_config: {crra: x}}", "small.config.evaluation_config.env_config.crra is 'x'; it must be "),
    ("policies_to_train=[]", "small.config.policies_to_train is empty"),
    ("policies_to_train=[firms]", "small.config.policies_to_train names 'firms'; did you mean \"firm\"?"),
    ("on_episode_end=x", "small.config.on_episode_end is 'x'; it "),
    ("callbacks=no.such.Class", 'small.config.callbacks is "no.such.Class", which cannot be imported'),
    ("run=EconomyPP", "small.run is 'EconomyPP', which is not an algorithm; did you mean \"EconomyPPO\"?"),
    ("env=rbc_opne", "small.env is 'rbc_opne', which is not an environment; did you mean \"rbc_open\"?"),
    (
        "stop.training_iterations=3",
        'small.stop.training_iterations is not a result of a run; did you mean "training_iteration"?',
    ),
    (
        "stop.env_runners/sale=3",
        'small.stop.env_runners/sale is not a result of a run; did you mean "env_runners/sales"?',
    ),
    (
        "stop={env_runners: {hour: 3}}",
        'small.stop.env_runners/hour is not a result of a run; did you mean "env_runners/hours"?',
    ),
    (
        "stop.timesteps_total=3",
        "small.stop.timesteps_total is a name of older RLlib versions; write num_env_steps_sampled_lifetime",
    ),
    ("stop.training_iteration='3'", "small.stop.training_iteration is '3'; it must be a number"),
    ("stop.training_iteration=0", "small.stop.training_iteration is 0; it must be above 0"),
    ("stop=3", "small.stop is 3; it must be a mapping"),
    (
        "checkpoint_freq=-1",
        "small.checkpoint_config.checkpoint_frequency is -1; it must be at least 0",
    ),
    (
        "checkpoint_config.num_to_kep=1",
        'small.checkpoint_config.num_to_kep is not a setting of checkpoints; did you mean "num_to_keep"?',
    ),
    ("num_samples=2", "small.num_samples is 2, and all would be the same"),
    ("restore=nowhere", "small.restore is 'nowhere'; it must be the folder of a checkpoint"),
    ("lr={loguniform: [0, 1]}", "small.config.lr.loguniform is [0, 1]; a logarithmic space begins above 0"),
    ("lr={uniform: [1, '2']}", "small.config.lr.uniform is [1, '2']; it must be a list of 2 numbers"),
    ("lr={grid_search: [1e-3, '4']}", "small.config.lr is '4'; it must be a number or a list"),
    ("gamma={uniform: [0.5, 2]}", "small.config.gamma is 2.0; it must be between 0 and 1"),
    ("lr", "--set lr: write it as key=value"),
    ("lr=[", "--set lr is not valid YAML"),
    ("lr.x.y=1", "--set lr.x.y=1: lr is 0.001 in the file, not a mapping"),
]


@pytest.mark.parametrize(("change", "message"), ECONOMY_MISTAKES, ids=[change for change, _ in ECONOMY_MISTAKES])
def test_a_mistake_is_refused_with_its_place_and_its_mend(write, change, message):
    assert refusal(write(ECONOMY), change).startswith(message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.fcnet_hidens=[3]", "cart.config.model.fcnet_hidens is not a setting of RLlib's models; did you mean"),
        (
            "model.fcnet_hiddens=[3, '4']",
            "cart.config.model.fcnet_hiddens.1 is '4'; it must be a whole number",
        ),
        ("minibatch_size=1000", "cart.config: `minibatch_size` (1000) must be <= `train_batch_size_per_learner` (200)"),
        ("grad_clip_by=foo", "cart.config.grad_clip_by is 'foo'; it must be value or norm or global_norm"),
        ("env=CartPol-v1", "cart.env is 'CartPol-v1', which is not an environment; did you mean \"CartPole-v1\"?"),
        ("huber_delta=1", "cart.config.huber_delta is not a setting of PPO"),
    ],
)
def test_mistakes_in_rllibs_own_algorithms_are_refused_likewise(write, change, message):
    assert refusal(write(CARTPOLE), change).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds nothing; it must be a mapping"),
        ("- 1\n", "holds a list; it must be a mapping"),
        ("{}", "is empty; it must hold an experiment"),
        ("a: [", "is not valid YAML at line 1"),
        ("a: 3", "a is 3; an experiment is a name, and under it run, env and config"),
        ("a: {env: rbc_open}", "a.run is missing"),
        ("a: {run: EconomyPPO}", "a.env is missing"),
        ("a: {run: EconomyPPO, env: [1]}", "a.env is [1], which is not an environment"),
        ("a: {run: EconomyPPO, evn: rbc_open}", 'a.evn is not a setting of an experiment; did you mean "env"?'),
        (
            "a: {run: EconomyPPO, training: {lr: 1}}",
            "a.training is not a setting of an experiment; it belongs under config",
        ),
        ("a: {run: EconomyPPO, local_dir: x}", "a.local_dir is a name of older RLlib versions; write storage_path"),
        ("a: {run: PPO, env: rbc_open, config: 3}", "a.config is 3; it must be a mapping"),
        (
            "a: {run: PPO, env: rbc_open, config: {lr: 1, training: {lr: 2}}}",
            "a.config.training.lr is given twice, also as a.config.lr",
        ),
        (
            "a: {run: PPO, env: rbc_open, config: {env: rbc_closed}}",
            "a.config.env is 'rbc_closed' but a.env is 'rbc_open'",
        ),
        ("a: {run: PPO, env: rbc_open, config: {lr: {uniform: [0, 1]}}}", "a.stop is missing; a sweep needs one"),
        ("../a: {run: PPO}", "cannot name an experiment"),
        ("a: {base: b.yaml, seeds: [1], arms: {}}", " is a sweep file; rbc-marl sweep "),
        ("question: Why?\npolicies: small\nchange: {crra: 1}", " is a scenario file; rbc-marl scenario "),
    ],
)
def test_a_file_that_is_no_experiment_is_refused(write, text, message):
    assert message in refusal(write(text))


def test_a_missing_file_is_refused(tmp_path):
    assert "does not exist" in refusal(tmp_path / "nothing.yaml")
    assert "does not exist" in refusal(tmp_path / "nothing.py")


def test_every_value_of_a_search_is_validated_before_anything_starts(write):
    space = load(write(ECONOMY), "env_config.crra={choice: [0.1, 0.5]}", "stop.training_iteration=2")
    assert space.is_sweep
    ((path, found),) = space.spaces.items()
    assert (path, found.kind, found.arguments) == (("config", "env_config", "crra"), "choice", (0.1, 0.5))
    assert "crra is -1" in refusal(write(ECONOMY), "env_config.crra={choice: [0.1, -1]}")


def test_a_trial_of_a_search_differs_from_the_experiment_in_its_values_only(write):
    sets = ("env_config.crra={choice: [0.1, 0.5]}", "lr={uniform: [0.1, 0.2]}")
    path = write(ECONOMY)
    (spec,) = read_specs(path)
    trial = spec.with_overrides(read_overrides(sets)).with_overrides(read_overrides(["env_config.crra=0.5", "lr=0.15"]))
    experiment = trial.build()
    assert not experiment.spaces
    assert experiment.resolved == load(path, "env_config.crra=0.5", "lr=0.15").resolved
    assert (experiment.env_config.crra, experiment.config.lr, experiment.env_config.num_consumers) == (0.5, 0.15, 3)


PYTHON = """
from ray.rllib.algorithms.ppo import PPOConfig

config = PPOConfig().environment("rbc_open", env_config={"num_consumers": 3, "num_firms": 2}).debugging(seed=4)
stop = {"training_iteration": 2}
"""


def test_a_python_file_holds_a_config_and_may_hold_a_stop(write):
    experiment = load(write(PYTHON, "mine.py"), "lr=0.5", "env_config.crra=0.3")
    assert (experiment.name, experiment.run, experiment.seed) == ("mine", "PPO", 4)
    assert experiment.stop == {"training_iteration": 2}
    assert (experiment.config.lr, experiment.env_config.crra, experiment.env_config.num_firms) == (0.5, 0.3, 2)
    assert set(experiment.config.policies) == {"consumer", "firm", "government"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "holds no AlgorithmConfig named config"),
        ("x = 1\ny = z\n", "mine.py, line 2: NameError: name 'z' is not defined"),
        ("x = (\n", "mine.py, line 1: SyntaxError: '(' was never closed"),
        (
            PYTHON.replace('"num_firms": 2', '"num_firm": 2'),
            'mine.config.env_config.num_firm is not a field of an economy; did you mean "num_firms"?',
        ),
        ("from ray.rllib.algorithms.ppo import PPOConfig\nconfig = PPOConfig()\n", "config has no environment"),
    ],
)
def test_a_python_file_that_cannot_be_used_is_refused(write, text, message):
    assert message in refusal(write(text, "mine.py"))


def test_plain_yaml_is_all_that_is_read(write):
    path = write("a: !!python/object/apply:os.system ['true']")
    assert "is not valid YAML" in refusal(path)


def test_a_resolved_file_holds_plain_data_only(write):
    assert yaml.safe_load(to_yaml(load(write(ECONOMY))))["small"]["run"] == "EconomyPPO"
