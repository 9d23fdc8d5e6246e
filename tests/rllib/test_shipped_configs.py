"""The config files that the package ships: each trains, and the small one learns to live."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from rbc_marl.analysis.outcomes import outcome
from rbc_marl.analysis.rollouts import evaluate
from rbc_marl.policies.saved import load_policies
from rbc_marl.rllib.config_file import load_experiments
from rbc_marl.rllib.experiment import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("ray_running"),
    pytest.mark.filterwarnings("ignore:.*Overriding environment rllib-multi-agent-env-v0:UserWarning"),
]
CONFIGS = sorted((Path(__file__).parents[2] / "rllib_configs").glob("*.yaml"))


def trained(path, folder, *sets):
    (experiment,) = load_experiments(path, sets=[*sets, f"storage_path={folder}"])
    return train(experiment, console=Console(file=io.StringIO()))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_trains_two_iterations(path, tmp_path):
    outcome = trained(path, tmp_path, "stop.training_iteration=2")
    assert outcome.status == "finished" and outcome.checkpoint.is_dir()
    losses = {k: v for k, v in outcome.results.items() if k.startswith("learners/") and k.endswith("total_loss")}
    assert len(losses) >= 1 and all(math.isfinite(loss) for loss in losses.values())


def test_the_small_economy_learns_to_live(tmp_path):
    path = next(path for path in CONFIGS if path.stem == "small")
    policies = load_policies(trained(path, tmp_path).checkpoint)
    means = evaluate(policies, 128).means
    assert outcome(policies.config, means) == "living", means  # untrained networks are "impaired"
