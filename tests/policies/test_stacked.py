"""Networks of several runs as one, against each of them alone; and draws for several runs at once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rbc_marl import preset
from rbc_marl.config import AGENT_TYPES
from rbc_marl.errors import ConfigError
from rbc_marl.policies.build import build_network
from rbc_marl.policies.distributions import FactorisedCategorical
from rbc_marl.policies.networks import FlatNetwork
from rbc_marl.policies.stacked import stacked, state_of
from rbc_marl.policies.trembles import Trembles, tremble

CONFIG = preset("open", num_consumers=5, num_firms=3)
RUNS, ROWS = 3, 4


def networks_of(agent_type, kind, **settings):
    return [build_network(CONFIG, agent_type, "symlog", {"kind": kind, **settings}).double() for _ in range(RUNS)]


def rows_for(network):
    torch.manual_seed(1)
    agents = CONFIG.num_firms
    shared = torch.rand(RUNS * ROWS, network.shared_size).double()
    private = torch.rand(RUNS * ROWS, agents, network.seen_size).double()
    if network.seen_size < network.private_size:  # a firm's ends with who it is
        private[..., -1] = torch.arange(agents).double()
    return shared, private


@pytest.mark.parametrize("kind", ["flat", "equivariant"])
@pytest.mark.parametrize("agent_type", AGENT_TYPES)
def test_each_run_computes_and_learns_what_it_would_alone(agent_type, kind):
    networks = networks_of(agent_type, kind)
    whole = stacked(networks)
    if whole.is_maskable:
        allowed = torch.rand(len(whole.log_mask)) < 0.7
        allowed[0] = True
        for network in (whole, *networks):
            network.set_mask(allowed)
    shared, private = rows_for(whole)
    logits, values = whole(shared, private)
    (logits.clamp(min=-50.0).sin().sum() + values.square().sum()).backward()
    for run, network in enumerate(networks):
        rows = slice(run * ROWS, (run + 1) * ROWS)
        own_logits, own_values = network(shared[rows], private[rows])
        (own_logits.clamp(min=-50.0).sin().sum() + own_values.square().sum()).backward()
        torch.testing.assert_close(logits[rows], own_logits, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(values[rows], own_values, rtol=1e-12, atol=1e-12)
        for (name, of_all), own in zip(whole.named_parameters(), network.parameters(), strict=True):
            torch.testing.assert_close(of_all.grad[run], own.grad, rtol=1e-10, atol=1e-12, msg=name)


def test_the_state_of_a_run_is_that_of_its_network():
    networks = networks_of("firm", "flat")
    whole = stacked(networks)
    for run, network in enumerate(networks):
        own, state = network.state_dict(), state_of(whole, run)
        assert own.keys() == state.keys()
        assert all(torch.equal(own[name], state[name]) for name in own)
    state["value_head.bias"].add_(1.0)  # a copy
    assert torch.equal(state_of(whole, RUNS - 1)["value_head.bias"], networks[-1].value_head.bias)


class Scaled(FlatNetwork):
    """Holds a weight outside of linear layers."""

    def __init__(self, *args):
        super().__init__(*args)
        self.scale = nn.Parameter(torch.ones(()))


class Mingled(FlatNetwork):
    """Sees the rows of others."""

    def features(self, shared, private):
        return super().features(shared + shared.mean(0), private)


@pytest.mark.parametrize(("own", "message"), [(Scaled, "holds weights"), (Mingled, "depend on one another")])
def test_a_network_whose_runs_would_share_something_is_refused(own, message):
    networks = [build_network(CONFIG, "firm", "symlog", own) for _ in range(2)]
    with pytest.raises(ConfigError, match=message):
        stacked(networks)


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_several_generators_draw_what_each_draws_for_its_own_economies():
    logits = torch.randn(4, 5, 8, generator=torch.Generator().manual_seed(0))
    together = FactorisedCategorical(logits, (3, 5)).sample_and_logp(generators(1, 2))
    for run, generator in enumerate(generators(1, 2)):
        alone = FactorisedCategorical(logits[2 * run : 2 * run + 2], (3, 5)).sample_and_logp(generator)
        for whole, own in zip(together, alone, strict=True):
            assert torch.equal(whole[2 * run : 2 * run + 2], own)


def test_several_generators_tremble_as_each_does_for_its_own_economies():
    rates = Trembles(consumer=0.5, firm=0.3, price=0.5, government=0.5)
    sizes = {"consumer": (5, 5), "firm": (3, 1), "government": (1, 1)}
    actions = {t: torch.zeros(4, *shape, dtype=torch.uint8) for t, shape in sizes.items()}
    free = {t: torch.zeros(10_000) for t in AGENT_TYPES}
    free["firm"], free["government"] = (
        build_network(CONFIG, t, "symlog", "flat").log_mask for t in ("firm", "government")
    )
    together, _ = tremble(CONFIG, rates.chosen, actions, free, generators(1, 2))
    for run, generator in enumerate(generators(1, 2)):
        rows = slice(2 * run, 2 * run + 2)
        alone, _ = tremble(CONFIG, rates.chosen, {t: x[rows] for t, x in actions.items()}, free, generator)
        assert all(torch.equal(together[t][rows], alone[t]) for t in AGENT_TYPES)
        assert any(alone[t].any() for t in AGENT_TYPES)
