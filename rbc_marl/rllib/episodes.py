"""Collects whole episodes of a batch of economies with the modules of all agent types, and reports on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.utils.metrics import (
    EPISODE_LEN_MEAN,
    EPISODE_MODULE_RETURN_MEAN,
    EPISODE_RETURN_MAX,
    EPISODE_RETURN_MEAN,
    EPISODE_RETURN_MIN,
    NUM_AGENT_STEPS_SAMPLED,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
    NUM_EPISODES_LIFETIME,
    NUM_MODULE_STEPS_SAMPLED,
    NUM_MODULE_STEPS_SAMPLED_LIFETIME,
)
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger
from torch import Tensor

from rbc_marl.analysis.metrics import EpisodeMetrics
from rbc_marl.choices import index_dtype
from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.economy import EconomyState
from rbc_marl.policies.deviating import replace_rows
from rbc_marl.policies.distributions import FactorisedCategorical
from rbc_marl.policies.scripted import Rules, ScriptedPolicies
from rbc_marl.rllib.rollout import Rollout, RolloutBuilder
from rbc_marl.rllib.settings import DEVIATOR, Deviator, Scripted
from rbc_marl.vector_env import VectorEconomy

if TYPE_CHECKING:
    from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
    from ray.rllib.core.rl_module.rl_module import RLModule

    from rbc_marl.rllib.algorithm import EconomyPPOConfig


@dataclass(frozen=True)
class BehaviourSettings:
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


class EpisodeCollector:
    """A batch of economies that is played from start to horizon, again and again."""

    def __init__(
        self,
        economy: EconomyConfig,
        encoding: str,
        device: torch.device,
        deviator: Deviator | None = None,
        scripted: Scripted | None = None,
    ) -> None:
        """Fix the economy and who plays in it; its batch is made when its size is known.

        Args:
            economy: The economy.
            encoding: Of the observations.
            device: Where everything is.
            deviator: The agent that the module "deviator" acts for; None for none.
            scripted: Rules of types that follow them in place of their module.
        """
        self.economy = economy
        self.encoding = encoding
        self.device = device
        self.deviator = deviator
        # Rules decide for all agents at once: types that follow the same ones share them.
        shared: dict[Rules, ScriptedPolicies] = {}
        self.scripted: dict[str, ScriptedPolicies] = {}
        for agent_type, rules in (scripted.chosen if scripted else {}).items():
            if rules not in shared:
                shared[rules] = ScriptedPolicies(economy, rules, encoding, device)
            self.scripted[agent_type] = shared[rules]
        self.env: VectorEconomy | None = None

    def env_of(self, count: int) -> VectorEconomy:
        """A batch of ``count`` economies, made anew only when the number changes."""
        if self.env is None or self.env.num_envs != count:
            self.env = VectorEconomy(
                self.economy, num_envs=count, device=self.device, autoreset=False, encoding=self.encoding
            )
        return self.env

    def collect(
        self,
        modules: MultiRLModule,
        count: int,
        behaviour: BehaviourSettings,
        generator: torch.Generator,
        after_period: Callable[[], None] = lambda: None,
    ) -> tuple[Rollout, dict[str, Tensor]]:
        """Play one episode of ``count`` economies.

        Args:
            modules: One module per agent type.
            count: Economies (E).
            behaviour: How agents act.
            generator: Behind every draw.
            after_period: Called after each period.

        Returns:
            The rollout, and the reported quantities [E - probes] of its economies; probes are left out of them.
        """
        env = self.env_of(count)
        env.labour_disutility_scale = behaviour.labour_disutility
        observation = env.reset()
        builder, metrics = RolloutBuilder(), EpisodeMetrics(self.economy)
        for _ in range(self.economy.horizon):
            with torch.inference_mode():  # the rollout is stacked outside: a learner could not use such tensors
                state = env.require_state()
                actions, logp = self._act(modules, observation, state, behaviour, generator)
                builder.add("observations", observation)
                observation, rewards, _, flows = env.step(_indices(actions))
                builder.add("actions", actions)
                builder.add("logp", logp)
                builder.add("rewards", {**rewards, "government": rewards["government"].unsqueeze(-1)})
                metrics.add(state, flows)
            after_period()
        is_probe = torch.arange(count, device=self.device) >= count - behaviour.probes
        reported = {name: values[: count - behaviour.probes] for name, values in metrics.result().items()}
        return builder.build(is_probe), reported

    def _act(
        self,
        modules: MultiRLModule,
        observation: dict[str, Tensor],
        state: EconomyState,
        behaviour: BehaviourSettings,
        generator: torch.Generator,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Actions [E, A, H] of every agent type, in the smallest integers, and their log-probabilities [E, A]."""
        actions, logp = {}, {}
        decided = {
            policies: policies.act(observation, generator, not behaviour.explore, state=state)
            for policies in dict.fromkeys(self.scripted.values())
        }
        for agent_type in AGENT_TYPES:
            network = modules[agent_type].network
            if agent_type in self.scripted:
                indices = decided[self.scripted[agent_type]][agent_type]
                draw = (observation, behaviour, generator)
                taken, logp[agent_type] = self._by_rules(modules, agent_type, indices, *draw)
            else:
                choices = self._choices(modules, agent_type, observation, behaviour)
                taken, logp[agent_type] = _draw(choices, behaviour.explore or agent_type in behaviour.random, generator)
            if behaviour.probes and agent_type == behaviour.probe_random:
                _randomise(taken[-behaviour.probes :], network.head_sizes, generator)
            actions[agent_type] = taken.to(index_dtype(network.head_sizes))
        return actions, logp

    def _choices(
        self,
        modules: MultiRLModule,
        agent_type: str,
        observation: dict[str, Tensor],
        behaviour: BehaviourSettings,
    ) -> FactorisedCategorical:
        """The action distribution of all agents of a type, the deviator among them."""
        network = modules[agent_type].network
        if agent_type in behaviour.random:
            uniform = network.log_mask.expand(*observation[agent_type].shape[:2], -1)
            return FactorisedCategorical(uniform, network.head_sizes)
        logits = _logits(modules[agent_type], observation["global"], observation[agent_type], behaviour)
        if self.deviator is not None and agent_type == self.deviator.type:
            logits = replace_rows(logits, self._deviator_logits(modules, observation, behaviour), self.deviator.agent)
        return network.distribution(logits)

    def _deviator_logits(
        self, modules: MultiRLModule, observation: dict[str, Tensor], behaviour: BehaviourSettings
    ) -> Tensor:
        assert self.deviator is not None
        agent = self.deviator.agent
        own = observation[self.deviator.type][:, agent : agent + 1]
        return _logits(modules[DEVIATOR], observation["global"], own, behaviour)

    def _by_rules(
        self,
        modules: MultiRLModule,
        agent_type: str,
        indices: Tensor,
        observation: dict[str, Tensor],
        behaviour: BehaviourSettings,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Actions [E, A, H] of a type that follows rules, and log-probabilities [E, A]: 0 but for a deviator's."""
        shape = (*observation[agent_type].shape[:2], len(modules[agent_type].network.head_sizes))
        taken, logp = indices.reshape(shape), observation["global"].new_zeros(shape[:2])
        if self.deviator is not None and agent_type == self.deviator.type:
            agent = self.deviator.agent
            choices = modules[DEVIATOR].network.distribution(self._deviator_logits(modules, observation, behaviour))
            taken = taken.clone()
            own, own_logp = _draw(choices, behaviour.explore, generator)
            taken[:, agent], logp[:, agent] = own[:, 0], own_logp[:, 0]
        return taken, logp


def _logits(module: RLModule, shared: Tensor, private: Tensor, behaviour: BehaviourSettings) -> Tensor:
    """Logits [E, A, K] of some agents."""
    forward = module.forward_exploration if behaviour.explore else module.forward_inference
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


def log_rollouts(
    metrics: MetricsLogger,
    config: EconomyPPOConfig,
    economy: EconomyConfig,
    rollouts: Sequence[Rollout],
    summaries: Sequence[dict[str, Tensor]],
    probes: int,
) -> None:
    """Log the rollouts of one call, as one: counts of steps, returns, and the reported quantities of their economies.

    Agent steps are counted by agent type: a thousand agents would otherwise make a thousand entries.

    Args:
        metrics: The env runner's logger.
        config: The algorithm's configuration.
        economy: The economy.
        rollouts: What was played; of none, only that there were none.
        summaries: Reported quantities of each rollout, one value per economy that is no probe.
        probes: How many economies, the last of all, are probes: returns are those of the others.
    """
    steps, episodes = sum(len(rollout) for rollout in rollouts), sum(rollout.economies for rollout in rollouts)
    metrics.log_value(NUM_ENV_STEPS_SAMPLED, steps, reduce="sum")
    metrics.log_value(NUM_ENV_STEPS_SAMPLED_LIFETIME, steps, reduce="lifetime_sum", with_throughput=True)
    metrics.log_value(NUM_EPISODES, episodes, reduce="sum")
    metrics.log_value(NUM_EPISODES_LIFETIME, episodes, reduce="lifetime_sum")
    for agent_type in AGENT_TYPES:
        agent_steps = steps * economy.agents(agent_type)
        for key, reduce in (
            (NUM_AGENT_STEPS_SAMPLED, "sum"),
            (NUM_AGENT_STEPS_SAMPLED_LIFETIME, "lifetime_sum"),
            (NUM_MODULE_STEPS_SAMPLED, "sum"),
            (NUM_MODULE_STEPS_SAMPLED_LIFETIME, "lifetime_sum"),
        ):
            metrics.log_value((key, agent_type), agent_steps, reduce=reduce)
    if config.deviator:  # one agent: its steps are env steps, and among those of its type above
        metrics.log_value((NUM_MODULE_STEPS_SAMPLED, DEVIATOR), steps, reduce="sum")
        metrics.log_value((NUM_MODULE_STEPS_SAMPLED_LIFETIME, DEVIATOR), steps, reduce="lifetime_sum")
    if not rollouts:
        return
    window = max(1, config.metrics_num_episodes_for_smoothing // ((config.num_env_runners or 1) * episodes))
    metrics.log_value(EPISODE_LEN_MEAN, economy.horizon, window=window)
    figures = _figures(config, rollouts, summaries, episodes - probes)
    # All at once: a device is waited for with each read, and RLlib averages floats faster than tensors.
    numbers = dict(zip(figures, torch.stack(list(figures.values())).tolist(), strict=True))
    extremes = {EPISODE_RETURN_MIN: "min", EPISODE_RETURN_MAX: "max"}
    for key, number in numbers.items():
        metrics.log_value(key, number, reduce=extremes.get(key, "mean"), window=window)


def _figures(
    config: EconomyPPOConfig, rollouts: Sequence[Rollout], summaries: Sequence[dict[str, Tensor]], episodes: int
) -> dict[str | tuple[str, str], Tensor]:
    """Returns and reported quantities, one number each, of the first ``episodes`` economies: the others are probes."""
    returns = {
        agent_type: torch.cat([r.rewards[agent_type].sum((0, 2)) for r in rollouts])[:episodes]
        for agent_type in AGENT_TYPES
    }
    total = torch.stack(list(returns.values())).sum(0)
    figures: dict[str | tuple[str, str], Tensor] = {
        EPISODE_RETURN_MEAN: total.mean(),
        EPISODE_RETURN_MIN: total.min(),
        EPISODE_RETURN_MAX: total.max(),
    }
    for agent_type in AGENT_TYPES:  # the sum over a type's agents, as RLlib defines it
        figures[EPISODE_MODULE_RETURN_MEAN, agent_type] = returns[agent_type].mean()
    if config.deviator:
        agent_type, agent = config.deviator.type, config.deviator.agent
        own = torch.cat([r.rewards[agent_type][..., agent].sum(0) for r in rollouts])[:episodes]
        figures[EPISODE_MODULE_RETURN_MEAN, DEVIATOR] = own.mean()
    for name in summaries[0]:
        figures[name] = torch.cat([summary[name] for summary in summaries]).mean()
    return figures
