"""A batch of economies as a TorchRL environment, on any device, with agents grouped by type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rbc_marl.choices import sample_indices
from rbc_marl.config import EconomyConfig, resolve_config
from rbc_marl.envs.actions import action_length, index_sizes
from rbc_marl.envs.controlled import ControlledBatch
from rbc_marl.envs.masks import ActionMasks
from rbc_marl.envs.others import Others
from rbc_marl.envs.spaces import state_space
from rbc_marl.errors import ConfigError, require
from rbc_marl.observations import bounds, join, observation_size, private_part, whole_state

require("torchrl", "torchrl")
from tensordict import TensorDict, TensorDictBase  # noqa: E402 - not before it is known to be there
from torchrl.data import Binary, Bounded, Categorical, Composite, MultiCategorical, TensorSpec, Unbounded  # noqa: E402
from torchrl.envs import EnvBase  # noqa: E402


class BatchedEconomy(EnvBase):
    """B economies stepped together.

    For each group of A trained agents ("consumer", "firm", "government") a tensordict holds ``(group, "observation")``
    [B, A, n], ``(group, "action")`` ([B, A], or [B, A, n] where an action is several numbers) and, after a step,
    ``("next", group, "reward")`` [B, A, 1]. ``done``, ``terminated`` and ``truncated`` [B, 1] stand at its root: all
    agents of all economies start and end together, so that only whole batches can be reset.

    Attributes:
        group_map: Names of the agents of each group, as in the PettingZoo environment.
        controlled: The economies behind it, and whoever plays the agents without a group.
    """

    def __init__(
        self,
        config: EconomyConfig | str | Mapping[str, Any] | None = "open",
        num_envs: int = 1,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        encoding: str = "symlog",
        action_mode: str = "multidiscrete",
        train_types: Sequence[str] | None = None,
        others: Others = "monopoly",
        state: bool = False,
        split: bool = False,
        action_mask: bool = False,
        terminate_at_horizon: bool = True,
        seed: int = 0,
        **overrides: object,
    ) -> None:
        """Make the batch.

        Args:
            config: A configuration, the name of a preset or a mapping of fields.
            num_envs: Economies in the batch (B).
            device: Where everything is computed.
            dtype: Floating-point type of every quantity.
            encoding: How money and units enter observations: "symlog" or "digits".
            action_mode: "multidiscrete", "discrete" or "box"; see `rbc_marl.envs.actions`.
            train_types: Who has a group: agent types or single agents; None: everybody.
            others: Who plays the rest; see `rbc_marl.envs.others`.
            state: Whether the root also holds "state" [B, G + C P + F Q], all that any agent sees, for central critics.
            split: Whether the global part of observations, which all agents see, stands once at the root, as "global"
                [B, G], and ``(group, "observation")`` holds private parts only: rollouts then need less memory. A
                government has no private part, and no observation then.
            action_mask: Whether groups also hold "action_mask" [B, A, m], true where allowed: an entry for each
                alternative of each of an agent's indices, side by side. See `set_action_masks`.
            terminate_at_horizon: Whether the last period terminates the episode, so that nothing is bootstrapped from a
                value after it (the horizon is the end of a finite game); otherwise it truncates, as in PettingZoo.
            seed: Of random actions and of the others' draws.
            **overrides: Fields of `EconomyConfig` to change.

        Raises:
            ConfigError: An argument is unknown or out of range.
        """
        self.controlled = ControlledBatch(
            resolve_config(config, **overrides),
            num_envs=num_envs,
            device=device,
            dtype=dtype,
            action_mode=action_mode,
            action_mask=action_mask,
            encoding=encoding,
            train_types=train_types,
            others=others,
            seed=seed,
        )
        super().__init__(device=torch.device(device), batch_size=torch.Size([num_envs]))
        self.group_map = self.controlled.names
        self.terminate_at_horizon = terminate_at_horizon
        self._has_state = state
        self._is_split = split
        self._masks = self.controlled.masks
        # What random actions are drawn from: everything, where nothing is masked. Continuous ones need no table.
        self._choices = self._masks
        if self._choices is None and action_mode != "box":
            self._choices = ActionMasks(self.config, action_mode, self.group_map)
        self._make_specs()

    @property
    def config(self) -> EconomyConfig:
        """The economy."""
        return self.controlled.economy.config

    def set_action_masks(self, masks: Mapping[str, Any]) -> None:
        """Allow only some choices, from the next observation on; see `ParallelEconomy.set_action_masks`.

        Raises:
            ConfigError: A mask cannot be, or the environment was made without action masks.
        """
        self.controlled.set_action_masks(masks)

    def rand_action(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        """Write uniformly random (allowed) actions into a tensordict, from this environment's own generator."""
        if tensordict is None:
            tensordict = TensorDict({}, batch_size=self.batch_size, device=self.device)
        for group, action in self._draw().items():
            tensordict.set((group, "action"), action)
        return tensordict

    def _draw(self) -> dict[str, Tensor]:
        economy, mode = self.controlled.economy, self.controlled.action_mode
        if mode == "multidiscrete" and self.controlled.others is None and self._masks is None:
            drawn = sample_indices(self.config, economy.num_envs, economy.generator, economy.device)
            return {**drawn, "government": drawn["government"].unsqueeze(-1)}
        result = {}
        for group, names in self.group_map.items():
            shape: tuple[int, ...] = (economy.num_envs, len(names))
            length = action_length(self.config, group, mode)
            if self._choices is None:
                assert length is not None
                drawn_box = torch.rand(*shape, length, generator=economy.generator, device=economy.device)
                result[group] = drawn_box.to(economy.dtype) * 2.0 - 1.0
                continue
            heads = self._choices.draw(group, shape, economy.generator)
            result[group] = heads.squeeze(-1) if length is None else heads
        return result

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: Any) -> TensorDictBase:  # noqa: ANN401
        asked = None if tensordict is None else tensordict.get("_reset", None)
        if asked is not None and not bool(asked.all()):
            raise ConfigError("some economies of a batch are to be reset alone; all start and end together: reset all")
        result = self._observe(self.controlled.reset())
        for key in ("done", "terminated", "truncated"):
            result.set(key, self._flag(False))
        return result

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        missing = [group for group in self.group_map if tensordict.get((group, "action"), None) is None]
        if missing:
            raise ConfigError(f'there is no ("{missing[0]}", "action") in the tensordict; every group acts')
        actions = {group: tensordict.get((group, "action")) for group in self.group_map}
        played = self.controlled.step(actions)
        result = self._observe(played.observation)
        for group in self.group_map:
            reward = self.controlled.rows(played.rewards[group], group).unsqueeze(-1)
            result.get(group).set("reward", reward)
        is_over = self._flag(played.is_over)
        is_not = self._flag(False)
        result.set("done", is_over)
        result.set("terminated", is_over.clone() if self.terminate_at_horizon else is_not)
        result.set("truncated", is_not if self.terminate_at_horizon else is_over.clone())
        return result

    def _set_seed(self, seed: int | None) -> None:
        if seed is not None:
            self.controlled.seed(seed)

    def _observe(self, observation: dict[str, Tensor]) -> TensorDict:
        parts: dict[str, Any] = {}
        for group, names in self.group_map.items():
            whole = (private_part if self._is_split else join)(observation, group)
            rows = {"observation": self.controlled.rows(whole, group)} if whole.shape[-1] else {}
            shape = torch.Size([*self.batch_size, len(names)])
            if self._masks is not None:
                mask = torch.from_numpy(self._masks.of(group)).to(self.device, torch.bool)
                rows["action_mask"] = mask.expand(*shape, -1)
            parts[group] = TensorDict(rows, batch_size=shape, device=self.device)
        if self._is_split:
            parts["global"] = observation["global"]
        if self._has_state:
            parts["state"] = whole_state(observation)
        return TensorDict(parts, batch_size=self.batch_size, device=self.device)

    def _flag(self, value: bool) -> Tensor:
        return torch.full((*self.batch_size, 1), value, dtype=torch.bool, device=self.device)

    def _make_specs(self) -> None:
        batch, device, dtype = self.batch_size, self.device, self.controlled.economy.dtype
        encoding = self.controlled.economy.encoding
        observation, action, reward = (Composite(shape=batch, device=device) for _ in range(3))
        for group, names in self.group_map.items():
            shape = torch.Size([*batch, len(names)])
            own = slice(observation_size(self.config, group, encoding)[0] if self._is_split else 0, None)
            space = self._observation_space(group, shape, own)
            values = Unbounded((*shape, 1), dtype=dtype, device=device)
            seen = {"observation": space} if space.shape[-1] else {}
            if self._masks is not None:
                length = len(self._masks.of(group))
                seen["action_mask"] = Binary(length, (*shape, length), dtype=torch.bool, device=device)
            observation[group] = Composite(seen, shape=shape, device=device)
            action[group] = Composite({"action": self._action_space(group, shape)}, shape=shape, device=device)
            reward[group] = Composite({"reward": values}, shape=shape, device=device)
        if self._is_split:
            observation["global"] = self._observation_space("government", batch, slice(None))
        if self._has_state:
            whole = state_space(self.config, self.controlled.economy.encoding)
            low, high = (torch.from_numpy(side) for side in (whole.low, whole.high))
            observation["state"] = self._bounded(low, high, batch)
        self.observation_spec = observation
        self.action_spec = action
        self.reward_spec = reward
        flag = Categorical(2, shape=(*batch, 1), dtype=torch.bool, device=device)
        flags = {key: flag.clone() for key in ("done", "terminated", "truncated")}
        self.done_spec = Composite(flags, shape=batch, device=device)

    def _observation_space(self, group: str, shape: torch.Size, part: slice) -> TensorSpec:
        sides = bounds(self.config, group, self.controlled.economy.encoding)
        low, high = (torch.from_numpy(side[part]) for side in sides)
        return self._bounded(low, high, shape)

    def _bounded(self, low: Tensor, high: Tensor, shape: torch.Size) -> TensorSpec:
        low, high = (side.to(self.device, self.controlled.economy.dtype).expand(*shape, -1) for side in (low, high))
        return Bounded(low, high, dtype=low.dtype, device=self.device)

    def _action_space(self, group: str, shape: torch.Size) -> TensorSpec:
        mode = self.controlled.action_mode
        length, device = action_length(self.config, group, mode), self.device
        if mode == "box":
            return Bounded(-1.0, 1.0, (*shape, length), dtype=self.controlled.economy.dtype, device=device)
        sizes = index_sizes(self.config, group, mode)
        if length is None:
            return Categorical(sizes[0], shape=shape, dtype=torch.int64, device=device)
        return MultiCategorical(sizes, shape=(*shape, length), dtype=torch.int64, device=device)
