import copy
import json
import pickle
import warnings

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from gymnasium.utils.env_checker import data_equivalence
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import api_test, max_cycles_test, parallel_api_test, parallel_seed_test, seed_test
from pettingzoo.test.state_test import state_test
from pettingzoo.utils.conversions import parallel_to_aec

import rbc_marl
from rbc_marl import EconomyConfig, VectorEconomy, join, parallel_env, rbc_v0
from rbc_marl.observations import private_part
from tests.envs.playing import as_tensors, by_agent, episode, random_actions, random_indices
from tests.strategies import economies

SMALL = {"num_consumers": 5, "num_firms": 2, "horizon": 4}
# Types of agents differ in their spaces, and consumers take several decisions at once: PettingZoo remarks on both.
KNOWN_REMARKS = (
    "Action space for each agent probably should be gymnasium.spaces.box or gymnasium.spaces.discrete",
    "Agents have different observation space sizes",
    "Observations are different shapes",
)


@pytest.fixture
def only_known_remarks():
    """PettingZoo's tests warn about what they do not like: nothing but the known remarks may come."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for remark in KNOWN_REMARKS:
            warnings.filterwarnings("ignore", message=remark)
        yield


@pytest.mark.parametrize("num_cycles", [1, 10, 100])
def test_the_parallel_environment_passes_pettingzoos_api_test(only_known_remarks, num_cycles):
    parallel_api_test(parallel_env(**SMALL), num_cycles=num_cycles)


def test_the_published_economy_passes_pettingzoos_api_and_seed_tests(only_known_remarks):
    parallel_api_test(parallel_env("open"), num_cycles=10)
    parallel_seed_test(lambda: parallel_env("closed"), num_cycles=10)


@pytest.mark.parametrize("encoding", ["symlog", "digits"])
@pytest.mark.parametrize(("consumers", "firms"), [(1, 1), (1, 13), (7, 3)])
def test_odd_sizes_pass_pettingzoos_tests(only_known_remarks, consumers, firms, encoding):
    kwargs = {"num_consumers": consumers, "num_firms": firms, "encoding": encoding}
    parallel_api_test(parallel_env(**kwargs), num_cycles=10)
    api_test(rbc_v0.env(**kwargs), num_cycles=10)
    seed_test(lambda: rbc_v0.env(**kwargs), num_cycles=10)
    state_test(rbc_v0.env(**kwargs), parallel_env(**kwargs), num_cycles=10)


def test_agents_that_take_turns_pass_pettingzoos_tests(only_known_remarks):
    api_test(rbc_v0.raw_env("closed", **SMALL), num_cycles=10)
    api_test(parallel_to_aec(parallel_env(**SMALL)), num_cycles=10)
    seed_test(lambda: rbc_v0.env("closed"), num_cycles=3)


def test_max_cycles_of_the_constructor_is_the_length_of_an_episode(only_known_remarks):
    max_cycles_test(rbc_v0)
    assert len(list(episode(parallel_env(**{**SMALL, "horizon": 9}, max_cycles=None)))) == 1 + 9


def test_max_cycles_assigned_during_an_episode_counts_from_the_next_reset_on():
    env = parallel_env(**SMALL)
    env.reset()
    env.step(random_actions(env, 0))
    env.max_cycles = 6
    for period in range(1, 4):
        assert env.agents
        env.step(random_actions(env, period))
    assert not env.agents and env.config.horizon == 4
    assert len(list(episode(env))) == 1 + 6 and env.config.horizon == 6


@pytest.mark.parametrize("value", [0, -3, 2.5, "7", True, None])
def test_max_cycles_that_is_not_a_positive_whole_number_is_refused(value):
    env = parallel_env(**SMALL)
    with pytest.raises(rbc_marl.ConfigError, match=r"max_cycles is .*; it must be (a whole number|at least 1)$"):
        env.max_cycles = value
    assert len(list(episode(env))) == 1 + 4


@pytest.mark.parametrize("value", [2.0, -0.1, float("nan"), "0.5", True, None])
def test_a_scale_of_disutility_that_is_no_share_is_refused(value):
    env = parallel_env(**SMALL)
    for scale in (1, np.float32(0.25), torch.tensor(0.5)):
        env.labour_disutility_scale = scale
    allowed = r"(a (finite )?number|at (least 0|most 1))$"
    with pytest.raises(rbc_marl.ConfigError, match=rf"labour_disutility_scale is .*; it must be {allowed}"):
        env.labour_disutility_scale = value
    assert env.labour_disutility_scale == 0.5


def test_agents_are_named_and_ordered_by_type_and_index():
    env = parallel_env(num_consumers=12, num_firms=11)
    expected = [f"consumer_{i}" for i in range(12)] + [f"firm_{i}" for i in range(11)] + ["government_0"]
    assert env.possible_agents == expected
    assert env.metadata["name"] == "rbc_v0" and env.unwrapped is env and str(env) == "rbc_v0"
    observations, infos = env.reset()
    results = [observations, infos, *env.step(random_actions(env, 0))]
    assert all(list(result) == expected for result in results) and env.agents == expected


def test_spaces_are_finite_always_the_same_object_and_have_a_generator_each():
    env = parallel_env(num_consumers=3, num_firms=2)
    for agent in env.possible_agents:
        space = env.observation_space(agent)
        assert space is env.observation_space(agent) and env.action_space(agent) is env.action_space(agent)
        assert isinstance(space, Box) and space.dtype == np.float32
        assert np.isfinite(space.low).all() and np.isfinite(space.high).all() and (space.low < space.high).all()
    assert env.action_space("consumer_1") == MultiDiscrete([11, 11, 5, 2])
    assert env.action_space("firm_1") == Discrete(30) and env.action_space("government_0") == Discrete(36)
    assert len({id(env.action_space(agent)) for agent in env.possible_agents}) == len(env.possible_agents)
    assert np.isfinite(env.state_space.low).all() and np.isfinite(env.state_space.high).all()


def assert_inside(env, observations):
    for agent, observation in observations.items():
        assert observation.dtype == np.float32
        assert env.observation_space(agent).contains(observation), (agent, observation)
    assert env.state_space.contains(env.state()), env.state()


@settings(max_examples=60)
@given(economies(), st.sampled_from(["symlog", "digits"]), st.integers(0, 1000))
def test_spaces_contain_every_observation_of_random_economies(config, encoding, seed):
    env = parallel_env(config, encoding=encoding)
    for result in episode(env, seed):
        assert_inside(env, result[0])


@settings(max_examples=60)
@given(st.integers(0, 10**8), st.integers(0, 10**8), st.lists(st.integers(0, 10**8), min_size=1, max_size=3))
def test_spaces_contain_prices_and_wages_of_any_fraction(initial_price, initial_wage, choices):
    cents = [cent / 100 for cent in choices]
    env = parallel_env(
        num_consumers=2, num_firms=1, horizon=2, initial_price=initial_price / 100, initial_wage=initial_wage / 100,
        price_choices=cents, wage_choices=cents,
    )  # fmt: skip
    for result in episode(env):
        assert_inside(env, result[0])


def test_a_large_economy_plays_an_episode_inside_its_spaces():
    env = parallel_env(num_consumers=1000, num_firms=40, horizon=3)
    for result in episode(env):
        assert_inside(env, result[0])
    assert env.state().shape == (4 * 40 + 3 + 1000 * 2 + 40 * (3 + 40),)


@pytest.mark.parametrize("encoding", ["symlog", "digits"])
def test_an_episode_is_the_one_of_the_vector_economy(encoding):
    config = EconomyConfig(num_consumers=6, num_firms=3, horizon=5, initial_inventory=4.0, initial_wage=11.0)
    env = parallel_env(config, encoding=encoding)
    batch = VectorEconomy(config, num_envs=1, autoreset=False, encoding=encoding)

    def assert_seen(observations, expected):
        for agent_type in ("consumer", "firm", "government"):
            for i, row in enumerate(join(expected, agent_type)[0].numpy()):
                assert np.array_equal(observations[f"{agent_type}_{i}"], row)
        private = [private_part(expected, t).flatten() for t in ("consumer", "firm")]
        assert np.array_equal(env.state(), torch.cat([expected["global"][0], *private]).numpy())

    assert_seen(env.reset()[0], batch.reset())
    for period in range(5):
        indices = random_indices(config, period)
        observations, rewards, terminations, truncations, _ = env.step(by_agent(indices))
        expected, batch_rewards, truncated, _ = batch.step(as_tensors(indices))
        assert_seen(observations, expected)
        flat = torch.cat([batch_rewards["consumer"][0], batch_rewards["firm"][0], batch_rewards["government"]])
        assert list(rewards.values()) == flat.tolist()
        assert all(type(reward) is float for reward in rewards.values())
        assert not any(terminations.values())
        assert set(truncations.values()) == {bool(truncated[0])} == {period == 4}
    assert env.agents == []


def test_infos_tell_a_period_worked_by_hand():
    env = parallel_env(
        num_consumers=1, num_firms=1, export_price=50.0, export_quota=2.0, initial_price=100.0, initial_wage=10.0,
        initial_inventory=8.0, initial_consumer_budget=1000.0, initial_firm_budget=5000.0, initial_capital=100.0,
        labour_exponent=0.5, technology=0.1, labour_disutility=0.01, consumer_grant=1.0, crra=0.0,
        hours_choices=(0.0, 25.0), price_choices=(100.0,), wage_choices=(10.0,), investment_choices=(0.5,),
        income_tax_choices=(0.4,), corporate_tax_choices=(0.2,), firm_welfare_weight=0.5, interest_rate=0.1,
        dividend_share=0.2,
    )  # fmt: skip
    actions = {"consumer_0": np.array([5, 1, 0]), "firm_0": 0, "government_0": 0}
    assert set(map(str, env.reset()[1].values())) == {"{}"}
    infos = env.step(actions)[4]
    # Sales 5, exports 2: revenue 700, wages 250, gross 450, half invested; no taxes are in force yet.
    assert infos["consumer_0"] == pytest.approx({
        "consumption": 5.0, "spending": 500.0, "hours": 25.0, "employer": 0, "wage_income": 250.0,
        "income_tax_paid": 0.0, "transfer": 0.0, "dividend": 45.0, "interest": 79.6, "utility": 5.0 - 0.125,
        "budget": 796.0 + 79.6,
    })  # fmt: skip
    assert infos["firm_0"] == pytest.approx({
        "price": 100.0, "wage": 10.0, "demand": 5.0, "sales": 5.0, "exports": 2.0, "labour": 25.0, "output": 5.0,
        "revenue": 700.0, "wage_bill": 250.0, "investment": 225.0, "profit": 225.0, "corporate_tax_paid": 0.0,
        "dividends": 45.0, "interest": 518.0, "inventory": 6.0, "capital": 325.0, "budget": 5698.0,
    })  # fmt: skip
    assert infos["government_0"] == pytest.approx({
        "income_tax": 0.0, "corporate_tax": 0.0, "tax_pool": 0.0, "transfer": 0.0, "welfare_consumers": 4.875,
        "welfare_total": 4.875 + 0.5 * 225.0,
    })  # fmt: skip
    infos = env.step({**actions, "consumer_0": np.array([7, 1, 0])})[4]
    # Of 7 wanted there are 6: revenue 600, gross 350, profit 175, taxed 35; wages 250 are taxed 100.
    assert (infos["firm_0"]["demand"], infos["firm_0"]["sales"], infos["firm_0"]["exports"]) == (7.0, 6.0, 0.0)
    assert infos["consumer_0"]["income_tax_paid"] == pytest.approx(100.0)
    assert infos["firm_0"]["corporate_tax_paid"] == pytest.approx(35.0)
    assert infos["government_0"]["tax_pool"] == pytest.approx(135.0) == infos["consumer_0"]["transfer"]
    assert infos["government_0"]["income_tax"] == pytest.approx(0.4)
    assert infos["government_0"]["corporate_tax"] == pytest.approx(0.2)


def test_infos_name_every_consumers_own_employer_and_agree_with_each_other():
    env = parallel_env(num_consumers=9, num_firms=3, welfare="consumers", initial_wage=22.0)
    env.reset()
    for period in range(10):
        actions = random_actions(env, period)
        _, rewards, _, _, infos = env.step(actions)
        consumers = [infos[f"consumer_{i}"] for i in range(9)]
        firms = [infos[f"firm_{i}"] for i in range(3)]
        assert [c["employer"] for c in consumers] == [actions[f"consumer_{i}"][-1] for i in range(9)]
        for i, firm in enumerate(firms):
            assert firm["labour"] == sum(c["hours"] for c in consumers if c["employer"] == i)
        assert sum(c["consumption"] for c in consumers) == pytest.approx(sum(f["sales"] for f in firms), rel=1e-5)
        assert [c["utility"] for c in consumers] == [rewards[f"consumer_{i}"] for i in range(9)]
        assert infos["government_0"]["welfare_consumers"] == pytest.approx(rewards["government_0"])


def test_infos_are_plain_numbers():
    results = list(episode(parallel_env(**SMALL)))
    for result in results[1:]:
        for agent, info in result[4].items():
            assert all(type(value) is (int if key == "employer" else float) for key, value in info.items()), agent
        assert json.loads(json.dumps(result[4], allow_nan=False)) == result[4]


def test_two_environments_share_nothing():
    first, second, alone = (parallel_env(**SMALL) for _ in range(3))
    expected = list(episode(alone, seed=1))
    other = episode(second, seed=2)
    next(other)
    for result, same in zip(episode(first, seed=1), expected, strict=True):
        assert data_equivalence(result, same)
        for observation in next(other, ({},))[0].values():
            observation[:] = -77.0  # writing into what one environment gave must not reach another
    assert not any(
        first.action_space(agent) is second.action_space(agent)
        or first.observation_space(agent) is second.observation_space(agent)
        for agent in first.possible_agents
    )


def test_writing_into_an_observation_changes_neither_the_game_nor_other_agents():
    env, same = parallel_env(**SMALL), parallel_env(**SMALL)
    observations, _ = env.reset()
    same.reset()
    state = env.state()
    kept = {agent: observation.copy() for agent, observation in observations.items()}
    observations["government_0"][:] = -5.0
    observations["consumer_1"][:] = -5.0
    assert np.array_equal(env.state(), state)
    assert all(np.array_equal(observations[a], kept[a]) for a in kept if a not in ("government_0", "consumer_1"))
    assert data_equivalence(env.step(random_actions(env, 0)), same.step(random_actions(same, 0)))


def test_neither_an_episode_nor_a_seed_changes_the_next_one():
    env = parallel_env(**SMALL)
    first = list(episode(env, seed=3))
    torch.manual_seed(99)
    env.reset(seed=1, options={"anything": 1})
    assert data_equivalence(list(episode(env, seed=3)), first)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copied_environment_continues_alike_and_on_its_own(clone):
    env = parallel_env(**SMALL, render_mode="ansi")
    env.reset()
    env.action_space("firm_0").seed(3)
    env.step(random_actions(env, 0))
    other = clone(env)
    assert other.action_space("firm_0").sample() == env.action_space("firm_0").sample()
    assert other.render() == env.render()
    played = [env.step(random_actions(env, period)) for period in (1, 2, 3)]
    assert other.agents and not env.agents
    assert data_equivalence([other.step(random_actions(other, period)) for period in (1, 2, 3)], played)


@pytest.mark.parametrize("render_mode", [None, "ansi"])
def test_a_long_episode_takes_no_more_memory_than_a_short_one(render_mode):
    env = parallel_env(**{**SMALL, "horizon": 60}, render_mode=render_mode)
    env.reset()
    sizes = []
    for period in range(60):
        env.step(random_actions(env, period))
        sizes.append(len(pickle.dumps(env)))
    assert max(sizes) < 1.1 * sizes[1]


def test_closing_twice_is_harmless():
    env = parallel_env(**SMALL)
    env.close()
    env.reset()
    env.close()
    env.close()
