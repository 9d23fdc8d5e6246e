"""What matrix products in bfloat16 save: the same training iteration with them and in float32, in one process."""

from __future__ import annotations

import statistics
from typing import Any

from rbc_marl.benchmark.clock import Call, Limit, in_turn
from rbc_marl.benchmark.sizes import AGENTS
from rbc_marl.benchmark.training import TRAINING_SIZES, trainer
from rbc_marl.config import EconomyConfig

FLOAT32, BFLOAT16 = "float32", "bfloat16"
# One economy with so many times as many consumers is measured too: there most of an iteration is acting.
LARGE = 1_000


def measure_autocast(
    config: EconomyConfig, device: str, rounds: int, seconds: float = 0.0, limit: Limit | None = None
) -> dict[str, Any]:
    """Seconds of a whole iteration with flat networks, their matrix products in bfloat16 and in float32.

    Args:
        config: The economy.
        device: Where it is played and learnt from.
        rounds: Times each is measured, in turn.
        seconds: Not used: a round is a whole iteration.
        limit: Of time.

    Returns:
        By number of economies, and for one large economy by its size: ``seconds`` of an iteration, "float32" and
        "bfloat16", and their ``ratio``, the median over turns. Cases for which there is no time are missing.
    """
    limit = limit or Limit()
    large = config.replace(num_consumers=config.num_consumers * LARGE)
    cases: dict[str, tuple[EconomyConfig, int, dict[str, Any]]] = {str(n): (config, n, {}) for n in TRAINING_SIZES}
    cases[f"{large.num_consumers:,} x {large.num_firms}"] = (large, 1, {"agents_per_update": {"consumer": AGENTS}})
    figures = {}
    for name, (economy, count, settings) in cases.items():
        with (
            trainer(economy, count, device, settings) as single,
            trainer(economy, count, device, {**settings, "autocast": BFLOAT16}) as half,
        ):
            calls: dict[str, Call] = {FLOAT32: single.iterate, BFLOAT16: half.iterate}
            times = in_turn(calls, device, rounds, limit, f"autocast, {name}")
        if len(times) == len(calls):
            pairs = zip(times[BFLOAT16], times[FLOAT32], strict=True)
            figures[name] = {
                "seconds": {each: statistics.median(values) for each, values in times.items()},
                "ratio": statistics.median(one / other for one, other in pairs),
            }
    return figures
