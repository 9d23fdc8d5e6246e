"""Whole episodes of a batch of economies: played with the modules of all agent types, and held as tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from torch import Tensor

from rbc_marl.analysis.metrics import EpisodeMetrics, period_quantities
from rbc_marl.choices import decode, index_dtype
from rbc_marl.config import AGENT_TYPES
from rbc_marl.curriculum import Phase
from rbc_marl.economy import EconomyState, Number, period, shocks
from rbc_marl.economy.own_choices import market_of
from rbc_marl.economy.shocks import seed_of_generator
from rbc_marl.observations import observe
from rbc_marl.policies.acting import act, decide
from rbc_marl.policies.deviating import replace_rows
from rbc_marl.policies.distributions import FactorisedCategorical
from rbc_marl.policies.draws import Generators, Source
from rbc_marl.policies.scripted import Rules, ScriptedPolicies
from rbc_marl.policies.stacked import mask_of_rows
from rbc_marl.policies.trembles import tremble
from rbc_marl.rllib.compiled import CompiledPeriods, Played
from rbc_marl.rllib.settings import DEVIATOR, economy_of
from rbc_marl.vector_env import VectorEconomy

if TYPE_CHECKING:
    from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
    from ray.rllib.core.rl_module.rl_module import RLModule

    from rbc_marl.rllib.algorithm import EconomyPPOConfig

PeriodColumns = dict[str, dict[str, Tensor]]
"""What a rollout keeps of one period: its columns by name."""
_COLUMNS = ("observations", "actions", "logp", "rewards", "trembled", "market", "parameters")


@dataclass(frozen=True)
class Rollout:
    """T periods of E economies, standing where RLlib expects an episode: with a length and slices in env steps.

    The global part of an observation is stored once per economy and period, and actions in one byte where they fit:
    about a tenth of the memory of one record per agent.
    """

    observations: dict[str, Tensor]
    """"global" [T, E, G], and private parts "consumer" [T, E, C, P], "firm" [T, E, F, Q], "government" [T, E, 1, 0]."""
    actions: dict[str, Tensor]
    """[T, E, A, H] indices of choices by agent type."""
    logp: dict[str, Tensor]
    """[T, E, A] log-probability of the actions when they were taken."""
    rewards: dict[str, Tensor]
    """[T, E, A] as the economy gave them, not scaled."""
    trembled: dict[str, Tensor]
    """[T, E, A] bool, whether an action was replaced by a random one; only of types that tremble."""
    market: dict[str, Tensor]
    """Fields of `rbc_marl.economy.own_choices.Market`, [T, E, ...]; empty where nobody values own choices."""
    parameters: dict[str, Tensor]
    """[T, E] numbers that stood in place of the configuration's, where somebody values own choices."""
    phase_step: int = 0
    """Env steps of the whole run at which its phase was taken: those before its iteration."""

    @property
    def periods(self) -> int:
        """Length of each episode (T)."""
        return self.observations["global"].shape[0]

    @property
    def economies(self) -> int:
        """Number of episodes (E)."""
        return self.observations["global"].shape[1]

    def __len__(self) -> int:
        """Env steps, as RLlib counts them: economies times periods."""
        return self.periods * self.economies

    def env_steps(self) -> int:
        """Env steps: economies times periods."""
        return len(self)

    def agent_steps(self) -> int:
        """Agent steps: env steps times agents."""
        return sum(actions.shape[0] * actions.shape[1] * actions.shape[2] for actions in self.actions.values())

    def get_return(self) -> float:
        """Return of an episode as RLlib counts it, over all periods and agents: its mean over the economies."""
        return float(sum(rewards.sum() for rewards in self.rewards.values()) / self.economies)

    def __getitem__(self, steps: slice) -> Rollout:
        """Some of the episodes, given in env steps.

        Raises:
            ValueError: The slice would cut an episode.
        """
        start, stop, _ = steps.indices(len(self))
        if start % self.periods or stop % self.periods:
            raise ValueError(
                f"cannot cut an episode of {self.periods} periods at env step {start} or {stop}: "
                "the number of economies must divide evenly among the learners"
            )
        economies = slice(start // self.periods, stop // self.periods)
        return self._map(lambda x: x[:, economies])

    def slice(self, steps: slice, *, len_lookback_buffer: int | None = None) -> Rollout:
        """`__getitem__` under the name that RLlib's sharding uses; there is no lookback."""
        return self[steps]

    def to(self, device: torch.device | str) -> Rollout:
        """Move to a device."""
        return self._map(lambda x: x.to(device))

    def _map(self, function: Callable[[Tensor], Tensor]) -> Rollout:
        columns: dict[str, Any] = {
            name: {key: function(value) for key, value in getattr(self, name).items()} for name in _COLUMNS
        }
        return replace(self, **columns)

    @staticmethod
    def join(rollouts: Sequence[Rollout]) -> Rollout:
        """Put the economies of several rollouts side by side."""
        if len(rollouts) == 1:
            return rollouts[0]
        return Rollout(
            **{
                name: {
                    key: torch.cat([getattr(rollout, name)[key] for rollout in rollouts], dim=1)
                    for key in getattr(rollouts[0], name)
                }
                for name in _COLUMNS
            },
            phase_step=min(rollout.phase_step for rollout in rollouts),
        )


@dataclass(frozen=True)
class BehaviourSettings:
    """How agents act in the episodes to be played."""

    explore: bool = True
    """Whether to draw actions; else the likeliest are taken, and employers are dealt out."""
    random: frozenset[str] = frozenset()
    """Agent types that act uniformly at random within their mask."""
    parameters: Mapping[str, Number] = field(default_factory=dict)
    """Numbers in place of the economy's own (`rbc_marl.economy.PARAMETERS`)."""
    trembles: Mapping[str, float | Tensor] = field(default_factory=dict)
    """How often actions are replaced by random ones (`Trembles.chosen`); empty for never."""
    keeps_market: bool = False
    """Whether the rollout keeps what consumers met, to value their own choices by."""
    is_compiled: bool = False
    """Whether periods are played by compiled code."""

    def for_training(self, config: EconomyPPOConfig, phase: Phase) -> BehaviourSettings:
        """The same with what only training has: trembles, numbers that move, and a record of what consumers met."""
        return replace(
            self,
            trembles=config.trembles.scaled(phase.trembles).chosen,
            keeps_market=bool(config.logit_response),
            parameters=phase.parameters(),
            is_compiled=config.torch_compile_worker,
        )


class EpisodeCollector:
    """A batch of economies that is played from start to horizon, again and again."""

    def __init__(self, config: EconomyPPOConfig, device: torch.device) -> None:
        """Fix the economy and who plays in it; its batch is made when its size is known."""
        self.economy, self.encoding = economy_of(config)
        self.device = device
        self.deviator = config.deviator
        # Rules decide for all agents at once: types that follow the same ones share them.
        rules: dict[str, Rules] = config.scripted.chosen
        shared = {each: ScriptedPolicies(self.economy, each, self.encoding, device) for each in set(rules.values())}
        self.scripted = {agent_type: shared[each] for agent_type, each in rules.items()}
        self.law = config.imposed.law(self.economy)
        self.env: VectorEconomy | None = None
        self.compiled = CompiledPeriods(self.whole_period)

    def env_of(self, count: int) -> VectorEconomy:
        """A batch of ``count`` economies, made anew only when the number changes."""
        if self.env is None or self.env.num_envs != count:
            self.env = VectorEconomy(
                self.economy, num_envs=count, device=self.device, autoreset=False, encoding=self.encoding
            )
            self.env.impose(self.law.factors)
        return self.env

    def collect(
        self,
        modules: MultiRLModule,
        count: int,
        behaviour: BehaviourSettings,
        generator: Generators,
        after_period: Callable[[], None] = lambda: None,
    ) -> tuple[Rollout, dict[str, Tensor]]:
        """Play one episode of ``count`` economies.

        Args:
            modules: One module per agent type.
            count: Economies (E), of all runs of a population.
            behaviour: How agents act.
            generator: Behind every draw; of a population one for each run, whose economies stand side by side.
            after_period: Called after each period.

        Returns:
            The rollout, and the reported quantities [E] of its economies.
        """
        env = self.env_of(count)
        env.set_parameters(behaviour.parameters)
        observation = env.reset(self._shock_seeds(generator, is_greedy=not behaviour.explore))
        metrics = EpisodeMetrics(self.economy)
        play = self.compiled.play if behaviour.is_compiled else self.whole_period
        if not behaviour.is_compiled:  # numbers that are the economy's own cost operations, and compiled code a form
            behaviour = replace(behaviour, parameters=env.parameters)
        periods: list[PeriodColumns] = []
        for _ in range(self.economy.horizon):
            # The rollout is stacked outside: a learner could not use tensors of this mode.
            with torch.inference_mode(not behaviour.is_compiled):
                played = play(modules, observation, env.require_state(), behaviour, generator)
            periods.append({"observations": observation, **played.column})
            env.enter(played.state)
            metrics.add_quantities(played.quantities)
            observation = played.observation
            after_period()
        columns: dict[str, Any] = {
            name: {key: torch.stack([period[name][key] for period in periods]) for key in column}
            for name, column in periods[0].items()
        }
        return Rollout(**columns), metrics.result()

    def whole_period(
        self,
        modules: MultiRLModule,
        observation: dict[str, Tensor],
        state: EconomyState,
        behaviour: BehaviourSettings,
        source: Source,
    ) -> Played:
        """A whole period as a pure function, which can be compiled: decide, play, observe."""
        column, indices = self._decide(modules, observation, state, behaviour, source)
        actions = decode(self.economy, **indices, dtype=state.price.dtype)
        after, flows = period(self.economy, state, actions, behaviour.parameters)
        one_each = torch.ones_like(state.time)
        in_force = shocks.in_force(state, behaviour.parameters) or {}
        parameters = {name: number * one_each for name, number in in_force.items()} if behaviour.keeps_market else {}
        column["rewards"] = {
            "consumer": flows.consumer_reward,
            "firm": flows.firm_reward,
            "government": flows.government_reward.unsqueeze(-1),
        }
        column["market"] = market_of(self.economy, state, flows)._asdict() if behaviour.keeps_market else {}
        column["parameters"] = parameters
        quantities = torch.stack(tuple(period_quantities(self.economy, state, flows).values()))
        return Played(column, observe(self.economy, after, self.encoding), after, quantities)

    def _decide(
        self,
        modules: MultiRLModule,
        observation: dict[str, Tensor],
        state: EconomyState,
        behaviour: BehaviourSettings,
        source: Source,
    ) -> tuple[PeriodColumns, dict[str, Tensor]]:
        """What a rollout keeps of everybody's decisions, and the indices that are played."""
        actions, logp = self._act(modules, observation, state, behaviour, source)
        trembled: dict[str, Tensor] = {}
        if behaviour.trembles:
            masks = {t: modules[t].network.log_mask for t in AGENT_TYPES}
            actions, trembled = tremble(self.economy, behaviour.trembles, actions, masks, source)
        column = {"actions": actions, "logp": logp, "trembled": trembled}
        # What is imposed is a part of the world: agents learn what comes of their own choices in it.
        played = self.law.of(actions, state)
        shaped = {"firm": played["firm"].squeeze(-1), "government": played["government"].flatten()}
        return column, {**played, **shaped}

    def _shock_seeds(self, generator: Generators, *, is_greedy: bool) -> list[int] | None:
        """Seeds of shocks and starts of the episodes that generators are about to draw for."""
        if generator is None or (self.economy.shocks is None and self.economy.start is None):
            return None
        each = [generator] if isinstance(generator, torch.Generator) else generator
        seeds = [seed_of_generator(one) for one in each]
        for one in each if is_greedy else ():  # nobody else draws, and the next episodes would meet the same shocks
            torch.rand((), generator=one, device=one.device)
        return seeds

    def _act(
        self,
        modules: MultiRLModule,
        observation: dict[str, Tensor],
        state: EconomyState,
        behaviour: BehaviourSettings,
        generator: Source,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Actions [E, A, H] of every agent type, in the smallest integers, and their log-probabilities [E, A]."""
        actions, logp = {}, {}
        one = generator if isinstance(generator, torch.Generator) else None  # populations have nobody who follows rules
        decided = {
            policies: policies.act(observation, one, not behaviour.explore, state=state)
            for policies in dict.fromkeys(self.scripted.values())
        }
        for agent_type in AGENT_TYPES:
            network = modules[agent_type].network
            if agent_type in self.scripted:
                shape = observation[agent_type].shape[:2]
                taken = decided[self.scripted[agent_type]][agent_type].reshape(*shape, len(network.head_sizes))
                logp[agent_type] = observation["global"].new_zeros(shape)  # 0 but for a deviator's
                if self.deviator is not None and agent_type == self.deviator.type:
                    rows, own = slice(self.deviator.agent, self.deviator.agent + 1), modules[DEVIATOR].network
                    choices = own.distribution(self._logits(modules, DEVIATOR, observation, behaviour, rows))
                    taken = taken.clone()
                    taken[:, rows], logp[agent_type][:, rows] = decide(choices, behaviour.explore, generator)
            else:
                choices_of = partial(self._choices, modules, agent_type, observation, behaviour)
                is_random = behaviour.explore or agent_type in behaviour.random
                taken, logp[agent_type] = act(choices_of, network, observation[agent_type], is_random, generator)
            actions[agent_type] = taken.to(index_dtype(network.head_sizes))
        return actions, logp

    def _choices(
        self,
        modules: MultiRLModule,
        agent_type: str,
        observation: dict[str, Tensor],
        behaviour: BehaviourSettings,
        agents: slice,
    ) -> FactorisedCategorical:
        """The action distribution of some agents of a type, the deviator perhaps among them."""
        network = modules[agent_type].network
        if agent_type in behaviour.random:
            economies, count = observation[agent_type][:, agents].shape[:2]
            uniform = mask_of_rows(network.log_mask, economies).unsqueeze(-2).expand(economies, count, -1)
            return FactorisedCategorical(uniform, network.head_sizes)
        logits = self._logits(modules, agent_type, observation, behaviour, agents)
        if self.deviator is not None and agent_type == self.deviator.type:
            number = self.deviator.agent
            if agents.start <= number < agents.stop:
                own = self._logits(modules, DEVIATOR, observation, behaviour, slice(number, number + 1))
                logits = replace_rows(logits, own, number - agents.start)
        return network.distribution(logits)

    def _logits(
        self,
        modules: MultiRLModule,
        module_id: str,
        observation: dict[str, Tensor],
        behaviour: BehaviourSettings,
        agents: slice,
    ) -> Tensor:
        """Logits [E, n, K] of some of the agents that a module acts for, by their numbers among their type."""
        agent_type = self.deviator.type if self.deviator is not None and module_id == DEVIATOR else module_id
        module: RLModule = modules[module_id]
        forward = module.forward_exploration if behaviour.explore else module.forward_inference
        seen = {"global": observation["global"], "private": observation[agent_type][:, agents]}
        logits: Tensor = forward({Columns.OBS: seen})[Columns.ACTION_DIST_INPUTS]
        return logits


class Stream(IntEnum):
    """What is drawn: draws of different kinds with one seed must differ."""

    ACTIONS = 0
    MINIBATCHES = 1
    AGENTS = 2


def generator_at(device: torch.device | str, *path: int) -> torch.Generator:
    """A generator seeded by a sequence of non-negative integers, such as (seed, stream, worker, env steps).

    RLlib does not checkpoint the random state of remote workers, and replaces killed ones. So nobody keeps a generator:
    each draw is a function of (seed, who draws, env steps so far), and a run that is resumed or loses a worker draws
    what it would have drawn.
    """
    state = np.random.SeedSequence(path).generate_state(2, np.uint32)
    return torch.Generator(device=device).manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)
