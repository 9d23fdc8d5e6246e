"""The single-agent environments under the names that `gymnasium.make` knows.

Gymnasium knows an environment once somebody has called its `register`. Importing gymnasium for that would double the
time this package takes to import, so that registration waits until gymnasium is imported anyway, before or after.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

NAMESPACE = "rbc_marl"
ENVIRONMENTS = {"Consumer-v0": "consumer", "Firm-v0": "firm", "Government-v0": "government"}
ENTRY_POINT = "rbc_marl.adapters.single_agent:SingleAgentEconomy"
_REGISTRY = "gymnasium.envs.registration"


def register() -> None:
    """Make the environments known to gymnasium: now if it is imported, otherwise as soon as it is."""
    if _REGISTRY in sys.modules:
        _register_with(sys.modules[_REGISTRY])
    elif not any(isinstance(finder, _RegistryFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _RegistryFinder())


def _register_with(registration: ModuleType) -> None:
    for name, agent_type in ENVIRONMENTS.items():
        identifier = f"{NAMESPACE}/{name}"
        if identifier not in registration.registry:
            registration.register(id=identifier, entry_point=ENTRY_POINT, kwargs={"agent_type": agent_type})


class _RegistryFinder(MetaPathFinder):
    """Watches for the import of gymnasium's registry, and steps aside once it has seen it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _REGISTRY:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                _register_with(module)

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec
