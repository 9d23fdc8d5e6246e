"""Studies: a sweep and what is asked of its runs, which are taxes, best responses, tables, a summary and figures."""

from __future__ import annotations

import json
import math
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import model_validator

from rbc_marl import places
from rbc_marl.analysis.best_responses import judge
from rbc_marl.analysis.drawing import save
from rbc_marl.analysis.figures import sweeps
from rbc_marl.analysis.figures.deviations import best_responses
from rbc_marl.analysis.studies import outcome_report, table_files
from rbc_marl.analysis.tables import training_summary
from rbc_marl.analysis.targets import Targets
from rbc_marl.analysis.taxes import kept_pairs, pair_of, play_anchors, tax_panels, tax_summary, to_dict
from rbc_marl.equilibrium import best_response
from rbc_marl.equilibrium.best_response_settings import BestResponseSettings
from rbc_marl.equilibrium.taxes import Coarse, Taxes, arms, check_rates_in_force
from rbc_marl.errors import ConfigError, UserError, require
from rbc_marl.experiments.build import DEFAULT_RESULTS
from rbc_marl.experiments.file import ExperimentSpec, Override, read_specs
from rbc_marl.experiments.notes import MACHINE, METRICS, SWEEP, metrics, write_readme
from rbc_marl.experiments.rows import HASH, RowStore, read_json
from rbc_marl.experiments.sweep import (
    RUNS,
    RunSpec,
    Sweep,
    checkpoint_of,
    finished_row,
    remeasure,
    rows_of,
    run_sweep,
    seed_ranges,
)
from rbc_marl.experiments.sweep_file import ArmSpec, SweepFile, SweepReader, sweep_of
from rbc_marl.files import remove_leftovers, replace_file
from rbc_marl.provenance import without_secrets
from rbc_marl.settings import dump_yaml
from rbc_marl.signatures import FILE_NAME as SIGNATURE
from rbc_marl.signatures import check_trusted, sign

if TYPE_CHECKING:
    from rich.console import Console

    from rbc_marl.experiments.file import Experiment
    from rbc_marl.experiments.ray_session import RayOptions

Row = Mapping[str, Any]

# Folders of a sweep that go to its address and come from there on their own.
APART = ("runs", "rows")
# What the folder of a sweep is called that an experiment's own search spaces make, after the time.
SUFFIX = "_sweep"
SUMMARY = "summary.md"


class StudyFile(SweepFile):
    """A sweep file with what is asked of its runs."""

    kinds: ClassVar[tuple[str, ...]] = ("arms", "variants", "taxes")

    taxes: Taxes | None = None
    """A government that learns against pairs of rates that it could have fixed."""
    best_response: BestResponseSettings | None = None
    """Settings of best responses to every living run."""

    @model_validator(mode="after")
    def _check_taxes(self) -> Self:
        if self.taxes is None:
            return self
        if self.arms is not None or self.variants is not None:
            raise ValueError("taxes has arms of its own; leave out arms and variants")
        if self.targets is not None:
            raise ValueError("targets are for arms and variants; leave them or taxes out")
        if self.scheduler is not None:
            raise ValueError("scheduler stops runs, but means of taxes count every run as it is; leave it out")
        if self.best_response is not None:
            raise ValueError(
                "best_response stands beside taxes, where governments with fixed taxes have no choice; "
                "check the learned policies with rbc-marl best-response"
            )
        return self


@dataclass(frozen=True)
class Study(Sweep):
    """A sweep and what is asked of its runs."""

    taxes: Taxes | None = None
    best_response: BestResponseSettings | None = None
    """Settings of best responses to every living run."""

    @classmethod
    def of(cls, sweep: Sweep, **asked: object) -> Self:
        """A study of the runs of a sweep."""
        return cls(**{field.name: getattr(sweep, field.name) for field in fields(sweep)}, **asked)  # type: ignore[arg-type]

    @property
    def coarse(self) -> Coarse | None:
        """The first stage of a sweep of taxes, where it has one."""
        return self.taxes.coarse if self.taxes else None

    def coarse_seeds(self) -> list[int]:
        """Seeds on which a coarse grid of taxes picks the pairs that get all seeds; empty where there is none."""
        return sorted({run.seed for run in self.runs})[: self.coarse.seeds] if self.coarse else []

    @property
    def size(self) -> str:
        """How many runs there are, in words."""
        return f"at most {super().size}" if self.coarse else super().size

    def notes(self) -> list[str]:
        """Lines that say what else happens to its runs."""
        lines = super().notes()
        if self.coarse is not None:
            keep = f"the best {self.coarse.keep} of each welfare and the paper's with all"
            lines.append(f"first every pair of rates with seeds {seed_ranges(self.coarse_seeds())}, then {keep}")
        return [*lines, *(["then best responses to every living run"] if self.best_response is not None else [])]


def load_study(
    path: str | Path, sets: Sequence[str] = (), *, small: bool = False, trust: bool = False
) -> Study:
    """Read and validate a sweep file; every run is checked before anything starts.

    Args:
        path: A YAML file: a name, and under it what `StudyFile` has.
        sets: Further changes, to every run.
        small: Whether to put the file's ``small`` section in place of what it says otherwise.
        trust: Whether runs may begin from checkpoints that are not known to be the user's own.

    Raises:
        ConfigError: Something in the file is missing, unknown or wrong.
    """
    reader = SweepReader(path, sets, small, StudyFile, trust)
    file, name = reader.file, reader.name
    where, settings = f"{name}.best_response", file.best_response
    if settings is not None and settings.checkpoints:
        raise ConfigError(f"{where}.checkpoints is for rbc-marl best-response; a sweep checks the last one of each run")

    def check(_: ArmSpec, run: RunSpec, experiment: Experiment) -> None:
        check_rates_in_force(run, experiment, is_cut_short=reader.is_cut_short)
        if settings is not None and run.economy is not None:
            try:
                settings.deviators(run.economy)
            except ConfigError as error:
                raise ConfigError(f"{where}: {error}") from None

    if file.taxes is None:
        return Study.of(reader.sweep(reader.arms(), check), best_response=settings)
    place = f"{name}.taxes"
    economy = reader.economy()
    assert economy is not None  # what leaves policies to play has one
    pairs = file.taxes.fixed_pairs(economy, place)
    return Study.of(reader.sweep(arms(file.taxes, pairs, place), check), taxes=file.taxes)


# A grid of an experiment's own file


def study_of(spec: ExperimentSpec) -> tuple[Study, Path, ExperimentSpec]:
    """The study of an experiment whose own file holds search spaces.

    Returns:
        The study, a new folder for it, and the experiment with its seed.

    Raises:
        ConfigError: A run is not valid.
    """
    if spec.data["config"].get("seed", 0) is None:
        spec = spec.with_overrides([Override(("config", "seed"), secrets.randbelow(2**31), "a random seed")])
    return Study.of(sweep_of(spec)), _home(spec) / f"{datetime.now().strftime('%Y-%m-%d_%H-%M-%S')}{SUFFIX}", spec


def unfinished_study(
    spec: ExperimentSpec, overrides: Sequence[Override] = ()
) -> tuple[Study, Path, ExperimentSpec]:
    """The newest study of an experiment that has not finished, as it began.

    Args:
        spec: As the file describes it now: its name, and where its results are.
        overrides: Changes to what it began with.

    Returns:
        The study, its folder, and the experiment.

    Raises:
        UserError: There is none.
        ConfigError: It is not known to be the user's own, and the spec does not trust it.
    """
    home = _home(spec)
    places.pull_heads(home, ("config.yaml", SIGNATURE))
    for path in sorted(home.glob(f"*{SUFFIX}/config.yaml"), reverse=True):
        check_trusted(path.parent, spec.trust, "the sweep to resume", whole=False)
        began = read_specs(path, trust=spec.trust)[0].with_overrides(overrides)
        places.pull(path.parent / "rows")
        study, store = Study.of(sweep_of(began)), RowStore(path.parent)
        is_written = (path.parent / SUMMARY).is_file()
        if not is_written or any(finished_row(study, run, store) is None for run in study.runs):
            return study, path.parent, began
    raise UserError(f"{home} holds no sweep that has not finished; leave out --resume to begin one")


def _home(spec: ExperimentSpec) -> Path:
    return places.local_path(spec.data.get("storage_path") or DEFAULT_RESULTS) / spec.name


# Running


def run_study(
    study: Study,
    folder: Path,
    workers: int | None = None,
    options: RayOptions | None = None,
    *,
    only: Sequence[str] = (),
    spec: ExperimentSpec | None = None,
    command: Sequence[str] = (),
    console: Console | None = None,
) -> str:
    """Run what is missing of a study, and write its tables, summary and figures.

    Args:
        study: All that can run.
        folder: Where everything is kept.
        workers: Runs side by side; None: as many as the usable cores allow, or those of the cluster.
        options: Where Ray runs.
        only: Names of the arms to run; empty: all.
        spec: The experiment whose own file holds the search spaces; None for a sweep file.
        command: What was typed, for sweep.json.
        console: Where progress is shown; None: standard output.

    Returns:
        The summary, as Markdown.

    Raises:
        UserError: A run failed, another process works in the folder, it holds rows that were made with other settings,
            or a machine of the cluster cannot work.
        KeyboardInterrupt: It was interrupted.
    """
    from rbc_marl.experiments.cluster import check_machines, cores
    from rbc_marl.experiments.lock import folder_lock
    from rbc_marl.experiments.progress import SweepProgress
    from rbc_marl.experiments.ray_session import RayOptions, ray_session, usable_cores

    asked, options = study.only(only), options or RayOptions()
    fetch(folder)
    rows_of(study, folder)  # refuses rows of other settings before anything is written
    # Of a Ray of one's own; a cluster knows itself what it has.
    cpus = math.ceil((workers or max(usable_cores() // study.processes, 1)) * study.cpus)
    options = replace(options, num_cpus=options.num_cpus or cpus)
    make_folder(folder)
    with folder_lock(folder), SweepProgress(study.name, console) as report:
        tidy(folder)
        begin(study, folder, command, report)
        if spec is not None:
            replace_file(folder / "config.yaml", dump_yaml({spec.name: without_secrets(spec.data)}))
            sign(folder, ["config.yaml"])
        with ray_session(options, cpus):
            check_machines(folder, *study.needed)
            workers = workers or max(int(cores(options) // study.cpus), 1)
            run_stages(asked, folder, workers, report)
            text = finish(study, rows_of(study, folder, report), folder, workers, report, asked.arms)
        store(folder)
        return text


def fetch(folder: Path) -> None:
    """Bring what a sweep has left at its address, but for its runs: who goes on with one brings it."""
    places.pull(folder, APART)
    places.pull(folder / "rows")


def store(folder: Path) -> None:
    """Bring what a sweep has left to its address, but for runs and rows, which are brought there as they end."""
    tune = [path.name for path in folder.glob("tune-*")] if places.is_remote(folder) else []
    places.push(folder, (*APART, *tune))


def remeasure_study(
    study: Study,
    folder: Path,
    only: Sequence[str] = (),
    command: Sequence[str] = (),
    report: Callable[[str], None] = print,
) -> str:
    """Measure the saved policies of a study's runs anew, and write its tables, summary and figures; train nothing.

    Args:
        study: All that could have run.
        folder: Where everything is kept.
        only: Names of the arms to measure; empty: all.
        command: What was typed, for sweep.json.
        report: Told of each run.

    Returns:
        The summary, as Markdown.

    Raises:
        UserError: A run's checkpoint is gone, another process works in the folder, or it holds rows that were made with
            other settings.
    """
    from rbc_marl.experiments.lock import folder_lock

    asked = study.only(only)
    fetch(folder)
    if not rows_of(study, folder):
        raise UserError(f"{folder} holds no runs of {study.name}; leave out --remeasure to train them")
    with folder_lock(folder):
        begin(study, folder, command, report)
        remeasure(asked, folder, report)
        text = finish(study, rows_of(study, folder, report), folder, report=report, asked=())
    store(folder)
    return text


def run_stages(study: Study, folder: Path, workers: int, report: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """Run a study's sweep; one of taxes with a coarse grid in two stages.

    Returns:
        One row per run. The runs of pairs that a coarse grid left behind are missing beyond the grid's seeds.
    """
    seeds = study.coarse_seeds()
    if study.taxes is None or study.coarse is None:
        return run_sweep(study, folder, workers, report)
    first = replace(study, runs=tuple(run for run in study.runs if run.seed in seeds))
    report(f"coarse grid: every pair of rates with {len(seeds)} of the seeds")
    kept = kept_pairs(run_sweep(first, folder, workers, report), study.taxes.welfare, study.coarse.keep)
    words = ", ".join(f"{income:g}/{corporate:g}" for income, corporate in sorted(kept))
    report(f"all seeds: the learned policies and the pairs {words}")
    chosen = [run for run in study.runs if run.seed in seeds or pair_of(dict(run.columns)) in {None, *kept}]
    return run_sweep(replace(study, runs=tuple(chosen)), folder, workers, report)


def make_folder(folder: Path) -> None:
    """Make the folder of a sweep, and refuse what could not be written at the end.

    Raises:
        MissingExtraError: A library for tables or figures is not installed.
        UserError: The folder cannot be made.
    """
    for library in ("pandas", "pyarrow", "scipy", "matplotlib"):
        require(library, "analysis")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made ({error.strerror}); choose another with --out") from None


def tidy(folder: Path) -> None:
    """Remove what a sweep that was killed had begun to write; only whoever holds the folder's lock may do so."""
    remove_leftovers(folder, *(path for path in folder.glob("*/") if path.name != RUNS))


def begin(
    study: Study, folder: Path, command: Sequence[str] = (), report: Callable[[str], None] = print
) -> None:
    """Note in ``sweep.json`` what is about to run."""
    from rbc_marl.provenance import git_commit, machine, shown, shown_path, versions

    earlier = read_json(folder / "sweep.json", report) or {}
    now = {
        "command": shown(command),
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": versions(),
        "git_commit": git_commit(),
        "platform": sys.platform,
    }
    record = {
        "name": study.name,
        "source": shown_path(study.source),
        # What a report of the rows goes by.
        "groups": study.groups.plain(),
        "varied": list(study.varied),
        "units": {run.arm: run.unit for run in study.runs},
        "invocations": [*earlier.get("invocations", []), now],
        "runs": {
            run.key: {
                "base": shown_path(run.spec.source),
                "seed": run.seed,
                "changes": run.changes,
                HASH: run.fingerprint,
            }
            for run in study.runs
        },
    }
    replace_file(folder / "sweep.json", json.dumps(record, indent=1) + "\n")
    replace_file(folder / MACHINE, json.dumps(machine(command, study.source), indent=1) + "\n")
    write_readme(folder, f"A sweep of rbc_marl: {study.name}.", SWEEP, command)


# What it leaves


def finish(
    study: Study,
    rows: Sequence[Row],
    folder: Path,
    workers: int = 1,
    report: Callable[[str], None] = print,
    asked: Sequence[str] | None = None,
) -> str:
    """Group the outcomes, search for best responses if asked for, and write tables, summary and figures.

    They are written before best responses are searched for as well: these take long, and can be interrupted. What was
    found before, with the same settings and about the same policies, counts until it is found anew.

    Args:
        study: All that could have run.
        rows: A row per run that did.
        folder: Of the sweep.
        workers: Best responses side by side.
        report: Told what happens.
        asked: Arms whose best responses are searched for; None: all. Others keep what was found before.

    Returns:
        The summary, as Markdown.

    Raises:
        KeyboardInterrupt: The search for best responses was interrupted.
    """
    table, settings = [dict(row) for row in rows], study.best_response
    if settings is None:
        return _write(study, table, folder, [])
    for row in table:
        row["key"] = f"{row['arm']}-{row['seed']}"
    living = {row["key"] for row in table if row["outcome"] == "living"}
    runs = {run.key: run for run in study.runs if run.key in living}
    before = {
        key: best_response.earlier_rows(folder, key, settings, partial(checkpoint_of, run, folder), report)
        for key, run in runs.items()
    }
    _write(study, table, folder, judge(table, before))
    checked = {
        run.key: (checkpoint_of(run, folder), run.rules) for run in runs.values() if asked is None or run.arm in asked
    }
    now = best_response.best_responses_to_runs(checked, settings, folder, workers, report)
    return _write(study, table, folder, judge(table, {**before, **now}))


def _write(study: Study, rows: list[dict[str, Any]], folder: Path, deviations: Sequence[Row]) -> str:
    """Write tables, the summary and figures of rows and of what deviators gain, and return the summary."""
    if any(run.is_evaluated for run in study.runs):
        units = {run.arm: run.unit for run in study.runs}
        parts, files = outcome_report(rows, deviations, study.groups, study.varied, units)
    else:
        parts, files = [training_summary(rows, study.varied)], table_files(rows, "table")
    if study.taxes is not None:
        economy, coarse = study.runs[0].economy, study.coarse_seeds()
        anchors = play_anchors(economy) if economy is not None else []
        files["taxes.json"] = json.dumps(to_dict(rows, anchors, coarse), indent=1) + "\n"
        parts = ["Learned taxes against fixed ones:", tax_summary(rows, anchors, coarse), *parts]
    targets = study.runs[0].measure
    if isinstance(targets, Targets):
        parts = ["Nearest to the targets:", targets.summary(rows), *parts]
    text = "\n\n".join(parts)
    columns = dict.fromkeys(name for row in rows for name in row)
    for name, content in {**files, METRICS: metrics(columns)}.items():
        replace_file(folder / name, content)
    for name in {"deviations.csv", "deviations.parquet"} - files.keys():  # a table of earlier ones would say otherwise
        (folder / name).unlink(missing_ok=True)
    _draw(study, rows, deviations, folder)
    replace_file(folder / SUMMARY, text + "\n")  # last, for it says that all is there
    return text


def _draw(study: Study, rows: Sequence[Row], deviations: Sequence[Row], folder: Path) -> None:
    """Draw what there is to see of rows and of what deviators gain; no picture where there is nothing."""
    pictures = {"spectrum": sweeps.spectrum(rows, study.varied), "market": sweeps.market(rows)}
    if len({row["arm"] for row in rows}) > 1:
        pictures["comparison"] = sweeps.comparison(rows)
    if study.taxes is not None:
        pictures["taxes"] = sweeps.tax_bars(tax_panels(rows))
        pictures["tax_map"] = [*sweeps.tax_map(rows), *sweeps.laffer(rows)]
    if deviations:
        pictures["deviations"] = best_responses(deviations)
    columns = {"taxes": 2, "tax_map": 2, "deviations": 1}
    for name, charts in pictures.items():
        if charts:
            save(charts, folder / f"{name}.png", columns.get(name, 3))
