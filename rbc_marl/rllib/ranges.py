"""What numbers and words of RLlib's settings can be; RLlib itself checks few of them.

Files are checked key by key, with the place in the file; configurations made in Python when they are validated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from rbc_marl.errors import ConfigError, nearest

GREATEST_SEED = 2**32 - 1
"""Of a run: NumPy takes no greater one."""
# Each is a process, and no cluster has more; more sounds like a slip of the keyboard.
_MOST_PROCESSES = 10_000
_MOST = 1e12
_COUNT, _POSITIVE = (0, _MOST), (1, _MOST)

RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("gamma", "lambda_"), (0.0, 1.0)),
    **dict.fromkeys(("lr", "clip_param", "entropy_coeff", "vf_loss_coeff", "vf_clip_param"), (0.0, math.inf)),
    **dict.fromkeys(("kl_coeff", "grad_clip"), (0.0, math.inf)),
    "seed": (0, GREATEST_SEED),
    **dict.fromkeys(("num_env_runners", "num_learners", "evaluation_num_env_runners"), (0, _MOST_PROCESSES)),
    **dict.fromkeys(("num_cpus_per_env_runner", "num_cpus_for_main_process", "num_cpus_per_learner"), (0, 10_000)),
    **dict.fromkeys(("num_gpus", "num_gpus_per_env_runner", "num_gpus_per_learner", "local_gpu_idx"), (0, 1_000)),
    "num_epochs": (1, 10_000),
    "evaluation_duration": (1, 1e7),
    **dict.fromkeys(("minibatch_size", "train_batch_size", "train_batch_size_per_learner"), _POSITIVE),
    **dict.fromkeys(("num_envs_per_env_runner", "evaluation_interval"), _POSITIVE),
    "metrics_num_episodes_for_smoothing": _POSITIVE,
    **dict.fromkeys(("max_requests_in_flight_per_env_runner", "max_requests_in_flight_per_learner"), _POSITIVE),
    **dict.fromkeys(("sample_timeout_s", "evaluation_sample_timeout_s"), _COUNT),
    **dict.fromkeys(("min_time_s_per_iteration", "min_train_timesteps_per_iteration"), _COUNT),
    **dict.fromkeys(("min_sample_timesteps_per_iteration", "num_aggregator_actors_per_learner"), _COUNT),
    "evaluation_auto_duration_min_env_steps_per_sample": _POSITIVE,
    "evaluation_auto_duration_max_env_steps_per_sample": _POSITIVE,
    **dict.fromkeys(("max_num_env_runner_restarts", "delay_between_env_runner_restarts_s"), _COUNT),
    **dict.fromkeys(("env_runner_health_probe_timeout_s", "env_runner_restore_timeout_s"), _COUNT),
    "num_consecutive_env_runner_failures_tolerance": _COUNT,
    "evaluation_error_after_n_consecutive_skips": _POSITIVE,
}
"""What a number can be, both ends included."""
WORDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("framework", "framework_str"), ("torch",)),
    "placement_strategy": ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"),
    "log_level": ("DEBUG", "INFO", "WARN", "WARNING", "ERROR"),
    "evaluation_duration_unit": ("episodes", "timesteps"),
    "grad_clip_by": ("value", "norm", "global_norm"),
    "merge_env_runner_states": ("training_only",),
    "num_cpus_per_learner": ("auto",),
    "evaluation_duration": ("auto",),
    "batch_mode": ("complete_episodes", "truncate_episodes"),
}
"""The texts that a setting can be, beside numbers, true and false where it takes these."""
# Mappings of resources, each of a number that is at least 0.
_AMOUNTS = ("custom_resources_for_main_process", "custom_resources_per_env_runner", "custom_resources_per_learner")


def out_of_range(name: str, value: object) -> str:
    """What is wrong with the value of a setting of RLlib's; empty for nothing, and for a setting not known here."""
    if isinstance(value, str) and name in WORDS and value not in WORDS[name]:
        return f"is {value!r}; it must be {' or '.join(WORDS[name])}{nearest(value, WORDS[name])}"
    amounts = value if name in _AMOUNTS and isinstance(value, Mapping) else {}
    for resource, amount in amounts.items():
        if type(amount) not in (int, float) or not 0 <= amount < math.inf:
            return f"holds {resource}: {amount!r}; an amount must be a number of at least 0"
    low, high = RANGES.get(name, (-math.inf, math.inf))
    if type(value) not in (int, float) or low <= value <= high:  # type: ignore[operator]  # a number by now
        return ""
    allowed = f"at least {low:g}" if high >= _MOST and value < low else f"between {low:g} and {high:,.0f}"  # type: ignore[operator]
    return f"is {value!r}; it must be {allowed}"


def check_ranges(settings: Mapping[str, object]) -> None:
    """Refuse numbers and words of a configuration that cannot be.

    Args:
        settings: By the name of RLlib's attribute.

    Raises:
        ConfigError: The message begins with the name.
    """
    for name, value in settings.items():
        if problem := out_of_range(name.lstrip("_"), value):
            raise ConfigError(f"{name.lstrip('_')} {problem}")
