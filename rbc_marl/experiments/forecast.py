"""What a run will take, for `rbc-marl check`: memory as counted, and time from one iteration that is tried out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rbc_marl import memory
from rbc_marl.config import EconomyConfig
from rbc_marl.errors import UserError
from rbc_marl.rllib.algorithm import EconomyPPOConfig
from rbc_marl.rllib.population import Population
from rbc_marl.rllib.settings import economy_of
from rbc_marl.rllib.sizes import CPU_SLAB, memory_of

if TYPE_CHECKING:
    from rbc_marl.experiments.build import Experiment

PUBLISHED_DISUTILITY = float(EconomyConfig.model_fields["labour_disutility"].default)
# Goods demanded in the economies of the iteration that is tried out, and at most in one economy.
_TRIED, _MOST_TRIED = 1_000_000, 10_000_000


def forecast(experiment: Experiment) -> list[str]:
    """Lines of `rbc-marl check`: memory, and time where one process plays and learns; none for other algorithms."""
    config = experiment.config.copy(copy_frozen=False)
    if not isinstance(config, EconomyPPOConfig):
        return []
    config.validate()
    needed, machine = memory_of(config), memory.of_this_machine()
    notes = [f"  note: {note}" for note in _notes(experiment.env_config)]
    parts = f"economies {memory.in_words(needed.economies)}, episodes {memory.in_words(needed.rollout)}, "
    parts += f"networks {memory.in_words(needed.networks)}"
    lines = [*notes, f"  memory: about {memory.in_words(needed.total)} in the process that learns ({parts})"]
    if machine is not None and needed.total > machine:
        lines.append(f"  warning: this machine has {memory.in_words(machine)} of memory")
        return lines
    seconds = None if experiment.code else seconds_of_iteration(config)
    if seconds is None:
        return lines
    iterations = experiment.stop.get("training_iteration")
    whole = f", about {_in_words(seconds * iterations)} in all" if iterations else ""
    tried = "one was tried out on this machine just now"
    return [*lines, f"  time: about {_in_words(seconds)} an iteration{whole} ({tried})"]


def _notes(economy: EconomyConfig | None) -> list[str]:
    """What is possible and seldom meant."""
    notes = []
    if economy is not None and economy.interest_rate > 1:
        rate = economy.interest_rate
        notes.append(f"interest_rate is {rate:g}, so that savings grow by {rate:.0%} each period; 5% is 0.05")
    if economy is not None and economy.crra >= 2 and economy.labour_disutility >= PUBLISHED_DISUTILITY:
        problem = f"with a crra of {economy.crra:g} goods give little utility, and at a labour_disutility of "
        problem += f"{economy.labour_disutility:g} nobody gains by working; the paper has a crra of 0.1"
        notes.append(problem)
    return notes


def seconds_of_iteration(config: EconomyPPOConfig) -> float | None:
    """Seconds of an iteration on this machine, from one that is played and learnt in a smaller batch.

    Returns:
        None where the run is not of one process, does what `Population` does not, or is too large to try out.
    """
    economy, _ = economy_of(config)
    goods = economy.horizon * economy.num_consumers * economy.num_firms * config.num_epochs
    if goods > _MOST_TRIED:
        return None
    episodes = min(config.num_envs_per_env_runner, max(1, _TRIED // goods), CPU_SLAB)
    tried: EconomyPPOConfig = config.copy(copy_frozen=False)
    tried.num_envs_per_env_runner = episodes
    rows = tried._train_batch_size_per_learner = episodes * economy.horizon
    tried.minibatch_size = None if config.minibatch_size is None else min(config.minibatch_size, rows)
    try:
        population = Population(tried, [int(config.seed or 0)])
        population.train()  # the first also sets things up
        started = time.perf_counter()
        population.train()
        return (time.perf_counter() - started) * config.total_train_batch_size / rows
    except UserError:
        return None


def _in_words(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds:.2g} seconds"
