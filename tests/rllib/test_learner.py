"""The learner against a loop written by hand, and the order of its minibatches."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from rbc_marl import preset
from rbc_marl.benchmark.bare_loop import BareLoop, Settings
from rbc_marl.benchmark.training import QUICKSTART, bare_loop_of
from rbc_marl.config import AGENT_TYPES
from rbc_marl.policies import slabs
from rbc_marl.policies.build import build_network
from rbc_marl.rllib import learner as learner_module
from rbc_marl.rllib.losses import explained_share
from rbc_marl.rllib.rollout import Rollout
from rbc_marl.rllib.settings import as_plain
from tests.rllib.small import built, small_config, weights_of

pytestmark = pytest.mark.usefixtures("ray_running")

COLUMNS = ("observations", "actions", "logp", "rewards", "trembled", "market")
BIG = {"num_consumers": 20, "num_firms": 3, "horizon": 5}


def compare(iterations=1, change=None, **settings):
    """Largest difference of any weight between EconomyPPO and a bare loop fed with its rollouts; by module."""
    rollouts = []
    config = small_config(economy=BIG, num_epochs=3, lr=3e-3, **settings)
    config.callbacks(on_sample_end=lambda samples, **kwargs: rollouts.extend(samples))
    with built(config) as algorithm:
        loop = bare_loop_of(algorithm, num_envs=4)
        if change is not None:
            loop.settings = replace(loop.settings, **change)
            if "lr" in change:
                loop.optimisers = {
                    t: torch.optim.Adam(loop.networks[t].parameters(), lr=change["lr"]) for t in AGENT_TYPES
                }
        start = {t: {k: x.clone() for k, x in loop.networks[t].state_dict().items()} for t in AGENT_TYPES}
        for _ in range(iterations):
            rollouts.clear()
            algorithm.train()
            rollout = Rollout.join(rollouts)
            loop.agents_to_learn_from = subset_of(algorithm, rollout)
            loop.learn(*(getattr(rollout, name) for name in COLUMNS))
        learnt = weights_of(algorithm)
    differences = {}
    for t in AGENT_TYPES:
        ours = {name.removeprefix("network."): x for name, x in learnt[t].items()}
        theirs = loop.networks[t].state_dict()
        assert ours.keys() == theirs.keys()
        if "firm_head.bias" in ours:
            # The last entry shifts all employers alike: it has no gradient, and Adam makes steps of its rounding.
            ours["firm_head.bias"][-1] = theirs["firm_head.bias"][-1]
        differences[t] = max((ours[k] - theirs[k]).abs().max().item() for k in theirs)
        moved = max((theirs[k] - start[t][k]).abs().max().item() for k in theirs)
        assert moved > 3e-3  # or equality would say nothing
    return differences


def subset_of(algorithm, rollout):
    """The draw of agents that the algorithm's learner has just made."""
    connector = algorithm.learner_group._learner._rollouts_to_batch
    return lambda agent_type: connector._agents_of(agent_type, agent_type, rollout)


def test_the_bare_loop_does_the_same_work_as_the_quickstart():
    differences = compare(**{**QUICKSTART, "agents_per_update": {"consumer": 7}})
    assert max(differences.values()) < 1e-5


@pytest.mark.parametrize("slab", [500_000, 5000])
@pytest.mark.parametrize("consumers", [{"logit_response": {"basket": 0.4, "work": 2.0}}, {}], ids=["logit", "ppo"])
def test_the_bare_loop_does_the_same_work_where_firms_tremble(slab, consumers, monkeypatch):
    monkeypatch.setattr(slabs, "CPU_SLAB_VALUES", slab)
    settings = {"trembles": {"price": 0.3, "government": 0.2}, "agents_per_update": {"consumer": 7}, **consumers}
    assert max(compare(iterations=2, **settings).values()) < 3e-5


@pytest.mark.parametrize("slab", [500_000, 5000])
def test_the_bare_loop_ends_an_iteration_with_the_same_weights(slab, monkeypatch):
    monkeypatch.setattr(slabs, "CPU_SLAB_VALUES", slab)
    assert max(compare().values()) < 1e-5


def test_the_bare_loop_keeps_up_for_several_iterations():
    assert max(compare(iterations=3).values()) < 1e-4


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 2.9e-3},
        {"gamma": 0.9},
        {"lambda_": 0.9},
        {"clip_param": 0.001},
        {"grad_clip": 0.05},
        {"num_epochs": 2},
        {"entropy_coeff": 0.1},
        {"vf_loss_coeff": 0.6},
        {"huber_delta": 0.1},
        {"reward_scale": {"consumer": 6.0, "firm": 20000.0, "government": 900.0}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_comparison_notices_every_setting(change):
    assert min(compare(change=change).values()) > 1e-5


def test_the_bare_loop_takes_over_every_setting_of_the_algorithm():
    config = small_config(lr=2e-4, gamma=0.95, lambda_=0.9, clip_param=0.3, grad_clip=1.0, num_epochs=5)
    with built(config) as algorithm:
        settings = bare_loop_of(algorithm, num_envs=4).settings
    for field in fields(settings):
        expected = as_plain(getattr(config, field.name))
        assert getattr(settings, field.name) == ({} if expected is None else expected), field.name


def test_the_bare_loop_trains_on_its_own():
    with built(small_config()) as algorithm:
        loop = bare_loop_of(algorithm, num_envs=4)
    assert isinstance(loop, BareLoop)
    before = {t: [p.clone() for p in loop.networks[t].parameters()] for t in AGENT_TYPES}
    loop.iterate()
    for t in AGENT_TYPES:
        assert any(not torch.equal(a, b) for a, b in zip(before[t], loop.networks[t].parameters(), strict=True))


def test_the_bare_loop_plays_more_than_256_choices():
    config = preset("open", num_consumers=2, num_firms=8, horizon=2, price_choices=tuple(float(p) for p in range(60)))
    networks = {t: build_network(config, t) for t in AGENT_TYPES}
    actions = BareLoop(config, networks, Settings(), num_envs=16).play()[1]
    assert actions["consumer"].dtype == torch.uint8
    assert 256 < actions["firm"].max() < 300


@pytest.mark.parametrize(("size", "per_epoch"), [(None, 1), (16, 1), (8, 2), (6, 3), (5, 4), (1, 16)])
def test_minibatches_are_the_same_rows_for_every_module_and_each_row_comes_once(size, per_epoch, monkeypatch):
    seen = []
    original = learner_module._minibatch

    def note(batches, index, rows):
        seen.append(torch.arange(16) if index is None else index.clone())
        batch = original(batches, index, rows)
        for module_id, part in batch.policy_batches.items():
            for name in ("advantages", "action_logp"):
                expected = batches[module_id][name] if index is None else batches[module_id][name][index]
                assert torch.equal(part[name], expected)
            assert len(part["obs"]["global"]) == len(part["obs"]["private"]) == rows
        assert batch.env_steps() == rows and set(batch.policy_batches) == set(AGENT_TYPES)
        return batch

    monkeypatch.setattr(learner_module, "_minibatch", note)
    with built(small_config(minibatch_size=size, num_epochs=2)) as algorithm:
        algorithm.train()
        algorithm.train()
    assert len(seen) == 4 * per_epoch
    epochs = [torch.cat(seen[i : i + per_epoch]) for i in range(0, len(seen), per_epoch)]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(16))
    sizes = {len(index) for index in seen}
    assert max(sizes) - min(sizes) <= 1 and max(sizes) <= (size or 16)
    if per_epoch > 1:  # another order in each epoch and iteration
        assert len({tuple(epoch.tolist()) for epoch in epochs}) == 4


def test_rows_keep_their_order_where_no_shuffling_is_wanted(monkeypatch):
    seen = []
    original = learner_module._minibatch
    monkeypatch.setattr(
        learner_module, "_minibatch", lambda batches, index, rows: seen.append(index) or original(batches, index, rows)
    )
    with built(small_config(minibatch_size=8, num_epochs=1, shuffle_batch_per_epoch=False)) as algorithm:
        algorithm.train()
    assert torch.cat(seen).tolist() == list(range(16))


def test_a_batch_of_nested_observations_counts_its_rows():
    batch = MultiAgentBatch(
        {
            "firm": SampleBatch(
                {"obs": {"global": torch.zeros(5, 3), "private": torch.zeros(5, 2, 4)}, "actions": torch.zeros(5, 2, 1)}
            )
        },
        env_steps=5,
    )
    assert batch.env_steps() == 5 and len(batch.policy_batches["firm"]) == 5


@pytest.mark.parametrize(
    ("values", "targets", "expected"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], 1.0),
        ([2.0, 2.0, 2.0], [1.0, 2.0, 3.0], 0.0),
        ([3.0, 4.0, 5.0], [1.0, 2.0, 3.0], 1.0),  # a constant error is no matter of variance
        ([9.0, 0.0, -9.0], [1.0, 2.0, 3.0], -1.0),
        ([5.0, 5.0, 5.0], [1.0, 1.0, 1.0], 1.0),
    ],
)
def test_the_explained_variance_is_that_of_the_targets(values, targets, expected):
    assert explained_share(torch.tensor(values), torch.tensor(targets)).item() == pytest.approx(expected)


@pytest.mark.parametrize("slab", [500_000, 500])
def test_reported_losses_are_those_of_the_hand_written_formulas(slab, monkeypatch):
    monkeypatch.setattr(slabs, "CPU_SLAB_VALUES", slab)
    rollouts = []
    config = small_config(num_epochs=1).callbacks(on_sample_end=lambda samples, **kwargs: rollouts.extend(samples))
    with built(config) as algorithm:
        networks = bare_loop_of(algorithm, num_envs=4).networks
        learners = algorithm.train()["learners"]
    (rollout,) = rollouts
    for t in AGENT_TYPES:
        with torch.no_grad():
            shared, private = rollout.observations["global"].flatten(0, 1), rollout.observations[t].flatten(0, 1)
            logits, values = networks[t](shared, private)
            entropy = sum(
                torch.distributions.Categorical(logits=part).entropy()
                for part in logits.split(list(networks[t].head_sizes), dim=-1)
            ).mean()
            # gamma is nearly 1 and lambda is 1: targets are the discounted scaled returns.
            scaled = rollout.rewards[t] / getattr(config.reward_scale, t)
            targets = torch.zeros_like(scaled)
            following = torch.zeros_like(scaled[0])
            for period in reversed(range(4)):
                following = targets[period] = scaled[period] + config.gamma * following
            value_loss = torch.nn.functional.huber_loss(values, targets.flatten(0, 1))
            explained = 1 - (targets.flatten(0, 1) - values).var() / targets.var()
        assert float(learners[t]["vf_explained_var"]) == pytest.approx(max(explained.item(), -1.0), abs=1e-3)
        reported = {name: float(learners[t][name]) for name in ("entropy", "vf_loss", "policy_loss", "total_loss")}
        assert reported["entropy"] == pytest.approx(entropy.item(), rel=1e-4)
        assert reported["vf_loss"] == pytest.approx(value_loss.item(), rel=1e-3)
        assert reported["policy_loss"] == pytest.approx(0.0, abs=1e-5)  # ratios are one, advantages have mean zero
        total = reported["policy_loss"] + 0.5 * reported["vf_loss"] - 0.05 * reported["entropy"]
        assert reported["total_loss"] == pytest.approx(total, rel=1e-4)
