"""Odd actions and seeds at every door of the environments: played, or refused in one line and nothing changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rbc_marl import ConfigError, VectorEconomy, parallel_env, preset, rbc_v0
from rbc_marl.envs.gymnasium import SingleAgentEconomy
from rbc_marl.envs.padded import homogenize
from tests.fuzz.mutations import NASTY, cases, refused_or_accepted

pytestmark = pytest.mark.long

SIZES = {"num_consumers": 3, "num_firms": 2, "horizon": 50}
CONFIG = preset("open", **SIZES)
MODES = ["multidiscrete", "discrete", "box"]
SMALL = {"consumption_choices": [0.0, 1.0], "hours_choices": [0.0, 520.0]}  # few enough for the mode "discrete"


class Odd:
    """An object that raises whatever it is asked for."""

    def __array__(self, *_, **__):
        raise OSError("no array\nin here")

    def __len__(self):
        raise OSError("no length")


ODD = [
    *NASTY, Odd(), [[1], [2, 3]], [[0, 1], [0]], np.zeros(0), np.zeros((4, 4)), np.array("a"), np.array([None]),
    np.array([np.nan, 0, 0, 0]), np.ma.array([1, 0, 0, 0], mask=[1, 0, 0, 0]), np.array([0, 0, 0, 0], dtype=object),
    torch.zeros(4), torch.zeros(4, dtype=torch.long), torch.zeros(4, 4).to_sparse(), torch.ones(2, requires_grad=True),
    np.int64(3), np.float32(0.5), np.array(7), np.array([0, 1, 0, 1], dtype=np.uint64), 10**30, 1 + 2j, b"1", "0",
    np.array([2**63], dtype=np.uint64), range(4), (0, 0, 0, 0), [0, 0, 0, 0], [0.0] * 4, [0.5] * 5, [True] * 4,
    np.datetime64("2020-01-01"), np.zeros(4, dtype=[("a", int)]), {0: 0, 1: 1}, iter([0, 1]), lambda: 0,
]  # fmt: skip
odd = st.sampled_from(ODD) | st.lists(st.integers(-2, 12), max_size=6) | st.floats() | st.integers()
numbers = st.lists(st.sampled_from(range(len(ODD))), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def environments():
    made = {mode: parallel_env("open", action_mode=mode, **SIZES, **SMALL) for mode in MODES}
    made |= {f"padded {mode}": homogenize(parallel_env("open", action_mode=mode, **SIZES, **SMALL)) for mode in MODES}
    made["masked"] = parallel_env("open", action_mask=True, **SIZES)
    made["firm"] = parallel_env("open", train_types=["firm_0"], **SIZES)
    return made


def in_play(env):
    """The environment, in an episode that goes on."""
    if not env.agents:
        env.reset(seed=0)
    return env


@given(data=st.data())
@cases(200)
def test_odd_actions_of_agents_are_played_or_refused(environments, data):
    env = in_play(environments[data.draw(st.sampled_from(sorted(environments)))])
    actions = {agent: env.action_space(agent).sample() for agent in env.agents}
    for _ in range(data.draw(st.integers(1, 2))):
        agent = data.draw(st.sampled_from([*env.agents, "consumer_9", 3, None]))
        actions[agent] = data.draw(odd)
    whole = data.draw(st.sampled_from(["one", "one", "one", "all", "less"]))
    actions = data.draw(odd) if whole == "all" else actions
    if whole == "less" and isinstance(actions, dict):
        actions.pop(next(iter(actions)))
    before = env.state()
    with refused_or_accepted():
        try:
            env.step(actions)
        except ConfigError:
            np.testing.assert_array_equal(env.state(), before)
            raise


@given(action=odd, agent=st.integers(0, 5))
@cases(60)
def test_odd_actions_in_turn_are_played_or_refused(action, agent):
    env = rbc_v0.env("open", **SIZES)
    env.reset(seed=0)
    with refused_or_accepted():
        for turn, name in enumerate(list(env.agents)):
            env.step(action if turn == agent else env.action_space(name).sample())


@pytest.fixture(scope="module")
def single():
    return {
        (kind, mode): SingleAgentEconomy(kind, action_mode=mode, **SIZES, **SMALL)
        for kind in ("consumer", "firm")
        for mode in MODES
    }


@given(kind=st.sampled_from(["consumer", "firm"]), mode=st.sampled_from(MODES), action=odd)
@cases(140)
def test_odd_actions_of_a_single_agent_are_played_or_refused(single, kind, mode, action):
    env = single[kind, mode]
    in_play(env.economy)
    with refused_or_accepted():
        env.step(action)


TENSORS = [
    torch.zeros(2, 3, 4), torch.zeros(2, 3, 4, dtype=torch.bool), torch.zeros(2, 3, 4, dtype=torch.complex64),
    torch.zeros(2, 2, dtype=torch.long).to_sparse(), torch.full((2, 3, 4), -1), torch.full((2, 2), 99),
    torch.full((2,), 2**40), torch.zeros(3, 3, 4, dtype=torch.long), torch.zeros((), dtype=torch.long),
    torch.zeros(2, 3, 4, dtype=torch.uint8), torch.zeros(2, 2, dtype=torch.int16), torch.zeros(0, dtype=torch.long),
    torch.zeros(2, 2, dtype=torch.long, device="meta"), torch.zeros(2, 3, 4, dtype=torch.long).to_sparse(),
    torch.zeros(2, dtype=torch.long), torch.zeros(2, 2, dtype=torch.long).expand(2, 2),
    torch.zeros(2, 2, dtype=torch.uint64), torch.zeros(2, dtype=torch.uint16),
]  # fmt: skip


@given(data=st.data())
@cases(160)
def test_odd_indices_of_a_batch_are_played_or_refused(data):
    batch = VectorEconomy(CONFIG, num_envs=2)
    batch.reset()
    indices = batch.sample_actions()
    for _ in range(data.draw(st.integers(1, 2))):
        key = data.draw(st.sampled_from(["consumer", "firm", "government", "frim", 3, None]))
        indices[key] = data.draw(st.sampled_from(TENSORS) | odd)
    indices = data.draw(odd) if data.draw(st.integers(0, 5)) == 5 else indices
    before = batch.state
    with refused_or_accepted():
        try:
            _, rewards, _, _ = batch.step(indices)
        except ConfigError:
            assert batch.state is before
            raise
        assert all(bool(torch.isfinite(reward).all()) for reward in rewards.values())


SEEDS = st.sampled_from([*ODD, -(2**70), 2**32 - 1, 2**63 - 1, 2**63, True]) | st.integers() | st.floats()


@given(seed=SEEDS)
@cases(160)
def test_odd_seeds_are_taken_or_refused_alike_at_every_door(environments, single, seed):
    taken = set()
    doors = {
        "parallel": lambda: environments["firm"].reset(seed=seed),
        "padded": lambda: environments["padded box"].reset(seed=seed),
        "gymnasium": lambda: single["firm", "box"].reset(seed=seed),
    }
    if seed is not None:
        doors["batch"] = lambda: VectorEconomy(CONFIG, seed=seed)
    for name, door in doors.items():
        with refused_or_accepted():
            door()
            taken.add(name)
    assert taken in (set(), set(doors))


@given(masks=st.dictionaries(st.sampled_from(["consumer", "firm", "government", "frim"]), odd, max_size=2) | odd)
@cases(60)
def test_odd_masks_are_taken_or_refused(masks):
    env = parallel_env("open", action_mask=True, **SIZES)
    with refused_or_accepted():
        env.set_action_masks(masks)


@given(data=st.data())
@cases(80)
def test_odd_arguments_of_environments_are_taken_or_refused(data):
    names = ["num_envs", "device", "dtype", "seed", "autoreset", "encoding", "parameters"]
    of_batch = {data.draw(st.sampled_from(names)): data.draw(odd)}
    with refused_or_accepted():
        VectorEconomy(CONFIG, **of_batch)
    names = ["max_cycles", "render_mode", "encoding", "action_mode", "action_mask", "train_types", "others"]
    names += ["num_consumers", "num_firms", "horizon", "labour_exponent", "price_choices", "frims"]
    with refused_or_accepted():
        parallel_env("open", **{**SIZES, data.draw(st.sampled_from(names)): data.draw(odd)})
