"""MovingFork: branches that part earlier, or later, as a run goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from guerdon.core import PlanError, RewardOutput, Rollout
from guerdon.core.protocols import Draw
from guerdon.samplers._branch import Branch
from guerdon.samplers._parts import check_counts


@dataclass(frozen=True)
class MovingFork:
    """A ``Branch`` whose forks move by one step at a time until the first of them is at ``to``, evenly ``over`` so many draws.

    With ``shared="never"`` and forks that move back, training begins with the last steps, whose doings the reward shows at
    once, and takes in earlier ones when the later ones are learned (backward progressive training).

    Args:
        sampler: Where the forks are at first.
        to: Where the first fork ends up.
        over: Draws; every place on the way gets as many, the last one all that come after as well.

    Example:
        >>> moving = MovingFork(Branch(at=(6,), n=(5,), shared="never"), to=0, over=100)  # the last 14, then all of 20 steps
        >>> [moving.at(draw) for draw in (0, 14, 15, 99, 500)]
        [(6,), (6,), (5,), (0,), (0,)]

    Source: B2-DiffuRL (arXiv:2503.11240).
    """

    walks: ClassVar[bool] = True

    sampler: Branch
    to: int
    over: int

    def __post_init__(self) -> None:
        check_counts("MovingFork", over=self.over)
        if not isinstance(self.sampler, Branch):
            raise PlanError(f"MovingFork moves the forks of a samplers.Branch, got {type(self.sampler).__name__}")
        if self.to < 0:
            raise PlanError(f"MovingFork: to must be at least 0, got {self.to}")

    @property
    def controls(self) -> Mapping[str, Any]:
        """How an evaluation samples."""
        return self.sampler.controls

    def at(self, draw: int) -> tuple[int, ...]:
        """Steps before each fork in a draw, counted from 0."""
        first = self.sampler.at[0]
        way = abs(self.to - first)
        moved = min(draw * (way + 1) // self.over, way) * (1 if self.to > first else -1)
        return tuple(at + moved for at in self.sampler.at)

    def __call__(self, draw: Draw) -> tuple[Rollout, RewardOutput]:
        return dataclasses.replace(self.sampler, at=self.at(draw.step))(draw)
