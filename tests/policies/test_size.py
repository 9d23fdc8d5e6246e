"""What a period and its decisions cost by the size of the economy: numbers written, counted, not timed."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rbc_marl import VectorEconomy, preset
from rbc_marl.config import AGENT_TYPES
from rbc_marl.policies.build import NETWORKS, build_network


class Written(TorchDispatchMode):
    """Counts the elements of all tensors that operations give, views aside."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if not function.is_view:
            self.elements += sum(x.numel() for x in tree_leaves(result) if isinstance(x, torch.Tensor))
        return result


def written(consumers, firms, kind):
    """Numbers that one period writes, with the decisions of all agents."""
    config = preset("open", num_consumers=consumers, num_firms=firms)
    networks = {t: build_network(config, t, "symlog", {"kind": kind, "hidden": [8, 8]}) for t in AGENT_TYPES}
    batch = VectorEconomy(config)
    observation = batch.reset()
    indices = batch.sample_actions()
    with torch.no_grad(), Written() as count:
        for agent_type, network in networks.items():
            logits, _ = network(observation["global"], observation[agent_type])
            network.distribution(logits).sample_and_logp()
        batch.step(indices)
    return count.elements


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize(("consumers", "firms"), [(2, 100), (2000, 2)])
def test_a_decade_of_firms_or_consumers_writes_at_most_twelve_times_as_much(kind, consumers, firms):
    larger = (consumers, firms * 10) if firms > consumers else (consumers * 10, firms)
    assert written(*larger, kind) < 12 * written(consumers, firms, kind)
