"""Trembles: actions that chance replaces while everybody learns (Selten 1975).

Agents who have settled show the others one thing only. Where every firm posts the highest price, no consumer learns to
respond to a lower one, and no firm learns that a lower one would pay. A few random actions keep showing what is there,
while all else goes on as agents play it: stocks are full and money is scarce, unlike where all firms act at random.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from rbc_marl.choices import choice_tables, head_sizes
from rbc_marl.config import AGENT_TYPES, EconomyConfig
from rbc_marl.economy import EconomyState
from rbc_marl.policies import Policies
from rbc_marl.policies.deviating import side_stream
from rbc_marl.policies.distributions import MASKED_LOGIT
from rbc_marl.policies.draws import Draw, Source, drawn
from rbc_marl.policies.imposed import UnderLaw, freely, law_of
from rbc_marl.policies.stacked import mask_of_rows
from rbc_marl.settings import Section

Rate = Annotated[float, Field(ge=0, le=1)]
# Parts of a firm's joint choice: what is replaced where not the whole action is, and its column in the choice table.
_FIRM_PARTS = {"price": 0, "wage": 1}


class Trembles(Section):
    """Probabilities that an action, or a part of a firm's, is replaced by a random one, per agent and period."""

    noun: ClassVar[str] = "an agent type or a part of a firm's action"

    consumer: Rate = Field(default=0.0, description="of a consumer's whole action")
    firm: Rate = Field(default=0.0, description="of a firm's whole action")
    government: Rate = Field(default=0.0, description="of the government's whole action")
    price: Rate = Field(default=0.0, description="of a firm's price, by one above 0; its wage and investment stay")
    wage: Rate = Field(default=0.0, description="of a firm's wage; its price and investment stay")

    @property
    def chosen(self) -> dict[str, float]:
        """Probabilities above 0, by agent type or part."""
        return {name: rate for name in type(self).model_fields if (rate := getattr(self, name)) > 0}

    def scaled(self, factor: float) -> Trembles:
        """The same with all probabilities multiplied."""
        return Trembles(**{name: rate * factor for name, rate in self.chosen.items()})


def tremble(
    config: EconomyConfig,
    rates: Mapping[str, float | Tensor],
    actions: Mapping[str, Tensor],
    log_masks: Mapping[str, Tensor],
    generator: Source = None,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Replace some actions by random ones.

    Args:
        config: The economy.
        rates: How often, by agent type or part (`Trembles.chosen`).
        actions: [E, A, H] indices of choices, by agent type.
        log_masks: By agent type, [K] logits, or [R, K] of each run of a population, of which those far below 0 forbid
            a choice, which is then never drawn.
        generator: Behind every draw.

    Returns:
        The actions played, and by agent type where one was replaced, [E, A] bool; only types that tremble are there.
    """
    played = dict(actions)
    replaced: dict[str, Tensor] = {}
    for name, rate in rates.items():
        agent_type = name if name in AGENT_TYPES else "firm"
        taken = played[agent_type]
        hit = drawn(len(taken), Draw("uniform", taken.shape[1:2], taken.device), generator) < rate
        random = _random_actions(config, name, taken, log_masks[agent_type], generator)
        played[agent_type] = torch.where(hit.unsqueeze(-1), random.to(taken.dtype), taken)
        replaced[agent_type] = hit | replaced[agent_type] if agent_type in replaced else hit
    return played, replaced


class TremblingPolicies(UnderLaw):
    """Policies of which chance replaces some actions: see `Trembles`, and `rbc_marl.policies.Policies`.

    What the policies draw is the same with trembles as without, and so is what trembles, whatever the policies choose:
    the same deviation can be compared with none where everybody else trembles. What is imposed replaces trembles too.

    Attributes:
        base: The policies, with a deviation or without.
        law: What is imposed on them.
        trembles: How often.
        config: The economy.
        encoding: Of the observations.
        device: Where everything is.
    """

    def __init__(self, base: Policies, trembles: Trembles, agent_type: str = "", agent: int | None = None) -> None:
        """Make the policies tremble.

        Args:
            base: The policies.
            trembles: How often.
            agent_type: Of those who never tremble; empty for nobody.
            agent: Number of the one agent who never trembles; None: nobody of that type does.
        """
        self.base, self.law, self.trembles = base, law_of(base), trembles
        self.config, self.encoding, self.device = base.config, base.encoding, base.device
        self._steady, self._agent = agent_type, agent

    @torch.no_grad()
    def act_freely(
        self,
        observation: Mapping[str, Tensor],
        generator: torch.Generator | None = None,
        greedy: bool = False,
        *,
        state: EconomyState | None = None,
    ) -> dict[str, Tensor]:
        """Decide for one period, before anything that is imposed; see `rbc_marl.policies.Policies`."""
        indices = freely(self.base)(observation, generator, greedy, state=state)
        agents = {t: self.config.agents(t) for t in AGENT_TYPES}
        actions = {t: index.reshape(len(index), agents[t], -1) for t, index in indices.items()}
        free = {t: torch.zeros(sum(head_sizes(self.config, t)), device=self.device) for t in AGENT_TYPES}
        # Greedy and rule-based policies draw nothing: their generator's state says no period from the next.
        period = 0 if state is None else int(state.time[0])
        draws = side_stream(generator, self.device, b"trembles %d" % period)
        played, _ = tremble(self.config, self.trembles.chosen, actions, free, draws)
        if self._steady:
            rows = slice(None) if self._agent is None else slice(self._agent, self._agent + 1)
            kept = played[self._steady].clone()
            kept[:, rows] = actions[self._steady][:, rows]
            played[self._steady] = kept
        return {t: played[t].reshape(index.shape) for t, index in indices.items()}


def _random_actions(
    config: EconomyConfig, name: str, taken: Tensor, log_mask: Tensor, generator: Source
) -> Tensor:
    if name == "consumer":
        sizes = head_sizes(config, name)
        each = [Draw("integers", taken.shape[1:2], taken.device, high=size) for size in sizes]
        return torch.stack([drawn(len(taken), draw, generator) for draw in each], dim=-1)
    own = taken.long().view(-1, 1)
    weights = _alternatives(config, name, taken.device)[own[:, 0]] * mask_of_rows(log_mask > MASKED_LOGIT / 2, len(own))
    weights.scatter_(1, own, 1.0)  # what was chosen, whatever the mask says: something must be left to draw
    # As torch.multinomial draws one of a row: the largest of weights over exponential draws.
    waits = drawn(len(weights), Draw("exponential", weights.shape[1:], weights.device), generator)
    return (weights / waits).argmax(-1, keepdim=True).view_as(taken)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # whoever asks first, others may need gradients
def _alternatives(config: EconomyConfig, name: str, device: torch.device) -> Tensor:
    """What a joint choice can be replaced by, [n, n] of 0 and 1."""
    if name in AGENT_TYPES:
        (choices,) = head_sizes(config, name)
        return torch.ones(choices, choices, device=device)
    table = choice_tables(config, dtype=torch.float64).firm
    others = [column for column in range(table.shape[1]) if column != _FIRM_PARTS[name]]
    is_alike = (table[:, None, others] == table[None, :, others]).all(-1)
    if name == "price":  # a price of 0 gives goods away: nobody learns from it what a low price is worth
        is_alike &= table[:, 0] > 0
    return is_alike.float().to(device)
