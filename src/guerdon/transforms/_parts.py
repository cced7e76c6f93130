"""WeightedParts and NormaliseParts: one number from several named ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError
from guerdon.core.reward import RewardOutput
from guerdon.core.stats import moments
from guerdon.transforms._base import Stateless, changed, part_of


def check_weights(name: str, weights: Mapping[str, float]) -> None:
    if not weights:
        raise PlanError(f"{name}: weights is empty; expected a mapping from part to weight")
    for part, weight in weights.items():
        if not math.isfinite(weight):
            raise PlanError(f"{name}: the weight of {part!r} must be finite, got {weight}")


@dataclass(frozen=True)
class WeightedParts(Stateless):
    r"""``total`` becomes $\sum_k w_k\, p_k$ over parts with one number per row.

    Parts with one number per step are summed in the same way into ``step``; without such parts ``step`` stays as it is.

    Args:
        weights: part -> weight; parts that are not named do not count.

    Example:
        >>> from guerdon.testing import example_batch
        >>> batch = example_batch()
        >>> _, reward = WeightedParts({"quality": 2.0, "correct": 1.0}).apply(None, batch)
        >>> expected = 2 * batch.reward.parts["quality"] + batch.reward.parts["correct"]
        >>> bool(((reward.total - expected).abs() < 1e-12).all())
        True
    """

    weights: Mapping[str, float] = field(hash=False)

    def __post_init__(self) -> None:
        check_weights("WeightedParts", self.weights)

    def reward(self, batch: Batch) -> RewardOutput:
        reward = batch.reward.checked()
        named = [(w, part_of(reward, name, "WeightedParts").to(reward.total)) for name, w in self.weights.items()]
        rows, steps = [w * p for w, p in named if p.dim() == 1], [w * p for w, p in named if p.dim() > 1]
        total = _sum(rows) if rows else reward.total * 0
        return changed(reward, total=total, step=_sum(steps) if steps else reward.step)


@dataclass(frozen=True)
class NormaliseParts(Stateless):
    r"""``total`` becomes $\sum_k w_k (p_k - \bar p_k) / (s_k + \epsilon)$, mean and deviation within each group, part by part.

    Every part then speaks with the same voice, and combinations of parts that have the same sum stay apart. The deviation has
    Bessel's correction; groups with fewer than two rows that could be scored get 0. For the whole method follow it with the
    advantage ``BatchNorm()``; ``GroupNorm`` would undo it.

    Args:
        weights: part -> weight.
        eps: Added to each deviation.

    Example:
        >>> from guerdon.testing import example_batch
        >>> _, reward = NormaliseParts({"quality": 1.0, "correct": 1.0}).apply(None, example_batch(fail=0.0))
        >>> bool(reward.total.mean().abs() < 1e-9)
        True

    Source: GDPO (arXiv:2601.05242).
    """

    weights: Mapping[str, float] = field(hash=False)
    eps: float = 1e-4

    def __post_init__(self) -> None:
        check_weights("NormaliseParts", self.weights)
        if self.eps <= 0:
            raise PlanError(f"NormaliseParts: eps must be above 0, got {self.eps}")

    def reward(self, batch: Batch) -> RewardOutput:
        reward = batch.reward.checked()
        terms = []
        for name, weight in self.weights.items():
            part = part_of(reward, name, "NormaliseParts").to(reward.total)
            if part.dim() > 1:
                raise PlanError(f"NormaliseParts: part {name!r} has one number per step; expected one per row")
            m = moments(part, reward.ok, batch.rollout.group)
            terms.append(weight * (part - m.mean.to(part)) / (m.std + self.eps).to(part))
        return changed(reward, total=_sum(terms))


def _sum(terms: list[Tensor]) -> Tensor:
    out = terms[0]
    for term in terms[1:]:
        out = out + term
    return out
