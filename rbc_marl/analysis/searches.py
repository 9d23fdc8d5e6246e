"""A portfolio of searches for deviations: schedules over time, rules by name, and the best of a consumer's own choices.

Constants have a scan of their own (`rbc_marl.analysis.constants`), and learning takes Ray: both join the portfolio in
`rbc_marl.equilibrium`. What each search finds is a plan, plain data that `Deviator.plays` turns into a deviation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rbc_marl.analysis.constants import FINALISTS, SHRINKAGE, mean_returns
from rbc_marl.analysis.deviators import Deviator
from rbc_marl.analysis.rollouts import SLAB, play
from rbc_marl.analysis.upper_bounds import PathRecorder, lacks_bounds, upper_bounds
from rbc_marl.choices import decode, head_sizes
from rbc_marl.config import EconomyConfig
from rbc_marl.economy import EconomyState, Flows
from rbc_marl.economy.own_choices import Market, lacks_own_values, market_of, value_of_money
from rbc_marl.policies import Policies
from rbc_marl.policies.deviating import DeviatingPolicies
from rbc_marl.policies.imposed import law_of
from rbc_marl.policies.strategies import rule_names

# Of the search over schedules: rounds, schedules tried in each, the best of them that decide the next, and how far.
ROUNDS, POPULATION, ELITE, STEP = 16, 2 * SLAB, 24, 0.7
# Share of the first round's choices that are drawn evenly, and of every later one's.
FIRST_MIXTURE, MIXTURE = 0.5, 0.02
# Episodes on which plans meet first; the best of them go on to all.
FIRST_EPISODES = 32
# Values of money that a consumer's best choices are tried with, as multiples of those along the path.
FACTORS = (0.5, 1.0, 2.0)
# Most episodes from which values of money are taken, and most numbers that are kept of them: all are in memory at once.
_PATHS, _MOST_NUMBERS = 64, 4_000_000


@dataclass(frozen=True)
class Candidate:
    """A deviation that a search proposes."""

    found_by: str
    """The search: "schedule", "rule" or "one-step"."""
    words: str
    """What the deviator does."""
    plan: dict[str, Any]
    """The same as plain data, for `rbc_marl.analysis.deviators.Deviator.plays`."""


def find(
    policies: Policies,
    deviator: Deviator,
    searches: Sequence[str],
    constant: Tensor,
    episodes: int = 256,
    seed: int = 0,
) -> list[Candidate]:
    """The best deviations of some searches, few of them, best first.

    All proposals meet on few episodes, and a quarter of them, at least four, on all.

    Args:
        policies: What everybody plays who does not deviate.
        deviator: Who deviates.
        searches: Names of `SEARCHES`.
        constant: [H] the best constant, where the search over schedules begins.
        episodes: On which the proposals are compared in the end.
        seed: Of all draws.
    """
    found = [candidate for name in searches for candidate in SEARCHES[name](policies, deviator, constant, seed)]
    count = min(FIRST_EPISODES, episodes)
    while found:
        found = _ranked(policies, deviator, found, count, seed + 1)
        if count >= episodes or len(found) <= 1:
            break
        found, count = found[: max(len(found) // SHRINKAGE, FINALISTS)], episodes
    return found[:FINALISTS]


def schedules(policies: Policies, deviator: Deviator, constant: Tensor, seed: int) -> list[Candidate]:
    """Schedules found by cross-entropy: one choice of every head for every period, many schedules side by side.

    Each economy of a slab plays another schedule, and what it brings is held against what the deviator gets in the same
    economy with the same draws while nobody deviates. Choices are drawn from frequencies by period and head, which move
    towards those among the best; the first are drawn evenly, or are the best constant's.

    Args:
        policies: What everybody plays who does not deviate.
        deviator: Who deviates.
        constant: [H] where the search begins.
        seed: Of all draws.
    """
    config = policies.config
    sizes = head_sizes(config, deviator.agent_type)
    generator = torch.Generator().manual_seed(seed)
    even = torch.stack([torch.arange(max(sizes)) < size for size in sizes]).double()
    even = (even / even.sum(1, keepdim=True)).expand(config.horizon, -1, -1)  # [T, H, K]
    frequencies = FIRST_MIXTURE * even + (1.0 - FIRST_MIXTURE) * _one_hot(constant, max(sizes)).expand_as(even)
    baseline = deviator.returns(play(policies, SLAB, seed, slab=SLAB)).repeat(POPULATION // SLAB)
    best, most = constant.expand(config.horizon, -1), -torch.inf
    for _ in range(ROUNDS):
        draws = torch.multinomial(frequencies.flatten(0, 1), POPULATION, replacement=True, generator=generator)
        tried = draws.T.reshape(POPULATION, config.horizon, len(sizes))
        tried[0] = best
        gains = mean_returns(policies, deviator, tried, 1, seed) - baseline
        elite = tried[gains.argsort(descending=True, stable=True)[:ELITE]]
        if gains.max() > most:
            best, most = elite[0], float(gains.max())
        among_best = _one_hot(elite, max(sizes)).mean(0)
        frequencies = (1.0 - STEP) * frequencies + STEP * among_best
        frequencies = (1.0 - MIXTURE) * frequencies + MIXTURE * even
    proposals = torch.stack([frequencies.argmax(-1), best, *elite[:FINALISTS]]).unique(dim=0)
    return [
        Candidate("schedule", describe_schedule(config, deviator.agent_type, x), plan)
        for x in proposals
        if (plan := {"kind": "schedule", "choices": x.tolist()})
    ]


def rules(policies: Policies, deviator: Deviator, constant: Tensor, seed: int) -> list[Candidate]:
    """Every rule that agents of the type can follow (`rbc_marl.policies.strategies.rule_names`)."""
    del constant, seed
    names = rule_names(policies.config, deviator.agent_type)
    return [Candidate("rule", name, {"kind": "rule", "name": name}) for name in names]


def best_alternatives(policies: Policies, deviator: Deviator, constant: Tensor, seed: int) -> list[Candidate]:
    """The best of a consumer's own alternatives at every state it comes to, for several values of money.

    One value is what more money would have added along the paths played, with the requests held as they were: an
    improvement by one step. The other belongs to the upper bound, whose consumer knows the path. Both are means over
    episodes, and are also halved and doubled; and money can be worth nothing. In an economy without the values of
    single choices, or without bounds, there is no such search.
    """
    del constant
    config = policies.config
    if deviator.agent_type != "consumer" or lacks_own_values(config) or lacks_bounds(config, law_of(policies).factors):
        return []
    who = tuple(range(config.num_consumers)) if deviator.agent is None else (deviator.agent,)
    requests, prices = _RequestRecorder(config), PathRecorder(config, who)

    def watch(state: EconomyState, indices: Mapping[str, Tensor], flows: Flows) -> None:
        requests(state, indices, flows)
        prices(state, indices, flows)

    paths = min(_PATHS, max(_MOST_NUMBERS // (config.horizon * config.num_consumers * config.num_firms), 1))
    play(policies, paths, seed, slab=paths, watch=watch)
    along_path = requests.values()[:, list(who)].double().cpu()  # [T, A]
    bound_values = upper_bounds(config, prices.path())[1].mean(0).T  # [T, A]
    priced = {"no value": 0.0 * along_path}
    for name, values in (("its value along the path", along_path), ("its value in the bound", bound_values)):
        priced |= {f"{factor:g} times {name}": factor * values for factor in FACTORS}
    return [
        Candidate("one-step", f"best alternatives, money at {words}", {"kind": "one-step", "values": values.tolist()})
        for words, values in priced.items()
    ]


SEARCHES: dict[str, Callable[[Policies, Deviator, Tensor, int], list[Candidate]]] = {
    "schedules": schedules,
    "rules": rules,
    "one_step": best_alternatives,
}
"""Searches by name, each a function of the policies, the deviator, the best constant and a seed."""


def describe_schedule(config: EconomyConfig, agent_type: str, schedule: Tensor) -> str:
    """A schedule [T, H] in words: what changes over the periods, as far as a line holds it."""
    if agent_type == "consumer":
        hours = [config.hours_choices[i] for i in schedule[:, -2]]
        units = torch.tensor(config.consumption_choices)[schedule[:, :-2]].sum(1).tolist()
        return f"hours {_list(hours)}; units {_list(units)}"
    if agent_type == "government":
        pairs = [divmod(i, len(config.corporate_tax_choices)) for i in schedule[:, 0].tolist()]
        income, corporate = ([pair[k] for pair in pairs] for k in (0, 1))
        rates = [config.income_tax_choices[i] for i in income], [config.corporate_tax_choices[i] for i in corporate]
        return f"income tax {_list(rates[0])}; corporate tax {_list(rates[1])}"
    joint = torch.div(schedule[:, 0], len(config.investment_choices), rounding_mode="floor").tolist()
    prices, wages = zip(*(divmod(i, len(config.wage_choices)) for i in joint), strict=True)
    posted = _list([config.price_choices[i] for i in prices]), _list([config.wage_choices[i] for i in wages])
    return f"prices {posted[0]}; wages {posted[1]}"


class _RequestRecorder:
    """Keeps what consumers met and asked for, of the episodes of one slab."""

    def __init__(self, config: EconomyConfig) -> None:
        self.config = config
        self.markets: list[Market] = []
        self.requested: list[Tensor] = []

    def __call__(self, state: EconomyState, indices: Mapping[str, Tensor], flows: Flows) -> None:
        """Keep a period."""
        self.markets.append(market_of(self.config, state, flows))
        self.requested.append(decode(self.config, **indices, dtype=state.price.dtype).demand)

    def values(self) -> Tensor:
        """Value of money [T, C] at the end of each period along the paths, mean over episodes."""
        market = Market(*(torch.stack(parts) for parts in zip(*self.markets, strict=True)))
        return value_of_money(self.config, market, torch.stack(self.requested), 1.0).mean(1)


def _ranked(
    policies: Policies, deviator: Deviator, candidates: Sequence[Candidate], episodes: int, seed: int
) -> list[Candidate]:
    """Candidates by their mean returns, best first."""
    means = [
        float(
            deviator.returns(
                play(DeviatingPolicies(policies, deviator.plays(one.plan, policies)), episodes, seed)
            ).mean()
        )
        for one in candidates
    ]
    order = sorted(range(len(candidates)), key=lambda i: -means[i])
    return [candidates[i] for i in order]


def _one_hot(choices: Tensor, most: int) -> Tensor:
    return torch.nn.functional.one_hot(choices, most).double()


def _list(numbers: Sequence[float]) -> str:
    return " ".join(f"{number:g}" for number in numbers)
