"""Networks of several runs as one: every run has weights of its own, and all compute in one product of matrices.

A small network on few rows spends more time on starting operations than on numbers. Where independent runs train the
same kind of network, one operation does for all of them: rows stand run by run, and each share meets its own weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional

from rbc_marl.errors import ConfigError
from rbc_marl.policies.networks import IdentityLinear, PolicyNetwork, SharedBodyNetwork

# Largest difference, in units of the outputs' size, between a stacked network and the networks that it was made of.
_ROUNDING = 1e-4


class StackedLinear(nn.Module):
    """Linear layers of R runs, each for an equal share of the rows.

    Attributes:
        weight: [R, out, in].
        bias: [R, out], or None.
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        """Copy the weights of one layer of each run."""
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        self.bias = nn.Parameter(torch.stack(biases)) if biases else None

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
        """Outputs [N, ..., out] of inputs [N, ..., in], N = R times the rows of a run.

        Args:
            x: The inputs.
            shift: [out], or [R, out] of each run: added to the bias.
        """
        rows = x.reshape(self.weight.shape[0], -1, x.shape[-1])
        result = torch.bmm(rows, self.weight.mT)
        if self.bias is not None:  # added in place: baddbmm would first write the bias to every row
            result.add_((self.bias if shift is None else self.bias + shift).unsqueeze(1))
        return result.view(*x.shape[:-1], self.weight.shape[1])


class StackedIdentityLinear(StackedLinear):
    """`IdentityLinear` of R runs, each for an equal share of the rows."""

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
        """Outputs [N, ..., out] of inputs [N, ..., Q] that end with a number."""
        del shift  # there is no bias
        runs, out, _ = self.weight.shape
        own, identity = self.weight.tensor_split([x.shape[-1] - 1], dim=2)
        rows = x.reshape(runs, -1, x.shape[-1])
        first = torch.arange(runs, device=x.device).unsqueeze(1) * identity.shape[-1]
        columns = functional.embedding(rows[..., -1].long() + first, identity.mT.reshape(-1, out))
        return (torch.bmm(rows[..., :-1], own.mT) + columns).view(*x.shape[:-1], out)


def stacked(networks: Sequence[PolicyNetwork]) -> PolicyNetwork:
    """One network that acts and learns for several runs, rows of the first run first.

    It is a copy of the first network with `StackedLinear` in place of its linear layers; whatever else the network does
    must treat rows one by one. What no linear layer holds is the same for all runs; so is the mask, until
    `mask_each_run` tells them apart.

    Args:
        networks: Of R runs, all of one kind.

    Raises:
        ConfigError: The network has weights outside of linear layers, or treats rows of one run by those of another.
    """
    if any(type(network) is not type(networks[0]) for network in networks):
        raise ConfigError("networks of different kinds cannot be stacked")
    result = deepcopy(networks[0])
    layers = [dict(network.named_modules()) for network in networks]
    for name, module in layers[0].items():
        if isinstance(module, nn.Linear):
            parent, _, child = name.rpartition(".")
            kind = StackedIdentityLinear if isinstance(module, IdentityLinear) else StackedLinear
            made = kind([each[name] for each in layers])
            setattr(result.get_submodule(parent), child, made)
        elif next(module.parameters(recurse=False), None) is not None:
            layer = name or type(module).__name__
            raise ConfigError(f"{layer} holds weights and is no linear layer: it cannot be stacked over runs")
    _check(result, networks)
    return result


def state_of(network: PolicyNetwork, run: int) -> dict[str, Tensor]:
    """The state of one run's network, as its own `state_dict` would be: copies.

    Args:
        network: A stacked network.
        run: Number of the run.
    """
    of_runs = names_of_runs(network)
    return {n: (x[run] if n in of_runs else x).detach().clone() for n, x in network.state_dict().items()}


def names_of_runs(network: PolicyNetwork) -> set[str]:
    """What of a stacked network's state every run has of its own."""
    names = {name for name, _ in network.named_parameters()}
    return names | {"log_mask"} if network.log_mask.dim() > 1 else names


def mask_each_run(network: PolicyNetwork, runs: int) -> None:
    """Give each run a mask of its own: `log_mask` becomes [R, K]. All begin with what it was.

    Raises:
        ConfigError: The network does not take the mask with a linear layer's bias.
    """
    if not isinstance(network, SharedBodyNetwork):
        raise ConfigError(f"{type(network).__name__} cannot be stacked over runs with masks of their own")
    network.log_mask = network.log_mask.repeat(runs, 1)


def mask_of_rows(log_mask: Tensor, rows: int) -> Tensor:
    """The mask of each row, [rows, K] or [K], where rows stand run by run.

    Args:
        log_mask: [K] of all runs, or [R, K] of each.
        rows: A multiple of the runs.
    """
    return log_mask if log_mask.dim() == 1 else log_mask.repeat_interleave(rows // len(log_mask), 0)


@torch.no_grad()
def _check(network: PolicyNetwork, networks: Sequence[PolicyNetwork]) -> None:
    """Refuse a network whose runs do not compute what they would alone."""
    like = next(network.parameters())
    generator = torch.Generator(like.device).manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=like.dtype, device=like.device)

    count = 2 * len(networks)
    shared, private = draw(count, network.shared_size), draw(count, 2, network.seen_size)
    together = network(shared, private)
    for run, own in enumerate(networks):
        rows = slice(2 * run, 2 * run + 2)
        for one, other in zip(own(shared[rows], private[rows]), together, strict=True):
            if not torch.allclose(one, other[rows], rtol=_ROUNDING, atol=_ROUNDING * (1.0 + float(one.abs().max()))):
                raise ConfigError(f"{type(own).__name__} cannot be stacked: its rows depend on one another")
