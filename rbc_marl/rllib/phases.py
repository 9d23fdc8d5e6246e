"""Where a run stands: the phase of its curriculum, what that means for modules, and draws that depend on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.curriculum import Curriculum, Phase, Schedule, parse_curriculum
from rbc_marl.policies.distributions import MASKED_LOGIT
from rbc_marl.rllib.settings import agent_type_of, economy_on_any_path, module_ids

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
    from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule

# Name of an iteration's env steps in the states of algorithms and env runners.
STEPS_PER_ITERATION = "steps_per_iteration"


class PhaseTracker:
    """Finds the phase of an env step, and masks modules accordingly.

    It keeps no progress of its own: env runners and evaluation runners ask with the env steps they were told, learners
    with those that the rollouts bring along.

    Attributes:
        steps_per_iteration: Env steps of an iteration. A run that was restored goes on with what it began with.
    """

    def __init__(
        self,
        config: AlgorithmConfig,
        device: torch.device | str,
        schedule: Schedule | None = None,
    ) -> None:
        """Read the length of an iteration, and unless one is given the schedule, from an AlgorithmConfig.

        A schedule was checked when the configuration was; here it is only bound to the economy.
        """
        self.economy: EconomyConfig = economy_on_any_path(config)
        schedule = parse_curriculum(getattr(config, "curriculum", None)) if schedule is None else schedule
        self.schedule = schedule.of(self.economy) if isinstance(schedule, Curriculum) else schedule
        self.steps_per_iteration = max(int(config.total_train_batch_size), 1) if self.schedule is not None else 1
        self.device = torch.device(device)
        self._types = {module_id: agent_type_of(config, module_id) for module_id in module_ids(config)}
        self._log_masks: dict[tuple[Any, ...], dict[str, Tensor]] = {}

    def at(self, env_steps: int) -> Phase:
        """The phase in which the env step after ``env_steps`` falls."""
        if self.schedule is None:
            return Phase()
        return self.schedule.phase(env_steps // self.steps_per_iteration)

    def mask(self, modules: MultiRLModule, phase: Phase) -> None:
        """Set the masks of a phase in all modules that can be masked."""
        if self.schedule is None:
            return
        log_masks = self._masks_of(phase)
        for module_id, agent_type in self._types.items():
            if agent_type in log_masks and module_id in modules:
                network = getattr(modules[module_id].unwrapped(), "network", None)
                if network is not None:  # RLlib's own modules take no mask
                    network.log_mask.copy_(log_masks[agent_type])

    def lift(self, modules: MultiRLModule) -> None:
        """Allow every choice where there is no curriculum, whose phases alone mask some."""
        if self.schedule is not None:
            return
        for module_id in self._types:
            network = getattr(modules[module_id].unwrapped(), "network", None) if module_id in modules else None
            if network is not None:
                network.lift_mask()

    def not_followed(self, modules: MultiRLModule) -> list[str]:
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


def generator_at(device: torch.device | str, *path: int) -> torch.Generator:
    """A generator seeded by a sequence of non-negative integers, such as (seed, worker, env steps).

    RLlib does not checkpoint the random state of remote workers, and replaces killed ones. So nobody keeps a generator:
    each draw is a function of (seed, who draws, env steps so far), and a run that is resumed or loses a worker draws
    what it would have drawn.
    """
    state = np.random.SeedSequence(path).generate_state(2, np.uint32)
    return torch.Generator(device=device).manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)
