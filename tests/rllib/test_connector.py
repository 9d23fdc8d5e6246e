"""What the loss reads: rows, scaled rewards, advantages and targets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing

from rbc_marl.config import AGENT_TYPES
from rbc_marl.observations import join
from rbc_marl.policies import slabs
from rbc_marl.rllib.connector import RolloutsToBatch, values_in_slabs
from rbc_marl.rllib.env_runner import EconomyEnvRunner
from rbc_marl.rllib.rollout import Rollout
from tests.rllib.small import small_config

SCALE = {"consumer": 5.0, "firm": 30000.0, "government": 1000.0}


@pytest.fixture(scope="module")
def runner(ray_running):
    return EconomyEnvRunner(small_config(economies=3), worker_index=0)


@pytest.fixture(scope="module")
def modules(runner):
    return small_config().get_multi_rl_module_spec().build()


@pytest.fixture(scope="module")
def rollout(runner):
    return runner.sample()[0]


def batches(modules, episodes, **settings):
    settings = {"discount": 0.9, "gae_lambda": 0.8, "reward_scale": SCALE} | settings
    return RolloutsToBatch(**settings)(rl_module=modules, batch={}, episodes=episodes)


def by_hand(rewards, values, discount, gae_lambda):
    """Advantages and targets of one agent's episode, plain loops over periods."""
    advantages = [0.0] * len(rewards)
    following_value = following_advantage = 0.0
    for t in reversed(range(len(rewards))):
        error = rewards[t] + discount * following_value - values[t]
        advantages[t] = following_advantage = error + discount * gae_lambda * following_advantage
        following_value = values[t]
    return advantages, [a + v for a, v in zip(advantages, values, strict=True)]


@pytest.mark.parametrize("agent_type", AGENT_TYPES)
def test_targets_and_advantages_are_those_worked_out_agent_by_agent(modules, rollout, agent_type):
    batch = batches(modules, [rollout])[agent_type]
    periods, economies, agents = rollout.rewards[agent_type].shape
    advantages, targets = np.zeros((periods, economies, agents)), np.zeros((periods, economies, agents))
    for e in range(economies):
        for a in range(agents):
            values = []
            for t in range(periods):
                whole = join({name: x[t, e : e + 1] for name, x in rollout.observations.items()}, agent_type)[0, a]
                values.append(modules[agent_type].compute_values({Columns.OBS: whole[None]}).item())
            rewards = [rollout.rewards[agent_type][t, e, a].item() / SCALE[agent_type] for t in range(periods)]
            advantages[:, e, a], targets[:, e, a] = by_hand(rewards, values, 0.9, 0.8)
    advantages = (advantages - advantages.mean()) / advantages.std()
    for key, expected in ((Postprocessing.ADVANTAGES, advantages), (Postprocessing.VALUE_TARGETS, targets)):
        ours = batch[key].view(periods, economies, agents).numpy()
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-4, err_msg=key)


def test_rewards_that_the_economy_discounts_are_learnt_from_in_units_of_their_own_period(modules, rollout):
    """Advantages and targets are those of rewards that are not discounted, weighed by the discount in returns."""
    weights = 0.7 ** torch.arange(rollout.periods).view(-1, 1, 1)
    discounted = replace(rollout, rewards={name: x * weights for name, x in rollout.rewards.items()})
    expected = batches(modules, [rollout], discount=0.9 * 0.7)
    found = batches(modules, [discounted], discount=0.9, rewards_discounted_at=0.7)
    for agent_type in AGENT_TYPES:
        for key in (Postprocessing.ADVANTAGES, Postprocessing.VALUE_TARGETS):
            torch.testing.assert_close(found[agent_type][key], expected[agent_type][key], rtol=1e-3, atol=1e-4)


def test_rows_are_economy_periods_period_by_period_and_alike_for_all_modules(modules, rollout):
    batch = batches(modules, [rollout])
    for agent_type in AGENT_TYPES:
        columns = batch[agent_type]
        for name, rows in (
            ("private", rollout.observations[agent_type]),
            ("global", rollout.observations["global"]),
            (Columns.ACTIONS, rollout.actions[agent_type]),
            (Columns.ACTION_LOGP, rollout.logp[agent_type]),
        ):
            ours = columns[Columns.OBS][name] if name in ("private", "global") else columns[name]
            assert ours.shape[0] == len(rollout) == 12
            for t in range(4):
                for e in range(3):
                    assert torch.equal(ours[t * 3 + e], rows[t, e])
        # The global part exists once for all modules.
        assert columns[Columns.OBS]["global"] is batch["firm"][Columns.OBS]["global"]


def test_several_rollouts_are_one_batch(modules, runner):
    pieces = [runner.sample(num_episodes=n)[0] for n in (2, 3)]
    whole = batches(modules, [Rollout.join(pieces)])
    parts = batches(modules, pieces)
    for agent_type in AGENT_TYPES:
        for key in (Postprocessing.ADVANTAGES, Postprocessing.VALUE_TARGETS, Columns.ACTIONS):
            assert torch.equal(whole[agent_type][key], parts[agent_type][key])


def test_rewards_are_scaled_type_by_type(modules, rollout):
    def targets(**scale):
        batch = batches(modules, [rollout], gae_lambda=1.0, discount=1.0, reward_scale=SCALE | scale)
        return {t: batch[t][Postprocessing.VALUE_TARGETS] for t in AGENT_TYPES}

    usual, other = targets(), targets(firm=15000.0)
    torch.testing.assert_close(other["firm"], 2 * usual["firm"], rtol=1e-4, atol=1e-5)
    for agent_type in ("consumer", "government"):
        assert torch.equal(other[agent_type], usual[agent_type])
    returns = rollout.rewards["firm"].flip(0).cumsum(0).flip(0) / 30000.0
    torch.testing.assert_close(usual["firm"].view_as(returns), returns, rtol=1e-4, atol=1e-5)


def test_the_rollout_itself_is_left_as_it_was(modules, rollout):
    before = {t: rollout.rewards[t].clone() for t in AGENT_TYPES}
    batches(modules, [rollout])
    assert all(torch.equal(rollout.rewards[t], before[t]) for t in AGENT_TYPES)


@pytest.mark.parametrize("values", [1, 200, 1_000_000])
def test_values_do_not_depend_on_how_many_rows_are_computed_at_once(modules, rollout, monkeypatch, values):
    observations = {
        "global": rollout.observations["global"].flatten(0, 1),
        "private": rollout.observations["firm"].flatten(0, 1),
    }
    at_once = modules["firm"].compute_values({Columns.OBS: observations})
    monkeypatch.setattr(slabs, "CPU_SLAB_VALUES", values)
    torch.testing.assert_close(values_in_slabs(modules["firm"], observations), at_once)


def test_no_gradient_flows_into_targets(modules, rollout):
    for columns in batches(modules, [rollout]).values():
        assert not any(columns[key].requires_grad for key in (Postprocessing.ADVANTAGES, Postprocessing.VALUE_TARGETS))


def test_modules_that_do_not_learn_get_no_batch(modules, rollout):
    made = RolloutsToBatch(discount=0.9, gae_lambda=0.8, reward_scale=SCALE)
    made.prepare(0, frozenset({"firm"}))
    assert set(made(rl_module=modules, batch={}, episodes=[rollout])) == {"firm"}


def test_a_type_can_learn_from_some_of_its_agents_drawn_anew_each_time(modules, rollout):
    made = RolloutsToBatch(discount=0.9, gae_lambda=0.8, reward_scale=SCALE, agents_per_update={"consumer": 2}, seed=3)
    seen = []
    for env_steps in (12, 24, 36, 36):
        made.prepare(env_steps, frozenset(AGENT_TYPES))
        batch = made(rl_module=modules, batch={}, episodes=[rollout])
        actions = batch["consumer"][Columns.ACTIONS]
        assert actions.shape[:2] == (12, 2) and batch["firm"][Columns.ACTIONS].shape[:2] == (12, 2)
        private = batch["consumer"][Columns.OBS]["private"]
        every = rollout.observations["consumer"].flatten(0, 1)
        whose = [
            [
                a
                for a in range(6)
                if torch.equal(private[:, i], every[:, a])
                and torch.equal(actions[:, i], rollout.actions["consumer"].flatten(0, 1)[:, a])
            ]
            for i in range(2)
        ]
        assert all(len(found) == 1 for found in whose)
        seen.append(tuple(found[0] for found in whose))
        assert len(set(seen[-1])) == 2
    assert seen[2] == seen[3] and len(set(seen[:3])) > 1


def test_a_replaced_action_is_nothing_that_its_agent_learns_from(modules, rollout):
    is_replaced = torch.zeros_like(rollout.logp["firm"], dtype=torch.bool)
    is_replaced[1, 2, 0] = True
    batch = batches(modules, [replace(rollout, trembled={"firm": is_replaced})])
    mask = batch["firm"][Columns.LOSS_MASK]
    assert mask.shape == batch["firm"][Columns.ACTION_LOGP].shape
    assert torch.equal(mask == 0, is_replaced.flatten(0, 1))
    assert Columns.LOSS_MASK not in batch["consumer"]
    advantages = batch["firm"][Postprocessing.ADVANTAGES][mask > 0]
    assert float(advantages.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(advantages.std(correction=0)) == pytest.approx(1.0, rel=1e-4)
