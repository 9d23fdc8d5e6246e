"""Figures of training: learning curves over the stages of the curriculum."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbc_marl.analysis.charts import Chart, Layer, Line, Span
from rbc_marl.analysis.figures.numbers import BAND, SMALLEST_TAXES, plain
from rbc_marl.analysis.placing import numbered
from rbc_marl.errors import UserError, require

if TYPE_CHECKING:
    import pandas as pd

ITERATION = "training_iteration"
PHASE = "curriculum/phase"
_TAX = "curriculum/highest_tax"
# Name, title, unit, and the columns below env_runners/ that are drawn, each with its words.
_CURVES: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    ("utility", "utility of consumers", "utility of an episode", {"consumer_return": "utility"}),
    ("profit", "reward of firms", "reward of an episode (money)", {"firm_return": "reward"}),
    ("welfare", "reward of the government", "welfare of an episode", {"government_return": "welfare"}),
    ("hours", "hours", "hours per consumer and period", {"hours": "hours"}),
    ("employment", "employment", "% of consumers", {"employment": "who work at all"}),
    ("goods", "goods", "units per consumer and period",
     {"output": "made", "consumption": "bought", "exports": "exported"}),
    ("prices", "prices", "money per unit", {"middle_price": "mean over firms"}),
    ("wages", "wages", "money per hour", {"middle_wage": "mean over firms"}),
    ("taxes", "taxes", "rate (%)", {"income_tax": "income", "corporate_tax": "corporate"}),
)  # fmt: skip
# A mean and a band are taken over so large a share of all iterations.
_WINDOW = 40
# Stages shorter than this share of the run have no room for their words.
_LEAST_SHARE = 0.04


def read_progress(folder: str | Path, *, whole: bool = False) -> pd.DataFrame:
    """The progress of a run, with the stages of its curriculum in words.

    Args:
        folder: Of the run, finished or not: it holds progress.csv, and mostly result.json.
        whole: Add what progress.csv leaves out of a long run, from its Parquet files. They are written with each
            checkpoint.

    Returns:
        A row per iteration; ``curriculum/phase`` says what held in it, where result.json says so.

    Raises:
        MissingExtraError: pandas is not installed.
        UserError: There is no progress yet.
    """
    frames, folder = require("pandas", "analysis"), Path(folder)
    try:
        frame: pd.DataFrame = frames.read_csv(folder / "progress.csv", on_bad_lines="skip")
    except (OSError, ValueError):  # an empty file is a ValueError
        raise UserError(f"{folder} has no progress.csv with a finished iteration; wait for one") from None
    files = sorted((folder / "iterations").glob("*.parquet")) if whole else []
    if files and ITERATION in frame:  # file by file: evaluations are columns that may come late
        later = frames.concat([frame, *map(frames.read_parquet, files)])
        frame = later.drop_duplicates(ITERATION).sort_values(ITERATION, ignore_index=True)
    phases = _phases(folder / "result.json")
    if phases and ITERATION in frame:
        words = frame[ITERATION].map(phases).rename(PHASE)
        frame = frames.concat([frame.drop(columns=PHASE, errors="ignore"), words], axis=1)
    return frame


def _phases(path: Path) -> dict[int, str]:
    """Phase by iteration; lines that are not whole, such as the last one of a running run, are passed over."""
    phases = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            result = json.loads(line)
        except ValueError:
            continue
        phase = result.get(PHASE) or (result.get("curriculum") or {}).get("phase")
        if phase and ITERATION in result:
            phases[int(result[ITERATION])] = str(phase)
    return phases


def learning_curves(progress: pd.DataFrame) -> list[Chart]:
    """What training brings about, iteration by iteration, over the shaded stages of the curriculum.

    Args:
        progress: Of one run, as progress.csv has it, or better of `read_progress`, which knows the stages in words.

    Returns:
        Charts of the rewards of each type, hours, employment, goods, prices and wages of periods 2 to T - 1, and taxes;
        those without a column are left out.
    """
    if ITERATION not in progress or len(progress) < 2:
        return []
    iterations = [float(x) for x in progress[ITERATION]]
    spans = _stages(progress)
    window = max(len(progress) // _WINDOW, 1)
    charts = []
    for name, title, unit, columns in _CURVES:
        found = {f"env_runners/{column}": words for column, words in columns.items()}
        scale = 100.0 if "%" in unit else 1.0
        lines = [
            _smooth(iterations, scale * progress[column], words if len(found) > 1 else "", window)
            for column, words in found.items()
            if column in progress and progress[column].notna().any()
        ]
        if not lines:
            continue
        stages = f" Shaded: {numbered([span.label for span in spans if span.label])}." if spans else ""
        spread = f", means over {window} rows and the middle {BAND[1] - BAND[0]}% of them" if window > 1 else ""
        caption = (
            f"{title[0].upper()}{title[1:]} in training, {unit}: one run of {iterations[-1]:,.0f} iterations"
            f"{spread}.{stages}"
        )
        layers: tuple[Layer, ...] = (*spans, *lines)
        reach = {"y": SMALLEST_TAXES} if name == "taxes" else {}
        size = (1.1, 1.0)
        charts.append(
            Chart(f"learning-{name}", title, "iteration", unit, layers, caption, includes=reach, size=size)
        )
    return charts


def _smooth(iterations: list[float], values: Any, label: str, window: int) -> Line:  # noqa: ANN401 - a column
    """A moving mean, and the band that the middle of the same iterations lies in."""
    rolling = values.rolling(window, center=True, min_periods=1)
    low, high = (rolling.quantile(end / 100.0) for end in BAND)
    band = (plain(low.to_numpy()), plain(high.to_numpy())) if window > 1 else (None, None)
    return Line(iterations, plain(rolling.mean().to_numpy()), label, *band)


def _stages(progress: pd.DataFrame) -> list[Span]:
    """Stretches of iterations in which the same holds; a single one is no curriculum."""
    iterations = [float(x) for x in progress[ITERATION]]
    if PHASE in progress:
        words = [_stage(str(phase)) for phase in progress[PHASE].ffill().fillna("")]
    elif _TAX in progress:
        words = ["no taxes" if rate <= 0.0 else "taxes open" if rate < 1.0 else "any tax" for rate in progress[_TAX]]
    else:
        return []
    starts = [0, *(i for i in range(1, len(words)) if words[i] != words[i - 1])]
    if len(starts) < 2:
        return []
    ends = [*(iterations[i] for i in starts[1:]), iterations[-1]]
    least = _LEAST_SHARE * (iterations[-1] - iterations[0])
    spans = [(iterations[start], end, words[start]) for start, end in zip(starts, ends, strict=True)]
    seen = [span for span in spans if span[1] - span[0] >= least / 8]  # one of an iteration would only be a line
    return [Span(low, high, label if high - low >= least else "") for low, high, label in seen]


def _stage(phase: str) -> str:
    """A phase without the numbers that move within a stage."""
    words = re.sub(r"taxes up to \d+%( on the way.*)?", "taxes open", phase)
    return words.replace("consumer and firm learning", "consumers and firms learn").replace(
        "consumer learning", "consumers learn"
    )
