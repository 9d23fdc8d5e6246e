"""Factorised choices against torch's own Categorical, head by head."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from rbc_marl.policies.distributions import LOGIT_LIMIT, MASKED_LOGIT, FactorisedCategorical, head_blocks

HEADS = {
    "one head": (5,),
    "one alternative": (1,),
    "equal heads": (4, 4, 4),
    "a consumer's": (11, 11, 11, 5, 3),
    "all different": (2, 7, 1, 3, 1, 6),
}
every_heads = pytest.mark.parametrize("heads", HEADS.values(), ids=HEADS.keys())


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_logits(heads, *leading, scale=2.0, dtype=torch.float64, seed=0):
    return scale * torch.randn(*leading, sum(heads), dtype=dtype, generator=generator(seed))


def random_mask(heads, share=0.5, seed=0):
    """A mask [K] that leaves each head at least its last alternative."""
    allowed = torch.rand(sum(heads), generator=generator(seed)) < share
    allowed[torch.tensor(heads).cumsum(0) - 1] = True
    return allowed


def masked(logits, allowed):
    return logits + torch.where(allowed, 0.0, MASKED_LOGIT).to(logits.dtype)


def categoricals(logits, heads):
    return [Categorical(logits=part) for part in logits.split(list(heads), dim=-1)]


def reference(logits, heads, actions):
    """Log-probability and entropy by torch's own distributions, one per head."""
    parts = categoricals(logits, heads)
    logp = sum(part.log_prob(actions[..., h]) for h, part in enumerate(parts))
    return logp, sum(part.entropy() for part in parts)


@every_heads
@pytest.mark.parametrize("leading", [(), (3,), (4, 5)])
def test_logp_and_entropy_equal_those_of_torch(heads, leading):
    logits = random_logits(heads, *leading)
    choices = FactorisedCategorical(logits, heads)
    actions = choices.sample(generator())
    assert actions.shape == (*leading, len(heads))
    logp, entropy = reference(logits, heads, actions)
    torch.testing.assert_close(choices.logp(actions), logp, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(choices.entropy(), entropy, rtol=1e-12, atol=1e-12)


@every_heads
def test_the_written_gradient_equals_that_of_torch(heads):
    ours = random_logits(heads, 6, 4).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    actions = FactorisedCategorical(ours, heads).sample(generator())
    weights = torch.randn(2, 6, 4, dtype=torch.float64, generator=generator(1))
    for logits, (logp, entropy) in (
        (ours, FactorisedCategorical(ours, heads).logp_and_entropy(actions)),
        (theirs, reference(theirs, heads, actions)),
    ):
        (weights[0] * logp + weights[1] * entropy).sum().backward()
        assert logits.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-12)


@every_heads
def test_the_written_gradient_agrees_with_finite_differences(heads):
    logits = random_logits(heads, 3).requires_grad_()
    actions = FactorisedCategorical(logits, heads).sample(generator())
    assert torch.autograd.gradcheck(lambda x: FactorisedCategorical(x, heads).logp_and_entropy(actions), (logits,))


@every_heads
def test_forbidden_choices_have_no_part_in_logp_entropy_and_gradient(heads):
    allowed = random_mask(heads)
    free = random_logits(heads, 8).requires_grad_()
    choices = FactorisedCategorical(masked(free, allowed), heads)
    actions = choices.sample(generator())
    logp, entropy = choices.logp_and_entropy(actions)
    (logp + 0.3 * entropy).sum().backward()
    # The same with forbidden alternatives cut out altogether.
    cut = free.detach()[:, allowed].requires_grad_()
    kept = tuple(int(part.sum()) for part in allowed.split(list(heads)))
    rank = torch.cat([part.cumsum(0) - 1 for part in allowed.split(list(heads))])
    starts = torch.tensor((0, *heads[:-1])).cumsum(0)
    cut_logp, cut_entropy = reference(cut, kept, rank[actions + starts])
    (cut_logp + 0.3 * cut_entropy).sum().backward()
    torch.testing.assert_close(logp, cut_logp)
    torch.testing.assert_close(entropy, cut_entropy)
    torch.testing.assert_close(free.grad[:, allowed], cut.grad)
    assert (free.grad[:, ~allowed] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
@every_heads
def test_forbidden_choices_are_never_drawn(heads, scale, dtype):
    for seed in range(4):
        allowed = random_mask(heads, share=0.3, seed=seed)
        choices = FactorisedCategorical(masked(random_logits(heads, 500, scale=scale, dtype=dtype), allowed), heads)
        for actions in (choices.sample(generator(seed)), choices.mode()):
            for h, part in enumerate(allowed.split(list(heads))):
                assert part[actions[:, h]].all()


class NearOne(torch.overrides.TorchFunctionMode):
    """Makes every uniform draw the largest float below one (or zero)."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def __torch_function__(self, func, types, args=(), kwargs=None):
        drawn = func(*args, **(kwargs or {}))
        return drawn.fill_(self.value) if func is torch.rand else drawn


@pytest.mark.parametrize("uniform", [0.0, 1.0 - 2.0**-24, 1.0])
@pytest.mark.parametrize("scale", [1.0, 1e4])
@every_heads
def test_the_ends_of_the_uniform_interval_give_allowed_choices(heads, scale, uniform):
    for seed in range(10):
        allowed = random_mask(heads, share=0.5, seed=seed)
        for part_of_it in (allowed, torch.ones_like(allowed)):
            logits = random_logits(heads, 50, scale=scale, dtype=torch.float32, seed=seed)
            with NearOne(uniform):
                actions = FactorisedCategorical(masked(logits, part_of_it), heads).sample(generator())
            for h, part in enumerate(part_of_it.split(list(heads))):
                assert (actions[:, h] >= 0).all() and (actions[:, h] < heads[h]).all()
                assert part[actions[:, h]].all()


@every_heads
def test_extreme_logits_stay_finite(heads):
    for sign in (1.0, -1.0):
        logits = torch.full((3, sum(heads)), sign * 1e4).requires_grad_()
        choices = FactorisedCategorical(logits, heads)
        logp, entropy = choices.logp_and_entropy(choices.sample(generator()))
        (logp + entropy).sum().backward()
        for value in (logp, entropy, logits.grad):
            assert value.isfinite().all()
        # All alternatives alike, however large the number: uniform.
        torch.testing.assert_close(entropy, torch.tensor(heads).float().log().sum().expand(3))


def test_a_logit_far_above_the_others_is_drawn_with_certainty():
    logits = torch.zeros(1000, 5)
    logits[:, 3] = 1e4
    assert (FactorisedCategorical(logits, (5,)).sample(generator()) == 3).all()


def test_logits_at_the_limit_get_no_gradient():
    logits = torch.tensor([[LOGIT_LIMIT + 1.0, 0.0, -LOGIT_LIMIT - 1.0]]).requires_grad_()
    FactorisedCategorical(logits, (3,)).logp(torch.tensor([[0]])).sum().backward()
    assert logits.grad[0, 0] == 0 and logits.grad[0, 2] == 0


@pytest.mark.parametrize("is_masked", [True, False])
def test_everything_that_is_asked_of_logits_beyond_the_limit_is_of_one_distribution(is_masked):
    logits = torch.tensor([[45.0, 50.0, -60.0, 0.0], [-70.0, -50.0, -90.0, -45.0], [1.0, 30.0, 31.0, 42.0]])
    if is_masked:
        logits = masked(logits, torch.tensor([True, True, True, False]))
    choices = FactorisedCategorical(logits, (4,), is_masked)
    other = FactorisedCategorical(logits.flip(0), (4,), is_masked)
    taken = torch.arange(3 if is_masked else 4)
    logp, other_logp = (torch.stack([each.logp(a.expand(3, 1)) for a in taken], dim=-1) for each in (choices, other))
    torch.testing.assert_close(logp.exp().sum(-1), torch.ones(3))
    assert (choices.logp(choices.mode()) == logp.max(-1).values).all()
    assert choices.mode()[0] == 0  # a tie: the first of them
    torch.testing.assert_close(choices.kl(other), (logp.exp() * (logp - other_logp)).sum(-1))
    torch.testing.assert_close(choices.entropy(), -(logp.exp() * logp).sum(-1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("is_masked", [False, True])
def test_choices_are_drawn_as_often_as_their_probabilities_say(is_masked):
    heads, draws = (11, 11, 4, 1, 6), 40_000
    logits = random_logits(heads, scale=1.0)
    actions = FactorisedCategorical(logits.expand(draws, -1), heads, is_masked).sample(generator(3))
    for h, part in enumerate(categoricals(logits, heads)):
        expected = part.probs * draws
        counts = torch.bincount(actions[:, h], minlength=heads[h]).double()
        chi_square = float(((counts - expected) ** 2 / expected).sum())
        degrees = heads[h] - 1
        # About the 99.99% quantile (Wilson and Hilferty).
        limit = degrees * (1 - 2 / (9 * degrees) + 3.72 * (2 / (9 * degrees)) ** 0.5) ** 3 if degrees else 1e-9
        assert chi_square <= limit, f"head {h}: {chi_square:.1f} > {limit:.1f}"


def test_heads_are_drawn_independently_of_each_other():
    heads, draws = (2, 2, 3), 20_000
    actions = FactorisedCategorical(torch.zeros(draws, 7), heads).sample(generator(5)).double()
    correlation = torch.corrcoef(actions.T)
    assert (correlation - torch.eye(3, dtype=torch.float64)).abs().max() < 0.03


def test_draws_depend_on_the_generator_alone():
    heads = HEADS["a consumer's"]
    choices = FactorisedCategorical(random_logits(heads, 30), heads)
    first = choices.sample(generator(7))
    torch.rand(5)  # whatever others draw from torch's own generator
    state = torch.get_rng_state()
    assert torch.equal(first, choices.sample(generator(7)))
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(first, choices.sample(generator(8)))


def test_a_row_is_drawn_the_same_whatever_the_rows_after_it():
    heads = (4, 4, 3)
    logits = random_logits(heads, 10)
    whole = FactorisedCategorical(logits, heads).sample(generator(2))
    part = FactorisedCategorical(logits[:4], heads).sample(generator(2))
    assert torch.equal(whole[:4], part)


@every_heads
def test_the_mode_is_the_likeliest_choice_of_each_head(heads):
    logits = random_logits(heads, 3, 4)
    expected = torch.stack([part.probs.argmax(-1) for part in categoricals(logits, heads)], dim=-1)
    assert torch.equal(FactorisedCategorical(logits, heads).mode(), expected)


@every_heads
def test_kl_equals_that_of_torch(heads):
    mine, other = random_logits(heads, 3, 2), random_logits(heads, 3, 2, seed=1)
    pairs = zip(categoricals(mine, heads), categoricals(other, heads), strict=True)
    expected = sum(kl_divergence(a, b) for a, b in pairs)
    ours = FactorisedCategorical(mine, heads)
    torch.testing.assert_close(ours.kl(FactorisedCategorical(other, heads)), expected)
    torch.testing.assert_close(ours.kl(ours), torch.zeros(3, 2, dtype=torch.float64))


def test_kl_under_one_mask_is_that_of_the_allowed_choices():
    allowed = torch.tensor([True, False, True, True])
    mine, other = random_logits((4,), 5), random_logits((4,), 5, seed=1)
    ours = FactorisedCategorical(masked(mine, allowed), (4,)).kl(FactorisedCategorical(masked(other, allowed), (4,)))
    expected = kl_divergence(Categorical(logits=mine[:, allowed]), Categorical(logits=other[:, allowed]))
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_actions_of_any_integer_type_have_the_same_logp(dtype):
    heads = (11, 11, 200, 60)
    choices = FactorisedCategorical(random_logits(heads, 20), heads)
    actions = choices.sample(generator())
    assert torch.equal(choices.logp(actions.to(dtype)), choices.logp(actions))


def test_actions_in_one_byte_reach_heads_beyond_256_logits():
    heads = (100,) * 5
    choices = FactorisedCategorical(random_logits(heads, 20), heads)
    actions = choices.sample(generator())
    torch.testing.assert_close(choices.logp(actions.to(torch.uint8)), reference(choices.logits, heads, actions)[0])


def test_runs_of_equal_heads_are_one_block():
    assert head_blocks((11, 11, 11, 5, 3)) == ((0, 3, 11), (33, 1, 5), (38, 1, 3))
    assert head_blocks((3, 5, 5, 3)) == ((0, 1, 3), (3, 2, 5), (13, 1, 3))


@pytest.mark.parametrize("agents", [1, 7, 100, 1000])
def test_a_dealt_choice_follows_its_probabilities_and_the_others_are_the_likeliest(agents):
    heads, dealt = (4, 3, 2), 1
    logits = random_logits(heads, 5, 1).expand(5, agents, -1)
    choices = FactorisedCategorical(logits, heads, dealt_head=dealt)
    greedy, mode = choices.greedy(), choices.mode()
    assert torch.equal(greedy[..., [0, 2]], mode[..., [0, 2]])
    counts = torch.nn.functional.one_hot(greedy[..., dealt], heads[dealt]).sum(1)
    expected = agents * logits[:, 0, 4:7].softmax(-1)
    assert (counts - expected).abs().max() <= 3
    assert torch.equal(greedy, choices.greedy())


def test_no_forbidden_choice_is_dealt_out_and_without_a_dealt_head_greedy_is_the_likeliest():
    heads = (2, 6)
    logits = masked(random_logits(heads, 3, 500, scale=0.1), torch.tensor([1, 1, 0, 1, 0, 1, 1, 0], dtype=torch.bool))
    dealt = FactorisedCategorical(logits, heads, dealt_head=1).greedy()[..., 1]
    assert dealt.unique().tolist() == [1, 3, 4]
    likeliest = FactorisedCategorical(logits, heads)
    assert torch.equal(likeliest.greedy(), likeliest.mode())
