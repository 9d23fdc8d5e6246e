"""What the benchmark measures with: a device that is there, a clock that waits for it, and limits of time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

import torch

from rbc_marl.vector_env import device_of

Call = Callable[[], object]


def resolve(device: str) -> str:
    """The device that a name means: "auto" takes an accelerator where there is one.

    Raises:
        ConfigError: Torch knows none of that name, or this machine has none.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return str(device_of(device))


def is_accelerator(device: str) -> bool:
    """Whether it works on its own while Python goes on."""
    return torch.device(device).type != "cpu"


def synchronise(device: str) -> None:
    """Wait for a GPU; a CPU has done what it was asked."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def counts_cpu_time(device: str) -> bool:
    """Whether CPU time is measured: one thread of a CPU works. It holds on a busy machine, where a clock does not."""
    return not is_accelerator(device) and torch.get_num_threads() == 1


def now(device: str, by_clock: bool = False) -> float:
    """Seconds, of which differences count, once the device has done what it was asked.

    Args:
        device: That works.
        by_clock: Whether they are never CPU time.
    """
    synchronise(device)
    return time.process_time() if counts_cpu_time(device) and not by_clock else time.perf_counter()


def seconds_of(call: Call, device: str, by_clock: bool = False) -> float:
    """What one call takes; arguments as in `now`."""
    start = now(device, by_clock)
    call()
    return now(device, by_clock) - start


class Limit:
    """Time that a part of the benchmark may take. What is left out for it is noted."""

    def __init__(self, seconds: float = math.inf) -> None:
        """Begin now.

        Args:
            seconds: That there are.
        """
        self.skipped: list[str] = []
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left; less than 0 where it is over."""
        return self._end - time.monotonic()

    def allows(self, what: str, seconds: float = 0.0) -> bool:
        """Whether there is time for something; if not, it is noted as left out.

        Args:
            what: It, in words.
            seconds: That it takes at least.
        """
        if seconds < self.left:
            return True
        self.skipped.append(f"{what}: no time left")
        return False


def in_turn(
    calls: Mapping[str, Call],
    device: str,
    rounds: int,
    limit: Limit,
    what: str,
    *,
    by_clock: bool = False,
) -> dict[str, list[float]]:
    """Measure calls in turn, so that all meet the same machine.

    Args:
        calls: By name.
        device: Where they work.
        rounds: Turns, the one that warms up aside. There are fewer where the limit does not allow another; where it
            allows none, the calls that warm up are what is measured.
        limit: Of time.
        what: All of them, in words.
        by_clock: As in `now`.

    Returns:
        Seconds of each call in each turn. Calls for which there is no time are missing.
    """
    start, cold = time.monotonic(), {}
    for name, call in calls.items():
        if limit.allows(f"{what}, {name}"):
            cold[name] = seconds_of(call, device, by_clock)
    expected = time.monotonic() - start  # of a turn: it takes no longer than the one that warms up
    times: dict[str, list[float]] = {name: [] for name in cold}
    for turn in range(rounds if cold else 0):
        if limit.left < expected:
            limit.skipped.append(f"{what}: {rounds - turn} of {rounds} turns")
            break
        for name, taken in times.items():
            taken.append(seconds_of(calls[name], device, by_clock))
    return {name: taken or [cold[name]] for name, taken in times.items()}
