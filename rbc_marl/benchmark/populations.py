"""What an iteration of a run costs in a population: one process that trains several runs together."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from rbc_marl.benchmark.stepping import synchronise
from rbc_marl.benchmark.training import QUICKSTART, QUICKSTART_SIZE, algorithm_config
from rbc_marl.config import EconomyConfig

RUNS = (2, 4, 8, 16)
ALONE = "alone"


def measure_populations(config: EconomyConfig, device: str, rounds: int, seconds: float = 0.0) -> dict[str, Any]:
    """Seconds of an iteration of one run with the quickstart's settings, alone and in populations.

    Args:
        config: The economy.
        device: Where all train.
        rounds: Times each is measured, in turn.
        seconds: Not used: a round is a whole iteration.

    Returns:
        By number of runs, "alone" first: ``seconds`` of a run's iteration (CPU time where a CPU trains), and their
        ``ratio`` to those of a run alone, the median over turns.
    """
    from rbc_marl.rllib.population import Population

    def settings() -> Any:  # noqa: ANN401 - EconomyPPOConfig: RLlib is imported where it is needed
        return algorithm_config(config, QUICKSTART_SIZE, device).training(**QUICKSTART)

    algorithm = settings().build_algo()
    try:
        trained: dict[str, tuple[int, Callable[[], object]]] = {ALONE: (1, algorithm.train)}
        trained |= {str(runs): (runs, Population(settings(), range(runs)).train) for runs in RUNS}
        times: dict[str, list[float]] = {name: [] for name in trained}
        now = time.process_time if device == "cpu" else time.perf_counter
        for turn in range(rounds + 1):
            for name, (runs, train) in trained.items():
                start = now()
                train()
                synchronise(device)
                if turn:  # the first round warms up
                    times[name].append((now() - start) / runs)
    finally:
        algorithm.stop()
    alone = times[ALONE]
    return {
        name: {
            "seconds": statistics.median(values),
            "ratio": statistics.median(one / other for one, other in zip(values, alone, strict=True)),
        }
        for name, values in times.items()
    }
