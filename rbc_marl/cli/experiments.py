"""The commands that read an experiment's file: train, check and sweep."""

from __future__ import annotations

import importlib.util
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rbc_marl.cli.options import File, Name, RayAddress, Set, Stop, TrustCheckpoint, Verbose
from rbc_marl.cli.report import say_report
from rbc_marl.errors import ConfigError, LostProcessError, require
from rbc_marl.places import local_path, named, push

if TYPE_CHECKING:
    from rbc_marl.analysis.rollouts import Episodes
    from rbc_marl.equilibrium.study import Study
    from rbc_marl.experiments.file import Experiment, ExperimentSpec
    from rbc_marl.experiments.ray_session import RayOptions
    from rbc_marl.experiments.run import Outcome


def train(
    file: File,
    set_: Set = None,
    experiment: Name = None,
    stop: Stop = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the newest unfinished run of the file.")] = False,
    checkpoint_freq: Annotated[int | None, typer.Option(metavar="N", help="Checkpoint every N iterations.")] = None,
    checkpoint_at_end: Annotated[bool | None, typer.Option(help="Checkpoint at the end (the default).")] = None,
    keep_checkpoints_num: Annotated[int | None, typer.Option(metavar="N", help="Keep only the N newest.")] = None,
    ray_address: RayAddress = None,
    ray_num_cpus: Annotated[int | None, typer.Option(metavar="N", min=1, help="CPUs that Ray may use.")] = None,
    ray_num_gpus: Annotated[int | None, typer.Option(metavar="N", min=0, help="GPUs that Ray may use.")] = None,
    trust: TrustCheckpoint = False,
    verbose: Verbose = 0,
) -> None:
    """Train the experiments of FILE, one after another; search spaces make an experiment a sweep."""
    flags = {
        "stop": stop,
        "checkpoint_config.checkpoint_frequency": checkpoint_freq,
        "checkpoint_config.checkpoint_at_end": checkpoint_at_end,
        "checkpoint_config.num_to_keep": keep_checkpoints_num,
    }
    sets = [*(set_ or []), *(f"{key}={value}" for key, value in flags.items() if value is not None)]
    experiments = _load(file, experiment, sets, verbose, trust)
    from rbc_marl.experiments.ray_session import RayOptions

    ray_options = RayOptions(ray_address, ray_num_cpus, ray_num_gpus, verbose)
    if len(experiments) > 1:
        if resume:
            raise ConfigError(f"{file} holds {_names(experiments)}; say which one to resume: --experiment NAME")
        print(f"{file} holds {_names(experiments)}: they run in this order (--experiment NAME runs one)")
    for one in experiments:
        _train_one(file, one, one.name if experiment or len(experiments) > 1 else None, sets, resume, ray_options)


def check(
    file: File,
    set_: Set = None,
    experiment: Name = None,
    economy: Annotated[
        bool,
        typer.Option("--economy", help="Play it with extreme choices: do its books balance, is work worth it?"),
    ] = False,
    trust: TrustCheckpoint = False,
    verbose: Verbose = 0,
) -> None:
    """Validate the experiments of FILE and print what would run."""
    experiments = _load(file, experiment, set_ or [], verbose, trust)
    from rbc_marl.experiments.forecast import bookkeeping, forecast

    for one in experiments:
        if economy and one.env_config is not None:
            print("\n".join([f"{one.name}:", *bookkeeping(one.env_config)]))
        elif economy:
            raise ConfigError(f"{one.name}.env is {one.config.env}, which is no economy of this package")
        else:
            print("\n".join([_describe(one), *forecast(one)]))
    print(f"next: {_command('train', file, set_ or [], experiment)}")


def sweep(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A sweep file, or the name of one of ours: taxes.")],
    set_: Set = None,
    arm: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this arm. Repeatable.")] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Instead of results/<name of the sweep>; also s3://bucket/x.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Runs side by side; by default the cores.")
    ] = None,
    small: Annotated[bool, typer.Option("--small", help="The file's small version, which takes minutes.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file and print what would run.")] = False,
    remeasure: Annotated[
        bool, typer.Option("--remeasure", help="Make the rows of runs that ended anew, without training.")
    ] = False,
    ray_address: RayAddress = None,
    trust: TrustCheckpoint = False,
    verbose: Verbose = 0,
) -> None:
    """Train and evaluate every variant and seed of FILE, in one table. Run again, it goes on where it stopped."""
    from rbc_marl.presets import find_file

    file = find_file(file, "sweep")
    require("ray.rllib", "rllib")
    from rbc_marl.equilibrium.study import load_study, remeasure_study
    from rbc_marl.experiments.ray_session import RayOptions, quieten
    from rbc_marl.experiments.sweep import describe, rows_of

    quieten(verbose)
    study = load_study(file, set_ or (), small=small, trust=trust)
    folder, again = local_path(out or f"results/{study.name}"), ["rbc-marl", *sys.argv[1:]]
    if dry_run:
        rows_of(study, folder)  # refuses those of other settings, also of arms that are not asked for
        study = study.grown(folder)
        print(describe(study.only(arm or ()), folder))
        print(f"next: {shlex.join(word for word in again if word != '--dry-run')}")
        return
    if remeasure:
        print(remeasure_study(study, folder, arm or (), again))
        _say_study(study, folder)
        return
    _run_study(study, folder, shlex.join(again), workers, RayOptions(ray_address, verbosity=verbose), only=arm or ())


def _load(file: Path, only: str | None, sets: Sequence[str], verbosity: int, trust: bool) -> list[Experiment]:
    from rbc_marl.presets import find_file

    file = find_file(file)  # before Ray is imported, which takes seconds
    require("ray.rllib", "rllib")
    from rbc_marl.experiments.file import load_experiments
    from rbc_marl.experiments.ray_session import quieten

    quieten(verbosity)
    return load_experiments(file, only, sets=sets, trust=trust)


def _train_one(
    file: Path, experiment: Experiment, only: str | None, sets: Sequence[str], resume: bool, ray_options: RayOptions
) -> None:
    from rbc_marl.experiments.run import train as run
    from rbc_marl.experiments.run import unfinished_run

    folder = None
    # The folder of a run keeps its settings: only what decides where the folder is must be given again.
    place = [text for text in sets if text.partition("=")[0] == "storage_path"]
    again = _command("train", file, place, only, resume=True)
    if experiment.is_sweep:
        _train_sweep(experiment, sets, resume, ray_options, again)
        return
    if resume:
        experiment, folder = unfinished_run(experiment, sets)
        print(f"resuming {named(folder.path)}, with the settings it began with")
    else:
        print(_describe(experiment).partition("\n")[0])
    command = ["rbc-marl", *sys.argv[1:]]
    try:
        outcome = run(experiment, folder, command=command, ray_options=ray_options)
    except LostProcessError:
        print(f"next: {again}")
        raise
    _report_run(outcome, again, experiment.report)


def _report_run(outcome: Outcome, again: str, has_report: bool) -> None:
    became = json.loads((outcome.folder / "run.json").read_text(encoding="utf-8")).get("outcome")
    print(f"{outcome.status} after {outcome.iterations} iterations" + (f": the economy is {became}" if became else ""))
    print(f"results: {named(outcome.folder)} (progress.csv, result.json, TensorBoard events)")
    if outcome.checkpoint is not None:
        print(f"checkpoint: {named(outcome.checkpoint)}")
    if outcome.signal is not None:
        print(f"next: {again}")
        raise typer.Exit(128 + outcome.signal)
    if outcome.checkpoint is not None and (outcome.checkpoint / "policies.json").is_file():
        played = _draw(outcome)
        if has_report:
            say_report(outcome.folder, played=played)
        push(outcome.folder)
        print(f"next: rbc-marl evaluate {shlex.quote(named(outcome.folder))}{_trust(outcome.checkpoint)}")
    else:
        print(f"next: tensorboard --logdir {shlex.quote(str(outcome.folder.parent))}")


def _draw(outcome: Outcome) -> Episodes | None:
    """Draw the portrait of what was trained into the run's folder, and say where.

    Returns:
        The episodes it is drawn of, for the report to be about the same; None where matplotlib is not installed.
    """
    from rbc_marl.analysis.drawing import save
    from rbc_marl.analysis.figures.episodes import portrait, said
    from rbc_marl.policies.imposed import as_trained
    from rbc_marl.policies.saved import load_policies
    from rbc_marl.report.sections import played_for_report

    assert outcome.checkpoint is not None  # there are policies
    if importlib.util.find_spec("matplotlib") is None:
        return None
    policies = load_policies(outcome.checkpoint, trust=True)  # code that has just been trained with
    played = played_for_report(as_trained(policies))
    title = f"{outcome.folder.parent.name}, {outcome.folder.name}: {said(played)}; below, the first episode"
    print(f"picture: {named(save(portrait(played), outcome.folder / 'economy.png', title=title))}")
    return played


def _train_sweep(
    experiment: Experiment, sets: Sequence[str], resume: bool, ray_options: RayOptions, again: str
) -> None:
    """Train an experiment whose own file holds search spaces."""
    from rbc_marl.equilibrium.study import study_of, unfinished_study
    from rbc_marl.experiments.file import read_overrides, read_specs

    (spec,) = read_specs(experiment.source, experiment.name, trust=experiment.trust)
    overrides = read_overrides(sets)
    if resume:
        study, folder, spec = unfinished_study(spec.with_overrides(overrides), overrides)
        print(f"resuming {named(folder)}, with the settings it began with")
    else:
        study, folder, spec = study_of(spec.with_overrides(overrides))
        print(_describe(experiment).partition("\n")[0])
    _run_study(study, folder, again, None, ray_options, spec=spec)


def _run_study(
    study: Study,
    folder: Path,
    again: str,
    workers: int | None,
    ray_options: RayOptions,
    only: Sequence[str] = (),
    spec: ExperimentSpec | None = None,
) -> None:
    """Run many experiments, and print what they came to and what to run next."""
    from rbc_marl.equilibrium.study import run_study

    command = ["rbc-marl", *sys.argv[1:]]
    try:
        print(run_study(study, folder, workers, ray_options, only=only, spec=spec, command=command))
    except KeyboardInterrupt:
        print(f"next: {again}")
        raise
    _say_study(study, folder)
    first = study.only(only).runs[0]
    results = folder / "runs" / first.key / first.spec.name
    following = "rbc-marl evaluate" if first.is_evaluated else "tensorboard --logdir"
    saved = sorted(results.glob("*/checkpoint_*/policies.json")) if first.is_evaluated else []
    print(f"next: {following} {shlex.quote(str(results))}{_trust(saved[-1].parent) if saved else ''}")


def _trust(policies: Path) -> str:
    """What playing policies needs beside their name: consent, where code of one's own plays with them."""
    from rbc_marl.policies.saved import needs_trust

    return " --trust" if needs_trust(policies) else ""


def _say_study(study: Study, folder: Path) -> None:
    """Say where the results of many experiments are, and write a report about them."""
    from rbc_marl.equilibrium.study_results import store

    print(f"results: {named(folder)} (summary.md; tables as .csv and .parquet; figures; runs/)")
    if study.report:
        say_report(folder)
        store(folder)


def _command(name: str, file: Path, sets: Sequence[str], experiment: str | None, resume: bool = False) -> str:
    words = ["rbc-marl", name, str(file)]
    if experiment is not None and file.suffix != ".py":
        words += ["--experiment", experiment]
    for text in sets:
        words += ["--set", text]
    return shlex.join([*words, "--resume"] if resume else words)


def _names(experiments: Sequence[Experiment]) -> str:
    return ", ".join(experiment.name for experiment in experiments)


def _describe(experiment: Experiment) -> str:
    """What `check` prints of an experiment: plain lines, in the order in which a reader asks."""
    from rbc_marl.curriculum import moving_numbers
    from rbc_marl.experiments.file import setting_name
    from rbc_marl.own_code import origin

    config, economy = experiment.config.copy(copy_frozen=False), experiment.env_config
    config.validate()  # fills in sizes that follow from others
    lines = [f"{experiment.name}: {experiment.run} on {experiment.env}"]
    if economy is not None:
        kind = "open" if economy.open_economy else "closed"
        agents = f"{economy.num_consumers} consumers, {economy.num_firms} firms, 1 government"
        lines.append(f"  economy: {kind}, {agents}, {economy.horizon} periods an episode")
    stop = ", ".join(f"{key} {value:g}" for key, value in experiment.stop.items()) or "when it is interrupted"
    lines.append(f"  stops at: {stop}")
    batch = f"{config.total_train_batch_size} env steps from {config.num_envs_per_env_runner} environments"
    runners = f"{config.num_env_runners} env runners" if config.num_env_runners else "sampled in this process"
    lines.append(f"  an iteration: {batch}, {runners}")
    if economy is not None:
        lines += [f"  curriculum: {words}" for words in moving_numbers(getattr(config, "curriculum", None), economy)]
    saved = experiment.checkpoints
    kept = f"the newest {saved.num_to_keep} kept" if saved.num_to_keep else "all kept"
    every = f"every {saved.checkpoint_frequency} iterations" if saved.checkpoint_frequency else "at the end"
    lines.append(f"  checkpoints: {every}, {kept}")
    for path, space in experiment.spaces.items():
        lines.append(f"  searches: {setting_name(path)} over {space.kind} {list(space.arguments)}")
    if experiment.code:
        modules = {dotted.replace(":", ".").rpartition(".")[0]: origin(dotted) for dotted in experiment.code}
        lines.append(f"  runs code of: {', '.join(f'{module} ({file})' for module, file in modules.items())}")
    seed = "" if ("config", "seed") in experiment.spaces else f"  seed: {experiment.seed}\n"
    return "\n".join(lines) + f"\n{seed}  results: {named(experiment.storage / experiment.name)}"
