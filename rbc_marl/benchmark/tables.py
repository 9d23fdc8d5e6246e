"""Measured figures as rows, and rows as a text for a terminal, a page of Markdown and charts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from rbc_marl.memory import in_words

# What the project holds itself to, on two CPU cores; printed beside each ratio.
TARGETS = {"TorchRL": 0.5, "sampling": 25.0, "16": 1.5, "128": 1.15, "quickstart": 2.0, "compiled": 0.65}
TITLES = {
    "economy": "economy: steps a second (one period of one economy)",
    "environments": "environments: steps a second, random actions",
    "sampling": "sampling: agent steps a second",
    "training": "training: a whole iteration, and its two parts",
    "populations": "populations: an iteration of one run with the quickstart's settings",
    "sizes": "sizes, consumers x firms: one economy; memory is the most so far",
    "compiled": "compiled rollouts: sampling with the settings of open_rbc",
    "autocast": "autocast: an iteration whose networks multiply matrices in bfloat16",
    "living": "living: training until the outcome is living, and its certificate",
    "threads": "threads: by the clock",
    "rivals": "rivals: steps for each second of CPU time, one thread",
}


class Row(NamedTuple):
    """One figure."""

    part: str
    what: str
    value: float
    unit: str
    """Of the value: "steps/s" and the like, where more is better, or "s" and "bytes", where less is."""
    ratio: float | None = None
    against: str = ""
    """What the ratio is to."""
    target: str = ""

    def value_in_words(self) -> str:
        """The value with its unit."""
        if self.unit == "s":
            return f"{self.value:,.2f} s" if self.value >= 1.0 else f"{self.value * 1e3:.3g} ms"
        return in_words(self.value) if self.unit == "bytes" else f"{self.value:,.0f} {self.unit}"

    def ratio_in_words(self) -> str:
        """The ratio, what it is to, and what it is meant to be."""
        if self.ratio is None:
            return ""
        number = f"{self.ratio:,.0f}" if self.ratio >= 100 else f"{self.ratio:.3g}"
        return f"{number} x {self.against}{f' ({self.target})' if self.target else ''}"

    def times_as_fast_as(self, other: Row) -> float:
        """How many times as fast this was as the same on another device; of bytes, how many times as many."""
        return other.value / self.value if self.unit == "s" else self.value / other.value


def rows(figures: Mapping[str, Any]) -> list[Row]:
    """Rows of all parts that were measured, in the order of the parts.

    Args:
        figures: Of `rbc_marl.benchmark.bench.run`, or those of its CPU.
    """
    return [row for part, make in _PARTS.items() if figures.get(part) for row in make(figures[part])]


def text(result: Mapping[str, Any]) -> str:
    """The figures for a terminal."""
    other = {row[:2]: row for row in rows(result.get("cpu", {}))}
    lines, part = [*_head(result)], ""
    for row in rows(result):
        if row.part != part:
            lines += ["", TITLES[row.part]]
        part = row.part
        beside = other.get(row[:2])
        device = f"   {row.times_as_fast_as(beside):.3g} x the CPU" if beside else ""
        lines.append(f"  {row.what:48}{row.value_in_words():>24}   {row.ratio_in_words()}{device}".rstrip())
    tail = [*_tail(result)]
    return "\n".join([*lines, *([""] if tail else []), *tail])


def markdown(result: Mapping[str, Any]) -> str:
    """The figures as a page of Markdown: one table, and beside an accelerator its CPU."""
    has_cpu = "cpu" in result
    other = {row[:2]: row for row in rows(result.get("cpu", {}))}
    heads = ["part", "what", "measured", *(["on its CPU", "times as fast"] if has_cpu else []), "held against"]
    lines = ["# Benchmark", "", *(f"- {line}" for line in _head(result)), "", _line(heads), "|---" * len(heads) + "|"]
    mine = rows(result)
    for row in [*mine, *(row for key, row in other.items() if key not in {one[:2] for one in mine})]:
        beside = other.get(row[:2])
        is_missing = has_cpu and row is beside  # measured on the CPU alone
        cells = [row.part, row.what, "" if is_missing else row.value_in_words()]
        if has_cpu:
            ratio = f"{row.times_as_fast_as(beside):.3g}" if beside and not is_missing else ""
            cells += [beside.value_in_words() if beside else "", ratio]
        lines.append(_line([*cells, row.ratio_in_words()]))
    return "\n".join([*lines, "", *(f"- {line}" for line in _tail(result))]).rstrip() + "\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _head(result: Mapping[str, Any]) -> Iterator[str]:
    size = result["size"]
    yield ", ".join(f"{key} {value}" for key, value in result["machine"].items())
    yield f"{size['consumers']} consumers, {size['firms']} firms, {size['periods']} periods"
    yield from result.get("notes", ())


def _tail(result: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"left out: {what}" for what in result.get("skipped", ()))
    yield from (f"failed: {one['part']} on {one['device']}: {one['error']}" for one in result.get("failed", ()))


def _economy(figures: Mapping[str, Any]) -> Iterator[Row]:
    for name, rate in figures["steps_per_second"].items():
        ratio = figures["ratio_to_scalar"].get(name)
        label = "plain Python" if ratio is None else _economies(name)
        yield Row("economy", label, rate, "steps/s", ratio, "plain Python")
    if floor := figures.get("floor"):
        label = f"a step of {floor['economies']:,} economies"
        yield Row("economy", label, floor["ratio"] * floor["seconds"], "s", floor["ratio"], "the floor")


def _environments(figures: Mapping[str, Any]) -> Iterator[Row]:
    for name, rate in figures["steps_per_second"].items():
        target = f"at least {TARGETS[name]}" if name in TARGETS else ""
        yield Row("environments", name, rate, "steps/s", figures["ratio"][name], "VectorEconomy", target)


def _sampling(figures: Mapping[str, Any]) -> Iterator[Row]:
    target = f"at least {TARGETS['sampling']:.0f}"
    for number, (name, rate) in enumerate(figures["by_size"].items()):
        held = (figures["ratio"], "RLlib's own path", target) if "ratio" in figures and not number else ()
        yield Row("sampling", _economies(name), rate, "agent steps/s", *held)
    if "ratio" in figures:
        yield Row("sampling", "RLlib's own path", figures["agent_steps_per_second"]["plain"], "agent steps/s")


def _training(figures: Mapping[str, Any]) -> Iterator[Row]:
    for name, values in figures.items():
        target = f"at most {TARGETS[name]:.2f}" if name in TARGETS else ""
        for part in ("EconomyPPO", "sampling", "update", "bare_loop"):
            if part in values:
                ratio = (values.get("ratio"), "the bare loop", target) if part == "EconomyPPO" else ()
                label = f"{_economies(name)}, {part.replace('_', ' ')}"
                yield Row("training", label, values[part], "s", *ratio)


def _populations(figures: Mapping[str, Any]) -> Iterator[Row]:
    for name, values in figures.items():
        label = f"{name} runs together" if name.isdigit() else name
        yield Row("populations", label, values["seconds"], "s", values["ratio"], "alone")


def _sizes(figures: Mapping[str, Any]) -> Iterator[Row]:
    for name, values in figures.items():
        for part, value in values.items():
            yield Row("sizes", f"{name}, {part}", value, "bytes" if part == "memory" else "s")


def _compiled(figures: Mapping[str, Any]) -> Iterator[Row]:
    target = f"at most {TARGETS['compiled']:.2f}"
    for name, value in figures["seconds"].items():
        held = (figures["ratio"], "eager", target) if name == "compiled" else ()
        yield Row("compiled", f"{_economies(str(figures['economies']))}, {name}", value, "s", *held)
    yield Row("compiled", "compiling, or reading from disk", figures["compile_time"], "s")


def _autocast(figures: Mapping[str, Any]) -> Iterator[Row]:
    for name, values in figures.items():
        for dtype, value in values["seconds"].items():
            held = (values["ratio"], "float32") if dtype == "bfloat16" else ()
            yield Row("autocast", f"{_economies(name)}, {dtype}", value, "s", *held)


def _living(figures: Mapping[str, Any]) -> Iterator[Row]:
    label = f"{figures['preset']}, {figures['outcome']} after {figures['iterations']} iterations"
    yield Row("living", label, figures["seconds"], "s")
    if certificate := figures.get("certificate"):
        yield Row("living", f"its certificate: {certificate['verdict']}", certificate["seconds"], "s")


def _threads(figures: Mapping[str, Any]) -> Iterator[Row]:
    for name, values in figures.items():
        for part, value in values.items():
            yield Row("threads", f"{name}, {part}", value, "s", figures["1"][part] / value, "as fast as one")


def _rivals(figures: Mapping[str, Any]) -> Iterator[Row]:
    ours = next(iter(figures.values()))["steps_per_second"]
    for name, values in figures.items():
        for size, rate in values["steps_per_second"].items():
            label = f"{name} ({values['what']}), {size} side by side"
            held = (rate / ours[size], "rbc_marl") if rate is not ours[size] else ()
            yield Row("rivals", label, rate, "steps/s", *held)


def _economies(name: str) -> str:
    return f"{int(name):,} {'economy' if name == '1' else 'economies'}" if name.isdigit() else name


_PARTS: dict[str, Callable[[Mapping[str, Any]], Iterator[Row]]] = {
    "economy": _economy,
    "environments": _environments,
    "sampling": _sampling,
    "training": _training,
    "populations": _populations,
    "sizes": _sizes,
    "compiled": _compiled,
    "autocast": _autocast,
    "living": _living,
    "threads": _threads,
    "rivals": _rivals,
}
