"""How fast the parts are, as ratios measured side by side in one run.

Times alone say more about the machine than about the code.
"""

from __future__ import annotations

import importlib.util
import platform
import statistics
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from rbc_marl.bare_loop import BareLoop, Settings
from rbc_marl.config import AGENT_TYPES, EconomyConfig, preset
from rbc_marl.errors import require
from rbc_marl.vector_env import VectorEconomy

BATCH_SIZES = (1, 128, 1024)
TRAINING_SIZES = (16, 128)
# What makes an iteration of rllib_configs/quickstart.yaml differ from one with default settings, the curriculum aside.
QUICKSTART: dict[str, Any] = {
    "networks": {
        "consumer": "equivariant",
        "firm": {"kind": "flat", "hidden": [64, 64]},
        "government": {"kind": "flat", "hidden": [64, 64]},
    },
    "agents_per_update": {"consumer": 25},
    "probe_economies": {"count": 1, "random": "firm", "learners": ["consumer"]},
}
QUICKSTART_SIZE = 7
# What the project holds itself to, on two CPU cores; printed beside each ratio.
TARGETS = {"sampling": 25.0, "training_16": 1.5, "training_128": 1.15, "training_quickstart": 2.0}


def run(
    device: str = "cpu", rounds: int = 5, seconds: float = 1.0, config: EconomyConfig | None = None
) -> dict[str, Any]:
    """Measure everything and return plain data.

    Args:
        device: Where economies and learners run.
        rounds: Times each pair of contenders is measured, in turn; medians are reported.
        seconds: Least time of one measurement of a short operation.
        config: The economy; by default the paper's 100 consumers and 10 firms.

    Returns:
        ``machine``, ``economy`` (steps a second by batch size, and ratios to the scalar implementation), ``sampling``
        and ``training``.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    require("ray.rllib", "rllib")
    config = config or preset("open")
    return {
        "machine": machine(device),
        "size": {"consumers": config.num_consumers, "firms": config.num_firms, "periods": config.horizon},
        "economy": measure_economy(config, device, rounds, seconds),
        "sampling": measure_sampling(config, device, rounds),
        "training": measure_training(config, device, rounds),
    }


def machine(device: str) -> dict[str, Any]:
    """What the figures were measured on."""
    import ray

    return {
        "device": torch.cuda.get_device_name()
        if device.startswith("cuda")
        else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "ray": ray.__version__,
    }


def measure_economy(config: EconomyConfig, device: str, rounds: int, seconds: float) -> dict[str, Any]:
    """Economy steps (one period of one economy) a second of VectorEconomy, and of the scalar implementation."""
    contenders = {str(size): _vector_stepper(config, size, device) for size in BATCH_SIZES}
    scalar = _scalar_module()
    if scalar is not None:
        contenders["scalar"] = _scalar_stepper(scalar, config)
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, step in contenders.items():
            rates[name].append(_rate(step, device, seconds / len(contenders)) * (int(name) if name != "scalar" else 1))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    baseline = medians.get("scalar")
    return {
        "steps_per_second": medians,
        "ratio_to_scalar": {n: r / baseline for n, r in medians.items() if n != "scalar"} if baseline else None,
    }


def _vector_stepper(config: EconomyConfig, size: int, device: str) -> Callable[[], None]:
    batch = VectorEconomy(config, num_envs=size, device=device)
    batch.reset()
    actions = [batch.sample_actions() for _ in range(4)]
    turn = iter(range(sys.maxsize))
    return lambda: batch.step(actions[next(turn) % 4]) and None


def _scalar_module() -> ModuleType | None:
    """The plain-Python implementation beside the package's tests, where this is a checkout of the project."""
    path = Path(__file__).parent.parent / "tests" / "scalar_economy.py"
    spec = importlib.util.spec_from_file_location("scalar_economy", path) if path.exists() else None
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scalar_economy"] = module
    spec.loader.exec_module(module)
    return module


def _scalar_stepper(scalar: ModuleType, config: EconomyConfig) -> Callable[[], None]:
    actions = VectorEconomy(config, num_envs=1).sample_actions()
    indices = {name: index[0].tolist() for name, index in actions.items()}
    state = scalar.start(config)
    # The same work as a step of the batch: decode the choices, play the period.
    return lambda: scalar.play_period(config, state, scalar.decode_action(config, **indices)) and None


def _rate(step: Callable[[], None], device: str, seconds: float) -> float:
    """Calls a second over at least ``seconds``."""
    step()
    _wait(device)
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        step()
        count += 1
        if count % 16 == 0:
            _wait(device)
    _wait(device)
    return count / elapsed


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def measure_sampling(config: EconomyConfig, device: str, rounds: int) -> dict[str, Any]:
    """Agent steps a second of the batched env runner, and of RLlib's own over the PettingZoo environment."""
    from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner

    from rbc_marl.rllib.env_runner import EconomyEnvRunner

    batched = EconomyEnvRunner(_algorithm_config(config, TRAINING_SIZES[0], device), worker_index=0)
    plain = MultiAgentEnvRunner(_plain_config(config), worker_index=0)
    agents = config.num_consumers + config.num_firms + 1
    rates: dict[str, list[float]] = {"batched": [], "plain": []}
    batched.sample()
    for _ in range(rounds):
        for name, runner in (("batched", batched), ("plain", plain)):
            episodes = TRAINING_SIZES[0] if name == "batched" else 1
            start = time.perf_counter()
            runner.sample(num_episodes=episodes)
            _wait(device)
            rates[name].append(episodes * config.horizon * agents / (time.perf_counter() - start))
            runner.get_metrics()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {"agent_steps_per_second": medians, "ratio": medians["batched"] / medians["plain"]}


def measure_training(config: EconomyConfig, device: str, rounds: int) -> dict[str, Any]:
    """Seconds of one whole training iteration of EconomyPPO, and of a bare torch loop doing the same work."""
    measured = {
        str(size): _measure_iterations(_algorithm_config(config, size, device), device, rounds)
        for size in TRAINING_SIZES
    }
    quickstart = _algorithm_config(config, QUICKSTART_SIZE, device).training(**QUICKSTART)
    return {**measured, "quickstart": _measure_iterations(quickstart, device, rounds)}


def _measure_iterations(config: Any, device: str, rounds: int) -> dict[str, float]:  # noqa: ANN401 - an EconomyPPOConfig
    size = config.num_envs_per_env_runner
    algorithm = config.build_algo()
    try:
        loop = bare_loop_of(algorithm, size, device)
        times: dict[str, list[float]] = {"EconomyPPO": [], "bare_loop": []}
        repeats = max(TRAINING_SIZES[0] // size, 1) * 2  # iterations of few economies are short
        for turn in range(rounds + 1):
            for name, iterate in (("EconomyPPO", algorithm.train), ("bare_loop", loop.iterate)):
                start = time.perf_counter()
                for _ in range(repeats):
                    iterate()
                _wait(device)
                if turn:  # the first round warms up
                    times[name].append((time.perf_counter() - start) / repeats)
    finally:
        algorithm.stop()
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratios = [ours / bare for ours, bare in zip(times["EconomyPPO"], times["bare_loop"], strict=True)]
    return {**medians, "ratio": statistics.median(ratios)}


def bare_loop_of(algorithm: Any, num_envs: int, device: str = "cpu") -> BareLoop:  # noqa: ANN401 - an EconomyPPO
    """A bare loop with an algorithm's economy, settings and present weights."""
    from rbc_marl.rllib.economy_config import economy_of

    config = algorithm.config
    economy, _ = economy_of(config)
    networks = {t: deepcopy(algorithm.get_module(t).network).to(device) for t in AGENT_TYPES}
    settings = Settings(**{f.name: getattr(config, f.name) for f in fields(Settings)})
    return BareLoop(economy, networks, settings, num_envs, device)


def _algorithm_config(config: EconomyConfig, size: int, device: str) -> Any:  # noqa: ANN401 - an EconomyPPOConfig
    from rbc_marl.rllib.algorithm import EconomyPPOConfig

    gpus = 1 if device.startswith("cuda") else 0
    return (
        EconomyPPOConfig()
        .environment("rbc_open", env_config=config.model_dump(mode="json"))
        .env_runners(num_envs_per_env_runner=size)
        .learners(num_gpus_per_learner=gpus)
        .debugging(seed=0)
    )


def _plain_config(config: EconomyConfig) -> Any:  # noqa: ANN401 - a PPOConfig
    from ray.rllib.algorithms.ppo import PPOConfig

    from rbc_marl.rllib import plain

    plain.register()
    return (
        PPOConfig()
        .environment("rbc_open", env_config=config.model_dump(mode="json"), disable_env_checking=True)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=1, batch_mode="complete_episodes")
        .multi_agent(policies=plain.policies(), policy_mapping_fn=plain.policy_mapping_fn)
        .debugging(seed=0)
    )


def table(result: dict[str, Any]) -> str:
    """The figures as a readable text."""
    machine_line = ", ".join(f"{key} {value}" for key, value in result["machine"].items())
    size = result["size"]
    lines = [
        machine_line,
        f"{size['consumers']} consumers, {size['firms']} firms, {size['periods']} periods",
        "",
        "economy: steps a second (one period of one economy)",
    ]
    ratios = result["economy"]["ratio_to_scalar"] or {}
    for name, rate in result["economy"]["steps_per_second"].items():
        label = "scalar implementation" if name == "scalar" else f"{name} economies"
        ratio = f"{ratios[name]:10,.0f} x scalar" if name in ratios else ""
        lines.append(f"  {label:24}{rate:14,.0f}{ratio}")
    if not ratios:
        lines.append("  (the scalar implementation stands among the tests of a checkout: no ratio here)")
    rates = result["sampling"]["agent_steps_per_second"]
    lines += ["", "sampling: agent steps a second"]
    lines += [f"  {name:24}{rate:14,.0f}" for name, rate in rates.items()]
    lines.append(f"  {'ratio':24}{result['sampling']['ratio']:14,.1f}   (at least {TARGETS['sampling']:.0f})")
    lines += ["", "a whole training iteration: seconds"]
    for name, values in result["training"].items():
        label = f"{name} economies" if name.isdigit() else name
        lines.append(
            f"  {label:24}EconomyPPO {values['EconomyPPO']:.3f}   bare loop {values['bare_loop']:.3f}   "
            f"ratio {values['ratio']:.2f} (at most {TARGETS['training_' + name]:.2f})"
        )
    return "\n".join(lines)
