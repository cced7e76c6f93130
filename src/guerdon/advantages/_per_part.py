"""PerPart: credit assigned to every part of the reward by itself, then mixed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError, nearest
from guerdon.core.protocols import Advantage, Need


@dataclass(frozen=True)
class PerPart:
    r"""$A = \sum_k w_k A^{(k)}$ where $A^{(k)}$ is what ``inner`` says of part $k$ as if it were the whole reward.

    A part with one number per row stands in for ``total``, one with a number per step for ``step``. What is in ``total`` and
    ``step`` otherwise, a KL price for example, does not enter: put it into the loss.

    Args:
        inner: The advantage of a single part.
        weights: part -> weight.

    Returns:
        [B, T], 0 at steps not chosen and on rows that could not be scored.

    Example:
        >>> from guerdon.advantages import GroupNorm
        >>> from guerdon.testing import example_batch
        >>> PerPart(GroupNorm(), {"quality": 1.0, "correct": 0.5})(example_batch()).shape
        torch.Size([12, 8])

    Source: normalise each reward, then sum, as in GDPO (arXiv:2601.05242).
    """

    inner: Advantage
    weights: Mapping[str, float] = field(hash=False)

    def __post_init__(self) -> None:
        if not self.weights:
            raise PlanError("PerPart: weights is empty; expected a mapping from part to weight")
        for part, weight in self.weights.items():
            if not math.isfinite(weight):
                raise PlanError(f"PerPart: the weight of {part!r} must be finite, got {weight}")

    @property
    def needs(self) -> frozenset[Need]:
        return self.inner.needs

    @property
    def critic(self) -> str:
        return getattr(self.inner, "critic", "critic")

    def __call__(self, batch: Batch) -> Tensor:
        reward = batch.reward
        mixed: Tensor | None = None
        for name, weight in self.weights.items():
            if name not in reward.parts:
                raise PlanError(f"PerPart: the reward has no part {name!r}; {nearest(name, reward.parts)}")
            part = reward.parts[name]
            alone = (
                reward.replace(total=part, step=None, parts={})
                if part.dim() == 1
                else reward.replace(total=torch.zeros_like(reward.total), step=part, parts={})
            )
            advantage = weight * self.inner(batch.replace(reward=alone))
            mixed = advantage if mixed is None else mixed + advantage
        assert mixed is not None
        return mixed
