"""Whoever decides for all agents of an economy: trained networks, or rules written by hand.

Both follow one protocol, `Policies`: they receive what the agents observe and, for rules that read it, the true state,
and return indices of choices for every agent, as `rbc_marl.VectorEconomy.step` takes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from rbc_marl.config import EconomyConfig
from rbc_marl.economy import EconomyState


class Policies(Protocol):
    """Decisions for every agent of one economy."""

    @property
    def config(self) -> EconomyConfig:
        """The economy that the policies are made for."""
        ...

    @property
    def encoding(self) -> str:
        """How money and units must enter the observations: "symlog" or "digits"."""
        ...

    @property
    def device(self) -> torch.device:
        """Where observations, states and generators must be."""
        ...

    def act(
        self,
        observation: Mapping[str, Tensor],
        generator: torch.Generator | None = None,
        greedy: bool = False,
        *,
        state: EconomyState | None = None,
    ) -> dict[str, Tensor]:
        """Decide for one period.

        Args:
            observation: "global" [B, G] and the private parts "consumer" [B, C, P], "firm" [B, F, Q] and "government"
                [B, 1, 0].
            generator: Behind every draw; None for torch's own. Not used where greedy.
            greedy: Whether to take the likeliest choice instead of drawing one. Employers are dealt out to consumers by
                their probabilities: alike consumers would all join one firm. The result is deterministic.
            state: At the start of the period. Trained policies ignore it; rules need it.

        Returns:
            Indices "consumer" [B, C, F + 2], "firm" [B, F], "government" [B], int64.
        """
        ...
