"""Gate: a reward that only counts where something else holds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError
from guerdon.core.reward import RewardOutput
from guerdon.transforms._base import Stateless, changed, part_of


@dataclass(frozen=True)
class Gate(Stateless):
    r"""``total`` where the named part is at least ``threshold``, ``floor`` elsewhere: a style score only for right answers.

    Args:
        part: Name of a part with one number per row.
        threshold: What it must reach.
        floor: The total of rows that do not reach it.

    Example:
        >>> from guerdon.testing import example_batch
        >>> batch = example_batch()
        >>> _, reward = Gate("correct", threshold=1.0, floor=-1.0).apply(None, batch)
        >>> bool((reward.total[reward.ok & (batch.reward.parts["correct"] < 1)] == -1.0).all())
        True
    """

    part: str
    threshold: float = 0.5
    floor: float = 0.0

    def __post_init__(self) -> None:
        if math.isnan(self.threshold) or not math.isfinite(self.floor):
            raise PlanError(f"Gate: threshold must be a number and floor finite, got {self.threshold} and {self.floor}")

    def reward(self, batch: Batch) -> RewardOutput:
        reward = batch.reward.checked()  # a part or a total that is not finite fails here; the gate never hides it
        part = part_of(reward, self.part, "Gate")
        if part.dim() > 1:
            raise PlanError(f"Gate: part {self.part!r} has one number per step; a gate needs one per row")
        passed = part.to(reward.total) >= self.threshold
        return changed(reward, total=torch.where(passed, reward.total, self.floor))
