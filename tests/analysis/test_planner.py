"""A planner's welfare, against numbers by hand and against a search over allocations."""

from __future__ import annotations

import pytest
import torch

from rbc_marl import preset
from rbc_marl.analysis.planner import plan

# One good, made of labour alone: an hour of work makes a unit, which is worth 1, and costs a quarter.
LINEAR = preset(
    "closed", num_consumers=2, num_firms=1, horizon=3, crra=0.0, technology=1.0, labour_exponent=1.0,
    labour_disutility=0.5, labour_disutility_pareto_shape=None, hours_choices=(0.0, 4.0),
)  # fmt: skip


def test_the_published_closed_economy_has_its_known_optimum():
    welfare, hours = plan(preset("closed"))
    assert welfare == pytest.approx(4907, abs=0.5) and hours == pytest.approx(936)  # everybody, all but the last period
    fifteen = plan(preset("closed", hours_choices=(0.0, 15.0 / 0.9)))
    assert fifteen.hours == pytest.approx(15) and fifteen.welfare / welfare == pytest.approx(0.31, abs=0.005)


def test_where_an_hour_brings_more_than_it_costs_everybody_works():
    assert plan(LINEAR) == pytest.approx((2 * 2 * 4 * 0.75, 4 * 2 / 3))
    assert plan(LINEAR.replace(labour_disutility=2.5)) == pytest.approx((0.0, 0.0), abs=1e-9)


def test_nobody_makes_more_than_anybody_can_have():
    assert plan(LINEAR.replace(hours_choices=(0.0, 40.0))) == pytest.approx((2 * 2 * 10 * 0.75, 10 * 2 / 3))


def test_whoever_minds_least_works_first():
    config = LINEAR.replace(labour_disutility=3.0, labour_disutility_pareto_shape=1.0)
    # Disutilities 3 and 1.5: hours cost 1.5 and 0.75, and bring 1. Only the second consumer works.
    assert plan(config) == pytest.approx((2 * 4 * 0.25, 4 / 2 * 2 / 3))


def test_the_plan_is_no_worse_than_any_allocation_drawn_at_random():
    config = preset("closed", num_consumers=20, num_firms=4)
    best = plan(config).welfare
    exponents, capitals = (torch.tensor(x, dtype=torch.float64) for x in (config.labour_exponents, config.capitals))
    costs = 0.005 * (1 - torch.arange(20, dtype=torch.float64) / 20) ** 0.25
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(2000):
        total = 20 * 1040.0 * float(torch.rand(1, generator=generator))
        parts = -torch.rand(4, generator=generator, dtype=torch.float64).log()
        units = 0.01 * capitals ** (1 - exponents) * (total * parts / parts.sum()) ** exponents / 20
        worked = (total - 1040.0 * torch.arange(20)).clamp(0.0, 1040.0)
        cost = float((worked * costs.flip(0)).sum())
        found.append(9 * (20 * float((((units.clamp(max=10) + 1) ** 0.9 - 1) / 0.9).sum()) - cost))
    assert 0.97 * best < max(found) <= best
