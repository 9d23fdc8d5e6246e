"""Shocks: numbers of an economy that move from period to period (`rbc_marl.processes` has their settings).

What an episode will draw is drawn when it begins and travels in its state, as the path of each number that moves; a
period reads off what is in force. So a period stays a pure function, and whoever plays on from a state meets the same
shocks.

Draws are a function of the episode's seed, the row in the batch, the process, the agent and the period, and of nothing
else: they are the same on every device, in batches of any size, and whatever else moves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import overload

import torch
from torch import Tensor

from rbc_marl.config import EconomyConfig
from rbc_marl.economy.parameters import Number, own_number
from rbc_marl.economy.state import EconomyState
from rbc_marl.processes import BY_AGENT, Ar1, Drawn, Markov, Path

Seeds = int | Sequence[int]
"""Seed of the shocks of a batch's episodes, from 0 to 2**63 - 1; or several, each of an equal share of it, in order."""

# Constants of SplitMix64 (Steele, Lea and Flood, 2014), as signed numbers.
_STEP, _FIRST, _SECOND = -7046029254386353131, -4658895280553007687, -7723592293110705685
_AGENTS_APART = 2**32


def seed_from(*parts: int | bytes) -> int:
    """A seed of shocks from numbers and bytes, such as a user's seed and the number of an episode."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def seed_of_generator(generator: torch.Generator) -> int:
    """The seed of the shocks of episodes that a generator is about to draw for; the generator stays as it is."""
    return seed_from(generator.get_state().numpy().tobytes())


def length(config: EconomyConfig, news: int = 0) -> int:
    """Periods that a path covers: an episode, the period after its end, and news beyond that."""
    return config.horizon + 1 + news


def draw_shocks(
    config: EconomyConfig,
    num_envs: int,
    device: torch.device,
    dtype: torch.dtype,
    seeds: Seeds | None,
    parameters: Mapping[str, Number] | None = None,
) -> dict[str, Tensor]:
    """The paths of all numbers that move, for a batch of episodes.

    Args:
        config: The economy.
        num_envs: Economies in the batch (B).
        device: Where the tensors live.
        dtype: Of the tensors; what they are computed from is in float64.
        seeds: Of the draws; None: nothing is drawn. Then factors stay 1, chains where they begin, and what is drawn for
            an episode is the configuration's own number.
        parameters: Numbers in place of the configuration's own: AR(1) processes move around them.

    Returns:
        By name, the number in force in each period, [B, P]; of "workers" and "firms" the productivity of each agent,
        [B, C, P] and [B, F, P]. P is `length` with the process's news.
    """
    shocks = config.shocks.on if config.shocks is not None else {}
    keys = _keys(num_envs, seeds, device) if shocks else None
    paths = {}
    for name, shock in shocks.items():
        agents = config.agents(BY_AGENT[name]) if name in BY_AGENT else 1
        periods = length(config, shock.news)
        if isinstance(shock, Path):
            values = _constants(shock.values, device)
            path = values[torch.arange(periods, device=device).clamp(max=len(shock.values) - 1)]
            path = path.expand(num_envs, agents, periods)
        elif isinstance(shock, Drawn):
            draws = None if keys is None else _uniform(_mixed(keys ^ seed_from(name.encode())), agents, 1)
            own = 1.0 if name in BY_AGENT else own_number(config, name)
            path = _drawn(shock, draws, own, (num_envs, agents, 1), device).expand(num_envs, agents, periods)
        else:
            # The draw before the first period decides where the process starts.
            draws = None if keys is None else _uniform(_mixed(keys ^ seed_from(name.encode())), agents, periods + 1)
            shape = (num_envs, agents, periods)
            path = _ar1(shock, draws, shape, device) if isinstance(shock, Ar1) else _markov(shock, draws, shape, device)
        path = path if name in BY_AGENT else path.squeeze(1)
        if isinstance(shock, Ar1):
            base = (parameters or {}).get(name, 1.0 if name in BY_AGENT else own_number(config, name))
            path = path.exp() * (base.unsqueeze(-1) if isinstance(base, Tensor) else base)
        paths[name] = path.to(dtype)
    return paths


def draw_rows(count: int, num_envs: int, seeds: Seeds, device: torch.device) -> Tensor:
    """A number from 0 to ``count`` - 1 for each economy of a batch, [B], all alike likely."""
    keys = _keys(num_envs, seeds, device)
    assert keys is not None  # there are seeds
    return (_uniform(_mixed(keys ^ seed_from(b"start")), 1, 1).flatten() * count).long().clamp(max=count - 1)


def in_force(state: EconomyState, parameters: Mapping[str, Number] | None) -> Mapping[str, Number] | None:
    """Numbers in place of the configuration's own in a period: those given, and those that shocks move.

    Args:
        state: At the start of the period.
        parameters: Given; where a number moves as well, the shock holds.
    """
    if not state.shocks:
        return parameters
    moved = {name: at(path, state.time) for name, path in state.shocks.items() if name not in BY_AGENT}
    return {**(parameters or {}), **moved}


@overload
def times(value: Tensor, state: EconomyState, name: str) -> Tensor: ...
@overload
def times(value: Number, state: EconomyState, name: str) -> Number: ...
def times(value: Number, state: EconomyState, name: str) -> Number:
    """A value times the productivity of each of "workers" or "firms", [B, N]; as it is where all are alike."""
    path = state.shocks.get(name)
    return value if path is None else value * at(path, state.time)


def at(path: Tensor, time: Tensor, ahead: int = 0) -> Tensor:
    """What a path [B, ..., P] says for the period of each economy, [B, ...], or some periods ahead of it."""
    index = (time.long() + ahead).clamp(max=path.shape[-1] - 1)
    index = index.reshape(-1, *(1,) * (path.dim() - 1)).expand(*path.shape[:-1], 1)
    return path.gather(-1, index).squeeze(-1)


def is_switched_off(config: EconomyConfig, name: str) -> bool:
    """Whether a number is 0 in the configuration and no process moves it: no factor would switch it on."""
    moves = config.shocks is not None and name in config.shocks.on
    return name not in BY_AGENT and not moves and own_number(config, name) == 0.0


def nothing_imposed(config: EconomyConfig, names: Iterable[str]) -> dict[str, tuple[float, ...]]:
    """Factors for `impose` that leave numbers what they are, by the same way as others that move them."""
    return {name: (0.0,) if is_switched_off(config, name) else (1.0,) for name in names}


def impose(
    config: EconomyConfig,
    shocks: Mapping[str, Tensor],
    factors: Mapping[str, Sequence[float]],
    num_envs: int,
    device: torch.device,
    dtype: torch.dtype,
    parameters: Mapping[str, Number] | None = None,
) -> dict[str, Tensor]:
    """Paths with something imposed on them.

    Args:
        config: The economy.
        shocks: Paths as `draw_shocks` returns them.
        factors: By name, one for each period from the first on; later periods have the last one. Of a number that is
            switched off (`is_switched_off`) they are what it becomes.
        num_envs: Economies in the batch (B).
        device: Where the paths are.
        dtype: Of the paths.
        parameters: Numbers in place of the configuration's own.

    Returns:
        The paths, times the factors. A number without a path gets one around what it is.
    """
    result = dict(shocks)
    for name, each in factors.items():
        path = result.get(name)
        if path is None:
            own = 1.0 if name in BY_AGENT else own_number(config, name)
            number = 1.0 if is_switched_off(config, name) else (parameters or {}).get(name, own)
            agents = (config.agents(BY_AGENT[name]),) if name in BY_AGENT else ()
            path = torch.ones(num_envs, *agents, length(config), device=device, dtype=dtype)
            path = path * (number.reshape(-1, *(1,) * (path.dim() - 1)) if isinstance(number, Tensor) else number)
        factor = _constants(tuple(float(x) for x in each), device)
        factor = factor[torch.arange(path.shape[-1], device=device).clamp(max=len(factor) - 1)]
        result[name] = path * factor.to(dtype)
    return result


# Draws


def _keys(num_envs: int, seeds: Seeds | None, device: torch.device) -> Tensor | None:
    """A key [B] for each economy."""
    if seeds is None:
        return None
    several = (seeds,) if isinstance(seeds, int) else tuple(seeds)
    share = num_envs // len(several)
    rows = torch.arange(share, device=device)
    return torch.cat([_mixed(rows * _STEP + seed) for seed in several])


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Shift to the right, with zeros from the left."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mixed(x: Tensor) -> Tensor:
    """The finalizer of SplitMix64: every bit depends on all."""
    x = (x ^ _shifted(x, 30)) * _FIRST
    x = (x ^ _shifted(x, 27)) * _SECOND
    return x ^ _shifted(x, 31)


def _uniform(keys: Tensor, agents: int, periods: int) -> Tensor:
    """Draws [B, N, P] between 0 and 1, both left out, in float64."""
    agent = torch.arange(agents, device=keys.device).unsqueeze(-1) * _AGENTS_APART
    counter = agent + torch.arange(1, periods + 1, device=keys.device)
    bits = _mixed(_mixed(keys.view(-1, 1, 1) + counter * _STEP))
    return (_shifted(bits, 12).double() + 0.5) * 2.0**-52


def _ar1(shock: Ar1, draws: Tensor | None, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Logarithms of factors, [B, N, P] of draws [B, N, P + 1]."""
    if draws is None:
        return torch.zeros(shape, device=device, dtype=torch.float64)
    first, *innovations = torch.special.ndtri(draws).unbind(-1)
    z, path = first * (shock.spread if shock.start == "stationary" else 0.0), []
    for number, innovation in enumerate(innovations):
        if number or shock.start == "mean":
            z = shock.persistence * z + shock.deviation * innovation
        path.append(z)
    return torch.stack(path, dim=-1)


def _markov(shock: Markov, draws: Tensor | None, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Values [B, N, P] of a chain, of draws [B, N, P + 1]."""
    values = _constants(shock.values, device)
    if draws is None:
        return values[shock.start or 0].expand(shape)
    bounds = torch.stack([_constants(row, device) for row in (shock.long_run, *shock.transition)]).cumsum(-1)[:, :-1]
    first, _, *others = draws.unbind(-1)
    if shock.start is None:
        place = (first.unsqueeze(-1) >= bounds[0]).sum(-1)
    else:
        place = torch.full_like(first, shock.start, dtype=torch.int64)
    places = [place]
    for draw in others:
        place = (draw.unsqueeze(-1) >= bounds[1 + place]).sum(-1)
        places.append(place)
    return values[torch.stack(places, dim=-1)]


def _drawn(shock: Drawn, draws: Tensor | None, own: float, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Numbers [B, N, 1] of draws like it; the economy's own where nothing is drawn."""
    if shock.at is not None or draws is None:
        return _constants((own if shock.at is None else shock.at,), device).expand(shape)
    if shock.values is not None:
        place = (draws * len(shock.values)).long().clamp(max=len(shock.values) - 1)
        return _constants(shock.values, device)[place]
    low, high = shock.range
    return low + (high - low) * draws if shock.scale == "linear" else low * (high / low) ** draws


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # whoever asks first, others may need gradients
def _constants(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers of a setting on a device, built once: copying them at every reset would stall an accelerator."""
    return torch.tensor(values, dtype=torch.float64).to(device)
