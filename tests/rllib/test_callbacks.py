"""Curricula on RLlib's own path."""

from __future__ import annotations

import pytest

from rbc_marl.config import AGENT_TYPES
from tests.rllib.small import STEPS, built, changed, copied, plain_config

pytestmark = [
    pytest.mark.usefixtures("ray_running"),
    pytest.mark.filterwarnings("ignore:.*Overriding environment rllib-multi-agent-env-v0:UserWarning"),
]


@pytest.mark.slow
def test_a_schedule_of_rllibs_own_goes_on_where_it_is_once_somebody_learns():
    config = plain_config({"start": {"consumer": 1, "firm": 1, "government": 1}})
    config.training(lr=[[0, 1e-3], [4 * STEPS, 2e-3]])
    with built(config) as algorithm:
        learner = algorithm.learner_group._learner
        optimizers = [learner.get_optimizer(module_id) for module_id in AGENT_TYPES]
        assert [learner._get_optimizer_lr(optimizer) for optimizer in optimizers] == [0.0] * 3
        algorithm.train()
        rates = [learner._get_optimizer_lr(optimizer) for optimizer in optimizers]
        assert rates == pytest.approx([1.25e-3] * 3)


COMMON = {"begin": 1, "end": 3, "floor": 0.1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("learning_rate", "factors"),
    [
        (COMMON, [0.1, 0.1, 0.1]),
        pytest.param([{**COMMON, "types": ["consumer"]}], [0.1, 1.0, 1.0], marks=pytest.mark.long),
    ],
)
def test_a_phase_holds_for_every_update_of_an_iteration(learning_rate, factors):
    curriculum = {"start": {"consumer": 1, "firm": 1, "government": 1}, "learning_rate": learning_rate}
    config = plain_config(curriculum).reporting(min_sample_timesteps_per_iteration=3 * STEPS)
    with built(config) as algorithm:
        learner = algorithm.learner_group._learner
        optimizers = [learner.get_optimizer(module_id) for module_id in AGENT_TYPES]
        before = copied(algorithm.learner_group.get_weights())
        algorithm.train()  # three updates while nobody learns yet
        assert changed(before, copied(algorithm.learner_group.get_weights())) == set()
        for _ in range(3):
            algorithm.train()
            rates = [learner._get_optimizer_lr(optimizer) for optimizer in optimizers]
            learner.after_gradient_based_update(timesteps={})
            assert [learner._get_optimizer_lr(optimizer) for optimizer in optimizers] == rates
        assert rates == pytest.approx([1e-3 * factor for factor in factors])
