"""The command rbc-marl: reads what was typed, calls the package, prints where the results are and what to run next."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from rbc_marl.errors import ConfigError, UserError, require

if TYPE_CHECKING:
    from rbc_marl.equilibrium.study import Study
    from rbc_marl.experiments.file import Experiment, ExperimentSpec
    from rbc_marl.experiments.ray_session import RayOptions
    from rbc_marl.experiments.run import Outcome

SchemaKind = Literal["experiment", "sweep", "best_response"]
CHECKPOINT_HELP = "A checkpoint, a run's folder, or an experiment's: its newest run."

app = typer.Typer(
    help="Train, evaluate and measure open and closed real-business-cycle economies of many learning agents.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="A YAML file, a Python file that holds `config`, or a preset's name.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting: lr=1e-3, env_config.crra=0.5, stop.training_iteration=3. Repeatable.",
    ),
]
Name = Annotated[str | None, typer.Option("--experiment", metavar="NAME", help="Only this experiment of FILE.")]
Stop = Annotated[
    str | None, typer.Option(metavar="CRITERIA", help="Instead of the file's: '{training_iteration: 100}'.")
]
Verbose = Annotated[int, typer.Option("-v", "--verbose", count=True, help="Show Ray's warnings; -vv shows everything.")]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray-address", metavar="ADDRESS", help="Use a running Ray cluster: HOST:PORT, or auto for this machine's."
    ),
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Run the code of network classes that the policies bring along. Read it first.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for other programs.")]


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options that stand before a command (--debug may stand anywhere)."""
    if version:
        from importlib.metadata import PackageNotFoundError
        from importlib.metadata import version as installed

        try:
            print(f"rbc-marl {installed('rbc_marl')}")
        except PackageNotFoundError:
            from rbc_marl import __version__

            print(f"rbc-marl {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
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
    experiments = _load(file, experiment, sets, verbose)
    from rbc_marl.experiments.ray_session import RayOptions

    ray_options = RayOptions(ray_address, ray_num_cpus, ray_num_gpus, verbose)
    if len(experiments) > 1:
        if resume:
            raise ConfigError(f"{file} holds {_names(experiments)}; say which one to resume: --experiment NAME")
        print(f"{file} holds {_names(experiments)}: they run in this order (--experiment NAME runs one)")
    for one in experiments:
        _train_one(file, one, one.name if experiment or len(experiments) > 1 else None, sets, resume, ray_options)


@app.command()
def evaluate(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help=CHECKPOINT_HELP)],
    episodes: Annotated[int, typer.Option(min=1, help="Episodes to play.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what the policies draw.")] = 0,
    greedy: Annotated[bool, typer.Option("--greedy", help="Play each policy's likeliest action: one episode.")] = False,
    as_json: AsJson = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE.parquet", help="Save every period played.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Play another economy: export_quota=50. Repeatable."),
    ] = None,
    trust: Trust = False,
) -> None:
    """Play the policies of CHECKPOINT and print what their economy does."""
    from rbc_marl.analysis.outcomes import BEST, FAILED, outcome, reference_welfare
    from rbc_marl.analysis.rollouts import Evaluation, check_parquet_path, play, save_parquet
    from rbc_marl.analysis.shopping import shopping
    from rbc_marl.policies.saved import find_checkpoint, load_policies
    from rbc_marl.settings import parse_set

    if out is not None:
        check_parquet_path(out)
    economy = {".".join(parts).removeprefix("env_config."): value for parts, value in map(parse_set, set_ or [])}
    policies = load_policies(checkpoint, economy=economy, trust=trust)
    played = play(policies, episodes, seed, greedy, record=out is not None)
    evaluation = Evaluation.of(played)
    if out is not None:
        save_parquet(played, out)
    rules = str(policies.info.get("rules", BEST))
    became, shoppers = outcome(policies.config, evaluation.means, rules), shopping(policies, seed=seed)
    if as_json:
        how = {**shoppers.to_dict(), "outcome": became, "rules": rules, "economy": economy}
        print(json.dumps({**evaluation.to_dict(), **how}, indent=2))
        return
    Console(highlight=False).print(evaluation.table())
    reference = reference_welfare(policies.config, rules)
    held_against = "best rule-based economy" if rules == BEST else f"rule-based economy {rules}"
    reason = "a mean is infinite or NaN" if became == FAILED else f"welfare of the {held_against}: {reference:,.0f}"
    print(f"shopping: {shoppers.describe()}")
    print(f"outcome: {became} ({reason})")
    print(f"policies: {find_checkpoint(checkpoint)}" + (f", in another economy: {' '.join(set_)}" if set_ else ""))
    if out is not None:
        print(f"periods: {out}")
    else:
        words = ["rbc-marl", "evaluate", str(checkpoint), "--episodes", str(episodes), "--seed", str(seed)]
        words += [*(["--greedy"] if greedy else []), *(word for one in set_ or [] for word in ("--set", one))]
        words += [*(["--trust"] if trust else []), "--out", "periods.parquet"]
        print(f"next: {shlex.join(words)}   (keeps every period)")


@app.command()
def check(file: File, set_: Set = None, experiment: Name = None, verbose: Verbose = 0) -> None:
    """Validate the experiments of FILE and print what would run."""
    for one in _load(file, experiment, set_ or [], verbose):
        print(_describe(one))
    print(f"next: {_command('train', file, set_ or [], experiment)}")


@app.command()
def presets(
    copy: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Copy them there, to edit them.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over files of the same names.")] = False,
) -> None:
    """List the files that come with the package; `train` and `sweep` take their names."""
    from rbc_marl.presets import copy_presets, describe_presets

    if copy is not None:
        copies = copy_presets(copy, force=force)
        print(f"copied: {len(copies)} files to {copy}")
        print(f"next: {shlex.join(['rbc-marl', 'check', str(copy / 'quickstart.yaml')])}")
        return
    listed = list(describe_presets())
    width = max(len(name) for _, name, _ in listed)
    for command, kind in (("train", "experiment"), ("sweep", "sweep")):
        print(f"rbc-marl {command} NAME")
        print("\n".join(f"  {name:<{width}}  {what}" for of, name, what in listed if of == kind))
    print("next: rbc-marl train quickstart")


@app.command()
def schema(
    kind: Annotated[SchemaKind, typer.Argument(metavar="KIND", help="experiment, sweep or best_response.")] = (
        "experiment"
    ),
) -> None:
    """Print the JSON schema of a kind of file, with which editors complete and check it."""
    require("ray.rllib", "rllib")
    print(json.dumps(_schema(kind), indent=1))


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A sweep file, or the name of one of ours: taxes.")],
    set_: Set = None,
    arm: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this arm. Repeatable.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Instead of results/<name of the sweep>.")] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Runs side by side; by default the usable cores.")
    ] = None,
    small: Annotated[bool, typer.Option("--small", help="The file's small version, which takes minutes.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file and print what would run.")] = False,
    ray_address: RayAddress = None,
    verbose: Verbose = 0,
) -> None:
    """Train and evaluate every variant and seed of FILE, in one table. Run again, it goes on where it stopped."""
    from rbc_marl.presets import find_file

    file = find_file(file, "sweep")
    require("ray.rllib", "rllib")
    from rbc_marl.equilibrium.study import load_study
    from rbc_marl.experiments.ray_session import RayOptions, quieten
    from rbc_marl.experiments.sweep import describe, rows_of

    quieten(verbose)
    study = load_study(file, set_ or (), small=small)
    folder, again = out or Path("results") / study.name, ["rbc-marl", *sys.argv[1:]]
    if dry_run:
        rows_of(study, folder)  # refuses those of other settings, also of arms that are not asked for
        print(describe(study.only(arm or ()), folder))
        print(f"next: {shlex.join(word for word in again if word != '--dry-run')}")
        return
    _run_study(study, folder, shlex.join(again), workers, RayOptions(ray_address, verbosity=verbose), only=arm or ())


@app.command("best-response")
def best_response(
    path: Annotated[Path, typer.Argument(metavar="PATH", help=CHECKPOINT_HELP)],
    type_: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="Only this agent type. Repeatable.")
    ] = None,
    agent: Annotated[
        list[str] | None, typer.Option(metavar="TYPE:NUMBER", help="consumer:37, firm:all: alone. Repeatable.")
    ] = None,
    checkpoint: Annotated[
        list[str] | None, typer.Option(metavar="N", help="The run's checkpoint of iteration N, or all. Repeatable.")
    ] = None,
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="Learn each deviation N times.")] = 3,
    iterations: Annotated[int, typer.Option(metavar="N", min=1, help="Of learning a deviation.")] = 200,
    episodes: Annotated[int, typer.Option(metavar="N", min=2, help="Fresh ones, to measure gains on.")] = 1024,
    lr: Annotated[list[str] | None, typer.Option(metavar="TYPE=RATE", help="Learning rate. Repeatable.")] = None,
    workers: Annotated[int | None, typer.Option(metavar="N", min=1, help="Deviations side by side.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Instead of RUN/best_response, or RUN/best_response/CHECKPOINT for one."),
    ] = None,
    trust: Trust = False,
    ray_address: RayAddress = None,
    as_json: AsJson = False,
) -> None:
    """Measure what types and single agents gain by deviating from PATH. Run again, it goes on where it stopped."""
    require("ray.rllib", "rllib")
    from rbc_marl.equilibrium.best_response import best_responses
    from rbc_marl.equilibrium.best_response_settings import settings_from_words
    from rbc_marl.equilibrium.profile import result_folders
    from rbc_marl.experiments.ray_session import RayOptions, usable_cores

    sizes = {"seeds": range(seeds), "iterations": iterations, "episodes": episodes}
    settings = settings_from_words(type_ or (), agent or (), checkpoint or (), lr or (), **sizes)
    work, folder = (out, out) if out else result_folders(path, settings.checkpoints)
    log = partial(print, file=sys.stderr if as_json else sys.stdout, flush=True)
    workers = workers or usable_cores()
    ray_options = RayOptions(ray_address, num_cpus=workers)
    report = best_responses(path, settings, work, workers, log, trust=trust, ray_options=ray_options)
    saved = report.save(folder, ["rbc-marl", *sys.argv[1:]])
    if as_json:
        print(json.dumps(report.to_dict(), indent=2))
        return
    Console(highlight=False).print(report.table())
    print("\n".join(report.lines()))
    print(f"results: {folder} ({', '.join(saved)})")
    print(f"next: {shlex.join(['rbc-marl', 'evaluate', str(path), *(['--trust'] if trust else [])])}")


@app.command()
def bench(
    only: Annotated[
        list[str] | None, typer.Option(metavar="PART", help="economy, environments, sampling or training. Repeatable.")
    ] = None,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="Where batches are played: cpu or cuda.")] = "cpu",
    ray_address: RayAddress = None,
    as_json: AsJson = False,
) -> None:
    """Measure, in one run, the economy, its environments, sampling and training against their references."""
    from rbc_marl.benchmark import bench as benchmark

    parts = only or list(benchmark.PARTS)
    with ExitStack() as stack:
        if set(parts) & set(benchmark.NEEDS_RAY):
            require("ray.rllib", "rllib")
            from rbc_marl.experiments.ray_session import RayOptions, quieten, ray_session

            quieten(0)
            stack.enter_context(ray_session(RayOptions(address=ray_address), 1))
        result = benchmark.run(parts, device)
    print(json.dumps(result, indent=2) if as_json else benchmark.table(result))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit: 0 done, 2 an error that is explained in one line, 130 or 143 interrupted.

    Args:
        arguments: What follows `rbc-marl`; None: from the command line.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    try:
        status = app(given, prog_name="rbc-marl", standalone_mode=False)
    except UserError as error:
        if debug:
            raise
        status = _fail(str(error))
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        sys.stderr.close()
        status = 141
    except Exception as error:
        if not hasattr(error, "format_message"):  # typer's own errors have it, whichever click it brings
            if debug:
                raise
            status = _fail(f"{type(error).__name__}: {str(error).strip()}; run it again with --debug for the traceback")
        else:
            status = _fail(f"{error.format_message().rstrip('.')}; see rbc-marl --help")
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str) -> int:
    print(f"rbc-marl: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _load(file: Path, only: str | None, sets: Sequence[str], verbosity: int) -> list[Experiment]:
    from rbc_marl.presets import find_file

    file = find_file(file)  # before Ray is imported, which takes seconds
    require("ray.rllib", "rllib")
    from rbc_marl.experiments.file import load_experiments
    from rbc_marl.experiments.ray_session import quieten

    quieten(verbosity)
    return load_experiments(file, only, sets=sets)


def _schema(kind: str) -> dict[str, object]:
    from rbc_marl.equilibrium.best_response_settings import BestResponseSettings
    from rbc_marl.equilibrium.study import StudyFile
    from rbc_marl.experiments.build import experiment_schema
    from rbc_marl.schema import file_schema

    if kind == "experiment":
        return experiment_schema()
    if kind == "best_response":  # what stands under best_response in a sweep file
        return BestResponseSettings.model_json_schema()
    return file_schema(StudyFile, "Sweeps of rbc-marl")


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
        print(f"resuming {folder.path}, with the settings it began with")
    else:
        print(_describe(experiment).partition("\n")[0])
    command = ["rbc-marl", *sys.argv[1:]]
    _report_run(run(experiment, folder, command=command, ray_options=ray_options), again)


def _report_run(outcome: Outcome, again: str) -> None:
    became = json.loads((outcome.folder / "run.json").read_text(encoding="utf-8")).get("outcome")
    print(f"{outcome.status} after {outcome.iterations} iterations" + (f": the economy is {became}" if became else ""))
    print(f"results: {outcome.folder} (progress.csv, result.json, TensorBoard events)")
    if outcome.checkpoint is not None:
        print(f"checkpoint: {outcome.checkpoint}")
    if outcome.signal is not None:
        print(f"next: {again}")
        raise typer.Exit(128 + outcome.signal)
    if outcome.checkpoint is not None and (outcome.checkpoint / "policies.json").is_file():
        print(f"next: rbc-marl evaluate {shlex.quote(str(outcome.folder))}")
    else:
        print(f"next: tensorboard --logdir {shlex.quote(str(outcome.folder.parent))}")


def _train_sweep(
    experiment: Experiment, sets: Sequence[str], resume: bool, ray_options: RayOptions, again: str
) -> None:
    """Train an experiment whose own file holds search spaces."""
    from rbc_marl.equilibrium.study import study_of, unfinished_study
    from rbc_marl.experiments.file import read_overrides, read_specs

    (spec,), overrides = read_specs(experiment.source, experiment.name), read_overrides(sets)
    if resume:
        study, folder, spec = unfinished_study(spec.with_overrides(overrides), overrides)
        print(f"resuming {folder}, with the settings it began with")
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
    print(f"results: {folder} (summary.md; tables as .csv and .parquet; figures; runs/)")
    first = study.only(only).runs[0]
    following = "rbc-marl evaluate" if first.is_evaluated else "tensorboard --logdir"
    print(f"next: {following} {shlex.quote(str(folder / 'runs' / first.key / first.spec.name))}")


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
    return "\n".join(lines) + f"\n{seed}  results: {experiment.storage / experiment.name}"


if __name__ == "__main__":
    main()
