"""How fast episodes are sampled and iterations are trained, against RLlib's own path and a bare torch loop."""

from __future__ import annotations

import statistics
import time
from copy import deepcopy
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from rbc_marl.benchmark.bare_loop import BareLoop, Settings
from rbc_marl.benchmark.stepping import synchronise
from rbc_marl.config import AGENT_TYPES, EconomyConfig

if TYPE_CHECKING:
    from ray.rllib.algorithms.ppo import PPOConfig

    from rbc_marl.rllib.algorithm import EconomyPPO, EconomyPPOConfig

TRAINING_SIZES = (16, 128)
# What makes an iteration of rllib_configs/quickstart.yaml differ from one with default settings, the curriculum aside.
QUICKSTART: dict[str, Any] = {
    "networks": {
        "consumer": {"kind": "equivariant", "ranks_prices": True},
        "firm": {"kind": "flat", "hidden": [64, 64]},
        "government": {"kind": "flat", "hidden": [64, 64], "first_choice": 8},
    },
    "agents_per_update": {"consumer": 12},
    "trembles": {"price": 0.05},
    "logit_response": {"basket": 0.3, "work": 2.5},
}
QUICKSTART_SIZE = 7


def measure_sampling(config: EconomyConfig, device: str, rounds: int, seconds: float = 0.0) -> dict[str, Any]:
    """Agent steps a second of the batched env runner, and of RLlib's own over the PettingZoo environment.

    Args:
        config: The economy.
        device: Where the batched env runner plays.
        rounds: Times each is measured, in turn.
        seconds: Not used: a round is a whole sample.

    Returns:
        ``agent_steps_per_second`` of "batched" and "plain", and their ``ratio``.
    """
    from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner

    from rbc_marl.rllib.env_runner import EconomyEnvRunner

    batched = EconomyEnvRunner(algorithm_config(config, TRAINING_SIZES[0], device), worker_index=0)
    plain = MultiAgentEnvRunner(_plain_config(config), worker_index=0)
    agents = config.num_consumers + config.num_firms + 1
    rates: dict[str, list[float]] = {"batched": [], "plain": []}
    batched.sample()
    for _ in range(rounds):
        for name, runner in (("batched", batched), ("plain", plain)):
            episodes = TRAINING_SIZES[0] if name == "batched" else 1
            start = time.perf_counter()
            runner.sample(num_episodes=episodes)
            synchronise(device)
            rates[name].append(episodes * config.horizon * agents / (time.perf_counter() - start))
            runner.get_metrics()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {"agent_steps_per_second": medians, "ratio": medians["batched"] / medians["plain"]}


def measure_training(config: EconomyConfig, device: str, rounds: int, seconds: float = 0.0) -> dict[str, Any]:
    """Seconds of one whole training iteration of EconomyPPO, and of a bare torch loop doing the same work.

    Args:
        config: The economy.
        device: Where both train.
        rounds: Times each is measured, in turn.
        seconds: Not used: a round is some whole iterations.

    Returns:
        By number of economies, and for the quickstart's settings: seconds of "EconomyPPO" and "bare_loop", and the
        ``ratio`` of the two.
    """
    measured = {
        str(size): _measure_iterations(algorithm_config(config, size, device), device, rounds)
        for size in TRAINING_SIZES
    }
    quickstart = algorithm_config(config, QUICKSTART_SIZE, device).training(**QUICKSTART)
    return {**measured, "quickstart": _measure_iterations(quickstart, device, rounds)}


def _measure_iterations(config: EconomyPPOConfig, device: str, rounds: int) -> dict[str, float]:
    size = config.num_envs_per_env_runner
    algorithm = config.build_algo()
    try:
        loop = bare_loop_of(algorithm, size, device)
        times: dict[str, list[float]] = {"EconomyPPO": [], "bare_loop": []}
        repeats = max(TRAINING_SIZES[0] // size, 1) * 2  # iterations of few economies are short
        for turn in range(rounds + 1):
            for name, iterate in (("EconomyPPO", algorithm.train), ("bare_loop", loop.iterate)):
                start = time.perf_counter()
                for _ in range(repeats):
                    iterate()
                synchronise(device)
                if turn:  # the first round warms up
                    times[name].append((time.perf_counter() - start) / repeats)
    finally:
        algorithm.stop()
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratios = [ours / bare for ours, bare in zip(times["EconomyPPO"], times["bare_loop"], strict=True)]
    return {**medians, "ratio": statistics.median(ratios)}


def bare_loop_of(algorithm: EconomyPPO, num_envs: int, device: str = "cpu") -> BareLoop:
    """A bare loop with an algorithm's economy, settings and weights."""
    from rbc_marl.rllib.settings import as_plain, economy_of

    config = algorithm.config
    economy, _ = economy_of(config)
    networks = {t: deepcopy(algorithm.get_module(t).network).to(device) for t in AGENT_TYPES}
    values: dict[str, Any] = {field.name: as_plain(getattr(config, field.name)) for field in fields(Settings)}
    settings = Settings(**{name: value for name, value in values.items() if value is not None})
    return BareLoop(economy, networks, settings, num_envs, device)


def algorithm_config(config: EconomyConfig, size: int, device: str) -> EconomyPPOConfig:
    """Default settings with ``size`` economies."""
    from rbc_marl.rllib.algorithm import EconomyPPOConfig

    gpus = 1 if device.startswith("cuda") else 0
    return (
        EconomyPPOConfig()
        .environment("rbc_open", env_config=config.model_dump(mode="json"))
        .env_runners(num_envs_per_env_runner=size)
        .learners(num_gpus_per_learner=gpus)
        .debugging(seed=0)
    )


def _plain_config(config: EconomyConfig) -> PPOConfig:
    from ray.rllib.algorithms.ppo import PPOConfig

    from rbc_marl.rllib import plain

    plain.register()
    return (
        PPOConfig()
        .environment("rbc_open", env_config=config.model_dump(mode="json"), disable_env_checking=True)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=1, batch_mode="complete_episodes")
        .multi_agent(policies=plain.policies(), policy_mapping_fn=plain.policy_mapping_fn)
        .debugging(seed=0)
    )
