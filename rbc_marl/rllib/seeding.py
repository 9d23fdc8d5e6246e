"""Random generators that depend on nothing but a seed and a place in the run.

RLlib does not checkpoint the random state of remote workers, and replaces killed ones. So nobody keeps a generator:
each draw is a function of (seed, who draws, env steps so far), and a run that is resumed or loses a worker draws what
it would have drawn.
"""

from __future__ import annotations

import numpy as np
import torch


def generator_at(device: torch.device | str, *place: int) -> torch.Generator:
    """A generator seeded by a sequence of non-negative integers, such as (seed, worker, env steps)."""
    state = np.random.SeedSequence(place).generate_state(2, np.uint32)
    return torch.Generator(device=device).manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)
