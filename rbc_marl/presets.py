"""What travels with the package and is found by name: presets, and the policies trained with them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from rbc_marl.errors import ConfigError, nearest

# Kinds of files, and their folders among the presets.
FOLDERS = {"experiment": ".", "sweep": "sweeps", "scenario": "scenarios"}
# What names of these are called, and the command that takes them.
_CALLED = {"experiment": ("a preset", "train"), "sweep": ("a sweep", "sweep"), "scenario": ("a scenario", "scenario")}
# Each folder in it is that of a run, of which only what is needed to play, check and repeat it was kept.
ZOO_FOLDER = Path(__file__).resolve().parent / "zoo"


def presets_folder() -> Path:
    """The folder of the presets: inside the package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "rllib_configs"
    return inside if inside.is_dir() else package.parent / "rllib_configs"


def preset_files(kind: str) -> dict[str, Path]:
    """The presets of a kind of `FOLDERS`, by name."""
    return {path.stem: path for path in sorted((presets_folder() / FOLDERS[kind]).glob("*.yaml"))}


def find_file(name: str | Path, kind: str = "experiment", folder: Path = Path()) -> Path:
    """A file by its path, or a preset by its name; a path wins.

    Args:
        name: Such as ``mine.yaml``, ``quickstart`` or ``quickstart.yaml``; ``~`` is the home folder.
        kind: Of the preset, of `FOLDERS`.
        folder: Where a relative path begins.

    Raises:
        ConfigError: There is no such file.
    """
    path = folder / Path(name).expanduser()
    if os.path.isfile(path):  # a name that is too long is no file; `Path.is_file` raises
        return path
    presets = preset_files(kind)
    preset = presets.get(str(name).removesuffix(".yaml"))
    if preset is None:
        for other, (called, command) in _CALLED.items():
            if str(name).removesuffix(".yaml") in preset_files(other):
                raise ConfigError(f"{name} is the name of {called}; rbc-marl {command} {name} runs it")
        what = "a YAML or a Python file" if kind == "experiment" else "a YAML file"
        mend = f"give the path of {what}, or the name of {_CALLED[kind][0]} (rbc-marl presets)"
        raise ConfigError(f"{path} does not exist; {mend}{nearest(Path(name).stem, presets)}")
    return preset


def describe_presets() -> Iterator[tuple[str, str, str]]:
    """Every preset: its kind, its name, and what it is: the first sentence of the comment that it begins with."""
    for kind in FOLDERS:
        for name, path in preset_files(kind).items():
            comment = []
            for line in path.read_text(encoding="utf-8").splitlines():
                text = line.removeprefix("#").strip()
                if not line.startswith("#") or not text or text.startswith("rbc-marl "):
                    break
                comment.append(text)
            yield kind, name, re.split(r"(?<=[.?]) ", " ".join(comment))[0]


def copy_presets(target: Path, *, force: bool = False) -> list[Path]:
    """Copy all presets and schemas into a folder, to edit them there.

    Args:
        target: The folder; made if there is none.
        force: Whether to write over files of the same names.

    Returns:
        The copies.

    Raises:
        ConfigError: A file is there already, and ``force`` is false.
    """
    source = presets_folder()
    files = [path.relative_to(source) for path in sorted(source.rglob("*")) if path.is_file()]
    there = [target / file for file in files if (target / file).exists()]
    if there and not force:
        raise ConfigError(f"{there[0]} exists already; give another folder, or --force to write over it")
    for file in files:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / file, target / file)
    return [target / file for file in files]


def zoo() -> dict[str, Path]:
    """Folders of the runs whose trained policies travel with the package, by the names of their presets."""
    indices = sorted(ZOO_FOLDER.glob("*/checkpoint_*/policies.json"))
    return {index.parents[1].name: index.parents[1] for index in indices}
