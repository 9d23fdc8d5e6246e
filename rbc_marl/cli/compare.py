"""The command compare: how economies differ, episode by episode, and who gains."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rbc_marl.cli.evaluate import pair
from rbc_marl.cli.options import AsJson, Trust
from rbc_marl.cli.saving import output_files, save_and_show
from rbc_marl.config import EconomyConfig
from rbc_marl.errors import ConfigError, nearest

if TYPE_CHECKING:
    from rbc_marl.policies import Policies


def compare(
    policies: Annotated[
        list[str],
        typer.Argument(
            metavar="POLICIES POLICIES...",
            help="Each a checkpoint, a run's folder or a name; ,KEY=VALUE imposes a choice or changes the economy: "
            "open_rbc,income_tax=0.2.",
        ),
    ],
    episodes: Annotated[int, typer.Option(min=2, help="Pairs of episodes to play.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what the policies draw.")] = 0,
    as_json: AsJson = False,
    out: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Save it: .csv, .tex, .json, or a picture (.png, .pdf, .svg). Repeatable."),
    ] = None,
    trust: Trust = False,
) -> None:
    """Compare economies, episode by episode, with the first: what changes, and which consumers gain.

    Everybody keeps the policies they have: nobody learns what is imposed.
    """
    from rbc_marl.analysis.comparison import compare as compare_policies
    from rbc_marl.analysis.figures.reforms import reform
    from rbc_marl.analysis.frames import PICTURES

    files = output_files(out, PICTURES)
    first = _parts(policies[0])[0]
    chosen = {}
    for text in policies:
        path, changes = _parts(text)
        # Where all are the same policies, what differs is all there is to say.
        name = ",".join(changes) if changes and path == first else text
        if name in chosen:
            raise ConfigError(f"{text} stands twice; give what differs, such as {path},income_tax=0.2")
        chosen[name] = _policies_of(path, changes, trust)
    found = compare_policies(chosen, episodes, seed)
    mend = "the same with --out reform.png --out reform.tex"
    save_and_show(found, found.tables, lambda: reform(found), files, as_json, mend)


def _parts(text: str) -> tuple[str, list[str]]:
    """A path or a name, and what is changed."""
    path, *changes = [text] if Path(text).exists() else _between_commas(text)
    return path, changes


def _between_commas(text: str) -> list[str]:
    """What stands between commas, but for those inside the brackets of YAML's lists and mappings."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _policies_of(path: str, changes: list[str], trust: bool) -> Policies:
    """Policies with what is imposed, in an economy with what differs."""
    from rbc_marl.policies.imposed import Imposed, as_trained
    from rbc_marl.policies.saved import load_policies

    values = dict(pair(change, path) for change in changes)
    known = (*Imposed.names(), *EconomyConfig.model_fields)
    for name in values:
        if name not in known:
            mend = nearest(name, known)
            raise ConfigError(f'"{name}" is neither what can be imposed nor a field of an economy{mend}')
    economy = {name: value for name, value in values.items() if name not in Imposed.names()}
    imposed = {name: value for name, value in values.items() if name in Imposed.names()}
    return Imposed.parse(imposed, path).on(as_trained(load_policies(path, economy=economy, trust=trust)))
