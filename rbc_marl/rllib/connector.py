"""From rollouts to what the loss reads: scaled rewards, values, advantages and targets, on the learner's device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch import Tensor

from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.economy.own_choices import Market
from rbc_marl.policies.learning import advantages_and_targets, standardise
from rbc_marl.policies.logit_response import OwnValues, own_values
from rbc_marl.policies.slabs import slabs, take_rows
from rbc_marl.rllib.rollout import Rollout, Stream, generator_at
from rbc_marl.rllib.settings import DEVIATOR, Deviator

if TYPE_CHECKING:
    from ray.rllib.core.rl_module.rl_module import RLModule


class RolloutsToBatch(ConnectorV2):
    """Learner connector: one row per economy and period, the same rows for every module.

    Every module then has the same number of rows, so that minibatches match, sizes count env steps, and the global
    part of an observation is stored once per row.
    """

    def __init__(
        self,
        input_observation_space: object = None,
        input_action_space: object = None,
        *,
        discount: float,
        gae_lambda: float,
        reward_scale: Mapping[str, float],
        device: torch.device | str | None = None,
        agents_per_update: Mapping[str, int] | None = None,
        seed: int = 0,
        deviator: Deviator | None = None,
        logit_response_in: EconomyConfig | None = None,
    ) -> None:
        """Fix the arithmetic.

        Args:
            input_observation_space: Unused; RLlib passes it.
            input_action_space: Unused; RLlib passes it.
            discount: Per period.
            gae_lambda: Weight of longer advantage estimates.
            reward_scale: Divisor of the rewards of each agent type.
            device: Of the learner; None leaves rollouts where they are.
            agents_per_update: How many agents of a type, drawn anew for each update, it learns from; all where it is
                left out.
            seed: Of the draw of agents.
            deviator: The agent that a module of its own acts for; None for none.
            logit_response_in: The economy in which consumers learn from the values of their own choices; None where
                they learn from returns.
        """
        super().__init__(input_observation_space, input_action_space)
        self.discount = discount
        self.gae_lambda = gae_lambda
        self.reward_scale = reward_scale
        self.device = device
        self.agents_per_update = dict(agents_per_update or {})
        self.seed = seed
        self.deviator = deviator
        self.logit_response_in = logit_response_in
        self.env_steps = 0
        self.learning: frozenset[str] = frozenset(AGENT_TYPES)

    def prepare(self, env_steps: int, learning: frozenset[str]) -> None:
        """Say how far the run is and which modules the next call is for."""
        self.env_steps = env_steps
        self.learning = learning

    def __call__(
        self, *, rl_module: MultiRLModule, batch: dict[str, Any], episodes: Sequence[Rollout], **kwargs: object
    ) -> dict[str, Any]:
        """Turn rollouts into one batch per module.

        Returns:
            By module: observations ("global" [N, G], "private" [N, A, P]), actions [N, A, H], log-probabilities,
            standardised advantages and value targets [N, A], with N = periods x economies, period by period.
        """
        rollout = Rollout.join(episodes)
        if self.device is not None:
            rollout = rollout.to(self.device)
        shared = rollout.observations["global"].flatten(0, 1)
        for module_id in sorted(self.learning):
            agent_type = self.deviator.type if self.deviator and module_id == DEVIATOR else module_id
            agents = self._agents_of(module_id, agent_type, rollout)
            if agents is None or len(agents):
                module = rl_module[module_id].unwrapped()
                batch[module_id] = self._columns(agent_type, agents, module, rollout, shared)
        return batch

    def _columns(
        self, agent_type: str, agents: Tensor | None, module: RLModule, rollout: Rollout, shared: Tensor
    ) -> dict[str, Any]:
        """The batch of one module, from some agents of a type."""

        def some(values: Tensor) -> Tensor:
            return values if agents is None else values.index_select(2, agents)

        observations = {"global": shared, "private": some(rollout.observations[agent_type]).flatten(0, 1)}
        if agent_type == "consumer" and self.logit_response_in is not None:
            own = self._own_values(self.logit_response_in, agents, rollout)
            logp = some(rollout.logp[agent_type]).flatten(0, 1)
            return {Columns.OBS: observations, Columns.ACTION_LOGP: logp, **own._asdict()}
        rewards = some(rollout.rewards[agent_type]) / self.reward_scale[agent_type]
        trembled = rollout.trembled.get(agent_type)
        weights = None if trembled is None else (~some(trembled)).to(rewards.dtype)
        with torch.no_grad():
            values = values_in_slabs(module, observations).view_as(rewards)
        advantages, targets = advantages_and_targets(rewards, values, self.discount, self.gae_lambda)
        columns = {
            Columns.OBS: observations,
            Columns.ACTIONS: some(rollout.actions[agent_type]).flatten(0, 1),
            Columns.ACTION_LOGP: some(rollout.logp[agent_type]).flatten(0, 1),
            Postprocessing.ADVANTAGES: standardise(advantages, weights).flatten(0, 1),
            Postprocessing.VALUE_TARGETS: targets.flatten(0, 1),
        }
        if weights is not None:
            columns[Columns.LOSS_MASK] = weights.flatten(0, 1)
        return columns

    def _own_values(self, economy: EconomyConfig, agents: Tensor | None, rollout: Rollout) -> OwnValues:
        """Values of the alternatives that some consumers had."""
        market, actions = Market(**rollout.market), rollout.actions["consumer"]
        if agents is not None:
            own = {name: getattr(market, name).index_select(2, agents) for name in ("budget", "labour_disutility")}
            market, actions = market._replace(**own), actions.index_select(2, agents)
        return own_values(economy, market, actions, self.discount, rollout.parameters)

    def _agents_of(self, module_id: str, agent_type: str, rollout: Rollout) -> Tensor | None:
        """Indices of the agents that a module learns from this time; None for all of its type."""
        actions = rollout.actions[agent_type]
        agents = torch.arange(actions.shape[2])
        if self.deviator is not None and agent_type == self.deviator.type:  # its actions are not its type's
            is_deviator = agents == self.deviator.agent
            agents = agents[is_deviator if module_id == DEVIATOR else ~is_deviator]
        wanted = self.agents_per_update.get(agent_type)
        if wanted is not None and wanted < len(agents):
            generator = generator_at("cpu", self.seed, Stream.AGENTS, self.env_steps)
            agents = agents[torch.randperm(len(agents), generator=generator)[:wanted].sort().values]
        return None if len(agents) == actions.shape[2] else agents.to(actions.device)


def values_in_slabs(module: RLModule, observations: dict[str, Tensor]) -> Tensor:
    """Values [N, A] of observations."""
    rows, agents, _ = observations["private"].shape
    device = observations["private"].device
    cuts = slabs(rows, agents * module.network.hidden_values, device)
    return torch.cat([module.compute_values({Columns.OBS: take_rows(observations, cut)}) for cut in cuts])
