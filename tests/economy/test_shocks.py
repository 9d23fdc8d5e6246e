"""Shocks: draws against theory, what agents see, identities under any of them, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rbc_marl import ConfigError, EconomyConfig, VectorEconomy
from rbc_marl.choices import decode
from rbc_marl.config import EXPORTING
from rbc_marl.economy import initial_state, period, residuals
from rbc_marl.economy.parameters import LABOUR_DISUTILITY_SCALE, PARAMETERS
from rbc_marl.economy.shocks import draw_shocks
from rbc_marl.observations import bounds, join, observation_layout
from rbc_marl.policies.build import build_network
from rbc_marl.processes import BY_AGENT, Markov, Shocks
from tests.convert import random_indices
from tests.host_reads import NoHostReads
from tests.strategies import Situation, situations

CPU = torch.device("cpu")
AR1 = {"kind": "ar1", "persistence": 0.9, "deviation": 0.02}
CHAIN = {"kind": "markov", "values": [10.0, 100.0], "transition": [[0.9, 0.1], [0.2, 0.8]]}
PATH = {"kind": "path", "values": [500.0, 1000.0]}
SIZES = {"num_consumers": 3, "num_firms": 2, "horizon": 6, "initial_wage": 22.0, "initial_inventory": 30.0}
ALL = {"technology": AR1, "export_quota": CHAIN, "export_price": PATH, "workers": AR1 | {"deviation": 0.1},
       "firms": {**CHAIN, "values": [0.8, 1.2]}, "consumer_grant": {**PATH, "sees": False}}  # fmt: skip


def economy(**shocks):
    return EconomyConfig(**SIZES, shocks=shocks)


def drawn(config, envs, seed=5):
    return draw_shocks(config, envs, CPU, torch.float64, seed)


def test_every_number_that_a_period_reads_can_be_shocked():
    assert set(Shocks.by_period()) == {*PARAMETERS, *BY_AGENT} - {LABOUR_DISUTILITY_SCALE}
    assert set(Shocks.names()) == {*PARAMETERS, *BY_AGENT}


def test_an_ar1_has_the_moments_of_theory():
    log = drawn(economy(technology=AR1), 20_000)["technology"].log() - math.log(0.01)
    spread = 0.02 / math.sqrt(1 - 0.81)
    assert log.mean().abs() < 0.02 * spread  # standard error 0.007
    torch.testing.assert_close(log.std(0), torch.full((7,), spread, dtype=torch.float64), rtol=0.03, atol=0)
    for apart in (1, 3):
        found = torch.corrcoef(log[:, [2, 2 + apart]].T)[0, 1]
        assert abs(found - 0.9**apart) < 0.02
    innovations = (log[:, 1:] - 0.9 * log[:, :-1]) / 0.02
    assert abs(float((innovations**4).mean()) - 3.0) < 0.15  # of a normal distribution
    assert torch.corrcoef(innovations.T).fill_diagonal_(0).abs().max() < 0.04


def test_an_ar1_that_starts_at_its_mean_spreads_out():
    log = drawn(economy(technology={**AR1, "start": "mean"}), 20_000)["technology"].log() - math.log(0.01)
    expected = [0.02 * math.sqrt(sum(0.81**i for i in range(t))) for t in range(1, 8)]
    torch.testing.assert_close(log.std(0), torch.tensor(expected, dtype=torch.float64), rtol=0.03, atol=0)


def test_a_chain_moves_by_its_probabilities_from_its_long_run():
    path = drawn(economy(export_quota=CHAIN), 20_000)["export_quota"]
    low = path == 10.0
    assert ((path == 100.0) | low).all()
    torch.testing.assert_close(low.double().mean(0), torch.full((7,), 2 / 3, dtype=torch.float64), rtol=0, atol=0.015)
    assert abs(float(low[:, 1:][low[:, :-1]].double().mean()) - 0.9) < 0.006
    assert abs(float(low[:, 1:][~low[:, :-1]].double().mean()) - 0.2) < 0.01
    assert (drawn(economy(export_quota={**CHAIN, "start": 1}), 50)["export_quota"][:, 0] == 100.0).all()


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[0, 1], [1, 0]], [0.5, 0.5]),
        ([[1.0]], [1.0]),
        ([[0.5, 0.5, 0], [0.25, 0.5, 0.25], [0, 0.5, 0.5]], [0.25, 0.5, 0.25]),
    ],
)
def test_the_long_run_of_a_chain_is_its_stationary_distribution(rows, expected):
    chain = Markov(kind="markov", values=[1.0] * len(rows), transition=rows)
    assert chain.long_run == pytest.approx(expected, abs=1e-9)


def test_agents_draw_their_own_productivity():
    log = drawn(economy(workers=AR1), 20_000)["workers"].log()
    assert log.shape == (20_000, 3, 7)
    assert torch.corrcoef(log[:, :, 3].T).fill_diagonal_(0).abs().max() < 0.03


def test_processes_draw_independently_of_each_other():
    paths = drawn(economy(technology=AR1, export_quota=AR1), 20_000)
    both = torch.stack([paths[name][:, 3].log() for name in ("technology", "export_quota")])
    assert abs(float(torch.corrcoef(both)[0, 1])) < 0.03


def test_draws_depend_on_the_seed_and_the_row_alone():
    few, many = drawn(economy(**ALL), 3), drawn(economy(**ALL), 40)
    alone = drawn(economy(technology=AR1), 3)["technology"]
    longer = drawn(economy(**ALL).replace(horizon=30), 3)
    for name, path in few.items():
        assert torch.equal(path, many[name][:3]), name
        assert torch.equal(path, longer[name][..., :7]), name
    assert torch.equal(few["technology"], alone)
    assert not torch.equal(alone, drawn(economy(technology=AR1), 3, seed=6)["technology"])
    assert len({float(x) for x in many["technology"][:, 0]}) == 40
    both = draw_shocks(economy(technology=AR1), 6, CPU, torch.float64, (5, 6))["technology"]
    assert torch.equal(both[:3], alone)
    assert torch.equal(both[3:], drawn(economy(technology=AR1), 3, seed=6)["technology"])


def test_without_seeds_nothing_is_drawn():
    paths = draw_shocks(economy(**ALL), 2, CPU, torch.float64, None)
    assert (paths["technology"] == 0.01).all() and (paths["workers"] == 1.0).all()
    assert (paths["export_quota"] == 10.0).all()


def test_a_path_is_what_was_given_and_its_last_value_stays():
    path = drawn(economy(export_price=PATH), 2)["export_price"]
    assert path[1].tolist() == [500.0, *[1000.0] * 6]


@given(situations(num_envs=2), st.integers(0, 2**63 - 1), st.sampled_from([AR1, {**CHAIN, "values": [0.5, 1.0]}]))
def test_identities_hold_under_any_shocks(situation: Situation, seed: int, process: dict):
    config = situation.config
    chain = {**CHAIN, "values": [0.0, 0.9]}
    names = [name for name in Shocks.by_period() if process is not AR1 or getattr(config, name, 1.0) != 0.0]
    names = [name for name in names if not (process is AR1 and name == "dividend_share")]
    names = [name for name in names if config.open_economy or name not in EXPORTING]
    moving = config.replace(shocks={name: process for name in names} | {"dividend_share": chain, "crra": chain})
    state = situation.state.with_shocks(draw_shocks(moving, 2, CPU, torch.float64, seed))
    after, flows = period(moving, state, situation.actions)
    size = 1.0 + float(max(after.firm_budget.abs().sum(), after.consumer_budget.sum(), flows.revenue.sum()))
    for name, residual in residuals(moving, state, situation.actions, after, flows).items():
        assert residual.abs().max() <= 1e-12 * size, name
    assert after.shocks is state.shocks


def test_each_period_is_that_of_an_economy_with_the_number_in_force():
    config = economy(technology=AR1, export_quota=CHAIN, consumer_grant=PATH, crra=PATH | {"values": [0.1, 1.0, 2.0]})
    env = VectorEconomy(config, 2, dtype=torch.float64, seed=1)
    env.reset()
    for t in range(config.horizon):
        state, indices = env.state, random_indices(config, 2, seed=t)
        *_, flows = env.step(indices)
        for row in range(2):
            numbers = {name: float(path[row, t]) for name, path in state.shocks.items()}
            own = EconomyConfig(**SIZES, **numbers)
            one = slice(row, row + 1)
            actions = decode(own, **{k: x[one] for k, x in indices.items()}, dtype=torch.float64)
            expected = period(own, state[one].with_shocks({}), actions)[1]
            for name in ("output", "exports", "utility", "consumer_reward", "firm_reward"):
                torch.testing.assert_close(getattr(flows, name)[one], getattr(expected, name), rtol=1e-11, atol=1e-9)


def test_productivity_of_workers_is_paid_and_produces_and_that_of_firms_produces():
    plain, config = EconomyConfig(**SIZES), economy(workers={"kind": "path", "values": [2.0]})
    actions = decode(plain, **random_indices(plain, 1, seed=2))
    before, base = period(plain, initial_state(plain, 1), actions)
    _, worked = period(config, initial_state(config, 1), actions)
    assert torch.equal(worked.wage_income, 2 * base.wage_income) and torch.equal(worked.labour, 2 * base.labour)
    assert torch.equal(worked.hours, base.hours) and torch.equal(worked.utility, base.utility)
    torch.testing.assert_close(worked.output, base.output * 2 ** before.labour_exponent)
    config = economy(firms={"kind": "path", "values": [0.5]})
    _, produced = period(config, initial_state(config, 1), actions)
    assert torch.equal(produced.output, base.output / 2) and torch.equal(produced.wage_income, base.wage_income)
    assert base.output.sum() > 0


@pytest.mark.parametrize("encoding", ["symlog", "digits"])
def test_agents_see_what_the_configuration_says(encoding):
    config = economy(**{**ALL, "export_quota": {**CHAIN, "news": 2}})
    layout, plain = observation_layout(config, encoding), observation_layout(EconomyConfig(**SIZES), encoding)
    assert {name: layout.global_slices[name] for name in plain.global_slices} == plain.global_slices
    env = VectorEconomy(config, 3, seed=4, encoding=encoding)
    seen = env.reset()
    for t in range(config.horizon + 1):
        shocks = env.state.shocks
        part = {name: seen["global"][:, place] for name, place in layout.global_slices.items()}
        spread = 0.02 / math.sqrt(1 - 0.81)
        expected = (shocks["technology"][:, t : t + 1] / 0.01).log() / spread
        torch.testing.assert_close(part["technology"], expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(part["export_quota"], shocks["export_quota"][:, t : t + 3] / 100)
        assert "consumer_grant" not in part
        own = seen["consumer"][..., layout.private_slices["consumer"]["productivity"]].squeeze(-1)
        torch.testing.assert_close(own, shocks["workers"][..., t].log() / (5 * spread), rtol=1e-4, atol=1e-4)
        own = seen["firm"][..., layout.private_slices["firm"]["productivity"]].squeeze(-1)
        torch.testing.assert_close(own, shocks["firms"][..., t] / 1.2)
        for agent_type in ("consumer", "firm", "government"):
            low, high = map(torch.from_numpy, bounds(config, agent_type, encoding))
            whole = join(seen, agent_type)
            assert whole.shape[-1:] == low.shape and ((whole >= low) & (whole <= high)).all()
        if t < config.horizon:
            env.autoreset = False
            seen, *_ = env.step(random_indices(config, 3, seed=t))


@pytest.mark.parametrize("kind", ["flat", "equivariant"])
def test_networks_follow_what_is_seen(kind):
    config = economy(**ALL)
    seen = VectorEconomy(config, 2).reset()
    for agent_type in ("consumer", "firm", "government"):
        network = build_network(config, agent_type, "symlog", kind)
        logits, values = network(seen["global"], seen[agent_type])
        moved = {**seen, "global": seen["global"].clone()}
        moved["global"][:, observation_layout(config).global_slices["technology"]] += 3.0
        assert not torch.equal(network(moved["global"], moved[agent_type])[0], logits)
        assert values.shape == (2, config.agents(agent_type))


def test_shocks_that_nobody_sees_leave_observations_as_they_were():
    config = economy(**{name: {**shock, "sees": False} for name, shock in ALL.items()})
    assert observation_layout(config) == observation_layout(EconomyConfig(**SIZES))


def test_an_economy_without_shocks_is_saved_as_before():
    assert "shocks" not in EconomyConfig().model_dump(mode="json")
    config = economy(**ALL)
    assert EconomyConfig(**config.model_dump(mode="json")) == config and hash(config) == hash(config.replace())
    assert set(config.model_dump()["shocks"]) == set(ALL)


def test_nothing_is_read_on_the_host():
    config = economy(**ALL)
    env = VectorEconomy(config, 2, seed=3)
    env.reset()  # constants are built once
    indices = decode(config, **env.sample_actions())
    with NoHostReads():
        state = initial_state(config, 2, seeds=7)
        period(config, state, indices)


@pytest.mark.slow
def test_a_traced_period_with_shocks_is_the_eager_one():
    torch.compiler.reset()
    config = economy(**ALL)
    state = initial_state(config, 2, seeds=7)
    actions = decode(config, **random_indices(config, 2, seed=1))
    after, flows = torch.compile(period, backend="aot_eager", fullgraph=True)(config, state, actions)
    expected, happened = period(config, state, actions)
    torch.testing.assert_close(flows.output, happened.output)
    assert torch.equal(after.shocks["workers"], expected.shocks["workers"])


def test_one_consumer_one_firm_one_period():
    config = EconomyConfig(num_consumers=1, num_firms=1, horizon=1, shocks={**ALL, "technology": {**AR1, "news": 3}})
    env = VectorEconomy(config, 1)
    env.reset()
    seen, *_ = env.step(env.sample_actions())
    assert torch.isfinite(seen["global"]).all() and torch.isfinite(env.final_observation["global"]).all()


@pytest.mark.parametrize(
    ("shocks", "message"),
    [
        ({"technolgy": AR1}, 'shocks.technolgy is not a number that shocks can move; did you mean "technology"?'),
        ({"technology": {"kind": "ar2"}}, "shocks.technology.kind is 'ar2'; it must be ar1 or markov or path"),
        ({"technology": {}}, "shocks.technology.kind is missing; give ar1 or markov or path"),
        ({"technology": 3}, "shocks.technology is 3; it must be a mapping"),
        ({"technology": {"kind": "ar1"}}, "shocks.technology.persistence is missing; give 0.9"),
        ({"technology": {**AR1, "persistance": 1}}, 'persistance is not a setting of a shock; did you mean "persist'),
        ({"technology": {**AR1, "persistence": 1.5}}, "shocks.technology.persistence is 1.5; it must be at most 1"),
        ({"technology": {**AR1, "persistence": 1.0}}, "there is no long run to start from; give start: mean"),
        ({"technology": {**AR1, "deviation": -1}}, "shocks.technology.deviation is -1; it must be at least 0"),
        ({"interest_rate": AR1}, "a factor on interest_rate, which is 0; give markov or path"),
        ({"dividend_share": AR1}, "which leaves the range of a share; give markov or path"),
        ({"dividend_share": {**PATH, "values": [2]}}, "shocks.dividend_share.values: dividend_share is 2.0; it must"),
        ({"export_price": {**PATH, "values": []}}, "shocks.export_price.values is []; it must be a list of at least 1"),
        ({"export_quota": {**CHAIN, "transition": [[1.0]]}}, "transition must have 2 rows of 2 probabilities"),
        ({"export_quota": {**CHAIN, "transition": [[1, 1], [0, 1]]}}, "transition has a row 0 that sums to 2; give"),
        ({"export_quota": {**CHAIN, "start": 2}}, "start is 2; there are 2 values, numbered from 0"),
        ({"workers": {**AR1, "news": -1}}, "shocks.workers.news is -1; it must be at least 0"),
        ({"workers": {**PATH, "values": [1e300]}}, "is 1e+300; it must be at most 1e+15"),
    ],
)
def test_shocks_that_cannot_be_are_refused_in_one_line(shocks, message):
    with pytest.raises(ConfigError) as caught:
        economy(**shocks)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_shocks_to_exports_of_a_closed_economy_are_refused():
    with pytest.raises(ConfigError, match=r"shocks\.export_price moves exports, and a closed economy has none"):
        EconomyConfig(**SIZES, open_economy=False, shocks={"export_price": PATH})
