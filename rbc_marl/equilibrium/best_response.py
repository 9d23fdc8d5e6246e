"""Best responses: how far each agent type, and single agents, are from doing the best they can (the paper's epsilon).

One type, or one agent with a network of its own, learns on while everybody else stays as they are, without masks and
with the full disutility of labour. Constant choices are scanned beside it. The best learned deviation and the best
constant are picked on one set of episodes and measured on another, by differences episode by episode on the same random
numbers. There the better of the two counts, with an interval that holds for the better one at 95%. A positive control
goes with each number: the same settings must win back what a damaged network loses. Where firms are checked, constants
are scanned for each of them, also for those for whom nothing is learnt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rbc_marl.equilibrium.best_response_report import Report
from rbc_marl.equilibrium.best_response_settings import PAPER_BOUNDS, Settings
from rbc_marl.equilibrium.constants import Target
from rbc_marl.equilibrium.deviation_jobs import (
    RECOVERED_SHARE,
    ConstantsJob,
    DeviationJob,
    FinalJob,
    LearnJob,
    LevelJob,
)
from rbc_marl.equilibrium.jobs import run_jobs
from rbc_marl.equilibrium.subject import Subject, find_subjects, told_apart

__all__ = ["Report", "Settings", "best_responses", "best_responses_to"]

UNITS = {"consumer": "utility", "firm": "money", "government": "welfare"}


def best_responses(
    checkpoint: Path,
    settings: Settings,
    folder: Path,
    workers: int = 1,
    report: Callable[[str], None] = print,
    reference: str | None = None,
) -> Report:
    """Measure how much types and single agents gain by deviating from the policies of a checkpoint.

    Each deviation that is learnt or scanned leaves a result in ``folder/rows``: what was interrupted, also by a kill,
    goes on where it stopped, and further seeds, agents or checkpoints add to what is there.

    Args:
        checkpoint: A checkpoint, or the folder of a run (see `Settings.checkpoints`). Its ``policies.json`` and
            weights are read, and the run's ``config.yaml`` where there is one; no code from a file runs.
        settings: How to search and to measure.
        folder: Where everything is kept.
        workers: Deviations side by side, each a Ray Tune trial with one thread; 0: one after another in this process,
            which is how to call it inside another trial.
        report: Told of each piece of work that ends.
        reference: Name of the rule-based economy that the outcome is held against; None: the run's.

    Raises:
        UserError: A checkpoint is missing or damaged, an agent is not in its economy (both before anything trains), or
            a trial failed.
        KeyboardInterrupt: The search was interrupted.
    """
    subjects = find_subjects(checkpoint, settings.checkpoints, reference)
    return best_responses_to(subjects, settings, folder, workers, report)


def best_responses_to(
    subjects: Sequence[Subject],
    settings: Settings,
    folder: Path,
    workers: int = 1,
    report: Callable[[str], None] = print,
) -> Report:
    """The same for several sets of policies, trained or rule-based.

    Args:
        subjects: What is checked. Those of one name are told apart by numbers, in their order: "rules", "rules-2".
        settings: As in `best_responses`, like all that follows.
        folder: Where everything is kept.
        workers: Deviations side by side.
        report: Told of each piece of work that ends.

    Raises:
        UserError: An agent is not in the economy of a subject, or a trial failed.
        KeyboardInterrupt: The search was interrupted.
    """
    from rbc_marl.rllib.ray_session import RayOptions, quieten, ray_session

    targets = [(subject, _targets(subject, settings)) for subject in told_apart(subjects)]
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    pieces = [job for subject, of_one in targets for job in _search(subject, settings, of_one)]
    quieten(0)
    with ray_session(RayOptions(num_cpus=max(workers, 1)), max(workers, 1)):
        found = run_jobs(pieces, folder, workers, report)
        finals = [[_final(subject, settings, *target, found) for target in of_one] for subject, of_one in targets]
        measured = run_jobs([job for jobs in finals for job in jobs], folder, workers, report)
    checkpoints, rows = [], []
    for (subject, _), jobs in zip(targets, finals, strict=True):
        level = found[_level(subject, settings).key]
        checkpoints.append(_describe(subject, level))
        for job in jobs:
            control = None if job.learned is None else found[_control(subject, settings, job.target).key]
            rows.append(_row(job, measured[job.key], control, level))
    return Report(rows, checkpoints, settings, started)


def _targets(subject: Subject, settings: Settings) -> list[tuple[Target, bool]]:
    """Who deviates, and whether it is also learnt how: not by further firms, whose constants alone are scanned."""
    asked = settings.targets(subject.economy)
    firms = subject.economy.num_firms
    others = [Target("firm", one) for one in range(firms)] if firms > 1 and Target("firm") in asked else []
    return [(target, True) for target in asked] + [(target, False) for target in others if target not in asked]


def _level(subject: Subject, settings: Settings) -> LevelJob:
    return LevelJob(subject, settings, Target("economy"))


def _control(subject: Subject, settings: Settings, target: Target) -> LearnJob:
    return LearnJob(subject, settings, target, settings.seeds[0], is_control=True)


def _learned(subject: Subject, settings: Settings, target: Target) -> list[LearnJob]:
    plain = [LearnJob(subject, settings, target, seed) for seed in settings.seeds]
    return [*plain, _control(subject, settings, target)]


def _search(subject: Subject, settings: Settings, targets: Sequence[tuple[Target, bool]]) -> list[DeviationJob]:
    """Everything that can be done before the best deviations are known."""
    jobs: list[DeviationJob] = [_level(subject, settings)]
    for target, is_learnt in targets:
        jobs.append(ConstantsJob(subject, settings, target))
        jobs += _learned(subject, settings, target) if is_learnt else []
    return jobs


def _final(
    subject: Subject, settings: Settings, target: Target, is_learnt: bool, found: Mapping[str, dict[str, Any]]
) -> FinalJob:
    """The measurement of the deviations that did best where they were picked; a control may have found the best."""
    learned = [found[job.key] for job in _learned(subject, settings, target)] if is_learnt else []
    best = max(learned, key=lambda row: row["selection_gain"], default=None)
    return FinalJob(subject, settings, target, best, found[ConstantsJob(subject, settings, target).key])


def _describe(subject: Subject, level: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "checkpoint": subject.title,
        "path": str(subject.checkpoint) if subject.checkpoint else None,
        "digest": subject.digest,
        "outcome": level["outcome"],
        **level["means"],
        "notes": list(subject.notes),
    }


def _row(
    job: FinalJob, final: Mapping[str, Any], control: Mapping[str, Any] | None, level: Mapping[str, Any]
) -> dict[str, Any]:
    """One deviation checked, as plain data."""
    assert job.constant is not None  # constants are always scanned
    target, none = job.target, dict.fromkeys(("gain", "low", "high"))
    gain, before, learned = better(final), final["level"], final.get("learned", none)
    training, training_note = _training_gain(target, before, level)
    verified, reason = (None, "") if control is None else _verdict(control)
    # Of all that learnt, a control alone says what it recovered.
    if gain["found_by"] == "learned" and job.learned is not None and "recovered" in job.learned:
        gain["found_by"] = "control"
        done = job.learned["iteration"]
        after = f"after {done} iterations" if done else "before it had learnt anything"
        reason = "; ".join(filter(None, (reason, f"the control's network did best, {after}")))
    over_level = gain["gain"] / abs(before) if before else None
    notes = [training_note, "" if before else "the level is 0: there is no gain over it", reason]
    return {
        "checkpoint": job.subject.title,
        "outcome": level["outcome"],
        "kind": target.kind if control is not None else "constant",
        "agent_type": target.agent_type,
        "agent": target.agent,
        "unit": UNITS[target.agent_type],
        "episodes": job.settings.episodes,
        "level": before,
        "gain": gain["gain"],
        "gain_low": gain["gain_low"],
        "gain_high": gain["gain_high"],
        "gain_over_level": over_level,
        "training_gain": training["gain"] if training else None,
        "training_gain_low": training["low"] if training else None,
        "training_gain_high": training["high"] if training else None,
        "gain_over_training": gain["gain"] / training["gain"] if training else None,
        "paper_bound": PAPER_BOUNDS[target.agent_type],
        "found_by": gain["found_by"],
        "learned_gain": learned["gain"],
        "learned_gain_low": learned["low"],
        "iteration": job.learned["iteration"] if job.learned else None,
        "constant_gain": final["constant"]["gain"],
        "constant_gain_low": final["constant"]["low"],
        "constant": job.constant["words"],
        "verified": verified,
        "recovered": control["recovered"] if control else None,
        "damaged_level": control["damaged"] if control else None,
        "note": "; ".join(note for note in notes if note),
    }


def better(final: Mapping[str, Any]) -> dict[str, Any]:
    """What counts of a learned deviation and a constant: the better, as both were measured on the same fresh episodes.

    On the episodes on which they were picked each looks better than it is, and more so the one picked from more. The
    larger of two fresh measurements errs upwards, if at all: the safe side for who would call something an equilibrium.

    Args:
        final: The result of a `FinalJob` with both, or with a constant alone. Intervals hold at once, at 95%.

    Returns:
        ``gain``, ``gain_low`` and ``gain_high``, each the larger of the two, so that the interval holds the gain of the
        better of both deviations at 95%, whichever that is; ``found_by``: whose ``gain`` it is.
    """
    constant = final["constant"]
    learned = final.get("learned", constant)
    is_learned = "learned" in final and learned["gain"] >= constant["gain"]
    found: dict[str, Any] = {"found_by": "learned" if is_learned else "constant"}
    for name, of_each in (("gain", "gain"), ("gain_low", "low"), ("gain_high", "high")):
        found[name] = max(learned[of_each], constant[of_each])
    return found


def _training_gain(
    target: Target, before: float, level: Mapping[str, Any]
) -> tuple[Mapping[str, float] | None, str]:
    """What training had brought, of which the paper's measure is a share; a note where that has no meaning."""
    if level["training"] is None:
        return None, "rules are not trained: there is no gain in training"
    found: Mapping[str, float] = level["training"][target.name]
    words = f"({found['start']:.4g} to {before:.4g})"
    if found["high"] < 0.0:
        return None, f"the reward fell in training {words}: there is no gain in training"
    if found["low"] <= 0.0:
        return None, f"the reward {words} is not surely more than before training: no share of that gain is given"
    return found, ""


def _verdict(control: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether the positive control shows that these settings find a deviation where there is one, or why not."""
    if control["recovered"] is None:
        return False, "not verified: a damaged network loses nothing that could be won back"
    if control["recovered"] < RECOVERED_SHARE:
        share = f"{control['recovered']:.0%}"
        return False, f"not verified: the control won back {share} of a damaged network's loss; raise the iterations"
    return True, ""
