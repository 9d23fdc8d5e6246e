"""Played episodes as tidy tables: a row per period, per firm and period, or per consumer and period."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from torch import Tensor

from rbc_marl.analysis.rollouts import Episodes
from rbc_marl.errors import ConfigError, UserError, one_of, require
from rbc_marl.files import put, replace_file, writing
from rbc_marl.provenance import versions

if TYPE_CHECKING:
    import pandas as pd

By = Literal["period", "firm", "consumer"]
TABLES = (".parquet", ".csv")
PICTURES = (".png", ".pdf", ".svg")
# Stocks, prices and rates are those at the start of the period: in force in it.
UNITS = {
    "hours": "hours, per consumer",
    "employment": "share of consumers",
    "wage": "money per hour",
    "output": "units, per consumer",
    "consumption": "units, per consumer",
    "sales": "units, per consumer",
    "exports": "units, per consumer",
    "inventory": "units, per consumer",
    "unsold": "units, per consumer",
    "price": "money per unit",
    "price_std": "money per unit, over firms",
    "income_tax": "rate",
    "corporate_tax": "rate",
    "tax_revenue": "money, per consumer",
    "transfer": "money, per consumer",
    "trade": "1 where anything is sold",
    "consumer_reward": "utility, per consumer",
    "firm_reward": "money, per firm",
    "government_reward": "welfare",
    "welfare_consumers": "welfare",
    "welfare_total": "welfare",
}
"""Units of the columns of a period's row."""
FIRM_UNITS = {
    "price": "money per unit",
    "wage": "money per hour",
    "inventory": "units, at the start",
    "overdemanded": "1 where more was asked for in the period before than there was",
    "firm_budget": "money, at the start",
    "capital": "capital, at the start",
    "total_demand": "units asked for",
    "sales": "units sold at home",
    "exports": "units",
    "labour": "hours",
    "output": "units",
    "wage_bill": "money",
    "investment": "money",
    "profit": "money, before tax",
    "corporate_tax_paid": "money",
    "dividends": "money",
    "firm_reward": "money",
}
"""Units of the columns of a firm's row."""
CONSUMER_UNITS = {
    "hours": "hours",
    "employer": "number of the firm worked for",
    "wage": "money per hour, of the employer",
    "consumption": "units of all goods",
    "spending": "money",
    "wage_income": "money, before tax",
    "income_tax_paid": "money",
    "transfer": "money",
    "dividend": "money",
    "interest": "money",
    "budget": "money, at the start",
    "utility": "utility",
}
"""Units of the columns of a consumer's row."""


def to_frame(episodes: Episodes, by: By = "period") -> pd.DataFrame:
    """Recorded episodes as a tidy table.

    Args:
        episodes: Played with ``record=True``, for consumers with ``agents=True``.
        by: "period": a row per episode and period, with what `UNITS` names. "firm" and "consumer": a row per episode,
            period and agent, with what `FIRM_UNITS` and `CONSUMER_UNITS` name.

    Returns:
        Columns ``episode``, ``period`` (from 0), the number of the agent, then quantities. ``frame.attrs`` holds the
        units of the columns, the economy, how the episodes were drawn, and versions; Parquet files keep it.

    Raises:
        ConfigError: The episodes were not recorded, or ``by`` is unknown.
        MissingExtraError: pandas is not installed.
    """
    frames = require("pandas", "analysis")
    one_of(by, get_args(By), "by")
    episodes.require_periods()
    if by == "consumer" and not episodes.consumer_periods:
        raise ConfigError("the episodes hold no single consumers; play them with agents=True")
    values, units = {
        "period": (episodes.periods, UNITS),
        "firm": (episodes.firms, FIRM_UNITS),
        "consumer": (episodes.consumer_periods, CONSUMER_UNITS),
    }[by]
    columns = _places(episodes, by) | {name: _column(values[name]) for name in units}
    frame: pd.DataFrame = frames.DataFrame(columns)
    frame.attrs = {
        "units": {**dict.fromkeys(frame.columns, "number"), **units},
        "economy": episodes.config.model_dump(mode="json"),
        "episodes": episodes.num_episodes,
        "seed": episodes.seed,
        "greedy": episodes.greedy,
        "versions": versions(),
    }
    return frame


def save_frame(
    episodes: Episodes, path: str | Path, by: By = "period", how: Mapping[str, Any] | None = None
) -> None:
    """Write recorded episodes to a file (see `to_frame`), which appears whole or not at all.

    Parquet files hold everything. CSV files hold the table, and a file of the same name with ``.json`` added holds
    ``frame.attrs``.

    Args:
        episodes: As for `to_frame`, like ``by``.
        path: Of the file; its ending says the format.
        by: Whose rows.
        how: Plain data to keep beside the rest of ``frame.attrs``, such as which policies were played.

    Raises:
        ConfigError: The episodes were not recorded.
        MissingExtraError: pandas or pyarrow is not installed.
        UserError: The file cannot be written there.
    """
    path = Path(path)
    check_path(path, TABLES)
    frame = to_frame(episodes, by)
    frame.attrs.update((how or {}).items())
    with writing(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        whole = Path(folder, path.name)
        if path.suffix == ".parquet":
            frame.to_parquet(whole, engine="pyarrow", index=False)
        else:
            frame.to_csv(whole, index=False, lineterminator="\n")
            replace_file(path.with_name(f"{path.name}.json"), json.dumps(frame.attrs, indent=1) + "\n")
        put(whole, path)


def check_path(path: str | Path, endings: Sequence[str] = (*TABLES, *PICTURES)) -> None:
    """Refuse what cannot be written, before hours are spent on playing.

    Args:
        path: Of a file.
        endings: Of what can be written; Parquet files and pictures need a library.

    Raises:
        MissingExtraError: A library that writes such files is not installed.
        UserError: There is no such folder, it cannot be written to, or the path is a folder or has another ending.
    """
    path = Path(path)
    for suffixes, library in ((TABLES, "pandas"), ((".parquet",), "pyarrow"), (PICTURES, "matplotlib")):
        if path.suffix in suffixes:
            require(library, "analysis")
    if path.is_dir():
        problem = f"{path} is a folder; give the name of a file in it, such as {path / f'economy{endings[0]}'}"
    elif path.suffix not in endings:
        known = " or ".join([", ".join(endings[:-1]), endings[-1]])
        problem = f"{path} does not end in {known}; call it {path.with_suffix(endings[0])}"
    elif not path.parent.is_dir():
        problem = f"{path.parent} is not a folder; make it first, or write elsewhere"
    else:
        try:
            with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-"):
                return
        except OSError as error:
            problem = f"{path.parent} cannot be written to ({error.strerror}); write elsewhere"
    raise UserError(problem)


def _places(episodes: Episodes, by: By) -> dict[str, Any]:
    """Columns that say which row is whose."""
    config = episodes.config
    agents = 1 if by == "period" else config.agents(by)
    count, horizon = episodes.num_episodes, config.horizon
    places: Mapping[str, Any] = {
        "episode": np.repeat(np.arange(count), horizon * agents),
        "period": np.tile(np.repeat(np.arange(horizon), agents), count),
    }
    return {**places, **({} if by == "period" else {by: np.tile(np.arange(agents), count * horizon)})}


def _column(values: Tensor) -> Any:  # noqa: ANN401 - an array of numpy's
    return values.flatten().numpy()
