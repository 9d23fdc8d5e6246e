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
from rbc_marl.policies.slabs import slabs, take_rows_of_each
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
        rewards_discounted_at: float = 1.0,
        gae_lambda: float,
        reward_scale: Mapping[str, float],
        device: torch.device | str | None = None,
        agents_per_update: Mapping[str, int] | None = None,
        seed: int | Sequence[int] = 0,
        deviator: Deviator | None = None,
        logit_response_in: EconomyConfig | None = None,
    ) -> None:
        """Fix the arithmetic.

        Args:
            input_observation_space: Unused; RLlib passes it.
            input_action_space: Unused; RLlib passes it.
            discount: Per period.
            rewards_discounted_at: By the economy, to the first period. They are taken back to what they are worth in
                their own period, and weighed in returns by this beside ``discount``: returns from each period on are
                those of the economy up to a factor, and as large late in an episode as early.
            gae_lambda: Weight of longer advantage estimates.
            reward_scale: Divisor of the rewards of each agent type.
            device: Of the learner; None leaves rollouts where they are.
            agents_per_update: How many agents of a type, drawn anew for each update, it learns from; all where it is
                left out.
            seed: Of the draw of agents. Several are those of a population's runs, whose economies stand side by side
                in rollouts, and whose rows follow one another in batches.
            deviator: The agent that a module of its own acts for; None for none.
            logit_response_in: The economy in which consumers learn from the values of their own choices; None where
                they learn from returns.
        """
        super().__init__(input_observation_space, input_action_space)
        self.discount = discount * rewards_discounted_at
        self.rewards_discounted_at = rewards_discounted_at
        self.gae_lambda = gae_lambda
        self.reward_scale = reward_scale
        self.device = device
        self.agents_per_update = dict(agents_per_update or {})
        self.seeds = (seed,) if isinstance(seed, int) else tuple(seed)
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
            standardised advantages and value targets [N, A], with N = periods x economies, period by period. The rows
            of each run of a population stand together.
        """
        rollout = Rollout.join(episodes)
        if self.device is not None:
            rollout = rollout.to(self.device)
        shared = self._rows(rollout.observations["global"])
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
            return values if agents is None else _take_agents(values, agents)

        observations = {"global": shared, "private": self._rows(some(rollout.observations[agent_type]))}
        if agent_type == "consumer" and self.logit_response_in is not None:
            own = self._own_values(self.logit_response_in, agents, rollout)
            logp = self._rows(some(rollout.logp[agent_type]))
            valued = {n: self._rows(x.unflatten(0, (rollout.periods, -1))) for n, x in own._asdict().items()}
            return {Columns.OBS: observations, Columns.ACTION_LOGP: logp, **valued}
        rewards = some(rollout.rewards[agent_type]) / self.reward_scale[agent_type]
        if self.rewards_discounted_at != 1.0:
            periods = torch.arange(rollout.periods, device=rewards.device, dtype=rewards.dtype)
            rewards = rewards * (self.rewards_discounted_at ** -periods).view(-1, 1, 1)
        trembled = rollout.trembled.get(agent_type)
        weights = None if trembled is None else self._rows((~some(trembled)).to(rewards.dtype))
        with torch.no_grad():
            values = self._periods(values_in_slabs(module, observations, len(self.seeds)), rollout.periods)
        advantages, targets = advantages_and_targets(rewards, values, self.discount, self.gae_lambda)
        columns = {
            Columns.OBS: observations,
            Columns.ACTIONS: self._rows(some(rollout.actions[agent_type])),
            Columns.ACTION_LOGP: self._rows(some(rollout.logp[agent_type])),
            Postprocessing.ADVANTAGES: self._standardise(self._rows(advantages), weights),
            Postprocessing.VALUE_TARGETS: self._rows(targets),
        }
        if weights is not None:
            columns[Columns.LOSS_MASK] = weights
        return columns

    def _own_values(self, economy: EconomyConfig, agents: Tensor | None, rollout: Rollout) -> OwnValues:
        """Values of the alternatives that some consumers had."""
        market, actions = Market(**rollout.market), rollout.actions["consumer"]
        if agents is not None:
            own = {name: _take_agents(getattr(market, name), agents) for name in ("budget", "labour_disutility")}
            market, actions = market._replace(**own), _take_agents(actions, agents)
        return own_values(economy, market, actions, self.discount, rollout.parameters)

    def _agents_of(self, module_id: str, agent_type: str, rollout: Rollout) -> Tensor | None:
        """Indices of the agents that a module learns from this time; None for all of its type.

        They are [n], or [E, n] where the runs of a population draw others.
        """
        actions = rollout.actions[agent_type]
        agents = torch.arange(actions.shape[2])
        if self.deviator is not None and agent_type == self.deviator.type:  # its actions are not its type's
            is_deviator = agents == self.deviator.agent
            agents = agents[is_deviator if module_id == DEVIATOR else ~is_deviator]
        wanted = self.agents_per_update.get(agent_type)
        if wanted is not None and wanted < len(agents):
            draws = [generator_at("cpu", seed, Stream.AGENTS, self.env_steps) for seed in self.seeds]
            orders = [torch.randperm(len(agents), generator=each)[:wanted].sort().values for each in draws]
            if len(orders) == 1:
                return agents[orders[0]].to(actions.device)
            economies = actions.shape[1] // len(orders)
            return agents[torch.stack(orders)].repeat_interleave(economies, dim=0).to(actions.device)
        return None if len(agents) == actions.shape[2] else agents.to(actions.device)

    def _rows(self, values: Tensor) -> Tensor:
        """[T, E, ...] as rows, period by period; run by run in a population."""
        if len(self.seeds) == 1:
            return values.flatten(0, 1)
        return values.unflatten(1, (len(self.seeds), -1)).transpose(0, 1).flatten(0, 2)

    def _periods(self, rows: Tensor, periods: int) -> Tensor:
        """Rows as [T, E, ...]: the inverse of `_rows`."""
        if len(self.seeds) == 1:
            return rows.unflatten(0, (periods, -1))
        return rows.unflatten(0, (len(self.seeds), periods, -1)).transpose(0, 1).flatten(1, 2)

    def _standardise(self, advantages: Tensor, weights: Tensor | None) -> Tensor:
        """Standardise the rows of each run by themselves."""
        if len(self.seeds) == 1:
            return standardise(advantages, weights)
        given = (advantages,) if weights is None else (advantages, weights)
        of_runs: Tensor = torch.vmap(standardise)(*(x.unflatten(0, (len(self.seeds), -1)) for x in given))
        return of_runs.flatten(0, 1)


def _take_agents(values: Tensor, agents: Tensor) -> Tensor:
    """[T, E, n, ...] of values [T, E, A, ...]: the same agents [n] everywhere, or others [E, n] in each economy."""
    if agents.dim() == 1:
        return values.index_select(2, agents)
    rest = values.shape[3:]
    index = agents.view(1, *agents.shape, *(1 for _ in rest)).expand(len(values), -1, -1, *rest)
    return values.gather(2, index)


def values_in_slabs(module: RLModule, observations: dict[str, Tensor], runs: int = 1) -> Tensor:
    """Values [N, A] of observations, whose rows are those of one run after another."""
    rows, agents, _ = observations["private"].shape
    network, device = module.network, observations["private"].device
    cuts = slabs(rows // runs, runs * agents * network.hidden_values, device)
    values = [module.compute_values({Columns.OBS: take_rows_of_each(observations, cut, runs)}) for cut in cuts]
    if len(values) == 1:
        return values[0]
    return torch.cat([part.unflatten(0, (runs, -1)) for part in values], dim=1).flatten(0, 1)
