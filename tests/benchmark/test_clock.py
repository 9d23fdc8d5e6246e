"""Calls are measured in turn, a device is waited for, and what finds no time is named. No test reads a clock."""

from __future__ import annotations

import pytest
import torch

from rbc_marl import ConfigError, preset
from rbc_marl.benchmark import clock, stepping
from rbc_marl.benchmark.clock import Limit, in_turn
from rbc_marl.benchmark.training import QUICKSTART, algorithm_config, bare_loop
from tests.rllib.test_accelerator import draw_nothing

CONFIG = preset("open", num_consumers=3, num_firms=2, horizon=2)


@pytest.fixture
def noted():
    """Calls by name, and the order in which they came."""
    order = []
    return order, {name: (lambda name=name: order.append(name)) for name in ("one", "other")}


def test_calls_come_in_turn_after_each_has_warmed_up(noted):
    order, calls = noted
    times = in_turn(calls, "cpu", 3, Limit(), "calls")
    assert order == ["one", "other"] * 4
    assert {name: len(taken) for name, taken in times.items()} == {"one": 3, "other": 3}


def test_without_turns_the_call_that_warms_up_is_measured(noted):
    order, calls = noted
    times = in_turn(calls, "cpu", 0, Limit(), "calls")
    assert order == ["one", "other"] and [len(taken) for taken in times.values()] == [1, 1]


def test_what_finds_no_time_is_left_out_and_named(noted):
    order, calls = noted
    limit = Limit(-1.0)
    assert in_turn(calls, "cpu", 3, limit, "calls") == {}
    assert order == [] and limit.skipped == ["calls, one: no time left", "calls, other: no time left"]


def test_turns_that_find_no_time_are_left_out_and_counted(noted):
    _, calls = noted
    limit = Limit(1e9)
    ends = iter([None, None, None, float("-inf")])  # after one call that warms up, and three that are measured
    calls["other"] = lambda: setattr(limit, "_end", next(ends) or limit._end)
    times = in_turn(calls, "cpu", 5, limit, "calls")
    assert {name: len(taken) for name, taken in times.items()} == {"one": 3, "other": 3}
    assert limit.skipped == ["calls: 2 of 5 turns"]


def test_where_there_is_time_for_one_turn_it_is_what_is_measured(noted):
    order, calls = noted
    limit = Limit(1e9)
    calls["other"] = lambda: order.append("other") or setattr(limit, "_end", float("-inf"))
    times = in_turn(calls, "cpu", 5, limit, "calls")
    assert order == ["one", "other"] and [len(taken) for taken in times.values()] == [1, 1]
    assert limit.skipped == ["calls: 5 of 5 turns"]


def test_what_is_known_to_take_too_long_is_not_begun():
    limit = Limit(1e6)
    assert limit.allows("short", 1.0) and not limit.allows("long", 1e9)
    assert limit.skipped == ["long: no time left"]


def test_a_gpu_is_waited_for_before_the_clock_is_read(monkeypatch):
    order = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: order.append(f"wait for {device}"))
    clock.seconds_of(lambda: order.append("call"), "cuda:0")
    assert order == ["wait for cuda:0", "call", "wait for cuda:0"]


def test_cpu_time_is_that_of_one_thread_of_a_cpu(monkeypatch):
    assert clock.counts_cpu_time("cpu")  # tests have one thread
    assert not clock.counts_cpu_time("cuda")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert not clock.counts_cpu_time("cpu")


def test_auto_takes_an_accelerator_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert clock.resolve("auto") == "cpu" == clock.resolve("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert clock.resolve("auto") == "cuda"


@pytest.mark.parametrize(
    ("device", "message"),
    [("cuda:99", "device is cuda:99, and this machine has .* of them; take cpu"), ("gpu", "give cpu, cuda or cuda:0")],
)
def test_a_device_that_is_not_there_is_refused_in_one_line(device, message):
    with pytest.raises(ConfigError, match=message):
        clock.resolve(device)


def test_what_is_measured_lives_on_the_device_that_was_asked_for(monkeypatch):
    """Tensors of the device "meta" mixed with those of a CPU are an error."""
    draw_nothing(monkeypatch)
    observation, *_ = stepping.stepper(CONFIG, 4, "meta")()
    assert {x.device.type for x in observation.values()} == {"meta"}
    loop = bare_loop(CONFIG, 4, "meta", QUICKSTART)
    observations, actions, *_ = loop.play()
    assert {x.device.type for x in [*observations.values(), *actions.values()]} == {"meta"}
    assert {x.device.type for network in loop.networks.values() for x in network.parameters()} == {"meta"}


def test_learners_and_so_the_env_runner_take_the_accelerator():
    pytest.importorskip("ray.rllib")
    assert algorithm_config(CONFIG, 4, "cuda").num_gpus_per_learner == 1
    assert algorithm_config(CONFIG, 4, "cpu").num_gpus_per_learner == 0
