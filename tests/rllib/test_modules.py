"""EconomyModule and EconomyDistribution as RLlib uses them, on both paths."""

from __future__ import annotations

import json

import gymnasium as gym
import pytest
import torch
from ray.rllib.core.columns import Columns
from torch.distributions import Categorical, kl_divergence

from rbc_marl import ConfigError
from rbc_marl.config import AGENT_TYPES
from rbc_marl.observations import join
from rbc_marl.rllib.modules import EconomyDistribution, agent_spaces, module_spec
from rbc_marl.rllib.settings import economy_of
from rbc_marl.vector_env import VectorEconomy
from tests.rllib.small import small_config


@pytest.fixture(scope="module")
def modules():
    config = small_config(networks={"firm": {"kind": "flat", "hidden": [16, 16], "knots": {"time": 4}}})
    built = config.get_multi_rl_module_spec().build()
    torch.nn.init.normal_(built["firm"].network.knots.layer.weight)  # at the start they do nothing
    return built


@pytest.fixture(scope="module")
def observation():
    env = VectorEconomy(small_economy(), num_envs=3, seed=1)
    env.reset()
    return env.step(env.sample_actions())[0]


def small_economy():
    return economy_of(small_config())[0]


def split_batch(observation, agent_type):
    return {Columns.OBS: {"global": observation["global"], "private": observation[agent_type]}}


@pytest.mark.parametrize("agent_type", AGENT_TYPES)
def test_whole_observations_give_what_their_parts_give(modules, observation, agent_type):
    module = modules[agent_type]
    parts, whole = split_batch(observation, agent_type), {Columns.OBS: join(observation, agent_type)}
    rows = {Columns.OBS: whole[Columns.OBS].flatten(0, 1)}
    for forward in (module.forward_train, module.forward_exploration, module.forward_inference):
        expected = forward(parts)
        for batch, shape in ((whole, observation[agent_type].shape[:2]), (rows, (-1,))):
            outputs = forward(batch)
            assert outputs.keys() == expected.keys()
            for key, value in expected.items():
                torch.testing.assert_close(outputs[key].reshape(value.shape), value)
                assert (
                    outputs[key].shape[: len(shape)]
                    == outputs[key].reshape(*shape, *value.shape[2:]).shape[: len(shape)]
                )
    values = module.compute_values(parts)
    assert values.shape == observation[agent_type].shape[:2]
    torch.testing.assert_close(module.compute_values(whole), values)
    torch.testing.assert_close(module.compute_values(rows), values.flatten())
    torch.testing.assert_close(module.forward_train(parts)[Columns.VF_PREDS], values)


@pytest.mark.parametrize("agent_type", AGENT_TYPES)
def test_a_mask_holds_on_both_forms_of_observations(modules, observation, agent_type):
    if agent_type == "consumer":
        return
    module = modules[agent_type]
    allowed = torch.zeros_like(module.network.log_mask, dtype=torch.bool)
    allowed[3] = True
    module.network.set_mask(allowed)
    try:
        for batch in (split_batch(observation, agent_type), {Columns.OBS: join(observation, agent_type)}):
            logits = module.forward_exploration(batch)[Columns.ACTION_DIST_INPUTS]
            actions = module.action_dist_cls.from_logits(logits).sample()
            assert (actions == 3).all()
    finally:
        module.network.set_mask(torch.ones_like(allowed))


def test_the_description_of_a_module_is_plain_data():
    spec = module_spec(small_config(), "firm")
    assert json.loads(json.dumps(spec.model_config)) == spec.model_config
    assert spec.build().network.head_sizes == (30,)


def test_a_module_says_what_is_wrong_with_its_description():
    spec = module_spec(small_config(), "firm")
    spec.model_config = {**spec.model_config, "economy": {**spec.model_config["economy"], "num_firms": 0}}
    with pytest.raises(ConfigError, match=r"model_config\.economy\.num_firms is 0"):
        spec.build()


@pytest.mark.parametrize("agent_type", AGENT_TYPES)
def test_distributions_act_in_the_spaces_of_single_agents(modules, agent_type):
    module = modules[agent_type]
    _, action_space = agent_spaces(small_economy(), agent_type, "symlog")
    width = EconomyDistribution.required_input_dim(action_space)
    assert width == sum(module.network.head_sizes)
    choices = module.action_dist_cls.from_logits(torch.randn(7, width))
    for actions in (choices.sample(), choices.to_deterministic().sample()):
        assert isinstance(action_space, gym.spaces.MultiDiscrete) == (actions.dim() == 2)
        for action in actions.numpy():
            assert action_space.contains(action)
    assert choices.logp(choices.sample()).shape == choices.entropy().shape == (7,)


def test_a_single_choice_is_an_ordinary_categorical():
    logits, other = torch.randn(2, 9, 4, 30)
    ours = EconomyDistribution.get_partial_dist_cls(head_sizes=(30,), is_single=True)
    choices, theirs = ours.from_logits(logits), Categorical(logits=logits)
    actions = choices.sample()
    assert actions.shape == (9, 4)
    torch.testing.assert_close(choices.logp(actions), theirs.log_prob(actions))
    torch.testing.assert_close(choices.entropy(), theirs.entropy())
    torch.testing.assert_close(choices.kl(ours.from_logits(other)), kl_divergence(theirs, Categorical(logits=other)))
    assert torch.equal(choices.to_deterministic().sample(), logits.argmax(-1))
    assert torch.equal(choices.to_deterministic().logp(actions), choices.logp(actions))


def test_draws_follow_the_global_seed_as_rllibs_own_do():
    choices = EconomyDistribution.from_logits(torch.randn(50, 8), head_sizes=(5, 3))
    torch.manual_seed(1)
    first = choices.sample()
    torch.manual_seed(1)
    assert torch.equal(first, choices.sample()) and not torch.equal(first, choices.sample())


def test_what_choices_cannot_do_is_refused():
    choices = EconomyDistribution.from_logits(torch.zeros(2, 3), head_sizes=(3,))
    with pytest.raises(NotImplementedError):
        choices.rsample()
    with pytest.raises(NotImplementedError):
        choices.sample(sample_shape=(3,))
