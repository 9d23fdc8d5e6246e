"""How fast episodes are sampled and iterations are trained, against RLlib's own path and a bare torch loop."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import fields
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from rbc_marl.benchmark.bare_loop import BareLoop, Settings
from rbc_marl.benchmark.clock import Call, Limit, in_turn
from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.policies.build import build_network

if TYPE_CHECKING:
    from ray.rllib.algorithms.ppo import PPOConfig

    from rbc_marl.rllib.algorithm import EconomyPPO, EconomyPPOConfig

TRAINING_SIZES = (16, 128)
# One more where there is an accelerator, which few economies leave idle: measured on it and on its CPU.
LARGE_SIZE = 1024
# What makes an iteration of rllib_configs/quickstart.yaml differ from one with default settings, the curriculum aside.
QUICKSTART: dict[str, Any] = {
    "networks": {
        "consumer": {"kind": "equivariant", "ranks_prices": True},
        "firm": {"kind": "flat", "hidden": [64, 64]},
        "government": {"kind": "flat", "hidden": [64, 64], "first_choice": 8},
    },
    "agents_per_update": {"consumer": 12},
    "trembles": {"price": 0.05},
    "logit_response": {"basket": 0.3, "work": 2.5},
}
QUICKSTART_SIZE = 7


class Trainer(NamedTuple):
    """What trains: EconomyPPO, or the bare loop where Ray is not installed."""

    name: str
    sample: Call
    """Plays one episode of every economy."""
    iterate: Call
    """Plays them, and learns from them."""
    bare_loop: BareLoop
    """The reference, with the same settings and weights."""


def has_ray() -> bool:
    """Whether Ray is installed; it is not imported."""
    return find_spec("ray") is not None


def sizes_here() -> tuple[int, ...]:
    """Economies side by side whose training is measured on this machine."""
    return (*TRAINING_SIZES, LARGE_SIZE) if torch.cuda.is_available() else TRAINING_SIZES


@contextmanager
def trainer(
    config: EconomyConfig, num_envs: int, device: str, settings: Mapping[str, Any] | None = None
) -> Iterator[Trainer]:
    """What trains some economies with default settings but for those given.

    Args:
        config: The economy.
        num_envs: How many play side by side.
        device: Where they play and learners learn.
        settings: As `EconomyPPOConfig.training` takes them.
    """
    settings = settings or {}
    if not has_ray():
        loop = bare_loop(config, num_envs, device, settings)
        yield Trainer("bare_loop", loop.play, loop.iterate, loop)
        return
    algorithm = algorithm_config(config, num_envs, device).training(**settings).build_algo()
    try:
        loop = bare_loop_of(algorithm, num_envs, device)
        yield Trainer("EconomyPPO", algorithm.env_runner.sample, algorithm.train, loop)
    finally:
        algorithm.stop()


def measure_sampling(
    config: EconomyConfig, device: str, rounds: int, seconds: float = 0.0, limit: Limit | None = None
) -> dict[str, Any]:
    """Agent steps a second of the batched env runner, and of RLlib's own over the PettingZoo environment.

    Args:
        config: The economy.
        device: Where the batched env runner plays; RLlib's own plays on the CPU.
        rounds: Times each is measured, in turn.
        seconds: Not used: a round is a whole sample.
        limit: Of time.

    Returns:
        ``agent_steps_per_second`` of "batched" and "plain", and their ``ratio``; and ``by_size``, those of "batched" by
        economies side by side. Where Ray is not installed the bare loop samples, and there is no "plain".
    """
    limit = limit or Limit()
    counts: dict[str, int] = {}
    calls: dict[str, Call] = {}
    for size in sizes_here():
        counts[str(size)], calls[str(size)] = size, _sampler(config, size, device)
    if has_ray():
        counts["plain"], calls["plain"] = 1, _plain_sampler(config)
    times = in_turn(calls, device, rounds, limit, "sampling")
    steps = config.horizon * (config.num_consumers + config.num_firms + 1)
    rates = {name: counts[name] * steps / statistics.median(taken) for name, taken in times.items()}
    figures: dict[str, Any] = {"by_size": {name: rate for name, rate in rates.items() if name != "plain"}}
    if "plain" in rates:
        batched = rates[str(TRAINING_SIZES[0])]
        figures["agent_steps_per_second"] = {"batched": batched, "plain": rates["plain"]}
        figures["ratio"] = batched / rates["plain"]
    return figures


def _sampler(config: EconomyConfig, size: int, device: str) -> Call:
    if not has_ray():
        return bare_loop(config, size, device, {}).play
    from rbc_marl.rllib.env_runner import EconomyEnvRunner

    call: Call = EconomyEnvRunner(algorithm_config(config, size, device), worker_index=0).sample
    return call


def _plain_sampler(config: EconomyConfig) -> Call:
    from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner

    runner = MultiAgentEnvRunner(_plain_config(config), worker_index=0)

    def sample() -> None:
        runner.sample(num_episodes=1)
        runner.get_metrics()

    return sample


def measure_training(
    config: EconomyConfig, device: str, rounds: int, seconds: float = 0.0, limit: Limit | None = None
) -> dict[str, Any]:
    """Seconds of one whole training iteration of EconomyPPO, and of a bare torch loop doing the same work.

    Args:
        config: The economy.
        device: Where both train.
        rounds: Times each is measured, in turn.
        seconds: Not used: a round is some whole iterations.
        limit: Of time.

    Returns:
        By number of economies, and for the quickstart's settings: seconds of an iteration of "EconomyPPO" and of the
        "bare_loop", and the ``ratio`` of the two; seconds of "sampling", and of the "update", which is the rest of the
        iteration. Where Ray is not installed there is the bare loop alone.
    """
    limit = limit or Limit()
    cases: dict[str, tuple[int, dict[str, Any]]] = {str(size): (size, {}) for size in TRAINING_SIZES}
    cases["quickstart"] = (QUICKSTART_SIZE, QUICKSTART)
    cases |= {str(size): (size, {}) for size in sizes_here()}
    measured = {}
    for name, (size, settings) in cases.items():
        if limit.allows(f"training, {name}"):
            with trainer(config, size, device, settings) as training:
                measured[name] = _measure_iterations(training, size, device, rounds, limit, f"training, {name}")
    return measured


def _measure_iterations(
    training: Trainer, size: int, device: str, rounds: int, limit: Limit, what: str
) -> dict[str, float]:
    repeats = max(TRAINING_SIZES[0] // size, 1) * 2  # iterations of few economies are short
    calls = {"sampling": training.sample, training.name: training.iterate, "bare_loop": training.bare_loop.iterate}

    def repeated(call: Call) -> Call:
        return lambda: [call() for _ in range(repeats)]

    several = {name: repeated(call) for name, call in calls.items()}
    times = in_turn(several, device, rounds, limit, what)
    figures = {name: statistics.median(taken) / repeats for name, taken in times.items()}
    if training.name in figures:
        figures["update"] = figures[training.name] - figures["sampling"]
    if training.name != "bare_loop" and {training.name, "bare_loop"} <= set(figures):
        pairs = zip(times[training.name], times["bare_loop"], strict=True)
        figures["ratio"] = statistics.median(ours / bare for ours, bare in pairs)
    return figures


def bare_loop_of(algorithm: EconomyPPO, num_envs: int, device: str = "cpu") -> BareLoop:
    """A bare loop with an algorithm's economy, settings and weights."""
    from rbc_marl.rllib.settings import as_plain, economy_of

    config = algorithm.config
    economy, _ = economy_of(config)
    networks = {t: deepcopy(algorithm.get_module(t).network).to(device) for t in AGENT_TYPES}
    values: dict[str, Any] = {field.name: as_plain(getattr(config, field.name)) for field in fields(Settings)}
    settings = Settings(**{name: value for name, value in values.items() if value is not None})
    return BareLoop(economy, networks, settings, num_envs, device)


def bare_loop(config: EconomyConfig, num_envs: int, device: str, settings: Mapping[str, Any]) -> BareLoop:
    """A bare loop with new networks and EconomyPPO's default settings but for those given. It needs no Ray."""
    own = {field.name: settings[field.name] for field in fields(Settings) if field.name in settings}
    specs = settings.get("networks", {})
    networks = {t: build_network(config, t, spec=specs.get(t, "flat")).to(device) for t in AGENT_TYPES}
    return BareLoop(config, networks, Settings(**own), num_envs, device)


def algorithm_config(config: EconomyConfig, size: int, device: str) -> EconomyPPOConfig:
    """Default settings with ``size`` economies."""
    from rbc_marl.rllib.algorithm import EconomyPPOConfig

    gpus = 1 if device.startswith("cuda") else 0
    return (
        EconomyPPOConfig()
        .environment("rbc_open", env_config=config.model_dump(mode="json"))
        .env_runners(num_envs_per_env_runner=size)
        .learners(num_gpus_per_learner=gpus)
        .debugging(seed=0)
    )


def _plain_config(config: EconomyConfig) -> PPOConfig:
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
