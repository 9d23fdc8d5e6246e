"""Where a run stands in its curriculum, and what that means for its modules."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.curriculum import Phase, Schedule, build_curriculum
from rbc_marl.policies.distributions import MASKED_LOGIT
from rbc_marl.rllib.economy_config import economy_on_any_path
from rbc_marl.rllib.roles import agent_type_of, module_ids

# Name of an iteration's env steps in the states of algorithms and env runners.
STEPS_PER_ITERATION = "steps_per_iteration"


class PhaseTracker:
    """Finds the phase of an env step, and masks modules accordingly.

    It keeps no progress of its own: env runners and evaluation runners ask with the env steps they were told, learners
    with those that the rollouts bring along.

    Attributes:
        steps_per_iteration: Env steps of an iteration. A run that was restored goes on with what it began with.
    """

    def __init__(self, config: Any, device: torch.device | str, curriculum: Any = None) -> None:  # noqa: ANN401
        """Read the length of an iteration, and unless one is given the curriculum, from an AlgorithmConfig."""
        self.economy: EconomyConfig = economy_on_any_path(config)
        self.schedule: Schedule | None = build_curriculum(
            getattr(config, "curriculum", None) if curriculum is None else curriculum, self.economy
        )
        self.steps_per_iteration = max(int(config.total_train_batch_size), 1) if self.schedule is not None else 1
        self.device = torch.device(device)
        self._types = {module_id: agent_type_of(config, module_id) for module_id in module_ids(config)}
        self._log_masks: dict[tuple[Any, ...], dict[str, Tensor]] = {}

    def at(self, env_steps: int) -> Phase:
        """The phase in which the env step after ``env_steps`` falls."""
        if self.schedule is None:
            return Phase()
        return self.schedule.phase(env_steps // self.steps_per_iteration)

    def mask(self, modules: Any, phase: Phase) -> None:  # noqa: ANN401 - a MultiRLModule
        """Set the masks of a phase in all modules that can be masked."""
        if self.schedule is None:
            return
        log_masks = self._masks_of(phase)
        for module_id, agent_type in self._types.items():
            if agent_type in log_masks and module_id in modules:
                network = getattr(modules[module_id].unwrapped(), "network", None)
                if network is not None:  # RLlib's own modules take no mask
                    network.log_mask.copy_(log_masks[agent_type])

    def lift(self, modules: Any) -> None:  # noqa: ANN401 - a MultiRLModule
        """Allow every choice where there is no curriculum, whose phases alone mask some."""
        if self.schedule is not None:
            return
        for module_id in self._types:
            network = getattr(modules[module_id].unwrapped(), "network", None) if module_id in modules else None
            if network is not None:
                network.lift_mask()

    def not_followed(self, modules: Any) -> list[str]:  # noqa: ANN401 - a MultiRLModule
        """What a curriculum asks for at some time that these modules cannot do, in words.

        RLlib's own modules take no mask, and its own env runners let nobody act at random.
        """
        if self.schedule is None:
            return []
        found = []
        phases = [self.schedule.phase(iteration) for iteration in (0, 1, 10, 100, 1000, 10000)]
        for module_id, agent_type in self._types.items():
            module = modules[module_id].unwrapped() if module_id in modules else None
            masks = [mask for phase in phases if (mask := phase.masks(self.economy).get(agent_type)) is not None]
            if module is not None and not hasattr(module, "network") and not all(bool(m.all()) for m in masks):
                found.append(f"restricts what the {agent_type} may choose, but module {module_id} takes no mask")
        found += [f"lets the {t} act at random" for t in AGENT_TYPES if any(t in phase.random for phase in phases)]
        return found

    def _masks_of(self, phase: Phase) -> dict[str, Tensor]:
        key = (phase.price, phase.wage, phase.highest_tax, phase.fixed_taxes)
        if key not in self._log_masks:
            allowed = phase.masks(self.economy)
            self._log_masks.clear()
            self._log_masks[key] = {
                t: torch.where(mask, 0.0, MASKED_LOGIT).to(self.device) for t, mask in allowed.items()
            }
        return self._log_masks[key]
