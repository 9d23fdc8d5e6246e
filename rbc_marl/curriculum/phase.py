"""What holds in one iteration of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from torch import Tensor

from rbc_marl.choices import firm_mask, fixed_government_mask, government_mask
from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.economy.parameters import LABOUR_DISUTILITY_SCALE, check_number
from rbc_marl.errors import ConfigError, nearest

Range = tuple[float, float]
EVERYTHING: Range = (-math.inf, math.inf)


@dataclass(frozen=True)
class Phase:
    """What holds in one iteration. Masks are the same when acting and when learning."""

    learning: frozenset[str] = frozenset(AGENT_TYPES)
    """Agent types that learn; the others keep their weights bit for bit."""
    random: frozenset[str] = frozenset()
    """Agent types that act uniformly at random within their mask."""
    price: Range = EVERYTHING
    """Prices that firms may post."""
    wage: Range = EVERYTHING
    """Wages that firms may post."""
    highest_tax: float = 1.0
    """Highest rate of either tax."""
    fixed_taxes: tuple[float, float] | None = None
    """Income and corporate tax that the government sets, as far as they are open; None: its choice."""
    labour_disutility: float = 1.0
    """Factor on the disutility of labour."""
    entropy: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(AGENT_TYPES, 1.0))
    """Factor on the entropy weight of each agent type."""
    learning_rate: float | Mapping[str, float] = 1.0
    """Factor on the learning rates of all agent types, or on each type's."""
    trembles: float = 1.0
    """Factor on the rates of trembles."""
    economy: Mapping[str, float] = field(default_factory=dict)
    """Numbers in place of the economy's own while training (`rbc_marl.economy.PARAMETERS`); evaluation has its own."""

    def parameters(self) -> dict[str, float]:
        """All numbers that hold in place of the economy's own."""
        return {LABOUR_DISUTILITY_SCALE: self.labour_disutility, **self.economy}

    def own_economy(self) -> Phase:
        """The same phase in the economy as it is configured, but for the factor on the disutility of labour."""
        return replace(self, economy={})

    def rate(self, agent_type: str) -> float:
        """Factor on the learning rate of an agent type, or of a module that is none (which only a common one moves)."""
        factors = self.learning_rate
        return factors.get(agent_type, 1.0) if isinstance(factors, Mapping) else factors

    def describe(self) -> str:
        """The phase in a few words, for a progress display."""
        return ", ".join([self._stage(), *(f"{name} {number:g}" for name, number in self.economy.items())])

    def _stage(self) -> str:
        learning = [t for t in AGENT_TYPES if t in self.learning]
        words = "all learn" if len(learning) == len(AGENT_TYPES) else f"{' and '.join(learning) or 'nobody'} learning"
        opened = f"taxes up to {self.highest_tax:.0%}" if self.highest_tax > 0 else "no taxes"
        if self.fixed_taxes is not None:
            rates = " and ".join(f"{rate:.0%}" for rate in self.fixed_taxes)
            is_reached = self.highest_tax >= max(self.fixed_taxes)
            return f"{words}, taxes fixed at {rates}" if is_reached else f"{words}, {opened} on the way to {rates}"
        return words if self.highest_tax >= 1.0 else f"{words}, {opened}"

    def report(self) -> dict[str, str | float]:
        """The phase in words and its numbers, for results and logs."""
        rates = self.learning_rate if isinstance(self.learning_rate, Mapping) else {}
        return {
            "phase": self.describe(),
            "highest_tax": self.highest_tax,
            "labour_disutility": self.labour_disutility,
            **({f"learning_rate_{t}": rate for t, rate in rates.items()} or {"learning_rate": self.rate("")}),
            **{f"entropy_{t}": factor for t, factor in self.entropy.items()},
            **self.economy,
        }

    def masks(self, config: EconomyConfig) -> dict[str, Tensor]:
        """Allowed joint choices [n] (bool) of firms and of the government; consumers may always do everything."""
        fixed = self.fixed_taxes
        return {
            "firm": firm_mask(config, self.price, self.wage),
            "government": (
                government_mask(config, self.highest_tax)
                if fixed is None
                else fixed_government_mask(config, fixed, self.highest_tax)
            ),
        }


class Schedule(Protocol):
    """Any curriculum: an object with this one method can stand in a configuration."""

    def phase(self, iteration: int) -> Phase:
        """What holds in an iteration, counted from 0."""
        ...


def check_phase(phase: object, config: EconomyConfig, where: str) -> None:
    """Refuse what is no phase of an economy.

    Raises:
        ConfigError: It names what is not there, or leaves an agent without a choice; the message begins with ``where``.
    """
    if not isinstance(phase, Phase):
        raise ConfigError(f"{where} is {phase!r}; it must be a rbc_marl.curriculum.Phase")
    rates = phase.learning_rate if isinstance(phase.learning_rate, Mapping) else {}
    named = {"learning": phase.learning, "random": phase.random, "entropy": phase.entropy, "learning_rate": rates}
    for name, agent_types in named.items():
        for agent_type in agent_types:
            if agent_type not in AGENT_TYPES:
                raise ConfigError(
                    f'{where}.{name} names "{agent_type}"; there are {", ".join(AGENT_TYPES)}'
                    f"{nearest(str(agent_type), AGENT_TYPES)}"
                )
    for name, number in phase.economy.items():
        check_number(name, number, f"{where}.economy.{name}")
    missing = [t for t in AGENT_TYPES if t not in phase.entropy]
    if missing:
        raise ConfigError(f"{where}.entropy has no factor for {' and '.join(missing)}; give one (1.0: as set)")
    for agent_type, mask in phase.masks(config).items():
        if not mask.any():
            raise ConfigError(
                f"{where} leaves the {agent_type} without any choice; open its ranges as far as one of the choices"
            )
