"""Sigmoid: rewards squashed into (0, 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError
from guerdon.transforms._base import Series


@dataclass(frozen=True)
class Sigmoid(Series):
    r"""$1 / (1 + e^{-\mathrm{scale} \cdot (r - \mathrm{shift})})$: bounded, steepest at ``shift``.

    Args:
        scale: Steepness, above 0.
        shift: The reward that becomes 0.5.

    Example:
        >>> from guerdon.testing import example_batch
        >>> total = Sigmoid().apply(None, example_batch())[1].total
        >>> bool(((total >= 0) & (total <= 1)).all())
        True

    Source: bounded reward shaping with a sigmoid: PAR (arXiv:2502.18770).
    """

    scale: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale > 0 and math.isfinite(self.shift)):
            raise PlanError(f"Sigmoid: scale must be above 0 and shift finite, got scale={self.scale} and shift={self.shift}")

    def series(self, state: Any, x: Tensor, keep: Tensor, batch: Batch) -> tuple[Any, Tensor]:
        return state, torch.sigmoid(self.scale * (x - self.shift))
