"""LengthPenalty and OverlongPenalty: rewards that count the steps taken."""

from __future__ import annotations

import math
from dataclasses import dataclass

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError
from guerdon.core.reward import RewardOutput
from guerdon.transforms._base import Stateless, changed


@dataclass(frozen=True)
class LengthPenalty(Stateless):
    r"""Takes $\mathrm{per\_step} \cdot \max(0, n - \mathrm{free})$ from ``total``, with $n$ the number of chosen steps.

    Args:
        per_step: Price of one step in reward units; negative pays for length.
        free: Steps that cost nothing.

    Example:
        >>> from guerdon.testing import example_batch
        >>> batch = example_batch(fail=0.0)
        >>> _, reward = LengthPenalty(0.5).apply(None, batch)
        >>> bool(((batch.reward.total - reward.total - 0.5 * batch.rollout.mask.sum(1)).abs() < 1e-12).all())
        True
    """

    per_step: float
    free: int = 0

    def __post_init__(self) -> None:
        if not math.isfinite(self.per_step):
            raise PlanError(f"LengthPenalty: per_step must be finite, got {self.per_step}")
        if self.free < 0:
            raise PlanError(f"LengthPenalty: free must be at least 0, got {self.free}")

    def reward(self, batch: Batch) -> RewardOutput:
        steps = batch.rollout.mask.sum(1).to(batch.reward.total)
        return changed(batch.reward, total=batch.reward.total - self.per_step * (steps - self.free).clamp(min=0))


@dataclass(frozen=True)
class OverlongPenalty(Stateless):
    r"""A soft limit on length: nothing up to ``limit - buffer`` steps, then linearly down to -1 at ``limit``, -1 beyond.

    With $n$ the number of chosen steps, ``weight`` times
    $\mathrm{clip}\left((\mathrm{limit} - \mathrm{buffer} - n) / \mathrm{buffer}, -1, 0\right)$ is added to ``total``.

    Args:
        limit: Steps at which the whole penalty is due.
        buffer: Steps over which it grows.
        weight: Its size in reward units.

    Example:
        >>> from guerdon.testing import example_batch
        >>> batch = example_batch(fail=0.0)
        >>> added = OverlongPenalty(limit=4, buffer=2).apply(None, batch)[1].total - batch.reward.total
        >>> bool(((added <= 0) & (added >= -1)).all())
        True

    Source: soft overlong punishment of DAPO (arXiv:2503.14476).
    """

    limit: int
    buffer: int
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.buffer <= self.limit:
            raise PlanError(f"OverlongPenalty: expected 0 < buffer <= limit, got buffer={self.buffer} and limit={self.limit}")
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise PlanError(f"OverlongPenalty: weight must be at least 0, got {self.weight}")

    def reward(self, batch: Batch) -> RewardOutput:
        steps = batch.rollout.mask.sum(1).to(batch.reward.total)
        penalty = ((self.limit - self.buffer - steps) / self.buffer).clamp(-1, 0)
        return changed(batch.reward, total=batch.reward.total + self.weight * penalty)
