"""On: a transform applied to the dense reward or to one named part instead of ``total``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError
from guerdon.core.protocols import Need, Transform
from guerdon.core.reward import RewardOutput
from guerdon.transforms._base import Series, changed, part_of
from guerdon.transforms._chain import Chain


@dataclass(frozen=True)
class On:
    """Applies a transform of numbers to something else than ``total``.

    Statistics are then over chosen steps of rows that could be scored (for numbers per step) or over those rows.

    Args:
        target: ``"step"`` for the dense reward, ``"part/NAME"`` for a named part.
        transform: What is applied; one that changes numbers one series at a time (``Clip``, ``Center``, a ``Chain`` of such ...).

    Raises:
        PlanError: for another target, or a transform that changes the reward as a whole.

    Example:
        >>> from guerdon.testing import example_batch
        >>> from guerdon.transforms import Clip
        >>> _, reward = On("part/quality", Clip(hi=0.0)).apply(None, example_batch())
        >>> float(reward.parts["quality"].max())
        0.0
    """

    target: str
    transform: Transform

    def __post_init__(self) -> None:
        if self.target != "step" and not (self.target.startswith("part/") and len(self.target) > len("part/")):
            raise PlanError(f"On: target is {self.target!r}; expected 'step' or 'part/NAME'")
        for t in _leaves(self.transform):
            if not isinstance(t, Series):
                raise PlanError(f"On: {type(t).__name__} changes the whole reward and cannot be applied to {self.target!r} alone")

    @property
    def needs(self) -> frozenset[Need]:
        return self.transform.needs

    def init(self) -> Any:
        return self.transform.init()

    def apply(self, state: Any, batch: Batch) -> tuple[Any, RewardOutput]:
        reward = batch.reward.checked()
        assert isinstance(self.transform, Series)
        if self.target == "step":
            if reward.step is None:
                raise PlanError("On: the reward has no dense part ('step') to transform")
            keep = batch.rollout.mask.to(reward.ok.device) & reward.ok[:, None]
            state, step = self.transform.series(state, reward.step, keep, batch)
            return state, changed(reward, step=step.where(keep, 0.0))
        name = self.target.removeprefix("part/")
        part = part_of(reward, name, "On")
        keep = reward.ok if part.dim() == 1 else batch.rollout.mask.to(reward.ok.device) & reward.ok[:, None]
        state, part = self.transform.series(state, part, keep, batch)
        return state, changed(reward, parts={**reward.parts, name: part.where(keep, 0.0)})


def _leaves(transform: Transform) -> list[Transform]:
    return [leaf for p in transform.parts for leaf in _leaves(p)] if isinstance(transform, Chain) else [transform]


def on(target: str, *rest: Any) -> On:
    """``on("step", transform)`` or ``on("part", name, transform)``.

    >>> from guerdon.transforms import Scale
    >>> on("part", "style", Scale(2.0))
    On(target='part/style', transform=Scale(factor=2.0))
    """
    if target == "step" and len(rest) == 1:
        return On("step", rest[0])
    if target == "part" and len(rest) == 2:
        return On(f"part/{rest[0]}", rest[1])
    raise PlanError('on: write on("step", transform) or on("part", name, transform)')
