"""What stands behind every environment: a batch of economies of which some agents are played from outside.

What is imposed on those who play the others is a part of the world: the trained agents live with it too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rbc_marl.choices import decode
from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.economy import Actions, Flows
from rbc_marl.envs.actions import (
    FIELDS,
    ActionSettings,
    check_batch,
    check_joint_choices,
    to_indices,
    to_quantities,
)
from rbc_marl.envs.masks import ActionMasks
from rbc_marl.envs.others import Others, resolve_others, trained_agents
from rbc_marl.errors import ConfigError
from rbc_marl.policies.imposed import Law, freely, law_of
from rbc_marl.settings import seed_of
from rbc_marl.vector_env import VectorEconomy, check_fits, device_of


class StepResult(NamedTuple):
    """What one step of a `ControlledBatch` gave."""

    observation: dict[str, Tensor]
    """As of `VectorEconomy`, of all agents."""
    rewards: dict[str, Tensor]
    """Of all agents: "consumer" [B, C], "firm" [B, F], "government" [B, 1]."""
    is_over: bool
    """Whether the episodes ended with this period."""
    flows: Flows
    """What happened."""
    employer: Tensor
    """[B, C] firm each consumer chose to work for."""


class ControlledBatch:
    """A batch of economies, some agents of which act in a given mode while policies play the others.

    The others draw from a generator of this batch's own. The economy itself draws nothing but its shocks.

    Attributes:
        economy: The batch, without autoreset.
        action_mode: How the trained agents act; see `rbc_marl.envs.actions`.
        masks: What the trained agents may choose; None where the batch was made without masks.
        trained: Numbers of the trained agents by type.
        names: Their names by type, such as "firm_0".
        others: Whoever plays the rest; None where everybody is trained.
        law: What is imposed on everybody.
        observation: Of all agents, now; None before the first reset.
    """

    def __init__(
        self,
        config: EconomyConfig,
        *,
        num_envs: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        action_mode: str = "multidiscrete",
        action_mask: bool = False,
        encoding: str = "symlog",
        train_types: Sequence[str] | None = None,
        others: Others = "monopoly",
        seed: int | None = None,
    ) -> None:
        """Make the batch; see `VectorEconomy`, `trained_agents` and `resolve_others` for the arguments.

        Without a seed here or at the first reset, the others' draws are new ones each time.

        Raises:
            ConfigError: An argument is unknown or out of range.
        """
        settings = ActionSettings.parse({"action_mode": action_mode, "action_mask": action_mask}, "")
        check_fits(config, num_envs if type(num_envs) is int else 1, device_of(device))  # before there are names
        self.trained = trained_agents(config, train_types)
        if settings.action_mode == "discrete":
            check_joint_choices(config, self.trained)
        self.action_mode: str = settings.action_mode
        self.names = {t: [f"{t}_{i}" for i in numbers] for t, numbers in self.trained.items()}
        self.masks = ActionMasks(config, action_mode, self.names) if settings.action_mask else None
        first_seed = 0 if seed is None else seed
        self.economy = VectorEconomy(
            config, num_envs, device, dtype, first_seed, autoreset=False, encoding=encoding
        )
        self._is_seeded = seed is not None
        self._rows = {t: torch.tensor(numbers, device=self.economy.device) for t, numbers in self.trained.items()}
        self._is_whole = {t: len(self.trained.get(t, ())) == config.agents(t) for t in AGENT_TYPES}
        everybody = all(self._is_whole.values())
        self.others = None if everybody else resolve_others(config, others, encoding, device)
        self.law = Law() if self.others is None else law_of(self.others)
        self.economy.impose(self.law.factors)
        bound = {agent_type for agent_type, _ in self.law.replaced} & set(self.trained)
        if settings.action_mode == "box" and bound:
            what = f'what is imposed on the others holds for the {min(bound)} as well, which action_mode "box" cannot'
            raise ConfigError(f"{what} obey; use another action_mode, or give rbc_marl.load(PATH), which leaves it out")
        self.observation: dict[str, Tensor] | None = None

    def set_action_masks(self, masks: Mapping[str, Any]) -> None:
        """Allow only some choices, from now on; see `ActionMasks.set`.

        Raises:
            ConfigError: A mask cannot be, or there are no action masks.
        """
        if self.masks is None:
            raise ConfigError("the environment has no action masks; make it with action_mask=True")
        self.masks.set(masks)

    def set_horizon(self, horizon: int) -> None:
        """Change the number of periods in an episode; `reset` must follow."""
        old = self.economy
        if horizon != old.config.horizon:
            config = old.config.replace(horizon=horizon)
            self.economy = VectorEconomy(
                config, old.num_envs, old.device, old.dtype, autoreset=False, encoding=old.encoding
            )
            self.economy.generator = old.generator
            self.economy.shock_seed, self.economy.episodes_drawn = old.shock_seed, old.episodes_drawn
            self.economy.impose(old.imposed)
            self.economy.set_parameters(old.parameters)
            self.observation = None

    def reset(self, seed: int | None = None) -> dict[str, Tensor]:
        """Start new episodes; a seed restarts the shocks and the others' draws. Returns observations of all."""
        if seed is not None:
            self.seed(seed)
        elif not self._is_seeded:
            self.economy.seed(self.economy.generator.seed())  # or all that nobody seeds would draw alike
        self._is_seeded = True
        self.observation = self.economy.reset()
        return self.observation

    def seed(self, seed: int) -> None:
        """Restart the shocks and the others' draws."""
        self.economy.seed(seed_of(seed))
        self._is_seeded = True

    def step(self, actions: Mapping[str, Tensor]) -> StepResult:
        """Play one period.

        Args:
            actions: Of the A trained agents of each type, in the action mode: [B, A, F + 2] indices of consumers and
                [B, A] of firms and the government; all [B, A] where discrete; [B, A, n] from -1 to 1 where a box.

        Raises:
            ConfigError: The episode has not begun or is over, or an action cannot be (see `VectorEconomy.step`).
        """
        economy = self.economy
        self.check(actions)
        others = self._act_for_others()
        if self.action_mode == "box":
            quantities = self._quantities(self.law.of(others, economy.require_state()), actions)
            observation, rewards, _, flows = economy.play(quantities)
            employer = quantities.employer
        else:
            chosen = {t: self._indices(t, others, actions) for t in AGENT_TYPES}
            indices = self.law.of(chosen, economy.require_state())
            observation, rewards, _, flows = economy.step(indices)
            employer = indices["consumer"][..., -1]
        self.observation = observation
        rewards = {**rewards, "government": rewards["government"].unsqueeze(-1)}
        is_over = economy.periods_left == 0
        return StepResult(observation, rewards, is_over, flows, employer)

    def check(self, actions: Mapping[str, Tensor]) -> None:
        """Refuse what `step` would refuse, but for the ranges of indices.

        Raises:
            ConfigError: The episode has not begun or is over, or actions have the wrong agents, shape or type, or are
                forbidden by a mask.
        """
        self.economy.check_running()
        shapes = {t: (self.economy.num_envs, len(numbers)) for t, numbers in self.trained.items()}
        check_batch(self.economy.config, self.action_mode, shapes, actions)
        if self.masks is not None:
            for agent_type, action in actions.items():
                self.masks.check(agent_type, action)

    def rows(self, values: Tensor, agent_type: str) -> Tensor:
        """Of values [B, N, ...] of all agents of a type those of the trained ones [B, A, ...]."""
        return values if self._is_whole[agent_type] else values.index_select(1, self._rows[agent_type])

    def _act_for_others(self) -> dict[str, Tensor]:
        state = self.economy.require_state()
        if self.others is None:
            return {}
        assert self.observation is not None
        indices = freely(self.others)(self.observation, self.economy.generator, state=state)
        return {**indices, "government": indices["government"].unsqueeze(-1)}

    def _indices(self, agent_type: str, others: Mapping[str, Tensor], actions: Mapping[str, Tensor]) -> Tensor:
        """Indices of all agents of a type."""
        indices = others.get(agent_type)
        if agent_type in self.trained:
            own = actions[agent_type]
            if self.action_mode == "discrete":
                own = to_indices(self.economy.config, agent_type, own)
            indices = own if self._is_whole[agent_type] else self._with_rows(indices, agent_type, own)
        assert indices is not None
        return indices.flatten() if agent_type == "government" else indices

    def _quantities(self, others: Mapping[str, Tensor], actions: Mapping[str, Tensor]) -> Actions:
        """Quantities of all agents, the others' from their indices."""
        config, dtype = self.economy.config, self.economy.dtype
        fields: dict[str, Tensor] = {}
        if others:
            flat = {**others, "government": others["government"].flatten()}
            base = decode(config, **flat, dtype=dtype)
            fields = {name: getattr(base, name) for names in FIELDS.values() for name in names}
        for agent_type in self.trained:
            for name, own in to_quantities(config, agent_type, actions[agent_type].to(dtype)).items():
                if not self._is_whole[agent_type]:
                    own = self._with_rows(fields[name], agent_type, own)
                fields[name] = own.flatten() if agent_type == "government" else own
        return Actions(**fields)

    def _with_rows(self, everybody: Tensor | None, agent_type: str, own: Tensor) -> Tensor:
        """A copy of everybody's values [B, N, ...] with those of the trained agents [B, A, ...] in their places."""
        assert everybody is not None
        return everybody.index_copy(1, self._rows[agent_type], own.to(everybody.dtype))
