"""Modules of one's own that a file names: where they are found, here and in the processes that Ray starts.

A console script has neither the working folder nor that of the file on its path, as `python my_script.py` would. These
folders are not put there: everything in them could then be imported, also what happens to have the name of a library
that somebody tries to import. Only modules that a file names are found in them, and what those import from beside
themselves; and a module that is installed comes first.

To the machines of a cluster sources travel with the work, those of just these modules. A machine that has the same
files in the same folder uses them; on any other one the sources are imported from memory, and no file is written. Ray's
own ``py_modules`` would put them before what is installed, and hide files that a module reads from beside itself.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import FrameType, ModuleType

from rbc_marl.errors import ConfigError
from rbc_marl.own_class import is_installed

# What stands before the folder of a source that came with the work: no file of this machine has such a name.
SENT = "<sent>"
# Bytes of a module's sources that travel at most: every process of a cluster holds them.
MOST_SENT = 2**24

Sources = dict[str, tuple[str, dict[str, bytes]]]
"""Of modules at the top: the folder of each, and its files by their path there."""


class _OwnModules(MetaPathFinder):
    """Finds modules of one's own; the last of all finders, so that what is installed comes first."""

    def __init__(self) -> None:
        self.homes: dict[str, str] = {}
        """Top-level modules that may be imported, and their folders."""
        self.folders: set[str] = set()
        """Folders whose files may import what lies beside them."""
        self.on_path: dict[str, str] = {}
        """Modules that were named and that Python finds by itself, in these folders: the working folder, say."""
        self.programs: set[Path] = set()
        """Python files that hold experiments."""
        self.sent: dict[str, bytes] = {}
        """Sources that came with the work, by file."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module that was named, or that one of these imports from its own folder."""
        if path is not None:  # part of a package, which knows where its parts are
            return self._sent_spec(fullname, path)
        home = self.homes.get(fullname) or self._folder_of_importer()
        spec = (self._sent_spec(fullname, [home]) or PathFinder.find_spec(fullname, [home])) if home else None
        if spec is None or spec.origin is None or home is None:
            return None
        self.homes[fullname] = home  # processes of Ray's may have to find it by name
        return spec

    def _sent_spec(self, fullname: str, folders: Sequence[str]) -> ModuleSpec | None:
        """The spec of a module among the sources that came with the work."""
        for folder in folders:
            stem = f"{folder}/{fullname.rpartition('.')[2]}"
            for file in (f"{stem}/__init__.py", f"{stem}.py"):
                if file in self.sent:
                    is_package = file.endswith("/__init__.py")
                    spec = ModuleSpec(fullname, _SentLoader(fullname, file), origin=file, is_package=is_package)
                    spec.has_location = True
                    if is_package:
                        spec.submodule_search_locations = [stem]
                    return spec
        return None

    def _folder_of_importer(self) -> str | None:
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        file = frame.f_globals.get("__file__") if frame is not None else None
        folder = _resolved(Path(file).parent) if file else None
        return folder if folder in self.folders else None


class _SentLoader(SourceFileLoader):
    """Loads a source that came with the work; what was compiled of it before is another file's."""

    def get_data(self, path: str) -> bytes:
        if path not in _finder.sent:
            raise FileNotFoundError(f"{path} did not come with the work")
        return _finder.sent[path]

    def path_stats(self, path: str) -> Mapping[str, float]:
        raise OSError(path)


class _Newer(MetaPathFinder):
    """Finds what came with the work before an older file of the same folder, where that is on the search path."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        home = _finder.homes.get(fullname, "")
        if path is not None or not home.startswith(SENT):
            return None
        return _finder._sent_spec(fullname, [home]) if _is_beside(_found(fullname), home.removeprefix(SENT)) else None


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
    if _finder.homes.get(name, "").startswith(SENT):  # with the work came what the file names
        return
    home = next((folder for folder in map(_resolved, folders) if _holds(folder, name)), None)
    if home is None:
        return
    if _found(name) is not None:
        if not _is_elsewhere(name, home):
            _finder.on_path[name] = home
        return
    before = _finder.homes.get(name)
    if before not in (None, home) and name in sys.modules:
        raise ConfigError(f'{where}: "{name}" lies in {home} and was imported from {before}; rename one of the two')
    _finder.homes[name] = home
    allow_folder(Path(home))


def allow_folder(folder: Path) -> None:
    """Let the files of a folder import what lies beside them."""
    _finder.folders.add(_resolved(folder))
    _ask_finder()


def _ask_finder() -> None:
    if _finder not in sys.meta_path:
        sys.meta_path.append(_finder)


def allow_program(path: Path) -> None:
    """Let a Python file that holds an experiment import what lies beside it."""
    _finder.programs.add(path.resolve())
    allow_folder(path.parent)


def _resolved(folder: Path) -> str:
    return str(folder.resolve())


def _holds(folder: str, name: str) -> bool:
    sys.path_importer_cache.pop(folder, None)  # a module may be newer than what was last seen there
    spec = PathFinder.find_spec(name, [folder])
    return spec is not None and spec.origin is not None  # a folder without __init__.py is no module


def _found(name: str) -> ModuleSpec | None:
    """The spec of a module that Python finds by itself."""
    others = (finder for finder in sys.meta_path if not isinstance(finder, (_OwnModules, _Newer)))
    return next(filter(None, (finder.find_spec(name, None) for finder in others)), None)


def _is_elsewhere(name: str, home: str) -> bool:
    """Whether a module that a folder holds would be imported from another place, or is installed in this one."""
    spec = _found(name)
    return spec is not None and (not _is_beside(spec, home) or is_installed(name))


def _is_beside(spec: ModuleSpec | None, home: str) -> bool:
    """Whether a module is one of those that a folder holds."""
    here = PathFinder.find_spec(spec.name, [home]) if spec is not None else None
    if spec is None or here is None:
        return False
    origins = [found.origin and _resolved(Path(found.origin)) for found in (spec, here)]
    return origins[0] == origins[1]


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


def modules() -> dict[str, str]:
    """Modules at the top that files name, and that these import, with the folder of each."""
    return {name: home for name, home in {**_finder.on_path, **_finder.homes}.items() if not home.startswith(SENT)}


def unseen(modules: Mapping[str, str]) -> str | None:
    """The first folder of modules, as another process has them, that this one needs and does not see."""
    for name, home in modules.items():
        if not (name in sys.modules or importlib.util.find_spec(name) or PathFinder.find_spec(name, [home])):
            return home
    return None


def worker_setup(send: bool = False) -> Callable[[], None] | None:
    """What a process of Ray's must run first to find the same modules; None where no file has any.

    Args:
        send: Whether their sources go with it, for machines that do not see their folders.
    """
    homes, folders, sources = dict(_finder.homes), set(_finder.folders), _sources() if send else {}
    if not folders and not sources:
        return None

    def find_own_modules() -> None:
        from rbc_marl import own_code

        own_code._finder.homes.update(homes)
        for folder in folders:
            own_code.allow_folder(Path(folder))
        own_code.receive(sources)

    return find_own_modules


def _sources() -> Sources:
    """The sources of modules that files name, and of what these import from beside themselves, now or later.

    Modules that are no plain Python, or very large, are left out.
    """
    missing, sources = modules(), Sources()
    for program in filter(Path.is_file, _finder.programs):
        missing |= _beside(program.read_bytes(), str(program.parent))
    while missing:
        name, home = missing.popitem()
        if files := _files_of(name, home):
            sources[name] = (home, files)
        for source in files.values():
            missing |= {other: folder for other, folder in _beside(source, home).items() if other not in sources}
    return sources


def _files_of(name: str, home: str) -> dict[str, bytes]:
    """The sources of a module, all those of a package, by their path in its folder."""
    spec = PathFinder.find_spec(name, [home])
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return {}
    file = Path(spec.origin)
    parts = sorted(file.parent.rglob("*")) if spec.submodule_search_locations else [file]
    if any(part.name.endswith(tuple(EXTENSION_SUFFIXES)) for part in parts):
        return {}
    inside = [part.relative_to(home) for part in parts if part.suffix == ".py"]
    inside = [part for part in inside if all(word.isidentifier() for word in part.with_suffix("").parts)]
    files = {part.as_posix(): Path(home, part).read_bytes() for part in inside}
    return files if sum(map(len, files.values())) <= MOST_SENT else {}


def _beside(source: bytes, home: str) -> dict[str, str]:
    """What a source imports, anywhere in it, of the modules in its folder."""
    try:
        nodes = [*ast.walk(ast.parse(source))]
    except (SyntaxError, ValueError):  # whoever imports it is told
        return {}
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    tops = sorted({name.partition(".")[0] for name in names})
    return {top: home for top in tops if _holds(home, top) and not _is_elsewhere(top, home)}


def receive(sources: Sources) -> None:
    """Take the sources of modules that came with the work, where this machine has not the same ones in their place."""
    for name, (home, files) in sources.items():
        if all(_same(Path(home, file), source) for file, source in files.items()):
            _finder.homes[name] = home
            allow_folder(Path(home))
            continue
        folder = f"{SENT}{Path(home).as_posix()}"
        _finder.homes[name] = folder
        _finder.sent |= {f"{folder}/{file}": source for file, source in files.items()}
    if _finder.sent:
        _ask_finder()
        sys.meta_path.insert(0, _Newer())


def _same(file: Path, source: bytes) -> bool:
    try:
        return file.read_bytes() == source
    except OSError:
        return False
