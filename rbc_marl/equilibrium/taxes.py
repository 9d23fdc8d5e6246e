"""Tax experiments: a government that learns against every pair of rates that it could have fixed.

With fixed rates the government takes no part in learning, so that such a run is the same whatever the government would
maximise: each pair is trained once a seed, and held against learned policies of either definition of welfare.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from rbc_marl.config import EconomyConfig
from rbc_marl.equilibrium.checks import check_keys, whole
from rbc_marl.equilibrium.variants import Variant
from rbc_marl.errors import ConfigError
from rbc_marl.policies.scripted import GOVERNMENTS

if TYPE_CHECKING:
    from rbc_marl.policies.saved import PolicySet

Pair = tuple[float, float]
Row = Mapping[str, Any]

WELFARES = ("total", "consumers")
# The rates of the paper's fixed policies: equal for both taxes.
PAPER_GRID: tuple[Pair, ...] = ((0.2, 0.2), (0.4, 0.4), (0.6, 0.6), (0.8, 0.8))
SHUFFLED = "shuffled"
# Governments that a learned policy's consumers and firms also meet, without learning again.
SUBSTITUTES = (SHUFFLED, *GOVERNMENTS)
_KEYS = ("income", "corporate", "pairs", "welfare", "coarse")


@dataclass(frozen=True)
class TaxSettings:
    """What a sweep of taxes compares."""

    pairs: tuple[Pair, ...]
    """Fixed rates of income and corporate tax."""
    welfare: tuple[str, ...] = WELFARES
    """Definitions of welfare for which a policy is learned."""
    coarse_seeds: int | None = None
    """Seeds of which every pair is tried; None: all."""
    coarse_keep: int = 6
    """Pairs that get all seeds, the best of each definition of welfare; those of the paper's grid always do."""


@dataclass(frozen=True)
class TaxArm:
    """A line of the comparison: the changes that make it, and whether its government learns."""

    name: str
    set: Mapping[str, Any]
    variant: Variant
    learned: bool


def parse_taxes(given: Any, economy: EconomyConfig, where: str) -> TaxSettings:  # noqa: ANN401 - from a file
    """The `taxes` section of a sweep file.

    Args:
        given: ``income`` and ``corporate`` (rates, every pair of which is tried; left out: all that the government can
            choose; an empty list: none), ``pairs`` (further ones, such as ``[[0, 0.8]]``), ``welfare`` and ``coarse``
            (``{seeds: 2, keep: 6}``).
        economy: Whose choices the rates must be.
        where: Place in the file.

    Raises:
        ConfigError: A key is unknown, or a rate is none that the government can choose.
    """
    check_keys(given, _KEYS, where, "a setting of a sweep of taxes")
    choices = {"income": economy.income_tax_choices, "corporate": economy.corporate_tax_choices}
    grid = {tax: _rates(given.get(tax, list(known)), known, f"{where}.{tax}") for tax, known in choices.items()}
    pairs: list[Pair] = list(product(grid["income"], grid["corporate"]))
    given_pairs = given.get("pairs") or []
    if not isinstance(given_pairs, list):
        raise ConfigError(f"{where}.pairs is {given_pairs!r}; give a list of pairs, such as [[0, 0.8]]")
    for i, pair in enumerate(given_pairs):
        if not isinstance(pair, list) or len(pair) != 2:
            raise ConfigError(f"{where}.pairs.{i} is {pair!r}; give an income and a corporate tax, such as [0, 0.8]")
        income, corporate = (_rates([r], choices[t], f"{where}.pairs.{i}") for r, t in zip(pair, choices, strict=True))
        pairs += product(income, corporate)
    if not pairs:
        raise ConfigError(f"{where} has no pair of rates; give income and corporate, or pairs")
    welfare = given.get("welfare", list(WELFARES))
    if not isinstance(welfare, list) or not welfare or any(one not in WELFARES for one in welfare):
        raise ConfigError(f"{where}.welfare is {welfare!r}; give a list of {' and '.join(WELFARES)}")
    coarse = given.get("coarse") or {}
    check_keys(coarse, ("seeds", "keep"), f"{where}.coarse", "a setting of the coarse grid")
    return TaxSettings(
        pairs=tuple(dict.fromkeys(pairs)),
        welfare=tuple(dict.fromkeys(welfare)),
        coarse_seeds=whole(coarse.get("seeds", 2), f"{where}.coarse.seeds") if coarse else None,
        coarse_keep=whole(coarse.get("keep", 6), f"{where}.coarse.keep"),
    )


def arms(settings: TaxSettings) -> list[TaxArm]:
    """Every learned policy, then every fixed pair, as arms of a sweep."""
    found = []
    for welfare in settings.welfare:
        variant = _labelled("learned", welfare, None, None)
        found.append(TaxArm(f"learned-{welfare}", {"env_config.welfare": welfare}, variant, learned=True))
    first = settings.welfare[0]
    for income, corporate in settings.pairs:
        rates = {"income": income, "corporate": corporate}
        changes: dict[str, Any] = {"env_config.welfare": first, "curriculum.taxes.fixed": rates}
        variant = _labelled("fixed", None, income, corporate)
        found.append(TaxArm(fixed_name((income, corporate)), changes, variant, learned=False))
    return found


def fixed_name(pair: Pair) -> str:
    """Name of the arm of a fixed pair, such as "fixed-0-0.8"."""
    return f"fixed-{pair[0]:g}-{pair[1]:g}"


def pair_of(row: Row) -> Pair | None:
    """The fixed rates of a run; None where they are learned."""
    return None if row["policy"] == "learned" else (float(row["income"]), float(row["corporate"]))


def by_rates(rows: Sequence[Row], name: str) -> dict[Pair, dict[int, float]]:
    """A quantity of every fixed pair by seed."""
    found: dict[Pair, dict[int, float]] = {}
    for row in rows:
        if (pair := pair_of(row)) is not None:
            found.setdefault(pair, {})[row["seed"]] = row[name]
    return found


def kept_pairs(rows: Sequence[Row], settings: TaxSettings) -> set[Pair]:
    """The pairs that get all seeds, by the rows of the coarse grid.

    Args:
        rows: Of every pair, on the same seeds.
        settings: Of the file.

    Returns:
        The best pairs by mean welfare, of each definition, collapsed runs counted; and those of the paper's grid.
    """
    kept = {pair for pair in PAPER_GRID if pair in settings.pairs}
    for welfare in settings.welfare:
        found = by_rates(rows, f"welfare_{welfare}")
        means = {pair: sum(values.values()) / len(values) for pair, values in found.items()}
        kept |= set(sorted(means, key=lambda pair: (-means[pair], pair))[: settings.coarse_keep])
    return kept


def play_substitutes(policies: PolicySet, episodes: int, seed: int) -> dict[str, float]:
    """How trained consumers and firms fare under governments that they were not trained with.

    "shuffled" plays the trained government's own choices, dealt out anew over episodes and periods (see
    `rbc_marl.policies.combined.shuffled`): the same rates as often, at no particular moment. The others are
    `rbc_marl.policies.scripted.GOVERNMENTS`. Nobody learns again.

    Args:
        policies: Trained ones.
        episodes: Of each evaluation.
        seed: Of the draws, the same for all.

    Returns:
        ``shuffled_welfare_total`` and so on: both welfares and the hours of each.
    """
    import torch

    from rbc_marl.analysis.rollouts import Evaluation, play
    from rbc_marl.policies import Policies
    from rbc_marl.policies.combined import CombinedPolicies, Recording, ReplayedGovernment, shuffled
    from rbc_marl.policies.scripted import ScriptedPolicies

    recording = Recording(policies)
    play(recording, episodes, seed, slab=episodes)
    choices = shuffled(torch.stack(recording.choices), seed)
    governments: dict[str, Policies] = {SHUFFLED: ReplayedGovernment(policies, choices)}
    for name, rates in GOVERNMENTS.items():
        rules = ScriptedPolicies(policies.config, rates, policies.encoding, policies.device)
        governments[name] = CombinedPolicies(policies, government=rules)
    found: dict[str, float] = {}
    for name, government in governments.items():
        means = Evaluation.of(play(government, episodes, seed, slab=episodes)).means
        found |= {f"{name}_{quantity}": means[quantity] for quantity in ("welfare_total", "welfare_consumers", "hours")}
    return found


def play_anchors(economy: EconomyConfig, episodes: int = 256, seed: int = 0) -> list[dict[str, Any]]:
    """Economies run by rules alone, under each rule-based government: what trained ones are held against.

    Returns:
        Plain data, a row per economy and government: ``rules``, ``government``, both welfares and the hours.
    """
    from rbc_marl.analysis.outcomes import CANDIDATES
    from rbc_marl.analysis.rollouts import evaluate
    from rbc_marl.policies.scripted import RULES, Rules, ScriptedPolicies

    rows = []
    for rules, (name, rates) in product(CANDIDATES, GOVERNMENTS.items()):
        means = evaluate(ScriptedPolicies(economy, Rules(**{**vars(RULES[rules]), **rates})), episodes, seed).means
        quantities = {quantity: means[quantity] for quantity in ("welfare_total", "welfare_consumers", "hours")}
        rows.append({"rules": rules, "government": name, **quantities})
    return rows


def _labelled(policy: str, welfare: str | None, income: float | None, corporate: float | None) -> Variant:
    """What distinguishes an arm, as columns of a table; its settings stand in the arm."""
    return Variant((), (("policy", policy), ("welfare", welfare), ("income", income), ("corporate", corporate)))


def _rates(given: Any, choices: Iterable[float], where: str) -> list[float]:  # noqa: ANN401 - from a file
    known = list(choices)
    if not isinstance(given, list):
        raise ConfigError(f"{where} is {given!r}; give a list of rates, such as [0, 0.4, 0.8]")
    for rate in given:
        if type(rate) not in (int, float) or rate not in known:
            raise ConfigError(f"{where} has {rate!r}; the government can choose {', '.join(f'{r:g}' for r in known)}")
    return [float(rate) for rate in given]
