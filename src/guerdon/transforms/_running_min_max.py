"""RunningMinMax: rewards as a share of the way from the lowest to the highest seen so far in the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from guerdon.core.batch import Batch
from guerdon.transforms._base import Series


@dataclass(frozen=True)
class RunningMinMax(Series):
    r"""$(r - \min) / (\max - \min)$ over all rows scored up to and including this batch: in [0, 1].

    The state is ``{"low": ..., "high": ...}``, None before anything was scored. Where all rewards were the same it gives 0.

    Example:
        >>> from guerdon.testing import example_batch
        >>> transform = RunningMinMax()
        >>> total = transform.apply(transform.init(), example_batch(fail=0.0))[1].total
        >>> float(total.min()), float(total.max())
        (0.0, 1.0)

    Source: one of the shapings that PAR (arXiv:2502.18770) is compared with.
    """

    def init(self) -> dict[str, float | None]:
        return {"low": None, "high": None}

    def series(self, state: Any, x: Tensor, keep: Tensor, batch: Batch) -> tuple[dict[str, float | None], Tensor]:
        low, high = ([] if state[name] is None else [state[name]] for name in ("low", "high"))
        seen = x.detach()[keep].tolist()
        if not (low or seen):
            return dict(state), torch.zeros_like(x)
        least, most = min(low + seen), max(high + seen)
        out = (x - least) / (most - least) if most > least else torch.zeros_like(x)
        return {"low": least, "high": most}, out
