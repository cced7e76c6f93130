"""ClipUpper: process rewards that only forbid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError
from guerdon.core.reward import RewardOutput
from guerdon.core.stats import moments
from guerdon.transforms._base import Stateless, changed
from guerdon.transforms._segments import process_of


@dataclass(frozen=True)
class ClipUpper(Stateless):
    r"""Clipping: the score of every reasoning step becomes $\min(r - \eta, 0)$.

    A step as good as $\eta$ earns nothing, a worse one costs, so no trajectory can collect reward by being long:
    $\sum_k \min(r_k - \eta, 0) \le 0$. Numbers where no step ends stay as they are; put ``TokenKL`` behind this.

    Args:
        ends: The part that is not 0 where a step ends, as ``rewards.ProcessReward`` records it.
        eta: The threshold, in the units of the dense reward; None: the mean score of the batch's steps.

    Raises:
        PlanError: for a threshold that is not finite, or a reward without dense part or without the part ``ends``.

    Example:
        >>> from guerdon.testing import example_batch
        >>> _, reward = ClipUpper(ends="fluency").apply(None, example_batch())
        >>> float(reward.step.max())
        0.0

    Source: On Designing Effective RL Reward at Training Time for LLM Reasoning (arXiv:2410.15115).
    """

    ends: str = "end"
    eta: float | None = None

    def __post_init__(self) -> None:
        if self.eta is not None and not math.isfinite(self.eta):
            raise PlanError(f"ClipUpper: eta must be finite, got {self.eta}; None takes the batch's mean")

    def reward(self, batch: Batch) -> RewardOutput:
        reward, step, end = process_of(batch, self.ends, "ClipUpper")
        eta = moments(step, end).mean.to(step) if self.eta is None else self.eta
        return changed(reward, step=torch.where(end, (step - eta).clamp(max=0.0), step))
