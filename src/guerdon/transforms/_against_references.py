"""AgainstReferences: a reward becomes how much better it is than those of reference answers to the same prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError, nearest
from guerdon.core.reward import RewardOutput
from guerdon.transforms._base import Series, Stateless, changed
from guerdon.transforms._sigmoid import Sigmoid


@dataclass(frozen=True)
class AgainstReferences(Stateless):
    r"""$R = \frac1M \sum_m f(r - r^{\mathrm{ref}}_m)$ over the rewards of M reference answers to the same prompt.

    With $f = \sigma$ and a Bradley-Terry reward it is the probability, by the reward model's own word, that the answer beats a
    reference: preference as reward. It lies in (0, 1), rises fastest near the references, and an answer that is far ahead of
    them gains almost nothing by a still higher reward.

    The references are sampled once, before training, and travel with their prompt: a column holds, for every row, the list of
    their rewards (a number alone is a list of one). A row without any cannot be scored.

    Args:
        shape: $f$, a transform of numbers that remembers nothing, such as ``Sigmoid(scale=k)``; None: the difference itself.
        column: Of the rollout's ``info``.
        first: How many references are used, from the first (None: all).

    Raises:
        PlanError: for a shape that keeps a state or changes the reward as a whole, or a batch without the column.

    Example:
        >>> from guerdon.core import Batch, RewardOutput, recorded
        >>> rollout = recorded(["q"] * 2, ["a", "b"], {"reference_rewards": [[0.0, 1.0], [2.0]]})
        >>> batch = Batch.of(rollout, RewardOutput.of(torch.tensor([1.0, 2.0])))
        >>> [round(r, 4) for r in AgainstReferences().apply(None, batch)[1].total.tolist()]
        [0.6155, 0.5]

    Source: PAR, arXiv:2502.18770.
    """

    shape: Any = Sigmoid()
    column: str = "reference_rewards"
    first: int | None = None

    def __post_init__(self) -> None:
        if self.shape is not None and not (isinstance(self.shape, Series) and stateless(self.shape.init())):
            raise PlanError(f"AgainstReferences: shape must be a transform of numbers without a state, got {self.shape!r}")
        if self.first is not None and self.first < 1:
            raise PlanError(f"AgainstReferences: first must be at least 1, got {self.first}")

    def reward(self, batch: Batch) -> RewardOutput:
        reward = batch.reward.checked()
        total = reward.total
        references = references_of(batch, self.column, "AgainstReferences")[:, : self.first].to(total)
        found = references.isfinite() & reward.ok[:, None]
        summed = torch.zeros_like(total)
        for reference, keep in zip(references.T, found.T, strict=True):
            ahead = total - reference
            value = ahead if self.shape is None else self.shape.series(self.shape.init(), ahead, keep, batch)[1]
            summed = summed + value.where(keep, 0.0)
        return changed(reward, total=summed / found.sum(1))  # 0/0 of a row without references: not finite, so a failure


def references_of(batch: Batch, column: str, asked_by: str) -> Tensor:
    """[B, M] rewards of every row's references, shorter lists padded with NaN.

    Raises:
        PlanError: for a column that is not there, or holds something else than numbers.
    """
    info = batch.rollout.info
    if column not in info:
        raise PlanError(f"{asked_by}: the prompts bring no column {column!r}; {nearest(column, info)}")
    values = info[column]
    values = values.tolist() if isinstance(values, Tensor) else values
    rows = [row if isinstance(row, list | tuple) else [row] for row in values]
    longest = max(map(len, rows), default=0)
    try:
        padded = [[float(x) for x in row] + [float("nan")] * (longest - len(row)) for row in rows]
    except (TypeError, ValueError):
        raise PlanError(f"{asked_by}: the column {column!r} must hold rewards, numbers or lists of numbers") from None
    return torch.tensor(padded, dtype=torch.double).reshape(len(rows), longest)


def stateless(state: Any) -> bool:
    """Whether a transform's state remembers nothing: None, or a list of such."""
    return state is None or (isinstance(state, list) and all(map(stateless, state)))
