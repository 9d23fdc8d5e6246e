"""What a report says of a source: two sentences, figures, tables, and the numbers to download."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rbc_marl.analysis.best_responses import report_lines
from rbc_marl.analysis.charts import Chart
from rbc_marl.analysis.composition import composition
from rbc_marl.analysis.described import describe
from rbc_marl.analysis.evaluation_table import evaluation_rows, middle_words
from rbc_marl.analysis.figures import deviations, episodes, off_path, sweeps, taxes, training
from rbc_marl.analysis.indicators import indicator_words
from rbc_marl.analysis.outcomes import BEST, FAILED, LIVING, outcome, reason
from rbc_marl.analysis.rollouts import Episodes, Evaluation, play
from rbc_marl.analysis.shopping import shopping
from rbc_marl.analysis.studies import FIRST, HIDDEN, outcome_report
from rbc_marl.analysis.tables import TRAINED, columns_of, training_summary
from rbc_marl.analysis.taxes import tax_panels
from rbc_marl.analysis.verdicts import deviator
from rbc_marl.policies import Policies
from rbc_marl.policies.imposed import imposed_in_training
from rbc_marl.policies.saved import load_policies
from rbc_marl.report import verdict
from rbc_marl.report.sources import BestResponses, Run, Source, Sweep

if TYPE_CHECKING:
    import pandas as pd

Cell = float | int | str | None

# Episodes that are played, as by `rbc-marl evaluate`; fewer of a huge economy, of so many consumers in all.
_EPISODES, _CONSUMERS, _SEED = 256, 64_000, 0
# Columns of the runs of a sweep that a page shows; all are to be downloaded.
_SHOWN = (*FIRST, "iterations", "seconds", "equilibrium", "verdict", "changes", "error")
_SHOWN_OF_DEVIATIONS = (
    *("checkpoint", "arm", "seed", "who", "outcome", "level", "gain", "gain_low", "gain_high", "gain_over_level"),
    *("found_by", "paper_bound", "upper_gain_high", "verified", "unit"),
)


@dataclass(frozen=True)
class Table:
    """A table of a page."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    narrow: int | None = None
    """How many of the columns a printed table has room for; None: all."""


@dataclass(frozen=True)
class Section:
    """A part of a report. One without content is not shown."""

    title: str
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    words: tuple[str, ...] = ()
    """Paragraphs; those that begin with "- " are points of a list."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.charts or self.tables or self.words)


@dataclass(frozen=True)
class Part:
    """What a report says of one source."""

    title: str
    verdict: tuple[str, ...]
    """Two sentences; a third where deviations were checked, too."""
    sections: tuple[Section, ...]
    numbers: tuple[Mapping[str, Any], ...]
    """Rows to download; of a run, a row per quantity."""
    notes: tuple[str, ...] = ()
    """What a reader must know before all else, such as that a run has not finished."""
    how: Mapping[str, Any] = field(default_factory=dict)
    """How it was made."""
    row: Mapping[str, Any] | None = None
    """Of an economy that was played: its row in a table of several."""


def played_for_report(policies: Policies) -> Episodes:
    """The episodes that a report of policies is about, with all that is kept of agents.

    Args:
        policies: Whoever decides.
    """
    count = min(max(_CONSUMERS // policies.config.num_consumers, 1), _EPISODES)
    return play(policies, count, _SEED, record=True, agents=True)


def part_of(source: Source, *, trust: bool = False, played: Episodes | None = None) -> Part:
    """What there is to say of a source; policies are played, which takes seconds.

    Args:
        source: What was read.
        trust: Whether code that is not installed may run, of network classes that policies name.
        played: The episodes of a run's newest policies, if they were played already (`played_for_report`).

    Raises:
        UserError: Policies cannot be played.
    """
    match source:
        case Run():
            return _of_run(source, trust, played)
        case Sweep():
            return _of_sweep(source)
        case _:
            return _of_best_responses(source)


def comparison_of(parts: Sequence[Part]) -> Part | None:
    """Economies side by side; None where there are fewer than two."""
    rows = [part.row for part in parts if part.row is not None]
    if len(rows) < 2:
        return None
    names = [str(row["arm"]) for row in rows]
    quantities = [name for _, name, *_ in evaluation_rows(rows[0], {})]
    lines = [(_words(name), *(row.get(name) for row in rows), _unit(name)) for name in ("outcome", *quantities)]
    table = Table("Means over all periods and episodes", ("quantity", *names, "unit"), tuple(lines))
    charts = (*sweeps.comparison(rows), *sweeps.spectrum(rows), *sweeps.market(rows))
    sections = (Section("Side by side", charts), Section("Numbers side by side", (), (table,)))
    living = sum(row["outcome"] == LIVING for row in rows)
    best = max(rows, key=lambda row: float(row["welfare_total"]))
    sentences = (f"{living} of {len(rows)} economies are living.", f"Total welfare is largest in {best['arm']}.")
    return Part("comparison", sentences, sections, ())


# Runs and policies


def _of_run(run: Run, trust: bool, played: Episodes | None) -> Part:
    curves = () if run.progress is None else tuple(training.learning_curves(run.progress))
    learned = Section("How training went", curves)
    if run.checkpoint is None:
        assert run.progress is not None  # a run without either is refused
        iterations = int(run.progress["training_iteration"].iloc[-1])
        numbers = tuple(_last_results(run.progress.iloc[-1]))
        return Part(run.title, verdict.of_training(iterations), (learned,), numbers, run.notes, run.how)
    saved = load_policies(run.checkpoint, trust=trust)
    law = imposed_in_training(saved.info)
    policies = law.on(saved)
    config, seed = policies.config, _SEED
    played = played_for_report(policies) if played is None else played
    count = played.num_episodes
    evaluation, shoppers = Evaluation.of(played), shopping(policies, seed=seed)
    values = {**evaluation.means, **evaluation.indicators}
    rules = str(saved.info.get("rules", BEST))
    became = outcome(config, evaluation.means, rules)
    sentences = verdict.of_economy(config, became, values, shoppers.share, rules)
    charts = (*episodes.paths(played), *episodes.roll_out(played), *episodes.money(played))
    elsewhere = (*off_path.demand(policies, seed), *off_path.labour_supply(policies, seed))
    who = (*episodes.employers(played), *episodes.distributions(played))
    best = _of_best_responses(run.best_responses) if run.best_responses is not None else None
    words = [*indicator_words(evaluation.indicators, config), f"shopping: {shoppers.describe()}"]
    words.append(f"outcome: {became} ({reason(config, became, evaluation.to_dict(), rules)})")
    table = _evaluation_table(evaluation, count)
    sections = (
        Section("What an episode looks like", charts),
        Section("How training went", curves),
        Section("What agents do elsewhere", (*elsewhere, *off_path.policy_functions(policies, seed))),
        Section("Who works where, and who gets what", who),
        *(best.sections if best else ()),
        Section("Numbers", (), (table,), tuple(words)),
    )
    row = {"arm": run.title, "seed": run.seed or 0, "outcome": became, **values, **composition(played)}
    row |= shoppers.numbers()
    how = {**run.how, "played": f"{count} episodes with seed {seed}", "policies": str(run.checkpoint)}
    how |= {"imposed": law.words()} if law.chosen else {}
    numbers = tuple(_quantities(row, evaluation.standard_errors))
    return Part(run.title, _sentences(sentences, run.best_responses), sections, numbers, run.notes, how, row)


def _sentences(of_economy: verdict.Sentences, found: BestResponses | None) -> tuple[str, ...]:
    """The verdict: what became of the economy, then who gains by deviating where that is known."""
    became, market = of_economy
    gains = () if found is None else (verdict.deviations_in_a_sentence(found.rows, found.outcomes),)
    return (became, *gains, market)


def _evaluation_table(evaluation: Evaluation, count: int) -> Table:
    values = {**evaluation.means, **evaluation.indicators}
    numbers = ("mean", "standard error", middle_words(evaluation.horizon))
    lines = []
    for subject, name, *found, _ in evaluation_rows(values, evaluation.standard_errors):
        described = describe(name)
        what = (described.unit, described.words) if described else ("", "")
        lines.append((subject, _words(name), *found, *what))
    caption = f"Means over {count} episodes, with standard errors over episodes"
    return Table(caption, ("subject", "quantity", *numbers, "unit", "what it is"), tuple(lines), narrow=6)


def _quantities(row: Mapping[str, Any], errors: Mapping[str, float | None]) -> Iterable[dict[str, Any]]:
    """A row for each quantity, to download."""
    for name, value in row.items():
        described = describe(name)
        if name in ("arm", "seed") or described is None:
            continue
        words = {"unit": described.unit, "words": described.words}
        yield {"quantity": name, "mean": value, "standard_error": errors.get(name), **words}


def _last_results(results: pd.Series[Any]) -> Iterable[dict[str, Any]]:
    for name, value in results.items():
        if (described := describe(str(name))) is not None:
            yield {"quantity": str(name), "mean": value, "unit": described.unit, "words": described.words}


# Best responses


def _of_best_responses(source: BestResponses) -> Part:
    rows = [{**row, "who": deviator(row)} for row in source.rows]
    names = [name for name in _SHOWN_OF_DEVIATIONS if any(row.get(name) is not None for row in rows)]
    table = _table("A row for each deviation checked; gains with 95% intervals", rows, names)
    words: list[str] = []
    if source.outcomes and source.checkpoints:
        is_alone = len(source.checkpoints) == 1
        alone = f"{source.checkpoints[0]['checkpoint']}: " if is_alone else ""
        words = [f"- {line.removeprefix(alone)}" for line in report_lines(source.rows, source.checkpoints)]
    charts = tuple(deviations.best_responses(source.rows))
    sections = (
        Section("What agents gain by deviating", charts),
        Section("Deviations", (), (table,) if rows else (), tuple(words)),
    )
    numbers = tuple({name: value for name, value in row.items() if _is_plain(value)} for row in rows)
    sentences = verdict.of_deviations(source.rows, source.outcomes)
    return Part(source.title, sentences, sections, numbers, source.notes, source.how)


# Sweeps


def _of_sweep(sweep: Sweep) -> Part:
    rows = [dict(row) for row in sweep.rows]
    sentences = verdict.of_sweep(rows, sweep.total)
    if not rows:
        return Part(sweep.title, sentences, (), (), sweep.notes, sweep.how)
    is_evaluated = not any(row["outcome"] == TRAINED for row in rows)
    if is_evaluated:
        texts, _ = outcome_report(rows, sweep.deviations, sweep.thresholds, sweep.varied, sweep.units)
    else:
        texts = [training_summary(rows, sweep.varied)]
    names = [name for name in columns_of(rows, [*sweep.varied, *_SHOWN], HIDDEN) if name in (*sweep.varied, *_SHOWN)]
    if not is_evaluated:
        names = columns_of(rows, FIRST, HIDDEN)[:_MOST_COLUMNS]
    compared = sweeps.comparison(rows) if len({row["arm"] for row in rows}) > 1 else []
    sections = (
        Section("Taxes", _of_taxes(rows)),
        Section("What was varied", tuple(compared)),
        Section("The spectrum of outcomes", tuple(sweeps.spectrum(rows, sweep.varied))),
        Section("The market of goods", tuple(sweeps.market(rows))),
        Section("What deviators gain", tuple(deviations.best_responses(sweep.deviations))),
        *from_markdown(texts),
        Section("Runs", (), (_table("A row for each run that has ended", rows, names),), tuple(_failures(rows))),
    )
    numbers = tuple({name: row.get(name) for name in columns_of(rows, FIRST, HIDDEN)} for row in rows)
    return Part(sweep.title, sentences, sections, numbers, sweep.notes, sweep.how)


_MOST_COLUMNS = 16


def _of_taxes(rows: Sequence[Mapping[str, Any]]) -> tuple[Chart, ...]:
    """Learned taxes against fixed ones, of a sweep that has both."""
    if not any("policy" in row and "income" in row for row in rows):
        return ()
    return (*taxes.tax_bars(tax_panels(rows)), *taxes.tax_map(rows), *taxes.laffer(rows))


def _failures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"- {row['arm']} seed {row['seed']} failed: {row['error']}" for row in rows if row["outcome"] == FAILED]


def from_markdown(texts: Sequence[str]) -> list[Section]:
    """The parts of a summary (`rbc_marl.analysis.studies.outcome_report`) as sections.

    Args:
        texts: Markdown of tables (`rbc_marl.analysis.tables.markdown_table`), paragraphs and points. A paragraph that
            ends with a colon is the title of what follows.
    """
    sections: list[Section] = []
    title = "Summary"
    tables: list[Table] = []
    words: list[str] = []

    def close() -> None:
        section = Section(title, (), tuple(tables), tuple(words))
        sections.extend([] if section.is_empty else [section])

    for block in "\n\n".join(texts).split("\n\n"):
        lines = block.strip().splitlines()
        if lines and lines[0].startswith("| "):
            head, _, *rows = (_cells(line) for line in lines)
            tables.append(Table(title, tuple(head), tuple(map(tuple, rows))))
        elif len(lines) == 1 and lines[0].endswith(":"):
            close()
            title, tables, words = lines[0].removesuffix(":"), [], []
        else:
            words += lines
    close()
    return sections


def _cells(line: str) -> list[str]:
    """Cells of a line of a Markdown table."""
    inner = line.removeprefix("| ").removesuffix(" |").replace("\\|", "\0")
    return [cell.strip().replace("\0", "|") for cell in inner.split(" | ")]


# Tables


def _table(caption: str, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Table:
    lines = tuple(tuple(_cell(row.get(name)) for name in names) for row in rows)
    return Table(caption, tuple(map(_words, names)), lines)


def _cell(value: object) -> Cell:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, float | int | str) or value is None else str(value)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _unit(name: str) -> str:
    described = describe(name)
    return described.unit if described else ""


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
