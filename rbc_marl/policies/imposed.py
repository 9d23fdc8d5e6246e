"""Imposed choices: the same policies under a tax, a price, a wage or hours that are not theirs to choose.

A `Treatment` is what is imposed on an economy at a time, choices and numbers: episodes can be played under it, and
policies learn under it. It is a part of the world: whoever deviates or trembles does so beneath it, and where something
is imposed on them nothing comes of it. Checkpoints say what their training imposed, and `as_trained` imposes it again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from itertools import zip_longest
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from rbc_marl.choices import choice_tables
from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.economy import EconomyState
from rbc_marl.errors import ConfigError, one_of
from rbc_marl.policies import Policies
from rbc_marl.processes import Shocks
from rbc_marl.settings import Many, Section

IMPOSED = "imposed"
"""Where checkpoints keep what their training imposed, beside the seed and the iteration."""

# What can be imposed: on whom, and its column in the table of joint choices. Hours are a choice of their own.
_PARTS = {
    "hours": ("consumer", None),
    "price": ("firm", 0),
    "wage": ("firm", 1),
    "investment": ("firm", 2),
    "income_tax": ("government", 0),
    "corporate_tax": ("government", 1),
}

# Bounds: on which part, and whether from below.
_BOUNDS = {"minimum_wage": ("wage", True), "maximum_wage": ("wage", False)}
_BOUNDS |= {"minimum_price": ("price", True), "maximum_price": ("price", False)}

# What holds in the period in which it is chosen; all else from the next one on.
_AT_ONCE = ("hours", "investment")


class Imposed(Section):
    """Choices that are imposed on all agents of a type, in every period that they choose for."""

    noun: ClassVar[str] = "what can be imposed"

    hours: float | None = Field(default=None, description="of every consumer")
    price: float | None = Field(default=None, description="of every firm")
    wage: float | None = Field(default=None, description="of every firm")
    investment: float | None = Field(default=None, description="share of every firm")
    income_tax: float | None = Field(default=None, description="rate")
    corporate_tax: float | None = Field(default=None, description="rate")

    minimum_wage: float | None = Field(default=None, description="of every firm: a wage below it is lifted to it")
    maximum_wage: float | None = Field(default=None, description="of every firm: a wage above it is lowered to it")
    minimum_price: float | None = Field(default=None, description="of every firm: a price below it is lifted to it")
    maximum_price: float | None = Field(default=None, description="of every firm: a price above it is lowered to it")

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        for part in ("wage", "price"):
            exact, low, high = (getattr(self, name) for name in (part, f"minimum_{part}", f"maximum_{part}"))
            if exact is not None and (low is not None or high is not None):
                raise ValueError(f"{part} is imposed, and so is a bound on it; give one of them")
            if low is not None and high is not None and low > high:
                raise ValueError(f"minimum_{part} is {low:g}, above maximum_{part} {high:g}; give a lower one")
        return self

    @property
    def chosen(self) -> dict[str, float]:
        """What is imposed, by name."""
        return {name: value for name in (*_PARTS, *_BOUNDS) if (value := getattr(self, name)) is not None}

    def strategies(self, config: EconomyConfig, in_force: int | None = None) -> list[tuple[str, ReplaceParts]]:
        """What becomes of agents' choices: agent types, and what replaces parts of all that they choose.

        Args:
            config: The economy.
            in_force: From which period on it holds, counted from 1; None: as soon as it can. Hours and investment hold
                in the period in which they are chosen, all else from the next one on.

        Raises:
            ConfigError: A value is not a choice of the economy, or cannot be in force so early or late.
        """
        for name, value in self.chosen.items():
            part = _BOUNDS[name][0] if name in _BOUNDS else name
            one_of(value, getattr(config, f"{part}_choices"), name)
            first = 1 if part in _AT_ONCE else 2
            if in_force is not None and not first <= in_force <= config.horizon:
                raise ConfigError(f"{name} is to be in force in period {in_force}; give {first} to {config.horizon}")
        found = []
        for agent_type in AGENT_TYPES:
            parts = {name: _BOUNDS.get(name, (name, None))[0] for name in self.chosen}
            own = {name: self.chosen[name] for name, part in parts.items() if _PARTS[part][0] == agent_type}
            for is_at_once in (True, False):
                values = {name: x for name, x in own.items() if (name in _AT_ONCE) is is_at_once}
                if values:
                    chosen_in = 0 if in_force is None else in_force - (1 if is_at_once else 2)
                    found.append((agent_type, ReplaceParts(config, agent_type, values, chosen_in)))
        return found

    def on(self, policies: Policies, in_force: int | None = None) -> Policies:
        """Policies that follow what is imposed, and decide everything else as before.

        What they draw for all other choices is the same as without, so that episodes of one seed can be paired.

        Args:
            policies: Whoever decides everything else.
            in_force: As in `strategies`.

        Raises:
            ConfigError: As there.
        """
        return Treatment(choices=self, period=in_force).on(policies)


class Treatment(Section):
    """What is imposed on an economy: choices from a period on, and factors on its numbers, perhaps on top of others."""

    noun: ClassVar[str] = "a part of what is imposed"

    choices: Imposed = Field(default=Imposed(), description="of all agents of a type")
    period: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="from which on choices are in force, from 1; None: as soon as they can"
    )
    factors: dict[str, Annotated[Many[Annotated[float, Field(ge=0.0, le=1e15)]], Field(min_length=1)]] = Field(
        default_factory=dict, description="on numbers of the economy, by period (`VectorEconomy.impose`)"
    )
    first: Treatment | None = Field(
        default=None, description="imposed before it: where both impose a choice the later counts, factors multiply"
    )

    @model_validator(mode="after")
    def _check_numbers(self) -> Self:
        for name in self.factors:
            one_of(name, Shocks.by_period(), "factors")
        return self

    @property
    def chosen(self) -> dict[str, Any]:
        """What is imposed, as plain data; empty where nothing is."""
        given = {"choices": self.choices.chosen, "factors": {name: list(each) for name, each in self.factors.items()}}
        given["first"] = {} if self.first is None else self.first.chosen
        given = {name: part for name, part in given.items() if part}
        return given | {"period": self.period} if "choices" in given and self.period is not None else given

    @property
    def parts(self) -> tuple[Treatment, ...]:
        """What is imposed one after another, itself last."""
        return (self,) if self.first is None else (*self.first.parts, self)

    def then(self, later: Treatment) -> Treatment:
        """Both, one after the other."""
        if not self.chosen:
            return later
        return later.model_copy(update={"first": self if later.first is None else self.then(later.first)})

    def law(self, config: EconomyConfig) -> Law:
        """What it does in an economy.

        Raises:
            ConfigError: As `Imposed.strategies`.
        """
        law = Law()
        for part in self.parts:
            law = law.then(Law(tuple(part.choices.strategies(config, part.period)), part.factors))
        return law

    def on(self, policies: Policies) -> Policies:
        """Policies under what is imposed: they follow the choices, and their economy has the factors.

        What is imposed on them already stays; of choices that both impose the new ones count, and factors multiply.

        Raises:
            ConfigError: As `Imposed.strategies`.
        """
        law = self.law(policies.config)
        return ImposedPolicies(policies, law) if law.replaced or law.factors else policies

    def words(self) -> str:
        """In words, such as "minimum_wage 22 from period 3, factors on crra"."""
        listed = []
        for part in self.parts:
            when = "" if part.period is None else f" from period {part.period}"
            choices = ", ".join(f"{name} {value:g}" for name, value in part.choices.chosen.items())
            listed += [choices + when] if choices else []
            listed += [f"factors on {name}" for name in part.factors]
        return ", ".join(listed)


class Law(NamedTuple):
    """What is imposed on whoever plays in an economy."""

    replaced: tuple[tuple[str, ReplaceParts], ...] = ()
    """What becomes of choices, one after another: agent types, and what replaces parts of all that they choose."""
    factors: Mapping[str, tuple[float, ...]] = {}
    """On numbers of the economy, by period; see `rbc_marl.vector_env.VectorEconomy.impose`."""

    def of(self, indices: Mapping[str, Tensor], state: EconomyState | None) -> dict[str, Tensor]:
        """What becomes of the choices of everybody.

        Args:
            indices: By agent type, of B economies, however the heads of a type are laid out.
            state: At the start of the period.

        Raises:
            ConfigError: Choices are imposed, and there is no state, which says the period.
        """
        played = dict(indices)
        if self.replaced and state is None:
            raise ConfigError("what is imposed depends on the period; call act(observation, state=...)")
        for agent_type, strategy in self.replaced:
            assert state is not None  # as was checked
            own = played[agent_type]
            heads = own if own.dim() == 3 else own.reshape(len(own), -1, 1)
            played[agent_type] = strategy.decide(heads, {}, None, state).reshape(own.shape)
        return played

    def then(self, later: Law) -> Law:
        """Both: of choices that both replace the later ones count, and factors multiply, period by period."""
        factors = {**self.factors, **later.factors}
        for name in self.factors.keys() & later.factors.keys():
            one, two = self.factors[name], later.factors[name]
            pairs = zip_longest(one, two)
            factors[name] = tuple((one[-1] if a is None else a) * (two[-1] if b is None else b) for a, b in pairs)
        return Law((*self.replaced, *later.replaced), factors)


Act = Callable[..., dict[str, Tensor]]


def law_of(policies: Policies) -> Law:
    """What is imposed on policies; nothing, where they do not say."""
    law: Law = getattr(policies, "law", Law())
    return law


def freely(policies: Policies) -> Act:
    """How policies act before what is imposed on them replaces anything, called as their ``act``."""
    act: Act = getattr(policies, "act_freely", policies.act)
    return act


def chooser_of(policies: Policies) -> Policies:
    """Whoever chooses beneath what is imposed."""
    while isinstance(policies, ImposedPolicies):
        policies = policies.base
    return policies


class UnderLaw(ABC):
    """Policies on which something may be imposed, whatever they would choose.

    Attributes:
        law: What is imposed.
    """

    law: Law

    @abstractmethod
    def act_freely(
        self,
        observation: Mapping[str, Tensor],
        generator: torch.Generator | None = None,
        greedy: bool = False,
        *,
        state: EconomyState | None = None,
    ) -> dict[str, Tensor]:
        """What they choose before anything is replaced; as `act`."""

    @torch.no_grad()
    def act(
        self,
        observation: Mapping[str, Tensor],
        generator: torch.Generator | None = None,
        greedy: bool = False,
        *,
        state: EconomyState | None = None,
    ) -> dict[str, Tensor]:
        """Decide for one period; see `rbc_marl.policies.Policies`.

        Raises:
            ConfigError: There is no state, and something that was chosen depends on it.
        """
        return self.law.of(self.act_freely(observation, generator, greedy, state=state), state)


class ImposedPolicies(UnderLaw):
    """Policies that decide everything but what is imposed.

    Attributes:
        base: Whoever decides.
        law: What is imposed, on the base already or here.
        config: The economy.
        encoding: Of the observations.
        device: Where everything is.
    """

    def __init__(self, base: Policies, law: Law) -> None:
        self.base, self.law = base, law_of(base).then(law)
        self.config, self.encoding, self.device = base.config, base.encoding, base.device

    def act_freely(
        self,
        observation: Mapping[str, Tensor],
        generator: torch.Generator | None = None,
        greedy: bool = False,
        *,
        state: EconomyState | None = None,
    ) -> dict[str, Tensor]:
        """Decide for one period, before anything is replaced; see `rbc_marl.policies.Policies`."""
        return freely(self.base)(observation, generator, greedy, state=state)


def imposed_in_training(info: Mapping[str, Any]) -> Treatment:
    """What the training of saved policies imposed (`rbc_marl.policies.saved.PolicySet.info`).

    Raises:
        ConfigError: It is not valid.
    """
    return Treatment.parse(info.get(IMPOSED, {}), f"policies.json: info.{IMPOSED}")


def as_trained(policies: Policies) -> Policies:
    """Saved policies under what their training imposed, which is a part of the economy that they know.

    Args:
        policies: Of `rbc_marl.load`; all others have no training, and are returned as they are.

    Raises:
        ConfigError: Something that was imposed is no choice of the economy, which is not that of training.
    """
    return imposed_in_training(getattr(policies, "info", {})).on(policies)


class ReplaceParts:
    """What agents would have chosen, with parts of it replaced; see `rbc_marl.policies.deviating.Strategy`."""

    def __init__(
        self, config: EconomyConfig, agent_type: str, values: Mapping[str, float], first_period: int = 0
    ) -> None:
        """Look up what each choice becomes.

        Args:
            config: The economy.
            agent_type: Who chooses.
            values: By part: "hours" of consumers, "price", "wage" and "investment" of firms, "income_tax" and
                "corporate_tax" of the government; or bounds, such as "minimum_wage". Each is a choice of the economy.
            first_period: From which period on parts are replaced.
        """
        self.first_period = first_period
        self.hours: int | None = None
        if agent_type == "consumer":
            self.hours = config.hours_choices.index(values["hours"])
            return
        table = getattr(choice_tables(config, dtype=torch.float64), agent_type)
        wanted = table.clone()
        for name, value in values.items():
            part, is_lowest = _BOUNDS.get(name, (name, None))
            column = _PARTS[part][1]
            low = None if is_lowest is False else value
            high = None if is_lowest is True else value
            wanted[:, column] = wanted[:, column].clamp(low, high)
        # The first choice of each kind: two alike in the table are the same choice.
        self.becomes = (wanted.unsqueeze(1) == table).all(-1).to(torch.uint8).argmax(dim=1)

    def decide(
        self, own: Tensor, observation: Mapping[str, Tensor], generator: torch.Generator | None, state: EconomyState
    ) -> Tensor:
        """Decide for one period."""
        if self.hours is not None:
            replaced = own.clone()
            replaced[..., -2] = self.hours
        else:
            replaced = self.becomes.to(own.device)[own.long()].to(own.dtype)
        return torch.where(state.time.view(-1, 1, 1) >= self.first_period, replaced, own)
