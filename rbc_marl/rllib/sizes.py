"""How much memory a run takes, counted tensor by tensor before anything is made.

It is that of one process: tensors of the economies, the rollout of an iteration, networks and optimisers. What Python,
torch and Ray take by themselves is added as one number. The peaks of three runs in one process, of 0.5 to 1.6 GB, were
0.85 to 1.5 times it; the last one played 1,024 economies. Those of single economies of up to a million consumers, of
whom 25 are learnt from, were 0.7 to 0.95 times it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import torch

from rbc_marl import memory
from rbc_marl.choices import head_sizes, index_dtype
from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.observations import observation_size, private_size
from rbc_marl.policies.slabs import CPU_SLAB_VALUES
from rbc_marl.rllib.settings import agent_type_of, economy_of, module_ids, network_spec

if TYPE_CHECKING:
    from rbc_marl.rllib.algorithm import EconomyPPOConfig

# Bytes of a number.
_FLOAT = 4
# What a process has loaded before it holds anything: Python, torch, Ray, and the memory that torch keeps.
PROCESS = 520e6
# Tensors as large as all demands, and as all logits, that a period needs at a time.
_PER_GOOD, _PER_LOGIT = 8, 7
# Copies of a rollout: as played and joined, of all agents; as rows of those who are learnt from, and what torch keeps
# of the memory that it freed.
_PLAYED, _LEARNT = 3, 7
# Agents of a type for whose logits there is memory at once, where layers are 128 wide.
_AT_ONCE = CPU_SLAB_VALUES // 128
# Copies of weights in the process that learns: those that act, those that learn, their gradients, Adam's two moments.
_COPIES = 5
# Economies stepped together on a CPU: with more, their tensors leave the cache and each step costs more.
CPU_SLAB = 128
# Numbers of weights that were counted: networks of large economies take a while, also without any weights.
_counted: dict[tuple[EconomyConfig, str, str, str], int] = {}


@dataclass(frozen=True)
class Memory:
    """Bytes of one process."""

    economies: float
    """Tensors of the economies in a period, and what the networks make of them."""
    rollout: float
    """What is kept of the episodes of an iteration, as it is played and as it is learnt from."""
    networks: float
    """Weights, gradients and the optimisers' moments."""

    @property
    def total(self) -> float:
        """All, with the process itself."""
        return PROCESS + self.economies + self.rollout + self.networks


def memory_of(config: EconomyPPOConfig) -> Memory:
    """Memory that the process of a validated configuration needs that learns, and samples where no other does."""
    economy, encoding = economy_of(config)
    runners = max(config.num_env_runners, 1)
    own = config.num_envs_per_env_runner
    # Of what all env runners play in an iteration its share comes here.
    episodes = max(own * runners, ceil(config.total_train_batch_size / economy.horizon)) / max(config.num_learners, 1)
    logits = {t: sum(head_sizes(economy, t)) for t in AGENT_TYPES}
    on_gpu = torch.cuda.is_available() and config.num_gpus_per_learner
    stepped = own if on_gpu else min(own, CPU_SLAB)
    numbers = stepped * economy.num_consumers * economy.num_firms * _PER_GOOD
    deciding = {t: stepped * economy.agents(t) for t in AGENT_TYPES}
    numbers += sum((n if on_gpu else min(n, _AT_ONCE)) * logits[t] for t, n in deciding.items()) * _PER_LOGIT
    every = {t: economy.agents(t) for t in AGENT_TYPES}
    learning = {t: min(config.agents_per_update.chosen.get(t, n), n) for t, n in every.items()}
    kept = _PLAYED * _bytes_of_a_period(economy, encoding, every)
    kept += _LEARNT * _bytes_of_a_period(economy, encoding, learning)
    return Memory(
        economies=numbers * _FLOAT,
        rollout=episodes * economy.horizon * kept,
        networks=sum(_weights(config, m, economy, encoding) for m in module_ids(config)) * _COPIES * _FLOAT,
    )


def _bytes_of_a_period(economy: EconomyConfig, encoding: str, agents: Mapping[str, int]) -> float:
    """Bytes of one period of one economy in a rollout, of so many agents of each type."""
    shared, _ = observation_size(economy, "government", encoding)
    numbers, indices = float(shared), 0.0
    for agent_type in AGENT_TYPES:
        heads, private = head_sizes(economy, agent_type), private_size(economy, agent_type, encoding)
        # Log-probability, reward, value, advantage and target of each agent.
        numbers += agents[agent_type] * (private + 5)
        indices += agents[agent_type] * len(heads) * index_dtype(heads).itemsize
    return numbers * _FLOAT + indices


def _weights(config: EconomyPPOConfig, module_id: str, economy: EconomyConfig, encoding: str) -> int:
    """Weights of a module; those of a class of one's own are small beside the rest, or only it knows."""
    spec = network_spec(config, module_id)
    if spec.is_own:
        return 0
    agent_type = agent_type_of(config, module_id)
    key = (economy, agent_type, encoding, repr(spec))
    if key not in _counted:
        with torch.device("meta"):  # shapes alone
            _counted[key] = sum(weight.numel() for weight in spec.build(economy, agent_type, encoding).parameters())
    return _counted[key]


def check_memory(config: EconomyPPOConfig) -> None:
    """Refuse a run that no machine holds.

    Raises:
        ConfigError: The message says how much memory it would need, and what for.
    """
    needed = memory_of(config)
    if needed.total <= memory.LARGEST_MACHINE:
        return
    parts = {"the economies": needed.economies, "an iteration's episodes": needed.rollout, "networks": needed.networks}
    largest = max(parts, key=lambda name: parts[name])
    mends = {
        "the economies": "make num_consumers, num_firms or num_envs_per_env_runner smaller",
        "an iteration's episodes": "make horizon, num_envs_per_env_runner or the train batch smaller",
        "networks": "make hidden smaller",
    }
    mend = f"{memory.in_words(parts[largest])} are for {largest}: {mends[largest]}"
    memory.check(needed.total, "a run of this size", mend)
