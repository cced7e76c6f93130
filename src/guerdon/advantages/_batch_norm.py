"""BatchNorm: each trajectory against all others of the draw."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from guerdon.advantages._base import FromReward, counted, on_chosen
from guerdon.core.batch import Batch, returns
from guerdon.core.errors import PlanError
from guerdon.core.stats import moments


@dataclass(frozen=True)
class BatchNorm(FromReward):
    r"""$A_i = (R_i - \bar R) / (s + \epsilon)$ with mean and deviation of the returns of the whole batch, one per trajectory.

    The global normalisation of REINFORCE++, with every trajectory counting once. That paper's letter, where every step counts
    once and later steps no longer pay for earlier KL, is ``Whiten(Returns())``; its variant with a group baseline is
    ``Whiten(GroupNorm(std=False))``. The deviation has Bessel's correction; fewer than two rows that count give 0.

    Args:
        std: Divide by the deviation.
        eps: Added to the deviation.
        trained_only: Statistics over rows that are trained on (weight above 0) instead of all that were scored; others get 0.

    Returns:
        [B, T], 0 at steps not chosen and on rows that could not be scored.

    Example:
        >>> from guerdon.testing import example_batch
        >>> BatchNorm()(example_batch()).shape
        torch.Size([12, 8])

    Source: REINFORCE++ (arXiv:2501.03262).
    """

    std: bool = True
    eps: float = 1e-4
    trained_only: bool = False

    def __post_init__(self) -> None:
        if self.eps <= 0:
            raise PlanError(f"BatchNorm: eps must be above 0, got {self.eps}")

    def __call__(self, batch: Batch) -> Tensor:
        rows, total = counted(batch, self.trained_only), returns(batch).detach()
        m = moments(total, rows)
        advantage = total - m.mean.to(total)
        if self.std:
            advantage = advantage / (m.std + self.eps).to(total)
        return on_chosen(advantage, batch, rows & (m.count >= 2))
