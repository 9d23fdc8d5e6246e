"""Settings of best responses: how deviations are searched for, and on how many episodes their gains are measured."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from rbc_marl.analysis.deviators import Deviator
from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.errors import ConfigError
from rbc_marl.policies.trembles import Trembles
from rbc_marl.settings import Many, Section

# Deviators learn at least this fast: nobody has to wait for the other types, which stay as they are.
LEAST_LEARNING_RATE = 1e-3

AgentType = Literal["consumer", "firm", "government"]
Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]
# An interval takes the spread of at least two episodes.
Episodes = Annotated[int, Field(ge=2)]
LearningRate = Annotated[float, Field(gt=0.0)]


def _as_list(numbers: object) -> object:
    return [numbers] if type(numbers) is int or numbers == "all" else numbers


OneOrMore = Literal["all"] | Index | list[Literal["all"] | Index]
AgentNumbers = Annotated[
    Many[Literal["all"] | Index], BeforeValidator(_as_list, json_schema_input_type=OneOrMore)
]
"""Numbers of agents among their type, or "all"; one number alone needs no list."""


class SingleAgents(Section):
    """Agents that deviate alone, by type; the government is one agent anyway."""

    noun: ClassVar[str] = "a type whose agents can deviate alone"

    consumer: AgentNumbers = Field((), examples=['[0, 37], or "all"'])
    firm: AgentNumbers = Field((), examples=['[0, 9], or "all"'])


class LearningRates(Section):
    """Learning rates by agent type; None: the run's, at least 1e-3."""

    noun: ClassVar[str] = "an agent type"

    consumer: LearningRate | None = None
    firm: LearningRate | None = None
    government: LearningRate | None = None


class BestResponseSettings(Section):
    """Settings of best responses.

    Raises:
        ConfigError: A setting is unknown, of the wrong type or out of range; the message names it.
    """

    noun: ClassVar[str] = "a setting of best responses"

    types: Many[AgentType] = Field(("consumer", "firm", "government"), examples=["[consumer, firm]"])
    """Agent types whose best responses are searched for."""
    agents: Literal["default", "all"] | SingleAgents = Field("default", examples=["{firm: [0, 9]}, or {} for none"])
    """Single agents that deviate alone, by type. "default": of the ``types``, the consumers with the least, the
    middle and the most disutility of labour, and the first, the middle and the last firm; "all": every consumer and
    every firm of the ``types``; an empty mapping: none. "all" may also stand in the place of a type's numbers. Where
    "firm" is among the ``types``, constants are tried for further firms too."""
    seeds: Annotated[Many[Index], Field(min_length=1)] = Field((0, 1, 2), examples=["[0, 1, 2]"])
    """A deviation is learnt once with each; the positive control with the first."""
    iterations: Count = 200
    """Of learning, one episode in each economy. The network is tried at the end and four times on the way."""
    episodes: Episodes = 1024
    """Fresh episodes on which gains are measured; nothing is called an equilibrium by fewer than 1,000."""
    selection_episodes: Episodes = 256
    """Other episodes, on which the best deviation is picked."""
    economies: Count | None = None
    """Economies played side by side while a type learns; None: as many as the run had."""
    agent_economies: Count = 32
    """The same while a single agent learns, who has only its own experience."""
    lr: LearningRates = Field(LearningRates(), examples=["{firm: 1e-3}"])
    """Learning rate by agent type; by default the run's, at least 1e-3. It rises from a tenth over the first tenth of
    the iterations, and falls to a tenth over the second half."""
    entropy: Annotated[float, Field(ge=0.0)] = 0.02
    """Weight of the entropy bonus while deviators learn."""
    perturbation: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """How far the positive control's network lies from the policies' own, towards one that has learnt nothing (1). At
    half the way little of the reward is left, and where nobody works is not yet nearer than where they did."""
    checkpoints: Literal["all"] | Many[Index] = Field((), examples=["[400]"])
    """Iterations of the run's checkpoints to check; "all": every one it has kept; empty: the one given."""
    evaluation_seed: Index = 0
    """Of the episodes on which deviations are picked and measured."""
    searches: Many[Literal["schedules", "rules", "one_step"]] = Field(
        ("schedules", "rules", "one_step"), examples=["[schedules]"]
    )
    """Searches beside learning and constants: schedules over the periods, rules by name, and the best of a consumer's
    own alternatives at every state."""
    trembles: Trembles = Field(Trembles(price=0.05), examples=["{price: 0.05}, or {} for none"])
    """Of everybody else, where gains are measured off the path as well."""

    @model_validator(mode="before")
    @classmethod
    def _name_what_replaced_an_old_name(cls, data: object) -> object:
        if isinstance(data, Mapping) and "damage" in data:
            raise ValueError("perturbation is what damage is called now")
        return data

    @field_validator("seeds")
    @classmethod
    def _check_that_seeds_differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("it must have each seed once: learnt twice with one seed is the same")
        return seeds

    def replace(self, **changes: Any) -> Self:  # noqa: ANN401 - fields have many types, and are validated
        """A validated copy with some settings changed.

        Raises:
            ConfigError: A change is unknown, or not valid.
        """
        return type(self)(**{**dict(self), **changes})

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return self.model_dump(mode="json")

    def deviators(self, economy: EconomyConfig) -> list[Deviator]:
        """Who is checked in an economy: types first, then single agents.

        Raises:
            ConfigError: An agent is not in the economy, or nobody is to be checked.
        """
        deviators = [Deviator(agent_type) for agent_type in AGENT_TYPES if agent_type in self.types]
        for agent_type, numbers in self._agent_numbers(economy).items():
            count = economy.agents(agent_type)
            if max(numbers, default=0) >= count:
                raise ConfigError(
                    f"{agent_type} {max(numbers)} is not in this economy; its {count} agents of type {agent_type} are "
                    f"numbered from 0 to {count - 1}"
                )
            deviators += [Deviator(agent_type, number) for number in dict.fromkeys(numbers)]
        if not deviators:
            raise ConfigError("nobody is to be checked; name a type or an agent")
        return deviators

    def _agent_numbers(self, economy: EconomyConfig) -> dict[str, Sequence[int]]:
        consumers, firms = economy.num_consumers, economy.num_firms
        if isinstance(self.agents, SingleAgents):
            return {
                agent_type: range(economy.agents(agent_type)) if "all" in numbers else numbers
                for agent_type, numbers in self.agents
            }
        if self.agents == "all":
            numbers: dict[str, Sequence[int]] = {"consumer": range(consumers), "firm": range(firms)}
        else:  # the first consumer has the highest disutility of labour
            numbers = {"consumer": (consumers - 1, consumers // 2, 0), "firm": (0, firms // 2, firms - 1)}
        return {agent_type: numbers[agent_type] for agent_type in numbers if agent_type in self.types}


# The words of each option of the command line, and how they are written.
_WORDS = {
    "--agent": (re.compile(r"(\w+):(\d+|all)"), "write it as type:number, such as consumer:37, or firm:all"),
    "--checkpoint": (re.compile(r"(\d+)|all"), "give the number of an iteration, or all"),
    "--lr": (re.compile(r"(\w+)=((?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"), "write it as type=rate, such as firm=1e-3"),
}


def settings_from_words(
    types: Sequence[str] = (),
    agents: Sequence[str] = (),
    checkpoints: Sequence[str] = (),
    rates: Sequence[str] = (),
    **settings: object,
) -> BestResponseSettings:
    """Settings from the words of a command line.

    Args:
        types: Agent types; empty for all, or for none where single agents are named.
        agents: Such as "consumer:37" or "firm:all"; empty for the default, or for none where types are named.
        checkpoints: Iterations, or "all".
        rates: Such as "firm=1e-3".
        **settings: Further fields of `BestResponseSettings`.

    Raises:
        ConfigError: A word cannot be read, or a setting is not valid.
    """
    data = dict(settings)
    if types or agents:
        numbers: dict[str, list[object]] = {}
        for match in _matches("--agent", agents):
            numbers.setdefault(match[1], []).append("all" if match[2] == "all" else int(match[2]))
        data |= {"types": list(types), "agents": numbers}
    iterations = [match[1] and int(match[1]) for match in _matches("--checkpoint", checkpoints)]
    data["checkpoints"] = "all" if None in iterations else iterations
    data["lr"] = {match[1]: float(match[2]) for match in _matches("--lr", rates)}
    return BestResponseSettings.parse(data, where="")


def _matches(option: str, words: Sequence[str]) -> Iterator[re.Match[str]]:
    pattern, form = _WORDS[option]
    for word in words:
        match = pattern.fullmatch(word)
        if match is None:
            raise ConfigError(f"{option} {word}: {form}")
        yield match
