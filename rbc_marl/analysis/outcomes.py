"""What became of a run: collapsed, impaired or living."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from rbc_marl.analysis.metrics import collapsed
from rbc_marl.analysis.rollouts import evaluate
from rbc_marl.config import EconomyConfig
from rbc_marl.policies.scripted import ScriptedPolicies

# A living economy reaches at least this share of the welfare of the rule-based one.
IMPAIRED_SHARE = 0.8


def outcome(config: EconomyConfig, means: Mapping[str, float], rules: str = "monopoly") -> str:
    """Classify an economy by its means over episodes.

    Args:
        config: The economy.
        means: At least ``hours`` and both welfares, as `rbc_marl.analysis.rollouts.Evaluation` gives them.
        rules: Name of the rule-based economy that it is held against.

    Returns:
        "collapsed" (hardly anybody works), "impaired" (the welfare that its government maximises is below 80% of the
        rule-based economy's) or "living".
    """
    if collapsed(config, means["hours"]):
        return "collapsed"
    key = f"welfare_{config.welfare}"
    return "impaired" if means[key] < IMPAIRED_SHARE * reference_welfare(config, rules) else "living"


@lru_cache(maxsize=32)
def reference_welfare(config: EconomyConfig, rules: str = "monopoly") -> float:
    """Welfare of the rule-based economy, as the configuration defines welfare: mean of 256 episodes with seed 0."""
    return evaluate(ScriptedPolicies(config, rules), 256, 0).means[f"welfare_{config.welfare}"]
