"""Center: rewards relative to their mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError, nearest
from guerdon.core.stats import moments
from guerdon.transforms._base import Series, groups_like

Within = Literal["batch", "group"]


def check_within(name: str, over: str) -> None:
    if over not in ("batch", "group"):
        raise PlanError(f"{name}: over is {over!r}; {nearest(over, ('batch', 'group'))}")


@dataclass(frozen=True)
class Center(Series):
    r"""Subtracts the mean of the rows that could be scored: $r_i - \bar r$.

    Args:
        over: Mean of the whole ``"batch"`` or of each row's own ``"group"``. A row alone becomes 0.

    Example:
        >>> import torch
        >>> from guerdon.testing import example_batch
        >>> _, reward = Center().apply(None, example_batch())
        >>> bool(reward.total[reward.ok].mean().abs() < 1e-12)
        True
    """

    over: Within = "batch"

    def __post_init__(self) -> None:
        check_within("Center", self.over)

    def series(self, state: Any, x: Tensor, keep: Tensor, batch: Batch) -> tuple[Any, Tensor]:
        group = groups_like(x, batch) if self.over == "group" else None
        return state, x - moments(x, keep, group).mean.to(x.dtype)
