"""Learning on from saved policies: with something more imposed on the economy, and, to hold it against, without.

Both runs are those of the policies' own experiment, with its algorithm and settings as they stood at its end: its
curriculum stays in the last phase, and learning rates and entropy weights at their last values. They begin with the
same weights, without what optimizers remembered, and with the same seed. So they differ by what is imposed alone, and
where nothing is, by nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray.rllib.utils.schedules.scheduler import Scheduler
from rich.console import Console

from rbc_marl.curriculum import NAMED_CURRICULA
from rbc_marl.economy.shocks import nothing_imposed
from rbc_marl.errors import UserError
from rbc_marl.experiments.algorithm_keys import SCHEDULED
from rbc_marl.experiments.file import Experiment, ExperimentSpec, read_specs
from rbc_marl.experiments.ray_session import RayOptions, cpus_needed, quieten, ray_session
from rbc_marl.experiments.run import train
from rbc_marl.policies.imposed import Treatment, imposed_in_training
from rbc_marl.policies.saved import PolicySet, find_checkpoint, load_policies, save_policies

CONTROL, LEARNED = "control", "learned"
"""Names of the two runs, and of their folders."""


def learn_on(
    checkpoint: Path,
    treatment: Treatment,
    iterations: int,
    folder: Path,
    *,
    economy: Mapping[str, Any] | None = None,
    change: Mapping[str, Any] | None = None,
    seed: int = 0,
    trust: bool = False,
    command: Sequence[str] = (),
    console: Console | None = None,
) -> dict[str, Path]:
    """Train saved policies on, once as they were trained and once under a treatment on top of that.

    Args:
        checkpoint: A checkpoint, a run's folder, or a name of policies in the package; its run's ``config.yaml`` lies
            beside it.
        treatment: What is imposed.
        iterations: Of training, in each of the two runs.
        folder: Where they are kept.
        economy: Fields of the economy that differ in both runs (`load_policies`).
        change: Fields of the economy that differ under the treatment alone.
        seed: Of both runs.
        trust: Whether code that is not installed may run, of classes that policies.json names.
        command: What was typed, for run.json.
        console: Where progress is shown; None: standard output.

    Returns:
        The checkpoints with which the runs ended, by `CONTROL` and `LEARNED`.

    Raises:
        UserError: The run is not known, cannot be gone on with, or was interrupted.
    """
    quieten(0)
    policies = load_policies(checkpoint, economy=economy, trust=trust)
    spec = _spec_of(find_checkpoint(checkpoint), trust)
    for network in policies.networks.values():  # masks of the phase come with it
        network.lift_mask()
    start = folder / "start"
    save_policies(start, policies.config, policies.encoding, policies.networks, policies.specs, policies.info)
    before = imposed_in_training(policies.info)
    nothing = Treatment(factors=nothing_imposed(policies.config, treatment.factors))
    imposed = {CONTROL: before.then(nothing), LEARNED: before.then(treatment)}
    changed = load_policies(checkpoint, economy={**(economy or {}), **(change or {})}, trust=trust)
    played = {CONTROL: policies, LEARNED: changed}
    try:
        runs = [_experiment(spec, played[name], name, one, iterations, start, seed) for name, one in imposed.items()]
    except UserError:  # nobody learns: nothing is left behind
        shutil.rmtree(start)
        if not any(folder.iterdir()):
            folder.rmdir()
        raise
    ended = {}
    with ray_session(RayOptions(), cpus_needed(runs[0].config)):
        for experiment in runs:
            outcome = train(experiment, command=command, console=console)
            if outcome.checkpoint is None or outcome.status != "finished":
                raise UserError(f"learning on was interrupted; {outcome.folder} has what it came to: begin again")
            ended[experiment.name] = outcome.checkpoint
    return ended


def _spec_of(checkpoint: Path, trust: bool) -> ExperimentSpec:
    """The experiment of a checkpoint's run."""
    path = checkpoint.resolve().parent / "config.yaml"
    if not path.is_file():
        raise UserError(f"{path} does not exist, whose settings agents would learn with; give a checkpoint of a run")
    (spec, *others) = read_specs(path, trust=trust)
    if others or spec.data.get("run") != "EconomyPPO":
        raise UserError(f"{path} is no run of EconomyPPO, with which agents learn on; give a checkpoint of one")
    return spec


def _experiment(
    spec: ExperimentSpec,
    policies: PolicySet,
    name: str,
    treatment: Treatment,
    iterations: int,
    start: Path,
    seed: int,
) -> Experiment:
    """One of the two runs."""
    done, steps = (int(policies.info.get(key, 0)) for key in ("training_iteration", "env_steps"))
    keys = {**spec.data.get("config", {}), "seed": seed, "imposed": treatment.model_dump(exclude_none=True)}
    keys["env_config"] = {**policies.config.model_dump(mode="json"), "encoding": policies.encoding}
    keys |= _last_values(keys, steps)
    overrides = keys.get("algorithm_config_overrides_per_module") or {}
    last = {t: {**own, **_last_values(own, steps)} for t, own in overrides.items()}
    keys["algorithm_config_overrides_per_module"] = last
    keys["curriculum"] = _last_phase(keys.get("curriculum"), done)
    data = {
        "run": spec.data["run"],
        "env": spec.data["env"],
        "stop": {"training_iteration": iterations},
        "storage_path": str(start.parent),
        "restore": str(start),
        "report": False,
        "config": keys,
    }
    return replace(spec, name=name, data=data).build()


def _last_phase(curriculum: object, done: int) -> object:
    """A curriculum that stays where it stood after some iterations."""
    given = NAMED_CURRICULA.get(curriculum) if isinstance(curriculum, str) else curriculum
    if curriculum is None:
        return None
    if not isinstance(given, Mapping):
        raise UserError(f"the curriculum is {curriculum}, a class of one's own, whose end is not known; train by hand")
    return {**given, "stays_at": given.get("stays_at", done)}


def _last_values(keys: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """Coefficients that follow a schedule, as they are after some env steps."""
    values = {}
    for key in SCHEDULED:
        if isinstance(keys.get(key), (list, tuple)):
            values[key] = float(Scheduler(keys[key], framework="torch").update(timestep=steps))
    return values
