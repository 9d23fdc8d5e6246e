"""Best responses: how far each agent type, and single agents, are from doing the best they can (the paper's epsilon).

One type, or one agent with a network of its own, learns on while everybody else stays as they are, without masks and
with the full disutility of labour. Constant choices are scanned beside it, and a portfolio of searches goes through
schedules over the periods, rules, and the best of a consumer's own choices. The best deviation of each kind is picked
on one set of episodes and measured on another, by differences episode by episode on the same random numbers. There the
best counts, with an interval that holds for it at 95%. For single consumers a bound from above stands beside it. A
positive control goes with each number: the same settings must win back what a perturbed network loses. Where firms are
checked, constants are scanned for each of them, also for those for whom nothing is learnt.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbc_marl import places
from rbc_marl.analysis import certificates
from rbc_marl.analysis.best_responses import gain_columns, report_lines, single_agents, terminal_table, verdicts
from rbc_marl.analysis.certificates import Claim
from rbc_marl.analysis.deviators import Deviator
from rbc_marl.analysis.drawing import save
from rbc_marl.analysis.figures import deviations as figures
from rbc_marl.analysis.tables import csv_text
from rbc_marl.analysis.verdicts import epsilon
from rbc_marl.equilibrium.best_response_settings import BestResponseSettings
from rbc_marl.equilibrium.deviations import (
    FRESH,
    BaselineJob,
    ConstantsJob,
    DeviationJob,
    GainsJob,
    LearningJob,
    episode_seed,
)
from rbc_marl.equilibrium.profile import (
    StrategyProfile,
    find_profiles,
    profile_of_checkpoint,
    with_distinct_titles,
)
from rbc_marl.errors import MissingExtraError, UserError
from rbc_marl.experiments.rows import read_json
from rbc_marl.experiments.trials import run_jobs
from rbc_marl.files import remove_leftovers, replace_file

if TYPE_CHECKING:
    from rich.table import Table

    from rbc_marl.experiments.ray_session import RayOptions

__all__ = ["BestResponseReport", "BestResponseSettings", "best_responses", "best_responses_to"]

UNITS = {"consumer": "utility", "firm": "money", "government": "welfare"}

Results = Mapping[str, Mapping[str, Any]]
Log = Callable[[str], None]


@dataclass(frozen=True)
class BestResponseReport:
    """Best responses to one or several strategy profiles."""

    rows: Sequence[dict[str, Any]]
    """One per deviation checked, checkpoint by checkpoint: types first, then single agents, then further firms (of
    kind "constant"), for whom constants alone were tried."""
    checkpoints: Sequence[dict[str, Any]]
    """What the economy of each checkpoint does: its outcome, the reported quantities, and notes."""
    settings: BestResponseSettings
    started: str = ""
    """When, for the record."""
    claims: Sequence[Claim] = ()
    """What a certificate says of each checkpoint; rules have none."""
    work: Path = Path()
    """The folder that deviations' weights lie in."""

    @property
    def outcome(self) -> str:
        """Of the last checkpoint: "living", "impaired" or "collapsed"."""
        return str(self.checkpoints[-1]["outcome"])

    @property
    def epsilons(self) -> dict[str, float | None]:
        """Epsilon of each type at the last checkpoint; see `rbc_marl.analysis.verdicts.epsilon`."""
        last = self.checkpoints[-1]["checkpoint"]
        rows = (row for row in self.rows if row["checkpoint"] == last and row["kind"] == "type")
        return {row["agent_type"]: epsilon(row) for row in rows}

    def agents(self) -> list[dict[str, Any]]:
        """What the single agents gain; see `rbc_marl.analysis.best_responses.single_agents`."""
        return single_agents(self.rows, self.checkpoints)

    def verdicts(self) -> dict[str, str]:
        """In words, by checkpoint, whether it can be called an equilibrium."""
        return verdicts(self.rows, self.checkpoints)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "outcome": self.outcome,
            "epsilons": self.epsilons,
            "verdicts": self.verdicts(),
            "rows": list(self.rows),
            "agents": self.agents(),
            "checkpoints": list(self.checkpoints),
            "settings": self.settings.to_dict(),
            "started": self.started,
        }

    def table(self) -> Table:
        """The rows for a terminal, narrow enough for 80 columns."""
        return terminal_table(self.rows)

    def lines(self) -> list[str]:
        """Verdicts, what the single agents come to, and notes, as plain lines below the table."""
        return report_lines(self.rows, self.checkpoints)

    def save(self, folder: Path, command: Sequence[str] = ()) -> list[str]:
        """Write report.json (with the command, seeds and versions), rows.csv and, with matplotlib, a figure.

        Of checkpoints a certificate is written too (`rbc_marl.analysis.certificates`).

        Args:
            folder: Where; made where it is missing.
            command: What was typed; this process's by default.

        Returns:
            Names of the files written, but for the certificate.
        """
        from rbc_marl.provenance import git_commit, shown, versions

        folder.mkdir(parents=True, exist_ok=True)
        record = {"command": shown(list(command) or sys.argv), "versions": versions(), "git_commit": git_commit()}
        text = json.dumps({**self.to_dict(), **record}, indent=2, allow_nan=False)
        replace_file(folder / "report.json", text + "\n")
        replace_file(folder / "rows.csv", csv_text(self.rows, list(self.rows[0])))
        if self.claims:
            certificates.write(folder, self.claims, self.work)
        names, charts = ["report.json", "rows.csv"], figures.best_responses(self.rows)
        if charts:
            with contextlib.suppress(MissingExtraError):
                names.append(save(charts, folder / "best_response.png", columns=1).name)
        return names


def best_responses(
    checkpoint: Path,
    settings: BestResponseSettings,
    folder: Path,
    workers: int | None = 1,
    log: Log = print,
    reference: str | None = None,
    *,
    trust: bool = False,
    ray_options: RayOptions | None = None,
) -> BestResponseReport:
    """Measure how much types and single agents gain by deviating from the policies of a checkpoint.

    Each deviation that is learnt or scanned leaves a result in ``folder/rows``: what was interrupted, also by a kill,
    goes on where it stopped, and further seeds, agents or checkpoints add to what is there.

    Args:
        checkpoint: A checkpoint, or the folder of a run (see `BestResponseSettings.checkpoints`). Its
            ``policies.json`` and weights are read, and the run's ``config.yaml`` where there is one.
        settings: How to search and to measure.
        folder: Where everything is kept.
        workers: Deviations side by side, each a Ray Tune trial with one thread; 0: one after another in this process,
            which is how to call it inside another trial; None: as many as there are cores, also in a cluster.
        log: Told of each piece of work that ends.
        reference: Name of the rule-based economy that the outcome is held against; None: the run's.
        trust: Whether code that is not installed may run, of network classes that policies.json names; without it no
            code of a file runs.
        ray_options: Where Ray runs; None: on this machine.

    Raises:
        UserError: A checkpoint is missing or damaged, an agent is not in its economy (both before anything trains), a
            return is not finite, a trial failed, or another process works in the folder.
        KeyboardInterrupt: The search was interrupted.
    """
    from rbc_marl.experiments.lock import folder_lock

    profiles = find_profiles(checkpoint, settings.checkpoints, reference, trust)
    for profile in profiles:  # what is refused leaves no folder behind
        settings.deviators(profile.economy)
    with folder_lock(folder):
        remove_leftovers(folder, *folder.glob("*/"))
        places.pull(folder)
        report = best_responses_to(profiles, settings, folder, workers, log, ray_options=ray_options)
        places.push(folder)
        return report


def best_responses_to(
    profiles: Sequence[StrategyProfile],
    settings: BestResponseSettings,
    folder: Path,
    workers: int | None = 1,
    log: Log = print,
    *,
    ray_options: RayOptions | None = None,
) -> BestResponseReport:
    """The same for several strategy profiles, trained or rule-based.

    Args:
        profiles: What is checked. Those of one name are told apart by numbers, in their order: "rules", "rules-2".
        settings: As in `best_responses`, like all that follows.
        folder: Where everything is kept.
        workers: Deviations side by side.
        log: Told of each piece of work that ends.
        ray_options: Where Ray runs.

    Raises:
        UserError: An agent is not in the economy of a profile, a return is not finite, or a trial failed.
        KeyboardInterrupt: The search was interrupted.
    """
    from rbc_marl.experiments.cluster import check_machines, cores
    from rbc_marl.experiments.ray_session import RayOptions, quieten, ray_session, usable_cores

    searches = [_Search.of(profile, settings) for profile in with_distinct_titles(profiles)]
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    quieten(0)
    cpus = max(usable_cores() if workers is None else workers, 1)
    options = ray_options or RayOptions(num_cpus=cpus)
    with ray_session(options, cpus):
        workers = cores(options) if workers is None else workers
        if workers:
            checkpoints_read = (search.profile.checkpoint for search in searches)
            check_machines(folder, *(path for path in checkpoints_read if path is not None))
        results = run_jobs([job for search in searches for job in search.jobs()], folder, workers, log)
        gains_jobs = [search.gains_jobs(results) for search in searches]
        gains = run_jobs([job for jobs in gains_jobs for job in jobs], folder, workers, log)
    rows = [
        _row(job, gains[job.key], search.control_result(job.deviator, results), results[search.baseline.key])
        for search, jobs in zip(searches, gains_jobs, strict=True)
        for job in jobs
    ]
    checkpoints = [_description(search.profile, results[search.baseline.key]) for search in searches]
    claims = [search.claim(jobs, gains) for search, jobs in zip(searches, gains_jobs, strict=True)]
    return BestResponseReport(rows, checkpoints, settings, started, [claim for claim in claims if claim], folder)


@dataclass(frozen=True)
class _Search:
    """The pieces of work that the best responses to one profile take."""

    profile: StrategyProfile
    settings: BestResponseSettings
    learners: Sequence[Deviator]
    """For whom deviations are learnt, and constants scanned."""
    further_firms: Sequence[Deviator]
    """For whom constants alone are scanned."""

    @classmethod
    def of(cls, profile: StrategyProfile, settings: BestResponseSettings) -> _Search:
        learners, num_firms = settings.deviators(profile.economy), profile.economy.num_firms
        scans_each_firm = num_firms > 1 and Deviator("firm") in learners
        firms = [Deviator("firm", i) for i in range(num_firms)] if scans_each_firm else []
        return cls(profile, settings, learners, [firm for firm in firms if firm not in learners])

    @property
    def baseline(self) -> BaselineJob:
        return BaselineJob(self.profile, self.settings, Deviator("economy"))

    def constants(self, deviator: Deviator) -> ConstantsJob:
        return ConstantsJob(self.profile, self.settings, deviator)

    def control(self, deviator: Deviator) -> LearningJob:
        return LearningJob(self.profile, self.settings, deviator, self.settings.seeds[0], is_control=True)

    def learning(self, deviator: Deviator) -> list[LearningJob]:
        """With every seed, and the control; none for further firms."""
        if deviator in self.further_firms:
            return []
        jobs = [LearningJob(self.profile, self.settings, deviator, seed) for seed in self.settings.seeds]
        return [*jobs, self.control(deviator)]

    def jobs(self) -> list[DeviationJob]:
        """Everything that can be done before the best deviations are known."""
        jobs: list[DeviationJob] = [self.baseline]
        for deviator in (*self.learners, *self.further_firms):
            jobs += [self.constants(deviator), *self.learning(deviator)]
        return jobs

    def gains_jobs(self, results: Results) -> list[GainsJob]:
        """The measurement of the deviations that did best where they were picked; the best may be a control's."""
        jobs = []
        for deviator in (*self.learners, *self.further_firms):
            learned = [results[job.key] for job in self.learning(deviator)]
            best = max(learned, key=lambda row: row["selection_gain"], default=None)
            constant = results[self.constants(deviator).key]
            searches = () if deviator in self.further_firms else self.settings.searches
            jobs.append(GainsJob(self.profile, self.settings, deviator, best, constant, searches))
        return jobs

    def claim(self, jobs: Sequence[GainsJob], gains: Results) -> Claim | None:
        """What a certificate says of a checkpoint; None for rules."""
        profile, settings = self.profile, self.settings
        if profile.checkpoint is None:
            return None
        measured = [(job.deviator, gains[job.key]) for job in jobs]
        seed = episode_seed(settings, FRESH)
        return Claim(
            profile.checkpoint, profile.title, profile.economy, settings.episodes, seed, settings.trembles, measured
        )

    def control_result(self, deviator: Deviator, results: Results) -> Mapping[str, Any] | None:
        return None if deviator in self.further_firms else results[self.control(deviator).key]


def _description(profile: StrategyProfile, baseline: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "checkpoint": profile.title,
        "path": str(profile.checkpoint) if profile.checkpoint else None,
        "digest": profile.digest,
        "outcome": baseline["outcome"],
        **baseline["means"],
        "notes": list(profile.notes),
    }


def _row(
    job: GainsJob, gains: Mapping[str, Any], control: Mapping[str, Any] | None, baseline: Mapping[str, Any]
) -> dict[str, Any]:
    """One deviation checked, as plain data."""
    assert job.constant is not None  # constants are always scanned
    deviator = job.deviator
    training = baseline["training"] and baseline["training"][deviator.name]
    return {
        "checkpoint": job.profile.title,
        "outcome": baseline["outcome"],
        "kind": deviator.kind if control is not None else "constant",
        "agent_type": deviator.agent_type,
        "agent": deviator.agent,
        "unit": UNITS[deviator.agent_type],
        "episodes": job.settings.episodes,
        **gain_columns(deviator.agent_type, gains, job.learned, job.constant, control, training),
    }


# The runs of a sweep

RUNS_FOLDER = "best_responses"


def best_responses_to_runs(
    runs: Mapping[str, tuple[Path, str]], settings: BestResponseSettings, folder: Path, workers: int, log: Log = print
) -> dict[str, list[dict[str, Any]]]:
    """Best responses to runs of a sweep; what has been searched for already is not searched for again.

    Collapsed, impaired and stopped runs should get none: their small gains would say nothing.

    Args:
        runs: By key, the checkpoint and the name of the rule-based economy that tells impaired runs from living ones.
        settings: How to search and to measure.
        folder: Of the sweep.
        workers: Deviations side by side.
        log: Told what happens.

    Returns:
        By key, the rows of the report.
    """
    rows = {}
    for i, (key, (checkpoint, rules)) in enumerate(runs.items(), start=1):
        log(f"best responses to run {i} of {len(runs)}: {key}")
        # The sweep itself has just trained what it names: its networks are trusted.
        report = best_responses(checkpoint, settings, folder / RUNS_FOLDER / key, workers, log, rules, trust=True)
        replace_file(folder / RUNS_FOLDER / f"{key}.json", json.dumps(report.to_dict(), indent=1) + "\n")
        rows[key] = list(report.rows)
    return rows


def earlier_rows(
    folder: Path, key: str, settings: BestResponseSettings, checkpoint: Callable[[], Path], log: Log = print
) -> list[dict[str, Any]] | None:
    """The rows of a run's report that was written earlier, where the same search would be made today.

    A table would otherwise compare what is not alike: one run searched for ten iterations, another for two hundred.

    Args:
        folder: Of the sweep.
        key: Of the run.
        settings: Those of today.
        checkpoint: Gives the checkpoint of today; asked only where there is a report.
        log: Told, in a line, of a report that does not count, and why.

    Returns:
        None where there is no report, or a torn one, or where other settings made it or it is about other policies.
    """
    path = folder / RUNS_FOLDER / f"{key}.json"
    report = read_json(path, log)
    if report is None:
        return None
    if reason := _why_outdated(report, settings, checkpoint):
        log(f"{path} is left out until {key} is checked again: {reason}")
        return None
    return list(report["rows"])


def _why_outdated(
    report: Mapping[str, Any], settings: BestResponseSettings, checkpoint: Callable[[], Path]
) -> str:
    """Why a report says nothing of today's policies by today's settings; empty where it does."""
    changed = [name for name, value in settings.to_dict().items() if report["settings"].get(name) != value]
    if changed:
        return f"it was made with other settings ({', '.join(changed)})"
    try:
        digest = profile_of_checkpoint(checkpoint(), trust=True).digest
    except UserError as error:
        return str(error)
    checked = [described.get("digest") for described in report["checkpoints"]]
    return "" if checked == [digest] else "it is about another checkpoint"
