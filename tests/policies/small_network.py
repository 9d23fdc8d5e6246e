"""A network of one's own, as a user would write it."""

from __future__ import annotations

import torch
from torch import nn

from rbc_marl.policies.networks import SharedBodyNetwork


class TanhNetwork(SharedBodyNetwork):
    """One hidden layer of tanh over the whole observation."""

    def __init__(self, config, agent_type, encoding, sizes, width=8):
        """Make the layer."""
        super().__init__(config, agent_type, encoding, sizes)
        self.body = nn.Linear(self.shared_size + self.private_size, width)
        self.make_heads(width)

    def features(self, shared, private):
        """Hidden layer [N, A, width]."""
        both = torch.cat([shared.unsqueeze(1).expand(-1, private.shape[1], -1), self.written_out(private)], -1)
        return torch.tanh(self.body(both))
