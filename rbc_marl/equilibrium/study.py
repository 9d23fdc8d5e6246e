"""Studies: a sweep and what is asked of its runs, which are taxes, best responses and draws that learn."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import model_validator

from rbc_marl import places
from rbc_marl.analysis.taxes import kept_pairs, pair_of
from rbc_marl.equilibrium.best_response_settings import BestResponseSettings
from rbc_marl.equilibrium.study_results import SUMMARY, begin, fetch, finish, make_folder, note_runs, store, tidy
from rbc_marl.equilibrium.taxes import Coarse, Taxes, arms, check_rates_in_force
from rbc_marl.errors import ConfigError, UserError
from rbc_marl.experiments.build import DEFAULT_RESULTS
from rbc_marl.experiments.file import ExperimentSpec, Override, read_specs
from rbc_marl.experiments.rows import RowStore
from rbc_marl.experiments.searchers import Search
from rbc_marl.experiments.sweep import RunSpec, Sweep, finished_row, remeasure, rows_of, run_sweep, seed_ranges
from rbc_marl.experiments.sweep_file import ArmSpec, SweepFile, SweepReader, sweep_of
from rbc_marl.files import replace_file
from rbc_marl.provenance import without_secrets
from rbc_marl.settings import dump_yaml
from rbc_marl.signatures import FILE_NAME as SIGNATURE
from rbc_marl.signatures import check_trusted, sign

if TYPE_CHECKING:
    from rich.console import Console

    from rbc_marl.experiments.file import Experiment
    from rbc_marl.experiments.ray_session import RayOptions

# What the folder of a sweep is called that an experiment's own search spaces make, after the time.
SUFFIX = "_sweep"


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
    search: Search | None = None
    """What makes its draws, where they learn from earlier ones: its runs are those of the draws so far."""

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
        if self.search is not None:
            return f"{len(self.runs) // len(self.search.points) * self.search.samples} runs"
        return f"at most {super().size}" if self.coarse else super().size

    def only(self, arms: Sequence[str]) -> Self:
        """The same with some of its arms; with all of them where none is named.

        Raises:
            ConfigError: It has no such arm, or a searcher, which needs the rows of all.
        """
        if self.search is not None and arms:
            raise ConfigError(f"{self.source} has a searcher, which goes by the rows of all draws; leave out --arm")
        return super().only(arms)

    def grown(self, folder: Path) -> Self:
        """The same with all draws that its searcher makes of the rows there are: none are missing for the next ones.

        Raises:
            UserError: Some rows were made with other settings, or there is nothing to go by.
        """
        study = self
        while study.search is not None and not study.search.is_over:
            rows = rows_of(study, folder)
            if len(rows) < len(study.runs):
                break
            search, runs = study.search.more(rows)
            study = replace(study, search=search, runs=(*study.runs, *runs))
        return study

    def notes(self) -> list[str]:
        """Lines that say what else happens to its runs."""
        lines = [*super().notes(), *([self.search.describe()] if self.search is not None else [])]
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
        if (search := reader.search(check)) is None:
            return Study.of(reader.sweep(reader.arms(), check), best_response=settings)
        search, runs = search.more([])
        return Study.of(replace(reader.sweep([]), runs=runs), best_response=settings, search=search)
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

    options = options or RayOptions()
    fetch(folder)
    rows_of(study, folder)  # refuses rows of other settings before anything is written
    study = study.grown(folder)
    asked = study.only(only)
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
            ran = run_stages(asked, folder, workers, report)
            study = ran if study.search is not None else study
            text = finish(study, rows_of(study, folder, report), folder, workers, report, asked.arms)
        store(folder)
        return text


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

    fetch(folder)
    study = study.grown(folder)
    asked = study.only(only)
    if not rows_of(study, folder):
        raise UserError(f"{folder} holds no runs of {study.name}; leave out --remeasure to train them")
    with folder_lock(folder):
        begin(study, folder, command, report)
        remeasure(asked, folder, report)
        text = finish(study, rows_of(study, folder, report), folder, report=report, asked=())
    store(folder)
    return text


def run_stages(study: Study, folder: Path, workers: int, report: Callable[[str], None] = print) -> Study:
    """Run a study's sweep; one of taxes with a coarse grid in two stages, one with a searcher batch after batch.

    Returns:
        The study with the runs that had their turn: without those of pairs that a coarse grid left behind, and with
        those of all draws of a searcher.
    """
    seeds = study.coarse_seeds()
    if study.taxes is None or study.coarse is None:
        run_sweep(study, folder, workers, report)
        return study if study.search is None else _go_on(study, folder, workers, report)
    first = replace(study, runs=tuple(run for run in study.runs if run.seed in seeds))
    report(f"coarse grid: every pair of rates with {len(seeds)} of the seeds")
    kept = kept_pairs(run_sweep(first, folder, workers, report), study.taxes.welfare, study.coarse.keep)
    words = ", ".join(f"{income:g}/{corporate:g}" for income, corporate in sorted(kept))
    report(f"all seeds: the learned policies and the pairs {words}")
    chosen = [run for run in study.runs if run.seed in seeds or pair_of(dict(run.columns)) in {None, *kept}]
    study = replace(study, runs=tuple(chosen))
    run_sweep(study, folder, workers, report)
    return study


def _go_on(study: Study, folder: Path, workers: int, report: Callable[[str], None]) -> Study:
    """Run the further draws of a searcher, batch after batch."""
    while (grown := study.grown(folder)) is not study:
        report(f"{len(grown.arms) - len(study.arms)} more draws, which go by the rows of those before")
        study = grown
        note_runs(study, folder)
        run_sweep(study, folder, workers, report)
    return study
