"""Clip: rewards within bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError
from guerdon.transforms._base import Series


@dataclass(frozen=True)
class Clip(Series):
    r"""$\min(\max(r, \mathrm{lo}), \mathrm{hi})$.

    Args:
        lo: Smallest value; None: no bound.
        hi: Largest value; None: no bound.

    Raises:
        PlanError: for no bound at all, or bounds in the wrong order.

    Example:
        >>> from guerdon.testing import example_batch
        >>> float(Clip(hi=0.25).apply(None, example_batch())[1].total.max()) <= 0.25
        True
    """

    lo: float | None = None
    hi: float | None = None

    def __post_init__(self) -> None:
        if self.lo is None and self.hi is None:
            raise PlanError("Clip: give lo, hi or both")
        if self.lo is not None and self.hi is not None and not self.lo <= self.hi:
            raise PlanError(f"Clip: lo must not be above hi, got lo={self.lo} and hi={self.hi}")

    def series(self, state: Any, x: Tensor, keep: Tensor, batch: Batch) -> tuple[Any, Tensor]:
        return state, x.clamp(self.lo, self.hi)
