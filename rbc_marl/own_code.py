"""Modules of one's own that a file names: where they are found, here and in the processes that Ray starts.

A console script has neither the working folder nor that of the file on its path, as `python my_script.py` would. These
folders are not put there: everything in them could then be imported, also what happens to have the name of a library
that somebody tries to import. Only modules that a file names are found in them, and what those import from beside
themselves; and a module that is installed comes first.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import FrameType, ModuleType

from rbc_marl.errors import ConfigError


class _OwnModules(MetaPathFinder):
    """Finds modules of one's own; the last of all finders, so that what is installed comes first."""

    def __init__(self) -> None:
        self.homes: dict[str, str] = {}
        """Top-level modules that may be imported, and their folders."""
        self.folders: set[str] = set()
        """Folders whose files may import what lies beside them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module that was named, or that one of these imports from its own folder."""
        if path is not None:  # part of a package, which knows where its parts are
            return None
        home = self.homes.get(fullname) or self._folder_of_importer()
        spec = PathFinder.find_spec(fullname, [home]) if home else None
        if spec is None or spec.origin is None or home is None:
            return None
        self.homes[fullname] = home  # processes of Ray's may have to find it by name
        return spec

    def _folder_of_importer(self) -> str | None:
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        file = frame.f_globals.get("__file__") if frame is not None else None
        folder = _resolved(Path(file).parent) if file else None
        return folder if folder in self.folders else None


_finder = _OwnModules()


def allow_import(dotted: str, folders: Sequence[Path], where: str) -> None:
    """Let the module of a class that a file names be found in some folders, unless it is installed.

    Args:
        dotted: Such as ``my_module.MyNetwork``.
        folders: Where it may lie; the first that has it counts.
        where: Its place in the file, for messages.

    Raises:
        ConfigError: A module of that name, from another folder, is in use already.
    """
    name = dotted.replace(":", ".").split(".")[0]
    home = next((folder for folder in map(_resolved, folders) if _holds(folder, name)), None)
    if home is None or _is_installed(name):
        return
    before = _finder.homes.get(name)
    if before not in (None, home) and name in sys.modules:
        raise ConfigError(f'{where}: "{name}" lies in {home} and was imported from {before}; rename one of the two')
    _finder.homes[name] = home
    allow_folder(Path(home))


def allow_folder(folder: Path) -> None:
    """Let the files of a folder import what lies beside them."""
    _finder.folders.add(_resolved(folder))
    if _finder not in sys.meta_path:
        sys.meta_path.append(_finder)


def _resolved(folder: Path) -> str:
    return str(folder.resolve())


def _holds(folder: str, name: str) -> bool:
    sys.path_importer_cache.pop(folder, None)  # a module may be newer than what was last seen there
    spec = PathFinder.find_spec(name, [folder])
    return spec is not None and spec.origin is not None  # a folder without __init__.py is no module


def _is_installed(name: str) -> bool:
    others = (finder for finder in sys.meta_path if finder is not _finder)
    return any(finder.find_spec(name, None) for finder in others)


def named_code(tree: object) -> Iterator[str]:
    """The dotted names of classes in plain data: in texts, also inside mappings and lists."""
    if isinstance(tree, Mapping):
        for value in tree.values():
            yield from named_code(value)
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            yield from named_code(value)
    elif isinstance(tree, str):
        parts = tree.replace(":", ".").split(".")
        if len(parts) > 1 and all(part.isidentifier() for part in parts):
            yield tree


def origin(dotted: str) -> str:
    """The file that the module of a class is in, for messages."""
    module = dotted.replace(":", ".").rpartition(".")[0]
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    return str(spec.origin) if spec is not None and spec.origin else "not found"


def folders() -> set[str]:
    """Folders in which modules that files name were found."""
    return set(_finder.folders)


def worker_setup() -> Callable[[], None] | None:
    """What a process of Ray's must run first to find the same modules; None where no file has any."""
    homes, folders = dict(_finder.homes), set(_finder.folders)
    if not folders:
        return None

    def find_own_modules() -> None:
        from rbc_marl import own_code

        own_code._finder.homes.update(homes)
        for folder in folders:
            own_code.allow_folder(Path(folder))

    return find_own_modules
