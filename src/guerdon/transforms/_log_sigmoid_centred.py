"""LogSigmoidCentred: a reward that stops paying above a quantile of the reference answers' rewards."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError
from guerdon.core.reward import RewardOutput
from guerdon.transforms._against_references import references_of
from guerdon.transforms._base import Stateless, changed


@dataclass(frozen=True)
class LogSigmoidCentred(Stateless):
    r"""$\log \sigma\left(k\,(r - q)\right)$, q a quantile of a normal distribution fitted to the prompt's reference rewards.

    Below q it falls like the reward itself, above q it flattens towards 0. As for ``AgainstReferences`` the references travel
    with their prompt; their deviation is that of the references at hand, without Bessel's correction.

    Args:
        scale: k, in one over reward units, above 0.
        quantile: Between 0 and 1.
        column: Of the rollout's ``info``.

    Raises:
        PlanError: for a scale or a quantile out of range, or a batch without the column.

    Example:
        >>> from guerdon.core import Batch, RewardOutput, recorded
        >>> rollout = recorded(["q"], ["a"], {"reference_rewards": [[1.0, 1.0]]})
        >>> batch = Batch.of(rollout, RewardOutput.of(torch.tensor([1.0])))
        >>> round(float(LogSigmoidCentred().apply(None, batch)[1].total), 4)  # at the quantile: log 1/2
        -0.6931

    Source: Transforming and Combining Rewards for Aligning Large Language Models (arXiv:2402.00742).
    """

    scale: float = 1.0
    quantile: float = 0.85
    column: str = "reference_rewards"

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise PlanError(f"LogSigmoidCentred: scale must be above 0, got {self.scale}")
        if not 0 < self.quantile < 1:
            raise PlanError(f"LogSigmoidCentred: quantile must be between 0 and 1, got {self.quantile}")

    def reward(self, batch: Batch) -> RewardOutput:
        reward = batch.reward.checked()
        references = references_of(batch, self.column, "LogSigmoidCentred").to(reward.total)
        mean = references.nanmean(1)
        deviation = (references - mean[:, None]).square().nanmean(1).sqrt()
        ahead: Tensor = reward.total - mean - NormalDist().inv_cdf(self.quantile) * deviation
        return changed(reward, total=torch.nn.functional.logsigmoid(self.scale * ahead))
