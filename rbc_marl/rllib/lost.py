"""Processes that a run has lost, and resources that it asks for in vain, in words."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import ray
from ray.exceptions import RayActorError
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.util.placement_group import get_current_placement_group

from rbc_marl.errors import LostProcessError, UserError, first_line

Resources = Mapping[str, float]

# Seconds in which a learner that lives answers.
ANSWER = 10.0
# Seconds to wait for room before saying that there is none.
PATIENCE = 20.0


@contextmanager
def naming_lost_learners(group: LearnerGroup) -> Iterator[None]:
    """Say that a learner is lost, where that is why something failed: the others tell of broken connections.

    Raises:
        LostProcessError: A learner is lost. Its optimiser's state is in checkpoints alone.
    """
    try:
        yield
    except Exception as error:
        lost = lost_learners(group)
        if not lost:
            raise
        count = f"{len(lost)} of {len(group)} learners {'is' if len(lost) == 1 else 'are'} lost"
        raise LostProcessError(f"{count} ({first_line(lost[0])})") from error


def lost_learners(group: LearnerGroup) -> list[RayActorError]:
    """Why learners in processes of their own are gone, one for each that is."""
    manager = group._worker_manager
    if manager is None:
        return []
    answers = manager.foreach_actor(lambda learner: None, healthy_only=False, timeout_seconds=ANSWER)
    return [answer.get() for answer in answers if isinstance(answer.get(), RayActorError)]


def processes(config: AlgorithmConfig) -> list[Resources]:
    """What each process that a run starts asks Ray for."""
    runner = _resources(config.num_cpus_per_env_runner, config.num_gpus_per_env_runner)
    runner |= config.custom_resources_per_env_runner or {}
    count = config.num_env_runners + config.evaluation_num_env_runners
    by_learner = config.num_cpus_per_learner
    cpus = float(by_learner) if isinstance(by_learner, int | float) else float(not config.num_gpus_per_learner)
    learner = _resources(cpus, config.num_gpus_per_learner) | (config.custom_resources_per_learner or {})
    helpers = config.num_aggregator_actors_per_learner
    return [runner] * count + ([learner] + [_resources(1, 0)] * helpers) * config.num_learners


def check_room(config: AlgorithmConfig, patience: float = PATIENCE) -> None:
    """Refuse to wait without an end for processes that Ray has no room for.

    What a trial of Tune asks for was set aside for it before.

    Args:
        config: Of the run.
        patience: Seconds to wait for a machine to join, or for others to end.

    Raises:
        UserError: There is no room; the message says what is there.
    """
    asked = processes(config)
    if not asked or get_current_placement_group() is not None:
        return
    words = f"{config.num_env_runners} env runners" if config.num_env_runners else "env runners in this process"
    words += f", {config.evaluation_num_env_runners} that evaluate" if config.evaluation_num_env_runners else ""
    words += f", {config.num_learners} learners" if config.num_learners else ""
    mend = "lower num_env_runners or num_learners, give --ray-num-cpus, or wait for others to end"
    wait_for_room(asked, words, mend, patience, is_now=True)


def wait_for_room(
    asked: Sequence[Resources], words: str, mend: str, patience: float = PATIENCE, *, is_now: bool = False
) -> None:
    """Wait until Ray's machines have what processes ask for.

    Args:
        asked: By each process. No process is shared by two machines.
        words: What they are.
        mend: What to do where there is no room.
        patience: Seconds to wait.
        is_now: Whether it must also be free; otherwise it is enough that it will be.

    Raises:
        UserError: There is no room.
    """
    keys = dict.fromkeys(key for each in asked for key in each)
    totals = {key: sum(each.get(key, 0.0) for each in asked) for key in keys}
    deadline = time.monotonic() + patience
    while True:
        machines = [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]
        free = ray.available_resources()
        has_room = _fits(asked, machines)
        if has_room and not (is_now and any(free.get(key, 0.0) < total for key, total in totals.items())):
            return
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    there = ", ".join(_amount(key, sum(machine.get(key, 0.0) for machine in machines)) for key in totals)
    there += f" on {len(machines)} machines" if len(machines) > 1 else ""
    there += "" if not has_room else f", of which {', '.join(_amount(k, free.get(k, 0.0)) for k in totals)} are free"
    needs = ", ".join(_amount(key, total) for key, total in totals.items())
    raise UserError(f"{words}: they ask for {needs}, and Ray has {there}; {mend}")


def _fits(asked: Sequence[Resources], machines: Sequence[dict[str, float]]) -> bool:
    """Whether every process finds a machine, the greatest first."""
    left = [dict(machine) for machine in machines]
    for each in sorted(asked, key=lambda resources: sorted(resources.values()), reverse=True):
        home = next((m for m in left if all(m.get(k, 0.0) >= amount - 1e-6 for k, amount in each.items())), None)
        if home is None:
            return False
        for key, amount in each.items():
            home[key] -= amount
    return True


def _resources(cpus: float, gpus: float) -> dict[str, float]:
    return {key: float(amount) for key, amount in (("CPU", cpus), ("GPU", gpus)) if amount}


def _amount(key: str, amount: float) -> str:
    return f"{amount:g} {key}{'s' if key in ('CPU', 'GPU') and amount != 1 else ''}"
