"""What a step, sampling and a training iteration cost by the size of the economy: time and memory."""

from __future__ import annotations

import statistics
import sys
from typing import Any

import torch

from rbc_marl.benchmark.clock import Call, Limit, in_turn, is_accelerator
from rbc_marl.benchmark.training import trainer
from rbc_marl.config import EconomyConfig
from rbc_marl.errors import ConfigError
from rbc_marl.policies.slabs import keep_freed_memory
from rbc_marl.vector_env import VectorEconomy

# Times as many consumers and firms as the economy has, a decade apart.
FACTORS = ((10, 1), (100, 1), (1_000, 1), (10, 10), (10, 100), (10_000, 1))
# From this factor on everything is measured once, and cold: an iteration takes half a minute.
ONCE = 10_000
TIMED = ("step", "sample", "iteration")
# Consumers from whom an update learns.
AGENTS = 25
# An economy ten times as large takes at most so many times as long.
DECADE = 12


def measure_sizes(
    config: EconomyConfig, device: str, rounds: int, seconds: float = 0.0, limit: Limit | None = None
) -> dict[str, Any]:
    """Time and memory of one economy, by its size.

    Args:
        config: The smallest economy; the others have times as many consumers and firms.
        device: Where it is played and learnt from.
        rounds: Times each is measured; medians are reported.
        seconds: Not used: a round is a whole step, episode or iteration.
        limit: Of time. A size that would take longer than is left is left out, as one is that memory cannot hold.

    Returns:
        By size, such as "1,000 x 10": seconds of "step", "sample" (an episode with networks) and "iteration" (with
        updates from some of the consumers), and "memory": the most bytes that this process has held so far, or on an
        accelerator the most that it held for this size.
    """
    keep_freed_memory()
    limit = limit or Limit()
    figures: dict[str, Any] = {}
    by_factor: dict[int, float] = {}
    for consumers, firms in FACTORS:
        counts = {"num_consumers": config.num_consumers * consumers, "num_firms": config.num_firms * firms}
        name = "sizes, " + " x ".join(f"{count:,}" for count in counts.values())
        # What an economy of a tenth takes, or would have taken, foretells it.
        factor = consumers * firms
        by_factor[factor] = by_factor.get(factor // 10, 0.0) * DECADE
        if not limit.allows(name, by_factor[factor]):
            continue
        try:
            measured = _measure(config.replace(**counts), device, 0 if consumers >= ONCE else rounds, limit, name)
        except (ConfigError, torch.OutOfMemoryError) as error:
            limit.skipped.append(f"{name}: {str(error).splitlines()[0]}")
            continue
        by_factor[factor] = sum(measured.get(part, 0.0) for part in TIMED)
        figures[name.removeprefix("sizes, ")] = measured
    return figures


def _measure(
    config: EconomyConfig, device: str, rounds: int, limit: Limit, what: str
) -> dict[str, float]:
    if is_accelerator(device):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    batch = VectorEconomy(config, device=device)
    batch.reset()
    actions = batch.sample_actions()
    step: dict[str, Call] = {"step": lambda: batch.step(actions)}
    times = in_turn(step, device, max(rounds, 3), limit, what)
    with trainer(config, 1, device, {"agents_per_update": {"consumer": AGENTS}}) as training:
        calls: dict[str, Call] = {"sample": training.sample, "iteration": training.iterate}
        times |= in_turn(calls, device, rounds, limit, what)
    memory = float(torch.cuda.max_memory_allocated(device)) if is_accelerator(device) else _most_memory()
    return {**{name: statistics.median(values) for name, values in times.items()}, "memory": memory}


def _most_memory() -> float:
    """Bytes that this process has held at most; NaN where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most if sys.platform == "darwin" else most * 1024)
