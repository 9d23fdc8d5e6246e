"""Checkpoints: a run that is stopped and resumed ends where an uninterrupted one ends, bit for bit."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from ray import tune
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.tune.schedulers import PopulationBasedTraining

from rbc_marl.config import AGENT_TYPES
from rbc_marl.observations import ENCODINGS
from rbc_marl.policies.saved import load_policies
from rbc_marl.rllib.algorithm import EconomyPPO
from rbc_marl.vector_env import VectorEconomy
from tests.rllib.small import NETWORKS, built, changed, copied, runner_weights_of, small_config, weights_of

pytestmark = pytest.mark.usefixtures("ray_running")

ROWS = 16
SCHEDULES = {
    "lr": [[0, 1e-2], [2 * ROWS, 5e-3], [3 * ROWS, 1e-3], [4 * ROWS, 1e-4]],
    "entropy_coeff": [[0, 0.5], [4 * ROWS, 0.01]],
    "minibatch_size": 6,
}


def scheduled(seed=3):
    config = small_config(seed=seed, **SCHEDULES)
    return config.multi_agent(algorithm_config_overrides_per_module={"firm": {"lr": 2e-3, "entropy_coeff": 0.2}})


@pytest.fixture(scope="module")
def uninterrupted(ray_running, tmp_path_factory):
    """Weights after each of four iterations, the last result, and a checkpoint after two."""
    path = tmp_path_factory.mktemp("checkpoint")
    weights = []
    with built(scheduled()) as algorithm:
        for iteration in range(4):
            result = algorithm.train()
            weights.append(weights_of(algorithm))
            if iteration == 1:
                assert algorithm.save_to_path(path) == str(path)
                state = copy.deepcopy(algorithm.get_state())
    return {"weights": weights, "result": result, "path": path, "state": state}


def assert_goes_on(algorithm, uninterrupted):
    """Two more iterations end as the uninterrupted run did."""
    assert changed(uninterrupted["weights"][1], weights_of(algorithm)) == set()
    for iteration in (2, 3):
        result = algorithm.train()
        assert changed(uninterrupted["weights"][iteration], weights_of(algorithm)) == set(), (
            f"iteration {iteration + 1}"
        )
        assert result["env_runners"]["weights_seq_no"] == iteration  # of the weights that acted
    expected = uninterrupted["result"]
    assert result["training_iteration"] == 4
    for name in ("episode_return_mean", "hours", "num_env_steps_sampled_lifetime", "num_episodes_lifetime"):
        assert float(result["env_runners"][name]) == float(expected["env_runners"][name]), name
    for module_id in AGENT_TYPES:
        for name in (
            "total_loss",
            "entropy",
            "curr_entropy_coeff",
            "default_optimizer_learning_rate",
            "num_module_steps_trained_lifetime",
        ):
            ours, theirs = (float(r["learners"][module_id][name]) for r in (result, expected))
            assert ours == theirs, f"{module_id} {name}"


def test_the_comparison_would_notice_a_difference(uninterrupted):
    first, second = uninterrupted["weights"][2:]
    assert changed(first, second) == set(AGENT_TYPES)


def test_a_new_algorithm_from_the_checkpoint_goes_on(uninterrupted):
    algorithm = EconomyPPO.from_checkpoint(str(uninterrupted["path"]))
    try:
        assert algorithm.config.minibatch_size == 6 and algorithm.config.networks.model_dump() == NETWORKS
        assert_goes_on(algorithm, uninterrupted)
    finally:
        algorithm.stop()


def test_a_fresh_algorithm_that_restores_the_checkpoint_goes_on(uninterrupted):
    with built(scheduled()) as algorithm:
        algorithm.restore_from_path(uninterrupted["path"])
        assert_goes_on(algorithm, uninterrupted)


def test_an_algorithm_that_went_further_goes_back_to_the_checkpoint(uninterrupted):
    with built(scheduled()) as algorithm:
        for _ in range(3):
            algorithm.train()
        algorithm.restore_from_path(uninterrupted["path"])
        assert_goes_on(algorithm, uninterrupted)


def test_an_algorithm_of_another_run_takes_over_the_checkpoint(uninterrupted):
    with built(scheduled(seed=9)) as algorithm:  # as in population-based training; as many iterations on both sides
        for _ in range(2):
            algorithm.train()
        algorithm.restore_from_path(uninterrupted["path"])
        learnt, acting = weights_of(algorithm), runner_weights_of(algorithm)
        assert changed(uninterrupted["weights"][1], learnt) == set()
        assert all(torch.equal(acting[m][k], learnt[m][k]) for m in acting for k in acting[m])


def optimizer_states(algorithm):
    learner = algorithm.learner_group._learner
    return {module_id: learner.get_optimizer(module_id).state_dict() for module_id in AGENT_TYPES}


def test_the_optimizers_come_back_exactly_and_stay_fused(uninterrupted):
    with built(scheduled()) as algorithm, built(scheduled()) as restored:
        algorithm.restore_from_path(uninterrupted["path"])
        algorithm.train()
        restored.set_state(copy.deepcopy(algorithm.get_state()))
        expected, actual = optimizer_states(algorithm), optimizer_states(restored)
    for module_id in AGENT_TYPES:
        assert actual[module_id]["param_groups"] == expected[module_id]["param_groups"]
        assert actual[module_id]["param_groups"][0]["fused"] is True
        ours, theirs = actual[module_id]["state"], expected[module_id]["state"]
        assert ours.keys() == theirs.keys() and len(ours) > 0
        for index in ours:
            assert set(ours[index]) == {"step", "exp_avg", "exp_avg_sq"}
            for name, value in ours[index].items():
                assert torch.equal(value, theirs[index][name]) and value.dtype == theirs[index][name].dtype, name


@pytest.mark.parametrize("iterations", [0, 3])
def test_a_state_in_memory_goes_on_as_well(uninterrupted, iterations):
    with built(scheduled()) as algorithm:
        for _ in range(iterations):
            algorithm.train()
        algorithm.set_state(copy.deepcopy(uninterrupted["state"]))
        assert_goes_on(algorithm, uninterrupted)


def test_saving_changes_nothing(uninterrupted, tmp_path):
    with built(scheduled()) as algorithm:
        for iteration in range(3):
            algorithm.train()
            torch.rand(5)
            algorithm.save_to_path(tmp_path / str(iteration))
        assert changed(uninterrupted["weights"][2], weights_of(algorithm)) == set()


def test_a_checkpoint_has_a_place_of_its_own_where_none_is_given():
    with built(small_config()) as algorithm:
        first, second = algorithm.save_to_path(), algorithm.save_to_path()
        assert first != second and load_policies(first).config == load_policies(second).config


def test_the_checkpoint_holds_the_policies_as_plain_data(uninterrupted):
    path = uninterrupted["path"]
    assert {f.name for f in (path / "policies").iterdir()} == {f"{t}.safetensors" for t in AGENT_TYPES}
    index = json.loads((path / "policies.json").read_text())
    assert index["info"] == {"training_iteration": 2, "env_steps": 2 * ROWS, "seed": 3, "rules": "best"}
    assert index["networks"] == NETWORKS and index["economy"]["num_consumers"] == 6


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_saved_policies_think_as_the_learner_does(encoding, tmp_path):
    with built(small_config(economy={"encoding": encoding}, lr=1e-2)) as algorithm:
        algorithm.train()
        mask = torch.arange(30) % 3 == 0
        algorithm.learner_group._learner.module["firm"].network.set_mask(mask)
        policies = load_policies(algorithm.save_to_path(tmp_path))
        modules = {t: algorithm.learner_group._learner.module[t] for t in AGENT_TYPES}
        assert policies.encoding == encoding and policies.config == algorithm.env_runner.economy
        env = VectorEconomy(policies.config, num_envs=3, encoding=encoding)
        observation = env.reset()
        for _ in range(2):
            for t in AGENT_TYPES:
                batch = {Columns.OBS: {"global": observation["global"], "private": observation[t]}}
                logits, values = policies.networks[t](observation["global"], observation[t])
                expected = modules[t].forward_train(batch)
                assert torch.equal(logits, expected[Columns.ACTION_DIST_INPUTS])
                assert torch.equal(values, expected[Columns.VF_PREDS])
            actions = policies.act(observation, torch.Generator().manual_seed(0))
            assert mask[actions["firm"]].all()
            observation = env.step(actions)[0]


def test_saved_policies_are_those_of_the_checkpoint(uninterrupted):
    policies = load_policies(uninterrupted["path"])
    for t in AGENT_TYPES:
        expected = {k.removeprefix("network."): x for k, x in uninterrupted["weights"][1][t].items()}
        ours = policies.networks[t].state_dict()
        assert ours.keys() == expected.keys() and all(torch.equal(ours[k], expected[k]) for k in ours)


@pytest.mark.parametrize("module_id", AGENT_TYPES)
def test_a_single_module_is_made_from_its_part_of_the_checkpoint(uninterrupted, module_id):
    path = uninterrupted["path"] / "learner_group" / "learner" / "rl_module" / module_id
    module = RLModule.from_checkpoint(str(path))
    expected = uninterrupted["weights"][1][module_id]
    ours = copied({module_id: module.get_state()})[module_id]
    assert ours.keys() == expected.keys() and all(torch.equal(ours[k], expected[k]) for k in ours)
    observation = torch.as_tensor(module.observation_space.sample())[None]
    assert torch.isfinite(module.forward_inference({Columns.OBS: observation})[Columns.ACTION_DIST_INPUTS]).all()


def test_a_run_without_a_curriculum_lifts_the_masks_of_the_one_that_it_goes_on_from(tmp_path):
    curriculum = {"prices": {"around": 1000, "end": 9}, "taxes": {"begin": 5, "end": 9}}
    with built(small_config(curriculum=curriculum)) as algorithm:
        algorithm.train()
        algorithm.save_to_path(tmp_path / "masked")
        assert algorithm.networks()["firm"].log_mask.any()
    with built(small_config()) as algorithm:
        algorithm.restore_from_path(tmp_path / "masked")
        for module_id, network in algorithm.networks().items():
            assert not network.log_mask.any()
            assert not algorithm.env_runner.module[module_id].unwrapped().network.log_mask.any()
        algorithm.train()
        assert not algorithm.networks()["firm"].log_mask.any()


def test_a_single_policy_can_be_restored_into_another_run(uninterrupted):
    with built(scheduled(seed=11)) as algorithm:
        algorithm.train()
        before = weights_of(algorithm)
        component = "learner_group/learner/rl_module/firm"
        algorithm.restore_from_path(uninterrupted["path"] / component, component=component)
        after = weights_of(algorithm)
        assert changed(before, after) == {"firm"}
        assert changed(uninterrupted["weights"][1], after) == {"consumer", "government"}
        acting = runner_weights_of(algorithm)
        assert all(torch.equal(acting["firm"][k], after["firm"][k]) for k in acting["firm"])
        assert algorithm.training_iteration == 1
        algorithm.train()


def test_frozen_policies_stay_frozen_after_a_restore(tmp_path):
    config = small_config()
    config.multi_agent(policies_to_train=["consumer"])
    with built(config) as algorithm:
        algorithm.train()
        algorithm.save_to_path(tmp_path)
    algorithm = EconomyPPO.from_checkpoint(str(tmp_path))
    try:
        before = weights_of(algorithm)
        algorithm.train()
        assert changed(before, weights_of(algorithm)) == {"consumer"}
    finally:
        algorithm.stop()


@pytest.mark.slow
@pytest.mark.parametrize("as_dict", [False, pytest.param(True, marks=pytest.mark.long)])
def test_tune_runs_and_resumes(tmp_path, as_dict):
    space = scheduled()
    run_config = tune.RunConfig(
        storage_path=str(tmp_path),
        name="economies",
        stop={"training_iteration": 2},
        checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=True, checkpoint_frequency=1),
        verbose=0,
    )
    param_space = space.to_dict() if as_dict else space
    results = tune.Tuner(EconomyPPO, param_space=param_space, run_config=run_config).fit()
    assert not results.errors and results[0].metrics["training_iteration"] == 2
    policies = load_policies(results[0].checkpoint.path)
    assert policies.info["env_steps"] == 2 * ROWS
    with built(scheduled()) as algorithm:
        for _ in range(2):
            algorithm.train()
        expected = weights_of(algorithm)
    for t in AGENT_TYPES:
        ours = policies.networks[t].state_dict()
        assert all(torch.equal(ours[k.removeprefix("network.")], x) for k, x in expected[t].items())


@pytest.mark.long
def test_an_interrupted_experiment_of_tune_goes_on_where_it_stood(tmp_path, uninterrupted):
    class Interrupted(EconomyPPO):
        """Fails at its third iteration unless a file says that the fault is mended."""

        def training_step(self):
            if self.iteration == 2 and not (tmp_path / "mended").exists():
                raise RuntimeError("power cut")
            super().training_step()

    run_config = tune.RunConfig(
        storage_path=str(tmp_path),
        name="economies",
        stop={"training_iteration": 4},
        checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1, checkpoint_at_end=True),
        verbose=0,
    )
    results = tune.Tuner(Interrupted, param_space=scheduled(), run_config=run_config).fit()
    assert len(results.errors) == 1
    (tmp_path / "mended").touch()
    tuner = tune.Tuner.restore(
        str(tmp_path / "economies"),
        trainable=Interrupted,
        param_space=scheduled(),
        resume_unfinished=True,
        resume_errored=True,
    )
    results = tuner.fit()
    assert not results.errors and results[0].metrics["training_iteration"] == 4
    networks = load_policies(results[0].checkpoint.path).networks
    for t in AGENT_TYPES:
        ours = networks[t].state_dict()
        expected = uninterrupted["weights"][3][t]
        assert all(torch.equal(ours[k.removeprefix("network.")], x) for k, x in expected.items())


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Consider boosting PBT performance")
def test_population_based_training_goes_on_from_the_best_with_other_settings_in_force(ray_running, tmp_path):
    reported = {}

    class Recorder(tune.Callback):
        """Keeps what is looked at below."""

        def on_trial_result(self, iteration, trials, trial, result, **info):
            rates = [result["learners"][t]["default_optimizer_learning_rate"] for t in AGENT_TYPES]
            at = (result["training_iteration"], result["num_env_steps_sampled_lifetime"])
            now = (result["config"]["lr"], at, [float(rate) for rate in rates])
            reported.setdefault(trial.trial_id, []).append(now)

    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        metric="env_runners/welfare_total",
        mode="max",
        perturbation_interval=2,
        quantile_fraction=0.5,  # of two the worse one always goes on from the better one
        hyperparam_mutations={"lr": [1e-5, 1e-2]},  # neither trial's own: whoever takes a place changes its rate
        synch=True,
    )
    curriculum = {"learning_rate": {"begin": 0, "end": 100, "floor": 0.0}}
    results = tune.Tuner(
        EconomyPPO,
        param_space=small_config(lr=tune.grid_search([1e-4, 1e-3]), curriculum=curriculum),
        tune_config=tune.TuneConfig(scheduler=scheduler, max_concurrent_trials=2),
        run_config=tune.RunConfig(
            stop={"training_iteration": 4}, storage_path=str(tmp_path), verbose=0, callbacks=[Recorder()]
        ),
    ).fit()
    assert not results.errors
    rates = [[rate for rate, _, _ in trial] for trial in reported.values()]
    assert any(len(set(trial)) > 1 for trial in rates)  # somebody took another's place, and another rate with it
    for trial in reported.values():
        # Of what iteration the place is depends on when Tune saved it. What a trial goes on from must fit together.
        for rate, (iteration, env_steps), in_force in trial:
            assert env_steps == iteration * ROWS
            sampled = iteration - 1  # before this iteration: the curriculum goes on where it stood
            assert in_force == pytest.approx([rate * (1.0 - sampled / 100.0)] * 3)
