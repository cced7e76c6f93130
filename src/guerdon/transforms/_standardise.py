"""Standardise: rewards in units of their own spread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError
from guerdon.core.stats import moments
from guerdon.transforms._base import Series, groups_like
from guerdon.transforms._center import Within, check_within


@dataclass(frozen=True)
class Standardise(Series):
    r"""Zero mean and unit deviation over the rows that could be scored: $(r_i - \bar r) / (s + \epsilon)$.

    $s$ is the sample deviation (Bessel's correction). Where all numbers are equal, or only one counts, the result is 0.

    Args:
        over: Statistics of the whole ``"batch"`` or of each row's own ``"group"``.
        eps: Added to the deviation.

    Example:
        >>> from guerdon.testing import example_batch
        >>> _, reward = Standardise().apply(None, example_batch())
        >>> round(float(reward.total[reward.ok].std()), 6)
        1.0
    """

    over: Within = "batch"
    eps: float = 1e-8

    def __post_init__(self) -> None:
        check_within("Standardise", self.over)
        if self.eps <= 0:
            raise PlanError(f"Standardise: eps must be above 0, got {self.eps}")

    def series(self, state: Any, x: Tensor, keep: Tensor, batch: Batch) -> tuple[Any, Tensor]:
        m = moments(x, keep, groups_like(x, batch) if self.over == "group" else None)
        return state, (x - m.mean.to(x.dtype)) / (m.std + self.eps).to(x.dtype)
