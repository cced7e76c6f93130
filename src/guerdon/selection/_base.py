"""What selections share: the score rows are ordered by, an order without surprises, and how weights are set."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from guerdon.core.batch import Batch, Pairs, returns
from guerdon.core.errors import PlanError, nearest
from guerdon.core.protocols import Need


def score_of(batch: Batch, part: str | None, asked_by: str) -> Tensor:
    """[B] what rows are judged by: their return after the transforms, or a named part with one number per row.

    Raises:
        PlanError: for a part that is not there or has one number per step.
    """
    if part is None:
        return returns(batch).detach()
    if part not in batch.reward.parts:
        raise PlanError(f"{asked_by}: the reward has no part {part!r}; {nearest(part, batch.reward.parts)}")
    score = batch.reward.parts[part].detach()
    if score.dim() > 1:
        raise PlanError(f"{asked_by}: part {part!r} has one number per step; expected one per row")
    return score


def best_first(score: Tensor, uid: Tensor) -> Tensor:
    """Order from the highest score down; equal scores by the smaller uid, so that the order of rows never matters.

    >>> best_first(torch.tensor([1.0, 2.0, 2.0]), torch.tensor([7, 9, 8])).tolist()
    [2, 1, 0]
    """
    order = uid.to(score.device).argsort(stable=True)
    return order[score[order].argsort(stable=True, descending=True)]


def groups_of(batch: Batch) -> list[Tensor]:
    """Row indices of each group's live rows (scored, weight above 0), groups by value, empty ones left out."""
    live, group = batch.live, batch.rollout.group.to(batch.weight.device)
    rows = live.nonzero()[:, 0]
    if not len(rows):
        return []
    rows = rows[group[rows].argsort(stable=True)]
    _, counts = group[rows].unique_consecutive(return_counts=True)
    return list(rows.split(counts.tolist()))


def keep_only(batch: Batch, rows: list[Tensor]) -> Batch:
    """The batch with weight 0 for every row but these; their weights stay what they were."""
    kept = torch.zeros(len(batch), dtype=torch.bool, device=batch.weight.device)
    if rows:
        kept[torch.cat(rows).to(kept.device)] = True
    return batch.replace(weight=torch.where(kept, batch.weight, 0.0))


class Filters:
    """Base of selections that set weights."""

    needs: ClassVar[frozenset[Need]] = frozenset({"reward"})
    gives: ClassVar[frozenset[str]] = frozenset({"weight"})


class MakesPairs:
    """Base of selections that set pairs; earlier pairs are replaced."""

    needs: ClassVar[frozenset[Need]] = frozenset({"reward"})
    gives: ClassVar[frozenset[str]] = frozenset({"pairs"})


def check_gap(name: str, field: str, value: float) -> None:
    if not value >= 0:
        raise PlanError(f"{name}: {field} must be at least 0, got {value}")


def pairs_by_score(score: Tensor, win: list[Tensor], lose: list[Tensor]) -> Pairs:
    """Certain comparisons, with the difference of the scores as margin."""
    device = score.device
    none = torch.zeros(0, dtype=torch.long, device=device)
    better, worse = torch.cat([none, *win]), torch.cat([none, *lose])
    one = torch.ones(len(better), dtype=score.dtype, device=device)
    return Pairs(better, worse, label=one, margin=score[better] - score[worse], weight=one.clone())


def ordered_pairs(rows: Tensor, score: Tensor, uid: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """All (better, worse) of ``rows`` whose scores differ by at least ``least`` and by more than 0, best first."""
    order = rows[best_first(score[rows], uid[rows])]
    high, low = torch.triu_indices(len(order), len(order), offset=1, device=order.device)
    gap = score[order[high]] - score[order[low]]
    apart = (gap > 0) & (gap >= least)
    return order[high[apart]], order[low[apart]]
