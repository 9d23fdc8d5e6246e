"""Independent categorical choices, many at once: the action distribution of every policy.

An agent takes H choices, choice h among K_h alternatives. Their logits stand side by side on the last axis, K = sum
of K_h long. Heads of equal size are handled as one block, so that cost is linear in the logits whatever the number of
goods; sums over the few alternatives of a head are products with a vector of ones, several times faster on a CPU than
reductions of a short axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from rbc_marl.policies.draws import Draw, Source, drawn

# Added to the logit of a forbidden choice. Anything below half of it counts as forbidden.
MASKED_LOGIT = -1e9
# A logit beyond +-40 counts as +-40 in everything below, so that sums of exponentials stay finite and above zero in
# float32. This does depend on where the logits of a head lie, as a softmax does not: 50 and 45 are a tie. Subtracting
# each head's largest logit instead would cost another pass over them.
LOGIT_LIMIT = 40.0
# Multiples of this, less their whole parts, cover 0 to 1 evenly however many there are (the golden ratio's fraction).
_GOLDEN = 0.5 * (5.0**0.5 - 1.0)
# Uniform draws stay below one by more than rounding, so that the last choice drawn is always an allowed one.
_BELOW_ONE = 1.0 - 1e-6

Blocks = tuple[tuple[int, int, int], ...]


@lru_cache(maxsize=64)
def head_blocks(head_sizes: tuple[int, ...]) -> Blocks:
    """Runs of equal heads as (first logit, number of heads, alternatives of each)."""
    blocks, start = [], 0
    for size, run in groupby(head_sizes):
        count = len(list(run))
        blocks.append((start, count, size))
        start += count * size
    return tuple(blocks)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # whoever asks first, others may need gradients
def _offsets(head_sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """Position of each head's first logit, [H]."""
    starts = [sum(head_sizes[:h]) for h in range(len(head_sizes))]
    return torch.tensor(starts).to(device)


def _view(x: Tensor, block: tuple[int, int, int]) -> Tensor:
    start, count, size = block
    view: Tensor = x[..., start : start + count * size].unflatten(-1, (count, size))
    return view


def sum_short(x: Tensor) -> Tensor:
    """Sum of a last axis that is short: [..., K] -> [...]."""
    return torch.mv(x.reshape(-1, x.shape[-1]), x.new_ones(x.shape[-1])).view(x.shape[:-1])


def _sum_heads(x: Tensor, blocks: Blocks) -> Tensor:
    """Sum the logit axis within each head: [M, K] -> [M, H]."""
    parts = [sum_short(_view(x, block)) for block in blocks]
    return torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]


def _spread(values: Tensor, blocks: Blocks) -> Tensor:
    """Repeat each head's value over its alternatives: [M, H] -> [M, K]."""
    parts, first = [], 0
    for _, count, size in blocks:
        part = values[..., first : first + count].unsqueeze(-1).expand(-1, count, size)
        parts.append(part.reshape(-1, count * size))
        first += count
    return torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]


def _limited(logits: Tensor, is_masked: bool) -> Tensor:
    """Clamped logits [M, K], forbidden ones left where they are."""
    clamped = logits.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
    return torch.where(logits > MASKED_LOGIT / 2, clamped, logits) if is_masked else clamped


def _weights(logits: Tensor, is_masked: bool) -> Tensor:
    """Exponentials of clamped logits [M, K], zero where forbidden."""
    weights = logits.clamp(-LOGIT_LIMIT, LOGIT_LIMIT).exp_()
    return weights * (logits > MASKED_LOGIT / 2) if is_masked else weights


class _LogpAndEntropy(torch.autograd.Function):
    """Log-probability of the choices taken and entropy, each summed over heads, with the gradient written out.

    One pass over the logits in each direction, where a distribution object per head needs dozens.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's own context
        logits: Tensor,
        position: Tensor,
        blocks: Blocks,
        is_masked: bool,
    ) -> tuple[Tensor, Tensor]:
        clamped, weights = logits.clamp(-LOGIT_LIMIT, LOGIT_LIMIT), _weights(logits, is_masked)
        total = _sum_heads(weights, blocks)
        mean_logit = _sum_heads(weights * clamped, blocks) / total
        log_total = total.log()
        logp = clamped.gather(-1, position).sum(-1) - log_total.sum(-1)
        entropy = (log_total - mean_logit).sum(-1)
        ctx.save_for_backward(clamped, weights, position, total, mean_logit)
        ctx.blocks = blocks
        return logp, entropy

    @staticmethod
    def backward(ctx: Any, grad_logp: Tensor, grad_entropy: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401
        clamped, weights, position, total, mean_logit = ctx.saved_tensors
        # d logp / d l_k = 1[k taken] - q_k;  d entropy / d l_k = -q_k (l_k - mean_logit);  q = weights / total
        slope = grad_entropy.unsqueeze(-1) / total
        level = grad_logp.unsqueeze(-1) / total - slope * mean_logit
        grad = torch.addcmul(_spread(level, ctx.blocks), _spread(slope, ctx.blocks), clamped).mul_(weights).neg_()
        grad.scatter_add_(-1, position, grad_logp.unsqueeze(-1).expand_as(position))
        grad.masked_fill_(clamped.abs() >= LOGIT_LIMIT, 0.0)
        return grad, None, None, None


class FactorisedCategorical:
    """H independent categorical choices per agent, from logits side by side.

    Args:
        logits: [..., K] unnormalised log-probabilities, of which those beyond `LOGIT_LIMIT` count as the limit;
            forbidden choices at `MASKED_LOGIT`.
        head_sizes: Alternatives of each choice (K_1 .. K_H), summing to K.
        is_masked: Whether choices may be forbidden. False saves a pass over the logits.
        dealt_head: Number of the choice that `greedy` deals out; None: it deals out none.
    """

    def __init__(
        self, logits: Tensor, head_sizes: Sequence[int], is_masked: bool = True, dealt_head: int | None = None
    ) -> None:
        """See the class."""
        self.logits = logits
        self.dealt_head = dealt_head
        self.head_sizes = tuple(head_sizes)
        self.blocks = head_blocks(self.head_sizes)
        self.is_masked = is_masked
        self._leading = logits.shape[:-1]
        self._flat = logits.reshape(-1, logits.shape[-1])

    def sample(self, generator: Source = None) -> Tensor:
        """Draw choices [..., H] (int64) by inverting the cumulative distribution of each head."""
        return self.sample_and_logp(generator)[0]

    def sample_and_logp(self, generator: Source = None) -> tuple[Tensor, Tensor]:
        """Draw choices [..., H] (int64), and their log-probability [...] over all heads; no gradient."""
        return self.take(self.draws(len(self._flat), generator).view(*self._leading, -1))

    def draws(self, rows: int, generator: Source = None) -> Tensor:
        """Uniform draws [rows, H] below one, for `take`."""
        each = Draw("uniform", (len(self.head_sizes),), self._flat.device, self._flat.dtype)
        return drawn(rows, each, generator).clamp_(max=_BELOW_ONE)

    def take(self, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """What uniform draws [..., H] choose [..., H] (int64), and its log-probability [...]; no gradient."""
        choices, totals, first = [], [], 0
        with torch.no_grad():
            weights = _weights(self._flat, self.is_masked)
            uniform = uniform.reshape(-1, len(self.head_sizes))
            for block in self.blocks:
                _, count, size = block
                view = _view(weights, block)
                cumulative = view.cumsum(-1)
                total = cumulative[..., -1].clone()
                threshold = uniform[:, first : first + count] * total
                passed = cumulative.le_(threshold.unsqueeze(-1)).view(-1, size)  # 1 or 0, in place: half the time
                choice = torch.mv(passed, passed.new_ones(size)).view(-1, count).long()
                choices.append(_allowed(view, choice) if self.is_masked else choice)
                totals.append(total)
                first += count
            taken = torch.cat(choices, dim=-1)
            position = taken + _offsets(self.head_sizes, taken.device)
            own = self._flat.gather(-1, position).clamp_(-LOGIT_LIMIT, LOGIT_LIMIT)
            logp = own.sum(-1) - torch.cat(totals, dim=-1).log().sum(-1)
        return taken.view(*self._leading, len(self.head_sizes)), logp.view(self._leading)

    def mode(self) -> Tensor:
        """The likeliest choice of each head [..., H] (int64)."""
        logits = _limited(self._flat, self.is_masked)
        modes = [_view(logits, block).argmax(-1) for block in self.blocks]
        return torch.cat(modes, dim=-1).view(*self._leading, len(self.head_sizes))

    def greedy(self, first: int = 0) -> Tensor:
        """The likeliest choices [..., A, H] (int64) of A agents, of which `dealt_head` is dealt out by probabilities.

        Agents who are alike have the same likeliest choice, and where they would crowd one another it says nothing of
        what they do together. The agents' numbers stand in for draws: so many take each alternative as its probability
        says, up to a few. Nothing is random.

        Args:
            first: Number of the first agent among all of its type.
        """
        choices = self.mode()
        if self.dealt_head is None:
            return choices
        start, size = sum(self.head_sizes[: self.dealt_head]), self.head_sizes[self.dealt_head]
        weights = _weights(self.logits[..., start : start + size], self.is_masked)
        cumulative = weights.cumsum(-1)
        number = torch.arange(self.logits.shape[-2], device=weights.device, dtype=torch.float64) + first
        quantile = (0.5 + number * _GOLDEN).remainder(1.0).to(weights.dtype).clamp(max=_BELOW_ONE).unsqueeze(-1)
        dealt = (cumulative <= quantile * cumulative[..., -1:]).sum(-1)
        choices[..., self.dealt_head] = _allowed(weights, dealt)
        return choices

    def logp_and_entropy(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability of choices [..., H] and entropy, both summed over heads: [...] each. Differentiable."""
        position = actions.reshape(-1, len(self.head_sizes)).long() + _offsets(self.head_sizes, self.logits.device)
        logp, entropy = _LogpAndEntropy.apply(  # type: ignore[no-untyped-call]  # of torch
            self._flat, position, self.blocks, self.is_masked
        )
        return logp.view(self._leading), entropy.view(self._leading)

    def logp(self, actions: Tensor) -> Tensor:
        """Log-probability [...] of choices [..., H], summed over heads."""
        return self.logp_and_entropy(actions)[0]

    def entropy(self) -> Tensor:
        """Entropy [...], summed over heads."""
        none_taken = torch.zeros(*self._leading, len(self.head_sizes), dtype=torch.int64, device=self.logits.device)
        return self.logp_and_entropy(none_taken)[1]

    def kl(self, other: FactorisedCategorical) -> Tensor:
        """Kullback-Leibler divergence [...] from ``other``, summed over heads."""
        divergence = torch.zeros(self._flat.shape[0], dtype=self.logits.dtype, device=self.logits.device)
        own, others = _limited(self._flat, self.is_masked), _limited(other._flat, other.is_masked)
        for block in self.blocks:
            mine = _view(own, block).log_softmax(-1)
            theirs = _view(others, block).log_softmax(-1)
            divergence = divergence + (mine.exp() * (mine - theirs)).sum((-1, -2))
        return divergence.view(self._leading)


def _allowed(weights: Tensor, drawn: Tensor) -> Tensor:
    """Replace a forbidden draw by the likeliest choice: weights [..., K], draws [...].

    A parallel cumulative sum may round differently before and after a forbidden choice, and a draw may fall between.
    """
    is_allowed = weights.gather(-1, drawn.unsqueeze(-1)).squeeze(-1) > 0
    return torch.where(is_allowed, drawn, weights.argmax(-1))
