"""One economy behind every way of acting, and what cannot be done in each."""

import itertools

import numpy as np
import pettingzoo
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.utils.env_checker import data_equivalence
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test

from rbc_marl import ConfigError, EconomyConfig, VectorEconomy, decode, homogenize, parallel_env
from rbc_marl.choices import head_sizes
from rbc_marl.config import AGENT_TYPES
from rbc_marl.envs.actions import FIELDS, joint_choices, to_box, to_indices, to_joint, to_quantities
from tests.envs.playing import as_tensors, episode, random_actions, random_indices
from tests.strategies import economies

# Few enough choices that a consumer's fit into one index: 4^2 x 5 x 2.
SMALL = {"num_consumers": 5, "num_firms": 2, "horizon": 4, "consumption_choices": [0.0, 1.0, 4.0, 10.0]}
pettingzoos_remarks = pytest.mark.filterwarnings(
    "ignore:Agents have different observation space sizes", "ignore:Observations are different shapes",
    "ignore:Action spaces are different", "ignore:Agents have different action space",
)  # fmt: skip


@pytest.mark.parametrize("mode", ["discrete", "box"])
@pytest.mark.parametrize("extras", [{}, {"investment_choices": [0.0, 0.1, 0.5], "open_economy": False}])
def test_the_same_decisions_give_the_same_episode_in_every_mode(mode, extras):
    reference, other = parallel_env(**SMALL, **extras), parallel_env(**SMALL, **extras, action_mode=mode)
    played = zip(episode(reference, seed=5), episode(other, seed=5), strict=True)
    for mine, theirs in played:
        assert data_equivalence(mine, theirs)
        assert np.array_equal(reference.state(), other.state())


@pytest.mark.parametrize("mode", ["discrete", "box"])
@pettingzoos_remarks
def test_every_mode_passes_pettingzoos_tests(mode):
    parallel_api_test(parallel_env(**SMALL, action_mode=mode), num_cycles=10)
    parallel_seed_test(lambda: parallel_env(**SMALL, action_mode=mode), num_cycles=10)


@pettingzoos_remarks
@pytest.mark.filterwarnings("ignore:Observation is not a NumPy array", "ignore:Observation space for each agent prob")
def test_masked_observations_pass_pettingzoos_tests():
    from pettingzoo.utils.conversions import parallel_to_aec

    env = parallel_env(**SMALL, action_mode="discrete", action_mask=True)
    env.set_action_masks({"firm": np.arange(30) < 3, "government": np.arange(36) == 7})
    parallel_api_test(env, num_cycles=10)
    api_test(parallel_to_aec(env), num_cycles=10)


def test_spaces_of_the_modes():
    discrete, box = (parallel_env(**SMALL, action_mode=mode) for mode in ("discrete", "box"))
    assert [discrete.action_space(a) for a in ("consumer_0", "firm_0", "government_0")] == [
        Discrete(160), Discrete(30), Discrete(36),
    ]  # fmt: skip
    assert [box.action_space(a) for a in ("consumer_0", "firm_0", "government_0")] == [
        Box(-1.0, 1.0, (n,), np.float32) for n in (5, 3, 2)
    ]
    assert (discrete.action_mode, box.action_mode) == ("discrete", "box")


@settings(max_examples=60)
@given(economies(), st.integers(0, 1000))
def test_a_joint_index_and_a_box_hold_every_choice_exactly(config, seed):
    indices = as_tensors(random_indices(config, seed))
    expected = decode(config, **indices)
    for agent_type in AGENT_TYPES:
        if joint_choices(config, agent_type) < 2**63:
            joint = to_joint(config, agent_type, indices[agent_type])
            assert torch.equal(to_indices(config, agent_type, joint), indices[agent_type])
        box = to_box(config, agent_type, indices[agent_type])
        assert box.dtype == torch.float32 and bool((box.abs() <= 1).all())
        for name, quantity in to_quantities(config, agent_type, box).items():
            assert torch.equal(quantity, getattr(expected, name)), name


def test_joint_indices_count_every_combination_once_with_the_employer_changing_fastest():
    config = EconomyConfig(**SMALL)
    sizes = head_sizes(config, "consumer")
    rows = to_indices(config, "consumer", torch.arange(160)).tolist()
    assert [tuple(row) for row in rows] == list(itertools.product(*map(range, sizes)))


def test_what_lies_between_two_choices_is_played_as_it_is():
    env = parallel_env(**SMALL, action_mode="box")
    env.reset()
    actions = random_actions(env, 0)
    actions["firm_0"] = np.array([-0.5, 0.0, 0.3], np.float32)
    actions["government_0"] = np.array([-1.0, 0.5], np.float32)
    actions["consumer_2"] = np.array([0.1, -0.35, 0.25, -0.2, 0.7], np.float32)
    infos = env.step(actions)[4]
    assert infos["consumer_2"]["hours"] == pytest.approx(0.625 * 1040) and infos["consumer_2"]["employer"] == 1
    assert infos["consumer_2"]["spending"] == 0.0  # the shops are still empty
    infos = env.step(actions)[4]
    assert infos["firm_0"]["price"] == pytest.approx(625.0) and infos["firm_0"]["wage"] == pytest.approx(22.0)
    assert infos["government_0"] == {**infos["government_0"], "income_tax": 0.0, "corporate_tax": 0.75}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_firms": 10}, r"each consumer 1.3e\+12 joint ch.*fewer firms \(num_firms\) or shorter lists of cons"),
        ({"num_firms": 1, "hours_choices": [float(h) for h in range(373)]}, "each consumer 4,103 joint choices.*4,096"),
        ({"num_firms": 1, "wage_choices": [float(w) for w in range(700)]}, "each firm 4,200 .*of price_choices, wage"),
        ({"action_mode": "discreet"}, 'action_mode is \'discreet\'.*did you mean "discrete"'),
        ({"action_mode": "box", "action_mask": True}, "no choices to mask"),
    ],
)
def test_a_mode_that_cannot_be_is_refused_with_a_way_out(fields, message):
    with pytest.raises(ConfigError, match=message):
        parallel_env(**{"num_consumers": 2, "action_mode": "discrete", **fields})


def test_exactly_4096_joint_choices_are_allowed_and_only_trained_types_count():
    hours = {"hours_choices": [float(h) for h in range(512)], "consumption_choices": [float(u) for u in range(8)]}
    env = parallel_env(num_consumers=1, num_firms=1, **hours, action_mode="discrete")
    assert env.action_space("consumer_0") == Discrete(4096)
    assert parallel_env("open", action_mode="discrete", train_types=["firm"]).action_space("firm_3") == Discrete(30)


@pytest.mark.parametrize(
    ("mode", "agent", "action", "message"),
    [
        ("discrete", "consumer_1", 160, "the action of consumer_1 is 160; it must be from 0 to 159"),
        ("discrete", "consumer_1", -1, "the action of consumer_1 is -1; it must be from 0 to 159"),
        ("discrete", "consumer_1", np.array([1, 2, 0, 0]), r"has shape \(4,\); it must be one integer"),
        ("discrete", "firm_0", 0.5, "it must be of integers"),
        ("box", "firm_1", np.array([0.0, 1.01, 0.0]), r"action\[1\] of firm_1 is 1.01; it must be from -1 to 1"),
        ("box", "firm_1", np.array([0.0, np.nan, 0.0]), r"action\[1\] of firm_1 is nan; it must be from -1 to 1"),
        ("box", "consumer_4", np.array([0, 0, 0, 0, -np.inf]), r"action\[4\] of consumer_4 is -inf"),
        ("box", "government_0", np.array([0.0]), r"has shape \(1,\); it must be 2 numbers"),
        ("box", "government_0", "high", r"has shape \(\); it must be 2 numbers"),
        ("box", "government_0", ["a", "b"], "it must be of numbers from -1 to 1"),
    ],
)
def test_an_action_outside_its_space_is_refused_by_name_and_changes_nothing(mode, agent, action, message):
    env, same = (parallel_env(**SMALL, action_mode=mode) for _ in range(2))
    env.reset()
    same.reset()
    with pytest.raises(ConfigError, match=message):
        env.step({**random_actions(env, 0), agent: action})
    assert data_equivalence(env.step(random_actions(env, 0)), same.step(random_actions(same, 0)))


def test_masks_are_shown_and_kept():
    env = parallel_env(**SMALL, action_mode="discrete", action_mask=True)
    observations, _ = env.reset()
    assert all(observations[agent]["action_mask"].all() for agent in env.agents)
    env.set_action_masks({"firm": torch.arange(30) < 3})
    actions = {**random_actions(env, 0), "firm_0": 2, "firm_1": 0}
    observations = env.step(actions)[0]
    assert observations["firm_1"]["action_mask"].tolist() == [1, 1, 1] + [0] * 27
    for agent, observation in observations.items():
        assert env.observation_space(agent).contains(observation)
    with pytest.raises(ConfigError, match="the action of firm_1 is 3, which its action_mask forbids"):
        env.step({**actions, "firm_1": 3})
    observations["firm_1"]["action_mask"][:] = 1  # the reader's copy
    with pytest.raises(ConfigError, match="forbids"):
        env.step({**actions, "firm_1": 3})


def test_masks_of_several_indices_stand_side_by_side():
    env = parallel_env(**SMALL, action_mask=True)
    observations, _ = env.reset()
    assert observations["consumer_0"]["action_mask"].shape == (4 + 4 + 5 + 2,)
    mask = np.ones(15, bool)
    mask[4 + 4 + 1] = False  # nobody may work the second choice of hours
    env.set_action_masks({"consumer": mask})
    actions = {**random_actions(env, 0), **{f"consumer_{i}": np.array([0, 0, 0, 0]) for i in range(5)}}
    with pytest.raises(ConfigError, match=r"the action\[2\] of consumer_3 is 1, which its action_mask forbids"):
        env.step({**actions, "consumer_3": np.array([1, 1, 1, 1])})
    env.step({**actions, "consumer_3": np.array([1, 1, 2, 1])})


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"firm": np.zeros(30)}, "mask of firm leaves a decision without any choice"),
        ({"consumer": [1] * 8 + [0] * 5 + [1] * 2}, "mask of consumer leaves a decision without any choice"),
        ({"firm": np.ones(29)}, r"mask of firm has shape \(29,\); it must have \(30,\)"),
        ({"frim": np.ones(30)}, "agent type of a mask is 'frim'; .*; did you mean \"firm\""),
    ],
)
def test_a_mask_that_cannot_be_is_refused(masks, message):
    with pytest.raises(ConfigError, match=message):
        parallel_env(**SMALL, action_mask=True).set_action_masks(masks)


def test_an_environment_without_masks_takes_none():
    with pytest.raises(ConfigError, match="make it with action_mask=True"):
        parallel_env(**SMALL).set_action_masks({})


def box_actions(batch, seed=0):
    indices = as_tensors(random_indices(batch.config, seed))
    fields = {}
    for agent_type in AGENT_TYPES:
        fields.update(to_quantities(batch.config, agent_type, to_box(batch.config, agent_type, indices[agent_type])))
    return decode(batch.config, **indices), fields


def test_the_batch_plays_quantities_as_it_plays_their_indices():
    config = EconomyConfig(**SMALL)
    by_index, by_quantity = (VectorEconomy(config, autoreset=False) for _ in range(2))
    by_index.reset()
    by_quantity.reset()
    for period in range(4):
        actions, fields = box_actions(by_quantity, period)
        assert set(fields) == {name for names in FIELDS.values() for name in names}
        expected = by_index.step(as_tensors(random_indices(config, period)))
        for one, other in zip(by_quantity.play(type(actions)(**fields))[1].items(), expected[1].items(), strict=True):
            assert one[0] == other[0] and torch.equal(one[1], other[1])
    with pytest.raises(ConfigError, match="the episode is over"):
        by_quantity.play(actions)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"price": torch.full((1, 2), torch.nan)}, "price holds a value that cannot be.*at least 0 and finite"),
        ({"demand": torch.full((1, 5, 2), torch.inf)}, "demand holds a value that cannot be"),
        ({"wage": torch.tensor([[1.0, -1.0]])}, "wage holds a value that cannot be"),
        ({"income_tax": torch.tensor([1.5])}, "income_tax holds .* at most 1"),
        ({"employer": torch.full((1, 5), 2)}, "employer holds .* at most 1"),
        ({"employer": torch.zeros(1, 5)}, "values of employer are torch.float32; they must be torch.int64"),
        ({"hours": torch.zeros(1, 5, dtype=torch.int64)}, "of hours are torch.int64; they must be torch.float32"),
        ({"price": torch.zeros(1, 2, dtype=torch.float64)}, "of price are torch.float64; they must be torch.float32"),
        ({"employer": torch.zeros(1, 5, dtype=torch.uint8)}, "of employer are torch.uint8; they must be torch.int64"),
        ({"hours": torch.zeros(1, 4)}, r"values of hours have shape \(1, 4\); they must have shape \(1, 5\)"),
    ],
)
def test_the_batch_refuses_quantities_that_cannot_be(change, message):
    batch = VectorEconomy(EconomyConfig(**SMALL))
    batch.reset()
    actions, fields = box_actions(batch)
    with pytest.raises(ConfigError, match=message):
        batch.play(type(actions)(**{**fields, **change}))


@pettingzoos_remarks
@pytest.mark.filterwarnings("ignore:Observation is not a NumPy array", "ignore:Observation space for each agent prob")
@pytest.mark.parametrize("wrap", [lambda env: env, homogenize])
def test_masks_of_several_indices_pass_pettingzoos_tests_and_are_kept_when_sampled(wrap):
    def made():
        env = parallel_env(**SMALL, action_mask=True)
        firsts = [np.arange(n) < 1 for n in env.action_space("consumer_0").nvec]
        env.set_action_masks({"consumer": np.concatenate(firsts)})
        return wrap(env)

    if not pettingzoo.__version__.startswith("1.25."):  # whose test draws one index from a mask, whatever the space
        parallel_api_test(made(), num_cycles=10)
    env = made()
    observations, _ = env.reset()
    space, mask = env.action_space("consumer_0"), observations["consumer_0"]["action_mask"]
    assert not np.any([space.sample(mask) for _ in range(20)])
    assert space.sample(tuple(np.split(mask, np.cumsum(space.nvec)[:-1]))).shape == space.shape
    assert len({tuple(space.sample()) for _ in range(20)}) > 1
