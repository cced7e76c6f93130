"""Chain: several transforms as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError
from guerdon.core.protocols import Need, Transform
from guerdon.core.reward import RewardOutput
from guerdon.transforms._base import Series


@dataclass(frozen=True)
class Chain(Series):
    """Transforms one after the other, each reading what the one before it made.

    Args:
        parts: The transforms, first to last. Their states are kept in one list.

    Example:
        >>> from guerdon.transforms import Clip, Scale
        >>> Chain((Scale(2.0), Clip(hi=1.0))).init()
        [None, None]
    """

    parts: tuple[Transform, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.parts, tuple | list):
            raise PlanError(f"Chain: parts must be a tuple of transforms, got {self.parts!r}; or write chain(first, second)")
        object.__setattr__(self, "parts", tuple(self.parts))
        for part in self.parts:
            if not hasattr(part, "init") or not hasattr(part, "apply"):
                raise PlanError(f"Chain: {part!r} is not a transform")

    @property
    def needs(self) -> frozenset[Need]:  # type: ignore[override]
        return frozenset().union(*(p.needs for p in self.parts))

    def init(self) -> list[Any]:
        return [p.init() for p in self.parts]

    def apply(self, state: list[Any], batch: Batch) -> tuple[list[Any], RewardOutput]:
        states = []
        for part, before in zip(self.parts, state, strict=True):
            after, reward = part.apply(before, batch)
            states.append(after)
            batch = batch.replace(reward=reward)
        return states, batch.reward

    def series(self, state: list[Any], x: Tensor, keep: Tensor, batch: Batch) -> tuple[list[Any], Tensor]:
        states = []
        for part, before in zip(self.parts, state, strict=True):
            if not isinstance(part, Series):
                raise PlanError(f"Chain: {type(part).__name__} changes the reward as a whole and cannot be applied to one series")
            after, x = part.series(before, x, keep, batch)
            states.append(after)
        return states, x


def chain(*parts: Transform) -> Chain:
    """``Chain((first, second, ...))``.

    >>> from guerdon.transforms import Center, Clip
    >>> chain(Center(), Clip(lo=-1.0, hi=1.0)).parts
    (Center(over='batch'), Clip(lo=-1.0, hi=1.0))
    """
    return Chain(parts)
