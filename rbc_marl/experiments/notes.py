"""What a stranger finds in a folder of results: README.txt says what each file is, metrics.json what each column is."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rbc_marl.analysis.described import describe_all
from rbc_marl.analysis.metrics import QUANTITIES
from rbc_marl.files import replace_file
from rbc_marl.provenance import shown

README, METRICS, MACHINE = "README.txt", "metrics.json", "machine.json"
_FIRST = ("training_iteration", "time_total_s", "num_env_steps_sampled_lifetime")
_PLACES = {"env_runners/": 2, "evaluation/env_runners/": 3}
_ECONOMY = {name: number for number, name in enumerate(QUANTITIES)}

RUN = {
    "config.yaml": ("the settings in full; of a Python file config.py", "rbc-marl train config.yaml repeats it"),
    "run.json": ("seed, versions, commit, command, status and outcome", 'json.load(open("run.json"))'),
    "machine.json": ("host, process and paths of whoever made this", "leave it out of what you share"),
    "progress.csv": ("a row per iteration; of a long run one in twenty", 'pandas.read_csv("progress.csv")'),
    "iterations/": ("every iteration after the first thousand", 'pandas.read_parquet("iterations")'),
    "result.json": ("the same as JSON lines, with words", 'pandas.read_json("result.json", lines=True)'),
    "metrics.json": ("words and unit of the columns that this package defines", 'pandas.read_json("metrics.json").T'),
    "signature.json": ("hashes, by which --resume knows the settings as yours", "nothing else needs it"),
    "checkpoint_*/": ("trained policies, and all it takes to train on", 'rbc_marl.load("checkpoint_001000")'),
    "events.out.*": ("the same numbers for TensorBoard", "tensorboard --logdir ."),
    "economy.png": ("how episodes go after training", "rbc-marl evaluate . --out economy.png draws it again"),
    "best_response/": ("what agents gain by deviating, where that was asked", "rbc-marl best-response . makes it"),
    "report/": ("a page with figures and tables: open report.html", "rbc-marl report . makes it again"),
}
"""Files of a run's folder: what each is, and how to read or make it."""
SWEEP = {
    "summary.md": ("what the runs come to, as tables", "any editor shows it"),
    "table.csv": ("a row per run; table.parquet is the same", 'pandas.read_parquet("table.parquet")'),
    "equilibria.csv": ("a row per group of runs that came out alike", 'pandas.read_csv("equilibria.csv")'),
    "deviations.csv": ("a row per deviation, where best responses were asked", 'pandas.read_csv("deviations.csv")'),
    "metrics.json": ("words and unit of the columns that this package defines", 'pandas.read_json("metrics.json").T'),
    "sweep.json": ("what runs, with commands, versions and commits", 'json.load(open("sweep.json"))'),
    "machine.json": ("host, process and paths of whoever made this", "leave it out of what you share"),
    "rows/": ("the row of each run, as JSON, as soon as it has ended", "a sweep that was stopped goes on from them"),
    "runs/": ("the folder of each run, with its own README.txt", "rbc-marl evaluate runs/ARM-SEED/NAME plays one"),
    "tune-*/": ("the logs of Ray Tune", "nothing needs them"),
    "*.png": ("figures", "the page of the report has them, too"),
    "report/": ("a page with figures and tables: open report.html", "rbc-marl report . makes it again"),
}
"""Files of a sweep's folder."""


def readme(title: str, files: Mapping[str, tuple[str, str]], command: Sequence[str]) -> str:
    """The text of README.txt.

    Args:
        title: What the folder holds.
        files: By name, what a file is, and how to read or make it.
        command: What was typed; empty: unknown.
    """
    made = ["", f"Made by: {shlex.join(shown(command))}"] if command else []
    width = max(map(len, files)) + 2
    lines = [line for name, (what, how) in files.items() for line in (f"{name:{width}}{what}", f"{'':{width}}{how}")]
    words = ["Some files exist only where they were asked for, and only once a run has ended."]
    return "\n".join([title, *made, "", *lines, "", *words, ""])


def metrics(columns: Iterable[str]) -> str:
    """The text of metrics.json: words and unit of each column that this package defines."""
    return json.dumps(describe_all(columns), indent=1) + "\n"


def in_order(columns: Iterable[str]) -> list[str]:
    """Columns of a run's results: progress, the curriculum, the economy's quantities, then all others as they are."""
    return sorted(dict.fromkeys(columns), key=_rank)


def _rank(column: str) -> tuple[int, int]:
    if column in _FIRST:
        return 0, _FIRST.index(column)
    if column.startswith("curriculum/"):
        return 1, 0
    for prefix, place in _PLACES.items():
        if column.startswith(prefix) and (name := column.removeprefix(prefix)) in _ECONOMY:
            return place, _ECONOMY[name]
    return 4, 0


def write_readme(folder: Path, title: str, files: Mapping[str, tuple[str, str]], command: Sequence[str]) -> None:
    """Write README.txt, unless there is one: what made a folder first made it."""
    if not (folder / README).exists():
        replace_file(folder / README, readme(title, files, command))
