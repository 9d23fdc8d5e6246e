"""A hand-written training loop without Ray, as a reference for the speed of EconomyPPO.

It does the work of one iteration of EconomyPPO and nothing else: play, estimate advantages, update. From the same
weights and the same rollouts both end with the same weights; a test asserts it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from rbc_marl.choices import index_dtype
from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.economy.own_choices import Market, market_of
from rbc_marl.policies.acting import act, choices_of_network
from rbc_marl.policies.logit_response import LogitResponse, OwnValues, logit_response_loss, own_values
from rbc_marl.policies.networks import PolicyNetwork
from rbc_marl.policies.slabs import slabs
from rbc_marl.policies.trembles import Trembles, tremble
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
    trembles: Mapping[str, float] = field(default_factory=dict)
    logit_response: Mapping[str, float] = field(default_factory=dict)


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
        self.trembles = Trembles(**settings.trembles)
        self.logit_response = LogitResponse(**settings.logit_response) if settings.logit_response else None
        self.optimisers = {
            t: torch.optim.Adam(self.networks[t].parameters(), lr=settings.lr, fused=True) for t in AGENT_TYPES
        }

    def iterate(self) -> None:
        """Play one episode of every economy, and learn from it."""
        self.learn(*self.play())

    @torch.no_grad()
    def play(self) -> tuple[Columns, ...]:
        """One episode of every economy.

        Returns:
            Observations, actions [T, E, A, H], log-probabilities and rewards [T, E, A], which actions were replaced
            [T, E, A], and what consumers met (the fields of `Market`).
        """
        columns: list[dict[str, list[Tensor]]] = [{}, {}, {}, {}, {}, {}]
        masks = {t: network.log_mask for t, network in self.networks.items()}
        observation = self.env.reset()
        for _ in range(self.env.config.horizon):
            with torch.inference_mode():
                actions, logp = self._act(observation)
                actions, trembled = tremble(self.env.config, self.trembles.chosen, actions, masks, self.generator)
                indices = {
                    "consumer": actions["consumer"],
                    "firm": actions["firm"].squeeze(-1),
                    "government": actions["government"].flatten(),
                }
                before, state = observation, self.env.require_state()
                observation, rewards, _, flows = self.env.step(indices)
                rewards["government"] = rewards["government"].unsqueeze(-1)
                market = market_of(self.env.config, state, flows)._asdict() if self.logit_response is not None else {}
            for column, values in zip(columns, (before, actions, logp, rewards, trembled, market), strict=True):
                for key, value in values.items():
                    column.setdefault(key, []).append(value)
        return tuple({key: torch.stack(rows) for key, rows in column.items()} for column in columns)

    def _act(self, observation: Columns) -> tuple[Columns, Columns]:
        """Actions [E, A, H] and their log-probabilities [E, A], by agent type."""
        actions, logp = {}, {}
        for t in AGENT_TYPES:
            network, private = self.networks[t], observation[t]
            choices_of = choices_of_network(network, observation["global"], private)
            taken, logp[t] = act(choices_of, network, private, True, self.generator)
            actions[t] = taken.to(index_dtype(network.head_sizes))
        return actions, logp

    def learn(self, *played: Columns) -> None:
        """Update all networks on whole batches; arguments as `play` returns them."""
        losses = {t: self._logit_response if self._is_logit(t) else self._clipped for t in AGENT_TYPES}
        data = {t: self._rows(t, *played) for t in AGENT_TYPES}
        for _ in range(self.settings.num_epochs):
            for t in AGENT_TYPES:
                network = self.networks[t]
                self.optimisers[t].zero_grad(set_to_none=True)
                rows, agents = len(data[t][1]), data[t][1].shape[1]
                for slab in slabs(rows, agents * network.hidden_values, data[t][1].device):
                    part = [column[slab] for column in data[t]]
                    (losses[t](network, *part) * (self._weight(t, part) / self._weight(t, data[t]))).backward()
                nn.utils.clip_grad_norm_(network.parameters(), self.settings.grad_clip)
                self.optimisers[t].step()

    def _is_logit(self, agent_type: str) -> bool:
        return agent_type == "consumer" and self.logit_response is not None

    def _weight(self, agent_type: str, data: Sequence[Tensor]) -> float | Tensor:
        """How much a mean over these rows counts: what is no agent's own action does not."""
        return len(data[0]) if self._is_logit(agent_type) else data[-1].sum()

    def agents_to_learn_from(self, agent_type: str) -> Tensor | None:
        """Indices of the agents that a type learns from this time; None for all of them."""
        agents, wanted = self.env.config.agents(agent_type), self.settings.agents_per_update.get(agent_type)
        if wanted is None or wanted >= agents:
            return None
        return torch.randperm(agents, generator=self.generator, device=self.env.device)[:wanted]

    def _rows(
        self,
        agent_type: str,
        observations: Columns,
        actions: Columns,
        logp: Columns,
        rewards: Columns,
        trembled: Columns,
        market: Columns,
    ) -> tuple[Tensor, ...]:
        """What an agent type learns from, as its loss takes it: rows are periods of economies."""
        agents = self.agents_to_learn_from(agent_type)

        def some(values: Tensor) -> Tensor:
            return values if agents is None else values.index_select(2, agents)

        shared = observations["global"].flatten(0, 1)
        private = some(observations[agent_type]).flatten(0, 1)
        if self._is_logit(agent_type):
            met = {name: some(x) if x.shape[-1] == self.env.config.num_consumers else x for name, x in market.items()}
            values = own_values(self.env.config, Market(**met), some(actions[agent_type]), self.settings.gamma)
            return (shared, private, *values)
        replaced = trembled.get(agent_type, torch.zeros_like(logp[agent_type], dtype=torch.bool))
        is_own = 1.0 - some(replaced).flatten(0, 1).to(shared.dtype)
        advantages, targets = self._advantages(agent_type, shared, private, some(rewards[agent_type]), is_own)
        taken, old_logp = some(actions[agent_type]).flatten(0, 1), some(logp[agent_type]).flatten(0, 1)
        return shared, private, advantages, targets, taken, old_logp, is_own

    def _logit_response(self, network: PolicyNetwork, shared: Tensor, private: Tensor, *values: Tensor) -> Tensor:
        assert self.logit_response is not None
        logits, _ = network(shared, private)
        return logit_response_loss(self.env.config, logits, OwnValues(*values), self.logit_response, 1.0)[0]

    def _clipped(
        self,
        network: PolicyNetwork,
        shared: Tensor,
        private: Tensor,
        advantages: Tensor,
        targets: Tensor,
        actions: Tensor,
        old_logp: Tensor,
        is_own: Tensor,
    ) -> Tensor:
        s = self.settings
        logits, values = network(shared, private)
        logp, entropy = network.distribution(logits).logp_and_entropy(actions)
        ratio = torch.exp(logp - old_logp)
        clipped = ratio.clamp(1 - s.clip_param, 1 + s.clip_param)
        loss = (
            -torch.min(advantages * ratio, advantages * clipped)
            + s.vf_loss_coeff * nn.functional.huber_loss(values, targets, delta=s.huber_delta, reduction="none")
            - s.entropy_coeff * entropy
        )
        return (loss * is_own).sum() / is_own.sum().clamp(min=1.0)

    def _advantages(
        self, agent_type: str, shared: Tensor, private: Tensor, rewards: Tensor, is_own: Tensor
    ) -> tuple[Tensor, Tensor]:
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
        targets = (advantages + values).flatten(0, 1)
        advantages = advantages.flatten(0, 1)
        mean = (advantages * is_own).sum() / is_own.sum()
        deviation = ((advantages - mean).square() * is_own).sum().div(is_own.sum()).sqrt()
        return (advantages - mean) / deviation.clamp(min=1e-4), targets
