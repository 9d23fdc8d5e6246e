"""Euler errors of discrete choices: what an agent gains by another choice in one period, as a share of consumption.

A plan is optimal only if no single choice in a single period can be bettered while everybody, the deviator too, plays
on as before. With choices on a grid there is no derivative that could be 0. So every alternative is played out from the
state that was reached, exactly, on the same random numbers: in this period the alternative, then the policies again.
The gain is measured in the consumption of its period that is worth as much, as Judd (1998) measures Euler errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from rbc_marl.choices import decode, head_sizes
from rbc_marl.economy import EconomyState, Flows, initial_state, period, residuals
from rbc_marl.economy.shocks import impose, seed_of_generator
from rbc_marl.errors import ConfigError, one_of
from rbc_marl.observations import observe
from rbc_marl.policies import Policies
from rbc_marl.policies.imposed import law_of

# Step of the scale of consumption by which the slope of utility is measured.
_STEP = 1e-4
_WHO = ("consumer", "firm")


class EulerErrors(NamedTuple):
    """What the best deviation in each period gains, while all other periods are played as before."""

    gain: Tensor
    """[T] utility, in units of the period itself: not discounted to the first. At least 0, which is no deviation."""
    share: Tensor
    """[T] the same as a share of the period's consumption; NaN where there is none."""
    head: Tensor
    """[T] which decision the best deviation changes (`rbc_marl.choices.head_sizes`)."""
    choice: Tensor
    """[T] what it becomes, an index."""


class _Played(NamedTuple):
    """A period as it was played: where it began, what was chosen, the draws that follow, and what happened."""

    state: EconomyState
    indices: dict[str, Tensor]
    draws: Tensor
    flows: Flows


@torch.no_grad()
def euler_errors(
    policies: Policies, agent_type: str, agent: int = 0, episodes: int = 64, seed: int = 0, *, greedy: bool = False
) -> EulerErrors:
    """Gains of an agent's deviations in single periods: each decision by itself, every alternative of it.

    Args:
        policies: Of everybody, the deviator among them.
        agent_type: "consumer", or "firm" where firms maximise what their owners do.
        agent: Number of the deviator.
        episodes: Played side by side; an alternative is the same in all, and gains are means over them.
        seed: Of the draws, the same with and without a deviation.
        greedy: Whether everybody takes the likeliest choice; then there is one episode.

    Raises:
        ConfigError: There is no such agent, or it does not maximise utility.
    """
    config = policies.config
    one_of(agent_type, _WHO, "agent_type")
    if agent_type == "firm" and config.firm_objective != "owners":
        raise ConfigError(f"firm_objective is {config.firm_objective}; what firms gain is no share of consumption then")
    if not 0 <= agent < config.agents(agent_type):
        raise ConfigError(f"agent is {agent}; {agent_type}s are numbered from 0 to {config.agents(agent_type) - 1}")
    deviator = _Deviator(policies, agent_type, agent, greedy)
    played = list(_play(policies, 1 if greedy else episodes, seed, greedy))
    rewards = torch.stack([deviator.reward(each.flows) for each in played])  # [T, N]
    to_come = rewards.flip(0).cumsum(0).flip(0)
    alternatives = deviator.alternatives()
    # Where nothing is drawn all of them can be played side by side.
    groups = [alternatives] if greedy else [[one] for one in alternatives]
    found = []
    for t, at in enumerate(played):
        gains = torch.cat([deviator.returns(at, group) - to_come[t] for group in groups]).mean(1)
        best = int(gains.argmax())
        gain = max(float(gains[best]), 0.0) / config.discount**t
        found.append((gain, gain / deviator.worth_of_consumption(at), *alternatives[best]))
    columns = torch.tensor(found, dtype=torch.float64).T
    return EulerErrors(columns[0], columns[1], columns[2].long(), columns[3].long())


@torch.no_grad()
def resource_residuals(
    policies: Policies, episodes: int = 64, seed: int = 0, *, greedy: bool = False
) -> dict[str, float]:
    """The largest residual of each identity of `rbc_marl.economy.residuals` in play, by size.

    Those in money and goods are shares of the largest output of a firm in the period, or of 1 where that is less.

    Args:
        policies: Of everybody.
        episodes: Played side by side.
        seed: Of the draws.
        greedy: Whether everybody takes the likeliest choice; then there is one episode.
    """
    config, largest = policies.config, dict[str, float]()
    for at in _play(policies, 1 if greedy else episodes, seed, greedy):
        actions = decode(config, **at.indices, dtype=torch.float64)
        after, flows = period(config, at.state, actions)
        size = max(float(flows.output.max()), 1.0)
        for name, residual in residuals(config, at.state, actions, after, flows).items():
            largest[name] = max(largest.get(name, 0.0), float(residual.abs().max()) / size)
    return largest


def _play(policies: Policies, episodes: int, seed: int, greedy: bool) -> Iterator[_Played]:
    """The periods of some episodes, in float64: sums of utility must show gains of a millionth."""
    generator = torch.Generator(device=policies.device).manual_seed(seed)
    shocks = seed_of_generator(generator)
    state = initial_state(policies.config, episodes, policies.device, torch.float64, seeds=shocks)
    if factors := law_of(policies).factors:
        paths = impose(policies.config, state.shocks, factors, episodes, policies.device, torch.float64)
        state = state.with_shocks(paths)
    for _ in range(policies.config.horizon):
        before, indices = state, _decide(policies, state, generator, greedy)
        state, flows = period(policies.config, state, decode(policies.config, **indices, dtype=torch.float64))
        yield _Played(before, indices, generator.get_state(), flows)


def _decide(policies: Policies, state: EconomyState, generator: torch.Generator, greedy: bool) -> dict[str, Tensor]:
    observation = observe(policies.config, state.to(dtype=torch.float32), policies.encoding)
    return policies.act(observation, generator, greedy, state=state)


class _Deviator(NamedTuple):
    """Who chooses something else in one period."""

    policies: Policies
    agent_type: str
    agent: int
    greedy: bool

    def reward(self, flows: Flows) -> Tensor:
        """[N] of the deviator."""
        reward: Tensor = getattr(flows, f"{self.agent_type}_reward")
        return reward[:, self.agent]

    def alternatives(self) -> list[tuple[int, int]]:
        """Head and index of every choice, where there is more than one."""
        sizes = head_sizes(self.policies.config, self.agent_type)
        return [(head, choice) for head, size in enumerate(sizes) if size > 1 for choice in range(size)] or [(0, 0)]

    def returns(self, at: _Played, group: list[tuple[int, int]]) -> Tensor:
        """[G, N] rewards from a period on, with each of some alternatives in it and the policies after it."""
        config, count = self.policies.config, at.state.num_envs
        rows = torch.arange(count).repeat(len(group)).to(self.policies.device)
        state, indices = at.state[rows], {name: index[rows].clone() for name, index in at.indices.items()}
        heads = indices[self.agent_type].view(len(group), count, config.agents(self.agent_type), -1)
        for number, (head, choice) in enumerate(group):
            heads[number, :, self.agent, head] = choice
        indices = law_of(self.policies).of(indices, state)  # where it is imposed, no alternative is another one
        generator = torch.Generator(device=self.policies.device)
        generator.set_state(at.draws)
        total = torch.zeros(len(rows), dtype=torch.float64, device=self.policies.device)
        for left in range(config.horizon - int(state.time[0]), 0, -1):
            state, flows = period(config, state, decode(config, **indices, dtype=torch.float64))
            total = total + self.reward(flows)
            if left > 1:
                indices = _decide(self.policies, state, generator, self.greedy)
        return total.view(len(group), count)

    def worth_of_consumption(self, at: _Played) -> float:
        """Utility of all consumption of a period, at the margin: of the consumer, or of the mean owner of a firm."""
        who = slice(self.agent, self.agent + 1) if self.agent_type == "consumer" else slice(None)
        config = self.policies.config
        goods = at.flows.consumption.transpose(1, 2)[..., who]  # [N, F, C]
        effort = config.disutility.effort(at.flows.hours, at.state.labour_disutility)[:, who]

        def utility(scale: float) -> float:
            units = config.utility.of_goods(goods * scale, config)
            return float(config.utility.with_effort(units, effort, config).mean())

        slope = (utility(1.0 + _STEP) - utility(1.0 - _STEP)) / (2.0 * _STEP)
        return slope if slope > 0.0 else float("nan")
