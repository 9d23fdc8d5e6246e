"""The env runner: what it plays is the economy, and what it draws depends on its place in the run alone."""

from __future__ import annotations

import itertools

import pytest
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME, WEIGHTS_SEQ_NO

from rbc_marl.analysis.metrics import EpisodeMetrics
from rbc_marl.config import AGENT_TYPES
from rbc_marl.observations import ENCODINGS, join
from rbc_marl.rllib.env_runner import CPU_SLAB, EconomyEnvRunner
from rbc_marl.vector_env import VectorEconomy
from tests.rllib.small import NETWORKS, built, copied, small_config

pytestmark = pytest.mark.usefixtures("ray_running")


def runner(worker_index=0, *, evaluation=False, weights_of=None, **settings):
    config = small_config(**settings)
    config.in_evaluation = evaluation
    made = EconomyEnvRunner(config, worker_index=worker_index)
    if weights_of is not None:
        made.module.set_state(weights_of.module.get_state())
    return made


@pytest.fixture(scope="module")
def first(ray_running):
    """An env runner whose weights others take over: their draws are then all that can differ."""
    return runner()


def drawn(env_runner, **kwargs):
    return env_runner.sample(**kwargs)[0].actions["consumer"]


def indices(actions):
    return {
        "consumer": actions["consumer"],
        "firm": actions["firm"].squeeze(-1),
        "government": actions["government"].flatten(),
    }


def replay(rollout, economy, encoding="symlog"):
    """Play a rollout's actions again, one economy at a time; yields what each period showed and gave."""
    for e in range(rollout.economies):
        env = VectorEconomy(economy, num_envs=1, autoreset=False, encoding=encoding)
        observation = env.reset()
        for t in range(economy.horizon):
            state = env.state
            actions = {name: x[t, e : e + 1] for name, x in rollout.actions.items()}
            following, rewards, _, flows = env.step(indices(actions))
            yield t, e, observation, rewards, state, flows
            observation = following


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_rollout_holds_what_the_economy_says_to_its_actions(encoding):
    env_runner = runner(economy={"encoding": encoding}, economies=3)
    (rollout,) = env_runner.sample()
    assert (rollout.periods, rollout.economies, len(rollout), rollout.env_steps()) == (4, 3, 12, 12)
    assert rollout.agent_steps() == 12 * 9
    for t, e, observation, rewards, _, _ in replay(rollout, env_runner.economy, encoding):
        for name, seen in observation.items():
            torch.testing.assert_close(rollout.observations[name][t, e], seen[0])
        for agent_type in AGENT_TYPES:
            torch.testing.assert_close(rollout.rewards[agent_type][t, e], rewards[agent_type].flatten())


def test_rollouts_are_tensors_that_a_learner_can_differentiate_with(first):
    (rollout,) = first.sample()
    tensors = []
    for name in ("observations", "actions", "logp", "rewards"):
        tensors += getattr(rollout, name).values()
    assert not any(tensor.is_inference() or tensor.requires_grad for tensor in tensors)
    for agent_type in AGENT_TYPES:  # inference tensors cannot be saved for backward
        weight = torch.ones((), requires_grad=True)
        (weight * rollout.observations[agent_type].sum() * rollout.rewards[agent_type]).sum().backward()
        assert weight.grad is not None


def test_callbacks_after_each_period_run_outside_inference_mode():
    modes = []
    config = small_config().callbacks(on_episode_step=lambda **_: modes.append(torch.is_inference_mode_enabled()))
    EconomyEnvRunner(config, worker_index=0).sample()
    assert modes == [False] * 4


def test_log_probabilities_are_those_of_the_modules():
    env_runner = runner()
    (rollout,) = env_runner.sample()
    for agent_type in AGENT_TYPES:
        module = env_runner.module[agent_type]
        for t in range(rollout.periods):
            batch = {"global": rollout.observations["global"][t], "private": rollout.observations[agent_type][t]}
            logits = module.forward_inference({Columns.OBS: batch})[Columns.ACTION_DIST_INPUTS]
            expected = sum(
                torch.distributions.Categorical(logits=part).log_prob(rollout.actions[agent_type][t, ..., h].long())
                for h, part in enumerate(logits.split(list(module.network.head_sizes), dim=-1))
            )
            torch.testing.assert_close(rollout.logp[agent_type][t], expected, rtol=1e-4, atol=1e-5)


def test_observations_are_joined_into_the_spaces_of_single_agents(first):
    spaces = first.get_spaces()
    (rollout,) = first.sample()
    for agent_type in AGENT_TYPES:
        observation_space, action_space = spaces[agent_type]
        for key in (INPUT_ENV_SPACES, INPUT_ENV_SINGLE_SPACES):
            assert spaces[key][0][agent_type] == observation_space and spaces[key][1][agent_type] == action_space
        for t in range(rollout.periods):
            seen = {name: x[t] for name, x in rollout.observations.items()}
            for whole in join(seen, agent_type).flatten(0, 1).numpy():
                assert observation_space.contains(whole)
            actions = rollout.actions[agent_type][t].flatten(0, 1).long()
            for action in (actions.squeeze(-1) if actions.shape[-1] == 1 else actions).numpy():
                assert action_space.contains(action)


def test_draws_depend_on_seed_worker_and_env_steps_alone(first):
    one, two = runner(weights_of=first), runner(weights_of=first)
    for _ in range(2):
        expected = drawn(one)
        torch.rand(3)
        assert torch.equal(drawn(two), expected)
    others = [
        runner(weights_of=first),
        runner(1, weights_of=first),
        runner(2, weights_of=first),
        runner(weights_of=first, evaluation=True),
        runner(weights_of=first, seed=4),
    ]
    samples = [drawn(other) for other in others]
    for a, b in itertools.combinations(samples, 2):
        assert not torch.equal(a, b)


def test_a_runner_that_comes_back_draws_what_it_would_have_drawn(first):
    steady = runner(1, weights_of=first)
    expected = []
    for iteration in range(3):
        steady.set_state({NUM_ENV_STEPS_SAMPLED_LIFETIME: 32 * iteration})
        expected.append(drawn(steady))
    assert not torch.equal(expected[0], expected[1])
    new = runner(1, weights_of=first)
    new.set_state({NUM_ENV_STEPS_SAMPLED_LIFETIME: 64})
    assert torch.equal(drawn(new), expected[2])


def test_calls_without_news_of_the_run_draw_anew(first):
    env_runner = runner(weights_of=first)
    assert not torch.equal(drawn(env_runner), drawn(env_runner))


def test_a_run_without_a_seed_differs_each_time(first):
    one, two = (runner(weights_of=first, seed=None) for _ in range(2))
    assert not torch.equal(drawn(one), drawn(two))


def test_economies_of_a_batch_differ_in_their_draws(first):
    actions = drawn(first)
    assert not torch.equal(actions[:, 0], actions[:, 1])


@pytest.mark.parametrize(
    ("kwargs", "economies"),
    [
        ({}, 4),
        ({"num_episodes": 7}, 7),
        ({"num_timesteps": 9}, 3),
        ({"num_timesteps": 8}, 2),
        ({"num_timesteps": 8.5}, 3),
        ({"num_episodes": 1}, 1),
    ],
)
def test_whole_episodes_are_played_as_many_as_asked(kwargs, economies, first):
    rollouts = first.sample(**kwargs)
    assert sum(rollout.economies for rollout in rollouts) == economies
    assert {rollout.periods for rollout in rollouts} == {4}


def test_no_episodes_are_no_rollouts(first):
    first.get_metrics()
    assert first.sample(num_episodes=0) == []
    metrics = first.get_metrics()
    assert metrics["num_episodes"].peek() == 0 and metrics["num_env_steps_sampled"].peek() == 0


def test_episodes_and_timesteps_together_are_refused(first):
    with pytest.raises(ValueError, match="not both"):
        first.sample(num_episodes=1, num_timesteps=4)


def test_without_exploration_the_likeliest_choices_are_taken(first):
    (rollout,) = first.sample(explore=False)
    for agent_type in AGENT_TYPES:
        assert torch.equal(
            rollout.actions[agent_type], rollout.actions[agent_type][:, :1].expand_as(rollout.actions[agent_type])
        )
        module = first.module[agent_type]
        batch = {"global": rollout.observations["global"][0], "private": rollout.observations[agent_type][0]}
        logits = module.forward_inference({Columns.OBS: batch})[Columns.ACTION_DIST_INPUTS]
        modes = [part.argmax(-1) for part in logits.split(list(module.network.head_sizes), dim=-1)]
        dealt = module.network.dealt_head  # consumers' employers, who are dealt out by their probabilities
        free = [head for head in range(len(modes)) if head != dealt]
        assert torch.equal(rollout.actions[agent_type][0].long()[..., free], torch.stack(modes, dim=-1)[..., free])


def test_random_actions_are_uniform_whatever_the_policy():
    env_runner = runner(economies=100)
    for module in (env_runner.module[t] for t in AGENT_TYPES):
        with torch.no_grad():
            module.network.action_head.bias[0] = 30.0  # a policy that always takes the first choice
    rollouts = env_runner.sample(random_actions=True)
    counts = torch.bincount(torch.cat([r.actions["firm"].flatten() for r in rollouts]).long(), minlength=30)
    assert counts.min() > 5 and counts.max() < 60  # 800 draws among 30
    consumption = torch.cat([r.actions["consumer"][..., 0].flatten() for r in rollouts])
    assert consumption.double().mean().item() == pytest.approx(5.0, abs=0.3)


def test_reported_quantities_are_those_of_the_replayed_episodes():
    env_runner = runner(economies=3)
    (rollout,) = env_runner.sample()
    results = {name: stats.peek() for name, stats in env_runner.get_metrics().items() if hasattr(stats, "peek")}
    by_economy = [EpisodeMetrics(env_runner.economy) for _ in range(3)]
    for _, e, _, _, state, flows in replay(rollout, env_runner.economy):
        by_economy[e].add(state, flows)
    expected = [metrics.result() for metrics in by_economy]
    for name in expected[0]:
        assert results[name] == pytest.approx(torch.cat([each[name] for each in expected]).mean().item(), rel=1e-4), (
            name
        )
    totals = sum(rollout.rewards[t].sum((0, 2)) for t in AGENT_TYPES)
    for name, value in (("mean", totals.mean()), ("min", totals.min()), ("max", totals.max())):
        assert results[f"episode_return_{name}"] == pytest.approx(value.item(), rel=1e-5)


def test_figures_reach_the_logger_as_numbers_read_once(first, monkeypatch):
    logged = {}
    monkeypatch.setattr(first.metrics, "log_value", lambda key, value, **_: logged.update({key: value}))
    first.sample()
    assert {"episode_return_mean", "hours"} <= set(logged)
    assert not any(isinstance(value, torch.Tensor) for value in logged.values())


def test_metrics_of_many_economies_count_every_one():
    env_runner = runner(economies=CPU_SLAB + 40)
    rollouts = env_runner.sample()
    assert [rollout.economies for rollout in rollouts] == [CPU_SLAB // 2 + 20] * 2
    metrics = env_runner.get_metrics()
    totals = torch.cat([sum(r.rewards[t].sum((0, 2)) for t in AGENT_TYPES) for r in rollouts])
    assert metrics["episode_return_mean"].peek() == pytest.approx(totals.mean().item(), rel=1e-4)
    assert metrics["episode_return_min"].peek() == pytest.approx(totals.min().item(), rel=1e-5)
    assert metrics["episode_return_max"].peek() == pytest.approx(totals.max().item(), rel=1e-5)
    for agent_type in AGENT_TYPES:
        returns = torch.cat([r.rewards[agent_type].sum((0, 2)) for r in rollouts])
        reported = metrics["module_episode_returns_mean"][agent_type].peek()
        assert reported == pytest.approx(returns.mean().item(), rel=1e-4)
    assert metrics["num_episodes"].peek() == CPU_SLAB + 40
    assert metrics["num_env_steps_sampled"].peek() == 4 * (CPU_SLAB + 40)


def test_results_are_those_of_their_own_iteration():
    means = []

    def note(samples, **kwargs):
        means.extend(sum(r.rewards[t].sum((0, 2)) for t in AGENT_TYPES).mean().item() for r in samples)

    with built(small_config().callbacks(on_sample_end=note)) as algorithm:
        reported = [float(algorithm.train()["env_runners"]["episode_return_mean"]) for _ in range(3)]
    assert reported == pytest.approx(means, rel=1e-4)


def test_remote_runners_send_host_memory():
    for rollout in runner(1).sample():
        for column in (rollout.observations, rollout.actions, rollout.logp, rollout.rewards):
            assert all(x.device.type == "cpu" for x in column.values())


def state_with(env_runner, number=None, value=1.0):
    """A state whose weights all have one value."""
    weights = {
        m: {k: torch.full_like(torch.as_tensor(x), value) for k, x in s.items()}
        for m, s in env_runner.module.get_state().items()
    }
    return {"rl_module": weights} | ({} if number is None else {WEIGHTS_SEQ_NO: number})


def test_weights_are_taken_over_unless_they_are_those_it_has():
    env_runner = runner()

    def weight():
        return (
            env_runner.module["firm"].network.value_head.bias.item()
            if hasattr(env_runner.module["firm"].network, "value_head")
            else env_runner.module["firm"].network.action_head.bias[0].item()
        )

    env_runner.set_state(state_with(env_runner, 4, 0.1))
    assert weight() == pytest.approx(0.1)
    env_runner.set_state(state_with(env_runner, 4, 0.2))  # the same number: nothing new
    assert weight() == pytest.approx(0.1)
    env_runner.set_state(state_with(env_runner, 5, 0.3))
    assert weight() == pytest.approx(0.3)
    env_runner.set_state(state_with(env_runner, 2, 0.4))  # a run that went back to a checkpoint
    assert weight() == pytest.approx(0.4)
    env_runner.set_state(state_with(env_runner, None, 0.5))  # no number: always
    assert weight() == pytest.approx(0.5)
    env_runner.set_state(state_with(env_runner, 2, 0.6))
    assert weight() == pytest.approx(0.6)


def test_the_state_goes_from_one_runner_to_another():
    one, two = runner(), runner(seed=8)
    one.set_state({NUM_ENV_STEPS_SAMPLED_LIFETIME: 48})
    two.set_state(one.get_state())
    assert two.num_env_steps_sampled_lifetime == 48
    ours, theirs = copied(one.module.get_state()), copied(two.module.get_state())
    assert all(torch.equal(ours[m][k], theirs[m][k]) for m in ours for k in ours[m])
    assert "rl_module" not in one.get_state(not_components="rl_module")


def test_a_healthy_runner_says_so_and_stops(first):
    first.assert_healthy()
    first.stop()
    assert first.get_ctor_args_and_kwargs()[1]["config"] is first.config
    assert [name for name, _ in first.get_checkpointable_components()] == ["rl_module"]


def test_a_network_of_another_kind_acts_as_well():
    env_runner = runner(networks={**NETWORKS, "consumer": {"hidden": [8]}})
    assert drawn(env_runner).shape == (4, 4, 6, 4)


def test_training_trembles_and_says_where(first):
    config = {"trembles": {"price": 0.5, "consumer": 0.1}, "logit_response": True}
    (rollout,) = runner(**config, economies=40).sample()
    shapes = {t: rollout.actions[t].shape[:3] for t in AGENT_TYPES}
    assert {t: x.shape for t, x in rollout.trembled.items()} == {t: shapes[t] for t in ("firm", "consumer")}
    assert 0.4 < rollout.trembled["firm"].float().mean() < 0.6
    assert 0.05 < rollout.trembled["consumer"].float().mean() < 0.15
    assert rollout.market["budget"].shape == shapes["consumer"]
    assert rollout.market["price"].shape == shapes["firm"]


def test_nobody_trembles_in_evaluation_or_where_no_one_should(first):
    for played in (
        runner(trembles={"firm": 1.0}, evaluation=True).sample(),
        runner(trembles={"firm": 1.0}).sample(num_episodes=4),
        runner().sample(),
    ):
        assert played[0].trembled == {}
        assert played[0].market == {}


def test_a_curriculum_lets_trembles_fall():
    schedule = {"trembles": {"begin": 0, "end": 10, "floor": 0.0}}
    env_runner = runner(trembles={"firm": 1.0}, curriculum=schedule, train_batch_size_per_learner=16)
    assert env_runner.sample()[0].trembled["firm"].all()
    env_runner.set_state({NUM_ENV_STEPS_SAMPLED_LIFETIME: 5 * 16})
    half = env_runner.sample()[0].trembled["firm"].float().mean()
    assert 0.2 < half < 0.8
    env_runner.set_state({NUM_ENV_STEPS_SAMPLED_LIFETIME: 10 * 16})
    assert env_runner.sample()[0].trembled == {}
