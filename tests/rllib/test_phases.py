"""Curricula in training: masks, stages, trembles and subsets, also after a restore and with replaced workers."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import ray
import torch
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME

from rbc_marl import ConfigError, preset
from rbc_marl.analysis.rollouts import evaluate
from rbc_marl.choices import government_mask
from rbc_marl.curriculum import Phase, build_curriculum
from rbc_marl.experiments.file import load_experiments
from rbc_marl.policies.distributions import MASKED_LOGIT
from rbc_marl.policies.saved import load_policies
from rbc_marl.rllib.callbacks import CurriculumCallback, curriculum_callback
from tests.rllib.small import ECONOMY, STEPS, built, changed, copied, plain_config, small_config, weights_of

pytestmark = pytest.mark.usefixtures("ray_running")

CONFIGS = Path(__file__).parents[2] / "rllib_configs"
CURRICULUM = {
    "start": {"firm": 2, "government": 4},
    "prices": {"around": 1000, "end": 4},
    "wages": {"around": 22, "end": 4},
    "taxes": {"begin": 2, "end": 6},
    "labour_disutility": {"decay": 2.0},
    "entropy": {"decay": 2.0},
    "learning_rate": {"begin": 3, "end": 6},
}
OPEN = preset("open", **ECONOMY)


def staged(**settings):
    return small_config(**{"curriculum": CURRICULUM, "lr": 1e-2, "entropy_coeff": 0.4, **settings})


def phase_of(iteration) -> Phase:
    return build_curriculum(CURRICULUM, OPEN).phase(iteration)


def allowed(modules) -> dict[str, torch.Tensor]:
    """What the masks of firms and of the government allow now."""
    return {t: modules[t].unwrapped().network.log_mask > MASKED_LOGIT / 2 for t in ("firm", "government")}


def parameters(weights):
    """Weights without masks, which are set, not learned."""
    return {t: {n: x for n, x in named.items() if "log_mask" not in n} for t, named in weights.items()}


class Recorder(CurriculumCallback):
    """Remembers what was sampled."""

    rollouts: list = []  # noqa: RUF012 - shared on purpose

    def on_sample_end(self, *, samples, **kwargs):
        Recorder.rollouts.append(samples)


def test_masks_are_the_same_when_acting_and_when_learning_and_no_masked_choice_is_taken():
    Recorder.rollouts = []
    with built(staged().callbacks(Recorder)) as algorithm:
        learner = algorithm.learner_group._learner
        for iteration in range(7):
            algorithm.train()
            expected = phase_of(iteration).masks(OPEN)
            for modules in (algorithm.env_runner.module, learner.module):
                # The runner holds the weights of the update already, and with them the learner's mask.
                assert all(torch.equal(mask, expected[t]) for t, mask in allowed(modules).items())
            for agent_type, mask in expected.items():
                for rollout in Recorder.rollouts[iteration]:
                    assert mask[rollout.actions[agent_type].long()].all()


def test_types_keep_their_weights_bit_for_bit_until_their_stage_and_then_learn():
    with built(staged()) as algorithm:
        for iteration in range(6):
            before = parameters(weights_of(algorithm))
            algorithm.train()
            assert changed(before, parameters(weights_of(algorithm))) == phase_of(iteration).learning


def test_fixed_taxes_are_played_in_training_and_by_the_policies_that_are_saved(tmp_path):
    fixed = {"begin": 1, "end": 3, "fixed": {"income": 0.4, "corporate": 0.8}}
    with built(staged(curriculum={"taxes": fixed})) as algorithm:
        before = parameters(weights_of(algorithm))
        taxes = [algorithm.train()["env_runners"] for _ in range(4)]
        assert changed(before, parameters(weights_of(algorithm))) == {"consumer", "firm"}
        algorithm.save_to_path(tmp_path / "checkpoint")
    # A rate counts from the period after it is set, and an episode starts without taxes.
    in_force = (OPEN.horizon - 1) / OPEN.horizon
    for tax, rates in {"income_tax": [0.0, 0.0, 0.4, 0.4], "corporate_tax": [0.0, 0.0, 0.4, 0.8]}.items():
        assert [each[tax] for each in taxes] == pytest.approx([rate * in_force for rate in rates])
    means = evaluate(load_policies(tmp_path / "checkpoint"), 8).means
    assert means["income_tax"] == pytest.approx(0.4 * in_force)
    assert means["corporate_tax"] == pytest.approx(0.8 * in_force)


class OtherTaxesEachIteration:
    """A curriculum in which nothing but the fixed rates changes."""

    def phase(self, iteration: int) -> Phase:
        return Phase(fixed_taxes=(0.2 * iteration, 0.0))


def test_fixed_taxes_can_change_from_one_iteration_to_the_next():
    in_force = (OPEN.horizon - 1) / OPEN.horizon
    with built(staged(curriculum="tests.rllib.test_phases.OtherTaxesEachIteration")) as algorithm:
        taxes = [algorithm.train()["env_runners"]["income_tax"] for _ in range(3)]
    assert taxes == pytest.approx([0.0, 0.2 * in_force, 0.4 * in_force])


def test_with_fixed_taxes_it_makes_no_difference_what_welfare_the_government_would_maximise():
    def weights(welfare):
        curriculum = {"taxes": {"fixed": {"income": 0.0, "corporate": 0.8}}}
        with built(staged(curriculum=curriculum, economy={"welfare": welfare})) as algorithm:
            for _ in range(2):
                algorithm.train()
            return parameters(weights_of(algorithm))

    assert changed(weights("total"), weights("consumers")) == set()


def test_results_say_where_the_run_stands():
    with built(staged()) as algorithm:
        results = [algorithm.train() for _ in range(5)]
    assert "consumer learning" in results[0]["curriculum"]["phase"]
    assert "all learn" in results[4]["curriculum"]["phase"]
    assert results[4]["curriculum"]["highest_tax"] == phase_of(5).highest_tax  # of the iteration that comes next


OWN_DECAYS = {
    "learning_rate": {"begin": 1, "end": 3, "from_start": True},
    "entropy": [{"decay": 2.0}, {"begin": 4, "end": 6, "floor": 0.01, "types": ["consumer", "firm"]}],
}


@pytest.mark.parametrize("changes", [{}, OWN_DECAYS], ids=["common", "by type"])
def test_learning_rates_and_entropy_weights_are_those_of_the_phase(changes):
    curriculum = build_curriculum({**CURRICULUM, **changes}, OPEN)
    with built(staged(curriculum={**CURRICULUM, **changes})) as algorithm:
        for iteration in range(7):
            learners = algorithm.train()["learners"]
            phase = curriculum.phase(iteration)
            learner = algorithm.learner_group._learner
            for agent_type in phase.learning:
                rate = learners[agent_type]["default_optimizer_learning_rate"]
                assert rate == pytest.approx(1e-2 * phase.rate(agent_type))
                assert learner._entropy_weight(agent_type) == pytest.approx(0.4 * phase.entropy[agent_type])


def test_labour_costs_what_the_phase_says():
    with built(staged()) as algorithm:
        for iteration in range(3):
            algorithm.train()
            scale = algorithm.env_runner._collector.env.labour_disutility_scale
            assert scale == phase_of(iteration).labour_disutility


@pytest.mark.parametrize("stop_at", [1, 3, 5])
def test_a_run_resumed_within_a_stage_ends_as_an_uninterrupted_one_bit_for_bit(tmp_path, stop_at):
    settings = {"agents_per_update": {"consumer": 3}, "trembles": {"price": 0.3}}
    with built(staged(**settings)) as algorithm:
        for iteration in range(7):
            algorithm.train()
            if iteration + 1 == stop_at:
                algorithm.save_to_path(tmp_path / "checkpoint")
        expected = weights_of(algorithm)
    with built(staged(**settings)) as resumed:
        resumed.restore_from_path(str(tmp_path / "checkpoint"))
        for _ in range(7 - stop_at):
            resumed.train()
        assert changed(expected, weights_of(resumed)) == set()


def test_the_first_rollout_after_a_restore_is_masked_as_its_phase_says(tmp_path):
    with built(staged()) as algorithm:
        algorithm.train()
        algorithm.save_to_path(tmp_path / "checkpoint")
    with built(staged()) as resumed:
        resumed.restore_from_path(str(tmp_path / "checkpoint"))
        assert resumed.env_runner.phase() == phase_of(1)
        (rollout,) = resumed.env_runner.sample()
        mask = phase_of(1).masks(OPEN)["firm"]
        assert not mask.all()
        assert mask[rollout.actions["firm"].long()].all()


def test_evaluation_is_masked_as_training_is():
    config = staged().evaluation(evaluation_interval=1, evaluation_duration=8, evaluation_num_env_runners=0)
    with built(config) as algorithm:
        result = algorithm.train()
        assert result["evaluation"]["env_runners"]["income_tax"] == 0.0
        expected = phase_of(1).masks(OPEN)  # evaluated after the first iteration, in the phase of the second
        assert all(torch.equal(m, expected[t]) for t, m in allowed(algorithm.eval_env_runner.module).items())


@pytest.mark.long
def test_remote_runners_follow_and_a_replaced_one_knows_the_phase():
    config = staged().env_runners(num_env_runners=2, num_envs_per_env_runner=4)
    config.fault_tolerance(restart_failed_env_runners=True, delay_between_env_runner_restarts_s=0)
    with built(config) as algorithm:

        def phases():
            return algorithm.env_runner_group.foreach_env_runner(lambda r: r.phase(), local_env_runner=False)

        algorithm.train()
        algorithm.train()
        assert phases() == [phase_of(2)] * 2
        ray.kill(algorithm.env_runner_group._worker_manager.actors()[1], no_restart=False)
        algorithm.train()
        deadline = time.monotonic() + 600
        while algorithm.env_runner_group.num_healthy_remote_workers() < 2 and time.monotonic() < deadline:
            algorithm.train()
        algorithm.train()
        steps = algorithm._env_steps()
        assert phases() == [phase_of(steps // (2 * STEPS))] * 2


@pytest.mark.long
def test_several_learners_follow_the_same_curriculum():
    config = staged().learners(num_learners=2).env_runners(num_env_runners=0)
    with built(config) as algorithm:
        for iteration in range(3):
            before = parameters(weights_of(algorithm))
            algorithm.train()
            assert changed(before, parameters(weights_of(algorithm))) == phase_of(iteration).learning


class OnlyGovernment:
    """A curriculum of one's own."""

    def phase(self, iteration: int) -> Phase:
        return Phase(learning=frozenset({"government"}), random=frozenset({"consumer"}), highest_tax=0.2)


def test_a_curriculum_of_ones_own_can_be_named():
    Recorder.rollouts = []
    config = staged(curriculum="tests.rllib.test_phases.OnlyGovernment").callbacks(Recorder)
    with built(config) as algorithm:
        before = parameters(weights_of(algorithm))
        result = algorithm.train()
        assert changed(before, parameters(weights_of(algorithm))) == {"government"}
    assert result["env_runners"]["income_tax"] <= 0.2
    (rollout,) = Recorder.rollouts[0]
    heads = torch.tensor([11.0, 11.0, 5.0, 2.0]).log().sum()
    assert torch.allclose(rollout.logp["consumer"], -heads)  # uniform choices


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"agents_per_update": {"banks": 2}}, "agents_per_update.banks is not an agent type"),
        ({"agents_per_update": {"consumer": 0}}, "agents_per_update.consumer is 0"),
        ({"curriculum": {"prices": {"around": 1, "end": 2}}}, "curriculum.prices.around"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ConfigError, match="(?s).*" + message.replace(".", r"\.").replace("[", r"\[")):
        staged(**settings).validate()


def published(name):
    """A configuration with the published schedule: a small economy, or a shipped file at full size."""
    if not name.endswith(".yaml"):
        return small_config(name, curriculum="paper_short", lr=1e-3)
    (experiment,) = load_experiments(CONFIGS / name)
    return experiment.config.copy(copy_frozen=False)


@pytest.mark.parametrize(
    "name",
    [
        "rbc_open",
        "rbc_closed",
        pytest.param("open_rbc_paper.yaml", marks=pytest.mark.slow),
        pytest.param("closed_rbc_paper.yaml", marks=pytest.mark.long),
    ],
)
def test_every_phase_of_the_published_schedule_runs(name):
    with built(published(name)) as algorithm:
        steps = algorithm.config.total_train_batch_size
        for iteration in (0, 15000, 30000, 45000, 60000, 199000):
            algorithm.env_runner.set_state({NUM_ENV_STEPS_SAMPLED_LIFETIME: iteration * steps})
            rollouts = algorithm.env_runner.sample()
            before = parameters(weights_of(algorithm))
            algorithm.learner_group.update(
                episodes=rollouts, timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: (iteration + 1) * steps}
            )
            after = parameters(weights_of(algorithm))
            phase = build_curriculum("paper_short", OPEN).phase(iteration)
            assert changed(before, after) == phase.learning
            assert all(x.isfinite().all() for named in after.values() for x in named.values())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*Overriding environment rllib-multi-agent-env-v0:UserWarning")
def test_rllibs_own_ppo_follows_a_curriculum_through_the_callback(tmp_path):
    with built(plain_config(CURRICULUM)) as algorithm:
        for iteration in range(5):
            phase = phase_of(iteration)
            assert all(torch.equal(m, phase.masks(OPEN)[t]) for t, m in allowed(algorithm.env_runner.module).items())
            env = algorithm.env_runner.env.envs[0].unwrapped.par_env
            assert env.labour_disutility_scale == phase.labour_disutility
            before = parameters(copied(algorithm.learner_group.get_weights()))
            algorithm.train()
            assert changed(before, parameters(copied(algorithm.learner_group.get_weights()))) == phase.learning
            if iteration == 2:
                algorithm.save_to_path(tmp_path / "checkpoint")
    with built(plain_config(CURRICULUM)) as resumed:
        resumed.restore_from_path(str(tmp_path / "checkpoint"))
        CurriculumCallback.on_checkpoint_loaded(curriculum_callback(CURRICULUM)(), algorithm=resumed)
        mask = government_mask(OPEN, phase_of(3).highest_tax)
        assert torch.equal(allowed(resumed.env_runner.module)["government"], mask)


@pytest.mark.filterwarnings("ignore:.*Overriding environment rllib-multi-agent-env-v0:UserWarning")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "restricts what the firm may choose, but module firm takes no mask; it restricts what the government"),
        ({"prices": None, "wages": None, "taxes": None, "before": {"firm": "random"}}, "lets the firm act at random"),
    ],
)
def test_a_curriculum_that_rllibs_own_modules_cannot_follow_is_refused(changes, message):
    config = plain_config({**CURRICULUM, **changes}).copy(copy_frozen=False).rl_module(rl_module_spec=None)
    with pytest.raises(ConfigError, match=message), built(config):
        pass
