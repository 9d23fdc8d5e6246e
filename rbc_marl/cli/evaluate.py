"""The command evaluate: what an economy of trained policies does."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from rbc_marl.cli.options import CHECKPOINT_HELP, AsJson, Trust
from rbc_marl.errors import ConfigError
from rbc_marl.places import local_path, named, place_of, push
from rbc_marl.settings import parse_set

if TYPE_CHECKING:
    from rbc_marl.analysis.rollouts import Episodes
    from rbc_marl.policies import Policies

Rows = Literal["period", "firm", "consumer"]


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help=CHECKPOINT_HELP)],
    episodes: Annotated[int, typer.Option(min=1, help="Episodes to play.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what the policies draw.")] = 0,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Take the likeliest choices, and deal out employers: one episode.")
    ] = False,
    as_json: AsJson = False,
    out_: Annotated[
        str | None,
        typer.Option("--out", metavar="FILE", help="A table (.parquet, .csv) or a picture (.png, .pdf, .svg)."),
    ] = None,
    by: Annotated[
        Rows, typer.Option(metavar="ROWS", help="Of --out: rows or pictures of periods, firms or consumers.")
    ] = "period",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Play another economy: export_quota=50. Repeatable."),
    ] = None,
    fix: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Impose a choice on all: income_tax=0.2, wage=22. Repeatable."),
    ] = None,
    trembles: Annotated[
        list[str] | None,
        typer.Option(metavar="TYPE=RATE", help="Replace actions by random ones this often: price=0.05. Repeatable."),
    ] = None,
    states: Annotated[
        str | None,
        typer.Option(metavar="FILE@PERIOD", help="Save the states after a period, to start at: --set start=FILE."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="KEY=V1,V2,...", help="A table over values of a number: export_quota=10,50,100."),
    ] = None,
    as_imposed: Annotated[
        bool, typer.Option("--imposed/--no-imposed", help="Impose what training imposed (the default).")
    ] = True,
    trust: Trust = False,
) -> None:
    """Play the policies of CHECKPOINT and print what their economy does."""
    if at is not None:
        if greedy or trembles or states or by != "period":
            raise ConfigError("--at goes with --set, --fix, --episodes, --seed, --out and --json; leave the others out")
        _table(checkpoint, at, episodes, seed, as_json, out_, set_, fix, trust, as_imposed)
        return
    from rbc_marl.analysis.frames import PICTURES, check_path, save_frame
    from rbc_marl.analysis.indicators import indicator_words
    from rbc_marl.analysis.off_path import off_path
    from rbc_marl.analysis.outcomes import BEST, outcome, reason
    from rbc_marl.analysis.rollouts import Evaluation, play
    from rbc_marl.analysis.shopping import shopping
    from rbc_marl.analysis.situations import situations
    from rbc_marl.policies.imposed import Imposed, Treatment, imposed_in_training
    from rbc_marl.policies.saved import find_checkpoint, load_policies
    from rbc_marl.policies.trembles import Trembles, TremblingPolicies
    from rbc_marl.starts import save_starts

    written, after = dated(states, "--states", "starts.safetensors@5") if states else ("", 0)
    starts = place_of(written, "--states")
    if "://" in starts:
        raise ConfigError(f"--states is {written}, where no episode can begin; give a file of this machine")
    out = local_path(out_) if out_ else None
    if out is not None:
        check_path(out)
    economy = changes_of(set_)
    rates = (parse_set(text, "--trembles", "price=0.05") for text in trembles or [])
    chance = Trembles.parse({".".join(parts): rate for parts, rate in rates}, "--trembles")
    saved = load_policies(checkpoint, economy=economy, trust=trust)
    law = imposed_in_training(saved.info) if as_imposed else Treatment()
    policies = law.on(saved)
    if after > policies.config.horizon:
        raise ConfigError(f"--states is {states}; episodes have {policies.config.horizon} periods: give one of them")
    imposed = Imposed.parse(dict(pair(text, "--fix") for text in fix or []), "--fix")
    followed = imposed.on(policies)
    trembling = TremblingPolicies(followed, chance) if chance.chosen else followed
    draws = out is not None and out.suffix in PICTURES
    agents = draws or (out is not None and by == "consumer")
    played = play(trembling, episodes, seed, greedy, record=True, agents=agents)
    evaluation = Evaluation.of(played)
    how: dict[str, Any] = {"fix": imposed.chosen, "trembles": chance.chosen}
    how |= {"imposed": law.chosen} if law.chosen else {}
    if out is not None and draws:
        _draw(played, trembling, by, seed, out, str(checkpoint))
    elif out is not None:
        save_frame(played, out, by, {"policies": str(checkpoint), **how})
    if out is not None:
        push(out)
    if states is not None:
        save_starts(starts, situations(trembling, episodes, seed, after)[0])
    rules = str(saved.info.get("rules", BEST))
    became, shoppers = outcome(policies.config, evaluation.means, rules), shopping(policies, seed=seed)
    elsewhere = off_path(policies, seed)
    if as_json:
        results = {"outcome": became, "rules": rules, "economy": economy, **how, "off_path": elsewhere.to_dict()}
        print(json.dumps({**evaluation.to_dict(), **shoppers.to_dict(), **results}, indent=2))
        return
    Console(highlight=False).print(evaluation.table())
    print("\n".join(indicator_words(evaluation.indicators, policies.config)))
    if law.chosen:
        print(f"imposed as in training: {law.words()}")
    if imposed.chosen:
        listed = ", ".join(f"{name} {value:g}" for name, value in imposed.chosen.items())
        print(f"imposed: {listed}, in all of the above and in the outcome")
    if chance.chosen:
        replaced = ", ".join(f"{name} {rate:.1%}" for name, rate in chance.chosen.items())
        print(f"trembles: chance replaced actions in all of the above and in the outcome ({replaced})")
    print("\n".join([f"shopping: {shoppers.describe()}", *elsewhere.lines()]))
    print(f"outcome: {became} ({reason(policies.config, became, evaluation.to_dict(), rules)})")
    elsewhere_too = f", in another economy: {' '.join(set_)}" if set_ else ""
    print(f"policies: {named(find_checkpoint(checkpoint))}{elsewhere_too}")
    if states is not None:
        print(f"states after period {after}: {starts}   (begin there with --set start={shlex.quote(starts)})")
    if out is not None:
        rows = "period" if by == "period" else f"{by} and period"
        print(f"picture: {named(out)}" if draws else f"table: {named(out)} (a row per {rows})")
        return
    options = ["--episodes", str(episodes), "--seed", str(seed), *(["--greedy"] if greedy else [])]
    options += [*_repeated("--set", set_), *_repeated("--fix", fix), *_repeated("--trembles", trembles)]
    options += [*([] if as_imposed else ["--no-imposed"]), *(["--trust"] if trust else [])]
    words = ["rbc-marl", "evaluate", str(checkpoint), *options, "--out", "economy.png"]
    print(f"next: {shlex.join(words)}   (draws it; or periods.parquet)")


def _table(
    checkpoint: Path, at: str, episodes: int, seed: int, as_json: bool, out: str | None, set_: list[str] | None,
    fix: list[str] | None, trust: bool, as_imposed: bool,
) -> None:  # fmt: skip
    """Print what the economy does at each of several values of a number."""
    from rbc_marl.analysis.frames import PICTURES
    from rbc_marl.analysis.outcomes import BEST
    from rbc_marl.analysis.statics import statics
    from rbc_marl.cli.saving import output_files, save_and_show
    from rbc_marl.policies.imposed import Imposed, as_trained
    from rbc_marl.policies.saved import load_policies

    files = output_files([out] if out else None, PICTURES)
    name, equals, texts = at.partition("=")
    values = [pair(f"{name}={text}", "--at")[1] for text in texts.split(",")] if equals else []
    if not values or not all(type(value) in (int, float) for value in values):
        raise ConfigError(f"--at {at}: write it as a number and its values, such as export_quota=10,50,100")
    name, economy = name.strip().removeprefix("env_config."), changes_of(set_)
    sets = {value: load_policies(checkpoint, economy={**economy, name: value}, trust=trust) for value in values}
    imposed = Imposed.parse(dict(pair(text, "--fix") for text in fix or []), "--fix")
    rules = str(next(iter(sets.values())).info.get("rules", BEST))
    played = {value: imposed.on(as_trained(one) if as_imposed else one) for value, one in sets.items()}
    found = statics(name, played, episodes, seed, rules)
    mend = "the same with --out statics.csv, or statics.png"
    save_and_show(found, found.tables, found.charts, files, as_json, mend)


def _draw(played: Episodes, policies: Policies, by: Rows, seed: int, out: Path, name: str) -> None:
    """Draw what there is to see of periods, firms or consumers."""
    from rbc_marl.analysis.drawing import save
    from rbc_marl.analysis.figures import episodes, off_path

    shown = episodes.said(played)
    if by == "firm":
        charts = [*episodes.firms(played), *off_path.policy_functions(policies, seed, ("firm",))]
        shown = "every firm in the first episode, and what firms do off the path, with 95% intervals"
    elif by == "consumer":
        charts = episodes.consumers(played)
    else:
        charts = episodes.portrait(played)
        shown += "; below, the first episode"
    save(charts, out, title=f"{name}: {shown}")


def _repeated(option: str, texts: list[str] | None) -> list[str]:
    return [word for text in texts or [] for word in (option, text)]


def pair(text: str, option: str) -> tuple[str, Any]:
    """A name and its value, typed as NAME=VALUE after an option."""
    parts, value = parse_set(text, option, "income_tax=0.2")
    return ".".join(parts), value


def dated(text: str, option: str, example: str) -> tuple[str, int]:
    """What stands before an @, and the period that stands after it."""
    body, at, period = text.rpartition("@")
    if not at or not period.strip().isdecimal():
        raise ConfigError(f"{option} {text}: write it with a period, such as {example}")
    return body, int(period)


def changes_of(texts: list[str] | None) -> dict[str, Any]:
    """Fields of an economy that differ, or parts of them, typed as KEY=VALUE after --set."""
    return {".".join(parts).removeprefix("env_config."): value for parts, value in map(parse_set, texts or [])}
