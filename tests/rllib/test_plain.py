import copy

import gymnasium as gym
import numpy as np
import pytest
import ray
import torch
from gymnasium.utils.env_checker import data_equivalence
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.env.vector.sync_vector_multi_agent_env import SyncVectorMultiAgentEnv
from ray.rllib.utils.pre_checks.env import check_multiagent_environments
from ray.tune.registry import ENV_CREATOR, _global_registry

from rbc_marl import ConfigError, parallel_env
from rbc_marl.envs.pettingzoo import ParallelEconomy
from rbc_marl.rllib import plain
from tests.envs.playing import random_actions

# RLlib registers its environment anew for every algorithm, of which gymnasium warns.
pytestmark = pytest.mark.filterwarnings("ignore:.*Overriding environment rllib-multi-agent-env-v0:UserWarning")

SMALL = {"num_consumers": 5, "num_firms": 2, "horizon": 3}
GAMMA, LAMBDA = 0.9, 0.8


def rollout(env, seed=0):
    """What reset and every step return, with random actions."""
    results = [env.reset()]
    for period in range(env.par_env.config.horizon):
        results.append(env.step(random_actions(env.par_env, seed + period)))
    return results


def test_agents_and_spaces_keep_their_order_and_identity():
    env = plain.make_env("rbc_open", {"num_consumers": 13, "num_firms": 11})
    expected = [f"consumer_{i}" for i in range(13)] + [f"firm_{i}" for i in range(11)] + ["government_0"]
    for names in (env.agents, env.possible_agents, env.observation_spaces, env.action_spaces):
        assert list(names) == expected
    assert list(env.observation_space.spaces) == list(env.action_space.spaces) == expected
    observations, infos = env.reset()
    assert list(observations) == list(infos) == expected
    for agent in expected:
        assert env.get_observation_space(agent) is env.par_env.observation_space(agent)
        assert env.get_action_space(agent) is env.par_env.action_space(agent)


def test_the_horizon_terminates_every_agent_though_pettingzoo_truncates():
    env = plain.make_env("rbc_open", SMALL)
    for period, (observations, _, terminated, truncated, _) in enumerate(rollout(env)[1:]):
        assert set(terminated) == set(truncated) == {*env.agents, "__all__"}
        assert set(terminated.values()) == {period == 2} and set(truncated.values()) == {False}
        assert list(observations) == env.agents  # the last observation is there as well
    par_env = parallel_env(**SMALL)
    par_env.reset()
    for period in range(3):
        _, _, terminated, truncated, _ = par_env.step(random_actions(par_env, period))
    assert not any(terminated.values()) and all(truncated.values())


def test_an_episode_is_the_one_of_the_pettingzoo_environment():
    env, par_env = plain.make_env("rbc_closed", SMALL), parallel_env("closed", **SMALL)
    results = rollout(env)
    assert data_equivalence(results[0], par_env.reset())
    for period, (observations, rewards, _, _, infos) in enumerate(results[1:]):
        expected = par_env.step(random_actions(par_env, period))
        assert data_equivalence((observations, rewards, infos), (expected[0], expected[1], expected[4]))


def test_a_seed_seeds_np_random_as_in_gymnasium():
    env, other = plain.make_env("rbc_open", SMALL), plain.make_env("rbc_open", SMALL)
    env.reset(seed=7)
    other.reset(seed=7)
    assert env.np_random_seed == 7
    assert env.np_random.random() == other.np_random.random() == gym.utils.seeding.np_random(7)[0].random()
    env.reset()  # without a seed the generator runs on
    assert env.np_random_seed == 7 and env.np_random.random() != gym.utils.seeding.np_random(7)[0].random()


def test_rendering_works():
    env = plain.make_env("rbc_open", {**SMALL, "render_mode": "rgb_array"})
    env.reset()
    assert env.render_mode == "rgb_array" and env.render().shape == (720, 1280, 3)
    assert plain.make_env("rbc_open", {**SMALL, "render_mode": "ansi"}).render().startswith("Open economy")


@pytest.mark.parametrize("horizon", [1, 3])
def test_rllibs_environment_check_passes(horizon):
    check_multiagent_environments(plain.make_env("rbc_open", {**SMALL, "horizon": horizon}))


def test_several_in_one_vector_share_nothing_not_even_metadata():
    envs = SyncVectorMultiAgentEnv([lambda: plain.make_env("rbc_open", SMALL)] * 2)
    envs.reset(seed=3)
    quiet = {**random_actions(envs.envs[0].par_env, 0), "firm_0": 0}
    observations, *_ = envs.step([quiet, {**quiet, "firm_0": 29}])
    assert [observation["government_0"][0] for observation in observations] == [0.0, 1.0]
    assert "autoreset_mode" not in ParallelEconomy.metadata and "autoreset_mode" not in gym.Env.metadata


def test_the_names_of_tune_make_the_open_and_the_closed_economy():
    plain.register()
    for name, is_open in (("rbc_open", True), ("rbc_closed", False)):
        env = _global_registry.get(ENV_CREATOR, name)({"num_consumers": 4, "encoding": "digits"})
        assert env.par_env.config.open_economy is is_open
        assert env.par_env.config.num_consumers == 4 and env.par_env.encoding == "digits"


@pytest.mark.parametrize(("mode", "space"), [("discrete", gym.spaces.Discrete), ("box", gym.spaces.Box)])
def test_agents_can_act_in_every_mode(mode, space):
    choices = {"consumption_choices": [0.0, 4.0]}
    env = plain.make_env("rbc_open", {**SMALL, **choices, "action_mode": mode})
    assert all(isinstance(env.action_spaces[agent], space) for agent in env.agents)
    expected = plain.make_env("rbc_open", {**SMALL, **choices})
    for mine, same in zip(rollout(env), rollout(expected), strict=True):
        assert data_equivalence(mine, same)


@pytest.mark.parametrize(
    ("name", "env_config", "message"),
    [
        ("rbc_open", {"action_mode": "boxes"}, "action_mode is 'boxes'"),
        ("rbc_opne", {}, "rbc_opne.*rbc_open or rbc_closed"),
        ("rbc_open", {"num_consumer": 3}, 'env_config.num_consumer is not a field.*"num_consumers"'),
        ("rbc_open", {"interest_rate": -0.2}, "env_config.interest_rate is -0.2"),
        ("rbc_open", {"encoding": "log"}, "encoding is 'log'"),
        ("rbc_open", {"render_mode": "film"}, "render_mode is 'film'"),
    ],
)
def test_a_wrong_env_config_is_refused(name, env_config, message):
    with pytest.raises(ConfigError, match=message):
        plain.make_env(name, env_config)


def test_agents_map_to_the_policy_of_their_type():
    env = plain.make_env("rbc_open", SMALL)
    assert {plain.policy_mapping_fn(agent, None) for agent in env.agents} == plain.policies()
    assert plain.policy_mapping_fn("consumer_12", None, worker=None) == "consumer"
    for agent in ("consumer", "frim_0", "shared_policy"):
        with pytest.raises(ConfigError, match=f"'{agent}' is not an agent"):
            plain.policy_mapping_fn(agent)


@pytest.fixture(scope="module")
def ray_session():
    """A small Ray, unless there is one."""
    is_mine = not ray.is_initialized()
    if is_mine:
        ray.init("local", num_cpus=2, include_dashboard=False, configure_logging=False)
    yield
    if is_mine:
        ray.shutdown()


def build(config, **training):
    """An algorithm on a small open economy, sampling and learning in this process."""
    plain.register()
    return (
        config.environment("rbc_open", env_config=SMALL)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=2, rollout_fragment_length=3)
        .learners(num_learners=0)
        .multi_agent(policies=plain.policies(), policy_mapping_fn=plain.policy_mapping_fn)
        .training(train_batch_size_per_learner=12, gamma=GAMMA, **training)
        .reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=0)
        .debugging(seed=1)
        .build_algo()
    )


def weights(algorithm):
    """Parameters by module, copied."""
    modules = algorithm.learner_group.get_weights()
    return {name: {key: np.array(value) for key, value in modules[name].items()} for name in plain.policies()}


@pytest.mark.slow
@pytest.mark.parametrize("config_class", [PPOConfig, APPOConfig, IMPALAConfig])
def test_rllibs_own_algorithms_train_every_policy(ray_session, config_class):
    options = {}
    if config_class is PPOConfig:  # its default clips the loss of money's values so hard that nothing is learned
        options = {"num_epochs": 2, "minibatch_size": 12, "vf_clip_param": float("inf")}
    algorithm = build(config_class(), **options)
    before = weights(algorithm)
    changed = set()
    for _ in range(50):  # the asynchronous ones learn in a thread: their first results come late
        result = algorithm.train()
        after = weights(algorithm)
        changed = {
            (m, key.split(".")[0]) for m in before for key in before[m] if (before[m][key] != after[m][key]).any()
        }
        if {(module, head) for module in before for head in ("pi", "vf")} <= changed:
            break
    algorithm.stop()
    assert changed >= {(module, head) for module in plain.policies() for head in ("pi", "vf")}
    assert all(np.isfinite(value).all() for module in after.values() for value in module.values())
    assert all(np.isfinite(result["learners"][module]["total_loss"]) for module in plain.policies())
    assert np.isfinite(result["env_runners"]["episode_return_mean"])
    assert result["env_runners"]["episode_len_mean"] == 3


def expected_targets(learner, episode):
    """Value targets by hand, of every agent and period of one whole episode: {(module, observation): target}."""
    targets = {}
    for agent in episode.agent_episodes.values():
        observations = np.stack(agent.get_observations())
        module = learner.module[agent.module_id]
        with torch.no_grad():
            values = module.compute_values({"obs": torch.from_numpy(observations)}).numpy().astype(float)
        values[-1] = 0.0  # the game is over: nothing follows
        advantage = 0.0
        for t in reversed(range(len(agent))):
            delta = agent.get_rewards(t) + GAMMA * values[t + 1] - values[t]
            advantage = delta + GAMMA * LAMBDA * advantage
            targets[agent.module_id, observations[t].tobytes()] = advantage + values[t]
    return targets


@pytest.mark.slow
def test_nothing_is_bootstrapped_at_the_horizon(ray_session):
    algorithm = build(PPOConfig(), lambda_=LAMBDA, num_epochs=1, minibatch_size=12)
    learner = algorithm.learner_group._learner
    with torch.no_grad():  # values so large that a bootstrapped one could not be missed
        for name in plain.policies():
            for parameter in learner.module[name].vf.parameters():
                parameter.add_(10.0)
    (episode,) = algorithm.env_runner.sample(num_episodes=1)[:1]
    assert episode.is_terminated and not episode.is_truncated
    targets = expected_targets(learner, episode)
    assert len(targets) == 8 * 3  # every agent's observation is its own in every period
    batch = learner._learner_connector(
        rl_module=learner.module, batch={}, episodes=[copy.deepcopy(episode)], shared_data={}
    )
    algorithm.stop()
    seen = 0
    for name in plain.policies():
        rows = batch[name]
        is_real = rows["loss_mask"].numpy()
        observations, results = rows["obs"].numpy()[is_real], rows["value_targets"].numpy()[is_real]
        for observation, result in zip(observations, results, strict=True):
            assert result == pytest.approx(targets[name, observation.tobytes()], rel=1e-4, abs=1e-3)
            seen += 1
    assert seen == len(targets)
