"""The loss of one module on a batch of `RolloutsToBatch`: of a single run, or of each run of a population."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch import Tensor

from rbc_marl.policies.learning import LossTerms, clipped_loss, sum_of_runs
from rbc_marl.policies.logit_response import OwnValues, logit_response_loss

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

    from rbc_marl.config import EconomyConfig
    from rbc_marl.policies.networks import PolicyNetwork


def is_logit_response(batch: Mapping[str, Any]) -> bool:
    """Whether a batch is for consumers who learn from the values of their own choices."""
    return OwnValues._fields[0] in batch


def loss_terms(
    config: AlgorithmConfig,
    economy: EconomyConfig,
    network: PolicyNetwork,
    batch: Mapping[str, Any],
    fwd_out: Mapping[str, Tensor],
    *,
    entropy_weight: float | Tensor,
    temperature_factor: float,
    runs: int = 1,
) -> LossTerms:
    """Terms of the loss of one module.

    Args:
        config: Of the module.
        economy: In which it acts.
        network: The module's.
        batch: Columns as in `RolloutsToBatch`.
        fwd_out: Logits, and values where a critic learns.
        entropy_weight: Of PPO's entropy bonus.
        temperature_factor: On the temperatures of logit responses.
        runs: How many runs the rows belong to, run by run.

    Returns:
        Scalars; of several runs, [R] each.
    """
    logits = fwd_out[Columns.ACTION_DIST_INPUTS]
    if is_logit_response(batch):
        values = OwnValues(*(batch[name] for name in OwnValues._fields))
        loss, response_entropy = logit_response_loss(
            economy, logits, values, config.logit_response, temperature_factor, runs
        )
        return LossTerms(loss, loss, torch.zeros_like(loss), response_entropy)
    logp, entropy = network.distribution(logits).logp_and_entropy(batch[Columns.ACTIONS])
    return clipped_loss(
        logp,
        entropy,
        fwd_out[Columns.VF_PREDS],
        behaviour_logp=batch[Columns.ACTION_LOGP],
        advantages=batch[Postprocessing.ADVANTAGES],
        value_targets=batch[Postprocessing.VALUE_TARGETS],
        clip=config.clip_param,
        value_weight=config.vf_loss_coeff,
        entropy_weight=entropy_weight,
        huber_delta=config.huber_delta,
        weights=batch.get(Columns.LOSS_MASK),
        runs=runs,
    )


def rows_weight(columns: Mapping[str, Any], runs: int = 1) -> float | Tensor:
    """How much a mean over some rows counts in the mean over more of them; [R] where that differs between runs."""
    mask = columns.get(Columns.LOSS_MASK)
    if mask is None:
        return float(len(columns[Columns.ACTION_LOGP]) // runs)
    return sum_of_runs(mask, runs).clamp(min=1e-8)


def explained_share(values: Tensor, targets: Tensor) -> Tensor:
    """Share of the targets' variance that the values explain, over all agents and rows; at least -1."""
    unexplained, total = (targets - values).var(correction=0), targets.var(correction=0)
    return (1.0 - unexplained / total.clamp(min=1e-8)).clamp(min=-1.0)
