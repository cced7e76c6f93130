"""MaxVariance: the few rows of a group that disagree most."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError
from guerdon.core.streams import Streams
from guerdon.selection._base import Filters, best_first, groups_of, keep_only, score_of


@dataclass(frozen=True)
class MaxVariance(Filters):
    """Keeps the ``k`` rows of every group whose returns have the largest variance; all other rows get weight 0.

    The best set is always some of the highest and the rest of the lowest returns, so only ``k + 1`` sets are compared. Among
    equally good sets the one with more of the highest wins; equal returns are ordered by uid. A group of at most ``k`` rows
    stays whole. To take advantages over the kept rows alone, use ``GroupNorm(trained_only=True)``.

    Args:
        k: Rows per group, at least 2.

    Example:
        >>> from guerdon.core import Streams
        >>> from guerdon.testing import example_batch
        >>> int((MaxVariance(2)(example_batch(fail=0.0), Streams(0)).weight > 0).sum())  # two for each of three groups
        6

    Source: PODS (arXiv:2504.13818).
    """

    k: int

    def __post_init__(self) -> None:
        if self.k < 2:
            raise PlanError(f"MaxVariance: k must be at least 2, got {self.k}")

    def __call__(self, batch: Batch, streams: Streams) -> Batch:
        score, uid = score_of(batch, None, "MaxVariance"), batch.rollout.uid
        return keep_only(batch, [rows[most_varied(score[rows], uid[rows], self.k)] for rows in groups_of(batch)])


def most_varied(score: Tensor, uid: Tensor, k: int) -> Tensor:
    """[min(k, n)] positions of the entries with the largest variance."""
    order = best_first(score, uid)
    n = len(order)
    if n <= k:
        return order
    x = score[order].double()
    top = torch.arange(k, -1, -1)  # how many of the highest; more of them first, so that ties go to them
    zero = x.new_zeros(1)
    x = x - x.mean()  # the variance stays, the sums keep their digits
    sums, squares = torch.cat([zero, x.cumsum(0)]), torch.cat([zero, x.square().cumsum(0)])
    bottom = n - (k - top)
    mean = (sums[top] + sums[n] - sums[bottom]) / k
    variance = (squares[top] + squares[n] - squares[bottom]) / k - mean.square()
    best = variance.max()
    # A rounding error must not decide between sets that are equally good.
    pick = int(top[(variance >= best - 1e-12 * best.abs()).nonzero()[0, 0]])
    return torch.cat([order[:pick], order[n - (k - pick) :]])
