"""The command report: a page of figures and tables about what was trained."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rbc_marl.cli.options import Trust
from rbc_marl.errors import UserError
from rbc_marl.places import local_path, named, push

if TYPE_CHECKING:
    from rbc_marl.analysis.rollouts import Episodes


def report(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="A run, a sweep, a best response, a certificate.json, a checkpoint, or a name: quickstart.",
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Instead of PATH/report, or results/reports/NAMES for names and several."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write over files that no report wrote, or that were changed since.")
    ] = False,
    trust: Trust = False,
) -> None:
    """Write a page of figures and tables about each PATH, with the numbers as CSV, TeX and JSON."""
    from rbc_marl.report import write_report

    folder = local_path(out) if out else None
    written = write_report(paths, folder, force=force, trust=trust, command=["rbc-marl", *sys.argv[1:]])
    push(written.page.parent)
    print(" ".join(written.verdict[:2]))
    print(f"report: {named(written.page)} (figures/, numbers.csv, numbers.tex, numbers.json)")


def say_report(path: Path, *, trust: bool = True, played: Episodes | None = None) -> None:
    """Write the report of what has just been made, and say where; or say in a line why there is none.

    Results that are there must not fail for want of a page about them.

    Args:
        path: The folder of what was made.
        trust: Whether code that is not installed may run.
        played: Episodes of its policies, if they were played already.
    """
    from rbc_marl.report import write_report

    try:
        written = write_report([path], trust=trust, command=["rbc-marl", *sys.argv[1:]], played=played)
        print(f"report: {named(written.page)}")
    except UserError as error:
        print(f"no report was written: {error}")
    except Exception as error:
        print(f"no report was written: {type(error).__name__}: {' '.join(str(error).split())}")
