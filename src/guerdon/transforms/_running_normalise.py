"""RunningNormalise: rewards in units of everything seen so far in the run."""

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
class RunningNormalise(Series):
    r"""$(r - \mu) / (\sigma + \epsilon)$ with mean and deviation over all rows scored up to and including this batch.

    The moments are merged batch by batch (Welford's update in the parallel form of Chan, Golub & LeVeque 1983), so they equal
    those of one pass over everything. The state is three numbers: ``count``, ``mean`` and ``m2``, the sum of squared deviations.

    Args:
        eps: Added to the deviation.
        clip: Largest absolute value of the result; None: no bound.

    Example:
        >>> from guerdon.testing import example_batch
        >>> state, _ = RunningNormalise().apply(RunningNormalise().init(), example_batch())
        >>> sorted(state), state["count"] > 0
        (['count', 'm2', 'mean'], True)
    """

    eps: float = 1e-8
    clip: float | None = None

    def __post_init__(self) -> None:
        if self.eps <= 0:
            raise PlanError(f"RunningNormalise: eps must be above 0, got {self.eps}")
        if self.clip is not None and self.clip <= 0:
            raise PlanError(f"RunningNormalise: clip must be above 0, got {self.clip}")

    def init(self) -> dict[str, float]:
        return {"count": 0.0, "mean": 0.0, "m2": 0.0}

    def series(self, state: Any, x: Tensor, keep: Tensor, batch: Batch) -> tuple[dict[str, float], Tensor]:
        state = merged(state, x[keep])
        std = math.sqrt(state["m2"] / (state["count"] - 1)) if state["count"] > 1 else 0.0
        out = (x - state["mean"]) / (std + self.eps)
        # Before there is a deviation the difference to the mean is 0 up to rounding, which eps would blow up.
        out = out if std > 0 else torch.zeros_like(out)
        return state, out if self.clip is None else out.clamp(-self.clip, self.clip)


def merged(state: dict[str, float], x: Tensor) -> dict[str, float]:
    """The moments of everything seen before and of ``x``."""
    x = x.detach().double()
    n = x.numel()
    if n == 0:
        return dict(state)
    mean = float(x.mean())
    total = state["count"] + n
    delta = mean - state["mean"]
    m2 = state["m2"] + float((x - mean).square().sum()) + delta * delta * state["count"] * n / total
    return {"count": total, "mean": state["mean"] + delta * n / total, "m2": m2}
