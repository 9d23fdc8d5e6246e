"""A run of a sweep before it is trained: what decides it, and what can be refused then."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbc_marl.curriculum import Schedule, build_curriculum
from rbc_marl.equilibrium.schedulers import Asha, Pbt, Scheduler
from rbc_marl.equilibrium.variants import Variant
from rbc_marl.errors import ConfigError

if TYPE_CHECKING:
    from rbc_marl.rllib.config_file import Experiment


@dataclass(frozen=True)
class Run:
    """One run of a sweep: an arm with a seed."""

    arm: str
    seed: int
    base: Path
    experiment: str | None
    sets: tuple[str, ...]
    episodes: int
    rules: str
    variant: Variant = field(default_factory=Variant)
    governments: bool = False
    """Whether its policies are also played with other governments in place of their own."""
    fingerprint: str = ""
    """Of everything that decides its row, except the code."""
    objective: str = ""
    """What its government maximises, in words: welfares of other objectives have another unit."""
    profit_weight: float = 0.0
    """Of firms' money in total welfare, which decides its unit."""
    welfares: tuple[str, ...] = ()
    """Definitions of welfare by which it may be living, where its government maximises none; empty: its economy's."""

    @property
    def columns(self) -> tuple[tuple[str, Any], ...]:
        """What was varied, as columns of a table."""
        return self.variant.columns

    @property
    def key(self) -> str:
        """Name of its row and of its run folders."""
        return f"{self.arm}-{self.seed}"

    @property
    def record(self) -> str:
        """Name of what is kept of it on the way to its row. Other settings leave it alone."""
        return f"{self.key}-{self.fingerprint}"

    def load(self, storage: Path) -> Experiment:
        """The experiment to train, with its results under ``storage``.

        It saves a checkpoint at its end whatever the file says: that is what its row is about.

        Raises:
            ConfigError: The file or a change is not valid.
        """
        from rbc_marl.rllib.config_file import load_experiments

        if self.base.suffix == ".py":
            raise ConfigError(f"{self.base} is a Python file; a sweep needs a YAML file, which says what decides a run")
        sets = [*self.sets, f"seed={self.seed}", f"storage_path={json.dumps(str(storage))}"]
        found = load_experiments(self.base, self.experiment, sets=sets)
        if len(found) != 1:
            names = ", ".join(one.name for one in found)
            raise ConfigError(f"{self.base} holds {names}; name one with experiment: in the sweep file")
        if found[0].is_sweep:
            spaces = ", ".join(".".join(path) for path in found[0].spaces) or "num_samples"
            raise ConfigError(f"{self.base} holds search spaces itself ({spaces}); vary them under variants: instead")
        saved = {**found[0].resolved["checkpoint_config"], "checkpoint_at_end": True}
        resolved = {**found[0].resolved, "checkpoint_config": saved}
        return replace(found[0], checkpoints=replace(found[0].checkpoints, at_end=True), resolved=resolved)


def checked(run: Run, *, is_cut_short: bool = False) -> Run:
    """A run with what its experiment decides.

    Args:
        run: As the file and the command line say.
        is_cut_short: Whether the command line ends it early, to try it out.

    Raises:
        ConfigError: It would never end, or leave no policies to play, or not have the taxes that its arm is called by.
    """
    from rbc_marl.rllib.ray_session import cpus_needed

    experiment = run.load(Path("results"))
    where = f"{run.base}: {experiment.name}"
    if experiment.run != "EconomyPPO" or experiment.env_config is None:
        mend = "a sweep plays the policies that EconomyPPO alone saves; give run: EconomyPPO"
        raise ConfigError(f"{where}.run is {experiment.run}; {mend}")
    if scripted := getattr(experiment.config, "scripted", None):
        mend = "a run with types that follow rules saves no policies for a sweep to play; leave it out"
        raise ConfigError(f"{where}.config.scripted has {', '.join(scripted)}; {mend}")
    if (processes := cpus_needed(experiment.config)) > 1:
        mend = "leave out num_env_runners, num_learners and evaluation_num_env_runners"
        raise ConfigError(f"{where} has {processes} processes, but each run of a sweep has one core; {mend}")
    schedule = build_curriculum(getattr(experiment.config, "curriculum", None), experiment.env_config)
    if run.governments and schedule is not None and schedule.phase(0).fixed_taxes is not None:
        mend = f"{run.arm} would learn nothing; leave it out, a sweep of taxes fixes rates itself"
        raise ConfigError(f"{where}.config.curriculum.taxes.fixed: the government of {mend}")
    if not experiment.stop:
        raise ConfigError(f"{where}.stop is missing; give a sweep's runs an end, such as {{training_iteration: 100}}")
    if not is_cut_short and schedule is not None:
        _check_phased_in(run.arm, experiment.stop.get("training_iteration"), schedule)
    economy, resolved = experiment.env_config, experiment.resolved
    weighted = f"total welfare with profit weighted by {economy.firm_welfare_weight:g}"
    config = {key: value for key, value in resolved["config"].items() if key != "seed"}
    decisive = [{**resolved, "config": config, "storage_path": None}, run.episodes, run.rules, run.governments]
    decisive += [run.welfares] if run.welfares else []
    objective = weighted if economy.welfare == "total" else "consumers' welfare"
    weight = economy.firm_welfare_weight
    return replace(run, fingerprint=digest(decisive), objective=objective, profit_weight=weight)


def _check_phased_in(arm: str, limit: float | None, schedule: Schedule) -> None:
    """Refuse fixed taxes that a run never reaches: tables would call it by rates that were not in force."""
    fixed = schedule.phase(0).fixed_taxes
    if limit is None or fixed is None:
        return
    if (reached := schedule.phase(max(int(limit) - 1, 0)).highest_tax) < max(fixed):
        raise ConfigError(
            f"{arm} ends at iteration {limit:g}, when its curriculum has opened taxes up to {reached:.0%}; "
            "let curriculum.taxes.end come before stop.training_iteration"
        )


def digest(decisive: Any) -> str:  # noqa: ANN401 - plain data
    """A short name for plain data that no other data has."""
    return hashlib.sha256(json.dumps(decisive, sort_keys=True, default=str).encode()).hexdigest()[:16]


def check_scheduled(runs: Sequence[Run], is_tax_sweep: bool, scheduler: Scheduler, where: str) -> None:
    """Refuse a scheduler where runs may not be stopped, or have no iterations to count."""
    if is_tax_sweep:
        raise ConfigError(f"{where} stops or changes runs, but means of taxes count every run as it is; leave it out")
    for run in {run.arm: run for run in runs}.values():
        if "training_iteration" not in run.load(Path("results")).stop:
            raise ConfigError(f"{where} counts iterations; give {run.arm or run.base.name} a stop.training_iteration")
    if isinstance(scheduler, Pbt) and len(runs) < 2:
        raise ConfigError(f"{where} is pbt, which needs at least two runs; give more seeds or samples")


def check_acts(runs: Sequence[Run], scheduler: Scheduler, where: str) -> None:
    """Refuse a scheduler whose first report that counts would come when a run has ended."""
    for run in {run.arm: run for run in runs}.values():
        limit = run.load(Path("results")).stop["training_iteration"]
        end = f"{run.arm or run.base.name} ends at iteration {limit:g}, before anything happens; make it smaller"
        grace = scheduler.grace if isinstance(scheduler, Asha) else 0
        if grace >= limit:
            raise ConfigError(f"{where}.asha.grace is {grace}, but {end}")
        if scheduler.every < limit <= math.ceil(grace / scheduler.every) * scheduler.every:
            raise ConfigError(f"{where}.asha.grace is {grace}, and every is {scheduler.every}, but {end}")
        if scheduler.every >= limit:
            kind = "asha" if isinstance(scheduler, Asha) else "pbt"
            raise ConfigError(f"{where}.{kind}.every is {scheduler.every}, but {end}")
