"""Population-based training of a sweep's runs with Ray Tune's PBT: what changes, how, and how far each run has come."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbc_marl.equilibrium.changes import setting
from rbc_marl.equilibrium.jobs import KEY
from rbc_marl.equilibrium.schedulers import Pbt
from rbc_marl.equilibrium.variants import Variant, parse_space, sampler
from rbc_marl.errors import ConfigError

if TYPE_CHECKING:
    from rbc_marl.rllib.search_space import Space

STATES = "population"
# Distributions whose values can be multiplied, or chosen from.
_KINDS = ("choice", "uniform", "loguniform", "randint", "lograndint")
# Settings of `training` that make another network, other data or other measurements: a run cannot go on with another
# value. Nor can it with another economy, other env runners and so on, which are of other sections.
_FIXED = (
    "model",
    "reward_scale",
    "train_batch_size",
    "train_batch_size_per_learner",
    "probe_economies",
    "deviator",
    "scripted",
    "rules",
    "learner_class",
    "learner_connector",
    "add_default_connectors_to_learner_pipeline",
)
_OF_SINGLE_TYPES = "algorithm_config_overrides_per_module"


@dataclass(frozen=True)
class Population:
    """Runs that learn from each other: the worst go on as copies of the best, with settings a little changed."""

    settings: Pbt
    spaces: Mapping[str, Space]
    """By setting, where its values come from."""
    columns: Mapping[str, str]
    """By setting, its column in tables."""
    seed: int
    """Of all that is drawn after the beginning."""

    @property
    def fingerprint(self) -> str:
        """Everything that decides how the runs change."""
        spaces = {key: asdict(space) for key, space in self.spaces.items()}
        return json.dumps([asdict(self.settings), spaces, self.seed], default=str)


@dataclass(frozen=True)
class State:
    """How far a run has come. Its lineage is that of its policies, through every run that they were copied from."""

    run: str
    checkpoint: str | None = None
    """Relative to the sweep's folder; None: it is about to begin."""
    iterations: int = 0
    seconds: float = 0.0
    """Of training, along the lineage."""
    lineage: tuple[Mapping[str, Any], ...] = field(default=())
    """Stretches, each with the iteration at which it began, its run and the values of what changes."""

    def goes_on(self, run: str, values: Mapping[str, Any]) -> State:
        """The state of a run that goes on from here, with certain values."""
        now = {"iteration": self.iterations, "run": run, **values}
        is_same = bool(self.lineage) and {**self.lineage[-1], "iteration": 0} == {**now, "iteration": 0}
        lineage = self.lineage if is_same else (*self.lineage, now)
        return State(run, self.checkpoint, self.iterations, self.seconds, lineage)

    @property
    def values(self) -> dict[str, Any]:
        """What changes, as it is now."""
        return {key: value for key, value in self.lineage[-1].items() if key not in ("iteration", "run")}

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> State:
        """From `to_json`."""
        given = json.loads(text)
        return cls(**{**given, "lineage": tuple(given["lineage"])})


def write_state(folder: Path, state: State, fingerprint: str) -> None:
    """Keep the state of a run."""
    from rbc_marl.rllib.run_folder import replace_file

    path = state_file(folder, state.run, fingerprint)
    path.parent.mkdir(exist_ok=True)
    replace_file(path, state.to_json())


def state_file(folder: Path, run: str, fingerprint: str) -> Path:
    """Where a sweep keeps the state of a run. Other settings make another file."""
    return folder / STATES / f"{run}-{fingerprint}.json"


def read_state(folder: Path, run: str, fingerprint: str) -> State | None:
    """The state of a run that began before an interruption, if it did."""
    path = state_file(folder, run, fingerprint)
    return State.from_json(path.read_text(encoding="utf-8")) if path.exists() else None


def in_words(population: Population, values: Mapping[str, Any]) -> str:
    """Values of what changes, to be read: the files of a run's stretches hold all digits."""
    words = {population.columns[key]: value for key, value in values.items() if key in population.columns}
    return " ".join(f"{name}={f'{x:.4g}' if isinstance(x, float) else json.dumps(x)}" for name, x in words.items())


def lineage_in_words(population: Population, state: State) -> str:
    """A lineage as a cell of a table."""
    return "; ".join(f"{one['iteration']}: {one['run']} {in_words(population, one)}" for one in state.lineage)


def parse_population(
    settings: Pbt, given: Any, variants: Iterable[Variant], seed: int, where: str  # noqa: ANN401 - from a file
) -> Population:
    """What changes in the runs of a sweep file.

    Args:
        settings: Of its scheduler.
        given: Its ``variants``: by setting, the distribution of which its first value is drawn.
        variants: What became of them.
        seed: Of the draws.
        where: Place in the file.

    Raises:
        ConfigError: Something varies that cannot change while a run goes on, or not by a distribution.
    """
    if given is None:
        mend = "give what pbt changes, such as {lr: {loguniform: [1e-4, 1e-2]}}"
        raise ConfigError(f"{where}.variants is missing; {mend}")
    spaces = {}
    for key, values in given.items():
        place = f"{where}.variants.{key}"
        if not _can_change(key):
            raise ConfigError(f"{place} cannot change while a run goes on, as pbt wants; use asha, or leave it out")
        if isinstance(values, list):
            mend = f"pbt changes it in every run: write {{choice: {json.dumps(values)}}}"
            raise ConfigError(f"{place} is {values!r}; {mend}")
        space = parse_space(str(key), values, place)
        if space.kind not in _KINDS:
            raise ConfigError(f"{place}.{space.kind} is none of the distributions that pbt takes: {', '.join(_KINDS)}")
        spaces[str(key)] = space
    first = next(iter(variants))
    columns = dict(zip(spaces, (column for column, _ in first.columns), strict=True))
    return Population(settings, spaces, columns, seed)


def _can_change(key: object) -> bool:
    """Whether a run can go on from a checkpoint with another value of a setting."""
    from rbc_marl.rllib import EconomyPPOConfig
    from rbc_marl.rllib.config_keys import known_keys

    head, *rest = setting(key)
    if head == _OF_SINGLE_TYPES:
        head = rest[1] if len(rest) > 1 else "lr"
    known = known_keys(EconomyPPOConfig).get(head)
    return known is not None and "training" in known.sections and head not in _FIXED


def tune_pbt(population: Population, values: Mapping[str, Mapping[str, Any]]) -> Any:  # noqa: ANN401 - Tune's
    """Tune's PBT for trials that are known by their keys.

    Args:
        population: What changes, and how.
        values: By key, the values with which a trial begins.
    """
    from ray.tune.schedulers import PopulationBasedTraining

    class ByKey(PopulationBasedTraining):
        """PBT in which a trial stays the run that it is when it goes on as a copy of another.

        Tune draws from Python's common generator. Here the seed, the run and its iteration decide what is drawn, also
        after an interruption.
        """

        def on_trial_add(self, tune_controller: Any, trial: Any) -> None:  # noqa: ANN401 - Tune's signature
            trial.config.update(values[trial.config[KEY]])
            super().on_trial_add(tune_controller, trial)

        def _checkpoint_or_exploit(self, trial: Any, *others: Any) -> None:  # noqa: ANN401 - Tune's signature
            before = random.getstate()
            random.seed(f"{population.seed} {trial.config[KEY]} {self._trial_state[trial].last_train_time}")
            try:
                super()._checkpoint_or_exploit(trial, *others)
            finally:
                random.setstate(before)

        def _get_new_config(self, trial: Any, trial_to_clone: Any) -> tuple[dict[str, Any], dict[str, Any]]:  # noqa: ANN401
            config, operations = super()._get_new_config(trial, trial_to_clone)
            inside = {key: _within(space, config[key]) for key, space in population.spaces.items()}
            return {**config, **inside, KEY: trial.config[KEY]}, operations

    settings = population.settings
    return ByKey(
        time_attr="iterations",
        metric=settings.metric,
        mode=settings.mode,
        perturbation_interval=settings.every,
        quantile_fraction=settings.quantile,
        resample_probability=settings.resample,
        hyperparam_mutations={key: _mutation(key, space) for key, space in population.spaces.items()},
        synch=True,
    )


def _mutation(key: str, space: Space) -> list[Any] | Callable[[], Any]:
    """Choices, in the order of which Tune goes to the next; or where it draws anew."""
    return list(space.arguments) if space.kind == "choice" else lambda: sampler(key, space, random.getrandbits(32))()


def _within(space: Space, value: Any) -> Any:  # noqa: ANN401 - any value
    """A value that was multiplied, held within the bounds of its distribution."""
    if space.kind == "choice":
        return value
    low, high = space.examples()
    return min(max(value, low), high)
