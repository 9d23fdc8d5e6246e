"""Whole episodes of a batch of economies as tensors: what an env runner hands to a learner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rbc_marl.config import AGENT_TYPES

_COLUMNS = ("observations", "actions", "logp", "rewards")


@dataclass(frozen=True)
class Rollout:
    """T periods of E economies, standing where RLlib expects an episode: with a length and slices in env steps.

    The global part of an observation is stored once per economy and period, and actions in one byte where they fit:
    about a tenth of the memory of one record per agent.
    """

    observations: dict[str, Tensor]
    """"global" [T, E, G], and private parts "consumer" [T, E, C, P], "firm" [T, E, F, Q], "government" [T, E, 1, 0]."""
    actions: dict[str, Tensor]
    """[T, E, A, H] indices of choices by agent type."""
    logp: dict[str, Tensor]
    """[T, E, A] log-probability of the actions when they were taken."""
    rewards: dict[str, Tensor]
    """[T, E, A] as the economy gave them, not scaled."""
    is_probe: Tensor
    """[E] whether an economy is a probe, from which only some types learn."""
    phase_step: int = 0
    """Env steps of the whole run at which its phase was taken: those before its iteration."""

    @property
    def periods(self) -> int:
        """Length of each episode (T)."""
        return self.observations["global"].shape[0]

    @property
    def economies(self) -> int:
        """Number of episodes (E)."""
        return self.observations["global"].shape[1]

    def __len__(self) -> int:
        """Env steps, as RLlib counts them: economies times periods."""
        return self.periods * self.economies

    def env_steps(self) -> int:
        """Env steps: economies times periods."""
        return len(self)

    def agent_steps(self) -> int:
        """Agent steps: env steps times agents."""
        return sum(actions.shape[0] * actions.shape[1] * actions.shape[2] for actions in self.actions.values())

    def __getitem__(self, steps: slice) -> Rollout:
        """Some of the episodes, given in env steps.

        Raises:
            ValueError: The slice would cut an episode.
        """
        start, stop, _ = steps.indices(len(self))
        if start % self.periods or stop % self.periods:
            raise ValueError(
                f"cannot cut an episode of {self.periods} periods at env step {start} or {stop}: "
                "the number of economies must divide evenly among the learners"
            )
        economies = slice(start // self.periods, stop // self.periods)
        return replace(self._map(lambda x: x[:, economies]), is_probe=self.is_probe[economies])

    def slice(self, steps: slice, *, len_lookback_buffer: int | None = None) -> Rollout:
        """`__getitem__` under the name that RLlib's sharding uses; there is no lookback."""
        return self[steps]

    def cpu(self) -> Rollout:
        """A copy in host memory, to travel between processes."""
        return self.to(torch.device("cpu"))

    def to(self, device: torch.device) -> Rollout:
        """Move to a device."""
        return replace(self._map(lambda x: x.to(device)), is_probe=self.is_probe.to(device))

    def _map(self, function: Callable[[Tensor], Tensor]) -> Rollout:
        columns: dict[str, Any] = {
            name: {key: function(value) for key, value in getattr(self, name).items()} for name in _COLUMNS
        }
        return replace(self, **columns)

    @staticmethod
    def join(rollouts: Sequence[Rollout]) -> Rollout:
        """Put the economies of several rollouts side by side."""
        if len(rollouts) == 1:
            return rollouts[0]
        return Rollout(
            **{
                name: {
                    key: torch.cat([getattr(rollout, name)[key] for rollout in rollouts], dim=1)
                    for key in getattr(rollouts[0], name)
                }
                for name in _COLUMNS
            },
            is_probe=torch.cat([rollout.is_probe for rollout in rollouts]),
            phase_step=min(rollout.phase_step for rollout in rollouts),
        )


class RolloutBuilder:
    """Collects periods one by one and stacks them once."""

    def __init__(self) -> None:
        """Start empty."""
        self._columns: dict[str, dict[str, list[Tensor]]] = {
            "observations": {"global": [], **{t: [] for t in AGENT_TYPES}},
            "actions": {t: [] for t in AGENT_TYPES},
            "logp": {t: [] for t in AGENT_TYPES},
            "rewards": {t: [] for t in AGENT_TYPES},
        }

    def add(self, column: str, values: dict[str, Tensor]) -> None:
        """Add one period of a column."""
        for key, value in values.items():
            self._columns[column][key].append(value)

    def build(self, is_probe: Tensor) -> Rollout:
        """The rollout of all periods added; ``is_probe`` [E] says which economies are probes."""
        columns: dict[str, Any] = {
            name: {key: torch.stack(rows) for key, rows in column.items()} for name, column in self._columns.items()
        }
        return Rollout(**columns, is_probe=is_probe)
