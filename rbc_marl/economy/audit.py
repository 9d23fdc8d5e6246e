"""Whether an economy keeps its books: parts of one's own tried out, all identities in play, and what an hour brings.

Plays are extreme on purpose: nobody does anything, everybody does the most of everything, all work for one firm, and
random choices. Everything is in double precision, so that what is left over is no rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rbc_marl.config import EconomyConfig
from rbc_marl.economy.accounting import residuals
from rbc_marl.economy.baskets import unit_steps
from rbc_marl.economy.markets import with_consumption_tax
from rbc_marl.economy.period import period
from rbc_marl.economy.start import initial_state
from rbc_marl.economy.state import Actions, EconomyState, Flows
from rbc_marl.errors import ConfigError, first_line

# More than rounding, as a share of the amounts that enter an identity.
TOLERANCE = 1e-9
# Economies of a play, and the most periods that are played of an episode.
_ECONOMIES, _MOST_PERIODS = 4, 200
PLAYS = ("nothing", "everything", "one employer", "random", "random quantities")
"""Ways in which everybody decides."""
# What goods and hours identities are measured in; the others are in money.
_UNITS = {"goods": "units", "consumption": "units", "labour": "hours"}


class Finding(NamedTuple):
    """Something that is wrong in a play."""

    what: str
    """The identity or the quantity, in words."""
    amount: float
    """By how much it is wrong, or what it is."""
    unit: str
    period: int
    """From 1."""
    play: str
    """One of `PLAYS`."""

    def __str__(self) -> str:
        return f"{self.what}: {self.amount:.6g} {self.unit} in period {self.period}, when agents do {self.play}"


def try_parts(config: EconomyConfig) -> None:
    """Call the parts of one's own once, so that what is wrong with them shows before anything is played or trained.

    Args:
        config: The economy.

    Raises:
        ConfigError: A part cannot be called, returns no tensor of the shape that it must, or numbers that are infinite
            or NaN. The message names it.
    """
    if not config.own_parts:
        return
    state = initial_state(config, 2, dtype=torch.float64)
    consumers, firms = config.num_consumers, config.num_firms
    some, theta, money = torch.ones(2, consumers, dtype=torch.float64), state.labour_disutility, state.consumer_budget
    of_firms, rate = torch.ones(2, firms, dtype=torch.float64), torch.full((2, 1), 0.5, dtype=torch.float64)
    goods = of_firms.unsqueeze(-1).expand(-1, -1, consumers)
    calls: dict[str, Callable[[Any], Tensor]] = {
        "utility": lambda part: part.with_effort(part.of_goods(goods, config), some, config),
        "disutility": lambda part: part.effort(some, theta),
        "production": lambda part: part.output(state.capital, of_firms, state.labour_exponent, config.technology),
        "wage_tax": lambda part: part.paid(some, rate),
        "transfers": lambda part: part.each(rate[:, 0], rate[:, 0], money, some).expand(2, consumers),
        "welfare": lambda part: part.of(some, of_firms),
    }
    shapes = {"production": (2, firms), "welfare": (2,)}
    for role, part in config.own_parts.items():
        shape = shapes.get(role, (2, consumers))
        try:
            found = calls[role](part)
        except Exception as error:
            raise ConfigError(f"{part.title} cannot be called: {type(error).__name__}: {first_line(error)}") from error
        if not isinstance(found, Tensor) or tuple(found.shape) != shape:
            kind = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ConfigError(f"{part.title} gives {kind}, and must give a tensor {list(shape)}; see its base class")
        if not bool(torch.isfinite(found).all()):
            raise ConfigError(f"{part.title} gives numbers that are infinite or NaN at ordinary quantities")


def audit(config: EconomyConfig, seed: int = 0) -> list[Finding]:
    """Play an economy in every way of `PLAYS` and look for what cannot be.

    Args:
        config: The economy.
        seed: Of random decisions, and of shocks.

    Returns:
        What is wrong, the first of each kind in a play: an identity of `residuals` that does not hold, a number that is
        infinite or NaN, a tax on wages below 0 or above the pay, a negative transfer or output, and hours that cost
        less than none. Empty where nothing is.
    """
    try_parts(config)
    found: dict[tuple[str, str], Finding] = {}
    for play in PLAYS:
        generator = torch.Generator().manual_seed(seed)
        state = initial_state(config, _ECONOMIES, dtype=torch.float64, seeds=seed)
        for number in range(1, min(config.horizon, _MOST_PERIODS) + 1):
            actions = _decide(config, play, generator)
            after, flows = period(config, state, actions)
            for what, amount, unit in _problems(config, state, actions, after, flows):
                found.setdefault((what, play), Finding(what, amount, unit, number, play))
            state = after
    return list(found.values())


def _problems(
    config: EconomyConfig, state: EconomyState, actions: Actions, after: EconomyState, flows: Flows
) -> Iterator[tuple[str, float, str]]:
    """What cannot be in a period: in words, the amount and its unit."""
    tensors = {**vars(flows), **vars(after), **after.shocks}
    tensors.pop("shocks", None)
    wrong = next((name for name, x in tensors.items() if not torch.isfinite(x).all()), None)
    if wrong is not None:  # nothing else can be told then
        yield f"{wrong} is no finite number", float("nan"), ""
        return
    size = 1.0 + sum(float(getattr(flows, name).abs().sum(1).max()) for name in ("revenue", "wage_bill", "transfers"))
    size += float(state.capital.abs().max() + state.firm_budget.abs().sum(1).max() + state.consumer_budget.sum(1).max())
    goods = 1.0 + float((state.inventory + flows.output + flows.total_demand).abs().sum(1).max())
    for name, residual in residuals(config, state, actions, after, flows).items():
        unit = _UNITS.get(name, "of money")
        largest = float(residual.flatten()[residual.abs().argmax()])
        if abs(largest) > TOLERANCE * (size if unit == "of money" else goods + float(flows.hours.sum(1).max())):
            yield f"the identity {name} is off by", largest, unit
    bounds = {
        "the tax on wages is below 0": (flows.income_tax_paid, "of money"),
        "the tax on wages is more than the pay, by": (flows.wage_income - flows.income_tax_paid, "of money"),
        "a transfer is below 0": (flows.transfers, "of money"),
        "output is below 0": (flows.output, "units"),
        "hours cost less than none": (config.disutility.effort(actions.hours, state.labour_disutility), "of utility"),
    }
    for what, (values, unit) in bounds.items():
        if float(values.min()) < -TOLERANCE * size:
            yield what, float(values.min()), unit


def _decide(config: EconomyConfig, play: str, generator: torch.Generator) -> Actions:
    """Decisions of everybody for a period."""
    batch, consumers, firms = _ECONOMIES, config.num_consumers, config.num_firms

    def of(choices: tuple[float, ...], *shape: int) -> Tensor:
        table, shape = torch.tensor(sorted(choices), dtype=torch.float64), (batch, *shape)
        if play == "random quantities":
            share = torch.rand(shape, generator=generator, dtype=torch.float64)
            return table[0] + (table[-1] - table[0]) * share
        if play == "random":
            return table[torch.randint(len(table), shape, generator=generator)]
        return table[0 if play == "nothing" else -1].expand(shape)

    employer = torch.randint(firms, (batch, consumers), generator=generator)
    return Actions(
        demand=of(config.consumption_choices, consumers, firms),
        hours=of(config.hours_choices, consumers),
        employer=employer if play.startswith("random") else torch.zeros_like(employer),
        price=of(config.price_choices, firms),
        wage=of(config.wage_choices, firms),
        investment_fraction=of(config.investment_choices, firms),
        income_tax=of(config.income_tax_choices),
        corporate_tax=of(config.corporate_tax_choices),
    )


class Work(NamedTuple):
    """What a period's work brings the mean consumer, at the middle of the wages and prices above 0, untaxed."""

    hours: float
    """The most that one can work."""
    wage: float
    price: float
    goods: float
    """Utility of the best basket for the pay, over that of none."""
    effort: float
    """What the hours cost, in utility."""

    @property
    def ratio(self) -> float:
        """How many times what it costs the work brings; infinite where it costs nothing."""
        return self.goods / self.effort if self.effort > 0.0 else torch.inf


def work(config: EconomyConfig) -> Work:
    """Measure what full work brings and costs. Where utility is not separable the cost is what hours take of it."""

    def middle(choices: tuple[float, ...]) -> float:
        above = sorted(choice for choice in choices if choice > 0.0) or [0.0]
        return above[(len(above) - 1) // 2]

    wage, price, hours = middle(config.wage_choices), middle(config.price_choices), max(config.hours_choices)
    state = initial_state(config, 1, dtype=torch.float64)
    theta = state.labour_disutility.mean(1, keepdim=True)
    pay = torch.full((1, 1), wage * hours, dtype=torch.float64)
    pay = pay - config.wage_tax.paid(pay, 0.0 * pay)
    prices = with_consumption_tax(torch.full((1, config.num_firms), price, dtype=torch.float64), config.consumption_tax)
    steps = unit_steps(config, prices)
    none = config.utility.of_goods(torch.zeros(1, config.num_firms, 1, dtype=torch.float64), config)
    goods, effort = none + steps.utility_of(pay) - steps.utility_of(0.0 * pay), 0.0 * pay
    idle = config.utility.with_effort(none, effort, config)
    fed = config.utility.with_effort(goods, effort, config)
    effort = config.disutility.effort(torch.full_like(pay, hours), theta)
    worked = config.utility.with_effort(goods, effort, config)
    return Work(hours, wage, price, float(fed - idle), float(fed - worked))
