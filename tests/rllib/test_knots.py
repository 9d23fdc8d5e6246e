"""Knots learn on both paths through RLlib, and checkpoints hold them."""

from __future__ import annotations

import pytest
import torch

from rbc_marl.config import AGENT_TYPES
from rbc_marl.policies.saved import load_policies
from rbc_marl.rllib.population import Population
from tests.rllib.small import built, plain_config, small_config, weights_of
from tests.rllib.test_populations import alone, furthest
from tests.rllib.test_populations import double as double  # a fixture

pytestmark = pytest.mark.usefixtures("ray_running")
NETWORKS = {t: {"kind": "flat", "hidden": [8, 8], "knots": {"time": 4}} for t in AGENT_TYPES}


@pytest.mark.filterwarnings("ignore:.*Overriding environment rllib-multi-agent-env-v0:UserWarning")
@pytest.mark.parametrize("path", ["batched", "plain"])
def test_the_weights_of_every_period_are_learnt(path):
    configured = small_config if path == "batched" else plain_config
    with built(configured(**({} if path == "batched" else {"curriculum": {}}), networks=NETWORKS)) as algorithm:
        before = weights_of(algorithm)
        algorithm.train()
        after = weights_of(algorithm)
    for agent_type in AGENT_TYPES:
        name = "network.knots.layer.weight"
        assert not before[agent_type][name].any()
        assert after[agent_type][name].any(0).tolist() == [True] * 4


def test_checkpoints_hold_what_knots_have_learnt(tmp_path):
    with built(small_config(networks=NETWORKS)) as algorithm:
        algorithm.train()
        algorithm.save_policies(tmp_path)
        learnt = weights_of(algorithm)
    policies = load_policies(tmp_path)
    for agent_type in AGENT_TYPES:
        assert policies.specs[agent_type].knots == {"time": 4}
        saved = policies.networks[agent_type].knots.layer.weight
        assert torch.equal(saved, learnt[agent_type]["network.knots.layer.weight"])


def test_each_run_of_a_population_learns_with_knots_what_it_would_alone(double):
    singles = [alone(seed, 4, networks=NETWORKS) for seed in (3, 8)]
    population = Population(small_config(networks=NETWORKS), (3, 8))
    for _ in range(4):
        population.train()
    for run, (before, after, _) in enumerate(singles):
        # Adam makes steps of rounding where a gradient is all but 0.
        assert furthest(population.networks(run), after) < 1e-7
        assert furthest(population.networks(run), before) > 1e-3  # or equality would say nothing
