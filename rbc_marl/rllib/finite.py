"""Numbers of an iteration that say nothing of an economy: infinite or NaN."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ray.rllib.core.learner.learner import ENTROPY_KEY, POLICY_LOSS_KEY, VF_LOSS_KEY
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    EPISODE_MODULE_RETURN_MEAN,
    LEARNER_RESULTS,
    NUM_ENV_STEPS_SAMPLED,
    NUM_MODULE_STEPS_TRAINED,
)

from rbc_marl.errors import NonFiniteError


def check_finite_results(results: Mapping[str, Any], iteration: int) -> None:
    """Refuse returns and losses of an iteration that are infinite or NaN; they are on the host already."""
    sampled = results.get(ENV_RUNNER_RESULTS, {})
    if not sampled.get(NUM_ENV_STEPS_SAMPLED):  # of nothing RLlib reports means that are NaN
        return
    returns = sampled.get(EPISODE_MODULE_RETURN_MEAN, {})
    learners = results.get(LEARNER_RESULTS, {})
    losses = {
        f"{key} of the {module_id}": reported[key]
        for module_id, reported in learners.items()
        for key in (POLICY_LOSS_KEY, VF_LOSS_KEY, ENTROPY_KEY)
        if key in reported and reported.get(NUM_MODULE_STEPS_TRAINED, 0) > 0  # of whom nothing was learnt it is NaN
    }
    check_finite_numbers({**{f"the mean return of the {m}": x for m, x in returns.items()}, **losses}, iteration)


def check_finite_numbers(named: Mapping[str, float], iteration: int) -> None:
    """Refuse numbers of an iteration that are infinite or NaN.

    Raises:
        NonFiniteError: One is; the message says which.
    """
    for what, value in named.items():
        if not math.isfinite(value):
            raise NonFiniteError(
                f"training stops in iteration {iteration}: {what} is {float(value)}; "
                "check the sizes of prices, wages and interest_rate, reward_scale and lr"
            )
