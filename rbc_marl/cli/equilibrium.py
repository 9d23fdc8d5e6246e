"""The commands best-response, what agents gain by deviating, and verify, which computes that again."""

from __future__ import annotations

import json
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rbc_marl.cli.options import CHECKPOINT_HELP, AsJson, RayAddress, Trust
from rbc_marl.cli.report import say_report
from rbc_marl.errors import check_writable, require
from rbc_marl.places import local_path, named, push


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
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Deviations side by side; by default the cores.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Instead of RUN/best_response, or RUN/best_response/CHECKPOINT for one."),
    ] = None,
    trust: Trust = False,
    ray_address: RayAddress = None,
    as_json: AsJson = False,
    page: Annotated[bool, typer.Option("--report/--no-report", help="End with a report (the default).")] = True,
) -> None:
    """Measure what types and single agents gain by deviating from PATH. Run again, it goes on where it stopped."""
    require("ray.rllib", "rllib")
    from rbc_marl.analysis.certificates import FILE_NAME
    from rbc_marl.equilibrium.best_response import best_responses
    from rbc_marl.equilibrium.best_response_settings import settings_from_words
    from rbc_marl.equilibrium.profile import result_folders
    from rbc_marl.experiments.ray_session import RayOptions

    sizes = {"seeds": range(seeds), "iterations": iterations, "episodes": episodes}
    settings = settings_from_words(type_ or (), agent or (), checkpoint or (), lr or (), **sizes)
    work, folder = (local_path(out),) * 2 if out else result_folders(path, settings.checkpoints)
    for each in {work, folder}:
        check_writable(each, "give another folder with --out FOLDER")
    log = partial(print, file=sys.stderr if as_json else sys.stdout, flush=True)
    ray_options = RayOptions(ray_address, num_cpus=workers)
    report = best_responses(path, settings, work, workers, log, trust=trust, ray_options=ray_options)
    saved = report.save(folder, ["rbc-marl", *sys.argv[1:]])
    push(folder)
    if as_json:
        print(json.dumps(report.to_dict(), indent=2))
        return
    Console(highlight=False).print(report.table())
    print("\n".join(report.lines()))
    if report.claims:
        words = shlex.join(["rbc-marl", "verify", str(folder / FILE_NAME), *(["--trust"] if trust else [])])
        print(f"certificate: {folder / FILE_NAME} (compute it again with {words})")
    print(f"results: {named(folder)} ({', '.join(saved)})")
    if page:
        say_report(folder, trust=trust)
        push(folder)
    print(f"next: {shlex.join(['rbc-marl', 'evaluate', str(path), *(['--trust'] if trust else [])])}")


def verify(
    path: Annotated[
        Path, typer.Argument(metavar="CERTIFICATE", help="certificate.json, its folder, a run's, or a name: open_rbc.")
    ],
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Where the policies are, if not where they were.")
    ] = None,
    trust: Trust = False,
) -> None:
    """Compute every number of a certificate of best responses again, and refuse one that differs. Needs no Ray."""
    from rbc_marl.analysis import certificates

    log = partial(print, file=sys.stderr, flush=True)
    print("\n".join(certificates.verify(path, checkpoint, trust=trust, log=log)))
