"""Schedulers of a sweep's runs: Ray Tune's ASHA in a way that survives interruptions, and settings of pbt."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rbc_marl.analysis.metrics import QUANTITIES
from rbc_marl.equilibrium.checks import check_keys, number, whole
from rbc_marl.equilibrium.jobs import KEY
from rbc_marl.errors import ConfigError, nearest

REPORTS = "reports"


@dataclass(frozen=True)
class Scheduler:
    """What runs are compared by, and how often."""

    metric: str = "welfare_total"
    """A reported quantity, as training measures it."""
    mode: str = "max"
    every: int = 50
    """Iterations between two reports."""


@dataclass(frozen=True)
class Asha(Scheduler):
    """Asynchronous successive halving: at certain iterations only the best of the runs that came so far go on."""

    grace: int = 100
    """Iterations after which the first runs may be stopped."""
    reduction: float = 3.0
    """Of so many runs one goes on, at each rung; rungs are that factor apart."""


@dataclass(frozen=True)
class Pbt(Scheduler):
    """Population-based training: at each report the worst runs go on as copies of the best, a little changed.

    Runs wait for each other there: what is compared changes with the curriculum.
    """

    quantile: float = 0.25
    """Share of the runs that give up, and of those that they can go on from."""
    resample: float = 0.25
    """Probability that a setting is drawn anew; otherwise it is multiplied by 1.2 or 0.8."""


_KINDS: dict[str, type[Scheduler]] = {"asha": Asha, "pbt": Pbt}


def parse_scheduler(given: Any, where: str) -> Scheduler | None:  # noqa: ANN401 - from a file
    """A scheduler from a file: null, ``asha`` or ``pbt``, or ``{asha: {metric: welfare_consumers, grace: 200}}``.

    Raises:
        ConfigError: There is no such scheduler, or a setting of it is wrong.
    """
    if given is None:
        return None
    named: Any = {given: {}} if isinstance(given, str) else given
    name = next(iter(named), None) if isinstance(named, Mapping) and len(named) == 1 else None
    if name not in _KINDS:
        raise ConfigError(f"{where} is {given!r}; it must be asha, pbt or null{nearest(str(name), _KINDS)}")
    where, kind = f"{where}.{name}", _KINDS[name]
    settings = {} if named[name] is None else named[name]
    check_keys(settings, [one.name for one in fields(kind)], where, f"a setting of {name}")
    made = kind(**settings)
    if made.metric not in QUANTITIES:
        mend = nearest(str(made.metric), QUANTITIES)
        raise ConfigError(f"{where}.metric is {made.metric!r}, which is not reported{mend}")
    if made.mode not in ("max", "min"):
        raise ConfigError(f"{where}.mode is {made.mode!r}; it must be max or min")
    whole(made.every, f"{where}.every")
    if isinstance(made, Pbt):
        if number(made.quantile, f"{where}.quantile", 0.0, 0.5) == 0.0:
            raise ConfigError(f"{where}.quantile is 0; it must be above 0, or no run ever takes another's place")
        number(made.resample, f"{where}.resample", 0.0, 1.0)
    if isinstance(made, Asha):
        whole(made.grace, f"{where}.grace")
        if number(made.reduction, f"{where}.reduction") <= 1:
            raise ConfigError(f"{where}.reduction is {made.reduction!r}; it must be above 1")
    return made


def quantities(results: Mapping[str, Any]) -> dict[str, Any]:
    """The reported quantities among the flat results of an iteration."""
    return {name: results[f"env_runners/{name}"] for name in QUANTITIES if f"env_runners/{name}" in results}


def reports_of(folder: Path, record: str) -> Iterator[dict[str, Any]]:
    """What a run, by its record's name, has reported so far, oldest first, without a line that a kill cut short."""
    path = folder / REPORTS / f"{record}.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except ValueError:
            return


def tune_scheduler(
    settings: Asha, iterations: int, folder: Path, records: Mapping[str, str]
) -> Any:  # noqa: ANN401 - Tune's
    """Tune's ASHA for the runs of a sweep, knowing all that they reported before an interruption.

    Args:
        settings: Of the file.
        iterations: Most iterations of a run.
        folder: Of the sweep.
        records: By key, the names of the records of all of its runs, those that are done included.
    """
    from ray.tune.schedulers import AsyncHyperBandScheduler

    class ByKey(AsyncHyperBandScheduler):
        """ASHA that knows a run by its key: a run that goes on after an interruption is the same run."""

        def on_trial_add(self, tune_controller: Any, trial: Any) -> None:  # noqa: ANN401 - Tune's signature
            super().on_trial_add(tune_controller, _named(trial))

        def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:  # noqa: ANN401
            return super().on_trial_result(tune_controller, _named(trial), result)

        def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:  # noqa: ANN401
            super().on_trial_complete(tune_controller, _named(trial), result)

        def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:  # noqa: ANN401 - Tune's signature
            super().on_trial_remove(tune_controller, _named(trial))

    scheduler = ByKey(
        time_attr="iterations",
        metric=settings.metric,
        mode=settings.mode,
        max_t=max(iterations, settings.grace),
        grace_period=settings.grace,
        reduction_factor=settings.reduction,
        stop_last_trials=False,
    )
    for key, record in records.items():
        earlier = SimpleNamespace(config={KEY: key})
        scheduler.on_trial_add(None, earlier)
        for result in reports_of(folder, record):
            scheduler.on_trial_result(None, earlier, result)
    return scheduler


def reporter(
    settings: Asha, iterations: int, folder: Path, record: str, report: Callable[[dict[str, Any]], object]
) -> Callable[[dict[str, Any]], None]:
    """What a run calls after each iteration: now and then it tells the scheduler how it fares.

    Args:
        settings: Of the file.
        iterations: Most iterations of the run; its end is told by its row.
        folder: Of the sweep; reports are also kept there.
        record: Name of the run's record.
        report: Tells Tune.
    """
    from rbc_marl.rllib.run_folder import replace_file

    path = folder / REPORTS / f"{record}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    earlier = list(reports_of(folder, record))
    # What comes next must not stand behind a line that was cut short: nobody would read it.
    replace_file(path, "".join(json.dumps(result) + "\n" for result in earlier))
    told = max((result["iterations"] for result in earlier), default=0)

    def after_iteration(results: dict[str, Any]) -> None:
        done = int(results["training_iteration"])
        if done % settings.every or not told < done < iterations:
            return
        result = {"iterations": done, **quantities(results)}
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
        report(result)

    return after_iteration


def _named(trial: Any) -> SimpleNamespace:  # noqa: ANN401 - a Tune trial
    return SimpleNamespace(trial_id=trial.config[KEY])
