"""Folders of results as training leaves them, made by hand: a run, a sweep and best responses."""

from __future__ import annotations

import json

import torch

from rbc_marl import preset
from rbc_marl.config import AGENT_TYPES
from rbc_marl.policies.build import build_network
from rbc_marl.policies.saved import save_policies

CONFIG = preset("open", num_consumers=3, num_firms=2, horizon=4)
HOSTILE = '<script>alert("x")</script>'
SPEC = {"kind": "flat", "hidden": [4]}


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def make_policies(checkpoint, config=CONFIG):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        networks = {t: build_network(config, t, "symlog", SPEC) for t in AGENT_TYPES}
    save_policies(checkpoint, config, "symlog", networks, dict.fromkeys(AGENT_TYPES, SPEC), {"seed": 3})


def make_run(folder, status="finished", iterations=4, has_policies=True, torn=""):
    """A run's folder; ``torn`` is the beginning of a last line of progress.csv."""
    write_json(
        folder / "run.json",
        {"experiment": "tiny", "seed": 3, "status": status, "command": ["rbc-marl", "train", "tiny.yaml"]},
    )
    lines = [f"{i},{i / 10},{100.0 * i},{-1.0 * i}" for i in range(1, iterations + 1)]
    head = "training_iteration,time_total_s,env_runners/hours,env_runners/consumer_return"
    (folder / "progress.csv").write_text("\n".join([head, *lines]) + "\n" + torn, encoding="utf-8")
    (folder / "config.yaml").write_text(f"tiny:\n  run: EconomyPPO  # {HOSTILE}\n", encoding="utf-8")
    if has_policies:
        make_policies(folder / f"checkpoint_{iterations:06d}")
    return folder


def row(arm, seed, outcome="living", **columns):
    means = ("hours", "price", "wage", "income_tax", "corporate_tax", "consumption", "firm_return", "consumer_return")
    quantities = {name: float(seed + number) for number, name in enumerate(means)}
    quantities |= {"welfare_total": 100.0 + seed, "welfare_consumers": 10.0 + seed, "government_return": 100.0 + seed}
    quantities |= {"employment": 0.5, "shopping_share": 0.25, "trade_periods": 3.0, "profit": 5.0, "profit_share": 0.5}
    return {"arm": arm, "seed": seed, "outcome": outcome, **quantities, "changes": "", "fingerprint": "f", **columns}


def make_sweep(folder, rows, missing=0):
    """A sweep's folder with some rows, and with so many runs without one."""
    keys = [f"{one['arm']}-{one['seed']}".replace("/", "_") for one in rows]
    runs = {key: {"seed": 0, "fingerprint": "f"} for key in [*keys, *(f"later-{i}" for i in range(missing))]}
    write_json(folder / "sweep.json", {"name": "tiny", "runs": runs, "varied": [], "invocations": [{"command": ["x"]}]})
    for key, one in zip(keys, rows, strict=True):
        write_json(folder / "rows" / f"{key}.json", one)
    return folder


def deviation(agent_type, gain, agent=None, level=100.0, half=0.5, **columns):
    bounds = {"consumer": 0.03, "firm": 0.10, "government": 0.01}
    return {
        "checkpoint": "checkpoint_000004", "outcome": "living", "kind": "type" if agent is None else "agent",
        "agent_type": agent_type, "agent": agent, "unit": "money", "episodes": 1024, "level": level, "gain": gain,
        "gain_low": gain - half, "gain_high": gain + half, "gain_over_level": gain / level, "found_by": "learned",
        "paper_bound": bounds[agent_type], "verified": True, **columns,
    }  # fmt: skip
