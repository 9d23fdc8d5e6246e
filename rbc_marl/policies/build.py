"""From a network's description in a configuration to the network: those of this package, and classes of one's own."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import Field, PlainValidator, SerializationInfo, WithJsonSchema, model_serializer, model_validator

from rbc_marl.choices import head_sizes
from rbc_marl.config import EconomyConfig
from rbc_marl.errors import ConfigError, nearest
from rbc_marl.observations import common_ranges
from rbc_marl.own_class import load_copy, name_of, original_of
from rbc_marl.policies.equivariant import EquivariantConsumer, EquivariantFirm, EquivariantGovernment
from rbc_marl.policies.knots import check_knots
from rbc_marl.policies.networks import FlatNetwork, PolicyNetwork
from rbc_marl.settings import Many, Section, load_named

DEFAULT_HIDDEN = {"flat": (128, 128), "equivariant": (32, 32)}
NETWORKS = tuple(DEFAULT_HIDDEN)
_EQUIVARIANT: dict[str, type[PolicyNetwork]] = {
    "consumer": EquivariantConsumer,
    "firm": EquivariantFirm,
    "government": EquivariantGovernment,
}
_MEANT = f"it must be {' or '.join(NETWORKS)}, or name a subclass of PolicyNetwork as package.module.Class"


def _kind(value: object) -> object:
    """A kind by name, or a class of one's own: its path is looked up, and nothing of it is called.

    Raises:
        ValueError: It is neither.
    """
    if isinstance(value, str) and value not in NETWORKS:
        if not _is_dotted(value):
            raise ValueError(f"{_MEANT}{nearest(value, NETWORKS)}")
        try:
            return load_named(value, "kind", lambda cls: issubclass(cls, PolicyNetwork), "a subclass of PolicyNetwork")
        except ConfigError as error:
            raise ValueError(f"{_MEANT}; {str(error).partition(', which ')[2]}") from None
    if isinstance(value, type) and issubclass(value, PolicyNetwork):
        if "." in value.__qualname__:
            raise ValueError("it must be at the top of a module: checkpoints cannot name a class inside of something")
    elif value not in NETWORKS:
        raise ValueError(_MEANT)
    return value


def _is_dotted(kind: str) -> bool:
    """Whether a kind is written as package.module.Class or package.module:Class."""
    return "." in kind.replace(":", ".")


class NetworkSpec(Section):
    """Description of the network of one agent type: a kind of this package with its widths, or a class of one's own.

    In a file ``flat``, ``{kind: flat, hidden: [128, 128]}``, ``my_module.MyNetwork`` or
    ``{kind: my_module.MyNetwork, width: 64}``; in Python a class can stand in place of its dotted name. Settings beside
    the kind are keyword arguments of a class of one's own, which follows `PolicyNetwork`.
    """

    noun: ClassVar[str] = "a setting of a network"

    kind: Annotated[Any, PlainValidator(_kind), WithJsonSchema({"type": "string"})] = Field(
        "flat", description='"flat", "equivariant", or the dotted name of a subclass of PolicyNetwork'
    )
    hidden: Annotated[Many[Annotated[int, Field(gt=0, le=65_536)]], Field(min_length=1, max_length=32)] | None = Field(
        None, description="width of each hidden layer", examples=[[128, 128]]
    )
    ranks_prices: bool = Field(
        default=False, description="equivariant consumer: whether it sees how each price stands beside the cheaper ones"
    )
    first_choice: float = Field(
        default=0.0, description="flat firm or government: added at the start to the logit of its first choice"
    )
    knots: dict[str, Annotated[int, Field(ge=2, le=1024)]] = Field(
        {}, description="knots by name of a number that all agents see: its values have weights of their own",
        examples=["{time: 10}"],
    )  # fmt: skip
    settings: dict[str, Any] = Field({}, exclude=True, description="keyword arguments of a class of one's own")

    @model_validator(mode="before")
    @classmethod
    def _spelt_out(cls, given: object) -> object:
        """Complete a name, a class or a mapping without widths; the settings of a class of one's own stand apart."""
        data = {"kind": given} if isinstance(given, (str, type)) else given
        if not isinstance(data, Mapping):
            return data
        kind = data.get("kind", "flat")
        if isinstance(kind, str) and kind in NETWORKS:
            usual = {"hidden": DEFAULT_HIDDEN[kind]} if data.get("hidden") is None else {}
            return {**data, **usual}
        is_own = isinstance(kind, type) or (isinstance(kind, str) and _is_dotted(kind))
        return {"kind": kind, "settings": {k: v for k, v in data.items() if k != "kind"}} if is_own else data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.is_own:
            known = inspect.signature(self.kind).parameters
            takes_any = any(p.kind is p.VAR_KEYWORD for p in known.values())
            for name in self.settings:
                if name not in known and not takes_any:
                    raise ValueError(f"{name} is not a setting of {self.kind.__name__}{nearest(name, known)}")
            try:
                json.dumps(self.settings, allow_nan=False)
            except (TypeError, ValueError) as error:
                raise ValueError(f"what stands beside {self.kind.__name__} must be plain data ({error})") from None
        elif self.settings:
            raise ValueError(f"settings are for a class of one's own; {self.kind} has hidden and others beside it")
        return self

    @model_serializer(mode="plain")
    def _described(self, info: SerializationInfo) -> dict[str, Any]:
        """The mapping that makes it again; as JSON a class is ``module:Class``."""
        if not self.is_own:
            return {"kind": self.kind, "hidden": list(self.hidden or ()), **self._options}
        return {"kind": name_of(self.kind) if info.mode == "json" else self.kind, **self.settings}

    def __reduce__(self) -> tuple[Any, ...]:
        """Classes that a checkpoint brought along are loaded from its copy again, in whatever process this arrives."""
        original = original_of(self.kind) if self.is_own else None
        if original is None:
            return NetworkSpec.of, (self.model_dump(),)
        return _with_copy, (*original, self.kind.__qualname__, self.settings)

    @property
    def _options(self) -> dict[str, Any]:
        """Settings of single kinds, where they are not as usual: descriptions of old policies have none."""
        named = {"ranks_prices": self.ranks_prices, "first_choice": self.first_choice, "knots": dict(self.knots)}
        return {name: value for name, value in named.items() if value}

    @property
    def is_own(self) -> bool:
        """Whether it names a class of one's own."""
        return isinstance(self.kind, type)

    @classmethod
    def of(cls, spec: NetworkSpec | str | type | Mapping[str, Any], where: str = "network") -> NetworkSpec:
        """The typed form of a description.

        Raises:
            ConfigError: The kind or a setting is unknown, or a width is not a positive whole number.
        """
        if spec is None:  # which elsewhere stands for defaults
            raise ConfigError(f"{where} is None; {_MEANT}")
        return cls.parse(spec, where)

    def build(self, config: EconomyConfig, agent_type: str, encoding: str) -> PolicyNetwork:
        """Make the network of an agent type.

        Raises:
            ConfigError: A class of one's own cannot be made, or does not do what a policy network must.
        """
        sizes = head_sizes(config, agent_type)
        if self.is_own:
            return _own_network(self.kind, config, agent_type, encoding, sizes, self.settings)
        self.check_options(agent_type, config, encoding)
        build: Callable[..., PolicyNetwork] = self.class_of(agent_type)
        return build(config, agent_type, encoding, sizes, hidden=self.hidden, **self._options)

    def check_options(self, agent_type: str, config: EconomyConfig, encoding: str) -> None:
        """Refuse options that the network of an agent type does not have, and knots of what it does not see.

        Raises:
            ConfigError: There is one.
        """
        for name in self._options:
            if not self.is_own and name not in inspect.signature(self.class_of(agent_type)).parameters:
                kind = f"the {self.kind} network of the {agent_type}"
                raise ConfigError(f"networks.{agent_type}.{name} is not a setting of {kind}; leave it out")
        check_knots(self.knots, common_ranges(config, encoding), f"networks.{agent_type}.knots")

    def class_of(self, agent_type: str) -> type[PolicyNetwork]:
        """The class of an agent type's network."""
        if self.is_own:
            own: type[PolicyNetwork] = self.kind
            return own
        return FlatNetwork if self.kind == "flat" else _EQUIVARIANT[agent_type]


def _with_copy(module: str, path: str, name: str, settings: dict[str, Any]) -> NetworkSpec:
    return NetworkSpec.of({"kind": getattr(load_copy(module, path), name), **settings})


def build_network(
    config: EconomyConfig,
    agent_type: str,
    encoding: str = "symlog",
    spec: NetworkSpec | str | type | Mapping[str, Any] = "flat",
) -> PolicyNetwork:
    """Make the network of an agent type.

    Args:
        config: The economy.
        agent_type: "consumer", "firm" or "government".
        encoding: Of its observations.
        spec: Description; see `NetworkSpec`.

    Raises:
        ConfigError: The type, the encoding or the description is unknown, or a class of one's own does not fit.
    """
    return NetworkSpec.of(spec, f"networks.{agent_type}").build(config, agent_type, encoding)


def _own_network(
    own: type[PolicyNetwork],
    config: EconomyConfig,
    agent_type: str,
    encoding: str,
    sizes: tuple[int, ...],
    settings: Mapping[str, Any],
) -> PolicyNetwork:
    """A network of one's own, tried on two rows: what is wrong with it shows before anything trains.

    Raises:
        ConfigError: It cannot be made or run, its shapes are others, or it ignores its mask.
    """
    where = f"networks.{agent_type}: {own.__name__}"
    agents, wanted = config.agents(agent_type), sum(sizes)
    try:
        network = own(config, agent_type, encoding, sizes, **settings)
        with torch.no_grad():
            private = torch.zeros(2, agents, network.seen_size)
            logits, values = network(torch.zeros(2, network.shared_size), private)
            if network.is_maskable:
                network.log_mask.fill_(-1.0)
                shift = logits - network(torch.zeros(2, network.shared_size), private)[0]
                network.lift_mask()
    except Exception as error:
        reason = "".join(str(error).strip().splitlines()[:1])
        if "shapes cannot be multiplied" in reason and agent_type == "firm":
            reason += "; self.written_out(private) has the private_size columns, private itself a firm's number"
        raise ConfigError(f"{where} cannot be made and run: {type(error).__name__}: {reason}") from error
    for name, shape, needed in (
        ("logits", tuple(logits.shape), (2, agents, wanted)),
        ("values", tuple(values.shape), (2, agents)),
    ):
        if shape != needed:
            raise ConfigError(f"{where} gives {name} of shape {shape}; for 2 rows of {agents} agents give {needed}")
    if network.is_maskable and not torch.allclose(shift, torch.ones_like(shift), atol=1e-3):
        raise ConfigError(f"{where} ignores its mask, which curricula need; add self.log_mask to the logits")
    return network
