"""What a run will take, for `rbc-marl check`: memory as counted, and time from one iteration that is tried out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rbc_marl import memory
from rbc_marl.config import EconomyConfig, preset
from rbc_marl.economy.audit import PLAYS, Work, audit, work
from rbc_marl.errors import ConfigError, UserError
from rbc_marl.rllib.algorithm import EconomyPPOConfig
from rbc_marl.rllib.population import Population
from rbc_marl.rllib.settings import economy_of
from rbc_marl.rllib.sizes import CPU_SLAB, memory_of

if TYPE_CHECKING:
    from rbc_marl.experiments.build import Experiment

# Below so many times what it costs, work brings consumers next to nothing. With a crra of 2 and the published
# disutility it is 0.7 in the small economy, which is impaired when it is trained: consumers end with a utility of 0.
ENOUGH = 1.5
_MOST_FINDINGS = 3
_PUBLISHED = preset("open")
_PUBLISHED_TITLES = {part.title for part in _PUBLISHED.parts.values()}
# Fields that are no parts and change the rules of the game.
_NAMED = ("market", "firm_objective", "discount")
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
    if economy is not None and economy.market == "posted" and (gain := work(economy)).ratio < ENOUGH:
        notes.append(f"{in_words(gain)}: work brings consumers next to nothing; lower labour_disutility")
    return notes


def in_words(gain: Work) -> str:
    """What full work brings and costs, in a line."""
    paid = f"{gain.hours:g} hours at a wage of {gain.wage:g} buy goods worth {gain.goods:.3g} of utility"
    cost = f"at a price of {gain.price:g}, and cost {gain.effort:.3g}"
    return f"{paid} {cost}: {gain.ratio:.3g} times as much (as published: {work(preset('open')).ratio:.3g})"


def bookkeeping(economy: EconomyConfig) -> list[str]:
    """Lines of `rbc-marl check --economy`: whether all identities hold, and what work brings.

    Raises:
        ConfigError: An identity does not hold; the message names the first, and all lines stand in it.
    """
    found = audit(economy)
    if found:
        lines = "; ".join(map(str, found[:_MOST_FINDINGS]))
        mend = ", ".join(part.title for part in economy.own_parts.values()) or economy.departure
        raise ConfigError(f"the economy does not keep its books: {lines}; look at {mend}")
    titles = [part.title for part in economy.parts.values() if part.title not in _PUBLISHED_TITLES]
    titles += [economy.title_of(name) for name in _NAMED if getattr(economy, name) != getattr(_PUBLISHED, name)]
    departures = ", ".join(titles)
    parts = f"  parts: {departures or 'as published'}"
    held = f"  books: every identity holds when agents do {', '.join(PLAYS)}"
    # At wages and prices that nobody posts work brings what it may.
    return [parts, held, *([f"  work: {in_words(work(economy))}"] if economy.market == "posted" else [])]


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
