"""What is checked by best responses: the trained policies of a checkpoint, or a rule-based economy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rbc_marl.analysis.outcomes import BEST
from rbc_marl.config import AGENT_TYPES, EconomyConfig, load_yaml_file
from rbc_marl.errors import UserError
from rbc_marl.policies import Policies
from rbc_marl.policies.build import build_network, check_network_spec
from rbc_marl.policies.networks import PolicyNetwork
from rbc_marl.policies.saved import INDEX_NAME, PolicySet, find_checkpoint, load_policies
from rbc_marl.policies.scripted import ScriptedPolicies

if TYPE_CHECKING:
    from rbc_marl.rllib.algorithm import EconomyPPOConfig

# What a run's config.yaml decides of how deviators learn. All of it is plain data: nothing in the file is imported.
PPO_KEYS = (
    "gamma",
    "lambda_",
    "clip_param",
    "grad_clip",
    "vf_loss_coeff",
    "huber_delta",
    "reward_scale",
    "num_epochs",
    "minibatch_size",
    "agents_per_update",
    "num_envs_per_env_runner",
)


@dataclass(frozen=True)
class Subject:
    """Policies to be checked, as plain data that can be sent to another process."""

    name: str
    """Of the checkpoint's folder, or of the rules."""
    economy: EconomyConfig
    encoding: str
    networks: Mapping[str, Any]
    """Description of the network of each agent type, also of those that only deviators use."""
    digest: str
    """Of everything that decides what these policies do."""
    checkpoint: Path | None = None
    rules: Mapping[str, Any] | str | None = None
    """What all agents follow where there is no checkpoint."""
    ppo: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the run, of `PPO_KEYS`; empty for defaults."""
    rates: Mapping[str, float] = field(default_factory=dict)
    """Learning rate of each agent type in the run."""
    seed: int = 0
    """Of the run."""
    reference: str = BEST
    """Name of the rule-based economy that the outcome is held against."""
    notes: tuple[str, ...] = ()
    label: str = ""
    """What reports call it where several have its name (`told_apart`)."""

    @property
    def title(self) -> str:
        """What reports call it. Files of results are called by its name and digest, whatever stands beside it."""
        return self.label or self.name

    def policies(self) -> Policies:
        """The policies, with every choice allowed."""
        if self.checkpoint is None:
            assert self.rules is not None  # it is one or the other
            return ScriptedPolicies(self.economy, self.rules, self.encoding)
        policies = load_policies(self.checkpoint)
        for network in policies.networks.values():
            network.lift_mask()
        return policies

    def fresh(self, agent_type: str, seed: int) -> PolicyNetwork:
        """A network of an agent type that has learnt nothing."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build_network(self.economy, agent_type, self.encoding, self.networks[agent_type])
        return network.requires_grad_(False)

    def untrained(self) -> Policies | None:
        """Policies of all types that have learnt nothing, from the run's seed; None where there are rules."""
        if self.checkpoint is None:
            return None
        networks = {t: self.fresh(t, self.seed + i) for i, t in enumerate(AGENT_TYPES)}
        return PolicySet(self.economy, self.encoding, networks)

    def algorithm_config(self) -> EconomyPPOConfig:
        """EconomyPPO as the run had it: no curriculum, no masks, no probe economies, everything in one process.

        Raises:
            ConfigError: A setting of the run is not valid.
        """
        from rbc_marl.rllib.algorithm import EconomyPPOConfig
        from rbc_marl.rllib.config_keys import apply_keys

        config = EconomyPPOConfig()
        apply_keys(config, self.ppo, {name: name for name in self.ppo})
        env = "rbc_open" if self.economy.open_economy else "rbc_closed"
        config.environment(env, env_config={**self.economy.model_dump(mode="json"), "encoding": self.encoding})
        scripted = dict.fromkeys(AGENT_TYPES, self.rules) if self.checkpoint is None else {}
        config.training(networks=dict(self.networks), scripted=scripted)
        return config.debugging(log_level="ERROR")


def checkpoint_subject(path: Path, reference: str | None = None) -> Subject:
    """The policies of a checkpoint, with the settings of its run where that lies around it.

    Only plain data is read: ``policies.json``, weights, and the run's ``config.yaml``, of which `PPO_KEYS`, the
    learning rates and the networks count. Without a run the settings are EconomyPPO's own.

    Args:
        path: A checkpoint, or the folder of a run.
        reference: Name of the rule-based economy that the outcome is held against; None: the run's.

    Raises:
        UserError: The checkpoint is missing or damaged, or the run's settings are not valid.
    """
    folder = find_checkpoint(path)
    policies = load_policies(folder)
    index = json.loads((folder / INDEX_NAME).read_text(encoding="utf-8"))
    digest = hashlib.sha256()
    for file in [folder / INDEX_NAME, *sorted((folder / "policies").iterdir())]:
        digest.update(file.read_bytes())
    ppo, rates, notes = _run_settings(_run_of(folder) / "config.yaml")
    masked = [t for t, network in policies.networks.items() if bool(network.log_mask.any())]
    if masked:
        notes = (*notes, f"masks that still held for {' and '.join(masked)} were lifted")
    digest.update(json.dumps([ppo, rates], sort_keys=True).encode())
    subject = Subject(
        name=folder.resolve().name,
        economy=policies.config,
        encoding=policies.encoding,
        networks=index["networks"],
        digest=digest.hexdigest()[:12],
        checkpoint=folder.resolve(),
        ppo=ppo,
        rates=rates,
        seed=int(policies.info.get("seed") or 0),
        reference=reference or str(policies.info.get("rules", BEST)),
        notes=notes,
    )
    subject.algorithm_config()
    return subject


def rules_subject(
    economy: EconomyConfig,
    rules: Mapping[str, Any] | str,
    networks: Mapping[str, Any] | None = None,
    encoding: str = "symlog",
    ppo: Mapping[str, Any] | None = None,
) -> Subject:
    """A rule-based economy, from which deviators with networks learn to deviate.

    Args:
        economy: The economy.
        rules: What all agents follow (`rbc_marl.policies.scripted`): a name, or a mapping.
        networks: Description of deviators' networks by agent type; "flat" where left out.
        encoding: Of deviators' observations.
        ppo: Settings by name, of `PPO_KEYS`.

    Raises:
        ConfigError: The rules, a network or a setting is not valid.
    """
    ScriptedPolicies(economy, rules, encoding)
    described = {t: check_network_spec((networks or {}).get(t, "flat"), f"networks.{t}") for t in AGENT_TYPES}
    decides = json.dumps([economy.model_dump(mode="json"), rules, described, encoding, ppo], sort_keys=True)
    subject = Subject(
        name=rules if isinstance(rules, str) else "rules",
        economy=economy,
        encoding=encoding,
        networks=described,
        digest=hashlib.sha256(decides.encode()).hexdigest()[:12],
        rules=rules,
        ppo=dict(ppo or {}),
        notes=("rules are not trained",),
    )
    subject.algorithm_config()
    return subject


def find_subjects(
    path: Path, iterations: Sequence[int] | str = (), reference: str | None = None
) -> list[Subject]:
    """The checkpoints of a run that are to be checked.

    Args:
        path: A checkpoint, or the folder of a run or of an experiment.
        iterations: Iterations of the run's checkpoints; "all" for every one it has kept; empty for the one at
            ``path``, or its newest.
        reference: As in `checkpoint_subject`.

    Raises:
        UserError: A checkpoint is missing.
    """
    newest = find_checkpoint(path)
    if not iterations:
        return [checkpoint_subject(newest, reference)]
    run = _run_of(newest)
    kept = {
        int(folder.name.removeprefix("checkpoint_")): folder
        for folder in sorted(run.glob("checkpoint_*"))
        if (folder / INDEX_NAME).is_file() and folder.name.removeprefix("checkpoint_").isdigit()
    }
    if iterations == "all" and not kept:
        raise UserError(f"{newest} is no checkpoint of a run, which has checkpoint_*; leave out which ones to check")
    wanted = sorted(kept) if iterations == "all" else [int(number) for number in iterations]
    for number in wanted:
        if number not in kept:
            known = ", ".join(map(str, sorted(kept))) or "none"
            raise UserError(f"{run} has no checkpoint of iteration {number}; it has kept {known}")
    return [checkpoint_subject(kept[number], reference) for number in wanted]


def result_folders(path: Path, iterations: Sequence[int] | str = ()) -> tuple[Path, Path]:
    """Where best responses are kept by default: beside checkpoints, for training that goes on deletes old ones.

    Args:
        path: A checkpoint, or the folder of a run or of an experiment.
        iterations: As in `find_subjects`.

    Returns:
        The folder of the pieces of work, ``best_response`` in the folder of the run: one for all of its checkpoints, so
        that nothing is searched for twice. And the folder of the report: the same, or, where ``path`` itself is the one
        checkpoint that is checked, ``best_response/<its name>``, so that the run's own report stays. Policies that are
        no checkpoint of a run (``checkpoint_*``) have both in their own folder.

    Raises:
        UserError: There is no checkpoint.
    """
    folder = find_checkpoint(path)
    name = folder.resolve().name
    if not name.startswith("checkpoint_"):
        return folder / "best_response", folder / "best_response"
    work = _run_of(folder) / "best_response"
    return work, work / name if folder == path and not iterations else work


def _run_of(checkpoint: Path) -> Path:
    """The folder that a checkpoint lies in. "." and links have other parents than what they stand for."""
    whole = checkpoint.resolve()
    return (checkpoint if checkpoint.name == whole.name else whole).parent


def told_apart(subjects: Sequence[Subject]) -> list[Subject]:
    """The same subjects, with titles of which no two are alike: "rules", "rules-2" and so on, in their order."""
    taken, found = {subject.name for subject in subjects}, []
    titles: set[str] = set()
    for subject in subjects:
        title, number = subject.name, 1
        while title in titles or (number > 1 and title in taken):
            number += 1
            title = f"{subject.name}-{number}"
        titles.add(title)
        found.append(replace(subject, label=title))
    return found


def _run_settings(path: Path) -> tuple[dict[str, Any], dict[str, float], tuple[str, ...]]:
    """What a run's config.yaml says of `PPO_KEYS`, each type's learning rate, and notes.

    All economies of the run count, also those of env runners.
    """
    from rbc_marl.rllib.config_keys import SPELLINGS

    defaults = ("the run's settings are not known: deviators learn with EconomyPPO's own",)
    if not path.is_file():
        return {}, {}, defaults
    specs = list(load_yaml_file(path).values())
    spec = specs[0] if len(specs) == 1 and isinstance(specs[0], Mapping) else {}
    given = spec.get("config")
    if spec.get("run") != "EconomyPPO" or not isinstance(given, Mapping):
        return {}, {}, defaults
    keys = {SPELLINGS.get(name, name): value for name, value in given.items()}
    overrides = keys.get("algorithm_config_overrides_per_module") or {}
    rates = {
        t: float(rate)
        for t in AGENT_TYPES
        if isinstance(rate := (overrides.get(t) or {}).get("lr", keys.get("lr")), int | float)
    }
    found = {name: keys[name] for name in PPO_KEYS if keys.get(name) is not None}
    if "num_envs_per_env_runner" in found:
        found["num_envs_per_env_runner"] *= max(keys.get("num_env_runners") or 1, 1)
    return found, rates, ()
