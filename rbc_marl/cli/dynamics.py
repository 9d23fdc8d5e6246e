"""The commands impulse, transition and moments: how economies move, and what shocks and reforms do to them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rbc_marl.cli.evaluate import changes_of, dated, pair
from rbc_marl.cli.options import CHECKPOINT_HELP, AsJson, Trust
from rbc_marl.cli.saving import output_files, save_and_show
from rbc_marl.errors import ConfigError
from rbc_marl.settings import parse_set

if TYPE_CHECKING:
    from collections.abc import Callable

    from rbc_marl.analysis.treatments import Responses
    from rbc_marl.policies.saved import PolicySet

Checkpoint = Annotated[Path, typer.Argument(metavar="CHECKPOINT", help=CHECKPOINT_HELP)]
Pairs = Annotated[int, typer.Option(min=2, help="Pairs of episodes to play.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of all draws.")]
Elsewhere = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Play another economy: horizon=40. Repeatable."),
]
Out = Annotated[
    list[str] | None,
    typer.Option(metavar="FILE", help="Save it: .csv, .tex, .json, or a picture (.png, .pdf, .svg). Repeatable."),
]
OutText = Annotated[
    list[str] | None, typer.Option("--out", metavar="FILE", help="Save it: .csv, .tex or .json. Repeatable.")
]


def impulse(
    checkpoint: Checkpoint,
    shock: Annotated[
        list[str],
        typer.Option(
            metavar="NUMBER=CHANGE@PERIOD",
            help="technology=-5%@3 or technology=0.008@3; with ,persistence=0.8 it fades. Repeatable.",
        ),
    ],
    episodes: Pairs = 256,
    seed: Seed = 0,
    set_: Elsewhere = None,
    as_json: AsJson = False,
    out: Out = None,
    trust: Trust = False,
) -> None:
    """Play episodes with and without a shock, with the same random numbers, and print what it changes.

    Everybody keeps the policies they have, and sees the shock where the economy's shocks are seen.
    """
    from rbc_marl.analysis.treatments import Impulse
    from rbc_marl.analysis.treatments import impulse as respond

    shocks = [Impulse.parse(_impulse(text), "--shock") for text in shock]
    policies = _policies(checkpoint, set_, trust)
    _show(lambda: respond(policies, shocks, episodes, seed), as_json, out, "impulse")


def transition(
    checkpoint: Checkpoint,
    reform: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=VALUE@PERIOD",
            help="income_tax=0.2@5: in force from then on. A choice, or a number of the economy. Repeatable.",
        ),
    ],
    episodes: Pairs = 256,
    seed: Seed = 0,
    set_: Elsewhere = None,
    as_json: AsJson = False,
    out: Out = None,
    trust: Trust = False,
) -> None:
    """Play episodes with and without a reform, with the same random numbers, and print what it changes.

    Nobody expects it, and everybody keeps the policies they have.
    """
    from rbc_marl.analysis.treatments import Reform
    from rbc_marl.analysis.treatments import transition as respond

    values, periods = {}, set()
    for text in reform:
        body, period = dated(text, "--reform", "income_tax=0.2@5")
        name, values_of = pair(body, "--reform")
        values[name] = values_of
        periods.add(period)
    if len(periods) > 1:
        raise ConfigError(f"--reform begins in periods {', '.join(map(str, sorted(periods)))}; give one period")
    change = Reform.parse({"values": values, "period": periods.pop()}, "--reform")
    policies = _policies(checkpoint, set_, trust)
    _show(lambda: respond(policies, change, episodes, seed), as_json, out, "transition")


def moments(
    checkpoint: Checkpoint,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Data to stand beside: a CSV with a column per quantity.")
    ] = None,
    hp: Annotated[
        float | None, typer.Option(metavar="NUMBER", min=0.0, help="Take out an HP trend first: 1600 of quarters.")
    ] = None,
    episodes: Annotated[int, typer.Option(min=2, help="Episodes to play.")] = 256,
    seed: Seed = 0,
    set_: Elsewhere = None,
    as_json: AsJson = False,
    out: OutText = None,
    trust: Trust = False,
) -> None:
    """Print how much quantities move, for how long, and whether with output."""
    from rbc_marl.analysis.moments import moments as measure
    from rbc_marl.analysis.moments import read_data

    files = output_files(out)
    series = read_data(data) if data is not None else None
    found = measure(_policies(checkpoint, set_, trust), episodes, seed, series, hp)
    mend = "the same with --out moments.csv --out moments.tex"
    save_and_show(found, lambda: [found.table()], list, files, as_json, mend)


def _impulse(text: str) -> dict[str, Any]:
    """What was typed after --shock, as plain data."""
    head, *others = text.split(",")
    example = "technology=-5%@3,persistence=0.8"
    body, period = dated(head, "--shock", example)
    name, equals, size = body.partition("=")
    share = re.fullmatch(r"\s*([^%]*)%\s*", size)
    parts, value = parse_set(f"{name}={share[1] if share else size}" if equals else body, "--shock", example)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ConfigError(f"--shock {text}: {size or body} is no number; write it as {example}")
    found: dict[str, Any] = {"number": ".".join(parts), "period": period}
    found |= {"change": value / 100.0} if share else {"level": value}
    return found | dict(pair(other, "--shock") for other in others)


def _policies(checkpoint: Path, changes: list[str] | None, trust: bool) -> PolicySet:
    """The policies of a checkpoint, perhaps in another economy."""
    from rbc_marl.policies.saved import load_policies

    return load_policies(checkpoint, economy=changes_of(changes), trust=trust)


def _show(respond: Callable[[], Responses], as_json: bool, out: list[str] | None, name: str) -> None:
    """Measure responses, save them, and print them."""
    from rbc_marl.analysis.figures.responses import responses
    from rbc_marl.analysis.frames import PICTURES

    files = output_files(out, PICTURES)
    found = respond()
    mend = f"the same with --out {name}.png --out {name}.csv"
    save_and_show(found, found.tables, lambda: responses(found), files, as_json, mend)
