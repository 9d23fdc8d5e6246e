"""An economy as a table of text. The picture, which needs a plotting library, is in `rbc_marl.envs.picture`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from rbc_marl.config import EconomyConfig
from rbc_marl.economy import EconomyState
from rbc_marl.envs.infos import PlayedPeriod, welfares
from rbc_marl.mechanics.taxes import Equal

# Firms beyond this many are summed up in one line.
MAX_FIRM_ROWS = 20

Values = list[float] | None


def table(config: EconomyConfig, state: EconomyState, period: PlayedPeriod | None) -> str:
    """The economy as text: government and welfare, then the firms, then the consumers.

    Args:
        config: The economy.
        state: Now (B = 1).
        period: The last period, or None at the start of an episode, where flows have no values yet ("-").
    """
    blocks = (
        title(config, state),
        _government_lines(config, state, period),
        _firm_lines(config, state, period),
        _consumer_lines(state, period),
    )
    return "\n\n".join(blocks)


def title(config: EconomyConfig, state: EconomyState) -> str:
    """One line: which economy, and how far its episode is."""
    kind = "Open" if config.open_economy else "Closed"
    played = f"after period {int(state.time[0])} of {config.horizon}" if state.time[0] > 0 else "at the start"
    return f"{kind} economy, {_count(config.num_consumers, 'consumer')}, {_count(config.num_firms, 'firm')}, {played}"


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def number(value: float) -> str:
    """A quantity for reading: thousands separated, two decimals where they matter."""
    if math.isnan(value):
        return "-"
    if abs(value) >= 1e9:
        return f"{value:.3g}"
    if abs(value) < 0.005:
        return "0"
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1e5 else f"{value:,.2f}"


def _government_lines(config: EconomyConfig, state: EconomyState, period: PlayedPeriod | None) -> str:
    income, corporate = state.income_tax, state.corporate_tax
    rows = [["Government", "in force", "next"]]
    for label, rate, name in (("income tax", income, "income_tax"), ("corporate tax", corporate, "corporate_tax")):
        in_force = getattr(period.before, name) if period else rate
        rows.append([label, f"{float(in_force[0]):.0%}", f"{float(rate[0]):.0%}"])
    lines = [_align(rows)]
    if period:
        consumers, total = welfares(config, period.flows)
        pool, transfer = number(float(period.flows.tax_pool[0])), number(float(period.flows.transfer[0]))
        each = "each consumer" if isinstance(config.transfers, Equal) else "a consumer on average"
        lines.append(f"taxes {pool}, of which {transfer} to {each}")
        lines.append(f"welfare {number(consumers)} (consumers), {number(total)} (with firms)")
    return "\n".join(lines)


def _firm_lines(config: EconomyConfig, state: EconomyState, period: PlayedPeriod | None) -> str:
    """A row a firm: prices and wages in force in the period and posted for the next, flows, stocks at the end."""
    before = period.before if period else state
    flow = _flow_reader(period)
    columns: dict[str, Values] = {
        "price": _list(before.price),
        "wage": _list(before.wage),
        "sold": flow("sales"),
        "exported": flow("exports"),
        "hours": flow("labour"),
        "made": flow("output"),
        "profit": flow("profit"),
        "tax": flow("corporate_tax_paid"),
        "inventory": _list(state.inventory),
        "capital": _list(state.capital),
        "budget": _list(state.firm_budget),
        "next price": _list(state.price),
        "next wage": _list(state.wage),
    }
    shown = min(config.num_firms, MAX_FIRM_ROWS)
    rows = [["Firm", *columns]]
    rows += [[f"firm_{i}", *(number(v[i]) if v else "-" for v in columns.values())] for i in range(shown)]
    if config.num_firms > 1:
        rows.append([f"mean of {config.num_firms}", *(number(_mean(v)) if v else "-" for v in columns.values())])
    return _align(rows)


def _consumer_lines(state: EconomyState, period: PlayedPeriod | None) -> str:
    flow = _flow_reader(period)
    measures: dict[str, Values] = {
        "hours": flow("hours"),
        "consumption": _list(period.flows.consumption.sum(-1)) if period else None,
        "spending": flow("spending"),
        "wage income": flow("wage_income"),
        "income tax": flow("income_tax_paid"),
        "utility": flow("utility"),
        "budget": _list(state.consumer_budget),
    }
    statistics: dict[str, Callable[[Sequence[float]], float]] = {"lowest": min, "mean": _mean, "highest": max}
    rows = [["Consumers", *statistics]]
    for label, values in measures.items():
        rows.append([label, *(number(f(values)) if values else "-" for f in statistics.values())])
    return _align(rows)


def _flow_reader(period: PlayedPeriod | None) -> Callable[[str], Values]:
    return lambda name: _list(getattr(period.flows, name)) if period else None


def _list(values: Tensor) -> list[float]:
    """The only economy's values [1, N] as plain floats."""
    result: list[float] = values[0].tolist()
    return result


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _align(rows: list[list[str]]) -> str:
    """Columns of equal width: the first to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]))
    return "\n".join(lines)
