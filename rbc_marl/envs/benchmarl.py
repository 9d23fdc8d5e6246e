"""The economy as a task of BenchMARL: its algorithms and models on batches of economies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from pydantic import Field

from rbc_marl.config import AGENT_TYPES, EconomyConfig, Positive, resolve_config
from rbc_marl.envs.actions import MOST_JOINT_CHOICES, joint_choices
from rbc_marl.envs.others import trained_agents
from rbc_marl.errors import ConfigError, nearest, require
from rbc_marl.observations import Encoding
from rbc_marl.settings import Section

require("benchmarl", "benchmarl")
from benchmarl.environments.common import TaskClass  # noqa: E402 - not before it is known to be there
from torchrl.data import Composite  # noqa: E402
from torchrl.envs import EnvBase, RewardScaling, Transform  # noqa: E402

from rbc_marl.envs.torchrl import BatchedEconomy  # noqa: E402


class RewardScale(Section):
    """Divisors that bring the rewards of each agent type to about 1; a type without one keeps its rewards."""

    noun: ClassVar[str] = "an agent type"

    consumer: Positive | None = None
    firm: Positive | None = None
    government: Positive | None = None


class TaskOptions(Section):
    """What a task's configuration may hold besides the fields of `EconomyConfig`; see `BatchedEconomy`."""

    noun: ClassVar[str] = "an option of the task"

    train_types: Any = None
    others: Any = "monopoly"
    encoding: Encoding = "symlog"
    state: bool = False
    action_mask: bool = False
    reward_scale: RewardScale | None = Field(default=RewardScale(consumer=5.0, firm=30000.0, government=1000.0))


class EconomyTask(TaskClass):
    """Hand it to `benchmarl.experiment.Experiment(task=...)`.

    With discrete actions an agent's choices become one index, which needs few choices or firms:
    `supports_discrete_actions` says whether they are few enough. Continuous actions are those of the mode "box".

    Attributes:
        name: "open" or "closed".
        config: Fields of `EconomyConfig` that differ from the preset's, and those of `TaskOptions`.
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
        fields, options = set(EconomyConfig.model_fields), set(TaskOptions.model_fields)
        for key in (key for key in self.config if key not in fields | options):
            hint = nearest(key, fields | options)
            raise ConfigError(f"{key} is neither a field of an economy nor an option of the task{hint}")
        self.economy = resolve_config(name, **{key: self.config[key] for key in self.config.keys() & fields})
        self._options = TaskOptions.parse({key: self.config[key] for key in self.config.keys() & options}, "")
        self._types = tuple(trained_agents(self.economy, self._options.train_types))

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
            arguments = {key: value for key, value in self._options if key != "reward_scale"}
            return BatchedEconomy(
                self.economy, num_envs, device=device, action_mode=mode, seed=seed or 0, **arguments
            )

        return make

    def supports_continuous_actions(self) -> bool:
        """Unless action masks are asked for: what is continuous has no choices to mask."""
        return not self._options.action_mask

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
        return Composite({"state": spec["state"].clone()}) if self._options.state else None

    def action_spec(self, env: EnvBase) -> Composite:
        """Actions of each group."""
        return env.full_action_spec_unbatched

    def action_mask_spec(self, env: EnvBase) -> Composite | None:
        """What is allowed, where the option ``action_mask`` asks for it; see `BatchedEconomy.set_action_masks`."""
        spec = env.full_observation_spec_unbatched.clone()
        return _only(spec, "action_mask") if self._options.action_mask else None

    def get_env_transforms(self, env: EnvBase) -> list[Transform]:
        """Rewards divided by their scale."""
        scales = dict(self._options.reward_scale or ())
        return [
            RewardScaling(loc=0.0, scale=1.0 / scales[group], in_keys=[(group, "reward")])
            for group in self.group_map(env)
            if scales.get(group)
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
