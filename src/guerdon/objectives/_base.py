"""What objectives share: the entries that count, and tensors whose other entries can do no harm."""

from __future__ import annotations

import torch
from torch import Tensor

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError, nearest
from guerdon.core.policy import PolicyOutput


def counted(batch: Batch) -> Tensor:
    """[B, T] bool: chosen steps of rows that were scored and are trained on."""
    return batch.rollout.mask & batch.live[:, None].to(batch.rollout.mask.device)


def clean(x: Tensor, keep: Tensor) -> Tensor:
    """``x`` with 0 where ``keep`` is False, before any arithmetic: a NaN behind a mask would still spoil the gradient."""
    return torch.where(keep, x, 0.0)


def new_logp(new: PolicyOutput, keep: Tensor) -> Tensor:
    return clean(new.need("logp"), keep)


def ref_logp(batch: Batch, name: str, keep: Tensor, asked_by: str) -> Tensor:
    """[B, T] log-probs under a reference, without gradients.

    Raises:
        PlanError: where the batch has no such reference.
    """
    if name not in batch.refs:
        raise PlanError(f"{asked_by}: the batch has no reference {name!r}; {nearest(name, batch.refs)}")
    return clean(batch.refs[name].need("logp").detach(), keep)


def behaviour_logp(batch: Batch, keep: Tensor, asked_by: str) -> Tensor:
    """[B, T] log-probs of the policy that acted.

    Raises:
        PlanError: where the rollout has none (a black box, recorded rows).
    """
    if batch.rollout.logp is None:
        raise PlanError(f"{asked_by}: the rollout has no log-probs of the policy that acted")
    return clean(batch.rollout.logp.detach(), keep)


def main_advantage(batch: Batch, keep: Tensor, asked_by: str) -> Tensor:
    """[B, T] ``batch.advantage["main"]``, without gradients.

    Raises:
        PlanError: where no advantage was computed.
    """
    if "main" not in batch.advantage:
        raise PlanError(f"{asked_by}: the batch has no advantage 'main'; set advantage in the plan")
    return clean(batch.advantage["main"].detach(), keep)


def entropy_of(new: PolicyOutput, keep: Tensor) -> Tensor:
    return clean(new.need("entropy"), keep)
