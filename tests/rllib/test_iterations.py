"""How long an iteration is, and that acting and learning agree where in the curriculum it stands."""

from __future__ import annotations

import time

import pytest
import ray
import torch
from ray.rllib.callbacks.callbacks import RLlibCallback

from rbc_marl import ConfigError, preset
from rbc_marl.curriculum import Phase, build_curriculum
from rbc_marl.rllib.algorithm import EconomyPPO
from tests.rllib.small import ECONOMY, built, changed, small_config, weights_of

pytestmark = pytest.mark.usefixtures("ray_running")

STEPS = 16  # env steps of an iteration: 4 economies of 4 periods
CURRICULUM = {
    "start": {"firm": 2, "government": 4},
    "prices": {"around": 1000, "end": 6},
    "wages": {"around": 22, "end": 6},
    "taxes": {"begin": 1, "end": 8},
    "labour_disutility": {"decay": 5.0},
}
OPEN = preset("open", **ECONOMY)


def staged(**settings):
    return small_config(**{"curriculum": CURRICULUM, **settings})


def phase_of(iteration) -> Phase:
    return build_curriculum(CURRICULUM, OPEN).phase(iteration)


def log_masks(modules):
    return {t: modules[t].unwrapped().network.log_mask.clone() for t in ("firm", "government")}


class Recorder(RLlibCallback):
    """Remembers what was sampled, and under which masks."""

    sampled: list = []  # noqa: RUF012 - shared on purpose

    def on_sample_end(self, *, env_runner, samples, **kwargs):
        Recorder.sampled.append((log_masks(env_runner.module), samples))


@pytest.fixture
def sampled():
    Recorder.sampled = []
    return Recorder.sampled


def test_what_is_played_in_several_goes_is_played_and_learned_from_in_one_phase(sampled, monkeypatch):
    with built(staged().callbacks(Recorder)) as algorithm:
        runner, learner = algorithm.env_runner, algorithm.learner_group._learner
        whole = runner.sample
        goes = []

        def half_lost():
            """As where a process is lost: every other time only half of the economies come back."""
            goes.append(2 if len(goes) % 2 == 0 else 4)
            return whole(num_episodes=goes[-1])

        monkeypatch.setattr(runner, "sample", half_lost)
        for iteration in range(4):
            sampled.clear()
            result = algorithm.train()
            assert int(result["num_env_steps_sampled_lifetime"]) == 24 * (iteration + 1)
            assert len(sampled) == 2
            for masks, rollouts in sampled:
                assert [rollout.phase_step for rollout in rollouts] == [24 * iteration]
                assert all(torch.equal(mask, log_masks(learner.module)[t]) for t, mask in masks.items())
            assert learner._phase == phase_of(24 * iteration // STEPS)


def test_env_runners_know_the_phase_after_every_update(sampled):
    config = staged().callbacks(Recorder).reporting(min_sample_timesteps_per_iteration=3 * STEPS)
    with built(config) as algorithm:
        algorithm.train()
        assert [rollouts[0].phase_step for _, rollouts in sampled] == [0, STEPS, 2 * STEPS]


def test_a_resumed_run_keeps_the_length_of_its_iterations(tmp_path):
    with built(staged()) as algorithm:
        for _ in range(3):
            algorithm.train()
        algorithm.save_to_path(tmp_path / "first")
        state = algorithm.get_state()

    def assert_goes_on(algorithm, steps):
        for _ in range(2):
            assert algorithm.env_runner.phase() == phase_of(steps // STEPS)
            result = algorithm.train()
            assert algorithm.learner_group._learner._phase == phase_of(steps // STEPS)
            steps += 12
            assert result["curriculum"]["highest_tax"] == phase_of(steps // STEPS).highest_tax

    with built(staged(economies=3)) as smaller:
        smaller.restore_from_path(str(tmp_path / "first"))
        assert_goes_on(smaller, 48)
        smaller.save_to_path(tmp_path / "second")
        smaller.set_state(state)
        assert_goes_on(smaller, 48)
    again = EconomyPPO.from_checkpoint(str(tmp_path / "second"))
    try:
        assert_goes_on(again, 72)
    finally:
        again.stop()


def test_a_state_without_a_length_leaves_that_of_the_run():
    with built(staged(economies=3)) as algorithm:
        state = algorithm.get_state()
        assert state.pop("steps_per_iteration") == 12
        state["env_runner"].pop("steps_per_iteration")
        algorithm.set_state(state)
        assert algorithm.steps_per_iteration == 12


@pytest.mark.long
def test_a_replaced_env_runner_knows_the_length_of_an_iteration_as_well(tmp_path):
    with built(staged()) as algorithm:
        algorithm.train()
        algorithm.save_to_path(tmp_path)
    config = staged(economies=1).env_runners(num_env_runners=3, num_cpus_per_env_runner=0.5)
    config.fault_tolerance(restart_failed_env_runners=True, delay_between_env_runner_restarts_s=0)
    with built(config) as algorithm:

        def lengths():
            return algorithm.env_runner_group.foreach_env_runner(
                lambda runner: runner._phases.steps_per_iteration, local_env_runner=False
            )

        assert lengths() == [12] * 3
        algorithm.restore_from_path(str(tmp_path))
        assert lengths() == [STEPS] * 3
        ray.kill(algorithm.env_runner_group._worker_manager.actors()[1], no_restart=False)
        algorithm.train()
        deadline = time.monotonic() + 600
        while algorithm.env_runner_group.num_healthy_remote_workers() < 3 and time.monotonic() < deadline:
            algorithm.train()
        assert lengths() == [STEPS] * 3


def test_a_batch_that_is_no_whole_number_of_goes_is_refused_with_a_curriculum():
    with pytest.raises(ConfigError, match="has 24 env steps; with a curriculum it must have a multiple of 16"):
        staged(train_batch_size_per_learner=24).validate()
    staged(train_batch_size_per_learner=32).validate()
    small_config(train_batch_size_per_learner=24).validate()


def test_a_batch_of_two_goes_is_one_iteration(tmp_path):
    config = staged(train_batch_size_per_learner=2 * STEPS, lr=1e-2)
    with built(config) as algorithm:
        for iteration in range(3):
            before = weights_of(algorithm)
            algorithm.train()
            after = weights_of(algorithm)
            for weights in (before, after):
                for named in weights.values():
                    named.pop("network.log_mask", None)
            assert changed(before, after) == phase_of(iteration).learning
