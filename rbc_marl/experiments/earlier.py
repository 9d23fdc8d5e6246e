"""What an earlier start of a sweep left of a run: its folder, if it can be gone on with, and how it ended."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from rbc_marl import places
from rbc_marl.errors import UserError
from rbc_marl.experiments.build import Experiment, to_yaml
from rbc_marl.experiments.folder import RunFolder, iteration_of
from rbc_marl.experiments.lock import SILENCE, folder_lock
from rbc_marl.experiments.run import HEADS, Outcome
from rbc_marl.settings import load_yaml
from rbc_marl.signatures import torn

# Seconds to wait for the processes of a killed sweep to end, or to be silent for long enough on another machine.
PATIENCE = SILENCE + 15.0


def earlier_folder(experiment: Experiment) -> RunFolder | None:
    """The newest folder of a run that began before, with the same settings, if it did."""
    places.pull_heads(experiment.storage / experiment.name, HEADS)
    begun = RunFolder.all_in(experiment.storage / experiment.name)
    settings = _settings(to_yaml(experiment)) if begun else {}
    for folder in begun:
        with suppress(OSError, ValueError):  # nothing goes on from a folder whose settings are torn
            if _settings((folder.path / "config.yaml").read_text("utf-8")) == settings:
                places.pull(folder.path)
                return folder
    return None


def _settings(text: str) -> dict[str, Any]:
    """What an experiment's file says, but for the place of its results, which may have been moved."""
    ((_, spec),) = load_yaml(text, where="config.yaml").items()
    return {key: value for key, value in spec.items() if key != "storage_path"}


def trained_before(folder: RunFolder) -> Outcome | None:
    """A run that ended before its row was written."""
    saved, last = folder.checkpoints(), folder.last_results()
    if folder.read_info().get("status") != "finished" or not saved:
        return None
    if last.get("training_iteration") != iteration_of(saved[-1]) or torn(saved[-1]):
        return None  # its last iterations are trained again
    return Outcome(folder.path, saved[-1], "finished", results=last)


def is_free(folder: RunFolder) -> bool:
    """Whether nobody else runs it; then its torn checkpoints are set aside. Otherwise a new run is begun."""
    with suppress(UserError), folder_lock(folder.path, PATIENCE):
        folder.tidy()
        return True
    return False
