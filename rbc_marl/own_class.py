"""Classes of one's own that saved policies name: whether they are installed, and copies of their source.

A checkpoint keeps the source of each module that it needs and that is not installed. Nothing of such a copy runs unless
the user trusts it; then it is imported on its own, under a name of its own, and no search path changes.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import site
import sys
import sysconfig
from importlib.abc import InspectLoader
from pathlib import Path
from types import ModuleType

from rbc_marl.errors import UserError

# Copies that were loaded: the module each was made of, and its file, by the name it has here.
_COPIES: dict[str, tuple[str, str]] = {}


def original_of(own: type) -> tuple[str, str] | None:
    """The module of which a class's module is a copy, and the copy's file; None for a class that is no copy's."""
    return _COPIES.get(own.__module__)


def name_of(own: type) -> str:
    """``module:Class``, also for a class that came from a copy."""
    module = (original_of(own) or (own.__module__,))[0]
    return f"{module}:{own.__qualname__}"


def source_of(own: type) -> str | None:
    """The source of a class's module; None where it is installed or has no file."""
    original = original_of(own)
    if original is not None:
        return Path(original[1]).read_text(encoding="utf-8")
    module = sys.modules.get(own.__module__)
    if module is None or is_installed(own.__module__):
        return None
    try:
        return inspect.getsource(module)
    except (OSError, TypeError):  # typed in at a prompt
        return None


def is_installed(module: str) -> bool:
    """Whether importing a module would take it from an installed package (or from this one), whatever lies around."""
    top = module.partition(".")[0]
    if top == "rbc_marl":
        return True
    if top == "__main__":  # another program each time
        return False
    try:
        spec = importlib.util.find_spec(top)  # of a package at the top: nothing is imported
    except (ImportError, ValueError):
        return False
    places = [*(spec.submodule_search_locations or ()), *filter(None, [spec.origin])] if spec else []
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()}
    folders |= {site.getusersitepackages()} if site.ENABLE_USER_SITE else set()
    installed = [Path(folder).resolve() for folder in folders]
    return bool(places) and all(
        any(Path(place).resolve().is_relative_to(folder) for folder in installed) for place in places
    )


def load_class(name: str, copy: Path, trust: bool) -> type:
    """A class that saved policies name.

    Args:
        name: ``module:Class``.
        copy: File of the copy of its module's source, which need not exist.
        trust: Whether code that is not installed may run. The module itself is taken where its source is still the
            same, so that its classes are those that the program knows; otherwise the copy is.

    Raises:
        UserError: It is not trusted, or cannot be imported.
    """
    module_name, _, class_name = name.partition(":")
    installed = is_installed(module_name)
    if not installed and not trust:
        raise UserError(f"{name} is code of the checkpoint's own; read it, and run it with --trust (trust=True)")
    if installed and "__main__" in module_name.split("."):
        raise UserError(f"{name} is of a program, which an import would run; name a class of another module")
    try:
        same = installed or not copy.is_file() or _current_source(module_name) == copy.read_text(encoding="utf-8")
        module = importlib.import_module(module_name) if same else load_copy(module_name, str(copy))
        own: type = getattr(module, class_name)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise UserError(f"{name} cannot be imported ({type(error).__name__}: {reason})") from error
    return own


def load_copy(module: str, path: str) -> ModuleType:
    """Import a copy of a module's source, once, under a name of its own. The copy is trusted: its code runs."""
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    name = f"_copy_{digest}_{module.replace('.', '_')}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None  # of a file that ends in .py
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[name] = loaded
        _COPIES[name] = (module, path)
        try:
            spec.loader.exec_module(loaded)
        except BaseException:
            del sys.modules[name], _COPIES[name]
            raise
    return sys.modules[name]


def _current_source(module: str) -> str | None:
    """The source that importing a module would run; None where there is none."""
    try:
        loaded = sys.modules.get(module)
        spec = None if loaded else importlib.util.find_spec(module)
        file = getattr(loaded, "__file__", None) or getattr(spec, "origin", None)
        loader = getattr(loaded, "__loader__", None) or getattr(spec, "loader", None)
        if file and not Path(file).is_file() and isinstance(loader, InspectLoader):  # it came with the work
            return loader.get_source(module)
        return Path(file).read_text(encoding="utf-8") if file else None
    except (ImportError, ValueError, OSError):
        return None
