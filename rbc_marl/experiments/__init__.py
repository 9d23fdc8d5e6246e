"""Experiments from files: one run, or many side by side, with folders, rows and progress."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from rbc_marl.errors import require

if TYPE_CHECKING:
    from rbc_marl.experiments.file import load_experiments
    from rbc_marl.experiments.run import train

__all__ = ["load_experiments", "train"]


def __getattr__(name: str) -> object:
    """Import what needs Ray when it is asked for: listing presets does not."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require("ray.rllib", "rllib")
    return getattr(importlib.import_module(f"{__name__}.{'file' if name == 'load_experiments' else 'run'}"), name)
