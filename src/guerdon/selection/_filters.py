"""DropDeadGroups and Threshold: leave out what nothing can be learnt from."""

from __future__ import annotations

import math
from dataclasses import dataclass

from guerdon.core.batch import Batch, returns
from guerdon.core.errors import PlanError
from guerdon.core.streams import Streams
from guerdon.selection._base import Filters, check_gap, groups_of, keep_only, score_of


@dataclass(frozen=True)
class DropDeadGroups(Filters):
    """Weight 0 for groups whose rows all have the same return, or that have fewer than two rows left: their advantage is 0.

    They then no longer count in the denominator either.

    Args:
        tolerance: Largest difference between returns that still counts as the same.
        raw: Judge by the reward as it was given, before the transforms (a per-step KL price makes all returns differ).

    Example:
        >>> from guerdon.core import Streams
        >>> from guerdon.testing import example_batch
        >>> int((DropDeadGroups()(example_batch(fail=0.0), Streams(0)).weight > 0).sum())
        12

    Source: dynamic sampling of DAPO (arXiv:2503.14476), without the refill.
    """

    tolerance: float = 0.0
    raw: bool = False

    def __post_init__(self) -> None:
        check_gap("DropDeadGroups", "tolerance", self.tolerance)

    def __call__(self, batch: Batch, streams: Streams) -> Batch:
        score = returns(batch.replace(reward=batch.raw) if self.raw else batch).detach()
        return keep_only(batch, [r for r in groups_of(batch) if float(score[r].max() - score[r].min()) > self.tolerance])


@dataclass(frozen=True)
class Threshold(Filters):
    """Weight 0 for rows whose return (after the transforms), or whose named part, is below ``min``.

    Args:
        min: Smallest value that is kept.
        part: Judge by this part of the reward instead.

    Example:
        >>> from guerdon.core import Streams
        >>> from guerdon.testing import example_batch
        >>> batch = Threshold(1.0, part="correct")(example_batch(), Streams(0))
        >>> bool((batch.reward.parts["correct"][batch.live] == 1).all())
        True
    """

    min: float
    part: str | None = None

    def __post_init__(self) -> None:
        if math.isnan(self.min):
            raise PlanError("Threshold: min must be a number")

    def __call__(self, batch: Batch, streams: Streams) -> Batch:
        passed = score_of(batch, self.part, "Threshold").to(batch.weight.device) >= self.min
        return keep_only(batch, [(batch.live & passed).nonzero()[:, 0]])
