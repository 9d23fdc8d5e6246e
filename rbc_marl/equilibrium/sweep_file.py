"""Sweep files: one experiment in arms, over grids and distributions or with fixed taxes, each with several seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rbc_marl.analysis.outcomes import BEST, check_reference
from rbc_marl.config import load_yaml_file
from rbc_marl.equilibrium import taxes
from rbc_marl.equilibrium.changes import Change, Changes, change_text, read_changes, read_words
from rbc_marl.equilibrium.checks import check_keys, folder_name, number, text, whole
from rbc_marl.equilibrium.checks import seeds as checked_seeds
from rbc_marl.equilibrium.grouping import Thresholds, parse_thresholds
from rbc_marl.equilibrium.planned_run import Run, check_acts, check_scheduled, checked, digest
from rbc_marl.equilibrium.population import Population, parse_population
from rbc_marl.equilibrium.schedulers import Asha, Pbt, parse_scheduler
from rbc_marl.equilibrium.variants import Variant, expand
from rbc_marl.equilibrium.verdicts import parse_settings
from rbc_marl.errors import ConfigError, nearest

_KEYS = (
    "base",
    "experiment",
    "seeds",
    "arms",
    "variants",
    "samples",
    "draw_seed",
    "taxes",
    "set",
    "episodes",
    "rules",
    "groups",
    "scheduler",
    "best_response",
    "gpus_per_trial",
    "small",
)
_ARM_KEYS = ("base", "seeds", "set", "rules")


@dataclass(frozen=True)
class Sweep:
    """A validated sweep file."""

    name: str
    source: Path
    runs: tuple[Run, ...]
    groups: Thresholds
    scheduler: Asha | None = None
    population: Population | None = None
    """How the runs learn from each other, where they do."""
    taxes: taxes.TaxSettings | None = None
    best_response: Mapping[str, Any] | None = None
    gpus_per_trial: float = 0.0
    varied: tuple[str, ...] = ()
    """Columns that say what was varied."""

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms, in the file's order."""
        return tuple(dict.fromkeys(run.arm for run in self.runs))

    def coarse_seeds(self) -> list[int]:
        """Seeds on which a coarse grid of taxes picks the pairs that get all seeds; empty where there is none."""
        count = self.taxes.coarse_seeds if self.taxes else None
        return sorted({run.seed for run in self.runs})[:count] if count else []

    def only(self, arms: Sequence[str]) -> Sweep:
        """The same sweep with some of its arms; with all of them where none is named.

        Raises:
            ConfigError: It has no such arm, or its arms cannot do without each other.
        """
        if arms and self.population is not None:
            raise ConfigError(f"{self.source} is a population, whose runs learn from each other; leave out --arm")
        for arm in arms:
            if arm not in self.arms:
                raise ConfigError(f"{arm} is not an arm of {self.source}{nearest(arm, self.arms)}")
        return replace(self, runs=tuple(run for run in self.runs if not arms or run.arm in arms))


@dataclass(frozen=True)
class _Arm:
    """A line of a comparison, before it gets its seeds."""

    name: str
    place: str
    """Where it stands in the file."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    variant: Variant = field(default_factory=Variant)
    governments: bool = False
    welfares: tuple[str, ...] = ()


def load_sweep(path: str | Path, sets: Sequence[str] = (), *, small: bool = False) -> Sweep:
    """Read and validate a sweep file; every run is checked before anything starts.

    Args:
        path: A YAML file: a name, and under it ``base`` (the file of the experiment that is varied), ``seeds`` (a
            list, or {from: 100, count: 20}) and at least one of ``arms`` (by name: a mapping with ``set``, changes as
            `--set` takes them), ``variants`` (see `rbc_marl.equilibrium.variants.expand`) and ``taxes`` (see
            `rbc_marl.equilibrium.taxes`).
        sets: Further changes, to every run.
        small: Whether to put the file's ``small`` section in place of what it says otherwise.

    Raises:
        ConfigError: Something in the file is missing, unknown or wrong.
    """
    path = Path(path)
    name, spec = _read(path, small)
    scheduler = parse_scheduler(spec.get("scheduler"), f"{name}.scheduler")
    found, tax_settings = _arms(path, name, spec)
    runs = [run for arm in found for run in _runs(path, name, spec, arm, tuple(sets))]
    population = None
    if scheduler is not None:
        check_scheduled(runs, tax_settings is not None, scheduler, f"{name}.scheduler")
    if isinstance(scheduler, Pbt):
        if len(spec.get("arms") or ()) > 1:
            raise ConfigError(f"{name}.arms stands beside pbt, whose runs differ in their variants and seeds alone")
        variants = [arm.variant for arm in found]
        population = parse_population(scheduler, spec.get("variants"), variants, spec.get("draw_seed", 0), name)
        # Rows and states of runs that changed otherwise are others.
        runs = [replace(run, fingerprint=digest([run.fingerprint, population.fingerprint])) for run in runs]
    if scheduler is not None and not _cuts_short(sets):
        check_acts(runs, scheduler, f"{name}.scheduler")
    # The first seed of every arm before the second of any: a sweep that is cut short still compares all arms.
    turn = {run.key: turn for arm in found for turn, run in enumerate(r for r in runs if r.arm == arm.name)}
    if len(turn) < len(runs):
        raise ConfigError(f"{name} has two arms of one name; give each another")
    return Sweep(
        name=f"{name}-small" if small else name,
        source=path,
        runs=tuple(sorted(runs, key=lambda run: turn[run.key])),
        groups=parse_thresholds(spec.get("groups"), f"{name}.groups"),
        scheduler=scheduler if isinstance(scheduler, Asha) else None,
        population=population,
        taxes=tax_settings,
        best_response=_best_response(spec.get("best_response"), runs, f"{name}.best_response"),
        gpus_per_trial=number(spec.get("gpus_per_trial", 0.0), f"{name}.gpus_per_trial", 0.0),
        varied=tuple(dict.fromkeys(column for run in runs for column, _ in run.columns)),
    )


def _read(path: Path, small: bool) -> tuple[str, Mapping[str, Any]]:
    """The name of a file's sweep, and its settings."""
    data = load_yaml_file(path)
    if len(data) != 1:
        raise ConfigError(f"{path} holds {len(data)} sweeps; give one name, and under it base, seeds and arms")
    ((given, spec),) = data.items()
    name = folder_name(given, str(path), "a sweep")
    if isinstance(spec, Mapping) and "run" in spec:
        raise ConfigError(f"{path} is an experiment; train it with rbc-marl train {path}, or give it as a sweep's base")
    check_keys(spec, _KEYS, name)
    if "small" in spec:
        check_keys(spec["small"], [key for key in _KEYS if key != "small"], f"{name}.small")
    if small:
        if "small" not in spec:
            raise ConfigError(f"{name}.small is missing; give what a small sweep changes, or leave out --small")
        spec = {**spec, **spec["small"]}
    for key in ("base", "seeds"):
        if key not in spec:
            raise ConfigError(f"{name}.{key} is missing; give it")
    if not any(spec.get(key) is not None for key in ("arms", "variants", "taxes")):
        raise ConfigError(f"{name}.arms is missing; give arms, variants or taxes")
    return name, spec


def _arms(path: Path, name: str, spec: Mapping[str, Any]) -> tuple[list[_Arm], taxes.TaxSettings | None]:
    """Every arm of a file: those it names, times its variants, or those of its taxes."""
    samples = whole(spec.get("samples", 1), f"{name}.samples")
    draw_seed = whole(spec.get("draw_seed", 0), f"{name}.draw_seed", 0)
    if spec.get("taxes") is not None:
        for key in ("arms", "variants"):
            if spec.get(key) is not None:
                raise ConfigError(f"{name}.{key} stands beside {name}.taxes; a sweep of taxes has arms of its own")
        if spec.get("best_response") is not None:
            raise ConfigError(
                f"{name}.best_response stands beside {name}.taxes, where governments with fixed taxes have no choice; "
                "check the learned policies with rbc-marl best-response"
            )
        economy = _economy(path, name, spec)
        settings = taxes.parse_taxes(spec["taxes"], economy, f"{name}.taxes")
        arms_of_taxes = taxes.arms(settings)
        return [
            _Arm(a.name, f"{name}.taxes", {"set": a.set}, a.variant, a.learned, () if a.learned else settings.welfare)
            for a in arms_of_taxes
        ], settings
    arms = spec.get("arms") if spec.get("arms") is not None else {"": {}}
    if not isinstance(arms, Mapping) or not arms:
        raise ConfigError(f"{name}.arms must be a mapping of names to what they change, such as {{plain: {{}}}}")
    variants = expand(spec.get("variants"), samples, draw_seed, f"{name}.variants")
    found = []
    for arm, given in arms.items():
        place = f"{name}.arms.{folder_name(arm, f'{name}.arms', 'an arm')}" if spec.get("arms") is not None else name
        changes = {} if given is None else given
        check_keys(changes, _ARM_KEYS, place)
        for variant in variants:
            found.append(_Arm(",".join(filter(None, [str(arm), variant.name])), place, changes, variant))
    return found, None


def _runs(path: Path, name: str, spec: Mapping[str, Any], arm: _Arm, sets: tuple[str, ...]) -> list[Run]:
    """The runs of an arm, the first of them checked: seeds make no difference to what is valid."""
    changes = arm.changes
    try:
        rules = check_reference(changes.get("rules", spec.get("rules", BEST)))
    except ConfigError as error:
        raise ConfigError(f"{name}.rules is {error}") from None
    place = f"{arm.place}.seeds" if spec.get("arms") else f"{name}.seeds"
    at, base = (arm.place, changes["base"]) if "base" in changes else (name, spec["base"])
    first, *others = checked_seeds(changes.get("seeds", spec["seeds"]), place)
    run = Run(
        arm=arm.name,
        seed=first,
        base=(path.parent / text(base, f"{at}.base")).resolve(),
        experiment=None if spec.get("experiment") is None else text(spec["experiment"], f"{name}.experiment"),
        sets=_changes(name, spec, arm, sets).in_order(),
        episodes=whole(spec.get("episodes", 256), f"{name}.episodes"),
        rules=rules,
        variant=arm.variant,
        governments=arm.governments,
        welfares=arm.welfares if len(arm.welfares) > 1 else (),
    )
    run = checked(run, is_cut_short=_cuts_short(sets))
    return [run, *(replace(run, seed=seed) for seed in others)]


def _cuts_short(sets: Sequence[str]) -> bool:
    """Whether a command line ends runs elsewhere than their files, as it may do to try a sweep out."""
    return any(change.setting[0] == "stop" for change in read_words(sets))


def _changes(name: str, spec: Mapping[str, Any], arm: _Arm, sets: Sequence[str]) -> Changes:
    """What makes the runs of an arm of the base."""
    gpus = number(spec.get("gpus_per_trial", 0.0), f"{name}.gpus_per_trial", 0.0)
    place = f"{name}.gpus_per_trial"
    of_gpus = [Change(place, f"num_gpus_per_learner={spec['gpus_per_trial']}")] if gpus else []
    varied = []
    for key, value in arm.variant.values:
        place = f"{name}.variants.{key}"
        varied.append(Change(place, change_text(key, value, place)))
    return Changes(
        common=[*read_changes(spec.get("set"), f"{name}.set"), *of_gpus],
        own=read_changes(arm.changes.get("set"), f"{arm.place}.set"),
        varied=varied,
        command=read_words(sets),
        is_of_taxes=spec.get("taxes") is not None,
    )


def _economy(path: Path, name: str, spec: Mapping[str, Any]) -> Any:  # noqa: ANN401 - an EconomyConfig
    """The economy that is varied, as it stands in the base file."""
    (run, *_) = _runs(path, name, spec, _Arm("base", name), ())
    return run.load(Path("results")).env_config


def _best_response(given: Any, runs: Sequence[Run], where: str) -> Mapping[str, Any] | None:  # noqa: ANN401
    """Settings of best responses, checked against every economy; None for none."""
    if given is None:
        return None
    settings = parse_settings(given, where)
    if settings.checkpoints:
        raise ConfigError(f"{where}.checkpoints is for rbc-marl best-response; a sweep checks the last one of each run")
    for run in {run.arm: run for run in runs}.values():
        try:
            settings.targets(run.load(Path("results")).env_config)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
    return dict(given)
