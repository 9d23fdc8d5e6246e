"""Any algorithm of BenchMARL on a batch of economies.

    pip install 'rbc_marl[benchmarl]'
    python tutorials/examples/mappo_benchmarl.py                       # MAPPO
    python tutorials/examples/mappo_benchmarl.py --algorithm qmix      # or another

BenchMARL knows one choice for an agent and step, so that actions are joint ones: consumers of two goods, of which they
can buy 0, 3, 6 or 10 units. (Or continuous: --continuous.) Firms and the government follow rules, unless --everybody.
"""

from __future__ import annotations

import argparse

from benchmarl.algorithms import algorithm_config_registry
from benchmarl.experiment import Experiment, ExperimentConfig
from benchmarl.models.mlp import MlpConfig

from rbc_marl.envs.benchmarl import EconomyTask

ECONOMY = {"num_consumers": 10, "num_firms": 2, "consumption_choices": [0.0, 3.0, 6.0, 10.0], "others": "cost_plus"}


def make_experiment(
    algorithm="mappo", iterations=100, economies=16, continuous=False, everybody=False, folder=None, seed=0
):
    """An experiment of BenchMARL; ``.run()`` trains it. Each iteration plays one episode of every economy."""
    settings = ExperimentConfig.get_from_yaml()
    settings.prefer_continuous_actions = continuous
    settings.max_n_iters = iterations
    settings.gamma, settings.lr = 0.9999, 1e-3
    for kind in ("on_policy", "off_policy"):
        setattr(settings, f"{kind}_n_envs_per_worker", economies)
        setattr(settings, f"{kind}_collected_frames_per_batch", economies * 10)
    settings.on_policy_n_minibatch_iters, settings.on_policy_minibatch_size = 4, economies * 5
    settings.off_policy_n_optimizer_steps, settings.off_policy_train_batch_size = 8, economies * 5
    settings.evaluation, settings.render = False, False
    settings.loggers, settings.create_json = ["csv"], False
    settings.save_folder = folder
    task = EconomyTask("open", {**ECONOMY, "train_types": None if everybody else ["consumer"]})
    return Experiment(
        task=task,
        algorithm_config=algorithm_config_registry[algorithm].get_from_yaml(),
        model_config=MlpConfig.get_from_yaml(),
        critic_model_config=MlpConfig.get_from_yaml(),
        seed=seed,
        config=settings,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="BenchMARL's algorithms on a batch of economies")
    parser.add_argument("--algorithm", choices=sorted(algorithm_config_registry), default="mappo")
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--economies", type=int, default=16)
    parser.add_argument("--continuous", action="store_true")
    parser.add_argument("--everybody", action="store_true")
    parser.add_argument("--folder", help="where results go; the current folder by default")
    parser.add_argument("--seed", type=int, default=0)
    make_experiment(**vars(parser.parse_args())).run()
