"""Tells Gymnasium about the environments of an installed package that nobody has imported.

Entry points cannot do this: Gymnasium 1.0 stopped loading them. So the wheel holds this file outside the package, as
the module `_rbc_marl_gymnasium`, and a .pth file that imports it when Python starts. It waits for somebody to import
Gymnasium, and then adds the names. Nothing else of the package is imported before an environment is made.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing's own would take an import whenever Python starts
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

REGISTRY = "gymnasium.envs.registration"


class RegisterOnImport:
    """A finder for `sys.meta_path` that adds the names as soon as Gymnasium's registry is imported."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The specification that the other finders give for the registry; its execution then adds the names."""
        if name != REGISTRY:
            return None
        sys.meta_path.remove(self)  # once is enough, and the others are to find it
        from importlib.util import find_spec

        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                register(module)

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]  # of this one loader
        return spec


def register(registration: ModuleType) -> None:
    """Add the names to Gymnasium's registry by `rbc_marl.envs.registration`, without importing the package."""
    from importlib.util import find_spec, module_from_spec, spec_from_file_location

    package = find_spec("rbc_marl")
    if package is None or not package.submodule_search_locations:
        return  # removed since
    path = f"{package.submodule_search_locations[0]}/envs/registration.py"
    spec = spec_from_file_location("_rbc_marl_registration", path)
    assert spec is not None and spec.loader is not None
    names = module_from_spec(spec)
    spec.loader.exec_module(names)
    names.register(registration)


if __name__ == "_rbc_marl_gymnasium" and REGISTRY not in sys.modules:
    sys.meta_path.insert(0, RegisterOnImport())
