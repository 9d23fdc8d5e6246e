"""Scenarios: a question about trained agents in a file, and what it changes: a shock, a reform, another economy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from rbc_marl.analysis.treatments import Impulse, Reform, Responses, reformed, responses_of, shocked
from rbc_marl.config import EconomyConfig
from rbc_marl.errors import ConfigError
from rbc_marl.policies import Policies
from rbc_marl.policies.imposed import Treatment
from rbc_marl.presets import find_file
from rbc_marl.settings import Many, Section, load_yaml_file

# What episodes that are paired have in common.
_SIZES = ("num_consumers", "num_firms", "horizon")
# What fields of the economy stand under in other files.
_ELSEWHERE = ("economy", "env_config", "config")


class Scenario(Section):
    """What `rbc-marl scenario` reads: who plays, what changes, and for how long they learn on."""

    noun: ClassVar[str] = "a setting of a scenario"

    question: str = Field(description="what it asks")
    policies: str = Field(description="trained agents: a checkpoint, a run's folder, or a name")
    economy: dict[str, Any] = Field(default_factory=dict, description="fields of the economy that differ throughout")
    shocks: Many[Impulse] = Field((), description="to numbers of the economy, in some period")
    reform: Reform | None = Field(None, description="choices and numbers that change for good in a period")
    change: dict[str, Any] = Field(
        default_factory=dict, description="fields of the economy that differ, from the first period on"
    )
    learn: Annotated[int, Field(ge=0)] = Field(0, description="iterations that all learn on, with it and without")

    @model_validator(mode="after")
    def _check_change(self) -> Self:
        if not (self.shocks or self.reform or self.change):
            raise ValueError("nothing changes; give a shock, a reform or a change")
        named = [("economy", name) for name in self.economy] + [("change", name) for name in self.change]
        for place, name in named:
            if (head := name.partition(".")[0]) in _ELSEWHERE:
                raise ValueError(f"{place}.{name}: leave out {head}; fields of the economy have their own names: crra")
        if both := {*self.economy} & {*self.change}:
            raise ValueError(f"{min(both)} stands in economy and in change; give it once")
        if sizes := {*_SIZES} & {*self.change}:
            raise ValueError(f"change has {min(sizes)}, but agents and periods are paired; give it in economy")
        return self

    @classmethod
    def load(cls, name: str | Path) -> Self:
        """Read a scenario from a file, or one that comes with the package by its name.

        Raises:
            ConfigError: There is none, or a setting is wrong.
        """
        path = find_file(name, "scenario")
        data = load_yaml_file(path)
        if len(data) == 1 and isinstance(next(iter(data.values())), Mapping):
            raise ConfigError(f"{path.name} is an experiment or a sweep; a scenario begins with question and policies")
        return cls.parse(data, path.name)

    def treatment(self, config: EconomyConfig) -> Treatment:
        """What its shocks and its reform impose on an economy.

        Raises:
            ConfigError: Something cannot be in that economy, or a number is moved twice.
        """
        shocks = shocked(config, self.shocks) if self.shocks else Treatment()
        reform = reformed(config, self.reform) if self.reform else Treatment()
        if both := {*shocks.factors} & {*reform.factors}:
            raise ConfigError(f"{min(both)} is in a shock and in the reform; give it once")
        return Treatment(choices=reform.choices, period=reform.period, factors={**shocks.factors, **reform.factors})

    @property
    def first(self) -> int:
        """The first period in which something changes, from 1."""
        periods = [1] if self.change else [one.period for one in (*self.shocks, self.reform) if one is not None]
        return min(periods)

    def words(self, config: EconomyConfig) -> str:
        """What changes in an economy, in words."""
        parts = [*(one.words(config) for one in self.shocks), *([self.reform.words()] if self.reform else [])]
        parts += [f"{name} {_plain(value)}" for name, value in self.change.items()]
        return " and ".join(parts)

    def respond(
        self,
        policies: Policies,
        changed: Policies | None = None,
        learned: Policies | None = None,
        episodes: int = 256,
        seed: int = 0,
    ) -> Responses:
        """What changes, period by period, with the policies that everybody has, and with others that learned on.

        Args:
            policies: Whoever decides, in the economy as it is.
            changed: The same in the economy with `change`; None where there is none.
            learned: Policies that learned on with what changes, in that economy; None: nobody did.
            episodes: Pairs of them, at least two.
            seed: Of all draws.

        Raises:
            ConfigError: Something cannot be in that economy, or there are fewer than two episodes.
        """
        config = policies.config
        treatment, words = self.treatment(config), self.words(config)
        return responses_of(policies, changed or policies, learned, treatment, words, self.first, episodes, seed)


def _plain(value: object) -> str:
    """A value of a file, on a line: brackets (thresholds 8000, factors 0 3.6)."""
    if isinstance(value, Mapping):
        listed = ", ".join(f"{name} {_plain(one)}" for name, one in value.items() if name != "kind")
        return f"{value['kind']} ({listed})" if "kind" in value and listed else str(value.get("kind", listed))
    return " ".join(_plain(one) for one in value) if isinstance(value, list | tuple) else str(value)
