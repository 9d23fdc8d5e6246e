"""Rollouts where RLlib expects episodes: length, slices, shards, memory."""

from __future__ import annotations

import pickle
from dataclasses import fields

import pytest
import torch
from ray.rllib.utils.minibatch_utils import ShardEpisodesIterator

from rbc_marl import preset
from rbc_marl.choices import index_dtype
from rbc_marl.config import AGENT_TYPES
from rbc_marl.observations import observation_size
from rbc_marl.rllib.env_runner import EconomyEnvRunner
from rbc_marl.rllib.rollout import Rollout
from tests.rllib.small import small_config


@pytest.fixture(scope="module")
def runner(ray_running):
    return EconomyEnvRunner(small_config(), worker_index=0)


def tensors(rollout):
    """Every tensor of a rollout with its name: whatever columns it has."""
    for field in fields(rollout):
        column = getattr(rollout, field.name)
        for key, value in column.items() if isinstance(column, dict) else [("", column)]:
            if isinstance(value, torch.Tensor):
                yield (field.name, key), value


def equal(a, b):
    return all(torch.equal(x, y) for (_, x), (_, y) in zip(tensors(a), tensors(b), strict=True))


def size(rollout):
    return sum(x.numel() * x.element_size() for _, x in tensors(rollout))


def economies(rollout, first, last):
    """Some economies of a rollout, cut column by column."""
    return {name: x[first:last] if x.dim() == 1 else x[:, first:last] for name, x in tensors(rollout)}


@pytest.mark.parametrize(
    ("cut", "first", "last"),
    [(slice(0, 8), 0, 2), (slice(8, None), 2, 6), (slice(None), 0, 6), (slice(-4, None), 5, 6)],
)
def test_a_slice_in_env_steps_is_a_choice_of_economies(runner, cut, first, last):
    (rollout,) = runner.sample(num_episodes=6)
    for part in (rollout[cut], rollout.slice(cut, len_lookback_buffer=0)):
        assert len(part) == 4 * (last - first) and part.periods == 4
        expected = economies(rollout, first, last)
        assert all(torch.equal(x, expected[name]) for name, x in tensors(part))


@pytest.mark.parametrize("cut", [slice(0, 3), slice(1, 4), slice(2, None), slice(None, -1)])
def test_an_episode_is_never_cut(runner, cut):
    (rollout,) = runner.sample()
    with pytest.raises(ValueError, match=r"cannot cut an episode of 4 periods.*divide evenly"):
        rollout[cut]


def test_joining_puts_economies_side_by_side(runner):
    (rollout,) = runner.sample(num_episodes=6)
    assert equal(Rollout.join([rollout[:8], rollout[8:12], rollout[12:]]), rollout)
    assert Rollout.join([rollout]) is rollout
    a, b = runner.sample(num_episodes=2)[0], runner.sample(num_episodes=3)[0]
    joined = Rollout.join([a, b])
    assert joined.economies == 5 and equal(joined[:8], a) and equal(joined[8:], b)


@pytest.mark.parametrize(
    ("rollouts", "shards"), [((6,), 2), ((6,), 3), ((4, 4, 4), 2), ((2, 6), 4), ((3, 3), 2), ((4, 2), 3)]
)
def test_shards_are_equal_and_lose_nothing(runner, rollouts, shards):
    episodes = [runner.sample(num_episodes=count)[0] for count in rollouts]
    parts = [Rollout.join(list(shard)) for shard in ShardEpisodesIterator(list(episodes), shards, 0)]
    assert {len(part) for part in parts} == {4 * sum(rollouts) // shards}
    everything = torch.cat([x.actions["consumer"] for x in episodes], dim=1)
    sharded = torch.cat([x.actions["consumer"] for x in parts], dim=1)

    def rows(actions):
        return sorted(actions[:, e].flatten().tolist() for e in range(actions.shape[1]))

    assert rows(everything) == rows(sharded)


def test_episodes_that_do_not_share_out_are_refused_with_the_reason(runner):
    with pytest.raises(ValueError, match="divide evenly among the learners"):
        list(ShardEpisodesIterator(runner.sample(num_episodes=5), 2, 0))


def test_a_rollout_travels_between_processes(runner):
    (rollout,) = runner.sample()
    assert equal(pickle.loads(pickle.dumps(rollout)), rollout)
    assert equal(rollout.to("cpu"), rollout) and equal(rollout.to(torch.device("cpu")), rollout)


@pytest.mark.parametrize(
    ("heads", "expected"),
    [
        ((11, 256), torch.uint8),
        ((257, 3), torch.int16),
        ((32767,), torch.int16),
        ((32768,), torch.int32),
        ((1,), torch.uint8),
    ],
)
def test_actions_are_stored_in_the_smallest_integers_that_hold_them(heads, expected):
    assert index_dtype(heads) == expected
    largest = torch.tensor(max(heads) - 1)
    assert largest.to(expected) == largest


def test_more_than_256_choices_survive_the_small_integers(ray_running):
    prices = [float(p) for p in range(60)]
    runner = EconomyEnvRunner(small_config(economy={"price_choices": prices}, economies=50), worker_index=0)
    rollouts = runner.sample(random_actions=True)
    assert {rollout.actions["firm"].dtype for rollout in rollouts} == {torch.int16}
    assert {rollout.actions["consumer"].dtype for rollout in rollouts} == {torch.uint8}
    firm = torch.cat([rollout.actions["firm"].flatten() for rollout in rollouts])
    assert firm.min() >= 0 and 256 < firm.max() < 300


@pytest.fixture(scope="module")
def paper_rollout(ray_running):
    economy = {"num_consumers": 100, "num_firms": 10, "horizon": 10}
    return EconomyEnvRunner(small_config(economy=economy, economies=2), worker_index=0).sample()[0]


def test_an_env_step_of_the_paper_takes_less_than_four_kilobytes(paper_rollout):
    per_step = size(paper_rollout) / len(paper_rollout)
    assert per_step < 4096, f"{per_step:.0f} bytes"
    # A record per agent, with int64 actions, would take several times as much.
    economy = preset("open")
    separate = sum(
        economy.agents(t) * (4 * sum(observation_size(economy, t)) + 8 * paper_rollout.actions[t].shape[-1] + 8)
        for t in AGENT_TYPES
    )
    assert separate > 7 * per_step


def test_nothing_is_held_but_the_rollout_itself(paper_rollout):
    """Views into larger tensors would keep those alive, and travel whole."""
    stored = sum(x.untyped_storage().nbytes() for _, x in tensors(paper_rollout))
    assert stored == size(paper_rollout)
    assert len(pickle.dumps(paper_rollout)) < 1.2 * size(paper_rollout)
