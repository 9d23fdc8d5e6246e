"""The single-agent environments under the names that `gymnasium.make` knows.

Importing `rbc_marl` registers them; `gymnasium_hook` does so in an installed package that nobody has imported, and
executes this file alone. It therefore needs the standard library alone.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # typing's own would take an import
if TYPE_CHECKING:
    from types import ModuleType

NAMESPACE = "rbc_marl"
ENVIRONMENTS = {"Consumer-v0": "consumer", "Firm-v0": "firm", "Government-v0": "government"}
"""Names in `NAMESPACE`, and the agent types that the environments are about."""
# A name, so that torch and the environment are imported by whoever makes one, not by everybody.
ENTRY_POINT = "rbc_marl.envs.gymnasium:SingleAgentEconomy"


def register(registration: ModuleType | None = None) -> None:
    """Make the environments known to `gymnasium.make`; names that are known already stay as they are.

    Args:
        registration: Gymnasium's module of that name; None: it is imported.
    """
    registration = registration or import_module("gymnasium.envs.registration")
    for name, agent_type in ENVIRONMENTS.items():
        identifier = f"{NAMESPACE}/{name}"
        if identifier not in registration.registry:
            registration.register(id=identifier, entry_point=ENTRY_POINT, kwargs={"agent_type": agent_type})
