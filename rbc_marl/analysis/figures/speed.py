"""Figures of the project's speed: of one record of `rbc-marl bench`, and of the records of its versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rbc_marl.analysis.charts import Chart, Line

Record = Mapping[str, Any]
# What is followed over versions, all of them ratios: times do not compare from machine to machine.
_HISTORY = (
    ("economy", "the economy", "times as fast as plain Python", "128 economies", ("ratio_to_scalar", "128")),
    ("economy", "the economy", "times as fast as plain Python", "1,024 economies", ("ratio_to_scalar", "1024")),
    ("floor", "a step of 1,024 economies", "times its floor", "", ("floor", "ratio")),
    ("sampling", "sampling, 16 economies", "times as fast as RLlib's own path", "", ("ratio",)),
    ("training", "a training iteration", "times that of a bare loop", "16 economies", ("16", "ratio")),
    ("training", "a training iteration", "times that of a bare loop", "128 economies", ("128", "ratio")),
    ("training", "a training iteration", "times that of a bare loop", "quickstart", ("quickstart", "ratio")),
    ("populations", "a run among 8", "of an iteration alone", "", ("8", "ratio")),
    ("living", "until small is living", "iterations", "", ("iterations",)),
)


def measured(record: Record) -> list[Chart]:
    """What one record says of an economy by its number and its size, and of runs together; without the parts it lacks.

    Args:
        record: As `rbc_marl.benchmark.bench.run` returns it.
    """
    charts = []
    sides = {"": record, **({"its CPU": record["cpu"]} if "cpu" in record else {})}
    steps = [_line(side.get("economy", {}).get("steps_per_second", {}), label) for label, side in sides.items()]
    if steps := [line for line in steps if line.x]:
        caption = "Steps a second of economies side by side, by their number."
        axes = ("economies side by side", "steps a second")
        charts.append(Chart("speed-economy", "the economy", *axes, tuple(steps), caption, logarithmic=("x", "y")))
    lines = []
    for label, side in sides.items():
        by_size = {name.split(" x ")[0].replace(",", ""): values for name, values in side.get("sizes", {}).items()}
        for part in ("step", "sample", "iteration"):
            values = {name: row[part] for name, row in by_size.items() if part in row}
            lines.append(_line(values, f"{part}{f', {label}' if label else ''}"))
    if lines := [line for line in lines if line.x]:
        caption = "Seconds by the number of consumers; of several numbers of firms the largest."
        axes = ("consumers", "seconds")
        charts.append(Chart("speed-sizes", "large economies", *axes, tuple(lines), caption, logarithmic=("x", "y")))
    together = {"1" if n == "alone" else n: row["ratio"] for n, row in record.get("populations", {}).items()}
    if together:
        caption = "An iteration of one run among several, as a share of an iteration alone."
        axes = ("runs together", "of an iteration alone")
        line = _line(together, "")
        charts.append(Chart("speed-populations", "populations", *axes, (line,), caption, starts_at_zero=True))
    return charts


def history(records: Mapping[str, Record]) -> list[Chart]:
    """Ratios by version, a chart for each kind of work.

    Args:
        records: By version, in their order.
    """
    versions = {version: float(place) for place, version in enumerate(records)}
    found: dict[str, list[tuple[str, str, str, Line]]] = {}
    for part, title, y, label, path in _HISTORY:
        points = {v: _at(record.get("economy" if part == "floor" else part, {}), path) for v, record in records.items()}
        if any(value is not None for value in points.values()):
            line = Line(list(versions.values()), list(points.values()), label, has_dots=True)
            found.setdefault(part, []).append((title, y, label, line))
    charts = []
    for part, series in found.items():
        title, y, _, _ = series[0]
        said = "; ".join(f"{label or title}: {_numbers(line.y)}" for _, _, label, line in series)
        caption = f"{y[0].upper()}{y[1:]} by version ({', '.join(versions)}). {said}."
        lines = tuple(line for *_, line in series)
        x = "version"
        chart = Chart(
            f"history-{part}", title, x, y, lines, caption, starts_at_zero=True, places={"x": tuple(versions)}
        )
        charts.append(chart)
    return charts


def _line(values: Mapping[str, float], label: str) -> Line:
    pairs = sorted((float(name), value) for name, value in values.items() if name.isdigit())
    return Line([x for x, _ in pairs], [y for _, y in pairs], label, has_dots=True)


def _at(figures: Mapping[str, Any], path: Sequence[str]) -> float | None:
    value: Any = figures
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return float(value)


def _numbers(values: Sequence[float | None]) -> str:
    return ", ".join("-" if value is None else f"{value:.3g}" for value in values)
