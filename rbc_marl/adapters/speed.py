"""How fast economies are stepped through each door, measured side by side: ``python -m rbc_marl.adapters.speed``.

All play random actions; a step is one period of one economy. Doors whose library is not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import torch

from rbc_marl.adapters.pettingzoo import parallel_env
from rbc_marl.config import EconomyConfig, preset
from rbc_marl.vector_env import VectorEconomy

BASELINE = "VectorEconomy"
# What the project holds the TorchRL environment to, as a share of the baseline.
TARGET = 0.5

Door = tuple[int, Callable[[], None]]


def measure(
    config: EconomyConfig | None = None,
    num_envs: int = 128,
    device: str = "cpu",
    rounds: int = 7,
    seconds: float = 0.5,
) -> dict[str, dict[str, float]]:
    """Steps a second through every door there is.

    Args:
        config: The economy; by default the paper's 100 consumers and 10 firms.
        num_envs: Economies in a batch (B), for the doors that take batches.
        device: Where batches are played.
        rounds: Times each door is measured, in turn; medians are reported.
        seconds: Least time of one measurement.

    Returns:
        ``steps_per_second`` by door, and ``ratio`` to `VectorEconomy`: the median over rounds.
    """
    config = config or preset("open")
    doors = make_doors(config, num_envs, device)
    rates: dict[str, list[float]] = {name: [] for name in doors}
    for _, play in doors.values():
        play()  # warms up
    for _ in range(rounds):
        for name, (steps, play) in doors.items():
            rates[name].append(steps * _rate(play, device, seconds))
    base = rates[BASELINE]
    return {
        "steps_per_second": {name: statistics.median(values) for name, values in rates.items()},
        "ratio": {
            name: statistics.median(one / other for one, other in zip(values, base, strict=True))
            for name, values in rates.items()
        },
    }


def make_doors(config: EconomyConfig, num_envs: int, device: str) -> dict[str, Door]:
    """Steps in an episode of each door, and a function that plays one."""
    length = config.horizon
    doors = {BASELINE: (length * num_envs, _vector(config, num_envs, device))}
    if importlib.util.find_spec("torchrl"):
        for name, split in (("TorchRL", False), ("TorchRL, split observations", True)):
            doors[name] = (length * num_envs, _torchrl(config, num_envs, device, split))
    doors["PettingZoo"] = (length, _pettingzoo(config))
    doors["gymnasium, one firm"] = (length, _single(config, "Firm"))
    if importlib.util.find_spec("stable_baselines3") and importlib.util.find_spec("supersuit"):
        doors["SuperSuit for Stable-Baselines3, all consumers"] = (length, _supersuit(config))
    return doors


def _vector(config: EconomyConfig, num_envs: int, device: str) -> Callable[[], None]:
    batch = VectorEconomy(config, num_envs=num_envs, device=device)

    def play() -> None:
        batch.reset()
        for _ in range(config.horizon):
            batch.step(batch.sample_actions())

    return play


def _torchrl(config: EconomyConfig, num_envs: int, device: str, split: bool) -> Callable[[], None]:
    from rbc_marl.adapters.torchrl import BatchedEconomy

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


def _rate(play: Callable[[], None], device: str, seconds: float) -> float:
    """Calls a second over at least ``seconds``."""
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        play()
        count += 1
        if device.startswith("cuda"):
            torch.cuda.synchronize()
    return count / elapsed


def table(result: dict[str, dict[str, float]]) -> str:
    """The figures as a readable text."""
    lines = ["steps a second (one period of one economy), random actions"]
    for name, rate in result["steps_per_second"].items():
        target = f"   (at least {TARGET})" if name == "TorchRL" else ""
        lines.append(f"  {name:48}{rate:12,.0f}{result['ratio'][name]:9.3f} x VectorEconomy{target}")
    return "\n".join(lines)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="How fast economies are stepped through each door.")
    parser.add_argument("--economies", type=int, default=128, help="economies in a batch")
    parser.add_argument("--device", default="cpu", help="where batches are played")
    parser.add_argument("--rounds", type=int, default=7, help="times each door is measured")
    options = parser.parse_args()
    print(table(measure(num_envs=options.economies, device=options.device, rounds=options.rounds)))


if __name__ == "__main__":
    main()
