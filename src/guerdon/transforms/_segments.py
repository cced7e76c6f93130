"""Where the segments of a trajectory end: what the transforms of process rewards read."""

from __future__ import annotations

from torch import Tensor

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError
from guerdon.core.reward import RewardOutput
from guerdon.transforms._base import part_of


def process_of(batch: Batch, ends: str, asked_by: str) -> tuple[RewardOutput, Tensor, Tensor]:
    """(reward, its dense part [B, T], [B, T] bool: a segment of a scored row ends at this chosen step).

    The ends are a part that the reward records, and never guessed from the scores: a score of exactly 0 is a score.

    Raises:
        PlanError: where the reward has no dense part, or no part of that name with one number per step.
    """
    reward = batch.reward.checked()
    if reward.step is None:
        raise PlanError(f"{asked_by}: the reward has no dense part ('step'); expected one of a process reward")
    part = part_of(reward, ends, asked_by)
    if part.shape != reward.step.shape:
        raise PlanError(f"{asked_by}: part {ends!r} has one number per row; expected one per step, not 0 where a segment ends")
    return reward, reward.step, (part != 0) & batch.rollout.mask.to(part.device) & reward.ok[:, None]
