"""Episodes of some policies: played, summarised, or kept as data, every period of every episode."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from rbc_marl.analysis.evaluation_table import evaluation_table
from rbc_marl.analysis.indicators import indicators
from rbc_marl.analysis.metrics import EpisodeMetrics, collapsed, period_quantities
from rbc_marl.config import EconomyConfig
from rbc_marl.economy import EconomyState, Flows
from rbc_marl.economy.clearing import wage_paid
from rbc_marl.economy.government import consumption_tax
from rbc_marl.economy.parameters import numbers_of
from rbc_marl.economy.shocks import in_force, seed_of_generator
from rbc_marl.errors import ConfigError, shown
from rbc_marl.policies import Policies
from rbc_marl.policies.imposed import law_of
from rbc_marl.settings import plain, seed_of
from rbc_marl.vector_env import VectorEconomy

# Economies played side by side: enough to be fast, few enough that the largest economies fit in memory.
SLAB = 128
# Quantities of firms kept of each period: fields of the state at its start, and of its flows.
FIRM_STOCKS = ("price", "wage", "inventory", "overdemanded", "firm_budget", "capital")
_MONEY_FLOWS = ("wage_bill", "investment", "profit", "corporate_tax_paid", "dividends", "firm_reward")
FIRM_FLOWS = ("total_demand", "sales", "exports", "labour", "output", *_MONEY_FLOWS)
# Shown the state at the start of a period, the choices made in it, and what happened.
Watch = Callable[[EconomyState, Mapping[str, Tensor], Flows], None]

@dataclass(frozen=True)
class Episodes:
    """N episodes of T periods, as numbers."""

    config: EconomyConfig
    seed: int
    greedy: bool
    quantities: Mapping[str, Tensor]
    """The reported quantities of each episode, [N] each, on the host."""
    returns: Mapping[str, Tensor]
    """Sum of rewards of every agent in each episode, by agent type: [N, C], [N, F] and [N, 1]."""
    periods: Mapping[str, Tensor]
    """Quantities of each period, [N, T] each; empty unless recorded."""
    firms: Mapping[str, Tensor]
    """`FIRM_STOCKS` and `FIRM_FLOWS` of each firm in each period, [N, T, F] each; empty unless recorded."""
    consumers: Mapping[str, Tensor] = field(default_factory=dict)
    """Of each consumer, [N, C] each; empty unless recorded. ``income``: money received in the episode, after income
    tax; ``consumption``: units of all goods in the episode; ``money``: at its end."""
    consumer_periods: Mapping[str, Tensor] = field(default_factory=dict)
    """What each consumer does and has in each period, [N, T, C] each (`rbc_marl.analysis.frames.CONSUMER_UNITS`); empty
    unless asked for."""
    baskets: Tensor | None = None
    """Units of every good that each consumer obtains in each period, [N, T, C, F]; None unless asked for."""

    def require_periods(self) -> None:
        """Refuse episodes of which the periods were not recorded.

        Raises:
            ConfigError: They were not.
        """
        if not self.periods:
            raise ConfigError("the episodes hold no periods; play them with record=True")

    @property
    def num_episodes(self) -> int:
        """Number of episodes (N)."""
        return self.quantities["hours"].shape[0]


@dataclass(frozen=True)
class Evaluation:
    """Means over episodes of the reported quantities (see `rbc_marl.analysis.metrics`)."""

    means: Mapping[str, float]
    standard_errors: Mapping[str, float | None]
    """Of the means over episodes; None where there is only one episode."""
    indicators: Mapping[str, float | None]
    """See `rbc_marl.analysis.indicators`; empty unless the episodes were recorded."""
    collapsed: bool
    """Whether it is an open economy in which nobody works to speak of."""
    horizon: int
    """Periods of an episode."""
    episodes: int
    seed: int
    greedy: bool

    @classmethod
    def of(cls, episodes: Episodes) -> Evaluation:
        """Summarise episodes."""
        values = {name: x.double() for name, x in episodes.quantities.items()}
        count = episodes.num_episodes
        means = {name: float(x.mean()) for name, x in values.items()}
        errors = {name: float(x.std()) / math.sqrt(count) if count > 1 else None for name, x in values.items()}
        found = indicators(episodes) if episodes.periods else {}
        config = episodes.config
        is_collapsed = collapsed(config, means["hours"])
        return cls(means, errors, found, is_collapsed, config.horizon, count, episodes.seed, episodes.greedy)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: an entry per quantity, then ``collapsed``, ``standard_errors`` and how it was played."""
        return {
            **self.means,
            **self.indicators,
            "collapsed": self.collapsed,
            "standard_errors": dict(self.standard_errors),
            "episodes": self.episodes,
            "seed": self.seed,
            "greedy": self.greedy,
        }

    def table(self) -> Table:
        """The evaluation as a table for a terminal, by subject."""
        how = "greedy play" if self.greedy else f"seed {self.seed}"
        state = "; collapsed: hardly anybody works" if self.collapsed else ""
        title = f"{self.episodes} episode{'s' if self.episodes > 1 else ''}, {how}{state}"
        return evaluation_table(
            title, self.horizon, {**self.means, **self.indicators}, self.standard_errors
        )


def play(
    policies: Policies,
    num_episodes: int = 256,
    seed: int = 0,
    greedy: bool = False,
    *,
    record: bool = False,
    agents: bool = False,
    baskets: bool = False,
    slab: int = SLAB,
    watch: Watch | None = None,
) -> Episodes:
    """Play episodes, from a generator that belongs to this call.

    Episodes are played in slabs. Each slab draws from a generator derived from the seed and the slab's number: episodes
    depend on ``seed`` and ``slab``, and whole slabs not on how many follow.

    Args:
        policies: Whoever decides.
        num_episodes: Number of episodes (N). Greedy play is deterministic, and plays one whatever is asked for.
        seed: Of the draws.
        greedy: Whether every agent takes its likeliest choice, and employers are dealt out to consumers.
        record: Whether to keep every period.
        agents: Whether to keep what every consumer does in every period as well.
        baskets: Whether to keep what each consumer obtains of every good, which is most of what there is to keep.
        slab: Most economies played side by side. Fewer need less memory.
        watch: Shown every period of every slab, in order.

    Raises:
        ConfigError: A number is out of range.
    """
    for name, value in (("num_episodes", num_episodes), ("slab", slab)):
        if type(plain(value)) is not int or value < 1:
            raise ConfigError(f"{name} is {shown(value)}; it must be a whole number of at least 1")
    seed = seed_of(seed)
    total = 1 if greedy else num_episodes
    kept, slabs = (record or agents, agents, baskets), []
    for number, start in enumerate(range(0, total, slab)):
        state = np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0]
        generator = torch.Generator(device=policies.device).manual_seed(int(state))
        slabs.append(_play_slab(policies, min(slab, total - start), generator, greedy, kept, watch))
    quantities, returns, periods, firms, consumers, by_consumer, goods = (
        {name: torch.cat([part[name] for part in parts]) for name in parts[0]} for parts in zip(*slabs, strict=True)
    )
    all_baskets = goods.get("consumption")
    return Episodes(
        policies.config, seed, greedy, quantities, returns, periods, firms, consumers, by_consumer, all_baskets
    )


def evaluate(policies: Policies, num_episodes: int = 256, seed: int = 0, greedy: bool = False) -> Evaluation:
    """Play episodes and summarise them; arguments as in `play`."""
    return Evaluation.of(play(policies, num_episodes, seed, greedy))


def _play_slab(
    policies: Policies,
    num_envs: int,
    generator: torch.Generator,
    greedy: bool,
    kept: tuple[bool, bool, bool],
    watch: Watch | None,
) -> tuple[dict[str, Tensor], ...]:
    """Of one batch of episodes what `Episodes` holds, in its order; baskets under "consumption".

    ``kept`` says whether to keep periods, consumers' periods, and baskets.
    """
    config = policies.config
    record, agents, baskets = kept
    batch = VectorEconomy(config, num_envs, device=policies.device, autoreset=False, encoding=policies.encoding)
    batch.impose(law_of(policies).factors)
    observation = batch.reset(seed_of_generator(generator))
    start = batch.require_state()
    metrics = EpisodeMetrics(config)
    returns: dict[str, Tensor] = {}
    periods: list[dict[str, Tensor]] = []
    firms: list[dict[str, Tensor]] = []
    by_consumer: list[dict[str, Tensor]] = []
    goods: list[dict[str, Tensor]] = []
    spending = consumption = torch.zeros_like(start.consumer_budget)
    for _ in range(config.horizon):
        state = batch.require_state()
        indices = policies.act(observation, generator, greedy, state=state)
        observation, rewards, _, flows = batch.step(indices)
        metrics.add(state, flows)
        if watch is not None:
            watch(state, indices, flows)
        returns = {name: returns[name] + reward if returns else reward for name, reward in rewards.items()}
        if record:
            periods.append(period_quantities(config, state, flows))
            stocks = {name: getattr(state, name) for name in FIRM_STOCKS} | {"wage": wage_paid(config, state, flows)}
            firms.append(stocks | {name: getattr(flows, name) for name in FIRM_FLOWS})
            tax = consumption_tax(flows.spending, numbers_of(config, in_force(state, batch.parameters)).consumption_tax)
            spending = spending + (flows.spending if tax is None else flows.spending + tax)
            consumption = consumption + flows.consumption.sum(dim=2)
        if agents:
            by_consumer.append(_of_consumers(config, state, indices["consumer"][..., -1], flows))
        if baskets:
            goods.append({"consumption": flows.consumption})
    quantities = {name: value.cpu() for name, value in metrics.result().items()}
    per_agent = {name: sums.reshape(num_envs, -1).cpu() for name, sums in returns.items()}
    money = batch.require_state().consumer_budget
    income = money - start.consumer_budget + spending
    consumers = {"income": income, "consumption": consumption, "money": money} if record else {}
    consumers = {name: values.cpu() for name, values in consumers.items()}
    return quantities, per_agent, _stack(periods), _stack(firms), consumers, _stack(by_consumer), _stack(goods)


def _of_consumers(config: EconomyConfig, state: EconomyState, employer: Tensor, flows: Flows) -> dict[str, Tensor]:
    """What every consumer does and has in a period, [B, C] each."""
    dividend = flows.dividends.sum(dim=1, keepdim=True) / employer.shape[1]
    return {
        "hours": flows.hours,
        "employer": employer,
        "wage": wage_paid(config, state, flows).gather(1, employer.long()),
        "consumption": flows.consumption.sum(dim=2),
        "spending": flows.spending,
        "wage_income": flows.wage_income,
        "income_tax_paid": flows.income_tax_paid,
        "transfer": flows.transfers,
        "dividend": dividend.expand(employer.shape),
        "interest": flows.consumer_interest,
        "budget": state.consumer_budget,
        "utility": flows.utility,
    }


def _stack(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Periods side by side, on the host: T times [B, ...] -> [B, T, ...]."""
    return {name: torch.stack([row[name] for row in rows], dim=1).cpu() for name in rows[0]} if rows else {}
