"""Best responses: how far each agent type, and single agents, are from doing the best they can (the paper's epsilon).

One type, or one agent with a network of its own, learns on while everybody else stays as they are, without masks and
with the full disutility of labour. Constant choices are scanned beside it. The best learned deviation and the best
constant are picked on one set of episodes and measured on another, by differences episode by episode on the same random
numbers. There the better of the two counts, with an interval that holds for the better one at 95%. A positive control
goes with each number: the same settings must win back what a perturbed network loses. Where firms are checked,
constants are scanned for each of them, also for those for whom nothing is learnt.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbc_marl.equilibrium.best_response_settings import PAPER_BOUNDS, BestResponseSettings
from rbc_marl.equilibrium.deviations import BaselineJob, ConstantsJob, DeviationJob, GainsJob, LearningJob
from rbc_marl.equilibrium.profile import (
    Deviator,
    StrategyProfile,
    find_profiles,
    profile_of_checkpoint,
    with_distinct_titles,
)
from rbc_marl.equilibrium.verdict import BestResponseReport
from rbc_marl.errors import UserError
from rbc_marl.experiments.rows import read_json
from rbc_marl.experiments.trials import run_jobs

if TYPE_CHECKING:
    from rbc_marl.experiments.ray_session import RayOptions

__all__ = ["BestResponseReport", "BestResponseSettings", "best_responses", "best_responses_to"]

UNITS = {"consumer": "utility", "firm": "money", "government": "welfare"}
# A positive control has won back enough from this share of the loss on.
RECOVERED_SHARE = 0.5

Results = Mapping[str, Mapping[str, Any]]
Log = Callable[[str], None]


def best_responses(
    checkpoint: Path,
    settings: BestResponseSettings,
    folder: Path,
    workers: int = 1,
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
            which is how to call it inside another trial.
        log: Told of each piece of work that ends.
        reference: Name of the rule-based economy that the outcome is held against; None: the run's.
        trust: Whether code that is not installed may run, of network classes that policies.json names; without it no
            code of a file runs.
        ray_options: Where Ray runs; None: on this machine.

    Raises:
        UserError: A checkpoint is missing or damaged, an agent is not in its economy (both before anything trains), a
            return is not finite, or a trial failed.
        KeyboardInterrupt: The search was interrupted.
    """
    profiles = find_profiles(checkpoint, settings.checkpoints, reference, trust)
    return best_responses_to(profiles, settings, folder, workers, log, ray_options=ray_options)


def best_responses_to(
    profiles: Sequence[StrategyProfile],
    settings: BestResponseSettings,
    folder: Path,
    workers: int = 1,
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
    from rbc_marl.experiments.ray_session import RayOptions, quieten, ray_session

    searches = [_Search.of(profile, settings) for profile in with_distinct_titles(profiles)]
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    quieten(0)
    with ray_session(ray_options or RayOptions(num_cpus=max(workers, 1)), max(workers, 1)):
        results = run_jobs([job for search in searches for job in search.jobs()], folder, workers, log)
        gains_jobs = [search.gains_jobs(results) for search in searches]
        gains = run_jobs([job for jobs in gains_jobs for job in jobs], folder, workers, log)
    rows = [
        _row(job, gains[job.key], search.control_result(job.deviator, results), results[search.baseline.key])
        for search, jobs in zip(searches, gains_jobs, strict=True)
        for job in jobs
    ]
    checkpoints = [_description(search.profile, results[search.baseline.key]) for search in searches]
    return BestResponseReport(rows, checkpoints, settings, started)


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
            jobs.append(GainsJob(self.profile, self.settings, deviator, best, constant))
        return jobs

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
    deviator, level = job.deviator, gains["baseline"]
    better = better_deviation(gains)
    learned = gains.get("learned", {})
    training, training_note = _gain_in_training(deviator, level, baseline)
    verified, control_note = (None, "") if control is None else _verify(control)
    # Of all results of learning, a control's alone says what it recovered.
    if better["found_by"] == "learned" and job.learned is not None and "recovered" in job.learned:
        better["found_by"] = "control"
        done = job.learned["iteration"]
        after = f"after {done} iterations" if done else "before it had learnt anything"
        control_note = "; ".join(filter(None, (control_note, f"the control's network did best, {after}")))
    notes = [training_note, "" if level else "the baseline return is 0: there is no gain over it", control_note]
    return {
        "checkpoint": job.profile.title,
        "outcome": baseline["outcome"],
        "kind": deviator.kind if control is not None else "constant",
        "agent_type": deviator.agent_type,
        "agent": deviator.agent,
        "unit": UNITS[deviator.agent_type],
        "episodes": job.settings.episodes,
        "level": level,
        "gain": better["gain"],
        "gain_low": better["low"],
        "gain_high": better["high"],
        "gain_over_level": better["gain"] / abs(level) if level else None,
        "training_gain": training.get("gain"),
        "training_gain_low": training.get("low"),
        "training_gain_high": training.get("high"),
        "gain_over_training": better["gain"] / training["gain"] if training else None,
        "paper_bound": PAPER_BOUNDS[deviator.agent_type],
        "found_by": better["found_by"],
        "learned_gain": learned.get("gain"),
        "learned_gain_low": learned.get("low"),
        "iteration": job.learned["iteration"] if job.learned else None,
        "constant_gain": gains["constant"]["gain"],
        "constant_gain_low": gains["constant"]["low"],
        "constant": job.constant["words"],
        "verified": verified,
        "recovered": control["recovered"] if control else None,
        "damaged_level": control["perturbed"] if control else None,
        "note": "; ".join(note for note in notes if note),
    }


def better_deviation(gains: Mapping[str, Any]) -> dict[str, Any]:
    """What counts of a learned deviation and a constant: the better, as both were measured on the same fresh episodes.

    On the episodes on which they were picked each looks better than it is, and more so the one picked from more. The
    larger of two fresh measurements errs upwards, if at all: the safe side for calling something an equilibrium.

    Args:
        gains: The result of a `GainsJob` with both, or with a constant alone. Intervals hold at once, at 95%.

    Returns:
        ``gain``, ``low`` and ``high``, each the larger of the two, so that the interval holds the gain of the better of
        both deviations at 95%, whichever that is; ``found_by``: whose ``gain`` it is.
    """
    constant = gains["constant"]
    learned = gains.get("learned", constant)
    is_learned = "learned" in gains and learned["gain"] >= constant["gain"]
    larger = {name: max(learned[name], constant[name]) for name in ("gain", "low", "high")}
    return {**larger, "found_by": "learned" if is_learned else "constant"}


def _gain_in_training(
    deviator: Deviator, level: float, baseline: Mapping[str, Any]
) -> tuple[Mapping[str, float], str]:
    """What training had brought, of which the paper's measure is a share; empty, with a note, if that means nothing."""
    if baseline["training"] is None:
        return {}, "rules are not trained: there is no gain in training"
    training: Mapping[str, float] = baseline["training"][deviator.name]
    words = f"({training['start']:.4g} to {level:.4g})"
    if training["high"] < 0.0:
        return {}, f"the reward fell in training {words}: there is no gain in training"
    if training["low"] <= 0.0:
        return {}, f"the reward {words} is not surely more than before training: no share of that gain is given"
    return training, ""


def _verify(control: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether the positive control shows that these settings find a deviation where there is one, or why not."""
    if control["recovered"] is None:
        return False, "not verified: a perturbed network loses nothing that could be won back"
    if control["recovered"] < RECOVERED_SHARE:
        share = f"{control['recovered']:.0%}"
        return False, f"not verified: the control won back {share} of a perturbed network's loss; raise the iterations"
    return True, ""


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
    from rbc_marl.experiments.folder import replace_file

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
    reason = "" if report is None else _why_outdated(report, settings, checkpoint)
    if reason:
        log(f"{path} is left out until {key} is checked again: {reason}")
    return None if report is None or reason else list(report["rows"])


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
