"""Work spread over the machines of a Ray cluster: what each of them must have is looked for before any work begins."""

from __future__ import annotations

import platform
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import NodeDiedError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rbc_marl import own_code, places, starts
from rbc_marl.errors import UserError, first_line
from rbc_marl.experiments.ray_session import RayOptions, usable_cores
from rbc_marl.rllib.lost import Resources, wait_for_room

# Seconds in which a machine answers: its first process imports everything.
ANSWER = 120.0
# How often, and after how many seconds, the list of machines is looked at for one whose process is gone.
LOOKS, BETWEEN_LOOKS = 20, 0.5


def cores(options: RayOptions) -> int:
    """Cores to work with: of the whole cluster where one was asked for, otherwise those that this process may use."""
    if options.address is None:
        return usable_cores()
    return max(int(ray.cluster_resources().get("CPU", 1)), 1)


def check_room_of_runs(runs: Sequence[Sequence[Resources]]) -> None:
    """Refuse to wait without an end for what no machine has.

    Args:
        runs: What the processes of each ask for.

    Raises:
        UserError: There is no room for one, even with nobody else there.
    """
    share = max(bundle.get("GPU", 0.0) for bundles in runs for bundle in bundles)
    available = ray.cluster_resources().get("GPU", 0.0) if share else 0.0
    if available < share:
        raise UserError(
            f"gpus_per_trial is {share:g}, but Ray has {available:g} GPUs here; leave it out to train on CPUs"
        )
    for bundles in {str(bundles): bundles for bundles in runs}.values():
        wait_for_room(bundles, "the processes of a run", "give a larger cluster, or smaller runs")


def check_machines(folder: Path, *needed: Path) -> None:
    """Refuse machines of the cluster that cannot do this process's work; one that is lost meanwhile does none.

    Args:
        folder: Where results go; all machines must write there, or reach its address.
        *needed: Other files and folders that the work reads.

    Raises:
        UserError: A machine does not see a folder, lacks this package or has another version of it.
    """
    here = ray.get_runtime_context().get_node_id()
    others = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] != here and node["Resources"].get("CPU")]
    if not others:
        return
    work = ([path.resolve() for path in needed], own_code.modules(), starts.named())
    mark = folder.resolve() / f".{uuid.uuid4().hex}.tmp"
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_bytes(b"")
    look = ray.remote(num_cpus=0, max_retries=0)(_look)
    try:
        answers = {}
        for node in others:
            strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            sent = look.options(scheduling_strategy=strategy).remote(mark, *work)
            answers[node["NodeID"]] = (f"machine {node['NodeManagerHostname']} ({node['NodeManagerAddress']})", sent)
        for node_id, (name, answer) in answers.items():
            told = _answer(node_id, name, answer)
            if told is not None:
                _check(name, told)
    finally:
        mark.unlink(missing_ok=True)


def _look(mark: Path, paths: Sequence[Path], modules: Mapping[str, str], states: Sequence[str]) -> dict[str, Any]:
    """What a machine has, told by itself: modules of one's own and files of states may have come with the work."""
    from rbc_marl.provenance import versions

    problem = ""
    if places.is_remote(mark):
        try:
            places.pull(mark.parent / mark.stem)
        except UserError as error:
            problem = str(error)
    elif not mark.is_file():
        problem = f"does not see {mark.parent}"
    if not problem:
        missing = [path for path in paths if not path.exists()]
        unseen = missing[0] if missing else own_code.unseen(modules) or starts.unseen(states)
        problem = f"does not see {unseen}" if unseen else ""
    return {"problem": problem, "versions": versions(), "python": platform.python_version()}


def _answer(node_id: str, name: str, answer: ray.ObjectRef[Any]) -> dict[str, Any] | None:
    """What a machine told; None where it has left the cluster."""
    try:
        told: dict[str, Any] = ray.get(answer, timeout=ANSWER)
    except Exception as error:
        if _has_left(node_id, error):
            return None
        cause = getattr(error, "cause", None) or error
        mend = "install this package there, in the same versions, or take the machine out of the cluster"
        raise UserError(f"{name} cannot work ({type(cause).__name__}: {first_line(cause)}); {mend}") from None
    return told


def _has_left(node_id: str, error: Exception) -> bool:
    """Whether a machine that did not answer is gone, which its work may learn before the list of machines does."""
    if isinstance(error, NodeDiedError):
        return True
    # A machine whose process raised an error lived then.
    for look in range(1 if isinstance(error, RayTaskError) else LOOKS):
        time.sleep(BETWEEN_LOOKS if look else 0.0)
        if not any(node["Alive"] for node in ray.nodes() if node["NodeID"] == node_id):
            return True
    return False


def _check(name: str, told: dict[str, Any]) -> None:
    from rbc_marl.provenance import versions

    if told["problem"]:
        mend = "put it into a folder that all machines see, or give an address as --out: s3://bucket/folder"
        raise UserError(f"{name} {told['problem']}; {mend}")
    mine, theirs = versions(), told["versions"]
    for library in ("rbc_marl", "torch", "ray"):
        if mine.get(library) != theirs.get(library):
            difference = f"has {library} {theirs.get(library)}, and this machine {mine.get(library)}"
            raise UserError(f"{name} {difference}; numbers could differ: install the same versions")
