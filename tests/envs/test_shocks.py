"""One seed draws the same shocks at every door, and they can be resumed."""

from __future__ import annotations

import pytest
import torch

from rbc_marl import EconomyConfig, VectorEconomy, join, parallel_env
from rbc_marl.envs.gymnasium import SingleAgentEconomy
from rbc_marl.observations import observation_layout

SHOCKS = {
    "technology": {"kind": "ar1", "persistence": 0.9, "deviation": 0.02},
    "export_quota": {"kind": "markov", "values": [10.0, 100.0], "transition": [[0.5, 0.5], [0.5, 0.5]]},
    "firms": {"kind": "ar1", "persistence": 0.5, "deviation": 0.1},
}
CONFIG = EconomyConfig(num_consumers=3, num_firms=2, horizon=3, shocks=SHOCKS)
PLACE = observation_layout(CONFIG).global_slices["technology"].start


def episodes(seed, count=3, envs=1):
    """What firm 0 sees in every period of some episodes of a batch, in its first economy."""
    env = VectorEconomy(CONFIG, envs, seed=seed, autoreset=False)
    seen = []
    for _ in range(count):
        observation = env.reset()
        for _ in range(CONFIG.horizon):
            seen.append(join(observation, "firm")[0, 0, PLACE:])
            observation, *_ = env.step({name: torch.zeros_like(x) for name, x in env.sample_actions().items()})
    return torch.stack(seen)[:, :3]


def test_pettingzoo_draws_what_a_batch_draws():
    env, seen = parallel_env(CONFIG), []
    for episode in range(3):
        observations, _ = env.reset(seed=None if episode else 7)
        while env.agents:
            assert env.observation_space("firm_0").contains(observations["firm_0"])
            seen.append(torch.tensor(observations["firm_0"][PLACE:]))
            observations, *_ = env.step({a: env.action_space(a).sample() * 0 for a in env.agents})
    assert torch.equal(torch.stack(seen)[:, :2], episodes(7)[:, :2])
    first, _ = env.reset(seed=7)
    again, _ = env.reset(seed=7)
    other, _ = env.reset(seed=8)
    assert (first["firm_0"] == again["firm_0"]).all() and not (first["firm_0"] == other["firm_0"]).all()


def test_environments_that_nobody_seeds_draw_other_shocks():
    one, two = (parallel_env(CONFIG).reset()[0]["firm_0"][PLACE] for _ in range(2))
    assert one != two


def test_every_episode_meets_shocks_of_its_own():
    technology = episodes(7)[:, 0]
    assert len(technology.unique()) == len(technology) == 9


def test_the_batch_and_autoreset_change_no_draws():
    assert torch.equal(episodes(7, envs=1), episodes(7, envs=5))
    env = VectorEconomy(CONFIG, 1, seed=7)
    seen = [join(env.reset(), "firm")[0, 0, PLACE:]]
    for _ in range(8):
        observation, *_ = env.step(env.sample_actions())
        seen.append(join(observation, "firm")[0, 0, PLACE:])
    assert torch.equal(torch.stack(seen)[:, :2], episodes(7)[:, :2])


def test_what_decides_the_draws_can_be_put_back():
    env = VectorEconomy(CONFIG, 2, seed=7)
    for _ in range(2):
        env.reset()
    kept, expected = (env.shock_seed, env.episodes_drawn), env.reset()["global"]
    resumed = VectorEconomy(CONFIG, 2)
    resumed.shock_seed, resumed.episodes_drawn = kept
    assert torch.equal(resumed.reset()["global"], expected)


def test_gymnasium_draws_what_pettingzoo_draws():
    observation, _ = SingleAgentEconomy("firm", CONFIG).reset(seed=7)
    assert torch.equal(torch.tensor(observation[PLACE : PLACE + 2]), episodes(7)[0, :2])


@pytest.mark.long
def test_torchrl_draws_what_a_batch_draws():
    pytest.importorskip("torchrl")
    from rbc_marl.envs.torchrl import BatchedEconomy

    env = BatchedEconomy(CONFIG, num_envs=2, seed=7)
    for _ in range(2):
        assert torch.equal(env.reset()["firm", "observation"][0, 0, PLACE : PLACE + 2], episodes(7)[0, :2])
        env.set_seed(7)
