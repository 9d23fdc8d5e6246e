"""Numbers of the economy by phase: what training plays, and what evaluation, checkpoints and learners make of it."""

from __future__ import annotations

import pytest
import torch

from rbc_marl import ConfigError, preset
from rbc_marl.curriculum import Phase, build_curriculum
from rbc_marl.economy.own_choices import Market
from rbc_marl.policies.logit_response import own_values
from rbc_marl.policies.saved import load_policies
from tests.rllib.small import ECONOMY, built, changed, plain_config, small_config, weights_of

pytestmark = pytest.mark.usefixtures("ray_running")

OPEN = preset("open", **ECONOMY, initial_inventory=20.0)
COURSES = {
    "export_quota": {"from": 50, "to": 0, "begin": 1, "end": 3},
    "crra": {"from": 0.5, "end": 2},
    "consumer_grant": {"from": 5, "to": 400, "end": 4},
}
CURRICULUM = {"economy": COURSES, "labour_disutility": {"decay": 2.0}}


def moving(**settings):
    return small_config(curriculum=CURRICULUM, economy={"initial_inventory": 20.0}, **settings)


def phase_of(iteration) -> Phase:
    return build_curriculum(CURRICULUM, OPEN).phase(iteration)


def played(algorithm):
    return algorithm.env_runner._collector.env.parameters


def test_training_plays_the_numbers_of_the_phase_and_results_say_them():
    with built(moving()) as algorithm:
        exports = []
        for iteration in range(4):
            result = algorithm.train()
            phase, exports = phase_of(iteration), [*exports, result["env_runners"]["exports"]]
            # The economy's own are none in their place.
            expected = {n: x for n, x in phase.parameters().items() if x != getattr(OPEN, n, 1.0)}
            assert played(algorithm) == expected
            assert ("crra" in expected) == (iteration < 2)
            coming = phase_of(iteration + 1)  # results tell the phase that comes next
            assert result["curriculum"]["export_quota"] == coming.economy["export_quota"]
            assert f"export_quota {coming.economy['export_quota']:g}" in result["curriculum"]["phase"]
    assert exports[0] > 0.0 and exports[3] == 0.0


def test_evaluation_and_saved_policies_have_the_economys_own_numbers(tmp_path):
    config = moving().evaluation(evaluation_interval=1, evaluation_duration=8, evaluation_num_env_runners=0)
    with built(config) as algorithm:
        for _ in range(4):
            result = algorithm.train()
        assert result["env_runners"]["exports"] == 0.0
        assert result["evaluation"]["env_runners"]["exports"] > 0.0
        evaluated = algorithm.eval_env_runner._collector.env
        assert evaluated.parameters == {"labour_disutility_scale": phase_of(4).labour_disutility}
        algorithm.save_to_path(tmp_path / "checkpoint")
    assert load_policies(tmp_path / "checkpoint").config == OPEN


@pytest.mark.parametrize("stop_at", [1, 2])
def test_a_run_resumed_on_the_way_ends_as_an_uninterrupted_one_bit_for_bit(tmp_path, stop_at):
    with built(moving(logit_response=True)) as algorithm:
        for iteration in range(4):
            algorithm.train()
            if iteration + 1 == stop_at:
                algorithm.save_to_path(tmp_path / "checkpoint")
        expected = weights_of(algorithm)
    with built(moving(logit_response=True)) as resumed:
        resumed.restore_from_path(str(tmp_path / "checkpoint"))
        for _ in range(4 - stop_at):
            resumed.train()
        assert changed(expected, weights_of(resumed)) == set()


def test_consumers_value_their_choices_at_the_numbers_that_were_played():
    with built(moving(logit_response=True, economies=3)) as algorithm:
        (rollout,) = algorithm.env_runner.sample()
        phase, shape = phase_of(0), (OPEN.horizon, 3)
        numbers = {n: x for n, x in phase.parameters().items() if x != getattr(OPEN, n, 1.0)}
        assert {name: x.shape for name, x in rollout.parameters.items()} == dict.fromkeys(numbers, shape)
        learner = algorithm.learner_group._learner
        learner._rollouts_to_batch.prepare(0, frozenset({"consumer"}))
        batch = learner._rollouts_to_batch(rl_module=learner.module, batch={}, episodes=[rollout])["consumer"]
        market, actions = Market(**rollout.market), rollout.actions["consumer"]
        expected = own_values(OPEN.replace(crra=phase.economy["crra"]), market, actions, algorithm.config.gamma)
        torch.testing.assert_close(batch["consumption"], expected.consumption, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(batch["later"], expected.later, rtol=1e-4, atol=1e-7)
        others = own_values(OPEN, market, actions, algorithm.config.gamma)
        assert (batch["consumption"] - others.consumption).abs().max() > 0.1


def test_rollouts_of_several_slabs_are_joined_and_cut_with_their_numbers(monkeypatch):
    monkeypatch.setattr("rbc_marl.rllib.env_runner.CPU_SLAB", 2)
    with built(moving(logit_response=True)) as algorithm:
        first, second = algorithm.env_runner.sample()
        joined = type(first).join([first, second])
        assert joined.parameters["crra"].shape == (OPEN.horizon, 4)
        assert joined[: 2 * OPEN.horizon].parameters["crra"].shape == (OPEN.horizon, 2)


class Shrinking:
    """A curriculum of one's own that changes the economy."""

    def phase(self, iteration: int) -> Phase:
        return Phase(economy={"export_quota": 10.0 - iteration})


def test_a_curriculum_of_ones_own_can_change_the_economy():
    with pytest.raises(ConfigError, match=r"phase\(11\)\.economy\.export_quota is -1\.0; it must be at least 0"):
        small_config(curriculum="tests.rllib.test_economy_phases.Shrinking").validate()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*Overriding environment rllib-multi-agent-env-v0:UserWarning")
def test_rllibs_own_ppo_plays_the_numbers_of_the_phase_and_evaluates_without_them():
    config = plain_config(CURRICULUM)
    config.evaluation(evaluation_interval=1, evaluation_duration=1, evaluation_num_env_runners=0)

    def numbers(runner):
        return runner.env.envs[0].unwrapped.par_env._controlled.economy.parameters

    with built(config) as algorithm:
        for iteration in range(3):
            phase = phase_of(iteration)
            expected = {n: x for n, x in phase.parameters().items() if x != getattr(OPEN, n, 1.0)}
            assert numbers(algorithm.env_runner) == expected
            algorithm.train()
            scale = phase_of(iteration + 1).labour_disutility
            assert numbers(algorithm.eval_env_runner) == {"labour_disutility_scale": scale}
