"""Schedulers of a sweep's runs: Ray Tune's ASHA, in a way that survives interruptions."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from rbc_marl.analysis.metrics import QUANTITIES
from rbc_marl.errors import ConfigError, nearest
from rbc_marl.experiments.trials import KEY
from rbc_marl.files import replace_file
from rbc_marl.settings import Section

REPORTS = "reports"


def _reported(metric: str) -> str:
    if metric not in QUANTITIES:
        raise ValueError(f"it must be one of {', '.join(QUANTITIES)}{nearest(metric, QUANTITIES)}")
    return metric


class Asha(Section):
    """Asynchronous successive halving: at certain iterations only the best of the runs that came so far go on."""

    model_config = ConfigDict(use_attribute_docstrings=True)
    noun: ClassVar[str] = "a setting of asha"

    metric: Annotated[str, AfterValidator(_reported)] = "welfare_total"
    """A reported quantity, as training measures it, by which runs are compared."""
    mode: Literal["max", "min"] = "max"
    """Whether more is better, or less."""
    every: int = Field(50, ge=1)
    """Iterations between two reports."""
    grace: int = Field(100, ge=1)
    """Iterations after which the first runs may be stopped."""
    reduction: float = Field(3.0, gt=1)
    """Of so many runs one goes on, at each rung; rungs are that factor apart."""

    def check_acts(self, name: str, limit: float, where: str) -> None:
        """Refuse settings with which the first report that counts would come when a run has ended.

        Args:
            name: Of the run.
            limit: Its iterations.
            where: Place of these settings in the file.

        Raises:
            ConfigError: They are such.
        """
        if math.ceil(self.grace / self.every) * self.every < limit:  # the first report that counts
            return
        given = f"every is {self.every}" if self.grace < limit <= self.every else f"grace is {self.grace}"
        given += f", and every is {self.every}," if max(self.grace, self.every) < limit else ","
        raise ConfigError(
            f"{where}.{given} but {name} ends at iteration {limit:g}, before anything happens; make it smaller"
        )


def by_name(name: str) -> Callable[[object], object]:
    """What reads something of Tune's by its name alone, or with its settings: a mapping of its name to these."""

    def read(given: object) -> object:
        names = list(given) if isinstance(given, Mapping) else [given]
        if names != [name]:
            raise ValueError(f"it must be {name} or null{nearest(str(next(iter(names), '')), (name,))}")
        settings = given[name] if isinstance(given, Mapping) else None
        return {name: {} if settings is None else settings}

    return read


def schema_by_name(name: str, section: type[Section]) -> dict[str, Any]:
    """The JSON schema of what `by_name` reads."""
    return {"anyOf": [{"const": name}, section.model_json_schema()]}


class Scheduler(Section):
    """What ends runs early: at present ASHA alone."""

    noun: ClassVar[str] = "a scheduler"

    asha: Annotated[Asha, WithJsonSchema({"anyOf": [Asha.model_json_schema(), {"type": "null"}]})]


# A scheduler from a file: ``asha``, or ``{asha: {metric: welfare_consumers, grace: 200}}``.
AnyScheduler = Annotated[
    Scheduler, BeforeValidator(by_name("asha")), WithJsonSchema(schema_by_name("asha", Scheduler))
]


def reports_of(folder: Path, record: str) -> Iterator[dict[str, Any]]:
    """What a run, by its record's name, has reported so far, oldest first, without a line that a kill cut short."""
    path = folder / REPORTS / f"{record}.jsonl"
    with suppress(ValueError):
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            yield json.loads(line)


class _ByKey(AsyncHyperBandScheduler):
    """ASHA that knows a run by its key: a run that goes on after an interruption is the same run."""

    def on_trial_add(self, tune_controller: object, trial: Trial) -> None:
        super().on_trial_add(tune_controller, _by_key(trial))

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:
        return super().on_trial_result(tune_controller, _by_key(trial), result)

    def on_trial_complete(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> None:
        super().on_trial_complete(tune_controller, _by_key(trial), result)

    def on_trial_remove(self, tune_controller: object, trial: Trial) -> None:
        super().on_trial_remove(tune_controller, _by_key(trial))


def tune_scheduler(settings: Asha, iterations: int, folder: Path, records: Mapping[str, str]) -> TrialScheduler:
    """Tune's ASHA for the runs of a sweep, knowing all that they reported before an interruption.

    Args:
        settings: Of the file.
        iterations: Most iterations of a run.
        folder: Of the sweep.
        records: By key, the names of the records of all of its runs, those that are done included.
    """
    scheduler = _ByKey(
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
        reported = {name: results.get(f"env_runners/{name}") for name in QUANTITIES}
        result = {"iterations": done, **{name: value for name, value in reported.items() if value is not None}}
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
        report(result)

    return after_iteration


def _by_key(trial: Trial | SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(trial_id=trial.config[KEY])
