"""From a network's description in a configuration to the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rbc_marl.choices import head_sizes
from rbc_marl.config import EconomyConfig
from rbc_marl.errors import ConfigError, nearest
from rbc_marl.observations import observation_size
from rbc_marl.policies.equivariant import EquivariantConsumer, EquivariantFirm, EquivariantGovernment
from rbc_marl.policies.networks import FlatNetwork, PolicyNetwork

DEFAULT_HIDDEN = {"flat": (128, 128), "equivariant": (32, 32)}
NETWORKS = tuple(DEFAULT_HIDDEN)
_EQUIVARIANT = {"consumer": EquivariantConsumer, "firm": EquivariantFirm, "government": EquivariantGovernment}


def check_network_spec(spec: str | Mapping[str, Any], where: str = "model") -> dict[str, Any]:
    """The complete form of a network's description in a configuration.

    Args:
        spec: A kind ("flat" or "equivariant"), or a mapping with ``kind`` and optionally ``hidden``, a list of widths.
        where: Place in the file, for messages.

    Returns:
        A mapping of plain data with ``kind`` and ``hidden``.

    Raises:
        ConfigError: The kind or a key is unknown, or a width is not a positive whole number.
    """
    given = {"kind": spec} if isinstance(spec, str) else dict(spec) if isinstance(spec, Mapping) else None
    if given is None:
        raise ConfigError(f'{where} is {spec!r}; give "flat", or a mapping such as {{kind: flat, hidden: [128, 128]}}')
    for key in given:
        if key not in ("kind", "hidden"):
            raise ConfigError(f"{where}.{key} is not a setting of a network{nearest(str(key), ('kind', 'hidden'))}")
    kind = given.get("kind", "flat")
    if kind not in NETWORKS:
        raise ConfigError(f"{where}.kind is {kind!r}; it must be {' or '.join(NETWORKS)}{nearest(str(kind), NETWORKS)}")
    hidden = given.get("hidden", DEFAULT_HIDDEN[kind])
    if (
        not isinstance(hidden, (list, tuple))
        or not hidden
        or not all(type(width) is int and width > 0 for width in hidden)
    ):
        raise ConfigError(
            f"{where}.hidden is {hidden!r}; it must be a list of positive whole numbers, such as [128, 128]"
        )
    return {"kind": kind, "hidden": list(hidden)}


def build_network(
    config: EconomyConfig, agent_type: str, encoding: str = "symlog", spec: str | Mapping[str, Any] = "flat"
) -> PolicyNetwork:
    """Make the network of an agent type.

    Args:
        config: The economy.
        agent_type: "consumer", "firm" or "government".
        encoding: Of its observations.
        spec: Description; see `check_network_spec`.

    Raises:
        ConfigError: The type, the encoding or the description is unknown.
    """
    complete = check_network_spec(spec, where=f"model.{agent_type}")
    sizes = head_sizes(config, agent_type)
    if complete["kind"] == "equivariant":
        return _EQUIVARIANT[agent_type](config, encoding, sizes, complete["hidden"])
    shared_size, private_size = observation_size(config, agent_type, encoding)
    return FlatNetwork(shared_size, private_size, sizes, complete["hidden"], is_maskable=agent_type != "consumer")
