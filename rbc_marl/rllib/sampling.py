"""What env runners play for one update, shared out so that it is the same whoever of them is lost.

The episodes of an update are dealt out in shares: one per env runner and round. A share's draws depend on the runner
and the round that it is of, not on who plays it. So others play the share of a runner that is gone, bit for bit, and
where all are gone this process does. Batches keep their size, and curricula their pace.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from ray.rllib.env.env_runner_group import EnvRunnerGroup

from rbc_marl.errors import LostProcessError
from rbc_marl.rllib.env_runner import EconomyEnvRunner
from rbc_marl.rllib.rollout import Rollout

_logger = logging.getLogger("ray.rllib")


class Share(NamedTuple):
    """What one env runner plays in one go; in the order in which an update takes them."""

    round: int
    """How many shares the runner has played for this update before."""
    runner: int
    """Its number, from 1 on."""


Played = tuple[Share, list[Rollout], dict[str, Any]]


def sample_shares(
    group: EnvRunnerGroup, rounds: int, timeout: float | None = None
) -> tuple[list[Rollout], list[dict[str, Any]]]:
    """Play the episodes of an update on remote env runners.

    Args:
        group: The env runners.
        rounds: How often each plays all of its economies.
        timeout: Seconds until the share of a runner that does not answer is played by others; None: wait for it.

    Returns:
        The rollouts, and what was logged of each share.

    Raises:
        LostProcessError: All runners are lost, and this process has none of its own.
    """
    left = [Share(r, runner) for r in range(rounds) for runner in range(1, group.num_remote_env_runners() + 1)]
    played: dict[Share, tuple[list[Rollout], dict[str, Any]]] = {}
    silent: set[int] = set()  # those that did not answer in time
    while left and (runners := [i for i in group.healthy_env_runner_ids() if i not in silent]):
        dealt = _deal(left, runners)
        answers: list[Played] = group.foreach_env_runner(
            [partial(_play, share=share) for share in dealt.values()],
            remote_worker_ids=list(dealt),
            local_env_runner=False,
            timeout_seconds=timeout,
        )
        played |= {share: (rollouts, metrics) for share, rollouts, metrics in answers}
        silent |= {runner for runner, share in dealt.items() if share not in played}
        left = [share for share in left if share not in played]
    if left:
        _logger.warning("no env runner is left: this process plays in their place until they are back")
        played |= {share: (rollouts, metrics) for share, rollouts, metrics in _play_here(group, left)}
    in_order = [played[share] for share in sorted(played)]
    return [rollout for rollouts, _ in in_order for rollout in rollouts], [metrics for _, metrics in in_order]


def sample_here(runner: EconomyEnvRunner, steps: int) -> tuple[list[Rollout], list[dict[str, Any]]]:
    """Play the episodes of an update in this process.

    Args:
        runner: This process's own.
        steps: How many env steps are wanted at least.

    Returns:
        The rollouts, and what was logged each time that all economies were played.
    """
    rollouts: list[Rollout] = []
    logged = []
    while sum(map(len, rollouts)) < steps:
        rollouts += runner.sample()
        logged.append(runner.get_metrics())
    return rollouts, logged


def _deal(shares: Sequence[Share], runners: Sequence[int]) -> dict[int, Share]:
    """A share for each runner, while there are any: its own first, then those of others."""
    left, dealt = list(shares), {}
    for runner in runners:
        own = next((share for share in left if share.runner == runner), None)
        if own is not None:
            dealt[runner] = own
            left.remove(own)
    idle = [runner for runner in runners if runner not in dealt]
    # A round that has begun is played by those whose it is; only what is left of it goes to others.
    others = [share for share in left if share.runner not in runners]
    return {**dealt, **dict(zip(idle, others or left, strict=False))}


def _play(runner: EconomyEnvRunner, share: Share) -> Played:
    """Play a share, whoever it is of."""
    return share, runner.sample_as(share.runner, share.round), runner.get_metrics()


def _play_here(group: EnvRunnerGroup, shares: Sequence[Share]) -> list[Played]:
    """Play shares in this process."""
    if group.local_env_runner is None:
        raise LostProcessError("all env runners are lost, and create_local_env_runner is false")
    return [_play(group.local_env_runner, share) for share in shares]
