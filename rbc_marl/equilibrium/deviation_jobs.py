"""The work behind a best response, in pieces: what the policies do, deviations learnt and scanned, and their gains.

Everything is measured by differences, episode by episode, between play with and without a deviation on the same random
numbers. Deviations are picked on one set of episodes, and their gains measured on another.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rbc_marl import __version__
from rbc_marl.analysis.composition import composition
from rbc_marl.analysis.outcomes import outcome
from rbc_marl.analysis.rollouts import Episodes, Evaluation, play
from rbc_marl.config import AGENT_TYPES
from rbc_marl.equilibrium.best_response_settings import LEAST_RATE, Settings
from rbc_marl.equilibrium.constants import Target, describe, scan
from rbc_marl.equilibrium.subject import Subject
from rbc_marl.policies.deviating import DeviatingPolicies, Deviation
from rbc_marl.policies.networks import PolicyNetwork
from rbc_marl.policies.saved import PolicySet

WEIGHTS = "weights"
# Which episodes a seed stands for: those on which deviations are picked, measured, and scanned.
_SELECTION, _FINAL, _SCAN = range(3)
# Networks that damage others are made from their own seeds, not from those of a run.
_DAMAGE_SEED = 1_000_003
# How often an interval holds what is measured.
CONFIDENCE = 0.95
# Of the learned deviation and the constant the better counts: where each interval misses half as often, both hold at
# once as often as the above, and with them the larger of both.
CONFIDENCE_OF_EACH = 1.0 - (1.0 - CONFIDENCE) / 2
# Shares of a search's iterations after which its network is tried. Where all agents of a type learn at once they may
# end worse than they began, and what they gain lies on the way.
_TRIED = (0.05, 0.125, 0.25, 0.5, 1.0)
# Share of the iterations over which the learning rate rises: an optimizer's first steps are as long as its rate in
# every weight, whatever the gradients, and may push a type into an economy where nobody works.
_WARM_UP = 0.1
# A positive control has won back enough from this share of the loss on.
RECOVERED_SHARE = 0.5


@dataclass(frozen=True)
class DeviationJob:
    """What all pieces have in common: whose deviation from what, and how it is searched for."""

    subject: Subject
    settings: Settings
    target: Target

    @property
    def key(self) -> str:
        """Subject, target and piece in words, and a digest of everything that decides the result but the code."""
        decides = [self.subject.digest, asdict(self.target), self._decides(), __version__]
        digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:8]
        return f"{self.subject.name}-{self.target.name}-{self._piece()}-{digest}"

    def run(self, folder: Path) -> dict[str, Any]:
        """See `rbc_marl.equilibrium.jobs.Job`."""
        raise NotImplementedError

    def _piece(self) -> str:
        raise NotImplementedError

    def _decides(self) -> Any:  # noqa: ANN401 - plain data
        """Settings that this piece depends on."""
        raise NotImplementedError

    def _words(self, text: str) -> str:
        return f"{self.subject.title}  {self.target.name.replace('-', ' ')}: {text}"

    def _base(self, stream: int) -> Tensor:
        """Returns [N] of the deviators-to-be without a deviation."""
        count = self.settings.episodes if stream == _FINAL else self.settings.selection_episodes
        return self.target.returns(_base_episodes(self.subject, count, episode_seed(self.settings, stream)))

    def _deviating(self, deviation: Deviation, stream: int) -> Tensor:
        """Returns [N] of the deviators on the same episodes."""
        count = self.settings.episodes if stream == _FINAL else self.settings.selection_episodes
        policies = DeviatingPolicies(self.subject.policies(), deviation)
        return self.target.returns(play(policies, count, episode_seed(self.settings, stream)))


class LevelJob(DeviationJob):
    """What the policies' economy does, and what each agent would get had nobody learnt anything."""

    def _piece(self) -> str:
        return "level"

    def _decides(self) -> Any:  # noqa: ANN401
        settings = self.settings
        counts = [settings.episodes, settings.selection_episodes]
        return [*counts, settings.evaluation_seed, self.subject.reference, "gains in training with intervals"]

    def run(self, folder: Path) -> dict[str, Any]:
        """See `rbc_marl.equilibrium.jobs.Job`."""
        seed = episode_seed(self.settings, _FINAL)
        means = Evaluation.of(_base_episodes(self.subject, self.settings.episodes, seed)).means
        became = outcome(self.subject.economy, means, self.subject.reference)
        # Periods are kept of fewer episodes: they take memory, and shares need no more.
        recorded = play(self.subject.policies(), self.settings.selection_episodes, seed, record=True)
        made_of = composition(recorded)
        row: dict[str, Any] = {"outcome": became, "means": {**means, **made_of}, "training": self._training(seed)}
        welfare = f"welfare {means['welfare_total']:,.0f} (consumers {means['welfare_consumers']:,.0f})"
        row["line"] = f"{self.subject.title}  {became}, hours {means['hours']:.0f}, {welfare}"
        return row

    def _training(self, seed: int) -> dict[str, dict[str, float]] | None:
        """By target's name, the return of the untrained and what training brought, with its interval."""
        untrained = self.subject.untrained()
        if untrained is None:
            return None
        before = play(untrained, self.settings.episodes, seed)
        now = _base_episodes(self.subject, self.settings.episodes, seed)
        targets = [Target(agent_type) for agent_type in AGENT_TYPES]
        for agent_type in ("consumer", "firm"):
            targets += [Target(agent_type, one) for one in range(self.subject.economy.agents(agent_type))]
        found = {}
        for target in targets:
            start = target.returns(before)
            gain, low, high = paired(target.returns(now) - start)
            found[target.name] = {"start": float(start.mean()), "gain": gain, "low": low, "high": high}
        return found


class ConstantsJob(DeviationJob):
    """The best constant deviation."""

    def _piece(self) -> str:
        return "constants"

    def _decides(self) -> Any:  # noqa: ANN401
        return [self.settings.selection_episodes, self.settings.evaluation_seed]

    def run(self, folder: Path) -> dict[str, Any]:
        """See `rbc_marl.equilibrium.jobs.Job`."""
        seed, count = episode_seed(self.settings, _SCAN), self.settings.selection_episodes
        finalists = scan(self.subject.policies(), self.target, count, seed)
        base = self._base(_SELECTION)
        gains = [
            float((self._deviating(self._deviation(choice), _SELECTION) - base).mean()) for choice in finalists
        ]
        best = max(range(len(gains)), key=gains.__getitem__)
        words = describe(self.subject.economy, self.target.agent_type, finalists[best])
        line = self._words(f"best constant: {words} ({gains[best]:+.4g})")
        return {"selection_gain": gains[best], "choice": finalists[best].tolist(), "words": words, "line": line}

    def _deviation(self, choice: Tensor) -> Deviation:
        return Deviation(self.target.agent_type, self.target.agent, choice=choice)


@dataclass(frozen=True)
class LearnJob(DeviationJob):
    """A deviation that is learnt, from the policies' own network or, as a positive control, from a damaged one."""

    seed: int = 0
    is_control: bool = False

    def _piece(self) -> str:
        return f"{'control' if self.is_control else 'learn'}-{self.seed}"

    def _decides(self) -> Any:  # noqa: ANN401
        settings, agent_type = self.settings, self.target.agent_type
        economies = settings.economies if self.target.agent is None else settings.agent_economies
        learning = [settings.iterations, economies, settings.entropy, settings.lr.get(agent_type), _TRIED, _WARM_UP]
        measuring = [settings.selection_episodes, settings.evaluation_seed]
        final = [settings.episodes, settings.damage] if self.is_control else []
        return [self.seed, self.is_control, learning, measuring, final]

    def run(self, folder: Path) -> dict[str, Any]:
        """See `rbc_marl.equilibrium.jobs.Job`."""
        start = self._start()
        tried = learn(self.subject, self.settings, self.target, self.seed, start)
        if self.is_control:
            tried = {0: start, **tried}
        base = self._base(_SELECTION)
        found = {(done, False): self._deviation(network, False) for done, network in tried.items()}
        found[self.settings.iterations, True] = self._deviation(tried[self.settings.iterations], True)
        gains = {one: float((self._deviating(found[one], _SELECTION) - base).mean()) for one in found}
        best = iteration, is_greedy = max(gains, key=gains.__getitem__)
        network = tried[iteration]
        weights = folder / WEIGHTS / f"{self.key}.safetensors"
        weights.parent.mkdir(exist_ok=True)
        save_file({name: x.contiguous() for name, x in network.state_dict().items()}, weights)
        row: dict[str, Any] = {"selection_gain": gains[best], "iteration": iteration, "is_greedy": is_greedy}
        row |= {"weights": f"{WEIGHTS}/{weights.name}", "level": float(base.mean())}
        if self.is_control:
            row |= self._control(start, network, is_greedy)
            share = "nothing" if row["recovered"] is None else f"{row['recovered']:.0%}"
            text = f"control won back {share} of a loss of {row['loss']:.4g}"
        else:
            gain = f"{gains[best]:+.4g} on {float(base.mean()):.4g} after {iteration} iterations"
            text = f"learned with seed {self.seed} ({gain})"
        return {**row, "line": self._words(text)}

    def _start(self) -> PolicyNetwork:
        """The policies' own network; for a control on the way from there to a fresh one, which rules start from."""
        policies, agent_type = self.subject.policies(), self.target.agent_type
        fresh = self.subject.fresh(agent_type, _DAMAGE_SEED + self.seed)
        if not isinstance(policies, PolicySet):
            return fresh
        if self.is_control:
            own, new, share = policies.networks[agent_type].state_dict(), fresh.state_dict(), self.settings.damage
            fresh.load_state_dict({name: own[name].lerp(new[name], share) for name in own})
            return fresh
        return policies.networks[agent_type]

    def _deviation(self, network: PolicyNetwork, is_greedy: bool) -> Deviation:
        return Deviation(self.target.agent_type, self.target.agent, network=network, is_greedy=is_greedy)

    def _control(self, damaged: PolicyNetwork, network: PolicyNetwork, is_greedy: bool) -> dict[str, Any]:
        """How much of the damage was won back, on the episodes on which gains are measured."""
        level = self._base(_FINAL)
        hurt = self._deviating(self._deviation(damaged, False), _FINAL)
        after = self._deviating(self._deviation(network, is_greedy), _FINAL)
        loss, low, high = paired(level - hurt)
        share = float((after - hurt).mean()) / loss if low > 0.0 else None
        return {
            "damaged": float(hurt.mean()),
            "after": float(after.mean()),
            "loss": loss,
            "loss_low": low,
            "loss_high": high,
            "recovered": share,
        }


@dataclass(frozen=True)
class FinalJob(DeviationJob):
    """What the picked deviations gain, on fresh episodes, with intervals of which both hold at once (at 95%)."""

    learned: Mapping[str, Any] | None = None
    """The row of the best learned deviation."""
    constant: Mapping[str, Any] | None = None
    """The row of the best constant."""

    def _piece(self) -> str:
        return "final"

    def _decides(self) -> Any:  # noqa: ANN401
        learned = [(self.learned or {}).get(name) for name in ("weights", "is_greedy")]
        constant = (self.constant or {}).get("choice")
        return [learned, constant, self.settings.episodes, self.settings.evaluation_seed, CONFIDENCE_OF_EACH]

    def run(self, folder: Path) -> dict[str, Any]:
        """See `rbc_marl.equilibrium.jobs.Job`."""
        base = self._base(_FINAL)
        row: dict[str, Any] = {"level": float(base.mean()), "confidence": CONFIDENCE_OF_EACH}
        for name, deviation in self._deviations(folder).items():
            gain, low, high = paired(self._deviating(deviation, _FINAL) - base, CONFIDENCE_OF_EACH)
            row[name] = {"gain": gain, "low": low, "high": high}
        gains = ", ".join(f"{name} {row[name]['gain']:+.4g}" for name in ("learned", "constant") if name in row)
        return {**row, "line": self._words(f"{gains} on {row['level']:.4g}")}

    def _deviations(self, folder: Path) -> dict[str, Deviation]:
        agent_type, agent = self.target.agent_type, self.target.agent
        found = {}
        if self.learned is not None:
            network = self.subject.fresh(agent_type, 0)
            network.load_state_dict(load_file(folder / self.learned["weights"]))
            found["learned"] = Deviation(agent_type, agent, network=network, is_greedy=self.learned["is_greedy"])
        if self.constant is not None:
            found["constant"] = Deviation(agent_type, agent, choice=torch.tensor(self.constant["choice"]))
        return found


def learn(
    subject: Subject, settings: Settings, target: Target, seed: int, start: PolicyNetwork
) -> dict[int, PolicyNetwork]:
    """Learn a deviation while everybody else stays as they are, to the bit.

    Args:
        subject: The policies deviated from.
        settings: How to learn.
        target: Who deviates.
        seed: Of the learning.
        start: The deviators' network before.

    Returns:
        Their networks, by the iterations after which they were so: on the way, and at the end.
    """
    from rbc_marl.rllib.ray_session import built_algorithm
    from rbc_marl.rllib.roles import DEVIATOR

    module_id = target.agent_type if target.agent is None else DEVIATOR
    policies = subject.policies()
    frozen = dict(policies.networks) if isinstance(policies, PolicySet) else {}
    tried = {max(1, round(share * settings.iterations)) for share in _TRIED}
    found: dict[int, PolicyNetwork] = {}
    with built_algorithm(deviation_config(subject, settings, target, seed), 0) as algorithm:
        algorithm.start_from({**frozen, module_id: start})
        for iteration in range(1, settings.iterations + 1):
            algorithm.train()
            if iteration in tried:
                networks: dict[str, PolicyNetwork] = algorithm.networks()
                found[iteration] = networks[module_id].requires_grad_(False)
    for name, network in frozen.items():
        now = networks[name].state_dict()
        if name != module_id and not all(torch.equal(x, now[key]) for key, x in network.state_dict().items()):
            raise RuntimeError(f"the weights of {name} changed while {module_id} alone should learn")
    return found


def deviation_config(subject: Subject, settings: Settings, target: Target, seed: int) -> Any:  # noqa: ANN401
    """The EconomyPPOConfig with which a deviation is learnt."""
    from rbc_marl.rllib.roles import DEVIATOR

    config = subject.algorithm_config()
    economies = settings.economies if target.agent is None else settings.agent_economies
    config.env_runners(num_envs_per_env_runner=economies or config.num_envs_per_env_runner)
    if config.minibatch_size and config.minibatch_size >= config.num_envs_per_env_runner * subject.economy.horizon:
        config.training(minibatch_size=None)  # of fewer economies than the run had: all at once
    rate = settings.lr.get(target.agent_type) or max(subject.rates.get(target.agent_type, 0.0), LEAST_RATE)
    steps = settings.iterations * config.num_envs_per_env_runner * subject.economy.horizon
    rates = {0: 0.1 * rate, round(_WARM_UP * steps): rate, steps // 2: rate, steps: 0.1 * rate}
    config.training(entropy_coeff=settings.entropy, lr=[[step, rates[step]] for step in sorted(rates)])
    if target.agent is None:
        scripted = {t: rules for t, rules in config.scripted.items() if t != target.agent_type}
        config.training(scripted=scripted).multi_agent(policies_to_train=[target.agent_type])
    else:
        config.training(deviator={"type": target.agent_type, "agent": target.agent})
        config.multi_agent(policies_to_train=[DEVIATOR])
    return config.debugging(seed=seed)


def paired(differences: Tensor, confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """Mean of paired differences, and its normal interval.

    Args:
        differences: [N] of independent episodes, N at least 2.
        confidence: How often the interval holds the true mean, such as 0.95.

    Returns:
        The mean, and the lower and the upper end of its interval, in the unit of the differences.
    """
    mean = float(differences.mean())
    errors = NormalDist().inv_cdf((1.0 + confidence) / 2)
    half = errors * float(differences.std()) / math.sqrt(len(differences))
    return mean, mean - half, mean + half


def episode_seed(settings: Settings, stream: int) -> int:
    """The seed of a set of episodes."""
    return int(np.random.SeedSequence([settings.evaluation_seed, stream]).generate_state(1, np.uint32)[0])


_PLAYED: dict[tuple[str, int, int], Episodes] = {}


def _base_episodes(subject: Subject, count: int, seed: int) -> Episodes:
    """Episodes without a deviation; those played last are kept, for many jobs compare with the same ones."""
    key = (subject.digest, count, seed)
    if key not in _PLAYED:
        if len(_PLAYED) >= 4:
            _PLAYED.pop(next(iter(_PLAYED)))
        _PLAYED[key] = play(subject.policies(), count, seed)
    return _PLAYED[key]
