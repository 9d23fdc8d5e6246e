"""Plays whole episodes of a batch of economies with the modules of all agent types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from torch import Tensor

from rbc_marl.analysis.metrics import EpisodeMetrics
from rbc_marl.choices import index_dtype
from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.economy import EconomyState
from rbc_marl.policies.deviating import replace_rows
from rbc_marl.policies.distributions import FactorisedCategorical
from rbc_marl.policies.scripted import Rules, ScriptedPolicies, resolve_rules
from rbc_marl.rllib.roles import DEVIATOR
from rbc_marl.rllib.rollout import Rollout, RolloutBuilder
from rbc_marl.vector_env import VectorEconomy


@dataclass(frozen=True)
class Plan:
    """How agents act in the episodes to be played."""

    explore: bool = True
    """Whether to draw actions; else the likeliest are taken."""
    random: frozenset[str] = frozenset()
    """Agent types that act uniformly at random within their mask."""
    labour_disutility: float = 1.0
    """Factor on the disutility of labour."""
    probes: int = 0
    """Of the economies, how many (the last ones) are probes."""
    probe_random: str = "firm"
    """Agent type that acts uniformly at random, without a mask, in probes."""


class Player:
    """A batch of economies that is played from start to horizon, again and again."""

    def __init__(
        self,
        economy: EconomyConfig,
        encoding: str,
        device: torch.device,
        deviator: Mapping[str, Any] | None = None,
        scripted: Mapping[str, Any] | None = None,
    ) -> None:
        """Fix the economy and who plays in it; its batch is made when its size is known.

        Args:
            economy: The economy.
            encoding: Of the observations.
            device: Where everything is.
            deviator: The agent (``type``, ``agent``) that the module "deviator" acts for; None for none.
            scripted: Rules by agent type, for types that follow rules in place of their module.
        """
        self.economy = economy
        self.encoding = encoding
        self.device = device
        self.deviator = dict(deviator or {})
        # Rules decide for all agents at once: types that follow the same ones share them.
        made: dict[Rules, ScriptedPolicies] = {}
        self.scripted: dict[str, ScriptedPolicies] = {}
        for agent_type, given in (scripted or {}).items():
            rules = resolve_rules(given)
            if rules not in made:
                made[rules] = ScriptedPolicies(economy, rules, encoding, device)
            self.scripted[agent_type] = made[rules]
        self.env: VectorEconomy | None = None

    def batch(self, count: int) -> VectorEconomy:
        """A batch of ``count`` economies, made anew only when the number changes."""
        if self.env is None or self.env.num_envs != count:
            self.env = VectorEconomy(
                self.economy, num_envs=count, device=self.device, autoreset=False, encoding=self.encoding
            )
        return self.env

    def play(
        self,
        modules: Any,  # noqa: ANN401 - a MultiRLModule
        count: int,
        plan: Plan,
        generator: torch.Generator,
        after_period: Callable[[], None] = lambda: None,
    ) -> tuple[Rollout, dict[str, Tensor]]:
        """Play one episode of ``count`` economies.

        Args:
            modules: One module per agent type.
            count: Economies (E).
            plan: How agents act.
            generator: Behind every draw.
            after_period: Called after each period.

        Returns:
            The rollout, and the reported quantities [E - probes] of its economies; probes are left out of them.
        """
        env = self.batch(count)
        env.labour_disutility_scale = plan.labour_disutility
        observation = env.reset()
        builder, metrics = RolloutBuilder(), EpisodeMetrics(self.economy)
        for _ in range(self.economy.horizon):
            state = env.require_state()
            actions, logp = self._act(modules, observation, state, plan, generator)
            builder.add("observations", observation)
            observation, rewards, _, flows = env.step(_indices(actions))
            builder.add("actions", actions)
            builder.add("logp", logp)
            builder.add("rewards", {**rewards, "government": rewards["government"].unsqueeze(-1)})
            metrics.add(state, flows)
            after_period()
        is_probe = torch.arange(count, device=self.device) >= count - plan.probes
        reported = {name: values[: count - plan.probes] for name, values in metrics.result().items()}
        return builder.build(is_probe), reported

    def _act(
        self,
        modules: Any,  # noqa: ANN401 - a MultiRLModule
        observation: dict[str, Tensor],
        state: EconomyState,
        plan: Plan,
        generator: torch.Generator,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Actions [E, A, H] of every agent type, in the smallest integers, and their log-probabilities [E, A]."""
        actions, logp = {}, {}
        decided = {
            policies: policies.act(observation, generator, not plan.explore, state=state)
            for policies in dict.fromkeys(self.scripted.values())
        }
        for agent_type in AGENT_TYPES:
            network = modules[agent_type].network
            if agent_type in self.scripted:
                indices = decided[self.scripted[agent_type]][agent_type]
                taken, logp[agent_type] = self._by_rules(modules, agent_type, indices, observation, plan, generator)
            else:
                choices = self._choices(modules, agent_type, observation, plan)
                taken, logp[agent_type] = _draw(choices, plan.explore or agent_type in plan.random, generator)
            if plan.probes and agent_type == plan.probe_random:
                _randomise(taken[-plan.probes :], network.head_sizes, generator)
            actions[agent_type] = taken.to(index_dtype(network.head_sizes))
        return actions, logp

    def _choices(
        self,
        modules: Any,  # noqa: ANN401 - a MultiRLModule
        agent_type: str,
        observation: dict[str, Tensor],
        plan: Plan,
    ) -> FactorisedCategorical:
        """The action distribution of all agents of a type, the deviator among them."""
        network = modules[agent_type].network
        if agent_type in plan.random:
            uniform = network.log_mask.expand(*observation[agent_type].shape[:2], -1)
            return FactorisedCategorical(uniform, network.head_sizes)
        logits = _logits(modules[agent_type], observation["global"], observation[agent_type], plan)
        if agent_type == self.deviator.get("type"):
            logits = replace_rows(logits, self._deviator_logits(modules, observation, plan), self.deviator["agent"])
        return network.distribution(logits)

    def _deviator_logits(self, modules: Any, observation: dict[str, Tensor], plan: Plan) -> Tensor:  # noqa: ANN401
        agent = self.deviator["agent"]
        own = observation[self.deviator["type"]][:, agent : agent + 1]
        return _logits(modules[DEVIATOR], observation["global"], own, plan)

    def _by_rules(
        self,
        modules: Any,  # noqa: ANN401 - a MultiRLModule
        agent_type: str,
        indices: Tensor,
        observation: dict[str, Tensor],
        plan: Plan,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Actions [E, A, H] of a type that follows rules, and log-probabilities [E, A]: 0 but for a deviator's."""
        shape = (*observation[agent_type].shape[:2], len(modules[agent_type].network.head_sizes))
        taken, logp = indices.reshape(shape), observation["global"].new_zeros(shape[:2])
        if agent_type == self.deviator.get("type"):
            agent = self.deviator["agent"]
            choices = modules[DEVIATOR].network.distribution(self._deviator_logits(modules, observation, plan))
            taken = taken.clone()
            own, own_logp = _draw(choices, plan.explore, generator)
            taken[:, agent], logp[:, agent] = own[:, 0], own_logp[:, 0]
        return taken, logp


def _logits(module: Any, shared: Tensor, private: Tensor, plan: Plan) -> Tensor:  # noqa: ANN401 - an RLModule
    """Logits [E, A, K] of some agents."""
    forward = module.forward_exploration if plan.explore else module.forward_inference
    logits: Tensor = forward({Columns.OBS: {"global": shared, "private": private}})[Columns.ACTION_DIST_INPUTS]
    return logits


def _draw(choices: FactorisedCategorical, is_random: bool, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Choices [E, A, H], drawn or the likeliest, and their log-probabilities [E, A]."""
    if is_random:
        return choices.sample_and_logp(generator)
    taken = choices.mode()
    return taken, choices.logp(taken)


def _randomise(taken: Tensor, head_sizes: tuple[int, ...], generator: torch.Generator) -> None:
    """Replace choices [E, A, H] by uniform ones, in place."""
    for head, size in enumerate(head_sizes):
        taken[..., head].random_(size, generator=generator)


def _indices(actions: dict[str, Tensor]) -> dict[str, Tensor]:
    """Actions [E, A, H] in the shapes that VectorEconomy takes."""
    return {
        "consumer": actions["consumer"],
        "firm": actions["firm"].squeeze(-1),
        "government": actions["government"].flatten(),
    }
