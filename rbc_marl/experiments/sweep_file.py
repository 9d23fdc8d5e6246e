"""Sweep files, and search spaces in an experiment's file: both become a `Sweep` whose runs are all checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from rbc_marl.analysis.groups import Thresholds
from rbc_marl.analysis.outcomes import BEST, check_reference
from rbc_marl.analysis.targets import Target, Targets
from rbc_marl.config import EconomyConfig
from rbc_marl.errors import ConfigError, nearest
from rbc_marl.experiments.file import (
    Experiment,
    ExperimentSpec,
    Override,
    folder_problem,
    read_overrides,
    read_specs,
    setting_name,
    setting_path,
)
from rbc_marl.experiments.schedulers import AnyScheduler
from rbc_marl.experiments.searchers import AnySearcher, Search
from rbc_marl.experiments.spaces import (
    GRID,
    MOST_SEEDS,
    SEED,
    Space,
    Variant,
    check_count,
    check_spaces,
    expand,
    parse_variants,
)
from rbc_marl.experiments.sweep import Measure, RunSpec, Sweep, interleaved, scripted_types
from rbc_marl.presets import find_file
from rbc_marl.provenance import masked
from rbc_marl.rllib.ranges import GREATEST_SEED
from rbc_marl.settings import Section, line_numbers, load_yaml_file

# Settings that a sweep sets itself, and what to use instead.
TAKEN = {
    SEED: "seeds: in the sweep file",
    ("storage_path",): "--out on the command line",
    ("num_samples",): "samples: in the sweep file",
}


def _mapping(example: str, least: int = 0) -> BeforeValidator:
    def check(given: object) -> object:
        if given is not None and not (isinstance(given, Mapping) and len(given) >= least):
            raise ValueError(f"it must be a mapping such as {example}")
        return None if given is None else {str(key): value for key, value in given.items()}

    return BeforeValidator(check)


def _seeds(given: object) -> object:
    """Seeds from a file: a list, or {from: 100, count: 20}."""
    if isinstance(given, Mapping) and set(given) == {"from", "count"}:
        first, count = given["from"], given["count"]
        if type(first) is int and type(count) is int and 1 <= count <= MOST_SEEDS:
            given = range(first, first + count)
    if not isinstance(given, list | tuple | range) or not given or not all(type(s) is int and s >= 0 for s in given):
        raise ValueError("give a list of whole numbers, or {from: 100, count: 20}")
    if len(given) > MOST_SEEDS or max(given) > GREATEST_SEED:
        raise ValueError(f"give at most {MOST_SEEDS:,} seeds, each at most {GREATEST_SEED:,}")
    if len(set(given)) < len(given):
        raise ValueError("give each seed once")
    return tuple(given)


_RANGE = {"type": "object", "properties": {"from": {"type": "integer"}, "count": {"type": "integer"}}}
_SEEDS = {"anyOf": [{"type": "array", "items": {"type": "integer", "minimum": 0}}, _RANGE]}
Seeds = Annotated[tuple[int, ...], BeforeValidator(_seeds), WithJsonSchema(_SEEDS)]
Rules = Annotated[str, AfterValidator(check_reference)]
Changes = Annotated[dict[str, Any] | None, _mapping("{lr: 1e-3}")]


class Arm(Section):
    """An arm of a sweep file: what it changes."""

    model_config = ConfigDict(use_attribute_docstrings=True)
    noun: ClassVar[str] = "a setting of an arm"

    set: Changes = None
    """Changes, as `--set` takes them."""
    base: str | None = None
    """In place of the sweep's, like all that follows."""
    seeds: Seeds | None = None
    rules: Rules | None = None


def _arms(given: Mapping[str, object] | None) -> object:
    for name in given or ():
        if problem := folder_problem(name, "an arm"):
            raise ValueError(problem)
    return given


class SweepFile(Section):
    """What stands under the name of a sweep in its file."""

    model_config = ConfigDict(use_attribute_docstrings=True)
    noun: ClassVar[str] = "a setting of a sweep"
    kinds: ClassVar[tuple[str, ...]] = ("arms", "variants")
    """Of these, which say what is compared, a file has one at least."""

    base: str
    """The file of the experiment that is varied."""
    experiment: str | None = None
    """Its name, where the file holds several."""
    seeds: Seeds
    """A list, or {from: 100, count: 20}."""
    arms: Annotated[dict[str, Arm | None] | None, BeforeValidator(_arms), _mapping("{plain: {}}", least=1)] = None
    """By name, what each arm changes; all are compared with the first."""
    variants: Annotated[dict[str, Any] | None, _mapping("{env_config.export_price: [500, 1000]}", least=1)] = None
    """By setting: a list of values, all of which are tried, or a distribution."""
    samples: int = Field(1, ge=1)
    """How often distributions are drawn from; every combination of listed values gets the same draws."""
    draw_seed: int = Field(0, ge=0)
    """Of the draws: the same file draws the same."""
    set: Changes = None
    """Changes for all arms."""
    episodes: int = Field(256, ge=1)
    """On which the policies of each run are evaluated."""
    rules: Rules = BEST
    """The rule-based economy that tells impaired runs from living ones."""
    groups: Thresholds = Thresholds()
    """How far two runs may differ and still be alike."""
    targets: dict[str, Target | float] | str | None = None
    """Moments that runs are to come near to, by name, or a CSV file of data beside this one."""
    hp: float | None = Field(None, ge=0)
    """Of the filter that takes a trend out before moments are measured; null: none."""
    scheduler: AnyScheduler | None = None
    """What ends runs early; null: nothing."""
    searcher: AnySearcher | None = None
    """What makes draws that learn from earlier ones; null: draws are independent."""
    report: bool = True
    """Whether rbc-marl sweep ends with a report."""
    gpus_per_trial: float = Field(0.0, ge=0)
    """Share of a GPU for each run."""
    population: int = Field(1, ge=1)
    """Most runs that one process trains together, which differ in seeds or fixed taxes; 1: each by itself."""
    small: Annotated[dict[str, Any] | None, _mapping("{seeds: [100]}")] = None
    """What --small puts in place of the above."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for key in self.small or ():
            if key not in (known := [name for name in self.names() if name != "small"]):
                raise ValueError(f"small.{key} is not {self.noun}{nearest(key, known)}")
        if all(getattr(self, kind) is None for kind in self.kinds):
            raise ValueError(f"arms is missing; give {', '.join(self.kinds[:-1])} or {self.kinds[-1]}")
        if self.searcher is not None and (self.variants is None or self.arms is not None):
            raise ValueError("searcher makes draws of variants alone; give variants, and leave out everything else")
        if self.searcher is not None and self.scheduler is not None:
            raise ValueError("scheduler stops runs before they are measured; leave it or searcher out")
        return self


@dataclass(frozen=True)
class ArmSpec:
    """An arm before it gets its seeds."""

    name: str
    place: str
    """In the file."""
    arm: Arm = field(default_factory=Arm)
    variant: Variant = field(default_factory=Variant)
    stands: bool = False
    """Whether what it sets stands whatever the command line says; otherwise the command line may not touch it."""
    measure: Measure | None = None
    welfares: tuple[str, ...] = ()


Check = Callable[[ArmSpec, RunSpec, Experiment], None]
F = TypeVar("F", bound=SweepFile)


class SweepReader(Generic[F]):
    """Reads a sweep file and makes its runs. Every base is read once.

    Args:
        path: A YAML file: a name, and under it what `SweepFile` has.
        sets: Further changes, to every run, as a command line has them.
        small: Whether to put the file's ``small`` section in place of what it says otherwise.
        kind: The model of the file.
        trust: Whether runs may begin from checkpoints that are not known to be the user's own.

    Raises:
        ConfigError: Something in the file is missing, unknown or wrong.
    """

    def __init__(
        self, path: str | Path, sets: Sequence[str], small: bool, kind: type[F], trust: bool = False
    ) -> None:
        self._trust = trust
        self.path = find_file(path, "sweep")
        self.command = read_overrides(sets)
        for change in self.command:
            _check_not_taken(change, f"{change.place}: every run of a sweep gets its own")
        self._bases: dict[Path, ExperimentSpec] = {}
        self.name, settings = self._read()
        self.is_small = small
        self.targets: Targets | None = None
        with line_numbers(self.path):
            self.file = kind.parse(settings, self.name)
            if small and self.file.small is None:
                raise ConfigError(f"{self.name}.small is missing; give what it changes, or leave out --small")
            if small:
                self.file = kind.parse({**settings, **settings["small"]}, self.name)
            if self.file.targets is not None:
                self.targets = Targets.of(self.file.targets, self.path.parent, self.file.hp)

    def _read(self) -> tuple[str, Mapping[str, Any]]:
        """The name of the file's sweep, and its settings."""
        data = load_yaml_file(self.path)
        name, settings = next(iter(data.items()), ("", {}))
        problem = f": {unfit}" if (unfit := folder_problem(name, "a sweep")) else ""
        if name in ("question", "policies"):
            problem = f" is a scenario file; rbc-marl scenario {self.path} answers its question"
        elif len(data) != 1:
            problem = f" holds {len(data)} sweeps; give one name, and under it base, seeds and arms"
        elif isinstance(settings, Mapping) and settings.keys() & {"run", "config"}:
            problem = f" is an experiment; train it with rbc-marl train {self.path}, or give it as a sweep's base"
        if problem:
            raise ConfigError(f"{self.path}{problem}")
        return str(name), settings

    @property
    def is_cut_short(self) -> bool:
        """Whether the command line ends runs elsewhere than their files, as it may do to try a sweep out."""
        return any(change.path[0] == "stop" for change in self.command)

    def search(self, check: Check | None = None) -> Search | None:
        """The search of a file that has a searcher, which has made no draw. What it may draw is checked.

        Raises:
            ConfigError: A run could not be, or the search cannot.
        """
        if self.file.searcher is None:
            return None

        def make(drawn: Mapping[str, list[Any]], first: int) -> tuple[RunSpec, ...]:
            return self.sweep(self.arms(drawn, first), check).runs

        samples, seed = self.file.samples, self.file.draw_seed
        with line_numbers(self.path):
            check_count(samples, self.name, len(self.file.seeds))
            spaces = parse_variants(self.file.variants or {}, f"{self.name}.variants")
            settings = self.file.searcher.optuna
            search = Search.of(settings, spaces, samples, seed, self.targets, self.name, make)
        make(search.examples(), 0)
        return search

    def arms(self, drawn: Mapping[str, list[Any]] | None = None, first: int = 0) -> list[ArmSpec]:
        """Every arm that the file names, times its variants.

        Args:
            drawn: Values that a searcher has drawn, by setting; None: independent draws.
            first: Number of the first draw.
        """
        place = f"{self.name}.variants"
        spaces = parse_variants(self.file.variants or {}, place)
        _check_apart([self._override(key, None, place, "vary") for key in spaces])
        samples = len(next(iter(drawn.values()))) if drawn else self.file.samples
        variants = expand(spaces, samples, self.file.draw_seed, place, drawn, first)
        arms = self.file.arms or {"": None}
        check_count(len(arms) * len(variants), self.name)
        return [
            ArmSpec(
                name=",".join(filter(None, [name, variant.name])),
                place=f"{self.name}.arms.{name}" if name else self.name,
                arm=arm or Arm(),
                variant=variant,
            )
            for name, arm in arms.items()
            for variant in variants
        ]

    def economy(self) -> EconomyConfig | None:
        """The economy that is varied, as it stands in the base file with the file's own changes."""
        return self._run(ArmSpec("base", self.name))[1].env_config

    def sweep(self, arms: Sequence[ArmSpec], check: Check | None = None) -> Sweep:
        """The sweep of some arms. Of each arm the first run is checked: seeds make no difference to what is valid.

        Args:
            arms: Which.
            check: Checks a run further.

        Raises:
            ConfigError: A run could not end, or would leave nothing to evaluate.
        """
        asha = self.file.scheduler.asha if self.file.scheduler else None
        most_seeds = max((len(arm.arm.seeds or self.file.seeds) for arm in arms), default=1)
        check_count(len(arms), self.name, most_seeds)
        runs = []
        with line_numbers(self.path):
            for arm in arms:
                run, experiment = self._run(arm)
                if asha is not None and "training_iteration" not in experiment.stop:
                    mend = f"give {run.arm} a stop.training_iteration"
                    raise ConfigError(f"{self.name}.scheduler counts iterations; {mend}")
                if asha is not None and not self.is_cut_short:
                    asha.check_acts(run.arm, run.iterations, f"{self.name}.scheduler.asha")
                if check is not None:
                    check(arm, run, experiment)
                seeds = self.file.seeds if arm.arm.seeds is None else arm.arm.seeds
                runs += [replace(run, seed=seed) for seed in seeds]
            return Sweep(
                name=f"{self.name}-small" if self.is_small else self.name,
                source=self.path,
                runs=interleaved(runs, self.name),
                groups=self.file.groups,
                scheduler=asha,
                report=self.file.report,
                population=self.file.population,
            )

    def _run(self, arm: ArmSpec) -> tuple[RunSpec, Experiment]:
        """The first run of an arm, and its experiment."""
        changes = self._changes(arm)
        spec = self._base(arm).with_overrides(changes)
        if spec.spaces or spec.data.get("num_samples", 1) != 1:
            spaces = ", ".join(map(setting_name, spec.spaces)) or "num_samples"
            mend = "vary them under variants: instead"
            raise ConfigError(f"{spec.source} holds search spaces itself ({spaces}); {mend}")
        run = RunSpec(
            arm=arm.name,
            seed=(arm.arm.seeds or self.file.seeds)[0],
            spec=spec,
            changes=in_words(changes),
            columns=arm.variant.columns,
            episodes=self.file.episodes,
            rules=arm.arm.rules or self.file.rules,
            welfares=arm.welfares,
            measure=arm.measure or self.targets,
        )
        experiment = run.build(Path("results"))
        run = run.checked(experiment)
        _check_evaluated(run, experiment)
        return run, experiment

    def _base(self, arm: ArmSpec) -> ExperimentSpec:
        path = find_file(arm.arm.base or self.file.base, folder=self.path.parent).resolve()
        if path.suffix == ".py":
            raise ConfigError(f"{path} is a Python file; a sweep needs a YAML file, which says what decides a run")
        if path not in self._bases:
            specs = read_specs(path, self.file.experiment, trust=self._trust)
            if len(specs) != 1:
                names = ", ".join(spec.name for spec in specs)
                raise ConfigError(f"{path} holds {names}; name one with experiment: in the sweep file")
            self._bases[path] = specs[0]
        return self._bases[path]

    def _override(self, key: str, value: object, place: str, verb: str) -> Override:
        """A change that the file asks for.

        Raises:
            ConfigError: The value is none that a setting can have, such as a date, or the setting is the sweep's own.
        """
        change = Override(setting_path(key), value, f"{place}.{key}", key)
        _check_not_taken(change, f"{change.place} cannot {verb} here")
        try:
            json.dumps(value)
        except TypeError:
            mend = "give a number, a text, true, false, a list or a mapping"
            raise ConfigError(f"{change.place} is {value!r}; {mend}") from None
        return change

    def _set(self, changes: Mapping[str, Any] | None, place: str) -> list[Override]:
        """The changes of a ``set``."""
        overrides = [self._override(key, value, place, "be set") for key, value in (changes or {}).items()]
        for earlier, later in combinations(overrides, 2):
            if _covers(later, earlier):  # the other way round the later one refines the earlier
                raise ConfigError(f"{earlier.place} has no effect beside {later.place}; keep one")
        return overrides

    def _changes(self, arm: ArmSpec) -> list[Override]:
        """Everything that makes an arm of its base, in the order in which it is changed, so that nothing is lost.

        Raises:
            ConfigError: A change would be lost, or what varies would not be as the tables say.
        """
        common = self._set(self.file.set, f"{self.name}.set")
        if self.file.gpus_per_trial:
            common.append(Override(("config", "num_gpus_per_learner"), self.file.gpus_per_trial, "gpus_per_trial"))
        own = self._set(arm.arm.set, arm.place if arm.stands else f"{arm.place}.set")
        varied = [self._override(key, x, f"{self.name}.variants", "vary") for key, x in arm.variant.values]
        for change, other in product(self.command, varied if arm.stands else (*varied, *own)):
            if _covers(change, other) or _covers(other, change):
                why = "varies it" if other in varied else "is what makes an arm"
                raise ConfigError(f"{change.place}: {other.place} {why}; change it in the file")
        final, others = (own, (*common, *self.command)) if arm.stands else (varied, (*common, *own))
        for change, other in product(others, final):
            if _covers(other, change):
                why = f"{other.place} varies it; leave one out"
                if arm.stands:
                    why = f"{arm.place} sets {setting_name(other.path)}; leave it out"
                raise ConfigError(f"{change.place} has no effect, for {why}")
        return [*others, *final] if arm.stands else [*others, *final, *self.command]


def sweep_of(spec: ExperimentSpec) -> Sweep:
    """The sweep of an experiment whose own file holds search spaces.

    A grid of ``seed`` gives every variant these seeds, and a distribution of it each draw its own.

    Raises:
        ConfigError: A run is not valid.
    """
    samples, spaces = int(spec.data.get("num_samples", 1)), dict(spec.spaces)
    check_spaces(spaces, samples, spec.name)
    of_seed = spaces.pop(SEED, None) or Space(GRID, (spec.data["config"].get("seed") or 0,))
    draws_seeds = not of_seed.is_grid
    seeds = of_seed.draws("seed", samples, 0) if draws_seeds else list(dict.fromkeys(of_seed.arguments))
    is_drawn = any(not space.is_grid for space in spaces.values())
    by_name = {setting_name(path): space for path, space in spaces.items()}
    count = 1 if draws_seeds and not is_drawn else samples
    runs: list[RunSpec] = []
    draw_seed = 0 if SEED in spec.spaces else int(seeds[0])
    for variant in expand(by_name, count, draw_seed, spec.name):
        changes = [Override(setting_path(key), value, f"{spec.name}.{key}", key) for key, value in variant.values]
        varied = spec.with_overrides([*changes, Override(("num_samples",), 1, "a sweep")])
        run = RunSpec(variant.name or spec.name, int(seeds[0]), varied, in_words(changes), variant.columns)
        experiment = run.build(Path("results"))
        _check_ends(experiment)
        run = replace(run, rules=getattr(experiment.config, "rules", BEST)).checked(experiment)
        own_seeds = [seeds[variant.draw or 0]] if draws_seeds and is_drawn else dict.fromkeys(seeds)
        runs += [replace(run, seed=int(value)) for value in own_seeds]
    report = bool(spec.data.get("report", True))
    return Sweep(spec.name, spec.source, interleaved(runs, spec.name), Thresholds(), report=report)


def _check_not_taken(change: Override, problem: str) -> None:
    """Refuse a setting that every run of a sweep gets from the sweep, and say what to use; the message begins so."""
    if change.path in TAKEN:
        raise ConfigError(f"{problem}; use {TAKEN[change.path]}")


def in_words(changes: Sequence[Override]) -> str:
    """Changes as `--set` takes them, for tables."""
    return " ".join(masked(f"{setting_name(change.path)}={json.dumps(change.value)}") for change in changes)


def _covers(change: Override, other: Override) -> bool:
    """Whether nothing is left of another change once this one is made."""
    return other.path[: len(change.path)] == change.path


def _check_apart(changes: Sequence[Override]) -> None:
    """Refuse two settings of one mapping that are one, or of which one is a part of the other: one would be lost."""
    for part, whole in permutations(changes, 2):
        if _covers(whole, part):
            problem = f"{part.place} is a part of {whole.place}"
            if part.path == whole.path:
                problem = f"{whole.place} is the setting that {part.place} names as well"
            raise ConfigError(f"{problem}; keep one")


def _check_ends(experiment: Experiment) -> None:
    if not experiment.stop:
        mend = "give a sweep's runs an end, such as {training_iteration: 100}"
        raise ConfigError(f"{experiment.source}: {experiment.name}.stop is missing; {mend}")


def _check_evaluated(run: RunSpec, experiment: Experiment) -> None:
    """Refuse a run of a sweep file that would leave no policies to play, or that needs several cores."""
    problem = ""
    if scripted := scripted_types(experiment.config):
        problem = f".config.scripted has {', '.join(scripted)}; a run with types that follow rules saves no policies "
        problem += "for a sweep to play; leave it out"
    elif not run.is_evaluated:
        problem = f".run is {experiment.run}; a sweep plays the policies that EconomyPPO alone saves; "
        problem += "give run: EconomyPPO"
    elif (processes := len(run.bundles)) > 1:
        problem = f" has {processes} processes, but each run of a sweep has one core; leave out num_env_runners, "
        problem += "num_learners and evaluation_num_env_runners"
    if problem:
        raise ConfigError(f"{experiment.source}: {experiment.name}{problem}")
    _check_ends(experiment)
