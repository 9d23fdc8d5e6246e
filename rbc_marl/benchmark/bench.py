"""The benchmark behind `rbc-marl bench`: ratios of what is measured side by side in one run.

Times alone say more about the machine than about the code.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from rbc_marl.benchmark.compiled import measure_compiled
from rbc_marl.benchmark.populations import measure_populations
from rbc_marl.benchmark.sizes import measure_sizes
from rbc_marl.benchmark.stepping import BASELINE, measure_economy, measure_environments
from rbc_marl.benchmark.training import measure_sampling, measure_training
from rbc_marl.config import EconomyConfig, preset
from rbc_marl.errors import one_of, require
from rbc_marl.memory import in_words

PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "economy": measure_economy,
    "environments": measure_environments,
    "sampling": measure_sampling,
    "training": measure_training,
    "populations": measure_populations,
    "sizes": measure_sizes,
    "compiled": measure_compiled,
}
"""What is measured, by name."""
NEEDS_RAY = ("sampling", "training", "populations", "sizes", "compiled")
# What the project holds itself to, on two CPU cores; printed beside each ratio.
TARGETS = {"TorchRL": 0.5, "sampling": 25.0, "16": 1.5, "128": 1.15, "quickstart": 2.0, "compiled": 0.65}


def run(
    parts: Sequence[str] = tuple(PARTS),
    device: str = "cpu",
    rounds: int = 5,
    seconds: float = 1.0,
    config: EconomyConfig | None = None,
) -> dict[str, Any]:
    """Measure and return plain data.

    Args:
        parts: Keys of `PARTS`.
        device: Where economies and learners run.
        rounds: Times each pair of contenders is measured, in turn; medians are reported.
        seconds: Least time of one measurement of a short operation.
        config: The economy; by default the paper's 100 consumers and 10 firms.

    Returns:
        ``machine``, ``size``, and the figures of each part.

    Raises:
        ConfigError: There is no such part.
        MissingExtraError: A part needs Ray, which is not installed.
    """
    names = [one_of(part, PARTS, "the part to measure") for part in parts]
    if set(names) & set(NEEDS_RAY):
        require("ray.rllib", "rllib")
    config = config or preset("open")
    return {
        "machine": machine(device),
        "size": {"consumers": config.num_consumers, "firms": config.num_firms, "periods": config.horizon},
        **{name: PARTS[name](config, device, rounds, seconds) for name in names},
    }


def machine(device: str) -> dict[str, Any]:
    """What the figures were measured on."""
    is_gpu = device.startswith("cuda")
    try:
        ray = version("ray")
    except PackageNotFoundError:
        ray = "none"
    return {
        "device": torch.cuda.get_device_name() if is_gpu else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "ray": ray,
    }


def table(result: dict[str, Any]) -> str:
    """The figures as a readable text."""
    size = result["size"]
    lines = [
        ", ".join(f"{key} {value}" for key, value in result["machine"].items()),
        f"{size['consumers']} consumers, {size['firms']} firms, {size['periods']} periods",
    ]
    for name, block in _BLOCKS.items():
        if name in result:
            lines += ["", *block(result[name])]
    return "\n".join(lines)


def _economy_lines(figures: dict[str, Any]) -> list[str]:
    lines = ["economy: steps a second (one period of one economy)"]
    for name, rate in figures["steps_per_second"].items():
        ratio = figures["ratio_to_scalar"].get(name)
        label = "plain Python" if ratio is None else f"{name} economies"
        lines.append(f"  {label:48}{rate:12,.0f}" + ("" if ratio is None else f"{ratio:9,.0f} x plain Python"))
    return lines


def _environment_lines(figures: dict[str, Any]) -> list[str]:
    lines = ["environments: steps a second, random actions"]
    for name, rate in figures["steps_per_second"].items():
        target = f"   (at least {TARGETS[name]})" if name in TARGETS else ""
        lines.append(f"  {name:48}{rate:12,.0f}{figures['ratio'][name]:9.3f} x {BASELINE}{target}")
    return lines


def _sampling_lines(figures: dict[str, Any]) -> list[str]:
    lines = ["sampling: agent steps a second"]
    lines += [f"  {name:48}{rate:12,.0f}" for name, rate in figures["agent_steps_per_second"].items()]
    return [*lines, f"  {'ratio':48}{figures['ratio']:12,.1f}   (at least {TARGETS['sampling']:.0f})"]


def _training_lines(figures: dict[str, Any]) -> list[str]:
    lines = ["training: seconds of a whole iteration"]
    for name, values in figures.items():
        label = f"{name} economies" if name.isdigit() else name
        lines.append(
            f"  {label:24}EconomyPPO {values['EconomyPPO']:.3f}   bare loop {values['bare_loop']:.3f}   "
            f"ratio {values['ratio']:.2f} (at most {TARGETS[name]:.2f})"
        )
    return lines


def _population_lines(figures: dict[str, Any]) -> list[str]:
    lines = ["populations: seconds of an iteration of one run with the quickstart's settings"]
    for name, values in figures.items():
        label = f"{name} runs together" if name.isdigit() else name
        lines.append(f"  {label:24}{values['seconds']:.3f}   {values['ratio']:.2f} x alone")
    return lines


def _size_lines(figures: dict[str, Any]) -> list[str]:
    lines = ["sizes, consumers x firms: CPU time of one economy, most memory so far"]
    for name, values in figures.items():
        times = "   ".join(f"{part} {values[part] * 1e3:,.1f} ms" for part in ("step", "sample", "iteration"))
        lines.append(f"  {name:24}{times}   {in_words(values['memory'])}")
    return lines


def _compiled_lines(figures: dict[str, Any]) -> list[str]:
    times = "   ".join(f"{name} {seconds * 1e3:,.1f} ms" for name, seconds in figures["seconds"].items())
    return [
        f"compiled rollouts: CPU time of sampling {figures['economies']} economies with the settings of open_rbc",
        f"  {times}   ratio {figures['ratio']:.2f} (at most {TARGETS['compiled']:.2f})",
        f"  compiled, or read from disk, in {figures['compile_time']:.1f} s",
    ]


_BLOCKS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "economy": _economy_lines,
    "environments": _environment_lines,
    "sampling": _sampling_lines,
    "training": _training_lines,
    "populations": _population_lines,
    "sizes": _size_lines,
    "compiled": _compiled_lines,
}
