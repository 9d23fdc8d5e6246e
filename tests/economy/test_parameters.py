"""Numbers that stand in place of a configuration's own: by batch, by economy, in whatever is computed with them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rbc_marl import ConfigError, VectorEconomy, preset
from rbc_marl.choices import decode
from rbc_marl.config import EconomyConfig
from rbc_marl.economy import PARAMETERS, initial_state, period, residuals
from rbc_marl.economy.own_choices import Market, consumption_values, market_of, value_of_money
from rbc_marl.economy.parameters import FIXED, LABOUR_DISUTILITY_SCALE, check_parameters, own_number
from tests.convert import random_indices
from tests.host_reads import NoHostReads
from tests.strategies import Situation, situations

READ = tuple(name for name in PARAMETERS if name != LABOUR_DISUTILITY_SCALE)
# Two other values of each, beside those that the situations draw.
OTHERS = {
    "export_price": (0.0, 1500.0), "export_quota": (0.0, 7.5), "crra": (1.0, 0.6), "interest_rate": (0.0, 0.5),
    "labour_floor": (0.0, 500.0), "technology": (0.0, 0.5), "consumer_grant": (0.0, 30.0), "dividend_share": (0.0, 0.7),
    "firm_welfare_weight": (0.0, 0.3), "revenue_bonus": (0.0, 0.6), "consumer_debt_penalty": (0.0, 2.0),
    "firm_debt_penalty": (0.0, 2.0), "consumer_debt_scale": (3.0, 0.5), "firm_debt_scale": (3.0, 0.5),
    "depreciation": (0.0, 0.4), "consumption_tax": (0.0, 0.3),
}  # fmt: skip
LIVELY = {
    "num_consumers": 5, "num_firms": 3, "horizon": 4, "initial_wage": 22.0, "initial_inventory": 30.0,
    "initial_firm_budget": 9000.0, "interest_rate": 0.05, "revenue_bonus": 0.1, "consumer_debt_penalty": 0.5,
    "firm_debt_penalty": 0.5, "dividend_share": 0.2,
}  # fmt: skip


def close(mine, theirs, **tolerance):
    """Two states, or two flows, agree."""
    for field in dataclasses.fields(mine):
        a, b = getattr(mine, field.name), getattr(theirs, field.name)
        torch.testing.assert_close(a, b, msg=lambda text, name=field.name: f"{name}: {text}", **tolerance)


def column(values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


def test_every_field_of_an_economy_varies_or_says_why_it_cannot():
    assert set(READ) | set(FIXED) == set(EconomyConfig.model_fields)
    assert not set(READ) & set(FIXED)
    assert set(OTHERS) == set(READ)


@given(situations(num_envs=3))
def test_tensors_of_the_configurations_own_numbers_change_nothing(situation: Situation):
    config, state, actions = situation.config, situation.state, situation.actions
    own = {name: column([getattr(config, name)] * 3) for name in READ}
    for mine, theirs in zip(period(config, state, actions, own), period(config, state, actions), strict=True):
        close(mine, theirs, rtol=1e-12, atol=1e-9)


@given(situations(num_envs=3), st.lists(st.sampled_from(READ), min_size=1, max_size=4, unique=True))
def test_each_row_is_the_economy_with_its_own_numbers(situation: Situation, names: list[str]):
    config, state, actions = situation.config, situation.state, situation.actions
    rows = [{}, *({name: OTHERS[name][i] for name in names} for i in (0, 1))]
    given = {name: column([row.get(name, getattr(config, name)) for row in rows]) for name in names}
    together = period(config, state, actions, given)
    for i, row in enumerate(rows):
        one = slice(i, i + 1)
        alone = period(config.replace(**row), state[one], actions[one])
        for mine, theirs in zip(together, alone, strict=True):
            close(mine[one], theirs, rtol=1e-12, atol=1e-8)  # of budgets up to 1e6 and flows up to 1e7


@given(situations(num_envs=2), st.lists(st.sampled_from(READ), min_size=1, max_size=4, unique=True))
def test_a_number_for_the_whole_batch_is_a_configuration_with_it_bit_for_bit(situation: Situation, names: list[str]):
    config, state, actions = situation.config, situation.state, situation.actions
    numbers = {name: OTHERS[name][1] for name in names}
    found, expected = period(config, state, actions, numbers), period(config.replace(**numbers), state, actions)
    for mine, theirs in zip(found, expected, strict=True):
        close(mine, theirs, rtol=0, atol=0)


@given(situations(num_envs=3))
def test_money_and_goods_balance_whatever_varies(situation: Situation):
    config, state, actions = situation.config, situation.state, situation.actions
    given = {name: column([getattr(config, name), *OTHERS[name]]) for name in READ}
    after, flows = period(config, state, actions, given)
    size = 1.0 + float(max(after.firm_budget.abs().sum(), after.consumer_budget.sum(), flows.revenue.sum()))
    for name, residual in residuals(config, state, actions, after, flows, given).items():
        assert residual.abs().max() <= 1e-12 * size, name


@pytest.mark.parametrize("crra", [0.0, 0.1, 0.9, 0.99999, 1.0, 1.00001, 3.0])
def test_utility_by_column_loses_no_digits_in_float32(crra: float):
    config = EconomyConfig(**LIVELY, crra=crra)
    state = initial_state(config, 2)
    actions = decode(config, **random_indices(config, 2, seed=3))
    _, flows = period(config, state, actions, {"crra": column([crra] * 2, torch.float32)})
    _, expected = period(config, state, actions)
    torch.testing.assert_close(flows.utility, expected.utility, rtol=2e-6, atol=2e-5)


def test_whole_episodes_of_rows_are_those_of_their_own_configurations():
    config = EconomyConfig(**LIVELY)
    values = {name: [own_number(config, name), *OTHERS[name]] for name in READ} | {
        LABOUR_DISUTILITY_SCALE: [1.0, 0.0, 0.3]
    }
    batch = VectorEconomy(
        config, 3, dtype=torch.float64, parameters={name: column(value) for name, value in values.items()}
    )
    alone = []
    for i in range(3):
        fields = {name: value[i] for name, value in values.items() if name != LABOUR_DISUTILITY_SCALE}
        alone.append(VectorEconomy(config.replace(**fields), 1, dtype=torch.float64))
        alone[i].labour_disutility_scale = values[LABOUR_DISUTILITY_SCALE][i]
    first = batch.reset()
    for i, env in enumerate(alone):
        torch.testing.assert_close(first["consumer"][i : i + 1], env.reset()["consumer"])
    for t in range(config.horizon):
        indices = random_indices(config, 3, seed=t)
        observation, rewards, _, flows = batch.step(indices)
        for i, env in enumerate(alone):
            one = slice(i, i + 1)
            seen, own, _, happened = env.step({name: index[one] for name, index in indices.items()})
            close(flows[one], happened, rtol=1e-11, atol=1e-8)
            for part in seen:
                torch.testing.assert_close(observation[part][one], seen[part])
            for part in own:
                torch.testing.assert_close(rewards[part][one], own[part], rtol=1e-11, atol=1e-8)


def test_numbers_hold_until_others_are_set():
    env = VectorEconomy(EconomyConfig(**LIVELY), 2, parameters={"consumer_grant": 5.0, "export_quota": 3})
    env.reset()
    assert env.parameters == {"consumer_grant": 5.0, "export_quota": 3.0}
    env.set_parameters({"technology": 0.5})
    assert env.parameters == {"technology": 0.5}
    env.set_parameters({})
    expected = VectorEconomy(EconomyConfig(**LIVELY), 2)
    expected.reset()
    indices = env.sample_actions()
    close(env.step(indices)[3], expected.step(indices)[3], rtol=0, atol=0)


def test_the_configurations_own_number_is_none_in_its_place():
    env = VectorEconomy(preset("open"), 2)
    env.set_parameters({"export_quota": 100.0, "labour_disutility_scale": 1.0, "crra": 0.2})
    assert env.parameters == {"crra": 0.2}


def test_labour_disutility_is_one_of_the_numbers_and_counts_from_the_next_reset():
    env = VectorEconomy(EconomyConfig(**LIVELY), 2, parameters={"technology": 0.5})
    before = env.reset()["consumer"]
    env.labour_disutility_scale = 0.5
    assert env.parameters == {"technology": 0.5, "labour_disutility_scale": 0.5}
    observation, *_ = env.step(env.sample_actions())
    assert torch.equal(observation["consumer"][..., -1], before[..., -1])
    env.set_parameters({"labour_disutility_scale": column([0.5, 0.25], torch.float32)})
    after = env.reset()["consumer"]
    assert torch.equal(after[..., -1], before[..., -1] * torch.tensor([[0.5], [0.25]]))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"export_qota": 5.0}, 'export_qota is not a number of an economy that can vary; did you mean "export_quota"'),
        ({"num_firms": 3}, "parameters.num_firms cannot vary: it sets the shapes of tensors"),
        ({"price_choices": (1.0,)}, "parameters.price_choices cannot vary: it sets what agents can choose"),
        ({"labour_disutility": 0.1}, "parameters.labour_disutility cannot vary: consumers differ in it; vary labour_"),
        ({"open_economy": False}, "parameters.open_economy cannot vary: it is no number; let export_quota fall to 0"),
        ({"dividend_share": 1.5}, "parameters.dividend_share is 1.5; it must be at most 1"),
        ({"technology": "high"}, "parameters.technology is 'high'; it must be a number"),
        ({"technology": float("nan")}, "parameters.technology is nan; it must be a finite number"),
        ({"dividend_share": torch.tensor([0.5, 1.5])}, "parameters.dividend_share is 1.5; it must be at most 1"),
        ({"technology": torch.tensor([float("nan"), 0.5])}, "parameters.technology is nan; it must be a finite number"),
        ({"technology": torch.ones(3)}, "parameters.technology has shape [3]; give a number, or a tensor [2]"),
        ({"labour_disutility_scale": -0.5}, "parameters.labour_disutility_scale is -0.5; it must be at least 0"),
    ],
)  # fmt: skip
def test_what_cannot_vary_is_refused_with_its_name(parameters, message):
    with pytest.raises(ConfigError) as caught:
        VectorEconomy(preset("open"), 2, parameters=parameters)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tensors_take_the_batchs_type():
    checked = check_parameters({"crra": torch.tensor([1, 2])}, 2, torch.device("cpu"), torch.float64)
    assert checked["crra"].dtype == torch.float64


def test_nothing_is_read_on_the_host_in_a_period():
    config = EconomyConfig(**LIVELY)
    given = {name: column([own_number(config, name), *OTHERS[name]], torch.float32) for name in READ}
    state, actions = initial_state(config, 3), decode(config, **random_indices(config, 3, seed=0))
    with NoHostReads():
        after, flows = period(config, state, actions, given)
        residuals(config, state, actions, after, flows, given)


class Played:
    """Episodes in which each economy has its own curvature and interest, with what consumers asked for."""

    def __init__(self, config: EconomyConfig, parameters: dict[str, torch.Tensor], envs: int) -> None:
        state, steps, asked = initial_state(config, envs, dtype=torch.float64), [], []
        for t in range(config.horizon):
            actions = decode(config, **random_indices(config, 3, seed=t), dtype=torch.float64)[:envs]
            after, flows = period(config, state, actions, parameters)
            steps.append(market_of(config, state, flows))
            asked.append(actions.demand)
            state = after
        self.market, self.requested = Market(*map(torch.stack, zip(*steps, strict=True))), torch.stack(asked)


@pytest.mark.parametrize("crra", [(0.1, 1.0, 0.6)])
def test_own_choices_are_valued_at_each_economys_numbers(crra):
    config = EconomyConfig(**LIVELY)
    interest = (0.0, 0.2, 0.05)
    given = {"crra": column(crra), "interest_rate": column(interest)}
    played = Played(config, given, 3)
    by_period = {name: x.expand(config.horizon, 3) for name, x in given.items()}
    later = value_of_money(config, played.market, played.requested, 0.9, by_period)
    values = consumption_values(config, played.market, played.requested, later, by_period)
    for i in range(3):
        one = slice(i, i + 1)
        alone = config.replace(crra=crra[i], interest_rate=interest[i])
        market, requested = Market(*(x[:, one] for x in played.market)), played.requested[:, one]
        expected = value_of_money(alone, market, requested, 0.9)
        torch.testing.assert_close(later[:, one], expected, rtol=1e-10, atol=1e-12)
        worth = consumption_values(alone, market, requested, expected)
        torch.testing.assert_close(values[:, one], worth, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@settings(max_examples=5)
@given(situation=situations(num_envs=3))
def test_a_traced_period_with_tensors_is_the_eager_one(situation: Situation):
    torch.compiler.reset()
    config = situation.config
    given = {name: column([own_number(config, name), *OTHERS[name]]) for name in READ}
    traced = torch.compile(period, backend="aot_eager", fullgraph=True)
    expected = period(config, situation.state, situation.actions, given)
    found = traced(config, situation.state, situation.actions, given)
    for mine, theirs in zip(found, expected, strict=True):
        close(mine, theirs, rtol=1e-10, atol=1e-6)


@pytest.mark.slow
def test_other_values_of_tensors_are_played_by_the_same_compiled_code():
    torch.compiler.reset()
    counts = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    traced = torch.compile(period, backend=counts, fullgraph=True)
    config = EconomyConfig(**LIVELY)
    state, actions = initial_state(config, 2), decode(config, **random_indices(config, 2, seed=0))
    for quota in (0.0, 5.0, 50.0):
        given = {"export_quota": torch.full((2,), quota)}
        close(traced(config, state, actions, given)[1], period(config, state, actions, given)[1], rtol=1e-6, atol=1e-4)
    assert counts.frame_count == 1
