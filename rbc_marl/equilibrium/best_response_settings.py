"""How best responses are searched for and measured: one validated set of settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.equilibrium.checks import check_keys, number, whole
from rbc_marl.equilibrium.constants import Target
from rbc_marl.errors import ConfigError, nearest

# Deviators learn at least this fast: nobody has to wait for the others, who stay as they are.
LEAST_RATE = 1e-3
# The paper's bounds of an equilibrium (its Table 3): gain over what the type gained in training.
PAPER_BOUNDS = {"consumer": 0.03, "firm": 0.10, "government": 0.01}


@dataclass(frozen=True)
class Settings:
    """Settings of best responses.

    Raises:
        ConfigError: A setting is out of range; the message names it.
    """

    types: tuple[str, ...] = AGENT_TYPES
    """Agent types whose best responses are searched for."""
    agents: Mapping[str, tuple[int | str, ...]] | str = "default"
    """Single agents that deviate alone, by type. "default": of the ``types``, the consumers with the least, the
    middle and the most disutility of labour, and the first, the middle and the last firm; "all": every consumer and
    every firm of the ``types``; an empty mapping: none. "all" may also stand in the place of a type's numbers. Where
    "firm" is among the ``types``, constants are tried for further firms too."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """A deviation is learnt once with each; the positive control with the first."""
    iterations: int = 200
    """Of learning, one episode in each economy. The network is tried at the end and four times on the way."""
    episodes: int = 1024
    """Fresh episodes on which gains are measured; nothing is called an equilibrium by fewer than 1,000."""
    selection_episodes: int = 256
    """Other episodes, on which the best deviation is picked."""
    economies: int | None = None
    """Economies played side by side while a type learns; None: as many as the run had."""
    agent_economies: int = 32
    """The same while a single agent learns, who has only its own experience."""
    lr: Mapping[str, float] = field(default_factory=dict)
    """Learning rate by agent type; by default the run's, at least 1e-3. It rises from a tenth over the first tenth of
    the iterations, and falls to a tenth over the second half."""
    entropy: float = 0.02
    """Weight of the entropy bonus while deviators learn."""
    damage: float = 0.5
    """How far the positive control's network lies from the policies' own, towards one that has learnt nothing (1). At
    half the way little of the reward is left, and where nobody works is not yet nearer than where they did."""
    checkpoints: tuple[int, ...] | str = ()
    """Iterations of the run's checkpoints to check; "all": every one it has kept; empty: the one given."""
    evaluation_seed: int = 0
    """Of the episodes on which deviations are picked and measured."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name, least in (
            ("iterations", 1),
            ("episodes", 2),
            ("selection_episodes", 2),
            ("agent_economies", 1),
            ("evaluation_seed", 0),
        ):
            whole(getattr(self, name), name, least)
        if self.economies is not None:
            whole(self.economies, "economies")
        seeds = self.seeds
        if not isinstance(seeds, tuple) or not seeds or not all(type(seed) is int and seed >= 0 for seed in seeds):
            raise ConfigError(f"seeds is {_shown(seeds)}; give a list of at least one whole number, such as [0, 1, 2]")
        if len(set(seeds)) < len(seeds):
            raise ConfigError(f"seeds is {_shown(seeds)}; learnt twice with one seed is the same: give each once")
        number(self.entropy, "entropy", 0.0)
        if number(self.damage, "damage", 0.0, 1.0) == 0.0:
            raise ConfigError("damage is 0; it must be above 0, or the control has nothing to win back")
        self._check_checkpoints()
        if not isinstance(self.types, tuple):
            raise ConfigError(f"types is {self.types!r}; give a list, such as [consumer, firm]")
        for agent_type in self.types:
            if agent_type not in AGENT_TYPES:
                raise ConfigError(f"types has {agent_type!r}; there are {', '.join(AGENT_TYPES)}{_close(agent_type)}")
        if not isinstance(self.lr, Mapping):
            raise ConfigError(f"lr is {self.lr!r}; give rates by type, such as {{firm: 1e-3}}")
        for agent_type, rate in self.lr.items():
            if agent_type not in AGENT_TYPES:
                raise ConfigError(f"lr.{agent_type} is not an agent type{_close(agent_type)}")
            if number(rate, f"lr.{agent_type}", 0.0) == 0.0:
                raise ConfigError(f"lr.{agent_type} is 0; it must be above 0, or nobody learns")
        self._check_agents()

    def _check_checkpoints(self) -> None:
        found = self.checkpoints
        is_list = isinstance(found, tuple) and all(type(one) is int and one >= 0 for one in found)
        if found != "all" and not is_list:
            raise ConfigError(f'checkpoints is {_shown(found)}; give a list of iterations, such as [400], or "all"')

    def _check_agents(self) -> None:
        if not isinstance(self.agents, Mapping):
            if self.agents not in ("default", "all"):
                mend = 'give numbers by type, such as {firm: [0, 9]}, "default", "all", or {} for none'
                raise ConfigError(f"agents is {_shown(self.agents)}; {mend}")
            return
        for agent_type, numbers in self.agents.items():
            if agent_type not in ("consumer", "firm"):
                mend = nearest(str(agent_type), ("consumer", "firm")) or "; single agents are consumers or firms"
                raise ConfigError(f"agents.{agent_type} cannot deviate alone{mend}")
            if not isinstance(numbers, tuple):
                raise ConfigError(f'agents.{agent_type} is {numbers!r}; give a list of numbers, or "all"')
            for one in numbers:
                if one != "all" and (type(one) is not int or one < 0):
                    raise ConfigError(f'agents.{agent_type} has {one!r}; give whole numbers of at least 0, or "all"')

    @classmethod
    def of(cls, given: Mapping[str, Any], where: str = "best_response") -> Settings:
        """Settings from the plain data of a file.

        Args:
            given: Some of the fields; lists stand for tuples, and one agent's number for a list of it.
            where: Their place in the file, for messages.

        Raises:
            ConfigError: A field is unknown or out of range.
        """
        check_keys(given, [one.name for one in dataclasses.fields(cls)], where, "a setting of best responses")
        values: dict[str, Any] = {name: _tuple(value) for name, value in given.items()}
        if isinstance(agents := values.get("agents"), Mapping):
            values["agents"] = {
                agent_type: (numbers,) if numbers == "all" or type(numbers) is int else _tuple(numbers)
                for agent_type, numbers in agents.items()
            }
        try:
            return cls(**values)
        except ConfigError as error:
            raise ConfigError(f"{where}.{error}") from None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return dataclasses.asdict(self)

    def targets(self, economy: EconomyConfig) -> list[Target]:
        """Who is checked in an economy: types first, then single agents.

        Raises:
            ConfigError: An agent is not in the economy.
        """
        found = [Target(agent_type) for agent_type in AGENT_TYPES if agent_type in self.types]
        for agent_type, numbers in self._numbers(economy).items():
            count = economy.agents(agent_type)
            for one in dict.fromkeys(numbers):
                if one >= count:
                    raise ConfigError(
                        f"{agent_type} {one} is not in this economy; its {count} agents of type {agent_type} are "
                        f"numbered from 0 to {count - 1}"
                    )
                found.append(Target(agent_type, one))
        if not found:
            raise ConfigError("nobody is to be checked; name a type or an agent")
        return found

    def _numbers(self, economy: EconomyConfig) -> Mapping[str, tuple[int, ...]]:
        if not isinstance(self.agents, str):
            return {
                agent_type: tuple(range(economy.agents(agent_type)))
                if "all" in numbers
                else tuple(one for one in numbers if isinstance(one, int))
                for agent_type, numbers in self.agents.items()
            }
        single = [agent_type for agent_type in ("consumer", "firm") if agent_type in self.types]
        if self.agents == "all":
            return {agent_type: tuple(range(economy.agents(agent_type))) for agent_type in single}
        consumers, firms = economy.num_consumers, economy.num_firms
        # The first consumer has the highest disutility of labour.
        chosen = {"consumer": (consumers - 1, consumers // 2, 0), "firm": (0, firms // 2, firms - 1)}
        return {agent_type: chosen[agent_type] for agent_type in single}


def parse_settings(
    types: Sequence[str] | None,
    agents: Sequence[str] | None,
    checkpoints: Sequence[str] | None,
    rates: Sequence[str] | None,
    seeds: int,
    **others: Any,  # noqa: ANN401 - other fields
) -> Settings:
    """Settings from the words of a command line.

    Args:
        types: Agent types; None for all, or for none where single agents are named.
        agents: Such as "consumer:37" or "firm:all"; None for the default, or for none where types are named.
        checkpoints: Iterations, or "all".
        rates: Such as "firm=1e-3".
        seeds: How many.
        **others: Further fields of `Settings`.

    Raises:
        ConfigError: A word cannot be read, or a setting is out of range.
    """
    given: dict[str, Any] = {"seeds": tuple(range(seeds)), **others}
    if types or agents:
        given["types"] = tuple(types or ())
        given["agents"] = _parse_agents(agents or ())
    if checkpoints:
        wrong = [word for word in checkpoints if word != "all" and not word.isdigit()]
        if wrong:
            raise ConfigError(f"--checkpoint {wrong[0]}: give the number of an iteration, or all")
        given["checkpoints"] = "all" if "all" in checkpoints else tuple(map(int, checkpoints))
    given["lr"] = {}
    for word in rates or ():
        agent_type, _, rate = word.partition("=")
        try:
            given["lr"][agent_type] = float(rate)
        except ValueError:
            raise ConfigError(f"--lr {word}: write it as type=rate, such as firm=1e-3") from None
    return Settings(**given)


def _parse_agents(words: Sequence[str]) -> dict[str, tuple[int | str, ...]]:
    found: dict[str, tuple[int | str, ...]] = {}
    for word in words:
        agent_type, _, number = word.partition(":")
        if number != "all" and not number.isdigit():
            raise ConfigError(f"--agent {word}: write it as type:number, such as consumer:37, or firm:all")
        found[agent_type] = (*found.get(agent_type, ()), number if number == "all" else int(number))
    return found


def _close(name: object) -> str:
    return nearest(str(name), AGENT_TYPES)


def _tuple(given: Any) -> Any:  # noqa: ANN401 - from a file
    return tuple(given) if isinstance(given, list) else given


def _shown(given: Any) -> str:  # noqa: ANN401 - from a file
    """A value as a file shows it."""
    return repr(list(given) if isinstance(given, tuple) else given)
