"""The commands impulse, transition, scenario and moments: how economies move, and what moves them."""

from __future__ import annotations

import re
import sys
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
    from collections.abc import Sequence

    from rbc_marl.analysis.scenarios import Scenario
    from rbc_marl.analysis.treatments import Impulse, Reform
    from rbc_marl.policies import Policies

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
    from rbc_marl.analysis.treatments import Impulse

    shocks = [Impulse.parse(_impulse(text), "--shock") for text in shock]
    _play(_scenario(checkpoint, set_, learn, shocks), episodes, seed, as_json, out, folder, trust)


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
    from rbc_marl.analysis.treatments import Reform

    values, periods = {}, set()
    for text in reform:
        body, period = dated(text, "--reform", "income_tax=0.2@5")
        name, values_of = pair(_BOUND.sub(lambda m: f"{_WORDS[m[2]]}_{m[1]}=", body), "--reform")
        values[name] = values_of
        periods.add(period)
    if len(periods) > 1:
        raise ConfigError(f"--reform begins in periods {', '.join(map(str, sorted(periods)))}; give one period")
    change = Reform.parse({"values": values, "period": periods.pop()}, "--reform")
    _play(_scenario(checkpoint, set_, learn, reform=change), episodes, seed, as_json, out, folder, trust)


def scenario(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A scenario file, or the name of one of ours: export_ban.")
    ],
    learn: Annotated[
        int | None,
        typer.Option("--learn", metavar="N", min=0, help="Iterations that all learn on; 0: none. Default: the file's."),
    ] = None,
    episodes: Pairs = 256,
    seed: Seed = 0,
    set_: Elsewhere = None,
    as_json: AsJson = False,
    out: Out = None,
    folder: Folder = None,
    trust: Trust = False,
) -> None:
    """Answer a question about trained agents that a file asks: what a shock, a reform or another economy changes.

    Agents first keep the policies that they have, and then learn on.
    """
    from rbc_marl.analysis.scenarios import Scenario

    asked = Scenario.load(file)
    given = {"economy": {**asked.economy, **changes_of(set_)}, **({} if learn is None else {"learn": learn})}
    asked = Scenario.parse({**dict(asked), **given}, file.name)
    _play(asked, episodes, seed, as_json, out, folder, trust)


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


def _policies(checkpoint: Path, changes: list[str] | None, trust: bool) -> Policies:
    """The policies of a checkpoint, perhaps in another economy, under what their training imposed."""
    from rbc_marl.policies.imposed import as_trained
    from rbc_marl.policies.saved import load_policies

    return as_trained(load_policies(checkpoint, economy=changes_of(changes), trust=trust))


def _scenario(
    checkpoint: Path,
    changes: list[str] | None,
    learn: int | None,
    shocks: Sequence[Impulse] = (),
    reform: Reform | None = None,
) -> Scenario:
    """What was typed, as a scenario."""
    from rbc_marl.analysis.scenarios import Scenario

    economy = changes_of(changes)
    return Scenario(
        question="", policies=str(checkpoint), economy=economy, shocks=tuple(shocks), reform=reform, learn=learn or 0
    )


def _play(
    asked: Scenario, episodes: int, seed: int, as_json: bool, out: list[str] | None, folder: str | None, trust: bool
) -> None:
    """Let agents learn on where that is asked, measure what changes, save it, and print it."""
    from rbc_marl.analysis.figures.responses import responses
    from rbc_marl.analysis.frames import PICTURES
    from rbc_marl.policies.imposed import imposed_in_training
    from rbc_marl.policies.saved import load_policies

    files = output_files(out, PICTURES)
    checkpoint, other = Path(asked.policies), {**asked.economy, **asked.change}
    saved = load_policies(checkpoint, economy=asked.economy, trust=trust)
    law = imposed_in_training(saved.info)  # of those who learn on too: what is asked comes on top when they are played
    policies = law.on(saved)
    treatment = asked.treatment(policies.config)  # what cannot be is refused before anybody learns
    changed = law.on(load_policies(checkpoint, economy=other, trust=trust))
    learned, words = None, ""
    if asked.learn:
        from rbc_marl.experiments.learning_on import CONTROL, LEARNED, learn_on

        ended = learn_on(
            checkpoint, treatment, asked.learn, local_path(folder or DEFAULT_FOLDER), economy=asked.economy,
            change=asked.change, seed=seed, trust=trust, command=sys.argv,
            console=Console(stderr=True) if as_json else None,
        )  # fmt: skip
        policies, learned = (law.on(load_policies(ended[name], trust=trust)) for name in (CONTROL, LEARNED))
        changed = law.on(load_policies(ended[CONTROL], economy=other, trust=trust))
        more = "1 more iteration" if asked.learn == 1 else f"{asked.learn} more iterations"
        words = f"policies of {more}: {named(ended[CONTROL])} without it, "
        words += f"and {named(ended[LEARNED])} under it"
    elif folder is not None:
        raise ConfigError("--folder is for runs of --learn; give --learn as well, or leave it out")
    found = asked.respond(policies, changed, learned, episodes, seed)
    mend = "the same with --out response.png --out response.csv"
    if asked.question and not as_json:
        print(asked.question)
    save_and_show(found, found.tables, lambda: responses(found), files, as_json, mend)
    if words and not as_json:
        print(words)
