"""The commands impulse, transition and moments: how economies move, and what shocks and reforms do to them."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from rbc_marl.cli.evaluate import changes_of, dated, pair
from rbc_marl.cli.options import CHECKPOINT_HELP, AsJson, Trust
from rbc_marl.cli.saving import output_files, save_and_show
from rbc_marl.errors import ConfigError
from rbc_marl.places import local_path, named
from rbc_marl.settings import parse_set

if TYPE_CHECKING:
    from collections.abc import Callable

    from rbc_marl.analysis.treatments import Responses
    from rbc_marl.config import EconomyConfig
    from rbc_marl.policies.imposed import Treatment
    from rbc_marl.policies.saved import PolicySet

DEFAULT_FOLDER = "results/learned"
# Bounds as they are typed, and what they are called.
_BOUND = re.compile(r"^\s*(\w+)\s*(>=|<=)\s*")
_WORDS = {">=": "minimum", "<=": "maximum"}

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
Learn = Annotated[
    int | None, typer.Option("--learn", metavar="N", min=1, help="Let all learn on under it for N iterations, too.")
]
Folder = Annotated[
    str | None, typer.Option("--folder", metavar="FOLDER", help="Of the runs of --learn. Default: results/learned.")
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
    learn: Learn = None,
    folder: Folder = None,
    trust: Trust = False,
) -> None:
    """Play episodes with and without a shock, with the same random numbers, and print what it changes.

    Everybody keeps the policies they have, and sees the shock where the economy's shocks are seen. With --learn they
    also learn on under it, and, to be held against, without it.
    """
    from rbc_marl.analysis.treatments import Impulse, shocked
    from rbc_marl.analysis.treatments import impulse as respond

    shocks = [Impulse.parse(_impulse(text), "--shock") for text in shock]
    players = _Players(checkpoint, set_, seed, as_json, learn, folder, trust)
    _show(lambda who: respond(who[0], shocks, episodes, seed, who[1]), players, lambda c: shocked(c, shocks), out)


def transition(
    checkpoint: Checkpoint,
    reform: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=VALUE@PERIOD",
            help="income_tax=0.2@5: in force from then on. A choice, a bound on one (wage>=22@4), or a number of the "
            "economy. Repeatable.",
        ),
    ],
    episodes: Pairs = 256,
    seed: Seed = 0,
    set_: Elsewhere = None,
    as_json: AsJson = False,
    out: Out = None,
    learn: Learn = None,
    folder: Folder = None,
    trust: Trust = False,
) -> None:
    """Play episodes with and without a reform, with the same random numbers, and print what it changes.

    Nobody expects it, and everybody keeps the policies they have. With --learn they also learn on under it, and, to be
    held against, without it.
    """
    from rbc_marl.analysis.treatments import Reform, reformed
    from rbc_marl.analysis.treatments import transition as respond

    values, periods = {}, set()
    for text in reform:
        body, period = dated(text, "--reform", "income_tax=0.2@5")
        name, values_of = pair(_BOUND.sub(lambda m: f"{_WORDS[m[2]]}_{m[1]}=", body), "--reform")
        values[name] = values_of
        periods.add(period)
    if len(periods) > 1:
        raise ConfigError(f"--reform begins in periods {', '.join(map(str, sorted(periods)))}; give one period")
    change = Reform.parse({"values": values, "period": periods.pop()}, "--reform")
    players = _Players(checkpoint, set_, seed, as_json, learn, folder, trust)
    _show(lambda who: respond(who[0], change, episodes, seed, who[1]), players, lambda c: reformed(c, change), out)


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


@dataclass(frozen=True)
class _Players:
    """Who plays: the policies of a checkpoint, or what they come to by learning on."""

    checkpoint: Path
    changes: list[str] | None
    seed: int
    as_json: bool
    learn: int | None
    folder: str | None
    trust: bool

    def load(self, treat: Callable[[EconomyConfig], Treatment]) -> tuple[PolicySet, PolicySet | None, list[str]]:
        """Policies without the treatment, those that learned under it, and where the latter are, in words."""
        policies = _policies(self.checkpoint, self.changes, self.trust)
        treatment = treat(policies.config)  # what cannot be is refused before anybody learns
        if self.learn is None:
            if self.folder is not None:
                raise ConfigError("--folder is for runs of --learn; give --learn as well, or leave it out")
            return policies, None, []
        from rbc_marl.experiments.learning_on import CONTROL, LEARNED, learn_on
        from rbc_marl.policies.saved import load_policies

        folder = local_path(self.folder or DEFAULT_FOLDER)
        console = Console(stderr=True) if self.as_json else None
        economy = changes_of(self.changes)
        ended = learn_on(
            self.checkpoint, treatment, self.learn, folder, economy=economy, seed=self.seed, trust=self.trust,
            command=sys.argv, console=console,
        )  # fmt: skip
        control, learned = (load_policies(ended[name], trust=self.trust) for name in (CONTROL, LEARNED))
        words = f"policies of {self.learn} more iterations: {named(ended[CONTROL])} without it"
        return control, learned, [f"{words}, and {named(ended[LEARNED])} under it"]


def _show(
    respond: Callable[[tuple[PolicySet, PolicySet | None]], Responses],
    players: _Players,
    treat: Callable[[EconomyConfig], Treatment],
    out: list[str] | None,
) -> None:
    """Measure responses, save them, and print them."""
    from rbc_marl.analysis.figures.responses import responses
    from rbc_marl.analysis.frames import PICTURES

    files = output_files(out, PICTURES)
    control, learned, words = players.load(treat)
    found = respond((control, learned))
    mend = "the same with --out response.png --out response.csv"
    save_and_show(found, found.tables, lambda: responses(found), files, players.as_json, mend)
    for line in words if not players.as_json else ():
        print(line)
