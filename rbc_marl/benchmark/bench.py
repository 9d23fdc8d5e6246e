"""The benchmark behind `rbc-marl bench`: ratios of what is measured side by side in one run.

Times alone say more about the machine than about the code.
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from rbc_marl.benchmark.autocast import measure_autocast
from rbc_marl.benchmark.clock import Limit, is_accelerator, resolve
from rbc_marl.benchmark.compiled import measure_compiled
from rbc_marl.benchmark.living import measure_living
from rbc_marl.benchmark.machine import machine
from rbc_marl.benchmark.populations import measure_populations
from rbc_marl.benchmark.rivals import check_rivals, measure_rivals
from rbc_marl.benchmark.sizes import measure_sizes
from rbc_marl.benchmark.stepping import measure_economy, measure_environments
from rbc_marl.benchmark.threads import measure_threads
from rbc_marl.benchmark.training import has_ray, measure_sampling, measure_training
from rbc_marl.config import EconomyConfig, preset
from rbc_marl.errors import one_line, one_of, require

PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "economy": measure_economy,
    "environments": measure_environments,
    "sampling": measure_sampling,
    "training": measure_training,
    "populations": measure_populations,
    "sizes": measure_sizes,
    "compiled": measure_compiled,
    "autocast": measure_autocast,
    "living": measure_living,
    "threads": measure_threads,
}
"""What is measured, by name."""
NEEDS_RAY = ("populations", "compiled", "autocast", "living")
"""Parts that say nothing without Ray. Of the others, those that train measure the bare loop alone."""
STARTS_RAY = ("sampling", "training", "sizes", *NEEDS_RAY)
"""Parts that use Ray where it is installed."""
Save = Callable[[dict[str, Any]], object]


def run(
    parts: Sequence[str] | None = None,
    device: str = "cpu",
    rounds: int = 5,
    seconds: float = 1.0,
    config: EconomyConfig | None = None,
    *,
    against: Sequence[str] = (),
    limit: float = math.inf,
    notes: Sequence[str] = (),
    save: Save = lambda result: None,
) -> dict[str, Any]:
    """Measure and return plain data.

    Beside an accelerator its machine's CPU is measured as well. A part that fails does not keep the others from being
    measured.

    Args:
        parts: Keys of `PARTS`; by default all that can be measured.
        device: Where economies and learners run: "cpu", "cuda", or "auto".
        rounds: Times each pair of contenders is measured, in turn; medians are reported.
        seconds: Least time of one measurement of a short operation.
        config: The economy; by default the paper's 100 consumers and 10 firms.
        against: Other packages to measure on this machine's CPU, before the parts (`rbc_marl.benchmark.rivals`).
        limit: Seconds that all parts may take together. Each gets an equal share of what is left; what does not fit is
            left out and named.
        notes: Lines to keep with the figures.
        save: Called with the result after every part.

    Returns:
        ``machine``, ``size``, ``notes``, and the figures of each part; beside an accelerator ``cpu``, with the figures
        of its CPU by part. ``skipped`` names what was left out; ``failed`` what failed, with the error.

    Raises:
        ConfigError: There is no such part, no such device or no such package.
        MissingExtraError: A part that was asked for needs Ray, which is not installed.
    """
    device = resolve(device)
    names = [one_of(part, PARTS, "the part to measure") for part in (PARTS if parts is None else parts)]
    packages = check_rivals(against)
    skipped: list[str] = []
    if set(names) & set(NEEDS_RAY) and not has_ray():
        if parts:
            require("ray.rllib", "rllib")
        skipped = [f"{name}: Ray is not installed" for name in NEEDS_RAY]
        names = [name for name in names if name not in NEEDS_RAY]
    config = config or preset("open")
    result: dict[str, Any] = {
        "machine": machine(device),
        "size": {"consumers": config.num_consumers, "firms": config.num_firms, "periods": config.horizon},
        "notes": list(notes),
        "skipped": skipped,
        "failed": [],
    }
    sides = {device: result}
    if is_accelerator(device):
        sides["cpu"] = result["cpu"] = {}
    end, work = time.monotonic() + limit, [(name, side) for name in names for side in sides]
    if packages:
        work.insert(0, ("rivals", device))
    for place, (name, side) in enumerate(work):
        share = Limit((end - time.monotonic()) / (len(work) - place))
        try:
            if name == "rivals":
                figures = measure_rivals(packages, config, rounds, seconds, share)
            else:
                figures = PARTS[name](config, side, rounds, seconds, share)
            if figures:
                sides[side][name] = figures
        except Exception as error:
            words = one_line(f"{type(error).__name__}: {error}")
            failure = {"part": name, "device": side, "error": words, "traceback": traceback.format_exc()}
            result["failed"].append(failure)
        result["skipped"] += [f"{what} ({side})" for what in share.skipped]
        save(result)
    return result
