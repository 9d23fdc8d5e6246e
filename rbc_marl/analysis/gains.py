"""What deviations gain on fresh episodes, on the path and off it, and the most that a single consumer could gain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from rbc_marl.analysis.best_responses import CONFIDENCE, paired
from rbc_marl.analysis.deviators import Deviator
from rbc_marl.analysis.rollouts import play
from rbc_marl.analysis.upper_bounds import PathRecorder, lacks_bounds, upper_bounds
from rbc_marl.policies import Policies
from rbc_marl.policies.deviating import DeviatingPolicies, Deviation
from rbc_marl.policies.imposed import law_of
from rbc_marl.policies.trembles import Trembles, TremblingPolicies


def confidence_of_each(deviations: int) -> float:
    """How often each of several intervals must hold, at least two, for all to hold at once at 95%."""
    return 1.0 - (1.0 - CONFIDENCE) / max(deviations, 2)


def measure(
    policies: Policies,
    deviator: Deviator,
    deviations: Mapping[str, Deviation],
    episodes: int,
    seed: int,
    trembles: Trembles,
    baseline: Tensor | None = None,
) -> dict[str, Any]:
    """What some deviations gain, all on the same episodes.

    Args:
        policies: What everybody plays who does not deviate.
        deviator: Who deviates.
        deviations: By name.
        episodes: How many.
        seed: Of all draws.
        trembles: Of everybody else, off the path.
        baseline: The deviator's returns [N] while nobody deviates, where they are known.

    Returns:
        Plain data. ``baseline``: the mean return while nobody deviates, and ``baseline_interval``, the same with its
        interval; by name, what each deviation gains (`paired`), with intervals that hold at once (``confidence``);
        ``trembles``, the same where the others tremble, or None where nobody does; ``upper``, the most that a single
        consumer could gain who takes the path as given, and ``own_effect``, how much higher that bound is along the
        path with its best deviation: None for everybody else.

    Raises:
        UserError: A return is not finite.
    """

    def returns(who: Policies) -> Tensor:
        return deviator.returns(play(who, episodes, seed))

    confidence = confidence_of_each(len(deviations))
    with one_thread():
        level = returns(policies) if baseline is None else baseline
        result: dict[str, Any] = {"baseline": float(level.mean()), "confidence": confidence}
        result["baseline_interval"] = paired(level)
        for name, deviation in deviations.items():
            result[name] = paired(returns(DeviatingPolicies(policies, deviation)) - level, confidence)
        result["trembles"] = None
        if trembles.chosen:

            def trembling(who: Policies) -> Tensor:
                return returns(TremblingPolicies(who, trembles, deviator.agent_type, deviator.agent))

            off = trembling(policies)
            result["trembles"] = {"baseline": float(off.mean())} | {
                name: paired(trembling(DeviatingPolicies(policies, deviation)) - off, confidence)
                for name, deviation in deviations.items()
            }
        result |= {"upper": None, "own_effect": None}
        agent, moved = deviator.agent, law_of(policies).factors
        if deviator.agent_type == "consumer" and agent is not None and not lacks_bounds(policies.config, moved):
            bound = _bounds(policies, agent, episodes, seed)
            result["upper"] = paired(bound - level)
            if deviations:
                best = deviations[max(deviations, key=lambda name: float(result[name]["gain"]))]
                along = _bounds(DeviatingPolicies(policies, best), agent, episodes, seed)
                result["own_effect"] = paired(along - bound)
    return result


def _bounds(policies: Policies, consumer: int, episodes: int, seed: int) -> Tensor:
    """Upper bounds [N] on the return of a consumer who takes the path of each episode as given."""
    recorder = PathRecorder(policies.config, (consumer,))
    play(policies, episodes, seed, watch=recorder)
    return upper_bounds(policies.config, recorder.path())[0][:, 0]


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of torch's: sums do not depend on how many cores there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
