"""The command evaluate: what an economy of trained policies does."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from rbc_marl.cli.options import CHECKPOINT_HELP, AsJson, Trust

Rows = Literal["period", "firm", "consumer"]


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help=CHECKPOINT_HELP)],
    episodes: Annotated[int, typer.Option(min=1, help="Episodes to play.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what the policies draw.")] = 0,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Take the likeliest choices, and deal out employers: one episode.")
    ] = False,
    as_json: AsJson = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Save what was played: .parquet or .csv.")] = None,
    by: Annotated[
        Rows, typer.Option(metavar="ROWS", help="Of --out: a row per period, firm or consumer.")
    ] = "period",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Play another economy: export_quota=50. Repeatable."),
    ] = None,
    trembles: Annotated[
        list[str] | None,
        typer.Option(metavar="TYPE=RATE", help="Replace actions by random ones this often: price=0.05. Repeatable."),
    ] = None,
    trust: Trust = False,
) -> None:
    """Play the policies of CHECKPOINT and print what their economy does."""
    from rbc_marl.analysis.frames import check_table_path, save_frame
    from rbc_marl.analysis.indicators import indicator_words
    from rbc_marl.analysis.off_path import off_path
    from rbc_marl.analysis.outcomes import BEST, outcome, reason
    from rbc_marl.analysis.rollouts import Evaluation, play
    from rbc_marl.analysis.shopping import shopping
    from rbc_marl.policies.saved import find_checkpoint, load_policies
    from rbc_marl.policies.trembles import Trembles, TremblingPolicies
    from rbc_marl.settings import parse_set

    if out is not None:
        check_table_path(out)
    economy = {".".join(parts).removeprefix("env_config."): value for parts, value in map(parse_set, set_ or [])}
    rates = (parse_set(text, "--trembles", "price=0.05") for text in trembles or [])
    chance = Trembles.parse({".".join(parts): rate for parts, rate in rates}, "--trembles")
    policies = load_policies(checkpoint, economy=economy, trust=trust)
    trembling = TremblingPolicies(policies, chance) if chance.chosen else policies
    played = play(trembling, episodes, seed, greedy, record=True, agents=out is not None and by == "consumer")
    evaluation = Evaluation.of(played)
    if out is not None:
        save_frame(played, out, by)
    rules = str(policies.info.get("rules", BEST))
    became, shoppers = outcome(policies.config, evaluation.means, rules), shopping(policies, seed=seed)
    elsewhere = off_path(policies, seed)
    if as_json:
        how = {"outcome": became, "rules": rules, "economy": economy, "trembles": chance.chosen}
        how |= {"off_path": elsewhere.to_dict()}
        print(json.dumps({**evaluation.to_dict(), **shoppers.to_dict(), **how}, indent=2))
        return
    Console(highlight=False).print(evaluation.table())
    print("\n".join(indicator_words(evaluation.indicators, policies.config)))
    if chance.chosen:
        replaced = ", ".join(f"{name} {rate:.1%}" for name, rate in chance.chosen.items())
        print(f"trembles: chance replaced actions in all of the above and in the outcome ({replaced})")
    print("\n".join([f"shopping: {shoppers.describe()}", *elsewhere.lines()]))
    print(f"outcome: {became} ({reason(policies.config, became, evaluation.to_dict(), rules)})")
    print(f"policies: {find_checkpoint(checkpoint)}" + (f", in another economy: {' '.join(set_)}" if set_ else ""))
    if out is not None:
        print(f"table: {out} (a row per {'period' if by == 'period' else f'{by} and period'})")
        return
    options = ["--episodes", str(episodes), "--seed", str(seed), *(["--greedy"] if greedy else [])]
    options += [*_repeated("--set", set_), *_repeated("--trembles", trembles), *(["--trust"] if trust else [])]
    words = ["rbc-marl", "evaluate", str(checkpoint), *options, "--out", "periods.parquet"]
    print(f"next: {shlex.join(words)}   (keeps every period)")


def _repeated(option: str, texts: list[str] | None) -> list[str]:
    return [word for text in texts or [] for word in (option, text)]
