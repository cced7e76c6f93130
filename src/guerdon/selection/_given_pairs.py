"""GivenPairs: comparisons that came with the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, SupportsFloat

import torch
from torch import Tensor

from guerdon.core.batch import Batch, Pairs
from guerdon.core.errors import DataError, PlanError, nearest
from guerdon.core.protocols import Need
from guerdon.core.streams import Streams
from guerdon.selection._base import MakesPairs, groups_of, ordered_pairs


@dataclass(frozen=True)
class GivenPairs(MakesPairs):
    """Pairs of every two rows of a group that a recorded column tells apart, the higher one preferred.

    A yes/no column gives every preferred row against every other; a column of ratings gives all pairs of unequal ratings, with
    the difference as ``pairs.margin``. Rows without a verdict (None or NaN), failed rows and rows of weight 0 take no part.
    Order: groups by value, then from the highest verdict down, equal ones by uid.

    Args:
        column: Column of ``rollout.info`` with the verdict on each row.
        label: Column with the probability in [0, 1] that the preferred row is better, read from that row; without the column,
            or where it is None or NaN, 1. None: never looked for.

    Raises:
        PlanError: where ``column`` is not there.
        DataError: for entries that are not numbers, or labels outside [0, 1].

    Example:
        >>> from guerdon.core import Streams
        >>> from guerdon.testing import example_batch
        >>> pairs = GivenPairs()(example_batch(fail=0.0), Streams(0)).pairs
        >>> len(pairs)  # in each group of four two rows are preferred
        12
    """

    needs: ClassVar[frozenset[Need]] = frozenset()  # no reward: the data say it

    column: str = "preferred"
    label: str | None = "label"

    def __call__(self, batch: Batch, streams: Streams) -> Batch:
        info, device = batch.rollout.info, batch.weight.device
        if self.column not in info:
            raise PlanError(f"GivenPairs: rollout.info has no column {self.column!r}; {nearest(self.column, info)}")
        verdict, rated = _numbers(info[self.column], self.column)
        verdict, uid = verdict.to(device), batch.rollout.uid.to(device)
        judged = ~verdict.isnan()
        found = [ordered_pairs(rows[judged[rows]], verdict, uid, 0.0) for rows in groups_of(batch)]
        none = torch.zeros(0, dtype=torch.long, device=device)
        win = torch.cat([none, *(better for better, _ in found)])
        lose = torch.cat([none, *(worse for _, worse in found)])
        certain = torch.ones(len(win), dtype=torch.double, device=device)
        label = certain
        if self.label is not None and self.label in info:
            column, _ = _numbers(info[self.label], self.label)
            label = column.to(device)[win]
            label = torch.where(label.isnan(), certain, label)
            outside = label[(label < 0) | (label > 1)]
            if len(outside):
                raise DataError(
                    f"GivenPairs: column {self.label!r} must hold probabilities in [0, 1], got {float(outside[0])}; "
                    "set label=None if it means something else"
                )
        kind = batch.reward.total.dtype
        margin = (verdict[win] - verdict[lose]).to(kind) if rated else None
        return batch.replace(pairs=Pairs(win, lose, label=label.to(kind), margin=margin, weight=certain.to(kind)))


def _numbers(column: Sequence[Any] | Tensor, name: str) -> tuple[Tensor, bool]:
    """([B] float64 with NaN for None, whether they are numbers rather than yes/no)."""
    if isinstance(column, Tensor):
        return column.double(), column.dtype != torch.bool
    out = []
    for k, entry in enumerate(column):
        if entry is not None and not isinstance(entry, SupportsFloat):
            raise DataError(f"GivenPairs: column {name!r}, row {k}: expected true, false or a number, got {entry!r}")
        out.append(math.nan if entry is None else float(entry))
    return torch.tensor(out, dtype=torch.double), not all(entry is None or isinstance(entry, bool) for entry in column)
