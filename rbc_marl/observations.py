"""What agents see: a global part that exists once per economy, and a private part per agent.

Global part, G numbers: prices [F], wages [F], inventories [F x width], overdemanded [F], income tax, corporate tax,
time. Private part of a consumer: budget [width], labour disutility. Of a firm: budget [width], capital, labour
exponent, identity [F]. The government sees the global part only. ``width`` is 1 for the encoding "symlog" and 11 for
"digits". Shocks that are seen come last in the global part, or in the private part of those whose productivity moves
(before the identity): each where it stands now, and as many periods ahead as there are news.

In a batch the firm's number stands in place of its identity, which would cost the square of the number of firms;
`with_identity` and `join` write it out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.economy.parameters import own_number
from rbc_marl.economy.shocks import at
from rbc_marl.economy.state import EconomyState
from rbc_marl.errors import one_of
from rbc_marl.processes import BY_AGENT, AnyProcess, Ar1, Drawn

Encoding = Literal["symlog", "digits"]
ENCODINGS: tuple[str, ...] = get_args(Encoding)
NUM_DIGITS = 10
# Divisor of the signed logarithm: budgets of 2,000 and 2,200,000 become 0.76 and 1.46.
SYMLOG_SCALE = 10.0
CAPITAL_SCALE = 10000.0
# A shock is seen up to so many standard deviations, or multiples of the largest value.
MOST_SEEN = 100.0
# Within so many standard deviations an AR(1) process is in all but 3 of 1,000 periods.
USUAL_DEVIATIONS = 3.0
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def symlog(x: Tensor) -> Tensor:
    """Signed logarithm ``sign(x) log(1 + |x|) / 10`` of money or units; any shape."""
    return x.abs().log1p().div_(SYMLOG_SCALE).copysign_(x)


def digits(x: Tensor) -> Tensor:
    """Digit encoding of the paper: entry j is ``(|x| mod 10^(j+1)) / 10^(j+1)``, j = 0..9, then the sign of x.

    Args:
        x: [...] money or units.

    Returns:
        [..., 11]; the first ten in [0, 1], the last -1, 0 or 1. For negative x the paper's formula forgets the sign.
    """
    powers = _powers_of_ten(x.device, x.dtype)
    scaled = torch.remainder(x.abs().unsqueeze(-1), powers) / powers
    return torch.cat([scaled, x.sign().unsqueeze(-1)], dim=-1)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # whoever asks first, others may need gradients
def _powers_of_ten(device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.tensor([10.0 ** (j + 1) for j in range(NUM_DIGITS)], dtype=dtype).to(device)


@dataclass(frozen=True)
class ObservationLayout:
    """Where each quantity stands in an observation."""

    width: int
    """Entries per encoded quantity."""
    global_slices: dict[str, slice]
    """Slices of the global part by quantity: price, wage, inventory, overdemanded, income_tax, corporate_tax, time, and
    the names of shocks that all see."""
    private_slices: dict[str, dict[str, slice]]
    """Slices of the private part by agent type and quantity, the identity written out."""

    def sizes(self, agent_type: str) -> tuple[int, int]:
        """Lengths of the global and of the private part (G, P)."""
        private = self.private_slices[agent_type]
        return _end(self.global_slices), _end(private)


def _end(slices: dict[str, slice]) -> int:
    return max((s.stop for s in slices.values()), default=0)


def _slices(lengths: dict[str, int]) -> dict[str, slice]:
    result, start = {}, 0
    for name, length in lengths.items():
        result[name] = slice(start, start + length)
        start += length
    return result


def check_encoding(encoding: str) -> str:
    """Return a known encoding unchanged.

    Raises:
        ConfigError: It is unknown.
    """
    return one_of(encoding, ENCODINGS, "encoding")


@lru_cache(maxsize=64)
def observation_layout(config: EconomyConfig, encoding: str = "symlog") -> ObservationLayout:
    """The layout of the observations of a configuration.

    Raises:
        ConfigError: The encoding is unknown.
    """
    width = 1 if check_encoding(encoding) == "symlog" else NUM_DIGITS + 1
    firms = config.num_firms
    seen = {name: shock.seen for name, shock in _shocks(config).items()}
    return ObservationLayout(
        width=width,
        global_slices=_slices(
            {
                "price": firms,
                "wage": firms,
                "inventory": firms * width,
                "overdemanded": firms,
                "income_tax": 1,
                "corporate_tax": 1,
                "time": 1,
                **{name: count for name, count in seen.items() if name not in BY_AGENT},
            }
        ),
        private_slices={
            "consumer": _slices({"budget": width, "labour_disutility": 1} | _own(seen, "workers")),
            "firm": _slices(
                {"budget": width, "capital": 1, "labour_exponent": 1} | _own(seen, "firms") | {"identity": firms}
            ),
            "government": {},
        },
    )


def _own(seen: dict[str, int], name: str) -> dict[str, int]:
    """The productivity that agents see of their own, as far as it moves."""
    return {"productivity": seen[name]} if name in seen else {}


def _shocks(config: EconomyConfig) -> dict[str, AnyProcess]:
    """Shocks that somebody sees, by name."""
    return config.shocks.seen if config.shocks is not None else {}


def _seen(config: EconomyConfig, state: EconomyState, name: str, shock: AnyProcess) -> list[Tensor]:
    """What is seen of a shock, now and as far ahead as there are news: [B, 1] each, of agents' own [B, N, 1].

    Of an AR(1) process the logarithm of the factor in its standard deviations; of what is drawn for an episode its
    place in the range of draws, from 0 to 1; else the value as a share of the largest.
    """
    paths = [at(state.shocks[name], state.time, ahead).unsqueeze(-1) for ahead in range(shock.seen)]
    if isinstance(shock, Ar1):
        own = 1.0 if name in BY_AGENT else own_number(config, name)
        paths = [(path / own).log() / (shock.spread or 1.0) for path in paths]
    elif isinstance(shock, Drawn):
        low, high = shock.range if shock.scale == "linear" else map(math.log, shock.range)
        paths = [((path if shock.scale == "linear" else path.log()) - low) / ((high - low) or 1.0) for path in paths]
    else:
        paths = [path / (max(shock.values) or 1.0) for path in paths]
    return [path.clamp(-MOST_SEEN, MOST_SEEN) for path in paths]


def common_ranges(config: EconomyConfig, encoding: str = "symlog") -> dict[str, tuple[range, float, float]]:
    """Single numbers of an economy that all agents see, by name: time, taxes, and shocks.

    Returns:
        Columns of the global part, counted from its end (negative), where they stand for any number of firms; and the
        lowest and the highest value that is seen as a rule. AR(1) processes have no end: three standard deviations.
    """
    shocks = _shocks(config)
    ranges = {
        "time": (0.0, (config.horizon - 1) / config.horizon),
        "income_tax": (min(config.income_tax_choices), max(config.income_tax_choices)),
        "corporate_tax": (min(config.corporate_tax_choices), max(config.corporate_tax_choices)),
        **{name: _usual_range(shock) for name, shock in shocks.items() if name not in BY_AGENT},
    }
    slices = observation_layout(config, encoding).global_slices
    end = _end(slices)
    return {name: (range(slices[name].start - end, slices[name].stop - end), *ranges[name]) for name in ranges}


def _usual_range(shock: AnyProcess) -> tuple[float, float]:
    """Lowest and highest value that is seen of a shock, as `_seen` shows it."""
    if isinstance(shock, Ar1):
        return -USUAL_DEVIATIONS, USUAL_DEVIATIONS
    if isinstance(shock, Drawn):
        return 0.0, 1.0
    return min(shock.values) / (max(shock.values) or 1.0), 1.0


def observation_size(config: EconomyConfig, agent_type: str, encoding: str = "symlog") -> tuple[int, int]:
    """Lengths (G, P) of the global and of the private part of an agent's observation, the identity written out."""
    return observation_layout(config, encoding).sizes(agent_type)


def private_size(config: EconomyConfig, agent_type: str, encoding: str = "symlog") -> int:
    """Length of the private part of an agent's observation in a batch, where a firm's number is its identity."""
    size = observation_size(config, agent_type, encoding)[1]
    return size - config.num_firms + 1 if agent_type == "firm" else size


def scales(config: EconomyConfig) -> dict[str, float]:
    """Divisors that bring prices, wages and labour disutility to about [0, 1]."""
    return {
        "price": max(config.price_choices) or 1.0,
        "wage": max(config.wage_choices) or 1.0,
        "labour_disutility": config.labour_disutility or 1.0,
    }


def observe(config: EconomyConfig, state: EconomyState, encoding: str = "symlog") -> dict[str, Tensor]:
    """Observations of a batch of economies.

    Args:
        config: The economy.
        state: Now.
        encoding: "symlog" (signed logarithm) or "digits" (the paper's, digit by digit).

    Returns:
        "global" [B, G], "consumer" [B, C, P], "firm" [B, F, Q], "government" [B, 1, 0]; the last three are private
        parts. A firm's ends with its number, from 0.

    Raises:
        ConfigError: The encoding is unknown.
    """
    scale = scales(config)
    encode = _symlog_columns if check_encoding(encoding) == "symlog" else digits
    capital = state.capital.unsqueeze(-1)
    shared = [
        state.price / scale["price"],
        state.wage / scale["wage"],
        encode(state.inventory).flatten(1),
        state.overdemanded,
        state.income_tax.unsqueeze(-1),
        state.corporate_tax.unsqueeze(-1),
        state.time.unsqueeze(-1) / config.horizon,
    ]
    own: dict[str, list[Tensor]] = {name: [] for name in BY_AGENT}
    for name, shock in _shocks(config).items():
        own.get(name, shared).extend(_seen(config, state, name, shock))
    number = torch.arange(config.num_firms, device=capital.device, dtype=capital.dtype).unsqueeze(-1)
    return {
        "global": torch.cat(shared, dim=-1),
        "consumer": _with(
            _beside(encode(state.consumer_budget), state.labour_disutility / scale["labour_disutility"]),
            own["workers"],
        ),
        "firm": torch.cat(
            [
                encode(state.firm_budget),
                symlog(capital) if encoding == "symlog" else capital / CAPITAL_SCALE,
                state.labour_exponent.unsqueeze(-1),
                *own["firms"],
                number.expand_as(capital),
            ],
            dim=-1,
        ),
        "government": capital.new_empty(capital.shape[0], 1, 0),
    }


def _symlog_columns(x: Tensor) -> Tensor:
    return symlog(x).unsqueeze(-1)


def _beside(columns: Tensor, last: Tensor) -> Tensor:
    """Columns [B, A, n] and one more [B, A] -> [B, A, n + 1]. With n = 1 torch.cat takes twice as long on a CPU."""
    result = columns.new_empty(*last.shape, columns.shape[-1] + 1)
    result[..., :-1] = columns
    result[..., -1] = last
    return result


def _with(columns: Tensor, others: list[Tensor]) -> Tensor:
    """Columns [B, A, n] and others [B, A, 1]; as they are where there are none."""
    return torch.cat([columns, *others], dim=-1) if others else columns


def with_identity(private: Tensor, num_firms: int) -> Tensor:
    """Private parts of firms with their identity written out: [..., Q] -> [..., Q - 1 + F], 1 where their number is."""
    identity = one_hot(private[..., -1].long(), num_firms).to(private.dtype)
    return torch.cat([private[..., :-1], identity], dim=-1)


def with_number(private: Tensor, num_firms: int) -> Tensor:
    """Private parts of firms with their number in place of their identity: the inverse of `with_identity`."""
    own, identity = private.split([private.shape[-1] - num_firms, num_firms], dim=-1)
    return torch.cat([own, identity.argmax(-1, keepdim=True).to(own.dtype)], dim=-1)


def private_part(observation: dict[str, Tensor], agent_type: str) -> Tensor:
    """Private parts of all agents of a type, with the identity of firms written out: [B, A, P]."""
    private = observation[agent_type]
    return with_identity(private, private.shape[1]) if agent_type == "firm" else private


def join(observation: dict[str, Tensor], agent_type: str) -> Tensor:
    """Whole observations of a type, as environments of single agents show them.

    Args:
        observation: Of a batch.
        agent_type: Whose.

    Returns:
        The global part [B, G] beside each private part, the identity of firms written out: [B, A, G + P].
    """
    private = private_part(observation, agent_type)
    shared = observation["global"].unsqueeze(1).expand(-1, private.shape[1], -1)
    return torch.cat([shared, private], dim=-1)


def whole_state(observation: dict[str, Tensor]) -> Tensor:
    """Everything that any agent sees: the global part, then all private parts as in `join`, [B, G + C P + F Q]."""
    parts = [private_part(observation, agent_type).flatten(1) for agent_type in AGENT_TYPES]
    return torch.cat([observation["global"], *parts], dim=-1)


def bounds(
    config: EconomyConfig, agent_type: str, encoding: str = "symlog"
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Finite lowest and highest values of an agent's whole observation [G + P], for any float32 state."""
    layout = observation_layout(config, encoding)
    shared, private = layout.sizes(agent_type)
    low, high = np.zeros(shared + private, np.float32), np.ones(shared + private, np.float32)
    scale = scales(config)
    unbounded = float(np.log1p(_FLOAT32_MAX)) / SYMLOG_SCALE
    for name, start in (("price", config.initial_price), ("wage", config.initial_wage)):
        if start > scale[name]:  # a few float32 steps above: the quotient is rounded differently there
            high[layout.global_slices[name]] = start / scale[name] * (1 + 2.0**-21)
    if config.market == "clearing":  # what labour makes is paid, without an end
        high[layout.global_slices["price"]] = 1.0 / scale["price"] if scale["price"] < 1.0 else 1.0
        high[layout.global_slices["wage"]] = _FLOAT32_MAX / max(scale["wage"], 1.0)
    encoded = [(layout.global_slices["inventory"], config.num_firms)]
    own = layout.private_slices[agent_type]
    if "budget" in own:
        encoded.append((slice(shared + own["budget"].start, shared + own["budget"].stop), 1))
    for columns, count in encoded:
        lowest, highest = ([-unbounded], unbounded) if layout.width == 1 else ([0.0] * NUM_DIGITS + [-1.0], 1.0)
        low[columns] = np.tile(lowest, count)
        high[columns] = highest
    moving = [layout.global_slices[name] for name in _shocks(config) if name not in BY_AGENT]
    if "productivity" in own:
        moving.append(slice(shared + own["productivity"].start, shared + own["productivity"].stop))
    for columns in moving:
        low[columns], high[columns] = -MOST_SEEN, MOST_SEEN
    if "capital" in own:  # grows with every investment, without an end
        high[shared + own["capital"].start] = unbounded if layout.width == 1 else _FLOAT32_MAX / CAPITAL_SCALE
    return low, high
