"""What Ray Tune is to choose, and numbers of NumPy, are taken where plain values are."""

from __future__ import annotations

import numpy as np
import pytest
from ray import tune

from rbc_marl import ConfigError, EconomyConfig
from rbc_marl.curriculum import Curriculum
from rbc_marl.policies.build import NetworkSpec
from rbc_marl.rllib.algorithm import EconomyPPO, EconomyPPOConfig
from rbc_marl.rllib.settings import has_search_space
from tests.rllib.small import NETWORKS, built, small_config

pytestmark = pytest.mark.usefixtures("ray_running")

SPACES = {
    "reward_scale": {"firm": tune.loguniform(1e3, 1e6)},
    "networks": {"consumer": tune.choice(["flat", "equivariant"]), "firm": {"hidden": tune.choice([[8], [16]])}},
    "huber_delta": tune.uniform(0.5, 2.0),
    "rules": tune.grid_search(["monopoly", "cost_plus"]),
    "scripted": {"government": tune.choice(["monopoly"])},
    "agents_per_update": {"consumer": tune.randint(2, 5)},
    "curriculum": {"entropy": {"decay": tune.uniform(1.0, 3.0), "floor": 0.1}},
    "trembles": {"price": tune.choice([0.05, 0.1])},
}


@pytest.mark.parametrize("name", SPACES)
def test_a_search_space_waits_until_it_is_resolved(name):
    config = small_config(**{name: SPACES[name]})
    assert has_search_space(getattr(config, name)) and has_search_space(config.to_dict()[name])
    with pytest.raises(ConfigError, match=f"^{name}"):
        config.copy(copy_frozen=False).validate()


@pytest.mark.long
def test_tune_chooses_settings_of_our_own(tmp_path):
    config = small_config(**SPACES)
    results = tune.Tuner(
        EconomyPPO,
        param_space=config,
        run_config=tune.RunConfig(storage_path=str(tmp_path), stop={"training_iteration": 1}, verbose=0),
    ).fit()
    assert results.num_errors == 0 and len(results) == 2
    assert {result.config["rules"] for result in results} == {"monopoly", "cost_plus"}
    for result in results:
        config = EconomyPPOConfig().update_from_dict(result.config)
        config.validate()
        assert 1e3 <= config.reward_scale.firm <= 1e6 and config.reward_scale.consumer == 5.0
        assert config.networks.consumer.kind in ("flat", "equivariant") and config.networks.firm.hidden in ((8,), (16,))
        assert isinstance(config.curriculum, Curriculum) and 1.0 <= config.curriculum.entropy.decay <= 3.0


def test_numbers_of_numpy_are_taken_where_plain_ones_are():
    settings = {
        "lr": np.float32(1e-3),
        "num_epochs": np.int64(1),
        "minibatch_size": np.int64(8),
        "reward_scale": {"firm": np.float64(3e4)},
        "huber_delta": np.float32(1.0),
        "networks": {**NETWORKS, "firm": {"hidden": np.array([8, 8])}},
        "agents_per_update": {"consumer": np.int64(4)},
        "trembles": {"price": np.float64(0.1)},
        "curriculum": {"taxes": {"end": np.int64(5)}, "entropy": {"decay": np.float32(2.0)}},
        "deviator": {"type": "firm", "agent": np.int64(1)},
    }
    economy = {"price_choices": np.linspace(0, 2500, 6), "horizon": np.int64(4), "crra": np.float32(0.5)}
    config = small_config(economy=economy, seed=np.int64(3), economies=np.int64(4), **settings)
    with built(config) as algorithm:
        algorithm.train()
        assert type(algorithm.config.seed) is int and type(algorithm.config.num_epochs) is int
        assert algorithm.config.networks.firm.hidden == (8, 8)
    assert EconomyConfig(**economy).price_choices == (0.0, 500.0, 1000.0, 1500.0, 2000.0, 2500.0)
    assert Curriculum(taxes={"end": np.int64(5)}).taxes.end == 5
    assert NetworkSpec.of({"hidden": np.array([4])}).hidden == (4,)


def test_a_configuration_goes_through_a_dictionary_and_back():
    config = small_config(
        curriculum={"taxes": {"end": 5}},
        trembles={"price": 0.1},
        deviator={"type": "firm", "agent": 1},
        scripted={"government": "monopoly"},
        agents_per_update={"consumer": 3},
    )
    plain = config.to_dict()
    assert plain["deviator"] == {"type": "firm", "agent": 1} and plain["agents_per_update"] == {"consumer": 3}
    again = EconomyPPOConfig().update_from_dict(plain)
    again.validate()
    names = ("curriculum", "trembles", "deviator", "scripted", "agents_per_update", "networks", "reward_scale")
    for name in names:
        assert getattr(again, name) == getattr(config, name), name
