"""Tax experiments: a government that learns against every pair of rates that it could have fixed.

With fixed rates the government takes no part in learning, so that such a run is the same whatever the government would
maximise: each pair is trained once a seed, and held against learned policies of either definition of welfare.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from rbc_marl.analysis.taxes import Pair, play_substitutes
from rbc_marl.config import EconomyConfig
from rbc_marl.curriculum import build_curriculum
from rbc_marl.errors import ConfigError
from rbc_marl.experiments.spaces import Variant
from rbc_marl.experiments.sweep_file import Arm, ArmSpec
from rbc_marl.settings import Section

if TYPE_CHECKING:
    from rbc_marl.experiments.file import Experiment
    from rbc_marl.experiments.sweep import RunSpec


def _listed(what: str, most: int | None = None) -> BeforeValidator:
    def check(given: object) -> object:
        if not isinstance(given, list | tuple) or (most is not None and len(given) != most):
            raise ValueError(f"give {what}")
        return tuple(given)

    return BeforeValidator(check)


Rates = Annotated[tuple[float, ...], _listed("a list of rates, such as [0, 0.4, 0.8]")]
AnyPair = Annotated[Pair, _listed("an income and a corporate tax, such as [0, 0.8]", 2)]
Welfare = Literal["total", "consumers"]


class Coarse(Section):
    """A first stage, in which every pair of rates is tried with few seeds; the best ones then get all."""

    model_config = ConfigDict(use_attribute_docstrings=True)
    noun: ClassVar[str] = "a setting of the coarse grid"

    seeds: int = Field(2, ge=1)
    """Seeds of the first stage."""
    keep: int = Field(6, ge=1)
    """Pairs that go on, the best of each definition of welfare; those of the paper's grid always do."""


class Taxes(Section):
    """The section ``taxes`` of a sweep file: what is compared."""

    model_config = ConfigDict(use_attribute_docstrings=True)
    noun: ClassVar[str] = "a setting of a sweep of taxes"

    income: Rates | None = None
    """Rates of income tax, every pair of which with `corporate` is tried; left out: all that can be chosen."""
    corporate: Rates | None = None
    pairs: Annotated[tuple[AnyPair, ...], _listed("a list of pairs, such as [[0, 0.8]]")] = ()
    """Further pairs."""
    welfare: Annotated[tuple[Welfare, ...], _listed("a list of total and consumers")] = Field(
        ("total", "consumers"), min_length=1
    )
    """Definitions of welfare for which a policy is learned."""
    coarse: Coarse | None = None
    """Two stages: every pair with few seeds, then the best with all; null: one stage."""

    def fixed_pairs(self, economy: EconomyConfig, where: str) -> tuple[Pair, ...]:
        """Every pair of rates that is tried.

        Args:
            economy: Whose choices the rates must be.
            where: Place of the section in the file.

        Raises:
            ConfigError: A rate is none that the government can choose, or there is no pair.
        """
        choices = (economy.income_tax_choices, economy.corporate_tax_choices)
        income = choices[0] if self.income is None else self.income
        corporate = choices[1] if self.corporate is None else self.corporate
        asked = [(income, choices[0], "income"), (corporate, choices[1], "corporate")]
        for i, pair in enumerate(self.pairs):
            asked += [((rate,), known, f"pairs.{i}") for rate, known in zip(pair, choices, strict=True)]
        for rates, known, name in asked:
            for rate in (rate for rate in rates if rate not in known):
                text = ", ".join(f"{choice:g}" for choice in known)
                raise ConfigError(f"{where}.{name} has {rate!r}; the government can choose {text}")
        pairs = tuple(dict.fromkeys((float(a), float(b)) for a, b in (*product(income, corporate), *self.pairs)))
        if not pairs:
            raise ConfigError(f"{where} has no pair of rates; give income and corporate, or pairs")
        return pairs


def arms(taxes: Taxes, pairs: Sequence[Pair], place: str) -> list[ArmSpec]:
    """Every learned policy, then every fixed pair, as arms of a sweep.

    Args:
        taxes: Of the file.
        pairs: Fixed rates.
        place: Of the section in the file.
    """
    found = []
    welfares = tuple(dict.fromkeys(taxes.welfare))
    judged = welfares if len(welfares) > 1 else ()
    for welfare in welfares:
        arm = Arm(set={"env_config.welfare": welfare})
        labels = {"policy": "learned", "welfare": welfare, "income": None, "corporate": None}
        variant = Variant(columns=tuple(labels.items()))
        found.append(ArmSpec(f"learned-{welfare}", place, arm, variant, stands=True, measure=play_substitutes))
    for income, corporate in pairs:
        rates = {"income": income, "corporate": corporate}
        arm = Arm(set={"env_config.welfare": welfares[0], "curriculum.taxes.fixed": rates})
        variant = Variant(columns=tuple({"policy": "fixed", "welfare": None, **rates}.items()))
        found.append(ArmSpec(f"fixed-{income:g}-{corporate:g}", place, arm, variant, stands=True, welfares=judged))
    return found


def check_rates_in_force(run: RunSpec, experiment: Experiment, *, is_cut_short: bool) -> None:
    """Refuse a run that would not have the taxes that its arm is called by.

    Args:
        run: Of a sweep.
        experiment: What it trains.
        is_cut_short: Whether the command line ends it early, to try it out.

    Raises:
        ConfigError: Its taxes are fixed, where a policy shall learn them, or it ends before they are in force.
    """
    if experiment.env_config is None:
        return
    schedule = build_curriculum(getattr(experiment.config, "curriculum", None), experiment.env_config)
    fixed = schedule.phase(0).fixed_taxes if schedule is not None else None
    if schedule is None or fixed is None:
        return
    if run.measure is not None:
        mend = f"{run.arm} would learn nothing; leave it out, a sweep of taxes fixes rates itself"
        where = f"{experiment.source}: {experiment.name}"
        raise ConfigError(f"{where}.config.curriculum.taxes.fixed: the government of {mend}")
    if is_cut_short or math.isinf(run.iterations):
        return
    if (reached := schedule.phase(max(int(run.iterations) - 1, 0)).highest_tax) < max(fixed):
        end = f"ends at iteration {run.iterations:g}, when its curriculum has opened taxes up to {reached:.0%}"
        raise ConfigError(f"{run.arm} {end}; let curriculum.taxes.end come before stop.training_iteration")
