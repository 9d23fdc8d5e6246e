"""Figures of trained agents off the path: demand, labour supply, policy functions, revenue under imposed taxes.

On the path of a trained economy prices, wages and taxes hardly vary. Here one number is set from outside, and all else
stays as it came in episodes that were played.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor

from rbc_marl.analysis.charts import Chart
from rbc_marl.analysis.figures.numbers import SMALLEST_TAXES, estimated
from rbc_marl.analysis.figures.taxes import revenue_charts
from rbc_marl.analysis.rollouts import play
from rbc_marl.analysis.shopping import demand_curve
from rbc_marl.analysis.situations import decide, situations
from rbc_marl.analysis.working import supply_curves
from rbc_marl.config import AGENT_TYPES
from rbc_marl.economy import Actions, EconomyState
from rbc_marl.policies import Policies
from rbc_marl.policies.imposed import Imposed

# Economies in which each choice is looked at.
SITUATIONS = 64
# Values of a state that is varied.
_STEPS = 13
EPISODES = 16
"""Of each pair of imposed taxes."""


def demand(policies: Policies, seed: int = 0) -> list[Chart]:
    """Units of one good that all consumers buy by its own price, all others at the highest.

    Args:
        policies: Whose consumers decide.
        seed: Of the draws.
    """
    generator = torch.Generator(device=policies.device).manual_seed(seed)
    curve = demand_curve(policies, SITUATIONS, generator)
    if len(curve) < 2:
        return []
    caption = (
        "Units of one good that all consumers buy by its own price, with stock in every shop and all other goods at "
        f"the highest price: means of {SITUATIONS} economies with 95% intervals."
    )
    line = estimated(list(curve), list(curve.values()))
    x, y = "own price (money per unit)", "units that all consumers buy"
    return [Chart("demand", "demand for one good", x, y, (line,), caption, starts_at_zero=True)]


def labour_supply(policies: Policies, seed: int = 0) -> list[Chart]:
    """Hours that consumers offer one firm by its own wage, and hours per consumer by the income tax.

    Args:
        policies: Whose consumers decide; all play up to the middle of an episode.
        seed: Of the draws.
    """
    state, generator = situations(policies, SITUATIONS, seed)
    by_wage, by_tax = supply_curves(policies, state, generator)
    said = f"in the middle of an episode, all else as played: means of {SITUATIONS} economies with 95% intervals"
    charts = []
    for name, title, x, y, curve, scale in (
        ("labour-supply", "labour for one firm", "own wage (money per hour)", "hours of all consumers", by_wage, 1.0),
        ("hours-by-tax", "hours by income tax", "income tax (%)", "hours per consumer", by_tax, 100.0),
    ):
        if len(curve) > 1:
            line = estimated([scale * value for value in curve], list(curve.values()))
            caption = f"{y[0].upper()}{y[1:]} by {x.partition(' (')[0]} {said}."
            charts.append(Chart(name, title, x, y, (line,), caption, starts_at_zero=True))
    return charts


def policy_functions(policies: Policies, seed: int = 0, agent_types: Sequence[str] = AGENT_TYPES) -> list[Chart]:
    """A choice against one number of the state, all other numbers as they came in the middle of played episodes.

    Args:
        policies: Whoever decides.
        seed: Of the draws.
        agent_types: Whose choices.

    Returns:
        Charts. Of firms: the price against the own stock and against the prices of all others, the wage against the own
        stock. Of consumers: hours against the wage of all firms and against the own money, units against the own
        money. Of the government: both taxes against the stock of all firms and against the period.
    """
    state, _ = situations(policies, SITUATIONS, seed)
    charts = []
    for one in _functions(policies, state):
        if one.agent_type not in agent_types or len(set(one.values)) < 2:
            continue
        answers = [_answers(policies, one, value, seed) for value in one.values]
        lines = [
            estimated(one.values, [answer[words] for answer in answers], words if len(one.choices) > 1 else "")
            for words in one.choices
        ]
        caption = (
            f"{one.title[0].upper()}{one.title[1:]}, all else as it came in the middle of an episode: means of "
            f"{SITUATIONS} economies with 95% intervals."
        )
        reach = {"y": SMALLEST_TAXES} if one.agent_type == "government" else {}
        charts.append(
            Chart(one.name, one.title, one.x, one.y, tuple(lines), caption, starts_at_zero=True, includes=reach)
        )
    return charts


@dataclasses.dataclass(frozen=True)
class _Function:
    """A choice as a function of one number of the state."""

    agent_type: str
    name: str
    title: str
    x: str
    y: str
    values: Sequence[float]
    """Of the number."""
    vary: Callable[[float], EconomyState]
    """The state with another value in its place."""
    choices: dict[str, Callable[[EconomyState, Actions], Tensor]]
    """What is chosen, [B] each, by its words."""


@torch.no_grad()
def _answers(policies: Policies, function: _Function, value: float, seed: int) -> dict[str, Tensor]:
    """Choices [B] at a value, by their words, with the same draws whatever the value."""
    generator, state = torch.Generator(device=policies.device).manual_seed(seed + 1), function.vary(value)
    actions = decide(policies, state, generator, only=function.agent_type)
    return {words: choice(state, actions) for words, choice in function.choices.items()}


def _functions(policies: Policies, state: EconomyState) -> list[_Function]:
    """All policy functions, in reading order."""
    return [*_of_firms(policies, state), *_of_consumers(policies, state), *_of_government(policies, state)]


def _of_firms(policies: Policies, state: EconomyState) -> list[_Function]:
    config = policies.config
    rows = torch.arange(state.num_envs, device=state.price.device)
    firm = rows.remainder(config.num_firms)  # each firm in as many economies

    def own_stock(value: float) -> EconomyState:
        stock = state.inventory.index_put((rows, firm), state.inventory.new_tensor(value))
        return dataclasses.replace(state, inventory=stock)

    def other_prices(value: float) -> EconomyState:
        price = torch.full_like(state.price, value)
        return dataclasses.replace(state, price=price.index_put((rows, firm), state.price[rows, firm]))

    def price(_: EconomyState, actions: Actions) -> Tensor:
        return actions.price[rows, firm]

    def wage(_: EconomyState, actions: Actions) -> Tensor:
        return actions.wage[rows, firm]

    stocks, stock = _grid(state.inventory), "own stock (units)"
    posted, paid = "price posted (money per unit)", "wage posted (money per hour)"
    title = "a firm's price by its stock"
    found = [
        _Function("firm", "price-by-stock", title, stock, posted, stocks, own_stock, {"": price}),
        _Function("firm", "wage-by-stock", "a firm's wage by its stock", stock, paid, stocks, own_stock, {"": wage}),
    ]
    if config.num_firms > 1:
        title, x = "a firm's price by the others' prices", "price of all others (money per unit)"
        prices = sorted(config.price_choices)
        found.append(_Function("firm", "price-by-prices", title, x, posted, prices, other_prices, {"": price}))
    return found


def _of_consumers(policies: Policies, state: EconomyState) -> list[_Function]:
    def all_wages(value: float) -> EconomyState:
        return dataclasses.replace(state, wage=torch.full_like(state.wage, value))

    def own_money(value: float) -> EconomyState:
        return dataclasses.replace(state, consumer_budget=torch.full_like(state.consumer_budget, value))

    def hours(_: EconomyState, actions: Actions) -> Tensor:
        return actions.hours.mean(dim=1)

    def units(at: EconomyState, actions: Actions) -> Tensor:
        """What they can pay for, as the economy scales it down."""
        cost = (actions.demand * at.price.unsqueeze(1)).sum(dim=2)
        share = torch.where(cost > at.consumer_budget, at.consumer_budget / cost.clamp(min=1e-9), 1.0).clamp(min=0.0)
        return (share * actions.demand.sum(dim=2)).mean(dim=1)

    wages, budgets, money = sorted(policies.config.wage_choices), _grid(state.consumer_budget), "own money"
    worked, wage = "hours per consumer", "wage of all firms (money per hour)"
    return [
        _Function("consumer", "hours-by-wage", "hours by the wage", wage, worked, wages, all_wages, {"": hours}),
        _Function("consumer", "hours-by-money", "hours by money", money, worked, budgets, own_money, {"": hours}),
        _Function("consumer", "units-by-money", "units by money", money, "units per consumer", budgets, own_money,
                  {"": units}),
    ]  # fmt: skip


def _of_government(policies: Policies, state: EconomyState) -> list[_Function]:
    def all_stocks(value: float) -> EconomyState:
        return dataclasses.replace(state, inventory=torch.full_like(state.inventory, value))

    def period(value: float) -> EconomyState:
        return dataclasses.replace(state, time=torch.full_like(state.time, value - 1.0))

    taxes: dict[str, Callable[[EconomyState, Actions], Tensor]] = {
        "income": lambda _, actions: 100.0 * actions.income_tax,
        "corporate": lambda _, actions: 100.0 * actions.corporate_tax,
    }
    stocks, periods = _grid(state.inventory), [float(t) for t in range(1, policies.config.horizon + 1)]
    title, x = "taxes by stock", "stock of every firm (units)"
    return [
        _Function("government", "taxes-by-stock", title, x, "rate set (%)", stocks, all_stocks, taxes),
        _Function("government", "taxes-by-period", "taxes by period", "period", "rate set (%)", periods, period, taxes),
    ]


def _grid(visited: Tensor) -> list[float]:
    """Values from 0 to a little more than is visited."""
    return torch.linspace(0.0, 1.25 * max(float(visited.max()), 1e-9), _STEPS).tolist()


def laffer(policies: Policies, seed: int = 0, episodes: int = EPISODES) -> list[Chart]:
    """Tax revenue by rates that are imposed on all, by the other tax. Nobody learns anew.

    Args:
        policies: Whoever decides.
        seed: Of the draws, the same for all taxes.
        episodes: Of each pair of taxes.
    """
    config, drawn = policies.config, []
    for income, corporate in product(sorted(config.income_tax_choices), sorted(config.corporate_tax_choices)):
        taxed = Imposed.parse({"income_tax": income, "corporate_tax": corporate}, "taxes").on(policies)
        revenue = play(taxed, episodes, seed, slab=episodes).quantities["tax_revenue"]
        drawn += [((income, corporate), float(value)) for value in revenue]
    return revenue_charts(drawn, f"imposed on the same policies: means of {episodes} episodes")
