"""Plays whole episodes of a batch of economies with the modules of all agent types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from torch import Tensor

from rbc_marl.analysis.metrics import EpisodeMetrics
from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.policies.distributions import FactorisedCategorical
from rbc_marl.rllib.rollout import Rollout, RolloutBuilder, index_dtype
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

    def __init__(self, economy: EconomyConfig, encoding: str, device: torch.device) -> None:
        """Fix the economy; its batch is made when its size is known."""
        self.economy = economy
        self.encoding = encoding
        self.device = device
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
            actions, logp = self._act(modules, observation, plan, generator)
            state = env.require_state()
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
        plan: Plan,
        generator: torch.Generator,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Actions [E, A, H] of every agent type, in the smallest integers, and their log-probabilities [E, A]."""
        actions, logp = {}, {}
        for agent_type in AGENT_TYPES:
            module, network = modules[agent_type], modules[agent_type].network
            if agent_type in plan.random:
                uniform = network.log_mask.expand(*observation[agent_type].shape[:2], -1)
                choices = FactorisedCategorical(uniform, network.head_sizes)
            else:
                batch = {Columns.OBS: {"global": observation["global"], "private": observation[agent_type]}}
                forward = module.forward_exploration if plan.explore else module.forward_inference
                choices = network.distribution(forward(batch)[Columns.ACTION_DIST_INPUTS])
            if plan.explore or agent_type in plan.random:
                taken, logp[agent_type] = choices.sample_and_logp(generator)
            else:
                taken = choices.mode()
                logp[agent_type] = choices.logp(taken)
            if plan.probes and agent_type == plan.probe_random:
                _randomise(taken[-plan.probes :], network.head_sizes, generator)
            actions[agent_type] = taken.to(index_dtype(network.head_sizes))
        return actions, logp


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
