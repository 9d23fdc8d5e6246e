"""The economy as Stable-Baselines3 meets it, through SuperSuit and alone."""

import gymnasium
import numpy as np
import pytest
import torch

from rbc_marl import homogenize, parallel_env
from tests.envs.examples import load_example
from tests.envs.playing import random_actions

pytest.importorskip("stable_baselines3")
supersuit = pytest.importorskip("supersuit")
from stable_baselines3 import PPO, SAC  # noqa: E402 - skipped where it is not installed
from stable_baselines3.common.env_checker import check_env  # noqa: E402

pytestmark = pytest.mark.long
SMALL = {"num_consumers": 5, "num_firms": 2, "horizon": 4}


@pytest.fixture
def example():
    return load_example("ppo_sb3")


def vector(env, count=2):
    env = supersuit.pettingzoo_env_to_vec_env_v1(env)
    return supersuit.concat_vec_envs_v1(env, count, num_cpus=1, base_class="stable_baselines3")


def test_an_episode_through_supersuit_is_the_one_of_the_parallel_environment(example):
    options = {**SMALL, "train_types": ["consumer"], "others": "cost_plus"}
    envs, alone = example.consumers(2, **SMALL), [parallel_env(**options) for _ in range(2)]
    example.seed_economies(envs, 3)
    seen = envs.reset()
    for i, env in enumerate(alone):
        env.reset(seed=3 + i)
    expected = [env.reset()[0] for env in alone]
    names = alone[0].possible_agents
    for period in range(4):
        assert np.array_equal(seen, np.stack([each[name] for each in expected for name in names]))
        actions = random_actions(alone[0], period)
        played = [env.step(actions) for env in alone]
        expected = [each[0] for each in played]
        seen, gained, over, infos = envs.step(np.stack([actions[name] for name in names] * 2))
        assert gained == pytest.approx([each[1][name] / 5.0 for each in played for name in names], rel=1e-6)
        assert {*over.astype(bool)} == {is_over for each in played for is_over in each[3].values()} == {period == 3}
    # The horizon is the end: Stable-Baselines3 bootstraps only where an info says that time ran out.
    assert not any(info.get("TimeLimit.truncated", False) for info in infos)
    terminal = [each[name] for each in expected for name in names]
    for info, last in zip(infos, terminal, strict=True):
        assert np.array_equal(info["terminal_observation"], last)
    assert np.array_equal(seen, envs.reset())


@pytest.mark.parametrize("options", [{}, {"action_mode": "discrete"}, {"action_mode": "box"}, {"others": "random"}])
@pytest.mark.parametrize("agent", ["Consumer", "Firm", "Government"])
def test_the_checker_of_stable_baselines_finds_nothing(agent, options):
    check_env(gymnasium.make(f"rbc_marl/{agent}-v0", **SMALL, consumption_choices=[0.0, 2.0], **options).unwrapped)


def weights(model):
    return {name: value.clone() for name, value in model.policy.state_dict().items()}


def moved_parts(model, before):
    after = weights(model)
    assert all(value.isfinite().all() for value in after.values())
    return {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}


def test_the_economies_of_the_example_draw_by_their_seeds(example):
    # A firm of the small economy often sells nothing: once in thirty seeds two economies have the same rewards. The
    # government's hold what each of twenty consumers drew.
    def played(seed):
        envs = example.alone("Government", 3, num_consumers=20, num_firms=4, horizon=4, others="random")
        if seed is not None:
            example.seed_economies(envs, seed)
        envs.reset()
        return np.stack([envs.step(np.full(3, period))[1] for period in range(4)])

    first, unseeded = played(0), played(None)
    for rewards in (first, unseeded):
        assert len(np.unique(rewards, axis=1).T) == 3  # each economy has draws of its own
    assert np.array_equal(first, played(0)) and not np.array_equal(unseeded, played(None))
    assert np.array_equal(first[:, 1:], played(1)[:, :2])


def test_the_example_trains_consumers_and_single_agents(example):
    for env in (example.consumers(2, **SMALL), example.alone("Firm", 2, **SMALL)):
        settings = {"n_steps": 4, "batch_size": 8}
        torch.manual_seed(0)
        before = weights(example.train(env, 0, **settings))
        model = example.train(env, 5 * 4 * env.num_envs, **settings)
        assert moved_parts(model, before) >= {"mlp_extractor", "action_net", "value_net"}
        assert model.num_timesteps == 5 * 4 * env.num_envs


def test_all_agents_can_share_one_policy_in_padded_spaces():
    env = vector(homogenize(parallel_env(**SMALL), action_mask=False, invalid="first"))
    model = PPO("MlpPolicy", env, n_steps=4, batch_size=16, device="cpu")
    before = weights(model)
    model.learn(3 * 4 * env.num_envs)
    assert moved_parts(model, before) >= {"action_net", "value_net"}


def test_continuous_actions_train_with_sac():
    model = SAC("MlpPolicy", gymnasium.make("rbc_marl/Firm-v0", **SMALL, action_mode="box"), learning_starts=10, seed=0)
    before = weights(model)
    model.learn(30)
    assert moved_parts(model, before) >= {"actor", "critic"}
