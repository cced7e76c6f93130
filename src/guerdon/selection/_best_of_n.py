"""BestOfN and TopFraction: train on the best rows only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError, nearest
from guerdon.core.streams import Streams
from guerdon.selection._base import Filters, best_first, groups_of, keep_only, score_of


@dataclass(frozen=True)
class BestOfN(Filters):
    """Keeps the ``k`` best rows of every group; all other rows get weight 0.

    Rows are ordered by their return after the transforms, equal ones by the smaller uid. Failed rows and rows that an earlier
    selection left out take no part. A group with fewer rows keeps what it has.

    Args:
        k: Rows per group.
        part: Order by this part of the reward instead.

    Example:
        >>> from guerdon.core import Streams
        >>> from guerdon.testing import example_batch
        >>> int((BestOfN()(example_batch(), Streams(0)).weight > 0).sum())  # one for each of three groups
        3
    """

    k: int = 1
    part: str | None = None

    def __post_init__(self) -> None:
        if self.k < 1:
            raise PlanError(f"BestOfN: k must be at least 1, got {self.k}")

    def __call__(self, batch: Batch, streams: Streams) -> Batch:
        score, uid = score_of(batch, self.part, "BestOfN"), batch.rollout.uid
        return keep_only(batch, [rows[best_first(score[rows], uid[rows])[: self.k]] for rows in groups_of(batch)])


@dataclass(frozen=True)
class TopFraction(Filters):
    """Keeps the best ``fraction`` of the rows, rounded up; all other rows get weight 0.

    Order and ties are those of ``BestOfN``.

    Args:
        fraction: Above 0, at most 1.
        over: Of the whole ``"batch"`` or of every ``"group"``.
        part: Order by this part of the reward instead.

    Example:
        >>> from guerdon.core import Streams
        >>> from guerdon.testing import example_batch
        >>> int((TopFraction(0.25)(example_batch(fail=0.0), Streams(0)).weight > 0).sum())
        3

    Source: ReST (arXiv:2308.08998) and RAFT (arXiv:2304.06767) train on such rows.
    """

    fraction: float = 0.25
    over: Literal["batch", "group"] = "batch"
    part: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise PlanError(f"TopFraction: fraction must be above 0 and at most 1, got {self.fraction}")
        if self.over not in ("batch", "group"):
            raise PlanError(f"TopFraction: over is {self.over!r}; {nearest(self.over, ('batch', 'group'))}")

    def __call__(self, batch: Batch, streams: Streams) -> Batch:
        score, uid = score_of(batch, self.part, "TopFraction"), batch.rollout.uid
        sets = groups_of(batch) if self.over == "group" else [batch.live.nonzero()[:, 0]]
        # Rounding up must not turn 0.07 * 100 = 7.000000000000001 into 8.
        return keep_only(
            batch, [rows[best_first(score[rows], uid[rows])[: math.ceil(self.fraction * len(rows) - 1e-9)]] for rows in sets]
        )
