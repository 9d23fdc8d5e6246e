"""The files that travel with the package: presets, found by name, and the schemas with which editors check files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rbc_marl.errors import ConfigError, nearest
from rbc_marl.schema import changeable, file_schema
from rbc_marl.settings import UNSET

# Kinds of files, and their folders among the presets.
FOLDERS = {"experiment": ".", "sweep": "sweeps"}


def presets_folder() -> Path:
    """The folder of the presets: inside the package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "rllib_configs"
    return inside if inside.is_dir() else package.parent / "rllib_configs"


def preset_files(kind: str) -> dict[str, Path]:
    """The presets of a kind ("experiment" or "sweep"), by name."""
    return {path.stem: path for path in sorted((presets_folder() / FOLDERS[kind]).glob("*.yaml"))}


def find_file(name: str | Path, kind: str = "experiment", folder: Path = Path()) -> Path:
    """A file by its path, or a preset by its name; a path wins.

    Args:
        name: Such as ``mine.yaml``, ``quickstart`` or ``quickstart.yaml``; ``~`` is the home folder.
        kind: Of the preset, "experiment" or "sweep".
        folder: Where a relative path begins.

    Raises:
        ConfigError: There is no such file.
    """
    path = folder / Path(name).expanduser()
    if path.is_file():
        return path
    presets = preset_files(kind)
    preset = presets.get(str(name).removesuffix(".yaml"))
    if preset is None:
        what = "a YAML or a Python file" if kind == "experiment" else "a YAML file"
        mend = f"give the path of {what}, or the name of a preset (rbc-marl presets)"
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
            yield kind, name, f"{' '.join(comment).partition('. ')[0].rstrip('.')}."


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


# Schemas


def experiment_schema() -> dict[str, Any]:
    """JSON schema of files of experiments: the keys of EconomyPPO, or any for RLlib's other algorithms."""
    from rbc_marl.config import EconomyConfig
    from rbc_marl.curriculum import Curriculum
    from rbc_marl.experiments.algorithm_keys import SECTIONS, everyday, key_schema, known_keys
    from rbc_marl.experiments.build import ExperimentSettings
    from rbc_marl.experiments.spaces import SPACES
    from rbc_marl.rllib.algorithm import EconomyPPOConfig
    from rbc_marl.rllib.settings import ENV_OPTIONS

    schema = file_schema(ExperimentSettings, "Experiments of rbc-marl")
    economy, curriculum = EconomyConfig.model_json_schema(), Curriculum.model_json_schema()
    economy["properties"] |= {name: {} for name in ENV_OPTIONS}
    definitions = schema["$defs"] | curriculum.pop("$defs") | {"economy": economy, "curriculum": curriculum}
    keys: dict[str, Any] = {everyday(name): key_schema(key) for name, key in known_keys(EconomyPPOConfig).items()}
    keys.pop("model")
    for key in keys.values():  # a key's own definitions belong to the whole
        definitions |= key.pop("$defs", {})
    keys["env_config"] = {"$ref": "#/$defs/economy"}
    keys["curriculum"] = {"anyOf": [{"$ref": "#/$defs/curriculum"}, {"type": ["string", "null"]}]}
    flat = {"type": "object", "properties": keys, "additionalProperties": False}
    ours = {**flat, "properties": {**{section: {"$ref": "#/$defs/section"} for section in SECTIONS}, **keys}}
    experiment = schema["additionalProperties"]
    experiment["properties"]["config"] = {"type": ["object", "null"]}
    definitions |= {"experiment": experiment, "config": ours}
    definitions = {name: changeable(value) for name, value in definitions.items()}
    shared = {name: {"$ref": f"#/$defs/config/properties/{name}"} for name in keys}
    definitions["section"] = {**flat, "properties": shared}
    other = {"properties": {"run": {"not": {"const": "EconomyPPO"}}}, "required": ["run"]}
    closed = {"properties": {"config": {"$ref": "#/$defs/config"}}}
    definitions["experiment"] |= {"if": other, "else": closed}
    # What can stand in place of a value: a search space, or the word that takes out a key of the base.
    space = {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": False}
    space |= {"properties": {name: {"type": "array"} for name in SPACES}}
    definitions["change"] = {"anyOf": [space, {"const": UNSET}]}
    return {**schema, "additionalProperties": {"$ref": "#/$defs/experiment"}, "$defs": definitions}
