"""Slabs bound what is in memory at once, whatever the network."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest
import torch
from torch import nn

from rbc_marl import preset
from rbc_marl.config import AGENT_TYPES
from rbc_marl.policies import slabs
from rbc_marl.policies.build import NETWORKS, build_network

ECONOMY = preset("open", num_consumers=20, num_firms=5)
CPU = torch.device("cpu")


def largest_hidden_layer(network, agent_type, rows):
    """Values of the largest tensor that a network makes of some rows, its heads aside."""
    sizes = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.ReLU) and not name.endswith("_head"):
            module.register_forward_hook(lambda module, inputs, output: sizes.append(output.numel()))
    private = torch.zeros(rows, ECONOMY.agents(agent_type), network.seen_size)
    network(torch.zeros(rows, network.shared_size), private)
    return max(sizes)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("agent_type", AGENT_TYPES)
@pytest.mark.parametrize("hidden", [[16, 16], [8, 24]])
def test_a_slab_keeps_hidden_layers_within_bounds_and_is_no_smaller_than_it_must(kind, agent_type, hidden, monkeypatch):
    monkeypatch.setattr(slabs, "CPU_SLAB_VALUES", 20_000)
    network = build_network(ECONOMY, agent_type, "symlog", {"kind": kind, "hidden": hidden})
    cuts = list(slabs.slabs(3000, ECONOMY.agents(agent_type) * network.hidden_values, CPU))
    assert [row for cut in cuts for row in range(cut.start, cut.stop)] == list(range(3000))
    rows = cuts[0].stop
    assert largest_hidden_layer(network, agent_type, rows) <= 20_000
    assert largest_hidden_layer(network, agent_type, rows + 1) > 20_000


def test_a_row_too_large_for_a_slab_is_worked_on_alone(monkeypatch):
    monkeypatch.setattr(slabs, "CPU_SLAB_VALUES", 20_000)
    assert list(slabs.slabs(2, 50_000, CPU)) == [slice(0, 1), slice(1, 2)]


def test_an_accelerator_takes_all_rows_at_once():
    assert list(slabs.slabs(7, 10**9, torch.device("cuda"))) == [slice(0, 7)]


BLOCK = 36 << 20  # bytes: above what glibc adapts to by itself
KEPT = """
import ctypes
import torch
from rbc_marl.policies.slabs import keep_freed_memory


class Kept(ctypes.Structure):
    _fields_ = [(n, ctypes.c_size_t) for n in "arena ordblks smblks hblks mapped usm fsm used free top".split()]


told = ctypes.CDLL(None).mallinfo2
told.restype = Kept
torch.set_num_threads(1)
"""


def kept_memory(code):
    """Bytes that glibc keeps after work with a large tensor that follows some code, in a process of its own."""
    script = f"{KEPT}\n{code}\ntorch.ones({BLOCK} // 4)\nprint(told().free)\n"
    return int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not hasattr(ctypes.CDLL(None), "mallinfo2"),
    reason="only glibc from 2.33 on has this account",
)
def test_memory_is_kept_from_one_piece_of_work_to_the_next():
    assert kept_memory("") < BLOCK <= kept_memory("assert keep_freed_memory()")


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    assert slabs.keep_freed_memory.__wrapped__() is False


@pytest.mark.parametrize(("largest", "calls"), [(1 << 30, [-3, -1]), (1 << 25, [-3, -3, -1]), (0, [-3, -3])])
def test_a_library_that_refuses_large_thresholds_gets_smaller_ones_or_none(monkeypatch, largest, calls):
    made = []

    class Library:
        gnu_get_libc_version = None

        @staticmethod
        def mallopt(option, value):
            made.append(option)
            return int(option == -1 or value <= largest)

    monkeypatch.setattr("ctypes.CDLL", lambda name: Library)
    monkeypatch.setattr("sys.platform", "linux")
    assert slabs.keep_freed_memory.__wrapped__() is (largest > 0)
    assert made == calls
