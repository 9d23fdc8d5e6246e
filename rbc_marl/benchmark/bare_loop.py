"""A hand-written training loop without Ray, as a reference for the speed of EconomyPPO.

It does the work of one iteration of EconomyPPO and nothing else: play, estimate advantages, update. From the same
weights and the same rollouts both end with the same weights; a test asserts it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from rbc_marl.choices import index_dtype
from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.policies.networks import PolicyNetwork
from rbc_marl.policies.slabs import slabs
from rbc_marl.vector_env import VectorEconomy

Columns = dict[str, Tensor]


@dataclass(frozen=True)
class Settings:
    """Hyperparameters, named as in EconomyPPOConfig."""

    lr: float = 1e-3
    gamma: float = 0.9999
    lambda_: float = 1.0
    clip_param: float = 0.2
    grad_clip: float = 2.0
    num_epochs: int = 2
    entropy_coeff: float = 0.05
    vf_loss_coeff: float = 0.5
    huber_delta: float = 1.0
    reward_scale: Mapping[str, float] = field(
        default_factory=lambda: {"consumer": 5.0, "firm": 30000.0, "government": 1000.0}
    )
    agents_per_update: Mapping[str, int] = field(default_factory=dict)
    probe_economies: Mapping[str, Any] = field(default_factory=dict)


class BareLoop:
    """Networks and optimisers of the three agent types, and one iteration after another."""

    def __init__(
        self,
        config: EconomyConfig,
        networks: Mapping[str, PolicyNetwork],
        settings: Settings,
        num_envs: int,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        """Take over networks (they are trained in place).

        Args:
            config: The economy.
            networks: By agent type, on ``device``.
            settings: Hyperparameters.
            num_envs: Economies played in an iteration.
            device: Where everything happens.
            seed: Of the actions drawn.
        """
        self.networks = dict(networks)
        self.settings = settings
        self.env = VectorEconomy(config, num_envs=num_envs, device=device, autoreset=False)
        self.generator = torch.Generator(device=device).manual_seed(seed)
        self.probes = int(settings.probe_economies.get("count", 0))
        self.optimisers = {
            t: torch.optim.Adam(self.networks[t].parameters(), lr=settings.lr, fused=True) for t in AGENT_TYPES
        }

    def iterate(self) -> None:
        """Play one episode of every economy, and learn from it."""
        self.learn(*self.play())

    @torch.no_grad()
    def play(self) -> tuple[Columns, Columns, Columns, Columns]:
        """One episode of every economy: observations, actions [T, E, A, H], log-probabilities and rewards [T, E, A]."""
        columns: list[dict[str, list[Tensor]]] = [{}, {}, {}, {}]
        observation = self.env.reset()
        for _ in range(self.env.config.horizon):
            with torch.inference_mode():
                actions, logp = self._act(observation)
                indices = {
                    "consumer": actions["consumer"],
                    "firm": actions["firm"].squeeze(-1),
                    "government": actions["government"].flatten(),
                }
                before = observation
                observation, rewards, _, _ = self.env.step(indices)
                rewards["government"] = rewards["government"].unsqueeze(-1)
            for column, values in zip(columns, (before, actions, logp, rewards), strict=True):
                for key, value in values.items():
                    column.setdefault(key, []).append(value)
        stacked = [{key: torch.stack(rows) for key, rows in column.items()} for column in columns]
        return stacked[0], stacked[1], stacked[2], stacked[3]

    def _act(self, observation: Columns) -> tuple[Columns, Columns]:
        """Actions [E, A, H] and their log-probabilities [E, A], by agent type."""
        actions, logp = {}, {}
        for t in AGENT_TYPES:
            network = self.networks[t]
            features = network.features(observation["global"], observation[t])
            choices = network.distribution(network.logits(features))
            taken, logp[t] = choices.sample_and_logp(self.generator)
            if self.probes and t == self.settings.probe_economies["random"]:
                for head, size in enumerate(network.head_sizes):
                    taken[-self.probes :, :, head].random_(size, generator=self.generator)
            actions[t] = taken.to(index_dtype(network.head_sizes))
        return actions, logp

    def learn(self, observations: Columns, actions: Columns, logp: Columns, rewards: Columns) -> None:
        """Update all networks on whole batches; arguments as `play` returns them."""
        data = {t: self._rows(t, observations, actions, logp, rewards) for t in AGENT_TYPES}
        for _ in range(self.settings.num_epochs):
            for t in AGENT_TYPES:
                network = self.networks[t]
                self.optimisers[t].zero_grad(set_to_none=True)
                rows, agents = data[t][-1].shape
                for slab in slabs(rows, agents * network.hidden_values, data[t][-1].device):
                    part = [column[slab] for column in data[t]]
                    (self._loss(network, *part) * (len(part[0]) / rows)).backward()
                nn.utils.clip_grad_norm_(network.parameters(), self.settings.grad_clip)
                self.optimisers[t].step()

    def agents_to_learn_from(self, agent_type: str) -> Tensor | None:
        """Indices of the agents that a type learns from this time; None for all of them."""
        agents, wanted = self.env.config.agents(agent_type), self.settings.agents_per_update.get(agent_type)
        if wanted is None or wanted >= agents:
            return None
        return torch.randperm(agents, generator=self.generator, device=self.env.device)[:wanted]

    def _rows(
        self, agent_type: str, observations: Columns, actions: Columns, logp: Columns, rewards: Columns
    ) -> tuple[Tensor, ...]:
        """What an agent type learns from, as `_loss` takes it: rows are periods of economies."""
        agents = self.agents_to_learn_from(agent_type)
        is_excluded = bool(self.probes) and agent_type not in self.settings.probe_economies["learners"]
        economies = slice(0, -self.probes if is_excluded else None)

        def some(values: Tensor) -> Tensor:
            return values[:, economies] if agents is None else values[:, economies].index_select(2, agents)

        shared = observations["global"][:, economies].flatten(0, 1)
        private = some(observations[agent_type]).flatten(0, 1)
        advantages, targets = self._advantages(agent_type, shared, private, some(rewards[agent_type]))
        taken, old_logp = some(actions[agent_type]).flatten(0, 1), some(logp[agent_type]).flatten(0, 1)
        return shared, private, advantages, targets, taken, old_logp

    def _loss(
        self,
        network: PolicyNetwork,
        shared: Tensor,
        private: Tensor,
        advantages: Tensor,
        targets: Tensor,
        actions: Tensor,
        old_logp: Tensor,
    ) -> Tensor:
        s = self.settings
        logits, values = network(shared, private)
        logp, entropy = network.distribution(logits).logp_and_entropy(actions)
        ratio = torch.exp(logp - old_logp)
        clipped = ratio.clamp(1 - s.clip_param, 1 + s.clip_param)
        return (
            -torch.min(advantages * ratio, advantages * clipped).mean()
            + s.vf_loss_coeff * nn.functional.huber_loss(values, targets, delta=s.huber_delta)
            - s.entropy_coeff * entropy.mean()
        )

    def _advantages(self, agent_type: str, shared: Tensor, private: Tensor, rewards: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised advantages and value targets of an agent type [N, A]; rewards [T, E, A]."""
        s, network = self.settings, self.networks[agent_type]
        scaled = rewards / s.reward_scale[agent_type]
        with torch.no_grad():
            cuts = slabs(len(private), private.shape[1] * network.hidden_values, shared.device)
            values = torch.cat([network.values(network.features(shared[c], private[c])) for c in cuts]).view_as(scaled)
        advantages = torch.zeros_like(values)
        next_value, next_advantage = torch.zeros_like(values[0]), torch.zeros_like(values[0])
        for t in reversed(range(len(values))):
            delta = scaled[t] + s.gamma * next_value - values[t]
            next_advantage = advantages[t] = delta + s.gamma * s.lambda_ * next_advantage
            next_value = values[t]
        targets = advantages + values
        standardised = (advantages - advantages.mean()) / advantages.std(correction=0).clamp(min=1e-4)
        return standardised.flatten(0, 1), targets.flatten(0, 1)
