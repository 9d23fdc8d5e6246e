"""What figures were measured on: hardware, driver, versions, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from typing import Any

import torch

from rbc_marl import memory
from rbc_marl.benchmark.clock import counts_cpu_time, is_accelerator
from rbc_marl.provenance import git_commit, versions


def machine(device: str) -> dict[str, Any]:
    """What tells one machine from another, by name. Nothing in it says whose it is.

    Args:
        device: Where things are measured.
    """
    held = memory.of_this_machine()
    described: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if is_accelerator(device) else _processor(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory": "unknown" if held is None else memory.in_words(held),
        "threads": torch.get_num_threads(),
        "time": "CPU time" if counts_cpu_time(device) else "by the clock",
        "load": _load(),
    }
    if is_accelerator(device):
        driver = _said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
        of_device = torch.cuda.get_device_properties(device)
        described |= {
            "device_memory": memory.in_words(of_device.total_memory),
            "driver": driver[0] if driver else "unknown",
            "cuda": torch.version.cuda,
        }
    installed = versions()
    return {**described, "ray": "none", **installed, "commit": git_commit() or "unknown"}


def _processor() -> str:
    """Its model, where the system says it."""
    for line in _said("lscpu"):
        name, _, value = line.partition(":")
        if name.strip() == "Model name":
            return value.strip()
    return platform.processor() or platform.machine()


def _load() -> float | None:
    """Processes that wanted to run in the last minute; above the cores others were at work."""
    read = getattr(os, "getloadavg", None)
    return None if read is None else round(read()[0], 1)


def _said(*command: str) -> list[str]:
    """Lines that a command prints; none where there is no such command."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.splitlines()
