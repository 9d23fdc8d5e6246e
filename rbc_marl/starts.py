"""Warm starts: files of states at which episodes can begin, in place of the endowments of the configuration.

A state is what an economy was after some period of an episode: prices, wages and taxes in force, stocks, and
everybody's money and capital. Tastes, technology and time are not of it: they are the configuration's own.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from rbc_marl.config import EconomyConfig
from rbc_marl.economy.shocks import Seeds, draw_rows
from rbc_marl.economy.state import EconomyState
from rbc_marl.errors import ConfigError, first_line, shown
from rbc_marl.files import replace_file

_OF_FIRMS = ("price", "wage", "inventory", "overdemanded", "firm_budget", "capital")
_RATES = ("income_tax", "corporate_tax")
KEPT = (*_OF_FIRMS, *_RATES, "consumer_budget")
"""Fields of `EconomyState` that a file of starts holds."""


# Bytes of start files that travel at most: every process of a cluster holds them.
MOST_SENT = 2**24
# Files that were read here, as configurations name them, and the content of those that came with the work.
_named: set[str] = set()
_sent: dict[str, bytes] = {}


def save_starts(path: str | Path, state: EconomyState) -> None:
    """Write the states of a batch of economies to a file in the format of safetensors, for `EconomyConfig.start`."""
    replace_file(Path(path), save({name: getattr(state, name).detach().cpu().double().contiguous() for name in KEPT}))


def warm(config: EconomyConfig, state: EconomyState, seeds: Seeds) -> EconomyState:
    """The start of episodes, each at a state drawn from the file that the configuration names, all alike likely.

    Args:
        config: The economy; ``start`` is given.
        state: Of a batch (B) at the configuration's own start.
        seeds: Of the draws, which do not depend on the batch's size.

    Raises:
        ConfigError: The file cannot be read, or its states are none of this economy.
    """
    starts = read_starts(config, state.price.device, state.price.dtype)
    rows = draw_rows(len(starts["price"]), state.num_envs, seeds, state.price.device)
    return replace(state, **{name: values[rows] for name, values in starts.items()})


def read_starts(
    config: EconomyConfig, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """The states of the file that a configuration names, each of `KEPT` as [M, ...]. They are shared: do not write.

    Args:
        config: The economy; ``start`` is given.
        device: Where the tensors live.
        dtype: Of every quantity.

    Raises:
        ConfigError: The file cannot be read, or its states are none of this economy.
    """
    path = Path(str(config.start))
    mend = "give a file that rbc-marl evaluate --states has written, or --set env_config.start=null"
    if str(path) in _sent:
        return _read(path, 0, config.replace(shocks=None), torch.device(device), dtype)
    try:
        found = path.stat()
    except (OSError, ValueError) as error:  # a name can hold what no name of a file can
        reason = getattr(error, "strerror", None) or first_line(error)
        raise ConfigError(f"start is {shown(str(path))}, which cannot be read ({reason}); {mend}") from None
    if not stat.S_ISREG(found.st_mode):  # a device or a pipe may never end
        raise ConfigError(f"start is {path}, which is no file; {mend}")
    starts = _read(path, found.st_mtime_ns, config.replace(shocks=None), torch.device(device), dtype)
    _named.add(str(path))
    return starts


def named() -> list[str]:
    """Files of states that were read in this process, as configurations name them."""
    return sorted(_named)


def unseen(names: Sequence[str]) -> str | None:
    """The first of some files of states that this process can read neither from its disk nor from what was sent."""
    return next((name for name in names if name not in _sent and not Path(name).is_file()), None)


def to_send() -> dict[str, bytes]:
    """Files of states that were read in this process, for others that do not see them; empty where they are large."""
    files = [Path(name) for name in named() if Path(name).is_file()]
    if sum(file.stat().st_size for file in files) > MOST_SENT:
        return {}
    return {str(file): file.read_bytes() for file in files}


def receive(files: Mapping[str, bytes]) -> None:
    """Take files of states that came with the work: they count, whatever lies in their places."""
    _sent.update(files)


@lru_cache(maxsize=8)
def _read(
    path: Path, changed: int, config: EconomyConfig, device: torch.device, dtype: torch.dtype
) -> dict[str, Tensor]:
    """The states of a file, checked, each field [M, ...]."""
    del changed  # a file that is written anew is read anew
    mend = "give a file that rbc-marl evaluate --states has written"
    try:
        starts = load(_sent[str(path)] if str(path) in _sent else path.read_bytes())
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"start is {path}, which is damaged ({error}); {mend}") from None
    if set(starts) != set(KEPT) or not starts["price"].dim() == 2 or not len(starts["price"]):
        raise ConfigError(f"start is {path}, which holds no states of an economy; {mend}")
    count = len(starts["price"])
    shapes = {name: (count, config.num_firms) for name in _OF_FIRMS} | dict.fromkeys(_RATES, (count,))
    shapes["consumer_budget"] = (count, config.num_consumers)
    most = {"price": max(*config.price_choices, config.initial_price), "overdemanded": 1.0}
    most |= {"wage": max(*config.wage_choices, config.initial_wage), **dict.fromkeys(_RATES, 1.0)}
    for name, shape in shapes.items():
        values = starts[name]
        if tuple(values.shape) != shape:
            raise ConfigError(
                f"start is {path}, whose {name} has shape {list(values.shape)}; {config.num_consumers} consumers and "
                f"{config.num_firms} firms need {list(shape)}"
            )
        lowest = -torch.inf if name in ("firm_budget", "consumer_budget") else 0.0
        if not (torch.isfinite(values.to(dtype)) & (values >= lowest) & (values <= most.get(name, torch.inf))).all():
            raise ConfigError(f"start is {path}, whose {name} leaves its range in this economy; {mend}")
    return {name: values.to(device=device, dtype=dtype) for name, values in starts.items()}
