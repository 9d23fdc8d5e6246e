"""The golden trajectories: what the published economy does, and how close an implementation must come."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rbc_marl.config import EconomyConfig

FOLDER = Path(__file__).parent / "golden"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("[0-9]*.npz")))

# Name in the files -> name in EconomyState.
STATES = {
    "price": "price",
    "wage": "wage",
    "stock": "inventory",
    "overdemand": "overdemanded",
    "income_tax": "income_tax",
    "corporate_tax": "corporate_tax",
    "time": "time",
    "consumer_budget": "consumer_budget",
    "firm_budget": "firm_budget",
    "firm_capital": "capital",
}
# Name in the files -> name in Flows.
FLOWS = {
    "consumption": "consumption",
    "exports": "exports",
    "consumer_reward": "consumer_reward",
    "firm_reward": "firm_reward",
    "government_reward": "government_reward",
}
# Keys of config_json with a field of the same meaning under another name (or the same one).
_FIELDS = {
    "n_consumers": "num_consumers",
    "n_firms": "num_firms",
    "horizon": "horizon",
    "crra": "crra",
    "interest": "interest_rate",
    "importer_price": "export_price",
    "importer_quantity": "export_quota",
    "labor_floor": "labour_floor",
    "initial_price": "initial_price",
    "initial_wage": "initial_wage",
    "initial_stock": "initial_inventory",
    "initial_consumer_budget": "initial_consumer_budget",
    "initial_firm_budget": "initial_firm_budget",
    "theta": "labour_disutility",
    "pareto": "labour_disutility_pareto_shape",
    "technology": "technology",
    "consumer_bonus_per_step": "consumer_grant",
    "firm_welfare_factor": "firm_welfare_weight",
    "consume_choices": "consumption_choices",
    "work_choices": "hours_choices",
    "price_choices": "price_choices",
    "wage_choices": "wage_choices",
    "invest_choices": "investment_choices",
}
# Keys that say how a file was made or what it contains, and n_envs, theta_anneal: not part of an economy.
_ELSEWHERE = {
    "n_envs", "n_governments", "theta_anneal", "name", "split", "seed", "action_modes_cycled_by_step", "contains_nan",
    "min_consumer_budget", "min_firm_budget", "min_stock", "min_consumption",
}  # fmt: skip


def economy_config(raw: dict[str, Any]) -> EconomyConfig:
    """The configuration that config_json describes; fails on a key that nothing accounts for."""
    raw = dict(raw)
    fields = {ours: raw.pop(theirs) for theirs, ours in _FIELDS.items()}
    capital, alpha = raw.pop("capital"), raw.pop("alpha")
    fields["initial_capital"] = "two_level" if capital == "twolevel" else capital
    fields["labour_exponent"] = "paper" if alpha == "fixed_array" else alpha
    fields["open_economy"] = bool(raw.pop("use_importer"))
    fields["welfare"] = "total" if raw.pop("government_counts_firm_reward") else "consumers"
    boost, factor = raw.pop("boost_firm_reward"), raw.pop("boost_factor")
    fields["revenue_bonus"] = factor if boost else 0.0
    fields["income_tax_choices"] = fields["corporate_tax_choices"] = raw.pop("tax_choices")
    if unknown := set(raw) - _ELSEWHERE:
        raise KeyError(f"config_json has keys without a counterpart: {sorted(unknown)}")
    return EconomyConfig(**fields)


@dataclass(frozen=True)
class Golden:
    """One file: time-major arrays, rows of states 0..T and of actions and flows 0..T-1."""

    name: str
    arrays: dict[str, np.ndarray]
    config: EconomyConfig
    num_envs: int
    labour_disutility_scale: float
    tolerance: dict[str, dict[str, float]]

    def indices(self, t: int) -> dict[str, np.ndarray]:
        """Choices of period t as index tables: consumer [E, C, F+2], firm [E, F], government [E]."""
        a = self.arrays
        work, employer = a["action_work_index"][t][..., None], a["action_employer"][t][..., None]
        return {
            "consumer": np.concatenate([a["action_consume_index"][t], work, employer], axis=-1).astype(np.int64),
            "firm": a["action_firm_index"][t].astype(np.int64),
            "government": a["action_government_index"][t].astype(np.int64),
        }


@functools.cache
def load(name: str) -> Golden:
    """Read one trajectory."""
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    raw = json.loads(str(arrays["config_json"]))
    return Golden(
        name=name,
        arrays=arrays,
        config=economy_config(raw),
        num_envs=raw["n_envs"],
        labour_disutility_scale=raw["theta_anneal"],
        tolerance=json.loads(str(arrays["tolerance_json"])),
    )


@functools.cache
def host_math() -> dict[str, np.ndarray]:
    """Known answers of the published code around the economy: encodings, masks, schedules, penalties."""
    with np.load(FOLDER / "host_math.npz") as file:
        return {key: file[key] for key in file.files}


def differences(golden: Golden, mode: str, key: str, row: int, mine: np.ndarray) -> list[str]:
    """What is wrong with one array of one row: nothing, or one line that names it.

    Args:
        golden: The file.
        mode: "free_running" or "one_step".
        key: Name in the file.
        row: Row of the file that ``mine`` must match.
        mine: Same shape as that row.
    """
    expected = golden.arrays[key][row].astype(np.float64)
    mine = np.asarray(mine, dtype=np.float64)
    if mine.shape != expected.shape:
        return [f"{key} in row {row} has shape {mine.shape}, not {expected.shape}"]
    error = float(np.abs(mine - expected).max()) if mine.size else 0.0
    allowed = golden.tolerance[mode][key]
    within = error <= allowed  # false for a NaN, which no file contains
    return [] if within else [f"{key} in row {row} is off by {error:.3g}; allowed {allowed:.3g}"]
