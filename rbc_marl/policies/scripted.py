"""Rule-based economies: what trained policies are compared with, and examples of how the economy is driven."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from rbc_marl.choices import sample_indices
from rbc_marl.config import EconomyConfig
from rbc_marl.economy import EconomyState
from rbc_marl.economy.baskets import cheapest_first
from rbc_marl.economy.firms import produce
from rbc_marl.economy.markets import with_consumption_tax
from rbc_marl.errors import ConfigError, nearest
from rbc_marl.mechanics.labour import Linear
from rbc_marl.policies.rational import consumer_choices, expected_supply
from rbc_marl.settings import Section

Money = Annotated[float, Field(ge=0.0)]
Share = Annotated[float, Field(ge=0.0)]


class Rules(Section):
    """Rules for all agents of an economy. Each quantity becomes the nearest of the configured choices.

    Raises:
        ConfigError: A rule is unknown, of the wrong type or out of range.
    """

    noun: ClassVar[str] = "a rule"

    price: Money | None = Field(
        default=None,
        description="posted by every firm, unless there is a markup; null: the highest choice, as a monopolist posts "
        "who exports",
    )
    markup: Money | None = Field(
        default=None,
        description="price over the wage cost of a unit at full employment, less 1: 0.2 is cost plus 20%, and the "
        "highest choice where labour makes nothing; null: the constant price",
    )
    wage: Money = Field(default=11.0, description="posted by every firm")
    investment: Share = Field(default=0.1, description="share of gross income that firms invest")
    shopping: Literal["cheapest_first", "best_basket"] = Field(
        default="cheapest_first",
        description="what consumers buy; cheapest_first: all that their money pays for, the cheapest good first; "
        "best_basket: rational consumers, who save what is worth more in later periods and spend the rest on goods of "
        "equal marginal utility per unit of money",
    )
    work: Literal["worthwhile", "always", "never"] = Field(
        default="worthwhile",
        description="who works the most hours there are, while the others work the fewest; worthwhile: whoever gains "
        "more from the goods that an hour's net wage buys at the lowest price, at one unit of utility each, than the "
        "hour costs (theta / 2); rational consumers work as long as what they would buy with the wage is worth it, and "
        "not in the last period",
    )
    income_tax: Share = Field(default=0.0, description="rate")
    corporate_tax: Share = Field(default=0.0, description="rate")

    @field_validator("investment", "income_tax", "corporate_tax")
    @classmethod
    def _check_share(cls, share: float) -> float:
        if share > 1.0:
            raise ValueError("it must be a share, at most 1: for 40% give 0.4")
        return share


RULES: dict[str, Rules] = {
    "monopoly": Rules(),
    "full_employment": Rules(work="always"),
    "cost_plus": Rules(markup=0.2, work="always", income_tax=0.4, corporate_tax=0.8),
    "redistribution": Rules(work="always", corporate_tax=1.0),
    "rational": Rules(shopping="best_basket"),
    "idle": Rules(price=0.0, wage=0.0, work="never"),
}
"""Rule-based economies by name."""

GOVERNMENTS: dict[str, dict[str, float]] = {
    "no_tax": {"income_tax": 0.0, "corporate_tax": 0.0},
    "equal_rates": {"income_tax": 0.4, "corporate_tax": 0.4},
    "firms_only": {"income_tax": 0.0, "corporate_tax": 0.8},
}
"""Rules of governments by name: fields of `Rules`, whoever the consumers and the firms are."""


def resolve_rules(rules: Rules | str | Mapping[str, Any]) -> Rules:
    """Turn a name of `RULES`, a mapping of fields or rules into rules.

    Raises:
        ConfigError: The name or a field is unknown, or a rule is invalid.
    """
    if isinstance(rules, Rules):
        return rules
    if isinstance(rules, str):
        if rules not in RULES:
            raise ConfigError(f'unknown rules "{rules}"; there are {", ".join(RULES)}{nearest(rules, RULES)}')
        return RULES[rules]
    return Rules.parse(rules, "")


class ScriptedPolicies:
    """All agents follow `Rules`: workers join the best payers, buyers take the cheapest goods or the best basket.

    Who buys the cheapest goods first spends the budget on one, then on the next, up to the most units one can choose of
    each. What rational consumers do stands in `rbc_marl.policies.rational`. Employers that pay alike and goods that
    cost alike are equally good: a generator draws among them, and greedy play deals them out by the consumer's number,
    so that neighbours start at different firms.

    Attributes:
        config: The economy.
        rules: The rules.
        encoding: Of the observations, which the rules do not read.
        device: Where the states are.
    """

    def __init__(
        self,
        config: EconomyConfig,
        rules: Rules | str | Mapping[str, Any] = "monopoly",
        encoding: str = "symlog",
        device: torch.device | str = "cpu",
    ) -> None:
        """Make the policies of an economy; see the class.

        Raises:
            ConfigError: The rules are unknown or invalid, or nobody posts prices in the economy.
        """
        if config.market == "clearing":
            raise ConfigError("rules post prices and wages, and the market is clearing; let its agents learn")
        self.config = config
        self.rules = resolve_rules(rules)
        self.encoding = encoding
        self.device = torch.device(device)

    @torch.no_grad()
    def act(
        self,
        observation: Mapping[str, Tensor],
        generator: torch.Generator | None = None,
        greedy: bool = False,
        *,
        state: EconomyState | None = None,
    ) -> dict[str, Tensor]:
        """Decide for one period; see `rbc_marl.policies.Policies`. The observation is not read.

        Raises:
            ConfigError: There is no state.
        """
        if state is None:
            raise ConfigError("rules read the true state; call act(observation, state=...)")
        shape = (state.num_envs, self.config.num_consumers, self.config.num_firms)

        def draw() -> Tensor | None:
            return None if greedy else torch.rand(*shape, generator=generator, device=state.price.device)

        employer = _best_payer(state.wage, self.config.num_consumers, draw())
        demand_index, hours_index = self._consumption_and_hours(state, draw())
        return {
            "consumer": torch.cat([demand_index, hours_index.unsqueeze(-1), employer.unsqueeze(-1)], dim=-1),
            "firm": self._firm(state),
            "government": self._government(state),
        }

    def _consumption_and_hours(self, state: EconomyState, draws: Tensor | None) -> tuple[Tensor, Tensor]:
        """Indices [B, C, F] of the units of each good, and [B, C] of the hours worked."""
        config, choices = self.config, self.config.hours_choices
        if self.rules.shopping == "cheapest_first":
            order = _by_price(state, draws)
            price = self._consumer_price(state).unsqueeze(1).expand_as(order).gather(-1, order)
            units = cheapest_first(price, state.consumer_budget.unsqueeze(-1), max(config.consumption_choices))
            demand = torch.zeros_like(units).scatter(-1, order, units)
            return _at_most(config.consumption_choices, demand), self._hours(state)
        fixed = {"always": max(choices), "never": min(choices)}.get(self.rules.work)
        allowed = state.price.new_tensor(sorted(choices) if fixed is None else [fixed])
        order = _by_price(state, draws, expected_supply(config, state))
        place, hours = consumer_choices(config, state, order, allowed)
        by_size = torch.tensor(config.consumption_choices, device=place.device).argsort()
        return by_size[place], _nearest(choices, hours)

    def _consumer_price(self, state: EconomyState) -> Tensor:
        """What a unit costs who buys it [B, F]."""
        return with_consumption_tax(state.price, self.config.consumption_tax)

    def _hours(self, state: EconomyState) -> Tensor:
        """Index [B, C] of the hours worked by those who buy the cheapest goods first."""
        config, choices = self.config, self.config.hours_choices
        most, fewest = choices.index(max(choices)), choices.index(min(choices))
        if self.rules.work == "worthwhile":
            net_wage = (1.0 - state.income_tax) * state.wage.amax(dim=1)
            # Multiplied out: a price can be 0.
            lowest = self._consumer_price(state).amin(dim=1, keepdim=True)
            # Of one hour of all that would be worked; where each costs the same, of any.
            worked = 1.0 if isinstance(config.disutility, Linear) else max(choices) or 1.0
            theta = state.labour_disutility
            cost = config.disutility.effort(torch.full_like(theta, worked), theta) / worked * lowest
            return torch.where(net_wage.unsqueeze(-1) > cost, most, fewest)
        index = most if self.rules.work == "always" else fewest
        return torch.full_like(state.labour_disutility, index, dtype=torch.int64)

    def _firm(self, state: EconomyState) -> Tensor:
        """Joint index [B, F] of price, wage and investment."""
        config, rules = self.config, self.rules
        highest = max(config.price_choices)
        price = torch.full_like(state.price, highest if rules.price is None else rules.price)
        if rules.markup is not None:
            # A cost beyond all bounds would be equally far from every choice.
            price = ((1.0 + rules.markup) * self._unit_cost(state)).clamp(max=highest)
        wage = _nearest(config.wage_choices, torch.full_like(price, rules.wage))
        investment = _nearest(config.investment_choices, torch.full_like(price, rules.investment))
        index = _nearest(config.price_choices, price) * len(config.wage_choices) + wage
        return index * len(config.investment_choices) + investment

    def _unit_cost(self, state: EconomyState) -> Tensor:
        """Wages paid per unit [B, F] where everyone works the most hours and the firms share the workers equally."""
        config = self.config
        hours = config.num_consumers * max(config.hours_choices) / config.num_firms
        labour = torch.full_like(state.capital, hours)
        exponent, numbers = state.labour_exponent, (config.technology, config.labour_floor)
        output = produce(config.production, state.capital, labour, exponent, *numbers)
        return torch.where(output > 0.0, self.rules.wage * labour / output, torch.inf)

    def _government(self, state: EconomyState) -> Tensor:
        """Joint index [B] of the two tax rates."""
        config = self.config
        income = _nearest(config.income_tax_choices, torch.full_like(state.income_tax, self.rules.income_tax))
        corporate = _nearest(config.corporate_tax_choices, torch.full_like(state.income_tax, self.rules.corporate_tax))
        return income * len(config.corporate_tax_choices) + corporate


class UniformPolicies:
    """Every agent draws every choice with equal probability. Greedy play takes the first of each.

    Attributes:
        config: The economy.
        encoding: Of the observations, which nobody reads.
        device: Where the indices are drawn.
    """

    def __init__(self, config: EconomyConfig, encoding: str = "symlog", device: torch.device | str = "cpu") -> None:
        """Make the policies of an economy."""
        self.config = config
        self.encoding = encoding
        self.device = torch.device(device)

    def act(
        self,
        observation: Mapping[str, Tensor],
        generator: torch.Generator | None = None,
        greedy: bool = False,
        *,
        state: EconomyState | None = None,
    ) -> dict[str, Tensor]:
        """Decide for one period; see `rbc_marl.policies.Policies`."""
        generator = generator or torch.default_generator
        indices = sample_indices(self.config, observation["global"].shape[0], generator, self.device)
        return {name: torch.zeros_like(index) for name, index in indices.items()} if greedy else indices


def _best_payer(wage: Tensor, num_consumers: int, draws: Tensor | None) -> Tensor:
    """Employer [B, C] among the firms that pay best: wage [B, F]; draws [B, C, F], or None to deal the firms out."""
    is_best = wage == wage.amax(dim=1, keepdim=True)
    number = torch.arange(num_consumers, device=wage.device).remainder(is_best.sum(dim=1, keepdim=True))
    if draws is not None:
        return torch.where(is_best.unsqueeze(1), draws, -1.0).argmax(dim=-1)
    rank = is_best.cumsum(dim=1) - 1
    return (is_best.unsqueeze(1) & (rank.unsqueeze(1) == number.unsqueeze(-1))).int().argmax(dim=-1)


def _by_price(state: EconomyState, draws: Tensor | None, supply: Tensor | None = None) -> Tensor:
    """Goods [B, C, F] from the cheapest to the dearest, as each consumer goes through them.

    Goods that cost alike come in the order of the draws [B, C, F], or from the consumer's own number on. With a supply
    [B, F], infinite but where a good ran out, those come last, the largest first and in one order for all.
    """
    (num_envs, consumers), firms = state.consumer_budget.shape, state.price.shape[1]
    if draws is None:
        number = torch.arange(consumers, device=state.price.device).unsqueeze(-1)
        turn = (torch.arange(firms, device=number.device) - number).remainder(firms)
        draws = (turn / firms).expand(num_envs, consumers, firms)
    if supply is not None:
        supply = torch.where(state.inventory > 0.0, supply, 0.0).unsqueeze(1)
        draws = torch.where(supply < torch.inf, 1.0 + 1.0 / (1.0 + supply), draws)
    order = draws.argsort(dim=-1)
    by_price = state.price.unsqueeze(1).expand_as(order).gather(-1, order).sort(dim=-1, stable=True).indices
    return order.gather(-1, by_price)


def _at_most(choices: Sequence[float], amount: Tensor) -> Tensor:
    """Index of the largest choice that is no more than an amount; of the smallest where all are more."""
    table, index = torch.tensor(choices, dtype=amount.dtype, device=amount.device).sort()
    return index[(torch.searchsorted(table, amount.contiguous(), right=True) - 1).clamp(min=0)]


def _nearest(choices: Sequence[float], amount: Tensor) -> Tensor:
    """Index of the choice nearest to an amount; of the first where two are."""
    table = torch.tensor(choices, dtype=amount.dtype, device=amount.device)
    return (amount.unsqueeze(-1) - table).abs().argmin(dim=-1)
