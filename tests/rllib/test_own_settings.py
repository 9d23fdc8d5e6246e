"""Settings that would have no effect, or fail only later, are refused before anything is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbc_marl import ConfigError, UserError, preset
from rbc_marl.policies.build import build_network
from rbc_marl.policies.saved import save_policies
from rbc_marl.rllib.config_file import load_experiments
from rbc_marl.rllib.own_settings import PER_MODULE, UNREAD, check_restored
from rbc_marl.rllib.stopping import check_reported
from tests.rllib.small import ECONOMY, small_config

SMALL = Path(__file__).parents[2] / "rllib_configs" / "small.yaml"
OTHERS = {
    "use_critic": False,
    "use_gae": False,
    "use_kl_loss": True,
    "kl_coeff": 5.0,
    "kl_target": 0.5,
    "vf_clip_param": 0.01,
    "batch_mode": "truncate_episodes",
    "clip_actions": True,
    "normalize_actions": False,
    "compress_observations": True,
    "observation_filter": "MeanStdFilter",
    "add_default_connectors_to_env_to_module_pipeline": False,
    "add_default_connectors_to_module_to_env_pipeline": False,
    "count_steps_by": "agent_steps",
    "clip_rewards": True,
    "add_default_connectors_to_learner_pipeline": True,
    "_env_to_module_connector": print,
    "_module_to_env_connector": print,
    "train_batch_size": 900,
    "_model_config": {"fcnet_hiddens": [8]},
}


@pytest.mark.parametrize("name", UNREAD)
def test_a_setting_of_rllibs_that_nothing_reads_is_refused(name):
    config = small_config()
    config.validate()
    setattr(config, name, OTHERS[name])
    with pytest.raises(ConfigError, match=f"^{name.removeprefix('_')} is .*, which EconomyPPO does not read: "):
        config.validate()


def test_values_that_ask_for_what_is_done_anyway_are_taken():
    small_config(kl_coeff=0, vf_clip_param=float("inf")).environment(clip_rewards=False).validate()


def test_modules_of_ones_own_may_read_a_model_config():
    config = small_config().rl_module(rl_module_spec=small_config().get_multi_rl_module_spec())
    config.rl_module(model_config={"width": 7}).validate()


@pytest.mark.parametrize("name", ["gamma", "lambda_", "reward_scale", "num_epochs", "minibatch_size"])
def test_what_cannot_differ_between_agent_types_is_refused_for_one_alone(name):
    config = small_config().multi_agent(algorithm_config_overrides_per_module={"firm": {"lr": 1e-4}})
    config.validate()
    assert "lr" in PER_MODULE
    value = {"gamma": 0.1, "lambda_": 0.1, "reward_scale": {"firm": 3.0}, "num_epochs": 9, "minibatch_size": 2}[name]
    config = small_config().multi_agent(algorithm_config_overrides_per_module={"firm": {name: value}})
    with pytest.raises(ConfigError, match=f"^algorithm_config_overrides_per_module.firm.{name} is read for no module"):
        config.validate()


def test_evaluation_needs_neither_room_for_probes_nor_economies_for_every_learner():
    config = small_config(probe_economies={"count": 1}).learners(num_learners=2)
    config.evaluation(evaluation_interval=1, evaluation_config={"num_envs_per_env_runner": 1})
    config.validate()
    config.get_evaluation_config_object().validate()
    with pytest.raises(ConfigError, match=r"probe_economies.count is 4 of 4"):
        small_config(probe_economies={"count": 4}).validate()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "evaluation_config={env_config: {encoding: digits}}",
            "small.config.evaluation_config.env_config.encoding is not the symlog that policies learn with",
        ),
        ("stop.evaluation/env_runners/hours=900", "small.stop.evaluation/env_runners/hours needs evaluations; give"),
        ("vf_clip_param=0.01", "small.config.vf_clip_param is 0.01, which EconomyPPO does not read"),
    ],
)
def test_a_file_that_asks_for_what_cannot_be_is_refused(change, message):
    with pytest.raises(ConfigError) as caught:
        load_experiments(SMALL, sets=[change])
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("kind", ["flat", "equivariant"])
def test_an_evaluation_in_an_economy_that_the_networks_do_not_fit_is_refused_before_training(kind):
    def evaluating(**changes):
        config = small_config(networks={"consumer": {"kind": kind, "hidden": [4]}})
        changed = {"env_config": {**config.env_config, **changes}}
        return config.evaluation(evaluation_interval=1, evaluation_config=changed)

    for fits in ({"num_consumers": 9}, {"export_quota": 5.0, "crra": 0.5}, {"horizon": 7}):
        evaluating(**fits).validate()
    firms = small_config().env_config["num_firms"] + 1
    agent_type = "consumer" if kind == "flat" else "firm"  # an equivariant network fits any number of firms
    message = rf"^evaluation_config.env_config does not fit: the network of the {agent_type} .* number of firms"
    with pytest.raises(ConfigError, match=message):
        evaluating(num_firms=firms).validate()
    with pytest.raises(ConfigError, match=r"the network of the firm was made for other choices"):
        evaluating(wage_choices=[0.0, 11.0]).validate()
    evaluating(num_firms=firms).evaluation(evaluation_interval=None).validate()  # nothing is evaluated


def saved(folder, encoding="symlog", **changes):
    economy = preset("open", **{**ECONOMY, **changes})
    types = ("consumer", "firm", "government")
    spec = {"kind": "flat", "hidden": [4]}
    networks = {t: build_network(economy, t, encoding, spec) for t in types}
    save_policies(folder, economy, encoding, networks, dict.fromkeys(types, spec), {})
    return folder


def test_policies_of_another_economy_are_no_beginning(tmp_path):
    config = small_config()
    check_restored(saved(tmp_path / "same"), config, "x.restore")
    check_restored(saved(tmp_path / "more", num_consumers=9), config, "x.restore")  # policies are shared by all
    with pytest.raises(ConfigError, match=r"^x.restore does not fit this economy: the network of"):
        check_restored(saved(tmp_path / "firms", num_firms=3), config, "x.restore")
    with pytest.raises(ConfigError, match=r"^x.restore has policies that see numbers as digits, but"):
        check_restored(saved(tmp_path / "digits", "digits"), config, "x.restore")
    (tmp_path / "other").mkdir()
    check_restored(tmp_path / "other", config, "x.restore")  # of an algorithm that saves no plain data


def test_a_criterion_that_is_not_reported_ends_a_run_at_once_instead_of_never():
    results = {"training_iteration": 1, "env_runners/episode_return_mean": 3.0, "env_runners/hours": 4.0}
    check_reported({"training_iteration": 5, "env_runners/hours": 900.0, "learners/firm/entropy": 1.0}, results)
    check_reported({"env_runners/my_own": 1.0}, results)  # of a callback, which may report it later
    check_reported({"env_runners/episode_len_max": 9}, {"training_iteration": 1})  # no episode has ended yet
    with pytest.raises(UserError, match=r"^stop.env_runners/episode_len_max is not reported by this run"):
        check_reported({"env_runners/episode_len_max": 9}, results)
