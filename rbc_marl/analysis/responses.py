"""How consumers respond to prices and wages, measured where these vary by chance.

Firms act uniformly at random, so that a price says nothing about the firm or the time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rbc_marl.choices import decode, sample_indices
from rbc_marl.policies import Policies
from rbc_marl.vector_env import VectorEconomy

SLAB = 64


class _Correlation:
    """Running correlation of two quantities, in float64."""

    def __init__(self) -> None:
        self.sums = torch.zeros(6, dtype=torch.float64)

    def add(self, x: Tensor, y: Tensor) -> None:
        x, y = x.double().flatten(), y.double().flatten()
        moments = [torch.ones_like(x).sum(), x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()]
        self.sums += torch.stack(moments).cpu()

    def value(self) -> float:
        """The correlation; 0 where one of the two does not vary."""
        n, x, y, xx, yy, xy = self.sums.tolist()
        spread = (xx - x * x / n) * (yy - y * y / n)
        return (xy - x * y / n) / spread**0.5 if spread > 1e-9 * n * n else 0.0


@torch.no_grad()
def responses(policies: Policies, num_episodes: int = 128, seed: int = 0) -> dict[str, float]:
    """Correlations of what consumers ask for with the prices and wages in force, while firms act uniformly at random.

    Requested demand is measured, before budgets and rationing: what consumers get says more about what there is. The
    first period is left out, for all firms start with the same price and wage.

    Args:
        policies: Whose consumers and government are played.
        num_episodes: Episodes.
        seed: Of the draws.

    Returns:
        ``price_demand``: of a good's price with the units requested of it. ``wage_hours``: of the chosen employer's
        wage with the hours offered.
    """
    config = policies.config
    price_demand, wage_hours = _Correlation(), _Correlation()
    generator = torch.Generator(device=policies.device).manual_seed(seed)
    for first in range(0, num_episodes, SLAB):
        count = min(SLAB, num_episodes - first)
        env = VectorEconomy(config, count, device=policies.device, autoreset=False, encoding=policies.encoding)
        observation = env.reset()
        for period in range(config.horizon):
            state = env.require_state()
            indices = policies.act(observation, generator, state=state)
            indices["firm"] = sample_indices(config, count, generator, policies.device)["firm"]
            if period:
                actions = decode(
                    config,
                    consumer=indices["consumer"],
                    firm=indices["firm"],
                    government=indices["government"],
                )
                price_demand.add(state.price.unsqueeze(1).expand_as(actions.demand), actions.demand)
                wage_hours.add(state.wage.gather(1, actions.employer), actions.hours)
            observation, _, _, _ = env.step(indices)
    return {"price_demand": price_demand.value(), "wage_hours": wage_hours.value()}
