"""Ray Tune's own population based training, which works with EconomyPPO from Python."""

from __future__ import annotations

import pytest
from ray import tune
from ray.tune.schedulers import PopulationBasedTraining

from rbc_marl.rllib.algorithm import EconomyPPO
from tests.rllib.small import small_config


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Consider boosting PBT performance:UserWarning")
def test_tunes_own_population_based_training_changes_runs_on_their_way(ray_running, tmp_path):
    """Two runs report together after each iteration, and the one with the lower return goes on as a copy."""
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=1,
        quantile_fraction=0.5,
        hyperparam_mutations={"lr": [1e-4, 1e-3, 1e-2]},
        synch=True,
    )
    config = small_config().training(lr=tune.grid_search([1e-4, 1e-3])).to_dict()
    tuner = tune.Tuner(
        EconomyPPO,
        param_space=config,
        tune_config=tune.TuneConfig(
            metric="env_runners/consumer_return", mode="max", scheduler=scheduler, max_concurrent_trials=2
        ),
        run_config=tune.RunConfig(stop={"training_iteration": 3}, storage_path=str(tmp_path), verbose=0),
    )
    results = tuner.fit()
    assert [result.error for result in results] == [None, None]
    assert [result.metrics["training_iteration"] for result in results] == [3, 3]
    assert list(tmp_path.rglob("pbt_policy_*.txt"))  # what went on as a copy of what
