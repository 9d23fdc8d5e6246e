"""Other packages beside this one on the same machine: steps of their environments for each second of CPU time.

Each has an environment of its own, made on first use in a cache folder, for their needs exclude each other. Economies
and their games are not the same work: the figures are orders of magnitude.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rbc_marl.benchmark.clock import Limit
from rbc_marl.benchmark.stepping import calls_per_second, stepper
from rbc_marl.config import EconomyConfig
from rbc_marl.errors import UserError, one_line, one_of

SIZES = (1, 128)
"""Environments side by side."""
OURS = "rbc_marl"


class Rival(NamedTuple):
    """Another package, and how its environment is stepped."""

    requirements: tuple[str, ...]
    """What pip installs."""
    what: str
    """Its environment, in words."""
    script: str
    """Python that defines ``make(size)``, which returns a function that steps so many environments once."""


_VMAS = """
import torch, vmas
torch.set_num_threads(1)
def make(size):
    env = vmas.make_env("simple_spread", num_envs=size, device="cpu", continuous_actions=False, seed=0, n_agents=3)
    env.reset()
    actions = [env.get_random_action(agent) for agent in env.agents]
    return lambda: env.step(actions)
"""
RIVALS = {"vmas": Rival(("vmas==1.5.2", "torch==2.13.0"), "simple_spread, 3 agents", _VMAS)}
"""By name. The economies of EconoJax and EconGym are on no package registry."""

# Runs in the rival's environment: prints steps for each second of CPU time, by size.
_MEASURE = """
import json, sys, time
seconds, sizes = float(sys.argv[1]), json.loads(sys.argv[2])
rates = {}
for size in sizes:
    step = make(size)
    step()
    count, start = 0, time.process_time()
    while (taken := time.process_time() - start) < seconds:
        step()
        count += 1
    rates[str(size)] = count * size / taken
print(json.dumps(rates))
"""


def cache_folder() -> Path:
    """Where the environments of rivals are."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rbc_marl" / "rivals"


def check_rivals(names: Sequence[str]) -> list[str]:
    """Names of rivals, each once.

    Raises:
        ConfigError: There is no such rival.
    """
    return list(dict.fromkeys(one_of(name, RIVALS, "the package to measure against") for name in names))


def measure_rivals(
    names: Sequence[str], config: EconomyConfig, rounds: int, seconds: float, limit: Limit | None = None
) -> dict[str, Any]:
    """Steps for each second of CPU time of this package's economy and of others' environments, one thread each.

    Args:
        names: Keys of `RIVALS`.
        config: The economy.
        rounds: Times each is measured, in turn; medians are reported.
        seconds: Of CPU time, of one measurement.
        limit: Of time. A package that cannot be installed or run is named in it.

    Returns:
        By package, this one first: ``what`` is stepped, and ``steps_per_second`` by environments side by side.
    """
    limit = limit or Limit()
    interpreters = {}
    for name in names:
        try:
            interpreters[name] = environment_of(name)
        except UserError as error:
            limit.skipped.append(str(error))
    agents = config.num_consumers + config.num_firms + 1
    what = {OURS: f"the economy, {agents} agents", **{name: RIVALS[name].what for name in interpreters}}
    rates: dict[str, list[dict[str, float]]] = {name: [] for name in what}
    for turn in range(rounds):
        if turn and not limit.allows(f"rivals: {rounds - turn} of {rounds} turns"):
            break
        rates[OURS].append({str(size): _own_rate(config, size, seconds) for size in SIZES})
        for name, interpreter in list(interpreters.items()):
            try:
                rates[name].append(_rate_of(name, interpreter, seconds))
            except UserError as error:
                limit.skipped.append(str(error))
                del interpreters[name], rates[name]
    return {
        name: {
            "what": what[name],
            "steps_per_second": {str(n): statistics.median(turn[str(n)] for turn in turns) for n in SIZES},
        }
        for name, turns in rates.items()
    }


def environment_of(name: str) -> Path:
    """The interpreter of an environment that has a rival, made if there is none.

    Raises:
        UserError: It cannot be installed.
    """
    folder = cache_folder() / name
    interpreter = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    whole, wanted = folder / "installed.json", json.dumps(RIVALS[name].requirements)
    if whole.is_file() and whole.read_text(encoding="utf-8") == wanted:
        return interpreter
    shutil.rmtree(folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(folder)], f"{name} gets no environment")
    pip = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, *RIVALS[name].requirements], f"{name} cannot be installed")
    whole.write_text(wanted, encoding="utf-8")  # last, so that an interrupted installation starts again
    return interpreter


def _rate_of(name: str, interpreter: Path, seconds: float) -> dict[str, float]:
    code = RIVALS[name].script + _MEASURE
    printed = _run([str(interpreter), "-c", code, str(seconds), json.dumps(SIZES)], f"{name} does not run")
    rates: dict[str, float] = json.loads(printed.splitlines()[-1])
    return rates


def _own_rate(config: EconomyConfig, size: int, seconds: float) -> float:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # so that CPU time is what is measured
    try:
        step = stepper(config, size, "cpu")
        step()
        return size * calls_per_second(step, "cpu", seconds)
    finally:
        torch.set_num_threads(before)


def _run(command: list[str], problem: str) -> str:
    """What a command prints.

    Raises:
        UserError: It failed; the message says how in one line.
    """
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    environment["OMP_NUM_THREADS"] = "1"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["it says nothing"]
        raise UserError(f"{problem}: {one_line(lines[-1])}")
    return done.stdout
