"""Population-based training of a sweep's runs: what changes, how, and how far each run has come.

Ray Tune trains the stretches between two comparisons. Its own PBT forgets an interruption: resumed runs wait forever,
and copies that were decided on but not yet trained are lost.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbc_marl.equilibrium.changes import setting
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

    checkpoint: str | None = None
    """Relative to the sweep's folder; None: it is about to begin."""
    iterations: int = 0
    seconds: float = 0.0
    """Of training, along the lineage."""
    score: float | None = None
    """What runs are compared by, higher is better; None where there is no such number."""
    ended: bool = False
    """Whether it was trained to its end."""
    lineage: tuple[Mapping[str, Any], ...] = field(default=())
    """Stretches, each with the iteration at which it began, its run and the values of what changes."""

    def goes_on(self, run: str, values: Mapping[str, Any]) -> State:
        """The state of a run that goes on from here, with certain values."""
        now = {"iteration": self.iterations, "run": run, **values}
        is_same = bool(self.lineage) and {**self.lineage[-1], "iteration": 0} == {**now, "iteration": 0}
        return replace(self, lineage=self.lineage if is_same else (*self.lineage, now))

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


def write_state(folder: Path, record: str, stretch: int, state: State) -> None:
    """Keep the state of a run, by its record's name, at the end of a stretch, counted from 0."""
    from rbc_marl.rllib.run_folder import replace_file

    path = folder / STATES / record / f"stretch_{stretch:04d}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, state.to_json())


def read_states(folder: Path, record: str) -> list[State]:
    """The states of a run at the end of every stretch so far."""
    paths = sorted((folder / STATES / record).glob("stretch_*.json"))
    return [State.from_json(path.read_text(encoding="utf-8")) for path in paths]


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


def next_states(population: Population, states: Mapping[str, State]) -> dict[str, State]:
    """Compare runs: what each goes on from, the worst as copies of the best with values a little changed.

    Nothing but the arguments decides what is drawn, so that a sweep that was interrupted draws the same again.

    Args:
        population: What changes, and how.
        states: By run, at the same iteration. One without a score is worse than any other, and never copied.
    """
    settings = population.settings
    scores = {run: -math.inf if state.score is None else state.score for run, state in states.items()}
    ranked = sorted(states, key=lambda run: (scores[run], run))
    count = min(math.ceil(len(ranked) * settings.quantile), len(ranked) // 2)
    best = [run for run in ranked[len(ranked) - count :] if scores[run] > -math.inf]
    found = {run: state.goes_on(run, state.values) for run, state in states.items()}
    for run in ranked[:count] if best else ():
        generator = random.Random(f"{population.seed} {run} {states[run].iterations}")
        donor = states[generator.choice(best)]
        values = donor.values
        for key, space in population.spaces.items():
            values[key] = _changed(key, space, values[key], settings.resample, generator)
        found[run] = donor.goes_on(run, values)
    return found


def _changed(key: str, space: Space, value: Any, resample: float, generator: random.Random) -> Any:  # noqa: ANN401
    """A value near another: drawn anew, the next choice, or a fifth more or less, within its distribution's bounds."""
    is_drawn, goes_up = generator.random() < resample, generator.random() < 0.5
    if is_drawn:
        return sampler(key, space, generator.getrandbits(32))()
    if space.kind == "choice":
        choices = list(space.arguments)
        return choices[min(max(choices.index(value) + (1 if goes_up else -1), 0), len(choices) - 1)]
    low, high = space.examples()
    if isinstance(value, int):  # at least one more or less: a fifth of a small number is nothing
        return min(max(math.ceil(value * 1.2) if goes_up else math.floor(value * 0.8), low), high)
    return min(max(value * (1.2 if goes_up else 0.8), low), high)
