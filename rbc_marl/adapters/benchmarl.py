"""The economy as a task of BenchMARL: its algorithms and models on batches of economies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rbc_marl.adapters.action_modes import MOST_JOINT_CHOICES, joint_choices
from rbc_marl.adapters.others import trained_agents
from rbc_marl.config import AGENT_TYPES, EconomyConfig, resolve_config
from rbc_marl.errors import ConfigError, nearest, require

require("benchmarl", "benchmarl")
from benchmarl.environments.common import TaskClass  # noqa: E402 - not before it is known to be there
from torchrl.data import Composite  # noqa: E402
from torchrl.envs import EnvBase, RewardScaling, Transform  # noqa: E402

from rbc_marl.adapters.torchrl import BatchedEconomy  # noqa: E402

# What a task's configuration may hold besides the fields of EconomyConfig, with the defaults.
OPTIONS: dict[str, Any] = {
    "train_types": None,
    "others": "monopoly",
    "encoding": "symlog",
    "state": False,
    "action_mask": False,
    "reward_scale": {"consumer": 5.0, "firm": 30000.0, "government": 1000.0},
}


class EconomyTask(TaskClass):
    """Hand it to `benchmarl.experiment.Experiment(task=...)`.

    With discrete actions an agent's choices become one index, which needs few choices or firms:
    `supports_discrete_actions` says whether they are few enough. Continuous actions are those of the mode "box".

    Attributes:
        name: "open" or "closed".
        config: Fields of `EconomyConfig` that differ from the preset's, and those of `OPTIONS`.
        economy: The economy.
    """

    def __init__(self, name: str = "open", config: Mapping[str, Any] | None = None) -> None:
        """Make the task.

        Args:
            name: The preset.
            config: See the class. "reward_scale" holds divisors that bring the rewards of each agent type to about 1.

        Raises:
            ConfigError: The preset or a field is unknown, or a value is invalid.
        """
        super().__init__(name=name, config=dict(config or {}))
        given = dict(self.config)
        self._options = {key: given.pop(key, default) for key, default in OPTIONS.items()}
        unknown = [key for key in given if key not in EconomyConfig.model_fields]
        if unknown:
            hint = nearest(unknown[0], [*EconomyConfig.model_fields, *OPTIONS])
            raise ConfigError(f"{unknown[0]} is neither a field of an economy nor an option of the task{hint}")
        self.economy = resolve_config(name, **given)
        self._types = tuple(trained_agents(self.economy, self._options["train_types"]))
        self._scales = _check_scales(self._options.pop("reward_scale"))

    def get_env_fun(
        self,
        num_envs: int,
        continuous_actions: bool,
        seed: int | None,
        device: Any,  # noqa: ANN401 - whatever torch takes for a device
    ) -> Callable[[], EnvBase]:
        """A function that makes the batch of ``num_envs`` economies."""

        def make() -> EnvBase:
            mode = "box" if continuous_actions else "discrete"
            return BatchedEconomy(
                self.economy, num_envs, device=device, action_mode=mode, seed=seed or 0, **self._options
            )

        return make

    def supports_continuous_actions(self) -> bool:
        """Unless action masks are asked for: what is continuous has no choices to mask."""
        return not self._options["action_mask"]

    def supports_discrete_actions(self) -> bool:
        """Whether no trained agent has more than 4,096 joint choices."""
        return all(joint_choices(self.economy, t) <= MOST_JOINT_CHOICES for t in self._types)

    def max_steps(self, env: EnvBase) -> int:
        """Periods of an episode."""
        return self.economy.horizon

    def has_render(self, env: EnvBase) -> bool:
        """Batches of economies draw no pictures."""
        return False

    def group_map(self, env: EnvBase) -> dict[str, list[str]]:
        """Agents by type."""
        groups: dict[str, list[str]] = env.group_map
        return groups

    def observation_spec(self, env: EnvBase) -> Composite:
        """What the agents of each group see."""
        spec = env.full_observation_spec_unbatched.clone()
        return _only(spec, "observation")

    def info_spec(self, env: EnvBase) -> Composite | None:
        """None: there are no infos."""
        return None

    def state_spec(self, env: EnvBase) -> Composite | None:
        """What central critics see, where the option ``state`` asks for it."""
        spec = env.full_observation_spec_unbatched
        return Composite({"state": spec["state"].clone()}) if self._options["state"] else None

    def action_spec(self, env: EnvBase) -> Composite:
        """Actions of each group."""
        return env.full_action_spec_unbatched

    def action_mask_spec(self, env: EnvBase) -> Composite | None:
        """What is allowed, where the option ``action_mask`` asks for it; see `BatchedEconomy.set_action_masks`."""
        spec = env.full_observation_spec_unbatched.clone()
        return _only(spec, "action_mask") if self._options["action_mask"] else None

    def get_env_transforms(self, env: EnvBase) -> list[Transform]:
        """Rewards divided by their scale."""
        return [
            RewardScaling(loc=0.0, scale=1.0 / self._scales[group], in_keys=[(group, "reward")])
            for group in self.group_map(env)
            if group in self._scales
        ]

    @staticmethod
    def env_name() -> str:
        """The name under which BenchMARL files the results."""
        return "rbc_marl"


def _only(spec: Composite, name: str) -> Composite:
    """Of a spec with groups what has a name in each."""
    for group in list(spec.keys()):
        if group not in AGENT_TYPES:
            del spec[group]
            continue
        for key in list(spec[group].keys()):
            if key != name:
                del spec[group, key]
    return spec


def _check_scales(scales: Any) -> dict[str, float]:  # noqa: ANN401 - from a configuration
    if scales is None:
        return {}
    if not isinstance(scales, Mapping):
        raise ConfigError(f"reward_scale is {scales!r}; it must be a mapping, such as {{firm: 30000}}")
    for agent_type, scale in scales.items():
        if agent_type not in AGENT_TYPES:
            raise ConfigError(f"reward_scale.{agent_type} is not an agent type{nearest(str(agent_type), AGENT_TYPES)}")
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not scale > 0:
            raise ConfigError(f"reward_scale.{agent_type} is {scale!r}; it must be a number greater than 0")
    return {agent_type: float(scale) for agent_type, scale in scales.items()}
