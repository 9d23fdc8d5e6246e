"""What compiled rollouts save: the same episodes by compiled code and without it, in one process."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from rbc_marl.benchmark.clock import Limit, in_turn, is_accelerator
from rbc_marl.config import EconomyConfig

PRESET = "open_rbc"
EAGER, COMPILED = "eager", "compiled"
# Samples of one turn.
_REPEATS = 5


def measure_compiled(
    config: EconomyConfig, device: str, rounds: int, seconds: float = 0.0, limit: Limit | None = None
) -> dict[str, Any]:
    """Seconds of sampling with the settings of a preset, with compiled code and without.

    Args:
        config: The economy, in place of the preset's.
        device: Where it is played.
        rounds: Times each is measured, in turn.
        seconds: Not used: a round is some whole samples.
        limit: Of time.

    Returns:
        ``seconds`` of a sample, "eager" and "compiled", and their ``ratio``, the median over turns; ``economies`` side
        by side; and ``compile_time``, in seconds: less where the code is on disk already. Empty where the limit allows
        no sample.
    """
    from rbc_marl.experiments import load_experiments
    from rbc_marl.rllib.env_runner import EconomyEnvRunner

    limit = limit or Limit()
    if not limit.allows("compiled"):
        return {}
    (experiment,) = load_experiments(PRESET)
    runners = {}
    for name in (EAGER, COMPILED):
        settings = experiment.config.copy(copy_frozen=False)
        settings.environment(env_config=config.model_dump(mode="json"))
        settings.learners(num_gpus_per_learner=int(is_accelerator(device)))
        settings.framework(torch_compile_worker=name == COMPILED)
        settings.validate()
        runners[name] = EconomyEnvRunner(settings, worker_index=0)
        runners[name].sample()  # compiles
    calls = {name: _several(runner.sample) for name, runner in runners.items()}
    times = in_turn(calls, device, rounds, limit, "compiled")
    if len(times) < len(runners):
        return {}
    return {
        "seconds": {name: statistics.median(values) / _REPEATS for name, values in times.items()},
        "ratio": statistics.median(one / other for one, other in zip(times[COMPILED], times[EAGER], strict=True)),
        "economies": experiment.config.num_envs_per_env_runner,
        "compile_time": runners[COMPILED].compile_time,
    }


def _several(sample: Callable[[], object]) -> Callable[[], None]:
    def samples() -> None:
        for _ in range(_REPEATS):
            sample()

    return samples
