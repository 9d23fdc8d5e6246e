import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import data_equivalence

from rbc_marl import ConfigError, EconomyConfig, parallel_env
from tests.envs.playing import episode, random_actions

SMALL = {"num_consumers": 5, "num_firms": 2, "horizon": 4}


@pytest.mark.parametrize(
    ("agent", "action", "message"),
    [
        ("consumer_3", np.array([1, 2, 3]), r"action of consumer_3 has shape \(3,\); it must be 4 integers"),
        ("consumer_3", 2, r"action of consumer_3 has shape \(\)"),
        ("consumer_0", np.array([0, 0, 5, 0]), r"action\[2\] of consumer_0 is 5; it must be from 0 to 4"),
        ("consumer_0", np.array([0, 0, 0, -1]), r"action\[3\] of consumer_0 is -1; it must be from 0 to 1"),
        ("consumer_0", np.array([0.0, 0.0, 0.0, np.nan]), r"action of consumer_0 is .*nan.*; it must be of integers"),
        ("firm_1", 30, "action of firm_1 is 30; it must be from 0 to 29"),
        ("firm_1", -1, "action of firm_1 is -1; it must be from 0 to 29"),
        ("firm_1", float("nan"), "action of firm_1 is nan; it must be of integers"),
        ("firm_1", 1.0, "action of firm_1 is 1.0; it must be of integers"),
        ("firm_1", np.array([1]), r"action of firm_1 has shape \(1,\); it must be one integer"),
        ("firm_1", None, "action of firm_1 is None; it must be of integers"),
        ("firm_1", "7", "action of firm_1 is '7'; it must be of integers"),
        ("government_0", 36, "action of government_0 is 36; it must be from 0 to 35"),
    ],
)
def test_an_action_outside_its_space_is_refused_by_name_and_changes_nothing(agent, action, message):
    env, same = parallel_env(**SMALL), parallel_env(**SMALL)
    env.reset()
    same.reset()
    with pytest.raises(ConfigError, match=message):
        env.step({**random_actions(env, 0), agent: action})
    assert data_equivalence(env.step(random_actions(env, 0)), same.step(random_actions(same, 0)))


def test_actions_may_be_any_integers_numpy_or_torch_knows():
    env, same = parallel_env(**SMALL), parallel_env(**SMALL)
    env.reset()
    same.reset()
    actions = random_actions(env, 0)
    unusual = {agent: np.asarray(action).astype(np.uint8).tolist() for agent, action in actions.items()}
    unusual["consumer_0"] = torch.tensor(actions["consumer_0"])
    unusual["consumer_1"] = np.array(actions["consumer_1"], dtype=np.uint8)
    unusual["firm_0"] = np.int32(actions["firm_0"])
    unusual["firm_1"] = np.array(actions["firm_1"], dtype=np.uint16)
    assert data_equivalence(env.step(unusual), same.step(actions))
    unusual = random_actions(env, 1)
    unusual["firm_1"] = np.uint64(7)  # beside an int64, NumPy would make floats of both
    unusual["firm_0"] = np.int64(3)
    assert data_equivalence(env.step(unusual), same.step({**unusual, "firm_0": 3, "firm_1": 7}))


def without(actions, *agents):
    return {agent: action for agent, action in actions.items() if agent not in agents}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda actions: without(actions, "firm_1"), "no action for firm_1; every agent acts"),
        (lambda actions: without(actions, "firm_1", "consumer_2"), r"no action for consumer_2 \(nor for 1 more\)"),
        (lambda actions: {}, r"no action for consumer_0 \(nor for 7 more\)"),
        (lambda actions: {**actions, "frim_1": 0}, "for 'frim_1', which is not an agent; did you mean \"firm_1\""),
        (lambda actions: list(actions.values()), "actions are a list; give a mapping"),
    ],
)
def test_actions_of_the_wrong_agents_are_refused(change, message):
    env = parallel_env(**SMALL)
    env.reset()
    with pytest.raises(ConfigError, match=message):
        env.step(change(random_actions(env, 0)))


def test_stepping_before_the_start_and_after_the_end_is_refused():
    env = parallel_env(**SMALL)
    with pytest.raises(ConfigError, match=r"has not been reset; call reset\(\) before step\(\)"):
        env.step(random_actions(env, 0))
    with pytest.raises(ConfigError, match=r"has not been reset; call reset\(\) before state\(\)"):
        env.state()
    list(episode(env))
    with pytest.raises(ConfigError, match=r"episode is over; call reset\(\)"):
        env.step(random_actions(env, 0))
    with pytest.raises(ConfigError, match=r"episode is over; call reset\(\)"):
        env.step({})
    assert list(env.reset()[0]) == env.agents


def test_unknown_agents_have_no_spaces():
    env = parallel_env(**SMALL)
    with pytest.raises(ConfigError, match="'consumer_5' is not an agent"):
        env.observation_space("consumer_5")
    with pytest.raises(ConfigError, match="'goverment_0' is not an agent; did you mean \"government_0\""):
        env.action_space("goverment_0")


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        (("opne",), {}, 'unknown preset "opne"'),
        ((), {"num_consumer": 3}, "num_consumer is not a field"),
        ((), {"max_cycles": 3, "horizon": 3}, "max_cycles and horizon are both given"),
        ((), {"max_cycles": 0}, "max_cycles is 0"),
        ((), {"render_mode": "ascii"}, "render_mode is 'ascii'; it must be human, ansi, rgb_array or None"),
        ((), {"encoding": "log"}, "encoding is 'log'"),
    ],
)
def test_a_wrong_argument_is_refused_when_the_environment_is_made(args, kwargs, message):
    with pytest.raises(ConfigError, match=message):
        parallel_env(*args, **kwargs)


def test_an_economy_can_be_given_as_preset_configuration_or_mapping():
    assert not parallel_env("closed").config.open_economy and parallel_env().config.open_economy
    config = EconomyConfig(**SMALL)
    assert parallel_env(config).config == parallel_env(SMALL).config == parallel_env(**SMALL).config == config
    assert parallel_env(config, num_firms=3).config.num_firms == 3
    assert parallel_env(config, max_cycles=7).config.horizon == 7
