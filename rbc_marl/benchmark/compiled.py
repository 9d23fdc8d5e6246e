"""What compiled rollouts save: the same episodes by compiled code and without it, in one process."""

from __future__ import annotations

import statistics
import time
from typing import Any

from rbc_marl.config import EconomyConfig

PRESET = "open_rbc"
EAGER, COMPILED = "eager", "compiled"
# Samples of one turn.
_REPEATS = 5


def measure_compiled(config: EconomyConfig, device: str, rounds: int, seconds: float = 0.0) -> dict[str, Any]:
    """Seconds of sampling with the settings of a preset, with compiled code and without.

    Args:
        config: The economy, in place of the preset's.
        device: Where it is played.
        rounds: Times each is measured, in turn.
        seconds: Not used: a round is some whole samples.

    Returns:
        ``seconds`` of "eager" and of "compiled" (CPU time where a CPU plays) and their ``ratio``, the median over
        turns; ``economies`` side by side; and ``compile_time``, in seconds: less where the code is on disk already.
    """
    from rbc_marl.benchmark.stepping import synchronise
    from rbc_marl.experiments import load_experiments
    from rbc_marl.rllib.env_runner import EconomyEnvRunner

    (experiment,) = load_experiments(PRESET)
    runners = {}
    for name in (EAGER, COMPILED):
        settings = experiment.config.copy(copy_frozen=False)
        settings.environment(env_config=config.model_dump(mode="json"))
        settings.learners(num_gpus_per_learner=1 if device.startswith("cuda") else 0)
        settings.framework(torch_compile_worker=name == COMPILED)
        settings.validate()
        runners[name] = EconomyEnvRunner(settings, worker_index=0)
        runners[name].sample()
    times: dict[str, list[float]] = {name: [] for name in runners}
    now = time.process_time if device == "cpu" else time.perf_counter
    for _ in range(rounds):
        for name, runner in runners.items():
            start = now()
            for _ in range(_REPEATS):
                runner.sample()
            synchronise(device)
            times[name].append((now() - start) / _REPEATS)
    return {
        "seconds": {name: statistics.median(values) for name, values in times.items()},
        "ratio": statistics.median(one / other for one, other in zip(times[COMPILED], times[EAGER], strict=True)),
        "economies": experiment.config.num_envs_per_env_runner,
        "compile_time": runners[COMPILED].compile_time,
    }
