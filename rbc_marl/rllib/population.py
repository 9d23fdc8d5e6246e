"""Populations: independent runs that differ in their seeds or fixed taxes, trained side by side in one process.

A small economy leaves a processor waiting: most of an iteration goes into starting operations on a few thousand
numbers. A population plays the economies of all runs in one batch, and learns with networks that are stacked over runs.
Every run draws its own numbers, and its results are those of the run alone, but for rounding.
"""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.learner.learner import ENTROPY_KEY, POLICY_LOSS_KEY, VF_LOSS_KEY
from ray.rllib.utils import force_list
from ray.rllib.utils.framework import get_device
from ray.rllib.utils.metrics import (
    ALL_MODULES,
    EPISODE_LEN_MEAN,
    EPISODE_MODULE_RETURN_MEAN,
    NUM_ENV_STEPS_SAMPLED,
    NUM_EPISODES,
)
from torch import Tensor

from rbc_marl.config import AGENT_TYPES
from rbc_marl.curriculum import Phase, Schedule
from rbc_marl.errors import ConfigError, NonFiniteError, UserError
from rbc_marl.policies.build import build_network
from rbc_marl.policies.imposed import IMPOSED
from rbc_marl.policies.networks import PolicyNetwork
from rbc_marl.policies.saved import save_policies
from rbc_marl.policies.slabs import keep_freed_memory
from rbc_marl.policies.stacked import mask_each_run, state_of
from rbc_marl.rllib.algorithm import EconomyPPOConfig
from rbc_marl.rllib.callbacks import CurriculumCallback, PhaseTracker
from rbc_marl.rllib.compiled import COMPILE_TIME, check_compiler
from rbc_marl.rllib.env_runner import EXTREMES, Figure, episode_figures
from rbc_marl.rllib.finite import check_finite_numbers
from rbc_marl.rllib.population_learner import Numbers, PopulationLearner
from rbc_marl.rllib.rollout import BehaviourSettings, EpisodeCollector, Rollout, Stream, generator_at
from rbc_marl.rllib.settings import DEVIATOR, agent_type_of, economy_of, module_ids, network_spec
from rbc_marl.rllib.sizes import CPU_SLAB

# Of what a run needs to go on, in its checkpoints.
STATE_NAME = "population.pt"
# The module whose mask is all that fixed taxes change.
_SETS_TAXES = "government"
# RLlib's prefixes of results.
_SAMPLED, _LEARNT = "env_runners/", "learners/"
# What a run must not come to: a number that is infinite or NaN.
_LOSSES = (POLICY_LOSS_KEY, VF_LOSS_KEY, ENTROPY_KEY)


class Population:
    """R runs of `EconomyPPO` that differ in their seeds, and perhaps in the taxes that their curricula fix.

    Attributes:
        seeds: One for each run.
        iteration: Iterations done.
        failed: Why a run went wrong, by its number: its numbers became infinite or NaN. The others go on.
    """

    def __init__(
        self, config: EconomyPPOConfig, seeds: Sequence[int], schedules: Sequence[Schedule] | None = None
    ) -> None:
        """Build all runs.

        Args:
            config: Of every run but for its seed; it is copied.
            seeds: One for each run.
            schedules: A curriculum for each run, where they differ: in the taxes that are open or fixed, in no more.
                None: the configuration's.

        Raises:
            ConfigError: The configuration is not valid, or asks for what populations do not do.
        """
        check_population(config, seeds, schedules)
        self.seeds = tuple(seeds)
        self.config: EconomyPPOConfig = config.copy(copy_frozen=False)
        self.config.validate()
        check_population(self.config, seeds, schedules)
        check_compiler(self.config)
        keep_freed_memory()
        self.device = torch.device(get_device(self.config, self.config.num_gpus_per_learner))
        self.iteration = 0
        self.failed: dict[int, NonFiniteError] = {}
        self._economies = self.config.num_envs_per_env_runner
        self._collector = EpisodeCollector(self.config, self.device)
        self._phases = [PhaseTracker(self.config, self.device, each) for each in schedules or (None,)]
        self.learner = PopulationLearner(self.config, self.seeds, self.device)
        if len(self._phases) > 1:
            mask_each_run(self.learner.network(_SETS_TAXES), len(self.seeds))
        self._results = _Results(self.config, len(self.seeds))

    @property
    def steps_per_iteration(self) -> int:
        """Env steps of an iteration of one run."""
        return self._economies * self._collector.economy.horizon

    def train(self) -> list[dict[str, Any]]:
        """One iteration of every run.

        Returns:
            By run, flat results under the names of `EconomyPPO`'s: all but measurements of time and memory, of which
            there is only the time of an iteration, shared evenly among the runs.
        """
        started = time.perf_counter()
        before = self.iteration * self.steps_per_iteration
        phases, compiled = self._phases_at(before), self._collector.compiled.seconds
        rollout, summary = self.sample(phases)
        self.iteration += 1
        learnt = self.learner.update(rollout, phases[0], before + self.steps_per_iteration)
        figures = episode_figures([rollout], [summary], self.config.deviator)
        next_phases = self._phases_at(before + self.steps_per_iteration)  # as the callback of single runs reports it
        results = self._results.add(figures, learnt, next_phases if self._phases[0].schedule is not None else None)
        if self.config.torch_compile_worker:
            for flat in results:
                flat[f"{_SAMPLED}{COMPILE_TIME}"] = (self._collector.compiled.seconds - compiled) / len(self.seeds)
        self._results.time((time.perf_counter() - started) / len(self.seeds), results)
        self._note_failures(results)
        return results

    def _phases_at(self, env_steps: int) -> list[Phase]:
        """What holds in the iteration after some env steps: of each run, or one of all."""
        phases = [tracker.at(env_steps) for tracker in self._phases]
        common = [replace(phase, highest_tax=1.0, fixed_taxes=None) for phase in phases]
        if any(each != common[0] for each in common):
            raise ConfigError("the curricula of a population differ in more than taxes; train the runs one by one")
        return phases

    def _mask(self, phases: Sequence[Phase]) -> None:
        """Set the masks of all networks: of each run where its taxes are its own."""
        self._phases[0].mask(self.learner.module, phases[0])
        if len(phases) > 1:
            masks = [t.log_masks(phase)[_SETS_TAXES] for t, phase in zip(self._phases, phases, strict=True)]
            self.learner.network(_SETS_TAXES).log_mask.copy_(torch.stack(masks))

    def sample(self, phases: Sequence[Phase]) -> tuple[Rollout, dict[str, Tensor]]:
        """Play one episode of every economy of every run.

        Args:
            phases: Of each run, or one of all.

        Returns:
            The rollout, and the reported quantities [R E]: economies of one run stand side by side.
        """
        self._mask(phases)
        phase = phases[0]
        behaviour = BehaviourSettings(explore=self.config.explore, random=phase.random)
        steps = self.iteration * self.steps_per_iteration
        path = (Stream.ACTIONS, 0, 0, steps, 0)  # of a local env runner that trains: see `EconomyEnvRunner.sample`
        generators = [generator_at(self.device, seed, *path) for seed in self.seeds]
        with torch.no_grad():
            return self._collector.collect(
                self.learner.module,
                self._economies * len(self.seeds),
                behaviour.for_training(self.config, phase),
                generators,
            )

    def networks(self, run: int) -> dict[str, PolicyNetwork]:
        """Copies of one run's networks as they are now, by module."""
        economy, encoding = economy_of(self.config)
        networks = {}
        with torch.random.fork_rng(devices=[]):
            for module_id in module_ids(self.config):
                spec = network_spec(self.config, module_id)
                networks[module_id] = build_network(economy, agent_type_of(self.config, module_id), encoding, spec)
                networks[module_id].load_state_dict(state_of(self.learner.network(module_id), run))
        return networks

    def save(self, run: int, path: str | Path) -> None:
        """Write the policies of one run into a folder, as a checkpoint of `EconomyPPO` holds them, and its state.

        The state is for `restore`, not for RLlib.

        Raises:
            NonFiniteError: A weight is infinite or NaN; nothing is written.
        """
        economy, encoding = economy_of(self.config)
        specs = {agent_type: network_spec(self.config, agent_type) for agent_type in AGENT_TYPES}
        info = {
            "training_iteration": self.iteration,
            "env_steps": self.iteration * self.steps_per_iteration,
            "seed": self.seeds[run],
            "rules": self.config.rules,
        }
        if self.config.imposed.chosen:  # evaluations impose it again
            info[IMPOSED] = self.config.imposed.chosen
        save_policies(path, economy, encoding, self.networks(run), specs, info)
        state = {"seed": self.seeds[run], "learner": self.learner.state_of(run), "results": self._results.state()}
        content = io.BytesIO()
        torch.save(state, content)
        (Path(path) / STATE_NAME).write_bytes(content.getvalue())  # torch itself hides why it cannot write

    def restore(self, paths: Sequence[str | Path]) -> None:
        """Go on where runs were saved, each perhaps in another population.

        Args:
            paths: A checkpoint of each run.

        Raises:
            ConfigError: They are of other seeds, or of different iterations.
            UserError: One is damaged, or holds more than plain data.
        """
        states = [_read_state(Path(path) / STATE_NAME) for path in paths]
        seeds = tuple(state["seed"] for state in states)
        if seeds != self.seeds:
            raise ConfigError(f"the checkpoints are of seeds {list(seeds)}; give those of {list(self.seeds)}")
        counts = [state["results"] for state in states]
        if any(count["iterations"] != counts[0]["iterations"] for count in counts):
            raise ConfigError("the checkpoints are of different iterations; give those of one iteration")
        self.learner.set_states([state["learner"] for state in states])
        self._results.set_state(counts[0])
        self.iteration = counts[0]["iterations"]

    def _note_failures(self, results: Sequence[dict[str, Any]]) -> None:
        """Note runs whose returns or losses are no finite numbers."""
        names = [f"{_SAMPLED}{EPISODE_MODULE_RETURN_MEAN}/{m}" for m in module_ids(self.config)]
        names += [f"{_LEARNT}{m}/{key}" for m in module_ids(self.config) for key in _LOSSES]
        for run, flat in enumerate(results):
            try:
                check_finite_numbers({name: flat[name] for name in names if name in flat}, self.iteration)
            except NonFiniteError as error:
                self.failed.setdefault(run, error)


def _read_state(path: Path) -> dict[str, Any]:
    """What `Population.save` kept of a run: tensors and plain data. Code in the file does not run."""
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except Exception as error:  # of a pickle that holds something else, or none
        problem = f"{path} cannot be loaded ({type(error).__name__})"
        raise UserError(f"{problem}; rename its folder, to go on from the checkpoint before") from error
    return state


class _Results:
    """The results of all runs, and what they count since the start."""

    def __init__(self, config: EconomyPPOConfig, runs: int) -> None:
        self.config, self.runs = config, runs
        self.economy, _ = economy_of(config)
        self._iterations = 0
        self._trained: dict[str, int] = {}  # iterations in which a module has learnt
        self._learning_iterations = 0  # iterations in which any has
        self._seconds = 0.0

    def add(
        self, figures: dict[Figure, Tensor], learnt: dict[str, Numbers], next_phases: Sequence[Phase] | None
    ) -> list[dict[str, Any]]:
        """Take in one iteration, and report it: flat results by run."""
        self._iterations += 1
        shared, stages = self._counts(), [self._curriculum(phase) for phase in next_phases or (None,)]
        if len(stages) < self.runs:
            stages *= self.runs
        results: list[dict[str, Any]] = [{**shared, **stage} for stage in stages]
        sampled, of_modules = self._read(figures, learnt)
        for run, flat in enumerate(results):
            flat |= {name: float(numbers[run]) for name, numbers in {**sampled, **of_modules}.items()}
        counts = self._learner_counts([m for m, numbers in learnt.items() if "total_loss" in numbers])
        for flat in results:
            flat |= counts
        return results

    def state(self) -> dict[str, Any]:
        """All counts so far: plain data."""
        names = ("iterations", "trained", "learning_iterations", "seconds")
        return {name: getattr(self, f"_{name}") for name in names}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        for name, value in state.items():
            setattr(self, f"_{name}", value)

    def time(self, seconds: float, results: Sequence[dict[str, Any]]) -> None:
        """Report the time that an iteration took of each run."""
        self._seconds += seconds
        date = datetime.now().astimezone().isoformat(timespec="seconds")
        for flat in results:
            flat |= {"time_this_iter_s": seconds, "time_total_s": self._seconds, "date": date}

    def _read(
        self, figures: dict[Figure, Tensor], learnt: dict[str, Numbers]
    ) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
        """Numbers [R] by name, of env runners and of learners: all are read from the device at once."""
        stacked = torch.stack(list(figures.values())).unflatten(1, (self.runs, -1))  # [figures, R, E]
        reductions = {"mean": stacked.mean(2), "min": stacked.amin(2), "max": stacked.amax(2)}
        of_runs = [reductions[EXTREMES.get(key, "mean")][i] for i, key in enumerate(figures)]
        flat = {f"{_LEARNT}{m}/{name}": x for m, numbers in learnt.items() for name, x in numbers.items()}
        like = of_runs[0]
        terms = [torch.as_tensor(x, dtype=like.dtype, device=like.device).expand(self.runs) for x in flat.values()]
        read = torch.stack([*of_runs, *terms]).double().cpu().numpy()
        names = [f"{_SAMPLED}{key if isinstance(key, str) else '/'.join(key)}" for key in figures]
        sampled = dict(zip(names, read[: len(of_runs)], strict=True))
        of_modules = dict(zip(flat, read[len(of_runs) :], strict=True))
        # What is a plain number needs no rounding to the device's type.
        plain = {name: np.full(self.runs, x) for name, x in flat.items() if not isinstance(x, Tensor)}
        return sampled, {**of_modules, **plain}

    def _counts(self) -> dict[str, Any]:
        """What was played in this iteration and since the start."""
        episodes = self.config.num_envs_per_env_runner
        steps = episodes * self.economy.horizon
        counts: dict[str, int] = {NUM_ENV_STEPS_SAMPLED: steps, NUM_EPISODES: episodes}
        agents = {t: self.economy.agents(t) for t in AGENT_TYPES}
        modules = {**agents, DEVIATOR: 1} if self.config.deviator else agents
        counts |= {f"num_agent_steps_sampled/{t}": steps * n for t, n in agents.items()}
        counts |= {f"num_module_steps_sampled/{m}": steps * n for m, n in modules.items()}
        flat: dict[str, Any] = {
            "training_iteration": self._iterations,
            "time_total_s": 0.0,
            "num_env_steps_sampled_lifetime": steps * self._iterations,
        }
        for name, count in counts.items():
            head, *of_type = name.split("/")
            flat[f"{_SAMPLED}{name}"] = count
            flat["/".join([f"{_SAMPLED}{head}_lifetime", *of_type])] = count * self._iterations
        flat[f"{_SAMPLED}{EPISODE_LEN_MEAN}"] = float(self.economy.horizon)
        flat[f"{_SAMPLED}weights_seq_no"] = float(self._iterations - 1)
        return {**flat, "iterations_since_restore": self._iterations}

    def _learner_counts(self, learning: Sequence[str]) -> dict[str, Any]:
        """What modules have learnt from, in this iteration and since the start."""
        rows = self.config.num_envs_per_env_runner * self.economy.horizon
        steps = rows * self.config.num_epochs
        minibatches = -(-rows // (self.config.minibatch_size or rows))
        counts: dict[str, Any] = {}
        for module_id in learning:
            self._trained[module_id] = self._trained.get(module_id, 0) + 1
            prefix = f"{_LEARNT}{module_id}/"
            counts |= {
                f"{prefix}num_module_steps_trained": steps,
                f"{prefix}num_module_steps_trained_lifetime": steps * self._trained[module_id],
                f"{prefix}module_train_batch_size_mean": rows / minibatches,
                f"{prefix}weights_seq_no": float(self._iterations),
            }
        prefix = f"{_LEARNT}{ALL_MODULES}/"
        self._learning_iterations += bool(learning)
        return counts | {
            f"{prefix}num_env_steps_trained": steps if learning else 0,
            f"{prefix}num_env_steps_trained_lifetime": steps * self._learning_iterations,
            f"{prefix}num_module_steps_trained": steps * len(learning),
            f"{prefix}num_module_steps_trained_lifetime": steps * sum(self._trained.values()),
        }

    @staticmethod
    def _curriculum(phase: Phase | None) -> dict[str, str | float]:
        return {} if phase is None else {f"curriculum/{name}": value for name, value in phase.report().items()}


def check_population(
    config: EconomyPPOConfig, seeds: Sequence[int], schedules: Sequence[Schedule] | None = None
) -> None:
    """Refuse what populations do not do.

    Args:
        config: Of the runs; whatever else is wrong with it is found when it is validated.
        seeds: Of the runs.
        schedules: A curriculum for each run; None: the configuration's.

    Raises:
        ConfigError: The message begins with the setting.
    """
    if schedules is not None and len(schedules) != len(seeds):
        raise ConfigError(f"{len(schedules)} curricula are of {len(seeds)} runs; give each run one")
    if not seeds or (schedules is None and len(set(seeds)) < len(seeds)):
        raise ConfigError(f"seeds are {list(seeds)}; give each run of a population another one")
    single = "or train the runs one by one"
    asked = {
        "num_env_runners": config.num_env_runners,
        "num_learners": config.num_learners,
        "evaluation_interval": config.evaluation_interval,
        "scripted": config.scripted.chosen,
    }
    for name, value in asked.items():
        if value:
            raise ConfigError(f"{name} is {value!r}, which a population does not do; leave it out, {single}")
    classes = [each for each in force_list(config.callbacks_class) if each is not RLlibCallback]
    functions = [value for name, value in vars(config).items() if name.startswith("callbacks_on_") and value]
    if functions or not all(isinstance(each, type) and issubclass(each, CurriculumCallback) for each in classes):
        raise ConfigError(f"callbacks of one's own are not called in a population; leave them out, {single}")
    if config.grad_clip_by != "global_norm" or not config.torch_skip_nan_gradients:
        raise ConfigError(f"a population clips gradients by their global norm, whatever they are; do so, {single}")
    economies = config.num_envs_per_env_runner
    if economies > CPU_SLAB:
        raise ConfigError(f"num_envs_per_env_runner is {economies}; in a population it is at most {CPU_SLAB}")
    horizon = economy_of(config)[0].horizon
    size = getattr(config, "_train_batch_size_per_learner", None)
    if size not in (None, economies * horizon):
        raise ConfigError(f"train_batch_size_per_learner is {size}; in a population it is one episode of each economy")
