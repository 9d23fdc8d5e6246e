"""Padded spaces: the same economy, told in one shape."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from gymnasium.utils.env_checker import data_equivalence
from pettingzoo.test import parallel_api_test, parallel_seed_test

from rbc_marl import ConfigError, homogenize, parallel_env
from tests.envs.playing import random_actions

SMALL = {"num_consumers": 5, "num_firms": 2, "horizon": 4, "consumption_choices": [0.0, 1.0, 4.0, 10.0]}
MODES = ["multidiscrete", "discrete", "box"]


def padded(env, actions):
    """The same decisions in the common space, with numbers in the padding that must not matter."""
    result = {}
    for name, action in actions.items():
        space = env.action_space(name)
        full = space.sample() if space.shape else action
        if space.shape:
            own = np.atleast_1d(action)
            full[: len(own)] = own
        result[name] = full
    return result


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("train_types", [None, ["firm", "government"], ["consumer"]])
def test_the_economy_is_the_same_in_padded_spaces(mode, train_types):
    plain = parallel_env(**SMALL, action_mode=mode, train_types=train_types)
    env = homogenize(parallel_env(**SMALL, action_mode=mode, train_types=train_types))
    results, expected = list(env.reset(seed=3)), list(plain.reset(seed=3))
    for period in range(5):
        for name, own in expected[0].items():
            seen = results[0][name]["observation"] if mode != "box" else results[0][name]
            number = ["consumer", "firm", "government"].index(name.split("_")[0])
            assert seen[:3].tolist() == [float(i == number) for i in range(3)]
            assert np.array_equal(seen[3 : 3 + len(own)], own) and not seen[3 + len(own) :].any()
            assert env.observation_space(name).contains(results[0][name])
        assert data_equivalence(results[1:], expected[1:]) and np.array_equal(env.state(), plain.state())
        if period == 4:
            break
        actions = random_actions(plain, period)
        results, expected = list(env.step(padded(env, actions))), list(plain.step(actions))
    assert env.agents == [] and all(expected[3].values())


@pytest.mark.parametrize("mode", MODES)
def test_all_agents_have_equal_spaces(mode):
    env = homogenize(parallel_env(**SMALL, action_mode=mode))
    first, *others = env.possible_agents
    for name in others:
        assert env.observation_space(name) == env.observation_space(first)
        assert env.action_space(name) == env.action_space(first) and env.action_space(name) is env.action_space(name)
    spaces = {"multidiscrete": MultiDiscrete([36, 4, 5, 2]), "discrete": Discrete(160),
              "box": Box(-1.0, 1.0, (5,), np.float32)}  # fmt: skip
    assert env.action_space(first) == spaces[mode]


@pytest.mark.parametrize("mode", ["discrete", "box"])
def test_padded_spaces_pass_pettingzoos_tests(mode):
    def make():
        return homogenize(parallel_env(**SMALL, action_mode=mode), invalid="first")

    parallel_api_test(make(), num_cycles=10)
    parallel_seed_test(make, num_cycles=10)


def test_masks_allow_an_agents_own_choices_and_the_first_of_what_is_not_read():
    observations, _ = homogenize(parallel_env(**SMALL)).reset()
    parts = {name: np.split(observations[name]["action_mask"], [36, 40, 45]) for name in observations}
    assert [part.tolist() for part in parts["firm_0"]] == [[1] * 30 + [0] * 6, [1, 0, 0, 0], [1, 0, 0, 0, 0], [1, 0]]
    assert [part.sum() for part in parts["government_0"]] == [36, 1, 1, 1]
    assert [part.sum() for part in parts["consumer_0"]] == [4, 4, 5, 2]


@pytest.mark.parametrize("mode", ["multidiscrete", "discrete"])
def test_masks_of_the_environment_inside_are_shown_and_kept(mode):
    inside = parallel_env(**SMALL, action_mode=mode, action_mask=True)
    env = homogenize(inside)
    inside.set_action_masks({"firm": np.arange(30) == 4})
    observations, _ = env.reset()
    assert np.flatnonzero(observations["firm_1"]["action_mask"])[0] == 4
    actions = {name: np.zeros(env.action_space(name).shape, int) for name in env.agents}
    with pytest.raises(ConfigError, match=r"the action.* of firm_0 is 0, which its action_mask forbids"):
        env.step(actions)


@pytest.mark.parametrize("mode", ["multidiscrete", "discrete"])
def test_an_index_of_the_padding_is_refused_or_taken_as_the_first_choice(mode):
    strict, lenient, plain = (parallel_env(**SMALL, action_mode=mode) for _ in range(3))
    strict, lenient = homogenize(strict), homogenize(lenient, invalid="first", action_mask=False)
    for env in (strict, lenient, plain):
        env.reset()
    own = random_actions(plain, 0)
    actions = {**padded(lenient, own)}
    actions["firm_1"] = np.array([33, 0, 0, 0]) if mode == "multidiscrete" else 33
    with pytest.raises(ConfigError, match="the action of firm_1 is 33; it must be from 0 to 29"):
        strict.step(actions)
    rewards = lenient.step(actions)[1]
    assert rewards == plain.step({**own, "firm_1": 0})[1]
    with pytest.raises(ConfigError, match="of firm_1 is -1"):
        lenient.step({**actions, "firm_1": np.array([-1, 0, 0, 0]) if mode == "multidiscrete" else -1})
    with pytest.raises(ConfigError, match=r"of firm_1 is (36|160)"):  # not in the common space either
        lenient.step({**actions, "firm_1": np.array([36, 0, 0, 0]) if mode == "multidiscrete" else 160})


def test_actions_and_agents_that_cannot_be_are_refused():
    env = homogenize(parallel_env(**SMALL))
    actions = {name: np.zeros(4, int) for name in env.possible_agents}
    with pytest.raises(ConfigError, match="has not been reset"):
        env.step(actions)
    env.reset()
    with pytest.raises(ConfigError, match=r"the action of firm_0 has shape \(\); it must be 4 numbers"):
        env.step({**actions, "firm_0": 3})
    with pytest.raises(ConfigError, match="'frim_0', which is not an agent"):
        env.step({**actions, "frim_0": 3})
    with pytest.raises(ConfigError, match="actions are a list"):
        env.step([])
    with pytest.raises(ConfigError, match="'frim_0' is not an agent"):
        env.action_space("frim_0")
    with pytest.raises(ConfigError, match=r"of government_0 is .*nan.*integers"):
        env.step({**actions, "government_0": np.full(4, np.nan)})


@pytest.mark.parametrize(
    ("mode", "kwargs", "message"),
    [
        ("box", {"action_mask": True}, "no choices to mask"),
        ("discrete", {"invalid": "frist"}, "invalid is 'frist'.*did you mean \"first\""),
    ],
)
def test_a_wrong_argument_is_refused(mode, kwargs, message):
    with pytest.raises(ConfigError, match=message):
        homogenize(parallel_env(**SMALL, action_mode=mode), **kwargs)
