"""EconomyPPO as a user meets it: settings in, weights and results out."""

from __future__ import annotations

import math

import pytest
import torch
from ray.rllib.callbacks.callbacks import RLlibCallback

from rbc_marl import ConfigError
from rbc_marl.config import AGENT_TYPES
from rbc_marl.policies.build import NetworkSpec
from rbc_marl.rllib.algorithm import EconomyPPO, EconomyPPOConfig
from rbc_marl.rllib.settings import RewardScale
from tests.rllib.small import built, changed, numbers, runner_weights_of, small_config, trained, weights_of

pytestmark = pytest.mark.usefixtures("ray_running")

# 4 economies of 4 periods.
ROWS = 16
FLAT = {"kind": "flat", "hidden": [128, 128]}
EQUIVARIANT = {"kind": "equivariant", "hidden": [32, 32]}
ALL = set(AGENT_TYPES)


def optimiser_steps(algorithm):
    """Updates so far, by module."""
    learner = algorithm.learner_group._learner
    steps = {m: {int(s["step"]) for s in learner.get_optimizer(m).state.values()} for m in AGENT_TYPES}
    return {m: steps[m].pop() if len(steps[m]) == 1 else steps[m] for m in steps}


@pytest.mark.parametrize("env", ["rbc_open", "rbc_closed"])
def test_all_agent_types_learn_and_nothing_is_nan(env):
    with built(small_config(env, minibatch_size=6)) as algorithm:
        assert algorithm.env_runner.economy.open_economy == (env == "rbc_open")
        start = weights_of(algorithm)
        for _ in range(2):
            before = weights_of(algorithm)
            result = algorithm.train()
            after = weights_of(algorithm)
            assert changed(before, after) == ALL
            # RLlib counts parameters once only, and reports NaN afterwards.
            wrong = {path for path, value in numbers(result) if not math.isfinite(value)}
            assert {path for path in wrong if not path[-1].endswith("trainable_parameters")} == set()
            for named in after.values():
                assert all(x.isfinite().all() for x in named.values())
        for module_id in ALL:  # every layer of every network has moved
            still = {n for n in start[module_id] if torch.equal(start[module_id][n], after[module_id][n])}
            assert still <= {"network.log_mask"}


def test_the_env_runner_acts_with_what_was_learnt():
    with built(small_config()) as algorithm:
        algorithm.train()
        learnt, acting = weights_of(algorithm), runner_weights_of(algorithm)
        for module_id in ALL:
            for name, weight in acting[module_id].items():
                assert torch.equal(weight, learnt[module_id][name]), name


def test_one_seed_gives_one_run_and_another_seed_another():
    first, _ = trained(small_config(minibatch_size=5), 2)
    again, _ = trained(small_config(minibatch_size=5), 2)
    other, _ = trained(small_config(minibatch_size=5, seed=4), 2)
    assert changed(first, again) == set()
    assert changed(first, other) == ALL


def test_two_algorithms_in_one_process_share_no_random_state():
    alone, _ = trained(small_config(minibatch_size=5), 2)
    with built(small_config(minibatch_size=5)) as first, built(small_config(minibatch_size=5, seed=9)) as second:
        for _ in range(2):
            second.train()
            torch.rand(7)
            first.train()
        assert changed(alone, weights_of(first)) == set()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("lr", 5e-4),
        ("gamma", 0.5),
        ("lambda_", 0.5),
        ("clip_param", 1e-3),
        ("grad_clip", 1e-2),
        ("num_epochs", 3),
        ("minibatch_size", 8),
        ("entropy_coeff", 0.5),
        ("vf_loss_coeff", 5.0),
        ("huber_delta", 0.01),
        ("reward_scale", {"consumer": 50.0, "firm": 3e5, "government": 1e4}),
    ],
)
def test_every_training_setting_has_an_effect_on_every_type(setting, value, published_run):
    weights, _ = trained(small_config(**{"num_epochs": 2, "lr": 3e-3, setting: value}), 1)
    assert changed(published_run, weights) == ALL


@pytest.fixture(scope="module")
def published_run(ray_running):
    """Weights after an iteration with nothing changed but the learning rate (so that ratios leave their clip range)."""
    return trained(small_config(num_epochs=2, lr=3e-3), 1)[0]


def test_settings_of_one_module_leave_the_others_alone(published_run):
    overrides = {"firm": {"lr": 0.0}, "government": {"clip_param": 1e-3, "entropy_coeff": 0.5}}
    config = small_config(num_epochs=2, lr=3e-3)
    config.multi_agent(algorithm_config_overrides_per_module=overrides)
    with built(config) as algorithm:
        start = weights_of(algorithm)
        result = algorithm.train()["learners"]
        after = weights_of(algorithm)
    assert changed(published_run, after) == {"firm", "government"}
    assert changed(start, after) == {"consumer", "government"}  # a learning rate of 0 learns nothing
    rates = {m: float(result[m]["default_optimizer_learning_rate"]) for m in AGENT_TYPES}
    assert rates == {"consumer": 3e-3, "firm": 0.0, "government": 3e-3}
    entropies = {m: float(result[m]["curr_entropy_coeff"]) for m in AGENT_TYPES}
    assert entropies == {"consumer": 0.05, "firm": 0.05, "government": 0.5}


def test_the_clip_range_can_be_set_for_one_module(published_run):
    config = small_config(num_epochs=2, lr=3e-3)
    config.multi_agent(algorithm_config_overrides_per_module={"consumer": {"clip_param": 1e-3}})
    assert changed(published_run, trained(config, 1)[0]) == {"consumer"}


def test_schedules_follow_the_env_steps():
    config = small_config(lr=[[0, 1e-2], [4 * ROWS, 2e-3]], entropy_coeff=[[0, 0.5], [4 * ROWS, 0.1]])
    with built(config) as algorithm:
        for iteration in range(1, 6):
            learners = algorithm.train()["learners"]
            share = min(iteration / 4, 1.0)
            for module_id in AGENT_TYPES:
                rate = float(learners[module_id]["default_optimizer_learning_rate"])
                assert rate == pytest.approx(1e-2 - share * 8e-3)
                assert float(learners[module_id]["curr_entropy_coeff"]) == pytest.approx(0.5 - share * 0.4)


def test_schedules_can_differ_by_module():
    config = small_config(entropy_coeff=0.05)
    config.multi_agent(
        algorithm_config_overrides_per_module={"firm": {"entropy_coeff": [[0, 1.0], [2 * ROWS, 0.0]], "lr": 1e-4}}
    )
    with built(config) as algorithm:
        learners = [algorithm.train()["learners"] for _ in range(2)]
    assert [float(result["firm"]["curr_entropy_coeff"]) for result in learners] == pytest.approx([0.5, 0.0])
    assert [float(result["consumer"]["curr_entropy_coeff"]) for result in learners] == pytest.approx([0.05, 0.05])


@pytest.mark.parametrize(
    "to_train", [["consumer"], ["firm", "government"], lambda module_id, batch=None: module_id == "government"]
)
def test_frozen_policies_keep_every_bit(to_train):
    config = small_config(minibatch_size=8)
    config.multi_agent(policies_to_train=to_train)
    with built(config) as algorithm:
        before = weights_of(algorithm)
        algorithm.train()
        result = algorithm.train()
        expected = {"government"} if callable(to_train) else set(to_train)
        assert changed(before, weights_of(algorithm)) == expected
        trained_steps = {m for m in AGENT_TYPES if "num_module_steps_trained" in result["learners"].get(m, {})}
        assert trained_steps == expected


@pytest.mark.parametrize(("size", "epochs"), [(None, 1), (None, 3), (8, 2), (5, 2), (16, 2), (100, 2), (1, 1)])
def test_every_module_gets_the_same_number_of_updates(size, epochs):
    config = small_config(num_epochs=epochs)
    config.minibatch_size = size
    if size == 100:  # larger than the batch: RLlib refuses it
        with pytest.raises(ValueError, match="minibatch_size"):
            config.validate()
        return
    with built(config) as algorithm:
        for iteration in range(1, 3):
            learners = algorithm.train()["learners"]
            updates = epochs * -(-ROWS // (size or ROWS))
            assert optimiser_steps(algorithm) == dict.fromkeys(AGENT_TYPES, iteration * updates)
            for module_id in AGENT_TYPES:
                assert int(learners[module_id]["num_module_steps_trained"]) == epochs * ROWS
            assert int(learners["__all_modules__"]["num_env_steps_trained"]) == epochs * ROWS


def test_results_count_steps_episodes_and_agents():
    with built(small_config()) as algorithm:
        for iteration in (1, 2):
            result = algorithm.train()
            runners = result["env_runners"]
            assert int(runners["num_env_steps_sampled"]) == ROWS
            assert int(runners["num_env_steps_sampled_lifetime"]) == iteration * ROWS
            assert int(result["num_env_steps_sampled_lifetime"]) == iteration * ROWS
            assert int(runners["num_episodes"]) == 4 and int(runners["num_episodes_lifetime"]) == 4 * iteration
            assert float(runners["episode_len_mean"]) == 4
            steps = {m: int(n) for m, n in runners["num_agent_steps_sampled"].items()}
            assert steps == {"consumer": 6 * ROWS, "firm": 2 * ROWS, "government": ROWS}
            steps = {m: int(n) for m, n in runners["num_module_steps_sampled_lifetime"].items()}
            assert steps == {m: iteration * n * ROWS for m, n in (("consumer", 6), ("firm", 2), ("government", 1))}
            assert result["training_iteration"] == iteration


class Recorder(RLlibCallback):
    """Notes what it is called with."""

    calls: list = []  # noqa: RUF012 - a class of callbacks is instantiated by RLlib

    def on_environment_created(self, *, env_runner, metrics_logger, env, env_context, **kwargs):
        self.calls.append(("on_environment_created", env.num_envs, dict(env_context)["num_firms"]))

    def on_episode_created(self, *, episode, env_runner, metrics_logger, env, env_index, **kwargs):
        self.calls.append(("on_episode_created",))

    def on_episode_end(self, *, episode, env_runner, metrics_logger, env, env_index, rl_module, **kwargs):
        self.calls.append(("on_episode_end",))
        metrics_logger.log_value("my_time", float(env.state.time.mean()), window=1)

    def on_sample_end(self, *, env_runner, metrics_logger, samples, **kwargs):
        self.calls.append(("on_sample_end", [len(rollout) for rollout in samples]))

    def on_train_result(self, *, algorithm, metrics_logger, result, **kwargs):
        self.calls.append(("on_train_result",))
        result["mine"] = 7


def test_callbacks_are_called_once_per_batch_of_rollouts():
    Recorder.calls.clear()
    with built(small_config().callbacks(Recorder)) as algorithm:
        assert Recorder.calls == [("on_environment_created", 4, 2)]
        for _ in range(2):
            Recorder.calls.clear()
            result = algorithm.train()
            expected = ["on_episode_created", "on_episode_end", "on_sample_end", "on_train_result"]
            assert [name for name, *_ in Recorder.calls] == expected
            assert ("on_sample_end", [ROWS]) in Recorder.calls
            assert result["mine"] == 7
            assert float(result["env_runners"]["my_time"]) == 4.0  # at the horizon


def test_the_end_of_episodes_comes_with_their_return():
    """RLlib's examples ask the episode for its return; here it is the rollout of the whole batch."""
    seen = {}

    def at_the_end(*, episode, metrics_logger, **kwargs):
        seen["return"], seen["steps"] = episode.get_return(), len(episode)

    config = small_config().callbacks(on_episode_end=at_the_end, on_episode_start=lambda **kw: seen.update(kw))
    with built(config) as algorithm:
        result = algorithm.train()
    assert seen["return"] == pytest.approx(result["env_runners"]["episode_return_mean"], rel=1e-5)
    assert seen["steps"] == ROWS and seen["episode"] is None  # at the start there is nothing yet


def test_callbacks_can_be_functions():
    seen = []
    config = small_config().callbacks(
        on_episode_step=lambda **kwargs: seen.append("step"),
        on_sample_end=lambda **kwargs: seen.append("end"),
    )
    with built(config) as algorithm:
        algorithm.train()
    assert seen == ["step"] * 4 + ["end"]


class Idle(RLlibCallback):
    """Overrides nothing."""


def test_callbacks_that_nobody_wrote_are_not_called(monkeypatch):
    called = []
    monkeypatch.setattr("rbc_marl.rllib.env_runner.make_callback", lambda name, **kwargs: called.append(name))
    with built(small_config().callbacks(Idle)) as algorithm:
        algorithm.env_runner.sample()
    assert called == ["on_environment_created", "on_sample_end"]


def test_evaluation_with_runners_of_its_own_leaves_training_alone():
    alone, _ = trained(small_config(), 3)
    config = small_config().evaluation(evaluation_interval=2, evaluation_duration=5)
    with built(config) as algorithm:
        results = [algorithm.train() for _ in range(3)]
        assert changed(alone, weights_of(algorithm)) == set()
    assert [bool(r.get("evaluation", {}).get("env_runners")) for r in results][:2] == [False, True]
    runners = results[1]["evaluation"]["env_runners"]
    assert int(runners["num_episodes"]) == 5 and int(runners["num_env_steps_sampled"]) == 20
    assert math.isfinite(runners["episode_return_mean"]) and math.isfinite(runners["hours"])


def test_evaluation_can_be_greedy_and_in_another_economy():
    config = small_config().evaluation(
        evaluation_interval=1,
        evaluation_duration=3,
        evaluation_config={"explore": False, "env_config": {**small_config().env_config, "horizon": 2}},
    )
    with built(config) as algorithm:
        runners = algorithm.train()["evaluation"]["env_runners"]
    assert float(runners["episode_len_mean"]) == 2
    assert float(runners["episode_return_min"]) == float(runners["episode_return_max"])  # all alike: nothing is drawn


def test_an_evaluation_by_hand_leaves_training_alone():
    alone, _ = trained(small_config(), 3)
    with built(small_config()) as algorithm:
        algorithm.train()
        assert int(algorithm.evaluate()["env_runners"]["num_episodes"]) == algorithm.config.evaluation_duration
        algorithm.train()
        algorithm.evaluate()
        algorithm.train()
        assert changed(alone, weights_of(algorithm)) == set()


def test_several_training_steps_in_an_iteration_draw_anew():
    config = small_config().reporting(min_sample_timesteps_per_iteration=3 * ROWS)
    three, result = trained(config, 1)
    assert int(result["env_runners"]["num_env_steps_sampled_lifetime"]) == 3 * ROWS
    rollouts = []
    config = config.copy(copy_frozen=False).callbacks(on_sample_end=lambda samples, **kwargs: rollouts.extend(samples))
    again, _ = trained(config, 1)
    assert changed(three, again) == set()
    drawn = [rollout.actions["consumer"] for rollout in rollouts]
    assert len(drawn) == 3 and not torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[1], drawn[2])


def test_a_larger_batch_is_collected_in_several_rounds():
    _, result = trained(small_config(train_batch_size_per_learner=2 * ROWS), 1)
    assert int(result["env_runners"]["num_env_steps_sampled"]) == 2 * ROWS
    assert int(result["learners"]["firm"]["num_module_steps_trained"]) == 2 * 2 * ROWS


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"use_kl_loss": True}, "use_kl_loss is True"),
        ({"use_gae": False}, "use_gae is False"),
        ({"huber_delta": 0}, "huber_delta is 0"),
        ({"reward_scale": {"firms": 1.0}}, 'reward_scale.firms .*did you mean "firm"'),
        ({"reward_scale": {"firm": 0}}, "reward_scale.firm is 0"),
        ({"reward_scale": {"firm": "5"}}, "reward_scale.firm is '5'"),
        ({"networks": {"banker": "flat"}}, "networks.banker is not an agent type"),
        ({"networks": {"firm": "flatt"}}, "networks.firm is 'flatt'"),
        ({"networks": {"firm": {"hidden": [0]}}}, "networks.firm.hidden"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(settings, message):
    with pytest.raises(ConfigError, match=message):
        small_config(**settings)


def test_settings_that_do_not_fit_together_are_refused_before_anything_starts():
    with pytest.raises(ConfigError, match="policies_to_train is empty"):
        small_config().multi_agent(policies_to_train=[]).validate()
    with pytest.raises(ConfigError, match="multiple of num_learners"):
        small_config(economies=5).learners(num_learners=2).validate()
    with pytest.raises(ConfigError, match="multiple of num_learners"):
        small_config(economies=5, train_batch_size_per_learner=20).learners(num_learners=2).validate()
    with pytest.raises(ConfigError, match="env is"):
        small_config("rbc_opne").validate()
    with pytest.raises(ConfigError, match=r"env_config\.num_firm"):
        small_config(economy={"num_firm": 3}).validate()


def test_the_batch_size_follows_from_the_economies():
    config = small_config(economies=6)
    config.validate()
    assert config.train_batch_size_per_learner == config.total_train_batch_size == 24
    config = small_config(economies=6).env_runners(num_env_runners=2).learners(num_learners=2)
    config.validate()
    assert config.train_batch_size_per_learner == 24 and config.total_train_batch_size == 48


def test_types_left_out_of_a_setting_keep_theirs():
    config = EconomyPPOConfig().training(reward_scale={"firm": 1.0}, networks={"firm": {"hidden": [8]}})
    assert config.reward_scale == RewardScale(consumer=5.0, firm=1.0, government=1000.0)
    assert config.networks.consumer == NetworkSpec.of("flat") and config.networks.firm.hidden == (8,)
    assert EconomyPPOConfig().reward_scale.firm == 30000.0  # a default is nobody's to change


def test_the_algorithm_builds_its_own_kind_of_configuration():
    assert isinstance(EconomyPPO.get_default_config(), EconomyPPOConfig)


@pytest.mark.parametrize(
    ("settings", "attribute", "expected"),
    [
        ({"networks": {"consumer": "equivariant"}}, "networks", {"consumer": EQUIVARIANT, "firm": FLAT}),
        ({"reward_scale": {"firm": 3.0}}, "reward_scale", {"firm": 3.0, "consumer": 5.0}),
        ({"trembles": {"price": 0.1}}, "trembles", {"price": 0.1, "firm": 0.0}),
    ],
)
def test_a_dictionary_changes_what_it_names_and_leaves_the_rest(settings, attribute, expected):
    config = EconomyPPOConfig().update_from_dict({"env_config": {"num_consumers": 6}, **settings})
    config.validate()
    assert expected.items() <= getattr(config, attribute).model_dump().items()
    again = EconomyPPOConfig().update_from_dict(config.to_dict())
    assert getattr(again, attribute) == getattr(config, attribute)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rules": "nonsense"}, "rules is"),
        ({"huber_delta": -1}, "huber_delta is -1; it must be at least 1e-12"),
        ({"use_critic": False}, "use_critic is False"),
        ({"use_gae": False}, "use_gae is False"),
        ({"networks": {"banker": "flat"}}, "networks.banker is not an agent type"),
        ({"model": {"consumer": "equivariant"}}, "give networks instead"),
        ({"env": "rbc_closed", "env_config": {"open_economy": True}}, "open_economy is True but env is rbc_closed"),
    ],
)
def test_a_dictionary_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        EconomyPPOConfig().update_from_dict(settings).validate()


def test_a_deviator_from_a_dictionary_has_a_policy():
    config = EconomyPPOConfig().update_from_dict({"deviator": {"type": "firm", "agent": 1}})
    assert "deviator" in config.policies
