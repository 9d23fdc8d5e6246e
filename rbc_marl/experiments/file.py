"""Experiments from files: YAML as the old `rllib train file` took it, and Python files that hold a `config`.

A file becomes plain data: its base is merged in, and all spellings of a setting become one. Overrides are merged into
that data, and then it is validated and built, before Ray starts or a folder is made. A message names the full path of
what is wrong (`open-economy.config.lr_shedule`), its line, and how to mend it.
"""

from __future__ import annotations

import re
import runpy
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from rbc_marl.errors import ConfigError, first_line, nearest
from rbc_marl.experiments.algorithm_keys import CLASSES, SECTIONS, SPELLINGS, apply_keys, flatten_sections
from rbc_marl.experiments.build import Base, ExperimentSettings, build, build_python
from rbc_marl.experiments.build import Experiment as Experiment  # part of this module's interface
from rbc_marl.experiments.build import to_yaml as to_yaml
from rbc_marl.experiments.spaces import Space, find_spaces
from rbc_marl.mechanics import BASES
from rbc_marl.own_code import allow_import, allow_program, named_code
from rbc_marl.presets import find_file
from rbc_marl.settings import line_numbers, load_yaml_file, merged, parse_set, plain, with_value

# Settings of the old command, and where they stand now.
OLD_SETTINGS = {
    "checkpoint_freq": "checkpoint_frequency",
    "checkpoint_at_end": "checkpoint_at_end",
    "keep_checkpoints_num": "num_to_keep",
}
# What can stand in an experiment of a file by mistake, and what to do about it.
_MISPLACED = {
    "local_dir": "is a name of older RLlib versions; write storage_path",
    **dict.fromkeys(SECTIONS, "is not a setting of an experiment; it belongs under config"),
}
MOST_EXPERIMENTS = 100
# Names of folders: no separators of paths, nothing that a shell reads as an option or a pattern.
LONGEST_NAME = 120
_PLAIN_NAME = re.compile(r"\w(?:[\w .,+=()%-]*[\w+)%])?")
# What Windows takes for devices, with any ending.
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{name}{number}" for name in ("COM", "LPT") for number in range(1, 10))}
# Keys whose values can name classes of one's own.
_CODE = (*CLASSES, "curriculum", "networks", "deviator")


@dataclass(frozen=True)
class Override:
    """A value that takes the place of what a file says."""

    path: tuple[str, ...]
    """The setting, as `setting_path` gives it."""
    value: Any
    place: str
    """Where it is asked for, for messages: ``--set lr=1e-3``, or ``taxes.set.lr``."""
    key: str = ""
    """The setting as it was written there."""


def setting_path(key: str) -> tuple[str, ...]:
    """The one path of a setting, whatever its spelling.

    Args:
        key: ``lr``, ``config.lr``, ``training.lr`` and ``config.training.lr`` are one setting, as are
            ``checkpoint_freq`` and ``checkpoint_config.checkpoint_frequency``.

    Returns:
        Its path in the data of an `ExperimentSpec`, such as ``("config", "lr")`` or ``("stop", "training_iteration")``.

    Raises:
        ConfigError: The key names no single setting.
    """
    head, *rest = [word.strip() for word in key.split(".")]
    if head == "config" and rest:
        head, *rest = rest
    if head in OLD_SETTINGS:
        return "checkpoint_config", OLD_SETTINGS[head]
    if head in SECTIONS and rest:
        head, *rest = rest
    elif head == "config":
        raise ConfigError(f"{key}: name a setting, such as config.lr")
    if head in ExperimentSettings.model_fields and head != "base":
        return head, *rest
    return "config", SPELLINGS.get(head, head), *rest


def setting_name(path: Sequence[str]) -> str:
    """The everyday name of a setting: ``lr`` for ``("config", "lr")``."""
    return ".".join(path[1:] if path[0] == "config" else path)


def read_overrides(sets: Sequence[str]) -> list[Override]:
    """Overrides from texts such as ``"lr=1e-3"`` or ``"stop.training_iteration=3"``.

    Raises:
        ConfigError: A text is not ``key=value``, or names no setting.
    """
    parsed = [(text, *parse_set(text)) for text in sets]
    return [Override(setting_path(".".join(key)), value, f"--set {text}", ".".join(key)) for text, key, value in parsed]


@dataclass(frozen=True)
class ExperimentSpec:
    """One experiment of a file as plain data: its base merged in, all spellings and sections as one; not yet built."""

    name: str
    source: Path
    data: Mapping[str, Any]
    """The settings of `ExperimentSettings`; ``config`` holds flat keys."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Where the keys of ``config`` stand in their file."""
    files: tuple[Path, ...] = ()
    """The file and its bases."""
    overrides: tuple[Override, ...] = ()
    """What has been put in place of the files' values."""
    trust: bool = False
    """Whether it may begin from a checkpoint that is not known to be the user's own."""

    def with_overrides(self, overrides: Iterable[Override]) -> ExperimentSpec:
        """The same experiment with other values; of two overrides of one setting the later one holds.

        Raises:
            ConfigError: One reaches into something that is no mapping.
        """
        data, places, overrides = self.data, dict(self.places), tuple(overrides)
        for override in overrides:
            try:
                data = with_value(data, override.path, override.value)
            except ConfigError as error:
                raise ConfigError(f"{override.place}: {str(error).partition(': ')[2]}") from None
            if override.path[0] == "config" and (override.key or override.path[1] not in places):
                places[override.path[1]] = self._place(override)
        return replace(self, data=data, places=places, overrides=(*self.overrides, *overrides))

    def _place(self, override: Override, *, whole: bool = False) -> str:
        """Where the key of ``config`` would stand that an override names, or the whole path below it."""
        words = override.key.removeprefix("config.").split(".") if override.key else [*override.path[1:]]
        depth = 2 if words[0] in SECTIONS and len(words) > 1 else 1
        return ".".join([self.name, "config", *(words if whole else words[:depth])])

    @property
    def spaces(self) -> dict[tuple[str, ...], Space]:
        """Its search spaces, by path.

        Raises:
            ConfigError: A space has the wrong arguments.
        """
        return dict(find_spaces(self.data.get("config"), self.name, ("config",)))

    def build(self) -> Experiment:
        """Validate everything, and make the algorithm's configuration. Nothing is started.

        Raises:
            ConfigError: Something is wrong.
        """
        with self._located():
            config = self.data.get("config", {})
            code = {dotted: key for key in _CODE for dotted in named_code(config.get(key))}
            economy = config.get("env_config")
            parts = [economy.get(role) for role in BASES] if isinstance(economy, Mapping) else []  # a file is no class
            code |= dict.fromkeys(named_code(parts), "env_config")
            for dotted, key in code.items():
                folders = [*(file.parent for file in self.files), Path.cwd()]
                allow_import(dotted, folders, self.places.get(key, f"{self.name}.config.{key}"))
            experiment = build(self.name, self.source, self.data, self.places, self.spaces, self.trust)
            return replace(experiment, code=tuple(code))

    @contextmanager
    def _located(self) -> Iterator[None]:
        """Say in an error where the value comes from: an override, or a line of a file."""
        try:
            with line_numbers(*(() if self.overrides else self.files)):
                yield
        except ConfigError as error:
            meant = {}  # the one that says most of the setting, and of several of these the last
            for override in self.overrides:
                in_config, message = override.path[0] == "config", str(error)
                place = self._place(override) if in_config else f"{self.name}.{override.path[0]}"
                if message.startswith(place):
                    path = self._place(override, whole=True) if in_config else place
                    alike = takewhile(lambda letters: letters[0] == letters[1], zip(path, message, strict=False))
                    meant[len([*alike])] = override
            if meant:
                place = meant[max(meant)].place
                if not place.startswith("--set"):
                    error.args = (f"{error} ({place})",)
                raise
            with line_numbers(*self.files):
                raise


# Reading


def load_experiments(
    path: str | Path, only: str | None = None, *, sets: Sequence[str] = (), trust: bool = False
) -> list[Experiment]:
    """Read and validate the experiments of a file. Classes that it names may lie beside it or in the working folder.

    Args:
        path: A YAML file (`.yaml`, `.yml`), a Python file (`.py`), or the name of a preset.
        only: Name of one experiment; None for all, in the file's order.
        sets: Changes such as `"lr=1e-3"`, `"env_config.num_consumers=20"` or `"stop.training_iteration=3"`.
        trust: Whether they may begin from checkpoints that are not known to be the user's own: their pickles can run
            any code.

    Raises:
        ConfigError: The file is missing or something in it is wrong.
    """
    path = find_file(path)
    if path.suffix == ".py":
        _one_of([path.stem], only, path)
        return [_read_python(path, sets, trust)]
    overrides = read_overrides(sets)
    return [spec.with_overrides(overrides).build() for spec in read_specs(path, only, trust=trust)]


def read_specs(path: str | Path, only: str | None = None, *, trust: bool = False) -> list[ExperimentSpec]:
    """Read the experiments of a YAML file as plain data, each file once.

    Args:
        path: The file, or the name of a preset.
        only: Name of one experiment; None for all, in the file's order.
        trust: As in `load_experiments`.

    Raises:
        ConfigError: A file is missing, is not YAML or no file of experiments, or bases lead in a circle.
    """
    path, reader = find_file(path), _Reader()
    return [replace(reader.spec(path, name), trust=trust) for name in _one_of([*reader.file(path)], only, path)]


def _one_of(names: Sequence[str], only: str | None, path: Path) -> Sequence[str]:
    if only is not None and only not in names:
        raise ConfigError(f'{path} has no experiment "{only}"; it has {", ".join(names)}{nearest(only, names)}')
    return [name for name in names if only in (None, name)]


def folder_problem(name: object, what: str) -> str:
    """Why a name cannot be that of, say, "an arm", whose results get a folder of that name; empty where it can.

    Such a folder can be made on every system, named in every shell without quotes that mislead, and moved to another.
    """
    text = str(name)
    shown = repr(text if len(text) <= LONGEST_NAME else f"{text[:20]}...")
    if len(text.encode()) > LONGEST_NAME:
        return f"{shown} cannot name {what}; a name has at most {LONGEST_NAME} bytes"
    if _PLAIN_NAME.fullmatch(text) and text.partition(".")[0].strip().upper() not in _DEVICES:
        return ""
    mend = "letters, digits, spaces inside and any of . , + = - _ ( ) % make one"
    return f"{shown} cannot name {what}; its results get a folder of that name: {mend}"


class _Reader:
    """Reads files and their bases."""

    def __init__(self) -> None:
        self._files: dict[Path, dict[str, Any]] = {}

    def file(self, path: Path) -> dict[str, Any]:
        """The experiments of a file, by name."""
        key = path.resolve()
        if key not in self._files:
            self._files[key] = {str(name): value for name, value in load_yaml_file(path).items()}
        if not self._files[key]:
            raise ConfigError(f"{path} is empty; it must hold an experiment: a name, and under it run, env and config")
        if (count := len(self._files[key])) > MOST_EXPERIMENTS:
            raise ConfigError(f"{path} holds {count:,} experiments; at most {MOST_EXPERIMENTS} can stand in one file")
        return self._files[key]

    def spec(self, path: Path, name: str, before: tuple[tuple[Path, str], ...] = ()) -> ExperimentSpec:
        """One experiment, with its base.

        Args:
            path: Its file.
            name: Its name there.
            before: The experiments that it is a base of.
        """
        step = (path.resolve(), name)
        if step in before:
            circle = " -> ".join(f"{file.name}: {experiment}" for file, experiment in (*before, step))
            raise ConfigError(f"{path}: {name}.base leads back to where it began ({circle}); leave one base out")
        with line_numbers(path):
            own, places = _canonical(path, name, self.file(path)[name])
            base = own.pop("base", None)
            if base is None:
                return ExperimentSpec(name, path, merged({}, own), places, (path,))
            file, experiment = self._base(path, name, base)
        parent = self.spec(file, experiment, (*before, step))
        data = merged(parent.data, own)
        for space_path, space in find_spaces(own["config"], name, ("config",)):  # a space replaces, it has no keys
            data = with_value(data, space_path, space.plain())
        return ExperimentSpec(name, path, data, {**parent.places, **places}, (path, *parent.files))

    def _base(self, path: Path, name: str, value: Any) -> tuple[Path, str]:  # noqa: ANN401 - from a file
        """The file and the name of a base."""
        base = Base.parse({"file": value} if isinstance(value, str) else value, f"{name}.base")
        file = find_file(base.file, folder=path.parent)
        names = [*self.file(file)]
        wanted = base.experiment or (names[0] if len(names) == 1 else name)
        if wanted not in names:
            mend = f"name one: {{file: {base.file}, experiment: {names[0]}}}"
            raise ConfigError(f"{name}.base is {base.file}, which holds {', '.join(names)}; {mend}")
        return file, wanted


def _canonical(path: Path, name: str, raw: Any) -> tuple[dict[str, Any], dict[str, str]]:  # noqa: ANN401 - from a file
    """Bring old spellings and sections of an experiment into one form.

    Returns:
        Its settings, and the place of each key of its ``config`` in the file.
    """
    problem = ""
    if name in ("question", "policies"):
        problem = f"it is a scenario file; rbc-marl scenario {path} answers its question"
    elif not isinstance(raw, Mapping):
        problem = f"{name} is {raw!r}; an experiment is a name, and under it run, env and config"
    elif {"base", "seeds"} <= raw.keys():
        problem = f"it is a sweep file; rbc-marl sweep {path} runs it; --dry-run shows what would run"
    problem = problem or folder_problem(name, "an experiment")
    if problem:
        raise ConfigError(f"{path}: {problem}")
    data = {setting: value for setting, value in raw.items() if setting not in OLD_SETTINGS}
    for setting in data:
        if setting in _MISPLACED:
            raise ConfigError(f"{name}.{setting} {_MISPLACED[setting]}")
    if old := {OLD_SETTINGS[setting]: raw[setting] for setting in OLD_SETTINGS if setting in raw}:
        data["checkpoint_config"] = merged(data.get("checkpoint_config"), old)
    config = {} if raw.get("config") is None else raw["config"]
    if not isinstance(config, Mapping):
        raise ConfigError(f"{name}.config is {config!r}; it must be a mapping of settings")
    data["config"], places = flatten_sections(config, f"{name}.config")
    if "env" in data["config"]:
        env = data["config"].pop("env")
        if data.setdefault("env", env) != env:
            raise ConfigError(f"{places['env']} is {env!r} but {name}.env is {data['env']!r}; keep one")
    return data, places


# Python files


def _read_python(path: Path, sets: Sequence[str], trust: bool) -> Experiment:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

    allow_program(path)
    module = _run_python(path)
    config = module.get("config")
    if not isinstance(config, AlgorithmConfig):
        raise ConfigError(f"{path} holds no AlgorithmConfig named config; write config = EconomyPPOConfig()...")
    config, name = config.copy(copy_frozen=False), path.stem
    overrides = read_overrides(sets)
    # An override inside a mapping starts from what the file's config holds.
    starts = {override.path[1]: getattr(config, override.path[1], None) for override in overrides if override.path[1:]}
    keys = {key: plain(value) for key, value in starts.items() if isinstance(value, dict)}
    spec = ExperimentSpec(name, path, {"stop": module.get("stop"), "config": keys}).with_overrides(overrides)
    if fixed := {"run", "env"} & set(spec.data):
        raise ConfigError(f"--set {fixed.pop()}: a Python file sets this itself; change it there")
    changed = {override.path[1] for override in overrides if override.path[0] == "config"}
    apply_keys(config, {key: spec.data["config"][key] for key in changed if key in spec.data["config"]}, spec.places)
    return replace(build_python(name, path, config, spec.data, trust), sets=tuple(sets))


def _run_python(path: Path) -> dict[str, Any]:
    try:
        return runpy.run_path(str(path))
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        place = f", line {lines[-1]}" if lines else f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ConfigError(f"{path}{place}: {type(error).__name__}: {first_line(error)}") from error
