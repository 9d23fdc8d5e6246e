"""Who learns: what the run asks for, what its curriculum adds, and iterations in which nobody does."""

from __future__ import annotations

import pytest

from rbc_marl import ConfigError
from rbc_marl.config import AGENT_TYPES
from rbc_marl.curriculum import NAMED_CURRICULA, Phase, parse_curriculum
from rbc_marl.rllib.algorithm import EconomyPPO
from rbc_marl.rllib.callbacks import curriculum_callback
from tests.rllib.small import built, changed, runner_weights_of, small_config, weights_of
from tests.rllib.test_phases import parameters, plain_config

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


@pytest.mark.long
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


def test_the_curriculum_of_a_callback_is_followed():
    with built(small_config(lr=1e-2).callbacks(curriculum_callback(LATE))) as algorithm:
        assert [learnt(algorithm) for _ in range(3)] == [set(), set(), set(AGENT_TYPES)]
        assert algorithm.config.curriculum == parse_curriculum(LATE)


def test_a_curriculum_that_is_given_twice_must_be_the_same():
    small_config(curriculum="paper_short").callbacks(curriculum_callback("paper_short")).validate()
    small_config(curriculum=NAMED_CURRICULA["paper_short"]).callbacks(curriculum_callback("paper_short")).validate()
    with pytest.raises(ConfigError, match="curriculum is given twice"):
        small_config(curriculum=LATE).callbacks(curriculum_callback("paper_short")).validate()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*Overriding environment rllib-multi-agent-env-v0:UserWarning")
@pytest.mark.parametrize(
    "policies", [["firm", "government"], lambda module_id, batch: module_id != "consumer"], ids=["names", "function"]
)
def test_on_the_plain_path_a_curriculum_lets_learn_only_those_whom_the_run_asks_for(policies):
    config = plain_config({"start": {"firm": 2, "government": 3}}).multi_agent(policies_to_train=policies)
    seen = []
    with built(config) as algorithm:
        for _ in range(4):
            before = parameters(weights_of(algorithm))
            algorithm.train()
            seen.append(changed(before, parameters(weights_of(algorithm))))
    assert seen == [set(), set(), {"firm"}, {"firm", "government"}]
