"""The arithmetic of learning, worked by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from rbc_marl.policies.learning import advantages_and_targets, clipped_loss, standardise


def column(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def test_with_lambda_one_targets_are_the_discounted_returns():
    rewards, values = column(1.0, 2.0, 4.0), column(0.3, -7.0, 11.0)
    advantages, targets = advantages_and_targets(rewards, values, discount=0.5, gae_lambda=1.0)
    torch.testing.assert_close(targets, column(1 + 0.5 * 2 + 0.25 * 4, 2 + 0.5 * 4, 4.0))
    torch.testing.assert_close(advantages, targets - values)


def test_with_lambda_zero_advantages_are_one_step_errors():
    rewards, values = column(1.0, 2.0, 4.0), column(0.5, 3.0, 1.0)
    advantages, targets = advantages_and_targets(rewards, values, discount=0.9, gae_lambda=0.0)
    torch.testing.assert_close(advantages, column(1 + 0.9 * 3 - 0.5, 2 + 0.9 * 1 - 3, 4 - 1.0))
    torch.testing.assert_close(targets, column(1 + 0.9 * 3, 2 + 0.9 * 1, 4.0))


def test_between_the_two_each_later_error_counts_less():
    rewards, values = column(1.0, 2.0, 4.0), column(0.5, 3.0, 1.0)
    advantages, _ = advantages_and_targets(rewards, values, discount=0.9, gae_lambda=0.5)
    errors = [1 + 0.9 * 3 - 0.5, 2 + 0.9 * 1 - 3, 4 - 1.0]
    last = errors[2]
    middle = errors[1] + 0.45 * last
    torch.testing.assert_close(advantages, column(errors[0] + 0.45 * middle, middle, last))


@pytest.mark.parametrize("gae_lambda", [0.0, 0.5, 1.0])
def test_the_horizon_ends_the_game(gae_lambda):
    rewards, values = torch.zeros(4, 3), torch.full((4, 3), 100.0)
    advantages, _ = advantages_and_targets(rewards, values, discount=1.0, gae_lambda=gae_lambda)
    # The last period expects nothing after it, whatever the value function hopes for.
    torch.testing.assert_close(advantages[-1], torch.full((3,), -100.0))
    if gae_lambda == 0:
        torch.testing.assert_close(advantages[:-1], torch.zeros(3, 3))


def test_an_episode_of_one_period_has_its_reward_as_target():
    advantages, targets = advantages_and_targets(column(3.0), column(1.0), discount=0.9, gae_lambda=0.7)
    assert targets == 3.0 and advantages == 2.0


def test_economies_and_agents_do_not_mix():
    generator = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 5, 4, 3, generator=generator, dtype=torch.float64)
    advantages, targets = advantages_and_targets(rewards, values, 0.97, 0.8)
    for economy in range(4):
        for agent in range(3):
            alone = advantages_and_targets(rewards[:, economy, agent], values[:, economy, agent], 0.97, 0.8)
            torch.testing.assert_close(advantages[:, economy, agent], alone[0])
            torch.testing.assert_close(targets[:, economy, agent], alone[1])


def test_arguments_are_left_as_they_were():
    rewards, values = torch.ones(3, 2), torch.ones(3, 2)
    advantages_and_targets(rewards, values, 0.9, 0.9)
    assert (rewards == 1).all() and (values == 1).all()


def test_standardised_advantages_have_mean_zero_and_deviation_one():
    standardised = standardise(column(1.0, 2.0, 3.0, 6.0))
    # Mean 3, population variance (4 + 1 + 0 + 9) / 4.
    torch.testing.assert_close(standardised, column(-2.0, -1.0, 0.0, 3.0) / 3.5**0.5)


def test_equal_advantages_are_standardised_to_zero():
    assert (standardise(torch.full((5, 2), 7.0)) == 0).all()


def test_a_single_advantage_is_standardised_to_zero():
    assert standardise(torch.tensor([4.0])) == 0


def test_noise_around_a_constant_is_not_blown_up():
    tiny = standardise(column(1.0, 1.0 + 1e-9))
    assert tiny.abs().max() < 1e-4


def loss(ratio, advantage, *, value=0.0, target=0.0, entropy=0.0, **settings):
    """The loss of single numbers."""
    settings = {"clip": 0.2, "value_weight": 0.5, "entropy_weight": 0.1, "huber_delta": 1.0} | settings
    logp = column(ratio).log().requires_grad_()
    terms = clipped_loss(
        logp,
        column(entropy),
        column(value),
        behaviour_logp=column(1.0).log(),
        advantages=column(advantage),
        value_targets=column(target),
        **settings,
    )
    return terms, logp


@pytest.mark.parametrize(
    ("ratio", "advantage", "surrogate", "has_gradient"),
    [
        (1.0, 2.0, 2.0, True),
        (1.1, 2.0, 2.2, True),
        (1.5, 2.0, 2.4, False),  # moved far enough towards a good action
        (0.5, 2.0, 1.0, True),  # away from a good action: always corrected
        (1.5, -2.0, -3.0, True),  # towards a bad action: always corrected
        (0.5, -2.0, -1.6, False),
    ],
)
def test_the_ratio_is_clipped_only_where_it_has_moved_far_enough(ratio, advantage, surrogate, has_gradient):
    terms, logp = loss(ratio, advantage)
    assert terms.policy.item() == pytest.approx(-surrogate)
    terms.policy.backward()
    assert (logp.grad.abs().item() > 0) == has_gradient


@pytest.mark.parametrize(
    ("error", "expected"), [(0.0, 0.0), (0.5, 0.125), (2.0, 2.0 * (3.0 - 1.0)), (-3.0, 2.0 * (3.0 - 1.0))]
)
def test_the_value_loss_grows_linearly_beyond_its_delta(error, expected):
    terms, _ = loss(1.0, 0.0, value=error if abs(error) < 2 else 3.0, huber_delta=2.0)
    assert terms.value.item() == pytest.approx(expected)


def test_the_total_weighs_its_terms():
    terms, _ = loss(1.0, 2.0, value=0.5, entropy=3.0, value_weight=0.25, entropy_weight=0.1)
    assert terms.total.item() == pytest.approx(-2.0 + 0.25 * 0.125 - 0.1 * 3.0)
    assert terms.entropy.item() == 3.0


def test_terms_are_means_over_all_agents_and_periods():
    generator = torch.Generator().manual_seed(1)
    logp, behaviour, entropy, values, advantages, targets = torch.randn(6, 4, 3, generator=generator)
    terms = clipped_loss(
        logp, entropy, values, behaviour_logp=behaviour, advantages=advantages, value_targets=targets,
        clip=0.2, value_weight=0.5, entropy_weight=0.1, huber_delta=1.0,
    )  # fmt: skip
    ratio = (logp - behaviour).exp()
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
    torch.testing.assert_close(terms.policy, -surrogate.mean())
    torch.testing.assert_close(terms.value, functional.huber_loss(values, targets))
    torch.testing.assert_close(terms.entropy, entropy.mean())
