"""How fast economies are stepped: by the batch, by plain Python, and through each environment.

A step is one period of one economy. Environments play random actions; those whose library is not installed are left
out.
"""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable, Mapping
from itertools import cycle
from typing import Any

import gymnasium

from rbc_marl.benchmark import scalar_economy
from rbc_marl.benchmark.clock import Limit, now
from rbc_marl.benchmark.floor import floor_of_a_step
from rbc_marl.config import EconomyConfig
from rbc_marl.envs.pettingzoo import parallel_env
from rbc_marl.vector_env import VectorEconomy

BATCH_SIZES = (1, 16, 128, 1024)
# Economies in a batch, for the environments that take batches.
NUM_ENVS = 128
BASELINE = "VectorEconomy"

Contender = tuple[int, Callable[[], object]]
"""Steps of one call, and the call."""


def measure_economy(
    config: EconomyConfig, device: str, rounds: int, seconds: float, limit: Limit | None = None
) -> dict[str, Any]:
    """Steps a second of `VectorEconomy` by batch size, and of the economy in plain Python.

    Args:
        config: The economy.
        device: Where batches are played.
        rounds: Times each contender is measured, in turn; medians are reported.
        seconds: Least time of one round.
        limit: Of time.

    Returns:
        ``steps_per_second`` by batch size and of "scalar", ``ratio_to_scalar`` by batch size, and the ``floor`` of a
        step of the largest batch (`rbc_marl.benchmark.floor`), with the ``ratio`` of a step to it.
    """
    limit = limit or Limit()
    contenders: dict[str, Contender] = {str(size): (size, stepper(config, size, device)) for size in BATCH_SIZES}
    contenders["scalar"] = (1, _scalar_stepper(config))
    rates = measure_rates(contenders, device, rounds, seconds / len(contenders), limit)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ratios = {name: rate / medians["scalar"] for name, rate in medians.items() if name != "scalar"}
    figures: dict[str, Any] = {"steps_per_second": medians, "ratio_to_scalar": ratios}
    if limit.allows("the floor of a step"):
        floor = floor_of_a_step(config, BATCH_SIZES[-1], device)
        figures["floor"] = {**floor, "ratio": BATCH_SIZES[-1] / medians[str(BATCH_SIZES[-1])] / floor["seconds"]}
    return figures


def measure_environments(
    config: EconomyConfig,
    device: str,
    rounds: int,
    seconds: float,
    limit: Limit | None = None,
    num_envs: int = NUM_ENVS,
) -> dict[str, Any]:
    """Steps a second through every environment there is, with random actions.

    Args:
        config: The economy.
        device: Where batches are played.
        rounds: Times each environment is measured, in turn.
        seconds: Least time of one round.
        limit: Of time.
        num_envs: Economies in a batch (B).

    Returns:
        ``steps_per_second`` by environment, and ``ratio`` to `VectorEconomy`: the medians over rounds.
    """
    environments = make_environments(config, num_envs, device)
    rates = measure_rates(environments, device, rounds, seconds / len(environments), limit or Limit())
    base = rates[BASELINE]
    ratios = {name: [a / b for a, b in zip(values, base, strict=True)] for name, values in rates.items()}
    return {
        "steps_per_second": {name: statistics.median(values) for name, values in rates.items()},
        "ratio": {name: statistics.median(values) for name, values in ratios.items()},
    }


def measure_rates(
    contenders: Mapping[str, Contender], device: str, rounds: int, seconds: float, limit: Limit
) -> dict[str, list[float]]:
    """Steps a second of each contender in each round, after a call that warms up; all are measured at least once."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _, call in contenders.values():
        call()
    for turn in range(rounds):
        if turn and not limit.allows(f"{rounds - turn} of {rounds} turns"):
            break
        for name, (steps, call) in contenders.items():
            rates[name].append(steps * calls_per_second(call, device, seconds))
    return rates


def calls_per_second(call: Callable[[], object], device: str, seconds: float) -> float:
    """Calls a second over at least some seconds. A device is waited for before the clock is read."""
    count, block, start = 0, 1, now(device)
    while (elapsed := now(device) - start) < seconds:
        for _ in range(block):
            call()
        count += block
        block = min(2 * block, 16)
    return count / elapsed


def stepper(config: EconomyConfig, size: int, device: str) -> Callable[[], object]:
    """One period of a batch of economies."""
    batch = VectorEconomy(config, num_envs=size, device=device)
    batch.reset()
    actions = cycle([batch.sample_actions() for _ in range(4)])
    return lambda: batch.step(next(actions))


def _scalar_stepper(config: EconomyConfig) -> Callable[[], object]:
    """One period in plain Python. The same work as a step of the batch: decode the choices, play the period."""
    actions = VectorEconomy(config, num_envs=1).sample_actions()
    indices: dict[str, Any] = {name: index[0].tolist() for name, index in actions.items()}
    state = scalar_economy.start(config)
    return lambda: scalar_economy.play_period(config, state, scalar_economy.decode_action(config, **indices))


def make_environments(config: EconomyConfig, num_envs: int, device: str) -> dict[str, Contender]:
    """Steps in an episode of each environment, and a function that plays one."""
    length = config.horizon
    environments: dict[str, Contender] = {BASELINE: (length * num_envs, _vector(config, num_envs, device))}
    if importlib.util.find_spec("torchrl"):
        for name, split in (("TorchRL", False), ("TorchRL, split observations", True)):
            environments[name] = (length * num_envs, _torchrl(config, num_envs, device, split))
    environments["PettingZoo"] = (length, _pettingzoo(config))
    environments["gymnasium, one firm"] = (length, _single(config, "Firm"))
    if importlib.util.find_spec("stable_baselines3") and importlib.util.find_spec("supersuit"):
        environments["SuperSuit for Stable-Baselines3, all consumers"] = (length, _supersuit(config))
    return environments


def _vector(config: EconomyConfig, num_envs: int, device: str) -> Callable[[], None]:
    batch = VectorEconomy(config, num_envs=num_envs, device=device)

    def play() -> None:
        batch.reset()
        for _ in range(config.horizon):
            batch.step(batch.sample_actions())

    return play


def _torchrl(config: EconomyConfig, num_envs: int, device: str, split: bool) -> Callable[[], None]:
    from rbc_marl.envs.torchrl import BatchedEconomy

    env = BatchedEconomy(config, num_envs, device=device, split=split)

    def play() -> None:
        data = env.reset()
        for _ in range(config.horizon):  # what its collectors do
            _, data = env.step_and_maybe_reset(env.rand_action(data))

    return play


def _pettingzoo(config: EconomyConfig) -> Callable[[], None]:
    env = parallel_env(config)

    def play() -> None:
        env.reset()
        while env.agents:
            env.step({agent: env.action_space(agent).sample() for agent in env.agents})

    return play


def _single(config: EconomyConfig, agent: str) -> Callable[[], None]:
    env: Any = gymnasium.make(f"rbc_marl/{agent}-v0", config=config)

    def play() -> None:
        env.reset()
        for _ in range(config.horizon):
            env.step(env.action_space.sample())

    return play


def _supersuit(config: EconomyConfig) -> Callable[[], None]:
    import supersuit

    env = supersuit.pettingzoo_env_to_vec_env_v1(parallel_env(config, train_types=["consumer"]))
    envs = supersuit.concat_vec_envs_v1(env, 1, num_cpus=1, base_class="stable_baselines3")
    draws = VectorEconomy(config)

    def play() -> None:
        envs.reset()
        for _ in range(config.horizon):
            envs.step(draws.sample_actions()["consumer"][0].numpy())

    return play
