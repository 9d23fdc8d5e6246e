"""Settings that would have no effect, or fail only later, are refused before anything is built."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import ray
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.policy.policy import PolicySpec
from ray.tune.registry import register_env

from rbc_marl import ConfigError, UserError, preset
from rbc_marl.experiments.file import load_experiments
from rbc_marl.experiments.stopping import check_reported
from rbc_marl.policies.build import build_network
from rbc_marl.policies.saved import save_policies
from rbc_marl.rllib import plain, settings
from rbc_marl.rllib.algorithm import EconomyPPOConfig
from rbc_marl.rllib.settings import FOLLOWED, PER_MODULE, check_restored
from tests.rllib.small import ECONOMY, small_config

SMALL = Path(__file__).parents[2] / "rllib_configs" / "small.yaml"
DEFAULT = EconomyPPOConfig()
FOLLOWED_NAMES = set(" ".join(FOLLOWED.values()).split())
# Told apart by more than the default: see below.
POLICIES = {"consumer", "firm", "government"}


def other_than(value):
    """Some value that is not the given one, of its kind."""
    if value is None:
        return "something"
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, Mapping):
        return {**value, "something": 1}
    if isinstance(value, list | tuple):
        return [*value, "something"]
    return "something" if isinstance(value, str) else print


@pytest.mark.parametrize("name", sorted(vars(DEFAULT)))
def test_every_setting_is_followed_or_refused(name):
    config = small_config()
    config.validate()
    if name in FOLLOWED_NAMES:
        return
    setattr(config, name, other_than(getattr(config, name)))
    shown = name.removeprefix("_")
    with pytest.raises(ConfigError, match=rf"^{shown} is .*, which EconomyPPO does not read: .*; leave it "):
        config.validate()


@pytest.mark.parametrize(
    "name", ["rollout_fragment_length", "optimizer", "observation_fn", "action_mask_key",
             "torch_compile_worker_dynamo_mode", "torch_compile_learner", "input_", "offline_data_class",
             "policies", "policy_mapping_fn", "model",
             "_rl_module_spec", "_model_config", "num_gpus", "observation_filter", "episode_lookback_horizon"],
)  # fmt: skip
def test_what_users_have_set_in_vain_is_not_followed(name):
    assert hasattr(DEFAULT, name) and name not in FOLLOWED_NAMES


def test_what_is_said_to_be_followed_is_read_somewhere():
    """In this package, or in what RLlib runs with it: nothing stands in the list by mistake."""
    rllib = Path(ray.rllib.__file__).parent
    ours = [file for file in Path(settings.__file__).parent.glob("*.py") if file.name != "settings.py"]
    files = [*ours, *(rllib / "core" / "learner").rglob("*.py")]
    files += [rllib / "algorithms" / name for name in ("algorithm.py", "utils.py", "ppo/ppo.py", "ppo/ppo_learner.py")]
    files += [rllib / "env" / "env_runner.py", rllib / "env" / "env_runner_group.py", rllib / "utils" / "framework.py"]
    files += [rllib / "utils" / "actor_manager.py", rllib / "callbacks" / "utils.py"]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    ways_of_rllib = {"_is_frozen", "_is_atari", "_is_online", "_prior_exploration_config", "simple_optimizer", "class"}
    ways_of_rllib |= {"_validate_config", "log_sys_usage", "learner_config_dict", "_per_module_overrides"}
    for name in FOLLOWED_NAMES - ways_of_rllib - {"worker_index"}:
        name_in_code = "callbacks_" if name.startswith("callbacks_on_episode") else name  # read by f"callbacks_{name}"
        assert re.search(rf"\b{name_in_code}|\.{name.removeprefix('_')}\b", text), name
        assert hasattr(DEFAULT, name), name


def test_a_setting_that_does_not_exist_is_refused_with_the_nearest():
    config = small_config()
    config.update_from_dict({"gama": 0.5})
    with pytest.raises(ConfigError, match=r'^gama is not a setting of EconomyPPO; did you mean "gamma"\?$'):
        config.validate()


def test_what_evaluation_does_not_follow_is_refused_too():
    config = small_config().evaluation(evaluation_interval=1, evaluation_config={"explore": False, "seed": 3})
    config.validate()
    config.evaluation(evaluation_config={"rollout_fragment_length": 5})
    with pytest.raises(ConfigError, match=r"^evaluation_config.rollout_fragment_length is 5, which EconomyPPO does"):
        config.validate()


@pytest.mark.parametrize(
    "policies",
    [{"poor", "rich", "firm", "government"}, {"consumer": PolicySpec(config={"lr": 1.0}), "firm": PolicySpec()}],
)
def test_policies_of_ones_own_are_refused(policies):
    with pytest.raises(ConfigError, match=r"^policies is .* there is one policy for each agent type"):
        small_config().multi_agent(policies=policies).validate()


def test_the_policies_that_there_are_can_be_named():
    small_config().multi_agent(policies=POLICIES, policy_mapping_fn=plain.policy_mapping_fn).validate()
    small_config().multi_agent(policies=list(POLICIES)).validate()
    small_config(deviator={"type": "firm", "agent": 0}).multi_agent(policies=POLICIES).validate()
    with pytest.raises(ConfigError, match=r"^policy_mapping_fn is"):
        small_config().multi_agent(policy_mapping_fn=lambda agent, *_, **__: "firm").validate()


def test_modules_of_ones_own_are_refused_and_networks_named():
    config = small_config().rl_module(rl_module_spec=small_config().get_multi_rl_module_spec())
    with pytest.raises(ConfigError, match=r"^rl_module_spec is .*stand under networks"):
        config.validate()
    with pytest.raises(ConfigError, match=r"^model_config is .*stand under networks"):
        small_config().rl_module(model_config={"fcnet_hiddens": [8]}).validate()
    with pytest.raises(ConfigError, match=r"^model is the old name of networks"):
        small_config().training(model={"consumer": "flat"})


def test_an_environment_of_ones_own_under_our_name_is_refused():
    register_env("rbc_open", lambda _: None)
    try:
        with pytest.raises(ConfigError, match=r"^env is rbc_open, a name that was given to another environment"):
            small_config().validate()
    finally:
        plain.register()
    small_config().validate()


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("env_runner_cls", small_config().env_runners(env_runner_cls=dict)),
        ("learner_class", small_config().learners(learner_class=PPOTorchLearner)),
        ("callbacks_class", small_config().update_from_dict({"callbacks": dict})),
    ],
)
def test_classes_of_other_kinds_are_refused(name, config):
    with pytest.raises(ConfigError, match=rf"^{name} is <class .*; it must be a subclass of "):
        config.validate()


def test_values_that_ask_for_what_is_done_anyway_are_taken():
    small_config(kl_coeff=0, vf_clip_param=float("inf")).environment(clip_rewards=False).validate()


@pytest.mark.parametrize("name", ["gamma", "lambda_", "reward_scale", "num_epochs", "minibatch_size"])
def test_what_cannot_differ_between_agent_types_is_refused_for_one_alone(name):
    config = small_config().multi_agent(algorithm_config_overrides_per_module={"firm": {"lr": 1e-4}})
    config.validate()
    assert "lr" in PER_MODULE
    value = {"gamma": 0.1, "lambda_": 0.1, "reward_scale": {"firm": 3.0}, "num_epochs": 9, "minibatch_size": 2}[name]
    config = small_config().multi_agent(algorithm_config_overrides_per_module={"firm": {name: value}})
    with pytest.raises(ConfigError, match=f"^algorithm_config_overrides_per_module.firm.{name} is read for no module"):
        config.validate()


def test_evaluation_needs_no_economy_for_every_learner():
    config = small_config().learners(num_learners=2)
    config.evaluation(evaluation_interval=1, evaluation_config={"num_envs_per_env_runner": 1})
    config.validate()
    config.get_evaluation_config_object().validate()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "evaluation_config={env_config: {encoding: digits}}",
            "small.config.evaluation_config.env_config.encoding is not the symlog that policies learn with",
        ),
        ("stop.evaluation/env_runners/hours=900", "small.stop.evaluation/env_runners/hours needs evaluations; give"),
        ("vf_clip_param=0.01", "small.config.vf_clip_param is 0.01, which EconomyPPO does not read"),
        ("clip_rewards=true", "small.config.clip_rewards is True, which EconomyPPO does not read"),
        ("torch_compile_learner=true", "small.config.torch_compile_learner is True, which EconomyPPO does not read"),
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
    check_restored(saved(tmp_path / "same"), config, "x.restore", trust=False)
    # Policies are shared by all.
    check_restored(saved(tmp_path / "more", num_consumers=9), config, "x.restore", trust=False)
    with pytest.raises(ConfigError, match=r"^x.restore does not fit this economy: the network of"):
        check_restored(saved(tmp_path / "firms", num_firms=3), config, "x.restore", trust=False)
    with pytest.raises(ConfigError, match=r"^x.restore has policies that see numbers as digits, but"):
        check_restored(saved(tmp_path / "digits", "digits"), config, "x.restore", trust=False)
    (tmp_path / "other").mkdir()
    check_restored(tmp_path / "other", config, "x.restore", trust=False)  # of an algorithm that saves no plain data


def test_a_criterion_that_is_not_reported_ends_a_run_at_once_instead_of_never():
    results = {"training_iteration": 1, "env_runners/episode_return_mean": 3.0, "env_runners/hours": 4.0}
    check_reported({"training_iteration": 5, "env_runners/hours": 900.0, "learners/firm/entropy": 1.0}, results)
    check_reported({"env_runners/my_own": 1.0}, results)  # of a callback, which may report it later
    check_reported({"env_runners/episode_len_max": 9}, {"training_iteration": 1})  # no episode has ended yet
    with pytest.raises(UserError, match=r"^stop.env_runners/episode_len_max is not reported by this run"):
        check_reported({"env_runners/episode_len_max": 9}, results)


@pytest.mark.parametrize(("settings", "message"), [
    ({"logit_response": "exact"}, "logit_response is 'exact'; it must be true, null, or a mapping of basket, work"),
    ({"trembles": {"prices": 0.1}}, "trembles.prices is not an agent type or a part of a firm's action"),
])  # fmt: skip
def test_wrong_trembles_and_logit_responses_are_refused_in_a_line(settings, message):
    with pytest.raises(ConfigError, match=message):
        small_config(**settings)


def test_options_that_a_network_lacks_are_refused_before_anything_is_built():
    config = small_config(networks={"firm": {"kind": "flat", "hidden": [8], "ranks_prices": True}})
    with pytest.raises(ConfigError, match=r"networks.firm.ranks_prices is not a setting of the flat network"):
        config.validate()


def test_knots_of_what_nobody_sees_are_refused_before_anything_is_built():
    config = small_config(networks={"firm": {"knots": {"export_quota": 4}}})  # which does not move here
    with pytest.raises(ConfigError, match=r"networks.firm.knots.export_quota is no single number that all agents see"):
        config.validate()


@pytest.mark.parametrize(("given", "basket"), [(True, 0.3), ({"basket": 0.5}, 0.5), (False, None), (None, None)])
def test_logit_responses_are_switched_on_and_off(given, basket):
    settings = small_config(logit_response=given).logit_response
    assert (settings and settings.basket) == basket
