"""The reported quantities: by hand, by loops over agents, and without a look at the host."""

import dataclasses

import pytest
import torch

from rbc_marl import VectorEconomy, preset
from rbc_marl.analysis.metrics import MEANS, QUANTITIES, SUMS, EpisodeMetrics, collapsed, summarise
from rbc_marl.economy import Actions, initial_state, period

CONFIG = preset("open", num_consumers=6, num_firms=3, horizon=4, welfare="consumers", export_price=0.0)


def play(config=CONFIG, num_envs=2, seed=0):
    """States and flows of whole episodes of uniformly random play."""
    batch = VectorEconomy(config, num_envs, seed=seed, autoreset=False)
    batch.reset()
    states, flows = [], []
    for _ in range(config.horizon):
        states.append(batch.state)
        flows.append(batch.step(batch.sample_actions())[-1])
    return states, flows


def test_two_periods_by_hand():
    config = preset(
        "open",
        num_consumers=2,
        num_firms=2,
        horizon=2,
        crra=0.0,
        labour_disutility=0.01,
        labour_disutility_pareto_shape=None,
        technology=1.0,
        initial_capital=1.0,
        labour_exponent=1.0,
        initial_price=10.0,
        initial_wage=1.0,
        initial_inventory=5.0,
        initial_consumer_budget=100.0,
        initial_firm_budget=0.0,
        consumer_grant=0.0,
        export_price=10.0,
        export_quota=2.0,
        firm_welfare_weight=0.5,
    )
    actions = Actions(
        demand=torch.tensor([[[1.0, 0.0], [2.0, 0.0]]]),
        hours=torch.tensor([[4.0, 0.0]]),
        employer=torch.tensor([[1, 1]]),
        price=torch.tensor([[0.0, 4.0]]),
        wage=torch.tensor([[2.0, 6.0]]),
        investment_fraction=torch.zeros(1, 2),
        income_tax=torch.tensor([0.5]),
        corporate_tax=torch.tensor([0.25]),
    )
    state = initial_state(config, num_envs=1, device="cpu", dtype=torch.float64)
    after, flows = period(config, state, actions.to(dtype=torch.float64))
    idle = dataclasses.replace(actions, demand=torch.zeros(1, 2, 2), hours=torch.zeros(1, 2))
    _, nothing = period(config, after, idle.to(dtype=torch.float64))
    result = {name: value.item() for name, value in summarise(config, [state, after], [flows, nothing]).items()}
    # Period 1: firm 0 sells 3 and exports 2 at 10; firm 1 exports 2 and pays 4 hours. Period 2: too cheap to export.
    assert result == pytest.approx(
        {
            "hours": 4 / 2 / 2,
            "consumption": 3 / 2 / 2,
            "sales": 3 / 2 / 2,
            "output": 4 / 2 / 2,
            "exports": 4 / 2 / 2,
            "price": (10 + 2) / 2,
            "wage": (1 + 4) / 2,
            "income_tax": 0.25,
            "corporate_tax": 0.125,
            "consumer_return": (3 - 0.005 * 4) / 2,
            "firm_return": (50 + 16) / 2,
            "government_return": 3 - 0.02 + 0.5 * 66,
            "welfare_consumers": 3 - 0.02,
            "welfare_total": 3 - 0.02 + 0.5 * 66,
        }
    )


def test_quantities_equal_loops_over_agents():
    states, flows = play()
    result = summarise(CONFIG, states, flows)
    consumers, firms, periods = range(6), range(3), range(4)
    for b in range(2):
        consumed = sum(float(flows[t].consumption[b, c, f]) for t in periods for c in consumers for f in firms)
        assert consumed > 0
        assert float(result["consumption"][b]) == pytest.approx(consumed / 6 / 4, rel=1e-5)
        assert float(result["sales"][b]) == pytest.approx(consumed / 6 / 4, rel=1e-5)
        exported = sum(float(flows[t].exports[b, f]) for t in periods for f in firms)
        assert float(result["exports"][b]) == pytest.approx(exported / 6 / 4, rel=1e-5)
        made = sum(float(flows[t].output[b, f]) for t in periods for f in firms)
        assert float(result["output"][b]) == pytest.approx(made / 6 / 4, rel=1e-5)
        consumer = sum(float(flows[t].consumer_reward[b, c]) for t in periods for c in consumers)
        firm = sum(float(flows[t].firm_reward[b, f]) for t in periods for f in firms)
        assert float(result["consumer_return"][b]) == pytest.approx(consumer / 6, rel=1e-4)
        assert float(result["firm_return"][b]) == pytest.approx(firm / 3, rel=1e-4)
        assert float(result["welfare_consumers"][b]) == pytest.approx(consumer, rel=1e-4)
        assert float(result["welfare_total"][b]) == pytest.approx(consumer + 0.0025 * firm, rel=1e-4)


def test_the_government_return_is_the_welfare_that_it_maximises():
    for welfare in ("consumers", "total"):
        config = CONFIG.replace(welfare=welfare)
        result = summarise(config, *play(config))
        assert torch.allclose(result["government_return"], result[f"welfare_{welfare}"], rtol=1e-5, atol=1e-3)
        assert not torch.allclose(result["welfare_total"], result["welfare_consumers"])


def test_adding_period_by_period_equals_the_summary_of_all():
    states, flows = play()
    metrics = EpisodeMetrics(CONFIG)
    for state, flow in zip(states, flows, strict=True):
        metrics.add(state, flow)
    summary = summarise(CONFIG, states, flows)
    assert set(summary) == set(QUANTITIES) == {*MEANS, *SUMS.values()}
    assert all(torch.equal(value, summary[name]) for name, value in metrics.result().items())
    assert all(value.shape == (2,) for value in summary.values())


def test_an_economys_quantities_do_not_depend_on_its_neighbours():
    states, flows = play(num_envs=5)
    together = summarise(CONFIG, states, flows)
    alone = summarise(CONFIG, [state[2:3] for state in states], [flow[2:3] for flow in flows])
    assert all(torch.allclose(together[name][2:3], alone[name]) for name in QUANTITIES)


def test_metrics_read_nothing_on_the_host():
    # The meta device has shapes and no values: whatever reads a value there fails.
    states, flows = play()
    metrics = EpisodeMetrics(CONFIG)
    for state, flow in zip(states, flows, strict=True):
        metrics.add(state.to(device="meta"), flow.to(device="meta"))
    assert all(value.device.type == "meta" for value in metrics.result().values())


def test_no_period_has_no_result():
    with pytest.raises(ValueError, match="no period"):
        EpisodeMetrics(CONFIG).result()


@pytest.mark.parametrize(("hours", "is_dead"), [(103.9, True), (104.1, False), (0.0, True)])
def test_an_economy_that_works_less_than_a_tenth_of_the_most_is_collapsed(hours, is_dead):
    assert collapsed(CONFIG, hours) is is_dead
    assert collapsed(CONFIG.replace(hours_choices=(2080.0, 0.0)), 2 * hours) is is_dead
