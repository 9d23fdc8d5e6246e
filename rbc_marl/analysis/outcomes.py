"""What became of a run: collapsed, dead, impaired or living; or failed, where its numbers are not finite.

Open economies collapse where hardly anybody works, and are held against rule-based ones. In closed economies without
dividends money circulates once, for firms never spend their profits: the money of consumers pays for a few hours only,
and rules that do better drive firms into debt without end. A closed economy is dead only if nothing is sold, and is
held against a planner's welfare, where its parts allow for one; beside that stand the money that firms end up with, the
labour share, and periods with trade.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

from rbc_marl.analysis.metrics import collapsed
from rbc_marl.analysis.planner import lacks_plan, plan
from rbc_marl.analysis.rollouts import evaluate
from rbc_marl.config import EconomyConfig
from rbc_marl.errors import ConfigError, nearest
from rbc_marl.mechanics.welfare import Welfare
from rbc_marl.policies.scripted import RULES, ScriptedPolicies

# A living open economy reaches at least this share of the welfare of the rule-based one.
IMPAIRED_SHARE = 0.8
# Consumers of a living closed economy reach at least this share of a planner's welfare.
PLANNER_SHARE = 0.1
# Fewer units per consumer and period than this are chance: one in an episode of the published size.
NO_SALES = 1e-3
COLLAPSED, DEAD, IMPAIRED, LIVING = "collapsed", "dead", "impaired", "living"
NOT_ALIVE = (COLLAPSED, DEAD)
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
        means: At least ``hours``, ``middle_sales`` and both welfares, as `rbc_marl.analysis.rollouts.Evaluation` gives
            them.
        rules: Name of the rule-based economy that an open one is held against.
        welfares: Definitions of welfare, by any of which it may be living; empty: what its government maximises.

    Returns:
        "living"; `FAILED` where any mean is infinite or NaN. Of open economies: "collapsed" (hardly anybody works), or
        "impaired" (the welfare that its government maximises is below 80% of the rule-based economy's). Of closed ones:
        "dead" (nothing is sold in periods 2 to T - 1), or "impaired" (consumers' welfare is below 10% of a planner's).
        Either is impaired, too, if that welfare is below 0, which is what it comes to when nobody does anything. Where
        a part defines welfare, 0 means nothing: an open one is held against the rules alone, and a closed one is
        impaired if consumers' welfare is below 0.
    """
    if not all(math.isfinite(value) for value in means.values()):
        return FAILED
    if collapsed(config, means["hours"]):
        return COLLAPSED
    if not config.open_economy and means["middle_sales"] < NO_SALES:
        return DEAD
    is_planned = not config.open_economy and not lacks_plan(config)
    if is_planned and means["welfare_consumers"] < PLANNER_SHARE * plan(config).welfare:
        return IMPAIRED
    for welfare in welfares or (config.welfare,):
        # A closed economy is held against no rules, and what a part gives says nothing by its sign.
        of_sum = not config.open_economy and isinstance(welfare, Welfare)
        judged = config.model_copy(update={"welfare": "consumers" if of_sum else welfare})
        if means[welfare_quantity(judged)] >= _enough(judged, rules):
            return LIVING
    return IMPAIRED


def _enough(config: EconomyConfig, rules: str) -> float:
    """The least welfare of a living economy."""
    reference = reference_welfare(config, rules) if config.open_economy else 0.0
    if not isinstance(config.welfare, Welfare):
        return max(IMPAIRED_SHARE * reference, 0.0)
    # Sums of logarithms, or whatever else somebody defines, need not be above 0 where people live.
    return IMPAIRED_SHARE * reference if reference > 0.0 else reference / IMPAIRED_SHARE


def welfare_quantity(config: EconomyConfig) -> str:
    """The reported quantity that the government of an economy maximises: a sum over the episode."""
    return "government_return" if isinstance(config.welfare, Welfare) else f"welfare_{config.welfare}"


def reason(config: EconomyConfig, became: str, values: Mapping[str, float | None], rules: str = BEST) -> str:
    """What an outcome was judged by, in words.

    Args:
        config: The economy.
        became: Its outcome.
        values: Its reported quantities and indicators (`rbc_marl.analysis.indicators`).
        rules: Name of the rule-based economy that it was held against.
    """
    if became == FAILED:
        return "a mean is infinite or NaN"
    # In the first period there are no goods, unless it begins with some; a warm start may.
    possible = config.horizon - (config.initial_inventory == 0.0 and config.start is None)
    trade = f"trade in {values['trade_periods']:.3g} of {possible} periods"
    if config.open_economy:
        held_against = "best rule-based economy" if rules == BEST else f"rule-based economy {rules}"
        return f"welfare of the {held_against}: {reference_welfare(config, rules):,.0f}; {trade}"
    shares = {
        "planner_share": "{:.1%} of a planner's welfare",
        "firms_money_share": "firms keep {:.0%} of consumers' money",
        "labour_share": "labour share {:.0%}",
    }
    words = [form.format(values[name]) for name, form in shares.items() if values.get(name) is not None]
    return ", ".join([*words, trade])


@lru_cache(maxsize=32)
def reference_welfare(config: EconomyConfig, rules: str = BEST) -> float:
    """Welfare of the rule-based economy, as the configuration defines welfare: mean of 256 episodes with seed 0."""
    if rules == BEST:
        return max(reference_welfare(config, name) for name in CANDIDATES)
    return evaluate(ScriptedPolicies(config, rules), 256, 0).means[welfare_quantity(config)]
