"""How consumers respond to prices and wages, measured where these vary by chance.

Firms act uniformly at random, so that a price says nothing about the firm or the time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rbc_marl.choices import choice_tables, sample_indices
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
        if n == 0:
            return 0.0
        spread = (xx - x * x / n) * (yy - y * y / n)
        return (xy - x * y / n) / spread**0.5 if spread > 1e-9 * n * n else 0.0


@torch.no_grad()
def responses(policies: Policies, num_episodes: int = 128, seed: int = 0) -> dict[str, float]:
    """Correlations of demand with prices and of labour with wages, while firms act uniformly at random.

    Requested demand is measured, before budgets and rationing: what consumers get says more about what there is. The
    first period is left out, for all firms start with the same price and wage.

    Args:
        policies: Whose consumers and government are played.
        num_episodes: Episodes.
        seed: Of the draws.

    Returns:
        Of the market, over firms: ``price_demand``, a good's price with the units that all consumers request of it, and
        ``wage_labour``, a firm's wage with the hours it is offered. Of single consumers: ``price_request``, a good's
        price with one consumer's request, and ``wage_hours``, the chosen employer's wage with one consumer's hours.
    """
    config = policies.config
    correlations = {name: _Correlation() for name in ("price_demand", "wage_labour", "price_request", "wage_hours")}
    generator = torch.Generator(device=policies.device).manual_seed(seed)
    for first in range(0, num_episodes, SLAB):
        count = min(SLAB, num_episodes - first)
        env = VectorEconomy(config, count, device=policies.device, autoreset=False, encoding=policies.encoding)
        observation = env.reset()
        for period in range(config.horizon):
            state = env.require_state()
            indices = policies.act(observation, generator, state=state)
            indices["firm"] = sample_indices(config, count, generator, policies.device)["firm"]
            observation, _, _, flows = env.step(indices)
            if period:
                employer = indices["consumer"][..., -1].long()
                requested = choice_tables(config, policies.device).consumption[indices["consumer"][..., :-2].long()]
                correlations["price_demand"].add(state.price, requested.sum(1))
                correlations["wage_labour"].add(state.wage, flows.labour)
                correlations["price_request"].add(state.price.unsqueeze(1).expand_as(requested), requested)
                correlations["wage_hours"].add(state.wage.gather(1, employer), flows.hours)
    return {name: correlation.value() for name, correlation in correlations.items()}
