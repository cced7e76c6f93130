"""Scale and Ramp: rewards times a number, fixed or changing along the run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError
from guerdon.transforms._base import Series


@dataclass(frozen=True)
class Scale(Series):
    """Multiplies by ``factor``.

    Example:
        >>> from guerdon.testing import example_batch
        >>> batch = example_batch()
        >>> bool((Scale(0.5).apply(None, batch)[1].total == 0.5 * batch.reward.total).all())
        True
    """

    factor: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.factor):
            raise PlanError(f"Scale: factor must be finite, got {self.factor}")

    def series(self, state: Any, x: Tensor, keep: Tensor, batch: Batch) -> tuple[Any, Tensor]:
        return state, x * self.factor


@dataclass(frozen=True)
class Ramp(Series):
    """Multiplies by a factor that moves from ``start`` to ``end`` along the run, in proportion to ``batch.progress``.

    Example:
        >>> from guerdon.testing import example_batch
        >>> batch = example_batch().replace(progress=0.25)
        >>> bool((Ramp(0.0, 2.0).apply(None, batch)[1].total == 0.5 * batch.reward.total).all())
        True
    """

    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.end)):
            raise PlanError(f"Ramp: start and end must be finite, got {self.start} and {self.end}")

    def series(self, state: Any, x: Tensor, keep: Tensor, batch: Batch) -> tuple[Any, Tensor]:
        return state, x * (self.start + (self.end - self.start) * batch.progress)
