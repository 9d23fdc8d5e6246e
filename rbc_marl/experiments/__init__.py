"""Experiments from files: one run, or many side by side, with folders, rows and progress."""

from rbc_marl.errors import require

require("ray.rllib", "rllib")  # first, for its error names the extra to install

from rbc_marl.experiments.file import load_experiments  # noqa: E402 - needs Ray
from rbc_marl.experiments.run import train  # noqa: E402 - needs Ray

__all__ = ["load_experiments", "train"]
