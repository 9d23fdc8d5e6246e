"""Lost processes: what env runners would have played is played by others, and what cannot be replaced is said."""

from __future__ import annotations

import pytest
import ray
import torch

from rbc_marl import UserError
from rbc_marl.config import AGENT_TYPES
from rbc_marl.errors import LostProcessError
from rbc_marl.rllib import lost
from rbc_marl.rllib.env_runner import EconomyEnvRunner
from rbc_marl.rllib.lost import check_room, processes
from rbc_marl.rllib.sampling import Share, _deal, sample_shares
from tests.rllib.small import built, changed, small_config, weights_of

RUNNERS = 3


def alike(config, indices):
    """Env runners with the same weights, whoever made them first."""
    torch.manual_seed(1)
    runners = [EconomyEnvRunner(config, worker_index=i) for i in indices]
    torch.manual_seed(1)
    state = EconomyEnvRunner(config, worker_index=0).module.get_state()
    for runner in runners:
        runner.module.set_state(state)
    return runners


class Group:
    """Env runners in this process, of which some are lost, or silent, from a call on."""

    def __init__(self, config, lost=(), silent=(), at=0, local=True):
        everybody = alike(config, range(RUNNERS + 1))
        self.runners = dict(enumerate(everybody[1:], start=1))
        self.local_env_runner = everybody[0] if local else None
        self.lost, self.silent, self.at, self.calls = set(lost), set(silent), at, 0

    def num_remote_env_runners(self):
        return RUNNERS

    def healthy_env_runner_ids(self):
        return [i for i in self.runners if i not in self.lost or self.calls <= self.at]

    def foreach_env_runner(self, functions, *, remote_worker_ids, local_env_runner, timeout_seconds):
        self.calls += 1
        assert not local_env_runner and len(functions) == len(remote_worker_ids)
        gone = (self.lost | self.silent) if self.calls > self.at else set()
        chosen = zip(functions, remote_worker_ids, strict=True)
        return [function(self.runners[i]) for function, i in chosen if i not in gone]


def drawn(group, rounds=2):
    rollouts, logged = sample_shares(group, rounds)
    assert len(logged) == rounds * RUNNERS
    assert sum(metrics["num_env_steps_sampled"].peek() for metrics in logged) == rounds * RUNNERS * 16
    return [rollout.actions["consumer"] for rollout in rollouts]


@pytest.mark.parametrize(
    "gone",
    [{"lost": [2]}, {"lost": [1, 2, 3]}, {"silent": [3]}, {"lost": [1], "silent": [2, 3]}, {"lost": [2], "at": 1}],
)
def test_what_lost_env_runners_would_have_played_others_play_bit_for_bit(gone):
    config = small_config()
    expected = drawn(Group(config))
    actions = drawn(Group(config, **gone))
    assert len(expected) == len(actions) == 6
    assert all(torch.equal(one, other) for one, other in zip(expected, actions, strict=True))
    assert not torch.equal(expected[0], expected[1]) and not torch.equal(expected[0], expected[3])


def test_a_share_is_what_the_runner_itself_plays():
    config = small_config()
    runner, other = alike(config, (2, 1))
    for rounds in range(2):
        (own,), (as_if,) = runner.sample(), other.sample_as(2, rounds)
        for agent_type in AGENT_TYPES:
            assert torch.equal(own.actions[agent_type], as_if.actions[agent_type])


def test_nobody_left_to_play_is_said():
    group = Group(small_config(), lost=[1, 2, 3], local=False)
    group.calls = 1
    with pytest.raises(LostProcessError, match="all env runners are lost"):
        sample_shares(group, 1)


def test_runners_that_lack_a_share_of_their_own_take_those_of_others():
    shares = [Share(0, 1), Share(0, 2), Share(1, 1), Share(1, 2)]
    assert _deal(shares, [1, 3]) == {1: Share(0, 1), 3: Share(0, 2)}
    assert _deal([Share(1, 2)], [1, 3]) == {1: Share(1, 2)}


def test_every_process_of_a_run_counts():
    config = small_config().env_runners(num_env_runners=2, num_cpus_per_env_runner=0.5)
    config.evaluation(evaluation_num_env_runners=1).learners(num_learners=2, num_gpus_per_learner=1)
    assert processes(config) == [{"CPU": 0.5}] * 3 + [{"GPU": 1.0}] * 2
    assert processes(small_config()) == []


@pytest.mark.parametrize(
    ("asked", "machines", "has_room"),
    [
        ([{"CPU": 2.0}, {"CPU": 1.0}], [{"CPU": 1.0}, {"CPU": 2.0}], True),
        ([{"CPU": 2.0}, {"CPU": 2.0}], [{"CPU": 3.0}, {"CPU": 1.0}], False),
        ([{"CPU": 0.1}] * 10, [{"CPU": 1.0}], True),
        ([{"GPU": 1.0}], [{"CPU": 8.0}], False),
    ],
)
def test_no_process_is_shared_by_two_machines(asked, machines, has_room):
    assert lost._fits(asked, machines) is has_room


@pytest.mark.slow
@pytest.mark.usefixtures("ray_running")
def test_too_few_cpus_for_what_is_asked_are_said_with_those_that_are_there(monkeypatch):
    monkeypatch.setattr(lost.check_room, "__defaults__", (0.0,))
    cpus = int(ray.cluster_resources()["CPU"])
    config = small_config().env_runners(num_env_runners=cpus).learners(num_learners=1)
    asked = f"they ask for {cpus + 1} CPUs"
    said = f"{cpus} env runners, 1 learners: {asked}, and Ray has {cpus} CPUs; lower num_env_runners or num_learners"
    with pytest.raises(UserError, match=said):
        check_room(config)
    with pytest.raises(UserError, match=asked):  # the algorithm itself would wait without an end
        config.build_algo()
    check_room(small_config())


@pytest.mark.long
@pytest.mark.usefixtures("ray_running")
def test_a_run_that_loses_env_runners_ends_where_one_that_loses_none_does():
    config = small_config(minibatch_size=6).env_runners(num_env_runners=RUNNERS, num_cpus_per_env_runner=0.5)
    config.fault_tolerance(restart_failed_env_runners=True, delay_between_env_runner_restarts_s=0)

    def weights(kills):
        with built(config) as algorithm:
            for iteration in range(6):
                for runner, for_good in kills.get(iteration, ()):
                    ray.kill(algorithm.env_runner_group._worker_manager.actors()[runner], no_restart=for_good)
                result = algorithm.train()["env_runners"]
                assert int(result["num_env_steps_sampled"]) == RUNNERS * 16
                assert int(result["num_env_steps_sampled_lifetime"]) == (iteration + 1) * RUNNERS * 16
            return weights_of(algorithm)

    expected = weights({})
    all_for_good = [(1, True), (2, True), (3, True)]
    again = weights({1: [(2, False)], 2: [(2, False)], 3: [(1, False), (2, False), (3, False)], 5: all_for_good})
    assert changed(expected, again) == set()


@pytest.mark.long
@pytest.mark.usefixtures("ray_running")
def test_a_lost_learner_is_said(tmp_path):
    config = small_config(minibatch_size=3).learners(num_learners=2, num_cpus_per_learner=0.5)
    with built(config) as algorithm:
        algorithm.train()
        ray.kill(algorithm.learner_group._workers[1])
        for work in (algorithm.train, lambda: algorithm.save_to_path(tmp_path / "checkpoint")):
            with pytest.raises(LostProcessError, match=r"^1 of 2 learners is lost \(The actor died unexpectedly"):
                work()


def test_an_error_with_all_learners_there_stays_what_it_is():
    class Local:
        _worker_manager = None

    with pytest.raises(ValueError, match="mine"), lost.naming_lost_learners(Local()):
        raise ValueError("mine")
