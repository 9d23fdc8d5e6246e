"""Certificates of best responses: what agents can gain at least and at most, and all it takes to compute that again.

A certificate is ``certificate.json``, and beside it a folder ``deviations`` with what each deviator plays: plans as
JSON, weights as safetensors. It names the policies and the economy by their hashes. `verify` believes no number in it:
it plays the baseline and every deviation again, computes every bound again, and compares.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from rbc_marl.analysis.best_responses import better_deviation
from rbc_marl.analysis.deviators import Deviator
from rbc_marl.analysis.gains import measure
from rbc_marl.analysis.verdicts import deviator as in_words
from rbc_marl.analysis.verdicts import number
from rbc_marl.config import EconomyConfig
from rbc_marl.errors import ConfigError, UserError
from rbc_marl.files import replace_file
from rbc_marl.policies import Policies
from rbc_marl.policies.deviating import Deviation
from rbc_marl.policies.imposed import as_trained
from rbc_marl.policies.saved import INDEX_NAME, WEIGHTS_FOLDER, PolicySet, find_checkpoint, load_policies
from rbc_marl.policies.trembles import Trembles
from rbc_marl.presets import zoo
from rbc_marl.provenance import processor_in_full, versions

FORMAT_VERSION = 1
FILE_NAME = "certificate.json"
DEVIATIONS_FOLDER = "deviations"
# How far two numbers may lie apart that the same versions computed, as a share of the number or of the baseline return.
# The same code in one thread on the same kind of CPU makes the same numbers: this is no leave for others.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Claim:
    """What agents gain by deviating from the policies of one checkpoint."""

    checkpoint: Path
    name: str
    """Of the checkpoint; files of deviations are called by it."""
    economy: EconomyConfig
    episodes: int
    seed: int
    trembles: Trembles
    gains: Sequence[tuple[Deviator, Mapping[str, Any]]]
    """Who deviates, and what was measured (`rbc_marl.analysis.gains.measure`), with the ``plans`` of the deviations."""


def write(folder: Path, claims: Sequence[Claim], work: Path) -> Path:
    """Write a certificate, with the deviations beside it.

    Args:
        folder: Where.
        claims: One per checkpoint.
        work: Folder that the weights in the plans are relative to.

    Returns:
        The certificate's path.
    """
    deviations = folder / DEVIATIONS_FOLDER
    deviations.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {"format_version": FORMAT_VERSION, "versions": _versions(), "checkpoints": []}
    for claim in claims:
        agents = []
        for deviator, gains in claim.gains:
            files = {
                name: _keep(deviations, f"{claim.name}-{deviator.name}-{name}", {**plan, **asdict(deviator)}, work)
                for name, plan in gains["plans"].items()
            }
            agents.append(_agent(deviator, gains, gains["plans"], files))
        where = {"path": Path(os.path.relpath(claim.checkpoint, folder)).as_posix()}
        content["checkpoints"].append({**where, **_setting(claim, hashes_of(claim.checkpoint)), "agents": agents})
    content["sha256"] = _digest(content)
    replace_file(folder / FILE_NAME, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return folder / FILE_NAME


def verify(
    path: Path, checkpoint: Path | None = None, *, trust: bool = False, log: Callable[[str], None] = print
) -> list[str]:
    """Compute every number of a certificate again.

    Numbers of the same versions and CPU must agree within rounding, those of others within the interval that this
    machine computes.

    Args:
        path: The certificate, its folder, the folder of the run that it is about, or the name of policies that travel
            with the package.
        checkpoint: Where the policies are, if not where they were.
        trust: Whether code that is not installed may run, of network classes that policies.json names.
        log: Told of each agent that was played again.

    Returns:
        What was verified, in lines.

    Raises:
        UserError: The certificate or a deviation is missing or damaged, belongs to other policies, or differs from what
            was computed again. The message says what differs, in one line.
    """
    path, content = read(path)
    try:
        claims = [dict(claim) for claim in content["checkpoints"]]
        is_same_version = content["versions"] == _versions()
        if checkpoint is not None and len(claims) > 1:
            raise UserError(f"{path} is about {len(claims)} checkpoints; verify it where they are")
        lines = []
        for claim in claims:
            again = _again(path, claim, checkpoint, trust, log)
            for place, stored, computed in _differences(claim, again, is_same_version):
                raise UserError(f"{path}: {place} is {stored}; computed again it is {computed}")
            lines += [_words(agent) for agent in again["agents"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is damaged: {type(error).__name__}: {error}".splitlines()[0]) from None
    how = "within rounding" if is_same_version else "within intervals, by other versions or another CPU than made it"
    return [*lines, f"verified: every number of {path} was computed again, {how}"]


def read(path: Path) -> tuple[Path, dict[str, Any]]:
    """Read a certificate, and believe its numbers; `verify` computes them again.

    Args:
        path: As for `verify`.

    Returns:
        Its own path, and its content.

    Raises:
        UserError: It is missing or damaged, of another version, or was changed.
    """
    path = _find(path)
    content = _read(path)
    if content.get("format_version") != FORMAT_VERSION:
        raise UserError(f"{path} has format {content.get('format_version')!r}; this version reads {FORMAT_VERSION}")
    if "sha256" not in content:
        raise UserError(f"{path} is damaged: KeyError: 'sha256'")
    if content["sha256"] != _digest({name: x for name, x in content.items() if name != "sha256"}):
        raise UserError(f"{path} was changed: its sha256 is not that of its content")
    return path, content


def _find(path: Path) -> Path:
    """The certificate that a path or a name stands for."""
    folder = path if path.exists() else zoo().get(str(path), path)
    if not folder.is_dir():
        return folder
    places = (folder / FILE_NAME, folder / "best_response" / FILE_NAME)
    return next((place for place in places if place.is_file()), places[0])


def hashes_of(checkpoint: Path) -> dict[str, str]:
    """sha256 of each file that decides what the policies of a checkpoint do, by its path in there."""
    files = (f for f in (checkpoint / WEIGHTS_FOLDER).rglob("*") if f.suffix in (".safetensors", ".py"))
    paths = [checkpoint / INDEX_NAME, *sorted(files)]
    return {path.relative_to(checkpoint).as_posix(): _hash_of(path) for path in paths}


# Content


def _setting(claim: Claim, hashes: Mapping[str, str]) -> dict[str, Any]:
    """What was played: the policies, the economy, and the episodes."""
    drawn = [claim.episodes, claim.seed, claim.trembles.chosen]
    economy = claim.economy.model_dump(mode="json")
    return {
        "policies": dict(hashes),
        "economy": _digest(economy),
        "episodes": claim.episodes,
        "seed": claim.seed,
        "trembles": claim.trembles.chosen,
        # Where nobody draws, no other number depends on these.
        "first_draw": float(torch.rand(1, generator=torch.Generator().manual_seed(int(_digest(drawn)[:12], 16)))),
    }


def _agent(
    deviator: Deviator,
    gains: Mapping[str, Any],
    plans: Mapping[str, Mapping[str, Any]],
    files: Mapping[str, Mapping[str, str]],
) -> dict[str, Any]:
    """The numbers of one deviator."""
    best = better_deviation(gains)
    off_path = gains["trembles"]
    level = gains["baseline_interval"]
    return {
        "agent_type": deviator.agent_type,
        "agent": deviator.agent,
        "baseline": {"mean": level["gain"], "low": level["low"], "high": level["high"]},
        "lower": {end: best[end] for end in ("gain", "low", "high")},
        "upper": gains["upper"],
        "own_effect": gains["own_effect"],
        "found_by": plans[best["found_by"]]["kind"],
        "confidence": gains["confidence"],
        "trembling_baseline": off_path and off_path["baseline"],
        "deviations": {
            name: {"files": dict(files[name]), "gain": gains[name], "trembles": off_path and off_path[name]}
            for name in plans
        },
    }


def _keep(folder: Path, name: str, plan: Mapping[str, Any], work: Path) -> dict[str, str]:
    """Write a plan, with its weights where it has some, and return the hash of each file by name."""
    kept = [folder / f"{name}.json"]
    if plan["kind"] == "learned":
        kept.append(folder / f"{name}.safetensors")
        if kept[1].resolve() != (work / plan["weights"]).resolve():
            shutil.copyfile(work / plan["weights"], kept[1])
        plan = {**plan, "weights": kept[1].name}
    replace_file(kept[0], json.dumps(plan) + "\n")
    return {path.name: _hash_of(path) for path in kept}


# Verification


def _again(
    path: Path, claim: Mapping[str, Any], checkpoint: Path | None, trust: bool, log: Callable[[str], None]
) -> dict[str, Any]:
    """The entry of a checkpoint as this process computes it."""
    place = checkpoint or path.parent / claim["path"]
    if checkpoint is None and not place.is_dir():
        raise UserError(f"{path} is about policies that are not at {place}; say where they are with --checkpoint")
    folder = find_checkpoint(place)
    hashes = hashes_of(folder)
    if hashes != claim["policies"]:
        changed = [name for name in {**hashes, **claim["policies"]} if hashes.get(name) != claim["policies"].get(name)]
        raise UserError(f"{path} belongs to other policies than those in {folder}: {changed[0]} differs")
    policies = load_policies(folder, trust=trust)
    under_law = as_trained(policies)
    for network in policies.networks.values():
        network.lift_mask()
    trembles = Trembles.parse(claim["trembles"], "trembles")
    same = Claim(folder, "", policies.config, claim["episodes"], claim["seed"], trembles, ())
    agents = []
    for agent in claim["agents"]:
        deviator = Deviator(agent["agent_type"], agent["agent"])
        plans, deviations = {}, {}
        for name, deviation in agent["deviations"].items():
            plans[name], deviations[name] = _kept(path.parent, deviation["files"], deviator, policies, under_law)
        gains = measure(under_law, deviator, deviations, same.episodes, same.seed, trembles)
        files = {name: deviation["files"] for name, deviation in agent["deviations"].items()}
        agents.append(_agent(deviator, gains, plans, files))
        log(f"played again: {_words(agents[-1])}")
    return {"path": claim["path"], **_setting(same, hashes), "agents": agents}


def _kept(
    folder: Path, files: Mapping[str, str], deviator: Deviator, policies: PolicySet, under_law: Policies
) -> tuple[dict[str, Any], Deviation]:
    """A plan, and the deviation behind it, from files whose hashes hold."""
    for name, digest in files.items():
        file = folder / DEVIATIONS_FOLDER / name
        if Path(name).name != name or not file.is_file():
            raise UserError(f"{file} is missing")
        if _hash_of(file) != digest:
            raise UserError(f"{file} was changed: its sha256 is not the one in the certificate")
    (plan_file,) = (folder / DEVIATIONS_FOLDER / name for name in files if name.endswith(".json"))
    plan, network = _read(plan_file), None
    if (plan["agent_type"], plan["agent"]) != (deviator.agent_type, deviator.agent):
        raise UserError(f"{plan_file} is what another agent does than {deviator.name.replace('-', ' ')}")
    try:
        if plan["kind"] == "learned":
            agent_type = deviator.agent_type
            network = policies.specs[agent_type].build(policies.config, agent_type, policies.encoding)
            (weights,) = (folder / DEVIATIONS_FOLDER / name for name in files if name == plan["weights"])
            network.load_state_dict(load_file(weights))
            network.requires_grad_(False)
        return plan, deviator.plays(plan, under_law, network)
    except (SafetensorError, RuntimeError, ConfigError) as error:
        raise UserError(f"{plan_file} cannot be played: {error}".splitlines()[0]) from None


def _differences(
    stored: Any,  # noqa: ANN401 - whatever JSON holds
    again: Any,  # noqa: ANN401
    is_same_version: bool,
    place: str = "",
    tolerance: float = 0.0,
) -> Iterator[tuple[str, Any, Any]]:
    """Places where a stored value is not what was computed again, with both values."""
    if isinstance(again, Mapping) and isinstance(stored, Mapping):
        if {"low", "high"} <= again.keys() and not is_same_version:
            tolerance = (again["high"] - again["low"]) / 2
        if "baseline" in again:  # small gains are differences of returns, and no more exact than those
            tolerance = ROUNDING * abs(again["baseline"]["mean"])
        if stored.keys() != again.keys():
            changed = sorted(stored.keys() ^ again.keys())
            yield f"{place}{changed[0]}", stored.get(changed[0], "missing"), again.get(changed[0], "missing")
        for name in (name for name in again if name in stored):
            allowed = 0.0 if name == "confidence" else tolerance
            yield from _differences(stored[name], again[name], is_same_version, f"{place}{name}.", allowed)
    elif isinstance(again, Sequence) and isinstance(stored, Sequence) and not isinstance(again, str):
        if len(stored) != len(again):
            yield f"{place}length", len(stored), len(again)
        for i, pair in enumerate(zip(stored, again, strict=False)):
            yield from _differences(*pair, is_same_version, f"{place}{i}.", tolerance)
    elif isinstance(again, float) and isinstance(stored, int | float):
        if not abs(stored - again) <= max(tolerance, ROUNDING * abs(again)):
            yield place.rstrip("."), stored, again
    elif stored != again or type(stored) is not type(again):
        yield place.rstrip("."), stored, again


def _words(agent: Mapping[str, Any]) -> str:
    lower, upper = agent["lower"], agent["upper"]
    most = f", at most {number(upper['gain'])} ({number(upper['high'])})" if upper else ""
    interval = f"({number(lower['low'])} to {number(lower['high'])})"
    return f"{in_words(agent)} gains at least {number(lower['gain'])} {interval}{most}, by {agent['found_by']}"


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        mend = "give a certificate.json, or the folder it lies in; rbc-marl best-response writes one"
        raise UserError(f"{path} cannot be read ({error.strerror}); {mend}") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged: it holds no mapping")
    return content


def _versions() -> dict[str, str]:
    """Versions that decide the numbers to the last digit, with the CPU that computes them.

    Its instructions alone do not decide: with the same ones, sums of two makers' CPUs are rounded differently, and now
    and then an agent draws another action.
    """
    found = {name: version for name, version in versions().items() if name in ("rbc_marl", "torch", "python")}
    return {**found, "cpu": f"{torch.backends.cpu.get_cpu_capability()}, {processor_in_full()}"}


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
