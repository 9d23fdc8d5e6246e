"""The floor of a step: what it would take if each number were moved once, as fast as this machine moves numbers.

Counted are the bytes that any implementation must read and write (the state and the actions before, the state, the
flows and the observation after) and the operations that this one does. Bandwidth and arithmetic are measured on the
spot, by copying a large tensor and by a matrix product. The floor is the larger of the two times. It counts neither
what starts an operation nor what is kept in between, so nothing reaches it.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rbc_marl.benchmark.clock import Call, seconds_of
from rbc_marl.config import EconomyConfig
from rbc_marl.vector_env import VectorEconomy

# Numbers of the tensor that is copied: 128 MiB, more than a CPU's cache holds.
COPIED = 2**25
# Rows and columns of the matrices that are multiplied.
MATRIX = 1024
REPEATS = 5
_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")


class Operations(TorchDispatchMode):
    """Counts operations: one for each number that an operation gives, and two for each term of a matrix product."""

    def __init__(self) -> None:
        """Begin at none."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Count an operation, and do it."""
        result = function(*args, **(kwargs or {}))
        if not function.is_view:
            terms = 1
            if function.overloadpacket.__name__ in _PRODUCTS:
                terms = 2 * next(x for x in reversed(args) if isinstance(x, Tensor)).shape[-2]
            self.count += terms * sum(x.numel() for x in tree_leaves(result) if isinstance(x, Tensor))
        return result


def floor_of_a_step(config: EconomyConfig, num_envs: int, device: str) -> dict[str, float]:
    """Count what a period of a batch needs, and measure how fast this machine is at it.

    Args:
        config: The economy.
        num_envs: Economies in the batch (B).
        device: Where they are.

    Returns:
        ``economies``, ``bytes`` and ``operations`` of a step, ``bandwidth`` (bytes a second), ``arithmetic``
        (operations a second), and the ``seconds`` of the floor.
    """
    size, operations = count(config, num_envs, device)
    bandwidth, arithmetic = measure_bandwidth(device), measure_arithmetic(device)
    return {
        "economies": num_envs,
        "bytes": size,
        "operations": operations,
        "bandwidth": bandwidth,
        "arithmetic": arithmetic,
        "seconds": max(size / bandwidth, operations / arithmetic),
    }


def count(config: EconomyConfig, num_envs: int, device: str = "cpu") -> tuple[int, int]:
    """Bytes that a period must move, and operations that it does."""
    batch = VectorEconomy(config, num_envs=num_envs, device=device, autoreset=False)
    batch.reset()
    actions = batch.sample_actions()
    before = [*_tensors(batch.require_state()), *actions.values()]
    with torch.no_grad(), Operations() as operations:
        observation, _, _, flows = batch.step(actions)
    known = {x.data_ptr() for x in before}
    after = [*_tensors(batch.require_state()), *_tensors(flows), *observation.values()]
    written = {x.data_ptr(): x for x in after if x.data_ptr() not in known}
    return sum(x.nbytes for x in [*before, *written.values()]), operations.count


def _tensors(record: object) -> Iterable[Tensor]:
    return [x for x in vars(record).values() if isinstance(x, Tensor) and x.numel()]


def measure_bandwidth(device: str) -> float:
    """Bytes a second that are read and written where a large tensor is copied."""
    source = torch.ones(COPIED, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _median(lambda: target.copy_(source), device)


def measure_arithmetic(device: str) -> float:
    """Operations a second of a matrix product in float32."""
    left, right = torch.ones(2, MATRIX, MATRIX, device=device)
    result = torch.empty_like(left)
    return 2 * MATRIX**3 / _median(lambda: torch.mm(left, right, out=result), device)


def _median(call: Call, device: str) -> float:
    call()
    return statistics.median(seconds_of(call, device) for _ in range(REPEATS))
