"""What a step, sampling and a training iteration cost by the size of the economy: CPU time and memory."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from rbc_marl.config import EconomyConfig
from rbc_marl.policies.slabs import keep_freed_memory
from rbc_marl.vector_env import VectorEconomy

# Times as many consumers and firms as the economy has, a decade apart.
FACTORS = ((10, 1), (100, 1), (1_000, 1), (10, 10), (10, 100))
# Consumers from whom an update learns.
AGENTS = 25


def measure_sizes(config: EconomyConfig, device: str, rounds: int, seconds: float = 0.0) -> dict[str, Any]:
    """CPU time and memory of one economy, by its size.

    Args:
        config: The smallest economy; the others have times as many consumers and firms.
        device: Where it is played and learnt from.
        rounds: Times each is measured; medians are reported.
        seconds: Not used: a round is a whole step, episode or iteration.

    Returns:
        By size, such as "1,000 x 10": CPU seconds of "step", "sample" (an episode with networks) and "iteration" (with
        updates from some of the consumers), and "memory", the most bytes that this process has held so far.
    """
    keep_freed_memory()
    figures = {}
    for consumers, firms in FACTORS:
        counts = {"num_consumers": config.num_consumers * consumers, "num_firms": config.num_firms * firms}
        name = " x ".join(f"{count:,}" for count in counts.values())
        figures[name] = _measure(config.replace(**counts), device, rounds)
    return figures


def _measure(config: EconomyConfig, device: str, rounds: int) -> dict[str, float]:
    from rbc_marl.benchmark.training import algorithm_config

    batch = VectorEconomy(config, device=device)
    batch.reset()
    actions = batch.sample_actions()
    algorithm = algorithm_config(config, 1, device).training(agents_per_update={"consumer": AGENTS}).build_algo()
    try:
        calls: dict[str, Callable[[], object]] = {
            "step": lambda: batch.step(actions),
            "sample": algorithm.env_runner.sample,
            "iteration": algorithm.train,
        }
        times = {name: _cpu_seconds(call, rounds) for name, call in calls.items()}
    finally:
        algorithm.stop()
    return {**times, "memory": _most_memory()}


def _cpu_seconds(call: Callable[[], object], rounds: int) -> float:
    """Median CPU time of a call, after one that warms up."""
    call()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return statistics.median(times)


def _most_memory() -> float:
    """Bytes that this process has held at most; NaN where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most if sys.platform == "darwin" else most * 1024)
