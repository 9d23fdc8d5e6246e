"""One calm display of a run: how far it is, how long it will take, and what the economy does."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.progress_bar import ProgressBar
from rich.table import Table

from rbc_marl.analysis.metrics import collapsed
from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.experiments.logs import finite
from rbc_marl.experiments.stopping import fraction_done

SECONDS_BETWEEN_LINES = 10.0
# Curves on a terminal: most characters, and from which they are made.
CURVE_WIDTH, BLOCKS = 40, "▁▂▃▄▅▆▇█"
# What is shown of an economy, in this order, where a run reports it, and how each number is written.
QUANTITIES = {"hours": "{:.0f}", "consumption": "{:.2f}", "price": "{:.0f}", "wage": "{:.1f}"}
QUANTITIES |= {"income_tax": "{:.0%}", "corporate_tax": "{:.0%}"}


def clock(seconds: float) -> str:
    """Seconds as 4:05 or 1:02:03."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def shown(results: Mapping[str, Any], economy: EconomyConfig | None = None) -> list[tuple[str, str]]:
    """What a display shows of the flat results of an iteration: labels and texts, only those that are reported.

    Args:
        results: Flat results.
        economy: Where there is one, rewards are shown per agent, also where RLlib reports sums over a policy's agents.
    """
    return [(label, form.format(value)) for label, value, form in _quantities(results, economy)]


def _quantities(results: Mapping[str, Any], economy: EconomyConfig | None) -> list[tuple[str, Any, str]]:
    """Labels, values and formats of what is reported of an iteration."""
    reported = {key.removeprefix("env_runners/"): x for key, x in results.items() if finite(x) is not None}
    found = []
    for agent_type in AGENT_TYPES:
        total = reported.get(f"module_episode_returns_mean/{agent_type}")
        mean = None if total is None else total / (economy.agents(agent_type) if economy else 1)
        found.append((f"{agent_type} reward", reported.get(f"{agent_type}_return", mean), "{:.4g}"))
    if all(reward is None for _, reward, _ in found):  # else not: the sum over all agents adds money to utility
        found.append(("return", reported.get("episode_return_mean"), "{:.4g}"))
    found += [(name.replace("_", " "), reported.get(name), form) for name, form in QUANTITIES.items()]
    found.append(("phase", reported.get("curriculum/phase"), "{}"))
    if economy is not None and "hours" in reported and collapsed(economy, reported["hours"]):
        found.append(("state", "COLLAPSED: hardly anybody works", "{}"))
    return [entry for entry in found if entry[1] is not None]


class Curve:
    """The course of a number, as a line of text: each character the mean of as many values as have to share one."""

    def __init__(self) -> None:
        self._means: list[float] = []
        self._per_mean, self._sum, self._count = 1, 0.0, 0

    def add(self, value: float) -> None:
        """Add the next value."""
        self._sum, self._count = self._sum + value, self._count + 1
        if self._count < self._per_mean:
            return
        self._means.append(self._sum / self._count)
        self._sum, self._count = 0.0, 0
        if len(self._means) == 2 * CURVE_WIDTH:  # from now on twice as many share a character
            self._means = [(a + b) / 2 for a, b in zip(self._means[::2], self._means[1::2], strict=True)]
            self._per_mean *= 2

    def __str__(self) -> str:
        """From the lowest block to the highest; nothing before two values."""
        means = self._means
        if len(means) > CURVE_WIDTH:  # two share a character already
            means = [sum(means[i : i + 2]) / len(means[i : i + 2]) for i in range(0, len(means), 2)]
        if len(means) < 2:
            return ""
        low, high = min(means), max(means)
        levels = [round((mean - low) / (high - low) * (len(BLOCKS) - 1)) if high > low else 0 for mean in means]
        return "".join(BLOCKS[level] for level in levels)


class Progress:
    """Shows a run while it goes on: live on a terminal, else a plain line every ten seconds.

    Args:
        name: What runs.
        stop: The criteria, which say how far the run has come.
        economy: The economy that runs, if it is one.
        started_at: Results of the iteration that the run resumes after; empty for a new run.
        console: Where to write; None: standard output.
    """

    def __init__(
        self,
        name: str,
        stop: Mapping[str, float],
        economy: EconomyConfig | None = None,
        started_at: Mapping[str, Any] | None = None,
        console: Console | None = None,
    ) -> None:
        self._name, self._stop, self._economy = name, stop, economy
        self._console = console or Console(highlight=False)
        self._start, self._last_line = time.monotonic(), -math.inf
        self._done_at_start = fraction_done(stop, started_at or {}) or 0.0
        self._results: Mapping[str, Any] = {}
        self._printed: Mapping[str, Any] = self._results
        self._notice = ""
        self._curves: dict[str, Curve] = {}
        self._live = Live(console=self._console, get_renderable=self._table) if self._console.is_terminal else None

    def __enter__(self) -> Self:
        """Start the live display, on a terminal."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the last state on the screen."""
        if self._live is not None:
            self._live.stop()
        elif self._results is not self._printed:
            self._print_line()

    def update(self, results: Mapping[str, Any]) -> None:
        """Show the flat results of an iteration."""
        self._results = results
        if self._live is not None:
            for label, value, _ in _quantities(results, self._economy):
                if isinstance(value, int | float):
                    self._curves.setdefault(label, Curve()).add(value)
        elif time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._print_line()

    def notice(self, text: str) -> None:
        """Say something beside the numbers."""
        self._notice = text
        if self._live is not None:
            self._live.refresh()
        else:
            self._console.print(text, soft_wrap=True)

    def _position(self) -> list[str]:
        iteration, total = int(self._results.get("training_iteration", 0)), self._stop.get("training_iteration")
        elapsed, done = time.monotonic() - self._start, fraction_done(self._stop, self._results) or 0.0
        words = [f"iteration {iteration}/{total:.0f}" if total else f"iteration {iteration}", f"{clock(elapsed)} gone"]
        if done > self._done_at_start:  # at the speed so far
            words.append(f"{clock(elapsed * (1.0 - done) / (done - self._done_at_start))} left")
        return words

    def _print_line(self) -> None:
        self._last_line, self._printed = time.monotonic(), self._results
        words = self._position() + [f"{label} {text}" for label, text in shown(self._results, self._economy)]
        self._console.print("  ".join(words), soft_wrap=True)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_row(f"[bold]{self._name}[/bold]", "  ".join(self._position()))
        done = fraction_done(self._stop, self._results)
        if done is not None:
            table.add_row("", ProgressBar(total=1.0, completed=done, width=40))
        for label, text in shown(self._results, self._economy):
            curve = str(self._curves.get(label, ""))
            table.add_row(label, f"{text:<12} {curve}" if curve else text)
        if self._notice:
            table.add_row("", f"[yellow]{self._notice}[/yellow]")
        return table


class SweepProgress:
    """Shows many runs while they go on: one bar on a terminal, else a plain line for each run that ends.

    Calling it says something beside the bar.

    Args:
        name: What runs.
        console: Where to write; None: standard output.
    """

    def __init__(self, name: str, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        words = TextColumn("{task.fields[words]}", markup=False)
        columns = (TextColumn("{task.description}", style="bold", markup=False), BarColumn(), words)
        self._bar = Bar(*columns, console=self._console, auto_refresh=False, disable=not self._console.is_terminal)
        self._task = self._bar.add_task(name, total=None, words="")
        self._start = self._last = time.monotonic()
        self._done_at_start = self._total = 0

    def __enter__(self) -> Self:
        """Start the bar, on a terminal."""
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the bar as it is."""
        if not self._bar.disable:
            self._bar.stop()

    def __call__(self, text: str) -> None:
        """Say something beside the bar."""
        self._console.print(text, soft_wrap=True, markup=False)

    def update(self, done: int, total: int, line: str) -> None:
        """Show that one more run has ended.

        Args:
            done: Runs that have ended.
            total: All runs.
            line: What the last one came to.
        """
        if total != self._total:  # other work begins
            self._total, self._done_at_start, self._start = total, done - 1, self._last
        self._last = time.monotonic()
        if self._bar.disable:
            self(f"{done}/{total}  {line}")
            return
        words = f"{done}/{total}  {clock(self.time_left(done))} left  {line}"
        self._bar.update(self._task, completed=done, total=total, words=words, refresh=True)

    def time_left(self, done: int) -> float:
        """Seconds to go, at the pace of the runs that ended since the work began."""
        elapsed = time.monotonic() - self._start
        return elapsed * (self._total - done) / max(done - self._done_at_start, 1)


def tell(report: Callable[[str], object], done: int, total: int, line: str) -> None:
    """Say that one more run has ended: by a bar where ``report`` has one, else in a line."""
    if isinstance(report, SweepProgress):
        report.update(done, total, line)
    else:
        report(f"{done}/{total}  {line}")
