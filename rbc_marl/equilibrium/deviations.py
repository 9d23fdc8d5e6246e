"""The pieces of work behind a best response: baseline returns, deviations learnt and scanned, and their gains.

Everything is measured by differences, episode by episode, between play with and without a deviation on the same random
numbers. Deviations are picked on one set of episodes, and their gains measured on another.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from rbc_marl import __version__
from rbc_marl.analysis.best_responses import paired
from rbc_marl.analysis.composition import composition
from rbc_marl.analysis.constants import describe, scan
from rbc_marl.analysis.deviators import Deviator
from rbc_marl.analysis.gains import measure, one_thread
from rbc_marl.analysis.outcomes import outcome
from rbc_marl.analysis.rollouts import Episodes, Evaluation, play
from rbc_marl.analysis.searches import find
from rbc_marl.config import AGENT_TYPES
from rbc_marl.equilibrium.best_response_settings import LEAST_LEARNING_RATE, BestResponseSettings
from rbc_marl.equilibrium.profile import StrategyProfile
from rbc_marl.files import replace_file
from rbc_marl.policies import Policies
from rbc_marl.policies.deviating import DeviatingPolicies, Deviation
from rbc_marl.policies.networks import PolicyNetwork
from rbc_marl.policies.saved import PolicySet

if TYPE_CHECKING:
    from rbc_marl.rllib.algorithm import EconomyPPOConfig

WEIGHTS = "weights"
# Of the columns of results: rows with other ones are not read, but made again.
RESULT_VERSION = 2
# Which episodes a seed stands for: those on which deviations are picked, measured, and scanned.
SELECTION, FRESH, SCAN = range(3)
# Networks that perturb others are made from their own seeds, not from those of a run.
_PERTURBATION_SEED = 1_000_003
# Shares of a search's iterations after which its network is tried. Where all agents of a type learn at once they may
# end worse than they began, and what they gain lies on the way.
_TRIED_SHARES = (0.05, 0.125, 0.25, 0.5, 1.0)
# Share of the iterations over which the learning rate rises: an optimizer's first steps are as long as its rate in
# every weight, whatever the gradients, and may push a type into an economy where nobody works.
_WARM_UP = 0.1


@dataclass(frozen=True)
class DeviationJob(ABC):
    """What all pieces have in common: whose deviation from which profile, and how it is searched for."""

    profile: StrategyProfile
    settings: BestResponseSettings
    deviator: Deviator

    @property
    def key(self) -> str:
        """Profile, deviator and piece in words, and a digest of everything that decides the result but the code."""
        decides = [self.profile.digest, asdict(self.deviator), self._decides(), RESULT_VERSION, __version__]
        digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:8]
        return f"{self.profile.name}-{self.deviator.name}-{self._piece}-{digest}"

    @abstractmethod
    def run(self, folder: Path) -> dict[str, Any]:
        """See `rbc_marl.experiments.trials.Job`."""

    @property
    @abstractmethod
    def _piece(self) -> str:
        """Name of the piece of work."""

    @abstractmethod
    def _decides(self) -> object:
        """Settings that this piece depends on, as plain data."""

    def _line(self, text: str) -> str:
        return f"{self.profile.title}  {self.deviator.name.replace('-', ' ')}: {text}"

    def _episodes(self, stream: int) -> tuple[int, int]:
        """Number and seed of the episodes of a stream."""
        count = self.settings.episodes if stream == FRESH else self.settings.selection_episodes
        return count, episode_seed(self.settings, stream)

    def _baseline(self, stream: int) -> Tensor:
        """Returns [N] of the deviator's agents while nobody deviates."""
        return self.deviator.returns(_baseline_episodes(self.profile, *self._episodes(stream)))

    def _returns(self, deviation: Deviation, stream: int) -> Tensor:
        """Returns [N] of the deviator's agents on the same episodes with a deviation."""
        policies = DeviatingPolicies(self.profile.policies(), deviation)
        return self.deviator.returns(play(policies, *self._episodes(stream)))

    def _best(self, plans: Sequence[Mapping[str, Any]]) -> tuple[int, float]:
        """Number of the plan that gains most on the episodes on which deviations are picked, and how much."""
        policies, baseline = self.profile.policies(), self._baseline(SELECTION)
        gains = [
            float((self._returns(self.deviator.plays(plan, policies), SELECTION) - baseline).mean()) for plan in plans
        ]
        best = max(range(len(gains)), key=gains.__getitem__)
        return best, gains[best]


class BaselineJob(DeviationJob):
    """What the profile's economy does, and what each agent would get had nobody learnt anything."""

    _piece = "baseline"

    def _decides(self) -> object:
        settings = self.settings
        counts = [settings.episodes, settings.selection_episodes]
        return [*counts, settings.evaluation_seed, self.profile.reference]

    def run(self, folder: Path) -> dict[str, Any]:
        """See `rbc_marl.experiments.trials.Job`."""
        count, seed = self._episodes(FRESH)
        means = Evaluation.of(_baseline_episodes(self.profile, count, seed)).means
        # Periods are kept of fewer episodes: they take memory, and shares need no more.
        recorded = play(self.profile.policies(), self.settings.selection_episodes, seed, record=True)
        row: dict[str, Any] = {
            "outcome": outcome(self.profile.economy, means, self.profile.reference),
            "means": {**means, **composition(recorded)},
            "training": self._gains_in_training(count, seed),
        }
        welfare = f"welfare {means['welfare_total']:,.0f} (consumers {means['welfare_consumers']:,.0f})"
        row["line"] = f"{self.profile.title}  {row['outcome']}, hours {means['hours']:.0f}, {welfare}"
        return row

    def _gains_in_training(self, count: int, seed: int) -> dict[str, dict[str, float]] | None:
        """By deviator's name, the return before training and what it brought, with its interval; None for rules."""
        profile, economy = self.profile, self.profile.economy
        if profile.checkpoint is None:
            return None
        untrained = {t: profile.untrained_network(t, profile.seed + i) for i, t in enumerate(AGENT_TYPES)}
        before = play(profile.imposed.on(PolicySet(economy, profile.encoding, untrained)), count, seed)
        now = _baseline_episodes(profile, count, seed)
        deviators = [Deviator(agent_type) for agent_type in AGENT_TYPES]
        for agent_type in ("consumer", "firm"):
            deviators += [Deviator(agent_type, i) for i in range(economy.agents(agent_type))]
        gains = {}
        for deviator in deviators:
            start = deviator.returns(before)
            gains[deviator.name] = {"start": float(start.mean()), **paired(deviator.returns(now) - start)}
        return gains


class ConstantsJob(DeviationJob):
    """The best constant deviation."""

    _piece = "constants"

    def _decides(self) -> object:
        return [self.settings.selection_episodes, self.settings.evaluation_seed]

    def run(self, folder: Path) -> dict[str, Any]:
        """See `rbc_marl.experiments.trials.Job`."""
        finalists = scan(self.profile.policies(), self.deviator, *self._episodes(SCAN))
        best, gain = self._best([{"kind": "constant", "choice": choice.tolist()} for choice in finalists])
        words = describe(self.profile.economy, self.deviator.agent_type, finalists[best])
        line = self._line(f"best constant: {words} ({gain:+.4g})")
        return {"selection_gain": gain, "choice": finalists[best].tolist(), "words": words, "line": line}


@dataclass(frozen=True)
class LearningJob(DeviationJob):
    """A deviation that is learnt, from the profile's own network or, as a positive control, from a perturbed one."""

    seed: int = 0
    is_control: bool = False

    @property
    def _piece(self) -> str:
        return f"{'control' if self.is_control else 'learn'}-{self.seed}"

    def _decides(self) -> object:
        settings, deviator = self.settings, self.deviator
        economies = settings.economies if deviator.agent is None else settings.agent_economies
        rate = getattr(settings.lr, deviator.agent_type)
        learning = [settings.iterations, economies, settings.entropy, rate, _TRIED_SHARES, _WARM_UP]
        measuring = [settings.selection_episodes, settings.evaluation_seed]
        control = [settings.episodes, settings.perturbation] if self.is_control else []
        return [self.seed, self.is_control, learning, measuring, control]

    def run(self, folder: Path) -> dict[str, Any]:
        """See `rbc_marl.experiments.trials.Job`."""
        start = self._start()
        networks = learn(self.profile, self.settings, self.deviator, self.seed, start)
        if self.is_control:
            networks = {0: start, **networks}
        deviations = {(done, False): self.deviator.deviation(network) for done, network in networks.items()}
        last = self.settings.iterations
        deviations[last, True] = self.deviator.deviation(networks[last], is_greedy=True)
        baseline = self._baseline(SELECTION)
        gains = {key: float((self._returns(deviations[key], SELECTION) - baseline).mean()) for key in deviations}
        best = iteration, is_greedy = max(gains, key=gains.__getitem__)
        weights = folder / WEIGHTS / f"{self.key}.safetensors"
        weights.parent.mkdir(exist_ok=True)
        replace_file(weights, save({name: x.contiguous() for name, x in networks[iteration].state_dict().items()}))
        row: dict[str, Any] = {"selection_gain": gains[best], "iteration": iteration, "is_greedy": is_greedy}
        row |= {"weights": f"{WEIGHTS}/{weights.name}", "baseline": float(baseline.mean())}
        if self.is_control:
            row |= self._recovery(self.deviator.deviation(start), deviations[best])
            share = "nothing" if row["recovered"] is None else f"{row['recovered']:.0%}"
            text = f"control won back {share} of a loss of {row['loss']:.4g}"
        else:
            gain = f"{gains[best]:+.4g} on {row['baseline']:.4g} after {iteration} iterations"
            text = f"learned with seed {self.seed} ({gain})"
        return {**row, "line": self._line(text)}

    def _start(self) -> PolicyNetwork:
        """The profile's own network; for a control on the way from there to a fresh one, which rules start from."""
        policies, agent_type = self.profile.trained(), self.deviator.agent_type
        fresh = self.profile.untrained_network(agent_type, _PERTURBATION_SEED + self.seed)
        if policies is None:
            return fresh
        if self.is_control:
            own, new, share = policies.networks[agent_type].state_dict(), fresh.state_dict(), self.settings.perturbation
            fresh.load_state_dict({name: own[name].lerp(new[name], share) for name in own})
            return fresh
        return policies.networks[agent_type]

    def _recovery(self, perturbed: Deviation, best: Deviation) -> dict[str, Any]:
        """How much of the perturbation's loss was won back, on the episodes on which gains are measured."""
        without = self._returns(perturbed, FRESH)
        after = self._returns(best, FRESH)
        loss = paired(self._baseline(FRESH) - without)
        return {
            "perturbed": float(without.mean()),
            "after": float(after.mean()),
            "loss": loss["gain"],
            "loss_low": loss["low"],
            "loss_high": loss["high"],
            "recovered": float((after - without).mean()) / loss["gain"] if loss["low"] > 0.0 else None,
        }


@dataclass(frozen=True)
class GainsJob(DeviationJob):
    """What the picked deviations gain, on fresh episodes, with intervals that all hold at once (at 95%).

    The portfolio's searches come first: they begin at the best constant.
    """

    learned: Mapping[str, Any] | None = None
    """The row of the best learned deviation."""
    constant: Mapping[str, Any] | None = None
    """The row of the best constant."""
    searches: tuple[str, ...] = ()
    """Further searches; see `rbc_marl.analysis.searches`."""

    _piece = "gains"

    def _decides(self) -> object:
        settings = self.settings
        searching = [self.searches, settings.selection_episodes]
        return [self._picked(), searching, settings.episodes, settings.evaluation_seed, settings.trembles.chosen]

    def _picked(self) -> dict[str, dict[str, Any]]:
        """What was picked before, by name, as plans; see `Deviator.plays`."""
        plans: dict[str, dict[str, Any]] = {}
        if self.learned is not None:
            plans["learned"] = {"kind": "learned", **{key: self.learned.get(key) for key in ("weights", "is_greedy")}}
        if self.constant is not None:
            plans["constant"] = {"kind": "constant", "choice": self.constant.get("choice")}
        return plans

    def run(self, folder: Path) -> dict[str, Any]:
        """See `rbc_marl.experiments.trials.Job`."""
        policies, agent_type, plans = self.profile.policies(), self.deviator.agent_type, self._picked()
        searched = self._searched(policies, plans)
        plans |= {"searched": searched["plan"]} if searched else {}
        deviations = {}
        for name, plan in plans.items():
            network = None
            if plan["kind"] == "learned":
                network = self.profile.untrained_network(agent_type, 0)
                network.load_state_dict(load_file(folder / plan["weights"]))
            deviations[name] = self.deviator.plays(plan, policies, network)
        trembles, baseline = self.settings.trembles, self._baseline(FRESH)
        row = measure(policies, self.deviator, deviations, *self._episodes(FRESH), trembles, baseline)
        gains = [f"{name} {row[name]['gain']:+.4g}" for name in deviations]
        gains += [f"at most {row['upper']['gain']:+.4g}"] if row["upper"] else []
        line = self._line(f"{', '.join(gains)} on {row['baseline']:.4g}")
        return {**row, "plans": plans, "search": searched, "line": line}

    def _searched(self, policies: Policies, plans: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
        """The best deviation of the searches; None where there are none, or none applies."""
        if not self.searches:
            return None
        constant = torch.tensor(plans["constant"]["choice"])
        candidates = find(policies, self.deviator, self.searches, constant, *self._episodes(SCAN))
        if not candidates:
            return None
        best, gain = self._best([candidate.plan for candidate in candidates])
        return {"selection_gain": gain, **asdict(candidates[best])}


def learn(
    profile: StrategyProfile, settings: BestResponseSettings, deviator: Deviator, seed: int, start: PolicyNetwork
) -> dict[int, PolicyNetwork]:
    """Learn a deviation while everybody else stays as they are, to the bit.

    Args:
        profile: What is deviated from.
        settings: How to learn.
        deviator: Who deviates.
        seed: Of the learning.
        start: The deviator's network before.

    Returns:
        Its networks, by the iterations after which they were so: on the way, and at the end.
    """
    from rbc_marl.experiments.ray_session import built_algorithm
    from rbc_marl.rllib.settings import DEVIATOR

    module_id = deviator.agent_type if deviator.agent is None else DEVIATOR
    policies = profile.trained()
    frozen = {} if policies is None else dict(policies.networks)
    tried = {max(1, round(share * settings.iterations)) for share in _TRIED_SHARES}
    learned: dict[int, PolicyNetwork] = {}
    with built_algorithm(deviation_config(profile, settings, deviator, seed), 0) as algorithm:
        algorithm.start_from({**frozen, module_id: start})
        for iteration in range(1, settings.iterations + 1):
            algorithm.train()
            if iteration in tried:
                networks: dict[str, PolicyNetwork] = algorithm.networks()
                learned[iteration] = networks[module_id].requires_grad_(False)
    for name, network in frozen.items():
        now = networks[name].state_dict()
        if name != module_id and not all(torch.equal(x, now[key]) for key, x in network.state_dict().items()):
            raise RuntimeError(f"the weights of {name} changed while {module_id} alone should learn")
    return learned


def deviation_config(
    profile: StrategyProfile, settings: BestResponseSettings, deviator: Deviator, seed: int
) -> EconomyPPOConfig:
    """The configuration with which a deviation is learnt."""
    from rbc_marl.rllib.settings import DEVIATOR

    config, agent_type = profile.algorithm_config(), deviator.agent_type
    economies = settings.economies if deviator.agent is None else settings.agent_economies
    config.env_runners(num_envs_per_env_runner=economies or config.num_envs_per_env_runner)
    batch = config.num_envs_per_env_runner * profile.economy.horizon
    if config.minibatch_size and config.minibatch_size >= batch:
        config.training(minibatch_size=None)  # of fewer economies than the run had: all at once
    of_run = max(profile.learning_rates.get(agent_type, 0.0), LEAST_LEARNING_RATE)
    rate = getattr(settings.lr, agent_type) or of_run
    steps = settings.iterations * batch
    rates = {0: 0.1 * rate, round(_WARM_UP * steps): rate, steps // 2: rate, steps: 0.1 * rate}
    config.training(entropy_coeff=settings.entropy, lr=[[step, rates[step]] for step in sorted(rates)])
    if deviator.agent is None:
        scripted = {t: rules for t, rules in config.scripted.chosen.items() if t != agent_type}
        config.training(scripted=scripted)
        config.multi_agent(policies_to_train=[agent_type])
    else:
        config.training(deviator={"type": agent_type, "agent": deviator.agent})
        config.multi_agent(policies_to_train=[DEVIATOR])
    config.debugging(seed=seed)
    return config


def episode_seed(settings: BestResponseSettings, stream: int) -> int:
    """The seed of a set of episodes."""
    return int(np.random.SeedSequence([settings.evaluation_seed, stream]).generate_state(1, np.uint32)[0])


_PLAYED: dict[tuple[str, int, int], Episodes] = {}


def _baseline_episodes(profile: StrategyProfile, count: int, seed: int) -> Episodes:
    """Episodes without a deviation; those played last are kept, for many jobs compare with the same ones."""
    key = (profile.digest, count, seed)
    if key not in _PLAYED:
        if len(_PLAYED) >= 4:
            _PLAYED.pop(next(iter(_PLAYED)))
        with one_thread():
            _PLAYED[key] = play(profile.policies(), count, seed)
    return _PLAYED[key]
