"""Who learns: what the run asks for, what its curriculum adds, and iterations in which nobody does."""

from __future__ import annotations

import pytest

from rbc_marl.config import AGENT_TYPES
from rbc_marl.curriculum import Phase
from rbc_marl.rllib.algorithm import EconomyPPO
from tests.rllib.small import built, changed, runner_weights_of, small_config, weights_of

pytestmark = pytest.mark.usefixtures("ray_running")

LATE = {"start": {"consumer": 2, "firm": 2, "government": 2}}


class Nobody:
    """A curriculum in which nobody learns in the first two iterations."""

    def phase(self, iteration: int) -> Phase:
        return Phase(learning=frozenset(AGENT_TYPES if iteration >= 2 else ()))


def asked(policies, **settings):
    return small_config(minibatch_size=6, lr=1e-2, **settings).multi_agent(policies_to_train=policies)


def learnt(algorithm):
    """Modules whose weights an iteration changes; the env runner acts with them afterwards."""
    before = weights_of(algorithm)
    result = algorithm.train()
    after = weights_of(algorithm)
    acting = runner_weights_of(algorithm)
    assert all((acting[m][k] == after[m][k]).all() for m in acting for k in acting[m])
    assert result["env_runners"]["num_env_steps_sampled"] == 16
    return changed(before, after)


@pytest.mark.parametrize(
    ("policies", "curriculum", "later"),
    [
        (None, LATE, set(AGENT_TYPES)),
        (None, Nobody(), set(AGENT_TYPES)),
        (["firm"], {"start": {"firm": 2}}, {"firm"}),
    ],
)
def test_an_iteration_in_which_nobody_learns_leaves_all_weights_and_training_goes_on(policies, curriculum, later):
    with built(asked(policies, curriculum=curriculum)) as algorithm:
        assert [learnt(algorithm) for _ in range(4)] == [set(), set(), later, later]


@pytest.mark.slow
def test_several_learners_wait_together_while_nobody_learns():
    config = asked(None, curriculum=LATE).learners(num_learners=2, num_cpus_per_learner=0.5)
    with built(config) as algorithm:
        assert [learnt(algorithm) for _ in range(3)] == [set(), set(), set(AGENT_TYPES)]


def test_the_run_decides_who_learns_and_not_the_checkpoint_that_it_starts_from(tmp_path):
    with built(asked(None)) as algorithm:
        assert learnt(algorithm) == set(AGENT_TYPES)
        algorithm.save_to_path(tmp_path)
    with built(asked(["firm"])) as algorithm:
        algorithm.restore_from_path(tmp_path)
        assert learnt(algorithm) == {"firm"}
        algorithm.save_to_path(tmp_path / "of_firms")
    algorithm = EconomyPPO.from_checkpoint(str(tmp_path / "of_firms"))  # this is the run itself, settings and all
    try:
        assert learnt(algorithm) == {"firm"}
    finally:
        algorithm.stop()
