"""The KL penalty that ``TokenKL`` and ``AdaptiveKL`` take from every step."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError, nearest
from guerdon.core.reward import RewardOutput
from guerdon.core.stats import Estimator, kl_estimate
from guerdon.transforms._base import changed


def check_estimator(name: str, estimator: str) -> None:
    if estimator not in get_args(Estimator):
        raise PlanError(f"{name}: estimator is {estimator!r}; {nearest(estimator, get_args(Estimator))}")


def step_kl(batch: Batch, reference: str, estimator: Estimator, name: str) -> Tensor:
    """[B, T] estimate at every chosen step of rows that could be scored, 0 elsewhere."""
    if batch.rollout.logp is None:
        raise PlanError(f"{name}: the rollout has no log-probs of the policy that acted")
    if reference not in batch.refs:
        raise PlanError(f"{name}: the batch has no reference {reference!r}; {nearest(reference, batch.refs)}")
    keep = batch.rollout.mask & batch.reward.ok[:, None].to(batch.rollout.mask.device)
    log_ratio = batch.rollout.logp.detach() - batch.refs[reference].need("logp").detach()
    return torch.where(keep, kl_estimate(log_ratio, estimator), 0.0)


def penalised(reward: RewardOutput, kl: Tensor, beta: float) -> RewardOutput:
    """``reward`` with ``beta * kl`` taken from its dense part."""
    penalty = -beta * kl.to(reward.total)
    return changed(reward, step=penalty if reward.step is None else reward.step + penalty)
