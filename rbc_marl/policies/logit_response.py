"""Consumers as logit responses to the exact values of their own choices (McKelvey and Palfrey 1995).

A sampled return judges twelve choices of a consumer at once, with the noise of a hundred others. The economy is known,
and a consumer is one of many: what each alternative of each of its choices would have brought follows from a formula
(`rbc_marl.economy.own_choices`). So a policy is not reinforced for what happened to pay, but pulled towards the choices
that pay, with a temperature that decides how sharply.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from rbc_marl.choices import choice_tables
from rbc_marl.config import EconomyConfig
from rbc_marl.economy.own_choices import Market, consumption_values, value_of_money
from rbc_marl.policies.distributions import LOGIT_LIMIT, sum_short
from rbc_marl.policies.learning import mean_of_runs
from rbc_marl.settings import Section

Positive = Annotated[float, Field(gt=0)]
# Hours that employers are compared by beside the expected ones: who does not work learns whom to work for as well.
IDLE_HOURS = 50.0
# Weights of the losses of goods, and of hours and employer.
_BASKET_WEIGHT, _WORK_WEIGHT = 0.5, 0.2

# Logits of a choice are pulled apart by no more than this: beyond `LOGIT_LIMIT` they would be ties.
_WIDEST = 20.0


class LogitResponse(Section):
    """How sharply consumers respond. Temperatures fall with the factor of the curriculum's ``entropy``."""

    noun: ClassVar[str] = "a setting of logit responses"

    basket: Positive = Field(0.3, description="temperature of the consumption of each good, in utility")
    work: Positive = Field(2.5, description="temperature of hours and employer, in utility")
    uniform: Annotated[float, Field(gt=0, le=1)] = Field(
        0.3, description="share of attention that all alternatives get alike, however rarely they are chosen"
    )


class OwnValues(NamedTuple):
    """What consumers learn from, for N periods of economies and A consumers."""

    consumption: Tensor
    """[N, A, F, K] value of each number of units of each good."""
    later: Tensor
    """[N, A] marginal value of money after the period."""
    net_wage: Tensor
    """[N, F] wage after income tax, or [N, F, H] pay after tax of each of the hours; see `Market`."""
    labour_disutility: Tensor
    """[N, A] utility lost per two hours of work."""


@torch.no_grad()
def own_values(
    config: EconomyConfig,
    market: Market,
    actions: Tensor,
    discount: float,
    parameters: Mapping[str, Tensor] | None = None,
) -> OwnValues:
    """Values of whole episodes.

    Args:
        config: The economy.
        market: What some consumers met, [T, E, ...].
        actions: [T, E, A, F + 2] their choices.
        discount: Of utility, per period.
        parameters: As the periods were given them, [T, E].
    """
    units = choice_tables(config, actions.device, market.price.dtype).consumption
    requested = units[actions[..., : config.num_firms].long()]
    later = value_of_money(config, market, requested, discount, parameters)
    values = consumption_values(config, market, requested, later, parameters)
    return OwnValues(*(x.flatten(0, 1) for x in (values, later, market.net_wage, market.labour_disutility)))


class Alternatives(NamedTuple):
    """Choices among K alternatives each, none of them forbidden, as a policy takes them; without a gradient."""

    logp: Tensor
    """[..., K] log-probabilities."""
    probability: Tensor
    """[..., K]"""

    @classmethod
    @torch.no_grad()
    def of(cls, logits: Tensor) -> Alternatives:
        """The alternatives of logits [..., K]; those beyond `LOGIT_LIMIT` count as the limit, as where agents act."""
        logp = logits.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
        probability = logp.exp()
        total = sum_short(probability).unsqueeze(-1)
        return cls(logp.sub_(total.log()), probability.div_(total))

    def entropy(self) -> Tensor:
        """Entropy [...] of each choice."""
        return -sum_short(self.probability * self.logp)


def logit_response_loss(
    config: EconomyConfig, logits: Tensor, values: OwnValues, settings: LogitResponse, factor: float, runs: int = 1
) -> tuple[Tensor, Tensor]:
    """Loss and entropy of a consumers' policy, each a mean over consumers and periods, summed over choices.

    The gradient of a logit is its `pull`. Pulls of a choice sum to zero, so that their product with logits is that with
    log-probabilities, which needs no softmax to be differentiated.

    Args:
        config: The economy.
        logits: [N, A, K] of all choices side by side: consumption of each good, hours, employer.
        values: Of their alternatives.
        settings: Temperatures.
        factor: On the temperatures.
        runs: How many runs the rows belong to, run by run.

    Returns:
        Scalars; of several runs, [R] each.
    """
    firms, units = config.num_firms, len(config.consumption_choices)
    hours = choice_tables(config, logits.device, logits.dtype).hours
    with torch.no_grad():
        at_goods, at_work, at_employers = logits.split([firms * units, len(hours), firms], dim=-1)
        goods = Alternatives.of(at_goods.unflatten(-1, (firms, units)))
        work, employer = Alternatives.of(at_work), Alternatives.of(at_employers)
        work_values, employer_values = _values_of_work(config, work.probability, employer.probability, hours, values)
        in_basket = pull(goods, values.consumption, settings.basket * factor, settings.uniform).flatten(-2)
        temperature = settings.work * factor
        in_work = pull(work, work_values, temperature, settings.uniform)
        in_employer = pull(employer, employer_values, temperature, settings.uniform)
        pulls = torch.cat([_BASKET_WEIGHT * in_basket, _WORK_WEIGHT * in_work, _WORK_WEIGHT * in_employer], dim=-1)
        entropy = goods.entropy().sum(-1) + work.entropy() + employer.entropy()
    return -mean_of_runs((pulls * logits).sum(-1), runs), mean_of_runs(entropy, runs)


def _values_of_work(
    config: EconomyConfig, works: Tensor, employed: Tensor, hours: Tensor, values: OwnValues
) -> tuple[Tensor, Tensor]:
    """Values [N, A, H] of hours and [N, A, F] of employers, each with the other as it is likely to be chosen.

    Args:
        config: The economy.
        works: [N, A, H] probabilities of hours.
        employed: [N, A, F] probabilities of employers.
        hours: [H].
        values: What consumers learn from.
    """
    later, theta = values.later.unsqueeze(-1), values.labour_disutility.unsqueeze(-1)
    if values.net_wage.dim() > 2:  # [N, F, H]
        pay = employed @ values.net_wage
        idle = IDLE_HOURS / hours.amax() * values.net_wage[..., hours.argmax()].unsqueeze(1)
        of_employers = works @ values.net_wage.transpose(1, 2) + idle
        return later * pay - config.disutility.effort(hours, theta), later * of_employers
    wage = (employed * values.net_wage.unsqueeze(1)).sum(-1, keepdim=True)
    worked = later * ((works * hours).sum(-1, keepdim=True) + IDLE_HOURS)
    return config.disutility.net(later * wage, hours, theta), worked * values.net_wage.unsqueeze(1)


@torch.no_grad()
def pull(choices: Alternatives, values: Tensor, temperature: float, uniform: float) -> Tensor:
    """How far logits [..., K] of choices are to rise; 0 where probabilities go as ``exp(value / temperature)``.

    It is by how much an alternative's value less ``temperature`` times its log-probability exceeds the mean of that. A
    policy gradient would weigh alternatives by their probability alone, and never revise one that has become rare.

    Args:
        choices: As the policy takes them.
        values: [..., K] of the alternatives.
        temperature: In units of values.
        uniform: Share of uniform weights in those by which alternatives count.
    """
    even = values.new_full((), 1.0 / values.shape[-1])
    weights = choices.probability.lerp(even, uniform)
    excess = (values - values.amax(-1, keepdim=True)).clamp_(min=-_WIDEST * temperature)
    excess = excess.sub_(choices.logp, alpha=temperature)
    return excess.sub_(sum_short(weights * excess).unsqueeze(-1)).mul_(weights)
