"""Numbers that are infinite or NaN end a run at once, are never saved and never taken up again."""

from __future__ import annotations

import math

import pytest
import torch
from ray.rllib.callbacks.callbacks import RLlibCallback

from rbc_marl.errors import NonFiniteError
from rbc_marl.rllib.finite import check_finite_results
from tests.rllib.small import built, small_config

pytestmark = pytest.mark.usefixtures("ray_running")


def spoil(learner):
    learner.module["firm"].unwrapped().network.action_head.weight.data[0, 0] = math.nan


class SpoilsAWeight(RLlibCallback):
    """One NaN weight after the first iteration."""

    def on_train_result(self, *, algorithm, **kwargs):
        if algorithm.training_iteration == 1:
            algorithm.learner_group.foreach_learner(spoil)


class SpoilsAReward(RLlibCallback):
    """One NaN reward of one firm in one period."""

    def on_sample_end(self, *, samples, **kwargs):
        samples[0].rewards["firm"][1, 2, 0] = math.nan


def error_of(config, iterations=3):
    with built(config) as algorithm, pytest.raises(NonFiniteError) as caught:
        for _ in range(iterations):
            algorithm.train()
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "start"),
    [
        ({"economy": {"interest_rate": 1000, "horizon": 30}}, "training stops in iteration 1: policy_loss of the"),
        ({"lr": 1e30}, "training stops in iteration 1: policy_loss of the"),
    ],
)
def test_training_stops_at_the_first_number_that_is_not_finite(settings, start):
    assert error_of(small_config(**settings)).startswith(start)


def test_a_return_that_is_not_finite_stops_training_and_no_return_does_not():
    returns = {"consumer": 1.0, "firm": math.inf}
    results = {"env_runners": {"num_env_steps_sampled": 16, "module_episode_returns_mean": returns}}
    with pytest.raises(NonFiniteError, match=r"^training stops in iteration 7: the mean return of the firm is inf"):
        check_finite_results(results, 7)
    results["env_runners"]["num_env_steps_sampled"] = 0  # all env runners are lost: there are no numbers to judge
    check_finite_results(results, 7)


def test_a_weight_that_becomes_nan_stops_training_in_the_next_iteration_and_names_its_module():
    message = error_of(small_config().callbacks(SpoilsAWeight))
    assert message.startswith("training stops in iteration 2: policy_loss of the firm is nan")


def test_a_reward_that_is_nan_stops_training_in_its_iteration():
    message = error_of(small_config().callbacks(SpoilsAReward), iterations=1)
    assert message.startswith("training stops in iteration 1: policy_loss of the firm is nan")


def test_weights_that_are_not_finite_are_neither_saved_nor_restored(tmp_path, monkeypatch):
    with built(small_config()) as algorithm:
        algorithm.learner_group.foreach_learner(spoil)
        with pytest.raises(NonFiniteError, match=r"^no checkpoint is saved: network.action_head.weight of the firm"):
            algorithm.save_to_path(tmp_path / "bad")
        assert not (tmp_path / "bad").exists()
        with pytest.raises(NonFiniteError, match=r"^the policies cannot be saved: action_head.weight of the firm"):
            algorithm.save_policies(tmp_path / "bad")
        assert not (tmp_path / "bad").exists()
        monkeypatch.setattr(type(algorithm), "_check_finite_weights", lambda *_: None)  # as if of an older version
        monkeypatch.setattr("rbc_marl.policies.saved.check_finite_weights", lambda *_: None)
        algorithm.save_to_path(tmp_path / "bad")
    monkeypatch.undo()
    with built(small_config()) as algorithm:
        with pytest.raises(NonFiniteError, match=r"bad cannot be restored: network.action_head.weight of the firm"):
            algorithm.restore_from_path(tmp_path / "bad")
        with pytest.raises(NonFiniteError, match="cannot be restored"):
            type(algorithm).from_checkpoint(str(tmp_path / "bad"))


def test_types_that_do_not_learn_have_no_losses_to_stop_at(tmp_path):
    with built(small_config()) as algorithm:
        algorithm.train()
        algorithm.save_to_path(tmp_path / "saved")
    with built(small_config().multi_agent(policies_to_train=["firm"])) as algorithm:
        algorithm.restore_from_path(tmp_path / "saved")
        result = algorithm.train()  # RLlib reports NaN of those that did not learn this time
        assert math.isnan(result["learners"]["consumer"]["policy_loss"])
        assert torch.isfinite(torch.tensor(float(result["learners"]["firm"]["policy_loss"])))
