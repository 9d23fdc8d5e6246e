"""What the learner receives on the batched path is what RLlib's own path gives it for the same actions.

RLlib's own env runner plays the PettingZoo environment with the same weights, and with modules that read actions off
a tape: those the batched env runner took. Its episodes go through RLlib's own learner connectors, the batched rollout
through ours.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.evaluation.postprocessing import Postprocessing

from rbc_marl import ConfigError, preset
from rbc_marl.config import AGENT_TYPES
from rbc_marl.economy import initial_state
from rbc_marl.observations import ENCODINGS, join
from rbc_marl.rllib import plain
from rbc_marl.rllib.connector import RolloutsToBatch
from rbc_marl.rllib.env_runner import EconomyEnvRunner
from rbc_marl.rllib.modules import EconomyModule, module_spec
from rbc_marl.rllib.rollout import Rollout
from tests.rllib.small import small_config

pytestmark = [
    pytest.mark.usefixtures("ray_running"),
    pytest.mark.filterwarnings("ignore:.*already in registry"),  # gymnasium on what RLlib registers each time
]

GAMMA, LAMBDA = 0.95, 0.8
SCALE = {"consumer": 5.0, "firm": 30000.0, "government": 1000.0}
PERIODS = 4
# 13 firms: consumer_10 must not be taken for consumer_2, however names are sorted.
ECONOMY = {"num_consumers": 12, "num_firms": 13, "horizon": PERIODS}


def agents_shown(agent_type, observations):
    """Indices of the agents that whole observations [A, G + P] belong to, told by what never changes about an agent."""
    if agent_type == "government":
        return torch.zeros(len(observations), dtype=torch.int64)
    if agent_type == "firm":
        shown = observations[:, -ECONOMY["num_firms"] :].argmax(-1)  # its identity
    else:
        shown = observations[:, -1].argsort().argsort()  # no two consumers dislike work alike
        order = initial_state(preset("open", **ECONOMY), 1).labour_disutility[0].argsort()
        shown = order[shown]
    assert sorted(shown.tolist()) == list(range(len(observations)))
    return shown


class TapeModule(EconomyModule):
    """Takes the actions of a tape instead of its own."""

    tape: dict = {}  # noqa: RUF012 - modules are made by RLlib: a class attribute is the way in
    period: dict = {}  # noqa: RUF012

    def _forward_exploration(self, batch, **kwargs):
        outputs = self._forward(batch)
        agent_type = self.model_config["agent_type"]
        # RLlib orders agents as it likes: each row gets the actions of the agent that it shows.
        actions = self.tape[agent_type][self.period[agent_type]].long()[agents_shown(agent_type, batch[Columns.OBS])]
        self.period[agent_type] += 1
        actions = actions if actions.shape[-1] > 1 else actions.squeeze(-1)
        logp = self.action_dist_cls.from_logits(outputs[Columns.ACTION_DIST_INPUTS]).logp(actions)
        return {**outputs, Columns.ACTIONS: actions, Columns.ACTION_LOGP: logp}


def plain_config(env, encoding):
    plain.register()
    ours = small_config(env, economy={**ECONOMY, "encoding": encoding})
    specs = {}
    for agent_type in AGENT_TYPES:
        spec = module_spec(ours, agent_type)
        specs[agent_type] = RLModuleSpec(
            module_class=TapeModule,
            observation_space=spec.observation_space,
            action_space=spec.action_space,
            model_config=spec.model_config,
        )
    config = (
        PPOConfig()
        .environment(
            env, env_config={**ECONOMY, "encoding": encoding, "reward_scale": SCALE}, disable_env_checking=True
        )
        .env_runners(num_env_runners=0, num_envs_per_env_runner=1, batch_mode="complete_episodes")
        .training(gamma=GAMMA, lambda_=LAMBDA, use_kl_loss=False)
        .multi_agent(policies=plain.policies(), policy_mapping_fn=plain.policy_mapping_fn)
        .rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=specs))
        .debugging(seed=0, log_level="ERROR")
    )
    config.validate()
    return config


def play_both(env, encoding):
    """Both paths' batches of two episodes with the same modules and actions."""
    batched = EconomyEnvRunner(
        small_config(env, economy={**ECONOMY, "encoding": encoding}, economies=2), worker_index=0
    )
    (rollout,) = batched.sample()
    config = plain_config(env, encoding)
    runner = MultiAgentEnvRunner(config, worker_index=0)
    runner.module.set_state(batched.module.get_state())
    episodes = []
    for e in range(2):
        TapeModule.tape = {t: rollout.actions[t][:, e] for t in AGENT_TYPES}
        TapeModule.period = dict.fromkeys(AGENT_TYPES, 0)
        episodes += runner.sample(num_episodes=1)
    learner = config.build_learner(spaces=runner.get_spaces())
    learner.module.set_state(batched.module.get_state())
    batch = learner._learner_connector(rl_module=learner.module, batch={}, episodes=episodes, shared_data={})
    to_batch = RolloutsToBatch(discount=GAMMA, gae_lambda=LAMBDA, reward_scale=SCALE)
    ours = to_batch(rl_module=learner.module, batch={}, episodes=[rollout])
    return SimpleNamespace(ours=ours, theirs=batch, rollout=rollout, episodes=episodes, module=learner.module)


@pytest.fixture(scope="module", params=[("rbc_open", "symlog"), ("rbc_closed", "digits")], ids=lambda p: "-".join(p))
def both(request, ray_running):
    assert request.param[1] in ENCODINGS
    return play_both(*request.param)


def their_rows(batch, agent_type, key, agents):
    """RLlib's rows of a module as [2 episodes, agents, periods, ...], without the period that it adds itself."""
    column = torch.as_tensor(np.asarray(batch[agent_type][key]))
    mask = torch.as_tensor(np.asarray(batch[agent_type][Columns.LOSS_MASK]))
    assert len(column) == 2 * agents * (PERIODS + 1)
    assert mask.view(2 * agents, PERIODS + 1)[:, :-1].all() and not mask.view(2 * agents, PERIODS + 1)[:, -1].any()
    return column.view(2, agents, PERIODS + 1, *column.shape[1:])[:, :, :-1]


def our_rows(values, agents):
    """Rows [periods x economies, A, ...] in the order of `their_rows`."""
    values = values.view(PERIODS, 2, agents, *values.shape[2:])
    return values.permute(1, 2, 0, *range(3, values.dim()))


def agents_of(agent_type):
    return {"consumer": 12, "firm": 13, "government": 1}[agent_type]


def compare(both, agent_type, theirs, ours, **tolerance):
    """Rows of RLlib's against ours, agent by agent."""
    first = their_rows(both.theirs, agent_type, Columns.OBS, agents_of(agent_type))[:, :, 0]
    for e in range(2):
        order = agents_shown(agent_type, first[e])
        torch.testing.assert_close(theirs[e].double(), ours[e][order].double(), **tolerance)


@pytest.mark.parametrize("agent_type", AGENT_TYPES)
def test_observations_are_equal(both, agent_type):
    agents = agents_of(agent_type)
    columns = both.ours[agent_type][Columns.OBS]
    whole = join({"global": columns["global"], agent_type: columns["private"]}, agent_type)
    theirs = their_rows(both.theirs, agent_type, Columns.OBS, agents)
    compare(both, agent_type, theirs, our_rows(whole, agents), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("agent_type", AGENT_TYPES)
def test_actions_and_their_log_probabilities_are_equal(both, agent_type):
    agents = agents_of(agent_type)
    actions = both.ours[agent_type][Columns.ACTIONS]
    theirs = their_rows(both.theirs, agent_type, Columns.ACTIONS, agents)
    compare(both, agent_type, theirs.reshape(2, agents, PERIODS, -1), our_rows(actions, agents), rtol=0, atol=0)
    theirs = their_rows(both.theirs, agent_type, Columns.ACTION_LOGP, agents)
    ours = our_rows(both.ours[agent_type][Columns.ACTION_LOGP], agents)
    compare(both, agent_type, theirs, ours, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("agent_type", AGENT_TYPES)
def test_scaled_rewards_are_equal(both, agent_type):
    agents = agents_of(agent_type)
    scaled = (both.rollout.rewards[agent_type] / SCALE[agent_type]).flatten(0, 1)
    theirs = their_rows(both.theirs, agent_type, Columns.REWARDS, agents)
    compare(both, agent_type, theirs, our_rows(scaled, agents), rtol=1e-5, atol=1e-6)
    assert theirs.abs().max() > 0


@pytest.mark.parametrize("agent_type", AGENT_TYPES)
def test_value_targets_are_equal(both, agent_type):
    agents = agents_of(agent_type)
    theirs = their_rows(both.theirs, agent_type, Postprocessing.VALUE_TARGETS, agents)
    ours = our_rows(both.ours[agent_type][Postprocessing.VALUE_TARGETS], agents)
    compare(both, agent_type, theirs, ours, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("agent_type", AGENT_TYPES)
def test_advantages_are_equal(both, agent_type):
    """Up to RLlib's standardising: it also counts the period that it adds to every episode."""
    agents = agents_of(agent_type)
    theirs = their_rows(both.theirs, agent_type, Postprocessing.ADVANTAGES, agents)
    ours = our_rows(both.ours[agent_type][Postprocessing.ADVANTAGES], agents)
    theirs, ours = ((x - x.mean()) / x.std(correction=0) for x in (theirs.double(), ours.double()))
    compare(both, agent_type, theirs, ours, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("agent_type", AGENT_TYPES)
def test_the_horizon_ends_the_game_on_both_paths(both, agent_type):
    agents = agents_of(agent_type)
    theirs = their_rows(both.theirs, agent_type, Postprocessing.VALUE_TARGETS, agents)[:, :, -1]
    ours = our_rows(both.ours[agent_type][Postprocessing.VALUE_TARGETS], agents)[:, :, -1]
    last = (both.rollout.rewards[agent_type][-1] / SCALE[agent_type]).view(2, agents)
    torch.testing.assert_close(ours, last, rtol=1e-4, atol=1e-5)  # nothing is expected after it
    compare(both, agent_type, theirs, last, rtol=1e-4, atol=1e-5)
    for episode in both.episodes:
        assert episode.is_terminated and not episode.is_truncated


def test_another_rollout_would_not_agree(both):
    """The comparisons above could fail."""
    swapped = Rollout.join([both.rollout[PERIODS:], both.rollout[:PERIODS]])
    to_batch = RolloutsToBatch(discount=GAMMA, gae_lambda=LAMBDA, reward_scale=SCALE)
    other = to_batch(rl_module=both.module, batch={}, episodes=[swapped])
    for agent_type in AGENT_TYPES:
        theirs = their_rows(both.theirs, agent_type, Postprocessing.VALUE_TARGETS, agents_of(agent_type))
        ours = our_rows(other[agent_type][Postprocessing.VALUE_TARGETS], agents_of(agent_type))
        with pytest.raises(AssertionError):
            compare(both, agent_type, theirs, ours, rtol=1e-4, atol=1e-5)


def test_each_episode_of_the_plain_path_has_every_agent_to_the_end(both):
    for episode in both.episodes:
        lengths = {len(part) for part in episode.agent_episodes.values()}
        assert len(episode.agent_episodes) == 26 and len(lengths) == 1


def test_rewards_of_the_plain_path_are_divided_by_the_scale_of_their_type():
    def rewards(scale):
        env = plain.make_env("rbc_open", {**ECONOMY, "reward_scale": scale})
        env.reset()
        return env.step(
            {agent: env.action_spaces[agent].seed(3) and env.action_spaces[agent].sample() for agent in env.agents}
        )[1]

    usual = rewards(None)
    for agent, scaled in rewards({"firm": 30000.0}).items():
        assert scaled == pytest.approx(usual[agent] / (30000.0 if agent.startswith("firm") else 1.0))


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ({"firms": 1.0}, r'reward_scale\.firms is not an agent type; did you mean "firm"'),
        ({"firm": 0}, r"reward_scale\.firm is 0; it must be at least 1e-12"),
        ({"firm": True}, r"reward_scale\.firm is True"),
        (5.0, r"reward_scale is 5\.0; it must be a mapping"),
    ],
)
def test_a_reward_scale_that_cannot_work_is_refused(scale, message):
    with pytest.raises(ConfigError, match=message):
        plain.make_env("rbc_open", {"reward_scale": scale})
