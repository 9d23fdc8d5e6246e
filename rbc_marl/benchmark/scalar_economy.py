"""The model in plain Python: one economy, numbers and loops, one agent after another.

To learn the model, read `play_period`: it lists the events of a period in the paper's order, and each event is one
short function below it (Curry et al., section 3 and appendix). To play it::

    state = start(config)
    state, flows = play_period(config, state, decode_action(config, consumer, firm, government))

The tests hold this implementation against `rbc_marl.economy`, and `rbc-marl bench` compares the two in speed. It shares
no code with it, so that the two check each other: of the package it reads the values of an `EconomyConfig` and nothing
else.

Money is the numéraire, goods are in units, labour in hours. "Current" prices, wages and taxes are those in force at the
start of the period.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rbc_marl.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rbc_marl.config import EconomyConfig

# Labour exponents of the paper; other numbers of firms repeat the list.
ALPHAS = (0.2, 0.3, 0.4, 0.6, 0.8)


@dataclass(frozen=True)
class Consumer:
    """A worker-consumer: its money, and theta, twice the utility it loses by an hour of work."""

    budget: float
    labour_disutility: float


@dataclass(frozen=True)
class Firm:
    """A firm and the one good it makes, with the price and wage it has posted for the current period."""

    price: float
    wage: float
    inventory: float
    overdemanded: bool
    budget: float
    capital: float
    labour_exponent: float


@dataclass(frozen=True)
class State:
    """An economy at the start of a period."""

    consumers: tuple[Consumer, ...]
    firms: tuple[Firm, ...]
    income_tax: float
    corporate_tax: float
    time: int


@dataclass(frozen=True)
class ConsumerAction:
    """Units demanded of each good, hours offered, and the firm (index) they are offered to."""

    demand: tuple[float, ...]
    hours: float
    employer: int


@dataclass(frozen=True)
class FirmAction:
    """Price and wage of the next period; the fraction of this period's gross income that is invested."""

    price: float
    wage: float
    investment_fraction: float


@dataclass(frozen=True)
class Action:
    """What everybody decides in one period; the two tax rates are the government's, for the next period."""

    consumers: tuple[ConsumerAction, ...]
    firms: tuple[FirmAction, ...]
    income_tax: float
    corporate_tax: float


@dataclass
class ConsumerFlows:
    """What happened to one consumer in one period."""

    demand: list[float] = field(default_factory=list)  # units it can pay for, by firm
    consumption: list[float] = field(default_factory=list)  # units it got, by firm
    spending: float = 0.0
    wage_income: float = 0.0  # before tax
    income_tax_paid: float = 0.0
    reward: float = 0.0


@dataclass
class FirmFlows:
    """What happened to one firm in one period."""

    total_demand: float = 0.0
    sales: float = 0.0  # units, to consumers
    exports: float = 0.0  # units
    labour: float = 0.0  # hours
    output: float = 0.0  # units, for sale from the next period on
    revenue: float = 0.0
    wage_bill: float = 0.0
    investment: float = 0.0
    profit: float = 0.0  # before tax
    corporate_tax_paid: float = 0.0
    dividends: float = 0.0
    reward: float = 0.0


@dataclass
class Flows:
    """What happened in one period."""

    consumers: list[ConsumerFlows]
    firms: list[FirmFlows]
    tax_pool: float = 0.0
    transfer: float = 0.0  # to each consumer
    dividend: float = 0.0  # to each consumer, from all firms
    government_reward: float = 0.0


def start(config: EconomyConfig, labour_disutility_scale: float = 1.0) -> State:
    """The economy at the start of the first period.

    Args:
        config: The economy.
        labour_disutility_scale: Factor on the disutility of labour, as curricula anneal it.

    Raises:
        ConfigError: Its mechanics are not the published ones.
    """
    if config.departure:
        raise ConfigError(f"the scalar economy is the published one, without {config.departure}; use the batched one")
    count, shape = config.num_consumers, config.labour_disutility_pareto_shape
    consumers = []
    for i in range(count):
        theta = config.labour_disutility if shape is None else config.labour_disutility * (1 - i / count) ** (1 / shape)
        budget = _of(config.initial_consumer_budget, i)
        consumers.append(Consumer(budget=budget, labour_disutility=theta * labour_disutility_scale))
    firms = []
    for f in range(config.num_firms):
        if config.initial_capital == "two_level":
            capital = 5000.0 if f < config.num_firms // 2 else 10000.0
        else:
            capital = _of(config.initial_capital, f)
        exponent = config.labour_exponent
        firms.append(
            Firm(
                price=config.initial_price,
                wage=config.initial_wage,
                inventory=config.initial_inventory,
                overdemanded=False,
                budget=22000.0 * count if config.initial_firm_budget is None else _of(config.initial_firm_budget, f),
                capital=capital,
                labour_exponent=ALPHAS[f % len(ALPHAS)] if exponent == "paper" else _of(exponent, f),
            )
        )
    return State(tuple(consumers), tuple(firms), income_tax=0.0, corporate_tax=0.0, time=0)


def play_period(config: EconomyConfig, state: State, action: Action) -> tuple[State, Flows]:
    """One period, event by event.

    Args:
        config: The economy.
        state: At the start of the period; it is not changed.
        action: What everybody decides.

    Returns:
        The state at the start of the next period, and what happened in this one.
    """
    flows = Flows([ConsumerFlows() for _ in state.consumers], [FirmFlows() for _ in state.firms])

    consumers_order_what_they_can_pay_for(state, action, flows)
    workers_go_to_their_employers(state, action, flows)
    scarce_goods_are_shared(state, flows)
    consumers_enjoy_and_pay(config, state, action, flows)
    if config.open_economy:
        the_rest_of_the_world_buys_leftovers(config, state, flows)
    firms_book_the_period(config, state, action, flows)
    firms_produce_for_the_next_period(config, state, flows)
    the_government_redistributes(flows)
    firms_pay_dividends(config, flows)
    next_state = stocks_move_on(config, state, action, flows)
    if next_state.time == config.horizon:
        final_debts_are_punished(config, next_state, flows)
    the_government_counts_welfare(config, flows)
    return next_state, flows


def consumers_order_what_they_can_pay_for(state: State, action: Action, flows: Flows) -> None:
    """Demand within budgets: who cannot pay for the whole basket asks for a smaller one; debtors get nothing."""
    for consumer, chosen, flow in zip(state.consumers, action.consumers, flows.consumers, strict=True):
        cost = sum(units * firm.price for units, firm in zip(chosen.demand, state.firms, strict=True))
        scale = max(consumer.budget, 0.0) / cost if cost > 0 and cost > consumer.budget else 1.0
        flow.demand = [units * scale for units in chosen.demand]
        for units, firm in zip(flow.demand, flows.firms, strict=True):
            firm.total_demand += units


def workers_go_to_their_employers(state: State, action: Action, flows: Flows) -> None:
    """Labour: every hour offered is worked and paid, at the current wage of the firm it is offered to."""
    for chosen, flow in zip(action.consumers, flows.consumers, strict=True):
        wage = state.firms[chosen.employer].wage
        flows.firms[chosen.employer].labour += chosen.hours
        flow.wage_income = wage * chosen.hours
        flow.income_tax_paid = state.income_tax * flow.wage_income
        flows.tax_pool += flow.income_tax_paid


def is_rationed(firm: Firm, flow: FirmFlows) -> bool:
    """Whether more was asked of a good than there is."""
    return flow.total_demand > 0 and flow.total_demand > firm.inventory


def scarce_goods_are_shared(state: State, flows: Flows) -> None:
    """Rationing: of a good that is short, everyone gets the same share of what they asked for."""
    for f, (firm, firm_flow) in enumerate(zip(state.firms, flows.firms, strict=True)):
        share = firm.inventory / firm_flow.total_demand if is_rationed(firm, firm_flow) else 1.0
        for flow in flows.consumers:
            flow.consumption.append(flow.demand[f] * share)
            firm_flow.sales += flow.consumption[f]


def utility(crra: float, units: float) -> float:
    """Utility of consuming some units of one good: constant relative risk aversion over units + 1."""
    return math.log(units + 1) if crra == 1 else ((units + 1) ** (1 - crra) - 1) / (1 - crra)


def consumers_enjoy_and_pay(config: EconomyConfig, state: State, action: Action, flows: Flows) -> None:
    """Consumers' rewards and payments: utility of consumption, less that of the hours worked; current prices."""
    for consumer, chosen, flow in zip(state.consumers, action.consumers, flows.consumers, strict=True):
        flow.reward = -consumer.labour_disutility / 2 * chosen.hours
        for units, firm in zip(flow.consumption, state.firms, strict=True):
            flow.reward += utility(config.crra, units)
            flow.spending += firm.price * units


def the_rest_of_the_world_buys_leftovers(config: EconomyConfig, state: State, flows: Flows) -> None:
    """Exports: firms whose price is high enough export what consumers left, up to the quota."""
    for firm, flow in zip(state.firms, flows.firms, strict=True):
        if firm.price >= config.export_price:
            flow.exports = min(max(firm.inventory - flow.sales, 0.0), config.export_quota)


def firms_book_the_period(config: EconomyConfig, state: State, action: Action, flows: Flows) -> None:
    """Income, investment, tax, dividends and reward of each firm, at current prices, wages and tax rates."""
    for firm, chosen, flow in zip(state.firms, action.firms, flows.firms, strict=True):
        flow.revenue = (flow.sales + flow.exports) * firm.price
        flow.wage_bill = firm.wage * flow.labour
        gross_income = flow.revenue - flow.wage_bill
        flow.investment = max(chosen.investment_fraction * gross_income, 0.0)
        flow.profit = gross_income - flow.investment
        flow.corporate_tax_paid = state.corporate_tax * max(flow.profit, 0.0)
        flows.tax_pool += flow.corporate_tax_paid
        earned = flow.profit - flow.corporate_tax_paid
        flow.dividends = config.dividend_share * max(earned, 0.0)
        flow.reward = earned  # dividends too are the owners' gain
        if firm.budget + earned - flow.dividends > 0:
            flow.reward += config.revenue_bonus * flow.revenue


def firms_produce_for_the_next_period(config: EconomyConfig, state: State, flows: Flows) -> None:
    """Cobb-Douglas production with the capital from before this period's investment."""
    for firm, flow in zip(state.firms, flows.firms, strict=True):
        hours = 0.0 if flow.labour < config.labour_floor else flow.labour
        alpha = firm.labour_exponent
        flow.output = config.technology * firm.capital ** (1 - alpha) * hours**alpha


def the_government_redistributes(flows: Flows) -> None:
    """Transfers: every tax is paid back in the same period, the same amount to every consumer."""
    flows.transfer = flows.tax_pool / len(flows.consumers)


def firms_pay_dividends(config: EconomyConfig, flows: Flows) -> None:
    """Dividends: consumers own all firms in equal parts."""
    flows.dividend = sum(flow.dividends for flow in flows.firms) / config.num_consumers


def stocks_move_on(config: EconomyConfig, state: State, action: Action, flows: Flows) -> State:
    """The next state: budgets with interest, capital, inventories, and what was posted for the next period."""
    consumers = []
    for consumer, flow in zip(state.consumers, flows.consumers, strict=True):
        money = config.consumer_grant - flow.spending + flow.wage_income - flow.income_tax_paid
        money += flows.transfer + flows.dividend
        consumers.append(replace(consumer, budget=with_interest(config, consumer.budget + money)))
    firms = []
    for firm, chosen, firm_flow in zip(state.firms, action.firms, flows.firms, strict=True):
        money = firm_flow.profit - firm_flow.corporate_tax_paid - firm_flow.dividends
        firms.append(
            Firm(
                price=chosen.price,
                wage=chosen.wage,
                inventory=firm.inventory - firm_flow.sales - firm_flow.exports + firm_flow.output,
                overdemanded=is_rationed(firm, firm_flow),
                budget=with_interest(config, firm.budget + money),
                capital=firm.capital + firm_flow.investment,
                labour_exponent=firm.labour_exponent,
            )
        )
    return State(tuple(consumers), tuple(firms), action.income_tax, action.corporate_tax, state.time + 1)


def with_interest(config: EconomyConfig, budget: float) -> float:
    """Savings earn interest; debts cost none."""
    return budget * (1 + config.interest_rate) if budget > 0 else budget


def final_debts_are_punished(config: EconomyConfig, final: State, flows: Flows) -> None:
    """Penalties: the last period's rewards fall by the debts that are left (no Ponzi schemes)."""
    for consumer, flow in zip(final.consumers, flows.consumers, strict=True):
        flow.reward -= config.consumer_debt_penalty * max(-consumer.budget, 0.0) / config.consumer_debt_scale
    for firm, firm_flow in zip(final.firms, flows.firms, strict=True):
        firm_flow.reward -= config.firm_debt_penalty * max(-firm.budget, 0.0) / config.firm_debt_scale


def the_government_counts_welfare(config: EconomyConfig, flows: Flows) -> None:
    """The government's reward: the sum of consumers' rewards and, in "total" welfare, of firms' at their weight."""
    flows.government_reward = sum(flow.reward for flow in flows.consumers)
    if config.welfare == "total":
        flows.government_reward += config.firm_welfare_weight * sum(flow.reward for flow in flows.firms)


def decode_action(
    config: EconomyConfig, consumer: Sequence[Sequence[int]], firm: Sequence[int], government: int
) -> Action:
    """Quantities of one economy's choices, which are indices into the configuration's lists.

    Args:
        config: The economy.
        consumer: For each consumer F consumption indices, then hours, then employer.
        firm: For each firm (price * number of wages + wage) * number of investments + investment.
        government: Income tax * number of corporate taxes + corporate tax.
    """
    consumers = tuple(
        ConsumerAction(tuple(config.consumption_choices[i] for i in goods), config.hours_choices[hours], employer)
        for *goods, hours, employer in consumer
    )
    firms = []
    for index in firm:
        rest, investment = divmod(index, len(config.investment_choices))
        price, wage = divmod(rest, len(config.wage_choices))
        firms.append(
            FirmAction(config.price_choices[price], config.wage_choices[wage], config.investment_choices[investment])
        )
    income, corporate = divmod(government, len(config.corporate_tax_choices))
    return Action(consumers, tuple(firms), config.income_tax_choices[income], config.corporate_tax_choices[corporate])


def _of(value: float | tuple[float, ...], index: int) -> float:
    return value[index] if isinstance(value, tuple) else float(value)
