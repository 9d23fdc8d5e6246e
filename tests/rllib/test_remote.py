"""Env runners and learners in processes of their own."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest
import ray
import torch
from ray.rllib.callbacks.callbacks import RLlibCallback

from rbc_marl.config import AGENT_TYPES
from rbc_marl.rllib.algorithm import EconomyPPO
from rbc_marl.rllib.env_runner import EconomyEnvRunner
from rbc_marl.rllib.learner import EconomyPPOLearner
from rbc_marl.rllib.rollout import Rollout
from tests.rllib.small import built, changed, copied, small_config, trained, weights_of

pytestmark = pytest.mark.usefixtures("ray_running")

ROWS = 16


def remote_config(runners=2, **settings):
    config = small_config(minibatch_size=6, **settings)
    return config.env_runners(num_env_runners=runners, num_cpus_per_env_runner=0.5)


def remote_weights(algorithm):
    """Weights of every remote env runner."""
    states = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: runner.module.get_state(), local_env_runner=False
    )
    return [copied(state) for state in states]


def assert_acting_with(learnt, acting):
    for module_id in acting:
        for name, weight in acting[module_id].items():
            assert torch.equal(weight, learnt[module_id][name]), f"{module_id} {name}"


@pytest.mark.long
def test_remote_runners_play_act_with_what_was_learnt_and_count():
    with built(remote_config()) as algorithm:
        for iteration in (1, 2):
            before = weights_of(algorithm)
            result = algorithm.train()
            learnt = weights_of(algorithm)
            assert changed(before, learnt) == set(AGENT_TYPES)
            acting = remote_weights(algorithm)
            assert len(acting) == 2
            for weights in acting:
                assert_acting_with(learnt, weights)
            runners = result["env_runners"]
            assert int(runners["num_env_steps_sampled"]) == 2 * ROWS and int(runners["num_episodes"]) == 8
            assert int(runners["num_env_steps_sampled_lifetime"]) == iteration * 2 * ROWS
            assert int(result["learners"]["firm"]["num_module_steps_trained"]) == 2 * 2 * ROWS


@pytest.mark.long
def test_remote_runners_draw_what_local_ones_with_their_index_would():
    with built(remote_config()) as algorithm:
        drawn = algorithm.env_runner_group.foreach_env_runner(
            lambda runner: (runner.worker_index, runner.sample()[0]), local_env_runner=False
        )
        state = algorithm.env_runner_group.foreach_env_runner(lambda r: r.module.get_state(), local_env_runner=False)[0]
    assert sorted(index for index, _ in drawn) == [1, 2]
    for index, rollout in drawn:
        local = EconomyEnvRunner(remote_config(), worker_index=index)
        local.module.set_state(state)
        expected = local.sample()[0]
        for agent_type in AGENT_TYPES:
            assert torch.equal(rollout.actions[agent_type], expected.actions[agent_type])
            assert torch.equal(rollout.rewards[agent_type], expected.rewards[agent_type])
    assert not torch.equal(drawn[0][1].actions["consumer"], drawn[1][1].actions["consumer"])


@pytest.mark.long
def test_one_seed_gives_one_run_with_remote_runners_as_well():
    first, _ = trained(remote_config(), 2)
    again, _ = trained(remote_config(), 2)
    assert changed(first, again) == set()


@pytest.mark.long
def test_a_resumed_run_with_remote_runners_ends_where_an_uninterrupted_one_does(tmp_path):
    schedules = {"lr": [[0, 1e-2], [8 * ROWS, 1e-4]], "entropy_coeff": [[0, 0.5], [8 * ROWS, 0.01]]}
    with built(remote_config(**schedules)) as algorithm:
        for iteration in range(4):
            algorithm.train()
            if iteration == 1:
                algorithm.save_to_path(tmp_path)
        expected = weights_of(algorithm)
        algorithm.restore_from_path(tmp_path)  # and the same one, gone back
        for weights in remote_weights(algorithm):
            assert_acting_with(weights_of(algorithm), weights)
        for _ in range(2):
            algorithm.train()
        assert changed(expected, weights_of(algorithm)) == set()
    algorithm = EconomyPPO.from_checkpoint(str(tmp_path))
    try:
        for _ in range(2):
            algorithm.train()
        assert changed(expected, weights_of(algorithm)) == set()
    finally:
        algorithm.stop()


@pytest.mark.long
def test_a_killed_env_runner_comes_back_and_goes_on():
    config = remote_config().fault_tolerance(restart_failed_env_runners=True, delay_between_env_runner_restarts_s=0)
    with built(config) as algorithm:
        algorithm.train()
        manager = algorithm.env_runner_group._worker_manager
        ray.kill(manager.actors()[1], no_restart=False)
        result = algorithm.train()  # the other one does the work
        assert int(result["env_runners"]["num_env_steps_sampled"]) == 2 * ROWS
        deadline = time.monotonic() + 600
        while algorithm.env_runner_group.num_healthy_remote_workers() < 2 and time.monotonic() < deadline:
            result = algorithm.train()
        assert algorithm.env_runner_group.num_healthy_remote_workers() == 2
        result = algorithm.train()
        assert int(result["env_runners"]["num_env_steps_sampled"]) == 2 * ROWS
        learnt, acting = weights_of(algorithm), remote_weights(algorithm)
        for weights in acting:
            assert_acting_with(learnt, weights)
        steps = algorithm.env_runner_group.foreach_env_runner(
            lambda runner: runner.num_env_steps_sampled_lifetime, local_env_runner=False
        )
        assert steps == [int(result["env_runners"]["num_env_steps_sampled_lifetime"])] * 2


class Sizes(RLlibCallback):
    """Notes on each env runner what its callbacks see."""

    def on_sample_end(self, *, env_runner, metrics_logger, samples, **kwargs):
        metrics_logger.log_value("rollouts", len(samples), reduce="sum")


@pytest.mark.long
def test_remote_evaluation_runners_share_the_episodes_and_leave_training_alone():
    alone, _ = trained(small_config(), 2)
    config = (
        small_config()
        .callbacks(Sizes)
        .evaluation(evaluation_interval=1, evaluation_num_env_runners=2, evaluation_duration=5)
    )
    with built(config) as algorithm:
        for _ in range(2):
            result = algorithm.train()
        evaluation = result["evaluation"]["env_runners"]
        assert int(evaluation["num_episodes"]) == 5 and int(evaluation["num_env_steps_sampled"]) == 20
        assert int(evaluation["rollouts"]) == 2 and int(result["env_runners"]["rollouts"]) == 1
        assert changed(alone, weights_of(algorithm)) == set()


@pytest.mark.long
def test_fewer_evaluation_episodes_than_runners_are_played_once():
    config = small_config().evaluation(evaluation_interval=1, evaluation_num_env_runners=2, evaluation_duration=1)
    with built(config) as algorithm:
        for _ in range(2):
            assert int(algorithm.train()["evaluation"]["env_runners"]["num_episodes"]) == 1


@pytest.mark.long
def test_evaluation_can_run_beside_training():
    config = small_config().evaluation(
        evaluation_interval=1, evaluation_num_env_runners=1, evaluation_duration=3, evaluation_parallel_to_training=True
    )
    alone, _ = trained(small_config(), 2)
    with built(config) as algorithm:
        for _ in range(2):
            result = algorithm.train()
        assert int(result["evaluation"]["env_runners"]["num_episodes"]) == 3
        assert changed(alone, weights_of(algorithm)) == set()


@pytest.mark.long
def test_several_learners_take_equal_shares_and_keep_equal_weights():
    config = small_config(minibatch_size=3).learners(num_learners=2, num_cpus_per_learner=0.5)
    with built(config) as algorithm:
        before = weights_of(algorithm)
        for _ in range(2):
            result = algorithm.train()
        assert changed(before, weights_of(algorithm)) == set(AGENT_TYPES)
        states = [
            copied(r.get()) for r in algorithm.learner_group.foreach_learner(lambda learner: learner.module.get_state())
        ]
        assert len(states) == 2 and changed(*states) == set()
        # Each learner takes its half of the rows twice; the sum is reported.
        assert int(result["learners"]["firm"]["num_module_steps_trained"]) == 2 * ROWS
        algorithm.evaluate()


class PlainSteps(EconomyPPOLearner):
    """Steps along the gradient itself: Adam's first one is as long whatever the size of the gradient."""

    def configure_optimizers_for_module(self, module_id, config=None):
        parameters = self.get_parameters(self._module[module_id])
        optimizer = torch.optim.SGD(parameters)
        self.register_optimizer(
            module_id=module_id, optimizer=optimizer, params=parameters, lr_or_lr_schedule=config.lr
        )


class Summed(PlainSteps):
    """Takes the sum of the learners' gradients for their mean."""

    def postprocess_gradients(self, gradients_dict):
        gradients = super().postprocess_gradients(gradients_dict)
        return {name: gradient * self.config.num_learners for name, gradient in gradients.items()}


class Alone(PlainSteps):
    """Keeps its gradients to itself."""

    def _uncompiled_update(self, batch, **kwargs):
        with ExitStack() as stack:
            for module in self.module.values():
                stack.enter_context(module.no_sync())
            return super()._uncompiled_update(batch, **kwargs)


def value_steps(learner_class, learners):
    """How far each parameter of the value heads moves in one update."""
    # With one minibatch, equal shares and nothing standardised apart, the mean gradient is that of the whole batch.
    config = small_config(lr=0.1, num_epochs=1, grad_clip=None, vf_loss_coeff=1.0, lambda_=0.0)
    config.learners(learner_class=learner_class, num_learners=learners, num_cpus_per_learner=0.5)
    with built(config) as algorithm:
        before = weights_of(algorithm)
        algorithm.train()
        after = weights_of(algorithm)
    # Advantages, which each learner standardises for itself, do not touch the value heads.
    return {(m, k): after[m][k] - before[m][k] for m in after for k in after[m] if "value_head" in k}


@pytest.mark.long
def test_several_learners_learn_from_the_whole_batch_what_one_does():
    expected = value_steps(PlainSteps, 0)
    assert expected and all(step.abs().max() > 1e-3 for step in expected.values())

    def furthest(learner_class):
        steps = value_steps(learner_class, 2)
        return max(((steps[k] - expected[k]).norm() / expected[k].norm()).item() for k in expected)

    assert furthest(PlainSteps) < 1e-3
    # The comparison sees gradients that are summed or not exchanged.
    assert furthest(Summed) == pytest.approx(1.0, rel=1e-3) and furthest(Alone) > 0.01


@pytest.mark.long
def test_remote_learners_save_and_restore(tmp_path):
    config = small_config(minibatch_size=3).learners(num_learners=2, num_cpus_per_learner=0.5)
    with built(config) as algorithm:
        algorithm.train()
        algorithm.save_to_path(tmp_path)
        algorithm.train()
        expected = weights_of(algorithm)
        algorithm.restore_from_path(tmp_path)
        algorithm.train()
        assert changed(expected, weights_of(algorithm)) == set()


@pytest.mark.slow
def test_rollouts_of_several_runners_are_shared_out_to_learners_whole():
    rollouts = [EconomyEnvRunner(small_config(economies=4), worker_index=i).sample()[0] for i in (1, 2, 3)]
    from ray.rllib.utils.minibatch_utils import ShardEpisodesIterator

    for learners in (2, 4):
        shards = [Rollout.join(list(shard)) for shard in ShardEpisodesIterator(list(rollouts), learners, 0)]
        assert {shard.economies for shard in shards} == {12 // learners}
