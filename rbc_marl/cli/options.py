"""The application, and the arguments and options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CHECKPOINT_HELP = "A checkpoint, a run's folder, an experiment's (its newest run), or a name: open_rbc."

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
    bool, typer.Option("--trust", help="Run the code of networks and parts that policies bring along. Read it first.")
]
TrustCheckpoint = Annotated[
    bool,
    typer.Option("--trust", help="Go on from, or begin with, a checkpoint that is not yours: it can run any code."),
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
