"""Sweep files: one experiment, varied in named arms, each with several seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbc_marl.config import load_yaml_file
from rbc_marl.errors import ConfigError, nearest

if TYPE_CHECKING:
    from rbc_marl.rllib.config_file import Experiment

_KEYS = ("base", "experiment", "seeds", "arms", "episodes", "rules", "set")
_ARM_KEYS = ("base", "seeds", "set", "rules")


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

    @property
    def key(self) -> str:
        """Name of its files."""
        return f"{self.arm}-{self.seed}"

    def load(self, storage: Path) -> Experiment:
        """The experiment to train, with its results under ``storage``.

        Raises:
            ConfigError: The file or a change is not valid.
        """
        from rbc_marl.rllib.config_file import load_experiments

        sets = [*self.sets, f"seed={self.seed}", f"storage_path={json.dumps(str(storage))}"]
        found = load_experiments(self.base, self.experiment, sets=sets)
        if len(found) != 1:
            names = ", ".join(one.name for one in found)
            raise ConfigError(f"{self.base} holds {names}; name one with experiment: in the sweep file")
        return found[0]


@dataclass(frozen=True)
class Sweep:
    """A validated sweep file."""

    name: str
    source: Path
    runs: tuple[Run, ...]

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms, in the file's order."""
        return tuple(dict.fromkeys(run.arm for run in self.runs))


def load_sweep(path: str | Path, sets: tuple[str, ...] = (), arms: tuple[str, ...] = ()) -> Sweep:
    """Read and validate a sweep file; every run is checked before anything starts.

    Args:
        path: A YAML file: a name, and under it ``base`` (the file of the experiment that is varied), ``seeds`` (a
            list, or {from: 100, count: 20}) and ``arms`` (by name: a mapping with ``set``, changes as `--set` takes
            them).
        sets: Further changes, to every run.
        arms: Only these arms; empty for all.

    Raises:
        ConfigError: Something in the file is missing, unknown or wrong.
    """
    path = Path(path)
    data = load_yaml_file(path)
    if len(data) != 1:
        raise ConfigError(f"{path} holds {len(data)} sweeps; give one name, and under it base, seeds and arms")
    ((name, spec),) = data.items()
    _check_keys(spec, _KEYS, str(name))
    for key in ("base", "seeds", "arms"):
        if key not in spec:
            raise ConfigError(f"{name}.{key} is missing; give it")
    if not isinstance(spec["arms"], Mapping) or not spec["arms"]:
        raise ConfigError(f"{name}.arms must be a mapping of names to what they change, such as {{plain: {{}}}}")
    for arm in arms:
        if arm not in spec["arms"]:
            raise ConfigError(f"{arm} is not an arm of {path}{nearest(arm, spec['arms'])}")
    runs: list[Run] = []
    for arm, changes in spec["arms"].items():
        if not arms or arm in arms:
            runs += _runs(path, str(name), spec, str(arm), changes or {}, sets)
    for run in {run.arm: run for run in runs}.values():
        run.load(Path("results"))
    # The first seed of every arm before the second of any: a sweep that is cut short still compares all arms.
    turn = {run.key: turn for arm in spec["arms"] for turn, run in enumerate(r for r in runs if r.arm == arm)}
    return Sweep(str(name), path, tuple(sorted(runs, key=lambda run: turn[run.key])))


def _runs(
    path: Path, name: str, spec: Mapping[str, Any], arm: str, changes: Mapping[str, Any], sets: tuple[str, ...]
) -> list[Run]:
    where = f"{name}.arms.{arm}"
    _check_keys(changes, _ARM_KEYS, where)
    common = [f"{key}={json.dumps(value)}" for key, value in spec.get("set", {}).items()]
    own = [f"{key}={json.dumps(value)}" for key, value in changes.get("set", {}).items()]
    return [
        Run(
            arm=arm,
            seed=seed,
            base=(path.parent / changes.get("base", spec["base"])).resolve(),
            experiment=spec.get("experiment"),
            sets=(*common, *own, *sets),
            episodes=int(spec.get("episodes", 256)),
            rules=str(changes.get("rules", spec.get("rules", "monopoly"))),
        )
        for seed in _seeds(changes.get("seeds", spec["seeds"]), f"{where}.seeds")
    ]


def _seeds(given: Any, where: str) -> list[int]:  # noqa: ANN401 - from a file
    if isinstance(given, Mapping) and set(given) == {"from", "count"}:
        given = list(range(given["from"], given["from"] + given["count"]))
    if not isinstance(given, list) or not given or not all(type(seed) is int and seed >= 0 for seed in given):
        raise ConfigError(f"{where} is {given!r}; give a list of whole numbers, or {{from: 100, count: 20}}")
    return given


def _check_keys(given: Any, known: tuple[str, ...], where: str) -> None:  # noqa: ANN401 - from a file
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where} is {given!r}; it must be a mapping with {', '.join(known)}")
    for key in given:
        if key not in known:
            raise ConfigError(f"{where}.{key} is not a setting of a sweep{nearest(str(key), known)}")
