"""A batch of economies stepped together on one device: what learners and environments stand on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from rbc_marl import memory
from rbc_marl.choices import check_quantities, check_ranges, check_shapes, decode, sample_indices
from rbc_marl.config import EconomyConfig, resolve_config
from rbc_marl.economy import Actions, EconomyState, Flows, Number, initial_state, period
from rbc_marl.economy.audit import try_parts
from rbc_marl.economy.parameters import LABOUR_DISUTILITY_SCALE, check_parameters, own_number
from rbc_marl.economy.shocks import Seeds, impose, seed_from
from rbc_marl.errors import ConfigError, one_of, shown
from rbc_marl.observations import Encoding, observe
from rbc_marl.processes import Shocks
from rbc_marl.settings import Section, Seed, seed_of
from rbc_marl.starts import warm

# Half precision ends at 65,504, where firms begin with millions.
DTYPES = (torch.float32, torch.float64, torch.bfloat16)
_BFLOAT16_COUNTS_TO = 256


class BatchSettings(Section):
    """What a batch of economies is made with, beside the economy and its tensors' type and device."""

    noun: ClassVar[str] = "an argument of a batch"

    num_envs: Annotated[int, Field(ge=1)] = 1
    seed: Seed = 0
    autoreset: bool = True
    encoding: Encoding = "symlog"


def device_of(device: torch.device | str) -> torch.device:
    """A device that is there.

    Raises:
        ConfigError: Torch knows none of that name, or this machine has none.
    """
    try:
        known = torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        raise ConfigError(f"device is {shown(device)}; give cpu, cuda or cuda:0") from None
    if known.type == "cuda" and (known.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device is {device}, and this machine has {torch.cuda.device_count()} of them; take cpu")
    return known


# Tensors as large as all demands that there are at a time in a period.
_PER_GOOD = 8


def check_fits(config: EconomyConfig, num_envs: int, device: torch.device, itemsize: int = 4) -> None:
    """Refuse a batch that memory cannot hold: on a CPU this machine's, elsewhere that of any machine.

    Args:
        config: The economy.
        num_envs: How many.
        device: Where they are.
        itemsize: Bytes of a quantity.

    Raises:
        ConfigError: The message says how much it would need.
    """
    size = _PER_GOOD * itemsize * num_envs * config.num_consumers * (config.num_firms + 2)
    what = f"a batch of {num_envs:,} economies of {config.num_consumers:,} consumers and {config.num_firms:,} firms"
    most = memory.of_this_machine() if device.type == "cpu" else None
    memory.check(size, what, "make one of the three smaller", most)


class VectorEconomy:
    """B copies of an economy, played period by period with tensors for all agents.

    The economy has no randomness of its own but shocks, where it has any. The seed decides them, and what
    `sample_actions` draws; the two do not depend on each other. All copies start and end together.

    Attributes:
        config: The economy.
        num_envs: Economies in the batch (B).
        state: The batch's `EconomyState` now; None before the first reset.
        final_observation: After a step that ended episodes with autoreset, the observation at their end; else None.
        parameters: Numbers that hold in place of the configuration's own; set them with `set_parameters`.
        imposed: Factors on numbers of the economy, by period; set them with `impose`.
        shock_seed: Of the shocks, and ``episodes_drawn``, how many batches of episodes have drawn theirs: the two
            decide all shocks to come, and putting them back resumes them.
    """

    def __init__(
        self,
        config: EconomyConfig | str | None = None,
        num_envs: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
        autoreset: bool = True,
        encoding: str = "symlog",
        parameters: Mapping[str, Number] | None = None,
    ) -> None:
        """Make the batch; call `reset` before the first step.

        Args:
            config: The economy: a configuration, the name of a preset, or None for the preset "open".
            num_envs: Economies in the batch (B), at least 1.
            device: Where everything is computed.
            dtype: Floating-point type of every quantity.
            seed: Of the generator behind `sample_actions`, and of the shocks.
            autoreset: Whether a step that ends the episodes starts new ones.
            encoding: How money and units enter observations: "symlog" or "digits".
            parameters: Numbers in place of the configuration's own; see `set_parameters`.

        Raises:
            ConfigError: An argument is out of range or unknown, ``dtype`` cannot tell so many firms apart, or a part of
                one's own cannot be called.
        """
        arguments = {"num_envs": num_envs, "seed": seed, "autoreset": autoreset, "encoding": encoding}
        settings = BatchSettings.parse(arguments, "")
        self.config = resolve_config(config)
        self.num_envs = settings.num_envs
        self.device = device_of(device)
        self.dtype = one_of(dtype, DTYPES, "dtype")
        if self.dtype == torch.bfloat16 and self.config.num_firms > _BFLOAT16_COUNTS_TO:
            firms = f"and there are {self.config.num_firms:,} firms, which have numbers"
            raise ConfigError(f"dtype is {dtype}, which counts to {_BFLOAT16_COUNTS_TO}, {firms}; take torch.float32")
        check_fits(self.config, self.num_envs, self.device, self.dtype.itemsize)
        try_parts(self.config)
        self.autoreset = settings.autoreset
        self.encoding: str = settings.encoding
        self.parameters: dict[str, Number] = {}
        self.set_parameters({} if parameters is None else parameters)
        self.state: EconomyState | None = None
        self.final_observation: dict[str, Tensor] | None = None
        self.imposed: dict[str, tuple[float, ...]] = {}
        self.generator = torch.Generator(device=self.device)
        self.seed(settings.seed)
        self._periods_played = 0

    def seed(self, seed: int) -> None:
        """Restart `generator` and the shocks; counts from the next reset on."""
        self.generator.manual_seed(seed)
        self.shock_seed, self.episodes_drawn = seed, 0

    def set_parameters(self, parameters: Mapping[str, Number]) -> None:
        """Put numbers in place of the configuration's own, from the next period on; all others are its own again.

        Agents do not see them. They are for what trains or studies a batch: curricula, families of economies.

        Args:
            parameters: By name (`rbc_marl.economy.PARAMETERS`) a number, or a tensor [B] with one for each economy,
                whose values are read on the host here and nowhere else. ``labour_disutility_scale``, a factor on the
                disutility of labour, counts from the next reset on.

        Raises:
            ConfigError: A name or a number cannot be.
        """
        checked = check_parameters(parameters, self.num_envs, self.device, self.dtype)
        is_own = {n: not isinstance(x, Tensor) and x == own_number(self.config, n) for n, x in checked.items()}
        self.parameters = {name: number for name, number in checked.items() if not is_own[name]}

    def impose(self, factors: Mapping[str, Sequence[float]]) -> None:
        """Multiply numbers of the economy period by period, from the next reset on, on top of shocks that it has.

        Agents see it where they see shocks to the number.

        Args:
            factors: By name (`rbc_marl.processes.Shocks.by_period`), one for each period from the first on; later
                periods have the last one. Of a number that is 0 and that no process moves they are what it becomes.
                Empty: nothing is imposed any more.

        Raises:
            ConfigError: A name is unknown, or factors are none.
        """
        for name, each in factors.items():
            one_of(name, Shocks.by_period(), "what is imposed")
            if not each or not all(isinstance(x, float | int) and 0.0 <= x < math.inf for x in each):
                raise ConfigError(f"factors on {name} are {shown(each)}; give a list of numbers of at least 0")
        self.imposed = {name: tuple(map(float, each)) for name, each in factors.items()}

    @property
    def labour_disutility_scale(self) -> Number:
        """Factor on the disutility of labour from the next reset on, one of the `parameters`."""
        return self.parameters.get(LABOUR_DISUTILITY_SCALE, 1.0)

    @labour_disutility_scale.setter
    def labour_disutility_scale(self, scale: Number) -> None:
        self.set_parameters({**self.parameters, LABOUR_DISUTILITY_SCALE: scale})

    def reset(self, seeds: Seeds | None = None) -> dict[str, Tensor]:
        """Start new episodes.

        Args:
            seeds: Of the shocks and warm starts of these episodes; or several, each of an equal share of the batch.
                None: the next ones of this batch's own seed.

        Returns:
            Observations: "global" [B, G], and the private parts "consumer" [B, C, P], "firm" [B, F, Q], "government"
                [B, 1, 0].

        Raises:
            ConfigError: Seeds are no whole numbers from 0, or the batch has no equal shares for them.
        """
        self.final_observation = None
        if seeds is not None:
            seeds = [seed_of(one) for one in ([seeds] if isinstance(seeds, int) else seeds)]
            if not seeds or self.num_envs % len(seeds):
                raise ConfigError(f"there are {len(seeds)} seeds for {self.num_envs} economies; give as many, or one")
        return self._start(seeds)

    def step(self, indices: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor, Flows]:
        """Play one period.

        Args:
            indices: Integers "consumer" [B, C, F + 2], "firm" [B, F], "government" [B]; see `rbc_marl.choices`. On an
                accelerator one that is out of range stops the program, for reading it beforehand would stall every
                step.

        Returns:
            Observations (of the new episode where one ended and autoreset is on), rewards ("consumer" [B, C],
            "firm" [B, F], "government" [B]), truncated [B] (bool), and the period's flows.

        Raises:
            ConfigError: The indices cannot be used, or the episode has not begun or is over.
        """
        self.check_running()
        check_shapes(self.config, self.num_envs, indices)
        try:
            return self._play(decode(self.config, **indices, dtype=self.dtype))
        except (IndexError, RuntimeError):
            check_ranges(self.config, indices)  # says which index, where that is what went wrong
            raise

    def play(self, actions: Actions) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor, Flows]:
        """Play one period of economic quantities, which need not lie on the configured choices.

        Args:
            actions: Of all agents, in this batch's floating-point type. On an accelerator quantities that cannot be
                stop the program, as in `step`.

        Returns:
            As `step`.

        Raises:
            ConfigError: A quantity has the wrong shape, is not a number or is out of its range; or the episode has not
                begun or is over.
        """
        self.check_running()
        check_quantities(self.config, self.num_envs, actions, self.dtype)
        return self._play(actions)

    def enter(self, state: EconomyState) -> None:
        """Take over the state after a period that was played elsewhere, such as by compiled code.

        No episode begins anew: whoever plays elsewhere ends there.

        Raises:
            ConfigError: There was no period to play.
        """
        self.check_running()
        self.state, self.final_observation = state, None
        self._periods_played += 1

    def check_running(self) -> None:
        """Refuse to play on where there is no period to play: before the first reset, and after the last period.

        Raises:
            ConfigError: There is none.
        """
        self.require_state("step()")
        if self._periods_played >= self.config.horizon:
            raise ConfigError("the episode is over; call reset() before the next step()")

    def _play(self, actions: Actions) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor, Flows]:
        self.state, flows = period(self.config, self.require_state(), actions, self.parameters)
        self._periods_played += 1
        is_over = self._periods_played >= self.config.horizon
        observation = observe(self.config, self.state, self.encoding)
        self.final_observation = None
        if is_over and self.autoreset:
            self.final_observation = observation
            observation = self._start()
        rewards = {
            "consumer": flows.consumer_reward,
            "firm": flows.firm_reward,
            "government": flows.government_reward,
        }
        truncated = torch.full((self.num_envs,), is_over, dtype=torch.bool, device=self.device)
        return observation, rewards, truncated, flows

    def require_state(self, call: str = "this") -> EconomyState:
        """The state now.

        Args:
            call: What needs it, for the message.

        Raises:
            ConfigError: The economy has not been reset.
        """
        if self.state is None:
            raise ConfigError(f"the economy has not been reset; call reset() before {call}")
        return self.state

    @property
    def periods_left(self) -> int:
        """Periods until the episodes end; a whole episode's before the first reset."""
        return self.config.horizon - self._periods_played

    def sample_actions(self) -> dict[str, Tensor]:
        """Uniformly random indices for every agent, from this batch's own generator."""
        return sample_indices(self.config, self.num_envs, self.generator, self.device)

    def _start(self, seeds: Seeds | None = None) -> dict[str, Tensor]:
        self._periods_played = 0
        if seeds is None:
            seeds = seed_from(self.shock_seed, self.episodes_drawn)
            self.episodes_drawn += 1
        scale, given = self.labour_disutility_scale, self.parameters
        start = initial_state(self.config, self.num_envs, self.device, self.dtype, scale, seeds, given)
        if self.config.start is not None:
            start = warm(self.config, start, seeds)
        if self.imposed:
            where = (self.num_envs, self.device, self.dtype)
            start = start.with_shocks(impose(self.config, start.shocks, self.imposed, *where, given))
        self.state = start
        return observe(self.config, self.state, self.encoding)
