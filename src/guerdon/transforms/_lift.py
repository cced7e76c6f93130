"""Lift: rewards that may be too low, raised by what another part says."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError
from guerdon.core.reward import RewardOutput
from guerdon.transforms._base import Stateless, changed, part_of


@dataclass(frozen=True)
class Lift(Stateless):
    r"""$R' = \min(1, R + \mathrm{weight} \cdot q)$ where $R < \mathrm{below}$, else $R$, with $q$ a named part of the reward.

    A calibration against false negatives: an answer that the reward scored low gets some of its reward back when another
    sign of quality, such as ``rewards.ReasoningPattern`` at weight 0 in a ``rewards.Mixture``, speaks for it. For a verifier
    of 0 and 1, ``weight=1`` puts the part in the place of a 0.

    Args:
        part: Name of the part, [B].
        below: Rewards under this are suspected.
        weight: Of the part; a large one invites the policy to earn the part instead of the reward.

    Example:
        >>> from guerdon.testing import example_batch
        >>> batch = example_batch(fail=0.0)
        >>> total = Lift("correct", below=0.0, weight=10.0).apply(None, batch)[1].total
        >>> bool((total <= batch.reward.total.clamp(min=1.0)).all())
        True

    Source: The Climb Carves Wisdom Deeper Than the Summit (arXiv:2505.22653), with below 0.5 and weight 0.1.
    """

    part: str
    below: float = 0.5
    weight: float = 0.1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.below) and self.below <= 1):
            raise PlanError(f"Lift: below must be a number up to 1, got {self.below}")
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise PlanError(f"Lift: weight must be at least 0, got {self.weight}")

    def reward(self, batch: Batch) -> RewardOutput:
        total, part = batch.reward.total, part_of(batch.reward, self.part, "Lift")
        if part.dim() > 1:
            raise PlanError(f"Lift: the part {self.part!r} has a number for every step; one per row is needed")
        lifted = (total + self.weight * part).clamp(max=1.0)
        return changed(batch.reward, total=torch.where(total < self.below, lifted, total))
