"""What figures were measured on: hardware, driver, versions, commit."""

from __future__ import annotations

import os
from typing import Any

import torch

from rbc_marl import memory
from rbc_marl.benchmark.clock import counts_cpu_time, is_accelerator
from rbc_marl.provenance import git_commit, processor, said, versions


def machine(device: str) -> dict[str, Any]:
    """What tells one machine from another, by name. Nothing in it says whose it is.

    Args:
        device: Where things are measured.
    """
    held = memory.of_this_machine()
    described: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if is_accelerator(device) else processor(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory": "unknown" if held is None else memory.in_words(held),
        "threads": torch.get_num_threads(),
        "time": "CPU time" if counts_cpu_time(device) else "by the clock",
        "load": _load(),
    }
    if is_accelerator(device):
        driver = said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
        of_device = torch.cuda.get_device_properties(device)
        described |= {
            "device_memory": memory.in_words(of_device.total_memory),
            "driver": driver[0] if driver else "unknown",
            "cuda": torch.version.cuda,
        }
    installed = versions()
    return {**described, "ray": "none", **installed, "commit": git_commit() or "unknown"}


def _load() -> float | None:
    """Processes that wanted to run in the last minute; above the cores others were at work."""
    read = getattr(os, "getloadavg", None)
    return None if read is None else round(read()[0], 1)
