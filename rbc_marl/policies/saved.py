"""Trained policies on disk: plain data, so that reading a stranger's file runs no code, and needs no Ray.

A checkpoint folder holds ``policies.json`` (the economy, the networks, the encoding and the version of this format) and
one ``policies/<type>.safetensors`` of weights per agent type. Where a network, or a part of the economy, is a class of
one's own that is not installed, ``policies/source/<module>.py`` is a copy of its module, which runs only for a user who
trusts it.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from rbc_marl.config import AGENT_TYPES, EconomyConfig, parse_config
from rbc_marl.economy import EconomyState
from rbc_marl.errors import ConfigError, NonFiniteError, UserError, nearest
from rbc_marl.files import put, replace_file, writing
from rbc_marl.mechanics import BASES
from rbc_marl.mechanics.part import CLASS
from rbc_marl.observations import check_encoding
from rbc_marl.own_class import load_class, name_of, source_of
from rbc_marl.places import opened
from rbc_marl.policies.acting import act, choices_of_network
from rbc_marl.policies.build import NETWORKS, NetworkSpec, build_network
from rbc_marl.policies.networks import PolicyNetwork
from rbc_marl.presets import zoo
from rbc_marl.processes import Drawn
from rbc_marl.settings import with_value
from rbc_marl.signatures import hash_of

FORMAT_VERSION = 1
INDEX_NAME = "policies.json"
WEIGHTS_FOLDER = "policies"
SOURCE_FOLDER = "source"
# Where the index holds the hash of each file of the weights' folder.
HASHES = "sha256"


@dataclass(frozen=True)
class PolicySet:
    """Trained policies of all agent types, following the protocol `rbc_marl.policies.Policies`."""

    config: EconomyConfig
    """The economy they were trained in."""
    encoding: str
    """Of their observations."""
    networks: Mapping[str, PolicyNetwork]
    """By agent type."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """What was saved with them: plain data."""
    specs: Mapping[str, NetworkSpec] = field(default_factory=dict)
    """Description of each network, from which an untrained one like it can be built, also in another process."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.networks["consumer"].parameters()).device

    @torch.no_grad()
    def act(
        self,
        observation: Mapping[str, Tensor],
        generator: torch.Generator | None = None,
        greedy: bool = False,
        *,
        state: EconomyState | None = None,
    ) -> dict[str, Tensor]:
        """Decide for one period; see `rbc_marl.policies.Policies`. The state is not read."""
        del state
        indices: dict[str, Tensor] = {}
        for agent_type in AGENT_TYPES:
            network = self.networks[agent_type]
            shared, private = (of_weights_type(network, observation[part]) for part in ("global", agent_type))
            choices_of = choices_of_network(network, shared, private)
            indices[agent_type], _ = act(choices_of, network, private, not greedy, generator)
        return _without_axes_of_one(indices)

    @torch.no_grad()
    def logits(self, observation: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits [B, A, K] of the choices of every agent, by agent type; the observation as in `act`."""
        logits = {}
        for agent_type in AGENT_TYPES:
            network = self.networks[agent_type]
            parts = (of_weights_type(network, observation[part]) for part in ("global", agent_type))
            logits[agent_type] = network.logits(network.features(*parts))
        return logits

    @torch.no_grad()
    def choose(
        self, logits: Mapping[str, Tensor], generator: torch.Generator | None = None, greedy: bool = False
    ) -> dict[str, Tensor]:
        """Draw from logits, or play greedily. The draws of one agent are the same whatever the logits.

        Args:
            logits: As `logits` returns them.
            generator: Behind every draw; None for torch's own.
            greedy: Whether to take the likeliest choice of each head, and to deal out the employers.

        Returns:
            Indices as `act` returns them.
        """
        indices: dict[str, Tensor] = {}
        for agent_type in AGENT_TYPES:
            choices = self.networks[agent_type].distribution(logits[agent_type])
            indices[agent_type] = choices.greedy() if greedy else choices.sample(generator)
        return _without_axes_of_one(indices)


def _without_axes_of_one(indices: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Indices as `rbc_marl.VectorEconomy.step` takes them: the single choice of firms and governments has no axis."""
    firm, government = indices["firm"].squeeze(-1), indices["government"].flatten()
    return {"consumer": indices["consumer"], "firm": firm, "government": government}


def of_weights_type(network: PolicyNetwork, observation: Tensor) -> Tensor:
    """An observation in the floating-point type of a network's weights, which an economy may exceed."""
    return observation.to(next(network.parameters()).dtype)


def save_policies(
    folder: str | Path,
    config: EconomyConfig,
    encoding: str,
    networks: Mapping[str, PolicyNetwork],
    specs: Mapping[str, NetworkSpec | str | Mapping[str, Any]],
    info: Mapping[str, Any] | None = None,
) -> None:
    """Write policies into a checkpoint folder, made if need be; other files in it stay.

    Everything is written beside its place first and renamed into it, the index last: a folder with an index is whole.

    Args:
        folder: The checkpoint.
        config: The economy.
        encoding: Of the observations.
        networks: By agent type, for all types.
        specs: Description of each network, as `build_network` takes it.
        info: Plain data to keep with them, such as the seed and the iteration.

    Raises:
        NonFiniteError: A weight is infinite or NaN; nothing is written.
    """
    check_finite_weights({t: networks[t].state_dict() for t in AGENT_TYPES}, "the policies cannot be saved")
    described = {t: NetworkSpec.of(specs[t], f"networks.{t}") for t in AGENT_TYPES}
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    index = {
        "format_version": FORMAT_VERSION,
        "encoding": encoding,
        "networks": {t: spec.model_dump(mode="json") for t, spec in described.items()},
        "economy": config.model_dump(mode="json"),
        "info": dict(info or {}),
    }
    with writing(folder), tempfile.TemporaryDirectory(dir=folder, prefix=".policies-") as scratch:
        new, old = Path(scratch, "new"), Path(scratch, "old")
        new.mkdir()
        for agent_type in AGENT_TYPES:
            weights = {name: x.detach().cpu().contiguous() for name, x in networks[agent_type].state_dict().items()}
            (new / f"{agent_type}.safetensors").write_bytes(save(weights))
        parts = {type(part) for part in config.own_parts.values()}
        for own in parts | {spec.kind for spec in described.values() if spec.is_own}:
            source = source_of(own)
            if source is not None:
                copy = _copy_in(new, name_of(own))
                copy.parent.mkdir(exist_ok=True)
                copy.write_text(source, encoding="utf-8")
        index[HASHES] = {path.relative_to(new).as_posix(): hash_of(path) for path in new.rglob("*") if path.is_file()}
        text = json.dumps(index, indent=2, allow_nan=False) + "\n"
        (folder / INDEX_NAME).unlink(missing_ok=True)
        if (folder / WEIGHTS_FOLDER).exists():
            shutil.move(folder / WEIGHTS_FOLDER, old)
        put(new, folder / WEIGHTS_FOLDER)
        replace_file(folder / INDEX_NAME, text)


def find_checkpoint(path: str | Path) -> Path:
    """The folder that holds policies: a checkpoint, the newest of a run, or that of an experiment's newest run.

    Args:
        path: One of these, or the address of a checkpoint or of a run; or the name of policies in the package
            (`rbc_marl.presets.zoo`); a folder wins.

    Raises:
        UserError: There is none at ``path``, or none that is whole.
    """
    path = opened(path)
    if not path.is_dir():
        trained = zoo()
        if str(path) in trained and not path.exists():
            return find_checkpoint(trained[str(path)])
        reason = "is a file" if path.is_file() else "does not exist"
        mend = "give the folder of a checkpoint or of a run"
        if trained and len(path.parts) == 1 and not path.exists():
            mend += f", or a name of trained policies: {', '.join(trained)}{nearest(str(path), trained)}"
        raise UserError(f"{path} {reason}; {mend}")
    if (path / INDEX_NAME).is_file():
        return path
    saved = [folder for folder in path.glob("checkpoint_*") if (folder / INDEX_NAME).is_file()]
    saved = [folder for folder in saved if ".torn" not in folder.name]
    if not saved:  # the folder of an experiment holds its runs, named by their time
        runs = {index.parents[1] for index in path.glob(f"*/checkpoint_*/{INDEX_NAME}")}
        if runs:
            return find_checkpoint(max(runs, key=lambda run: run.name))
        raise UserError(
            f"{path} holds no policies (neither {INDEX_NAME} nor checkpoint_*/{INDEX_NAME}); "
            "give the folder of a checkpoint or of a run that has saved one"
        )
    saved.sort(key=lambda folder: (_number(folder.name), folder.name), reverse=True)
    for folder in saved:
        if not (problem := _torn(folder)):
            return folder
        print(f"{folder} is torn ({problem}); the newest one that is whole is taken", file=sys.stderr)
    raise UserError(f"{path} holds no checkpoint that is whole; give another run")


def load_policies(
    path: str | Path,
    device: torch.device | str = "cpu",
    economy: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> PolicySet:
    """Read the policies of a checkpoint, of the newest checkpoint of a run, or those that travel with the package.

    Args:
        path: The folder of a checkpoint or of a run, or a name such as "open_rbc".
        device: Where the weights go.
        economy: Fields of `EconomyConfig` that differ from the economy of training, or parts of them such as
            "shocks.technology.deviation": how the same policies do in another one. Equivariant networks play with any
            number of firms; all others need as many, and as many choices. A number that is drawn for each episode
            becomes the one that is given, which agents see.
        trust: Whether the class of a network or of a part of the economy may come from code that is not installed: the
            run's own module, or the copy of it in the checkpoint.

    Raises:
        UserError: There is no checkpoint, it is damaged, of another version, does not fit its economy, or needs code
            that is not trusted.
        NonFiniteError: A weight is infinite or NaN.
        ConfigError: A field of the economy is unknown or invalid.
    """
    folder = find_checkpoint(path)
    index = _read_index(folder / INDEX_NAME)
    where = f"{folder / INDEX_NAME}: "
    try:
        fields = _with_own_parts(index["economy"], folder / WEIGHTS_FOLDER, trust)
    except UserError as error:
        raise UserError(f"{where}{error}") from None
    trained = config = parse_config(fields, where=f"{where}economy")
    if economy:
        families = trained.shocks.families if trained.shocks is not None else {}
        for name, value in economy.items():
            if name in families:  # one economy of the family, whose number agents see
                fields = with_value(fields, ("shocks", name, "at"), value)
                _say_if_far(name, value, families[name])
            if name not in families or name in EconomyConfig.model_fields:
                fields = with_value(fields, name.split("."), value)
        config = parse_config(fields, where="economy")
    try:
        encoding = check_encoding(index["encoding"])
        specs = {t: _spec(index["networks"][t], f"networks.{t}", folder / WEIGHTS_FOLDER, trust) for t in AGENT_TYPES}
        with torch.random.fork_rng(devices=[]):  # networks start from draws of torch
            networks, *others = (
                {t: build_network(one, t, encoding, specs[t]) for t in AGENT_TYPES}
                for one in ([config] if config == trained else [config, trained])
            )
    except UserError as error:
        raise UserError(f"{where}{error}") from None
    for agent_type, network in networks.items():
        for other in others:
            check_fit(network, other[agent_type], agent_type)
        _load_weights(network, folder / WEIGHTS_FOLDER / f"{agent_type}.safetensors")
        network.requires_grad_(False).eval().to(device)
    if problem := _not_as_saved(folder, index):
        raise UserError(f"{folder / WEIGHTS_FOLDER / problem} is not what {INDEX_NAME} was saved with; take another")
    return PolicySet(config, encoding, networks, index["info"], specs)


def _say_if_far(name: str, value: object, drawn: Drawn) -> None:
    """Warn of an economy outside of those that policies were trained in."""
    low, high = drawn.range
    if isinstance(value, (int, float)) and not low <= value <= high:
        trained = f"policies were trained with {low:g} to {high:g}"
        print(f"{name} is {value:g}, and {trained}: what they do there is a guess", file=sys.stderr)


def _not_as_saved(folder: Path, index: Mapping[str, Any]) -> str:
    """The name of a file of the weights' folder that is missing or differs; empty where all are as they were saved."""
    for name, digest in index.get(HASHES, {}).items():
        path = folder / WEIGHTS_FOLDER / name
        if not path.is_file() or hash_of(path) != digest:
            return str(name)
    return ""


def _torn(folder: Path) -> str:
    """Why the policies of a checkpoint cannot be whole; empty where they may be.

    What an index says that is whole is for `load_policies` to judge.
    """
    try:
        index = json.loads((folder / INDEX_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        return f"{INDEX_NAME} cannot be read as JSON: {error}"
    hashes = index.get(HASHES) if isinstance(index, dict) else None
    if isinstance(hashes, dict) and (name := _not_as_saved(folder, index)):
        return f"{WEIGHTS_FOLDER}/{name} is missing or not what was saved"
    return ""


def check_finite_weights(weights: Mapping[str, Mapping[str, Any]], what: str) -> None:
    """Refuse weights that are infinite or NaN.

    Args:
        weights: Tensors or arrays by module and name.
        what: What cannot be done with them, with which the message begins.

    Raises:
        NonFiniteError: There are such; the message names the module and the tensor.
    """
    for module_id, named in weights.items():
        for name, values in named.items():
            if not bool(torch.isfinite(torch.as_tensor(values)).all()):
                problem = f"{name} of the {module_id} holds numbers that are infinite or NaN"
                raise NonFiniteError(f"{what}: {problem}; take an earlier checkpoint")


def _spec(described: object, where: str, weights_folder: Path, trust: bool) -> NetworkSpec:
    """The description of a network in an index, with the class that it names.

    Raises:
        UserError: It is not valid, or names code that is not trusted.
    """
    data = {"kind": described} if isinstance(described, str) else described
    kind = data.get("kind") if isinstance(data, Mapping) else None
    if not isinstance(kind, str) or kind in NETWORKS or ":" not in kind:
        if isinstance(kind, str) and "." in kind:  # would be imported
            raise UserError(f"{where}.kind is {kind!r}; a class is written as module:Class")
        return NetworkSpec.parse(data, where)
    assert isinstance(data, Mapping)
    try:
        own = load_class(kind, _copy_in(weights_folder, kind), trust)
    except UserError as error:
        raise UserError(f"{where}.kind: {error}") from error
    return NetworkSpec.parse({**data, "kind": own}, where)


def _with_own_parts(economy: Mapping[str, Any], weights_folder: Path, trust: bool) -> dict[str, Any]:
    """The economy of an index, whose parts of one's own name classes that are loaded.

    Raises:
        UserError: One names code that is not trusted, or no class of a module.
    """
    fields = dict(economy)
    for role in BASES:
        part = fields.get(role)
        name = part.get(CLASS) if isinstance(part, Mapping) else part
        if isinstance(name, str) and ":" in name and isinstance(part, Mapping):
            try:
                own = load_class(name, _copy_in(weights_folder, name), trust)
            except UserError as error:
                raise UserError(f"economy.{role}.{CLASS}: {error}") from error
            fields[role] = {**part, CLASS: own}
        elif (isinstance(part, Mapping) and CLASS in part) or (isinstance(name, str) and "." in name):
            raise UserError(f"economy.{role} names {name!r}; a class is written as module:Class")  # would be imported
    return fields


def needs_trust(checkpoint: Path) -> bool:
    """Whether a checkpoint keeps code that is not installed, which plays its policies only where that is trusted."""
    return any((checkpoint / WEIGHTS_FOLDER / SOURCE_FOLDER).glob("*.py"))


def _copy_in(weights_folder: Path, name: str) -> Path:
    """Where the copy of the source of ``module:Class`` lies; a name from a file leads nowhere else."""
    module = re.sub(r"[^\w.]", "_", name.partition(":")[0])
    return weights_folder / SOURCE_FOLDER / f"{module}.py"


def _number(name: str) -> int:
    digits = re.search(r"\d+$", name)
    return int(digits.group()) if digits else -1


def _read_index(path: Path) -> dict[str, Any]:
    """The checked top level of ``policies.json``."""
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}); take another checkpoint") from None
    if not isinstance(index, dict) or "format_version" not in index:
        raise UserError(f"{path} has no format_version, so it was not written by this package; take another checkpoint")
    version = index["format_version"]
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise UserError(
            f"{path}: format_version is {version!r}, and this version of rbc_marl reads {FORMAT_VERSION}; "
            "read it with the version that wrote it, or train again"
        )
    for name, kind in (("economy", dict), ("networks", dict), ("encoding", str), ("info", dict)):
        if not isinstance(index.get(name), kind):
            raise UserError(f"{path}: {name} is missing or not a {kind.__name__}; take another checkpoint")
    if not isinstance(index.get(HASHES, {}), dict):
        raise UserError(f"{path}: {HASHES} is not a dict; take another checkpoint")
    for agent_type in AGENT_TYPES:
        if agent_type not in index["networks"]:
            raise UserError(f"{path}: networks lacks {agent_type}; it must describe {', '.join(AGENT_TYPES)}")
    return index


def _load_weights(network: PolicyNetwork, path: Path) -> None:
    """Fill a network from a file whose names, shapes and types must be the network's own."""
    if not path.is_file():
        raise UserError(f"{path} does not exist; the checkpoint is incomplete: take another")
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged ({error}); take another checkpoint") from None
    expected = network.state_dict()
    for name in sorted(expected.keys() | weights.keys()):
        found = _describe(weights.get(name))
        needed = _describe(expected.get(name))
        if found != needed:
            raise UserError(f"{path}: {name} is {found}; the economy and network of {INDEX_NAME} need {needed}")
    check_finite_weights({path.stem: weights}, str(path))
    network.load_state_dict(weights)


def check_fit(network: PolicyNetwork, trained: PolicyNetwork, agent_type: str) -> None:
    """Refuse an economy that a network cannot play in.

    Args:
        network: What it would be there.
        trained: What it is.
        agent_type: Whose it is.

    Raises:
        ConfigError: They differ in shape.
    """
    shapes = [{name: value.shape for name, value in one.state_dict().items()} for one in (network, trained)]
    if shapes[0] != shapes[1]:
        raise ConfigError(
            f"the network of the {agent_type} was made for other choices or another number of firms, or sees other "
            "shocks; an equivariant one (networks: {" + agent_type + ": equivariant}) plays with any number of firms"
        )


def _describe(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
