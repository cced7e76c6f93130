"""RatingScale: how a utility becomes a number on a form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from guerdon.core import PlanError


@dataclass(frozen=True)
class RatingScale:
    r"""Linear between two utilities, cut off at the ends, rounded to the steps of the form.

    $s(u) = \mathrm{low} + (\mathrm{high} - \mathrm{low}) \cdot \mathrm{clip}\big((u - u_0) / (u_1 - u_0), 0, 1\big)$, then the
    nearest of low, low + step, low + 2 step, ... up to high; exactly between two of them the upper one.

    Args:
        low: Lowest rating.
        high: Highest rating.
        step: Distance between ratings; 0: any number.
        at_low: Utility $u_0$ that gets ``low``.
        at_high: Utility $u_1$ that gets ``high``.

    Example:
        >>> RatingScale(1, 5, at_low=-1.0, at_high=1.0)(torch.tensor([-3.0, 0.1, 0.3, 9.0])).tolist()
        [1.0, 3.0, 4.0, 5.0]
    """

    low: float = 1
    high: float = 5
    step: float = 1
    at_low: float = 0.0
    at_high: float = 1.0

    def __post_init__(self) -> None:
        values: tuple[Any, ...] = (self.low, self.high, self.step, self.at_low, self.at_high)
        if any(isinstance(v, bool) or not isinstance(v, int | float) or not math.isfinite(v) for v in values):
            raise PlanError("RatingScale: all fields must be finite numbers")
        if self.low >= self.high or self.at_low >= self.at_high:
            raise PlanError("RatingScale: low must be below high, and at_low below at_high")
        if self.step < 0 or self.step > self.high - self.low:
            raise PlanError(f"RatingScale: step must be between 0 and high - low, got {self.step}")

    def __call__(self, utility: Tensor) -> Tensor:
        share = ((utility.double() - self.at_low) / (self.at_high - self.at_low)).clamp(0, 1)
        if not self.step:
            return self.low + (self.high - self.low) * share
        top = math.floor((self.high - self.low) / self.step + 1e-9)  # whole steps that fit
        steps = torch.floor(share * (self.high - self.low) / self.step + 0.5).clamp(0, top)
        return (self.low + self.step * steps).clamp(max=self.high)
