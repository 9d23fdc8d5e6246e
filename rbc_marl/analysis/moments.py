"""Business-cycle moments of played episodes: how much quantities move, for how long, and whether with output.

Moments are those of each episode over its periods, then averaged over episodes, as the literature does it (Cooley and
Prescott, 1995). The first and the last period are left out (`rbc_marl.analysis.metrics.middle`): nobody chose the
prices of the one, and nobody has a future in the other. Beside them stand those of data, if there are any, measured
alike.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from rbc_marl.analysis.comparison import shown
from rbc_marl.analysis.metrics import middle
from rbc_marl.analysis.rollouts import play
from rbc_marl.analysis.tables import csv_text, tex_table, tex_text
from rbc_marl.analysis.treatments import periods_of
from rbc_marl.errors import ConfigError, UserError, nearest
from rbc_marl.policies import Policies
from rbc_marl.provenance import versions

SERIES = ("output", "consumption", "hours", "wage", "price", "investment", "exports")
"""Quantities of which moments are told."""
_HALF = NormalDist().inv_cdf(0.975)
_WORDS = {
    "deviation": "std (%)",
    "relative": "to output's",
    "autocorrelation": "autocorr.",
    "with_output": "corr. with output",
}
MOMENTS = tuple(_WORDS)
"""Names of moments."""
# Periods that a series needs at least.
_FEWEST = 3
# A series that moves by less than this share of it does not move: quantities are of single precision.
_ROUNDING = 1e-6
Series = NDArray[np.float64]


@dataclass(frozen=True)
class Moment:
    """A moment of a quantity: its mean over episodes with a 95% interval; None where it does not exist."""

    quantity: str
    moment: str
    """"deviation": standard deviation in percent of the mean; "relative": in that of output; "autocorrelation", of one
    period; "with_output": correlation with output."""
    mean: float | None
    low: float | None
    high: float | None
    episodes: int
    """In which it exists: in others the quantity does not move."""
    data: float | None


@dataclass(frozen=True)
class Moments:
    """Moments of all quantities."""

    moments: tuple[Moment, ...]
    periods: int
    """Of an episode, that count."""
    smoothing: float | None
    """Of the Hodrick-Prescott filter; None: nothing was filtered."""
    episodes: int
    seed: int

    def to_json(self) -> str:
        """All of it, with versions."""
        return json.dumps({**asdict(self), "versions": versions()}, indent=1) + "\n"

    def to_csv(self) -> str:
        """A row for each quantity and moment."""
        rows = [asdict(one) for one in self.moments]
        return csv_text(rows, list(rows[0]))

    def to_tex(self) -> str:
        """The table for LaTeX, with the package booktabs."""
        head, rows = self._cells()
        return tex_table(head, rows, tex_text(self._title()))

    def table(self) -> Table:
        """The table for a terminal."""
        head, rows = self._cells()
        table = Table(title=self._title(), title_justify="left", box=None, pad_edge=False)
        for place, name in enumerate(head):
            table.add_column(name, justify="right" if place else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        return table

    def _title(self) -> str:
        how = f", HP filter {self.smoothing:g}" if self.smoothing is not None else ""
        return f"moments over {self.periods} periods{how}: means of {self.episodes} episodes, seed {self.seed}"

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        """The head and the rows of a table: of each quantity, and below it of data where there are any."""
        rows = []
        for quantity in SERIES:
            found = [one for one in self.moments if one.quantity == quantity]
            rows.append([quantity, *("-" if one.mean is None else _interval(one.mean, one.low) for one in found)])
            if any(one.data is not None for one in found):
                rows.append(["  data", *("-" if one.data is None else shown(one.data) for one in found)])
        return ["", *_WORDS.values()], rows


def moments(
    policies: Policies,
    episodes: int = 256,
    seed: int = 0,
    data: Mapping[str, Series] | None = None,
    smoothing: float | None = None,
) -> Moments:
    """Play episodes and measure their moments.

    Args:
        policies: Whoever decides.
        episodes: How many, at least two.
        seed: Of all draws.
        data: Series of the same quantities, by name (`read_data`).
        smoothing: Of a Hodrick-Prescott filter that takes the trend out of every series, such as 1600 of quarters;
            None: moments are around the mean.

    Raises:
        ConfigError: There are fewer than two episodes, or these have too few periods.
    """
    if episodes < 2:
        raise ConfigError(f"episodes is {episodes}; an interval takes at least 2")
    counted = range(policies.config.horizon)[middle(policies.config.horizon)]
    if len(counted) < _FEWEST:
        length = policies.config.horizon
        raise ConfigError(f"episodes of {length} periods are too short for moments; give --set horizon=10")
    played = play(policies, episodes, seed, record=True)
    series = {name: periods_of(played, name)[:, counted.start : counted.stop].numpy() for name in SERIES}
    found = [moments_of({name: values[i] for name, values in series.items()}, smoothing) for i in range(episodes)]
    of_data = moments_of(data, smoothing) if data else {}
    rows = []
    for name in SERIES:
        for moment in _WORDS:
            values = [x for one in found if (x := one[name][moment]) is not None]
            mean = math.fsum(values) / len(values) if values else None
            half = _HALF * float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None
            low, high = (mean - half, mean + half) if mean is not None and half is not None else (None, None)
            rows.append(Moment(name, moment, mean, low, high, len(values), of_data.get(name, {}).get(moment)))
    return Moments(tuple(rows), len(counted), smoothing, episodes, seed)


def read_data(path: Path) -> dict[str, Series]:
    """Series of data from a CSV file: a row for each period in order, and a column for each quantity of `SERIES`.

    Other columns, such as a date, are left alone.

    Raises:
        UserError: The file cannot be read, has no such column, too few rows, or a cell that is no number.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as text ({error}); give a CSV file of the data") from None
    columns = [str(name).strip() for name in (rows[0] if rows else {})]
    known = [name for name in columns if name in SERIES]
    if not known:
        mend = next((hint for name in columns if (hint := nearest(name, SERIES))), "")
        raise UserError(f"{path} has no column of {', '.join(SERIES)}{mend}")
    series = {}
    for name in known:
        cells = [next((cell for key, cell in row.items() if str(key).strip() == name), None) for row in rows]
        try:
            series[name] = np.array([float(cell or "") for cell in cells])
        except ValueError:
            number = next(i for i, cell in enumerate(cells) if not _is_number(cell))
            raise UserError(f"{path}, row {number + 2}: {name} is {cells[number]!r}; give a number") from None
        if len(cells) < _FEWEST or not np.isfinite(series[name]).all():
            raise UserError(f"{path}: {name} must be at least {_FEWEST} finite numbers")
    return series


def hp_trend(series: Series, smoothing: float) -> Series:
    """The trend of a series [T] by the filter of Hodrick and Prescott (1997)."""
    count = len(series)
    if count < _FEWEST:
        return series
    second = np.diff(np.eye(count), 2, axis=0)
    return np.linalg.solve(np.eye(count) + smoothing * second.T @ second, series).astype(np.float64)


def _is_number(cell: str | None) -> bool:
    try:
        return cell is not None and math.isfinite(float(cell))
    except ValueError:
        return False


def moments_of(series: Mapping[str, Series], smoothing: float | None) -> dict[str, dict[str, float | None]]:
    """Moments of one episode, or of data, by quantity and moment (`MOMENTS`); None where one does not exist."""
    cycles = {name: _cycle(x, smoothing) for name, x in series.items()}
    output = cycles.get("output")
    deviations = {
        name: 100.0 * float(cycles[name].std(ddof=1)) / abs(float(x.mean())) if x.mean() else None
        for name, x in series.items()
    }
    of_output = deviations.get("output")
    return {
        name: {
            "deviation": deviations[name],
            "relative": deviations[name] / of_output if deviations[name] is not None and of_output else None,  # type: ignore[operator]
            "autocorrelation": _correlation(cycle[1:], cycle[:-1]),
            "with_output": None if output is None or len(output) != len(cycle) else _correlation(cycle, output),
        }
        for name, cycle in cycles.items()
    }


def _cycle(series: Series, smoothing: float | None) -> Series:
    """A series without its mean or its trend; 0 where nothing is left but roundings."""
    cycle: Series = series - (series.mean() if smoothing is None else hp_trend(series, smoothing))
    return np.zeros_like(cycle) if cycle.std() <= _ROUNDING * float(np.abs(series).max()) else cycle


def _correlation(x: Series, y: Series) -> float | None:
    """Correlation of two series; None where one of them does not move."""
    return float(np.corrcoef(x, y)[0, 1]) if x.std() * y.std() > 0.0 else None


def _interval(mean: float, low: float | None) -> str:
    return shown(mean) if low is None else f"{shown(mean)} ± {shown(mean - low)}"
