"""Small algorithms for tests, and what to look at in them."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from torch.fx.experimental.proxy_tensor import make_fx

from rbc_marl.config import AGENT_TYPES
from rbc_marl.rllib import plain
from rbc_marl.rllib.algorithm import EconomyPPOConfig
from rbc_marl.rllib.callbacks import curriculum_callback
from rbc_marl.rllib.modules import module_spec

STEPS = 16  # env steps of an iteration: 4 economies of 4 periods
ECONOMY = {"num_consumers": 6, "num_firms": 2, "horizon": 4}
NETWORKS = {agent_type: {"kind": "flat", "hidden": [16, 16]} for agent_type in AGENT_TYPES}


def small_config(env="rbc_open", *, economies=4, seed=3, economy=None, **training):
    """An EconomyPPOConfig of 6 consumers and 2 firms; ``training`` are its training settings."""
    return (
        EconomyPPOConfig()
        .environment(env, env_config={**ECONOMY, **(economy or {})})
        .env_runners(num_envs_per_env_runner=economies)
        .training(**{"networks": NETWORKS, **training})
        .debugging(seed=seed, log_level="ERROR")
    )


def plain_config(curriculum, **training):
    """RLlib's own PPO in that economy, which follows a curriculum through the callback; as in `small_config`."""
    spaces = small_config(**training)
    spec = MultiRLModuleSpec(rl_module_specs={t: module_spec(spaces, t) for t in AGENT_TYPES})
    plain.register()
    return (
        PPOConfig()
        .environment("rbc_open", env_config={**ECONOMY, "reward_scale": {"firm": 30000}})
        .env_runners(num_env_runners=0, batch_mode="complete_episodes")
        .training(train_batch_size_per_learner=STEPS, minibatch_size=STEPS, num_epochs=1, lr=1e-3, vf_clip_param=1e9)
        .multi_agent(policies=plain.policies(), policy_mapping_fn=plain.policy_mapping_fn)
        .rl_module(rl_module_spec=spec)
        .callbacks(curriculum_callback(curriculum))
        .debugging(seed=0, log_level="ERROR")
    )


def recorded(function, inputs):
    """Stand in for `rbc_marl.rllib.compiled._compiled`: the recorded graph itself, for which nothing is compiled."""
    assert not torch.is_grad_enabled()  # what is recorded with gradients takes twice as long
    return make_fx(function)(*inputs)


@contextmanager
def built(config):
    """The algorithm of a configuration, stopped at the end."""
    algorithm = config.build_algo()
    try:
        yield algorithm
    finally:
        algorithm.stop()


def weights_of(algorithm):
    """Copies of the learner's weights and buffers, by module and name."""
    return copied(algorithm.learner_group.get_weights())


def runner_weights_of(algorithm):
    """The same of the local env runner (which has no more than it needs to act)."""
    return copied(algorithm.env_runner.module.get_state())


def copied(state):
    return {m: {name: torch.tensor(np.array(x)) for name, x in named.items()} for m, named in state.items()}


def changed(before, after):
    """Names of modules of which any weight differs in any bit."""
    return {m for m in before if any(not torch.equal(before[m][name], after[m][name]) for name in before[m])}


def trained(config, iterations):
    """Weights after some iterations, and the last result."""
    with built(config) as algorithm:
        for _ in range(iterations):
            result = algorithm.train()
        return weights_of(algorithm), result


def numbers(tree, path=()):
    """Every number in nested results, with its path."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from numbers(value, (*path, key))
        elif isinstance(value, int | float):
            yield (*path, key), float(value)
