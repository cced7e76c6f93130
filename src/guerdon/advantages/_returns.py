"""Returns: what is still to come, step by step."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from guerdon.advantages._base import FromReward, counted, on_chosen
from guerdon.advantages._gae import check_rate
from guerdon.core.batch import Batch, rewards
from guerdon.core.credit import rewards_to_go


@dataclass(frozen=True)
class Returns(FromReward):
    r"""Discounted reward to go, $G_t = r_t + \gamma G_{t'}$ with $t'$ the next chosen step; no baseline.

    Args:
        gamma: Discount per chosen step.

    Returns:
        [B, T] in reward units, 0 at steps not chosen and on rows that could not be scored.

    Example:
        >>> from guerdon.testing import example_batch
        >>> Returns(gamma=0.9)(example_batch()).shape
        torch.Size([12, 8])
    """

    gamma: float = 1.0

    def __post_init__(self) -> None:
        check_rate("Returns", "gamma", self.gamma)

    def __call__(self, batch: Batch) -> Tensor:
        return on_chosen(rewards_to_go(rewards(batch).detach(), batch.rollout.mask, self.gamma), batch, counted(batch, False))
