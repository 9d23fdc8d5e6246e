"""What became of a run: collapsed, impaired or living; or failed, where its numbers are not finite."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

from rbc_marl.analysis.metrics import collapsed
from rbc_marl.analysis.rollouts import evaluate
from rbc_marl.config import EconomyConfig
from rbc_marl.errors import ConfigError, nearest
from rbc_marl.policies.scripted import RULES, ScriptedPolicies

# A living economy reaches at least this share of the welfare of the rule-based one.
IMPAIRED_SHARE = 0.8
FAILED = "failed"
"""What stands in place of an outcome where a mean is infinite or NaN: such numbers say nothing of an economy."""
BEST = "best"
"""Stands for the best of `CANDIDATES`, for whichever welfare the government maximises."""
CANDIDATES = ("monopoly", "cost_plus", "redistribution")


def check_reference(rules: str) -> str:
    """Return the name of a rule-based economy that runs can be held against, for a field of a settings model.

    Raises:
        ConfigError: There is none of that name; the message says what it must be.
    """
    known = (BEST, *RULES)
    if rules not in known:
        raise ConfigError(f"it must be one of {', '.join(known)}{nearest(rules, known)}")
    return rules


def outcome(
    config: EconomyConfig, means: Mapping[str, float], rules: str = BEST, welfares: Sequence[str] = ()
) -> str:
    """Classify an economy by its means over episodes.

    Args:
        config: The economy.
        means: At least ``hours`` and both welfares, as `rbc_marl.analysis.rollouts.Evaluation` gives them.
        rules: Name of the rule-based economy that it is held against.
        welfares: Definitions of welfare, by any of which it may be living; empty: what its government maximises.

    Returns:
        "collapsed" (hardly anybody works), "impaired" (the welfare that its government maximises is below 80% of the
        rule-based economy's, or below 0, which is what it comes to when nobody does anything) or "living"; `FAILED`
        where any mean is infinite or NaN.
    """
    if not all(math.isfinite(value) for value in means.values()):
        return FAILED
    if collapsed(config, means["hours"]):
        return "collapsed"
    for welfare in welfares or (config.welfare,):
        judged = config.model_copy(update={"welfare": welfare})
        if means[f"welfare_{welfare}"] >= max(IMPAIRED_SHARE * reference_welfare(judged, rules), 0.0):
            return "living"
    return "impaired"


@lru_cache(maxsize=32)
def reference_welfare(config: EconomyConfig, rules: str = BEST) -> float:
    """Welfare of the rule-based economy, as the configuration defines welfare: mean of 256 episodes with seed 0."""
    if rules == BEST:
        return max(reference_welfare(config, name) for name in CANDIDATES)
    return evaluate(ScriptedPolicies(config, rules), 256, 0).means[f"welfare_{config.welfare}"]
