"""The configuration of one economy: validated when it is made, immutable and hashable afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from rbc_marl.errors import ConfigError, nearest
from rbc_marl.mechanics.labour import DisutilityPart, Linear
from rbc_marl.mechanics.part import Part
from rbc_marl.mechanics.production import CobbDouglas, Production, ProductionPart
from rbc_marl.mechanics.taxes import Equal, Flat, TransfersPart, WageTaxPart
from rbc_marl.mechanics.utility import Crra, UtilityPart
from rbc_marl.mechanics.welfare import Weighted, WelfarePart
from rbc_marl.processes import BY_AGENT, Ar1, Drawn, Shocks
from rbc_marl.settings import Many, Section, dump_yaml, load_yaml_file

AGENT_TYPES = ("consumer", "firm", "government")

# Labour exponents that the published economy uses; other numbers of firms repeat the list.
PAPER_LABOUR_EXPONENTS = (0.2, 0.3, 0.4, 0.6, 0.8)
# The "two_level" capital of the paper: the first half of the firms start with the smaller stock.
TWO_LEVEL_CAPITAL = (5000.0, 10000.0)
FIRM_BUDGET_PER_CONSUMER = 22000.0


# What is bought for it, and its square, are finite in single precision.
MOST_MONEY = 1e15
Money = Annotated[float, Field(ge=0.0, le=MOST_MONEY)]
Positive = Annotated[float, Field(gt=0.0, le=MOST_MONEY)]
Exponent = Annotated[float, Field(gt=0.0, le=1.0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Choices = Annotated[Many[Money], Field(min_length=1)]
Fractions = Annotated[Many[Fraction], Field(min_length=1)]


class EconomyConfig(Section):
    """Everything that defines one economy (Curry et al., sections 3 and 5, and their appendix).

    Money is the numéraire, goods are in units, labour in hours, a period is a quarter. Sequences become tuples, so
    that a configuration is hashable. Types are strict: a number in quotes is refused, as are infinities and NaN.

    Raises:
        ConfigError: A field is unknown, of the wrong type or out of range. The message names the field, what was
            given and what is allowed.
    """

    __slots__ = ("_hash",)  # outside the fields: not compared, saved or sent, for another process hashes otherwise
    if TYPE_CHECKING:
        _hash: int

    noun: ClassVar[str] = "a field of an economy"

    def __hash__(self) -> int:
        """The hash of all fields, computed once: every step asks for what is cached by configuration."""
        try:
            return self._hash
        except AttributeError:
            object.__setattr__(self, "_hash", hash(tuple(getattr(self, name) for name in type(self).model_fields)))
            return self._hash

    num_consumers: Annotated[int, Field(ge=1)] = Field(100, description="worker-consumers (C)")
    num_firms: Annotated[int, Field(ge=1, le=1_000_000)] = Field(10, description="firms, one good each (F)")
    horizon: Annotated[int, Field(ge=1)] = Field(10, description="periods in an episode (T)")

    open_economy: bool = Field(True, description="whether firms can export what consumers leave")
    export_price: Money = Field(500.0, description="lowest own price at which a firm can export")
    export_quota: Money = Field(100.0, description="most units a firm can export in a period")

    crra: Annotated[float, Field(ge=0.0, le=100.0)] = Field(
        0.1, description="relative risk aversion (eta); 1 is logarithmic"
    )
    labour_disutility: Money = Field(0.01, description="theta: an hour of work costs theta / 2 of utility")
    labour_disutility_pareto_shape: Positive | None = Field(
        4.0, description="shape of the inverse Pareto quantiles that scale labour_disutility; None: all equal"
    )
    interest_rate: Annotated[float, Field(ge=0.0, le=1000.0)] = Field(
        0.0, description="interest on positive budgets, per period"
    )
    labour_floor: Money = Field(0.0, description="hours below which a firm produces nothing")
    technology: Money = Field(0.01, description="total factor productivity (A)")
    consumer_grant: Money = Field(0.01, description="money each consumer is given per period")
    dividend_share: Fraction = Field(0.0, description="share of positive profit after tax paid out to consumers alike")
    depreciation: Fraction = Field(0.0, description="share of capital that wears out in a period")
    consumption_tax: Money = Field(0.0, description="tax on goods, per unit of money that their seller gets")

    market: Literal["posted", "clearing"] = Field(
        "posted",
        description="posted: firms post prices and wages, and sell what they made before; clearing: wages are the "
        "marginal product of labour, and output is consumed and invested in the period in which it is made",
    )
    firm_objective: Literal["profit", "owners"] = Field(
        "profit", description="what firms maximise: profit after tax, or the mean reward of consumers, who own them"
    )
    discount: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        1.0, description="weight of a period's rewards, for each period before it (beta)"
    )

    utility: UtilityPart = Field(Crra(), description="utility: crra, basket, cara or ghh, or a class of one's own")
    disutility: DisutilityPart = Field(Linear(), description="disutility of labour: linear or power, or a class")
    production: ProductionPart = Field(CobbDouglas(), description="production: cobb_douglas or ces, or a class")
    wage_tax: WageTaxPart = Field(Flat(), description="tax on wages: flat or brackets, or a class")
    transfers: TransfersPart = Field(Equal(), description="who gets the taxes: equal, poorest or by_income, or a class")

    initial_price: Money = Field(1000.0, description="price in force in the first period")
    initial_wage: Money = Field(0.0, description="wage in force in the first period")
    initial_inventory: Money = Field(0.0, description="units each firm can sell in the first period")
    initial_consumer_budget: Money | Many[Money] = Field(2000.0, description="money of each consumer at the start")
    initial_firm_budget: Money | Many[Money] | None = Field(
        None, description="money of each firm at the start; None: 22000 per consumer"
    )
    initial_capital: Literal["two_level"] | Positive | Many[Positive] = Field(
        "two_level", description='capital at the start; "two_level": 5000 for the first half of the firms, else 10000'
    )
    labour_exponent: Literal["paper"] | Exponent | Many[Exponent] = Field(
        "paper", description='output elasticity of labour (alpha); "paper": .2 .3 .4 .6 .8, repeated'
    )

    consumption_choices: Choices = Field(tuple(float(u) for u in range(11)), description="units per good and period")
    hours_choices: Choices = Field((0.0, 260.0, 520.0, 780.0, 1040.0), description="hours worked in a period")
    price_choices: Choices = Field((0.0, 500.0, 1000.0, 1500.0, 2000.0, 2500.0), description="prices a firm can post")
    wage_choices: Choices = Field((0.0, 11.0, 22.0, 33.0, 44.0), description="wages per hour a firm can post")
    investment_choices: Fractions = Field((0.1,), description="fractions of gross income invested")
    income_tax_choices: Fractions = Field((0.0, 0.2, 0.4, 0.6, 0.8, 1.0), description="income tax rates")
    corporate_tax_choices: Fractions = Field((0.0, 0.2, 0.4, 0.6, 0.8, 1.0), description="corporate tax rates")

    welfare: WelfarePart = Field(
        "total", description="what the government maximises: total, consumers, rawls, atkinson, nash, weighted, a class"
    )
    firm_welfare_weight: Money = Field(0.0025, description="weight of firms' rewards in total welfare")
    revenue_bonus: Money = Field(0.0, description="share of revenue added to a solvent firm's reward")
    consumer_debt_penalty: Money = Field(0.0, description="weight of a consumer's final debt in its last reward")
    firm_debt_penalty: Money = Field(0.0, description="weight of a firm's final debt in its last reward")
    consumer_debt_scale: Positive = Field(1.0, description="money per unit of a consumer's debt penalty")
    firm_debt_scale: Positive = Field(100.0, description="money per unit of a firm's debt penalty")

    shocks: Shocks | None = Field(None, description="processes that move numbers of the economy by period; None: none")
    start: str | None = Field(
        None, description="file of states, one of which each episode begins at; None: the endowments above"
    )

    @model_serializer(mode="wrap")
    def _without_parts_as_published(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """All fields, but for parts as published: what was saved before there were any has the same hash."""
        published = {name for name in _PARTS if getattr(self, name) == type(self).model_fields[name].default}
        return {name: value for name, value in handler(self).items() if name not in published}

    @model_validator(mode="after")
    def _check_shocks(self) -> Self:
        for name, shock in (self.shocks.on if self.shocks else {}).items():
            if name in EXPORTING and not self.open_economy:
                raise ValueError(f"shocks.{name} moves exports, and a closed economy has none; leave it out")
            if isinstance(shock, Ar1):
                if name in ("dividend_share", "depreciation"):
                    raise ValueError(f"shocks.{name} is ar1, which leaves the range of a share; give markov or path")
                if name not in BY_AGENT and getattr(self, name) == 0.0:
                    raise ValueError(f"shocks.{name} is ar1, a factor on {name}, which is 0; give markov or path")
                continue
            is_own = name in type(self).model_fields
            ends = shock.range if isinstance(shock, Drawn) else ()
            for value in (*ends, *shock.possible) if is_own else ():
                try:
                    EconomyConfig.parse({name: value}, "")
                except ConfigError as error:
                    raise ValueError(f"shocks.{name}.values: {error}") from None
        return self

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        for name, count, agents in (
            ("initial_consumer_budget", self.num_consumers, "consumers"),
            ("initial_firm_budget", self.num_firms, "firms"),
            ("initial_capital", self.num_firms, "firms"),
            ("labour_exponent", self.num_firms, "firms"),
        ):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != count:
                raise ValueError(
                    f"{name} has {len(value)} values; there are {count} {agents}: give one each, or a single number"
                )
        if isinstance(self.welfare, Weighted) and len(self.welfare.weights) > self.num_consumers:
            raise ValueError(
                f"welfare has {len(self.welfare.weights)} weights; there are {self.num_consumers} consumers: give one "
                "each, or fewer"
            )
        return self

    @model_validator(mode="after")
    def _check_discount(self) -> Self:
        if self.discount**self.horizon < 1e-30:
            raise ValueError(
                f"discount is {self.discount:g}, and of {self.horizon} periods the last count nothing in single "
                "precision; give a shorter horizon"
            )
        return self

    @model_validator(mode="after")
    def _check_clearing(self) -> Self:
        if self.market != "clearing":
            return self
        if self.open_economy:
            raise ValueError("market is clearing, and nothing is left to export; give open_economy: false")
        if self.dividend_share != 1.0:
            raise ValueError(
                f"dividend_share is {self.dividend_share:g}, and where the market is clearing consumers get all "
                "profit; give dividend_share: 1"
            )
        if self.num_firms > 1 and not self.utility.has_one_good:
            raise ValueError(
                f"num_firms is {self.num_firms}, and a clearing market has one good; give one firm, or a utility to "
                "which goods are one: {kind: basket, substitution: 100}"
            )
        if type(self.production).labour_share is Production.labour_share:
            raise ValueError(f"a clearing market pays labour_share, which {self.production.title} does not have")
        return self

    @property
    def parts(self) -> dict[str, Part]:
        """Its parts by field; a welfare of a name alone is none."""
        return {name: value for name, value in self if isinstance(value, Part)}

    def title_of(self, name: str) -> str:
        """What a field is called in messages: ``utility ghh``, ``market clearing``."""
        value = getattr(self, name)
        return value.title if isinstance(value, Part) else f"{name} {value}"

    @property
    def own_parts(self) -> dict[str, Part]:
        """Those of its parts that are classes of one's own, by field."""
        return {name: part for name, part in self.parts.items() if part.is_own}

    @property
    def departure(self) -> str:
        """What of its mechanics is not as published, such as "utility ghh"; empty where all is."""
        published = {name: field.default for name, field in EconomyConfig.model_fields.items()}
        parts = [part.title for name, part in self.parts.items() if part != published[name]]
        fields = ("depreciation", "consumption_tax", "market", "firm_objective", "discount")
        return next(iter(parts + [name for name in fields if getattr(self, name) != published[name]]), "")

    def for_processes(self) -> dict[str, Any]:
        """Its fields for another process: plain data, but parts of one's own as they are, which find their code."""
        return {**self.model_dump(mode="json"), **self.own_parts}

    def agents(self, agent_type: str) -> int:
        """Number of agents of a type ("consumer", "firm" or "government")."""
        counts = {"consumer": self.num_consumers, "firm": self.num_firms, "government": 1}
        if agent_type not in counts:
            raise ConfigError(f'"{agent_type}" is not an agent type; they are {", ".join(AGENT_TYPES)}')
        return counts[agent_type]

    @property
    def labour_exponents(self) -> tuple[float, ...]:
        """Labour exponent of each firm, length F."""
        if self.labour_exponent == "paper":
            return tuple(PAPER_LABOUR_EXPONENTS[i % len(PAPER_LABOUR_EXPONENTS)] for i in range(self.num_firms))
        return _one_each(self.labour_exponent, self.num_firms)

    @property
    def capitals(self) -> tuple[float, ...]:
        """Capital of each firm at the start of an episode, length F."""
        if self.initial_capital == "two_level":
            low, high = TWO_LEVEL_CAPITAL
            return tuple(low if i < self.num_firms // 2 else high for i in range(self.num_firms))
        return _one_each(self.initial_capital, self.num_firms)

    @property
    def consumer_budgets(self) -> tuple[float, ...]:
        """Money of each consumer at the start of an episode, length C."""
        return _one_each(self.initial_consumer_budget, self.num_consumers)

    @property
    def firm_budgets(self) -> tuple[float, ...]:
        """Money of each firm at the start of an episode, length F."""
        if self.initial_firm_budget is None:
            return (FIRM_BUDGET_PER_CONSUMER * self.num_consumers,) * self.num_firms
        return _one_each(self.initial_firm_budget, self.num_firms)

    def replace(self, **changes: Any) -> EconomyConfig:  # noqa: ANN401 - fields have many types, and are validated
        """A validated copy with some fields changed.

        Raises:
            ConfigError: A change is unknown or makes the configuration invalid.
        """
        return EconomyConfig(**{**dict(self), **changes})

    @classmethod
    def from_yaml(cls, path: str | Path) -> EconomyConfig:
        """Read a configuration from a YAML file that is a mapping of fields.

        Raises:
            ConfigError: The file is missing, is not a mapping, or a field is wrong.
        """
        return parse_config(load_yaml_file(path), where=Path(path).name)

    def to_yaml(self, path: str | Path) -> None:
        """Write every field to a YAML file that `from_yaml` reads back to an equal configuration."""
        Path(path).write_text(dump_yaml(self.model_dump(mode="json")), encoding="utf-8")


# Numbers that count in open economies alone.
EXPORTING = ("export_price", "export_quota")
# Fields that are left out of what is saved where they are as published.
_PARTS = (
    *("depreciation", "consumption_tax", "utility", "disutility", "production", "wage_tax", "transfers"),
    *("shocks", "start", "market", "firm_objective", "discount"),
)

PRESETS: dict[str, dict[str, Any]] = {"open": {"open_economy": True}, "closed": {"open_economy": False}}


def preset(name: str, **overrides: Any) -> EconomyConfig:  # noqa: ANN401 - fields have many types, and are validated
    """A named economy of the paper, with some fields changed.

    Args:
        name: "open" (100 consumers, 10 firms, exports from a price of 500 and up to 100 units) or "closed" (no
            exports).
        **overrides: Fields of `EconomyConfig`.

    Raises:
        ConfigError: The preset or a field is unknown, or a value is invalid.
    """
    if name not in PRESETS:
        raise ConfigError(f'unknown preset "{name}"; there are {", ".join(PRESETS)}{nearest(name, PRESETS)}')
    return EconomyConfig(**{**PRESETS[name], **overrides})


def resolve_config(
    config: EconomyConfig | str | Mapping[str, Any] | None = None,
    **overrides: Any,  # noqa: ANN401 - fields have many types, and are validated
) -> EconomyConfig:
    """Turn whatever a user may give for an economy into a configuration.

    Args:
        config: A configuration, a preset's name, a mapping of fields, or None for the preset "open".
        **overrides: Fields to change.

    Raises:
        ConfigError: The preset or a field is unknown, or a value is invalid.
    """
    if config is None or isinstance(config, str):
        return preset(config or "open", **overrides)
    if isinstance(config, EconomyConfig):
        return config.replace(**overrides) if overrides else config
    if isinstance(config, Mapping):
        return parse_config({**config, **overrides}, where="config")
    raise ConfigError(
        f"config is a {type(config).__name__}; give an EconomyConfig, a preset's name or a mapping of fields"
    )


def parse_config(data: Mapping[str, Any], where: str = "env_config") -> EconomyConfig:
    """Validate a mapping of fields that stands at ``where`` in a file.

    Raises:
        ConfigError: The message starts with the full path of the field, such as ``env_config.interest_rate``.
    """
    return EconomyConfig.parse(data, where)


def _one_each(value: float | tuple[float, ...], count: int) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (float(value),) * count
