"""The forecast of memory counts what is really made."""

from __future__ import annotations

import pytest

from rbc_marl import ConfigError, VectorEconomy, memory, parallel_env, preset
from rbc_marl.rllib import sizes
from rbc_marl.rllib.settings import economy_of, module_ids
from rbc_marl.rllib.sizes import memory_of
from tests.rllib.small import built, small_config


@pytest.mark.slow
def test_weights_and_rollouts_are_counted_as_they_are_made():
    config = small_config(economies=8)
    config.validate()
    with built(config) as algorithm:
        learnt = algorithm.learner_group.get_weights()
        (rollout,) = algorithm.env_runner.sample()
    economy, encoding = economy_of(config)
    for module_id in module_ids(config):
        made = sum(w.size for name, w in learnt[module_id].items() if "log_mask" not in name)  # which learns nothing
        assert sizes._weights(config, module_id, economy, encoding) == made
    columns = (rollout.observations, rollout.actions, rollout.logp, rollout.rewards)
    made = sum(tensor.nbytes for column in columns for tensor in column.values())
    counted = memory_of(config).rollout / (sizes._PLAYED + sizes._LEARNT)
    assert made <= counted <= 2 * made


def test_memory_grows_with_what_there_is_to_hold():
    def needed(**economy):
        config = small_config(economy=economy)
        config.validate()
        return memory_of(config)

    small, long, many = needed(), needed(horizon=40), needed(num_consumers=600)
    assert long.rollout == 10 * small.rollout and long.economies == small.economies and long.total > small.total
    assert many.economies > 50 * small.economies and many.networks == small.networks


def test_agents_who_are_not_learnt_from_and_logits_beyond_a_slab_take_no_memory():
    def needed(**settings):
        config = small_config(economy={"num_consumers": 100_000}, **settings)
        config.validate()
        return memory_of(config)

    everybody, some = needed(), needed(agents_per_update={"consumer": 10})
    assert some.rollout < 0.4 * everybody.rollout and some.economies == everybody.economies
    economy, _ = economy_of(small_config(economy={"num_consumers": 100_000}))
    logits = 4 * 100_000 * sum(sizes.head_sizes(economy, "consumer"))
    assert everybody.economies < 7 * logits


def test_the_process_that_learns_holds_the_share_of_each_learner():
    config = small_config(economies=4).learners(num_learners=2).env_runners(num_env_runners=4)
    config.validate()
    alone = small_config(economies=4)
    alone.validate()
    assert memory_of(config).rollout == 2 * memory_of(alone).rollout


def test_batches_and_environments_that_memory_cannot_hold_are_refused_with_what_they_need(monkeypatch):
    monkeypatch.setattr(memory, "of_this_machine", lambda: 10**9)
    what = "a batch of 1 economies of 1,000,000,000 consumers and 10 firms would need about 384 GB of memory, "
    with pytest.raises(ConfigError, match=f"{what}and this machine has 1 GB; make one of the three smaller"):
        VectorEconomy(preset("open", num_consumers=10**9))
    with pytest.raises(ConfigError, match=r"an environment with 1,000,010 agents, .* take VectorEconomy"):
        parallel_env("open", num_consumers=10**6)
    with pytest.raises(ConfigError, match="a batch of 1,000,000,000 economies"):
        VectorEconomy("open", num_envs=10**9)
    VectorEconomy("open", num_envs=100)


def test_a_machine_that_does_not_say_how_large_it_is_refuses_what_none_holds(monkeypatch):
    monkeypatch.setattr(memory, "of_this_machine", lambda: None)
    with pytest.raises(ConfigError, match="which no machine has"):
        VectorEconomy("open", num_envs=10**9)


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 B"), (999, "999 B"), (1.5e6, "1.5 MB"), (2e12, "2 TB"), (5e18, "5e+03 PB")]
)
def test_sizes_in_words(size, words):
    assert memory.in_words(size) == words
