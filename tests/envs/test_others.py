"""Environments about some agents, while rules or trained policies play the rest."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import data_equivalence
from pettingzoo.test import parallel_api_test, parallel_seed_test

from rbc_marl import ConfigError, EconomyConfig, UserError, VectorEconomy, load, parallel_env
from rbc_marl.config import AGENT_TYPES
from rbc_marl.envs.controlled import ControlledBatch
from rbc_marl.observations import whole_state
from rbc_marl.policies.build import build_network
from rbc_marl.policies.saved import save_policies
from rbc_marl.policies.scripted import Rules, ScriptedPolicies, UniformPolicies
from tests.envs.playing import episode, random_actions, random_indices

SMALL = {"num_consumers": 5, "num_firms": 2, "horizon": 4}
CONFIG = EconomyConfig(**SMALL)
OWN_REWARD = {"consumer": "utility", "government": "welfare_total"}


@pytest.fixture
def checkpoint(tmp_path):
    """Untrained networks as a checkpoint."""
    torch.manual_seed(0)
    networks = {t: build_network(CONFIG, t) for t in AGENT_TYPES}
    save_policies(tmp_path, CONFIG, "symlog", networks, dict.fromkeys(AGENT_TYPES, "flat"))
    return tmp_path


def test_only_the_trained_agents_are_agents_in_the_usual_order():
    env = parallel_env(**SMALL, train_types=["government", "firm_1", "consumer"])
    expected = [*(f"consumer_{i}" for i in range(5)), "firm_1", "government_0"]
    assert env.possible_agents == expected
    results = [*env.reset(), *env.step(random_actions(env, 0))]
    assert all(list(result) == expected for result in results)
    with pytest.raises(ConfigError, match="'firm_0' is not an agent"):
        env.action_space("firm_0")
    with pytest.raises(ConfigError, match="for 'firm_0', which is not an agent"):
        env.step({**random_actions(env, 0), "firm_0": 3})


@pytest.mark.parametrize("train_types", [["consumer"], ["firm"], ["government"], ["consumer_3", "firm_0"]])
@pytest.mark.parametrize("mode", ["multidiscrete", "box"])
def test_environments_about_some_pass_pettingzoos_tests(train_types, mode):
    def make():
        return parallel_env(**SMALL, train_types=train_types, action_mode=mode)

    parallel_api_test(make(), num_cycles=10)
    parallel_seed_test(make, num_cycles=10)


@pytest.mark.parametrize("mode", ["multidiscrete", "box"])
@pytest.mark.parametrize("train_types", [["consumer"], ["firm_1", "government"], ["consumer_0", "consumer_3", "firm"]])
def test_the_others_play_what_their_rules_say_and_the_trained_what_they_choose(mode, train_types):
    env = parallel_env(**SMALL, train_types=train_types, others="full_employment", action_mode=mode)
    batch = VectorEconomy(CONFIG, autoreset=False)
    rules = ScriptedPolicies(CONFIG, "full_employment")
    generator = torch.Generator().manual_seed(7)
    observation = batch.reset()
    results = [env.reset(seed=7)]
    for period in range(4):
        expected = rules.act(observation, generator, state=batch.state)
        own = random_indices(CONFIG, period)
        for name in env.possible_agents:
            agent_type, number = name.split("_")
            expected[agent_type].view(1, CONFIG.agents(agent_type), -1)[0, int(number)] = torch.as_tensor(
                own[agent_type][int(number)]
            )
        observation, rewards, _, _ = batch.step(expected)
        results.append(env.step(random_actions(env, period)))
        for name, reward in results[-1][1].items():
            agent_type, number = name.split("_")
            assert reward == rewards[agent_type].view(1, -1)[0, int(number)].item()
            info = results[-1][4][name]
            told = info["profit"] - info["corporate_tax_paid"] if agent_type == "firm" else info[OWN_REWARD[agent_type]]
            assert told == pytest.approx(reward, rel=1e-5), name
        assert np.array_equal(env.state(), whole_state(observation)[0].numpy())
    assert all(results[-1][3].values()) and env.agents == []


def test_a_seed_decides_what_the_others_draw():
    env, same, different = (parallel_env(**SMALL, train_types=["firm"], others="random") for _ in range(3))

    def play(env, seed):
        results = [env.reset(seed=seed)]
        while env.agents:
            results.append(env.step({agent: 7 for agent in env.agents}))
        return results

    first = play(env, 3)
    assert data_equivalence(first, play(same, 3)) and data_equivalence(first, play(env, 3))
    assert not data_equivalence(first, play(different, 4))
    assert not data_equivalence(play(env, None), play(env, None))  # without a seed the draws go on


def test_environments_that_nobody_seeds_draw_differently_until_somebody_does():
    one, other = (parallel_env(**SMALL, train_types=["firm"], others="random") for _ in range(2))

    def play(env, seed=None):
        results = [env.reset(seed=seed)]
        while env.agents:
            results.append(env.step({agent: 7 for agent in env.agents}))
        return results

    assert not data_equivalence(play(one), play(other))
    assert data_equivalence(play(one, 3), play(other, 3))
    assert data_equivalence(play(one), play(other))  # the draws go on from the seed


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_goes_on_with_the_same_draws_of_the_others(clone):
    env = parallel_env(CONFIG, train_types=["firm"], others="random", action_mode="discrete", action_mask=True)
    env.reset(seed=2)
    env.step(random_actions(env, 0))
    other = clone(env)
    for period in (1, 2, 3):
        assert data_equivalence(env.step(random_actions(env, period)), other.step(random_actions(other, period)))


def test_a_checkpoint_plays_the_others(checkpoint):
    env = parallel_env(CONFIG, train_types=["government"], others=checkpoint)
    given = parallel_env(CONFIG, train_types=["government"], others=load(str(checkpoint)))
    scripted = parallel_env(CONFIG, train_types=["government"])
    played = [[e.reset(seed=1)] + [e.step({"government_0": 8}) for _ in range(4)] for e in (env, given, scripted)]
    assert data_equivalence(played[0], played[1]) and not data_equivalence(played[0], played[2])


LAW = {"choices": {"wage": 22.0, "minimum_price": 1500.0}, "factors": {"consumer_grant": [1, 1e6]}}


@pytest.fixture
def under_law(checkpoint):
    """The same, trained under a law."""
    written = json.loads((checkpoint / "policies.json").read_text())
    written["info"] = {"imposed": LAW}
    (checkpoint / "policies.json").write_text(json.dumps(written))
    return checkpoint


def test_agents_live_with_what_the_training_of_the_others_imposed(under_law):
    batch = ControlledBatch(CONFIG, num_envs=3, train_types=["consumer", "firm_1"], others=under_law)
    free = ControlledBatch(CONFIG, num_envs=3, train_types=["consumer", "firm_1"], others=load(str(under_law)))
    actions = {"consumer": torch.zeros(3, 5, 4, dtype=torch.int64), "firm": torch.zeros(3, 1, dtype=torch.int64)}
    for each in (batch, free):
        each.reset(seed=1)
        each.step(actions)
        each.step(actions)
    for one, state in ((True, batch.economy.state), (False, free.economy.state)):
        assert bool((state.wage == 22.0).all() and (state.price >= 1500.0).all()) is one
        assert bool((state.consumer_budget > 1e4).all()) is one
    batch.set_horizon(3)
    assert batch.economy.imposed == {"consumer_grant": (1.0, 1e6)}


def test_a_box_takes_what_is_imposed_on_the_others_but_not_on_its_own_agents(under_law):
    with pytest.raises(ConfigError, match=r"holds for the firm as well, which action_mode .box. cannot obey; use"):
        ControlledBatch(CONFIG, train_types=["firm_1"], others=under_law, action_mode="box")
    batch = ControlledBatch(CONFIG, train_types=["consumer"], others=under_law, action_mode="box")
    batch.reset(seed=1)
    batch.step({"consumer": torch.zeros(1, 5, 5)})
    assert (batch.economy.state.wage == 22.0).all()


@pytest.mark.parametrize("others", ["idle", "random", {"work": "always"}, Rules(wage=22.0), UniformPolicies(CONFIG)])
def test_others_can_be_named_described_or_given(others):
    env = parallel_env(CONFIG, train_types=["consumer"], others=others)
    assert len(list(episode(env))) == 5


def test_who_plays_the_others_is_no_matter_where_there_are_none():
    assert len(parallel_env(CONFIG, train_types=["consumer", "firm", "government"], others="nobody").agents) == 0


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"train_types": ["consumers"]}, "train_types holds 'consumers'.*did you mean \"consumer\""),
        ({"train_types": ["firm_2"]}, "train_types holds 'firm_2'; it must hold .* or agents .*firm_0 to firm_1"),
        ({"train_types": ["firm_x"]}, "train_types holds 'firm_x'.*firm_0 to firm_1"),
        ({"train_types": "firm"}, r"train_types is 'firm'; it must be a list, such as \[\"firm\"\]"),
        ({"train_types": []}, r"train_types is \[\]; it must be a list, such as \[\"consumer\"\]"),
        ({"others": "monopole"}, "others is 'monopole'; it must be .* or policies; did you mean \"monopoly\""),
        ({"others": {"wages": 3.0}}, 'wages is not a rule.*did you mean "wage"'),
        ({"others": 7}, "others is 7; it must be random, monopoly, .* or policies"),
        ({"others": UniformPolicies(CONFIG.replace(num_firms=3))}, "others were made for num_firms 3, and the economy"),
        ({"others": UniformPolicies(CONFIG.replace(wage_choices=(1.0,)))}, "others were made for wage_choices"),
        ({"others": UniformPolicies(CONFIG, "digits")}, 'make it with encoding="digits"'),
    ],
)
def test_wrong_agents_or_others_are_refused(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        parallel_env(CONFIG, **{"train_types": ["firm"], **kwargs})


def test_a_folder_without_policies_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no policies"):
        parallel_env(CONFIG, train_types=["firm"], others=tmp_path)


def test_a_seed_can_be_an_integer_of_numpy():
    env = parallel_env(num_consumers=3, num_firms=2, horizon=3, train_types=["firm"], others="random")
    actions = {"firm_0": 3, "firm_1": 4}
    drawn = []
    for seed in (np.int64(3), 3):
        env.reset(seed=seed)
        drawn.append(env.step(actions)[0])
    assert data_equivalence(*drawn)
