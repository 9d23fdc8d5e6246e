"""A network of one's own from configuration to best response."""

from __future__ import annotations

import pytest
import torch

from rbc_marl import ConfigError
from rbc_marl.policies.build import NetworkSpec
from rbc_marl.policies.saved import load_policies
from rbc_marl.rllib.algorithm import EconomyPPO
from rbc_marl.rllib.settings import check_restored
from tests.policies.small_network import TanhNetwork
from tests.policies.test_own_class import Unmasked
from tests.rllib.small import built, changed, runner_weights_of, small_config, weights_of

pytestmark = pytest.mark.usefixtures("ray_running")

OWN = {"consumer": TanhNetwork, "firm": {"kind": "tests.policies.small_network.TanhNetwork", "width": 6}}


def test_it_trains_is_saved_resumed_and_evaluated(tmp_path):
    config = small_config(networks=OWN, curriculum={"prices": {"around": 1000, "end": 4}})
    with built(config) as algorithm:
        start = weights_of(algorithm)
        algorithm.train()
        weights = weights_of(algorithm)
        assert changed(start, weights) >= {"consumer", "firm"}
        algorithm.save_to_path(tmp_path / "saved")
        algorithm.train()
        after = weights_of(algorithm)
    algorithm = EconomyPPO.from_checkpoint(str(tmp_path / "saved"))
    try:
        assert isinstance(algorithm.env_runner.module["firm"].network, TanhNetwork)
        assert changed(weights, weights_of(algorithm)) == set()
        algorithm.train()
        assert changed(after, weights_of(algorithm)) == set()
    finally:
        algorithm.stop()
    check_restored(tmp_path / "saved", config, "x.restore", trust=True)
    policies = load_policies(tmp_path / "saved", trust=True)
    assert policies.specs["firm"] == NetworkSpec.of({"kind": TanhNetwork, "width": 6})
    assert torch.equal(policies.networks["firm"].body.weight, weights["firm"]["network.body.weight"])
    assert (policies.networks["firm"].log_mask < 0).any()


def test_a_deviator_can_have_one_and_masks_hold_for_it(tmp_path):
    deviator = {"type": "firm", "agent": 1, "network": TanhNetwork}
    curriculum = {"prices": {"around": 1000, "end": 4}}
    config = small_config(deviator=deviator, curriculum=curriculum).multi_agent(policies_to_train=["deviator"])
    with built(config) as algorithm:
        before = weights_of(algorithm)
        algorithm.train()
        algorithm.save_to_path(tmp_path / "saved")
        assert changed(before, weights_of(algorithm)) >= {"deviator"}
        network = algorithm.networks()["deviator"]
        assert isinstance(network, TanhNetwork) and (network.log_mask < 0).any()
        prices = algorithm.env_runner.sample()[0].actions["firm"][..., 1, 0] // 5  # by wage, one investment
        assert (prices == 2).all()


def test_one_that_cannot_work_is_refused_before_anything_is_built():
    with pytest.raises(ConfigError, match=r"^networks.firm: Unmasked ignores its mask"):
        small_config(networks={"firm": Unmasked}).validate()


@pytest.mark.long
def test_it_acts_and_learns_in_other_processes():
    config = small_config(networks=OWN).env_runners(num_env_runners=1).learners(num_learners=1)
    with built(config) as algorithm:
        before = weights_of(algorithm)
        algorithm.train()
        assert changed(before, weights_of(algorithm)) >= {"consumer", "firm"}
        assert set(runner_weights_of(algorithm)["firm"]) <= set(before["firm"])
