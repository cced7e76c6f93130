"""Remax: each answer against the greedy one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from guerdon.advantages._base import FromReward, counted, on_chosen
from guerdon.core.batch import Batch, returns
from guerdon.core.errors import PlanError, nearest


@dataclass(frozen=True)
class Remax(FromReward):
    r"""$A_i = R_i - b_i$ with $b_i$ the return of the greedy answer to the same context, found beside the row.

    Rows whose baseline is missing (NaN or None: the greedy answer could not be scored) get 0.

    Args:
        baseline: Column of ``rollout.info`` with one number per row; ``samplers.WithGreedy`` writes it.

    Returns:
        [B, T], 0 at steps not chosen and on rows that could not be scored.

    Example:
        >>> from guerdon.testing import example_batch
        >>> Remax()(example_batch()).shape
        torch.Size([12, 8])

    Source: ReMax (arXiv:2310.10505).
    """

    baseline: str = "baseline"

    def __call__(self, batch: Batch) -> Tensor:
        info = batch.rollout.info
        if self.baseline not in info:
            raise PlanError(f"Remax: rollout.info has no column {self.baseline!r}; {nearest(self.baseline, info)}")
        total, column = returns(batch).detach(), info[self.baseline]
        if not isinstance(column, Tensor):
            column = torch.tensor([float("nan") if b is None else float(b) for b in column], dtype=torch.double)
        base = column.to(total.device)
        known = torch.isfinite(base)
        advantage = total - torch.where(known, base, 0.0).to(total)
        return on_chosen(advantage, batch, counted(batch, False) & known.to(batch.weight.device))
