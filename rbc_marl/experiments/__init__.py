"""Experiments from files: one run, or many side by side, with folders, rows and progress.

What trains needs Ray, and comes when it is asked for: folders and rows can be read without.
"""

from typing import TYPE_CHECKING, Any

from rbc_marl.errors import require

if TYPE_CHECKING:
    from rbc_marl.experiments.file import load_experiments
    from rbc_marl.experiments.run import train

__all__ = ["load_experiments", "train"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a function of either module
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require("ray.rllib", "rllib")  # first, for its error names the extra to install
    from rbc_marl.experiments import file, run

    return {"load_experiments": file.load_experiments, "train": run.train}[name]
