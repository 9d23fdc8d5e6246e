"""When a run stops: the criteria of a file, checked before anything starts."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from rbc_marl.analysis.metrics import QUANTITIES
from rbc_marl.errors import ConfigError, UserError, nearest

TOP_KEYS = ("training_iteration", "time_total_s", "num_env_steps_sampled_lifetime")
# Reported by every RLlib algorithm for its env runners; ours adds the economy's quantities.
EPISODE_KEYS = (
    *("episode_return_mean", "episode_return_min", "episode_return_max"),
    *("episode_len_mean", "episode_len_min", "episode_len_max", "episode_duration_sec_mean"),
    *("num_episodes", "num_episodes_lifetime", "num_env_steps_sampled", "num_env_steps_sampled_lifetime"),
)
# Every criterion whose name is the same in each run.
KNOWN = [*TOP_KEYS, *(f"env_runners/{key}" for key in (*EPISODE_KEYS, *QUANTITIES))]
KNOWN += [f"evaluation/env_runners/{key}" for key in (*EPISODE_KEYS, *QUANTITIES)]
# One number per agent, policy or loss: their names depend on the run.
OPEN_KEYS = re.compile(
    r"^(evaluation/)?env_runners/((agent|module)_episode_returns?_mean|num_(agent|module)_steps_sampled(_lifetime)?)/\w+$"
    r"|^learners/\w+/\w+$"
)
# Names of older RLlib versions.
OLD_NAMES = {
    **dict.fromkeys(("timesteps_total", "num_env_steps_sampled"), "num_env_steps_sampled_lifetime"),
    "episodes_total": "env_runners/num_episodes_lifetime",
    **dict.fromkeys(("episode_reward_mean", "episode_return_mean"), "env_runners/episode_return_mean"),
    "env_runners/episode_reward_mean": "env_runners/episode_return_mean",
    "sampler_results/episode_reward_mean": "env_runners/episode_return_mean",
    "evaluation/episode_reward_mean": "evaluation/env_runners/episode_return_mean",
}
# Criteria that only grow, and so say how far a run has come.
PROGRESS_KEYS = (*TOP_KEYS, "env_runners/num_env_steps_sampled_lifetime", "env_runners/num_episodes_lifetime")


def parse_stop(stop: Any, where: str, *, custom_metrics: bool = False) -> dict[str, float]:  # noqa: ANN401 - from a file
    """Read stop criteria, flat (`env_runners/episode_return_mean: 10`) or nested (`env_runners: {...}`).

    Args:
        stop: A mapping, or None for a run that ends when it is interrupted.
        where: Its place in the file.
        custom_metrics: Whether callbacks may report numbers under names that cannot be known here.

    Returns:
        Flat criteria; a run stops as soon as one number reaches its value.

    Raises:
        ConfigError: A criterion is unknown or its value is not a number.
    """
    if not isinstance(stop, Mapping | None):
        raise ConfigError(f"{where} is {stop!r}; it must be a mapping such as {{training_iteration: 100}}")
    flat = flatten(stop or {})
    for key, value in flat.items():
        problem = ""
        if key in OLD_NAMES:
            problem = f"is a name of older RLlib versions; write {OLD_NAMES[key]}"
        elif not (_is_usual(key) or custom_metrics):
            ends = [known for known in KNOWN if known.endswith(f"/{key}")]
            problem = "is not a result of a run" + (f'; did you mean "{ends[0]}"?' if ends else nearest(key, KNOWN))
        elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            problem = f"is {value!r}; it must be a number"
        elif key in PROGRESS_KEYS and value <= 0:
            problem = f"is {value!r}; it must be above 0"
        if problem:
            raise ConfigError(f"{where}.{key} {problem}")
    return flat


def _is_usual(key: str) -> bool:
    return key in KNOWN or OPEN_KEYS.match(key) is not None


def check_reported(stop: Mapping[str, float], results: Mapping[str, float]) -> None:
    """Refuse a criterion that this algorithm does not report, so that no run would ever end by it.

    Args:
        stop: Flat criteria.
        results: Flat results of the first iteration. Before the first episode ends nothing is known of them.

    Raises:
        UserError: There is such a criterion.
    """
    if "env_runners/episode_return_mean" not in results:
        return
    for key in stop:
        if _is_usual(key) and key.startswith("env_runners/") and key not in results:
            known = sorted(name for name in results if name.startswith("env_runners/"))
            raise UserError(f"stop.{key} is not reported by this run, which would not end by it{nearest(key, known)}")


def flatten(tree: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with the names joined by slashes."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:  # an empty one has no name to vanish under
            flat.update(flatten(value, f"{prefix}{key}/"))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def should_stop(stop: Mapping[str, float], results: Mapping[str, float]) -> bool:
    """Whether one of the criteria is reached by the flat results of an iteration."""
    return any(key in results and results[key] >= value for key, value in stop.items())


def fraction_done(stop: Mapping[str, float], results: Mapping[str, float]) -> float | None:
    """How far a run has come, from 0 to 1, by the criteria that only grow; None if there are none."""
    fractions = [results.get(key, 0.0) / value for key, value in stop.items() if key in PROGRESS_KEYS]
    return min(1.0, max(fractions)) if fractions else None
