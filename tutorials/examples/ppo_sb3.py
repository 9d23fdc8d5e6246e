"""Stable-Baselines3's PPO: the consumers of an economy through SuperSuit, or a single agent without it.

    pip install 'rbc_marl[sb3]'
    python tutorials/examples/ppo_sb3.py                # all consumers share one policy; rules play the rest
    python tutorials/examples/ppo_sb3.py --agent Firm   # one firm learns; rules play everybody else

Stable-Baselines3 knows one observation space, one action space and one reward. SuperSuit makes each consumer of each
economy one of its environments: they share spaces, and so a policy.
"""

from __future__ import annotations

import argparse

import gymnasium
import supersuit
from stable_baselines3 import PPO
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv

import rbc_marl

# Divisors that bring rewards to about 1: utility, money, welfare.
REWARD_SCALE = {"Consumer": 5.0, "Firm": 30000.0, "Government": 1000.0}


def consumers(num_economies=4, others="cost_plus", **economy):
    """A vector environment in which every consumer of every economy is one environment."""
    env = rbc_marl.parallel_env("open", train_types=["consumer"], others=others, **economy)
    env = supersuit.reward_lambda_v0(env, lambda reward: reward / REWARD_SCALE["Consumer"])
    env = supersuit.pettingzoo_env_to_vec_env_v1(env)
    return supersuit.concat_vec_envs_v1(env, num_economies, num_cpus=1, base_class="stable_baselines3")


def alone(agent, num_economies=20, others="cost_plus", **economy):
    """A vector environment of economies in each of which one "Consumer", one "Firm" or the "Government" learns."""

    def make():  # the horizon is the end: nothing is to be bootstrapped from a value after it
        env = gymnasium.make(f"rbc_marl/{agent}-v0", others=others, terminate_at_horizon=True, **economy)
        return gymnasium.wrappers.TransformReward(env, lambda reward: reward / REWARD_SCALE[agent])

    return DummyVecEnv([make] * num_economies)


def seed_economies(env, seed):
    """Let whoever is not trained draw from ``seed`` in the first economy, ``seed + 1`` in the second, and so on."""
    if isinstance(env, DummyVecEnv):
        env.seed(seed)  # at the next reset
    else:
        env.venv.reset(seed=seed)  # SuperSuit's outermost wrapper hands on no seed


def train(env, timesteps, seed=0, **settings):
    """Train PPO. Its own argument ``seed`` fails with SuperSuit: torch, NumPy and the economies are seeded here."""
    set_random_seed(seed)
    seed_economies(env, seed)
    settings = {"n_steps": 10, "batch_size": 200, "n_epochs": 4, "gamma": 0.9999, "gae_lambda": 1.0, **settings}
    return PPO("MlpPolicy", env, device="cpu", **settings).learn(timesteps)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="PPO of Stable-Baselines3 on an economy")
    parser.add_argument("--agent", choices=["Consumer", "Firm", "Government"], help="train this agent alone")
    parser.add_argument("--timesteps", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    size = {"num_consumers": 20, "num_firms": 4}
    environment = alone(options.agent, **size) if options.agent else consumers(**size)
    train(environment, options.timesteps, options.seed, verbose=1)
