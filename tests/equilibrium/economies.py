"""Small economies in which the best an agent can do is known."""

from __future__ import annotations

import torch

from rbc_marl import EconomyConfig
from rbc_marl.equilibrium.best_response import BestResponseSettings
from rbc_marl.policies.build import build_network
from rbc_marl.policies.saved import save_policies

# One firm sells its stock to four consumers who do not work. Nobody can pay the first price, 2500; then each has 2400
# for at most 3 units: 3 at 600 make 1800, 2 at 1200 make 2400, 1 at 1800 makes 1800, none at 2500. 1200 is the best.
MONOPOLY = EconomyConfig(
    num_consumers=4,
    num_firms=1,
    horizon=2,
    open_economy=False,
    consumer_grant=0.0,
    initial_price=2500.0,
    initial_inventory=100.0,
    initial_consumer_budget=2400.0,
    initial_capital=100.0,
    labour_exponent=0.5,
    consumption_choices=(0.0, 1.0, 2.0, 3.0),
    price_choices=(600.0, 1200.0, 1800.0, 2500.0),
    wage_choices=(0.0,),
    investment_choices=(0.0,),
)
RULES = {"price": 600.0, "wage": 0.0, "work": "never"}
LEVEL, BEST = 4 * 1800.0, 4 * 2400.0

# Two firms; every consumer asks for one unit of each good in each of three periods and can pay for it. A firm earns its
# price from each, but for the first price, which is given.
SHOPS = EconomyConfig(
    num_consumers=5,
    num_firms=2,
    horizon=3,
    open_economy=False,
    initial_price=0.0,
    initial_inventory=1000.0,
    initial_consumer_budget=1e6,
    initial_capital=100.0,
    labour_exponent=0.5,
    price_choices=(0.0, 1000.0, 2000.0),
    wage_choices=(0.0,),
    investment_choices=(0.0,),
)
NETWORK = {"kind": "flat", "hidden": [1]}
FLAT = {t: {"kind": "flat", "hidden": [8]} for t in ("consumer", "firm", "government")}

# A search that finds the best prices of these economies in seconds.
QUICK = BestResponseSettings(
    types=("firm",),
    agents={},
    seeds=(0,),
    iterations=60,
    episodes=64,
    selection_episodes=32,
    economies=16,
    lr={"firm": 2e-2},
    perturbation=1.0,
)


def plant(folder, config=SHOPS, tempted=3.0, **info):
    """Policies without a run: firm 0 posts the highest price, and firm 1 mostly the lowest.

    Consumers ask for one unit of each good and do not work; there is no tax. ``info`` is saved with them.
    """
    networks = {}
    for agent_type in ("consumer", "firm", "government"):
        networks[agent_type] = build_network(config, agent_type, spec=NETWORK).requires_grad_(False)
        for parameter in networks[agent_type].parameters():
            parameter.zero_()
    bias = networks["consumer"].action_head.bias
    for good in range(config.num_firms):
        bias[good * len(config.consumption_choices) + 1] = 30.0
    bias[config.num_firms * len(config.consumption_choices)] = 30.0
    networks["government"].action_head.bias[0] = 30.0
    firm = networks["firm"]
    firm.private_layer.weight[0, -1] = 1.0  # sees whether it is the last firm
    firm.action_head.bias[len(config.price_choices) - 1] = 12.0
    firm.action_head.weight[0, 0] = 12.0 + tempted
    save_policies(folder, config, "symlog", networks, dict.fromkeys(networks, NETWORK), {"seed": 5, **info})
    return networks


def weights(network):
    """Copies of a network's weights."""
    return {name: torch.clone(x) for name, x in network.state_dict().items()}
