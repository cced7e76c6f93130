"""Pessimism: less reward where the reward itself is not sure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError
from guerdon.core.reward import RewardOutput
from guerdon.transforms._base import Stateless, changed


@dataclass(frozen=True)
class Pessimism(Stateless):
    """``total - weight * std``: a lower confidence bound, so that doubt cannot be exploited (arXiv:2310.02743).

    A policy that optimises a learned reward drifts to where the reward errs upwards; members of an ensemble disagree there.
    ``std`` is in the units of the reward as it was scored, so this transform comes before those that change the scale.

    Args:
        weight: Standard deviations that are taken off, at least 0.

    Raises:
        PlanError: at its first use, for a reward that does not know its uncertainty.

    Example:
        >>> from guerdon.testing import example_batch
        >>> batch = example_batch()
        >>> _, reward = Pessimism(2.0).apply(None, batch)
        >>> bool((reward.total == batch.reward.total - 2.0 * batch.reward.std).all())
        True
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise PlanError(f"Pessimism: weight must be a number of at least 0, got {self.weight}")

    def reward(self, batch: Batch) -> RewardOutput:
        reward = batch.reward.checked()
        if reward.std is None:
            if bool(reward.ok.any()):
                raise PlanError("Pessimism: the reward has no std; take one that knows its uncertainty, such as rewards.Ensemble")
            return reward  # every row failed: nobody could say anything
        return changed(reward, total=reward.total - self.weight * reward.std.to(reward.total))
