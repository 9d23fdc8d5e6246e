"""Families of economies: a number drawn for each episode, which agents see, and in which it stays what it is."""

from __future__ import annotations

import math

import pytest
import torch

from rbc_marl import ConfigError, EconomyConfig, VectorEconomy
from rbc_marl.analysis.treatments import Impulse
from rbc_marl.economy.parameters import PARAMETERS
from rbc_marl.economy.shocks import draw_shocks
from rbc_marl.observations import observation_layout
from rbc_marl.processes import BY_AGENT, Shocks

CPU = torch.device("cpu")
SIZES = {"num_consumers": 3, "num_firms": 2, "horizon": 4, "initial_wage": 22.0, "initial_inventory": 30.0}
VALUES = {"kind": "drawn", "values": [10.0, 50.0, 100.0, 200.0]}
RANGE = {"kind": "drawn", "low": 10.0, "high": 1000.0}


def economy(**shocks):
    return EconomyConfig(**SIZES, shocks=shocks)


def drawn(config, envs=4000, seed=5):
    return draw_shocks(config, envs, CPU, torch.float64, seed)


def test_values_are_alike_likely_and_a_range_is_uniform_in_itself_or_in_logarithms():
    paths = drawn(economy(export_quota=VALUES))["export_quota"]
    assert (paths == paths[:, :1]).all() and paths.shape == (4000, 5)
    for value in VALUES["values"]:
        assert abs(float((paths[:, 0] == value).double().mean()) - 0.25) < 0.03  # standard error 0.007
    for scale, place in (("linear", lambda x: x), ("log", torch.log)):
        shares = place(drawn(economy(export_quota={**RANGE, "scale": scale}))["export_quota"][:, 0])
        low, high = (float(place(torch.tensor(x))) for x in (10.0, 1000.0))
        shares = (shares - low) / (high - low)
        assert 0.0 <= shares.min() < 0.005 and 0.995 < shares.max() <= 1.0
        assert abs(float(shares.mean()) - 0.5) < 0.02 and abs(float(shares.var()) - 1 / 12) < 0.005


def test_draws_depend_on_the_seed_and_the_row_alone_and_nothing_is_drawn_without_seeds():
    config = economy(export_quota=RANGE, workers={**RANGE, "low": 0.5, "high": 1.5})
    few, many = drawn(config, 3), drawn(config, 40)
    for name, path in few.items():
        assert torch.equal(path, many[name][:3]), name
    assert len(many["workers"][..., 0].unique()) == 120  # each worker their own
    assert not torch.equal(few["export_quota"], drawn(config, 3, seed=6)["export_quota"])
    assert (drawn(config, 2, seed=None)["export_quota"] == config.export_quota).all()


@pytest.mark.parametrize("name", [*PARAMETERS, *BY_AGENT])
def test_every_number_can_be_drawn_and_an_episode_is_that_of_the_economy_with_it(name):
    value = 0.4
    how = {"num_envs": 2, "dtype": torch.float64, "autoreset": False}
    env = VectorEconomy(economy(**{name: {"kind": "drawn", "values": [value]}}), **how)
    fields = SIZES if name not in EconomyConfig.model_fields else {**SIZES, name: value}
    parameters = {name: value} if name in PARAMETERS else {}
    same = VectorEconomy(EconomyConfig(**fields), **how, parameters=parameters)
    env.reset(), same.reset()
    if name == "labour_disutility_scale":
        assert torch.allclose(env.state.labour_disutility, same.state.labour_disutility, rtol=1e-12)
    differs = name in BY_AGENT
    for _ in range(SIZES["horizon"]):
        actions = same.sample_actions()
        flows, expected = env.step(actions)[-1], same.step(actions)[-1]
        if not differs:
            assert torch.allclose(flows.utility, expected.utility, rtol=1e-12)
            assert torch.allclose(flows.output, expected.output, rtol=1e-12)
            assert torch.allclose(flows.firm_reward, expected.firm_reward, rtol=1e-12)
    if differs:
        assert (env.state.shocks[name] == value).all()


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_agents_see_the_place_in_the_range_also_of_a_number_between_or_beyond(scale):
    place = observation_layout(economy(export_quota=RANGE)).global_slices["export_quota"]
    assert place.stop - place.start == 1
    for value, share in ((10.0, 0.0), (100.0, 90 / 990 if scale == "linear" else 0.5), (1000.0, 1.0), (5.0, None)):
        env = VectorEconomy(economy(export_quota={**RANGE, "scale": scale, "at": value}), 3)
        seen = env.reset()["global"][:, place]
        expected = (-5 / 990 if scale == "linear" else math.log(0.5) / math.log(100.0)) if share is None else share
        assert torch.allclose(seen, torch.full((3, 1), expected), atol=1e-6)
        assert (env.state.shocks["export_quota"] == value).all()
    hidden = economy(export_quota={**RANGE, "sees": False})
    assert "export_quota" not in observation_layout(hidden).global_slices


def test_a_reform_has_a_level_where_the_family_is_fixed():
    reform = Impulse(number="export_quota", level=50.0, period=2, persistence=1.0)
    assert reform.factors(economy(export_quota={**VALUES, "at": 100.0})) == (1.0, 0.5, 0.5, 0.5, 0.5)
    with pytest.raises(ConfigError, match=r"export_quota is drawn .* or fix it: --set export_quota=\.\.\.$"):
        reform.factors(economy(export_quota=VALUES))
    with pytest.raises(ConfigError, match="labour_disutility_scale"):
        VectorEconomy(economy()).impose({"labour_disutility_scale": (1.0,)})


@pytest.mark.parametrize(
    ("name", "process", "message"),
    [
        ("export_quota", {"kind": "drawn"}, "give values, or low and high"),
        ("export_quota", {**VALUES, "low": 1.0, "high": 2.0}, "give values, or low and high; and not both"),
        ("export_quota", {**RANGE, "low": 2000.0}, "low is 2000, above high 1000; give low <= high"),
        ("export_quota", {**RANGE, "low": 0.0, "scale": "log"}, "scale is log, and 0 has no logarithm"),
        ("export_quota", {**RANGE, "news": 1}, "news is set, but the number stays what it is"),
        ("depreciation", {**RANGE, "low": 0.0}, "shocks.depreciation.values: depreciation is 1000.0; it must be at"),
        ("depreciation", {**RANGE, "low": 0.0, "high": 1.0, "at": 2.0}, "depreciation is 2.0; it must be at most"),
        ("labour_disutility_scale", {"kind": "path", "values": [1.0]}, "labour_disutility_scale"),
    ],
)
def test_families_that_cannot_be_are_refused_in_one_line(name, process, message):
    with pytest.raises(ConfigError, match=message):
        economy(**{name: process})


def test_a_family_is_saved_and_read_as_it_is():
    config = economy(export_quota=VALUES, crra={**RANGE, "low": 0.1, "high": 0.9})
    assert EconomyConfig(**config.model_dump(mode="json")) == config
    assert set(config.shocks.families) == {"export_quota", "crra"} and set(Shocks.names()) > set(config.shocks.families)
