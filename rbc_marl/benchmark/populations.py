"""What an iteration of a run costs in a population: one process that trains several runs together."""

from __future__ import annotations

import statistics
from typing import Any

from rbc_marl.benchmark.clock import Call, Limit, in_turn
from rbc_marl.benchmark.training import QUICKSTART, QUICKSTART_SIZE, algorithm_config
from rbc_marl.config import EconomyConfig

RUNS = (2, 4, 8, 16)
ALONE = "alone"


def measure_populations(
    config: EconomyConfig, device: str, rounds: int, seconds: float = 0.0, limit: Limit | None = None
) -> dict[str, Any]:
    """Seconds of an iteration of one run with the quickstart's settings, alone and in populations.

    Args:
        config: The economy.
        device: Where all train.
        rounds: Times each is measured, in turn.
        seconds: Not used: a round is a whole iteration.
        limit: Of time.

    Returns:
        By number of runs, "alone" first: ``seconds`` of a run's iteration, and their ``ratio`` to those of a run alone,
        the median over turns.
    """
    from rbc_marl.rllib.population import Population

    def settings() -> Any:  # noqa: ANN401 - EconomyPPOConfig: RLlib is imported where it is needed
        return algorithm_config(config, QUICKSTART_SIZE, device).training(**QUICKSTART)

    algorithm = settings().build_algo()
    try:
        runs_of = {ALONE: 1} | {str(runs): runs for runs in RUNS}
        calls: dict[str, Call] = {ALONE: algorithm.train}
        calls |= {str(runs): Population(settings(), range(runs)).train for runs in RUNS}
        taken = in_turn(calls, device, rounds, limit or Limit(), "populations")
        times = {name: [seconds / runs_of[name] for seconds in values] for name, values in taken.items()}
    finally:
        algorithm.stop()
    alone = times.get(ALONE, [])
    return {
        name: {
            "seconds": statistics.median(values),
            "ratio": statistics.median(one / other for one, other in zip(values, alone, strict=True)),
        }
        for name, values in times.items()
    }
