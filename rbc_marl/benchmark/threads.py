"""What more threads of a CPU bring: a step of many economies, and a training iteration."""

from __future__ import annotations

import os
import statistics
from typing import Any

import torch

from rbc_marl.benchmark.bare_loop import BareLoop
from rbc_marl.benchmark.clock import Call, Limit, in_turn, is_accelerator
from rbc_marl.benchmark.training import bare_loop
from rbc_marl.config import EconomyConfig
from rbc_marl.vector_env import VectorEconomy

# Economies side by side.
STEPPED = 1024
TRAINED = 128


def measure_threads(
    config: EconomyConfig, device: str, rounds: int, seconds: float = 0.0, limit: Limit | None = None
) -> dict[str, Any]:
    """Seconds by the clock of a step of many economies and of an iteration of the bare loop, by threads of torch.

    Args:
        config: The economy.
        device: A CPU; of an accelerator nothing is measured.
        rounds: Times each is measured; medians are reported.
        seconds: Not used: a round is ten steps or a whole iteration.
        limit: Of time.

    Returns:
        By number of threads, doubled up to the processors there are: seconds of "step" and "iteration".
    """
    limit = limit or Limit()
    if is_accelerator(device):
        return {}
    batch = VectorEconomy(config, num_envs=STEPPED)
    batch.reset()
    loop = bare_loop(config, TRAINED, device, {})
    before = torch.get_num_threads()
    figures = {}
    try:
        for threads in thread_counts(os.cpu_count() or 1):
            if limit.allows(f"threads, {threads}"):
                torch.set_num_threads(threads)
                figures[str(threads)] = _measure(batch, loop, rounds, limit)
    finally:
        torch.set_num_threads(before)
    return figures


def thread_counts(most: int) -> list[int]:
    """1, 2, 4 and so on, and the most there are."""
    counts = [1]
    while counts[-1] * 2 <= most:
        counts.append(counts[-1] * 2)
    return counts if counts[-1] == most else [*counts, most]


def _measure(batch: VectorEconomy, loop: BareLoop, rounds: int, limit: Limit) -> dict[str, float]:
    actions = batch.sample_actions()
    steps = batch.config.horizon
    calls: dict[str, Call] = {
        "step": lambda: [batch.step(actions) for _ in range(steps)],
        "iteration": loop.iterate,
    }
    times = in_turn(calls, "cpu", rounds, limit, "threads", by_clock=True)
    scale = {"step": steps, "iteration": 1}
    return {name: statistics.median(taken) / scale[name] for name, taken in times.items()}
