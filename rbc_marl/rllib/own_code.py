"""Modules of one's own that a file names: where they are found, here and in the processes that Ray starts.

A console script has neither the working folder nor that of the file on its path, as `python my_script.py` would.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

_folders: list[str] = []


def make_importable(*folders: Path) -> None:
    """Let modules in some folders be imported, where no other has their name."""
    for folder in folders:
        path = str(folder.resolve())
        if path not in sys.path:
            sys.path.append(path)
        if path not in _folders:
            _folders.append(path)
    importlib.invalidate_caches()  # a module may be newer than what was last seen of its folder


def own_folders() -> list[str]:
    """The folders that were made importable, for processes that are to find the same modules."""
    return list(_folders)
