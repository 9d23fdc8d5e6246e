"""The reported quantities: by hand, by loops over agents, and without a look at the host."""

import dataclasses

import pytest
import torch

from rbc_marl import VectorEconomy, decode, preset
from rbc_marl.analysis.metrics import (
    MEANS,
    MIDDLE_MEANS,
    QUANTITIES,
    SUMS,
    EpisodeMetrics,
    collapsed,
    middle,
    summarise,
)
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
    # Period 1: firm 0 sells 3 and exports 2 at 10; firm 1 exports 2 and pays 4 hours.
    # Period 2: too cheap to export; firm 0 has nothing, firm 1 has the 3 that it had left and the 4 that it made.
    means = {
        "hours": 4 / 2 / 2,
        "employment": 1 / 2 / 2,
        "wage": (1 + 4) / 2,
        "output": 4 / 2 / 2,
        "consumption": 3 / 2 / 2,
        "sales": 3 / 2 / 2,
        "exports": 4 / 2 / 2,
        "inventory": (10 + 7) / 2 / 2,
        "unsold": (3 + 7) / 2 / 2,
        "price": (10 + 2) / 2,
        "price_std": (0 + 2) / 2,
        "income_tax": 0.25,
        "corporate_tax": 0.125,
        "tax_revenue": 0.0,  # nobody set a tax in time
        "transfer": 0.0,
    }
    sums = {
        "trade_periods": 1.0,
        "consumer_return": (3 - 0.005 * 4) / 2,
        "firm_return": (50 + 16) / 2,
        "government_return": 3 - 0.02 + 0.5 * 66,
        "welfare_consumers": 3 - 0.02,
        "welfare_total": 3 - 0.02 + 0.5 * 66,
    }
    inside = {f"middle_{name}": value for name, value in means.items()}  # of two periods none lies between
    assert result == pytest.approx({**means, **inside, **sums})


def test_taxes_come_back_as_transfers():
    config = CONFIG.replace(initial_wage=11.0)
    states, flows = play(config)
    taxed = [dataclasses.replace(state, income_tax=torch.full((2,), 0.5)) for state in states]
    actions = VectorEconomy(config, 2, seed=3)
    actions.reset()
    choices = decode(config, **actions.sample_actions())
    flows = [period(config, state, choices)[1] for state in taxed]
    result = summarise(config, taxed, flows)
    paid = sum(flow.income_tax_paid.sum(dim=1) + flow.corporate_tax_paid.sum(dim=1) for flow in flows)
    assert float(paid.min()) > 0 and torch.allclose(result["tax_revenue"], paid / 4 / 6)
    assert torch.allclose(result["transfer"], result["tax_revenue"])


@pytest.mark.parametrize(("horizon", "inside"), [(1, [0]), (2, [0, 1]), (3, [1]), (4, [1, 2]), (10, [*range(1, 9)])])
def test_the_middle_leaves_out_the_first_and_the_last_period(horizon, inside):
    assert list(range(horizon)[middle(horizon)]) == inside
    config = CONFIG.replace(horizon=horizon)
    states, flows = play(config)
    result = summarise(config, states, flows)
    for name, values in (("price", [s.price.mean(1) for s in states]), ("hours", [f.hours.mean(1) for f in flows])):
        assert torch.allclose(result[f"middle_{name}"], torch.stack([values[t] for t in inside]).mean(0))
        assert torch.allclose(result[name], torch.stack(values).mean(0))


def test_periods_with_trade_are_those_in_which_anything_is_sold():
    states, flows = play()
    nothing = [dataclasses.replace(flow, sales=0 * flow.sales, exports=0 * flow.exports) for flow in flows]
    abroad = dataclasses.replace(nothing[1], exports=nothing[1].exports + torch.tensor([[0.0, 0.0, 0.5], [0.0] * 3]))
    assert summarise(CONFIG, states, nothing)["trade_periods"].tolist() == [0.0, 0.0]
    assert summarise(CONFIG, states, [nothing[0], abroad, *nothing[2:]])["trade_periods"].tolist() == [1.0, 0.0]
    assert flows[0].sales.sum() == 0 and summarise(CONFIG, states, flows)["trade_periods"].tolist() == [3.0, 3.0]


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
    assert set(summary) == set(QUANTITIES) == {*MEANS, *MIDDLE_MEANS, *SUMS.values()}
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
    metrics, (states, flows) = EpisodeMetrics(CONFIG), play()
    metrics.add(states[0], flows[0])
    with pytest.raises(ValueError, match="1 of 4 period"):
        metrics.result()


@pytest.mark.parametrize(("hours", "is_dead"), [(103.9, True), (104.1, False), (0.0, True)])
def test_an_open_economy_that_works_less_than_a_tenth_of_the_most_is_collapsed(hours, is_dead):
    assert collapsed(CONFIG, hours) is is_dead
    assert collapsed(CONFIG.replace(hours_choices=(2080.0, 0.0)), 2 * hours) is is_dead
    assert not collapsed(CONFIG.replace(open_economy=False), hours)  # its money circulates once
