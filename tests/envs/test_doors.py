"""Every door of the environments takes the same seeds and refuses the same, in one sentence each."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rbc_marl import ConfigError, VectorEconomy, parallel_env, preset, rbc_v0
from rbc_marl.envs.gymnasium import SingleAgentEconomy
from rbc_marl.envs.padded import homogenize

SIZES = {"num_consumers": 3, "num_firms": 2}
DOORS = {
    "parallel": lambda seed: parallel_env("open", **SIZES).reset(seed=seed),
    "in turn": lambda seed: rbc_v0.env("open", **SIZES).reset(seed=seed),
    "padded": lambda seed: homogenize(parallel_env("open", **SIZES)).reset(seed=seed),
    "gymnasium": lambda seed: SingleAgentEconomy("firm", **SIZES).reset(seed=seed),
    "batch": lambda seed: VectorEconomy(preset("open", **SIZES), seed=seed),
}
SEEDS = [0, 2**32, 2**63 - 1, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3)]
NO_SEEDS = [True, -1, 2**63, 2**64, 1.0, float("nan"), "1", b"1", [1], {}, np.array([1]), np.float32(1), object()]


@pytest.mark.parametrize("door", DOORS)
def test_seeds_are_whole_numbers_at_every_door(door):
    for seed in SEEDS:
        DOORS[door](seed)
    for seed in NO_SEEDS:
        with pytest.raises(ConfigError, match=r"^seed is .*; it must be a whole number from 0 to 2\*\*63 - 1$"):
            DOORS[door](seed)


BAD = {
    "ragged": ([[1], [2, 3]], "is a list that is no array of numbers"),
    "sparse": (torch.zeros(4, 4).to_sparse(), "is a Tensor that is no array of numbers"),
    "missing": (np.ma.array([0, 0, 0, 0], mask=[1, 0, 0, 0]), "some of its values are missing"),
    "shape": (np.zeros((2, 2), int), "has shape"),
    "floats": ([0.5] * 4, "of integers"),
    "text": ("0", "has shape|of integers"),
    "range": ([0, 0, 0, 9], r"is 9; it must be from 0 to 1"),
}


@pytest.mark.parametrize("kind", BAD)
def test_actions_that_mean_nothing_are_refused_at_every_door(kind):
    action, message = BAD[kind]
    env = parallel_env("open", **SIZES)
    padded, single = homogenize(parallel_env("open", **SIZES)), SingleAgentEconomy("consumer", **SIZES)
    turns = rbc_v0.env("open", **SIZES)
    for each in (env, padded, single, turns):
        each.reset(seed=0)
    usual = {agent: env.action_space(agent).sample() for agent in env.agents}
    before = env.state()
    with pytest.raises(ConfigError, match=message):
        env.step({**usual, "consumer_1": action})
    np.testing.assert_array_equal(env.state(), before)
    with pytest.raises(ConfigError, match=message):
        padded.step({**dict.fromkeys(padded.agents, [0] * 4), "consumer_1": action})
    with pytest.raises(ConfigError, match=message):
        single.step(action)

    def play_in_turn():
        for agent in list(turns.agents):
            turns.step(action if agent == "consumer_1" else usual[agent])

    with pytest.raises(ConfigError, match=message):
        play_in_turn()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: None, "actions are a NoneType; give a mapping"),
        (lambda x: [x], "actions are a list; give a mapping"),
        (lambda x: {**x, 3: x["firm"]}, "actions are given for consumer, firm, government, 3; give"),
        (lambda x: {**x, "firm": x["firm"].to_sparse()}, "actions of firm are torch.sparse_coo, which has no value at"),
        (lambda x: {**x, "firm": x["firm"].tolist()}, "actions of firm are a list; give a torch tensor"),
        (lambda x: {**x, "firm": x["firm"].double()}, "they must be integers"),
        (lambda x: {**x, "firm": x["firm"][:1]}, "have shape"),
        (lambda x: {**x, "firm": x["firm"] + 99}, "an index of a firm's joint choice is"),
    ],
)
def test_indices_of_a_batch_that_mean_nothing_are_refused_and_change_nothing(change, message):
    batch = VectorEconomy(preset("open", **SIZES), num_envs=2)
    batch.reset()
    before = batch.state
    with pytest.raises(ConfigError, match=message):
        batch.step(change(batch.sample_actions()))
    assert batch.state is before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"device": "abc"}, "^device is 'abc'; give cpu, cuda or cuda:0"),
        ({"device": "cuda:99"}, "^device is cuda:99, and this machine has"),
        ({"parameters": [1]}, "^parameters are a list; give a mapping"),
        ({"parameters": {"crra": ["a"]}}, r"^parameters.crra is \['a'\]; give a number"),
        ({"num_envs": True}, "^num_envs is True"),
    ],
)
def test_arguments_of_a_batch_that_mean_nothing_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        VectorEconomy("open", **arguments)


def test_numbers_of_numpy_are_taken_at_every_door():
    batch = VectorEconomy("open", num_envs=np.int64(2), parameters={"crra": np.array([0.1, 0.5])})
    assert batch.parameters["crra"].tolist() == pytest.approx([0.1, 0.5])
    assert VectorEconomy("open", num_envs=2, parameters={"crra": [0.1, 0.5]}).parameters["crra"].shape == (2,)
    assert parallel_env("open", max_cycles=np.int64(3), price_choices=np.linspace(0, 10, 3)).max_cycles == 3


def test_masks_that_mean_nothing_are_refused():
    env = parallel_env("open", action_mask=True, **SIZES)
    for masks, message in [
        ([1], "masks are a list"),
        ({"firm": [[1], [1, 0]]}, "the mask of firm is a list that is no array of numbers"),
        ({"firm": ["a"] * 30}, "the mask of firm must hold true and false"),
        ({"firm": [2] * 30}, "the mask of firm must hold true and false"),
    ]:
        with pytest.raises(ConfigError, match=message):
            env.set_action_masks(masks)
