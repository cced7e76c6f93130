"""What advantages share: which rows count, and one number per row spread over the row's chosen steps."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from guerdon.core.batch import Batch
from guerdon.core.protocols import Need


class FromReward:
    """Base of advantages that read nothing but rewards."""

    needs: ClassVar[frozenset[Need]] = frozenset({"reward"})


def counted(batch: Batch, trained_only: bool) -> Tensor:
    """[B] bool: the rows that statistics are over, those scored or only those also trained on."""
    return batch.live if trained_only else batch.reward.ok.to(batch.weight.device)


def on_chosen(x: Tensor, batch: Batch, rows: Tensor) -> Tensor:
    """``x`` ([B] or [B, T]) at the chosen steps of ``rows``, 0 elsewhere, without gradients."""
    mask = batch.rollout.mask & rows[:, None].to(batch.rollout.mask.device)
    x = x.detach().to(mask.device)
    return torch.where(mask, x[:, None] if x.dim() == 1 else x, 0.0)
