"""The curriculum of a file, and what else a file or a program can give for one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, PrivateAttr, model_validator

from rbc_marl.config import AGENT_TYPES, EconomyConfig, preset
from rbc_marl.curriculum.parts import (
    Annealing,
    Before,
    Courses,
    EntropySegment,
    Iterations,
    LinearDecay,
    Part,
    Starts,
    TaxWidening,
    TypeDecay,
    ValueWidening,
    decayed,
    each,
)
from rbc_marl.curriculum.phase import EVERYTHING, Phase, Schedule, check_phase
from rbc_marl.economy.parameters import LABOUR_DISUTILITY_SCALE, own_number
from rbc_marl.errors import ConfigError, nearest
from rbc_marl.settings import Many, load_named


class Curriculum(Part):
    """The paper's kind of curriculum: stages, widening masks, annealed disutility, decaying exploration.

    Every part can be left out; without any, all types learn everything from the first iteration.
    """

    start: Starts = Starts()
    before: Before = Before()
    prices: ValueWidening | None = None
    wages: ValueWidening | None = None
    taxes: TaxWidening | None = None
    labour_disutility: Annealing | None = None
    entropy: EntropySegment | Annotated[Many[EntropySegment], Field(min_length=1)] | None = None
    learning_rate: TypeDecay | Annotated[Many[TypeDecay], Field(min_length=1)] | None = None
    trembles: LinearDecay | None = None
    economy: Courses | None = None
    stays_at: Iterations | None = Field(None, description="iteration whose phase holds from the first to the last")
    # In which ranges widen and numbers move: see `of`.
    _config: EconomyConfig = PrivateAttr(default_factory=lambda: preset("open"))

    @model_validator(mode="after")
    def _one_disutility(self) -> Self:
        if self.labour_disutility and self.economy and self.economy.labour_disutility_scale:
            raise ValueError("labour_disutility and economy.labour_disutility_scale set the same number; keep one")
        return self

    def of(self, config: EconomyConfig) -> Self:
        """The same curriculum in an economy, over whose choices its ranges widen."""
        copy = self.model_copy()
        copy._config = config
        return copy

    def phase(self, iteration: int) -> Phase:
        """What holds in an iteration, counted from 0."""
        iteration = iteration if self.stays_at is None else self.stays_at
        started = {t: getattr(self.start, t) for t in AGENT_TYPES}
        fixed = self.taxes.fixed if self.taxes else None
        learns = [t for t in AGENT_TYPES if t != "government" or fixed is None]
        learning = frozenset(t for t in learns if iteration >= started[t])
        courses = self.economy.given() if self.economy else {}
        economy = {n: course.number(iteration, own_number(self._config, n)) for n, course in courses.items()}
        annealed = -math.expm1(-iteration / self.labour_disutility.decay) if self.labour_disutility else 1.0
        return Phase(
            learning=learning,
            random=frozenset(t for t in AGENT_TYPES if t not in learning and getattr(self.before, t) == "random"),
            price=self.prices.allowed(iteration, self._config.price_choices) if self.prices else EVERYTHING,
            wage=self.wages.allowed(iteration, self._config.wage_choices) if self.wages else EVERYTHING,
            highest_tax=self.taxes.share(iteration) if self.taxes else 1.0,
            fixed_taxes=(fixed.income, fixed.corporate) if fixed else None,
            labour_disutility=economy.pop(LABOUR_DISUTILITY_SCALE, annealed),
            entropy={t: decayed(each(self.entropy), t, iteration, started[t]) for t in AGENT_TYPES},
            learning_rate=self._learning_rate(iteration, started),
            trembles=self.trembles.factor(iteration) if self.trembles else 1.0,
            economy=economy,
        )

    def _learning_rate(self, iteration: int, started: Mapping[str, int]) -> float | dict[str, float]:
        """One factor where all types have the same, whatever the iteration; else each type's."""
        decays = each(self.learning_rate)
        factors = {t: decayed(decays, t, iteration, started[t]) for t in AGENT_TYPES}
        is_common = not any(decay.from_start or set(decay.types) < set(AGENT_TYPES) for decay in decays)
        return factors["consumer"] if is_common else factors


def paper_curriculum(ramp: int, decay: int) -> dict[str, Any]:
    """The paper's curriculum as it would stand in a file.

    Args:
        ramp: Iterations until firms learn, and as many again until the government does (N).
        decay: Of disutility and entropy.
    """
    return {
        "start": {"consumer": 0, "firm": ramp, "government": 2 * ramp},
        "prices": {"around": 1000.0, "end": ramp},
        "wages": {"around": 22.0, "end": ramp},
        "taxes": {"begin": ramp, "end": 2 * ramp},
        "labour_disutility": {"decay": float(decay)},
        "entropy": {"decay": float(decay), "floor": 0.1},
    }


# Schedules that can be named in a file: "curriculum: paper_short". The first two are the published ones.
NAMED_CURRICULA: dict[str, dict[str, Any]] = {
    "paper_short": paper_curriculum(30000, 10000),
    "paper_long": paper_curriculum(100000, 30000),
}


def parse_curriculum(
    given: Mapping[str, Any] | str | Schedule | None, where: str = "curriculum"
) -> Schedule | None:
    """What a file or a program gives for a curriculum, typed.

    Args:
        given: The parts of a `Curriculum`; the name of a published one; the dotted path of a class of your own
            ("my_module.MyCurriculum", made without arguments), which must have a method ``phase``; a schedule; or None
            for none.
        where: Place in the file, for messages.

    Raises:
        ConfigError: It is unknown or malformed.
    """
    if isinstance(given, str) and given not in NAMED_CURRICULA:
        if "." not in given.strip("."):
            names = ", ".join(NAMED_CURRICULA)
            mend = f"it must be one of {names}, or name a class with phase(iteration)"
            raise ConfigError(f"{where} is {given!r}; {mend}{nearest(given, NAMED_CURRICULA)}")
        made: Schedule = load_named(given, where, _has_phase, "a curriculum: a class with phase(iteration)")()
        return made
    named = NAMED_CURRICULA[given] if isinstance(given, str) else given
    if isinstance(named, Mapping):
        return Curriculum.parse(named, where)
    if named is not None and not (_has_phase(named) and not isinstance(named, type)):
        raise ConfigError(f"{where} is {given!r}; it must be a mapping, a name, or have a method phase(iteration)")
    return named


def build_curriculum(
    given: Mapping[str, Any] | str | Schedule | None, config: EconomyConfig, where: str = "curriculum"
) -> Schedule | None:
    """The schedule that a configuration asks for, in an economy.

    Args:
        given: As `parse_curriculum` takes it; what is typed already is not parsed again.
        config: The economy that it is for.
        where: Place in the file, for messages.

    Raises:
        ConfigError: It is unknown, malformed, or leaves an agent without a choice.
    """
    schedule = parse_curriculum(given, where)
    if schedule is None:
        return None
    if not isinstance(schedule, Curriculum):
        return _checked(schedule, config, where)
    curriculum = schedule.of(config)
    _check_fixed_taxes(curriculum, config, where)
    _check_courses(curriculum, config, where)
    for name, mask in curriculum.phase(0).masks(config).items():
        if not mask.any():
            parts = f"{where}.prices.around or {where}.wages.around is" if name == "firm" else f"{where}.taxes is"
            raise ConfigError(f"{parts} not among the choices: the {name} would be left without any; start at a choice")
    return curriculum


def moving_numbers(schedule: Schedule | None, config: EconomyConfig) -> list[str]:
    """What a curriculum of ours does to the numbers of an economy, in words, one line each."""
    courses = schedule.economy.given() if isinstance(schedule, Curriculum) and schedule.economy else {}
    lines = []
    for name, course in courses.items():
        own = own_number(config, name)
        first, last = course.number(course.begin, own), course.number(course.end, own)
        evaluated = "" if last == own else f"; policies are evaluated and saved with {own:g}"
        lines.append(f"{name} from {first:g} to {last:g} between iterations {course.begin} and {course.end}{evaluated}")
    return lines


def _check_fixed_taxes(curriculum: Curriculum, config: EconomyConfig, where: str) -> None:
    fixed = curriculum.taxes.fixed if curriculum.taxes else None
    for name, choices in (("income", config.income_tax_choices), ("corporate", config.corporate_tax_choices)):
        rate = getattr(fixed, name, None)
        if rate is not None and rate not in choices:
            closest = min(choices, key=lambda choice: abs(choice - rate))
            raise ConfigError(
                f"{where}.taxes.fixed.{name} is {rate:g}, which is not one of {name}_tax_choices; "
                f"the nearest choice is {closest:g}"
            )


def _check_courses(curriculum: Curriculum, config: EconomyConfig, where: str) -> None:
    for name in curriculum.economy.given() if curriculum.economy else {}:
        if name.startswith("export_") and not config.open_economy:
            raise ConfigError(f"{where}.economy.{name} has no effect: the economy is closed; leave it out")


def _has_phase(named: Any) -> bool:  # noqa: ANN401 - anything a user may name
    return callable(getattr(named, "phase", None))


# Iterations at which the phases of somebody's own schedule are looked at before anything trains.
_LOOKED_AT = (*range(1000), *(10**k for k in range(3, 7)))


def _checked(schedule: Schedule, config: EconomyConfig, where: str) -> Schedule:
    seen: Phase | None = None
    for iteration in _LOOKED_AT:
        try:
            phase = schedule.phase(iteration)
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise ConfigError(f"{where}: phase({iteration}) raised {what}; give a phase for every iteration") from error
        if phase != seen:
            check_phase(phase, config, f"{where}: phase({iteration})")
            seen = phase
    return schedule
