"""What learns is what the settings describe: otherwise saved policies would be others than those that learnt."""

from __future__ import annotations

import pytest
import torch

from rbc_marl import ConfigError
from rbc_marl.choices import head_sizes
from rbc_marl.policies.networks import FlatNetwork
from rbc_marl.rllib import modules
from rbc_marl.rllib.algorithm import EconomyPPOConfig
from rbc_marl.rllib.modules import EconomyModule
from tests.rllib.small import small_config

pytestmark = pytest.mark.usefixtures("ray_running")


class Curved(FlatNetwork):
    """Shapes as in FlatNetwork, and other numbers."""

    def features(self, shared, private):
        return torch.tanh(super().features(shared, private))


def test_networks_that_settings_do_not_describe_are_not_trained(monkeypatch):
    """They would be saved, and read back, as what the settings describe: numbers of another network."""
    built_as_described = modules.build_network

    def build(economy, agent_type, encoding, spec):
        if agent_type == "firm":
            return Curved(economy, agent_type, encoding, head_sizes(economy, agent_type), hidden=(16, 16))
        return built_as_described(economy, agent_type, encoding, spec)

    monkeypatch.setattr(modules, "build_network", build)
    with pytest.raises(ConfigError, match=r"^the firm learns with .*:Curved, and networks.firm describes "
                                          r"rbc_marl.policies.networks:FlatNetwork; name it in networks"):  # fmt: skip
        small_config().build_algo()


class OwnModule(EconomyModule):
    """A module of one's own."""


class OwnConfig(EconomyPPOConfig):
    """A configuration that describes modules of its own, past the settings."""

    def get_multi_rl_module_spec(self, **kwargs):
        spec = super().get_multi_rl_module_spec(**kwargs)
        spec.rl_module_specs["consumer"].module_class = OwnModule
        return spec


def test_modules_of_a_subclass_of_the_configuration_are_not_trained_either():
    config = OwnConfig().update_from_dict({"env_config": {"num_consumers": 3, "num_firms": 2}})
    with pytest.raises(ConfigError, match=r"^the consumer learns with .*:OwnModule, and networks.consumer describes"):
        config.build_algo()
