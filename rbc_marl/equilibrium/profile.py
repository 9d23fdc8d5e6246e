"""Strategy profiles that best responses are searched against.

A profile is the trained policies of a checkpoint, or a rule-based economy. Of a checkpoint only plain data is read:
``policies.json``, weights, and the ``config.yaml`` of its run. A network class of the user's own, which policies.json
names, is imported as `rbc_marl.policies.saved.load_policies` allows it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rbc_marl.analysis.outcomes import BEST
from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.errors import UserError
from rbc_marl.policies import Policies
from rbc_marl.policies.build import NetworkSpec
from rbc_marl.policies.imposed import Treatment, imposed_in_training
from rbc_marl.policies.networks import PolicyNetwork
from rbc_marl.policies.saved import INDEX_NAME, WEIGHTS_FOLDER, PolicySet, find_checkpoint, load_policies
from rbc_marl.policies.scripted import ScriptedPolicies
from rbc_marl.presets import ZOO_FOLDER
from rbc_marl.settings import load_yaml_file

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
class StrategyProfile:
    """What everybody plays who does not deviate, as plain data that can be sent to another process."""

    name: str
    """Of the checkpoint's folder, or of the rules. With the digest it names files of results."""
    title: str
    """What reports call it: its name, with a number where several have that (`with_distinct_titles`)."""
    economy: EconomyConfig
    encoding: str
    networks: Mapping[str, NetworkSpec]
    """Description of the network of each agent type, also of those that only deviators use."""
    digest: str
    """Of everything that decides what these policies do."""
    checkpoint: Path | None = None
    rules: Mapping[str, Any] | str | None = None
    """What all agents follow where there is no checkpoint."""
    ppo_settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the run, of `PPO_KEYS`; empty for defaults."""
    learning_rates: Mapping[str, float] = field(default_factory=dict)
    """Of each agent type in the run."""
    seed: int = 0
    """Of the run."""
    imposed: Treatment = field(default_factory=Treatment)
    """What training imposed: deviators live with it too."""
    reference: str = BEST
    """Name of the rule-based economy that the outcome is held against."""
    notes: tuple[str, ...] = ()
    trust: bool = False
    """Whether code that is not installed may run, of network classes that the checkpoint names."""

    def policies(self) -> Policies:
        """The policies, with every choice allowed that training did not replace by one that it imposed."""
        trained = self.trained()
        if trained is None:
            assert self.rules is not None  # it is one or the other
            return ScriptedPolicies(self.economy, self.rules, self.encoding)
        return self.imposed.on(trained)

    def trained(self) -> PolicySet | None:
        """The trained policies with every choice allowed, and without what is imposed on them; None of rules."""
        if self.checkpoint is None:
            return None
        policies = load_policies(self.checkpoint, trust=self.trust)
        for network in policies.networks.values():
            network.lift_mask()
        return policies

    def untrained_network(self, agent_type: str, seed: int) -> PolicyNetwork:
        """A network of an agent type that has learnt nothing."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self.networks[agent_type].build(self.economy, agent_type, self.encoding)
        return network.requires_grad_(False)

    def algorithm_config(self) -> EconomyPPOConfig:
        """EconomyPPO as the run had it, with what it imposed: no curriculum, no masks, no trembles, in one process.

        Raises:
            ConfigError: A setting of the run is not valid.
        """
        from rbc_marl.experiments.algorithm_keys import apply_keys
        from rbc_marl.rllib.algorithm import EconomyPPOConfig

        config = EconomyPPOConfig()
        apply_keys(config, self.ppo_settings, {name: name for name in self.ppo_settings})
        env = "rbc_open" if self.economy.open_economy else "rbc_closed"
        config.environment(env, env_config={**self.economy.for_processes(), "encoding": self.encoding})
        scripted = dict.fromkeys(AGENT_TYPES, self.rules) if self.checkpoint is None else {}
        config.training(networks=dict(self.networks), scripted=scripted, imposed=self.imposed)
        return config.debugging(log_level="ERROR")


def profile_of_checkpoint(path: Path, reference: str | None = None, trust: bool = False) -> StrategyProfile:
    """The policies of a checkpoint, with the settings of its run where that lies around it.

    Of the run's ``config.yaml`` `PPO_KEYS` and the learning rates count; without one they are EconomyPPO's own.

    Args:
        path: A checkpoint, or the folder of a run.
        reference: Name of the rule-based economy that the outcome is held against; None: the run's.
        trust: Whether code that is not installed may run, of network classes that policies.json names.

    Raises:
        UserError: The checkpoint is missing or damaged, or needs code that is not trusted, or a setting of the run is
            not valid.
    """
    folder = find_checkpoint(path)
    policies = load_policies(folder, trust=trust)
    digest = hashlib.sha256()
    weights_and_sources = (f for f in (folder / WEIGHTS_FOLDER).rglob("*") if f.suffix in (".safetensors", ".py"))
    for file in [folder / INDEX_NAME, *sorted(weights_and_sources)]:
        digest.update(file.read_bytes())
    ppo_settings, learning_rates, notes = _settings_of_run(_run_of(folder) / "config.yaml")
    masked = [t for t, network in policies.networks.items() if bool(network.log_mask.any())]
    if masked:
        notes = (*notes, f"masks that still held for {' and '.join(masked)} were lifted")
    imposed = imposed_in_training(policies.info)
    if imposed.chosen:
        notes = (*notes, f"imposed as in training, on deviators too: {imposed.words()}")
    digest.update(json.dumps([ppo_settings, learning_rates], sort_keys=True).encode())
    name = folder.resolve().name
    profile = StrategyProfile(
        name=name,
        title=name,
        economy=policies.config,
        encoding=policies.encoding,
        networks=policies.specs,
        digest=digest.hexdigest()[:12],
        checkpoint=folder.resolve(),
        ppo_settings=ppo_settings,
        learning_rates=learning_rates,
        seed=int(policies.info.get("seed") or 0),
        imposed=imposed,
        reference=reference or str(policies.info.get("rules", BEST)),
        notes=notes,
        trust=trust,
    )
    profile.algorithm_config()
    return profile


def profile_of_rules(
    economy: EconomyConfig,
    rules: Mapping[str, Any] | str,
    networks: Mapping[str, Any] | None = None,
    encoding: str = "symlog",
    ppo_settings: Mapping[str, Any] | None = None,
) -> StrategyProfile:
    """A rule-based economy, from which deviators with networks learn to deviate.

    Args:
        economy: The economy.
        rules: What all agents follow (`rbc_marl.policies.scripted`): a name, or a mapping.
        networks: Description of deviators' networks by agent type; "flat" where left out.
        encoding: Of deviators' observations.
        ppo_settings: Settings by name, of `PPO_KEYS`.

    Raises:
        ConfigError: The rules, a network or a setting is not valid.
    """
    ScriptedPolicies(economy, rules, encoding)
    specs = {t: NetworkSpec.of((networks or {}).get(t, "flat"), f"networks.{t}") for t in AGENT_TYPES}
    described = {t: spec.model_dump(mode="json") for t, spec in specs.items()}
    decides = json.dumps([economy.model_dump(mode="json"), rules, described, encoding, ppo_settings], sort_keys=True)
    name = rules if isinstance(rules, str) else "rules"
    profile = StrategyProfile(
        name=name,
        title=name,
        economy=economy,
        encoding=encoding,
        networks=specs,
        digest=hashlib.sha256(decides.encode()).hexdigest()[:12],
        rules=rules,
        ppo_settings=dict(ppo_settings or {}),
        notes=("rules are not trained",),
    )
    profile.algorithm_config()
    return profile


def find_profiles(
    path: Path, iterations: Sequence[int] | str = (), reference: str | None = None, trust: bool = False
) -> list[StrategyProfile]:
    """The profiles of a run's checkpoints.

    Args:
        path: A checkpoint, or the folder of a run or of an experiment.
        iterations: Iterations of the run's checkpoints; "all" for every one it has kept; empty for the one at
            ``path``, or its newest.
        reference: As in `profile_of_checkpoint`, like ``trust``.
        trust: As there.

    Raises:
        UserError: A checkpoint is missing.
    """
    from rbc_marl.experiments.folder import RunFolder, iteration_of

    newest = find_checkpoint(path)
    if not iterations:
        return [profile_of_checkpoint(newest, reference, trust)]
    run = _run_of(newest)
    kept = {iteration_of(path): path for path in RunFolder(run).checkpoints() if (path / INDEX_NAME).is_file()}
    if iterations == "all" and not kept:
        raise UserError(f"{newest} is no checkpoint of a run, which has checkpoint_*; leave out which ones to check")
    wanted = sorted(kept) if iterations == "all" else [int(number) for number in iterations]
    for number in wanted:
        if number not in kept:
            known = ", ".join(map(str, sorted(kept))) or "none"
            raise UserError(f"{run} has no checkpoint of iteration {number}; it has kept {known}")
    return [profile_of_checkpoint(kept[number], reference, trust) for number in wanted]


def result_folders(path: Path, iterations: Sequence[int] | str = ()) -> tuple[Path, Path]:
    """Where best responses are kept by default: beside checkpoints, for training that goes on deletes old ones.

    Args:
        path: A checkpoint, or the folder of a run or of an experiment.
        iterations: As in `find_profiles`.

    Returns:
        The folder of the pieces of work, ``best_response`` in the folder of the run: one for all of its checkpoints, so
        that nothing is searched for twice. And the folder of the report: the same, or, where ``path`` itself is the one
        checkpoint that is checked, ``best_response/<its name>``, so that the run's own report stays. Policies that are
        no checkpoint of a run (``checkpoint_*``) have both in their own folder; those that travel with the package
        have them under ``results``.

    Raises:
        UserError: There is no checkpoint.
    """
    folder = find_checkpoint(path)
    name = folder.resolve().name
    if ZOO_FOLDER in folder.resolve().parents:  # nothing is written into the package
        own = Path("results", _run_of(folder).name, "best_response")
        return own, own
    if not name.startswith("checkpoint_"):
        return folder / "best_response", folder / "best_response"
    work = _run_of(folder) / "best_response"
    return work, work / name if folder == path and not iterations else work


def with_distinct_titles(profiles: Sequence[StrategyProfile]) -> list[StrategyProfile]:
    """The same profiles, with titles of which no two are alike: "rules", "rules-2" and so on, in their order."""
    names = {profile.name for profile in profiles}
    titled: dict[str, StrategyProfile] = {}
    for profile in profiles:
        title, number = profile.name, 1
        while title in titled or (number > 1 and title in names):
            number += 1
            title = f"{profile.name}-{number}"
        titled[title] = replace(profile, title=title)
    return list(titled.values())


def _run_of(checkpoint: Path) -> Path:
    """The folder that a checkpoint lies in. "." and links have other parents than what they stand for."""
    resolved = checkpoint.resolve()
    return (checkpoint if checkpoint.name == resolved.name else resolved).parent


def _settings_of_run(path: Path) -> tuple[dict[str, Any], dict[str, float], tuple[str, ...]]:
    """What a run's config.yaml says of `PPO_KEYS`, each type's learning rate, and notes.

    All economies of the run count, also those of env runners.
    """
    from rbc_marl.experiments.algorithm_keys import SPELLINGS

    unknown = ("the run's settings are not known: deviators learn with EconomyPPO's own",)
    if not path.is_file():
        return {}, {}, unknown
    experiments = list(load_yaml_file(path).values())
    experiment = experiments[0] if len(experiments) == 1 and isinstance(experiments[0], Mapping) else {}
    config = experiment.get("config")
    if experiment.get("run") != "EconomyPPO" or not isinstance(config, Mapping):
        return {}, {}, unknown
    keys = {SPELLINGS.get(name, name): value for name, value in config.items()}
    per_module = keys.get("algorithm_config_overrides_per_module") or {}
    learning_rates = {
        t: float(rate)
        for t in AGENT_TYPES
        if isinstance(rate := (per_module.get(t) or {}).get("lr", keys.get("lr")), int | float)
    }
    ppo_settings = {name: keys[name] for name in PPO_KEYS if keys.get(name) is not None}
    if "num_envs_per_env_runner" in ppo_settings:
        ppo_settings["num_envs_per_env_runner"] *= max(keys.get("num_env_runners") or 1, 1)
    return ppo_settings, learning_rates, ()
