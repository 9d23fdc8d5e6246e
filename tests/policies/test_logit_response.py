"""Logit responses: where the loss is least, and that a network finds there what the economy pays for."""

from __future__ import annotations

import pytest
import torch

from rbc_marl import EconomyConfig
from rbc_marl.policies.logit_response import (
    IDLE_HOURS,
    Alternatives,
    LogitResponse,
    OwnValues,
    logit_response_loss,
    pull,
)

CONFIG = EconomyConfig(num_consumers=3, num_firms=2, consumption_choices=(0.0, 1.0, 2.0), hours_choices=(0.0, 500.0))
SETTINGS = LogitResponse(basket=0.4, work=2.0)


def values_of(rows=5, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(rows, *shape, generator=generator)

    return OwnValues(2 * draw(3, 2, 3), 1e-3 * draw(3), 20 * draw(2), 0.01 * draw(3))


def minimise(loss, logits, steps=3000):
    optimiser = torch.optim.Adam([logits], lr=0.02)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(logits).backward()
        optimiser.step()
    return logits.detach()


def pulled(logits, values, temperature):
    """A loss whose gradient is the pull."""
    return -(pull(Alternatives.of(logits), values, temperature, 0.3) * logits).sum()


def test_a_choice_ends_at_probabilities_proportional_to_exp_of_value_over_temperature():
    values = torch.tensor([[1.0, 2.0, 4.0], [0.0, 0.0, -3.0]])
    start = torch.zeros(2, 3, requires_grad=True)
    logits = minimise(lambda x: pulled(x, values, 0.5), start)
    torch.testing.assert_close(logits.softmax(-1), (values / 0.5).softmax(-1), atol=1e-3, rtol=0.0)


def test_an_alternative_that_has_become_rare_is_still_pulled_back():
    logits = torch.tensor([[15.0, 0.0]]).requires_grad_()
    pulled(logits, torch.tensor([[0.0, 5.0]]), 0.1).backward()
    assert logits.grad[0, 1] < -0.1


def test_logits_stay_where_differences_still_count():
    values = torch.tensor([[0.0, 1e6]])
    start = torch.zeros(1, 2, requires_grad=True)
    logits = minimise(lambda x: pulled(x, values, 0.01), start)
    assert 10.0 < float(logits[0, 1] - logits[0, 0]) < 40.0


@pytest.mark.parametrize("factor", [1.0, pytest.param(0.25, marks=pytest.mark.long)])
def test_all_choices_of_a_consumer_end_at_logit_responses_to_each_other(factor):
    values = values_of()
    start = torch.zeros(5, 3, 10, requires_grad=True)
    logits = minimise(lambda x: 5 * logit_response_loss(CONFIG, x, values, SETTINGS, factor)[0], start)
    goods, hours, employer = logits.split([6, 2, 2], dim=-1)
    table = torch.tensor(CONFIG.hours_choices)
    wage = (employer.softmax(-1) * values.net_wage.unsqueeze(1)).sum(-1)
    hour = (values.later * wage - 0.5 * values.labour_disutility).unsqueeze(-1) * table
    worked = (hours.softmax(-1) * table).sum(-1) + IDLE_HOURS
    pay = (values.later * worked).unsqueeze(-1) * values.net_wage.unsqueeze(1)
    for found, wanted, temperature in (
        (goods.unflatten(-1, (2, 3)), values.consumption, SETTINGS.basket),
        (hours, hour, SETTINGS.work),
        (employer, pay, SETTINGS.work),
    ):
        response = (wanted / (temperature * factor)).softmax(-1)
        torch.testing.assert_close(found.softmax(-1), response, atol=0.02, rtol=0.0)


def test_the_gradient_is_that_of_log_probabilities_weighted_by_pulls():
    logits = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).mul_(3).requires_grad_()
    values = torch.linspace(-1, 2, 20, dtype=torch.float64).view(5, 4)
    (given,) = torch.autograd.grad(pulled(logits, values, 0.4), logits)
    pulls = pull(Alternatives.of(logits), values, 0.4, 0.3)
    (softmax,) = torch.autograd.grad(-(pulls * logits.log_softmax(-1)).sum(), logits)
    torch.testing.assert_close(given, softmax, rtol=0, atol=1e-12)
    torch.testing.assert_close(Alternatives.of(logits).logp, logits.detach().log_softmax(-1), rtol=0, atol=1e-12)


def test_several_runs_have_the_loss_and_entropy_of_each():
    logits, values = torch.randn(6, 3, 10, generator=torch.Generator().manual_seed(2)), values_of(6)
    together = logit_response_loss(CONFIG, logits, values, SETTINGS, 0.5, runs=2)
    for run in (0, 1):
        rows = slice(3 * run, 3 * run + 3)
        alone = logit_response_loss(CONFIG, logits[rows], OwnValues(*(x[rows] for x in values)), SETTINGS, 0.5)
        torch.testing.assert_close(tuple(x[run] for x in together), alone)


def test_entropy_is_that_of_all_choices_of_a_consumer():
    _, entropy = logit_response_loss(CONFIG, torch.zeros(5, 3, 10), values_of(), SETTINGS, 1.0)
    uniform = 2 * torch.tensor(3.0).log() + 2 * torch.tensor(2.0).log()
    torch.testing.assert_close(entropy, uniform)
