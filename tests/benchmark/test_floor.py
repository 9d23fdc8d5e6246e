"""The floor of a step counts what must be moved and done, which is known where it can be counted by hand."""

import pytest
import torch

from rbc_marl import VectorEconomy, preset
from rbc_marl.benchmark import floor
from rbc_marl.benchmark.floor import Operations

CONFIG = preset("open", num_consumers=5, num_firms=3)


def test_operations_are_the_numbers_that_come_out_and_the_terms_of_products():
    a, b = torch.ones(2, 3), torch.ones(3, 4)
    with Operations() as operations:
        (a + 1).view(6).exp()
    assert operations.count == 6 + 6  # a view does nothing
    with Operations() as operations:
        a @ b
    assert operations.count == 2 * 3 * (2 * 4)


def test_what_a_step_moves_and_does_is_proportional_to_its_economies():
    one, many = floor.count(CONFIG, 100), floor.count(CONFIG, 1000)
    assert many[0] == pytest.approx(10 * one[0], rel=0.05)
    assert many[1] == pytest.approx(10 * one[1], rel=0.05)


def test_a_step_moves_at_least_the_flows_and_the_actions():
    batch = VectorEconomy(CONFIG, num_envs=4)
    batch.reset()
    actions = batch.sample_actions()
    *_, flows = batch.step(actions)
    least = sum(x.nbytes for x in [flows.demand, flows.consumption, *actions.values()])
    assert floor.count(CONFIG, 4)[0] > least


def test_the_floor_is_the_larger_of_moving_and_doing(monkeypatch):
    monkeypatch.setattr(floor, "count", lambda *_: (600, 50))
    monkeypatch.setattr(floor, "measure_bandwidth", lambda _: 100.0)
    monkeypatch.setattr(floor, "measure_arithmetic", lambda _: 10.0)
    assert floor.floor_of_a_step(CONFIG, 2, "cpu")["seconds"] == 6.0
    monkeypatch.setattr(floor, "measure_arithmetic", lambda _: 5.0)
    assert floor.floor_of_a_step(CONFIG, 2, "cpu")["seconds"] == 10.0
