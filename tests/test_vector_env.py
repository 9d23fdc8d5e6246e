"""A batch of economies: resets, ends of episodes, seeds, and what it refuses."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rbc_marl.choices import decode, head_sizes
from rbc_marl.config import EconomyConfig
from rbc_marl.economy import EconomyState, initial_state, period
from rbc_marl.errors import ConfigError
from rbc_marl.observations import observe
from rbc_marl.vector_env import VectorEconomy
from tests.host_reads import NoHostReads
from tests.strategies import economies

SMALL = EconomyConfig(num_consumers=5, num_firms=3, horizon=3, initial_wage=11.0, initial_inventory=20.0)

Observation = dict[str, torch.Tensor]


def same(one: Observation, two: Observation) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def same_state(one: EconomyState, two: EconomyState) -> bool:
    return same(vars(one), vars(two))


def test_a_step_is_decode_then_period_then_observe():
    env = VectorEconomy(SMALL, num_envs=4, seed=3)
    observation = env.reset()
    state = initial_state(SMALL, 4)
    assert same(observation, observe(SMALL, state))
    for _ in range(2):
        indices = env.sample_actions()
        state, expected = period(SMALL, state, decode(SMALL, **indices))
        observation, rewards, truncated, flows = env.step(indices)
        assert same_state(env.state, state)
        assert same(vars(flows), vars(expected))
        assert same(observation, observe(SMALL, state))
        assert torch.equal(rewards["consumer"], expected.consumer_reward)
        assert torch.equal(rewards["firm"], expected.firm_reward)
        assert torch.equal(rewards["government"], expected.government_reward)
        assert truncated.dtype == torch.bool
        assert truncated.tolist() == [False] * 4


@pytest.mark.parametrize("encoding", ["symlog", "digits"])
def test_the_horizon_truncates_and_the_next_episode_begins_at_once(encoding: str):
    env = VectorEconomy(SMALL, num_envs=2, encoding=encoding)
    first = env.reset()
    state = env.state
    for t in range(3 * SMALL.horizon):
        indices = env.sample_actions()
        state, _ = period(SMALL, state, decode(SMALL, **indices))
        observation, _, truncated, _ = env.step(indices)
        is_last = (t + 1) % SMALL.horizon == 0
        assert truncated.tolist() == [is_last] * 2
        if is_last:
            assert same(observation, first)
            assert same(env.final_observation, observe(SMALL, state, encoding))
            assert same_state(env.state, initial_state(SMALL, 2))
            state = env.state
        else:
            assert env.final_observation is None
            assert same(observation, observe(SMALL, state, encoding))


def test_without_autoreset_the_last_observation_stays_and_a_further_step_is_refused():
    env = VectorEconomy(SMALL, num_envs=2, autoreset=False)
    first = env.reset()
    for _ in range(SMALL.horizon):
        observation, _, truncated, _ = env.step(env.sample_actions())
    assert truncated.all()
    assert env.state.time.tolist() == [3.0, 3.0]
    assert same(observation, observe(SMALL, env.state))
    assert env.final_observation is None
    with pytest.raises(ConfigError, match=r"episode is over; call reset\(\)"):
        env.step(env.sample_actions())
    assert same(env.reset(), first)
    env.step(env.sample_actions())


def test_a_step_before_the_first_reset_is_refused():
    env = VectorEconomy(SMALL, num_envs=2)
    with pytest.raises(ConfigError, match=r"has not been reset; call reset\(\)"):
        env.step(env.sample_actions())


def test_a_reset_in_the_middle_of_an_episode_starts_a_whole_new_one():
    env = VectorEconomy(SMALL, num_envs=2)
    first = env.reset()
    env.step(env.sample_actions())
    assert same(env.reset(), first)
    ends = [bool(env.step(env.sample_actions())[2].all()) for _ in range(SMALL.horizon)]
    assert ends == [False, False, True]


def test_an_episode_of_one_period_ends_with_every_step():
    env = VectorEconomy(SMALL.replace(horizon=1), num_envs=2)
    first = env.reset()
    for _ in range(3):
        observation, _, truncated, _ = env.step(env.sample_actions())
        assert truncated.all()
        assert same(observation, first)
        assert env.final_observation["global"][0, -1] == 1.0


def test_the_seed_decides_the_sampled_actions():
    def draws(seed: int) -> Observation:
        env = VectorEconomy(SMALL, num_envs=3, seed=seed)
        env.reset()
        env.sample_actions()
        return env.sample_actions()

    assert same(draws(4), draws(4))
    assert not same(draws(4), draws(5))


def test_two_environments_share_no_random_state():
    alone = VectorEconomy(SMALL, num_envs=3, seed=1)
    expected = [alone.sample_actions() for _ in range(4)]
    one, two = VectorEconomy(SMALL, num_envs=3, seed=1), VectorEconomy(SMALL, num_envs=3, seed=1)
    torch.manual_seed(9)
    before = torch.get_rng_state()
    found = []
    for _ in range(4):
        found.append(one.sample_actions())
        two.sample_actions()
        two.sample_actions()
        two.reset()
    assert all(same(a, b) for a, b in zip(expected, found, strict=True))
    assert torch.equal(before, torch.get_rng_state())


def test_neither_the_global_seed_nor_the_environments_decides_what_a_period_does():
    outcomes = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        env = VectorEconomy(SMALL, num_envs=2, seed=seed)
        env.reset()
        fixed = {name: torch.zeros_like(index) + 1 for name, index in env.sample_actions().items()}
        outcomes.append(env.step(fixed)[0])
    assert same(*outcomes)


def test_two_environments_share_no_economy():
    one, two = VectorEconomy(SMALL, num_envs=2), VectorEconomy(SMALL, num_envs=2)
    one.reset()
    two.reset()
    one.step(one.sample_actions())
    assert same_state(two.state, initial_state(SMALL, 2))


def test_labour_disutility_changes_at_the_next_reset():
    env = VectorEconomy(SMALL, num_envs=2)
    env.reset()
    env.labour_disutility_scale = 0.5
    full = initial_state(SMALL, 2).labour_disutility
    env.step(env.sample_actions())
    assert torch.equal(env.state.labour_disutility, full)
    for _ in range(SMALL.horizon - 1):
        env.step(env.sample_actions())
    assert torch.equal(env.state.labour_disutility, full * 0.5)
    env.labour_disutility_scale = 0.0
    env.reset()
    assert not env.state.labour_disutility.any()


def test_sampled_actions_are_in_range_and_have_the_documented_shapes():
    env = VectorEconomy(SMALL, num_envs=200)
    sample = env.sample_actions()
    assert {name: tuple(index.shape) for name, index in sample.items()} == {
        "consumer": (200, 5, 5),
        "firm": (200, 3),
        "government": (200,),
    }
    for head, size in enumerate(head_sizes(SMALL, "consumer")):
        assert sample["consumer"][..., head].unique().tolist() == list(range(size))


def test_wrong_shapes_and_indices_out_of_range_are_refused_and_change_nothing():
    env = VectorEconomy(SMALL, num_envs=2)
    env.reset()
    env.step(env.sample_actions())
    before, good = env.state, env.sample_actions()
    too_high = good["government"].clone()
    too_high[1] = 36
    places = {0: 11, 2: -1, 3: 5, 4: 3}  # consumption, consumption, hours, employer
    bad = []
    for head, wrong in places.items():
        consumer = good["consumer"].clone()
        consumer[1, 4, head] = wrong
        bad.append(good | {"consumer": consumer})
    bad += [
        good | {"consumer": good["consumer"][:, :4]},
        good | {"firm": good["firm"][0]},
        good | {"firm": good["firm"].float()},
        good | {"firm": good["firm"].numpy()},
        good | {"firm": good["firm"] - 30},
        good | {"government": too_high},
        {"consumer": good["consumer"], "firm": good["firm"]},
        good | {"bank": good["firm"]},
    ]
    for indices in bad:
        with pytest.raises(ConfigError):
            env.step(indices)
        assert env.state is before
    assert env.step(good)[2].tolist() == [False, False]
    assert env.step(good)[2].tolist() == [True, True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_envs": 0}, "num_envs is 0; it must be at least 1"),
        ({"num_envs": 2.5}, "num_envs is 2.5; it must be a whole number"),
        ({"num_envs": -3}, "num_envs is -3"),
        ({"encoding": "digit"}, 'did you mean "digits"'),
        ({"config": "opn"}, 'unknown preset "opn".*did you mean "open"'),
        ({"config": 5}, "config is a int"),
        ({"dtype": torch.float16}, "dtype is torch.float16; it must be torch.float32, torch.float64 or torch.bfloat16"),
        ({"dtype": "float32"}, "dtype is 'float32'.*did you mean \"torch.float32\""),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        VectorEconomy(**arguments)


def test_a_type_that_cannot_tell_all_firms_apart_is_refused():
    for dtype, firms in ((torch.bfloat16, 256), (torch.float32, 257)):
        seen = VectorEconomy(EconomyConfig(num_consumers=1, num_firms=firms), dtype=dtype).reset()["firm"]
        assert seen[0, :, -1].unique().shape == (firms,)
    with pytest.raises(ConfigError, match=r"dtype is torch.bfloat16, which counts to 256, and there are 257 firms"):
        VectorEconomy(EconomyConfig(num_consumers=1, num_firms=257), dtype=torch.bfloat16)


def test_a_preset_can_be_named():
    assert VectorEconomy("closed").config == EconomyConfig(open_economy=False)
    assert VectorEconomy().config == EconomyConfig()


def test_float64_runs_from_end_to_end():
    env = VectorEconomy(SMALL, num_envs=2, dtype=torch.float64)
    tensors = list(env.reset().values())
    for _ in range(SMALL.horizon):
        observation, rewards, _, flows = env.step(env.sample_actions())
        tensors += [*observation.values(), *rewards.values(), *vars(flows).values(), *vars(env.state).values()]
    assert {tensor.dtype for tensor in tensors} == {torch.float64}
    assert {tensor.dtype for tensor in env.final_observation.values()} == {torch.float64}


def test_a_thousand_consumers_and_thirteen_firms_fit():
    env = VectorEconomy(EconomyConfig(num_consumers=1000, num_firms=13, horizon=2), num_envs=4)
    observation = env.reset()
    assert observation["consumer"].shape == (4, 1000, 2)
    for _ in range(2):
        observation, rewards, truncated, flows = env.step(env.sample_actions())
    assert flows.consumption.shape == (4, 1000, 13)
    assert truncated.all()
    assert all(torch.isfinite(reward).all() for reward in rewards.values())


@settings(max_examples=25)
@given(config=economies(), seed=st.integers(0, 1000))
def test_a_larger_batch_plays_the_same_economies(config: EconomyConfig, seed: int):
    """Economy 3 does not change when the batch grows: up to rounding, see the tests of the batched economy."""
    large, small = (VectorEconomy(config, num_envs=n, dtype=torch.float64, autoreset=False) for n in (5, 2))
    draw = VectorEconomy(config, num_envs=5, seed=seed)
    large.reset()
    small.reset()
    for _ in range(config.horizon):
        indices = draw.sample_actions()
        many = large.step(indices)[3]
        few = small.step({name: index[2:4] for name, index in indices.items()})[3]
        for name, value in vars(few).items():
            size = 1e7 if name not in ("consumption", "utility") else 1e3
            torch.testing.assert_close(vars(many)[name][2:4], value, rtol=1e-11, atol=1e-14 * size)


def test_a_step_reads_nothing_on_the_host():
    env = VectorEconomy(SMALL, num_envs=4)
    env.reset()
    env.step(env.sample_actions())  # tables and endowments are made once
    with NoHostReads():
        for _ in range(2 * SMALL.horizon):
            env.step(env.sample_actions())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_step_on_a_gpu_never_waits_for_it():
    env = VectorEconomy(SMALL, num_envs=8, device="cuda")
    env.reset()
    env.step(env.sample_actions())  # tables and endowments are copied to the device once
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(2 * SMALL.horizon):
            observation, *_ = env.step(env.sample_actions())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert observation["global"].device.type == "cuda"


def test_an_economy_first_played_in_inference_mode_can_be_differentiated_afterwards():
    config = SMALL.replace(horizon=2, interest_rate=0.01)  # of its own, so that no other test has made its tables
    with torch.inference_mode():
        env = VectorEconomy(config, num_envs=2)
        env.reset()
        indices = env.sample_actions()
        env.step(indices)
    env = VectorEconomy(config, num_envs=2)
    env.reset()
    actions = decode(config, **indices)
    hours = actions.hours.clone().requires_grad_()
    observation, rewards, _, _ = env.play(dataclasses.replace(actions, hours=hours))
    (rewards["consumer"].sum() + observation["firm"].sum()).backward()
    assert hours.grad is not None and hours.grad.abs().sum() > 0
